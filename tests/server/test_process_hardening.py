from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.certificates import TestCertificates, make_test_certificates
from tests.server.processes import fetch, make_site, securelight, wait_until
from tests.wire.server_process import ServerProcess, running, write_config

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")


def status_of(process_id: int) -> dict[str, str]:
    lines = Path(f"/proc/{process_id}/status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def core_limit(process_id: int) -> list[str]:
    [line] = [one for one in Path(f"/proc/{process_id}/limits").read_text().splitlines() if one.startswith("Max core")]
    return line.split()[4:6]


@contextmanager
def public_directory() -> Iterator[Path]:
    """One that every user can enter; those of pytest are for us alone."""
    directory = Path(tempfile.mkdtemp(prefix="securelight-test-"))
    directory.chmod(0o755)
    try:
        yield directory
    finally:
        shutil.rmtree(directory)


@contextmanager
def server_of_root(sandbox: str = "", *, user: str = "nobody") -> Iterator[tuple[ServerProcess, TestCertificates]]:
    """Started as root; its key is for root alone."""
    with public_directory() as directory:
        certificates = make_test_certificates(directory / "certs")
        (directory / "certs").chmod(0o700)
        make_site(directory)
        config = write_config(directory, certificates, 'root = "site"', extra=sandbox)
        config.write_text(config.read_text().replace("[server]", f'[server]\nuser = "{user}"', 1))
        with running(directory) as server:
            yield server, certificates


def test_workers_get_no_new_privileges_and_nobody_writes_cores(tmp_path: Path, certificates: TestCertificates) -> None:
    make_site(tmp_path)
    write_config(tmp_path, certificates, 'root = "site"', workers=2)
    with running(tmp_path) as server:
        for worker in server.workers():
            assert status_of(worker)["NoNewPrivs"] == "1"
        for process_id in (server.process.pid, *server.workers()):
            assert core_limit(process_id) == ["0", "0"]


@needs_root
def test_a_worker_of_root_becomes_its_user_for_good_without_capabilities() -> None:
    with server_of_root() as (server, certificates):
        nobody = pwd.getpwnam("nobody")
        [worker] = server.workers()
        status = status_of(worker)
        assert status["Uid"].split() == [str(nobody.pw_uid)] * 4
        assert status["Gid"].split() == [str(nobody.pw_gid)] * 4
        assert "0" not in status["Groups"].split()
        for which in ("CapInh", "CapPrm", "CapEff", "CapAmb"):
            assert int(status[which], 16) == 0, which
        assert fetch(server, certificates).status == 200
        assert status_of(server.process.pid)["Uid"].split() == ["0"] * 4


@needs_root
def test_the_memory_of_a_worker_is_hidden_from_its_own_user() -> None:
    """A program that runs as the same user, such as a CGI script, could otherwise read the keys out of it."""
    with server_of_root() as (server, _certificates):
        [worker] = server.workers()
        look = f"open('/proc/{worker}/mem', 'rb')"
        command = ["setpriv", "--reuid=nobody", "--clear-groups", "/usr/bin/python3", "-c", look]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert "Permission denied" in done.stderr
        assert os.stat(f"/proc/{worker}/environ").st_uid == 0


@needs_root
def test_a_reload_and_a_crash_give_workers_that_have_dropped_root_too() -> None:
    with server_of_root() as (server, certificates):
        before = server.workers()
        config = server.config_path
        config.write_text(config.read_text().replace("[server.limits]", "[server.limits]\nidle_seconds = 50"))
        done = securelight("reload", "-c", config)
        assert done.returncode == 0, done.stderr
        [worker] = wait_until(lambda: [one for one in server.workers() if one not in before], 20)
        assert status_of(worker)["Uid"].split()[1] == str(pwd.getpwnam("nobody").pw_uid)
        assert fetch(server, certificates).status == 200
        os.kill(worker, 9)
        successor = wait_until(lambda: [one for one in server.workers() if one not in (*before, worker)], 20)
        wait_until(lambda: status_of(successor[0])["Uid"].split()[1] != "0", 20)
        assert fetch(server, certificates).status == 200


@needs_root
def test_off_drops_root_all_the_same() -> None:
    with server_of_root('[server.sandbox]\nmode = "off"') as (server, _certificates):
        [worker] = server.workers()
        status = status_of(worker)
        assert status["Uid"].split()[0] != "0"
        assert int(status["CapEff"], 16) == 0
        assert status["NoNewPrivs"] == "0"
