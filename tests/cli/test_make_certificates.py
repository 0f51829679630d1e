from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from securelight.pki.inspect import describe_chain


def run(directory: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "securelight.cli.make_certificates", "--directory", str(directory), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def report(directory: Path, *arguments: str) -> dict[str, Any]:
    completed = run(directory, "--json", *arguments)
    assert completed.returncode == 0, completed.stderr
    told: dict[str, Any] = json.loads(completed.stdout)
    return told


def test_it_reports_what_it_made(tmp_path: Path) -> None:
    told = report(tmp_path / "certs", "--name", "a.test", "--name", "10.0.0.7")
    authority, leaf = told["authority"], told["leaf"]
    assert authority["created"]
    assert leaf["created"]
    assert {"localhost", "127.0.0.1", "::1", "a.test", "10.0.0.7"} <= set(leaf["names"])
    on_disk = describe_chain(Path(leaf["chain"]).read_bytes())
    assert datetime.strptime(leaf["not_after"], "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC) == on_disk.not_after
    assert describe_chain(Path(authority["certificate"]).read_bytes()).sha256 == authority["sha256"]
    assert Path(leaf["key"]).is_file()
    assert told["system_trust"]["trusted"] is False


def test_a_second_run_reports_the_same_as_found(tmp_path: Path) -> None:
    first, second = report(tmp_path / "certs"), report(tmp_path / "certs")
    assert not second["authority"].pop("created")
    assert not second["leaf"].pop("created")
    assert first["authority"].pop("created")
    assert first["leaf"].pop("created")
    assert first == second


def test_people_get_text(tmp_path: Path) -> None:
    completed = run(tmp_path / "certs")
    assert completed.returncode == 0
    assert completed.stdout.startswith("Made the local authority ")
    assert "localhost" in completed.stdout
    assert run(tmp_path / "certs").stdout.startswith("Found the local authority ")


def test_a_fault_is_one_line_and_exit_status_1(tmp_path: Path) -> None:
    report(tmp_path / "certs")
    (tmp_path / "certs" / "ca.key").chmod(0o644)
    for completed in (run(tmp_path / "certs", "--json"), run(tmp_path / "new", "--name", "example.com")):
        assert completed.returncode == 1
        assert completed.stdout == ""
        assert len(completed.stderr.splitlines()) == 1
    assert "chmod 600" in run(tmp_path / "certs").stderr
