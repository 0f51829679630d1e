"""Group 12: what a request costs in instructions, counted by callgrind, which the noise of a machine does not touch.

    python -m benchmarks.instructions [--keep]

A worker of the real server runs under valgrind; a client here sends requests in lockstep, a batch after the answers to
the one before, and has the worker mark the beginning and the end of the count (see instructed_worker.py). So start-up,
handshakes and the first requests are not in it. What valgrind cannot see is the kernel: the figures are of the process
alone. Work that is done by the clock, such as a new date, falls into them too, so they repeat to one part in a hundred
with many requests at once and to one in twenty with one at a time.

--keep writes benchmarks/history/VERSION.json, which is done for every release. A run says what has changed since the
last one.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import socket
import ssl
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import h2.config
import h2.connection
import h2.events

from benchmarks.peers.ours import write_our_config
from benchmarks.peers.peer import Place
from benchmarks.processes import BenchmarkError, client_context, free_port
from benchmarks.setting import SMALL, Setting, make_setting
from securelight import __version__

HISTORY = Path(__file__).parent / "history"
START_SECONDS = 180.0
ANSWER_SECONDS = 60.0
STOP_SECONDS = 60.0
WARM_UP_BATCHES = 20
COUNTS = 3
"""The least of so many is kept."""
NOTABLE = 0.06
"""A change of this share is pointed out."""
_RECEIVE_BYTES = 1 << 18


@dataclass(frozen=True, slots=True)
class Scenario:
    """One thing that is counted.

    Attributes:
        name: for tables and the history.
        path: what is asked for.
        streams: requests at once on the connection; 0 is HTTP/1.1.
        batches: of so many requests.
    """

    name: str
    path: str
    streams: int
    batches: int


SCENARIOS = (
    Scenario("file, HTTP/2 x 20", SMALL, 20, 40),
    Scenario("file, HTTP/2 x 1", SMALL, 1, 250),
    Scenario("file, HTTP/1.1", SMALL, 0, 250),
    Scenario("ASGI hello, HTTP/2 x 20", "/hello", 20, 20),
    Scenario("ASGI hello, HTTP/1.1", "/hello", 0, 150),
)
ENGINES = ("native", "pure")


class Client:
    """One connection that sends batches of requests and waits for the answers."""

    def __init__(self, setting: Setting, port: int, scenario: Scenario) -> None:
        plain = socket.create_connection(("127.0.0.1", port), timeout=ANSWER_SECONDS)
        context = client_context(setting, "h2" if scenario.streams else "http/1.1")
        self._sock = context.wrap_socket(plain, server_hostname="localhost")
        self._scenario = scenario
        self._session: h2.connection.H2Connection | None = None
        if scenario.streams:
            self._session = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True))
            self._session.initiate_connection()

    def batch(self) -> None:
        """Send one, and read all answers.

        Errors: BenchmarkError, OSError.
        """
        if self._session is None:
            self._batch_over_h1()
        else:
            self._batch_over_h2(self._session)

    def _batch_over_h1(self) -> None:
        self._sock.sendall(
            b"GET %b HTTP/1.1\r\nHost: localhost\r\nUser-Agent: bench\r\n\r\n" % self._scenario.path.encode()
        )
        answer = b""
        while b"\r\n\r\n" not in answer:
            answer += self._received()
        head, _, body = answer.partition(b"\r\n\r\n")
        lines = head.lower().split(b"\r\n")
        length = next((line for line in lines if line.startswith(b"content-length:")), b"")
        if not lines[0].startswith(b"http/1.1 200") or not length:
            raise BenchmarkError(f"not the answer that was expected: {head[:200]!r}")
        missing = int(length.partition(b":")[2]) - len(body)
        while missing > 0:
            missing -= len(self._received())

    def _batch_over_h2(self, session: h2.connection.H2Connection) -> None:
        fields = [
            (":method", "GET"),
            (":scheme", "https"),
            (":authority", "localhost"),
            (":path", self._scenario.path),
            ("user-agent", "bench"),
        ]
        for _ in range(self._scenario.streams):
            session.send_headers(session.get_next_available_stream_id(), fields, end_stream=True)
        self._sock.sendall(session.data_to_send())
        ended = 0
        while ended < self._scenario.streams:
            for event in session.receive_data(self._received()):
                if isinstance(event, h2.events.ResponseReceived) and (b":status", b"200") not in event.headers:
                    raise BenchmarkError(f"not the answer that was expected: {event.headers!r}")
                if isinstance(event, h2.events.DataReceived):
                    session.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                ended += isinstance(event, h2.events.StreamEnded)
        # What is due for flow control goes out with the next batch: the server then wakes once for both.

    def _received(self) -> bytes:
        data = self._sock.recv(_RECEIVE_BYTES)
        if not data:
            raise BenchmarkError("the server closed the connection")
        return data

    def close(self) -> None:
        """End it."""
        self._sock.close()


class Counter:
    """A worker under callgrind."""

    def __init__(self, control: socket.socket, port: int, out: Path) -> None:
        self.port = port
        self._control = control
        self._out = out
        self._marks = 0

    def mark(self) -> int:
        """Begin a new count; returns the instructions of the one that ends.

        Errors: BenchmarkError, OSError.
        """
        self._control.sendall(b".")
        if self._control.recv(1) != b".":
            raise BenchmarkError("the worker under valgrind has ended")
        self._marks += 1
        return read_total(self._out.with_name(f"{self._out.name}.{self._marks}"))


def read_total(path: Path) -> int:
    """The instructions in a file that callgrind wrote.

    Errors: BenchmarkError.
    """
    for line in path.read_text(errors="replace").splitlines() if path.exists() else []:
        if line.startswith(("totals:", "summary:")):
            return int(line.split()[1])
    raise BenchmarkError(f"callgrind wrote no total to {path.name}")


@contextmanager
def controlled_worker(
    setting: Setting, engine: str, prefix: Callable[[Path], Sequence[str]], *, application: bool = True
) -> Iterator[tuple[socket.socket, Place, int]]:
    """A worker of ours in a process of its own, which ends with the context.

    Args:
        prefix: what is to run `-m benchmarks.instructed_worker`; it is given a folder to write to.
        application: it serves the application, which starts sooner; else files with all features.

    Returns: the control socket, where it serves, and its process id.
    Errors: BenchmarkError.
    """
    directory = Path(tempfile.mkdtemp(prefix=f"worker-{engine}-", dir=setting.directory))
    place = Place(directory, free_port(), (setting.localhost,), application=application, features=not application)
    config = write_our_config(setting, place, engine)
    ours, theirs = socket.socketpair()
    ours.settimeout(START_SECONDS)
    command = [*prefix(directory), "-m", "benchmarks.instructed_worker", str(config), str(theirs.fileno())]
    with (directory / "output.log").open("wb") as log:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            pass_fds=[theirs.fileno()],
            env={**os.environ, "PYTHONHASHSEED": "0"},
        )
    theirs.close()
    try:
        if not ours.recv(16):
            raise BenchmarkError(f"the worker does not start: {(directory / 'output.log').read_text()[-1000:]}")
        yield ours, place, process.pid
    except TimeoutError as error:
        raise BenchmarkError("the worker does not answer") from error
    finally:
        ours.close()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextmanager
def counted_worker(setting: Setting, engine: str) -> Iterator[Counter]:
    """One under callgrind.

    Errors: BenchmarkError.
    """
    valgrind = shutil.which("valgrind")
    if valgrind is None:
        raise BenchmarkError("valgrind is not installed (Debian package valgrind)")
    name = "callgrind.out"

    def prefix(directory: Path) -> Sequence[str]:
        out = f"--callgrind-out-file={directory / name}"
        return [valgrind, "--tool=callgrind", out, "--dump-before=getpgid", "-q", sys.executable]

    with controlled_worker(setting, engine, prefix) as (control, place, _process_id):
        yield Counter(control, place.port, place.directory / name)


def count(counter: Counter, setting: Setting, scenario: Scenario) -> int:
    """Instructions a request.

    Errors: BenchmarkError, OSError.
    """
    client = Client(setting, counter.port, scenario)
    try:
        for _ in range(WARM_UP_BATCHES):
            client.batch()
        counter.mark()
        counts = []
        for _ in range(COUNTS):
            for _ in range(scenario.batches):
                client.batch()
            counts.append(counter.mark())
        return round(min(counts) / scenario.batches / max(1, scenario.streams))
    finally:
        client.close()


def measure(
    setting: Setting, engines: Sequence[str] = ENGINES, scenarios: Sequence[Scenario] = SCENARIOS
) -> dict[str, Any]:
    """Everything, as it is kept in the history.

    Errors: BenchmarkError, OSError.
    """
    figures: dict[str, dict[str, int]] = {}
    for engine in engines:
        with counted_worker(setting, engine) as counter:
            figures[engine] = {scenario.name: count(counter, setting, scenario) for scenario in scenarios}
    said = subprocess.run(["valgrind", "--version"], capture_output=True, text=True, check=False).stdout.strip()
    return {
        "version": __version__,
        "taken": f"{datetime.now(UTC):%Y-%m-%d}",
        "python": platform.python_version(),
        "machine": platform.machine(),
        "openssl": ssl.OPENSSL_VERSION,
        "valgrind": said,
        "instructions_per_request": figures,
    }


def last_kept() -> Mapping[str, Any] | None:
    """The newest entry of the history."""
    entries = [json.loads(path.read_text()) for path in HISTORY.glob("*.json")]
    return max(entries, key=lambda entry: str(entry["taken"]), default=None)


def table(figures: Mapping[str, Any], before: Mapping[str, Any] | None = None) -> list[str]:
    """As Markdown, with the change since the last release that was kept."""
    before = last_kept() if before is None else before
    since = f" | since {before['version']} of {before['taken']}" if before else ""
    lines = [f"| instructions a request | engine | now{since} |", "|---|---|--:|" + "--:|" * bool(before)]
    for engine, by_scenario in figures["instructions_per_request"].items():
        for name, now in by_scenario.items():
            cells = f"| {name} | {engine} | {now:,} |"
            if before:
                then = before["instructions_per_request"].get(engine, {}).get(name)
                change = now / then - 1 if then else 0.0
                cells += f" {'-' if then is None else f'{change:+.1%}'}{' **worse**' if change > NOTABLE else ''} |"
            lines.append(cells)
    return [*lines, ""]


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the exit status: 1 also for a regression."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.instructions", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--keep", action="store_true", help="write the figures of this version to the history")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="securelight-bench-") as directory:
        try:
            figures = measure(make_setting(Path(directory), Path(directory)))
        except BenchmarkError as error:
            print(f"No instructions were counted: {error}", file=sys.stderr)
            return 1
    lines = table(figures)
    print(*lines, sep="\n")
    if options.keep:
        HISTORY.mkdir(exist_ok=True)
        (HISTORY / f"{__version__}.json").write_text(json.dumps(figures, indent=1) + "\n")
    return int(any("worse" in line for line in lines) and not options.keep)


if __name__ == "__main__":
    sys.exit(main())
