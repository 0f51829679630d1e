from __future__ import annotations

import ssl
import warnings
from typing import TYPE_CHECKING

import pytest

from securelight.tls.context import server_context
from securelight.tls.policy import INTERMEDIATE, MODERN, POLICIES
from tests.tls.handshakes import client_context, handshake

if TYPE_CHECKING:
    from tests.certificates import TestCertificates


@pytest.fixture
def client(certificates: TestCertificates) -> ssl.SSLContext:
    return client_context(certificates.ca)


def speaking(client: ssl.SSLContext, version: ssl.TLSVersion) -> ssl.SSLContext:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        client.minimum_version = client.maximum_version = version
    return client


def test_both_policies_speak_tls_1_3(certificates: TestCertificates, client: ssl.SSLContext) -> None:
    for policy in POLICIES.values():
        assert handshake(server_context(policy, [certificates.pair]), client).client.version() == "TLSv1.3"


def test_intermediate_speaks_tls_1_2(certificates: TestCertificates, client: ssl.SSLContext) -> None:
    server = server_context(INTERMEDIATE, [certificates.pair])
    assert handshake(server, speaking(client, ssl.TLSVersion.TLSv1_2)).client.version() == "TLSv1.2"


def test_modern_refuses_tls_1_2(certificates: TestCertificates, client: ssl.SSLContext) -> None:
    server = server_context(MODERN, [certificates.pair])
    with pytest.raises(ssl.SSLError, match="UNSUPPORTED_PROTOCOL"):
        handshake(server, speaking(client, ssl.TLSVersion.TLSv1_2))


@pytest.mark.parametrize("policy", POLICIES)
def test_tls_1_1_is_refused(policy: str, certificates: TestCertificates, client: ssl.SSLContext) -> None:
    server = server_context(POLICIES[policy], [certificates.pair])
    client.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.raises(ssl.SSLError, match=r"PROTOCOL_VERSION|UNSUPPORTED_PROTOCOL"):
        handshake(server, speaking(client, ssl.TLSVersion.TLSv1_1))


@pytest.mark.parametrize(
    "cipher",
    [
        "AES128-GCM-SHA256",  # no forward secrecy
        "ECDHE-ECDSA-AES128-SHA",  # CBC
        "ECDHE-ECDSA-AES256-CCM8",  # short tag
        "ECDHE-ECDSA-AES128-SHA256",
        "AECDH-AES128-SHA",  # nobody is authenticated
    ],
)
def test_weak_suites_of_tls_1_2_are_refused(
    cipher: str, certificates: TestCertificates, client: ssl.SSLContext
) -> None:
    server = server_context(INTERMEDIATE, [certificates.pair])
    client.set_ciphers(f"{cipher}:@SECLEVEL=0")
    with pytest.raises(ssl.SSLError, match=r"HANDSHAKE_FAILURE|NO_SHARED_CIPHER"):
        handshake(server, speaking(client, ssl.TLSVersion.TLSv1_2))


def suite_chosen(certificates: TestCertificates, client: ssl.SSLContext, offered: str) -> str:
    client.set_ciphers(offered)
    shaken = handshake(server_context(INTERMEDIATE, [certificates.pair]), speaking(client, ssl.TLSVersion.TLSv1_2))
    cipher = shaken.client.cipher()
    assert cipher is not None
    return cipher[0]


def test_the_server_chooses_the_suite_in_tls_1_2(certificates: TestCertificates, client: ssl.SSLContext) -> None:
    offered = "ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-ECDSA-AES128-GCM-SHA256"
    assert suite_chosen(certificates, client, offered) == "ECDHE-ECDSA-AES128-GCM-SHA256"


def test_a_client_that_puts_chacha_first_gets_it(certificates: TestCertificates, client: ssl.SSLContext) -> None:
    offered = "ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-ECDSA-AES128-GCM-SHA256"
    assert suite_chosen(certificates, client, offered) == "ECDHE-ECDSA-CHACHA20-POLY1305"


def test_every_suite_is_ephemeral_and_authenticated(certificates: TestCertificates) -> None:
    """So that each is allowed for HTTP/2 (RFC 9113, appendix A)."""
    for cipher in server_context(INTERMEDIATE, [certificates.pair]).get_ciphers():
        assert cipher["aead"], cipher["name"]
        assert cipher["kea"] in {"kx-ecdhe", "kx-any"}, cipher["name"]


def test_there_is_no_compression_and_no_renegotiation(certificates: TestCertificates, client: ssl.SSLContext) -> None:
    server = server_context(INTERMEDIATE, [certificates.pair])
    assert server.options & ssl.OP_NO_RENEGOTIATION
    assert handshake(server, client).client.compression() is None


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_session_is_resumed(version: ssl.TLSVersion, certificates: TestCertificates, client: ssl.SSLContext) -> None:
    server = server_context(INTERMEDIATE, [certificates.pair])
    first = handshake(server, speaking(client, version))
    second = handshake(server, client, session=first.client.session)
    assert second.client.session_reused


def test_a_session_of_another_context_is_not_resumed(certificates: TestCertificates, client: ssl.SSLContext) -> None:
    """CVE-2025-23419: what was agreed with one site must not count on another."""
    first = handshake(server_context(INTERMEDIATE, [certificates.pair]), client)
    second = handshake(server_context(INTERMEDIATE, [certificates.pair]), client, session=first.client.session)
    assert not second.client.session_reused
