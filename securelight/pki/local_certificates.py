"""The certificates of this machine: an authority and one leaf in a directory, made if missing, renewed in time.

A second run with the same wishes changes nothing, two runs at once take turns, and an interrupted one leaves either
the old files or the new.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from securelight.pki.authority import Authority, AuthorityWish, ensure_authority
from securelight.pki.identities import ALWAYS, host_name, normal_name
from securelight.pki.key_files import environment_passphrase, locked, prepare_directory
from securelight.pki.leaf import Leaf, ensure_leaf

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

CHAIN_FILE = "localhost.pem"
KEY_FILE = "localhost.key"


@dataclass(frozen=True, slots=True)
class LocalCertificates:
    """What there is now.

    Args:
        authority: the root.
        leaf: signed by it.
        left_out: this machine's own name, if the authority was made when it had another, and so may not sign for it.
    """

    authority: Authority
    leaf: Leaf
    left_out: tuple[str, ...]


def ensure_local_certificates(
    directory: Path, names: Sequence[str] = (), now: datetime | None = None
) -> LocalCertificates:
    """An authority and a leaf for localhost, this machine's name, and `names`.

    Args:
        directory: made with mode 0700 if it is not there.
        names: host names, wildcards, addresses; local ones only.
        now: for tests.

    Errors: CertificateError.
    """
    now = now or datetime.now(UTC)
    own = host_name()
    wanted = list(dict.fromkeys([*ALWAYS, *filter(None, [own]), *(normal_name(name) for name in names)]))
    prepare_directory(directory)
    with locked(directory):
        authority = ensure_authority(directory, now, AuthorityWish(passphrase=environment_passphrase()))
        left_out = tuple(name for name in wanted if name == own and not authority.permits(name))
        wanted = [name for name in wanted if name not in left_out]
        leaf = ensure_leaf(authority, directory / CHAIN_FILE, directory / KEY_FILE, wanted, now)
    return LocalCertificates(authority, leaf, left_out)
