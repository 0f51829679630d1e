from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from securelight.model.errors import CertificateError
from securelight.pki import trust_java
from securelight.pki.trust_commands import change, find_program
from securelight.pki.trust_java import JavaKeystore, java_stores
from tests.certificates import TestCertificates
from tests.pki.trust_machine import FAST_JAVA, Machine, make_keystore, make_machine, needs_keytool


@pytest.fixture
def machine(tmp_path: Path, certificates: TestCertificates) -> Machine:
    return make_machine(tmp_path, certificates)


@pytest.fixture(autouse=True)
def _fast_java(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JAVA_TOOL_OPTIONS", FAST_JAVA)


@needs_keytool
def test_a_keystore_trusts_it_after_the_command_and_forgets_it_after_the_other(machine: Machine) -> None:
    make_keystore(machine.keystore, machine.stranger.ca)
    [store] = java_stores(machine.root, {})
    root = machine.authority
    assert store.path == machine.keystore
    assert store.obstacle() == ""
    for command in store.install(root):
        change(command)
    assert store.holds(root)
    # What Debian's hook takes from the system's store has another name, and stays behind when that one forgets it.
    rename = ["keytool", "-changealias", "-alias", root.label, "-destalias", f"debian:{root.label}.pem"]
    subprocess.run([*rename, "-keystore", str(store.path), "-storepass", "changeit"], check=True, capture_output=True)
    [removal] = store.remove(root)
    change(removal)
    assert not store.holds(root)
    stranger = Machine(machine.root, machine.home, machine.stranger, machine.certificates).authority
    assert store.holds(stranger), "the others stay"
    assert store.remove(stranger) == (), "what we did not put there is not ours to remove"


@needs_keytool
def test_what_is_no_keystore_or_has_another_password_is_one_line(machine: Machine) -> None:
    machine.keystore.parent.mkdir()
    machine.keystore.write_bytes(b"no keystore")
    [store] = java_stores(machine.root, {})
    with pytest.raises(CertificateError, match="keytool cannot read this keystore") as caught:
        store.holds(machine.authority)
    assert "\n" not in str(caught.value)
    machine.keystore.unlink()
    make_keystore(machine.keystore, machine.stranger.ca)
    change_password = ["keytool", "-storepasswd", "-new", "another", "-storepass", "changeit"]
    subprocess.run([*change_password, "-keystore", str(machine.keystore)], check=True, capture_output=True)
    with pytest.raises(CertificateError, match="its password is not the usual 'changeit'"):
        store.holds(machine.authority)


def test_a_keystore_that_follows_the_systems_store_is_not_changed(machine: Machine) -> None:
    extracted = machine.root / "etc/ca-certificates/extracted/java-cacerts.jks"
    extracted.parent.mkdir(parents=True)
    extracted.touch()
    machine.keystore.parent.mkdir()
    machine.keystore.symlink_to(extracted)
    [store] = java_stores(machine.root, {})
    assert store.follows_the_system
    assert store.install(machine.authority) == ()
    assert store.remove(machine.authority) == ()


def test_the_keystore_of_java_home_goes_with_its_own_keytool(machine: Machine, tmp_path: Path) -> None:
    home = tmp_path / "jdk"
    for name in ("bin/keytool", "lib/security/cacerts"):
        (home / name).parent.mkdir(parents=True)
        (home / name).touch(0o755)
    found = java_stores(machine.root, {"JAVA_HOME": str(home)})
    assert found == [JavaKeystore(home / "lib/security/cacerts", str(home / "bin/keytool"))]
    # The same file by two ways is one store.
    machine.keystore.parent.mkdir()
    machine.keystore.symlink_to(home / "lib/security/cacerts")
    assert java_stores(machine.root, {"JAVA_HOME": str(home)}) == found


def test_the_java_in_the_path_is_found(tmp_path: Path) -> None:
    home = tmp_path / "jdk"
    for name in ("bin/java", "lib/security/cacerts"):
        (home / name).parent.mkdir(parents=True)
        (home / name).touch(0o755)
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/java").symlink_to(home / "bin/java")
    paths = [store.path for store in java_stores(None, {"PATH": f"/nowhere:{tmp_path / 'bin'}"})]
    assert home / "lib/security/cacerts" in paths


def test_without_keytool_it_says_so(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    machine.keystore.parent.mkdir()
    machine.keystore.touch()
    assert find_program("no-such-program") is None
    monkeypatch.setattr(trust_java, "find_program", lambda name: None)
    [store] = java_stores(machine.root, {})
    assert store.obstacle().startswith("keytool is not installed")


def test_others_than_root_are_shown_sudo(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trust_java, "may_write", lambda *paths: False)
    [command] = JavaKeystore(machine.keystore, "keytool").install(machine.authority)
    assert str(command).startswith("sudo keytool ")
