"""One validated request head, and who sent it.

A `Request` is made only by protocol/request_head, after every check; nothing changes it afterwards (treat it as
frozen: it has no __setattr__ guard because it is made once a request on the hot path). What stages find out about a
request goes into its `Facts`, so that a Request can be shared and reused.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Final, Literal, Protocol

from securelight.model.headers import Fields, Headers

if TYPE_CHECKING:
    from collections.abc import Callable

    from securelight.model.client_certificate import ClientCertificate
    from securelight.model.errors import Refusal


@dataclass(frozen=True, slots=True)
class TlsFacts:
    """What the handshake of a connection settled."""

    version: str = ""
    """As OpenSSL names it, e.g. `TLSv1.3`."""
    cipher: str = ""
    server_name: str = ""
    """The SNI, lower case; empty if the client sent none."""
    alpn: str = ""
    resumed: bool = False
    client_certificate: ClientCertificate | None = None
    """The client's, as verified for `asked_by`; for its requests alone, which find it in Facts.certificate."""
    asked_by: str = ""
    """The site (SiteConfig.where) by whose rules the handshake asked for it; empty if it did not."""


NO_TLS = TlsFacts()
"""Of plain HTTP, and of a connection whose handshake is under way."""

UNIX: Final[Literal["unix:"]] = "unix:"
"""The address of a client that came by a unix socket."""


@dataclass(frozen=True, slots=True)
class Peer:
    """The other end of one connection."""

    address: str
    """IP address as text, without brackets; UNIX on a unix socket."""
    port: int
    """On a unix socket a number that tells its connections apart."""
    local_address: str = ""
    """`unix:` and the path of a unix socket."""
    local_port: int = 0
    tls: TlsFacts = NO_TLS

    def with_tls(self, tls: TlsFacts) -> Peer:
        """The same, after a handshake; dataclasses.replace takes four times as long, and each connection does it."""
        return Peer(self.address, self.port, self.local_address, self.local_port, tls)


class Request:
    """One request head.

    Attributes:
        method: as sent, e.g. `GET` (case-sensitive, RFC 9110, section 9.1).
        scheme: `https` or `http`.
        authority: host and port as the client named them, lower case; empty only for HTTP/1.0 without Host.
        host: the authority without its port; an IPv6 address keeps its brackets.
        path: percent-decoded once and normalised: begins with a slash, has no dot segments, no empty segments but
            perhaps the last, no control characters; bytes that are not UTF-8 are surrogate-escaped. `*` for OPTIONS *.
        target: the request target as received (origin form: path and query), for logs and applications.
        query: what follows the first `?`, undecoded and without it.
        headers: all fields but pseudo-header fields; HTTP/2's :authority is present as `host`.
        http_version: `2`, `1.1` or `1.0`.
        stream_id: the HTTP/2 stream; on HTTP/1 the number of the request on its connection, from 1.
        has_body: whether a body follows (its events come later).
        content_length: the announced length of the body in bytes; None if none was announced.
        expects_continue: whether the client waits for 100 (Continue) before it sends the body.
        peer: who sent it.
    """

    __slots__ = (
        "authority", "content_length", "expects_continue", "has_body", "headers", "host", "http_version", "method",
        "path", "peer", "query", "scheme", "stream_id", "target",
    )  # fmt: skip

    def __init__(
        self,
        method: str,
        path: str,
        headers: Headers,
        *,
        peer: Peer,
        scheme: str = "https",
        authority: str = "",
        host: str = "",
        target: bytes = b"",
        query: bytes = b"",
        http_version: str = "1.1",
        stream_id: int = 1,
        has_body: bool = False,
        content_length: int | None = None,
        expects_continue: bool = False,
    ) -> None:
        self.method = method
        self.scheme = scheme
        self.authority = authority
        self.host = host
        self.path = path
        self.target = target
        self.query = query
        self.headers = headers
        self.http_version = http_version
        self.stream_id = stream_id
        self.has_body = has_body
        self.content_length = content_length
        self.expects_continue = expects_continue
        self.peer = peer

    def again(self, stream_id: int, peer: Peer, fields: Fields = ()) -> Request:
        """The same head, come again on another stream, perhaps with these `fields` for headers."""
        request = Request.__new__(Request)
        request.method = self.method
        request.scheme = self.scheme
        request.authority = self.authority
        request.host = self.host
        request.path = self.path
        request.target = self.target
        request.query = self.query
        request.headers = Headers(fields) if fields else self.headers
        request.http_version = self.http_version
        request.stream_id = stream_id
        request.has_body = self.has_body
        request.content_length = self.content_length
        request.expects_continue = self.expects_continue
        request.peer = peer
        return request

    def changed(
        self,
        *,
        path: str | None = None,
        target: bytes | None = None,
        query: bytes | None = None,
        headers: Headers | None = None,
    ) -> Request:
        """A copy with what a stage has changed; it is still the same stream."""
        request = self.again(self.stream_id, self.peer)
        request.path = self.path if path is None else path
        request.target = self.target if target is None else target
        request.query = self.query if query is None else query
        request.headers = self.headers if headers is None else headers
        return request

    def __repr__(self) -> str:
        return f"<Request {self.method} {self.target!r} HTTP/{self.http_version} stream {self.stream_id}>"


