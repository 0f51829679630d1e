from __future__ import annotations

import pytest

from securelight.model.errors import CertificateError
from securelight.pki.constraints import describe_constraints, local_constraints, permits
from securelight.pki.identities import ALWAYS


@pytest.mark.parametrize(
    ("name", "permitted"),
    [
        *((name, True) for name in ALWAYS),
        ("a.test", True),
        ("test", True),
        ("*.deep.a.test", True),
        ("printer.local", True),
        ("nas.home.arpa", True),
        ("box.internal", True),
        ("devbox", True),
        ("www.devbox", False),
        ("10.255.0.1", True),
        ("172.16.0.1", True),
        ("192.168.1.1", True),
        ("fd12::1", True),
        ("example.com", False),
        ("*.com", False),
        ("atest", False),
        ("home.arpa.example.com", False),
        ("arpa", False),
        ("172.32.0.1", False),
        ("8.8.8.8", False),
        ("2001:db8::1", False),
        ("0.0.0.0", False),
        ("::ffff:10.0.0.1", False),
    ],
)
def test_what_the_authority_of_a_machine_called_devbox_may_sign(name: str, permitted: bool) -> None:
    assert permits(local_constraints("devbox"), name) is permitted


def test_a_machine_with_a_domain_may_have_names_below_its_own() -> None:
    constraints = local_constraints("web1.example.com")
    assert permits(constraints, "web1.example.com")
    assert permits(constraints, "*.web1.example.com")
    assert not permits(constraints, "example.com")
    assert not permits(constraints, "web2.example.com")


def test_a_machine_without_a_name_gets_local_names() -> None:
    assert permits(local_constraints(""), "localhost")
    assert not permits(local_constraints(""), "devbox")


def test_an_authority_without_constraints_signs_for_all() -> None:
    assert permits(None, "example.com")


@pytest.mark.parametrize(
    ("name", "permitted"),
    [
        ("root@localhost", True),
        ("alice@mail.test", True),
        ("alice@test", True),
        ("alice@example.com", False),
        ("alice@atest", False),
        ("spiffe://cluster.local/ns/shop", True),
        ("ldap://localhost:389/", True),
        ("spiffe://example.com/ns/shop", False),
        ("urn:uuid:f81d4fae-7dec-11d0-a765-00a0c91e6bf6", False),
    ],
)
def test_mail_addresses_and_uris_are_held_to_the_same_domains(name: str, permitted: bool) -> None:
    assert permits(local_constraints("devbox"), name) is permitted


def test_more_can_be_permitted() -> None:
    constraints = local_constraints("devbox", ["*.Example.com", "203.0.113.0/24", "2001:db8::1", "devbox"])
    for name in ("example.com", "www.example.com", "a@example.com", "203.0.113.7", "2001:db8::1", "www.devbox"):
        assert permits(constraints, name), name
    for name in ("example.org", "203.0.114.1", "2001:db8::2"):
        assert not permits(constraints, name), name
    assert "example.com" in describe_constraints(constraints)


@pytest.mark.parametrize("wish", ["https://a.com", "10.0.0.1/8", "", "a b", "300.1.1.1/8"])
def test_what_cannot_be_permitted_is_named(wish: str) -> None:
    with pytest.raises(CertificateError):
        local_constraints("devbox", [wish])
