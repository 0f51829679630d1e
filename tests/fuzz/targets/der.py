"""DER elements: what is read, put together again, is what came."""

from __future__ import annotations

from securelight.tls.der import elements, name_text

SEEDS = [bytes.fromhex("300c310a300806035504030c0161"), b"\x02\x01\x05\x04\x81\x80" + bytes(128)]


def fuzz(data: bytes) -> None:
    try:
        found = elements(data)
    except ValueError:
        return
    assert b"".join(element.raw for element in found) == data
    try:
        name_text(data)
    except ValueError:
        return
