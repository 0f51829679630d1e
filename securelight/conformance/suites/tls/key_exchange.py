"""Groups and signature algorithms (RFC 8446, sections 4.2.3, 4.2.7, 4.2.8 and 9.1; RFC 9155; RFC 9325)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from securelight.conformance import tls_records as tls
from securelight.conformance.case import Failed, Skipped, Topic
from securelight.conformance.tls_questions import (
    flight_on,
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

EXCHANGE = Topic(
    "Groups and key shares",
    rfc=8446,
    why="A key share that is taken unseen can give away the key, and a weak group gives it away to anybody.",
    cure="Take X25519 and the curves of NIST from P-256 on, and check that shares are points of their curve.",
)
RETRY = Topic(
    "HelloRetryRequest",
    rfc=8446,
    why="A server that cannot ask for another share loses every client that guessed wrong.",
    cure="Ask once, for a group that was offered, and take only the ClientHello that was asked for.",
)
SIGNATURES = Topic(
    "Signature algorithms",
    rfc=9155,
    why="Signatures with MD5 and SHA-1 can be forged, and with them the server.",
    cure="Sign with SHA-256 or better, by an algorithm that the client has offered.",
)

GROUPS = {
    "secp256r1": 23,
    "secp384r1": 24,
    "secp521r1": 25,
    "x25519": 29,
    "x448": 30,
    "ffdhe2048": 256,
    "x25519mlkem768": 0x11EC,
}
WEAK_GROUPS = {"sect163k1": 1, "secp160r1": 16, "secp192r1": 19, "secp224r1": 21}


def _group(group: int) -> Question:
    async def question(dial: Dial) -> str:
        await spoken(dial, tls.TLS_1_3)
        hello = went_on_or_none(await offer(dial, tls.hello_1_3(name_of(dial), groups=(group,), shares={})), group)
        return "spoken" if hello else "not spoken"

    return question


def went_on_or_none(flight: tls.Flight, group: int) -> bool:
    """Whether the server asks for a share of `group`; False if it refuses; Failed for all else."""
    if flight.server_hello is None:
        was_refused(flight, (tls.HANDSHAKE_FAILURE, tls.ILLEGAL_PARAMETER, 71))
        return False
    if not flight.server_hello.retry or flight.server_hello.group != group:
        raise Failed(f"expected a HelloRetryRequest for group {group}, but got {flight.words}")
    return True


for _name, _number in GROUPS.items():
    EXCHANGE.must(f"tls/4.2.7/{_name}", f"Group {_name} alone is offered, without a share")(_group(_number))


@EXCHANGE.must("tls/9.1/secp256r1", "secp256r1 is spoken in TLS 1.3", section="9.1")
async def secp256r1(dial: Dial) -> str:
    """Every implementation must."""
    await spoken(dial, tls.TLS_1_3)
    hello = tls.hello_1_3(name_of(dial), groups=(tls.P256,), shares={tls.P256: tls.SHARES[tls.P256]})
    if went_on(await offer(dial, hello)).group != tls.P256:
        raise Failed("another group was chosen")
    return "spoken"


@EXCHANGE.should("tls/9.1/x25519", "X25519 is spoken in TLS 1.3", section="9.1")
async def x25519(dial: Dial) -> str:
    """Every implementation should."""
    await spoken(dial, tls.TLS_1_3)
    hello = tls.hello_1_3(name_of(dial), groups=(tls.X25519,), shares={tls.X25519: tls.SHARES[tls.X25519]})
    if went_on(await offer(dial, hello)).group != tls.X25519:
        raise Failed("another group was chosen")
    return "spoken"


def _weak(group: int) -> Question:
    async def question(dial: Dial) -> str:
        hello = tls.hello_1_2(name_of(dial)).put(tls.SUPPORTED_GROUPS, tls.vector(tls.numbers((group,)), 2))
        return was_refused(await offer(dial, hello))

    return question


for _name, _number in WEAK_GROUPS.items():
    EXCHANGE.must(f"tls/8422-5.1.1/{_name}", f"The weak curve {_name} alone is offered", rfc=8422, section="5.1.1")(
        _weak(_number)
    )

_OFF_CURVE = tls.SHARES[tls.P256][:-1] + b"\xf4"


def _share(group: int, share: bytes) -> Question:
    return refuses(
        lambda name: tls.hello_1_3(name, groups=(group,), shares={group: share}),
        tls.ILLEGAL_PARAMETER, tls.DECODE_ERROR, tls.HANDSHAKE_FAILURE,
        version=tls.TLS_1_3,
    )  # fmt: skip


for _name, _title, _number, _bytes in (
    ("off-curve", "A share of secp256r1 that is no point of the curve", tls.P256, _OFF_CURVE),
    ("compressed", "A share of secp256r1 that is compressed", tls.P256, b"\x03" + tls.SHARES[tls.P256][1:33]),
    ("infinity", "A share of secp256r1 that is the point at infinity", tls.P256, b"\0"),
    ("short-p256", "A share of secp256r1 without its last byte", tls.P256, tls.SHARES[tls.P256][:-1]),
    ("short-x25519", "A share of X25519 of 31 bytes", tls.X25519, bytes(range(31))),
    ("long-x25519", "A share of X25519 of 33 bytes", tls.X25519, bytes(range(33))),
    ("empty", "An empty share of X25519", tls.X25519, b""),
):
    EXCHANGE.must(f"tls/4.2.8.2/{_name}", _title)(_share(_number, _bytes))
EXCHANGE.must("tls/7.4.2/zero-x25519", "A share of X25519 that makes the secret zero")(_share(tls.X25519, bytes(32)))

EXCHANGE.must("tls/4.1.1/no-common-group", "Only groups that nobody knows are offered")(
    refuses(lambda name: tls.hello_1_3(name, groups=(0x5AF0,), shares={0x5AF0: b"\1"}),
            tls.HANDSHAKE_FAILURE, 71, version=tls.TLS_1_3)
)  # fmt: skip
EXCHANGE.must("tls/9.2/no-groups", "TLS 1.3 without supported_groups", section="9.2")(
    refuses(lambda name: tls.hello_1_3(name).without(tls.SUPPORTED_GROUPS), 109, version=tls.TLS_1_3)
)
EXCHANGE.must("tls/9.2/no-key-share", "TLS 1.3 without key_share", section="9.2")(
    refuses(lambda name: tls.hello_1_3(name).without(tls.KEY_SHARE), 109, version=tls.TLS_1_3)
)
EXCHANGE.must("tls/9.2/no-signatures", "TLS 1.3 without signature_algorithms", section="9.2")(
    refuses(lambda name: tls.hello_1_3(name).without(tls.SIGNATURE_ALGORITHMS), 109, version=tls.TLS_1_3)
)


@EXCHANGE.must("tls/9325-4.1/dhe-size", "Diffie-Hellman with a prime, where it is spoken, has 2048 bits",
               rfc=9325, section="4.1")  # fmt: skip
async def dhe_size(dial: Dial) -> str:
    """Logjam breaks the small ones."""
    await spoken(dial, tls.TLS_1_2)
    flight = await offer(dial, tls.hello_1_2(name_of(dial), suites=(0x009E, 0x009F, 0x0033, 0x0039)))
    if flight.refused:
        return f"not spoken: {was_refused(flight)}"
    try:
        bits = flight.prime_bits()
    except ValueError as error:
        raise Failed(f"the ServerKeyExchange is malformed: {error}") from None
    if bits < 2048:
        raise Failed(f"the prime has {bits} bits")
    return f"{bits} bits"


@EXCHANGE.must("tls/8422-5.4/offered-curve", "TLS 1.2 uses a curve that was offered", rfc=8422, section="5.4")
async def offered_curve(dial: Dial) -> str:
    """For each of three alone."""
    await spoken(dial, tls.TLS_1_2)
    used = []
    for group in (tls.X25519, tls.P256, tls.P384):
        hello = tls.hello_1_2(name_of(dial)).put(tls.SUPPORTED_GROUPS, tls.vector(tls.numbers((group,)), 2))
        flight = await offer(dial, hello)
        if flight.refused:
            continue
        if _exchange(flight)[0] != group:
            raise Failed(f"group {group} was offered, and {_exchange(flight)[0]} is used")
        used.append(str(group))
    return f"groups {', '.join(used)}"


def _exchange(flight: tls.Flight) -> tuple[int, int]:
    try:
        return flight.exchange()
    except ValueError as error:
        raise Failed(f"the ServerKeyExchange is malformed: {error}") from None


# HelloRetryRequest


async def _retried(dial: Dial, second: tls.Hello | None = None) -> tuple[tls.Flight, tls.Flight]:
    await spoken(dial, tls.TLS_1_3)
    wire = await dial.tcp()
    first = tls.hello_1_3(name_of(dial), groups=(tls.P256,), shares={})
    asked = await flight_on(dial, wire, first.record(), "ClientHello without a share")
    hello = went_on(asked)
    if not hello.retry:
        raise Failed(f"expected a HelloRetryRequest, but got {asked.words}")
    second = second or tls.hello_1_3(name_of(dial), groups=(tls.P256,), shares={tls.P256: tls.SHARES[tls.P256]})
    second.session_id, second.random = first.session_id, first.random
    if tls.SUPPORTED_VERSIONS not in hello.extensions:
        raise Failed("the HelloRetryRequest has no supported_versions")
    if 44 in hello.extensions:
        second.put(44, hello.extensions[44])
    return asked, await flight_on(dial, wire, second.record(tls.TLS_1_2), "ClientHello with what was asked for")


@RETRY.must("tls/4.1.4/retry", "A ClientHello without a share is followed by one with the share that was asked for")
async def retry(dial: Dial) -> str:
    """The same suite must be chosen again."""
    asked, answered = await _retried(dial)
    first, second = went_on(asked), went_on(answered)
    if second.retry:
        raise Failed("the server asked again")
    if first.suite != second.suite:
        raise Failed(f"the suite was {first.suite:04x} and is now {second.suite:04x}")
    return f"asked for group {first.group}, and went on"


@RETRY.must("tls/4.1.4/asked-once", "The ClientHello after a HelloRetryRequest still has no share")
async def asked_once(dial: Dial) -> str:
    """Asking for ever is no answer."""
    _, answered = await _retried(dial, tls.hello_1_3(name_of(dial), groups=(tls.P256,), shares={}))
    return was_refused(answered)


@RETRY.must("tls/4.1.2/changed-hello", "The ClientHello after a HelloRetryRequest is for TLS 1.2", section="4.1.2")
async def changed_hello(dial: Dial) -> str:
    """The version cannot change in the middle."""
    _, answered = await _retried(dial, tls.hello_1_2(name_of(dial)))
    return was_refused(answered)


# Signatures


def _signatures(*schemes: int) -> bytes:
    return tls.vector(tls.numbers(schemes), 2)


async def _scheme(dial: Dial, *schemes: int) -> int | None:
    """The scheme that the server uses when these are offered; None if it refuses."""
    await spoken(dial, tls.TLS_1_2)
    hello = tls.hello_1_2(name_of(dial))
    flight = await offer(dial, hello.put(tls.SIGNATURE_ALGORITHMS, _signatures(*schemes)))
    return None if flight.refused else _exchange(flight)[1]


def _never(*schemes: int) -> Question:
    async def question(dial: Dial) -> str:
        used = await _scheme(dial, *schemes)
        if used is not None:
            raise Failed(f"the server signed with {used:04x}")
        return "refused"

    return question


SIGNATURES.must("tls/9155-4/sha-1", "Only signatures with SHA-1 are offered", section="4")(_never(0x0201, 0x0203))
SIGNATURES.must("tls/9155-4/md5", "Only signatures with MD5 are offered", section="4")(_never(0x0101))
SIGNATURES.must("tls/4.2.3/unknown", "Only signature algorithms that nobody knows are offered", rfc=8446)(
    _never(0x7A7A, 0x0FFE)
)
SIGNATURES.must("tls/4.2.3/empty", "An empty list of signature algorithms, in TLS 1.3", rfc=8446)(
    refuses(lambda name: tls.hello_1_3(name).put(tls.SIGNATURE_ALGORITHMS, _signatures()), version=tls.TLS_1_3)
)


@SIGNATURES.must("tls/9155-4/sha-1-first", "Signatures with SHA-1 are offered before good ones", section="4")
async def sha_1_first(dial: Dial) -> str:
    """The server takes a good one."""
    used = await _scheme(dial, 0x0201, 0x0203, *tls.SIGNATURES)
    if used not in tls.SIGNATURES:
        raise Failed("refused" if used is None else f"the server signed with {used:04x}")
    return f"{used:04x}"


@SIGNATURES.must("tls/9155-4/default", "TLS 1.2 without signature_algorithms", section="4")
async def default(dial: Dial) -> str:
    """Once that meant SHA-1."""
    await spoken(dial, tls.TLS_1_2)
    flight = await offer(dial, tls.hello_1_2(name_of(dial)).without(tls.SIGNATURE_ALGORITHMS))
    if flight.refused:
        return was_refused(flight)
    used = _exchange(flight)[1]
    if used in (0x0201, 0x0203, 0x0101):
        raise Failed(f"the server signed with {used:04x}")
    return f"{used:04x}"


@SIGNATURES.must("tls/5246-7.4.3/offered", "The signature is by the one algorithm that is offered",
                 rfc=5246, section="7.4.3")  # fmt: skip
async def offered(dial: Dial) -> str:
    """For each that is common."""
    used = []
    for scheme in tls.SIGNATURES:
        found = await _scheme(dial, scheme)
        if found is not None and found != scheme:
            raise Failed(f"{scheme:04x} was offered, and the server signed with {found:04x}")
        used += [] if found is None else [f"{scheme:04x}"]
    if not used:
        raise Skipped("the server signs by none of those that are common")
    return f"by {', '.join(used)}"
