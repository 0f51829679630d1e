"""A certificate that proves trust: signed by the authority at hand for localhost, never written anywhere."""

from __future__ import annotations

from typing import TYPE_CHECKING

from securelight.pki.authority import CERTIFICATE_FILE, read_authority
from securelight.pki.issue import Wish, issue
from securelight.pki.trust_root import read_root

if TYPE_CHECKING:
    from pathlib import Path

    from securelight.pki.key_files import Passphrase

PROBE_NAMES = ("localhost", "127.0.0.1")


def probe_pair(directory: Path, passphrase: Passphrase | None = None) -> tuple[bytes, bytes]:
    """A chain and its key, both PEM, signed by the authority in `directory`.

    Args:
        directory: of the authority.
        passphrase: asked for that of its keys, if they have one.

    Errors: CertificateError if the authority cannot sign here: its key is kept elsewhere, or may not sign these names.
    """
    read_root(directory / CERTIFICATE_FILE)
    authority = read_authority(directory, passphrase)
    assert authority is not None
    issued = issue(authority, Wish(PROBE_NAMES, days=1))
    return issued.chain_pem, issued.key_pem
