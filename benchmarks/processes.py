"""Starts a server on its core, waits until it answers, says what it uses, and stops it.

The servers stay on one processor core, the load on another; where there is only one core they share it.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import ssl
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from benchmarks.peers.peer import APPLICATION_FOLDER, Peer, Place
from benchmarks.setting import Identity, Setting

START_SECONDS = 30.0
STOP_SECONDS = 15.0
SETTLE_SECONDS = 0.02
"""Between two looks at a server that starts."""


class BenchmarkError(Exception):
    """A run that says nothing: a server that does not start, a request that fails."""


@dataclass(frozen=True, slots=True)
class Running:
    """A server that answers.

    Attributes:
        peer: which.
        place: where it writes and listens.
        setting: of the run.
        process_id: of the process that was started; it may have children.
        start_seconds: from its start to its first handshake.
    """

    peer: Peer
    place: Place
    setting: Setting
    process_id: int
    start_seconds: float

    @property
    def port(self) -> int:
        """Where it listens, on 127.0.0.1."""
        return self.place.port

    def process_ids(self) -> list[int]:
        """The process and all below it."""
        found, unseen = [], [self.process_id]
        while unseen:
            one = unseen.pop()
            found.append(one)
            try:
                for task in Path(f"/proc/{one}/task").iterdir():
                    unseen.extend(int(child) for child in (task / "children").read_text().split())
            except OSError:  # it ended just now
                continue
        return found

    def cpu_seconds(self) -> float:
        """Processor time of all of them so far, by the scheduler's own count."""
        nanoseconds = 0
        for process_id in self.process_ids():
            for task in Path(f"/proc/{process_id}/task").iterdir():
                try:
                    nanoseconds += int((task / "schedstat").read_text().split()[0])
                except OSError:  # a thread that ended just now
                    continue
        return nanoseconds / 1e9

    def kilobytes(self) -> int:
        """Memory of all of them, shared pages divided among those that share them (Pss).

        Errors: BenchmarkError, OSError.
        """
        total = 0
        for process_id in self.process_ids():
            text = Path(f"/proc/{process_id}/smaps_rollup").read_text()
            found = re.search(r"^Pss:\s+(\d+) kB", text, re.MULTILINE)
            if found is None:
                raise BenchmarkError(f"the kernel does not say the memory of process {process_id}")
            total += int(found[1])
        return total


def cores() -> tuple[int, int]:
    """The core for the server and the one for the load; the same where there is only one."""
    usable = sorted(os.sched_getaffinity(0))
    return usable[0], usable[-1]


def on_core(core: int, command: Sequence[str]) -> list[str]:
    """`command`, kept on one core."""
    return ["taskset", "-c", str(core), *command]


def free_port() -> int:
    """A port that nobody listens on just now."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port: int = sock.getsockname()[1]
        return port


def client_context(setting: Setting, protocol: str) -> ssl.SSLContext:
    """A TLS context of a client that trusts the authority of the run and speaks `protocol` (an ALPN name)."""
    context = ssl.create_default_context(cafile=str(setting.authority))
    context.set_alpn_protocols([protocol])
    return context


def answers(port: int, host: str, context: ssl.SSLContext) -> bool:
    """True if a TLS handshake with the right certificate succeeds on `port`."""
    try:
        with (
            socket.create_connection(("127.0.0.1", port), timeout=5) as sock,
            context.wrap_socket(sock, server_hostname=host),
        ):
            return True
    except OSError:
        return False


def _environment(peer: Peer, setting: Setting) -> dict[str, str]:
    more = dict(peer.environment)
    if peer.from_pypi:
        more |= {"PYTHONPATH": str(APPLICATION_FOLDER), "BENCH_STATIC": str(setting.site / "static")}
    return {**os.environ, **more}


@contextmanager
def running(
    peer: Peer,
    setting: Setting,
    *,
    identities: Sequence[Identity] = (),
    application: bool = False,
    features: bool = True,
) -> Iterator[Running]:
    """Start `peer` on its core, wait until it completes a TLS handshake, and stop it at the end.

    Args:
        identities: its sites; without any, localhost.
        application, features: see Place.

    Errors: BenchmarkError if it does not come up, with what it said last.
    """
    program = peer.find(setting)
    if program is None:
        raise BenchmarkError(f"{peer.name} is not installed")
    directory = Path(tempfile.mkdtemp(prefix=f"{peer.name}-", dir=setting.directory))  # it may be running already
    directory.chmod(0o777)  # some drop root before they open their logs
    place = Place(directory, free_port(), tuple(identities) or (setting.localhost,), application, features)
    command = on_core(cores()[0], [program, *peer.command(setting, place)])
    context, log = client_context(setting, "http/1.1"), directory / "output.log"
    started = time.monotonic()
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            stdout=output,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            env=_environment(peer, setting),
            start_new_session=True,
        )
    try:
        while not answers(place.port, place.identities[0].host, context):
            # Many sites take their time: a second more for every hundred.
            if process.poll() is not None or time.monotonic() - started > START_SECONDS + len(place.identities) / 100:
                raise BenchmarkError(f"{peer.name} does not start: {log.read_text(errors='replace')[-1000:]}")
            time.sleep(SETTLE_SECONDS)
        yield Running(peer, place, setting, process.pid, time.monotonic() - started)
    finally:
        _stop(process)


def _stop(process: subprocess.Popen[bytes]) -> None:
    """Ask, wait, and then end the whole group that the server was started in."""
    process.send_signal(signal.SIGTERM)
    with suppress(subprocess.TimeoutExpired):
        process.wait(STOP_SECONDS)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
