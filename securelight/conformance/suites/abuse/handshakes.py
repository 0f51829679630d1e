"""Handshakes and records that cost the server more than the client, and connections in great number.

The polite client here makes a new connection for each request: who has one already would not notice much.
"""

from __future__ import annotations

import importlib
import os
import resource
import ssl
from collections.abc import Awaitable, Callable, Generator
from typing import TYPE_CHECKING, Any

import trio

from securelight.conformance import polite_client, tls_records as tls
from securelight.conformance.case import Failed, Skipped, Topic
from securelight.conformance.dial import lenient_context
from securelight.conformance.http1_client import connect as connect_http1, request
from securelight.conformance.polite_client import watched
from securelight.conformance.tls_messages import Messages, connect
from securelight.conformance.tls_questions import name_of
from securelight.conformance.wire import HandshakeFailed, Unreachable

if TYPE_CHECKING:
    from securelight.conformance.case import Question
    from securelight.conformance.dial import Dial

MESSAGES = Topic(
    "TLS messages without end",
    rfc=0,
    why="Each of them makes the server compute, and none brings a request nearer.",
    cure="Refuse renegotiation; end connections that send more than some records without any application data.",
    abuse=True,
)
CONNECTIONS = Topic(
    "Connections in great number",
    rfc=8446,
    why="A handshake costs a server a signature, a connection a descriptor: both end before the network does.",
    cure="Bound connections in all and for each client, and handshakes in time; go on accepting when they are spent.",
    abuse=True,
)
TLS_1_2, TLS_1_3 = (3, 3), (3, 4)
SECONDS = 8.0
COUNT = 1_500
DESCRIPTORS, HELD_SECONDS, AGAIN_SECONDS = 3_000, 0.5, 0.005


# One connection: what OpenSSL would not send is said by tlslite-ng


async def _repeat(messages: Messages, step: Callable[[], Generator[Any, None, None]], count: int, what: str) -> str:
    """Let tlslite-ng do the same again and again. Errors: Failed if the server takes all of it."""
    wire = messages.wire
    wire.logs = False
    wire.note(f"up to {count} x {what}")
    ended = trio.Event()

    async def look() -> None:
        while await wire.receive():
            pass
        ended.set()

    sent = 0
    async with trio.open_nursery() as nursery:
        nursery.start_soon(look)
        with trio.move_on_after(SECONDS):
            while sent < count and not ended.is_set():
                await messages.run(step())
                sent += 1
                await trio.lowlevel.checkpoint()
        with trio.move_on_after(messages.dial.patience.silence):
            await ended.wait()
        nursery.cancel_scope.cancel()
    wire.note(f"{sent} were sent")
    if not ended.is_set():
        raise Failed(f"{sent} x {what} were taken, and nothing has stopped them")
    return f"ended after at most {sent} x {what}: {wire.end_words or 'closed'}"


def _tls(name: str) -> Any:
    return importlib.import_module(f"tlslite.{name}")


def _updates(kind: int) -> Question:
    async def attack(dial: Dial) -> str:
        messages = await connect(dial, TLS_1_3, "http/1.1")
        what = "KeyUpdate that asks for one" if kind else "KeyUpdate"
        return await _repeat(messages, lambda: messages.connection.send_keyupdate_request(kind), COUNT, what)

    return watched()(attack)


def _messages(version: tuple[int, int], make: Callable[[], Any], what: str) -> Question:
    async def attack(dial: Dial) -> str:
        messages = await connect(dial, version, "http/1.1")
        return await _repeat(messages, lambda: messages.connection._sendMsg(make()), COUNT, what)

    return watched()(attack)


def _empty() -> Any:
    return _tls("messages").ApplicationData().create(bytearray())


def _warning() -> Any:
    return _tls("messages").Alert().create(90, 1)  # user_canceled


