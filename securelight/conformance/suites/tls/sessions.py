"""Resumption (RFC 8446, sections 2.2 and 4.6.1; RFC 6066, section 3; RFC 9325, section 3.4)."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

import trio

from securelight.conformance.case import Failed, Skipped, Topic
from securelight.conformance.dial import lenient_context
from securelight.conformance.suites.tls.connection import VERSIONS
from securelight.conformance.wire import HandshakeFailed

if TYPE_CHECKING:
    from securelight.conformance.case import Question
    from securelight.conformance.dial import Dial
    from securelight.conformance.wire import Wire

RESUMPTION = Topic(
    "Resumption",
    rfc=8446,
    why="A ticket is worth a handshake: one that lives for ever, or counts for other names, is worth an attack.",
    cure="Let tickets live for hours, change their keys, and tie sessions to the name that they were made for.",
)
WEEK_SECONDS = 7 * 24 * 3600


async def _dial(dial: Dial, context: ssl.SSLContext, name: str | None, session: ssl.SSLSession | None = None) -> Wire:
    if not dial.target.tls:
        raise Skipped("the server has no TLS")
    wire = await dial.tcp()
    try:
        with trio.fail_after(dial.patience.connect):
            await wire.start_tls(context, name, session)
    except HandshakeFailed as failed:
        if session is not None:
            raise
        raise Skipped(f"the server does not speak this version: {failed.reason}") from None
    except trio.TooSlowError:
        raise Failed(f"the TLS handshake was not done within {dial.patience.connect:g} s") from None
    return wire


async def _session(dial: Dial, version: str) -> tuple[ssl.SSLContext, ssl.SSLSession]:
    """A session, with its ticket in TLS 1.3, which comes with or after the first answer."""
    context = lenient_context(("http/1.1",))
    context.minimum_version = context.maximum_version = VERSIONS[version]
    wire = await _dial(dial, context, dial.target.host)
    target = dial.target
    await wire.send(f"GET {target.path} HTTP/1.1\r\nHost: {target.authority}\r\nConnection: close\r\n\r\n".encode())
    await wire.until_end(dial.patience.answer)
    assert wire.tls is not None
    session = wire.tls.session
    if session is None or not (session.has_ticket or (session.id and version == "1.2")):
        raise Skipped("the server gives no session to resume")
    return context, session


def _resumed(version: str) -> Question:
    async def question(dial: Dial) -> str:
        context, session = await _session(dial, version)
        wire = await _dial(dial, context, dial.target.host, session)
        target = dial.target
        await wire.send(f"GET {target.path} HTTP/1.1\r\nHost: {target.authority}\r\nConnection: close\r\n\r\n".encode())
        answer = b""
        with trio.move_on_after(dial.patience.answer):
            answer = await wire.receive()
        assert wire.tls is not None
        if not answer.startswith(b"HTTP/1."):
            raise Failed(f"expected an answer on the second connection, but {wire.end_words or 'nothing came'}")
        return "resumed" if wire.tls.session_reused else "a full handshake"

    return question


def _lifetime(version: str) -> Question:
    async def question(dial: Dial) -> str:
        _, session = await _session(dial, version)
        if session.ticket_lifetime_hint > WEEK_SECONDS:
            raise Failed(f"the ticket says that it lives for {session.ticket_lifetime_hint} s, more than seven days")
        return f"{session.ticket_lifetime_hint} s"

    return question


RESUMPTION.must("tls/2.2/resumed", "A session of TLS 1.3 is resumed", section="2.2")(_resumed("1.3"))
RESUMPTION.must("tls/5077-3/resumed", "A session of TLS 1.2 is resumed", rfc=5077, section="3")(_resumed("1.2"))
RESUMPTION.must("tls/4.6.1/lifetime", "Tickets of TLS 1.3 live for seven days at most")(_lifetime("1.3"))
RESUMPTION.should("tls/9325-3.4/lifetime", "Tickets of TLS 1.2 live for a week at most", rfc=9325, section="3.4")(
    _lifetime("1.2")
)


@RESUMPTION.must("tls/6066-3/other-name", "A session of TLS 1.2 is offered for another name", rfc=6066, section="3")
async def other_name(dial: Dial) -> str:
    """It is not resumed: what was agreed for one site does not count for another (CVE-2025-23419)."""
    context, session = await _session(dial, "1.2")
    if dial.target.is_address:
        raise Skipped("the URL has an address, and sessions belong to names")
    try:
        wire = await _dial(dial, context, "other-name.invalid", session)
    except HandshakeFailed as failed:
        return f"refused: {failed.reason}"
    assert wire.tls is not None
    if wire.tls.session_reused:
        raise Failed("the session was resumed for other-name.invalid")
    return "a full handshake"


@RESUMPTION.should("tls/C.4/tickets-differ", "Two tickets of TLS 1.3 are not the same", section="C.4")
async def tickets_differ(dial: Dial) -> str:
    """Or clients can be followed by them."""
    _, first = await _session(dial, "1.3")
    _, second = await _session(dial, "1.3")
    if first.id == second.id:
        raise Failed("they are the same")
    return "they differ"
