"""FastCGI records of a server behind: the same output however they are cut."""

from __future__ import annotations

from securelight.protocol.fastcgi_records import FastCgiFault, FastCgiResponses

SEEDS = [bytes.fromhex("0106000100020100686900") + bytes.fromhex("01030001000800000000000000000000")]


def _read(pieces: list[bytes]) -> bytes | None:
    reader = FastCgiResponses()
    reader.begin()
    output = b""
    try:
        for piece in pieces:
            output += reader.feed(piece)[0]
    except FastCgiFault:
        return None
    return output


def fuzz(data: bytes) -> None:
    whole = _read([data])
    middle = len(data) // 2
    # An end of the response that is cut off from what follows is a fault in either case.
    assert _read([data[:middle], data[middle:]]) == whole
