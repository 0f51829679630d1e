"""The servers behind one route of the proxy, and what is done to requests and answers on their way there and back."""

from __future__ import annotations

from typing import TYPE_CHECKING

from securelight.handlers.proxy_fields import response_fields, with_own_location
from securelight.handlers.upstream_group import UpstreamGroup
from securelight.upstream.endpoint import Endpoint

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from securelight.handlers.proxy_fields import RequestFields
    from securelight.handlers.proxy_settings import ProxyTimeouts
    from securelight.handlers.sendfile import Sendfile
    from securelight.handlers.upstream_group import StickyCookie
    from securelight.model.headers import Field
    from securelight.model.request import Facts, Request
    from securelight.pipeline.compile import EventLog
    from securelight.protocol.response_head import ResponseHead
    from securelight.upstream.balance import Balancer
    from securelight.upstream.spool import SpoolRoom


class ProxyRoute(UpstreamGroup[Endpoint]):
    """The servers of one route.

    Args:
        endpoints, balancer, key_of, sticky, failure_statuses, retries, try_seconds, events: see UpstreamGroup.
        fields: of the requests.
        timeouts: as configured.
        prefix: what is taken off the path, "" for nothing.
        rewrites_location: whether a Location that names a server behind is turned into one of ours.
        sendfile: answers with files that servers name; None where they may not.
        greeting: what the connection for a request begins with; None for nothing.
        spool: where request bodies are collected first; None for nowhere.
    """

    def __init__(
        self,
        endpoints: Sequence[Endpoint],
        balancer: Balancer,
        key_of: Callable[[Request, Facts], bytes],
        *,
        fields: RequestFields,
        timeouts: ProxyTimeouts,
        retries: int,
        try_seconds: float,
        prefix: str,
        rewrites_location: bool,
        failure_statuses: Sequence[int],
        sticky: StickyCookie[Endpoint] | None,
        events: EventLog,
        sendfile: Sendfile | None = None,
        greeting: Callable[[Request, Facts], bytes] | None = None,
        spool: SpoolRoom | None = None,
    ) -> None:
        super().__init__(
            endpoints,
            balancer,
            key_of,
            sticky=sticky,
            failure_statuses=failure_statuses,
            retries=retries,
            try_seconds=try_seconds,
            events=events,
        )
        self.greeting = greeting
        self.spool = spool
        self.sendfile = sendfile
        self.fields = fields
        self.timeouts = timeouts
        self.prefix = prefix
        self.rewrites_location = rewrites_location
        self._urls = {endpoint.name: _urls(endpoint) for endpoint in self.members}

    def fields_of(self, endpoint: Endpoint, head: ResponseHead) -> list[Field]:
        """The fields of a response of `endpoint` as the client gets them, but for the cookie of `answered`."""
        fields = response_fields(head.fields)
        if self.rewrites_location:
            prefix = self.prefix.encode("utf-8", "replace")
            fields = with_own_location(fields, self._urls[endpoint.name], prefix)
        return fields


def _urls(endpoint: Endpoint) -> tuple[bytes, ...]:
    address = endpoint.address
    if address.path:
        return ()
    scheme = "https" if address.scheme in ("https", "h2") else "http"
    host = f"[{address.host}]" if ":" in address.host else address.host
    names = {f"{scheme}://{address.authority}", f"{scheme}://{host}:{address.port}"}
    return tuple(sorted((name.encode("ascii") for name in names), key=len, reverse=True))
