"""Metrics: what Prometheus reads of them, and who may."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from securelight.handlers.metrics import MetricsConfig, build, check, exposition
from securelight.model.errors import ConfigError, Refusal
from securelight.model.headers import Headers
from securelight.model.request import Facts, Peer, Request
from securelight.model.response import Response
from securelight.pipeline.scoreboard import Scoreboard
from securelight.pipeline.stage import Handler
from securelight.pipeline.status_report import ServerStatus
from tests.handlers.status_boards import make_board
from tests.helpers import make_context


def read(text: str) -> dict[tuple[str, str], float]:
    """(name, value of the first label) -> value, as the official client reads it."""
    return {
        (sample.name, next(iter(sample.labels.values()), "")): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def request_from(address: str, headers: dict[bytes, bytes] | None = None, method: str = "GET") -> tuple[Request, Facts]:
    request = Request(method, "/metrics", Headers((headers or {}).items()), peer=Peer(address, 1))
    return request, Facts(address)


def make_handler(board: Scoreboard, settings: MetricsConfig | None = None) -> Handler:
    context = make_context(Path())
    context.scoreboard = board
    return build(settings or MetricsConfig(), context)


def test_all_workers_are_added_up_and_those_that_have_ended_too() -> None:
    values = read(exposition(ServerStatus(make_board())))
    assert values["securelight_requests_total", "200"] == 310
    assert values["securelight_requests_total", "404"] == 10
    assert values["securelight_requests_total", "500"] == 1
    assert values["securelight_sent_bytes_total", ""] == 21_000
    assert values["securelight_accepted_connections_total", ""] == 43
    assert values["securelight_connections", "h2"] == 4
    assert values["securelight_connections", "opening"] == 2
    assert values["securelight_upstream_up", "http://a/"] == 0.5
    assert values["securelight_upstream_requests", "http://a/"] == 14
    assert values["securelight_workers", ""] == 2
    assert values["securelight_ended_workers_total", ""] == 1
    assert values["securelight_worker_memory_bytes", "1"] == 40_000_000


def test_labels_are_escaped_and_durations_are_a_histogram() -> None:
    text = exposition(ServerStatus(make_board()))
    values = read(text)
    assert values["securelight_info", "1.2<3"] == 1
    assert ("securelight_certificate_not_after_seconds", '/etc/a"b.pem') in values
    assert values["securelight_faults_total", "<script>"] == 4
    buckets = [value for (name, _), value in values.items() if name == "securelight_request_seconds_bucket"]
    assert buckets == sorted(buckets)
    assert values["securelight_request_seconds_bucket", "0.001"] == 21
    assert values["securelight_request_seconds_count", ""] == 47
    assert values["securelight_request_seconds_sum", ""] == 3.5


def test_a_server_that_has_just_started_has_metrics_too() -> None:
    assert read(exposition(ServerStatus(Scoreboard(1))))["securelight_request_seconds_count", ""] == 0


@pytest.mark.parametrize("address", ["127.0.0.1", "127.9.9.9", "::1"])
def test_the_machine_itself_may_see_them(address: str) -> None:
    answer = make_handler(make_board())(*request_from(address))
    assert isinstance(answer, Response)
    assert (b"content-type", b"text/plain; version=0.0.4; charset=utf-8") in answer.fields


@pytest.mark.parametrize(
    ("address", "headers"),
    [
        ("192.0.2.7", {}),
        ("::ffff:192.0.2.7", {}),
        ("", {}),
        ("127.0.0.1", {b"x-forwarded-for": b"192.0.2.7"}),
        ("127.0.0.1", {b"forwarded": b"for=192.0.2.7"}),
        ("::1", {b"via": b"1.1 proxy"}),
    ],
)
def test_nobody_else_may_not_even_through_a_proxy_on_this_machine(address: str, headers: dict[bytes, bytes]) -> None:
    with pytest.raises(Refusal, match="403"):
        make_handler(make_board())(*request_from(address, headers))


def test_a_trusted_proxy_tells_who_asks() -> None:
    request, facts = request_from("127.0.0.1", {b"x-forwarded-for": b"192.0.2.7"})
    facts.client_address = "192.0.2.7"
    with pytest.raises(Refusal, match="403"):
        make_handler(make_board())(request, facts)
    assert make_handler(make_board(), MetricsConfig(("192.0.2.0/24",)))(request, facts)


def test_they_are_only_read() -> None:
    with pytest.raises(Refusal, match="405"):
        make_handler(make_board())(*request_from("127.0.0.1", method="POST"))


def test_the_dashboard_asks_for_metrics_that_there_are() -> None:
    dashboard = (Path(__file__).parents[2] / "examples" / "grafana-dashboard.json").read_text()
    there = {name for name, _ in read(exposition(ServerStatus(make_board())))}
    asked = set(re.findall(r"securelight_\w+", dashboard))
    assert len(asked) > 10
    assert asked - there == set()


def test_bad_networks_are_named() -> None:
    [fault] = check(MetricsConfig(("192.0.2.7/24",)), Path())
    assert "allow: 192.0.2.7/24 has host bits set" in fault
    with pytest.raises(ConfigError):
        make_handler(Scoreboard(1), MetricsConfig(("nobody",)))
