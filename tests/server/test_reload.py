from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
import threading
from pathlib import Path
from typing import NamedTuple

import pytest

from securelight.protocol.engine import native_available
from securelight.server import control
from tests.certificates import TestCertificates, make_test_certificates
from tests.server.processes import (
    PAGE,
    Load,
    PatientHttp2,
    alive,
    descriptors,
    fetch,
    securelight,
    static_server,
    wait_until,
)
from tests.wire.clients import Http1
from tests.wire.server_process import ServerProcess, running, write_config

RELOADS = 5
APP = """
import trio

async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        {lifespan}
    await send({{"type": "http.response.start", "status": 200}})
    await send({{"type": "http.response.body", "body": b"app"}})
"""
STARTS = """
        while True:
            kind = (await receive())["type"]
            await send({"type": kind + ".complete"})
            if kind == "lifespan.shutdown":
                return
"""


class Outcome(NamedTuple):
    """What whoever asked for a reload is told; the command itself is tested in tests/cli/test_running.py."""

    ok: bool
    message: str


def reload(server: ServerProcess) -> Outcome:
    return Outcome(**control.ask(server.directory / "securelight.sock", "reload"))


def rewrite(server: ServerProcess, old: str, new: str) -> None:
    text = server.config_path.read_text()
    assert old in text
    server.config_path.write_text(text.replace(old, new))


# Under load.


