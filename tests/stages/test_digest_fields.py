"""Digest credentials: what is read, and what is not."""

from __future__ import annotations

import pytest
from hypothesis import given, settings, strategies

from securelight.stages.digest_fields import MAXIMUM_PARAMETERS, DigestCredentials, digest_credentials

RESPONSE = "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"
GOOD = (
    'Digest username="Mufasa", realm="http-auth@example.org", uri="/dir/index.html", algorithm=SHA-256, '
    'nonce="7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v", nc=00000001, cnonce="f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGem'
    f'xURZJ", qop=auth, response="{RESPONSE}", opaque="FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS"'
)


def test_the_example_of_the_rfc_is_read() -> None:
    """RFC 7616, section 3.9.1."""
    assert digest_credentials(GOOD.encode()) == DigestCredentials(
        "Mufasa", "http-auth@example.org", "7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v", "/dir/index.html",
        "00000001",
        "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ", RESPONSE, "SHA-256",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("old", "new", "user"),
    [
        ('"Mufasa"', r'"Mu\"fa\\sa"', 'Mu"fa\\sa'),
        ('"Mufasa"', '"Jäsøn Doe"', "Jäsøn Doe"),
        ('username="Mufasa"', "username*=UTF-8''J%C3%A4s%C3%B8n%20Doe", "Jäsøn Doe"),
        ("Digest username", "dIGEST \t USERNAME ", "Mufasa"),
        (", ", ",", "Mufasa"),
        ("qop=auth", 'qop="auth"', "Mufasa"),
    ],
)
def test_what_else_may_be_written(old: str, new: str, user: str) -> None:
    found = digest_credentials(GOOD.replace(old, new).encode())
    assert found is not None
    assert found.user == user


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("Digest ", "Basic "),
        ("Digest ", "Digest"),
        ("qop=auth", "qop=auth-int"),
        ("qop=auth, ", ""),
        ('username="Mufasa", ', ""),
        ('"Mufasa"', '"Mufasa", username="root"'),
        ('"Mufasa"', '"Mufasa", USERNAME="root"'),
        ('"Mufasa"', "\"Mufasa\", username*=UTF-8''root"),
        ('username="Mufasa"', "username*=UTF-8''%FF"),
        ('username="Mufasa"', "username*=latin-1''Mufasa"),
        ('"Mufasa"', '"Mu\nfasa"'),
        ('"Mufasa"', '"Mu:fasa"'),
        ('"Mufasa"', '""'),
        ('"Mufasa"', f'"{"x" * 300}"'),
        ('"Mufasa"', '"Mufasa'),
        ("nc=00000001", "nc=1"),
        ("nc=00000001", "nc=0000000g"),
        ("nc=00000001", "nc=-0000001"),
        (RESPONSE, "x" * 64),
        (RESPONSE, "0" * 31),
        ("qop=auth", "qop=auth, userhash=true"),
        ('realm="http-auth@example.org", ', ""),
        ("/dir", "/" + "x" * 9000),
        ("qop=auth", "qop=auth, " + ", ".join(f"x{number}=1" for number in range(MAXIMUM_PARAMETERS))),
        ("qop=auth", "qop=auth nonsense"),
    ],
)
def test_what_is_no_good_is_nobody(old: str, new: str) -> None:
    assert old in GOOD
    assert digest_credentials(GOOD.replace(old, new).encode("utf-8")) is None


def test_bytes_that_are_no_text_are_nobody() -> None:
    assert digest_credentials(GOOD.encode().replace(b"Mufasa", b"Mu\xfffasa")) is None


@settings(max_examples=300)
@given(strategies.text("Digest usrname=\"\\,= \t*%'", max_size=200))
def test_no_text_breaks_the_reader(text: str) -> None:
    assert digest_credentials(b"Digest " + text.encode()) is None
