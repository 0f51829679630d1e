"""The benchmark's own honesty: failed requests never become a figure, and ratios are taken within a round."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from benchmarks.harness import BenchmarkError, Comparison, compare, parse_h2load, running
from benchmarks.memory import connection_kilobytes, resident_kilobytes
from benchmarks.servers import SERVERS, make_bench
from benchmarks.workloads import WORKLOADS

H2LOAD = """\
starting benchmark...
TLS Protocol: TLSv1.3
Application protocol: h2
progress: 100% done

finished in 125.08ms, 15989.81 req/s, 10.43MB/s
requests: 2000 total, 2000 started, 2000 done, {succeeded} succeeded, {failed} failed, 0 errored, 0 timeout
status codes: {good} 2xx, 0 3xx, {bad} 4xx, 0 5xx
"""


def test_the_rate_of_a_clean_run_is_read() -> None:
    assert parse_h2load(H2LOAD.format(succeeded=2000, failed=0, good=2000, bad=0)) == 15989.81


@pytest.mark.parametrize(
    "output",
    [
        H2LOAD.format(succeeded=1999, failed=1, good=1999, bad=0),
        H2LOAD.format(succeeded=2000, failed=0, good=0, bad=2000),
        "starting benchmark...\n",
        "",
    ],
    ids=["one failed", "error pages", "cut short", "nothing"],
)
def test_a_run_with_any_failure_gives_no_figure(output: str) -> None:
    with pytest.raises(BenchmarkError):
        parse_h2load(output)


def test_ratios_are_taken_within_a_round_so_that_a_slow_minute_does_not_count() -> None:
    comparison = Comparison("any", {"base": [100.0, 20.0, 100.0], "ours": [60.0, 12.0, 61.0]}, "base")

    assert comparison.ratios("ours") == pytest.approx([0.6, 0.6, 0.61])
    assert comparison.median_ratio("ours") == pytest.approx(0.6)


@pytest.mark.peer
@pytest.mark.skipif(shutil.which("h2load") is None, reason="h2load is not installed (Debian: nghttp2-client)")
def test_the_bare_reactor_can_be_loaded_and_weighed(tmp_path: Path) -> None:
    pytest.importorskip("ngh2", reason="the fast extra is not installed")
    bench = make_bench(tmp_path)
    with running(SERVERS["bare"], bench) as target:
        for workload in WORKLOADS:
            assert compare([target], workload, 1, 1_000, "bare").median_ratio("bare") == 1.0
        assert resident_kilobytes(target.worker_ids()) > 10_000
        assert 1 < connection_kilobytes(target, bench, "h2", 60) < 200
