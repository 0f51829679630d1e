"""Our own certificate authority: a root for this machine and an intermediate below it, limited to local names.

The root is what clients trust; the intermediate signs, so that the key of the root may be kept elsewhere. Both hold the
constraints, since some clients look at those of the root and some do not. An authority made before there were
intermediates, or one from elsewhere that allows none, signs by itself.

Renewal keeps name and key: what was signed stays good, and clients that trust the old root go on until its end.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from cryptography.exceptions import InvalidSignature

from securelight.model.errors import CertificateError
from securelight.pki.constraints import constraints_of, describe_constraints, local_constraints, permits
from securelight.pki.identities import UNREADABLE, host_name
from securelight.pki.issue import ISSUE_DAYS, Issued, Wish, issue, user_name
from securelight.pki.key_files import (
    CERTIFICATE_MODE,
    KEY_MODE,
    has_passphrase,
    key_pem,
    load_key,
    locked,
    prepare_directory,
    read_file,
    refuse_shared_key,
    write_files,
)
from securelight.pki.key_types import DEFAULT_KEY_TYPE, KeyType, new_key
from securelight.pki.ledger import LEDGER_FILE, Ledger, Reason
from securelight.pki.signer import Signer, authority_name, read_authority_certificate, sign_authority

if TYPE_CHECKING:
    import ssl
    from collections.abc import Sequence

    from cryptography import x509

    from securelight.pki.key_files import Passphrase, SigningKey

CERTIFICATE_FILE = "ca.pem"
KEY_FILE = "ca.key"
INTERMEDIATE_FILE = "intermediate.pem"
INTERMEDIATE_KEY_FILE = "intermediate.key"
LIST_FILE = "crl.pem"

RESERVED = frozenset(
    {CERTIFICATE_FILE, KEY_FILE, INTERMEDIATE_FILE, INTERMEDIATE_KEY_FILE, LIST_FILE, LEDGER_FILE, ".lock"}
)
"""Names of files that no certificate may take."""

AUTHORITY_DAYS = 3650
"""Of the root. Long, because every client has to be told about a new one by hand."""

INTERMEDIATE_DAYS = 1825

REPLACE_DAYS = 400
"""With less than this left, root and intermediate are renewed: they must outlive every certificate that they sign."""

LIST_DAYS = 30
"""For which a revocation list is good."""


@dataclass(frozen=True, slots=True)
class AuthorityWish:
    """What a new authority is to be.

    Args:
        key_type: of both keys.
        permit: domains, addresses and networks besides the local ones that it may sign for.
        unconstrained: it may sign for any name. Whoever gets its key can pose as any site to those who trust it.
        intermediate: whether there is one.
        passphrase: protects both keys.
    """

    key_type: KeyType = DEFAULT_KEY_TYPE
    permit: Sequence[str] = ()
    unconstrained: bool = False
    intermediate: bool = True
    passphrase: bytes | None = None

    def constraints(self) -> x509.NameConstraints | None:
        """What it may sign for.

        Errors: CertificateError for what cannot be permitted.
        """
        return None if self.unconstrained else local_constraints(host_name(), self.permit)


class Authority:
    """A certificate authority: in memory, for tests, or that of a directory, which is made if there is none.

    Args:
        directory: where it is, or will be; None for one that is gone with the object.
        key_type: of a new one.
        permit: names, addresses and networks besides local ones that a new one may sign for.
        unconstrained: a new one may sign for any name.
        intermediate: a new one has an intermediate below its root.
        passphrase: of its keys; those of a new one get it.

    Errors: CertificateError.
    """

    __slots__ = ("_ledger", "created", "directory", "intermediate", "root")

    def __init__(
        self,
        directory: Path | str | None = None,
        *,
        key_type: KeyType = DEFAULT_KEY_TYPE,
        permit: Sequence[str] = (),
        unconstrained: bool = False,
        intermediate: bool = True,
        passphrase: str | None = None,
    ) -> None:
        secret = passphrase.encode() if passphrase else None
        wish = AuthorityWish(key_type, tuple(permit), unconstrained, intermediate, secret)
        if directory is None:
            self._take(*_new(wish, datetime.now(UTC)), None, created=True)
            return
        directory = Path(directory)
        prepare_directory(directory)
        with locked(directory):
            found = ensure_authority(directory, wish=wish, passphrase=(lambda _path: secret) if secret else None)
        self._take(found.root, found.intermediate, directory, created=found.created)

    def _take(self, root: Signer, intermediate: Signer | None, directory: Path | None, *, created: bool) -> None:
        self.root = root
        self.intermediate = intermediate
        self.directory = directory
        self.created = created
        self._ledger = Ledger()

    @classmethod
    def of(cls, root: Signer, intermediate: Signer | None, directory: Path | None, *, created: bool) -> Authority:
        """From its parts."""
        authority = cls.__new__(cls)
        authority._take(root, intermediate, directory, created=created)
        return authority

    # What it is.

    @property
    def certificate(self) -> x509.Certificate:
        """The root."""
        return self.root.certificate

    @property
    def certificate_pem(self) -> bytes:
        """The root, for clients to trust."""
        return self.root.pem

    @property
    def certificate_path(self) -> Path:
        """Where the root is on disk."""
        assert self.root.certificate_path is not None, "an authority in memory has no files"
        return self.root.certificate_path

    @property
    def key_path(self) -> Path:
        """Where its key is, or would be."""
        assert self.root.key_path is not None, "an authority in memory has no files"
        return self.root.key_path

    @property
    def key(self) -> SigningKey | None:
        """That of the root; None if it is kept elsewhere.

        Errors: CertificateError if it cannot be opened.
        """
        return self.root.key

    @property
    def issuer(self) -> Signer:
        """Who signs for servers and clients."""
        return self.intermediate or self.root

    @property
    def signers(self) -> tuple[Signer, ...]:
        """From the one that signs up to the root."""
        return (self.intermediate, self.root) if self.intermediate is not None else (self.root,)

    @property
    def not_after(self) -> datetime:
        """When the first of its certificates expires."""
        return min(one.certificate.not_valid_after_utc for one in self.signers)

    def permits(self, name: str) -> bool:
        """Whether it may sign for a normal identity."""
        return all(permits(constraints_of(one.certificate), name) for one in self.signers)

    @property
    def limits(self) -> str:
        """What it may sign for, in one line; "" if for everything."""
        constraints = constraints_of(self.issuer.certificate) or constraints_of(self.root.certificate)
        return describe_constraints(constraints) if constraints is not None else ""

    # What it does.

    def trust(self, context: ssl.SSLContext) -> None:
        """Make a context believe what this authority signs."""
        context.load_verify_locations(cadata=self.root.pem.decode())

    def issue(
        self,
        *names: str,
        client: bool = False,
        user: str = "",
        key_type: KeyType = DEFAULT_KEY_TYPE,
        days: float = ISSUE_DAYS,
        not_before: datetime | None = None,
        not_after: datetime | None = None,
        request: bytes | None = None,
    ) -> Issued:
        """A certificate and its key, neither written anywhere.

        Args:
            names: host names, wildcards, addresses, URIs, mail addresses; may be none for a client with a user.
            client: for a client and not for a server.
            user: of a client: its common name.
            key_type: of its new key.
            days: how long it is valid.
            not_before: valid from; by default an hour ago. With its zone.
            not_after: valid until; by default `days` later. It may be past.
            request: a signing request (CSR, PEM or DER), for a certificate without a key of ours.

        Errors: CertificateError for names that it may not sign for, or if its key is not here.
        """
        subject = user_name(user) if user else None
        issued = issue(self, Wish(names, client, subject, key_type, days, not_before, not_after, request))
        if self.directory is None:
            self._ledger.add(issued)
        else:
            with locked(self.directory):
                ledger = Ledger.read(self.directory)
                ledger.add(issued)
                write_files([ledger.file(self.directory)])
        return issued

    def revoke(self, issued: Issued, reason: Reason = "unspecified") -> None:
        """Take back a certificate; the next `revocation_list_pem` has it.

        Errors: CertificateError if it is none of ours.
        """
        if self.directory is None:
            self._ledger.revoke(issued.serial, reason, datetime.now(UTC))
            return
        with locked(self.directory):
            ledger = Ledger.read(self.directory)
            ledger.revoke(issued.serial, reason, datetime.now(UTC))
            write_files([ledger.file(self.directory)])

    def revocation_list_pem(self, days: float = LIST_DAYS) -> bytes:
        """The revocation lists of the intermediate and the root, good for `days`.

        Errors: CertificateError if a key is not here.
        """
        if self.directory is None:
            return self._ledger.revocation_lists(self.signers, datetime.now(UTC), days)
        with locked(self.directory):
            ledger = Ledger.read(self.directory)
            pem = ledger.revocation_lists(self.signers, datetime.now(UTC), days)
            write_files([ledger.file(self.directory)])
        return pem


def ensure_authority(
    directory: Path,
    now: datetime | None = None,
    wish: AuthorityWish | None = None,
    passphrase: Passphrase | None = None,
) -> Authority:
    """The authority of `directory`, made if there is none, renewed before it expires. The caller holds the lock.

    Args:
        directory: for keys, see prepare_directory.
        now: for tests.
        wish: what a new one is to be.
        passphrase: asked for that of the keys, if they have one and are needed.

    Errors: CertificateError for files that cannot be used, or a key that others may read.
    """
    now = now or datetime.now(UTC)
    authority = read_authority(directory, passphrase)
    if authority is None:
        return _make(directory, wish or AuthorityWish(), now, passphrase)
    due = now + timedelta(days=REPLACE_DAYS)
    if authority.root.certificate.not_valid_after_utc < due and _can_sign(authority.root):
        return renew_authority(directory, authority, now)
    missing = authority.intermediate is None and authority.root.path_length != 0
    ending = authority.intermediate is not None and authority.intermediate.certificate.not_valid_after_utc < due
    if (missing or ending) and _can_sign(authority.root):
        return _write_intermediate(directory, authority, now)
    return authority


def read_authority(directory: Path, passphrase: Passphrase | None = None) -> Authority | None:
    """The authority of `directory` as it is; None if there is none.

    Errors: as ensure_authority.
    """
    key_path, intermediate_key_path = directory / KEY_FILE, directory / INTERMEDIATE_KEY_FILE
    refuse_shared_key(key_path)
    certificate = read_authority_certificate(directory / CERTIFICATE_FILE)
    if certificate is None:
        return None
    root = Signer(certificate, None, directory / CERTIFICATE_FILE, key_path, passphrase)
    root.check()
    intermediate = None
    below = read_authority_certificate(directory / INTERMEDIATE_FILE) if root.path_length != 0 else None
    if below is not None:
        try:
            below.verify_directly_issued_by(certificate)
        except (*UNREADABLE, InvalidSignature):
            below = None  # that of an authority that was here before
    if below is not None:
        intermediate = Signer(below, None, directory / INTERMEDIATE_FILE, intermediate_key_path, passphrase)
        intermediate.check()
        if not intermediate_key_path.exists() and root.key_path is not None and root.key_path.exists():
            intermediate = None  # it cannot sign; the root can make another
    return Authority.of(root, intermediate, directory, created=False)


def renew_authority(
    directory: Path, authority: Authority, now: datetime, wish: AuthorityWish | None = None
) -> Authority:
    """Root and intermediate anew, with the names and keys they have. The caller holds the lock.

    Args:
        directory: of the authority.
        authority: as it is.
        now: for tests.
        wish: what it may sign for from now on; by default what it did.

    Errors: CertificateError.
    """
    old = authority.root
    constraints = wish.constraints() if wish is not None else constraints_of(old.certificate)
    life = (now, timedelta(days=AUTHORITY_DAYS))
    key = old.signing_key()
    certificate = sign_authority(key, old.certificate.subject, None, constraints, life, path_length=old.path_length)
    root = Signer(certificate, key, old.certificate_path, old.key_path, old.passphrase)
    if old.path_length == 0:
        write_files([(directory / CERTIFICATE_FILE, root.pem, CERTIFICATE_MODE)])
        return Authority.of(root, None, directory, created=True)
    return _write_intermediate(directory, Authority.of(root, authority.intermediate, directory, created=True), now)


def _write_intermediate(directory: Path, authority: Authority, now: datetime) -> Authority:
    """Make one, or renew the one there is, below a root that may be new itself."""
    root, old = authority.root, authority.intermediate
    assert root.key_path is not None
    files: list[tuple[Path, bytes, int]] = []
    if old is not None and _can_sign(old):
        intermediate = _intermediate(root, old.signing_key(), now, old.certificate.subject)
    else:
        key = new_key(DEFAULT_KEY_TYPE)
        intermediate = _intermediate(root, key, now)
        secret = root.secret()
        files.append((directory / INTERMEDIATE_KEY_FILE, key_pem(key, secret), KEY_MODE))
    files += [
        (directory / INTERMEDIATE_FILE, intermediate.pem, CERTIFICATE_MODE),
        (directory / CERTIFICATE_FILE, root.pem, CERTIFICATE_MODE),
    ]
    write_files(files if authority.created else files[:-1])
    intermediate.certificate_path = directory / INTERMEDIATE_FILE
    intermediate.key_path = directory / INTERMEDIATE_KEY_FILE
    return Authority.of(root, intermediate, directory, created=authority.created)


def _make(directory: Path, wish: AuthorityWish, now: datetime, passphrase: Passphrase | None) -> Authority:
    # A key without a certificate is what an interrupted run leaves behind, since the key is written first.
    present = read_file(directory / KEY_FILE)
    key = load_key(present, directory / KEY_FILE, passphrase) if present is not None else None
    root, intermediate = _new(wish, now, key)
    root.certificate_path, root.key_path = directory / CERTIFICATE_FILE, directory / KEY_FILE
    files = [] if present is not None and has_passphrase(present) else [
        (directory / KEY_FILE, key_pem(root.signing_key(), wish.passphrase), KEY_MODE)
    ]  # fmt: skip
    if intermediate is not None:
        intermediate.certificate_path = directory / INTERMEDIATE_FILE
        intermediate.key_path = directory / INTERMEDIATE_KEY_FILE
        files += [
            (intermediate.key_path, key_pem(intermediate.signing_key(), wish.passphrase), KEY_MODE),
            (intermediate.certificate_path, intermediate.pem, CERTIFICATE_MODE),
        ]
    write_files([*files, (root.certificate_path, root.pem, CERTIFICATE_MODE)])
    return Authority.of(root, intermediate, directory, created=True)


def _new(wish: AuthorityWish, now: datetime, key: SigningKey | None = None) -> tuple[Signer, Signer | None]:
    key = key or new_key(wish.key_type)
    name, life = authority_name(key, "local CA", now), (now, timedelta(days=AUTHORITY_DAYS))
    length = 1 if wish.intermediate else 0
    root = Signer(sign_authority(key, name, None, wish.constraints(), life, path_length=length), key)
    return root, _intermediate(root, new_key(wish.key_type), now) if wish.intermediate else None


def _intermediate(root: Signer, key: SigningKey, now: datetime, name: x509.Name | None = None) -> Signer:
    name = name or authority_name(key, "local intermediate", now)
    constraints = constraints_of(root.certificate)
    life = (now, timedelta(days=INTERMEDIATE_DAYS))
    return Signer(sign_authority(key, name, root, constraints, life, path_length=0), key)


def _can_sign(signer: Signer) -> bool:
    """Whether its key can be had now: one that has a passphrase nobody is there to give waits for the next time."""
    try:
        return signer.key is not None
    except CertificateError:
        return False
