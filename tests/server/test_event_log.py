from __future__ import annotations

import io
import json
import os
from collections.abc import Iterator

import pytest

from securelight.server import event_log


@pytest.fixture(autouse=True)
def configured_again() -> Iterator[None]:
    yield
    event_log.configure()


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Broken(io.StringIO):
    def write(self, _text: str) -> int:
        raise BrokenPipeError


def test_json_where_nobody_looks_and_text_on_a_terminal() -> None:
    out = io.StringIO()
    event_log.configure("auto", out)
    event_log.event_log("worker").warning("tide", metres=3)
    told = json.loads(out.getvalue())
    assert (told["event"], told["level"], told["part"], told["metres"]) == ("tide", "warning", "worker", 3)
    terminal = Terminal()
    event_log.configure("auto", terminal)
    event_log.event_log("worker").warning("tide", metres=3)
    assert "tide" in terminal.getvalue()
    assert not terminal.getvalue().startswith("{")


def test_what_a_client_sends_cannot_begin_a_line() -> None:
    for form in ("json", "human"):
        out = io.StringIO()
        event_log.configure(form, out)
        event_log.event_log("worker").info("tls refused", why="x\n20:00:00 [info] forged")
        assert out.getvalue().count("\n") == 1, form


@pytest.mark.parametrize("value", ["\x1b[31m", "\x9b31m", "\u202eevil", "half \udc80", "a\rb", "\u2028"])
@pytest.mark.parametrize("form", ["json", "human"])
def test_no_terminal_obeys_what_a_client_sends(value: str, form: str) -> None:
    out = io.StringIO()
    event_log.configure(form, out)
    try:
        raise ValueError(value)
    except ValueError:
        event_log.event_log("worker").exception("answering", target=value)
    assert all(line.isprintable() for line in out.getvalue().split("\n"))


def test_a_pipe_that_nobody_reads_is_not_waited_for() -> None:
    reader, writer = os.pipe()
    with os.fdopen(reader, "rb") as unread, os.fdopen(writer, "w") as stream:
        event_log.configure("json", stream)
        log = event_log.event_log("worker")
        for number in range(30):
            log.info("tide", metres="x" * 10_000, number=number)
        first = json.loads(unread.readline())
        assert first["number"] == 0


def test_a_stream_that_breaks_stops_nobody() -> None:
    event_log.configure("json", Broken())
    event_log.event_log("worker").error("tide")
