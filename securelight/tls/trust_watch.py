"""Authorities of clients and their revocation lists, as they change on disk and as their time runs out.

Neither can be exchanged in a live context, and sessions outlive revocation, so what is found here is only that the
contexts are outdated: the supervisor then makes new ones, in new workers, from the files as they are. A revocation
list that cannot be read is such a change too: the new contexts refuse every certificate until it can. Authorities that
cannot be read are not: the old ones stay, as with the server's own certificates.

A file is judged only if it is found unchanged by the next check, since it may be half-written.
"""

from __future__ import annotations

import contextlib
import hashlib
from typing import TYPE_CHECKING, NamedTuple

from securelight.model.errors import CertificateError
from securelight.tls.client_trust import read_authorities, read_revocations
from securelight.tls.file_state import state_of

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from securelight.tls.client_trust import ClientTrust


class TrustChanges(NamedTuple):
    """What a check found."""

    outdated: bool
    """The contexts are not what the files, or the time, now ask for."""
    faults: tuple[CertificateError, ...]


class _End(NamedTuple):
    """When something in a file is over."""

    time: float
    """As time.time()."""
    what: str


class _Watched:
    """One file."""

    __slots__ = ("digest", "ends", "is_list", "made", "path", "seen", "settled")

    def __init__(self, path: Path, now: float, *, is_list: bool) -> None:
        self.path = path
        self.made = now
        self.is_list = is_list
        self.seen = state_of(path)
        self.settled = True
        self.digest = b""  # of a file that cannot be read; whoever builds the contexts says so
        self.ends: list[_End] = []
        with contextlib.suppress(CertificateError):
            self.digest, self.ends = self._read()

    def _read(self) -> tuple[bytes, list[_End]]:
        """Errors: CertificateError."""
        if self.is_list:
            revocations = read_revocations(self.path)
            ends = [
                _End(
                    one.next_update.timestamp(),
                    f"the revocation list of {one.shown} expired on {one.next_update:%Y-%m-%d %H:%M} UTC; until there "
                    "is a new one, all certificates that it is for are refused",
                )
                for one in revocations.latest()
                if one.next_update is not None
            ]
            return hashlib.sha256(revocations.pem).digest(), ends
        authorities = read_authorities(self.path)
        ends = [
            _End(
                one.not_after.timestamp(),
                f"the certificate of {one.shown} expired on {one.not_after:%Y-%m-%d %H:%M} UTC; all certificates that "
                "it vouches for are refused",
            )
            for one in authorities.latest()
        ]
        return hashlib.sha256(authorities.pem).digest(), ends

    def look(self, now: float) -> TrustChanges:
        """What there is to say at the time.time() `now`; each thing is said once."""
        outdated, faults = self._look_at_file()
        over = [one for one in self.ends if one.time <= now]
        if over:
            self.ends = [one for one in self.ends if one.time > now]
            faults = (*faults, *(CertificateError(str(self.path), one.what) for one in over))
            outdated |= any(one.time > self.made for one in over)  # what was opened before must not go on
        return TrustChanges(outdated, faults)

    def _look_at_file(self) -> TrustChanges:
        state = state_of(self.path)
        if state != self.seen:
            self.seen, self.settled = state, False
            return TrustChanges(outdated=False, faults=())
        if self.settled:
            return TrustChanges(outdated=False, faults=())
        self.settled = True
        try:
            digest, self.ends = self._read()
        except CertificateError as fault:
            if not self.is_list:
                return TrustChanges(False, (CertificateError(fault.where, f"{fault.what}; the old authorities stay"),))
            outdated, self.digest, self.ends = bool(self.digest), b"", []
            what = f"{fault.what}; until it can be read, all client certificates that it is for are refused"
            return TrustChanges(outdated, (CertificateError(fault.where, what),))
        outdated, self.digest = digest != self.digest, digest
        return TrustChanges(outdated, ())


class TrustWatcher:
    """Watches the files behind some rules.

    Make it before the contexts are built: what changes in between is then found by the first checks.

    Args:
        trusts: the rules of all sites.
        now: time.time().
    """

    def __init__(self, trusts: Iterable[ClientTrust], now: float) -> None:
        files: dict[tuple[Path, bool], None] = {}
        for trust in trusts:
            files[trust.authorities, False] = None
            if trust.revocations is not None:
                files[trust.revocations, True] = None
        self._watched = [_Watched(path, now, is_list=is_list) for path, is_list in files]

    def check(self, now: float) -> TrustChanges:
        """Look at all files once: one stat call each where nothing changed. Never raises for what it finds.

        Args:
            now: time.time().
        """
        outdated = False
        faults: list[CertificateError] = []
        for watched in self._watched:
            changes = watched.look(now)
            outdated |= changes.outdated
            faults += changes.faults
        return TrustChanges(outdated, tuple(faults))
