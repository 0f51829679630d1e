"""Certificates for tests, made by our own authority when they are needed; none is ever committed."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, ClassVar

from cryptography.hazmat.primitives.serialization import Encoding

from securelight.pki.authority import ensure_authority
from securelight.pki.key_files import CERTIFICATE_MODE, KEY_MODE, prepare_directory, write_file
from securelight.pki.leaf import KeyType, new_leaf

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

DEFAULT_NAMES = ("localhost", "127.0.0.1", "::1", "example.test", "*.example.test")


@dataclass(frozen=True, slots=True)
class TestCertificates:
    """Files in PEM form: the authority that clients trust, a chain signed by it, and the key of the chain."""

    __test__: ClassVar[bool] = False  # not a class of tests, whatever its name

    ca: Path
    chain: Path
    key: Path

    @property
    def pair(self) -> tuple[Path, Path]:
        return self.chain, self.key


def make_test_certificates(
    directory: Path,
    names: Sequence[str] = DEFAULT_NAMES,
    *,
    stem: str = "server",
    key_type: KeyType = "ecdsa",
    age: timedelta = timedelta(0),
) -> TestCertificates:
    """A pair for `names` in `directory`, signed by the authority of that directory, which is made at the first call.

    Args:
        directory: shared by all pairs that one client is to trust.
        names: local names only (`*.test` and the like), which is all that our authority signs for.
        stem: of the file names; the same stem again replaces the pair.
        key_type: of the pair.
        age: how long ago it was made; more than 90 days make it expired.
    """
    prepare_directory(directory)
    authority = ensure_authority(directory)
    certificate, key = new_leaf(authority, names, datetime.now(UTC) - age, key_type)
    chain_path, key_path = directory / f"{stem}.pem", directory / f"{stem}.key"
    write_file(key_path, key, KEY_MODE)
    write_file(chain_path, certificate.public_bytes(Encoding.PEM), CERTIFICATE_MODE)
    return TestCertificates(authority.certificate_path, chain_path, key_path)
