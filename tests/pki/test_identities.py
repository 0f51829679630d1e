from __future__ import annotations

import pytest

from securelight.model.errors import CertificateError
from securelight.pki.identities import ALWAYS, covers, local_constraints, normal_name, permits


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("localhost", "localhost"),
        (" WWW.Example.TEST. ", "www.example.test"),
        ("*.example.test", "*.example.test"),
        ("127.0.0.1", "127.0.0.1"),
        ("[::1]", "::1"),
        ("2001:DB8:0:0::1", "2001:db8::1"),
        ("xn--bcher-kva.test", "xn--bcher-kva.test"),
        ("a" * 63 + ".test", "a" * 63 + ".test"),
    ],
)
def test_names_get_one_form(text: str, name: str) -> None:
    assert normal_name(text) == name


@pytest.mark.parametrize(
    "text",
    [
        "",
        "*",
        "*.",
        "a.*.test",
        "w*.test",
        "*.*.test",
        "https://a.test",
        "a.test:443",
        "a/b",
        "a b",
        "bücher.test",
        "-a.test",
        "a-.test",
        "a..test",
        "a" * 64 + ".test",
        ".".join(["abcdefg"] * 40),
        "256.1.1.1",
        "1.2.3",
        "a\0b",
        "a\nb",
        "under_score.test",
        "[::1",
    ],
)
def test_what_no_certificate_can_be_for_is_refused(text: str) -> None:
    with pytest.raises(CertificateError):
        normal_name(text)


@pytest.mark.parametrize(
    ("names", "host", "covered"),
    [
        (["a.test"], "a.test", True),
        (["a.test"], "A.TEST.", True),
        (["a.test"], "b.a.test", False),
        (["*.a.test"], "b.a.test", True),
        (["*.a.test"], "a.test", False),
        (["*.a.test"], "c.b.a.test", False),
        (["*.test"], "a.test", False),  # clients differ, most refuse
        (["*.localhost"], "a.localhost", False),
        (["*.a.test"], "*.a.test", True),
        (["127.0.0.1"], "127.0.0.1", True),
        (["::1"], "[0:0:0:0:0:0:0:1]", True),
        (["*.0.0.1"], "127.0.0.1", False),
        ([], "a.test", False),
        (["a.test"], "", False),
        (["a.test"], "a.test\0.evil.test", False),
    ],
)
def test_which_hosts_a_name_covers(names: list[str], host: str, covered: bool) -> None:
    assert covers(names, host) is covered


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
