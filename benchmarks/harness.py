"""Starts servers, loads them with h2load in interleaved rounds, and compares.

A shared machine is noisy, easily by a factor of two between minutes. So every round asks every server once, close in
time and in turning order, and what counts is the ratio within a round: its median over the rounds, with the spread.
The servers stay on one processor core, the load on another.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import ssl
import statistics
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.servers import SMALL_FILE, Bench, Server
from benchmarks.workloads import Workload

START_SECONDS = 30.0
STOP_SECONDS = 15.0
RUN_SECONDS = 120.0
"""h2load is given up after this."""

_RATE = re.compile(r"^finished in .*?, ([\d.]+) req/s", re.MULTILINE)
_COUNTS = re.compile(r"^requests: (\d+) total, .* (\d+) succeeded, (\d+) failed", re.MULTILINE)
_STATUSES = re.compile(r"^status codes: (\d+) 2xx", re.MULTILINE)


class BenchmarkError(Exception):
    """A run that says nothing: a server that does not start, a request that fails."""


@dataclass(frozen=True, slots=True)
class Running:
    """A server that answers.

    Attributes:
        server: which.
        port: where, on 127.0.0.1.
        process_id: of the process that was started; workers are its children.
    """

    server: Server
    port: int
    process_id: int

    def worker_ids(self) -> list[int]:
        """The processes that serve: the children, or the process itself if it has none."""
        children = Path(f"/proc/{self.process_id}/task/{self.process_id}/children").read_text()
        return [int(one) for one in children.split()] or [self.process_id]


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


@contextmanager
def running(server: Server, bench: Bench) -> Iterator[Running]:
    """Start `server` on its core, wait until it completes a TLS handshake, and stop it at the end.

    Errors: BenchmarkError if it does not come up, with what it said last.
    """
    directory = bench.directory / server.name
    directory.mkdir(exist_ok=True)
    port = free_port()
    command = on_core(cores()[0], server.prepare(bench, directory, port))
    log = directory / "output.log"
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + START_SECONDS
        while not answers(port, bench):
            if process.poll() is not None or time.monotonic() > deadline:
                raise BenchmarkError(f"{server.name} does not start: {log.read_text()[-1000:]}")
            time.sleep(0.05)
        yield Running(server, port, process.pid)
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def client_context(bench: Bench, protocol: str) -> ssl.SSLContext:
    """A TLS context of a client that trusts the authority of the run and speaks `protocol` (an ALPN name)."""
    context = ssl.create_default_context(cafile=str(bench.authority))
    context.set_alpn_protocols([protocol])
    return context


def answers(port: int, bench: Bench) -> bool:
    """True if a TLS handshake with the right certificate succeeds on `port`."""
    try:
        with (
            socket.create_connection(("127.0.0.1", port), timeout=2) as sock,
            client_context(bench, "http/1.1").wrap_socket(sock, server_hostname="localhost"),
        ):
            return True
    except OSError:
        return False


def parse_h2load(output: str) -> float:
    """Requests per second from what h2load prints.

    Errors: BenchmarkError unless every request was answered with a 2xx.
    """
    rate, counts, statuses = _RATE.search(output), _COUNTS.search(output), _STATUSES.search(output)
    if rate is None or counts is None or statuses is None:
        raise BenchmarkError(f"h2load did not finish: {output[-500:]}")
    total, succeeded, failed = (int(one) for one in counts.groups())
    if failed or succeeded != total or int(statuses[1]) != total:
        raise BenchmarkError(f"of {total} requests {failed} failed and {statuses[1]} got a 2xx")
    return float(rate[1])


def load(target: Running, workload: Workload, requests: int) -> float:
    """Requests per second of one run.

    Errors: BenchmarkError.
    """
    url = f"https://localhost:{target.port}/{SMALL_FILE}"
    command = on_core(cores()[1], ["h2load", *workload.arguments, f"-n{requests}", url])
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=RUN_SECONDS, stdin=subprocess.DEVNULL
        )
    except subprocess.TimeoutExpired as error:
        raise BenchmarkError(f"{target.server.name}: no end after {RUN_SECONDS:g} seconds") from error
    try:
        return parse_h2load(done.stdout + done.stderr)
    except BenchmarkError as error:
        raise BenchmarkError(f"{target.server.name}, {workload.name}: {error}") from error


@dataclass(frozen=True, slots=True)
class Comparison:
    """What one workload gave.

    Attributes:
        workload: its name.
        rates: requests per second of each round, by server name.
        baseline: the server that ratios are of.
    """

    workload: str
    rates: dict[str, list[float]]
    baseline: str

    def ratios(self, name: str) -> list[float]:
        """Rate over that of the baseline in the same round, for each round."""
        return [one / base for one, base in zip(self.rates[name], self.rates[self.baseline], strict=True)]

    def median_ratio(self, name: str) -> float:
        """The one figure that counts."""
        return statistics.median(self.ratios(name))


def compare(targets: Sequence[Running], workload: Workload, rounds: int, requests: int, baseline: str) -> Comparison:
    """Load every server in each of `rounds`, each time another one first, after a short warm-up of all.

    Errors: BenchmarkError.
    """
    for target in targets:
        load(target, workload, max(requests // 10, 1_000))
    rates: dict[str, list[float]] = {target.server.name: [] for target in targets}
    for number in range(rounds):
        first = number % len(targets)
        for target in (*targets[first:], *targets[:first]):
            rates[target.server.name].append(load(target, workload, requests))
    return Comparison(workload.name, rates, baseline)


def compare_all(
    servers: Sequence[Server], bench: Bench, workloads: Sequence[Workload], rounds: int, share: float, baseline: str
) -> Iterator[Comparison]:
    """All workloads, one after the other; all servers run the whole time, and idle while they are not asked.

    Args:
        share: of each workload's requests that a run has.

    Errors: BenchmarkError.
    """
    with ExitStack() as stack:
        targets = [stack.enter_context(running(server, bench)) for server in servers]
        for workload in workloads:
            yield compare(targets, workload, rounds, int(workload.requests * share), baseline)
