from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.certificates import TestCertificates
from tests.cli.certs.test_trust import rows, run
from tests.pki.trust_machine import Machine, make_machine, make_nss_database, needs_certutil, needs_debian


@pytest.fixture
def machine(tmp_path: Path, certificates: TestCertificates, monkeypatch: pytest.MonkeyPatch) -> Machine:
    made = make_machine(tmp_path, certificates)
    for name, value in made.environment.items():
        monkeypatch.setenv(name, value)
    return made


@needs_debian
def test_what_somebody_else_installed_stays_and_is_reported(machine: Machine) -> None:
    theirs = machine.anchors / "company-root.crt"
    shutil.copyfile(machine.certificates.ca, theirs)
    shutil.copyfile(machine.certificates.ca, machine.bundle)

    result = run(machine, "--store", "system", command="untrust")

    assert result.exit_code == 1
    assert "somebody else put it there" in rows(result)["system (Debian)"][1]
    assert theirs.exists()


@needs_certutil
def test_only_this_authority_is_removed(machine: Machine) -> None:
    database = make_nss_database(machine.profile)
    others = Machine(machine.root, machine.home, machine.stranger, machine.certificates)
    assert run(others, "--store", "nss").exit_code == 0
    assert run(machine, "--store", "nss").exit_code == 0

    assert run(machine, "--store", "nss", command="untrust").exit_code == 0

    listing = ["certutil", "-L", "-d", f"sql:{database}"]
    left = subprocess.run(listing, check=True, capture_output=True, text=True).stdout
    assert others.authority.label in left
    assert machine.authority.label not in left


@needs_certutil
def test_a_dry_run_removes_nothing(machine: Machine) -> None:
    make_nss_database(machine.profile)
    run(machine, "--store", "nss")
    result = run(machine, "--store", "nss", "--dry-run", command="untrust")
    assert f"certutil -D -d sql:{machine.profile} -n {machine.authority.label}" in result.stdout
    assert rows(run(machine, "--store", "nss"))["Firefox abc.default"][0] == "already"


@needs_certutil
def test_what_an_interrupted_run_left_is_removed_too(machine: Machine) -> None:
    database = make_nss_database(machine.profile)
    add = ["certutil", "-A", "-d", f"sql:{database}", "-n", machine.authority.label, "-t", ",,"]
    subprocess.run([*add, "-i", str(machine.certificates.ca)], check=True)
    assert rows(run(machine, "--store", "nss", command="untrust"))["Firefox abc.default"][0] == "done"
    assert rows(run(machine, "--store", "nss", command="untrust"))["Firefox abc.default"][0] == "already"
