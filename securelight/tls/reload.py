"""Certificates that change on disk, picked up without a restart.

The supervisor, which keeps the right to read keys, asks `CertificateWatcher.check` every few seconds. A pair whose
files changed is read and proved in a scratch context; only a good one is handed out, to be loaded into live contexts
with `IdentityTable.replace`, here and (sent as bytes) in the workers. A bad pair never touches a live context: it is
reported once for each change, and what was served before stays.

Two files cannot be replaced in one step, so between the two writes a pair is mismatched without anyone's fault: a
pair is reported as bad only if it is found unchanged, and still bad, by the next check.
"""

from __future__ import annotations

import hashlib
import time
from typing import TYPE_CHECKING, NamedTuple

from securelight.model.errors import CertificateError
from securelight.tls.expiry import ExpiryWatch
from securelight.tls.file_state import FileState, state_of
from securelight.tls.key_pair import PairFiles, load_into, prove, read_pair
from securelight.tls.trust_watch import TrustWatcher

if TYPE_CHECKING:
    from collections.abc import Iterable

    from securelight.tls.client_trust import ClientTrust

__all__ = ["CertificateWatcher", "ChangedPair", "Changes", "load_into", "prove"]


class ChangedPair(NamedTuple):
    """A pair that changed, proved."""

    files: PairFiles
    chain_pem: bytes
    key_pem: bytes


class Changes(NamedTuple):
    """What a check found: pairs to load, and faults to report."""

    pairs: tuple[ChangedPair, ...]
    faults: tuple[CertificateError, ...]


class _Watched:
    """One pair, and what is known of it."""

    __slots__ = ("digest", "faulty", "files", "key_type", "reported", "seen")

    def __init__(self, files: PairFiles) -> None:
        self.files = files
        self.seen = _states(files)
        self.faulty = False
        """The content last read is bad."""
        self.reported = False
        try:
            content = read_pair(files)
            self.key_type = self._prove(content)
            self.digest = _digest(content)
        except CertificateError:
            # Whoever builds the contexts says so; here it is a pair like any that is bad for now.
            self.digest, self.key_type = b"", ""
            self.faulty = self.reported = True

    def _prove(self, content: tuple[bytes, bytes]) -> str:
        return prove(*content, chain_name=str(self.files[0]), key_name=str(self.files[1]))

    def read(self) -> ChangedPair | None:
        """The new pair, or None if it is what it was. Errors: CertificateError."""
        content = read_pair(self.files)
        digest = _digest(content)
        if digest == self.digest:
            return None
        key_type = self._prove(content)
        if self.key_type and key_type != self.key_type:
            # OpenSSL keeps one pair of each type: the old one would stay beside the new and be served on.
            raise CertificateError(
                str(self.files[0]),
                f"changed its key type from {self.key_type} to {key_type}, which takes a reload (`securelight reload`)",
            )
        self.key_type, self.digest = key_type, digest
        return ChangedPair(self.files, *content)


class CertificateWatcher:
    """Watches pairs of files.

    Make it before the contexts are built: what changes in between is then found by the first check.

    Args:
        pairs: files of (chain, key), such as `IdentityTable.pairs`.
        trusts: by which client certificates are judged.

    Attributes:
        trust: watches the files of `trusts`, which are not exchanged in place.
        expiry: tells which of the certificates are about to expire.
    """

    def __init__(self, pairs: Iterable[PairFiles], trusts: Iterable[ClientTrust] = ()) -> None:
        self._watched = [_Watched(files) for files in pairs]
        self.trust = TrustWatcher(trusts, time.time())
        self.expiry = ExpiryWatch(watched.files[0] for watched in self._watched)

    def check(self) -> Changes:
        """Look at all files once: two stat calls a pair where nothing changed. Never raises for what it finds."""
        pairs: list[ChangedPair] = []
        faults: list[CertificateError] = []
        for watched in self._watched:
            states = _states(watched.files)
            settled = states == watched.seen
            if settled and (not watched.faulty or watched.reported):
                continue
            watched.seen = states
            try:
                pair = watched.read()
            except CertificateError as fault:
                watched.faulty, watched.reported = True, settled
                if settled:
                    faults.append(fault)
                continue
            watched.faulty = False
            if pair is not None:
                pairs.append(pair)
        return Changes(tuple(pairs), tuple(faults))


def _digest(content: tuple[bytes, bytes]) -> bytes:
    """Tells one content of a pair from another without keeping a copy of the key."""
    return b"".join(hashlib.sha256(part).digest() for part in content)


def _states(files: PairFiles) -> tuple[FileState, FileState]:
    return state_of(files[0]), state_of(files[1])
