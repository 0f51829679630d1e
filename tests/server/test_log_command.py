"""Programs that are given the log: started without a shell, started again when they die, and ended with us."""

from __future__ import annotations

import math
import os
import select
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from time import monotonic
from typing import Any

import pytest

from securelight.config.schema import ServerConfig
from securelight.model.errors import ConfigError
from securelight.server.log_command import LogCommand


class Told:
    """An event log that remembers."""

    def __init__(self) -> None:
        self.errors: list[dict[str, Any]] = []

    def info(self, event: str, **values: Any) -> None: ...
    def warning(self, event: str, **values: Any) -> None: ...
    def error(self, event: str, **values: Any) -> None:
        self.errors.append(values)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., LogCommand]]:
    commands: list[LogCommand] = []

    def make(*argv: str) -> LogCommand:
        commands.append(LogCommand(argv, ServerConfig(), tmp_path, "server.access_log.command"))
        return commands[-1]

    yield make
    for command in commands:
        command.close()
        command.abandon()


def wait_until(true: Callable[[], object]) -> None:
    deadline = monotonic() + 30
    while not true():
        assert monotonic() < deadline
        select.select([], [], [], 0.01)


COPY = "import sys; out = open('out', 'ab', 0)\nfor line in sys.stdin.buffer: out.write(line)"


def test_lines_arrive_and_it_ends_with_its_input(start: Callable[..., LogCommand], tmp_path: Path) -> None:
    command = start(sys.executable, "-c", COPY)
    os.write(command.write_end, b"$(touch /tmp/x) `id`\n")
    wait_until(lambda: (tmp_path / "out").exists() and (tmp_path / "out").read_bytes())
    assert not command.ended(0)
    os.write(command.write_end, b"the last line\n")
    command.close()
    wait_until(lambda: command.ended(0))
    assert (tmp_path / "out").read_bytes() == b"$(touch /tmp/x) `id`\nthe last line\n"


def test_one_that_dies_is_started_again_and_the_pipe_outlives_it(
    start: Callable[..., LogCommand], tmp_path: Path
) -> None:
    told = Told()
    command = start(
        sys.executable, "-c", "import sys; open('out', 'ab').write(sys.stdin.buffer.readline()); sys.exit(3)"
    )
    os.write(command.write_end, b"first\n")

    def died() -> bool:
        command.look(monotonic(), told)
        return bool(told.errors)

    wait_until(died)
    assert told.errors == [{"program": sys.executable, "how": "ended with code 3"}]
    os.write(command.write_end, b"meanwhile\n")
    assert monotonic() < command.start_at < monotonic() + 5
    command.look(command.start_at, told)
    assert command.start_at == math.inf
    wait_until(lambda: (tmp_path / "out").read_bytes() == b"first\nmeanwhile\n")


def test_it_is_started_ever_more_rarely(start: Callable[..., LogCommand]) -> None:
    told = Told()
    command = start(sys.executable, "-c", "raise SystemExit(1)")
    pauses = []
    for number in range(1, 5):
        now = monotonic()
        while len(told.errors) < number:
            command.look(now, told)
            select.select([], [], [], 0.005)
        pauses.append(command.start_at - now)
        command.look(command.start_at, told)
    assert pauses == pytest.approx([0.2, 0.4, 0.8, 1.6])


def test_one_that_does_not_end_is_made_to(start: Callable[..., LogCommand], tmp_path: Path) -> None:
    """It has closed its input, and does not care for SIGTERM."""
    command = start(
        sys.executable, "-c",
        "import signal, os, time; signal.signal(15, signal.SIG_IGN); open('ready', 'w'); time.sleep(600)",
    )  # fmt: skip
    wait_until((tmp_path / "ready").exists)
    command.close()
    assert not command.ended(6), "told to end"
    wait_until(lambda: command.ended(11))


def test_one_that_cannot_be_started_is_named(start: Callable[..., LogCommand]) -> None:
    with pytest.raises(ConfigError, match=r"server\.access_log\.command: no-such-program-here cannot be started"):
        start("no-such-program-here")
