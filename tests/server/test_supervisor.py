from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path

import pytest

from tests.certificates import TestCertificates, make_test_certificates
from tests.server.processes import (
    PAGE,
    Kind,
    Load,
    PatientHttp2,
    alive,
    fetch,
    make_site,
    securelight,
    serial_of,
    shown_serial,
    static_server,
    wait_until,
)
from tests.wire.clients import Http1
from tests.wire.server_process import ServerProcess, running, write_config

DOWNLOAD_BYTES = 32 << 20
SOON_SECONDS = 15.0
"""On a machine with nothing else to do it is a tenth of a second."""


@contextmanager
def download(server: ServerProcess, certificates: TestCertificates) -> Iterator[Http1]:
    """A download of 32 MiB of which one byte was read: far more than the buffers on the way hold."""
    with (server.directory / "site" / "big.bin").open("wb") as file:
        file.truncate(DOWNLOAD_BYTES)
    client = Http1(server.port, certificates.ca)
    client.send(f"GET /big.bin HTTP/1.1\r\nhost: localhost:{server.port}\r\n\r\n".encode())
    assert client.sock.recv(1) == b"H"
    try:
        yield client
    finally:
        client.close()


def finish(client: Http1) -> bool:
    """Whether the download arrives whole."""
    received = 0
    while received <= DOWNLOAD_BYTES and (data := client.sock.recv(1 << 20)):
        received += len(data)
    return received > DOWNLOAD_BYTES


# Workers that die.


def replaced(server: ServerProcess, worker: int) -> bool:
    """Whether another has taken its place."""
    workers = server.workers()
    return bool(workers) and worker not in workers


def test_a_killed_worker_is_replaced_soon_while_the_other_serves(
    tmp_path: Path, certificates: TestCertificates
) -> None:
    with static_server(tmp_path, certificates, workers=2) as server:
        first, second = server.workers()
        clients: list[Kind] = [PatientHttp2, PatientHttp2, Http1, Http1]
        with Load(server.port, certificates.ca, clients, breaks=True) as load:
            load.more(50)
            os.kill(first, signal.SIGKILL)
            killed = time.monotonic()
            wait_until(lambda: first not in server.workers() and len(server.workers()) == 2)
            assert time.monotonic() - killed < SOON_SECONDS
            load.more(200)
        assert load.failures == []
        assert load.broken <= len(clients)  # once, whoever was connected to the dead worker
        assert second in server.workers()
        died = server.wait_for_event("worker died, starting another")
        assert died["process"] == first
        assert died["how"] == "was killed by signal 9"


def test_a_worker_that_keeps_dying_is_restarted_with_longer_and_longer_pauses(
    tmp_path: Path, certificates: TestCertificates
) -> None:
    with static_server(tmp_path, certificates) as server:
        pauses = []
        for _ in range(3):
            (worker,) = wait_until(server.workers)
            os.kill(worker, signal.SIGKILL)
            killed = time.monotonic()
            wait_until(partial(replaced, server, worker))
            pauses.append(time.monotonic() - killed)
        assert pauses[0] < 0.3
        assert 0.3 < pauses[1] < pauses[2] < 6
        assert fetch(server, certificates).body == PAGE


def test_a_worker_sent_sigterm_drains_and_its_successor_serves_meanwhile(
    tmp_path: Path, certificates: TestCertificates
) -> None:
    with static_server(tmp_path, certificates) as server, download(server, certificates) as client:
        (worker,) = server.workers()
        os.kill(worker, signal.SIGTERM)
        wait_until(lambda: len(server.workers()) == 2)
        assert fetch(server, certificates).body == PAGE
        assert alive(worker)
        assert finish(client)
        client.close()
        wait_until(lambda: not alive(worker))
        assert len(server.workers()) == 1
        assert not [event for event in server.events() if event["level"] == "error"]


# Signals.


def test_workers_ignore_the_ctrl_c_of_a_terminal(tmp_path: Path, certificates: TestCertificates) -> None:
    with static_server(tmp_path, certificates, workers=2) as server:
        workers = server.workers()
        for worker in workers:
            for number in (signal.SIGINT, signal.SIGHUP, signal.SIGUSR1):
                os.kill(worker, number)
        assert fetch(server, certificates).body == PAGE
        assert server.workers() == workers


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_lets_an_open_download_end_and_refuses_new_clients(
    tmp_path: Path, certificates: TestCertificates, number: signal.Signals
) -> None:
    with (
        static_server(tmp_path, certificates, workers=2) as server,
        download(server, certificates) as client,
        closing(Http1(server.port, certificates.ca)) as idle,
    ):
        server.send_signal(number)
        server.wait_for_event("stopping")
        wait_until(lambda: refused(server.port))
        assert idle.ended()  # it has nothing to say, and is let go
        idle.close()
        assert server.process.poll() is None
        assert finish(client)
        client.close()
        assert server.process.wait(30) == 0
        assert not (tmp_path / "securelight.sock").exists()


