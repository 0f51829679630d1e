"""Errors that another route answers: an application's page for a 404, with the status that the client would have got.

The route of an internal path is asked as if by a GET, its handler alone: no stage of it, so that it may be closed for
everybody else, and nobody is counted or asked for a password twice. What it answers goes through its filters. If it
refuses, fails, or is itself in error, the client gets the page that it would have got without; one level deep, so there
are no loops.

The handler is told what happened in the request fields `x-error-status`, `x-original-uri` and `x-original-method`,
which nobody else can set on this way, and in the CGI variables REDIRECT_STATUS and REDIRECT_URL.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, cast

from securelight.model.body import AsyncBody
from securelight.model.claimed_fields import claimed_names, without_claims
from securelight.model.headers import Headers
from securelight.model.request import Request
from securelight.model.response import Response
from securelight.model.uri import parse_target
from securelight.pipeline.compile import Route
from securelight.pipeline.stage import Deferred

if TYPE_CHECKING:
    from collections.abc import Mapping

    from securelight.model.errors import Refusal
    from securelight.model.request import Facts
    from securelight.pipeline.exchange import Exchange

_TOLD: Final = claimed_names(("x-error-status", "x-original-uri", "x-original-method"))
_ABOUT_THE_BODY: Final = frozenset(
    b"content-length content-type content-encoding content-language content-location content-range transfer-encoding "
    b"expect trailer te range if-range if-match if-none-match if-modified-since if-unmodified-since upgrade connection "
    b"sec-websocket-key sec-websocket-version sec-websocket-protocol sec-websocket-extensions".split()
)
"""Fields of the request that are not for the page: it has no body, no range, no upgrade, and no copy at the client."""
_ABOUT_THE_FILE: Final = frozenset({b"etag", b"last-modified", b"accept-ranges", b"content-range"})
"""Fields of the page that would be taken for those of what was asked for."""
_NO_PAGE: Final = frozenset({3, 5})
"""Classes of statuses that are no page for an error."""


class ErrorHandlers:
    """Which errors of a route are answered by which paths.

    Args:
        paths: from a status (`"404"`) or a class (`"4xx"`) to a path, perhaps with a query.
        keep_status: the client gets the status of the error, not that of the page.

    Errors: Refusal for a path that is none.
    """

    __slots__ = ("_targets", "keep_status")

    def __init__(self, paths: Mapping[str, str], *, keep_status: bool) -> None:
        self._targets = {
            status: (path.encode("ascii"), parse_target(path.encode("ascii"))) for status, path in paths.items()
        }
        self.keep_status = keep_status

    def request_for(self, request: Request, status: int) -> Request | None:
        """What to ask instead for an error of `request`; None if nobody answers it."""
        text = str(status)
        found = self._targets.get(text) or self._targets.get(text[0] + "xx")
        if found is None:
            return None
        raw, target = found
        fields = [field for field in without_claims(request.headers.fields, _TOLD) if field[0] not in _ABOUT_THE_BODY]
        fields += [
            (b"x-error-status", text.encode()),
            (b"x-original-uri", request.target),
            (b"x-original-method", request.method.encode("ascii", "replace")),
        ]
        asked = request.changed(path=target.path, target=raw, query=target.query, headers=Headers(fields))
        asked.method = "HEAD" if request.method == "HEAD" else "GET"
        asked.has_body = asked.expects_continue = False
        asked.content_length = None
        return asked


class ErrorRoute(Route):
    """The route that answers an error in place of another.

    Args:
        route: of the internal path.
        page: what the client gets if that has nothing to say.
        refusal: the error.
        keep_status: see ErrorHandlers.
    """

    __slots__ = ("_keep_status", "_page", "_refusal")

    def __init__(self, route: Route, page: Response, refusal: Refusal, *, keep_status: bool) -> None:
        # Never none: who sends an answer may pass `filtered` by where there are no filters.
        super().__init__(route.path, (), _without_body(route), route.filters or (_as_it_is,))
        self._page = page
        self._refusal = refusal
        self._keep_status = keep_status

    def filtered(self, request: Request, facts: Facts, response: Response) -> Response:
        """See Route; the status and fields of the error are put in first."""
        if self._keep_status:
            if response.status // 100 in _NO_PAGE and not isinstance(response.body, AsyncBody):
                response.release()
                return self._page
            fields = [field for field in response.fields if field[0] not in _ABOUT_THE_FILE]
            if not any(name == b"cache-control" for name, _value in fields):
                fields.append((b"cache-control", b"no-store"))
            response = Response(
                self._page.status,
                (*fields, *self._refusal.fields),
                response.body,
                content_length=response.content_length,
            )
        facts.refusal, refusal = None, facts.refusal  # error_pages would take the answer for one of ours
        try:
            return super().filtered(request, facts, response)
        finally:
            facts.refusal = refusal

    def refuse(self, _request: Request, _facts: Facts, _refusal: Refusal) -> Response:
        """The page without a handler."""
        return self._page


def _as_it_is(_request: Request, _facts: Facts, response: Response) -> Response:
    return response


def _without_body(route: Route) -> Any:
    handler = route.bare_handler

    def handle(request: Request, facts: Facts) -> Response | Deferred:
        answer = handler(request, facts)
        if not isinstance(answer, Deferred):
            return answer
        run = answer.run
        return Deferred(lambda exchange: run(cast("Exchange", _BodylessExchange(exchange))))

    return handle


class _BodylessExchange:
    """An Exchange of which the body is kept back: it belongs to the request that was refused."""

    def __init__(self, inner: Exchange) -> None:
        self._inner: Any = inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    async def receive(self, *, ahead: bool = False) -> bytes:
        """Nothing."""
        return b""
