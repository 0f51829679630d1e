"""Results as Markdown and as JSON."""

from __future__ import annotations

import os
import platform
import ssl
import statistics
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.goals import behind, judge
from benchmarks.peers.peer import Peer
from benchmarks.processes import cores
from benchmarks.rounds import Effort, Metric, Result
from benchmarks.setting import Setting

GROUPS = {
    1: "Small file, HTTP/2",
    2: "Small file, HTTP/1.1",
    3: "10 kB and a real page",
    4: "Downloads",
    5: "Uploads",
    6: "TLS handshakes",
    7: "Conditions, ranges, precompressed",
    8: "ASGI applications",
    9: "Latency",
    10: "Memory",
    11: "How cost grows",
    12: "Instructions a request",
    13: "Servers behind",
    15: "Compression",
    16: "Cache",
    17: "Rules, limits, passwords",
    18: "PHP by FastCGI",
    19: "WSGI applications",
    20: "WebSockets",
}


def describe_machine(effort: Effort) -> dict[str, Any]:
    """What the figures are taken on, and when."""
    cpu = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if "model name" in line
        ),
        platform.machine(),
    )
    server, load = cores()
    return {
        "taken": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        "cpu": cpu,
        "cores": os.cpu_count(),
        "server_core": server,
        "load_core": load,
        "load_before": round(os.getloadavg()[0], 2),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "openssl": ssl.OPENSSL_VERSION,
        "rounds": effort.rounds,
        "quick": effort.quick,
    }


def versions(peers: Sequence[Peer], setting: Setting) -> dict[str, str]:
    """What each server says of itself."""
    return {peer.name: peer.say_version(setting) for peer in peers}


def header(machine: Mapping[str, Any], servers: Mapping[str, str]) -> list[str]:
    """The beginning of the report."""
    lines = [
        f"Taken {machine['taken']}: {machine['cpu']}, {machine['cores']} cores (servers on {machine['server_core']}, "
        f"load on {machine['load_core']}), Linux {machine['kernel']}, "
        f"Python {machine['python']}, {machine['openssl']}, {machine['rounds']} rounds, "
        f"load average before {machine['load_before']}.",
    ]
    if machine["quick"]:
        lines += ["", "**QUICK: few short rounds, enough to see that nothing is broken. Not to be quoted.**"]
    lines += ["", "Servers: " + "; ".join(f"{name}: {version}" for name, version in servers.items()) + ".", ""]
    return lines


def metric_table(result: Result, metric: Metric) -> list[str]:
    """One figure of one workload."""
    by_server = result.figures.get(metric.name, {})
    baselines = [name for name in result.workload.baselines if name in by_server]
    less = "" if metric.more_is_better else " (less is better)"
    names = "".join(f" | to {name} | spread" for name in baselines)
    lines = [
        f"| {result.workload.name} | {metric.unit}{less}{names} |",
        "|---|--:|" + "--:|--:|" * len(baselines),
    ]
    for server in by_server:
        cells = [f"{result.median(metric.name, server):,.{metric.decimals}f}"]
        for baseline in baselines:
            ratios = result.ratios(metric.name, server, baseline)
            if server == baseline or not ratios:
                cells += ["1" if ratios else "-", ""]
            else:
                cells += [f"{statistics.median(ratios):.2f}", f"{min(ratios):.2f}-{max(ratios):.2f}"]
        lines.append(f"| {server} | {' | '.join(cells)} |")
    return [*lines, ""]


def workload_lines(result: Result) -> list[str]:
    """Everything of one workload."""
    lines = []
    for metric in result.workload.metrics:
        if result.figures.get(metric.name):
            lines += metric_table(result, metric)
    lines += [f"- {name}: no figures: {' '.join(why.split())[-300:]}" for name, why in result.failures.items()]
    return [*lines, ""] if result.failures else lines


def goal_lines(results: Sequence[Result]) -> list[str]:
    """How we stand against what is to be reached."""
    lines = ["| goal | must | aim | reached | |", "|---|--:|--:|--:|---|"]
    for verdict in judge(results):
        goal = verdict.goal
        who = "" if goal.server == "securelight" else f" ({goal.server})"
        to = f", to {goal.baseline}" if goal.baseline else ""
        reached = "-" if verdict.reached is None else f"{verdict.reached:.2f}"
        lines.append(
            f"| {goal.workload}{who}, {goal.metric}{to} | {goal.must:g} | {goal.aim:g} | {reached} | {verdict.state} |"
        )
    if late := behind(results):
        lines += ["", "Behind servers that we are to be ahead of:", "", *(f"- {line}" for line in late)]
    return [*lines, ""]


def markdown(
    head: Sequence[str],
    results: Sequence[Result],
    skipped: Mapping[str, str],
    instructions: Sequence[str],
    pictures: Sequence[str],
) -> str:
    """The whole report."""
    lines = ["# Benchmark", "", *head]
    if skipped:
        lines += ["Left out: " + "; ".join(f"{name} ({why})" for name, why in skipped.items()) + ".", ""]
    lines += ["## Goals", "", *goal_lines(results)]
    for number, title in GROUPS.items():
        group = [result for result in results if result.workload.group == number]
        if group:
            lines += [f"## {number}. {title}", ""]
            lines += [f"![{name}]({name})" for name in pictures if name.startswith(f"group-{number:02}")]
            lines += [""] * bool(pictures)
            for result in group:
                lines += workload_lines(result)
    if instructions:
        lines += [f"## 12. {GROUPS[12]}", "", *instructions]
    return "\n".join(lines).rstrip() + "\n"


def as_data(result: Result) -> dict[str, Any]:
    """One workload for JSON: every round of every server."""
    workload = result.workload
    return {
        "group": workload.group,
        "workload": workload.name,
        "baselines": list(workload.baselines),
        "curve": workload.curve,
        "at": workload.at,
        "metrics": {metric.name: metric.unit for metric in workload.metrics},
        "figures": result.figures,
        "failures": result.failures,
    }