def refused(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 5).close()
    except ConnectionRefusedError:
        return True
    return False


def test_a_second_signal_stops_at_once(tmp_path: Path, certificates: TestCertificates) -> None:
    limits = "graceful_stop_seconds = 300"
    with static_server(tmp_path, certificates, limits=limits) as server, download(server, certificates):
        server.send_signal(signal.SIGINT)
        server.wait_for_event("stopping")
        server.send_signal(signal.SIGINT)
        assert server.process.wait(30) == 0
        server.wait_for_event("stopping now")


def test_a_stop_cuts_what_does_not_end_in_time(tmp_path: Path, certificates: TestCertificates) -> None:
    limits = "graceful_stop_seconds = 1"
    with static_server(tmp_path, certificates, limits=limits) as server, download(server, certificates):
        server.send_signal(signal.SIGTERM)
        assert server.process.wait(30) == 0
        assert server.wait_for_event("connections cut at the end of the graceful stop")["connections"] == 1


def test_workers_end_when_the_supervisor_is_killed(tmp_path: Path, certificates: TestCertificates) -> None:
    with static_server(tmp_path, certificates, workers=2) as server:
        with download(server, certificates):
            old = server.workers()
            server.send_signal(signal.SIGHUP)  # of two generations: neither may keep the other from noticing
            server.wait_for_event("reloaded")
            wait_until(lambda: len(server.workers()) == 3)
            workers = {*server.workers(), *old}
            server.process.kill()
            server.process.wait()
        wait_until(lambda: not any(map(alive, workers)))
        assert refused(server.port)
        # The socket of the one that was killed is in nobody's way.
        server.events_path.unlink()
        with running(tmp_path) as again:
            assert fetch(again, certificates).body == PAGE


def test_usr1_goes_on_with_a_new_log_after_the_old_one_was_renamed(
    tmp_path: Path, certificates: TestCertificates
) -> None:
    with static_server(tmp_path, certificates, workers=2) as server:
        fetch(server, certificates, "/before")
        server.wait_for_access("/before")
        server.access_path.rename(tmp_path / "access.log.1")
        server.send_signal(signal.SIGUSR1)
        server.wait_for_event("logs reopened")
        for number in range(8):
            fetch(server, certificates, f"/after{number}")
        for number in range(8):
            server.wait_for_access(f"/after{number}")
        assert "/before" not in server.access_path.read_text()
        assert "/after" not in (tmp_path / "access.log.1").read_text()
        # Where it cannot be opened, the log goes on where it is.
        server.access_path.rename(tmp_path / "access.log.2")
        server.access_path.symlink_to(tmp_path / "elsewhere")
        server.send_signal(signal.SIGUSR1)
        assert "it is a symbolic link" in server.wait_for_event("log not reopened, the old one stays")["why"]
        fetch(server, certificates, "/still")
        wait_until(lambda: "/still" in (tmp_path / "access.log.2").read_text())
        assert not (tmp_path / "elsewhere").exists()


def test_a_log_on_standard_output_survives_usr1(tmp_path: Path, certificates: TestCertificates) -> None:
    site = make_site(tmp_path)
    config = write_config(tmp_path, certificates, f'root = "{site}"')
    config.write_text(config.read_text().replace('file = "access.log"', 'file = "-"'))
    with running(tmp_path) as server:
        server.send_signal(signal.SIGUSR1)
        server.send_signal(signal.SIGHUP)
        server.wait_for_event("reloaded")
        assert fetch(server, certificates).body == PAGE
        assert os.readlink(f"/proc/{server.workers()[-1]}/fd/1") == "/dev/null"


# Certificates.


def test_replaced_certificate_files_are_shown_by_every_worker_without_a_reload(tmp_path: Path) -> None:
    certificates = make_test_certificates(tmp_path / "certs")
    with static_server(tmp_path, certificates, workers=2) as server:
        first = serial_of(certificates.chain)
        assert shown_serial(server.port) == first
        workers = server.workers()
        make_test_certificates(tmp_path / "certs")
        second = serial_of(certificates.chain)
        assert second != first
        server.wait_for_event("certificate taken over")
        for worker in workers:  # each alone, so that it is certain who answers
            others = [one for one in workers if one != worker]
            try:
                for one in others:
                    os.kill(one, signal.SIGSTOP)
                wait_until(lambda: shown_serial(server.port) == second)
            finally:
                for one in others:
                    os.kill(one, signal.SIGCONT)
        assert server.workers() == workers
        # A worker that is started later shows it too.
        os.kill(workers[0], signal.SIGKILL)
        os.kill(workers[1], signal.SIGKILL)
        wait_until(lambda: len(server.workers()) == 2 and not set(server.workers()) & set(workers))
        assert shown_serial(server.port) == second


