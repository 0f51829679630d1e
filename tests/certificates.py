"""Certificates for tests, made by our own authority when they are needed; none is ever committed."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, ClassVar, Final, Literal

from securelight.pki.authority import AuthorityWish, ensure_authority
from securelight.pki.issue import Wish, issue
from securelight.pki.key_files import prepare_directory
from securelight.pki.leaf import LEAF_DAYS

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from securelight.pki.key_types import KeyType

KEY_TYPES: Final[dict[str, KeyType]] = {"ecdsa": "ecdsa-p256", "rsa": "rsa-2048"}
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
    key_type: Literal["ecdsa", "rsa"] = "ecdsa",
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
    # Without an intermediate: most tests want one certificate to be the whole chain.
    authority = ensure_authority(directory, wish=AuthorityWish(intermediate=False))
    wish = Wish(tuple(names), key_type=KEY_TYPES[key_type], days=LEAF_DAYS)
    issued = issue(authority, wish, datetime.now(UTC) - age)
    return TestCertificates(authority.certificate_path, *issued.write(directory, stem))
