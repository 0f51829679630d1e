"""Cipher suites (RFC 9325, section 4; RFC 7465; RFC 8446, section 9.1)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from securelight.conformance import tls_records as tls
from securelight.conformance.case import Failed, Skipped, Topic
from securelight.conformance.tls_questions import name_of, offer, refuses, spoken, was_refused, went_on

if TYPE_CHECKING:
    from securelight.conformance.case import Question
    from securelight.conformance.dial import Dial

WEAK = Topic(
    "Weak cipher suites",
    rfc=9325,
    why="What is encrypted with these can be read, changed or replayed, today or by whoever keeps it until later.",
    cure="Allow ECDHE with AES-GCM or ChaCha20-Poly1305 only; in OpenSSL's words ECDHE+AESGCM:ECDHE+CHACHA20.",
)
GOOD = Topic(
    "Good cipher suites",
    rfc=9325,
    why="Clients that offer one suite only, such as small devices, must get this one or a clear refusal.",
    cure="Answer with a suite that was offered, or with the alert handshake_failure.",
)

MUST_NOT = {
    "null-md5": (0x0001, "RSA with NULL and MD5"),
    "null-sha": (0x0002, "RSA with NULL and SHA-1"),
    "null-sha256": (0x003B, "RSA with NULL and SHA-256"),
    "ecdhe-null": (0xC010, "ECDHE with NULL"),
    "ecdhe-ecdsa-null": (0xC006, "ECDHE and ECDSA with NULL"),
    "rc4-md5": (0x0004, "RC4 with MD5"),
    "rc4-sha": (0x0005, "RC4 with SHA-1"),
    "ecdhe-rc4": (0xC011, "ECDHE with RC4"),
    "export-rc4": (0x0003, "RC4 with 40 bits, for export"),
    "export-rc2": (0x0006, "RC2 with 40 bits, for export"),
    "export-des": (0x0008, "DES with 40 bits, for export"),
    "des": (0x0009, "DES"),
    "anonymous": (0x0034, "Diffie-Hellman without a certificate"),
    "anonymous-gcm": (0x00A6, "Diffie-Hellman with AES-GCM, without a certificate"),
    "ecdh-anonymous": (0xC018, "ECDH without a certificate"),
}
SHOULD_NOT = {
    "3des": (0x000A, "Triple DES"),
    "ecdhe-3des": (0xC012, "ECDHE with triple DES"),
    "static-rsa-cbc": (0x002F, "RSA key exchange with AES-CBC"),
    "static-rsa-gcm": (0x009C, "RSA key exchange with AES-GCM"),
    "static-ecdh": (0xC031, "ECDH with a fixed key and AES-GCM"),
    "ecdhe-rsa-cbc": (0xC013, "ECDHE with AES-CBC and SHA-1"),
    "ecdhe-ecdsa-cbc": (0xC009, "ECDHE and ECDSA with AES-CBC and SHA-1"),
    "ecdhe-rsa-cbc-sha256": (0xC027, "ECDHE with AES-CBC and SHA-256"),
    "ecdhe-ecdsa-cbc-sha256": (0xC023, "ECDHE and ECDSA with AES-CBC and SHA-256"),
    "camellia": (0x0041, "RSA key exchange with Camellia"),
    "idea": (0x0007, "RSA key exchange with IDEA"),
    "seed": (0x0096, "RSA key exchange with SEED"),
}
SPOKEN = {
    "ecdhe-ecdsa-aes128-gcm": 0xC02B,
    "ecdhe-rsa-aes128-gcm": 0xC02F,
    "ecdhe-ecdsa-aes256-gcm": 0xC02C,
    "ecdhe-rsa-aes256-gcm": 0xC030,
    "ecdhe-ecdsa-chacha20": 0xCCA9,
    "ecdhe-rsa-chacha20": 0xCCA8,
}
SPOKEN_1_3 = {
    "aes128-gcm": 0x1301,
    "aes256-gcm": 0x1302,
    "chacha20": 0x1303,
    "aes128-ccm": 0x1304,
    "aes128-ccm8": 0x1305,
}


def _weak(suite: int) -> Question:
    async def question(dial: Dial) -> str:
        # Servers of TLS 1.3 alone refuse the version. That is as good a refusal.
        return was_refused(await offer(dial, tls.hello_1_2(name_of(dial), suites=(suite,))))

    return question


for _name, (_suite, _title) in MUST_NOT.items():
    WEAK.must(f"tls/9325-4.1/{_name}", f"{_title} ({_suite:04x}) alone is offered", section="4.1")(_weak(_suite))
for _name, (_suite, _title) in SHOULD_NOT.items():
    WEAK.should(f"tls/9325-4.1/{_name}", f"{_title} ({_suite:04x}) alone is offered", section="4.1")(_weak(_suite))


def _alone(suite: int, version: int) -> Question:
    async def question(dial: Dial) -> str:
        await spoken(dial, version)
        name = name_of(dial)
        hello = tls.hello_1_3(name, suites=(suite,)) if version == tls.TLS_1_3 else tls.hello_1_2(name, suites=(suite,))
        flight = await offer(dial, hello)
        if flight.server_hello is None:
            return f"not spoken: {was_refused(flight, (tls.HANDSHAKE_FAILURE, 71))}"
        if flight.server_hello.suite != suite:
            raise Failed(f"only {suite:04x} was offered, and the server chose {flight.server_hello.suite:04x}")
        return "spoken"

    return question


for _name, _suite in SPOKEN.items():
    GOOD.must(f"tls/5246-7.4.1.3/{_name}", f"{_suite:04x} alone is offered", rfc=5246, section="7.4.1.3")(
        _alone(_suite, tls.TLS_1_2)
    )
for _name, _suite in SPOKEN_1_3.items():
    GOOD.must(f"tls/4.1.3/{_name}", f"{_suite:04x} alone is offered, in TLS 1.3", rfc=8446, section="4.1.3")(
        _alone(_suite, tls.TLS_1_3)
    )


@GOOD.must("tls/9.1/mandatory", "TLS 1.3 speaks AES-128-GCM with SHA-256 (1301)", rfc=8446, section="9.1")
async def mandatory(dial: Dial) -> str:
    """Every implementation must."""
    await spoken(dial, tls.TLS_1_3)
    return await _chosen(dial, (0x1301,), {0x1301}, tls.TLS_1_3)


async def _chosen(dial: Dial, suites: tuple[int, ...], right: set[int], version: int = tls.TLS_1_2) -> str:
    name = name_of(dial)
    hello = tls.hello_1_3(name, suites=suites) if version == tls.TLS_1_3 else tls.hello_1_2(name, suites=suites)
    chosen = went_on(await offer(dial, hello)).suite
    if chosen not in right:
        raise Failed(f"the server chose {chosen:04x}")
    return f"{chosen:04x}"


@GOOD.should("tls/9325-4.2/recommended", "TLS 1.2 speaks ECDHE with AES-GCM", section="4.2")
async def recommended(dial: Dial) -> str:
    """One of the four that are recommended."""
    await spoken(dial, tls.TLS_1_2)
    return await _chosen(dial, (0xC02B, 0xC02F, 0xC02C, 0xC030), {0xC02B, 0xC02F, 0xC02C, 0xC030})


@GOOD.should("tls/9325-4.1/forward-secrecy-first", "Key exchange by RSA is offered before ECDHE", section="4.1")
async def forward_secrecy_first(dial: Dial) -> str:
    """The server decides for forward secrecy."""
    await spoken(dial, tls.TLS_1_2)
    return await _chosen(dial, (0x009C, 0x002F, *tls.SUITES_1_2), set(tls.SUITES_1_2))


@GOOD.should("tls/9325-4.2/aead-first", "AES-CBC is offered before AES-GCM", section="4.2")
async def aead_first(dial: Dial) -> str:
    """The server decides for authenticated encryption."""
    await spoken(dial, tls.TLS_1_2)
    return await _chosen(dial, (0xC013, 0xC009, 0xC027, 0xC023, *tls.SUITES_1_2), set(tls.SUITES_1_2))


@GOOD.should("tls/9113-9.2.2/h2-only-with-good-suites", "HTTP/2 with TLS 1.2, and only forbidden suites besides GCM",
           rfc=9113, section="9.2.2")  # fmt: skip
async def h2_only_with_good_suites(dial: Dial) -> str:
    """ECDHE with AES-128-GCM must be spoken where HTTP/2 is."""
    await spoken(dial, tls.TLS_1_2)
    hello = tls.hello_1_2(name_of(dial), suites=(0xC013, 0xC009, 0xC02B, 0xC02F)).put(tls.ALPN, tls.alpn(b"h2"))
    flight = await offer(dial, hello)
    if flight.server_hello is None:
        raise Skipped(f"HTTP/2 is not spoken: {flight.words}")
    if flight.server_hello.suite not in (0xC02B, 0xC02F):
        raise Failed(f"HTTP/2 was agreed on with suite {flight.server_hello.suite:04x}")
    return flight.words


GOOD.must("tls/5246-7.4.1.3/unknown-only", "Only suites that nobody knows are offered", rfc=5246, section="7.4.1.3")(
    refuses(lambda name: tls.hello_1_2(name, suites=(0xE0E0, 0xE0E1)), tls.HANDSHAKE_FAILURE, 71, version=tls.TLS_1_2)
)
GOOD.must("tls/4.1.1/unknown-only", "Only suites that nobody knows are offered, in TLS 1.3", rfc=8446, section="4.1.1")(
    refuses(lambda name: tls.hello_1_3(name, suites=(0x13FE,)), tls.HANDSHAKE_FAILURE, 71, version=tls.TLS_1_3)
)
GOOD.must("tls/4.1.1/suites-of-1.2", "TLS 1.3 with suites of TLS 1.2 only", rfc=8446, section="4.1.1")(
    refuses(lambda name: tls.hello_1_3(name, suites=tls.SUITES_1_2), tls.HANDSHAKE_FAILURE, 71, version=tls.TLS_1_3)
)
GOOD.must("tls/5246-7.4.1.3/suites-of-1.3", "TLS 1.2 with suites of TLS 1.3 only", rfc=5246, section="7.4.1.3")(
    refuses(lambda name: tls.hello_1_2(name, suites=tls.SUITES_1_3), tls.HANDSHAKE_FAILURE, 71, version=tls.TLS_1_2)
)
GOOD.must("tls/5746-3.3/signals-only", "Only signals (00ff and 5600) are offered as suites", rfc=5746, section="3.3")(
    refuses(lambda name: tls.hello_1_2(name, suites=(tls.RENEGOTIATION_SCSV,)))
)
