"""Files of client authorities and revocation lists that change, break, and run out of time."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from securelight.tls.client_trust import ClientTrust
from securelight.tls.trust_watch import TrustWatcher
from tests.client_certificates import DAY, ClientAuthority, write_revocations

if TYPE_CHECKING:
    from pathlib import Path

DAYS = DAY.total_seconds()


class Watched:
    """One authority and its list, watched."""

    def __init__(self, directory: Path) -> None:
        self.authority = ClientAuthority(directory)
        self.list = write_revocations(directory / "clients.crl", self.authority.revoke())
        self.watch()

    def watch(self) -> None:
        """Begin anew, as the next generation of workers does."""
        trust = ClientTrust(True, self.authority.path, self.list, "site[0]")
        self.watcher = TrustWatcher([trust, trust], time.time())

    def check(self, later: float = 0.0) -> tuple[bool, list[str]]:
        """What the second check from now says: a file is judged once it has settled."""
        assert self.watcher.check(time.time() + later).faults == ()
        outdated, faults = self.watcher.check(time.time() + later)
        return outdated, [str(fault) for fault in faults]


@pytest.fixture
def watched(tmp_path: Path) -> Watched:
    return Watched(tmp_path)


def test_nothing_changes(watched: Watched) -> None:
    assert watched.check() == (False, [])
    content = watched.list.read_bytes()
    watched.list.unlink()
    watched.list.write_bytes(content)
    assert watched.check() == (False, []), "written anew, with the same content"


def test_new_lists_and_authorities_are_seen_once(watched: Watched) -> None:
    write_revocations(watched.list, watched.authority.revoke(watched.authority.issue("alice")))
    assert watched.check() == (True, [])
    assert watched.check() == (False, [])
    watched.authority.path.write_bytes(watched.authority.pem * 2)
    assert watched.check() == (True, [])


def test_a_file_is_not_judged_in_the_middle_of_writing(watched: Watched) -> None:
    whole = watched.authority.revoke().public_bytes(Encoding.PEM)
    with watched.list.open("wb") as file:
        for at in range(0, len(whole), 200):
            file.write(whole[at : at + 200])
            file.flush()
            assert watched.watcher.check(time.time()) == (False, ())
    assert watched.check()[1] == []


@pytest.mark.parametrize("content", [None, b"", b"junk"])
def test_a_list_that_breaks_outdates_the_contexts_and_is_reported_once(watched: Watched, content: bytes | None) -> None:
    whole = watched.list.read_bytes()
    if content is None:
        watched.list.unlink()
    else:
        watched.list.write_bytes(content)
    outdated, [fault] = watched.check()
    assert outdated
    assert fault.startswith(f"{watched.list}: ")
    assert fault.endswith("until it can be read, all client certificates that it is for are refused")
    assert watched.check() == (False, [])
    watched.watch()
    assert watched.check() == (False, []), "no endless replacing"
    watched.list.write_bytes(whole)
    assert watched.check() == (True, [])


def test_authorities_that_break_change_nothing(watched: Watched) -> None:
    watched.authority.path.write_bytes(b"junk")
    outdated, [fault] = watched.check()
    assert not outdated
    assert fault.endswith("; the old authorities stay")
    assert watched.check() == (False, [])


def test_time_runs_out(watched: Watched) -> None:
    """The list is good for 5 days, the authority for 30; what was opened before must not go on."""
    assert watched.watcher.check(time.time() + 4.9 * DAYS) == (False, ())
    outdated, [fault] = watched.watcher.check(time.time() + 5 * DAYS)
    assert outdated
    assert "the revocation list of CN=Clients CA expired on " in str(fault)
    assert watched.watcher.check(time.time() + 6 * DAYS) == (False, ())
    outdated, [fault] = watched.watcher.check(time.time() + 30 * DAYS)
    assert outdated
    assert "the certificate of CN=Clients CA expired on " in str(fault)


def test_what_is_over_at_the_start_is_said_and_outdates_nothing(watched: Watched) -> None:
    write_revocations(watched.list, watched.authority.revoke(age=10 * DAY))
    watched.watch()
    outdated, [fault] = watched.watcher.check(time.time())
    assert not outdated
    assert "expired on" in str(fault)
    assert watched.check() == (False, [])


def test_a_list_that_was_renewed_is_not_over_because_the_old_one_is(watched: Watched) -> None:
    write_revocations(watched.list, watched.authority.revoke(age=10 * DAY), watched.authority.revoke())
    watched.watch()
    assert watched.check() == (False, [])
    assert watched.check(4 * DAYS) == (False, [])
