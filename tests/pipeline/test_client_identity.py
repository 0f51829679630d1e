"""The gate of a site that asks for client certificates, request by request."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest

from securelight.model.client_certificate import ClientCertificate
from securelight.model.errors import Refusal
from securelight.model.headers import Headers
from securelight.model.request import Facts, Peer, Request, TlsFacts
from securelight.pipeline.client_identity import MAXIMUM_USER_CHARACTERS, client_identity

ALICE = ClientCertificate(
    b"der", "CN=alice,O=Example", "7", ("alice",), ("alice@a.test",), ("laptop.a.test",), ("spiffe://a.test/alice",)
)


def request(
    host: str, server_name: str, asked_by: str = "site[0]", certificate: ClientCertificate | None = ALICE
) -> Request:
    tls = TlsFacts(version="TLSv1.3", server_name=server_name, asked_by=asked_by, client_certificate=certificate)
    return Request("GET", "/", Headers(), peer=Peer("192.0.2.1", 5, tls=tls), host=host, authority=host)


def status(refused: Request) -> int:
    facts = Facts("192.0.2.1")
    with pytest.raises(Refusal) as caught:
        client_identity("site[0]", "subject")(refused, facts)
    assert (facts.user, facts.certificate) == (None, None), "who is refused is nobody"
    return caught.value.status


@pytest.mark.parametrize(
    ("host", "server_name"),
    [("a.test", "a.test"), ("192.0.2.9", ""), ("[2001:db8::1]", ""), ("", "")],
)
def test_the_name_of_the_handshake_is_let_in(host: str, server_name: str) -> None:
    facts = Facts("192.0.2.1")
    assert client_identity("site[0]", "subject")(request(host, server_name), facts) is None
    assert (facts.user, facts.certificate) == ("CN=alice,O=Example", ALICE)


@pytest.mark.parametrize(
    ("host", "server_name", "asked_by"),
    [
        ("a.test", "b.test", "site[0]"), ("a.test", "", "site[0]"), ("", "a.test", "site[0]"),
        ("a.test.", "a.test", "site[0]"), ("192.0.2.9", "a.test", "site[0]"), ("b.a.test", "a.test", "site[0]"),
        ("a.test", "a.test", "site[1]"), ("a.test", "a.test", ""), ("192.0.2.9", "", ""), ("192.0.2.9", "", "site[1]"),
    ],
)  # fmt: skip
def test_any_other_is_misdirected(host: str, server_name: str, asked_by: str) -> None:
    assert status(request(host, server_name, asked_by)) == 421


def test_nobody_has_no_user() -> None:
    facts = Facts("192.0.2.1")
    client_identity("site[0]", "subject")(request("a.test", "a.test", certificate=None), facts)
    assert (facts.user, facts.certificate) == (None, None)


@pytest.mark.parametrize(
    ("user_from", "user"),
    [
        ("subject", "CN=alice,O=Example"), ("common_name", "alice"), ("email", "alice@a.test"),
        ("dns", "laptop.a.test"), ("uri", "spiffe://a.test/alice"), ("fingerprint", hashlib.sha256(b"der").hexdigest()),
        ("none", None),
    ],
)  # fmt: skip
def test_what_the_user_is_called(user_from: Any, user: str | None) -> None:
    facts = Facts("192.0.2.1")
    client_identity("site[0]", user_from)(request("a.test", "a.test"), facts)
    assert (facts.user, facts.certificate) == (user, ALICE)


def test_users_may_be_called_otherwise_and_then_no_others_come_in() -> None:
    gate = client_identity("site[0]", "common_name", {"alice": "Alice L."})
    facts = Facts("192.0.2.1")
    gate(request("a.test", "a.test"), facts)
    assert facts.user == "Alice L."
    facts = Facts("192.0.2.1")
    gate(request("a.test", "a.test", certificate=None), facts)
    assert facts.user is None
    for name in ("bob", "Alice", "alice ", "Alice L."):
        other = ClientCertificate(b"der", f"CN={name}", "7", common_names=(name,))
        with pytest.raises(Refusal) as caught:
            gate(request("a.test", "a.test", certificate=other), facts)
        assert (caught.value.status, facts.user) == (403, None)


@pytest.mark.parametrize(
    "names",
    [(), ("a", "b"), ("a", "a"), ("",), ("a\nb",), ("a\0",), ("a\u202eb",), ("x" * (MAXIMUM_USER_CHARACTERS + 1),)],
)
def test_a_certificate_that_names_no_user_is_refused(names: tuple[str, ...]) -> None:
    certificate = ClientCertificate(b"der", "CN=alice", "7", common_names=names)
    with pytest.raises(Refusal) as caught:
        client_identity("site[0]", "common_name")(request("a.test", "a.test", certificate=certificate), Facts("a"))
    assert caught.value.status == 403
    assert "\n" not in str(caught.value)
