"""The benchmark's own honesty: failed requests never become a figure, and ratios are taken within a round. A short run
of all its parts, so that they do not rot.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from benchmarks import __main__ as command, instructions
from benchmarks.goals import GOALS, judge
from benchmarks.loads import parse_h2load, parse_wrk
from benchmarks.peers import PEERS
from benchmarks.peers.peer import Ability, Place, fill
from benchmarks.pictures import draw
from benchmarks.processes import BenchmarkError, running
from benchmarks.report import GROUPS, goal_lines, workload_lines
from benchmarks.rounds import QUICK, RATE, Effort, Metric, Result, Workload, compare
from benchmarks.setting import SMALL, SMALL_FILE_BYTES, Setting, make_setting
from benchmarks.workloads import WORKLOADS
from benchmarks.workloads.handshakes import count_handshakes
from benchmarks.workloads.latency import percentile

H2LOAD = """\
starting benchmark...
TLS Protocol: TLSv1.3
Application protocol: h2
progress: 100% done

finished in 125.08ms, 15989.81 req/s, 10.43MB/s
requests: 2000 total, 2000 started, {done} done, {succeeded} succeeded, {failed} failed, {errored} errored, 0 timeout
status codes: {good} 2xx, {moved} 3xx, {bad} 4xx, 0 5xx
"""
CLEAN = {"done": 2000, "succeeded": 2000, "failed": 0, "errored": 0, "good": 2000, "moved": 0, "bad": 0}
WRK = (
    "Running 1s test @ https://localhost:1/\n{more}\n  1038 requests in 1.00s, 138.99KB read\nRequests/sec:   1036.99\n"
)


def result(name: str = "any", **figures: list[float]) -> Result:
    workload = Workload(1, name, lambda _target, _effort: {}, frozenset(), baselines=("base",))
    return Result(workload, {"rate": figures})


def test_the_rate_of_a_clean_run_is_read() -> None:
    outcome = parse_h2load(H2LOAD.format_map(CLEAN))

    assert (outcome.rate, outcome.requests) == (15989.81, 2000)
    assert outcome.seconds == pytest.approx(0.12508)


@pytest.mark.parametrize(
    "output",
    [
        H2LOAD.format_map(CLEAN | {"succeeded": 1999, "failed": 1, "good": 1999}),
        H2LOAD.format_map(CLEAN | {"good": 0, "bad": 2000}),
        H2LOAD.format_map(CLEAN | {"good": 1999, "bad": 1}),
        H2LOAD.format_map(CLEAN | {"good": 0, "moved": 2000}),
        H2LOAD.format_map(CLEAN | {"done": 1990, "succeeded": 1990, "errored": 10}),
        H2LOAD.format_map(CLEAN | {"done": 0, "succeeded": 0}),
        "starting benchmark...\n",
        "",
    ],
    ids=[
        "one failed",
        "error pages",
        "one error page",
        "redirects",
        "connections lost",
        "none",
        "cut short",
        "nothing",
    ],
)
def test_a_run_with_any_failure_gives_no_figure(output: str) -> None:
    with pytest.raises(BenchmarkError):
        parse_h2load(output)


def test_304_is_a_failure_unless_it_is_what_was_asked_for() -> None:
    output = H2LOAD.format_map(CLEAN | {"good": 0, "moved": 2000})

    assert parse_h2load(output, not_modified=True).requests == 2000
    with pytest.raises(BenchmarkError):
        parse_h2load(H2LOAD.format_map(CLEAN), not_modified=True)


def test_wrk_gives_no_figure_once_an_answer_was_wrong() -> None:
    assert parse_wrk(WRK.format(more="")) == 1036.99
    for fault in ("  Non-2xx or 3xx responses: 3", "  Socket errors: connect 0, read 1, write 0, timeout 0"):
        with pytest.raises(BenchmarkError):
            parse_wrk(WRK.format(more=fault))


def test_handshakes_that_were_not_what_they_should_be_are_not_counted() -> None:
    output = "Collecting\n{}\n\n5 connections in 0.28s; 1189.29 connections/user sec\n5 connections in 2 real seconds\n"

    assert count_handshakes(output.format("rrrrr"), resumed=True) == 5
    assert count_handshakes(output.format("*****"), resumed=False) == 5
    for marks, resumed in (("rrr*r", True), ("rrrrr", False)):
        with pytest.raises(BenchmarkError):
            count_handshakes(output.format(marks), resumed=resumed)


def test_ratios_are_taken_within_a_round_so_that_a_slow_minute_does_not_count() -> None:
    comparison = result(base=[100.0, 20.0, 100.0], ours=[60.0, 12.0, 61.0])

    assert comparison.ratios("rate", "ours", "base") == pytest.approx([0.6, 0.6, 0.61])
    assert "| ours | 60 | 0.60 | 0.60-0.61 |" in workload_lines(comparison)


def test_a_server_that_fails_in_one_round_has_no_figures_at_all() -> None:
    comparison = result(base=[100.0, 100.0], ours=[60.0])

    comparison.drop("ours", "broke")

    assert comparison.servers() == ["base"]
    assert "- ours: no figures: broke" in workload_lines(comparison)


def test_goals_know_which_way_is_better() -> None:
    latency, rate = (
        next(goal for goal in GOALS if goal.metric == metric and goal.baseline) for metric in ("p99", "rate")
    )
    for goal, ours, state in (
        (latency, 0.9, "aim"),
        (latency, 1.9, "must"),
        (latency, 2.1, "MISSED"),
        (rate, 0.1, "MISSED"),
    ):
        found = Result(
            Workload(1, goal.workload, lambda _target, _effort: {}, frozenset(), (Metric(goal.metric, ""),)),
            {goal.metric: {goal.baseline: [10.0], goal.server: [10.0 * ours]}},
        )
        assert next(verdict.state for verdict in judge([found]) if verdict.goal is goal) == state


def test_every_goal_and_every_group_has_its_workload() -> None:
    metrics = {workload.name: [metric.name for metric in workload.metrics] for workload in WORKLOADS}

    assert all(goal.metric in metrics[goal.workload] for goal in GOALS)
    assert {goal.server for goal in GOALS} | {goal.baseline for goal in GOALS} <= {*PEERS, ""}
    assert {workload.group for workload in WORKLOADS} == set(GROUPS) - {12}
    assert len(metrics) == len(WORKLOADS), "a name stands for one workload"


def test_percentiles_are_values_that_were_measured() -> None:
    assert [percentile(range(1, 1001), share) for share in (0.5, 0.99, 0.999)] == [500, 990, 999]
    assert percentile([7], 0.999) == 7


def test_a_configuration_with_something_left_open_is_refused() -> None:
    assert fill("port @port@", {"port": 1}) == "port 1"
    with pytest.raises(ValueError, match="@prot@"):
        fill("port @prot@", {"port": 1})


@pytest.fixture(scope="module")
def setting(tmp_path_factory: pytest.TempPathFactory) -> Setting:
    directory = tmp_path_factory.mktemp("bench")
    return make_setting(directory, directory / "no-environment")


def test_all_configurations_can_be_written(setting: Setting) -> None:
    identities = setting.identities(3)
    for peer in PEERS.values():
        for application in (False, True) if Ability.APPLICATIONS in peer.abilities else (False,):
            directory = setting.directory / f"config-{peer.name}-{application}"
            directory.mkdir()
            several = identities if Ability.SITES in peer.abilities else (setting.localhost,)
            assert peer.command(setting, Place(directory, 1, several, application))
    assert (setting.site / SMALL.lstrip("/")).stat().st_size == SMALL_FILE_BYTES


def test_peers_that_are_not_installed_are_named_and_left_out(setting: Setting) -> None:
    chosen, missing = command.choose_peers(command.parse(["--servers", "securelight,granian"]), setting)

    assert [peer.name for peer in chosen] == ["securelight"]
    assert missing == {"granian": "not installed; PyPI package granian"}


def test_pictures_are_well_formed_and_escape_what_they_show(tmp_path: Path) -> None:
    found = []
    for at, rate in ((1, 10.0), (100, 30.0)):
        one = result(f"<{at}> & more", base=[rate, 2 * rate], securelight=[rate, rate])
        found.append(
            Result(
                Workload(11, one.workload.name, one.workload.measure, frozenset(), curve="sites", at=at), one.figures
            )
        )

    names = draw(found, tmp_path)

    assert names == ["group-11.svg", "group-11-sites-rate.svg"]
    for name in names:
        assert "base" in "".join(ElementTree.parse(tmp_path / name).getroot().itertext())


@pytest.mark.peer
@pytest.mark.skipif(shutil.which("h2load") is None, reason="h2load is not installed (Debian: nghttp2-client)")
def test_two_rounds_of_one_workload_from_the_command_line_to_the_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "NEEDED", {"h2load": "nghttp2-client", "taskset": "util-linux"})
    monkeypatch.setenv("QUICK", "1")
    name = "HTTP/2, 612 B, 20 x 20"

    status = command.main(
        ["--workloads", name, "--servers", "securelight-pure,nginx", "--rounds", "2", "--results", str(tmp_path)]
    )

    assert status == 0
    written = json.loads((tmp_path / "latest.json").read_text())
    (workload,) = written["workloads"]
    assert workload["workload"] == name
    rates = workload["figures"]["rate"]["securelight-pure"]
    assert len(rates) == 2
    assert all(rate > 10 for rate in rates)
    assert f"| {name} | requests/s |" in (tmp_path / "latest.md").read_text()
    assert (tmp_path / "group-01.svg").exists()


@pytest.mark.peer
@pytest.mark.skipif(
    not all(map(shutil.which, command.NEEDED)), reason=f"not all of these are installed: {', '.join(command.NEEDED)}"
)
def test_what_was_measured_before_an_interrupt_is_written(tmp_path: Path) -> None:
    arguments = ["--groups", "1", "--servers", "securelight-pure", "--rounds", "1", "--results", str(tmp_path)]
    with subprocess.Popen(
        [sys.executable, "-m", "benchmarks", *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as bench:
        assert bench.stderr is not None
        for line in bench.stderr:
            if line.startswith("1 of 3 workloads"):
                bench.terminate()
                break
        rest = bench.stderr.read()
    assert bench.returncode == 1
    assert "interrupted; written is what 1 of 3 workloads gave" in rest
    written = json.loads((tmp_path / "latest.json").read_text())
    assert len(written["workloads"]) == 1
    assert sorted(written["left_out"].values()) == ["interrupted", "interrupted"]


@pytest.mark.peer
@pytest.mark.skipif(shutil.which("h2load") is None, reason="h2load is not installed (Debian: nghttp2-client)")
def test_memory_and_the_growth_of_sites_are_measured(setting: Setting) -> None:
    effort = Effort(rounds=1, seconds=0.2, quick=True)
    by_name = {workload.name: workload for workload in WORKLOADS}
    with running(PEERS["securelight-pure"], setting, identities=setting.identities(3)) as target:
        found = compare([target], by_name["HTTP/2, one of 100 sites, 20 x 20"], effort)
        assert not found.failures
        assert found.median("memory", "securelight-pure") > 10
    with running(PEERS["securelight-pure"], setting) as target:
        idle = compare([target], by_name["idle connection, HTTP/1.1, of 2,000"], effort)
        assert not idle.failures
        assert 5 < idle.median("each", "securelight-pure") < 200


@pytest.mark.peer
@pytest.mark.skipif(shutil.which("valgrind") is None, reason="valgrind is not installed (Debian: valgrind)")
def test_instructions_are_counted_and_a_regression_is_pointed_out(setting: Setting) -> None:
    scenario = instructions.Scenario("file, HTTP/1.1", SMALL, 0, 20)

    now = instructions.measure(setting, ["pure"], [scenario])

    counted = now["instructions_per_request"]["pure"][scenario.name]
    assert 10_000 < counted < 10_000_000
    before = {**now, "instructions_per_request": {"pure": {scenario.name: counted * 0.9}}}
    assert any("+11.1% **worse**" in line for line in instructions.table(now, before))
    assert not any("worse" in line for line in instructions.table(now, now))


def test_the_goals_are_shown_even_where_nothing_was_measured() -> None:
    assert sum("not measured" in line for line in goal_lines([])) == len(GOALS)
    assert QUICK.rounds >= 2
    assert RATE.more_is_better
