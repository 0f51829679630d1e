"""`make compare`: every server that is installed before every suite of the judge (python -m tests.conformance.compare).

Each is started on loopback with a certificate of the run and the same page, judged as `securelight conform` does, and
the table in docs/conformance.md is written anew. With --check nothing is written: what each server fails is compared
with its file in expected/, and the exit status is 1 where a verdict has changed. With --keep those files follow.
--results keeps the reports in a folder, and --from makes the table of such a folder again.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from securelight.conformance.case import Level
from securelight.conformance.suites import suite_names
from securelight.pki.local_certificates import ensure_local_certificates
from tests.conformance.peers import PEERS, ROOT, Peer, make_place, running

DOCUMENT = ROOT / "docs" / "conformance.md"
EXPECTED = Path(__file__).parent / "expected"
BEGIN, END = "<!-- made by `make compare`: begin -->", "<!-- made by `make compare`: end -->"
SOMETIMES = "sometimes"
"""Begins the remark of a case that a server fails in some runs only: neither way is then a change."""
NOT_ARGUED = "\n# Not looked at yet.\n"
JUDGE_SECONDS = 1_800
MORE_PATIENCE = 3
GRADED = "headers"
"""A suite that is no question of right and wrong: its grade stands in the table, and its cases in no file."""


@dataclass(frozen=True, slots=True)
class Judgment:
    """What the judge found.

    Attributes:
        version: of the server.
        report: as --json writes it, and how often the server ended by itself (`deaths`).
    """

    version: str
    report: Mapping[str, Any]

    def cases(self, outcome: str = "failed") -> dict[str, Mapping[str, Any]]:
        """Those that ended so, by id."""
        return {case["id"]: case for case in self.report["cases"] if case["outcome"] == outcome}

    def cell(self, suite: str) -> str:
        """What the table says of a suite."""
        found = next((one for one in self.report["suites"] if one["name"] == suite), None)
        if found is None or found["score"] is None:
            return ""
        failed = [case for case in self.cases().values() if case["id"].startswith(suite + "/")]
        if suite == GRADED:
            return self._grade()
        musts = sum(case["level"] == "MUST" for case in failed)
        return f"{found['score']} %" + (f" ({musts} + {len(failed) - musts})" if failed else "")

    def _grade(self) -> str:
        grades = [note.split("grade ")[1][0] for note in self.report["notes"] if note.startswith("Headers: grade ")]
        return f"grade {grades[0]}" if grades else ""

    def corrected(self, second: Judgment) -> Judgment:
        """This one with the verdicts of a second one in the place of its own."""
        later = {case["id"]: case for case in second.report["cases"]}
        cases = [later.get(case["id"], case) for case in self.report["cases"]]
        suites = [{**suite, "score": _score(suite["name"], cases)} for suite in self.report["suites"]]
        return Judgment(self.version, {**self.report, "cases": cases, "suites": suites})

    def deaths(self) -> int:
        """How often it ended, whether or not the judge noticed: it was started again at once."""
        return int(self.report.get("deaths", 0))


def judge(
    peer: Peer, directory: Path, suites: Sequence[str], expected: Mapping[str, bool], *, patience: float = 5.0
) -> Judgment:
    """Start a server below `directory` and put all cases of the suites to it, as processes of their own do.

    Where a verdict is another one than expected, it is asked for once more, alone and with more patience, and the
    second one counts: machines have other work, and a changed verdict happens twice.

    Errors: AssertionError if the server does not start, or the judge ends without a report.
    """
    local = ensure_local_certificates(directory / "certs")
    place = make_place(directory / peer.name, directory / "certs", local.leaf.chain_path, local.leaf.key_path)
    report = place.directory / "report.json"

    def ask(seconds: float, *arguments: str) -> Judgment:
        command = [
            sys.executable, "-m", "securelight", "conform", f"https://localhost:{place.port}/", "--fail-on", "never",
            "--ca", str(local.authority.certificate_path), "--json", str(report), "--patience", str(seconds),
        ]  # fmt: skip
        done = subprocess.run(
            [*command, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=JUDGE_SECONDS, check=False,
            stdin=subprocess.DEVNULL,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
        return Judgment(peer.say_version(), json.loads(report.read_text()))

    with running(peer, place) as keeper:
        found = ask(patience, *(argument for suite in suites for argument in ("--suite", suite)))
        changed = [line.split()[2] for line in differences(expected, found)]
        if changed:
            only = [argument for one in changed for argument in ("--only", one)]
            found = found.corrected(ask(MORE_PATIENCE * patience, "--jobs", "1", *only))
    return Judgment(found.version, {**found.report, "deaths": keeper.deaths})


def _score(suite: str, cases: Iterable[Mapping[str, Any]]) -> int | None:
    """As results.score has it, of a report."""
    asked = [case for case in cases if case["id"].startswith(suite + "/") and case["outcome"] != "skipped"]
    whole = sum(Level[case["level"]] for case in asked)
    right = sum(Level[case["level"]] for case in asked if case["outcome"] == "passed")
    return int(100 * right / whole) if whole else None


# What is expected


def read_expected(text: str) -> dict[str, bool]:
    """The ids of a file in expected/; True for those that are failed in each run."""
    lines = [line.partition("#") for line in text.splitlines()]
    return {one.strip(): not remark.strip().startswith(SOMETIMES) for one, _, remark in lines if one.strip()}


def differences(expected: Mapping[str, bool], found: Judgment) -> list[str]:
    """A line for each verdict that is another one than it was."""
    failed, passed = found.cases(), found.cases("passed")
    lines = [
        f"fails now: {one} ({case['words']})"
        for one, case in failed.items()
        if one not in expected and not one.startswith(GRADED + "/")
    ]
    return lines + [f"passes now: {one}" for one, always in expected.items() if always and one in passed]


def follow(text: str, found: Judgment) -> str:
    """The file of a server after a run: what passes now is gone, what is new stands at the end, remarks stay."""
    passed = found.cases("passed")
    kept = [
        line
        for line in text.splitlines()
        if (one := line.partition("#")[0].strip()) not in passed or not read_expected(line)[one]
    ]
    known = read_expected(text)
    new = [
        f"{one}  # {case['title']}"
        for one, case in found.cases().items()
        if one not in known and not one.startswith(GRADED + "/")
    ]
    body = "\n".join(kept).rstrip("\n") + "\n"
    if new and NOT_ARGUED.strip() not in body:
        body += NOT_ARGUED
    return body + "".join(line + "\n" for line in new)


def expected_file(peer: Peer) -> Path:
    """Where what a server fails is kept; both engines of ours have one file, because they differ in nothing."""
    return EXPECTED / f"{'securelight' if peer.ours else peer.name}.txt"


def expected_text(peer: Peer) -> str:
    """What is in it."""
    file = expected_file(peer)
    return file.read_text() if file.exists() else f"# What {file.stem} {peer.say_version()} fails.\n"


# The table


def table(judgments: Mapping[str, Judgment], suites: Sequence[str], missing: Iterable[str]) -> str:
    """What stands between the marks in the document."""
    heads = [f"{name} {one.version}" if not PEERS[name].ours else name for name, one in judgments.items()]
    counts: dict[str, int] = {}
    for case in next(iter(judgments.values())).report["cases"]:
        suite = case["id"].partition("/")[0]
        counts[suite] = counts.get(suite, 0) + 1
    rows = [
        [f"{suite}, {counts.get(suite, 0)} cases", *(one.cell(suite) for one in judgments.values())] for suite in suites
    ]
    rows.append(["died in the middle", *(str(one.deaths() or "") for one in judgments.values())])
    lines = ["| suite | " + " | ".join(heads) + " |", "|---" * (len(heads) + 1) + "|"]
    lines += ["| " + " | ".join(row) + " |" for row in rows]
    left_out = "".join(f" {name} was not installed." for name in missing)
    when = f"{datetime.now(UTC):%B %Y}"
    return "\n".join([BEGIN, f"{when}. In brackets: MUST + SHOULD that failed.{left_out}", "", *lines, END])


def written(document: str, made: str) -> str:
    """The document with the table in its place. Errors: ValueError without the marks."""
    before, _, rest = document.partition(BEGIN)
    _, mark, after = rest.partition(END)
    if not mark:
        raise ValueError(f"the document lacks {BEGIN} or {END}")
    return before + made + after


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="make compare", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="write nothing; 1 where a verdict has changed")
    parser.add_argument("--keep", action="store_true", help="let the files of what is expected follow what was found")
    parser.add_argument("--servers", default=",".join(PEERS), help="comma-separated; without it: %(default)s")
    parser.add_argument("--suites", default=",".join(suite_names()), help="comma-separated; without it: %(default)s")
    parser.add_argument("--from", dest="source", type=Path, help="judge nobody: the reports are in this folder")
    parser.add_argument("--results", type=Path, help="a folder for the report of each server, as JSON")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the exit status."""
    options = parse(arguments)
    names, suites = options.servers.split(","), options.suites.split(",")
    if unknown := [one for one in names if one not in PEERS] + [one for one in suites if one not in suite_names()]:
        print(f"no such server or suite: {', '.join(unknown)}", file=sys.stderr)
        return 2
    missing = [name for name in names if PEERS[name].find() is None]
    for name in missing:
        print(f"skipped: {name} is not installed (package {PEERS[name].package})", flush=True)
    judgments: dict[str, Judgment] = {}
    changed = 0
    with tempfile.TemporaryDirectory(prefix="securelight-compare-") as directory:
        Path(directory).chmod(0o755)  # for servers that drop root
        for name in names:
            if name not in missing:
                peer, kept = PEERS[name], options.source and options.source / f"{name}.json"
                text = expected_text(peer)
                if kept:
                    found = Judgment(peer.say_version(), json.loads(kept.read_text()))
                else:
                    found = judge(peer, Path(directory), suites, read_expected(text))
                judgments[name] = found
                changed += _one(peer, found, text, options)
    if not options.check and judgments and options.servers == ",".join(PEERS):
        DOCUMENT.write_text(written(DOCUMENT.read_text(), table(judgments, suites, missing)))
        print(f"written to {DOCUMENT.relative_to(ROOT)}")
    return int(bool(changed) and options.check)


def _one(peer: Peer, found: Judgment, text: str, options: argparse.Namespace) -> int:
    """Say what was found of a server, and keep what is to be kept; returns how many verdicts have changed."""
    cells = ", ".join(f"{suite['name']} {found.cell(suite['name'])}" for suite in found.report["suites"])
    print(f"{peer.name} {found.version}: {cells}; {found.report['seconds']:.0f} s", flush=True)
    if options.results is not None:
        options.results.mkdir(parents=True, exist_ok=True)
        (options.results / f"{peer.name}.json").write_text(json.dumps(found.report, indent=1) + "\n")
    lines = differences(read_expected(text), found)
    print(*(f"  {line}" for line in lines), sep="\n", end="\n" if lines else "", flush=True)
    if options.keep:
        expected_file(peer).write_text(follow(text, found))
    return len(lines)


if __name__ == "__main__":
    sys.exit(main())
