from __future__ import annotations

import io
import json
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


def test_a_stream_that_breaks_stops_nobody() -> None:
    event_log.configure("json", Broken())
    event_log.event_log("worker").error("tide")