_CASES = {
    "8446-4.6.3/key-updates": (f"{COUNT:,} KeyUpdates in a row", _updates(0)),
    "8446-4.6.3/key-updates-asking": (f"{COUNT:,} KeyUpdates in a row, each of which asks for another", _updates(1)),
    "8446-5.4/empty-records": (
        f"TLS 1.3: {COUNT:,} records without content", _messages(TLS_1_3, _empty, "a record without content"),
    ),
    "CVE-2004-0079/empty-records-1.2": (
        f"TLS 1.2: {COUNT:,} records without content", _messages(TLS_1_2, _empty, "a record without content"),
    ),
    "CVE-2016-8610/warnings": (
        f"TLS 1.2: {COUNT:,} alerts that only warn", _messages(TLS_1_2, _warning, "an alert that only warns"),
    ),
}  # fmt: skip
for _key, (_title, _question) in _CASES.items():
    _number = _key.partition("/")[0]
    _known = _number.startswith("CVE-")
    (MESSAGES.must if _known else MESSAGES.should)(
        f"abuse/{_key}", _title, rfc=0 if _known else 8446, section=_number.removeprefix("8446-"),
        seconds=polite_client.CASE_SECONDS,
    )(_question)  # fmt: skip


@MESSAGES.must(
    "abuse/CVE-2011-1473/renegotiation",
    "TLS 1.2: a renegotiation, which could be repeated without end",
    seconds=polite_client.CASE_SECONDS,
)
@watched()
async def renegotiation(dial: Dial) -> str:
    """Each would cost a whole handshake, and one connection may ask for as many as it likes."""
    messages = await connect(dial, TLS_1_2, "http/1.1")
    library = messages.library
    hello = tls.hello_1_2(name_of(dial)).without(tls.RENEGOTIATION_INFO)
    extensions = [
        _tls("extensions").TLSExtension(extType=kind).create(bytearray(content))
        for kind, content in (hello.extensions or {}).items()
    ]
    info = _tls("extensions").RenegotiationInfoExtension().create(bytearray(messages.verify_data))
    again = _tls("messages").ClientHello()
    again.create((3, 3), bytearray(os.urandom(32)), bytearray(), list(tls.SUITES_1_2), extensions=[info, *extensions])
    await messages.send(again, "a ClientHello, encrypted")
    try:
        await messages.read()
    except library.TLSLocalAlert:
        raise Failed("the server goes on with a handshake: a renegotiation is taken") from None
    except (library.TLSError, OSError) as error:
        return f"refused: {error or type(error).__name__}"
    return f"refused: {messages.wire.end_words or 'nothing came'}"


# Many connections


async def _in_turn(dial: Dial, count: int, one: Callable[[Dial], Awaitable[str]], at_a_time: int = 4) -> dict[str, int]:
    """How `count` connections ended, by words; several at a time, for as long as an attack may take."""
    found: dict[str, int] = {}
    left = count

    async def work() -> None:
        nonlocal left
        while left:
            left -= 1
            own = dial.another()
            try:
                words = await one(own)
            except Unreachable:
                words = "refused"
            except (HandshakeFailed, Failed):
                words = "handshake refused"
            finally:
                await own.close()
            found[words] = found.get(words, 0) + 1

    with trio.move_on_after(SECONDS):
        async with trio.open_nursery() as nursery:
            for _ in range(at_a_time):
                nursery.start_soon(work)
    return found


def _told(found: dict[str, int]) -> str:
    return ", ".join(f"{count} x {words}" for words, count in sorted(found.items()))


def _crowd(count: int, one: Callable[[Dial], Awaitable[str]]) -> Question:
    async def attack(dial: Dial) -> str:
        return _told(await _in_turn(dial, count, one))

    return watched(fresh=True)(attack)


async def _hello_and_away(dial: Dial) -> str:
    if not dial.target.tls:
        raise Skipped("the server has no TLS")
    wire = await dial.tcp()
    hello = tls.hello_1_3(name_of(dial), versions=(tls.TLS_1_3, tls.TLS_1_2)).record()
    await wire.send(hello, "a ClientHello")
    with trio.move_on_after(1.0):
        return "answered" if await wire.receive() else "closed"
    return "not answered"


async def _rubbish(dial: Dial) -> str:
    wire = await dial.tcp()
    await wire.send(os.urandom(4_096), "4,096 random bytes")
    with trio.move_on_after(1.0):
        await wire.until_end(1.0)
        return "closed"
    return "kept"


async def _at_once_away(dial: Dial) -> str:
    await dial.tcp()
    return "connected"


async def _handshake(dial: Dial) -> str:
    await dial.tls(context=lenient_context(["http/1.1"]))
    return "shaken hands"


