"""Turns the fields of one received head into a Request, or says why not. The last check of every request head.

All four adapters end here, so that what one protocol or engine lets through the others do not refuse. Owns: field
syntax (RFC 9110, section 5), pseudo-header rules (RFC 9113, section 8.3), Host against :authority, the size and number
of fields. Framing (Content-Length, Transfer-Encoding) is settled before: by http1_guard on HTTP/1; here on HTTP/2.
"""

from __future__ import annotations

import re
from functools import lru_cache
from itertools import chain
from typing import TYPE_CHECKING

from securelight.model.errors import Refusal, StreamFault
from securelight.model.headers import Field, Fields, Headers
from securelight.model.request import Peer, Request
from securelight.model.uri import parse_authority, parse_target

if TYPE_CHECKING:
    from collections.abc import Sequence

    from securelight.model.limits import Limits

FIELD_OVERHEAD_BYTES = 32
"""What RFC 9113, section 10.5.1 adds for each field; counted on HTTP/1 too so that both protocols have one bound."""

_TOKEN = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_LOWER_TOKEN = re.compile(rb"[!#$%&'*+.^_`|~0-9a-z-]+")
_VALUE = re.compile(rb"(?:[\x21-\x7e\x80-\xff](?:[\t\x20-\x7e\x80-\xff]*[\x21-\x7e\x80-\xff])?)?")
"""Visible characters with spaces and tabs inside only (RFC 9110, section 5.5; RFC 9113, section 8.2.1)."""
is_field_value = _VALUE.fullmatch
"""A match if bytes are a well-formed field value, else None."""
_DIGITS = re.compile(rb"[0-9]{1,18}")
_AUTHORITY_BYTES = re.compile(rb"[A-Za-z0-9._~:\[\]!$%&'()*+,;=-]+")
"""What RFC 3986 allows in a host and port; user information (`@`) is malformed (RFC 9113, section 8.3.1)."""
_PSEUDO_VALUES = {
    b":method": _TOKEN,
    b":scheme": re.compile(rb"[A-Za-z][A-Za-z0-9+.-]*"),
    b":authority": _AUTHORITY_BYTES,
    b":path": re.compile(rb"[\x21-\x7e\x80-\xff]+"),
    b":protocol": re.compile(_TOKEN.pattern + rb"(?:/" + _TOKEN.pattern + rb")?"),
}
"""What costs the stream; what is wrong beyond it (bytes of a target, a bad port) is answered with 400."""

_EXTENDED_CONNECT = _PSEUDO_VALUES.keys()
"""All of them, and only there."""

_AUTHORITIES_KEPT = 256
"""Every request names one, and most name the same."""
_SHORT_TARGETS_KEPT = 1024
_SHORT_TARGET_BYTES = 128
"""Sites have few targets that are asked for again and again; so many and so short ones are remembered."""
_parse_short_target = lru_cache(maxsize=_SHORT_TARGETS_KEPT)(parse_target)
_parse_authority = lru_cache(maxsize=_AUTHORITIES_KEPT)(parse_authority)

