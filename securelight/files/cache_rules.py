"""What a shared cache may keep and for how long (RFC 9111): pure functions of heads.

Careful where the RFC leaves a choice: no lifetime is guessed from Last-Modified; an answer to a request with a cookie
is kept only if it says that it is for everybody (`public`, `s-maxage`); one that sets a cookie is not kept.
"""

from __future__ import annotations

import hashlib
import time
from typing import TYPE_CHECKING, NamedTuple

from securelight.model.dates import parse_http_date

if TYPE_CHECKING:
    from securelight.model.headers import Fields, Headers

_DIRECTIVES = 64
"""Directives beyond these are not read."""
MOST_SECONDS = 315_360_000
"""Ten years: longer lifetimes are cut to it."""
_VARY_NAMES = 16
_STATUSES = frozenset({200, 203, 204, 300, 301, 308, 404, 405, 410, 414, 501})
"""What may be kept by a default lifetime (RFC 9110, section 15.1); with a lifetime of its own, any final status but
those of parts and of validation."""
_NEVER = frozenset({206, 304})
_UNDERSTOOD = _STATUSES | {302, 303, 307, 400, 403, 409, 413, 415, 422, 451, 500, 502, 503, 504}
"""Statuses whose meaning asks nothing more of a cache than it does for all."""
_CASELESS = frozenset({b"accept-encoding", b"accept-language"})
"""Request fields in which case means nothing. Nor does order, but many applications take the first language of several
that are wanted equally, so only that of codings is overlooked (RFC 9110, section 12.5)."""
_ONLY = hashlib.blake2b(digest_size=16).digest()
"""The variant of what depends on no field."""
PERSONAL = frozenset({b"cookie", b"authorization"})


class Lifetime(NamedTuple):
    """How long an answer may be used.

    Attributes:
        fresh_seconds: without asking.
        revalidate_seconds: after that, while the next one is fetched in the background (RFC 5861).
        error_seconds: after that, while no other can be had.
        for_everybody: it says so, so cookies and passwords in the request do not matter.
    """

    fresh_seconds: int
    revalidate_seconds: int
    error_seconds: int
    for_everybody: bool


def directives(value: bytes | None) -> dict[bytes, bytes]:
    """A Cache-Control field: directive in lower case to its argument, without quotes. The first of two counts."""
    found: dict[bytes, bytes] = {}
    for member in (value or b"").split(b",", _DIRECTIVES)[:_DIRECTIVES]:
        name, _, argument = member.strip(b" \t").partition(b"=")
        if name:
            found.setdefault(name.strip(b" \t").lower(), argument.strip(b' \t"'))
    return found


def _seconds(value: bytes | None) -> int | None:
    """A delta-seconds; None if there is none, 0 if it cannot be read (RFC 9111, section 4.2.1: treat as stale)."""
    if value is None:
        return None
    if not value.isdigit():
        return 0
    return min(int(value[:12]), MOST_SECONDS)


