"""Signing requests come from others, so they are read with doubt; what is signed is what was asked for, and no more."""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given, settings, strategies as st

from securelight.pki import Authority, CertificateError

AUTHORITY = Authority()
KEY = ec.generate_private_key(ec.SECP256R1())


def request_for(*names: x509.GeneralName, extra: x509.ExtensionType | None = None) -> x509.CertificateSigningRequest:
    builder = x509.CertificateSigningRequestBuilder().subject_name(
        x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "www.example.com")])
    )
    builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    if extra is not None:
        builder = builder.add_extension(extra, critical=True)
    return builder.sign(KEY, SHA256())


GOOD = request_for(x509.DNSName("a.test")).public_bytes(Encoding.DER)


def test_nothing_is_taken_over_from_a_request_but_its_key_and_names() -> None:
    """Neither a subject that looks like another host, nor the wish to be an authority."""
    authority = x509.BasicConstraints(ca=True, path_length=None)
    request = request_for(x509.DNSName("a.test"), x509.RFC822Name("a@a.test"), extra=authority)
    issued = AUTHORITY.issue(request=request.public_bytes(Encoding.PEM))
    assert issued.names == ("a.test", "a@a.test")
    assert issued.certificate.subject.rfc4514_string() == "CN=a.test"
    assert not issued.certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    with pytest.raises(CertificateError, match="is with whoever made the signing request"):
        issued.key_pem  # noqa: B018 - a property


@settings(max_examples=200, deadline=None)
@given(changes=st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), min_size=1, max_size=4))
def test_a_changed_request_is_refused(changes: list[tuple[int, int]]) -> None:
    der = bytearray(GOOD)
    for at, value in changes:
        der[at % len(der)] = value
    if bytes(der) == GOOD:
        return
    with pytest.raises(CertificateError):
        AUTHORITY.issue(request=bytes(der))


@settings(max_examples=200, deadline=None)
@given(text=st.text(max_size=40))
def test_any_text_is_a_name_or_refused(text: str) -> None:
    with contextlib.suppress(CertificateError):
        [name] = AUTHORITY.issue(text).names
        assert AUTHORITY.permits(name)


@pytest.mark.parametrize(
    "key",
    [rsa.generate_private_key(public_exponent=3, key_size=2048), ec.generate_private_key(ec.SECP256K1()),
     ed448.Ed448PrivateKey.generate()],
    ids=["exponent 3", "secp256k1", "Ed448"],
)  # fmt: skip
def test_keys_that_clients_would_refuse_are_not_signed(
    key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed448.Ed448PrivateKey,
) -> None:
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    request = builder.sign(key, None if isinstance(key, ed448.Ed448PrivateKey) else SHA256())
    with pytest.raises(CertificateError, match="signing request: has a"):
        AUTHORITY.issue("a.test", request=request.public_bytes(Encoding.PEM))


def test_an_edwards_key_is_signed_since_some_clients_know_it() -> None:
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    request = builder.sign(ed25519.Ed25519PrivateKey.generate(), None)
    assert AUTHORITY.issue("a.test", request=request.public_bytes(Encoding.PEM)).names == ("a.test",)


@pytest.mark.parametrize("days", [0.0, -1.0, 1e9, float("nan"), float("inf")])
def test_odd_lives_are_refused(days: float) -> None:
    with pytest.raises(CertificateError):
        AUTHORITY.issue("a.test", days=days)


@pytest.mark.parametrize("end", [datetime(1, 1, 2, tzinfo=UTC), datetime(1949, 12, 31, tzinfo=UTC)])
def test_times_that_no_certificate_can_hold_are_refused(end: datetime) -> None:
    with pytest.raises(CertificateError):
        AUTHORITY.issue("a.test", not_after=end)


def test_the_far_future_is_possible() -> None:
    """As in badly made devices, RFC 5280, section 4.1.2.5."""
    end = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)
    assert AUTHORITY.issue("a.test", not_after=end).not_after == end
    with pytest.raises(CertificateError):
        AUTHORITY.issue("a.test", not_before=end - timedelta(days=1))
