"""`python -m tests.fuzz TARGET|all --seconds N [--seed N] [--keep] [--random]`, or `TARGET --input FILE`.

Exit code 1 on a finding.
"""

from __future__ import annotations

import argparse
import random
import sys
from pathlib import Path

from tests.fuzz import corpus
from tests.fuzz.runner import can_be_guided, load, names, run, run_guided


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz")
    parser.add_argument("target", choices=["all", *names()])
    parser.add_argument("--seconds", type=float, default=60.0, help="for each target")
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32))
    parser.add_argument("--keep", action="store_true", help="put what reached something new into tests/fuzz/corpus")
    parser.add_argument("--random", action="store_true", help="random mutations, even where atheris is installed")
    parser.add_argument("--input", type=Path, help="run this one input again")
    arguments = parser.parse_args()
    if arguments.input is not None:
        if arguments.target == "all":
            parser.error("--input needs one target")
        load(arguments.target).fuzz(arguments.input.read_bytes())
        return 0
    guided = can_be_guided() and not arguments.random
    if not guided:
        print("Not guided by coverage: " + ("as asked for." if can_be_guided() else "atheris is not installed here."))
    found = False
    for name in names() if arguments.target == "all" else [arguments.target]:
        if guided:
            outcome = run_guided(name, arguments.seconds, arguments.seed, keep=arguments.keep)
        else:
            target = load(name)
            seeds = [*target.seeds, *corpus.kept(name)]
            outcome = run(target._replace(seeds=seeds), arguments.seconds, arguments.seed)
        rate = outcome.runs / max(outcome.seconds, 0.001)
        print(
            f"{name}: {outcome.runs} runs in {outcome.seconds:.0f} s, {rate:.0f} a second, seed {arguments.seed}",
            flush=True,
        )
        if outcome.finding is not None:
            found = True
            print(f"  FOUND. Again: python -m tests.fuzz {name} --input {outcome.finding}", flush=True)
    return int(found)


if __name__ == "__main__":
    sys.exit(main())
