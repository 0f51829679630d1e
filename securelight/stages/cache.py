"""A shared cache of answers (RFC 9111) around the handler of a route: proxied, FastCGI's and applications' alike.

It stands behind all stages, so whoever they turn away sees nothing of it, and before all filters, so one kept answer
is compressed or changed for each client. A hit in memory is answered at once. On a miss one request fetches, and the
others that want the same wait for it, a bounded time. What may be kept is decided in files/cache_rules, what is kept is
in files/cache_store.

Each answer says in Cache-Status (RFC 9211) where it came from.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from time import monotonic
from typing import TYPE_CHECKING

from securelight.files.cache_rules import (
    PERSONAL,
    Lifetime,
    age_of,
    directives,
    lifetime,
    names_in_vary,
    tags_of,
    variant_of,
    wants_fresh,
    without_framing,
)
from securelight.files.cache_store import DiskStore, Entry, Facts as EntryFacts, MemoryStore
from securelight.files.etag import is_listed
from securelight.files.preconditions import CONDITIONAL_NAMES
from securelight.model.dates import parse_http_date
from securelight.model.errors import ConfigError, Refusal
from securelight.model.headers import Headers
from securelight.model.request import Facts
from securelight.model.response import Response
from securelight.pipeline.compile import BuildContext, Feature
from securelight.pipeline.stage import Deferred, Responded
from securelight.pipeline.status_report import only_for
from securelight.stages.cache_recorder import Nobody, Recorder
from securelight.stages.cache_settings import CacheConfig, check
from securelight.upstream.single_flight import Flight, Flights

if TYPE_CHECKING:
    from collections.abc import Sequence

    from securelight.model.headers import Fields
    from securelight.model.request import Request
    from securelight.pipeline.exchange import Exchange
    from securelight.pipeline.stage import Handler, Rewritten

_READ = frozenset({"GET", "HEAD"})
_SAFE = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})
_RANGES = frozenset({b"range", b"if-range", b"if-match", b"if-unmodified-since"})
_ASKS = frozenset({b"cache-control", b"pragma"})
_FAILURES = frozenset({500, 502, 503, 504})
_AGE_SECONDS = 1.0
"""How long an answer is sent with the same Age, and how soon a worker hears of another one's purges."""
_PASS_SECONDS = 120.0
"""How long it is remembered that nobody need wait for the answer of a URL, because it could not be kept."""
_PASSES = 10_000
_BACKGROUND = 32
"""Fetches of each worker that nobody waits for."""


