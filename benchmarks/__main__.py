"""`python -m benchmarks`: this server beside its peers, interleaved round by round. `make bench` runs all of it.

Prints tables and writes results/latest.md, latest.json and pictures. QUICK=1 takes two short rounds, the servers that
matter most, and no workload that takes long, and ends within five minutes: enough to see that nothing is broken, not
to be quoted.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from benchmarks import instructions, report
from benchmarks.goals import servers_in
from benchmarks.origin import origin, php
from benchmarks.peers import PEERS
from benchmarks.peers.peer import Ability, Peer
from benchmarks.pictures import draw
from benchmarks.processes import BenchmarkError
from benchmarks.rounds import FULL, QUICK, Effort, Result, Workload, compare, compare_fresh, start_all
from benchmarks.setting import Setting, make_setting
from benchmarks.workloads import WORKLOADS

HERE = Path(__file__).parent
RESULTS = HERE / "results"
PEER_ENVIRONMENT = HERE.parent / ".venv-bench"
QUICK_SECONDS = 240
"""QUICK begins no further workload after this."""
NEEDED = {"h2load": "nghttp2-client", "wrk": "wrk", "openssl": "openssl", "taskset": "util-linux"}
INSTRUCTIONS_GROUP = 12


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--groups", default="", help="numbers of groups, comma-separated; without it, all")
    parser.add_argument("--workloads", default="", help="only those whose name has this in it")
    parser.add_argument("--goals", action="store_true", help="only workloads with a goal, and the servers it names")
    parser.add_argument("--servers", default="", help=f"comma-separated, of: {', '.join(PEERS)}")
    parser.add_argument("--rounds", type=int, default=0, help="rounds of each workload")
    parser.add_argument("--results", type=Path, default=RESULTS, help="the folder for what is written")
    parser.add_argument("--peers", type=Path, default=PEER_ENVIRONMENT, help="environment with the servers from PyPI")
    parser.add_argument("--list", action="store_true", help="name the workloads and the servers, and end")
    return parser.parse_args(arguments)


def choose_effort(options: argparse.Namespace) -> Effort:
    """QUICK or not, and how many rounds."""
    effort = QUICK if os.environ.get("QUICK", "") not in ("", "0") else FULL
    return replace(effort, rounds=options.rounds) if options.rounds > 0 else effort


def choose_workloads(options: argparse.Namespace, effort: Effort) -> list[Workload]:
    """Those that are asked for."""
    groups = {int(one) for one in options.groups.split(",") if one}
    return [
        one
        for one in WORKLOADS
        if (not groups or one.group in groups)
        and options.workloads in one.name
        and (not options.goals or servers_in(one.name))
        and not (effort.quick and one.long and not options.workloads)
    ]


def choose_peers(options: argparse.Namespace, setting: Setting) -> tuple[list[Peer], dict[str, str]]:
    """Those that are asked for and installed, and why others are not there."""
    wanted = [PEERS[name] for name in options.servers.split(",") if name] or list(PEERS.values())
    missing = {
        peer.name: f"not installed; {'PyPI' if peer.from_pypi else 'Debian'} package {peer.package}"
        for peer in wanted
        if peer.find(setting) is None
    }
    return [peer for peer in wanted if peer.name not in missing], missing


def taking_part(workload: Workload, peers: Sequence[Peer], *, narrow: bool) -> list[Peer]:
    """The servers for a workload; `narrow`: only ours, those that ratios are to, and those that its goals name."""
    few = {"securelight", *workload.baselines, *servers_in(workload.name)}
    return [peer for peer in peers if workload.takes(peer) and (not narrow or peer.name in few)]


def measure_all(
    workloads: Sequence[Workload], peers: Sequence[Peer], setting: Setting, effort: Effort, *, narrow: bool
) -> tuple[list[Result], dict[str, str]]:
    """Every workload, printed as it ends, and what was left out; after an interrupt, those that had ended."""
    results: list[Result] = []
    left_out: dict[str, str] = {}
    begun = time.monotonic()

    def keep(result: Result) -> None:
        results.append(result)
        print(*report.workload_lines(result), sep="\n", flush=True)
        minutes = (time.monotonic() - begun) / 60
        print(f"{len(results)} of {len(workloads)} workloads, {minutes:.0f} min", file=sys.stderr, flush=True)

    try:
        _measure_each(workloads, peers, setting, effort, keep, left_out, narrow=narrow)
    except KeyboardInterrupt:
        left_out |= {one.name: "interrupted" for one in workloads if one not in [each.workload for each in results]}
    order = {workload.name: number for number, workload in enumerate(WORKLOADS)}
    return sorted(results, key=lambda result: order[result.workload.name]), left_out


def _measure_each(
    workloads: Sequence[Workload],
    peers: Sequence[Peer],
    setting: Setting,
    effort: Effort,
    keep: Callable[[Result], None],
    left_out: dict[str, str],
    *,
    narrow: bool,
) -> None:
    end = time.monotonic() + QUICK_SECONDS if effort.quick else float("inf")
    for application in (False, True):
        here = [one for one in workloads if not one.fresh and one.application == application]
        wanted = [peer for peer in peers if any(peer in taking_part(one, peers, narrow=narrow) for one in here)]
        with ExitStack() as stack:
            if any(Ability.PROXY in one.needs for one in here):
                try:
                    stack.enter_context(origin(setting))
                except BenchmarkError as error:
                    left_out["proxies"] = str(error)
                    here = [one for one in here if Ability.PROXY not in one.needs]
            if any(Ability.FASTCGI in one.needs for one in here):
                try:
                    stack.enter_context(php(setting))
                except BenchmarkError as error:
                    left_out["PHP"] = str(error)
                    here = [one for one in here if Ability.FASTCGI not in one.needs]
            targets, failures = start_all(stack, wanted, setting, application=application)
            left_out |= failures
            for workload in here:
                if time.monotonic() > end:
                    left_out[workload.name] = "time was up"
                    continue
                names = {peer.name for peer in taking_part(workload, peers, narrow=narrow)}
                keep(compare([one for one in targets if one.peer.name in names], workload, effort))
    for workload in (one for one in workloads if one.fresh):
        if time.monotonic() > end:
            left_out[workload.name] = "time was up"
        else:
            keep(compare_fresh(taking_part(workload, peers, narrow=narrow), setting, workload, effort))


def count_instructions(options: argparse.Namespace, setting: Setting, effort: Effort) -> Mapping[str, object]:
    """Group 12, if it is wanted and can be done."""
    groups = [one for one in options.groups.split(",") if one]
    if (
        options.workloads
        or options.goals
        or (groups and str(INSTRUCTIONS_GROUP) not in groups)
        or (effort.quick and not groups)
    ):
        return {}
    try:
        return instructions.measure(setting)
    except BenchmarkError as error:
        print(f"No instructions were counted: {error}", file=sys.stderr)
        return {}


def run(options: argparse.Namespace, setting: Setting) -> None:
    """Measure, print and write down.

    Errors: BenchmarkError, also once what there was before an interrupt is written; CertificateError, OSError.
    """
    effort = choose_effort(options)
    peers, skipped = choose_peers(options, setting)
    machine, servers = report.describe_machine(effort), report.versions(peers, setting)
    head = report.header(machine, servers)
    print(*head, sep="\n", flush=True)
    for name, why in skipped.items():
        print(f"Skipped: {name} ({why})", flush=True)
    workloads = choose_workloads(options, effort)
    results, left_out = measure_all(
        workloads, peers, setting, effort, narrow=(effort.quick or options.goals) and not options.servers
    )
    interrupted = "interrupted" in left_out.values()
    if interrupted and not results:
        raise BenchmarkError("interrupted before there was anything to write")
    counted: Mapping[str, object] = {}
    if not interrupted:
        try:
            counted = count_instructions(options, setting, effort)
        except KeyboardInterrupt:
            interrupted = True
    options.results.mkdir(parents=True, exist_ok=True)
    for picture in options.results.glob("group-*.svg"):
        picture.unlink()
    drawn = draw(results, options.results)
    skipped |= left_out
    instruction_lines = instructions.table(counted) if counted else []
    text = report.markdown(head, results, skipped, instruction_lines, drawn)
    (options.results / "latest.md").write_text(text)
    figures = {
        "machine": machine,
        "versions": servers,
        "left_out": skipped,
        "workloads": [report.as_data(result) for result in results],
        "instructions": counted,
    }
    (options.results / "latest.json").write_text(json.dumps(figures, indent=1) + "\n")
    print(*instruction_lines, *report.goal_lines(results), sep="\n")
    print(f"Written to {options.results}: latest.md, latest.json and {len(drawn)} pictures")
    if interrupted:
        raise BenchmarkError(f"interrupted; written is what {len(results)} of {len(workloads)} workloads gave")


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the exit status."""
    options = parse(arguments)
    if options.list:
        print(*(f"{one.group:2} {one.name}" for one in WORKLOADS), "", *PEERS, sep="\n")
        return 0
    unknown = [name for name in options.servers.split(",") if name and name not in PEERS]
    missing = [
        f"{program} (Debian package {package})" for program, package in NEEDED.items() if not shutil.which(program)
    ]
    if unknown or missing:
        print(*(f"no such server: {one}" for one in unknown), *(f"missing: {one}" for one in missing), sep="\n")
        return 1
    with tempfile.TemporaryDirectory(prefix="securelight-bench-") as directory:
        try:
            run(options, make_setting(Path(directory), options.peers.absolute()))
        except BenchmarkError as error:
            print(f"The benchmark was broken off: {error}", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # the servers are stopped on the way out
    sys.exit(main())
