"""What was issued, as `list` shows it and `revoke` finds it: the record, held against the files as they are now."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from securelight.cli.certs.options import WARNING_DAYS, iso
from securelight.model.errors import CertificateError
from securelight.pki.authority import LIST_FILE
from securelight.pki.inspect import describe_chain
from securelight.pki.key_files import read_file
from securelight.pki.ledger import Ledger
from securelight.pki.revocation import list_expiry

if TYPE_CHECKING:
    from datetime import datetime

    from securelight.pki.authority import Authority
    from securelight.pki.ledger import Entry

State = Literal["good", "expiring", "expired", "not yet valid", "revoked", "replaced"]


@dataclass(frozen=True, slots=True)
class Record:
    """One line of the list.

    Args:
        kind: `root`, `intermediate`, `server`, `client` or `revocation list`.
        names: whom it is for, or the name of the authority.
        not_after: valid until, UTC.
        state: what is to be said of it. `replaced`: its file now holds another certificate, or is gone.
        file: where it is; None if it was not written by us.
        entry: in the record; None for an authority.
    """

    kind: str
    names: tuple[str, ...]
    not_after: datetime
    state: State
    file: Path | None
    entry: Entry | None = None

    def facts(self) -> dict[str, object]:
        """For programs."""
        entry = self.entry
        more = {} if entry is None else {"serial": entry.serial, "sha256": entry.sha256, "issued": iso(entry.issued)}
        if entry is not None and entry.revoked is not None:
            more |= {"revoked": iso(entry.revoked), "reason": entry.reason}
        return {
            "kind": self.kind,
            "names": list(self.names),
            "not_after": iso(self.not_after),
            "state": self.state,
            "file": None if self.file is None else str(self.file),
            **more,
        }


def records(certs: Path, authority: Authority, now: datetime, within_days: float = WARNING_DAYS) -> list[Record]:
    """The authority, what it has issued, and its revocation list if there is one.

    Errors: CertificateError for files that cannot be read.
    """
    found = [
        Record(kind, (signer.name,), signer.certificate.not_valid_after_utc,
               _time_state(None, signer.certificate.not_valid_after_utc, now, within_days), signer.certificate_path)
        for kind, signer in (("root", authority.root), ("intermediate", authority.intermediate))
        if signer is not None
    ]  # fmt: skip
    for entry in Ledger.read(certs).certificates:
        file = certs / entry.file if entry.file else None
        state: State
        if entry.revoked is not None:
            state = "revoked"
        elif file is not None and file.suffix == ".pem" and _fingerprint(file) != entry.sha256:
            state = "replaced"
        else:
            state = _time_state(entry.not_before, entry.not_after, now, within_days)
        found.append(Record(entry.kind, tuple(entry.names) or (entry.subject,), entry.not_after, state, file, entry))
    end = list_expiry(certs / LIST_FILE)
    if end is not None:
        # A list is good for about a month; it is near its end in the last week.
        state = _time_state(None, end, now, min(within_days, 7))
        found.append(Record("revocation list", ("crl",), end, state, certs / LIST_FILE))
    return found


def _time_state(not_before: datetime | None, not_after: datetime, now: datetime, within_days: float) -> State:
    left = (not_after - now).total_seconds() / 86_400
    if left <= 0:
        return "expired"
    if not_before is not None and not_before > now:
        return "not yet valid"
    return "expiring" if left < within_days else "good"


def _fingerprint(file: Path) -> str:
    try:
        content = read_file(file)
        return describe_chain(content).sha256 if content is not None else ""
    except CertificateError:
        return ""


def find(certs: Path, what: str) -> list[Entry]:
    """The certificates that `what` means, not revoked yet first: a file, a serial number, or one of the names.

    Errors: CertificateError if there is none, or if it is a file that cannot be read.
    """
    ledger = Ledger.read(certs)
    path = Path(what)
    if path.is_file():
        content = read_file(path)
        sha256 = describe_chain(content or b"", what).sha256
        found = [entry for entry in ledger.certificates if entry.sha256 == sha256]
    else:
        wanted = what.lower().replace(":", "").lstrip("0")
        found = [entry for entry in ledger.certificates if entry.serial == wanted]
        found = found or [entry for entry in ledger.certificates
                          if what.lower() in (name.lower() for name in entry.names)
                          or f"CN={what}" in entry.subject.split(",")]  # fmt: skip
    if not found:
        raise CertificateError(
            what, "is no file, name or serial number of a certificate on record; see: securelight certs list --all"
        )
    return sorted(found, key=lambda entry: (entry.revoked is not None, -entry.issued.astimezone(UTC).timestamp()))