class Basis(Protocol):
    """Something that was looked at, such as a file, and is believed to be the same for a while.

    Attributes:
        fresh_until: the time.monotonic until which it is believed.
        used: it was of use since somebody looked for what is not.
        impersonal: what rests on it is the same for everybody: it does not depend on credentials either.
    """

    fresh_until: float
    used: bool
    impersonal: ClassVar[bool]


class Place(Protocol):
    """Where an address is from, as far as that is known (files/geo_database)."""

    @property
    def country(self) -> str: ...  # noqa: D102 - two capitals of ISO 3166, or empty
    @property
    def continent(self) -> str: ...  # noqa: D102 - two capitals, or empty
    @property
    def asn(self) -> int: ...  # noqa: D102 - the number of a network, or 0


class Facts:
    """What stages found out about one request; read by handlers, filters and the access log.

    Attributes:
        find_place: tells where an address is from; None without databases of that. The worker sets it for all requests.
        client_address: the client's IP address after trusted proxies.
        user: the authenticated user, or None.
        certificate: the client's certificate, as verified for the site of this request; None on a site that asks for
            none, whatever the connection was opened with.
        captures: named captures of the conditions that matched.
        route_path: the prefix that the chosen route matched, without a trailing slash (ASGI's root_path, CGI's
            SCRIPT_NAME).
        variables: what an authorizer has found out, for applications that are told variables.
        error_id: the id under which our own failure was logged, empty if all went well.
        refusal: why the server itself answered with an error; None for the answer of a handler.
        log: the place of the settings of the access log that it belongs to; empty for the server's own.
        basis: what the answer rests on, if it depends on nothing else but the head: while that is believed, the same
            head gets the same answer, and neither stages, handler nor filters are asked again.
        proof: what a stage that takes each proof once has taken of this request, should it see it again after a
            rewrite; not there otherwise.
    """

    __slots__ = (
        "basis", "captures", "certificate", "client_address", "error_id", "log", "proof", "refusal", "route_path",
        "user", "variables",
    )  # fmt: skip
    proof: tuple[str, str]
    find_place: ClassVar[Callable[[str], Place] | None] = None

    def __init__(self, client_address: str) -> None:
        self.client_address = client_address
        self.user: str | None = None
        self.certificate: ClientCertificate | None = None
        self.captures: dict[str, str] | None = None
        self.variables: dict[str, str] | None = None
        self.route_path = ""
        self.error_id = ""
        self.refusal: Refusal | None = None
        self.log = ""
        self.basis: Basis | None = None

    def place(self, kind: str) -> str:
        """The `country`, `continent` or `asn` of the client's address; empty if it is not known."""
        find = Facts.find_place
        return "" if find is None else str(getattr(find(self.client_address), kind) or "")
