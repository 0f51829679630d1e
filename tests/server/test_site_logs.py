"""Several logs in one worker: which request is in which, sampling, slow requests, and what is counted."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from securelight.config.logs import Log, Output
from securelight.model.headers import Headers
from securelight.model.request import Facts, Peer, Request
from securelight.server.reporter import Counters
from securelight.server.site_logs import LogTable

PEER = Peer("192.0.2.1", 4711)


class Heard:
    """An event log that remembers."""

    def __init__(self) -> None:
        self.warnings: list[tuple[str, dict[str, Any]]] = []

    def info(self, event: str, **values: Any) -> None: ...
    def error(self, event: str, **values: Any) -> None: ...
    def warning(self, event: str, **values: Any) -> None:
        self.warnings.append((event, values))


class Files:
    """Outputs below a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.descriptors: dict[Output, int] = {}

    def output(self, name: str) -> Output:
        output = Output("file", (str(self._folder / name),))
        if output not in self.descriptors:
            self.descriptors[output] = os.open(self._folder / name, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        return output

    def lines(self, name: str) -> list[str]:
        return (self._folder / name).read_text().splitlines()


@pytest.fixture
def files(tmp_path: Path) -> Iterator[Files]:
    made = Files(tmp_path)
    yield made
    for descriptor in made.descriptors.values():
        os.close(descriptor)


def request(path: str = "/", method: str = "GET") -> Request:
    return Request(method, path, Headers(), peer=PEER, target=path.encode(), authority="a.test", http_version="2")


def facts(log: str = "") -> Facts:
    made = Facts(PEER.address)
    made.log = log
    return made


def test_each_request_is_in_the_log_of_its_site(files: Files) -> None:
    shop = Log("shop", "{status} {path}", files.output("shop"))
    table = LogTable(
        {"": Log("", "common", files.output("all")), "shop": shop, "none": Log("none", "off", None)}, files.descriptors
    )
    for log in ("", "shop", "none", "never heard of"):
        table.record(request(f"/{log.replace(' ', '-')}"), facts(log), 200, 5, time.monotonic())
    table.flush()
    assert [line.split('"')[1] for line in files.lines("all")] == ["GET / HTTP/2", "GET /never-heard-of HTTP/2"]
    assert files.lines("shop") == ["200 /shop"]


def test_logs_with_the_same_output_share_it_in_order(files: Files) -> None:
    table = LogTable(
        {"": Log("", "{path}", files.output("all")), "b": Log("b", "b {path}", files.output("all"))}, files.descriptors
    )
    for number in range(600):
        table.record(request(f"/{number}"), facts("b" if number % 2 else ""), 200, 5, 0.0)
    table.flush()
    assert files.lines("all") == [f"b /{number}" if number % 2 else f"/{number}" for number in range(600)]


def test_of_those_that_went_well_one_in_so_many_is_written_and_all_errors(files: Files) -> None:
    table = LogTable({"": Log("", "{status}", files.output("all"), one_in=10)}, files.descriptors)
    for _ in range(50):
        table.record(request(), facts(), 200, 5, 0.0)
    for status in (404, 500, 403):
        table.record(request(), facts(), status, 5, 0.0)
    again = table.repeated(request(), facts(), 200, 5)
    table.record_repeated("192.0.2.9", [again] * 50)
    table.flush()
    lines = files.lines("all")
    assert (lines.count("200"), len(lines)) == (10, 13)


def test_requests_that_come_again_are_written_and_counted_as_others(files: Files) -> None:
    table = LogTable(
        {"": Log("", "{client_address} {time_iso} {path} {bytes}", files.output("all"))}, files.descriptors
    )
    counters = table.counters = Counters()
    again = table.repeated(request("/a"), facts(), 200, 625)
    table.record_repeated("192.0.2.9", [again, again])
    table.record(request("/b"), facts(), 404, 5, time.monotonic())
    table.flush()
    shown = [line.split() for line in files.lines("all")]
    assert [(line[0], line[2], line[3]) for line in shown] == [
        ("192.0.2.9", "/a", "625"), ("192.0.2.9", "/a", "625"), ("192.0.2.1", "/b", "5"),
    ]  # fmt: skip
    counts = counters.counts(0, {})
    assert (counts.statuses, counts.sent_bytes) == ({200: 2, 404: 1}, 1255)


def test_without_a_log_requests_are_counted_all_the_same(files: Files) -> None:
    table = LogTable({"": Log("", "off", None, slow_seconds=1)}, files.descriptors)
    counters = table.counters = Counters()
    table.record_repeated("192.0.2.9", [table.repeated(request(), facts(), 200, 7)])
    table.flush()
    assert counters.counts(0, {}).sent_bytes == 7


@pytest.mark.parametrize("form", ["combined", "json", "off"])
def test_slow_requests_are_told_whatever_the_format(files: Files, form: str) -> None:
    output = None if form == "off" else files.output("all")
    table = LogTable(
        {"": Log("", form, output, slow_seconds=50), "quiet": Log("quiet", form, output, hide_query=True)},
        files.descriptors,
    )
    events = table.events = Heard()
    now = time.monotonic()
    for method, status, seconds, log in (
        ("GET", 200, 10, ""), ("GET", 101, 100, ""), ("CONNECT", 200, 100, ""), ("PUT", 201, 100, ""),
        ("GET", 200, 100, "quiet"),
    ):  # fmt: skip
        asked = Request(method, "/", Headers(), peer=PEER, target=b"/\x1b?signature=abc", authority="a.test")
        table.record(asked, facts(log), status, 5, now - seconds)
    [(event, values)] = events.warnings
    assert (event, values["method"], values["status"]) == ("slow request", "PUT", 201)
    assert values["target"] == "/\\x1b?signature=..."
    assert (values["host"], values["client"]) == ("a.test", PEER.address)
    assert 100 <= values["seconds"] < 150


def test_reopening_changes_the_file_that_was_meant(files: Files, tmp_path: Path) -> None:
    logs = {"": Log("", "{path}", files.output("a")), "b": Log("b", "{path}", files.output("b"))}
    table = LogTable(logs, files.descriptors)
    table.record(request("/before"), facts("b"), 200, 5, 0.0)
    new = os.open(tmp_path / "new", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        assert table.reopen(new, 1) == files.descriptors[logs["b"].output]  # type: ignore[index]
        table.record(request("/after"), facts("b"), 200, 5, 0.0)
        table.record(request("/a"), facts(), 200, 5, 0.0)
        table.flush()
    finally:
        os.close(new)
    assert (files.lines("a"), files.lines("b"), files.lines("new")) == (["/a"], ["/before"], ["/after"])


async def test_lost_lines_are_told(files: Files) -> None:
    full = Output("file", ("/dev/full",))
    files.descriptors[full] = os.open("/dev/full", os.O_WRONLY)
    table = LogTable({"": Log("", "{path}", full)}, files.descriptors)
    events = table.events = Heard()
    for _ in range(7):
        table.record(request(), facts(), 200, 5, 0.0)
    table.flush()
    assert table.dropped == 7
    table._tell_losses()
    table._tell_losses()
    [(event, values)] = events.warnings
    assert (event, values["lines"]) == ("access log lines lost", 7)
    assert "/dev/full: No space left on device" in values["why"]
