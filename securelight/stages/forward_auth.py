"""Asks another server whether a request may pass, and who it is from: forward auth.

The server gets a GET with the fields of the request, never its body, and X-Forwarded-Method, -Proto, -Host, -Uri and
-For. 2xx lets the request pass, with the fields of the answer that are named in `identity`; the client's own copies of
these never pass, whatever the condition says. 401, 403 and redirects are the client's answer. Everything else, too late
or broken, is a 502, 503 or 504: nothing passes because something broke.
"""

from __future__ import annotations

import hashlib
import re
from collections import OrderedDict
from time import monotonic
from typing import TYPE_CHECKING, Annotated, Final
from urllib.parse import quote

import msgspec

from securelight.config.conditions import Condition
from securelight.model.claimed_fields import claimed_names, without_claims
from securelight.model.errors import CertificateError, Refusal
from securelight.model.field_syntax import is_field_name
from securelight.model.forwarded import is_forwarding
from securelight.model.headers import Headers
from securelight.model.response import FRAMING_FIELDS, Response
from securelight.pipeline.client_identity import MAXIMUM_USER_CHARACTERS
from securelight.pipeline.compile import BuildContext, Feature
from securelight.pipeline.stage import Deferred, Rewritten
from securelight.stages.rules import refuse_faults, test_of, when_faults
from securelight.tls.upstream import upstream_context
from securelight.upstream.address import parse_address
from securelight.upstream.endpoint import ConnectionRules
from securelight.upstream.faults import ConnectFailed, PoolFull, UpstreamFault, UpstreamLate
from securelight.upstream.sub_request import SubRequests

if TYPE_CHECKING:
    import ssl
    from collections.abc import Sequence
    from pathlib import Path

    from securelight.model.headers import Field
    from securelight.model.request import Facts, Request
    from securelight.pipeline.stage import Stage
    from securelight.upstream.sub_request import SubResponse

REMEMBERED: Final = 1_024
"""Answers that let pass, in each worker, where `cache_seconds` is set."""
QUEUE: Final = 256
"""Requests that wait for a connection to the server that decides; those beyond get a 503."""
_ANSWERS: Final = frozenset({301, 302, 303, 307, 308, 401, 403})
"""Of the server that decides, handed to the client."""
_NOT_ASKED: Final = frozenset(
    b"connection content-encoding content-length expect host http2-settings if-match if-modified-since if-none-match "
    b"if-range if-unmodified-since keep-alive proxy proxy-authenticate proxy-authorization proxy-connection range te "
    b"trailer transfer-encoding upgrade x-forwarded-method x-forwarded-uri x-original-method x-original-uri "
    b"x-original-url x-rewrite-url".split()
)
"""What the question does not take over: of the connection, of a body that is not sent, of ranges and copies that only
the real answer has, and what a client could deceive the server with."""
_RESERVED: Final = frozenset({b"host", b"content-length", b"transfer-encoding", b"connection", b"te", b"trailer",
                              b"expect", b"upgrade", b"cookie", b"authorization"})  # fmt: skip
"""What is no identity."""
_TARGET: Final = re.compile(r"/[!-\"$-~]*")
_PATH_SAFE: Final = "/!$&'()*+,;=:@~"


class ForwardAuthConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`forward_auth`: another server decides which requests may pass."""

    upstream: str
    """It: `http://127.0.0.1:9091`, `https://auth.internal`, `h2c://name:port` or `unix:/path/of/socket`."""
    path: str = "/"
    """What it is asked for, perhaps with a query: `/api/authz/forward-auth`."""
    identity: list[str] = []
    """Fields of its answer that the request gets, such as `["Remote-User", "Remote-Groups"]`. Only it may write them:
    what clients send in them is dropped, in every spelling."""
    user: str = ""
    """Which of them is the name of the user, for conditions, logs and REMOTE_USER; the first of them by default."""
    when: Condition | None = None
    """Which requests are asked about; all of them without it."""
    seconds: Annotated[float, msgspec.Meta(gt=0, le=300)] = 5.0
    """For its answer; then 504."""
    connections: Annotated[int, msgspec.Meta(ge=1, le=10_000)] = 32
    """To it, from each worker."""
    cache_seconds: Annotated[float, msgspec.Meta(ge=0, le=3600)] = 0.0
    """For how long the very same question is not asked again once it let a request pass; who was sent away by then
    still comes in. 0 asks about every request."""
    ca: str = ""
    """PEM of the authorities to trust for `https://` and `h2://` instead of the system's."""


