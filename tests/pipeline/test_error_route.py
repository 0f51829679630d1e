"""Errors that another route answers; tests/wire/test_error_handlers.py has what clients and applications see of it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from securelight.model.errors import Refusal
from securelight.model.limits import Limits
from securelight.model.request import Facts, Request
from securelight.model.response import Response
from securelight.model.status import error_response
from securelight.pipeline.compile import CompiledSites, Route
from securelight.pipeline.error_route import ErrorHandlers, ErrorRoute
from securelight.pipeline.run import run
from tests.helpers import SilentEvents, field, make_facts, make_request


def refused(request: Request, _facts: Facts) -> Response:
    raise Refusal(404, fields=((b"x-of-the-error", b"1"),)) if "missing" in request.path else Refusal(403)


def page(request: Request, _facts: Facts) -> Response:
    assert not request.has_body
    told = b" ".join(request.headers.get(name) or b"-" for name in (b"x-error-status", b"x-original-uri"))
    return Response(200, ((b"etag", b'"page"'), (b"content-type", b"text/plain")), told)


def sites_with(
    handlers: dict[str, str], *, keep_status: bool = True, **others: Callable[..., Response]
) -> CompiledSites:
    """A site that refuses everything but `/page`."""
    sites = CompiledSites(Limits(), SilentEvents())
    first, second = Route("/", (), refused), Route("/page", (), page)
    first.error_handlers = second.error_handlers = ErrorHandlers(handlers, keep_status=keep_status)
    sites.add(["a.test"], [first, second, *(Route(f"/{name}", (), handler) for name, handler in others.items())])
    return sites


def answer(sites: CompiledSites, request: Request) -> Response:
    answered = run(sites, request, make_facts())
    assert isinstance(answered, Response)
    return answered


def missing(method: str = "GET") -> Request:
    return make_request(method, "/missing", {b"x-original-uri": b"/forged", b"range": b"bytes=0-1"}).changed(
        target=b"/missing?a"
    )


def test_the_page_has_the_status_and_fields_of_the_error() -> None:
    response = answer(sites_with({"404": "/page"}), missing())
    assert (response.status, response.body) == (404, b"404 /missing?a")
    assert field(response, b"x-of-the-error") == b"1"
    assert field(response, b"etag") is None
    assert field(response, b"cache-control") == b"no-store"
    assert response.content_length == len(b"404 /missing?a")


def test_or_its_own_if_that_is_wished() -> None:
    response = answer(sites_with({"4xx": "/page"}, keep_status=False), missing())
    assert (response.status, field(response, b"etag")) == (200, b'"page"')


@pytest.mark.parametrize("handler", ["/", "/missing/again", "/page/missing", "/nowhere"])
def test_what_refuses_is_not_asked_again(handler: str) -> None:
    asked: list[str] = []

    def counted(request: Request, facts: Facts) -> Response:
        asked.append(request.path)
        return refused(request, facts)

    sites = sites_with({"4xx": handler, "403": "/page"})
    for route in (Route("/", (), counted), Route("/page", (), counted)):
        route.error_handlers = ErrorHandlers({"4xx": handler}, keep_status=True)
        sites._exact["a.test"] = (*(one for one in sites._exact["a.test"] if one.path != route.path), route)
    response = answer(sites, missing())
    assert response.status == 404
    assert isinstance(response.body, bytes)
    assert b"404 Not Found" in response.body
    assert len(asked) <= 2


def test_other_errors_are_left_alone() -> None:
    response = answer(sites_with({"404": "/page"}), make_request(path="/other"))
    assert (response.status, field(response, b"x-of-the-error")) == (403, None)


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "BREW", "CONNECT"])
def test_the_page_is_asked_for_with_get(method: str) -> None:
    handlers = ErrorHandlers({"404": "/page?x=1"}, keep_status=True)
    request = Request(
        method, "/missing", missing().headers, peer=missing().peer, has_body=True, content_length=5,
        expects_continue=True, target=b"/missing",
    )  # fmt: skip
    asked = handlers.request_for(request, 404)
    assert asked is not None
    assert asked.method == ("HEAD" if method == "HEAD" else "GET")
    assert (asked.path, asked.query, asked.target) == ("/page", b"x=1", b"/page?x=1")
    assert (asked.has_body, asked.content_length, asked.expects_continue) == (False, None, False)
    assert asked.headers.get(b"x-original-uri") == b"/missing"
    assert asked.headers.get(b"range") is None
    assert handlers.request_for(request, 500) is None


def test_the_answer_always_passes_it() -> None:
    """Who sends an answer looks whether there are filters at all."""
    refusal = Refusal(404)
    route = ErrorRoute(Route("/page", (), page), error_response(refusal), refusal, keep_status=True)
    assert route.filters
    assert route.filtered(make_request(), make_facts(), Response(200, (), b"x")).status == 404
