from __future__ import annotations

import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from securelight.model.errors import CertificateError
from securelight.pki.authority import (
    AUTHORITY_DAYS,
    INTERMEDIATE_DAYS,
    REPLACE_DAYS,
    AuthorityWish,
    ensure_authority,
)
from securelight.pki.issue import ISSUE_DAYS
from securelight.pki.key_types import AUTHORITY_KEY_TYPES, KeyType, key_type_of


def contents(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir()}


def test_the_first_run_makes_it_and_the_second_changes_nothing(tmp_path: Path) -> None:
    first = ensure_authority(tmp_path)
    before = contents(tmp_path)
    second = ensure_authority(tmp_path)
    assert (first.created, second.created) == (True, False)
    assert first.certificate == second.certificate
    assert contents(tmp_path) == before
    assert sorted(before) == ["ca.key", "ca.pem", "intermediate.key", "intermediate.pem"]
    assert stat.S_IMODE((tmp_path / "ca.key").stat().st_mode) == 0o600


def test_it_is_a_root_with_an_intermediate_below_it_and_nothing_else(tmp_path: Path) -> None:
    root = ensure_authority(tmp_path).certificate
    root.verify_directly_issued_by(root)
    basic = root.extensions.get_extension_for_class(x509.BasicConstraints)
    usage = root.extensions.get_extension_for_class(x509.KeyUsage)
    constraints = root.extensions.get_extension_for_class(x509.NameConstraints)
    assert basic.critical
    assert usage.critical
    assert constraints.critical
    assert (basic.value.ca, basic.value.path_length) == (True, 1)
    assert usage.value.key_cert_sign
    assert not usage.value.digital_signature
    key = root.public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)
    assert key.curve.name == "secp256r1"


def test_a_remade_one_has_another_name(tmp_path: Path) -> None:
    """Else a client that knows both may try the wrong key for a name, and fail."""
    first = ensure_authority(tmp_path)
    for path in tmp_path.iterdir():
        path.unlink()
    second = ensure_authority(tmp_path)
    assert first.certificate.subject != second.certificate.subject
    identifier = second.certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest.hex()
    assert identifier[:12] in second.certificate.subject.rfc4514_string()
    assert f"{datetime.now(UTC):%Y-%m-}" in second.certificate.subject.rfc4514_string()


def test_it_is_renewed_before_a_certificate_could_outlive_it(tmp_path: Path) -> None:
    """In place, with its name and key: what it signed stays good, also for clients that trust the old root."""
    assert REPLACE_DAYS >= ISSUE_DAYS
    now = datetime.now(UTC)
    first = ensure_authority(tmp_path, now)
    later = now + timedelta(days=AUTHORITY_DAYS - REPLACE_DAYS - 1)
    assert ensure_authority(tmp_path, later).certificate == first.certificate
    second = ensure_authority(tmp_path, later + timedelta(days=2))
    assert second.certificate != first.certificate
    assert second.certificate.subject == first.certificate.subject
    assert second.certificate.public_key() == first.certificate.public_key()
    assert second.not_after > later + timedelta(days=REPLACE_DAYS)
    assert ensure_authority(tmp_path, later + timedelta(days=2)).certificate == second.certificate
    for root in (first.certificate, second.certificate):
        second.issuer.certificate.verify_directly_issued_by(root)


def test_an_intermediate_is_renewed_in_its_place(tmp_path: Path) -> None:
    now = datetime.now(UTC)
    first = ensure_authority(tmp_path, now)
    second = ensure_authority(tmp_path, now + timedelta(days=INTERMEDIATE_DAYS - REPLACE_DAYS + 1))
    assert second.certificate == first.certificate
    assert second.issuer.certificate != first.issuer.certificate
    assert second.issuer.certificate.public_key() == first.issuer.certificate.public_key()
    assert second.issuer.certificate.subject == first.issuer.certificate.subject


def test_both_authorities_carry_the_constraints(tmp_path: Path) -> None:
    """Some clients do not look at those of a root."""
    authority = ensure_authority(tmp_path)
    for signer in authority.signers:
        assert signer.certificate.extensions.get_extension_for_class(x509.NameConstraints).critical
    basic = authority.issuer.certificate.extensions.get_extension_for_class(x509.BasicConstraints).value
    assert (basic.ca, basic.path_length) == (True, 0)


def test_an_authority_from_before_intermediates_goes_on_by_itself(tmp_path: Path) -> None:
    """Its root allows none below it, and clients trust that root as it is."""
    first = ensure_authority(tmp_path, wish=AuthorityWish(intermediate=False))
    before = contents(tmp_path)
    second = ensure_authority(tmp_path)
    assert second.intermediate is None
    assert contents(tmp_path) == before
    renewed = ensure_authority(tmp_path, datetime.now(UTC) + timedelta(days=AUTHORITY_DAYS - 1))
    assert renewed.intermediate is None
    assert renewed.certificate.public_key() == first.certificate.public_key()


