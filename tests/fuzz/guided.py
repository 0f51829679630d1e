"""`python -m tests.fuzz.guided TARGET FOLDER SECONDS SEED`: one coverage-guided run, by atheris (libFuzzer).

A process of its own, because libFuzzer ends the process that it runs in. FOLDER/corpus has the inputs to begin with and
gets those that reached something new; a finding is put into FOLDER as crash-*, timeout-* or oom-*.
"""

from __future__ import annotations

import sys
from pathlib import Path

import atheris

INSTRUMENTED = ["securelight", "h2", "h11", "hpack", "hyperframe", "wsproto", "planted_targets"]
"""Where coverage is looked at: our parsers, the engines that are Python, and the fault that test_targets plants."""
LONGEST_RUN_SECONDS = 10
"""One input that takes longer is a finding."""
MEMORY_MEGABYTES = 1024
"""An input that needs more is one, too."""


def main() -> None:
    name, folder, seconds, seed = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
    with atheris.instrument_imports(include=INSTRUMENTED):
        from tests.fuzz.runner import MAXIMUM_INPUT_BYTES, load

        target = load(name)
    options = [
        f"-max_total_time={seconds}",
        f"-seed={seed}",
        f"-max_len={MAXIMUM_INPUT_BYTES}",
        f"-artifact_prefix={folder}/",
        f"-timeout={LONGEST_RUN_SECONDS}",
        f"-rss_limit_mb={MEMORY_MEGABYTES}",
        f"-dict={folder / 'words'}",
        "-print_final_stats=1",
    ]
    atheris.Setup([sys.argv[0], *options, str(folder / "corpus")], target.fuzz)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