def test_h2load_on_http1_fails_no_request_while_hup_comes_five_times(
    tmp_path: Path, certificates: TestCertificates
) -> None:
    if shutil.which("h2load") is None:
        pytest.skip("h2load is not installed (Debian nghttp2-client)")
    requests = 50_000 if native_available() else 15_000
    with static_server(tmp_path, certificates, workers=2, log_format="off") as server:
        load = subprocess.Popen(
            ["h2load", "--h1", "-c", "10", "-n", str(requests), f"https://127.0.0.1:{server.port}/"],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        try:
            for number in range(1, RELOADS + 1):
                server.send_signal(signal.SIGHUP)
                server.wait_for_event("reloaded", count=number)
            assert load.poll() is None, "the load was over before the last reload"
            output, _ = load.communicate(timeout=60)
        finally:
            load.kill()
            load.wait()
        assert f"{requests} done, {requests} succeeded, 0 failed, 0 errored" in output
        assert f"status codes: {requests} 2xx, 0 3xx, 0 4xx, 0 5xx" in output
        assert server.stop() == 0
        loud = [event["event"] for event in server.events() if event["level"] in ("error", "warning")]
        assert set(loud) <= {"workers run as root"}  # as the tests may


def test_no_request_fails_on_either_protocol_while_hup_comes_five_times(
    tmp_path: Path, certificates: TestCertificates
) -> None:
    with (
        static_server(tmp_path, certificates, workers=2, log_format="off") as server,
        Load(server.port, certificates.ca, [PatientHttp2, PatientHttp2, PatientHttp2, Http1, Http1]) as load,
    ):
        load.more(100)
        for number in range(1, RELOADS + 1):
            server.send_signal(signal.SIGHUP)
            server.wait_for_event("reloaded", count=number)
            load.more(100)
    assert load.failures == []
    assert load.refused == 0  # the shutdown notice comes a round trip before the last word
    assert load.connections >= 5 * RELOADS


def test_connections_in_the_backlog_are_served_by_the_new_workers(
    tmp_path: Path, certificates: TestCertificates
) -> None:
    with static_server(tmp_path, certificates, workers=2) as server:
        frozen = server.workers()
        for worker in frozen:
            os.kill(worker, signal.SIGSTOP)
        with contextlib.ExitStack() as stack:
            for worker in frozen:
                stack.callback(os.kill, worker, signal.SIGCONT)
            waiting = [stack.enter_context(socket.create_connection(("127.0.0.1", server.port), 10)) for _ in range(40)]
            server.send_signal(signal.SIGHUP)
            server.wait_for_event("reloaded", 30)
            context = ssl.create_default_context(cafile=str(certificates.ca))
            for raw in waiting:
                with context.wrap_socket(raw, server_hostname="localhost") as sock:
                    sock.sendall(b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n")
                    assert sock.recv(15) == b"HTTP/1.1 200 OK"
        wait_until(lambda: not any(map(alive, frozen)))


def test_an_open_download_ends_whole_across_a_reload(tmp_path: Path, certificates: TestCertificates) -> None:
    with static_server(tmp_path, certificates) as server:
        big = bytes(range(256)) * 65_536
        (tmp_path / "site" / "big.bin").write_bytes(big)
        client = Http1(server.port, certificates.ca)
        client.send(f"GET /big.bin HTTP/1.1\r\nhost: localhost:{server.port}\r\n\r\n".encode())
        assert client.sock.recv(1) == b"H"
        old = server.workers()
        server.send_signal(signal.SIGHUP)
        server.wait_for_event("reloaded", 30)
        assert len(server.workers()) == 2  # the old one waits for us
        received = 1
        while data := client.sock.recv(1 << 20):
            received += len(data)
            if received > len(big):
                break
        assert received > len(big)
        client.close()
        wait_until(lambda: not any(map(alive, old)))


# What a reload takes over, and what it refuses.


def test_a_reload_serves_the_new_configuration(tmp_path: Path, certificates: TestCertificates) -> None:
    with static_server(tmp_path, certificates) as server:
        other = tmp_path / "other"
        other.mkdir()
        (other / "index.html").write_bytes(b"new")
        rewrite(server, str(tmp_path / "site"), str(other))
        assert fetch(server, certificates).body == PAGE
        done = reload(server)
        assert done == Outcome(ok=True, message="reloaded")
        # An old worker may take one more connection while the word to stop is on its way to it.
        wait_until(lambda: fetch(server, certificates).body == b"new")


def test_every_fault_of_a_bad_configuration_is_told_and_nothing_changes(
    tmp_path: Path, certificates: TestCertificates
) -> None:
    with static_server(tmp_path, certificates) as server:
        workers = server.workers()
        rewrite(server, "workers = 1", "wokers = 1")
        rewrite(server, 'engine = "auto"', 'engine = "steam"')
        done = securelight("reload", "-c", server.config_path)
        assert done.returncode == 1
        assert done.stdout == ""
        lines = done.stderr.splitlines()
        assert len(lines) == 2
        assert any("server.wokers" in line and "workers" in line for line in lines)
        assert any("server.engine" in line for line in lines)
        server.send_signal(signal.SIGHUP)
        server.wait_for_event("reload failed, nothing has changed", count=4)
        assert server.workers() == workers
        assert fetch(server, certificates).body == PAGE
        rewrite(server, "wokers = 1", "workers = 2")
        rewrite(server, 'engine = "steam"', 'engine = "pure"')
        assert reload(server).ok
        wait_until(lambda: len(server.workers()) == 2)


def test_a_bad_certificate_is_refused_and_nothing_changes(tmp_path: Path, certificates: TestCertificates) -> None:
    with static_server(tmp_path, certificates) as server:
        workers = server.workers()
        other = make_test_certificates(tmp_path / "other")
        rewrite(server, str(certificates.key), str(other.key))
        with server.config_path.open("a") as file:
            file.write(
                f'''[[site]]\nhosts = ["b.test"]\nroot = "{tmp_path}"\n[[site.certificate]]
                chain = "{other.chain}"\nkey = "{tmp_path / "nowhere.key"}"'''
            )
        done = reload(server)
        assert not done.ok
        mismatched, missing = done.message.splitlines()  # every fault at once
        assert mismatched.startswith(f"{certificates.chain}: the key does not belong")
        assert missing.startswith(f"{tmp_path / 'nowhere.key'}: ")
        assert server.workers() == workers
        assert fetch(server, certificates).body == PAGE


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("raise RuntimeError('no database')", "no database"),
        ("import nonsense_that_is_not_there", "nonsense_that_is_not_there"),
        ("", "app"),
        (
            APP.format(lifespan='await send({"type": "lifespan.startup.failed", "message": "tides are out"})'),
            "tides are out",
        ),
        (APP.format(lifespan="await trio.sleep_forever()"), "limits.worker_start_seconds"),
        ("import time; time.sleep(60)", "worker 1 was not ready in 1.5 seconds (limits.worker_start_seconds)"),
        ("import os; os._exit(3)", "worker 1 ended with code 3 before it was ready"),
    ],
    ids=["raises", "import", "no attribute", "startup failed", "startup hangs", "import hangs", "exits"],
)
def test_an_application_that_cannot_start_changes_nothing(
    tmp_path: Path, certificates: TestCertificates, source: str, told: str
) -> None:
    with static_server(tmp_path, certificates, limits="worker_start_seconds = 1.5") as server:
        workers = server.workers()
        (tmp_path / "tide_app.py").write_text(source)
        rewrite(server, f'root = "{tmp_path / "site"}"', 'app = "tide_app:app"')
        done = reload(server)
        assert not done.ok
        assert told in done.message
        assert "Traceback" not in done.message
        assert fetch(server, certificates).body == PAGE
        wait_until(lambda: server.workers() == workers)


