"""Which versions of TLS are spoken, and how one is chosen (RFC 8996, 7568, 8446, section 4.2.1, 7507, 8701)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from securelight.conformance import tls_records as tls
from securelight.conformance.case import Failed, Skipped, Topic
from securelight.conformance.tls_questions import (
    accepts,
    name_of,
    offer,
    refuses,
    spoken,
    was_refused,
    went_on,
)

if TYPE_CHECKING:
    from securelight.conformance.case import Question
    from securelight.conformance.dial import Dial
    from securelight.conformance.tls_records import Hello

OLD = Topic(
    "Old versions",
    rfc=8996,
    why="Old versions rest on MD5 and SHA-1 and have known attacks (POODLE, BEAST); who speaks them can be forced to.",
    cure="Speak TLS 1.2 and 1.3 only; refuse the others with the alert protocol_version.",
)
CHOICE = Topic(
    "The choice of the version",
    rfc=8446,
    why="A server that reads versions wrongly breaks with clients of tomorrow, or can be talked down to an old one.",
    cure="Go by supported_versions alone where it is there, and by legacy_version where it is not; ignore the unknown.",
)
DOWNGRADE = Topic(
    "Signals against downgrades",
    rfc=8446,
    why="Without these signals an attacker in the middle makes both sides speak an older version than they could.",
    cure="Write the sentinel into ServerHello.random, and answer TLS_FALLBACK_SCSV with inappropriate_fallback.",
)
GREASE = Topic(
    "Values that nobody knows",
    rfc=8701,
    why="Browsers send reserved values at random; a server that stumbles over them stops further development of TLS.",
    cure="Ignore cipher suites, groups, extensions and the like that you do not know.",
)
OLD_SUITES = (0xC009, 0xC013, 0xC00A, 0xC014, 0x002F, 0x0035, 0x000A, 0x0005, *tls.SUITES_1_2)
GREASED = 0x5A5A


def _old(version: int) -> Question:
    def make(name: str) -> Hello:
        hello = tls.hello_1_2(name, suites=OLD_SUITES)
        hello.version = version
        if version == tls.SSL_3:
            hello.extensions = None
        return hello

    async def question(dial: Dial) -> str:
        flight = await offer(dial, make(name_of(dial)))
        if flight.server_hello is not None and flight.server_hello.chosen_version > version:
            raise Failed(f"the client's highest version is {tls.VERSIONS[version]}, and the answer is {flight.words}")
        return was_refused(flight)

    return question


OLD.must("tls/8996-5/tls-1.1", "A client that speaks nothing above TLS 1.1", section="5")(_old(tls.TLS_1_1))
OLD.must("tls/8996-4/tls-1.0", "A client that speaks nothing above TLS 1.0", section="4")(_old(tls.TLS_1_0))
OLD.must("tls/7568-3/ssl-3", "A client that speaks nothing above SSL 3", rfc=7568, section="3")(_old(tls.SSL_3))


def _ssl_2_hello(version: int) -> bytes:
    suites = bytes.fromhex("010080 0700c0 00002f 00c02f")
    body = b"\x01" + version.to_bytes(2, "big") + b"\0\x0c\0\0\0\x10" + suites + bytes(range(16))
    return (0x8000 | len(body)).to_bytes(2, "big") + body


OLD.must("tls/6176-3/ssl-2", "A ClientHello of SSL 2", rfc=6176, section="3")(refuses(lambda _: _ssl_2_hello(2)))
OLD.must("tls/8446-D.5/ssl-2-form", "A ClientHello of TLS 1.2 in the form of SSL 2", rfc=8446, section="D.5")(
    refuses(lambda _: _ssl_2_hello(tls.TLS_1_2))
)


@OLD.must("tls/8446-D.2/right-alert", "TLS 1.1 is refused with the alert protocol_version", rfc=8446, section="4.2.1")
async def right_alert(dial: Dial) -> str:
    """So that the client knows why."""
    hello = tls.hello_1_2(name_of(dial), suites=OLD_SUITES)
    hello.version = tls.TLS_1_1
    flight = await offer(dial, hello)
    if not flight.refused:
        raise Skipped("TLS 1.1 is not refused, which is another case")
    return was_refused(flight, (tls.PROTOCOL_VERSION,))


@CHOICE.must("tls/9325-3.1.1/today", "TLS 1.2 or TLS 1.3 is spoken", rfc=9325, section="3.1.1")
async def today(dial: Dial) -> str:
    """At least one of them."""
    hello = tls.hello_1_3(name_of(dial), versions=(tls.TLS_1_3, tls.TLS_1_2), suites=tls.SUITES_1_3 + tls.SUITES_1_2)
    return f"{tls.VERSIONS.get(went_on(await offer(dial, hello)).chosen_version)}"


@CHOICE.should("tls/9325-3.1.1/tls-1.3", "TLS 1.3 is spoken", rfc=9325, section="3.1.1")
async def tls_1_3(dial: Dial) -> str:
    """It hides certificates, always has forward secrecy and takes one round trip less."""
    flight = await offer(dial, tls.hello_1_3(name_of(dial)))
    if went_on(flight).chosen_version != tls.TLS_1_3:
        raise Failed(f"expected TLS 1.3, but got {flight.words}")
    return flight.words


def _versions(*versions: int, legacy: int = tls.TLS_1_2) -> Hello:
    suites = tls.SUITES_1_3 + tls.SUITES_1_2
    hello = tls.hello_1_3(versions=versions, suites=suites)
    hello.version = legacy
    return hello


def _named(hello: Hello, name: str) -> Hello:
    return hello.put(tls.SERVER_NAME, tls.server_name(name.encode("idna"))) if name else hello


CHOICE.must("tls/4.2.1/old-legacy-version", "supported_versions has TLS 1.3, legacy_version is TLS 1.0")(
    accepts(lambda name: _named(_versions(tls.TLS_1_3, legacy=tls.TLS_1_0), name), tls.TLS_1_3)
)
CHOICE.must("tls/4.2.1/future-versions", "supported_versions has versions of the future before TLS 1.3")(
    accepts(lambda name: _named(_versions(0x0306, 0x0305, tls.TLS_1_3), name), tls.TLS_1_3)
)
CHOICE.must("tls/4.2.1/unordered", "supported_versions has TLS 1.1, TLS 1.3 and TLS 1.0, in this order")(
    accepts(lambda name: _named(_versions(tls.TLS_1_1, tls.TLS_1_3, tls.TLS_1_0), name), tls.TLS_1_3)
)
CHOICE.must("tls/4.2.1/only-future", "supported_versions has only a version of the future")(
    refuses(lambda name: _named(_versions(0x0305), name), tls.PROTOCOL_VERSION)
)
CHOICE.must("tls/4.2.1/extension-counts", "supported_versions has only TLS 1.0, legacy_version is TLS 1.2")(
    refuses(lambda name: _named(_versions(tls.TLS_1_0), name))
)
CHOICE.must("tls/4.2.1/empty", "supported_versions is an empty list")(
    refuses(
        lambda name: _named(_versions(), name),
        tls.DECODE_ERROR,
        tls.ILLEGAL_PARAMETER,
        tls.PROTOCOL_VERSION,
        version=tls.TLS_1_3,
    )
)


def _legacy(version: int) -> Question:
    async def question(dial: Dial) -> str:
        hello = tls.hello_1_2(name_of(dial), suites=tls.SUITES_1_3 + tls.SUITES_1_2)
        hello.version = version
        await spoken(dial, tls.TLS_1_2)
        flight = await offer(dial, hello)
        if went_on(flight).chosen_version != tls.TLS_1_2:
            raise Failed(f"expected TLS 1.2, but got {flight.words}")
        return flight.words

    return question


CHOICE.must("tls/4.1.2/legacy-1.3", "legacy_version says TLS 1.3, without supported_versions", section="4.2.1")(
    _legacy(tls.TLS_1_3)
)
CHOICE.must("tls/5246-E.1/high", "legacy_version is 3.99, without supported_versions", rfc=5246, section="E.1")(
    _legacy(0x0363)
)


def _record_version(version: int) -> Question:
    return accepts(lambda name: tls.hello_1_3(name).record(version), tls.TLS_1_3)


for _number in (tls.SSL_3, tls.TLS_1_2, tls.TLS_1_3):
    CHOICE.must(
        f"tls/5.1/record-version-{_number:04x}", f"The record of the ClientHello has the version {_number:04x}"
    )(_record_version(_number))


@CHOICE.must("tls/4.1.3/legacy-fields", "The ServerHello of TLS 1.3 echoes the session id and has no compression")
async def legacy_fields(dial: Dial) -> str:
    """And says TLS 1.2 in legacy_version."""
    await spoken(dial, tls.TLS_1_3)
    sent = tls.hello_1_3(name_of(dial))
    hello = went_on(await offer(dial, sent))
    if hello.version != tls.TLS_1_2:
        raise Failed(f"legacy_version is {hello.version:04x}")
    if hello.session_id != sent.session_id:
        raise Failed("the session id is not that of the client")
    if hello.compression:
        raise Failed(f"the compression method is {hello.compression}")
    return "as it must be"


@CHOICE.must("tls/4.1.3/extensions", "The ServerHello of TLS 1.3 has supported_versions and key_share, and no others")
async def extensions(dial: Dial) -> str:
    """Everything else belongs where it is encrypted."""
    hello = went_on(await spoken(dial, tls.TLS_1_3))
    if set(hello.extensions) != {tls.SUPPORTED_VERSIONS, tls.KEY_SHARE}:
        raise Failed(f"the extensions are {sorted(hello.extensions)}")
    return "these two"


@DOWNGRADE.must("tls/4.1.3/sentinel", "A server of TLS 1.3 that agrees on TLS 1.2 says so in ServerHello.random")
async def sentinel(dial: Dial) -> str:
    """The last eight bytes are DOWNGRD and 01."""
    await spoken(dial, tls.TLS_1_3)
    hello = went_on(await spoken(dial, tls.TLS_1_2))
    if hello.random[24:] != b"DOWNGRD\x01":
        raise Failed(f"the last eight bytes of ServerHello.random are {hello.random[24:].hex()}, not DOWNGRD and 01")
    return "DOWNGRD 01"


@DOWNGRADE.must("tls/4.1.3/no-false-sentinel", "TLS 1.3 is agreed on without a sentinel in ServerHello.random")
async def no_false_sentinel(dial: Dial) -> str:
    """Clients break off where there is one."""
    hello = went_on(await spoken(dial, tls.TLS_1_3))
    if hello.random[24:31] == b"DOWNGRD":
        raise Failed("the sentinel is there")
    return "none"


@DOWNGRADE.must("tls/4.1.3/fresh-random", "ServerHello.random is another one on each connection")
async def fresh_random(dial: Dial) -> str:
    """Of three."""
    seen = {went_on(await offer(dial, _named(_versions(tls.TLS_1_3, tls.TLS_1_2), name_of(dial)))).random[:24]
            for _ in range(3)}  # fmt: skip
    if len(seen) < 3:
        raise Failed("it was the same twice")
    return "three different ones"


@DOWNGRADE.must("tls/7507-3/fallback", "TLS 1.2 with TLS_FALLBACK_SCSV, at a server that speaks TLS 1.3",
                rfc=7507, section="3")  # fmt: skip
async def fallback(dial: Dial) -> str:
    """The client says that it could do better."""
    await spoken(dial, tls.TLS_1_3)
    await spoken(dial, tls.TLS_1_2)
    hello = tls.hello_1_2(name_of(dial), suites=(*tls.SUITES_1_2, tls.FALLBACK_SCSV))
    return was_refused(await offer(dial, hello), (86,))


@DOWNGRADE.must("tls/7507-3/no-fallback", "The highest version with TLS_FALLBACK_SCSV", rfc=7507, section="3")
async def no_fallback(dial: Dial) -> str:
    """That is no fallback."""
    await spoken(dial, tls.TLS_1_3)
    flight = await offer(dial, tls.hello_1_3(name_of(dial), suites=(*tls.SUITES_1_3, tls.FALLBACK_SCSV)))
    went_on(flight)
    return flight.words


# GREASE (RFC 8701)


def _grease_lists(hello: Hello) -> Hello:
    return hello.put(tls.SUPPORTED_GROUPS, tls.vector(tls.numbers((GREASED, *tls.GROUPS)), 2))


GREASE_HELLOS = {
    "suite": ("A cipher suite that nobody knows", lambda name: tls.hello_1_3(name, suites=(GREASED, *tls.SUITES_1_3))),
    "version": ("A version", lambda name: tls.hello_1_3(name, versions=(GREASED, tls.TLS_1_3))),
    "extension": ("An extension", lambda name: tls.hello_1_3(name).put(GREASED, b"").put(0x9A9A, b"\0")),
    "group": ("A group", lambda name: _grease_lists(tls.hello_1_3(name))),
    "key-share": (
        "A key share",
        lambda name: tls.hello_1_3(
            name, groups=(GREASED, *tls.GROUPS), shares={GREASED: b"\0", tls.X25519: tls.SHARES[tls.X25519]}
        ),
    ),
    "signature": (
        "A signature scheme",
        lambda name: tls.hello_1_3(name).put(
            tls.SIGNATURE_ALGORITHMS, tls.vector(tls.numbers((GREASED, *tls.SIGNATURES)), 2)
        ),
    ),
    "alpn": (
        "A protocol of ALPN",
        lambda name: tls.hello_1_3(name).put(tls.ALPN, tls.alpn(b"\x5a\x5a", b"h2", b"http/1.1")),
    ),
    "psk-mode": ("A mode for pre-shared keys", lambda name: tls.hello_1_3(name).put(tls.PSK_MODES, b"\x02\x2a\x01")),
}
for _name, (_title, _make) in GREASE_HELLOS.items():
    GREASE.must(f"tls/8701-3/{_name}", f"{_title} that is reserved, beside good ones", section="3")(
        accepts(_make, tls.TLS_1_3, *tls.SUITES_1_3)
    )
