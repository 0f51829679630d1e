"""The engine: a flat loop over compiled stages, then the handler, then the filters.

All of it is synchronous. What has to wait is handed back as a Deferred, and `finish` is called with its outcome in the
stream's task.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from securelight.model.errors import Refusal
from securelight.pipeline.error_route import ErrorRoute
from securelight.pipeline.stage import Deferred, Rewritten

if TYPE_CHECKING:
    from securelight.model.request import Facts, Request
    from securelight.model.response import Response
    from securelight.pipeline.compile import CompiledSites, Route

MISDIRECTED = 421
"""Whoever is told so sees nothing of the site."""


class Outcome:
    """A Deferred on its way: what `finish` needs to go on."""

    __slots__ = ("deferred", "facts", "request", "rewrites", "route")

    def __init__(self, deferred: Deferred, route: Route, request: Request, facts: Facts, rewrites: int) -> None:
        self.deferred = deferred
        self.route = route
        self.request = request
        self.facts = facts
        self.rewrites = rewrites


def run(sites: CompiledSites, request: Request, facts: Facts, rewrites: int = 0) -> Response | Outcome:
    """Answer `request`, or say who will.

    Errors: none but our own bugs; Refusal becomes the site's error page here.
    """
    route = sites.default_route
    try:
        route = sites.route_of(request, facts)
        if request.method == "CONNECT" and not route.upgrades:
            raise Refusal(501, "There are no WebSockets here.", "extended CONNECT to a route without upgrades")
        if route.stages:
            return _from_stage(sites, route, 0, request, facts, rewrites)
        handled = route.handler(request, facts)
        if isinstance(handled, Deferred):
            return Outcome(handled, route, request, facts, rewrites)
        for apply in route.filters:
            handled = apply(request, facts, handled)
        return handled
    except Refusal as refusal:
        return _refused(sites, route, request, facts, refusal)


def _from_stage(
    sites: CompiledSites, route: Route, first: int, request: Request, facts: Facts, rewrites: int
) -> Response | Outcome:
    for number in range(first, len(route.stages)):
        answer = route.stages[number](request, facts)
        if answer is None:
            continue
        if isinstance(answer, Deferred):
            answer.resume_at = number + 1
            return Outcome(answer, route, request, facts, rewrites)
        if isinstance(answer, Rewritten):
            if answer.restart:
                return _again(sites, answer, facts, rewrites)
            request = answer.request
            continue
        return route.filtered(request, facts, answer)
    handled = route.handler(request, facts)
    if isinstance(handled, Deferred):
        return Outcome(handled, route, request, facts, rewrites)
    return route.filtered(request, facts, handled)


def _again(sites: CompiledSites, answer: Rewritten, facts: Facts, rewrites: int) -> Response | Outcome:
    if rewrites >= sites.limits.rewrites:
        sites.rewrites_in_a_circle(answer.rule)
        raise Refusal(500, "", f"rewrite loop in rule {answer.rule}")
    facts.route_path = ""
    result = run(sites, answer.request, facts, rewrites + 1)
    facts.basis = None  # it was a stage that led there
    return result


def finish(sites: CompiledSites, outcome: Outcome, answer: Response | Rewritten | None) -> Response | Outcome:
    """Go on with what a Deferred answered; the result may be the next Deferred.

    Errors: none but our own bugs; Refusal becomes the site's error page here.
    """
    route, request, facts = outcome.route, outcome.request, outcome.facts
    try:
        if answer is None:
            return _from_stage(sites, route, outcome.deferred.resume_at, request, facts, outcome.rewrites)
        if isinstance(answer, Rewritten):
            if answer.restart:
                return _again(sites, answer, facts, outcome.rewrites)
            return _from_stage(sites, route, outcome.deferred.resume_at, answer.request, facts, outcome.rewrites)
        return route.filtered(request, facts, answer)
    except Refusal as refusal:
        return _refused(sites, route, request, facts, refusal)


def refuse(sites: CompiledSites, outcome: Outcome, refusal: Refusal) -> Response | Outcome:
    """What is answered to a Refusal that the Deferred raised: the error page of the route, or its error handler's."""
    return _refused(sites, outcome.route, outcome.request, outcome.facts, refusal)


def _refused(
    sites: CompiledSites, route: Route, request: Request, facts: Facts, refusal: Refusal
) -> Response | Outcome:
    page = route.refuse(request, facts, refusal)
    if route.error_handlers is None or page.status == MISDIRECTED:
        return page
    asked = route.error_handlers.request_for(request, page.status)
    if asked is None:
        return page
    facts.route_path = ""
    facts.variables = {
        **(facts.variables or {}), "REDIRECT_STATUS": str(page.status), "REDIRECT_URL": request.path
    }  # fmt: skip
    try:
        other = ErrorRoute(sites.route_of(asked, facts), page, refusal, keep_status=route.error_handlers.keep_status)
        handled = other.handler(asked, facts)
        if isinstance(handled, Deferred):
            return Outcome(handled, other, asked, facts, sites.limits.rewrites)
        return other.filtered(asked, facts, handled)
    except Refusal:
        return page
    finally:
        facts.basis = None  # it was an error that led there
