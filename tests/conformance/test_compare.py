"""The comparison of servers: what changes are told, how files and table follow, and that the judge is asked twice."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from securelight.conformance.suites import load_suite, suite_names
from tests.conformance.compare import (
    BEGIN,
    DOCUMENT,
    END,
    EXPECTED,
    Judgment,
    differences,
    follow,
    main,
    read_expected,
    table,
    written,
)
from tests.conformance.peers import PEERS, Peer, Place, make_place, running
from tests.server.processes import wait_until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.certificates import TestCertificates


def judgment(notes: tuple[str, ...] = (), **outcomes: str) -> Judgment:
    """Of cases named x/1/NAME, all of them MUST."""
    cases: list[dict[str, Any]] = [
        {"id": f"x/1/{name}", "outcome": outcome, "level": "MUST", "title": f"Title of {name}", "words": "it was wrong"}
        for name, outcome in outcomes.items()
    ]
    return Judgment("1.0", {"cases": cases, "suites": [{"name": "x", "score": 50}], "notes": list(notes), "seconds": 1})


def test_a_verdict_that_changed_either_way_is_told() -> None:
    expected = read_expected("# About these\nx/1/a\nx/1/b\n\nx/1/c  # sometimes: a race\nx/1/d\n")
    found = judgment(a="failed", b="passed", c="passed", d="skipped", e="failed", f="passed")
    assert differences(expected, found) == ["fails now: x/1/e (it was wrong)", "passes now: x/1/b"]
    assert differences(expected, judgment(a="failed", b="failed", c="failed", d="failed")) == []


def test_the_file_follows_and_keeps_its_remarks() -> None:
    text = "# What it fails.\n\n# Argued.\nx/1/a\nx/1/b\nx/1/c  # sometimes: a race\n"
    found = judgment(a="failed", b="passed", c="passed", e="failed")
    after = follow(text, found)
    assert after == (
        "# What it fails.\n\n# Argued.\nx/1/a\nx/1/c  # sometimes: a race\n\n# Not looked at yet.\n"
        "x/1/e  # Title of e\n"
    )  # fmt: skip
    assert differences(read_expected(after), found) == []
    assert follow(after, found) == after


def test_the_second_verdict_counts() -> None:
    first = judgment(a="failed", b="failed", c="passed")
    found = first.corrected(judgment(b="passed"))
    assert sorted(found.cases()) == ["x/1/a"]
    assert found.cell("x") == "66 % (1 + 0)"


def test_the_table_has_a_column_a_server_and_tells_who_died() -> None:
    nginx = judgment(("Headers: grade B, 80 of 100 points.",), a="failed")
    nginx = Judgment("1.0", {**nginx.report, "deaths": 2})
    made = table(
        {"securelight": judgment(a="passed"), "nginx": nginx}, ["x"], ["caddy"]
    )  # fmt: skip
    lines = made.splitlines()
    assert (lines[0], lines[-1]) == (BEGIN, END)
    assert "caddy was not installed" in lines[1]
    assert lines[3:-1] == [
        "| suite | securelight | nginx 1.0 |", "|---|---|---|", "| x, 1 cases | 50 % | 50 % (1 + 0) |",
        "| died in the middle |  | 2 |",
    ]  # fmt: skip


def test_the_table_stands_between_its_marks_in_the_document() -> None:
    document = DOCUMENT.read_text()
    made = f"{BEGIN}\nthe table\n{END}"
    after = written(document, made)
    assert made in after
    assert written(after, document[document.index(BEGIN) : document.index(END) + len(END)]) == document
    with pytest.raises(ValueError, match="lacks"):
        written("no marks", made)


def test_what_is_expected_names_cases_that_there_are() -> None:
    known = {case.id for name in suite_names() for case in load_suite(name).cases}
    files = sorted(EXPECTED.glob("*.txt"))
    assert {file.stem for file in files} == {"securelight" if peer.ours else peer.name for peer in PEERS.values()}
    for file in files:
        assert set(read_expected(file.read_text())) <= known, file.name


def test_wrong_names_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--servers", "apache", "--suites", "h3"]) == 2
    assert "apache, h3" in capsys.readouterr().err


def test_a_server_that_dies_is_started_again(tmp_path: Path, certificates: TestCertificates) -> None:
    code = (
        "import os, socket, ssl\n"
        "context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)\n"
        f"context.load_cert_chain({str(certificates.chain)!r}, {str(certificates.key)!r})\n"
        "listener = socket.create_server(('127.0.0.1', PORT))\n"
        "open('starts', 'a').write('x')\n"
        "context.wrap_socket(listener.accept()[0], server_side=True)\n"  # serves once, and is gone
    )
    starts = tmp_path / "one" / "starts"

    def arguments(place: Place) -> list[str]:
        return ["-c", f"import os; os.chdir({str(place.directory)!r})\n" + code.replace("PORT", str(place.port))]

    peer = Peer("mortal", "python3", "python3", arguments)
    place = make_place(tmp_path / "one", tmp_path, certificates.chain, certificates.key)
    with running(peer, place) as keeper:
        wait_until(lambda: starts.read_text().startswith("xx"), 60.0)
    assert keeper.deaths >= 1


def test_the_parts_of_a_report_that_the_table_needs_are_there(tmp_path: Path) -> None:
    """What `judge` reads is what --json writes: a run of the command over a kept report."""
    report = {
        "cases": [], "suites": [{"name": name, "score": 100} for name in suite_names()], "notes": [], "seconds": 1.0,
    }  # fmt: skip
    (tmp_path / "nginx.json").write_text(json.dumps(report))
    if PEERS["nginx"].find() is None:
        pytest.skip("nginx is not installed")
    assert main(["--check", "--servers", "nginx", "--from", str(tmp_path)]) == 0
