"""Request targets and authorities: parsed once, into the one normalised path that every rule and lookup uses.

Refused rather than repaired: control characters, NUL, backslashes, broken percent escapes, paths that climb above the
root. Decoding happens exactly once, so `%252e` is the three characters `%2e` and nothing more.
"""

from __future__ import annotations

import re
from typing import NamedTuple
from urllib.parse import unquote_to_bytes

from securelight.model.errors import Refusal


class Target(NamedTuple):
    """A request target taken apart."""

    path: str
    """Decoded and normalised, see model/request."""
    query: bytes
    """After the first `?`, undecoded, without it."""


_TARGET = re.compile(rb"/[!-\"$-;=?-\[\]_a-z{-~|]*")
"""Origin form: visible ASCII without `#` (never sent), `<` `>` and backslash, back-tick, caret (not in RFC 3986).
Curly braces and the bar are let through because browsers send them in queries."""
_BROKEN_ESCAPE = re.compile(rb"%(?![0-9A-Fa-f]{2})")
_CONTROL = re.compile(rb"[\x00-\x1f\x7f\\]")
_PLAIN = re.compile(rb"(?:/(?!\.{1,2}(?:/|\Z))[A-Za-z0-9._~!$&'()*+,;=:@-]+)*/?")
"""A path that is normal as it stands: the hot path needs nothing more."""

_AUTHORITY = re.compile(
    rb"(?P<host>\[[0-9A-Fa-f:.]{2,45}\]|(?!-)[A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,253}[A-Za-z0-9_.])?)(?::(?P<port>\d{0,5}))?"
)
_MAX_PORT = 65_535


def parse_target(raw: bytes) -> Target:
    """Take an origin-form target (RFC 9112, section 3.2.1) apart.

    Errors: Refusal 400 for what is not a valid target.
    """
    if not _TARGET.fullmatch(raw):
        raise Refusal(400, "The request target is not valid.", f"target {raw[:80]!r}")
    raw_path, _, query = raw.partition(b"?")
    if _PLAIN.fullmatch(raw_path):
        return Target(raw_path.decode("ascii"), query)
    return Target(normalise_path(raw_path), query)


def normalise_path(raw_path: bytes) -> str:
    """Decode percent escapes once, then resolve dot segments and merge slashes.

    Errors: Refusal 400 for broken escapes, control characters, backslashes, or a path that climbs above the root.
    """
    if _BROKEN_ESCAPE.search(raw_path):
        raise Refusal(400, "The request target is not valid.", f"broken escape in {raw_path[:80]!r}")
    decoded = unquote_to_bytes(raw_path)
    if _CONTROL.search(decoded):
        raise Refusal(400, "The request target is not valid.", f"control character in {raw_path[:80]!r}")
    kept: list[bytes] = []
    segments = decoded.split(b"/")[1:]
    for segment in segments:
        if segment == b"..":
            if not kept:
                raise Refusal(400, "The request target is not valid.", f"climbs above the root: {raw_path[:80]!r}")
            kept.pop()
        elif segment not in (b"", b"."):
            kept.append(segment)
    path = b"/" + b"/".join(kept)
    if kept and segments[-1] in (b"", b".", b".."):
        path += b"/"
    return path.decode("utf-8", "surrogateescape")


def parse_authority(raw: bytes) -> tuple[str, str]:
    """(authority, host) in lower case, from a Host field or :authority; a trailing dot of the host is dropped.

    Errors: Refusal 400 for anything but `host[:port]` without user information (RFC 9110, section 7.2).
    """
    match = _AUTHORITY.fullmatch(raw)
    if match is None or (match["port"] and int(match["port"]) > _MAX_PORT):
        raise Refusal(400, "The host name is not valid.", f"authority {raw[:80]!r}")
    host = match["host"].decode("ascii").lower().removesuffix(".")
    if not host:
        raise Refusal(400, "The host name is not valid.", f"authority {raw[:80]!r}")
    port = match["port"]
    return (f"{host}:{port.decode('ascii')}" if port else host), host
