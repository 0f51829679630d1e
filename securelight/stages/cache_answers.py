"""What a kept answer gives to a request with conditions or a range, and what an old one has the server behind asked.

RFC 9110, sections 13 and 14; RFC 9111, sections 3.2, 4.3 and 4.4. Pure functions of heads.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urljoin, urlsplit

from securelight.files.byte_range import parse_range
from securelight.files.cache_rules import without_framing
from securelight.files.etag import is_listed
from securelight.files.preconditions import CONDITIONAL_NAMES
from securelight.model.dates import parse_http_date
from securelight.model.errors import Refusal
from securelight.model.headers import Headers
from securelight.model.response import Response

if TYPE_CHECKING:
    from securelight.files.cache_store import Entry
    from securelight.model.headers import Fields
    from securelight.model.request import Request

_OF_THE_BODY = frozenset({b"content-encoding", b"content-range", b"content-md5", b"content-digest", b"etag"})
"""What a 304 cannot change, because the body that it speaks of is the one that is kept."""
_REFERENCE_BYTES = 8_192


def url_of(scheme: str, authority: str, target: bytes) -> bytes:
    """What an answer is kept under."""
    return b"%b %b %b" % (scheme.encode(), authority.encode(), target)


def conditioned(response: Response, request: Request) -> Response:
    """The kept `response`, or the 304 or 206 that the conditions and the range of `request` make of it.

    One range is cut out; for several the whole is sent, which every client has to expect (RFC 9110, section 14.2).

    Errors: Refusal 416.
    """
    headers = request.headers
    if response.status != 200 or headers.isdisjoint(CONDITIONAL_NAMES):
        return response
    head = Headers(response.fields)
    etag, modified = head.get(b"etag"), head.get(b"last-modified")
    if_none_match = headers.get(b"if-none-match")
    if if_none_match is not None:
        same = etag is not None and is_listed(if_none_match, etag.removeprefix(b"W/"), weak=True)
    else:
        since = parse_http_date(headers.get(b"if-modified-since") or b"")
        moment = parse_http_date(modified or b"")
        same = since is not None and moment is not None and moment <= since
    if same:
        return Response(304, tuple(field for field in response.fields if not field[0].startswith(b"content-")))
    wanted = headers.get(b"range")
    body = response.body
    if wanted is None or request.method != "GET" or not isinstance(body, bytes):
        return response
    condition = headers.get(b"if-range")
    if condition is not None and (condition != etag or etag.startswith(b"W/")):
        return response
    size = len(body)
    ranges = parse_range(wanted, size, 1)
    if ranges is None:
        return response
    if not ranges:
        raise Refusal(416, f"It has {size} bytes.", fields=((b"content-range", b"bytes */%d" % size),))
    start, end = ranges[0]
    return Response(
        206, (*response.fields, (b"content-range", b"bytes %d-%d/%d" % (start, end - 1, size))), body[start:end]
    )


def with_conditions(request: Request, stale: Entry) -> Request:
    """`request`, asking whether the kept answer is still good; the same object if that has no validator."""
    head = Headers(stale.facts.fields)
    etag, modified = head.get(b"etag"), head.get(b"last-modified")
    if etag is None and modified is None:
        return request
    asked = request.again(request.stream_id, request.peer)
    fields = [field for field in request.headers.fields if field[0] not in CONDITIONAL_NAMES]
    if etag is not None:
        fields.append((b"if-none-match", etag))
    if modified is not None:
        fields.append((b"if-modified-since", modified))
    asked.headers = Headers(fields)
    return asked


def renewed_fields(stale: Entry, confirmation: Response) -> Fields:
    """The fields of a kept answer that a 304 confirms (RFC 9111, section 3.2)."""
    new = tuple(field for field in confirmation.fields if field[0] not in _OF_THE_BODY)
    replaced = {name for name, _ in new}
    return (*(field for field in stale.facts.fields if field[0] not in replaced), *without_framing(new))


def changed_urls(request: Request, response: Response) -> list[bytes]:
    """What has to be forgotten after the change `request` succeeded (RFC 9111, section 4.4).

    That is its own URL, and those in Location and Content-Location if they are of the same origin.
    """
    found = [url_of(request.scheme, request.authority, request.target)]
    base = f"{request.scheme}://{request.authority}{request.target.decode('ascii', 'replace')}"
    for name, value in response.fields:
        if name in (b"location", b"content-location") and len(value) <= _REFERENCE_BYTES:
            try:
                parts = urlsplit(urljoin(base, value.decode("ascii")))
            except ValueError:
                continue
            if (parts.scheme, parts.netloc) == (request.scheme, request.authority):
                target = parts._replace(scheme="", netloc="", fragment="").geturl()
                found.append(url_of(request.scheme, request.authority, (target or "/").encode()))
    return found
