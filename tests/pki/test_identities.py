from __future__ import annotations

import pytest

from securelight.model.errors import CertificateError
from securelight.pki.identities import covers, normal_identity, normal_name


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
    ("text", "identity"),
    [
        ("A.test", "a.test"),
        ("spiffe://cluster.local/ns/shop", "spiffe://cluster.local/ns/shop"),
        ("urn:uuid:f81d4fae-7dec-11d0-a765-00a0c91e6bf6", "urn:uuid:f81d4fae-7dec-11d0-a765-00a0c91e6bf6"),
        ("Alice.B@Example.TEST", "Alice.B@example.test"),
    ],
)
def test_identities_are_names_uris_and_mail_addresses(text: str, identity: str) -> None:
    assert normal_identity(text) == identity


@pytest.mark.parametrize(
    "text",
    ["https://a.test", "a@", "@a.test", "a b@a.test", "a@*.test", "x://a b", "x://\0", "x" * 3000 + "@a",
     "ü@a.test", "a@b@c.test", "://x"],
)  # fmt: skip
def test_what_is_no_identity_is_refused(text: str) -> None:
    """A page's address least of all: who writes one means its host."""
    with pytest.raises(CertificateError):
        normal_identity(text)