CONNECTION_FIELDS = frozenset({b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade"})
"""Connection-specific fields, malformed on HTTP/2 (RFC 9113, section 8.2.2)."""

FORBIDDEN_TRAILERS = CONNECTION_FIELDS | {
    b"authorization", b"content-encoding", b"content-length", b"content-range", b"content-type", b"cookie", b"expect",
    b"host", b"max-forwards", b"proxy-authorization", b"range", b"te", b"trailer",
}  # fmt: skip
"""Framing, routing, authentication and modifiers: dropped from trailers (RFC 9110, section 6.5.1)."""

KNOWN_METHODS = frozenset(
    b"GET HEAD POST PUT DELETE CONNECT OPTIONS TRACE PATCH QUERY "
    b"ACL BIND CHECKOUT COPY LINK LOCK MERGE MKACTIVITY MKCALENDAR MKCOL MOVE PROPFIND PROPPATCH PURGE REBIND REPORT "
    b"SEARCH UNBIND UNLINK UNLOCK".split()
)
"""RFC 9110, PATCH, QUERY, and what WebDAV and its kin use; all others get 501. Both engines know all of these."""

_EXTRA_FIELDS = frozenset({b"content-length", b"expect"})
"""What most requests do not have."""

_METHODS = {
    name.encode(): name for name in ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "CONNECT")
}


def from_http2(
    fields: Sequence[Field],
    *,
    stream_id: int,
    peer: Peer,
    limits: Limits,
    ended: bool,
    validated: bool = False,
    upgrades: bool = False,
) -> Request:
    """The Request of one HTTP/2 header block.

    That of an extended CONNECT (RFC 8441) has the method CONNECT, and its :protocol is present as `upgrade`.

    Args:
        fields: the decoded block, pseudo-header fields included, in order.
        ended: END_STREAM was set: no body follows.
        validated: the engine has checked names, values and the order of pseudo-header fields already.
        upgrades: extended CONNECT was offered.

    Errors: StreamFault for a malformed request (RFC 9113, section 8.1.1). Refusal for one that is well-formed but too
    large or not for us.
    """
    split = 4
    if len(fields) < 4 or fields[3][0][:1] != b":" or (len(fields) > 4 and fields[4][0][:1] == b":"):
        split = _count_pseudo_fields(fields)
    pseudo = dict(fields[:split])
    regular = fields[split:]
    if not validated:
        _check_http2_syntax(fields, split)
    method, target, authority = _pseudo_fields(pseudo, split, upgrades=upgrades)
    if split == 5:
        regular = ((b"upgrade", pseudo[b":protocol"]), *regular)
    headers = Headers(((b"host", authority), *regular)) if authority else Headers(regular)
    host = headers.get(b"host")
    if host is not authority:
        authority, headers = _same_authority(authority, Headers(regular))
    length = None
    plain = headers.isdisjoint(_EXTRA_FIELDS)
    if not plain and b"content-length" in headers:
        length = content_length(headers.lines(b"content-length"))
        if ended and length:
            raise StreamFault("content-length of a request without content")
    count = len(fields)
    size = len(b"".join(chain.from_iterable(fields))) + FIELD_OVERHEAD_BYTES * count
    if count - split > limits.request_fields:
        raise Refusal(431, "The request has too many header fields.", f"{count} fields")
    if size > limits.request_head_bytes:
        raise Refusal(431, "The request header fields are too large.", f"{size} bytes in {count} fields")
    if method not in KNOWN_METHODS or (method == b"CONNECT" and split != 5):
        raise Refusal(501, "The method is not supported.", f"method {method[:40]!r}")
    if split == 5 and (ended or length is not None):
        raise Refusal(400, "A tunnel has no length, and does not end before it begins.", "CONNECT that has ended")
    return _build(
        method, target, authority, headers, version="2", number=stream_id, peer=peer, limits=limits,
        has_body=not ended, length=length, scheme=pseudo[b":scheme"],
        expects_continue=not plain and _expectation(headers, "2"),
    )  # fmt: skip


def _count_pseudo_fields(fields: Sequence[Field]) -> int:
    for index, (name, _) in enumerate(fields):
        if name[:1] != b":":
            return index
    return len(fields)


def _pseudo_fields(pseudo: dict[bytes, bytes], count: int, *, upgrades: bool) -> tuple[bytes, bytes, bytes]:
    """(method, target, authority), where the `count` pseudo-header fields are those of RFC 9113, section 8.3.1.

    Five of them are an extended CONNECT (RFC 8441, section 4), if that was offered.
    """
    method = pseudo.get(b":method", b"")
    if not _TOKEN.fullmatch(method):
        raise StreamFault("no valid :method")
    authority = pseudo.get(b":authority")
    if authority == b"":
        raise StreamFault("empty :authority")
    if method == b"CONNECT":
        if upgrades and count == 5 and pseudo.keys() == _EXTENDED_CONNECT and pseudo[b":path"][:1] == b"/":
            return method, pseudo[b":path"], pseudo[b":authority"]
        if count != 2 or authority is None:
            raise StreamFault("CONNECT has :method and :authority only")
        return method, b"", authority
    path = pseudo.get(b":path", b"")
    if path[:1] != b"/" and not (path == b"*" and method == b"OPTIONS"):
        raise StreamFault("no valid :path")
    if b":scheme" not in pseudo or count != (3 if authority is None else 4):
        raise StreamFault("missing, repeated or unknown pseudo-header field")
    return method, path, authority or b""


def _check_http2_syntax(fields: Sequence[Field], split: int) -> None:
    """What RFC 9113, sections 8.2 and 8.3 say of each field, of which the first `split` are pseudo-header fields."""
    for name, value in fields[:split]:
        syntax = _PSEUDO_VALUES.get(name)
        if syntax is None or not syntax.fullmatch(value):
            raise StreamFault(f"pseudo-header field {name[:40]!r} is unknown or malformed")
    for name, value in fields[split:]:
        _check_http2_field(name, value)


def _check_http2_field(name: bytes, value: bytes) -> None:
    if not _LOWER_TOKEN.fullmatch(name):
        raise StreamFault(f"field name {name[:40]!r} is malformed")
    if not _VALUE.fullmatch(value):
        raise StreamFault(f"value of field {name[:40]!r} is malformed")
    if name == b"host" and not _AUTHORITY_BYTES.fullmatch(value):
        raise StreamFault("host is malformed")
    if name in CONNECTION_FIELDS or (name == b"te" and value.lower() != b"trailers"):
        raise StreamFault(f"connection-specific field {name[:40]!r}")


def _same_authority(authority: bytes, headers: Headers) -> tuple[bytes, Headers]:
    """The authority where there is a Host field or no :authority; `headers` are without one from :authority."""
    host = headers.get(b"host")
    if not host:
        raise StreamFault("neither :authority nor host")
    if len(headers.lines(b"host")) != 1 or (authority and authority.lower() != host.lower()):
        raise StreamFault("host repeated, or not the same as :authority")
    return host, headers


def content_length(lines: Sequence[bytes]) -> int:
    """The one Content-Length of a message.

    Errors: StreamFault if there are several, or it is not a plain decimal number of at most 18 digits.
    """
    if len(lines) != 1 or not _DIGITS.fullmatch(lines[0]):
        raise StreamFault(f"content-length {b', '.join(lines)[:60]!r}")
    return int(lines[0])


def from_http1(
    method: bytes,
    target: bytes,
    version: str,
    fields: Sequence[Field],
    *,
    number: int,
    peer: Peer,
    limits: Limits,
    has_body: bool,
    length: int | None,
    scheme: bytes = b"https",
) -> Request:
    """The Request of one HTTP/1 head that http1_guard has let through.

    Args:
        fields: names in lower case, values without surrounding white space.
        version: `1.1` or `1.0`.
        number: of the request on its connection, from 1.
        has_body: as the framing says; `length` is None for a chunked body.

    Errors: Refusal.
    """
    if not _TOKEN.fullmatch(method):
        raise Refusal(400, "The request method is not valid.")
    if method == b"CONNECT":
        raise Refusal(501, "CONNECT is not supported.")
    if len(target) > limits.request_target_bytes:
        raise Refusal(414, "The request target is too long.", f"{len(target)} bytes")
    if len(fields) > limits.request_fields:
        raise Refusal(431, "The request has too many header fields.", f"{len(fields)} fields")
    size = FIELD_OVERHEAD_BYTES * len(fields)
    for name, value in fields:
        size += len(name) + len(value)
        if not _LOWER_TOKEN.fullmatch(name) or not _VALUE.fullmatch(value):
            raise Refusal(400, "A header field is malformed.", f"field {name[:40]!r}")
    headers = Headers(fields)
    hosts = headers.lines(b"host")
    if len(hosts) > 1 or (version == "1.1" and not hosts):
        raise Refusal(400, "A request has exactly one Host field.", f"{len(hosts)} Host fields")
    authority = hosts[0] if hosts else b""
    if target[:1] != b"/" and not (target == b"*" and method == b"OPTIONS"):
        scheme, authority, target = _absolute_form(target)
    request = _build(
        method, target, authority, headers, version=version, number=number, peer=peer, limits=limits,
        has_body=has_body, length=length, scheme=scheme, expects_continue=_expectation(headers, version),
    )  # fmt: skip
    if size > limits.request_head_bytes:  # last, because h11 looks at Host and llhttp at the target before we do
        raise Refusal(431, "The request header fields are too large.", f"{size} bytes in {len(fields)} fields")
    return request


_ABSOLUTE = re.compile(rb"(?i:(https?))://([^/?#]+)([/?].*)?")


def _absolute_form(target: bytes) -> tuple[bytes, bytes, bytes]:
    """RFC 9112, section 3.2.2: its authority wins over Host."""
    match = _ABSOLUTE.fullmatch(target)
    if match is None:
        raise Refusal(400, "The request target is not valid.", f"target {target[:80]!r}")
    rest = match[3] or b"/"
    return match[1].lower(), match[2], rest if rest[:1] == b"/" else b"/" + rest


def _build(
    method: bytes,
    target: bytes,
    authority: bytes,
    headers: Headers,
    *,
    version: str,
    number: int,
    peer: Peer,
    limits: Limits,
    has_body: bool,
    length: int | None,
    scheme: bytes,
    expects_continue: bool,
) -> Request:
    if len(target) > limits.request_target_bytes:
        raise Refusal(414, "The request target is too long.", f"{len(target)} bytes")
    if scheme != (b"https" if peer.tls.version else b"http"):
        raise Refusal(421, "The request is not for this scheme.", f"scheme {scheme[:20]!r}")
    named, host = _parse_authority(authority) if authority else ("", "")
    if target == b"*":
        path, query = "*", b""
    else:
        path, query = _parse_short_target(target) if len(target) <= _SHORT_TARGET_BYTES else parse_target(target)
    if length is not None and length > limits.request_body_bytes:
        raise Refusal(413, "The request body is too large.", f"{length} bytes announced")
    return Request(
        _METHODS.get(method) or method.decode("ascii"),
        path,
        headers,
        peer=peer,
        scheme=scheme.decode("ascii"),
        authority=named,
        host=host,
        target=target,
        query=query,
        http_version=version,
        stream_id=number,
        has_body=has_body,
        content_length=length,
        expects_continue=expects_continue,
    )


def _expectation(headers: Headers, version: str) -> bool:
    expect = headers.get(b"expect")
    if expect is None or version == "1.0":
        return False
    if expect.lower() != b"100-continue":
        raise Refusal(417, "The expectation is not supported.", f"expect {expect[:40]!r}")
    return True


def checked_trailers(fields: Sequence[Field], limits: Limits) -> Fields:
    """The trailer fields that may be seen by a handler; those that frame, route or authorise are dropped.

    Errors: StreamFault for malformed ones, pseudo-header fields included, and for too many or too large ones.
    """
    size = 0
    for name, value in fields:
        size += len(name) + len(value) + FIELD_OVERHEAD_BYTES
        if not _LOWER_TOKEN.fullmatch(name) or not _VALUE.fullmatch(value):
            raise StreamFault(f"trailer field {name[:40]!r} is malformed")
    if len(fields) > limits.request_fields or size > limits.trailer_bytes:
        raise StreamFault(f"{len(fields)} trailer fields of {size} bytes")
    return tuple(field for field in fields if field[0] not in FORBIDDEN_TRAILERS)