class Cache:
    """The cache of one route."""

    def __init__(self, settings: CacheConfig, context: BuildContext) -> None:
        self._settings = settings
        self._board = context.scoreboard
        self._events = context.events
        self._in_thread = context.in_thread
        self._memory = MemoryStore(settings.memory_bytes)
        self._disk: DiskStore | None = None
        if settings.directory:
            try:
                self._disk = DiskStore(context.base / settings.directory, settings.directory_bytes)
            except OSError as error:
                raise ConfigError(context.where, f"directory {settings.directory!r}: {error.strerror}") from error
        self._flights = Flights(_BACKGROUND, self._failed)
        context.services.append(self._flights)
        self._passes: OrderedDict[bytes, float] = OrderedDict()
        self._repeatable = context.repeatable
        self._purges = self._board.purges
        self._look_at = 0.0
        self._may_purge = only_for(settings.purge) if settings.purge else None
        self._inner: Handler = _nothing

    def around(self, inner: Handler) -> Handler:
        """The handler that answers from the cache, and asks `inner` for what it has not."""
        self._inner = inner
        return self.handle

    def handle(self, request: Request, facts: Facts) -> Response | Deferred:
        """Answer one request; a hit in memory is answered at once."""
        now = monotonic()
        if now >= self._look_at:
            self._look_at = now + _AGE_SECONDS
            if self._board.purges != self._purges:
                self._purges = self._board.purges
                self._memory.clear()
        if request.method == "CONNECT" or b"upgrade" in request.headers:
            return self._inner(request, facts)
        url = b"%b %b %b" % (request.scheme.encode(), request.authority.encode(), request.target)
        if request.method not in _READ:
            return self._other_method(request, facts, url)
        headers = request.headers
        if request.has_body or not headers.isdisjoint(_RANGES):
            return Deferred(lambda exchange: self._pass(exchange, request, facts, b"bypass"))
        entry = self._memory.find(url, headers)
        if entry is not None:
            answer = self._kept(entry, request, facts, now)
            if answer is not None:
                return answer
        return Deferred(lambda exchange: self._miss(exchange, request, facts, url, entry))

    # Hits.

    def _kept(self, entry: Entry, request: Request, facts: Facts, now: float) -> Response | None:
        """The answer that `entry` gives to `request`; None if it has to be fetched."""
        headers = request.headers
        life = entry.facts.life
        if not life.for_everybody and _is_personal(request, facts):
            return None
        if (
            self._settings.honour_clients
            and not headers.isdisjoint(_ASKS)
            and wants_fresh(headers, entry.age(time.time()))
        ):
            return None
        if now >= entry.fresh_until:
            age = entry.age(time.time())
            left = life.fresh_seconds - age
            if left <= 0:
                if -left >= life.revalidate_seconds:
                    return None
                self._refresh(entry, request, facts)
            entry.response = self._made(entry, age, b"hit; ttl=%d" % left)
            entry.fresh_until = now + min(_AGE_SECONDS, max(0, left))
        entry.used = True
        if self._repeatable and entry.fresh_until > now:
            facts.basis = entry
        assert entry.response is not None
        return _conditioned(entry.response, headers)

    def _made(self, entry: Entry, age: int, said: bytes) -> Response:
        fields = (*entry.facts.fields, (b"age", b"%d" % age))
        if self._settings.status_field:
            fields = (*fields, (b"cache-status", b"securelight; " + said))
        return Response(entry.facts.status, fields, entry.body, shared=True)

    def _refresh(self, entry: Entry, request: Request, facts: Facts) -> None:
        if request.method != "GET":
            return
        nobody = Facts(facts.client_address)
        nobody.route_path, nobody.captures = facts.route_path, facts.captures

        async def fetch() -> None:
            exchange: Exchange = Nobody(request, nobody, self._in_thread)
            answer = await self._fetch(exchange, request, nobody, entry.url, entry, None)
            if isinstance(answer, Response):
                answer.release()

        self._flights.start(entry.url, fetch)

    def _failed(self, error: Exception) -> None:
        self._events.warning("answer not refreshed", why=f"{type(error).__name__}: {error}")

    # Misses.

    async def _miss(
        self, exchange: Exchange, request: Request, facts: Facts, url: bytes, entry: Entry | None
    ) -> Response | Rewritten | Responded | None:
        if b"only-if-cached" in directives(request.headers.get(b"cache-control")):
            raise Refusal(504, "It is not in the cache.")
        disk = self._disk
        if disk is not None:
            found = await exchange.in_thread(lambda: disk.find(url, request.headers))
            if found is not None:
                self._memory.put(found)
                entry = found
                answer = self._kept(found, request, facts, monotonic())
                if answer is not None:
                    return answer
        if request.method == "HEAD":
            return await self._pass(exchange, request, facts, b"method")
        alone = _is_personal(request, facts) or self._passes.get(url, 0.0) > monotonic()
        flight = None if alone else self._flights.begin(url)
        try:
            if not alone and flight is None and await self._flights.wait(url, self._settings.wait_seconds):
                other = self._memory.find(url, request.headers)
                answer = None if other is None else self._kept(other, request, facts, monotonic())
                if answer is not None:
                    return answer
            return await self._fetch(exchange, request, facts, url, entry, flight)
        finally:
            self._flights.end(url, flight)

    async def _fetch(
        self, exchange: Exchange, request: Request, facts: Facts, url: bytes, stale: Entry | None, flight: Flight | None
    ) -> Response | Rewritten | Responded | None:
        asked = request if stale is None else _with_conditions(request, stale)
        validates = asked is not request
        reason = b"uri-miss" if stale is None else b"stale"

        async def judge(response: Response) -> tuple[Response | None, bool]:
            if validates and response.status == 304:
                return None, False
            if stale is not None and response.status in _FAILURES and self._may_stand_in(stale):
                return None, False
            head = Headers(response.fields)
            life = self._life(request, facts, response.status, head)
            if life is None:
                nobody_need_wait()
            return self._said(response, b"fwd=" + reason + (b"; stored" if life is not None else b"")), life is not None

        def nobody_need_wait() -> None:
            if flight is not None:
                self._remember_pass(url)
                self._flights.end(url, flight)

        recorder = Recorder(exchange, asked, judge, self._settings.object_bytes, nobody_need_wait)
        try:
            handled = self._inner(asked, facts)
            facts.basis = None  # the next answer is another one
            answer = await handled.run(recorder) if isinstance(handled, Deferred) else handled
            if isinstance(answer, Response):
                answer = await recorder.take(answer)
        except Refusal as refusal:
            if stale is None or refusal.status not in _FAILURES or not self._may_stand_in(stale):
                raise
            return self._made(stale, stale.age(time.time()), b"hit; fwd=stale; fwd-status=%d" % refusal.status)
        if recorder.withheld is not None and stale is not None:
            return await self._instead(request, facts, stale, recorder.withheld)
        if recorder.whole and recorder.recorded is not None:
            entry = self._entry(request, facts, url, recorder.recorded, recorder.recorded.fields, recorder.body)
            if entry is not None:
                self._memory.put(entry)
                self._flights.end(url, flight)
                await self._save(entry)
        return answer

    async def _instead(self, request: Request, facts: Facts, stale: Entry, withheld: Response) -> Response:
        """The kept answer in place of a 304 or a failure."""
        if withheld.status != 304:
            return self._made(stale, stale.age(time.time()), b"hit; fwd=stale; fwd-status=%d" % withheld.status)
        renewed = {name for name, _ in withheld.fields}
        fields = (*(one for one in stale.facts.fields if one[0] not in renewed), *without_framing(withheld.fields))
        renewed_head = Response(stale.facts.status, fields)
        entry = self._entry(request, facts, stale.url, renewed_head, withheld.fields, stale.body)
        if entry is None:
            self._memory.purge(stale.url)
            entry = stale
        else:
            self._memory.put(entry)
            await self._save(entry)
        answer = self._made(entry, entry.age(time.time()), b"hit; fwd=stale; fwd-status=304")
        return _conditioned(answer, request.headers)

    async def _save(self, entry: Entry) -> None:
        disk = self._disk
        if disk is not None:
            await self._in_thread(lambda: disk.put(entry))

    def _entry(
        self, request: Request, facts: Facts, url: bytes, response: Response, aged: Fields, body: bytes
    ) -> Entry | None:
        """What to keep of `response`; `aged` are the fields that came now. None if it must not be kept."""
        head = Headers(response.fields)
        life = self._life(request, facts, response.status, head)
        vary = names_in_vary(head)
        if life is None or vary is None:
            return None
        kept = EntryFacts(
            response.status,
            without_framing(response.fields),
            vary,
            time.time(),
            age_of(Headers(aged)),
            life,
            tags_of(head),
        )
        return Entry(url, variant_of(vary, request.headers), kept, body)

    def _life(self, request: Request, facts: Facts, status: int, head: Headers) -> Lifetime | None:
        settings = self._settings
        life = lifetime(
            request.headers,
            status,
            head,
            default_seconds=settings.default_seconds,
            default_stale_seconds=settings.stale_if_error_seconds,
        )
        return None if life is not None and not life.for_everybody and facts.user is not None else life

    def _may_stand_in(self, entry: Entry) -> bool:
        return entry.age(time.time()) - entry.facts.life.fresh_seconds < entry.facts.life.error_seconds

    def _remember_pass(self, url: bytes) -> None:
        self._passes[url] = monotonic() + _PASS_SECONDS
        self._passes.move_to_end(url)
        if len(self._passes) > _PASSES:
            self._passes.popitem(last=False)

    # What goes by the cache.

    async def _pass(
        self, exchange: Exchange, request: Request, facts: Facts, reason: bytes, url: bytes = b""
    ) -> Response | Rewritten | Responded | None:
        async def judge(response: Response) -> tuple[Response | None, bool]:
            if url and 200 <= response.status < 400:
                await self._purge(url)
            return self._said(response, b"fwd=" + reason), False

        recorder = Recorder(exchange, request, judge, 0, _do_nothing)
        handled = self._inner(request, facts)
        facts.basis = None
        answer = await handled.run(recorder) if isinstance(handled, Deferred) else handled
        return await recorder.take(answer) if isinstance(answer, Response) else answer

    def _other_method(self, request: Request, facts: Facts, url: bytes) -> Deferred:
        if request.method == "PURGE" and self._may_purge is not None:
            self._may_purge(request, facts)
            tags = tags_of(request.headers)
            return Deferred(lambda _exchange: self._purge_all(url, tags))
        changes = b"" if request.method in _SAFE else url
        return Deferred(lambda exchange: self._pass(exchange, request, facts, b"method", changes))

    async def _purge_all(self, url: bytes, tags: Sequence[bytes]) -> Response:
        if not tags:
            count = await self._purge(url)
        else:
            count = 0
            disk = self._disk
            for tag in tags:
                found = self._memory.purge_tag(tag)
                if disk is not None:
                    found = await self._in_thread(lambda tag=tag: disk.purge_tag(tag))  # type: ignore[misc]  # mypy cannot tell the default's type
                count += found
            self._board.purged()
        return Response(200, ((b"content-type", b"text/plain; charset=utf-8"),), b"%d purged\n" % count)

    async def _purge(self, url: bytes) -> int:
        """Forget `url` everywhere, for all methods; how many answers there were."""
        disk = self._disk
        found = self._memory.purge(url)
        if disk is not None:
            found = await self._in_thread(lambda: disk.purge(url))
        self._board.purged()
        return found

    def _said(self, response: Response, said: bytes) -> Response:
        if not self._settings.status_field:
            return response
        fields = (*response.fields, (b"cache-status", b"securelight; " + said))
        return Response(response.status, fields, response.body, content_length=response.content_length)


