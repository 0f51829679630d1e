from __future__ import annotations

import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from securelight.model.errors import CertificateError
from securelight.pki.authority import AUTHORITY_DAYS, REPLACE_DAYS, ensure_authority
from securelight.pki.leaf import LEAF_DAYS


def contents(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir()}


def test_the_first_run_makes_it_and_the_second_changes_nothing(tmp_path: Path) -> None:
    first = ensure_authority(tmp_path)
    before = contents(tmp_path)
    second = ensure_authority(tmp_path)
    assert (first.created, second.created) == (True, False)
    assert first.certificate == second.certificate
    assert contents(tmp_path) == before
    assert sorted(before) == ["ca.key", "ca.pem"]
    assert stat.S_IMODE((tmp_path / "ca.key").stat().st_mode) == 0o600


def test_it_is_a_root_that_signs_leaves_and_nothing_else(tmp_path: Path) -> None:
    root = ensure_authority(tmp_path).certificate
    root.verify_directly_issued_by(root)
    basic = root.extensions.get_extension_for_class(x509.BasicConstraints)
    usage = root.extensions.get_extension_for_class(x509.KeyUsage)
    constraints = root.extensions.get_extension_for_class(x509.NameConstraints)
    assert basic.critical
    assert usage.critical
    assert constraints.critical
    assert (basic.value.ca, basic.value.path_length) == (True, 0)
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


def test_it_is_made_anew_before_a_leaf_could_outlive_it(tmp_path: Path) -> None:
    assert REPLACE_DAYS >= LEAF_DAYS
    now = datetime.now(UTC)
    first = ensure_authority(tmp_path, now)
    assert not ensure_authority(tmp_path, now + timedelta(days=AUTHORITY_DAYS - REPLACE_DAYS - 1)).created
    second = ensure_authority(tmp_path, now + timedelta(days=AUTHORITY_DAYS - REPLACE_DAYS + 1))
    assert second.created
    assert second.certificate.public_key() != first.certificate.public_key()


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
