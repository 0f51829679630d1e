"""Servers that hang, talk without end or break off: the judge ends in bounded time and memory, with whole reports."""

from __future__ import annotations

import json
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

SECONDS = 240.0
"""A bound that only a judge without one passes: quiet machines need a tenth of it."""
MOST_BYTES = 600 << 20
PREFACE_START = b"PRI"


def frame(kind: int, flags: int, stream_id: int, payload: bytes) -> bytes:
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream_id.to_bytes(4, "big") + payload


SETTINGS = frame(4, 0, 0, b"")


def silent(connection: socket.socket) -> None:
    while connection.recv(65_536):
        pass


def garbage(connection: socket.socket) -> None:
    connection.recv(65_536)
    connection.sendall(b"\x1b]0;steered\x07\xff\xfe<script>" * 3_000)


def endless_content(connection: socket.socket) -> None:
    _endless(connection, frame(1, 4, 1, b"\x88"), frame(0, 0, 1, bytes(16_384)) * 8,
             b"HTTP/1.1 200 OK\r\nServer: \xe2\x80\xae<b>\r\n\r\n", bytes(131_072))  # fmt: skip


def endless_head(connection: socket.socket) -> None:
    _endless(connection, frame(1, 0, 1, b"\x88"), frame(9, 0, 1, bytes(16_384)) * 8, b"HTTP/1.1 200 OK\r\nX: ",
             b"x" * 131_072)  # fmt: skip


def _endless(connection: socket.socket, head2: bytes, more2: bytes, head1: bytes, more1: bytes) -> None:
    http2 = connection.recv(65_536).startswith(PREFACE_START)
    connection.sendall(SETTINGS + head2 if http2 else head1)
    while True:
        connection.sendall(more2 if http2 else more1)


def resets(connection: socket.socket) -> None:
    connection.recv(10)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


@contextmanager
def served(behave: Callable[[socket.socket], None]) -> Iterator[int]:
    """The port of a server in threads, each of which ends with its connection."""
    threads: list[threading.Thread] = []
    connections: list[socket.socket] = []

    def serve(connection: socket.socket) -> None:
        with connection, suppress(OSError):
            behave(connection)

    def accept() -> None:
        with suppress(OSError):
            while True:
                connection, _ = listener.accept()
                connections.append(connection)
                threads.append(threading.Thread(target=serve, args=(connection,)))
                threads[-1].start()

    with socket.create_server(("127.0.0.1", 0), backlog=128) as listener:
        acceptor = threading.Thread(target=accept)
        acceptor.start()
        yield int(listener.getsockname()[1])
        listener.shutdown(socket.SHUT_RDWR)
        acceptor.join(30)
    for connection in connections:
        with suppress(OSError):
            connection.shutdown(socket.SHUT_RDWR)
    for thread in threads:
        thread.join(30)


def start(port: int, directory: Path, *arguments: str) -> subprocess.Popen[str]:
    reports = [f"--{form}={directory / form}" for form in ("json", "junit", "sarif", "html")]
    command = [sys.executable, "-m", "securelight", "conform", f"http://127.0.0.1:{port}", *reports, *arguments]
    return subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def check_reports(directory: Path) -> dict[str, Any]:
    """All four are whole; the one in JSON."""
    found: dict[str, Any] = json.loads((directory / "json").read_text())
    tests = [int(suite.get("tests", "0")) for suite in ElementTree.parse(directory / "junit").iter("testsuite")]
    assert sum(tests) == len(found["cases"])
    [run] = json.loads((directory / "sarif").read_text())["runs"]
    assert len(run["results"]) == sum(case["outcome"] == "failed" for case in found["cases"])
    assert run["invocations"][0]["executionSuccessful"] is not found["interrupted"]
    page = (directory / "html").read_text()
    assert page.endswith("</html>\n")
    assert not {"\x1b", "\x07", "\u202e"} & set(page)
    assert sorted(path.name for path in directory.iterdir()) == ["html", "json", "junit", "sarif"]
    return found


@pytest.mark.parametrize(
    ("behave", "only"),
    [
        (silent, "hpack/*"),
        (garbage, "hpack/*"),
        (resets, "hpack/*"),
        (endless_content, "h[12]/*/trailers*"),
        (endless_head, "h[12]/*/trailers*"),
    ],
)
def test_no_server_holds_the_judge_up_or_fills_its_memory(
    behave: Callable[[socket.socket], None], only: str, tmp_path: Path
) -> None:
    with served(behave) as port, start(port, tmp_path, "--only", only, "--patience", "0.5") as process:
        assert process.stdout is not None
        timer = threading.Timer(SECONDS, process.kill)
        timer.start()
        said = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        timer.cancel()
        process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 1, said[-2000:]
    assert "Traceback" not in said
    assert "\x1b" not in said
    assert usage.ru_maxrss << 10 < MOST_BYTES
    found = check_reports(tmp_path)
    assert len(found["cases"]) >= 10
    assert not found["interrupted"]
    if behave is silent:
        assert "The server answers no plain request: the other cases of hpack were not asked." in found["notes"]
        assert found["cases"][-1]["words"].startswith("not asked: the server answers nothing")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_leaves_whole_reports_of_every_form(number: signal.Signals, tmp_path: Path) -> None:
    with served(silent) as port, start(port, tmp_path, "--suite", "h1", "--jobs", "1", "--patience", "0.5") as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("FAILED ")
        process.send_signal(number)
        rest = process.communicate(timeout=SECONDS)[0]
    assert process.returncode == 130, rest
    assert "Traceback" not in rest
    found = check_reports(tmp_path)
    assert found["interrupted"] is True
    assert found["cases"][0]["outcome"] == "failed"


def test_a_report_that_cannot_be_written_is_told_and_the_others_are(tmp_path: Path) -> None:
    with served(resets) as port:
        process = start(port, tmp_path, "--only", "h1/9.3", "--patience", "0.5")
        with process:
            process.communicate(timeout=SECONDS)
        check_reports(tmp_path)
        before = (tmp_path / "json").read_text()
        os.symlink("/dev/full", tmp_path / "full")
        again = start(
            port, tmp_path, "--only", "h1/9.3/two-requests", "--patience", "0.5", f"--html={tmp_path / 'full'}"
        )
        with again:
            said = again.communicate(timeout=SECONDS)[0]
    assert again.returncode == 2
    assert "full could not be written: No space left on device" in said
    assert json.loads((tmp_path / "json").read_text())["cases"] != json.loads(before)["cases"]  # the others are written
