"""`python -m benchmarks`: our server against the bare reactor on three workloads, then memory.

Prints tables and writes them to benchmarks/results/latest.md, and all figures to latest.json. QUICK=1 takes a fifth of
the requests, three rounds and a smaller download: enough to see that nothing is broken, not to quote.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import ssl
import statistics
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.harness import BenchmarkError, Comparison, compare_all, cores, running
from benchmarks.memory import Footprint, measure
from benchmarks.servers import BASELINE, SERVERS, Bench, make_bench
from benchmarks.workloads import WORKLOADS

RESULTS = Path(__file__).parent / "results"
QUICK = os.environ.get("QUICK", "") not in ("", "0")
ROUNDS, SHARE = (3, 0.2) if QUICK else (9, 1.0)
CONNECTIONS, DOWNLOAD_BYTES = (200, 512 << 20) if QUICK else (500, 4 << 30)
NEEDED = {"h2load": "nghttp2-client", "curl": "curl", "taskset": "util-linux"}


def machine() -> str:
    """What the figures were taken on."""
    cpu = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if "model name" in line
        ),
        platform.machine(),
    )
    server, load = cores()
    return (
        f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, {cpu}, {os.cpu_count()} cores (server on {server}, load on {load}), "
        f"load average before {os.getloadavg()[0]:.1f}, Python {platform.python_version()}, {ssl.OPENSSL_VERSION}"
        f"{', QUICK: not to be quoted' if QUICK else ''}"
    )


def speed_table(comparison: Comparison) -> list[str]:
    """One workload as Markdown."""
    lines = [f"| {comparison.workload} | requests/s, median | of {comparison.baseline} | spread |", "|---|--:|--:|--:|"]
    for name, rates in comparison.rates.items():
        ratios = comparison.ratios(name)
        spread = "" if name == comparison.baseline else f"{min(ratios):.2f}-{max(ratios):.2f}"
        lines.append(f"| {name} | {statistics.median(rates):,.0f} | {comparison.median_ratio(name):.2f} | {spread} |")
    return [*lines, ""]


def memory_table(footprints: dict[str, Footprint]) -> list[str]:
    """All servers' memory as Markdown."""
    download = f"{DOWNLOAD_BYTES / (1 << 30):g} GiB download"
    lines = [
        f"| memory | worker at rest (Pss) | idle on HTTP/1.1 | idle on HTTP/2 | {download}: growth | speed |",
        "|---|--:|--:|--:|--:|--:|",
    ]
    for name, one in footprints.items():
        lines.append(
            f"| {name} | {one.rest / 1024:.1f} MB ({one.rest_shared_out / 1024:.1f}) | {one.connection_h1:.1f} kB "
            f"| {one.connection_h2:.1f} kB | {one.download_growth / 1024:.1f} MB "
            f"| {one.download_megabytes_per_second:.0f} MB/s |"
        )
    return [*lines, ""]


def run(bench: Bench, names: Sequence[str], *, speed: bool, memory: bool) -> None:
    """Measure, print and write down.

    Errors: BenchmarkError, OSError.
    """
    report = [f"Taken {machine()}", ""]
    figures: dict[str, object] = {"machine": report[0], "quick": QUICK}
    print(*report, sep="\n", flush=True)

    def say(lines: list[str]) -> None:
        report.extend(lines)
        print(*lines, sep="\n", flush=True)

    if speed:
        servers = [SERVERS[name] for name in (BASELINE, *(name for name in names if name != BASELINE))]
        comparisons = []
        for comparison in compare_all(servers, bench, WORKLOADS, ROUNDS, SHARE, BASELINE):
            comparisons.append(asdict(comparison))
            say(speed_table(comparison))
        figures["speed"] = comparisons
    if memory:
        footprints = {}
        for name in names:
            if name != BASELINE:  # it answers everything with the small file
                with running(SERVERS[name], bench) as target:
                    footprints[name] = measure(target, bench, CONNECTIONS, DOWNLOAD_BYTES)
        say(memory_table(footprints))
        figures["memory"] = {name: asdict(one) for name, one in footprints.items()}
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "latest.md").write_text("\n".join(report) + "\n")
    (RESULTS / "latest.json").write_text(json.dumps(figures, indent=2) + "\n")
    print(f"Written to {RESULTS / 'latest.md'} and latest.json")


def main() -> int:
    """Returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__.split("\n", 1)[0] if __doc__ else ""
    )
    parser.add_argument("--only", choices=["speed", "memory"], help="one half of it")
    parser.add_argument("--servers", default="securelight", help=f"comma-separated, of: {', '.join(SERVERS)}")
    options = parser.parse_args()
    names = options.servers.split(",")
    parts = [options.only] if options.only else ["speed", "memory"]
    unknown = [name for name in names if name not in SERVERS]
    missing = [
        f"{program} (Debian package {package})" for program, package in NEEDED.items() if not shutil.which(program)
    ]
    if unknown or missing:
        print(*[f"no such server: {one}" for one in unknown], *[f"missing: {one}" for one in missing], sep="\n")
        return 1
    with tempfile.TemporaryDirectory(prefix="securelight-bench-") as directory:
        try:
            run(make_bench(Path(directory)), names, speed="speed" in parts, memory="memory" in parts)
        except BenchmarkError as error:
            print(f"The benchmark was broken off: {error}", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
