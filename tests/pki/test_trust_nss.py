from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from securelight.model.errors import CertificateError
from securelight.pki import trust_nss
from securelight.pki.trust_commands import change
from securelight.pki.trust_nss import NssDatabase, nss_stores
from securelight.pki.trust_root import Root
from tests.certificates import TestCertificates
from tests.pki.trust_machine import Machine, make_machine, make_nss_database, needs_certutil, put_program

pytestmark = needs_certutil


@pytest.fixture
def machine(tmp_path: Path, certificates: TestCertificates) -> Machine:
    return make_machine(tmp_path, certificates)


@pytest.fixture
def database(tmp_path: Path) -> NssDatabase:
    return NssDatabase(make_nss_database(tmp_path / "nssdb"), "Chromium")


def install(database: NssDatabase, root: Root) -> None:
    for command in database.install(root):
        change(command)


def names_in(database: NssDatabase) -> str:
    listing = ["certutil", "-L", "-d", database.argument]
    return subprocess.run(listing, check=True, capture_output=True, text=True).stdout


def add(database: NssDatabase, name: str, flags: str, file: Path) -> None:
    subprocess.run(["certutil", "-A", "-d", database.argument, "-n", name, "-t", flags, "-i", str(file)], check=True)


def test_a_database_trusts_it_after_the_command_and_forgets_it_after_the_other(
    database: NssDatabase, machine: Machine
) -> None:
    root = machine.authority
    add(database, "a stranger", "C,,", machine.stranger.ca)
    before = names_in(database)
    assert not database.holds(root)
    for _ in range(2):
        install(database, root)
        assert database.holds(root)
    assert "C,," in next(line for line in names_in(database).splitlines() if line.startswith(root.label))
    for command in database.remove(root):
        change(command)
    assert not database.holds(root)
    assert names_in(database) == before


def test_what_a_person_imported_counts_and_is_never_removed(database: NssDatabase, machine: Machine) -> None:
    add(database, "My own  import, C,C,C (really)", "C,C,C", machine.certificates.ca)
    assert database.holds(machine.authority)
    assert database.remove(machine.authority) == ()


def test_another_authority_under_our_name_is_not_taken_for_ours(database: NssDatabase, machine: Machine) -> None:
    add(database, machine.authority.label, "C,,", machine.stranger.ca)
    assert not database.holds(machine.authority)
    assert database.remove(machine.authority) == ()


def test_there_without_trust_is_not_trusted_and_still_removed(database: NssDatabase, machine: Machine) -> None:
    add(database, machine.authority.label, ",,", machine.certificates.ca)
    assert not database.holds(machine.authority)
    [command] = database.remove(machine.authority)
    change(command)
    assert machine.authority.label not in names_in(database)
    install(database, machine.authority)
    assert database.holds(machine.authority)


def test_a_chromium_that_never_ran_gets_its_database(machine: Machine, tmp_path: Path) -> None:
    assert nss_stores({"HOME": str(machine.home), "PATH": "/nowhere"}) == []
    put_program(tmp_path / "bin", "google-chrome", "exit 1")
    [store] = nss_stores({"HOME": str(machine.home), "PATH": str(tmp_path / "bin")})
    assert store.path == machine.home / ".pki/nssdb"
    assert not (store.path / "cert9.db").exists()
    assert not store.holds(machine.authority)
    assert store.remove(machine.authority) == ()
    install(store, machine.authority)
    assert store.holds(machine.authority)
    assert store.path.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(
    ("place", "name"),
    [
        (".pki/nssdb", "Chromium"),
        (".local/share/pki/nssdb", "Chromium"),
        ("snap/chromium/current/.pki/nssdb", "Chromium (snap)"),
        (".var/app/com.google.Chrome/.pki/nssdb", "Chromium (flatpak)"),
        (".var/app/org.chromium.Chromium/data/pki/nssdb", "Chromium (flatpak)"),
        (".mozilla/firefox/x.default", "Firefox x.default"),
        (".config/mozilla/firefox/x.default", "Firefox x.default"),
        ("snap/firefox/common/.mozilla/firefox/x.default", "Firefox (snap) x.default"),
        (".var/app/org.mozilla.firefox/.mozilla/firefox/x.default", "Firefox (flatpak) x.default"),
        (".librewolf/x.default", "Firefox x.default"),
    ],
)
def test_every_place_of_a_browser_is_looked_into(place: str, name: str, tmp_path: Path) -> None:
    (tmp_path / place).mkdir(parents=True)
    environment = {"HOME": str(tmp_path), "PATH": ""}
    assert nss_stores(environment) == [], "a folder without a database is none"
    (tmp_path / place / "cert9.db").touch()
    [store] = nss_stores(environment)
    assert store.name == name
    assert store.path == tmp_path / place


