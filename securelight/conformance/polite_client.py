"""A client that asks for a page again and again beside an attack, and what it may notice of the attack.

The measure: the 99th percentile of its waiting times during and after the attack is at most twice what it was before.
An attack beside which it was more is tried again, up to TRIES times, and the best figure is reported. That alone fails
nobody: answers take 3 ms, and an attacker that is a busy process on the same machine takes some more. What fails is a
wait that is also longer than `Patience.noise`, which no scheduler explains and any attack that holds a worker reaches.
What the judge itself was late by meanwhile, having work of its own or a busy machine, is taken off.
What only happens once is a hiccup: an attack that harms has to do so each time; the quick ones are tried more often,
with pauses, as a busy machine stretches everything for seconds.
Slow attacks are tried once, with few requests beside them: there it is the 90th percentile.
A polite client that is not served at all is a failure at once.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import trio

from securelight.conformance.case import Failed, Skipped
from securelight.conformance.dial import Dial
from securelight.conformance.http1_client import Http1Client, connect, request
from securelight.conformance.wire import Unreachable

if TYPE_CHECKING:
    from collections.abc import Callable

    from securelight.conformance.case import Question
    from securelight.conformance.http2_client import Http2Client

QUIET_REQUESTS = 12
AFTER_REQUESTS = 6
LEAST_DURING = 4
"""So many requests are begun while the attack goes on, or directly after it if it was over before."""
PAUSE_SECONDS, SLOW_PAUSE_SECONDS = 0.003, 0.5
SLOW_SHARE = 0.9
TICK_SECONDS = 0.01
MOST_TIMES = 2.0
TRIES, MOST_TRIES = 3, 8
AGAIN_SECONDS, AGAIN_PAUSE_SECONDS = 10.0, 0.5
"""After TRIES, as long as that many seconds have not passed, there are more tries, each after a pause."""
ATTACK_SECONDS = 12.0
"""How long one try of an attack may take; then it is broken off."""
CASE_SECONDS = 60.0
LARGE_PAGE_BYTES = 262_144
"""Of a page that is larger, only the head is asked for."""


class PoliteClient:
    """Asks for the page.

    Args:
        dial: whom to ask; its connections are this client's own.
        fresh: a new connection for each request, as people have who come for the first time.
    """

    def __init__(self, dial: Dial, *, fresh: bool) -> None:
        self._dial = dial
        self._fresh = fresh
        self._http1: Http1Client | None = None
        self._http2: Http2Client | None = None
        self._method = "HEAD" if dial.baseline.body_bytes > LARGE_PAGE_BYTES else "GET"

    async def ask(self) -> float:
        """One request; how many seconds it took. Errors: Failed if it is not answered as usual."""
        if self._fresh:
            await self.close()
        begun = trio.current_time()
        try:
            status = await self._ask()
        except Unreachable as error:
            raise Failed(f"the polite client could not connect: {error}") from None
        except Failed as error:
            raise Failed(f"the polite client was not served: {error}") from None
        if status != self._dial.baseline.status and (self._dial.baseline.status or status >= 500):
            raise Failed(f"the polite client got {status} instead of {self._dial.baseline.status}")
        return trio.current_time() - begun

    async def _ask(self) -> int:
        if self._http2 is None:
            try:
                return await self._ask_http1()
            except Skipped:
                self._http2 = await self._dial.http2()
        return await self._ask_http2(self._http2)

    async def _ask_http1(self) -> int:
        kept = self._http1 is not None
        client = self._http1 or await connect(self._dial)
        await client.send(request(self._dial.target, method=self._method.encode()))
        answer = await client.answer(self._method)
        if answer is None and kept and client.wire.ended:
            await self.close()  # a server may end a connection between two requests
            return await self._ask_http1()
        if answer is None:
            raise Failed(client.wire.end_words or "no answer came in time")
        self._http1 = client
        if b"close" in answer.options:
            await self.close()
        return answer.status

    async def _ask_http2(self, client: Http2Client) -> int:
        stream_id = client.next_stream()
        await client.send(client.head(stream_id, client.request(self._method.encode())))
        await client.until(lambda: client.ended(stream_id) or client.over)
        answer = client.answers.get(stream_id)
        if answer is None or not answer.ended:
            raise Failed(client.situation(stream_id))
        client.forget_all()
        return answer.status

    async def close(self) -> None:
        """End its connection; the next request makes another one."""
        self._http1 = self._http2 = None
        await self._dial.close()


def percentile(seconds: list[float], share: float = 0.99) -> float:
    """So many of the values are at most this one; 0 of none."""
    ordered = sorted(seconds)
    return ordered[max(0, math.ceil(len(ordered) * share) - 1)] if ordered else 0.0


@dataclass(slots=True)
class Waits:
    """How long the polite client waited, in seconds.

    Attributes:
        before: the attack.
        during: it.
        after: it.
        late: by how much the judge woke up too late meanwhile.
        share: the percentile of `during` that counts.
    """

    before: list[float] = field(default_factory=list)
    during: list[float] = field(default_factory=list)
    after: list[float] = field(default_factory=list)
    late: list[float] = field(default_factory=list)
    share: float = 0.99

    def allowed(self, noise: float) -> float:
        """The measure, in seconds: see the module."""
        quiet = percentile(self.before)
        return max(MOST_TIMES * quiet, quiet + noise) + percentile(self.late, self.share)

    def harmed(self, noise: float) -> bool:
        """Whether the attack made it wait too long."""
        return max(percentile(self.during, self.share), percentile(self.after)) > self.allowed(noise)

    def times(self) -> float:
        """How many times its quiet value the worst was, without what the judge was late by; see the module."""
        quiet = percentile(self.before)
        worst = max(percentile(self.during, self.share), percentile(self.after)) - percentile(self.late, self.share)
        return worst / quiet if quiet > 0 else 0.0

    def words(self) -> str:
        """For people."""
        parts = (percentile(self.before), percentile(self.during, self.share), percentile(self.after))
        shown = [f"{part * 1000:.1f}" for part in parts]
        label = f"p{self.share * 100:.0f}"
        over = f", {self.times():.1f} times its quiet value" if self.times() > MOST_TIMES else ""
        return (
            f"a polite client waited {shown[0]} ms before, {shown[1]} ms during, {shown[2]} ms after it ({label}{over})"
        )


def watched(*, fresh: bool = False, slow: bool = False) -> Callable[[Question], Question]:
    """Turn an attack into a question: with a polite client beside it, whose waits are measured.

    Args:
        fresh: see PoliteClient; for attacks on connections.
        slow: it waits for deadlines of the server: one try, and the polite client asks seldom.

    The attack is a question by itself, of its reaction to the server; its connections are closed when it is over.
    """

    def wrap(attack: Question) -> Question:
        async def question(dial: Dial) -> str:
            begun = trio.current_time()
            best: tuple[float, str] | None = None
            for tries in range(1, MOST_TRIES + 1):
                words, waits = await _attempt(dial, attack, fresh=fresh, slow=slow)
                told = f"{words}; {waits.words()}"
                if not waits.harmed(dial.patience.noise):
                    found = (waits.times(), told)
                    best = found if best is None else min(best, found)
                if best is not None and (slow or best[0] <= MOST_TIMES or tries >= TRIES):
                    return best[1]
                if slow or (tries >= TRIES and trio.current_time() > begun + AGAIN_SECONDS):
                    break
                await trio.sleep(0 if tries < TRIES else AGAIN_PAUSE_SECONDS)
            allowed = waits.allowed(dial.patience.noise) * 1000
            raise Failed(f"{told}, more than the {allowed:.1f} ms allowed, each of {tries} times")

        return question

    return wrap


async def _attempt(dial: Dial, attack: Question, *, fresh: bool, slow: bool) -> tuple[str, Waits]:
    connect = dial.bystander or dial.connect
    polite = PoliteClient(Dial(dial.target, dial.baseline, dial.patience, connect), fresh=fresh)
    attacker = dial.another()
    waits = Waits(share=SLOW_SHARE if slow else 0.99)
    words = ""
    over = trio.Event()

    async def ask() -> None:
        while not over.is_set() or len(waits.during) < LEAST_DURING:
            waits.during.append(await polite.ask())
            with trio.move_on_after(SLOW_PAUSE_SECONDS if slow else PAUSE_SECONDS):
                await over.wait()

    async def tick() -> None:
        while not over.is_set():
            due = trio.current_time() + TICK_SECONDS
            await trio.sleep_until(due)
            waits.late.append(trio.current_time() - due)

    try:
        for _ in range(QUIET_REQUESTS):
            waits.before.append(await polite.ask())
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask)
            nursery.start_soon(tick)
            try:
                seconds = dial.patience.slow + 3 * dial.patience.answer if slow else ATTACK_SECONDS
                with trio.move_on_after(seconds) as scope:
                    words = await attack(attacker)
            finally:
                over.set()
        if scope.cancelled_caught:
            raise Failed(f"the server was still busy with the attack after {seconds:g} s")
        await attacker.close()
        for _ in range(TRIES):
            after = []
            for number in range(AFTER_REQUESTS):
                if number == AFTER_REQUESTS - 1:
                    await polite.close()  # the server takes new connections too
                after.append(await polite.ask())
            if not waits.after or percentile(after) < percentile(waits.after):
                waits.after = after
            if percentile(waits.after) <= MOST_TIMES * percentile(waits.before):
                break
    finally:
        await attacker.close()
        await polite.close()
    return words, waits