_CROWDS = {
    "8446-4.1.2/hello-flood": ("500 connections that send a ClientHello and leave", 500, _hello_and_away),
    "8446-4/handshake-flood": ("200 handshakes, 4 at a time, none resumed", 200, _handshake),
    "8446-5/rubbish": ("500 connections that send random bytes", 500, _rubbish),
    "8446-4/connect-and-leave": ("1,000 connections that say nothing and leave", 1_000, _at_once_away),
}
for _key, (_title, _count, _one) in _CROWDS.items():
    CONNECTIONS.should(
        f"abuse/{_key}", _title, section=_key.partition("/")[0].removeprefix("8446-"),
        seconds=polite_client.CASE_SECONDS,
    )(_crowd(_count, _one))  # fmt: skip


@CONNECTIONS.must(
    "abuse/CVE-2024-2511/ticket-flood", "200 handshakes that resume one session, and ask for new tickets each", rfc=0,
    section="CVE-2024-2511", why="A cache of sessions that never forgets grows by each of them.",
    cure="Keep no state for tickets, or bound it; keep OpenSSL up to date.", seconds=polite_client.CASE_SECONDS,
)  # fmt: skip
@watched(fresh=True)
async def ticket_flood(dial: Dial) -> str:
    """TLS 1.2 and 1.3; a server may refuse to resume, but goes on shaking hands."""
    if not dial.target.tls:
        raise Skipped("the server has no TLS")
    told = []
    for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        context = lenient_context(["http/1.1"])
        context.minimum_version = context.maximum_version = version
        try:
            session = await _session(dial.another(), context)
        except HandshakeFailed:
            continue

        async def resume(own: Dial, context: ssl.SSLContext = context, session: ssl.SSLSession | None = session) -> str:
            wire = await own.tcp()
            await wire.start_tls(context, name_of(own) or None, session)
            assert wire.tls is not None
            return "resumed" if wire.tls.session_reused else "not resumed"

        found = await _in_turn(dial, 100, resume)
        told.append(f"{version.name}: {_told(found)}")
        if "resumed" not in found and "not resumed" not in found:
            raise Failed(f"no more handshakes were done: {told[-1]}")
    return "; ".join(told)


async def _session(dial: Dial, context: ssl.SSLContext) -> ssl.SSLSession | None:
    """One that can be resumed; None if the server gives none."""
    try:
        wire = await dial.tls(context=context)
        await wire.send(request(dial.target, b"Connection: close"))
        await wire.until_end(dial.patience.answer)  # the ticket of TLS 1.3 comes with the first data
        return wire.tls.session if wire.tls is not None else None
    finally:
        await dial.close()


@CONNECTIONS.must(
    "abuse/8446-4/descriptors", "As many idle connections as descriptors can be had, up to 3,000", section="4",
    why="A server whose descriptors are spent serves nobody; one that loops on accept burns a processor too.",
    cure="Raise the limit of descriptors, bound connections below it, in all and for each client.",
    seconds=polite_client.CASE_SECONDS,
)  # fmt: skip
@watched(fresh=True)
async def descriptors(dial: Dial) -> str:
    """They are kept until the attack is over; the polite client has to get through beside them."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < DESCRIPTORS + 256:
        wanted = DESCRIPTORS + 256 if hard == resource.RLIM_INFINITY else min(hard, DESCRIPTORS + 256)
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        soft = wanted
    taken = 0
    end = ""
    with trio.move_on_after(SECONDS) as scope:
        while taken < min(DESCRIPTORS, soft - 256):
            try:
                await dial.tcp()
                taken += 1
            except Unreachable as error:
                if not end:
                    scope.deadline = trio.current_time() + HELD_SECONDS  # take what becomes free meanwhile
                end = f"; then {error}"
                await trio.sleep(AGAIN_SECONDS)
        await trio.sleep(HELD_SECONDS)
    return f"{taken} connections were held{end}"


@CONNECTIONS.should(
    "abuse/9112-9.5/idle-crowd", "200 connections with TLS and HTTP that ask once and stay", rfc=9112, section="9.5",
    seconds=polite_client.CASE_SECONDS,
)  # fmt: skip
@watched(fresh=True)
async def idle_crowd(dial: Dial) -> str:
    """What browsers do, by the hundred."""
    answered = 0
    with trio.move_on_after(SECONDS):
        for _ in range(200):
            try:
                client = await connect_http1(dial)
            except (Unreachable, HandshakeFailed) as error:
                return f"{answered} were served, then: {error}"
            client.wire.logs = False
            await client.send(request(dial.target, method=b"HEAD"))
            answered += await client.answer("HEAD") is not None
    return f"{answered} were served, and stayed"
