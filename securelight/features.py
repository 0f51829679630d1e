"""The one table of all features, in the order in which they run: stages, handlers, filters.

A new feature is one new file and one row here. `config.load` and `pipeline.compile` are given the table as an argument.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from securelight.filters import bandwidth, compress, cors, error_pages, expires, hsts, security_headers, set_headers
from securelight.handlers import (
    asgi,
    cgi,
    directory_listing,
    fastcgi,
    health,
    metrics,
    proxy,
    respond,
    scgi,
    server_side_includes,
    static_file,
    status_page,
    uwsgi,
    webdav,
    wsgi,
)
from securelight.stages import (
    access,
    authorizer,
    basic_auth,
    cache,
    digest_auth,
    early_hints,
    forward_auth,
    log,
    maintenance,
    rate_limit,
    redirect,
    referer,
    request_headers,
    rewrite,
    signed_links,
)

if TYPE_CHECKING:
    from securelight.pipeline.compile import Feature

FEATURES: Final[tuple[Feature, ...]] = (
    # Stages: who is turned away comes before what is asked for is looked at.
    log.FEATURE,
    maintenance.FEATURE,
    access.FEATURE,
    rate_limit.FEATURE,
    basic_auth.FEATURE,
    digest_auth.FEATURE,
    forward_auth.FEATURE,
    signed_links.FEATURE,
    referer.FEATURE,
    redirect.FEATURE,
    rewrite.FEATURE,
    authorizer.FEATURE,
    early_hints.FEATURE,
    request_headers.FEATURE,
    cache.FEATURE,
    # Handlers: exactly one answers.
    static_file.FEATURE,
    directory_listing.FEATURE,
    server_side_includes.FEATURE,
    webdav.FEATURE,
    asgi.FEATURE,
    wsgi.FEATURE,
    proxy.FEATURE,
    fastcgi.FEATURE,
    scgi.FEATURE,
    uwsgi.FEATURE,
    cgi.FEATURE,
    respond.FEATURE,
    status_page.FEATURE,
    metrics.FEATURE,
    health.FEATURE,
    # Filters: what replaces a body comes before what looks at fields.
    error_pages.FEATURE,
    compress.FEATURE,
    expires.FEATURE,
    cors.FEATURE,
    security_headers.FEATURE,
    set_headers.FEATURE,
    hsts.FEATURE,
    bandwidth.FEATURE,
)