def test_a_mismatched_pair_on_disk_is_told_and_disturbs_nobody(tmp_path: Path) -> None:
    certificates = make_test_certificates(tmp_path / "certs")
    other = make_test_certificates(tmp_path / "certs", stem="other")
    with static_server(tmp_path, certificates) as server:
        serial, key = serial_of(certificates.chain), certificates.key.read_bytes()
        shutil.copy(other.key, certificates.key)
        fault = server.wait_for_event("certificate not taken over, the old one stays")
        assert "does not belong" in fault["why"]
        assert shown_serial(server.port) == serial
        certificates.key.write_bytes(key)
        make_test_certificates(tmp_path / "certs")
        server.wait_for_event("certificate taken over")
        wait_until(lambda: shown_serial(server.port) == serial_of(certificates.chain))


# What it is made of.


def test_who_serves_loads_no_cryptography_and_the_supervisor_runs_no_thread(
    tmp_path: Path, certificates: TestCertificates
) -> None:
    with static_server(tmp_path, certificates, workers=2) as server:
        assert fetch(server, certificates).body == PAGE
        for process_id in (server.process.pid, *server.workers()):
            maps = Path(f"/proc/{process_id}/maps").read_text()
            assert "libpython" in maps or "python" in maps
            assert "cryptography" not in maps
        assert len(os.listdir(f"/proc/{server.process.pid}/task")) == 1


def test_a_supervisor_that_waits_sleeps(tmp_path: Path, certificates: TestCertificates) -> None:
    with static_server(tmp_path, certificates) as server, download(server, certificates):
        server.send_signal(signal.SIGHUP)
        server.wait_for_event("reloaded")
        server.send_signal(signal.SIGTERM)
        server.wait_for_event("stopping")
        before, started = processor_seconds(server.process.pid), time.monotonic()
        wait_until(lambda: time.monotonic() - started > 1)
        assert processor_seconds(server.process.pid) - before < 0.1


def processor_seconds(process_id: int) -> float:
    fields = Path(f"/proc/{process_id}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


# Privileges.

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")


@needs_root
def test_workers_run_as_the_user_of_the_configuration_and_can_do_all_they_have_to(open_path: Path) -> None:
    certificates = make_test_certificates(open_path / "certs")
    site = make_site(open_path)
    site.chmod(0o755)
    config = write_config(open_path, certificates, f'root = "{site}"', workers=2)
    config.write_text(config.read_text().replace("[server]", '[server]\nuser = "nobody"', 1))
    nobody = pwd.getpwnam("nobody")
    with running(open_path) as server:
        for worker in server.workers():
            status = dict(
                line.split(":\t", 1)
                for line in Path(f"/proc/{worker}/status").read_text().splitlines()
                if ":\t" in line
            )
            assert status["Uid"].split() == [str(nobody.pw_uid)] * 4
            assert status["Gid"].split() == [str(nobody.pw_gid)] * 4
            assert set(status["Groups"].split()) <= {str(group) for group in os.getgrouplist("nobody", nobody.pw_gid)}
            assert status["CapEff"].strip("0") == ""
        assert fetch(server, certificates).body == PAGE
        make_test_certificates(open_path / "certs")
        assert certificates.key.stat().st_mode & 0o777 == 0o600
        server.wait_for_event("certificate taken over")
        wait_until(lambda: shown_serial(server.port) == serial_of(certificates.chain))
        server.access_path.rename(open_path / "access.log.1")
        server.send_signal(signal.SIGUSR1)
        server.wait_for_event("logs reopened")
        fetch(server, certificates, "/after")
        server.wait_for_access("/after")
        os.kill(server.workers()[0], signal.SIGKILL)
        server.wait_for_event("worker died, starting another")
        server.send_signal(signal.SIGHUP)
        server.wait_for_event("reloaded")
        assert fetch(server, certificates).body == PAGE


@pytest.fixture
def open_path() -> Iterator[Path]:
    """A folder that any user may enter, which pytest's are not."""
    path = Path(tempfile.mkdtemp(prefix="securelight-", dir="/tmp"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


@needs_root
def test_a_user_that_does_not_exist_stops_the_start(tmp_path: Path, certificates: TestCertificates) -> None:
    config = write_config(tmp_path, certificates, f'root = "{make_site(tmp_path)}"')
    config.write_text(config.read_text().replace("[server]", '[server]\nuser = "neptune-of-nowhere"', 1))
    done = securelight("run", "-c", config)
    assert done.returncode == 1
    assert "neptune-of-nowhere" in done.stderr
    assert "Traceback" not in done.stderr
