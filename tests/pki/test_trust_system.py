from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from securelight.pki import trust_system
from securelight.pki.trust_commands import change
from securelight.pki.trust_root import read_bundle
from securelight.pki.trust_stores import find_stores
from securelight.pki.trust_system import FAMILIES, SystemStore, system_store
from tests.certificates import TestCertificates, make_test_certificates
from tests.pki.trust_machine import Machine, make_machine, needs_debian, path_with, put_program


@pytest.fixture
def machine(tmp_path: Path, certificates: TestCertificates) -> Machine:
    return make_machine(tmp_path, certificates)


def debian(machine: Machine) -> SystemStore:
    store = system_store(machine.root)
    assert store is not None
    assert store.name == "system (Debian)"
    return store


@needs_debian
def test_debian_trusts_it_after_the_commands_and_forgets_it_after_the_others(machine: Machine) -> None:
    """With the distribution's own program."""
    store, root = debian(machine), machine.authority
    assert not store.holds(root)
    for _ in range(2):
        for command in store.install(root):
            change(command)
        assert store.holds(root)
    assert machine.stranger.ca.read_bytes() in machine.bundle.read_bytes(), "what was trusted is still trusted"
    hashed = [path for path in machine.bundle.parent.glob("*.0") if read_bundle(path) == [root.der]]
    assert len(hashed) == 1, "what OpenSSL looks for beside the bundle"
    installed = [path for path in machine.anchors.iterdir() if path.is_file()]
    assert [path.stat().st_mode & 0o777 for path in installed] == [0o644]
    for command in store.remove(root):
        change(command)
    assert not store.holds(root)
    assert read_bundle(machine.bundle) == read_bundle(machine.stranger.ca)
    assert store.remove(root) == ()
    left = [path for path in machine.root.rglob("*") if root.der in read_bundle(path) or not path.exists()]
    assert left == [], "neither a file nor a link of ours stays behind"


def test_the_copy_can_be_read_by_all_whatever_the_umask(machine: Machine) -> None:
    umask = os.umask(0o077)
    try:
        change(debian(machine).install(machine.authority)[0])
    finally:
        os.umask(umask)
    assert [path.stat().st_mode & 0o777 for path in machine.anchors.iterdir()] == [0o644]


def test_only_our_own_files_with_this_very_root_are_removed(machine: Machine, tmp_path: Path) -> None:
    store, root = debian(machine), machine.authority
    other = make_test_certificates(tmp_path / "other")
    ours = machine.anchors / f"{root.label}.crt"
    kept = {
        "company.crt": machine.certificates.ca.read_bytes(),  # the same root, put there by somebody else
        "securelight-0000000000000000.crt": other.ca.read_bytes(),  # ours, but another root
        "securelight-notes.txt": b"not a certificate",
    }
    for name, content in kept.items():
        (machine.anchors / name).write_bytes(content)
    assert store.remove(root) == ()
    shutil.copyfile(machine.certificates.ca, ours)
    removal = store.remove(root)[0]
    assert removal.arguments == ("rm", "-f", str(ours))
    change(removal)
    assert {path.name for path in machine.anchors.iterdir()} == set(kept)


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_each_family_is_known_by_its_folder(family: trust_system.Family, machine: Machine, tmp_path: Path) -> None:
    root = tmp_path / "other-root"
    (root / family.anchors).mkdir(parents=True)
    store = system_store(root)
    assert store is not None
    assert store.family is family
    copy, update = store.install(machine.authority)
    assert copy.arguments[-1] == str(root / family.anchors / f"{machine.authority.label}{family.suffix}")
    assert update.arguments[0] == family.update


@pytest.mark.parametrize("family", FAMILIES[:3], ids=lambda family: family.name)
def test_other_families_trust_it_after_their_commands(
    family: trust_system.Family, machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their programs run on their systems alone: the stand-in does what theirs do, and joins the anchors."""
    root = tmp_path / "other-root"
    anchors, bundle = root / family.anchors, root / "etc/pki/tls/certs/ca-bundle.crt"
    anchors.mkdir(parents=True)
    bundle.parent.mkdir(parents=True, exist_ok=True)
    put_program(
        tmp_path / "bin", family.update, f"cat {anchors}/*{family.suffix} > {bundle} 2>/dev/null || : > {bundle}"
    )
    monkeypatch.setenv("PATH", path_with(tmp_path / "bin"))
    store = system_store(root)
    assert store is not None
    assert store.obstacle() == ""
    for commands, held in ((store.install, True), (store.remove, False)):
        for command in commands(machine.authority):
            change(command)
        assert store.holds(machine.authority) is held


def test_a_missing_program_is_named_with_its_cure(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trust_system, "find_program", lambda name: None)
    obstacle = debian(machine).obstacle()
    assert "update-ca-certificates is not installed" in obstacle
    assert "apt-get install ca-certificates" in obstacle


def test_others_than_root_are_shown_sudo(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trust_system, "may_write", lambda *paths: False)
    assert all(str(command).startswith("sudo ") for command in debian(machine).install(machine.authority))


def test_a_file_system_without_a_store_has_none(tmp_path: Path) -> None:
    assert system_store(tmp_path) is None
    assert find_stores(["system"], tmp_path, {"HOME": str(tmp_path)}) == []
