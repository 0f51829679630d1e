"""Writes small databases in MaxMind's format (specification 2.0), so that no test needs one that is sold."""

from __future__ import annotations

from ipaddress import ip_network
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

Value = str | int | dict[str, "Value"]
_MARKER = b"\xab\xcd\xefMaxMind.com"
_TEXT, _UNSIGNED_16, _UNSIGNED_32, _MAP, _UNSIGNED_64 = 2, 5, 6, 7, 9


def _control(kind: int, size: int) -> bytes:
    assert size < 29
    return bytes([kind << 5 | size]) if kind < 8 else bytes([size, kind - 7])


def _value(value: Value) -> bytes:
    if isinstance(value, str):
        return _control(_TEXT, len(value.encode())) + value.encode()
    if isinstance(value, int):
        raw = value.to_bytes(4).lstrip(b"\0")
        return _control(_UNSIGNED_32, len(raw)) + raw
    return _control(_MAP, len(value)) + b"".join(_value(key) + _value(one) for key, one in value.items())


def _small(number: int) -> bytes:
    raw = number.to_bytes(2).lstrip(b"\0")
    return _control(_UNSIGNED_16, len(raw)) + raw


def database(records: Mapping[str, Value]) -> bytes:
    """A database of IPv6, with IPv4 below ::/96, that knows these networks."""
    tree: list[list[int | bytes | None]] = [[None, None]]
    for text, record in records.items():
        network = ip_network(text)
        bits = int(network.network_address)
        length = network.prefixlen + (96 if network.version == 4 else 0)
        node = 0
        for place in range(length - 1):
            side = bits >> (127 - place) & 1
            following = tree[node][side]
            if following is None:
                following = tree[node][side] = len(tree)
                tree.append([None, None])
            assert isinstance(following, int)
            node = following
        tree[node][bits >> (128 - length) & 1] = _value(record)
    data, places = b"", dict[bytes, int]()
    nodes = b""
    for pair in tree:
        for one in pair:
            if isinstance(one, bytes):
                if one not in places:
                    places[one] = len(data)
                    data += one
                nodes += (len(tree) + 16 + places[one]).to_bytes(4)
            else:
                nodes += (len(tree) if one is None else one).to_bytes(4)
    meta = _control(_MAP, 9)
    meta += _value("node_count") + _value(len(tree)) + _value("record_size") + _small(32)
    meta += _value("ip_version") + _small(6) + _value("database_type") + _value("Test")
    meta += _value("languages") + bytes([0, 11 - 7]) + _value("binary_format_major_version") + _small(2)
    meta += _value("binary_format_minor_version") + _small(0)
    meta += _value("build_epoch") + _control(_UNSIGNED_64, 4) + (1_700_000_000).to_bytes(4)
    meta += _value("description") + _value({"en": "made by a test"})
    return nodes + bytes(16) + data + _MARKER + meta


def place(country: str, continent: str = "EU") -> Value:
    """The record of a database of countries."""
    return {"continent": {"code": continent}, "country": {"iso_code": country}}


def write(path: Path, records: Mapping[str, Value]) -> Path:
    """Put a database in the place of the one that is there."""
    fresh = path.with_suffix(".new")
    fresh.write_bytes(database(records))
    return fresh.replace(path)