def check(settings: ForwardAuthConfig, base: Path) -> Sequence[str]:
    """What is wrong with the settings, besides their types."""
    faults = when_faults(settings.when, "")
    try:
        scheme = parse_address(settings.upstream).scheme
        if scheme in ("https", "h2"):
            _context(settings, base)
        elif settings.ca:
            faults.append("ca is for https:// and h2:// alone")
    except ValueError as error:
        faults.append(f"upstream: {error}")
    except CertificateError as error:
        faults.append(f"ca: {error}")
    if not _TARGET.fullmatch(settings.path):
        faults.append(f"path {settings.path!r} has to begin with a slash and be visible ASCII without #")
    for name in settings.identity:
        if not is_field_name(name):
            faults.append(f"identity: {name!r} is not a field name")
        elif claimed_names([name]) <= _RESERVED or is_forwarding(name.lower().encode()):
            faults.append(f"identity: {name} is no field that says who somebody is")
    if settings.user and settings.user.lower() not in {name.lower() for name in settings.identity}:
        faults.append(f"user {settings.user!r} is none of identity; add it there")
    return faults


def _context(settings: ForwardAuthConfig, base: Path) -> ssl.SSLContext:
    alpn = ("h2",) if settings.upstream.startswith("h2:") else ("http/1.1",)
    return upstream_context(ca=base / settings.ca if settings.ca else None, alpn=alpn)


def build(settings: ForwardAuthConfig, context: BuildContext) -> Stage:
    """The stage; its connections are one of the worker's services.

    Errors: ConfigError for what `check` reports.
    """
    refuse_faults(check(settings, context.base), context)
    address = parse_address(settings.upstream)
    rules = ConnectionRules(
        connect_seconds=settings.seconds,
        maximum=settings.connections,
        idle_maximum=settings.connections,
        queue=QUEUE,
        queue_seconds=settings.seconds,
        tls=_context(settings, context.base) if address.scheme in ("https", "h2") else None,
    )
    server = SubRequests(address, rules, settings.seconds, context.limits)
    context.services.append(server.service)
    gate = _Gate(settings, server)
    test = test_of(settings.when, "", context)
    where = context.where
    claims = gate.identity

    def forward_auth(request: Request, facts: Facts) -> Deferred | Rewritten | None:
        honest = _honest(request, claims)
        if test(honest, facts):
            return Deferred(lambda _exchange: gate.ask(honest, facts, where))
        return None if honest is request else Rewritten(honest, where, restart=False)

    return forward_auth


def _honest(request: Request, claims: frozenset[bytes]) -> Request:
    """`request` without what only the server that decides may say."""
    if not claims:
        return request
    kept = without_claims(request.headers.fields, claims)
    return request if len(kept) == len(request.headers) else request.changed(headers=Headers(kept))


