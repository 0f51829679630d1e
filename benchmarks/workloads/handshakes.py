"""Group 6: TLS handshakes, full and resumed, on both versions.

Several `openssl s_time` at once, each a connection after the other with one request, so that session tickets arrive.
Their own share of a handshake is about as large as the server's, so the wall clock tells of them too; the server's
processor time for a handshake stands beside it and does not depend on them.
"""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Mapping

from benchmarks.loads import CIPHER
from benchmarks.peers.peer import Ability
from benchmarks.processes import BenchmarkError, Running, cores, on_core
from benchmarks.rounds import Effort, Measure, Metric, Workload
from benchmarks.setting import SMALL

CLIENTS = 4
CLIENT_SECONDS = 20.0
"""After this a client is given up; it runs for one to two seconds."""

METRICS = (
    Metric("handshakes", "handshakes/s"),
    Metric("cost", "server CPU us/handshake", more_is_better=False),
)
_REQUEST = f"{SMALL} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nVersion:"
"""s_time puts a path between `GET` and `HTTP/1.0`; this makes a request of it that every server answers with 200."""
_COUNT = re.compile(r"^(\d+) connections in \d+ real seconds", re.MULTILINE)
_MARKS = re.compile(r"^[*rtu]+$", re.MULTILINE)
"""One a connection; r is a resumed one."""


def count_handshakes(output: str, *, resumed: bool) -> int:
    """Read what s_time prints.

    Errors: BenchmarkError if it failed, or if sessions were not resumed as they should.
    """
    count, marks = _COUNT.search(output), _MARKS.search(output)
    if count is None or marks is None:
        raise BenchmarkError(f"s_time did not finish: {output[-300:]}")
    if resumed != (set(marks[0]) == {"r"}):
        raise BenchmarkError("does not resume sessions" if resumed else "resumes sessions unasked")
    return int(count[1])


def handshakes(version: str, *, resumed: bool) -> Measure:
    """As many as go in a second or two; `version` is an option of s_time."""

    def measure(target: Running, _effort: Effort) -> Mapping[str, float]:
        command = ["openssl", "s_time", "-connect", f"127.0.0.1:{target.port}", version, "-ciphersuites", CIPHER]
        command += ["-time", "1", "-www", _REQUEST, "-reuse" if resumed else "-new"]
        cpu, started = target.cpu_seconds(), time.monotonic()
        clients = [
            subprocess.Popen(
                on_core(cores()[1], command),
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                text=True,
            )
            for _ in range(CLIENTS)
        ]
        try:
            outputs = [client.communicate(timeout=CLIENT_SECONDS)[0] for client in clients]
        except subprocess.TimeoutExpired as error:
            raise BenchmarkError("s_time waits for the end of an answer") from error
        finally:
            for client in clients:
                client.kill()
                client.wait()
        seconds = time.monotonic() - started
        total = sum(count_handshakes(output, resumed=resumed) for output in outputs)
        return {"handshakes": total / seconds, "cost": (target.cpu_seconds() - cpu) / total * 1e6}

    return measure


_TLS13 = frozenset({Ability.SMALL_FILES, Ability.HTTP1, Ability.CLOSE})
_TLS12 = _TLS13 | {Ability.TLS12}

WORKLOADS = (
    Workload(6, "full handshakes, TLS 1.3", handshakes("-tls1_3", resumed=False), _TLS13, METRICS),
    Workload(6, "resumed handshakes, TLS 1.3", handshakes("-tls1_3", resumed=True), _TLS13, METRICS),
    Workload(6, "full handshakes, TLS 1.2", handshakes("-tls1_2", resumed=False), _TLS12, METRICS),
    Workload(6, "resumed handshakes, TLS 1.2", handshakes("-tls1_2", resumed=True), _TLS12, METRICS),
)