# Addresses.


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return int(sock.getsockname()[1])


def test_a_changed_port_is_bound_and_the_old_one_closed(tmp_path: Path, certificates: TestCertificates) -> None:
    with static_server(tmp_path, certificates) as server:
        idle = Http1(server.port, certificates.ca)  # keeps the old worker for a while: it must not keep the port
        assert idle.request("GET", "/").status == 200
        port, old_port = free_port(), server.port
        rewrite(server, "127.0.0.1:0", f"127.0.0.1:{port}")
        assert reload(server).ok
        server.port = port
        assert fetch(server, certificates).body == PAGE
        wait_until(lambda: refused(old_port))
        idle.close()


def refused(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 5).close()
    except ConnectionRefusedError:
        return True
    return False


def test_a_port_that_is_taken_is_named_with_its_owner_and_nothing_changes(
    tmp_path: Path, certificates: TestCertificates
) -> None:
    with (
        static_server(tmp_path, certificates) as server,
        socket.create_server(("127.0.0.1", 0)) as other,
    ):
        before = len(descriptors(server.process.pid))
        taken, free = other.getsockname()[1], free_port()
        rewrite(
            server,
            'address = "127.0.0.1:0"',
            f'address = "127.0.0.1:{free}"\n[[listen]]\naddress = "127.0.0.1:{taken}"',
        )
        done = reload(server)
        assert not done.ok
        assert re.search(rf"listen 127\.0\.0\.1:{taken}: is taken by .*\(process \d+\)", done.message)
        assert fetch(server, certificates).body == PAGE
        assert refused(free)
        assert len(descriptors(server.process.pid)) == before


def test_a_wider_address_on_the_same_port_is_said_to_take_a_restart(
    tmp_path: Path, certificates: TestCertificates
) -> None:
    with static_server(tmp_path, certificates) as server:
        rewrite(server, "127.0.0.1:0", f"127.0.0.1:{(port := free_port())}")
        assert reload(server).ok
        rewrite(server, f"127.0.0.1:{port}", f"*:{port}")
        done = reload(server)
        assert not done.ok
        assert "takes a restart" in done.message
        server.port = port
        assert fetch(server, certificates).body == PAGE


# One at a time.


def test_a_reload_during_a_reload_is_answered_by_one_that_began_after_it(
    tmp_path: Path, certificates: TestCertificates
) -> None:
    gate = tmp_path / "gate"
    (tmp_path / "slow_app.py").write_text(
        f"import os, time\nwhile os.path.exists({str(gate)!r}):\n    time.sleep(0.01)\n" + APP.format(lifespan=STARTS)
    )
    write_config(tmp_path, certificates, 'app = "slow_app:app"')
    with running(tmp_path) as server:
        gate.touch()
        first: list[bool] = []
        thread = threading.Thread(target=lambda: first.append(reload(server).ok))
        thread.start()
        wait_until(lambda: len(server.workers()) == 2)
        rewrite(server, "workers = 1", "wokers = 1")
        second: list[Outcome] = []
        other = threading.Thread(target=lambda: second.append(reload(server)))
        other.start()
        wait_until(lambda: commands_waiting(server) == 2)
        gate.unlink()
        thread.join(20)
        other.join(20)
        assert first == [True]
        assert not second[0].ok
        assert "server.wokers" in second[0].message


def commands_waiting(server: ServerProcess) -> int:
    """How many connections the supervisor has on its control socket."""
    lines = Path("/proc/net/unix").read_text().splitlines()
    path = str(server.directory / "securelight.sock")
    connected = {f"socket:[{line.split()[6]}]" for line in lines if line.endswith(path) and line.split()[5] == "03"}
    return len(connected & set(descriptors(server.process.pid)))


