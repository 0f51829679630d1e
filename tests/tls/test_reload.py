from __future__ import annotations

import os
import shutil
import ssl
from typing import TYPE_CHECKING

import pytest

from securelight.tls.identity import IdentityTable, TlsSite, build_identities
from securelight.tls.reload import CertificateWatcher, ChangedPair, Changes
from tests.certificates import TestCertificates, make_test_certificates
from tests.tls.handshakes import certificate_of, client_context, handshake

if TYPE_CHECKING:
    from pathlib import Path

NOTHING = Changes((), ())


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "certs"


@pytest.fixture
def served(directory: Path) -> TestCertificates:
    return make_test_certificates(directory, stem="served")


@pytest.fixture
def fresh(directory: Path) -> TestCertificates:
    """A pair that is somewhere else."""
    return make_test_certificates(directory, stem="fresh")


@pytest.fixture
def watcher(served: TestCertificates) -> CertificateWatcher:
    return CertificateWatcher([served.pair])


def table_of(pair: TestCertificates) -> IdentityTable:
    return build_identities([TlsSite(("localhost",), "intermediate", (pair.pair,), "site[0]")])


def put(source: Path, target: Path) -> None:
    """Replace a file as certbot and others do."""
    copy = target.with_suffix(".new")
    shutil.copyfile(source, copy)
    copy.replace(target)


def shown(table: IdentityTable, ca: Path) -> bytes:
    return certificate_of(handshake(table.select("localhost"), client_context(ca)))


def der(pair: TestCertificates) -> bytes:
    return ssl.PEM_cert_to_DER_cert(pair.chain.read_text())


def test_nothing_changes_by_itself(watcher: CertificateWatcher) -> None:
    assert watcher.check() == watcher.check() == NOTHING


def test_a_new_pair_reaches_new_handshakes(
    watcher: CertificateWatcher, served: TestCertificates, fresh: TestCertificates
) -> None:
    table = table_of(served)
    before = shown(table, served.ca)
    put(fresh.chain, served.chain)
    put(fresh.key, served.key)
    changes = watcher.check()
    assert changes == Changes((ChangedPair(served.pair, fresh.chain.read_bytes(), fresh.key.read_bytes()),), ())
    for pair in changes.pairs:
        table.replace(*pair)
    assert before != shown(table, served.ca) == der(fresh)
    assert watcher.check() == NOTHING


def test_what_changed_while_contexts_were_built_is_found(
    watcher: CertificateWatcher, served: TestCertificates, fresh: TestCertificates
) -> None:
    put(fresh.chain, served.chain)
    put(fresh.key, served.key)
    table_of(served)
    assert len(watcher.check().pairs) == 1


def test_a_pair_caught_between_its_two_files_is_no_fault(
    watcher: CertificateWatcher, served: TestCertificates, fresh: TestCertificates
) -> None:
    put(fresh.chain, served.chain)
    assert watcher.check() == NOTHING
    put(fresh.key, served.key)
    assert len(watcher.check().pairs) == 1
    assert watcher.check() == NOTHING


def test_a_pair_that_stays_bad_is_reported_once_and_the_old_one_served(
    watcher: CertificateWatcher, served: TestCertificates, fresh: TestCertificates
) -> None:
    table, before = table_of(served), der(served)
    put(fresh.chain, served.chain)
    results = [watcher.check() for _ in range(4)]
    assert [len(result.faults) for result in results] == [0, 1, 0, 0]
    assert not any(result.pairs for result in results)
    assert "does not belong" in results[1].faults[0].what
    assert shown(table, served.ca) == before


def test_each_bad_change_is_reported(
    watcher: CertificateWatcher, served: TestCertificates, fresh: TestCertificates
) -> None:
    for content in (b"", b"rubbish", fresh.key.read_bytes()):
        served.key.write_bytes(content)
        assert watcher.check() == NOTHING
        assert len(watcher.check().faults) == 1


def test_a_repaired_pair_is_taken_and_the_old_one_put_back_is_not_news(
    watcher: CertificateWatcher, served: TestCertificates, fresh: TestCertificates
) -> None:
    old_chain = served.chain.read_bytes()
    put(fresh.chain, served.chain)
    assert len([fault for _ in range(3) for fault in watcher.check().faults]) == 1
    served.chain.write_bytes(old_chain)
    assert watcher.check() == NOTHING
    put(fresh.chain, served.chain)
    put(fresh.key, served.key)
    assert len(watcher.check().pairs) == 1


def test_missing_files_are_reported_once_and_found_again(
    watcher: CertificateWatcher, served: TestCertificates, fresh: TestCertificates
) -> None:
    served.key.unlink()
    served.chain.unlink()
    assert [len(watcher.check().faults) for _ in range(3)] == [0, 1, 0]
    put(fresh.chain, served.chain)
    put(fresh.key, served.key)
    assert len(watcher.check().pairs) == 1


def test_a_touched_file_is_not_a_change(watcher: CertificateWatcher, served: TestCertificates) -> None:
    os.utime(served.chain, ns=(1, 1))
    assert watcher.check() == NOTHING


def test_a_link_that_is_turned_is_a_change(directory: Path, served: TestCertificates, fresh: TestCertificates) -> None:
    """As certbot's live directory."""
    chain, key = directory / "live.pem", directory / "live.key"
    chain.symlink_to(served.chain)
    key.symlink_to(served.key)
    watcher = CertificateWatcher([(chain, key)])
    for link, target in ((chain, fresh.chain), (key, fresh.key)):
        link.unlink()
        link.symlink_to(target)
    assert [pair.chain_pem for pair in watcher.check().pairs] == [fresh.chain.read_bytes()]


def test_another_key_type_needs_a_reload(
    watcher: CertificateWatcher, directory: Path, served: TestCertificates
) -> None:
    """Loaded in place, both would be served, and the old one is the one that clients prefer."""
    rsa = make_test_certificates(directory, stem="rsa", key_type="rsa")
    put(rsa.chain, served.chain)
    put(rsa.key, served.key)
    faults = [fault for _ in range(3) for fault in watcher.check().faults]
    assert [fault.where for fault in faults] == [str(served.chain)]
    assert "from ECDSA to RSA" in faults[0].what


def test_one_bad_pair_does_not_hold_up_another(
    directory: Path, served: TestCertificates, fresh: TestCertificates
) -> None:
    other = make_test_certificates(directory, stem="other")
    watcher = CertificateWatcher([other.pair, served.pair])
    other.key.write_bytes(b"rubbish")
    put(fresh.chain, served.chain)
    put(fresh.key, served.key)
    assert [pair.files for pair in watcher.check().pairs] == [served.pair]


def test_a_pair_that_was_bad_from_the_start_is_taken_once_it_is_good(
    served: TestCertificates, fresh: TestCertificates
) -> None:
    good = served.key.read_bytes()
    served.key.write_bytes(b"")
    watcher = CertificateWatcher([served.pair])
    assert watcher.check() == NOTHING
    served.key.write_bytes(good)
    assert len(watcher.check().pairs) == 1
