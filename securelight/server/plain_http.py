"""What plain HTTP gets from us: a redirect to the same URL on https, and nothing else.

Used on ports configured with `plain_http = "redirect"`, and for plain HTTP that somebody sends to a TLS port.
"""

from __future__ import annotations

from securelight.model.errors import Refusal
from securelight.model.limits import Limits
from securelight.model.request import Facts, Request
from securelight.model.response import Response
from securelight.pipeline.compile import CompiledSites, Route

HTTPS_PORT = 443


def redirecting_sites(limits: Limits, https_port: int) -> CompiledSites:
    """Sites that send every host and path to `https_port`."""
    port = "" if https_port == HTTPS_PORT else f":{https_port}"

    def redirect(request: Request, _facts: Facts) -> Response:
        if not request.host:
            raise Refusal(400, "This port speaks HTTPS.", "plain HTTP without a host name")
        if request.path == "*":
            raise Refusal(400, "This port speaks HTTPS.", "plain HTTP, OPTIONS *")
        # The host was checked by model/uri and the target is visible ASCII that begins with a slash: nothing to escape.
        location = f"https://{request.host}{port}".encode("ascii") + request.target
        return Response(308, ((b"location", location), (b"cache-control", b"no-store")))

    sites = CompiledSites(limits)
    sites.add(["*"], [Route("/", (), redirect)])
    return sites