def test_a_stop_during_a_reload_stops(tmp_path: Path, certificates: TestCertificates) -> None:
    gate = tmp_path / "gate"
    (tmp_path / "slow_app.py").write_text(
        f"import os, time\nwhile os.path.exists({str(gate)!r}):\n    time.sleep(0.01)\n" + APP.format(lifespan=STARTS)
    )
    write_config(tmp_path, certificates, 'app = "slow_app:app"')
    with running(tmp_path) as server:
        gate.touch()
        answers: list[Outcome] = []
        thread = threading.Thread(target=lambda: answers.append(reload(server)))
        thread.start()
        wait_until(lambda: len(server.workers()) == 2)
        workers = server.workers()
        server.send_signal(signal.SIGTERM)
        assert server.process.wait(30) == 0
        thread.join(30)
        assert not answers[0].ok
        assert "stopping" in answers[0].message
        assert not any(map(alive, workers))


def test_a_worker_that_dies_during_a_reload_is_not_missed(tmp_path: Path, certificates: TestCertificates) -> None:
    gate = tmp_path / "gate"
    (tmp_path / "slow_app.py").write_text(
        f"import os, time\nwhile os.path.exists({str(gate)!r}):\n    time.sleep(0.01)\n" + APP.format(lifespan=STARTS)
    )
    write_config(tmp_path, certificates, 'app = "slow_app:app"', workers=2)
    with running(tmp_path) as server:
        old = set(server.workers())
        gate.touch()
        server.send_signal(signal.SIGHUP)
        new = wait_until(lambda: found if len(found := set(server.workers()) - old) == 2 else set())
        os.kill(new.pop(), signal.SIGKILL)
        failed = server.wait_for_event("reload failed, nothing has changed")
        assert re.fullmatch(r"worker [12] was killed by signal 9 before it was ready", failed["why"])
        wait_until(lambda: set(server.workers()) == old)
        assert fetch(server, certificates).body == b"app"
        gate.unlink()
        server.send_signal(signal.SIGHUP)
        server.wait_for_event("reloaded", 30)
        assert fetch(server, certificates).body == b"app"


# Hygiene.


def test_twenty_reloads_leave_no_descriptor_behind(tmp_path: Path, certificates: TestCertificates) -> None:
    with static_server(tmp_path, certificates, workers=2) as server:
        before = sorted(map(kind_of, descriptors(server.process.pid)))
        worker_before = sorted(map(kind_of, descriptors(server.workers()[0])))
        for number in range(1, 21):
            server.send_signal(signal.SIGHUP)
            server.wait_for_event("reloaded", count=number)
        wait_until(lambda: len(server.workers()) == 2)
        wait_until(lambda: sorted(map(kind_of, descriptors(server.process.pid))) == before)
        wait_until(lambda: sorted(map(kind_of, descriptors(server.workers()[0]))) == worker_before)


def kind_of(descriptor: str) -> str:
    return re.sub(r"\d+", "N", descriptor)


def test_a_worker_holds_nothing_of_the_supervisor_or_of_other_generations(
    tmp_path: Path, certificates: TestCertificates
) -> None:
    with static_server(tmp_path, certificates, workers=2) as server:
        assert reload(server).ok
        wait_until(lambda: len(server.workers()) == 2)
        supervisor = {one for one in descriptors(server.process.pid) if one.startswith("socket:")}
        for worker in server.workers():
            shared = supervisor & set(descriptors(worker))
            assert len(shared) == 1  # the listening socket


def test_whoever_connects_after_a_reload_meets_the_new_configuration(
    tmp_path: Path, certificates: TestCertificates
) -> None:
    """The command returns when the old workers have closed their sockets, not when they have been told to."""
    config = write_config(tmp_path, certificates, 'respond = { body = "0" }', workers=2)
    with running(tmp_path) as server:
        for number in range(1, 4):
            config.write_text(config.read_text().replace(f'body = "{number - 1}"', f'body = "{number}"'))
            done = securelight("reload", "-c", config)
            assert done.returncode == 0, done.stderr
            answers = [fetch(server, certificates).body for _ in range(10)]
            assert answers == [str(number).encode()] * 10