def lifetime(
    request: Headers,
    status: int,
    response: Headers,
    *,
    default_seconds: int = 0,
    default_stale_seconds: int = 0,
    anyway: frozenset[str] = frozenset(),
) -> Lifetime | None:
    """How long the answer `response` to a GET with the head `request` may be used; None if it must not be kept.

    Args:
        default_seconds: for one that says nothing.
        default_stale_seconds: how long a stale one may stand in while no other can be had, where it says nothing.
        anyway: what does not matter: `private`, `set-cookie`, `cookie` (of the request).
    """
    said = directives(response.get(b"cache-control"))
    if b"must-understand" in said:  # RFC 9111, section 5.2.2.3
        if status not in _UNDERSTOOD:
            return None
        said.pop(b"no-store", None)
    if status in _NEVER or b"no-store" in said or (b"private" in said and "private" not in anyway):
        return None
    if b"no-store" in directives(request.get(b"cache-control")):
        return None
    if names_in_vary(response) is None or b"content-range" in response:
        return None
    if b"set-cookie" in response and "set-cookie" not in anyway:
        return None
    shared = _seconds(said.get(b"s-maxage"))
    for_everybody = b"public" in said or shared is not None
    if b"authorization" in request and not (for_everybody or b"must-revalidate" in said):
        return None
    if b"cookie" in request and not for_everybody and "cookie" not in anyway:
        return None
    fresh = shared
    if fresh is None:
        fresh = _seconds(said.get(b"max-age"))
    if fresh is None and b"expires" in response:
        fresh = _until(response.get(b"expires"))
    if fresh is None and status in _STATUSES:
        fresh = default_seconds
    validated = b"etag" in response or b"last-modified" in response
    if b"no-cache" in said:
        fresh = 0
    if fresh is None or (fresh == 0 and not validated):
        return None
    strict = b"must-revalidate" in said or b"proxy-revalidate" in said or shared is not None or b"no-cache" in said
    if strict:
        return Lifetime(fresh, 0, 0, for_everybody)
    error = _seconds(said.get(b"stale-if-error"))
    return Lifetime(
        fresh,
        _seconds(said.get(b"stale-while-revalidate")) or 0,
        default_stale_seconds if error is None else error,
        for_everybody,
    )


def _until(expires: bytes | None) -> int:
    """Seconds to a moment; 0 if it cannot be read or is past (RFC 9111, section 5.3)."""
    moment = parse_http_date(expires or b"")
    return 0 if moment is None else max(0, min(int(moment - time.time()), MOST_SECONDS))


def age_of(response: Headers) -> int:
    """The age that an answer had when it came."""
    value = response.get(b"age")
    return 0 if value is None else _seconds(value.partition(b",")[0].strip()) or 0


def names_in_vary(response: Headers) -> tuple[bytes, ...] | None:
    """The request fields that the answer depends on, sorted; None if no other request will ever get it."""
    value = response.get(b"vary")
    if value is None:
        return ()
    names = sorted({name.strip().lower() for name in value.split(b",")} - {b""})
    return None if b"*" in names or len(names) > _VARY_NAMES else tuple(names)


def variant_of(names: tuple[bytes, ...], request: Headers) -> bytes:
    """What tells one variant from another: a digest of those fields of the request."""
    if not names:
        return _ONLY
    digest = hashlib.blake2b(digest_size=16)
    for name in names:
        value = request.get(name)
        if value is None:
            text = b"-"
        else:
            parts = [part.strip() for part in value.split(b",")]
            if name in _CASELESS:
                parts = [part.replace(b" ", b"").lower() for part in parts]
            text = b"+" + b",".join(sorted(parts) if name == b"accept-encoding" else parts)
        digest.update(b"%b:%d:%b;" % (name, len(text), text))
    return digest.digest()


def tags_of(response: Headers) -> tuple[bytes, ...]:
    """The names that a group of answers can be purged by, from Cache-Tag or Surrogate-Key."""
    found = (response.get(b"cache-tag") or b"").replace(b",", b" ").split()
    found += (response.get(b"surrogate-key") or b"").split()
    return tuple(dict.fromkeys(tag[:128] for tag in found[:64]))


def wants_fresh(request: Headers, age: int, left: int) -> bool:
    """Whether the client accepts nothing kept that is so old, or fresh for only so long (RFC 9111, section 5.2.1)."""
    value = request.get(b"cache-control")
    if value is None:
        return b"no-cache" in (request.get(b"pragma") or b"")
    said = directives(value)
    oldest, least = _seconds(said.get(b"max-age")), _seconds(said.get(b"min-fresh"))
    return b"no-cache" in said or (oldest is not None and age >= oldest) or (least is not None and left < least)


def without_framing(fields: Fields, *, cookies: bool = True) -> Fields:
    """What is kept of the fields of an answer: not its age, nor what other caches said, nor `cookies` if those go."""
    left_out = _NOT_KEPT if cookies else _NOT_KEPT | {b"set-cookie"}
    return tuple(field for field in fields if field[0] not in left_out)


_NOT_KEPT = frozenset({b"age", b"cache-status", b"cache-tag", b"surrogate-key"})