def test_a_place_that_is_reached_in_two_ways_is_one_store(tmp_path: Path) -> None:
    database = tmp_path / "snap/chromium/current/.pki/nssdb"
    database.mkdir(parents=True)
    (database / "cert9.db").touch()
    (tmp_path / ".pki").symlink_to(database.parent)
    assert len(nss_stores({"HOME": str(tmp_path), "PATH": ""})) == 1


def test_the_data_folder_may_be_elsewhere(tmp_path: Path) -> None:
    database = tmp_path / "data/pki/nssdb"
    database.mkdir(parents=True)
    (database / "cert9.db").touch()
    environment = {"HOME": str(tmp_path / "home"), "PATH": "", "XDG_DATA_HOME": str(tmp_path / "data")}
    assert [store.path.resolve() for store in nss_stores(environment)] == [database]


def test_a_home_full_of_profiles_is_bounded(tmp_path: Path) -> None:
    for number in range(trust_nss.MAXIMUM_DATABASES + 5):
        profile = tmp_path / ".mozilla/firefox" / str(number)
        profile.mkdir(parents=True)
        (profile / "cert9.db").touch()
    assert len(nss_stores({"HOME": str(tmp_path), "PATH": ""})) == trust_nss.MAXIMUM_DATABASES


def test_a_corrupt_database_is_one_line_with_a_cure(database: NssDatabase, machine: Machine) -> None:
    (database.path / "cert9.db").write_bytes(b"this is no database\n" * 100)
    for look in (database.holds, database.remove):
        with pytest.raises(CertificateError, match=r"BAD_DATABASE.*move cert9.db away") as caught:
            look(machine.authority)
        assert caught.value.where == str(database.path)


def test_a_database_with_a_password_is_left_to_its_owner(machine: Machine, tmp_path: Path) -> None:
    path = tmp_path / "locked"
    path.mkdir()
    (tmp_path / "password").write_text("correct horse\n")
    subprocess.run(["certutil", "-N", "-d", f"sql:{path}", "-f", str(tmp_path / "password")], check=True)
    database = NssDatabase(path, "Firefox")
    with pytest.raises(CertificateError, match="asks for a password, which only you can type; by hand: certutil -A"):
        install(database, machine.authority)
    assert not database.holds(machine.authority)


def test_a_missing_certutil_is_named_with_its_package(database: NssDatabase, monkeypatch: pytest.MonkeyPatch) -> None:
    assert database.obstacle() == ""
    monkeypatch.setattr(trust_nss, "find_program", lambda name: "/usr/bin/dnf" if name == "dnf" else None)
    assert database.obstacle() == "certutil is not installed; as root, run: dnf install nss-tools"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
def test_the_database_of_another_user_is_left_alone(database: NssDatabase) -> None:
    os.chown(database.path, 65_534, 65_534)
    assert "belongs to another user" in database.obstacle()
    not_made = NssDatabase(database.path / "a" / "b", "Chromium")
    assert "belongs to another user" in not_made.obstacle()
