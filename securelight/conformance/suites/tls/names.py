"""Server names and protocols: SNI (RFC 6066, section 3) and ALPN (RFC 7301), with what ALPACA needs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from securelight.conformance import tls_records as tls
from securelight.conformance.case import Failed, Skipped, Topic, bound
from securelight.conformance.tls_questions import (
    accepts,
    answered_or_refused,
    name_of,
    offer,
    refuses,
    spoken,
    went_on,
)
from securelight.conformance.wire import HandshakeFailed

if TYPE_CHECKING:
    from securelight.conformance.case import Question
    from securelight.conformance.dial import Dial
    from securelight.conformance.tls_records import Hello

SNI = Topic(
    "Server names",
    rfc=6066,
    why="The name decides which certificate is shown and which site answers; odd names find parsers that were not "
    "made for them.",
    cure="Answer unknown names with a default certificate or the alert unrecognized_name; refuse what is no name.",
)
PROTOCOLS = Topic(
    "Application protocols",
    rfc=7301,
    why="A server that takes any protocol lets attackers send a browser's requests to another service (ALPACA).",
    cure="Answer an offer without a protocol of yours with the alert no_application_protocol.",
)
_NO_PROTOCOL = 120


def _sni(content: bytes) -> Hello:
    return tls.hello_1_2().put(tls.SERVER_NAME, content)


def _both(content: bytes) -> Hello:
    hello = tls.hello_1_3(versions=(tls.TLS_1_3, tls.TLS_1_2), suites=tls.SUITES_1_3 + tls.SUITES_1_2)
    hello.put(tls.EXTENDED_MASTER_SECRET, b"").put(tls.RENEGOTIATION_INFO, b"\0")
    return hello.put(tls.SERVER_NAME, content)


SNI.must("tls/6066-3/unknown", "A name that no site has", section="3")(
    answered_or_refused(lambda _: _both(tls.server_name(b"no-such-site.invalid")))
)
SNI.must("tls/6066-3/upper-case", "The name in upper case", section="3", rfc=6066)(
    answered_or_refused(lambda name: _both(tls.server_name((name or "localhost").upper().encode("idna"))))
)


@SNI.must("tls/6066-3/absent", "No name at all", section="3")
async def absent(dial: Dial) -> str:
    """Old clients, and those that were given an address."""
    hello = _both(b"").without(tls.SERVER_NAME)
    flight = await offer(dial, hello)
    if flight.server_hello is None and flight.alert is None:
        raise Failed(f"expected a ServerHello or an alert, but got {flight.words}")
    return flight.words


for _name, _title, _content in (
    ("trailing-dot", "A name with a dot at its end", b"localhost."),
    ("address", "An IPv4 address in the place of a name", b"127.0.0.1"),
    ("address-6", "An IPv6 address in the place of a name", b"::1"),
    ("longest", "A name of 253 characters", b".".join([b"a" * 63] * 3) + b"." + b"b" * 61),
    ("too-long", "A name of 4,000 characters", b"a." * 2_000),
    ("nul", "A name with a NUL in it", b"localhost\0.invalid"),
    ("line-break", "A name with a line break in it", b"localhost\r\nHost: other"),
    ("slashes", "A name that goes up in the file system", b"../../../etc/passwd"),
    ("not-ascii", "A name with bytes above 127", "bücher.example".encode()),
    ("dots", "A name of dots", b"...."),
    ("wildcard", "A name with a wildcard", b"*.example.org"),
):
    SNI.must(f"tls/6066-3/{_name}", _title, section="3")(
        answered_or_refused(bound(lambda _, content: _both(tls.server_name(content)), _content))
    )
for _name, _title, _content in (
    ("empty-name", "A name of no characters", tls.server_name(b"")),
    ("empty-list", "A list without names", b"\0\0"),
    ("empty-extension", "server_name without content", b""),
    ("cut-short", "A name whose length goes past the end", b"\0\x0c\0\0\x40localhost"),
    ("bytes-after", "Bytes after the list of names", tls.server_name(b"localhost") + b"\0"),
):
    SNI.must(f"tls/6066-3/{_name}", _title, section="3")(refuses(bound(lambda _, content: _both(content), _content)))


@SNI.should("tls/6066-3/no-warning", "An unknown name gets no alert of level warning", section="3")
async def no_warning(dial: Dial) -> str:
    """Nobody can say what it means: some clients break off."""
    flight = await offer(dial, _both(tls.server_name(b"no-such-site.invalid")))
    if flight.warnings:
        raise Failed(f"the server warned with {tls.ALERTS.get(flight.warnings[0], flight.warnings[0])}")
    return flight.words


# ALPN


def _offer(*protocols: bytes) -> Question:
    async def question(dial: Dial) -> str:
        """With both versions; refused with the alert."""
        hello = _both(b"").without(tls.SERVER_NAME)
        if name_of(dial):
            hello.put(tls.SERVER_NAME, tls.server_name(name_of(dial).encode("idna")))
        flight = await offer(dial, hello.put(tls.ALPN, tls.alpn(*protocols)))
        if flight.alert != _NO_PROTOCOL:
            raise Failed(f"expected alert no_application_protocol, but got {flight.words}")
        return flight.words

    return question


for _name in ("ftp", "smtp", "imap", "pop3", "managesieve", "xmpp-server", "postgresql"):
    PROTOCOLS.must(f"tls/7301-3.2/{_name}", f"Only {_name} is offered", section="3.2")(_offer(_name.encode()))
PROTOCOLS.must("tls/7301-3.2/unknown", "Only a protocol that nobody knows is offered", section="3.2")(
    _offer(b"no-such-protocol")
)
PROTOCOLS.must("tls/7301-3.2/other-case", "H2 and HTTP/1.1/ are offered, which are other names", section="3.2")(
    _offer(b"H2", b"HTTP/1.1/")
)


def _malformed(content: bytes) -> Question:
    return refuses(lambda name: tls.hello_1_3(name).put(tls.ALPN, content), tls.DECODE_ERROR, tls.ILLEGAL_PARAMETER,
                   version=tls.TLS_1_3)  # fmt: skip


for _name, _title, _content in (
    ("empty-list", "An empty list of protocols", b"\0\0"),
    ("empty-protocol", "A protocol without a name", tls.alpn(b"", b"http/1.1")),
    ("past-the-end", "A protocol whose length goes past the end", b"\0\x09\x40http/1.1"),
    ("bytes-after", "Bytes after the list of protocols", tls.alpn(b"http/1.1") + b"\0"),
):
    PROTOCOLS.must(f"tls/7301-3.1/{_name}", _title, section="3.1")(_malformed(_content))


async def _chosen(dial: Dial, *protocols: str) -> str:
    wire = await dial.tls(protocols)
    return wire.alpn


@PROTOCOLS.must("tls/7301-3.2/mixed", "ftp is offered before http/1.1 and h2", section="3.2")
async def mixed(dial: Dial) -> str:
    """One that the server has is chosen."""
    chosen = await _chosen(dial, "ftp", "http/1.1", "h2")
    if chosen not in ("http/1.1", "h2"):
        raise Failed(f"{chosen or 'nothing'} was chosen")
    return chosen


@PROTOCOLS.must("tls/7301-3.2/one-of-ours", "What is chosen was offered", section="3.2")
async def one_of_ours(dial: Dial) -> str:
    """For HTTP/1.1 alone and HTTP/2 alone."""
    chosen = []
    for protocol in ("http/1.1", "h2"):
        try:
            found = await _chosen(dial, protocol)
        except HandshakeFailed as failed:
            chosen.append(f"{protocol} is refused ({failed.reason})")
            continue
        if found not in (protocol, ""):
            raise Failed(f"{protocol} was offered, and {found} chosen")
        chosen.append(f"{protocol}: {found or 'no choice'}")
    return ", ".join(chosen)


@PROTOCOLS.must("tls/7301-3.1/none", "No protocol is offered", section="3.1")
async def none(dial: Dial) -> str:
    """Then none is chosen, and HTTP/1.1 is spoken."""
    wire = await dial.tls(())
    if wire.alpn:
        raise Failed(f"{wire.alpn} was chosen")
    return "none was chosen"


@PROTOCOLS.must("tls/7301-3.2/http-1.1", "http/1.1 is chosen, and HTTP/1.1 is spoken", section="3.2")
async def http_1_1(dial: Dial) -> str:
    """Not HTTP/2."""
    try:
        wire = await dial.tls(("http/1.1",))
    except HandshakeFailed as failed:
        raise Skipped(f"HTTP/1.1 is not spoken: {failed.reason}") from None
    target = dial.target
    await wire.send(f"GET {target.path} HTTP/1.1\r\nHost: {target.authority}\r\nConnection: close\r\n\r\n".encode())
    answer = b""
    with trio.move_on_after(dial.patience.answer):
        answer = await wire.receive()
    if not answer.startswith(b"HTTP/1."):
        raise Failed(f"expected an answer of HTTP/1.1, but got {answer[:40]!r}")
    return answer[:15].decode("ascii", "replace")


@PROTOCOLS.must("tls/7301-3.1/one-protocol", "TLS 1.2: the answer has exactly one protocol", section="3.1")
async def one_protocol(dial: Dial) -> str:
    """RFC 7301 allows no list."""
    await spoken(dial, tls.TLS_1_2)
    hello = tls.hello_1_2(name_of(dial)).put(tls.ALPN, tls.alpn(b"http/1.1", b"h2"))
    content = went_on(await offer(dial, hello)).extensions.get(tls.ALPN)
    if content is None:
        return "no choice"
    if content not in (tls.alpn(b"http/1.1"), tls.alpn(b"h2")):
        raise Failed(f"the extension holds {content!r}")
    return content[3:].decode()


PROTOCOLS.must("tls/7301-3.1/long-list", "Two hundred unknown protocols before http/1.1", section="3.1")(
    accepts(lambda name: tls.hello_1_3(name).put(
        tls.ALPN, tls.alpn(*(b"unknown-%d" % number for number in range(200)), b"h2", b"http/1.1")), tls.TLS_1_3)
)  # fmt: skip
