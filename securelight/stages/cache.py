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
from securelight.model.errors import ConfigError, Refusal
from securelight.model.headers import Headers
from securelight.model.request import Facts
from securelight.model.response import Response
from securelight.pipeline.compile import BuildContext, Feature
from securelight.pipeline.stage import Deferred, Responded
from securelight.pipeline.status_report import only_for
from securelight.stages.cache_answers import changed_urls, conditioned, renewed_fields, url_of, with_conditions
from securelight.stages.cache_purging import Purging, marks_of
from securelight.stages.cache_recorder import Nobody, Recorder
from securelight.stages.cache_settings import CacheConfig, check
from securelight.upstream.single_flight import Flight, Flights, to_the_end

if TYPE_CHECKING:
    from securelight.model.headers import Fields
    from securelight.model.request import Request
    from securelight.pipeline.exchange import Exchange
    from securelight.pipeline.stage import Handler, Rewritten

_READ = frozenset({"GET", "HEAD"})
_SAFE = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})
_FOR_THE_ORIGIN = frozenset({b"if-match", b"if-unmodified-since"})
"""Conditions that a cache must not answer (RFC 9111, section 4.3.2)."""
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
        self._events = context.events
        self._in_thread = context.in_thread
        self._memory = MemoryStore(settings.memory_bytes)
        context.scoreboard.answers.append(self._memory)
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
        self._purging = Purging(self._memory, self._disk, context.scoreboard, context.in_thread)
        self._look_at = 0.0
        self._told = frozenset(settings.anyway)
        self._personal = PERSONAL - {b"cookie"} if "cookie" in settings.anyway else PERSONAL
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
            self._purging.look()
        headers = request.headers
        if request.method not in _READ:
            return self._other_method(request, facts)
        if b"upgrade" in headers:
            return self._inner(request, facts)
        if request.has_body or not headers.isdisjoint(_FOR_THE_ORIGIN):
            return Deferred(lambda exchange: self._pass(exchange, request, facts, b"bypass"))
        url = url_of(request.scheme, request.authority, request.target)
        entry = self._memory.find(url, headers)
        if entry is not None:
            answer = self._kept(entry, request, facts, now)
            if answer is not None:
                return answer
        return Deferred(lambda exchange: self._miss(exchange, request, facts, url, entry, now))

    # Hits.

    def _kept(self, entry: Entry, request: Request, facts: Facts, now: float) -> Response | None:
        """The answer that `entry` gives to `request`; None if it has to be fetched."""
        headers = request.headers
        life = entry.facts.life
        if not life.for_everybody and self._is_personal(request, facts):
            return None
        if self._settings.honour_clients and not headers.isdisjoint(_ASKS):
            age = entry.age(time.time())
            if wants_fresh(headers, age, life.fresh_seconds - age):
                return None
        if now >= entry.fresh_until:
            age = entry.age(time.time())
            left = life.fresh_seconds - age
            if left <= 0:
                if -left >= life.revalidate_seconds:
                    return None
                self._refresh(entry, request, facts, now)
            entry.response = self._made(entry, age, b"hit; ttl=%d" % left)
            entry.fresh_until = now + min(_AGE_SECONDS, max(0, left))
        entry.used = True
        if self._repeatable and entry.fresh_until > now:
            facts.basis = entry
        assert entry.response is not None
        return conditioned(entry.response, request)

    def _made(self, entry: Entry, age: int, said: bytes) -> Response:
        fields = self._with_status((*entry.facts.fields, (b"age", b"%d" % age)), said)
        return Response(entry.facts.status, fields, entry.body, shared=True)

    def _with_status(self, fields: Fields, said: bytes) -> Fields:
        return (*fields, (b"cache-status", b"securelight; " + said)) if self._settings.status_field else fields

    def _refresh(self, entry: Entry, request: Request, facts: Facts, found: float) -> None:
        if request.method != "GET":
            return
        nobody = Facts(facts.client_address)
        nobody.route_path, nobody.captures = facts.route_path, facts.captures

        async def fetch() -> None:
            if self._purging.was_forgotten(entry, found):
                return
            exchange: Exchange = Nobody(request, nobody, self._in_thread)
            answer = await self._fetch(exchange, request, nobody, entry.url, entry, None)
            if isinstance(answer, Response):
                answer.release()

        self._flights.start(entry.url, fetch)

    def _failed(self, error: Exception) -> None:
        self._events.warning("answer not refreshed", why=f"{type(error).__name__}: {error}")

    # Misses.

    async def _miss(
        self, exchange: Exchange, request: Request, facts: Facts, url: bytes, entry: Entry | None, began: float
    ) -> Response | Rewritten | Responded | None:
        """Answer what memory has no answer to; `entry` is one that is not fresh, found there at `began`."""
        if b"only-if-cached" in directives(request.headers.get(b"cache-control")):
            raise Refusal(504, "It is not in the cache.")
        disk = self._disk
        if disk is not None:
            found = await exchange.in_thread(lambda: disk.find(url, request.headers))
            if found is not None:
                found.marks = marks_of(url, found.facts.tags)
            if found is not None and not self._purging.was_forgotten(found, began):
                entry = found
                self._memory.put(entry)
                answer = self._kept(entry, request, facts, monotonic())
                if answer is not None:
                    return answer
        if request.method == "HEAD" or b"range" in request.headers:
            return await self._pass(exchange, request, facts, b"method" if request.method == "HEAD" else b"bypass")
        alone = self._is_personal(request, facts) or self._passes.get(url, 0.0) > monotonic()
        flight = None if alone else self._flights.begin(url)
        try:
            if not alone and flight is None and await self._flights.wait(url, self._settings.wait_seconds):
                other = self._memory.find(url, request.headers)
                answer = None if other is None else self._kept(other, request, facts, monotonic())
                if answer is not None:
                    return answer
            if entry is not None and self._purging.was_forgotten(entry, began):
                entry = None  # it is not to be validated, nor to stand in
            return await self._fetch(exchange, request, facts, url, entry, flight)
        finally:
            self._flights.end(url, flight)

    async def _fetch(
        self, exchange: Exchange, request: Request, facts: Facts, url: bytes, stale: Entry | None, flight: Flight | None
    ) -> Response | Rewritten | Responded | None:
        asked = request if stale is None else with_conditions(request, stale)
        validates = asked is not request
        began = monotonic()
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

        new: list[Entry] = []

        def keep(head: Response, body: bytes) -> None:
            entry = self._entry(request, facts, url, head, head.fields, body)
            if entry is not None and not self._purging.was_forgotten(entry, began):
                self._memory.put(entry)
                self._flights.end(url, flight)
                new.append(entry)

        recorder = Recorder(exchange, asked, judge, self._settings.object_bytes, nobody_need_wait, keep)
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
        finally:
            for entry in new:
                await self._save(entry, began)
        if recorder.withheld is not None and stale is not None:
            return await self._instead(request, facts, stale, recorder.withheld, began)
        return answer

    async def _instead(
        self, request: Request, facts: Facts, stale: Entry, withheld: Response, began: float
    ) -> Response:
        """The kept answer in place of a 304 or a failure."""
        if withheld.status != 304:
            return self._made(stale, stale.age(time.time()), b"hit; fwd=stale; fwd-status=%d" % withheld.status)
        head = Response(stale.facts.status, renewed_fields(stale, withheld))
        said = b"hit; fwd=stale; fwd-status=304"
        entry = self._entry(request, facts, stale.url, head, withheld.fields, stale.body)
        if entry is None:
            await self._purging.purge(stale.url)
            return conditioned(Response(head.status, self._with_status(head.fields, said), stale.body), request)
        if not (self._purging.was_forgotten(entry, began) or self._purging.was_forgotten(stale, began)):
            self._memory.put(entry)
            await self._save(entry, began)
        return conditioned(self._made(entry, entry.age(time.time()), said), request)

    async def _save(self, entry: Entry, began: float) -> None:
        """Put it on the disk, unless it has been purged since it was asked for at `began`."""
        disk = self._disk
        if disk is None:
            return

        async def save() -> None:
            await self._in_thread(lambda: disk.put(entry, unless=lambda: self._purging.was_noted(entry, began)))
            if self._purging.was_forgotten(entry, began):  # by another worker
                await self._in_thread(lambda: disk.purge(entry.url))

        await to_the_end(save)

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
            without_framing(response.fields, cookies="set-cookie" not in self._told),
            vary,
            time.time(),
            age_of(Headers(aged)),
            life,
            tags_of(head),
        )
        return Entry(url, variant_of(vary, request.headers), kept, body, marks_of(url, kept.tags))

    def _life(self, request: Request, facts: Facts, status: int, head: Headers) -> Lifetime | None:
        settings = self._settings
        life = lifetime(
            request.headers,
            status,
            head,
            default_seconds=settings.default_seconds,
            default_stale_seconds=settings.stale_if_error_seconds,
            anyway=self._told,
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
        self, exchange: Exchange, request: Request, facts: Facts, reason: bytes, *, changes: bool = False
    ) -> Response | Rewritten | Responded | None:
        async def judge(response: Response) -> tuple[Response | None, bool]:
            if changes and 200 <= response.status < 400:
                for url in changed_urls(request, response):
                    await self._purging.purge(url)
            return self._said(response, b"fwd=" + reason), False

        recorder = Recorder(exchange, request, judge, 0, _do_nothing, _keep_nothing)
        handled = self._inner(request, facts)
        facts.basis = None
        answer = await handled.run(recorder) if isinstance(handled, Deferred) else handled
        return await recorder.take(answer) if isinstance(answer, Response) else answer

    def _other_method(self, request: Request, facts: Facts) -> Response | Deferred:
        if request.method == "CONNECT" or b"upgrade" in request.headers:
            return self._inner(request, facts)
        if request.method == "PURGE" and self._may_purge is not None:
            self._may_purge(request, facts)
            return Deferred(lambda _exchange: self._purging.answer(request))
        changes = request.method not in _SAFE
        return Deferred(lambda exchange: self._pass(exchange, request, facts, b"method", changes=changes))

    def _is_personal(self, request: Request, facts: Facts) -> bool:
        return facts.user is not None or not request.headers.isdisjoint(self._personal)

    def _said(self, response: Response, said: bytes) -> Response:
        if not self._settings.status_field:
            return response
        fields = self._with_status(response.fields, said)
        return Response(response.status, fields, response.body, content_length=response.content_length)


def _nothing(_request: Request, _facts: Facts) -> Response:
    raise Refusal(404, "There is nothing here.")


def _do_nothing() -> None:
    pass


def _keep_nothing(_head: Response, _body: bytes) -> None:
    pass


def build(settings: CacheConfig, context: BuildContext) -> None:
    """Put the cache around the handler of the route.

    Errors: ConfigError for what `check` reports.
    """
    faults = check(settings, context.base)
    if faults:
        raise ConfigError(context.where, "; ".join(faults))
    context.around.append(Cache(settings, context).around)


FEATURE = Feature(name="cache", kind="stage", config_class=CacheConfig, build=build, check=check, repeatable=True)
