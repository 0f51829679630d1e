"""Health: what a load balancer is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from securelight.handlers.health import HealthConfig, build, check
from securelight.model.errors import ConfigError, Refusal
from securelight.model.response import Response
from securelight.pipeline.scoreboard import Scoreboard, UpstreamReport, WorkerReport
from securelight.pipeline.stage import Handler
from tests.handlers.status_boards import make_board
from tests.handlers.test_metrics import request_from
from tests.helpers import make_context


def make_handler(board: Scoreboard, settings: HealthConfig) -> Handler:
    context = make_context(Path())
    context.scoreboard = board
    return build(settings, context)


def ask(handler: Handler, address: str = "192.0.2.7") -> tuple[int, object]:
    answer = handler(*request_from(address))
    assert isinstance(answer, Response)
    return answer.status, answer.body


def test_it_is_well_until_it_drains() -> None:
    board = Scoreboard(1)
    handler = make_handler(board, HealthConfig())
    assert ask(handler) == (200, b"ok\n")
    assert not board.wanted, "nothing is counted for this alone"
    board.draining = True
    assert ask(handler) == (503, b"draining\n")


def test_upstreams_count_if_asked_for() -> None:
    assert ask(make_handler(make_board(), HealthConfig(upstreams=True))) == (200, b"ok\n")
    board = Scoreboard(1)
    handler = make_handler(board, HealthConfig(upstreams=True))
    assert ask(handler) == (200, b"ok\n")
    board.write(WorkerReport(1, 1, 0, 0, upstreams=[UpstreamReport("http://a/", False, 0)]), board.claim())
    assert ask(handler) == (503, b"no upstream is well\n")
    assert ask(make_handler(board, HealthConfig())) == (200, b"ok\n")


def test_who_may_ask() -> None:
    handler = make_handler(Scoreboard(1), HealthConfig(allow=("10.0.0.0/8",)))
    assert ask(handler, "10.1.2.3") == (200, b"ok\n")
    with pytest.raises(Refusal, match="403"):
        ask(handler)
    with pytest.raises(Refusal, match="405"):
        handler(*request_from("10.1.2.3", method="DELETE"))
    assert check(HealthConfig(allow=("10.0.0.0/99",)), Path())
    with pytest.raises(ConfigError):
        make_handler(Scoreboard(1), HealthConfig(allow=("x",)))
