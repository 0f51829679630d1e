"""The judge of TLS is judged: small servers with one fault each, and the right one with none.

Each fault must be found by the case that names it, and by no other than those that are about the same thing. As with
HTTP/2, a fault is put before its own cases and a part of the others, another part for the next one.
"""

from __future__ import annotations

import ssl
from datetime import timedelta
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing

from securelight.conformance import tls_records as tls
from securelight.conformance.case import Outcome
from securelight.conformance.runner import Options, judge, new_run
from securelight.conformance.suites import Suite, load_suite
from securelight.conformance.target import parse_target
from tests.certificates import make_test_certificates
from tests.conformance.support import failed_ids, suites
from tests.conformance.test_planted_defects import SLICES
from tests.conformance.tls_server import (
    DROP,
    RIGHT,
    SUITES,
    Answer,
    ClientHello,
    Fault,
    Server,
    answer_of,
    refusal,
    server_hello,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from securelight.conformance.results import Run
    from securelight.conformance.target import Target
    from tests.certificates import TestCertificates

TARGET = parse_target("https://localhost/")


def judge_server(cases: Sequence[Suite], server: Server, target: Target = TARGET) -> Run:
    """The run of these cases against this server, in memory, on a clock that does not wait."""

    async def main() -> Run:
        run = new_run(target, cases)
        async with trio.open_nursery() as nursery:

            async def connect(_target: Target) -> trio.abc.Stream:
                ours, theirs = trio.testing.memory_stream_pair()
                nursery.start_soon(server.serve, theirs)
                return ours

            await judge(run, Options(connect=connect))
            nursery.cancel_scope.cancel()
        return run

    return trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


def highest(hello: ClientHello) -> int:
    return max(hello.versions, default=0)


def speaks(version: int) -> Answer:
    """A version that nobody should speak any more."""
    return lambda hello: server_hello(hello, 0xC013, version=version) if highest(hello) == version else b""


def takes(suite: int) -> Answer:
    """A suite that nobody should take."""
    return lambda hello: server_hello(hello, suite) if hello.suites == (suite,) else b""


def goes_on(when: Callable[[ClientHello], object], *extensions: tuple[int, bytes]) -> Answer:
    """With TLS 1.3 where it should refuse."""
    block = {tls.SUPPORTED_VERSIONS: b"\3\4", tls.KEY_SHARE: b"\0\x1d" + tls.vector(bytes(32), 2), **dict(extensions)}
    return lambda hello: server_hello(hello, 0x1301, extensions=block, done=False) if when(hello) else b""


def stumbles(when: Callable[[ClientHello], object], alert: int = tls.HANDSHAKE_FAILURE) -> Answer:
    """Over what it should take, or with another alert than it should."""
    return lambda hello: (DROP if alert < 0 else refusal(alert)) if when(hello) else b""


def edit_extension(kind: int, content: bytes | None, *, only_if: int = 0) -> Fault:
    """An extension of the ServerHello of TLS 1.2 is changed, or left out if there is no content."""

    def edit(answer: tls.ServerHello, hello: ClientHello) -> None:
        if answer.chosen_version != tls.TLS_1_2 or (only_if and only_if not in hello.extensions):
            return
        if content is None:
            answer.extensions.pop(kind, None)
        else:
            answer.extensions[kind] = content

    return Fault(edit=edit)


def edit(act: Callable[[tls.ServerHello, ClientHello], None]) -> Fault:
    return Fault(edit=act)


def set_if(name: str, value: object, when: Callable[[tls.ServerHello, ClientHello], object]) -> Fault:
    return edit(lambda answer, hello: setattr(answer, name, value) if when(answer, hello) else None)


def _cbc(context: ssl.SSLContext) -> None:
    context.set_ciphers(f"ECDHE-ECDSA-AES128-SHA:ECDHE-ECDSA-AES128-SHA256:{SUITES}:@SECLEVEL=0")
    context.options &= ~ssl.OP_CIPHER_SERVER_PREFERENCE


def _only_1_3(context: ssl.SSLContext) -> None:
    context.minimum_version = ssl.TLSVersion.TLSv1_3


def _only_1_2(context: ssl.SSLContext) -> None:
    context.maximum_version = ssl.TLSVersion.TLSv1_2


def allow_renegotiation(context: ssl.SSLContext) -> None:
    context.options &= ~ssl.OP_NO_RENEGOTIATION
    context.options |= 1 << 8  # SSL_OP_ALLOW_CLIENT_RENEGOTIATION, which the ssl module does not name


def offers(extension: int, content: bytes) -> Callable[[ClientHello], bool]:
    return lambda hello: hello.extensions.get(extension) == content


def exchange(group: int, scheme: int) -> bytes:
    return b"\3" + tls.numbers((group,)) + tls.vector(bytes(65), 1) + tls.numbers((scheme,)) + tls.vector(bytes(70), 2)


def _wrong_curve(hello: ClientHello) -> bytes:
    if highest(hello) != tls.TLS_1_2 or hello.extensions.get(tls.SUPPORTED_GROUPS) != b"\0\2\0\x18":
        return b""
    return server_hello(hello, 0xC02B, exchange=exchange(tls.P256, 0x0403))


def _sha_1(hello: ClientHello) -> bytes:
    if hello.extensions.get(tls.SIGNATURE_ALGORITHMS) != b"\0\4\2\1\2\3":
        return b""
    return server_hello(hello, 0xC02B, exchange=exchange(tls.P256, 0x0203))


def _small_prime(hello: ClientHello) -> bytes:
    if hello.suites[:1] != (0x009E,):
        return b""
    return server_hello(hello, 0x009E, exchange=tls.vector(b"\xff" * 128, 2) + tls.vector(b"\2", 2))


def _plain_page(data: bytes) -> bytes | None:
    return answer_of(data, ()) if data.startswith(b"GET ") else None


def _plain_http2(data: bytes) -> bytes | None:
    return bytes((0, 0, 0, 4, 0, 0, 0, 0, 0)) if data.startswith(b"PRI ") else None


def _proxied(data: bytes) -> bytes | None:
    return tls.record(tls.HANDSHAKE, tls.message(2, bytes(70))) if data.startswith(b"PROXY ") else None


def _ssl_2(data: bytes) -> bytes | None:
    return b"\x80\x0b\x04\0\1\0\2" + bytes(30) if data[0] & 0x80 else None


def _whole_hellos_only(data: bytes) -> bytes | None:
    return refusal(tls.DECODE_ERROR) if data[0] == 22 and data[3:5] == b"\0\x32" else None


def _long_session_id(hello: ClientHello) -> bool:
    return len(hello.session_id) > 32


def _zero_binder(hello: ClientHello) -> bool:
    """The judge's key, which nobody can know; clients that resume a session have a true one."""
    return hello.extensions.get(tls.PRE_SHARED_KEY, b"").endswith(bytes(32))


def _shares(*parts: bytes) -> Callable[[ClientHello], bool]:
    return lambda hello: any(part in hello.extensions.get(tls.KEY_SHARE, b"") for part in parts)


_OFF_CURVE = tls.SHARES[tls.P256][:-1] + b"\xf4"

FAULTS: dict[str, tuple[Fault, str, *tuple[str, ...]]] = {
    # Versions
    "TLS 1.1 is spoken": (Fault(answer=speaks(0x0302)), "tls/8996-5/tls-1.1"),
    "TLS 1.0 is spoken": (Fault(answer=speaks(0x0301)), "tls/8996-4/tls-1.0", "tls/4.2.1/extension-counts"),
    "SSL 3 is spoken": (Fault(answer=speaks(0x0300)), "tls/7568-3/ssl-3"),
    "SSL 2 is answered": (Fault(first=_ssl_2), "tls/6176-3/ssl-2", "tls/8446-D.5/ssl-2-form"),
    "old versions get another alert": (Fault(answer=stumbles(lambda hello: highest(hello) == 0x0302)),
                                       "tls/8446-D.2/right-alert"),
    "TLS 1.3 is not spoken": (Fault(settings=_only_1_2), "tls/9325-3.1.1/tls-1.3"),
    "legacy_version counts": (
        Fault(answer=stumbles(lambda hello: hello.version == 0x0301 and 0x0304 in hello.versions)),
        "tls/4.2.1/old-legacy-version"),
    "versions of the future are TLS 1.3": (Fault(answer=goes_on(lambda hello: hello.versions == (0x0305,))),
                                           "tls/4.2.1/only-future"),
    "no sentinel": (set_if("random", bytes(32), lambda answer, _: answer.chosen_version == tls.TLS_1_2),
                    "tls/4.1.3/sentinel"),
    "the same random again": (set_if("random", bytes(range(32)), lambda answer, _: not answer.retry),
                              "tls/4.1.3/fresh-random", "tls/4.1.3/sentinel"),
    "a fallback is not refused": (Fault(answer=lambda hello: server_hello(hello, 0xC02B)
                                        if 0x5600 in hello.suites and highest(hello) == tls.TLS_1_2 else b""),
                                  "tls/7507-3/fallback"),
    "the session id is not echoed": (set_if("session_id", b"", lambda answer, _: not answer.retry),
                                     "tls/4.1.3/legacy-fields"),
    "TLS 1.3 says too much in the clear": (
        edit(lambda answer, _: answer.extensions.update({tls.ALPN: b"\0\3\2h2"})
             if answer.chosen_version == tls.TLS_1_3 and not answer.retry else None), "tls/4.1.3/extensions"),
    "unknown suites are an error": (Fault(answer=stumbles(lambda hello: 0x5A5A in hello.suites)), "tls/8701-3/suite"),
    "unknown extensions are an error": (Fault(answer=stumbles(lambda hello: 0x9A9A in hello.extensions)),
                                        "tls/8701-3/extension"),
    # Suites
    "RC4 is spoken": (Fault(answer=takes(0x0005)), "tls/9325-4.1/rc4-sha"),
    "NULL is spoken": (Fault(answer=takes(0x003B)), "tls/9325-4.1/null-sha256"),
    "export suites are spoken": (Fault(answer=takes(0x0003)), "tls/9325-4.1/export-rc4"),
    "DES is spoken": (Fault(answer=takes(0x0009)), "tls/9325-4.1/des"),
    "triple DES is spoken": (Fault(answer=takes(0x000A)), "tls/9325-4.1/3des"),
    "anonymous suites are spoken": (Fault(answer=takes(0xC018)), "tls/9325-4.1/ecdh-anonymous"),
    "keys are exchanged by RSA": (Fault(answer=takes(0x009C)), "tls/9325-4.1/static-rsa-gcm"),
    "CBC is spoken, and the client decides": (Fault(settings=_cbc), "tls/9325-4.1/ecdhe-ecdsa-cbc",
                                              "tls/9325-4.1/*-cbc*", "tls/9325-4.2/aead-first"),
    "a suite that was not offered": (Fault(answer=lambda hello: server_hello(hello, 0xC02F)
                                           if hello.suites == (0xC02B,) else b""),
                                     "tls/5246-7.4.1.3/ecdhe-ecdsa-aes128-gcm"),
    "no common suite, another alert": (Fault(answer=stumbles(lambda hello: hello.suites == (0x13FE,), 80)),
                                       "tls/4.1.1/unknown-only"),
    # Key exchange
    "shares off the curve are taken": (Fault(answer=goes_on(_shares(_OFF_CURVE))), "tls/4.2.8.2/off-curve"),
    "a share may make the secret zero": (Fault(answer=goes_on(_shares(b"\0\x1d\0\x20" + bytes(32)))),
                                         "tls/7.4.2/zero-x25519"),
    "weak curves are spoken": (Fault(answer=lambda hello: server_hello(hello, 0xC02B, exchange=exchange(16, 0x0403))
                                     if offers(tls.SUPPORTED_GROUPS, b"\0\2\0\x10")(hello) else b""),
                               "tls/8422-5.1.1/secp160r1"),
    "another curve than offered": (Fault(answer=_wrong_curve), "tls/8422-5.4/offered-curve"),
    "a small prime": (Fault(answer=_small_prime), "tls/9325-4.1/dhe-size"),
    "SHA-1 signs": (Fault(answer=_sha_1), "tls/9155-4/sha-1"),
    "missing extensions get another alert": (
        Fault(answer=stumbles(lambda hello: 0x0304 in hello.versions and tls.SUPPORTED_GROUPS not in hello.extensions)),
        "tls/9.2/no-groups"),
    "asks for a group that was not offered": (
        edit(lambda answer, _: answer.extensions.update({tls.KEY_SHARE: b"\0\x1a"}) if answer.retry else None),
        "tls/4.2.7/secp256r1", "tls/4.2.7/*", "tls/4.1.4/*", "tls/4.1.2/changed-hello"),
    # Extensions of TLS 1.2, and the hello
    "no renegotiation_info": (edit_extension(tls.RENEGOTIATION_INFO, None), "tls/5746-3.6/renegotiation-info",
                              "tls/5746-3.6/signal"),
    "no extended master secret": (edit_extension(tls.EXTENDED_MASTER_SECRET, None),
                                  "tls/7627-5.1/extended-master-secret"),
    "heartbeats are taken": (edit_extension(tls.HEARTBEAT_EXTENSION, b"\1", only_if=tls.HEARTBEAT_EXTENSION),
                             "tls/9325-3/heartbeat"),
    "extensions that nobody offered": (edit_extension(tls.SESSION_TICKET, b""), "tls/5246-7.4.1.4/nothing-else"),
    "compression is chosen": (set_if("compression", 1, lambda answer, hello: hello.compressions == b"\1\0"),
                              "tls/9325-3.3/compression"),
    "TLS 1.3 takes compression": (Fault(answer=goes_on(lambda hello: hello.compressions == b"\0\1")),
                                  "tls/4.1.2/compression"),
    "session ids may be long": (Fault(answer=goes_on(_long_session_id)), "tls/4.1.2/long-session-id"),
    "unknown keys are taken": (Fault(answer=goes_on(_zero_binder, (tls.PRE_SHARED_KEY, b"\0\0"))),
                               "tls/4.2.11/unknown-psk", "tls/4.2.10/early-data", "tls/4.2.11/psk-not-last"),
    "a hello must be in one record": (Fault(first=_whole_hellos_only), "tls/5.1/pieces"),
    "many extensions are too many": (Fault(answer=stumbles(lambda hello: len(hello.extensions) > 100)), "tls/4.2/many"),
    # Names and protocols
    "any protocol will do": (Fault(lax="alpn"), "tls/7301-3.2/ftp", "tls/7301-3.2/*"),
    "ALPN has another alert": (Fault(answer=stumbles(lambda hello: b"\3ftp" in hello.extensions.get(tls.ALPN, b"")
                                                     and b"http" not in hello.extensions[tls.ALPN])),
                               "tls/7301-3.2/ftp"),
    "unknown names are dropped": (Fault(answer=stumbles(lambda hello: b"no-such-" in hello.extensions.get(0, b""), -1)),
                                  "tls/6066-3/unknown"),
    "names may be empty": (Fault(lax="name"), "tls/6066-3/empty-name"),
    "sessions count for any name": (Fault(lax="session"), "tls/6066-3/other-name"),
    "clients may renegotiate": (Fault(settings=allow_renegotiation), "tls/5746-5/renegotiation"),
    # Records and the end
    "HTTP is spoken in the clear": (Fault(first=_plain_page), "tls/9110-4.2.2/http"),
    "HTTP/2 is spoken in the clear": (Fault(first=_plain_http2), "tls/9113-3.3/http2"),
    "any PROXY header is believed": (Fault(first=_proxied), "tls/5/proxy-header"),
    "no close_notify": (Fault(cut=True), "tls/8446-6.1/close-notify", "tls/5246-7.2.1/close-notify"),
    "the client's end is not seen": (Fault(stays=True), "tls/8446-6.1/closed-by-client", "tls/*/closed-by-client",
                                     "tls/6.1/end-*"),
    "bad records are nothing": (Fault(numb=True), "tls/8446-5.2/forged", "tls/8446-5.2/*", "tls/5246-7.2.2/*",
                                "tls/*"),
}  # fmt: skip


def _slice(number: int, own: Sequence[str]) -> tuple[Suite, ...]:
    suite = load_suite("tls")
    cases = [
        case
        for place, case in enumerate(suite.cases)
        if place % SLICES == number % SLICES or any(fnmatchcase(case.id, one) for one in own)
    ]
    return (Suite(suite.name, suite.title, tuple(cases)),)


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> TestCertificates:
    return make_test_certificates(tmp_path_factory.mktemp("planted"))


def test_the_right_server_passes_whole(pair: TestCertificates) -> None:
    assert len(load_suite("tls").cases) >= 60
    run = judge_server(suites("tls"), Server(pair, RIGHT))
    assert failed_ids(run) == []
    assert [result.case.id for result in run.results if result.outcome is Outcome.SKIPPED] == [
        "tls/9113-9.2.2/h2-only-with-good-suites"  # it has no HTTP/2
    ]


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_found_by_its_own_case_and_no_unrelated_one(name: str, pair: TestCertificates) -> None:
    fault, own, *related = FAULTS[name]
    run = judge_server(_slice(list(FAULTS).index(name), (own, *related)), Server(pair, fault))
    failed = failed_ids(run)
    assert own in failed, [result.words for result in run.results if result.case.id == own]
    strangers = [one for one in failed if not any(fnmatchcase(one, pattern) for pattern in (own, *related))]
    assert strangers == []


@pytest.mark.parametrize(
    ("names", "days", "case"),
    [
        (("localhost",), 400, "tls/5280-4.1.2.5/expired"),
        (("other.test",), 0, "tls/9525-6.3/name"),
        (("localhost",), 86, "tls/5280-4.1.2.5/renewed"),
    ],
    ids=["expired", "for another name", "about to expire"],
)
def test_a_bad_certificate_is_found(tmp_path: Path, names: tuple[str, ...], days: int, case: str) -> None:
    certificates = make_test_certificates(tmp_path, names, age=timedelta(days=days))
    suite = load_suite("tls")
    cases = tuple(one for one in suite.cases if one.topic == "The certificate")
    run = judge_server((Suite("tls", suite.title, cases),), Server(certificates))
    assert failed_ids(run) == [case]


def test_a_server_of_tls_1_3_alone_fails_nothing(pair: TestCertificates) -> None:
    run = judge_server(suites("tls"), Server(pair, Fault(settings=_only_1_3)))
    assert failed_ids(run) == []
    assert sum(result.outcome is Outcome.SKIPPED for result in run.results) > 20