def _is_personal(request: Request, facts: Facts) -> bool:
    return facts.user is not None or not request.headers.isdisjoint(PERSONAL)


def _nothing(_request: Request, _facts: Facts) -> Response:
    raise Refusal(404, "There is nothing here.")


def _do_nothing() -> None:
    pass


def _conditioned(response: Response, headers: Headers) -> Response:
    """The answer, or the 304 that says that the client has it (RFC 9110, section 13.2.2)."""
    if response.status != 200 or headers.isdisjoint(CONDITIONAL_NAMES):
        return response
    head = Headers(response.fields)
    etag = head.get(b"etag")
    if_none_match = headers.get(b"if-none-match")
    if if_none_match is not None:
        same = etag is not None and is_listed(if_none_match, etag.removeprefix(b"W/"), weak=True)
    else:
        since = parse_http_date(headers.get(b"if-modified-since") or b"")
        modified = parse_http_date(head.get(b"last-modified") or b"")
        same = since is not None and modified is not None and modified <= since
    if not same:
        return response
    return Response(304, tuple(field for field in response.fields if not field[0].startswith(b"content-")))


def _with_conditions(request: Request, stale: Entry) -> Request:
    """`request`, asking whether the kept answer is still good; the same object if that has no validator."""
    head = Headers(stale.facts.fields)
    etag, modified = head.get(b"etag"), head.get(b"last-modified")
    if etag is None and modified is None:
        return request
    asked = request.again(request.stream_id, request.peer)
    fields = [field for field in request.headers.fields if field[0] not in CONDITIONAL_NAMES]
    if etag is not None:
        fields.append((b"if-none-match", etag))
    if modified is not None:
        fields.append((b"if-modified-since", modified))
    asked.headers = Headers(fields)
    return asked


def build(settings: CacheConfig, context: BuildContext) -> None:
    """Put the cache around the handler of the route.

    Errors: ConfigError for what `check` reports.
    """
    faults = check(settings, context.base)
    if faults:
        raise ConfigError(context.where, "; ".join(faults))
    context.around.append(Cache(settings, context).around)


FEATURE = Feature(name="cache", kind="stage", config_class=CacheConfig, build=build, check=check, repeatable=True)
