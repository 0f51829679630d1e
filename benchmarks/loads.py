"""The load generators: h2load, wrk and openssl s_time, each run bounded and its answer checked.

A run in which a request failed, or got another kind of answer than expected, gives no figure. All use the same cipher
for TLS 1.3, so that a server is not measured by which one it happens to prefer.
"""

from __future__ import annotations

import re
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.processes import BenchmarkError, Running, cores, on_core

RUN_SECONDS = 180.0
"""Any run is given up after this."""
GRACE_SECONDS = 15.0
"""What a run that is measured by time gets beyond it."""

CIPHER = "TLS_AES_128_GCM_SHA256"

_RATE = re.compile(r"^finished in ([\d.]+)(us|ms|s|m|h), ([\d.]+) req/s", re.MULTILINE)
_COUNTS = re.compile(
    r"^requests: (\d+) total, (\d+) started, (\d+) done, (\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout",
    re.MULTILINE,
)
_STATUSES = re.compile(r"^status codes: (\d+) 2xx, (\d+) 3xx, (\d+) 4xx, (\d+) 5xx", re.MULTILINE)
_SECONDS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_WRK_RATE = re.compile(r"^Requests/sec:\s+([\d.]+)", re.MULTILINE)
_WRK_FAULT = re.compile(r"^\s*(Socket errors: .*|Non-2xx or 3xx responses: \d+)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Load:
    """What h2load is to do; either `seconds` or `requests`.

    Attributes:
        paths: asked for in turn by each connection.
        http2: HTTP/2, or HTTP/1.1.
        streams: requests in flight on a connection.
        warm_up_seconds: before `seconds` begin; the handshakes fall into it.
        headers: `name: value`.
        upload: a file that is sent with POST.
        requests_per_second: of each connection; without it, as fast as they are answered.
        log: where start, status and duration of every request go.
        not_modified: 304 is what has to come.
        host: the server name, with `identities` other than localhost.
    """

    paths: Sequence[str]
    http2: bool = True
    connections: int = 20
    streams: int = 1
    seconds: float = 0
    requests: int = 0
    warm_up_seconds: float = 0.3
    headers: Sequence[str] = ()
    upload: Path | None = None
    requests_per_second: int = 0
    log: Path | None = None
    not_modified: bool = False
    host: str = "localhost"

    @property
    def most_seconds(self) -> float:
        """When it is given up. h2load waits for the last answers, which a server that is overrun may never send."""
        return GRACE_SECONDS + self.warm_up_seconds + self.seconds if self.seconds else RUN_SECONDS


@dataclass(frozen=True, slots=True)
class Outcome:
    """What h2load says."""

    requests: int
    seconds: float
    rate: float


def run(command: Sequence[str], seconds: float = RUN_SECONDS) -> str:
    """What `command` prints, on the core for the load.

    Errors: BenchmarkError if it fails or does not end within `seconds`.
    """
    try:
        done = subprocess.run(
            on_core(cores()[1], command),
            capture_output=True,
            text=True,
            check=False,
            timeout=seconds,
            stdin=subprocess.DEVNULL,
        )
    except subprocess.TimeoutExpired as error:
        raise BenchmarkError(f"{command[0]}: no end after {seconds:g} seconds") from error
    if done.returncode:
        raise BenchmarkError(f"{command[0]} ended with {done.returncode}: {(done.stdout + done.stderr)[-500:]}")
    return done.stdout + done.stderr


def parse_h2load(output: str, *, not_modified: bool = False, blind: bool = False) -> Outcome:
    """Read what h2load prints. In a run measured by time, status codes of the warm-up are counted too.

    Args:
        not_modified: 304 is what has to come, not a 2xx.
        blind: the server sends no reason phrases, without which h2load takes no status code in.

    Errors: BenchmarkError unless every request was answered, and as expected.
    """
    rate, counts, statuses = _RATE.search(output), _COUNTS.search(output), _STATUSES.search(output)
    if rate is None or counts is None or statuses is None:
        raise BenchmarkError(f"h2load did not finish: {output[-500:]}")
    total, _started, done, succeeded, failed, errored, timed_out = (int(one) for one in counts.groups())
    codes = [int(one) for one in statuses.groups()]
    good = 0 if blind else codes[1 if not_modified else 0]
    answered = failed == done if blind else good and not failed and succeeded == done
    if not done or done != total or not answered or errored or timed_out or sum(codes) != good:
        raise BenchmarkError(f"not every request got the answer that was expected: {counts[0]}; {statuses[0]}")
    return Outcome(done, float(rate[1]) * _SECONDS[rate[2]], float(rate[3]))


def h2load(target: Running, load: Load) -> Outcome:
    """One run.

    Errors: BenchmarkError.
    """
    command = ["h2load", "-t1", f"-c{load.connections}", f"-m{load.streams}", f"--tls13-ciphers={CIPHER}"]
    if not load.http2:
        command.append("--h1")
    if load.seconds:
        command += [f"--duration={duration(load.seconds)}", f"--warm-up-time={duration(load.warm_up_seconds)}"]
    else:
        command.append(f"-n{load.requests}")
    command += [f"-H{one}" for one in load.headers]
    if load.upload is not None:
        command.append(f"--data={load.upload}")
    if load.requests_per_second:
        command.append(f"--rps={load.requests_per_second}")
    if load.log is not None:
        command.append(f"--log-file={load.log}")
    urls = [f"https://{load.host}:{target.port}{path}" for path in load.paths]
    command.append(f"--connect-to=127.0.0.1:{target.port}")
    with tempfile.NamedTemporaryFile("w", suffix=".txt", dir=target.setting.directory) as file:
        file.write("".join(f"{url}\n" for url in urls))
        file.flush()
        output = run(
            [*command, f"--input-file={file.name}"] if len(urls) > 1 else [*command, urls[0]], load.most_seconds
        )
    blind = not load.http2 and not target.peer.reason_phrases
    return parse_h2load(output, not_modified=load.not_modified, blind=blind)


def duration(seconds: float) -> str:
    """As h2load wants it: whole numbers with a unit."""
    return f"{round(seconds * 1000)}ms"


def parse_wrk(output: str) -> float:
    """Requests per second from what wrk prints.

    Errors: BenchmarkError if any request failed.
    """
    rate, fault = _WRK_RATE.search(output), _WRK_FAULT.search(output)
    if rate is None or fault is not None:
        raise BenchmarkError(f"wrk: {fault[1] if fault else output[-500:]}")
    return float(rate[1])


def wrk(target: Running, path: str, connections: int, seconds: float) -> float:
    """Requests per second over HTTP/1.1. Its seconds are whole ones, and the handshakes fall into them.

    Errors: BenchmarkError.
    """
    options = ["-t1", f"-c{connections}", f"-d{max(1, round(seconds * 2))}s", "--timeout", "10s"]
    return parse_wrk(run(["wrk", *options, f"https://localhost:{target.port}{path}"]))
