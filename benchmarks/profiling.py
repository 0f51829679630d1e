"""Where the time of a workload goes, by function: a worker of ours under cProfile, loaded like in the benchmark.

    python -m benchmarks.profiling "HTTP/2, 612 B, 20 x 20" [--engine pure] [--sort cumulative] [--keep FILE]

cProfile makes Python's calls dearer than they are and shows each extension's call as one line: it tells where to look,
not what was won. That is for benchmarks/instructions.py and for interleaved rounds to say.
"""

from __future__ import annotations

import argparse
import pstats
import shutil
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from benchmarks.instructions import ENGINES, controlled_worker
from benchmarks.origin import origin, php
from benchmarks.peers import PEERS
from benchmarks.peers.peer import Ability
from benchmarks.processes import BenchmarkError, Running
from benchmarks.rounds import Effort, Workload
from benchmarks.setting import Setting, make_setting
from benchmarks.workloads import WORKLOADS

SHOWN = 35


def profile(setting: Setting, workload: Workload, engine: str, seconds: float) -> Path:
    """Load a worker for `seconds`, or as long as the workload takes; returns the file with the profile.

    Errors: BenchmarkError, OSError.
    """

    def prefix(directory: Path) -> Sequence[str]:
        return [sys.executable, "-m", "cProfile", "-o", str(directory / "profile")]

    with ExitStack() as stack:
        if Ability.PROXY in workload.needs:
            stack.enter_context(origin(setting))
        if Ability.FASTCGI in workload.needs:
            stack.enter_context(php(setting))
        _control, place, process_id = stack.enter_context(
            controlled_worker(setting, engine, prefix, application=workload.application)
        )
        target = Running(PEERS["securelight"], place, setting, process_id, 0)
        workload.measure(target, Effort(rounds=1, seconds=seconds, quick=True))
    return place.directory / "profile"


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the exit status."""
    by_name = {workload.name: workload for workload in WORKLOADS if not workload.sites}
    parser = argparse.ArgumentParser(prog="python -m benchmarks.profiling")
    parser.add_argument("workload", choices=list(by_name), metavar="WORKLOAD", help="see python -m benchmarks --list")
    parser.add_argument("--engine", choices=ENGINES, default=ENGINES[0])
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--sort", choices=["tottime", "cumulative", "ncalls"], default="tottime")
    parser.add_argument("--keep", type=Path, help="where to put the profile, for other viewers")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="securelight-bench-") as directory:
        try:
            setting = make_setting(Path(directory), Path(directory))
            file = profile(setting, by_name[options.workload], options.engine, options.seconds)
        except BenchmarkError as error:
            print(f"There is no profile: {error}", file=sys.stderr)
            return 1
        pstats.Stats(str(file)).strip_dirs().sort_stats(options.sort).print_stats(SHOWN)
        if options.keep:
            shutil.copy(file, options.keep)
    return 0


if __name__ == "__main__":
    sys.exit(main())
