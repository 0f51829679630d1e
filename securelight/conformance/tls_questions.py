"""What the cases about TLS have in common: send a ClientHello, look at what comes, accept or fail."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import trio

from securelight.conformance import tls_records as tls
from securelight.conformance.case import Failed, Skipped
from securelight.conformance.tls_records import Flight, Hello, ServerHello

if TYPE_CHECKING:
    from collections.abc import Collection

    from securelight.conformance.case import Question
    from securelight.conformance.dial import Dial
    from securelight.conformance.wire import Wire

MakeHello = Callable[[str], Hello]
"""(server name, empty for none) -> a ClientHello."""
MakeBytes = Callable[[str], bytes]


def name_of(dial: Dial) -> str:
    """What goes into SNI: an address never does."""
    return "" if dial.target.is_address else dial.target.host


async def flight_on(dial: Dial, wire: Wire, data: bytes, words: str) -> Flight:
    """Send raw bytes on a connection, and read until it is clear what the server makes of them.

    Errors: Failed if nothing comes, or what comes breaks the format.
    """
    flight = Flight()
    await wire.send(data, words)
    with trio.move_on_after(dial.patience.answer) as scope:
        while not flight.complete:
            received = await wire.receive()
            if not received:
                flight.ended = wire.end_words
                break
            try:
                flight.feed(received)
            except ValueError as error:
                raise Failed(f"the server's answer is malformed: {error}") from None
    if scope.cancelled_caught and not flight.complete:
        raise Failed(f"no answer, and no end of the connection, within {dial.patience.answer:g} s")
    wire.note(flight.words)
    return flight


async def offer(dial: Dial, hello: Hello | bytes) -> Flight:
    """On a connection of its own, send a ClientHello, or the bytes in its place.

    Errors: Unreachable; as flight_on; Skipped for a server without TLS.
    """
    if not dial.target.tls:
        raise Skipped("the server has no TLS")
    data = hello if isinstance(hello, bytes) else hello.record()
    return await flight_on(dial, await dial.tcp(), data, "ClientHello")


def went_on(flight: Flight) -> ServerHello:
    """The ServerHello; Failed if there is none."""
    if flight.server_hello is None:
        raise Failed(f"expected a ServerHello, but got {flight.words}")
    return flight.server_hello


def was_refused(flight: Flight, alerts: Collection[int] = ()) -> str:
    """The words for a refusal; Failed if there was none, or with another alert than asked for."""
    if not flight.refused:
        raise Failed(f"expected a refusal, but got {flight.words}")
    if alerts and flight.alert not in alerts:
        wanted = " or ".join(tls.ALERTS[alert] for alert in alerts)
        raise Failed(f"expected alert {wanted}, but got {flight.words}")
    return flight.words


async def spoken(dial: Dial, version: int) -> Flight:
    """What a good ClientHello of TLS 1.2 or 1.3 is answered with; Skipped if the server does not speak the version."""
    name = name_of(dial)
    flight = await offer(dial, tls.hello_1_3(name) if version == tls.TLS_1_3 else tls.hello_1_2(name))
    if flight.server_hello is None or flight.server_hello.chosen_version != version:
        raise Skipped(f"the server does not speak {tls.VERSIONS[version]}: {flight.words}")
    return flight


def refuses(make: Callable[[str], Hello | bytes], *alerts: int, version: int = 0) -> Question:
    """A question: is it refused, with one of `alerts` where any are named? `version` must be spoken for it to arise."""

    async def question(dial: Dial) -> str:
        if version:
            await spoken(dial, version)
        return was_refused(await offer(dial, make(name_of(dial))), alerts)

    return question


def accepts(make: Callable[[str], Hello | bytes], version: int, *suites: int) -> Question:
    """A question: is it answered with `version`, and one of `suites` where any are named?"""

    async def question(dial: Dial) -> str:
        await spoken(dial, version)
        flight = await offer(dial, make(name_of(dial)))
        hello = went_on(flight)
        if hello.chosen_version != version or (suites and hello.suite not in suites):
            raise Failed(f"expected {tls.VERSIONS[version]}, but got {flight.words}")
        return flight.words

    return question


def answered_or_refused(make: Callable[[str], Hello | bytes]) -> Question:
    """A question: is it answered, or refused with an alert? Both are right; silence and a bare end are not."""

    async def question(dial: Dial) -> str:
        flight = await offer(dial, make(name_of(dial)))
        if flight.server_hello is None and flight.alert is None:
            raise Failed(f"expected a ServerHello or an alert, but got {flight.words}")
        return flight.words

    return question