class _Gate:
    """What one route knows of the server that decides."""

    def __init__(self, settings: ForwardAuthConfig, server: SubRequests) -> None:
        self.identity = claimed_names(settings.identity)
        self._wanted = frozenset(name.lower().encode() for name in settings.identity)
        named = settings.user or (settings.identity[0] if settings.identity else "")
        self._user_field = named.lower().encode()
        self._target = settings.path.encode()
        self._server = server
        self._name = settings.upstream
        self._seconds = settings.cache_seconds
        self._passed: OrderedDict[bytes, tuple[float, list[Field]]] = OrderedDict()

    async def ask(self, request: Request, facts: Facts, where: str) -> Response | Rewritten:
        """The request with its identity if it may pass, else the answer.

        Errors: Refusal 502, 503 and 504.
        """
        question = _question(request, facts)
        key = _key(question) if self._seconds else b""
        known = self._passed.get(key)
        if known is not None and monotonic() < known[0]:
            return self._let_pass(request, facts, known[1], where)
        try:
            answer = await self._server.ask(self._target, question)
        except PoolFull as fault:
            raise self._failed(503, str(fault)) from fault
        except UpstreamLate as fault:
            raise self._failed(504, str(fault)) from fault
        except UpstreamFault as fault:
            late = isinstance(fault, ConnectFailed) and fault.late
            raise self._failed(504 if late else 502, str(fault)) from fault
        if answer.status >= 300:
            if answer.status not in _ANSWERS:
                raise self._failed(502, f"it answered with {answer.status}")
            return Response(answer.status, _for_client(answer), answer.body)
        found = [field for field in answer.fields if field[0] in self._wanted]
        if self._seconds:
            self._passed[key] = monotonic() + self._seconds, found
            self._passed.move_to_end(key)
            if len(self._passed) > REMEMBERED:
                self._passed.popitem(last=False)
        return self._let_pass(request, facts, found, where)

    def _let_pass(self, request: Request, facts: Facts, found: list[Field], where: str) -> Rewritten:
        names = [value for name, value in found if name == self._user_field and value]
        if names:
            facts.user = self._user(names)
        if found:
            request = request.changed(headers=Headers([*request.headers.fields, *found]))
        return Rewritten(request, where, restart=False)

    def _user(self, names: list[bytes]) -> str:
        user = names[0].decode("utf-8", "replace")
        if len(names) > 1 or len(user) > MAXIMUM_USER_CHARACTERS or not user.isprintable():
            raise self._failed(502, f"no name of a user: {user[:80]!r}")
        return user

    def _failed(self, status: int, detail: str) -> Refusal:
        return Refusal(
            status, "Whether this is allowed could not be found out.", f"forward auth {self._name}: {detail}"
        )


def _question(request: Request, facts: Facts) -> list[Field]:
    """The fields with which the server that decides is asked."""
    told: list[Field] = []
    cookies: list[bytes] = []
    headers = request.headers
    for name, value in headers.fields:
        if name == b"cookie":
            cookies.append(value)
        elif name.replace(b"_", b"-") not in _NOT_ASKED and not is_forwarding(name):
            told.append((name, value))
    if cookies:  # crumbs of HTTP/2 become one line again (RFC 9113, section 8.2.3)
        told.append((b"cookie", b"; ".join(cookies)))
    scheme, host = request.scheme.encode("ascii"), request.authority.encode("ascii")
    if facts.client_address != request.peer.address:  # a trusted proxy of the site, which is believed in this too
        said = (headers.get(b"x-forwarded-proto") or b"").lower()
        scheme = said if said in (b"http", b"https") else scheme
    # An extended CONNECT opens a WebSocket, which is a GET everywhere else (RFC 8441, section 5).
    method = "GET" if request.method == "CONNECT" else request.method
    path = quote(request.path.encode("utf-8", "surrogateescape"), safe=_PATH_SAFE).encode("ascii")
    told += [
        (b"x-forwarded-method", method.encode("ascii")),
        (b"x-forwarded-proto", scheme),
        (b"x-forwarded-host", host),
        # The path that our own rules judge, not one that could be read in two ways.
        (b"x-forwarded-uri", path + b"?" + request.query if request.query else path),
    ]
    if facts.client_address:
        told.append((b"x-forwarded-for", facts.client_address.encode("ascii")))
    return told


def _key(question: list[Field]) -> bytes:
    digest = hashlib.blake2b(digest_size=32)
    for name, value in question:  # neither can have a line break in it
        digest.update(name + b":" + value + b"\n")
    return digest.digest()


def _for_client(answer: SubResponse) -> tuple[Field, ...]:
    dropped = FRAMING_FIELDS | {b"te", b"trailer", b"alt-svc"}
    for name, value in answer.fields:
        if name == b"connection":
            dropped = dropped | {option.strip(b" \t").lower() for option in value.split(b",")}
    fields = [field for field in answer.fields if field[0] not in dropped]
    if not any(name == b"cache-control" for name, _ in fields):
        fields.append((b"cache-control", b"no-store"))  # it is about this user, and a 301 would be kept for ever
    return tuple(fields)


FEATURE = Feature(
    name="forward_auth", kind="stage", config_class=ForwardAuthConfig, build=build, check=check, finds_user=True
)
