"""Metrics: what Prometheus reads of them, and who may."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics_families
from prometheus_client.parser import text_string_to_metric_families as prometheus_families

from securelight.handlers.metrics import MISSING, MetricsConfig, build, check
from securelight.model.errors import ConfigError, Refusal
from securelight.model.headers import Headers
from securelight.model.request import Facts, Peer, Request
from securelight.model.response import Response
from securelight.pipeline.scoreboard import Scoreboard
from securelight.pipeline.stage import Handler
from tests.handlers.status_boards import make_board
from tests.helpers import make_context


def read(text: str, content_type: str = "text/plain") -> dict[tuple[str, str], float]:
    """(name, value of the last label) -> value, as the official client reads it."""
    parse = openmetrics_families if content_type.startswith("application/openmetrics-text") else prometheus_families
    return {
        (sample.name, next(reversed(sample.labels.values()), "")): sample.value
        for family in parse(text)
        for sample in family.samples
    }


def request_from(address: str, headers: dict[bytes, bytes] | None = None, method: str = "GET") -> tuple[Request, Facts]:
    request = Request(method, "/metrics", Headers((headers or {}).items()), peer=Peer(address, 1))
    return request, Facts(address)


def make_handler(board: Scoreboard, settings: MetricsConfig | None = None) -> Handler:
    context = make_context(Path())
    context.scoreboard = board
    return build(settings or MetricsConfig(), context)


def exposition(board: Scoreboard, accept: bytes = b"*/*") -> tuple[str, str]:
    """What a client on this machine gets, and its type."""
    answer = make_handler(board)(*request_from("127.0.0.1", {b"accept": accept}))
    assert isinstance(answer, Response)
    assert isinstance(answer.body, bytes)
    return answer.body.decode(), dict(answer.fields)[b"content-type"].decode()


PROMETHEUS = (
    b"application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,"
    b"application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,"
    b"text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
)
"""What Prometheus itself asks for."""


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        (PROMETHEUS, "application/openmetrics-text; version=1.0.0; charset=utf-8"),
        (b"Application/OpenMetrics-Text", "application/openmetrics-text; version=1.0.0; charset=utf-8"),
        (b"application/openmetrics-text; version=0.0.1", "text/plain; version=0.0.4; charset=utf-8"),
        (b"application/openmetrics-text; version=x\r", "text/plain; version=0.0.4; charset=utf-8"),
        (b"text/html, */*", "text/plain; version=0.0.4; charset=utf-8"),
        (b"", "text/plain; version=0.0.4; charset=utf-8"),
        (b",;,=;,", "text/plain; version=0.0.4; charset=utf-8"),
    ],
)
def test_openmetrics_is_for_who_asks_for_it(accept: bytes, expected: str) -> None:
    board = make_board()
    text, content_type = exposition(board, accept)
    assert content_type == expected
    assert text.endswith("# EOF\n") == content_type.startswith("application/")
    assert read(text, content_type) == read(exposition(board)[0])


def test_a_server_without_metrics_needs_no_package_for_them(monkeypatch: pytest.MonkeyPatch) -> None:
    code = "import sys, securelight.features, securelight.server.worker; print('prometheus_client' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout == b"False\n"
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    assert check(MetricsConfig(), Path()) == [MISSING]
    with pytest.raises(ConfigError, match=r"securelight\[metrics\]"):
        make_handler(Scoreboard(1))


def test_all_workers_are_added_up_and_those_that_have_ended_too() -> None:
    values = read(exposition(make_board())[0])
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
    text = exposition(make_board())[0]
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
    assert read(exposition(Scoreboard(1))[0])["securelight_request_seconds_count", ""] == 0


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
    there = {name for name, _ in read(exposition(make_board())[0])}
    asked = set(re.findall(r"securelight_\w+", dashboard))
    assert len(asked) > 10
    assert asked - there == set()


def test_bad_networks_are_named() -> None:
    [fault] = check(MetricsConfig(("192.0.2.7/24",)), Path())
    assert "allow: 192.0.2.7/24 has host bits set" in fault
    with pytest.raises(ConfigError):
        make_handler(Scoreboard(1), MetricsConfig(("nobody",)))
