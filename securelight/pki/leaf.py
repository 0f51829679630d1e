"""Certificates in files: used as long as they will do, made anew before anyone notices.

One is reused as long as it is signed by the authority at hand, belongs to its key, is what is wished for, was not taken
back, and has a third of its life left.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.x509.oid import ExtendedKeyUsageOID

from securelight.model.errors import CertificateError
from securelight.pki.identities import MAXIMUM_NAMES, UNREADABLE, identities_of, names_of
from securelight.pki.issue import Issued, Wish, issue, plan
from securelight.pki.key_files import CERTIFICATE_MODE, KEY_MODE, read_file, read_key, write_files
from securelight.pki.key_types import key_type_of
from securelight.pki.ledger import Ledger

if TYPE_CHECKING:
    from collections.abc import Sequence

    from securelight.pki.authority import Authority

LEAF_DAYS = 90
"""Of what a server makes for itself, since it renews it itself."""

RENEW_BELOW = 1 / 3
"""Of its life left, a certificate is made anew."""


@dataclass(frozen=True, slots=True)
class Leaf:
    """A certificate on disk.

    Args:
        certificate: the certificate.
        chain_path: where it is, PEM, with what is between it and the root.
        key_path: where its key is.
        created: True if it was made just now.
    """

    certificate: x509.Certificate
    chain_path: Path
    key_path: Path
    created: bool

    @property
    def names(self) -> tuple[str, ...]:
        """What it is for."""
        return names_of(self.certificate)


def ensure_leaf(
    authority: Authority, chain_path: Path, key_path: Path, names: Sequence[str], now: datetime | None = None
) -> Leaf:
    """A server's certificate for at least `names`, the one on disk if it will do. The caller holds the lock.

    Names that the one on disk has beside them are kept when it is made anew, so that two callers with different wishes
    do not take turns in undoing each other's.

    Args:
        authority: signs it, and records it in its directory.
        chain_path: PEM file of the certificate.
        key_path: PEM file of the key, mode 0600.
        names: normal names (see identities.normal_name), at least one.
        now: for tests.

    Errors: CertificateError.
    """
    now = now or datetime.now(UTC)
    present = read_leaf(authority, chain_path, key_path)
    present_names = names_of(present) if present is not None else ()
    if present is not None and set(names) <= set(present_names) and is_fresh(present, now) and _serves(present):
        return Leaf(present, chain_path, key_path, created=False)
    kept = [name for name in present_names if name not in names and authority.permits(name)]
    wish = Wish((*names, *kept[: max(0, MAXIMUM_NAMES - len(names))]), days=LEAF_DAYS)
    try:
        issued = write_leaf(authority, wish, chain_path, key_path, now)
    except CertificateError:
        if present is None or not set(names) <= set(present_names) or not _serves(present) or not _valid(present, now):
            raise
        # It was to be renewed early. With a key that nobody opens, or a full disk, it does until it ends.
        return Leaf(present, chain_path, key_path, created=False)
    return Leaf(issued.certificate, chain_path, key_path, created=True)


def write_leaf(authority: Authority, wish: Wish, chain_path: Path, key_path: Path | None, now: datetime) -> Issued:
    """Make a certificate, record it, and put it and its key into files. The caller holds the lock.

    Errors: CertificateError, and all files are what they were.
    """
    issued = issue(authority, wish, now)
    files = [(chain_path, issued.chain_pem, CERTIFICATE_MODE)]
    if key_path is not None:
        # A server may watch these files: the pair does not match between the two, which it has to live with.
        files.insert(0, (key_path, issued.key_pem, KEY_MODE))
    write_recorded(authority, issued, files, now)
    return issued


def write_recorded(
    authority: Authority, issued: Issued, files: Sequence[tuple[Path, bytes, int]], now: datetime
) -> None:
    """Write files of a certificate, the last of which is its own, and the record of it, all or nothing.

    Errors: CertificateError.
    """
    assert authority.directory is not None, "an authority in memory has no record"
    ledger = Ledger.read(authority.directory)
    path = files[-1][0].absolute()
    here = authority.directory.absolute()
    ledger.add(issued, path.name if path.parent == here else str(path), now)
    write_files([ledger.file(authority.directory), *files])


def matches(certificate: x509.Certificate, authority: Authority, wish: Wish, now: datetime) -> bool:
    """Whether a certificate on disk is what is wished for, so that nothing has to be made.

    Names count as a set. Where dates were wished for they have to be the same; else it has to be fresh, and to last
    about as long as one that is made now.

    Errors: CertificateError if the wish cannot be granted.
    """
    wished = plan(authority, wish, now)
    begin, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    if wish.not_before is not None or wish.not_after is not None:
        in_time = (wish.not_before is None or begin == wished.not_before) and (
            wish.not_after is None or end == wished.not_after
        )
    else:
        difference = (end - begin) - (wished.not_after - wished.not_before)
        in_time = is_fresh(certificate, now) and abs(difference) < timedelta(hours=1)
    return (
        in_time
        and (
            key_type_of(certificate.public_key()) == wish.key_type
            if wished.request is None
            else certificate.public_key() == wished.request.public_key()
        )
        and set(identities_of(certificate)) == set(wished.names)
        and certificate.subject == wished.subject
        and _serves(certificate) is not wish.client
    )


def read_leaf(authority: Authority, chain_path: Path, key_path: Path | None) -> x509.Certificate | None:
    """The certificate on disk if it is of this authority, in a whole chain, not taken back, and has its key; None for
    anything else but a readable key.

    Errors: CertificateError for a key that others may read, or a damaged record.
    """
    content = read_file(chain_path)
    key = read_key(key_path) if key_path is not None else None
    if content is None or (key is None and key_path is not None):
        return None
    try:
        certificate, *above = x509.load_pem_x509_certificates(content)
        certificate.verify_directly_issued_by(authority.issuer.certificate)
        identities_of(certificate)
    except (*UNREADABLE, InvalidSignature):
        return None
    if above != [one.certificate for one in authority.signers[:-1]]:
        return None
    if key is not None and certificate.public_key() != key.public_key():
        return None
    if authority.directory is not None and Ledger.read(authority.directory).is_revoked(certificate):
        return None
    return certificate


def is_fresh(certificate: x509.Certificate, now: datetime) -> bool:
    """Whether it is valid and has a third of its life left."""
    begin, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    return begin <= now and end - now > (end - begin) * RENEW_BELOW


def _valid(certificate: x509.Certificate, now: datetime) -> bool:
    return certificate.not_valid_before_utc <= now < certificate.not_valid_after_utc


def _serves(certificate: x509.Certificate) -> bool:
    try:
        usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        return True
    return ExtendedKeyUsageOID.SERVER_AUTH in usage