def test_a_lost_intermediate_is_made_anew(tmp_path: Path) -> None:
    first = ensure_authority(tmp_path)
    for lost in (["intermediate.pem"], ["intermediate.key"], ["intermediate.pem", "intermediate.key"]):
        for name in lost:
            (tmp_path / name).unlink()
        second = ensure_authority(tmp_path)
        assert second.certificate == first.certificate
        assert second.intermediate is not None
        second.intermediate.certificate.verify_directly_issued_by(first.certificate)
        assert second.intermediate.key is not None


def test_the_key_of_the_root_may_be_kept_elsewhere(tmp_path: Path) -> None:
    ensure_authority(tmp_path)
    (tmp_path / "ca.key").unlink()
    authority = ensure_authority(tmp_path)
    assert authority.key is None
    authority.issue("a.test").certificate.verify_directly_issued_by(authority.issuer.certificate)


@pytest.mark.parametrize("key_type", AUTHORITY_KEY_TYPES)
def test_it_can_have_other_keys(key_type: KeyType, tmp_path: Path) -> None:
    authority = ensure_authority(tmp_path, wish=AuthorityWish(key_type))
    for signer in authority.signers:
        assert key_type_of(signer.certificate.public_key()) == key_type
    assert ensure_authority(tmp_path).certificate == authority.certificate
    authority.issue("a.test").certificate.verify_directly_issued_by(authority.issuer.certificate)


def test_a_passphrase_protects_both_keys_and_is_asked_for_only_to_sign(tmp_path: Path) -> None:
    first = ensure_authority(tmp_path, wish=AuthorityWish(passphrase=b"sesame"))
    for name in ("ca.key", "intermediate.key"):
        assert b"ENCRYPTED" in (tmp_path / name).read_bytes()
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o600
    locked_up = ensure_authority(tmp_path)
    assert locked_up.certificate == first.certificate
    with pytest.raises(CertificateError, match="has a passphrase, and none was given"):
        locked_up.issue("a.test")
    with pytest.raises(CertificateError, match="wrong"):
        ensure_authority(tmp_path, passphrase=lambda _path: b"open").issue("a.test")
    assert ensure_authority(tmp_path, passphrase=lambda _path: b"sesame").issue("a.test").names == ("a.test",)


def test_an_intermediate_made_later_has_the_passphrase_too(tmp_path: Path) -> None:
    ensure_authority(tmp_path, wish=AuthorityWish(passphrase=b"sesame"))
    (tmp_path / "intermediate.key").unlink()
    (tmp_path / "intermediate.pem").unlink()
    ensure_authority(tmp_path, passphrase=lambda _path: b"sesame")
    assert b"ENCRYPTED" in (tmp_path / "intermediate.key").read_bytes()


@pytest.mark.parametrize("name", ["ca.key", "ca.pem", "intermediate.key", "intermediate.pem"])
def test_a_write_that_fails_leaves_nothing_half_made(name: str, tmp_path: Path) -> None:
    (tmp_path / name).mkdir()
    with pytest.raises(CertificateError):
        ensure_authority(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_an_interrupted_first_run_is_finished(tmp_path: Path) -> None:
    """The key is written first, so it may be there alone."""
    ensure_authority(tmp_path)
    key = (tmp_path / "ca.key").read_bytes()
    (tmp_path / "ca.pem").unlink()
    assert ensure_authority(tmp_path).created
    assert (tmp_path / "ca.key").read_bytes() == key


def test_without_its_key_it_is_left_alone(tmp_path: Path) -> None:
    ensure_authority(tmp_path)
    (tmp_path / "ca.key").unlink()
    (tmp_path / "intermediate.key").unlink()
    before = contents(tmp_path)
    assert ensure_authority(tmp_path).key is None
    assert contents(tmp_path) == before


def test_a_key_that_others_may_read_is_refused(tmp_path: Path) -> None:
    ensure_authority(tmp_path)
    (tmp_path / "ca.key").chmod(0o644)
    with pytest.raises(CertificateError, match=r"mode 0644.*chmod 600"):
        ensure_authority(tmp_path)


def test_the_key_of_another_authority_is_refused(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        ensure_authority(tmp_path / name)
    (tmp_path / "two" / "ca.key").replace(tmp_path / "one" / "ca.key")
    with pytest.raises(CertificateError, match="is not the key of"):
        ensure_authority(tmp_path / "one")


@pytest.mark.parametrize(
    "content", [b"", b"rubbish", b"-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"]
)
def test_a_broken_certificate_is_refused_and_kept(content: bytes, tmp_path: Path) -> None:
    ensure_authority(tmp_path)
    (tmp_path / "ca.pem").write_bytes(content)
    with pytest.raises(CertificateError, match="holds no authority's certificate"):
        ensure_authority(tmp_path)
    assert (tmp_path / "ca.pem").read_bytes() == content
