from __future__ import annotations

import array
import os
import socket

import pytest

from securelight.server import channel
from tests.helpers import open_descriptors


def test_messages_arrive_whole_in_order_and_with_their_descriptors() -> None:
    ours, theirs = channel.make_pair()
    with ours, theirs:
        reader, writer = os.pipe()
        assert channel.send(ours, "certificate", "0", (reader,))
        assert channel.send(ours, "drain")
        os.close(reader)
        os.write(writer, b"key")
        os.close(writer)
        first, second = channel.receive(theirs), channel.receive(theirs)
        assert first is not None
        assert second is not None
        assert (first.kind, first.text, second.kind, second.descriptors) == ("certificate", "0", "drain", ())
        assert os.read(first.descriptors[0], 10) == b"key"
        channel.close_all(first.descriptors)
        with pytest.raises(BlockingIOError):
            channel.receive(theirs)


def test_the_end_of_the_other_side_is_the_end_of_the_stream() -> None:
    ours, theirs = channel.make_pair()
    with theirs:
        ours.close()
        assert channel.receive(theirs) is None
        assert not channel.send(theirs, "ready")


def test_who_does_not_read_is_not_waited_for() -> None:
    ours, theirs = channel.make_pair()
    with ours, theirs:
        assert any(not channel.send(ours, "reopen", "x" * 1000) for _ in range(100_000))


@pytest.mark.parametrize(
    "data", [b"{", b"\xff", b"[]", b'"ready"', b'{"kind":"ready"}', b'{"kind":1,"text":""}', b"{}"]
)
def test_what_a_hijacked_worker_says_is_an_error_and_leaves_nothing_open(data: bytes) -> None:
    ours, theirs = channel.make_pair()
    with ours, theirs:
        before = open_descriptors()
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [0, 0]))]
        ours.sendmsg([data], rights)
        with pytest.raises(channel.ChannelError):
            channel.receive(theirs)
        assert open_descriptors() == before
