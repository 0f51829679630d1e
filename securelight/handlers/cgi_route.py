"""What FastCGI and its kin have in common: the script of a path, the way to the application, checks of it."""

from __future__ import annotations

from contextlib import closing, suppress
from time import monotonic
from typing import TYPE_CHECKING, Protocol

from securelight.files.content_cache import REVALIDATE_SECONDS
from securelight.files.safe_path import DocumentRoot
from securelight.handlers.cgi_call import Application, CgiCall, body_length
from securelight.model.errors import Refusal
from securelight.model.headers import Headers
from securelight.model.request import Facts, Peer, Request
from securelight.model.uri import parse_target
from securelight.pipeline.stage import Deferred
from securelight.upstream.cgi_variables import Script, find_script, variables_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from securelight.handlers.cgi_back_end import BackEnd
    from securelight.handlers.upstream_group import UpstreamGroup
    from securelight.model.response import Response
    from securelight.pipeline.compile import InThread
    from securelight.pipeline.exchange import Exchange
    from securelight.pipeline.stage import Handler, Responded, Rewritten
    from securelight.upstream.cgi_variables import Variable
    from securelight.upstream.health import CheckRules


_KNOWN_SCRIPTS = 1_024
"""Of a route: as many paths are remembered for REVALIDATE_SECONDS."""
_KNOWN_PATH_LENGTH = 512
"""A longer path is looked up each time, so that all that are remembered take less than a megabyte."""


class ScriptFinder:
    """Finds the script of a request.

    Args:
        root: where scripts are; None for an application without files.
        suffixes: what scripts end in.
        index: the script of a directory.
        fallback: the script for all that names none, as a path below the root; empty for 404.
        prefix: the path of the route.
    """

    def __init__(
        self, root: DocumentRoot | None, suffixes: Sequence[str], index: str, fallback: str, prefix: str
    ) -> None:
        self.root = root
        self._suffixes = suffixes
        self._index = index
        self._fallback = fallback
        self._prefix = "" if prefix == "/" else prefix
        self._known: dict[str, tuple[Script, float]] = {}

    def known(self, path: str) -> Script | None:
        """What `find` has found a moment ago, as files are believed too; None where it has to look."""
        if self.root is None:
            return self.find(path)
        script, until = self._known.get(path, (None, 0.0))
        return script if monotonic() < until else None

    def find(self, path: str) -> Script:
        """The script for the request path `path`. Blocks: for a thread.

        Errors: Refusal 404.
        """
        rest = path[len(self._prefix) :]
        if self.root is None:
            return Script(self._prefix, b"", rest)
        script = self._find(self.root, rest)
        if len(self._known) >= _KNOWN_SCRIPTS:
            self._known.clear()
        if len(path) <= _KNOWN_PATH_LENGTH:
            self._known[path] = script, monotonic() + REVALIDATE_SECONDS
        return script

    def _find(self, root: DocumentRoot, rest: str) -> Script:
        script = find_script(root, rest, self._suffixes, self._prefix)
        if script is None and self._index and rest.endswith("/"):
            script = find_script(root, rest + self._index, self._suffixes, self._prefix)
        if script is None and self._fallback:
            script = find_script(root, self._fallback, self._suffixes, self._prefix)
        if script is None:
            raise Refusal(404, "There is nothing here.", "no script below the root")
        return script


class Finder(Protocol):
    """Finds what answers a path."""

    root: DocumentRoot | None
    """Where it is in the file system; None for an application without files."""

    def known(self, path: str) -> Script | None: ...  # noqa: D102 - see ScriptFinder

    def find(self, path: str) -> Script: ...  # noqa: D102 - see ScriptFinder


def gateway(
    application: Application, group: UpstreamGroup[BackEnd], finder: Finder, variables: Mapping[str, str]
) -> Handler:
    """The handler: finds the script, describes the request to it, and passes both bodies on."""
    root = b"" if finder.root is None else finder.root.path
    limits = application.limits

    async def run(request: Request, exchange: Exchange) -> Response | Rewritten | Responded:
        script = finder.known(request.path)
        if script is None:
            script = await exchange.in_thread(lambda: finder.find(request.path))
        room = application.spool
        if room is not None and request.has_body and room.wants(length=request.content_length):
            spool = await room.collect(exchange, request.content_length)
            with closing(spool):
                described = variables_of(request, exchange.facts, script, root, spool.length, variables)
                return await CgiCall(application, exchange, request, described, b"", spool).run(group)
        if application.unknown_length:
            length, taken = request.content_length, b""
        else:
            length, taken = await body_length(exchange, request, limits)
        described = variables_of(request, exchange.facts, script, root, length, variables)
        return await CgiCall(application, exchange, request, described, taken).run(group)

    def handle(request: Request, _facts: Facts) -> Deferred:
        if request.method in ("TRACE", "CONNECT"):
            raise Refusal(405, "The method is not allowed.", fields=((b"allow", b"GET, HEAD, POST, OPTIONS"),))
        return Deferred(lambda exchange: run(request, exchange))

    return handle


def question_of(
    finder: Finder, variables: Mapping[str, str], route_path: str, in_thread: InThread
) -> Callable[[CheckRules], Awaitable[Sequence[Variable]]]:
    """What is asked of an application to see whether it is well: a GET, from this machine.

    A path outside of the route, or one that names no script, is asked for all the same: php-fpm answers its `ping.path`
    without one.
    """
    root = b"" if finder.root is None else finder.root.path
    prefix = route_path.rstrip("/") + "/"

    def look(path: str) -> Script:
        if f"{path}/".startswith(prefix):
            with suppress(Refusal):
                return finder.find(path)
        return Script(path, root and root + path.encode("utf-8", "surrogateescape"), "")

    async def ask(checks: CheckRules) -> Sequence[Variable]:
        wanted = checks.path.encode("ascii")
        target = parse_target(wanted)
        host = checks.host or "localhost"
        request = Request(
            "GET",
            target.path,
            Headers([(b"user-agent", b"securelight"), (b"accept", b"*/*")]),
            peer=Peer("127.0.0.1", 0),
            authority=host,
            host=host.partition(":")[0] if host[0] != "[" else host,
            target=wanted,
            query=target.query,
        )
        script = await in_thread(lambda: look(target.path))
        return variables_of(request, Facts("127.0.0.1"), script, root, None, variables)

    return ask
