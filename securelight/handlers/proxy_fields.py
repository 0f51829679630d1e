"""The fields of a request as the server behind us gets them, and those of its response as the client gets them.

Fields that are about one connection only end here, those that `Connection` names among them (RFC 9110, section 7.6.1);
so does everything with which a client could pass for somebody else. Framing is left to those who write the messages.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import quote

from securelight.model.claimed_fields import spellings
from securelight.model.forwarded import is_forwarding
from securelight.model.response import FRAMING_FIELDS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from securelight.model.forwarded import ForwardingFields
    from securelight.model.headers import Field, Fields
    from securelight.model.request import Facts, Request

HOP_BY_HOP = frozenset(
    b"connection content-length expect host keep-alive proxy proxy-authenticate proxy-authorization proxy-connection "
    b"te transfer-encoding upgrade http2-settings".split()
)
"""Of requests: never copied. `proxy` is no field at all, but HTTP_PROXY to a careless CGI."""
_NEVER_NAMED = frozenset({b"host", b"content-length", b"transfer-encoding", b"cache-control", b"authorization"})
"""What `Connection` can't take away from a request: a client would use it to confuse the server behind."""

_DOT_SEGMENT = re.compile(rb"(?:/|%2[fF])(?:\.|%2[eE]){1,2}(?=/|%2[fF]|\Z)")
_PATH_SAFE = "/!$&'()*+,;=:@~"
PLACEHOLDER = re.compile(r"\{([a-z_]+)\}")

VALUES: dict[str, Callable[[Request, Facts, str], str]] = {
    "client_address": lambda _request, _facts, client: client,
    "host": lambda request, _facts, _client: request.authority,
    "scheme": lambda request, _facts, _client: request.scheme,
    "user": lambda _request, facts, _client: facts.user or "",
    "tls_version": lambda request, _facts, _client: request.peer.tls.version,
    "country": lambda _request, facts, _client: facts.place("country"),
    "continent": lambda _request, facts, _client: facts.place("continent"),
    "asn": lambda _request, facts, _client: facts.place("asn"),
}
"""What may stand in braces in the value of a field that is set."""


class RequestFields:
    """Makes the fields of requests.

    Args:
        forwarding: who asks.
        host: the Host field; "" to keep what the client asked for.
        set_fields, add_fields: values by name; `set_fields` replace what the client sent.
        remove_fields: names of fields that are not passed on.
    """

    __slots__ = ("_added", "_forwarding", "_host", "_removed", "repeats")

    def __init__(
        self,
        forwarding: ForwardingFields,
        host: str,
        *,
        set_fields: Mapping[str, str],
        add_fields: Mapping[str, str],
        remove_fields: Sequence[str],
    ) -> None:
        self._forwarding = forwarding
        self._host = host.encode("ascii")
        # What a client sends as x_user is x-user to servers that speak CGI inside.
        self._removed = frozenset().union(*map(spellings, (*set_fields, *remove_fields)))
        self._added = [
            (name.lower().encode("ascii"), value, PLACEHOLDER.search(value) is not None)
            for name, value in (*set_fields.items(), *add_fields.items())
        ]
        self.repeats = not any(filled for _name, _value, filled in self._added)
        """Whether the fields of two requests with the same head and from the same client are the same."""

    def of(self, request: Request, facts: Facts, own_host: str) -> list[Field]:
        """The fields for one request, Host first; `own_host` names the server itself."""
        headers = request.headers
        named = headers.get(b"connection")
        dropped = HOP_BY_HOP if named is None else HOP_BY_HOP | (_tokens(named) - _NEVER_NAMED)
        host = self._host or request.authority.encode("ascii") or own_host.encode("ascii")
        if host == b"upstream":
            host = own_host.encode("ascii")
        fields: list[Field] = [(b"host", host)]
        cookies: list[bytes] = []
        removed = self._removed
        for field in headers.fields:
            name = field[0]
            if name in dropped or name in removed or is_forwarding(name):
                continue
            if name == b"cookie":
                cookies.append(field[1])
            else:
                fields.append(field)
        if cookies:  # crumbs of HTTP/2 become one line again (RFC 9113, section 8.2.3)
            fields.append((b"cookie", b"; ".join(cookies)))
        te = headers.get(b"te")
        if te is not None and b"trailers" in _tokens(te):
            fields.append((b"te", b"trailers"))
        self._forwarding.add_to(fields, request)
        if removed:
            fields = [field for field in fields if field[0] not in removed or field[0] == b"host"]
        for name, value, has_placeholders in self._added:
            filled = self._filled(value, request, facts) if has_placeholders else value
            fields.append((name, filled.encode("ascii", "replace")))
        return fields

    def _filled(self, value: str, request: Request, facts: Facts) -> str:
        client = self._forwarding.client_address(request, facts)
        filled = PLACEHOLDER.sub(lambda match: VALUES[match[1]](request, facts, client), value)
        return re.sub(r"[^ -~]", "?", filled).strip()


def _tokens(value: bytes) -> frozenset[bytes]:
    return frozenset(part.strip(b" \t").partition(b";")[0].lower() for part in value.split(b","))


def upstream_target(request: Request, strip: str) -> bytes:
    """The target that the server behind is asked for.

    As the client wrote it, so that escapes keep their meaning; but where it has dot segments, plain or escaped, the
    normalised path that our own rules have judged: no two readings of one path.

    Args:
        request: its target and path.
        strip: a prefix of the path to leave out, without a slash at its end; "" for none.
    """
    raw, mark, query = request.target.partition(b"?")
    if request.path == "*":
        return raw
    prefix = strip.encode("utf-8", "surrogateescape")
    if _DOT_SEGMENT.search(raw) or (prefix and not (raw == prefix or raw.startswith(prefix + b"/"))):
        raw = quote(request.path.encode("utf-8", "surrogateescape"), safe=_PATH_SAFE).encode("ascii")
        prefix = quote(prefix, safe=_PATH_SAFE).encode("ascii")
    if prefix:
        raw = raw[len(prefix) :] or b"/"
    return raw + mark + query


def response_fields(fields: Fields) -> list[Field]:
    """What of the upstream's response fields goes on to the client."""
    dropped = FRAMING_FIELDS
    for name, value in fields:
        if name == b"connection":
            named = _tokens(value) - {b"close", b"keep-alive"}
            if named:
                dropped = dropped | named
    return [field for field in fields if field[0] not in dropped]


def with_own_location(fields: list[Field], own_urls: tuple[bytes, ...], prefix: bytes) -> list[Field]:
    """`fields` with a Location that names the server behind us turned into a path on this one.

    Args:
        fields: of a response.
        own_urls: what such a Location begins with, such as `http://127.0.0.1:9000`.
        prefix: what `upstream_target` has left out.
    """
    for index, (name, value) in enumerate(fields):
        if name != b"location":
            continue
        path = value
        for url in own_urls:
            if value.startswith(url) and value[len(url) : len(url) + 1] in (b"", b"/", b"?", b"#"):
                path = b"/" + value[len(url) :].lstrip(b"/")  # two slashes would begin another host
                break
        if prefix and path[:1] == b"/" and path[1:2] != b"/" and path != prefix and not path.startswith(prefix + b"/"):
            path = prefix + path
        fields[index] = (name, path)
    return fields
