"""Revocation lists in a file: written beside the authority, and how long the one there is still good."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cryptography import x509

from securelight.model.errors import CertificateError
from securelight.pki.authority import LIST_FILE
from securelight.pki.identities import UNREADABLE
from securelight.pki.key_files import CERTIFICATE_MODE, read_file, write_files
from securelight.pki.ledger import MAXIMUM_LEDGER_BYTES, Ledger

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

    from securelight.pki.authority import Authority

_END = b"-----END X509 CRL-----"


def write_list(authority: Authority, ledger: Ledger, path: Path, now: datetime, days: float) -> None:
    """Write new revocation lists of all of its certificates, and the record with their number. The caller holds the
    lock.

    Errors: CertificateError, and all files are what they were.
    """
    assert authority.directory is not None, "an authority in memory has no files"
    pem = ledger.revocation_lists(authority.signers, now, days)
    write_files([ledger.file(authority.directory), (path, pem, CERTIFICATE_MODE)])


def list_expiry(path: Path) -> datetime | None:
    """When the first of the lists in a file is due for its next update, UTC; None if there is no file.

    Errors: CertificateError.
    """
    content = read_file(path, MAXIMUM_LEDGER_BYTES)
    if content is None:
        return None
    try:
        lists = [x509.load_pem_x509_crl(one + _END) for one in content.split(_END)[:-1]]
        ends = [end for one in lists if (end := one.next_update_utc) is not None]
    except UNREADABLE as error:
        raise CertificateError(str(path), "holds no revocation list that can be read") from error
    if not ends:
        raise CertificateError(
            str(path), f"holds no revocation list; write one with: securelight certs crl ({LIST_FILE})"
        )
    return min(ends)
