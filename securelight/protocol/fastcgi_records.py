"""The records of FastCGI (specification 1.0), as a web server writes and reads them. No input or output here.

One request at a time on a connection: only servers of a kind that nobody runs any more take several.
"""

from __future__ import annotations

import enum
import struct
from typing import TYPE_CHECKING, Final

from securelight.model.errors import SecurelightError

if TYPE_CHECKING:
    from collections.abc import Iterable

_HEADER: Final = struct.Struct("!BBHHBx")
_VERSION, _REQUEST_ID = 1, 1
_BEGIN, _END, _PARAMS, _STDIN, _STDOUT, _STDERR = 1, 3, 4, 5, 6, 7
_KEEP_CONNECTION = 1
_END_BYTES = 8
CONTENT_BYTES = 65_528
"""The most that one record holds, in whole units of eight bytes."""
_REASONS = {1: "can't take several requests at once", 2: "is overloaded", 3: "does not know the role"}


class Role(enum.IntEnum):
    """What is asked of an application (specification, section 6)."""

    RESPONDER = 1
    AUTHORIZER = 2


class FastCgiFault(SecurelightError):
    """What came breaks the protocol, or says that the request was not served.

    Args:
        detail: for the log.
        unprocessed: the server says that it did not look at the request.
    """

    def __init__(self, detail: str, *, unprocessed: bool = False) -> None:
        super().__init__(detail)
        self.unprocessed = unprocessed


def _stream(kind: int, data: bytes) -> list[bytes]:
    pieces: list[bytes] = []
    for start in range(0, len(data), CONTENT_BYTES):
        part = data[start : start + CONTENT_BYTES]
        pieces += (_HEADER.pack(_VERSION, kind, _REQUEST_ID, len(part), 0), part)
    return pieces


def _length(count: int) -> bytes:
    return bytes((count,)) if count < 128 else (count | 1 << 31).to_bytes(4)


def begin_request(parameters: Iterable[tuple[bytes, bytes]], role: Role = Role.RESPONDER) -> bytes:
    """The records that begin a request: its role, to keep the connection, and all parameters."""
    pairs = b"".join(_length(len(name)) + _length(len(value)) + name + value for name, value in parameters)
    return b"".join(
        (
            _HEADER.pack(_VERSION, _BEGIN, _REQUEST_ID, 8, 0),
            struct.pack("!HB5x", role, _KEEP_CONNECTION),
            *_stream(_PARAMS, pairs),
            _HEADER.pack(_VERSION, _PARAMS, _REQUEST_ID, 0, 0),
        )
    )


def request_body(data: bytes) -> bytes:
    """The records of a piece of the body (not empty)."""
    return b"".join(_stream(_STDIN, data))


END_OF_BODY: Final = _HEADER.pack(_VERSION, _STDIN, _REQUEST_ID, 0, 0)


class FastCgiResponses:
    """Reads the records of one connection, one response after the other.

    Attributes:
        whole: the response is complete.
        application_status: what the application ended with, 0 if all went well.
    """

    __slots__ = ("_buffer", "application_status", "whole")

    def __init__(self) -> None:
        self._buffer = bytearray()
        self.whole = True
        self.application_status = 0

    def begin(self) -> None:
        """A request has been sent."""
        self.whole = False
        self.application_status = 0

    def feed(self, data: bytes) -> tuple[bytes, bytes]:
        """(standard output, standard error) that `data` completes; less than one record is held.

        Errors: FastCgiFault.
        """
        buffer = self._buffer
        buffer += data
        output: list[bytes] = []
        errors: list[bytes] = []
        start = 0
        while len(buffer) - start >= _HEADER.size:
            version, kind, request_id, length, padding = _HEADER.unpack_from(buffer, start)
            if version != _VERSION or kind not in (_END, _STDOUT, _STDERR) or request_id != _REQUEST_ID:
                raise FastCgiFault(f"a record of version {version}, type {kind}, for request {request_id}")
            if self.whole:
                raise FastCgiFault("a record after the end of the response")
            if kind == _END and length != _END_BYTES:
                raise FastCgiFault(f"an end of {length} bytes")
            content = start + _HEADER.size
            if len(buffer) < content + length + padding:
                break
            part = bytes(buffer[content : content + length])
            start = content + length + padding
            if kind == _STDOUT:
                output.append(part)
            elif kind == _STDERR:
                errors.append(part)
            else:
                self.application_status = int.from_bytes(part[:4])
                if part[4]:
                    reason = _REASONS.get(part[4], f"ended with protocol status {part[4]}")
                    raise FastCgiFault(f"the server {reason}", unprocessed=part[4] in _REASONS)
                self.whole = True
        del buffer[:start]
        if self.whole and buffer:
            raise FastCgiFault("bytes after the end of the response")
        return b"".join(output), b"".join(errors)
