"""Messages between the supervisor and one worker, over a socket pair: small JSON objects, some with descriptors.

From the worker: `ready`, `failed` (with text), `leaving` (it drains by itself). To the worker: `serve`, `drain`,
`reopen` (with a log descriptor), `certificate` (with the descriptors of a chain and a key). The end of the stream means
that the other side is gone.
"""

from __future__ import annotations

import array
import os
import socket
from collections.abc import Sequence

import msgspec

from securelight.model.errors import SecurelightError

_MESSAGE_BYTES = 65_536
_MOST_DESCRIPTORS = 4


class ChannelError(SecurelightError):
    """The other side does not keep to the form of messages: whatever runs there is not our code any more."""


class Message(msgspec.Struct, frozen=True):
    """One message. Who receives it owns `descriptors` and closes them."""

    kind: str
    text: str = ""
    descriptors: tuple[int, ...] = ()


def make_pair() -> tuple[socket.socket, socket.socket]:
    """Two connected ends, non-blocking; each message stays whole."""
    ends = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    for end in ends:
        end.setblocking(False)
    return ends


def send(end: socket.socket, kind: str, text: str = "", descriptors: Sequence[int] = ()) -> bool:
    """Send a message; False if the other side is gone or does not read."""
    data = msgspec.json.encode({"kind": kind, "text": text[: _MESSAGE_BYTES // 8]})
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))] if descriptors else []
    try:
        end.sendmsg([data], rights)
    except OSError:
        return False
    return True


def receive(end: socket.socket) -> Message | None:
    """The next message; None at the end of the stream.

    Errors: BlockingIOError if there is none now; ChannelError.
    """
    try:
        data, descriptors, _flags, _address = socket.recv_fds(end, _MESSAGE_BYTES, _MOST_DESCRIPTORS)
    except ConnectionError:
        return None
    if not data:
        return None
    try:
        values = msgspec.json.decode(data, type=dict[str, str])
        return Message(values["kind"], values["text"], tuple(descriptors))
    except (msgspec.DecodeError, KeyError) as error:
        close_all(descriptors)
        raise ChannelError("a message that makes no sense") from error


def close_all(descriptors: Sequence[int]) -> None:
    """Close descriptors that came with a message."""
    for descriptor in descriptors:
        os.close(descriptor)
