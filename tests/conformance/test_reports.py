"""The reports: each can be read by what it is for, and says what has failed, hostile bytes included."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree import ElementTree

import pytest
import trio

from securelight.conformance import baseline
from securelight.conformance.baseline import Baseline
from securelight.conformance.case import Failed, Outcome, Skipped
from securelight.conformance.grade import grade_of
from securelight.conformance.reports import comparison, html, json_report, junit, sarif, text
from securelight.conformance.results import Result, score
from securelight.conformance.runner import new_run
from securelight.conformance.suites import Suite, load_suite
from securelight.conformance.target import TargetError, parse_target
from tests.conformance.http2_server import serve
from tests.conformance.support import TARGET, judged, make_case, one_suite

if TYPE_CHECKING:
    from securelight.conformance.dial import Dial
    from securelight.conformance.results import Run

HOSTILE = '<script>alert(1)</script> & \x00\x1b[31m \ud800 "quotes"'


async def good(dial: Dial) -> str:
    return await (await dial.http2()).works()


async def bad(dial: Dial) -> str:
    await (await dial.http2()).works()
    raise Failed(HOSTILE)


async def idle(_dial: Dial) -> str:
    raise Skipped("no question")


async def right(stream: trio.abc.Stream) -> None:
    await serve(stream, frozenset())


@pytest.fixture
def run() -> Run:
    cases = [make_case(good, "good"), make_case(bad, "bad"), make_case(idle, "idle")]
    return trio.run(judged, one_suite(cases), right)


def test_json_holds_everything(run: Run) -> None:
    found = json.loads(json_report.render(run))
    assert found["suites"] == [{"name": "h2", "title": "A suite", "score": 50, "passed": 1, "failed": 1, "skipped": 1}]
    assert [case["outcome"] for case in found["cases"]] == ["passed", "failed", "skipped"]
    assert found["cases"][1]["words"] == HOSTILE
    assert found["cases"][1]["transcript"][0]["hex"] == b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".hex()
    assert found["server"] == "small"


def test_junit_is_xml_with_a_failure_for_each(run: Run) -> None:
    tree = ElementTree.fromstring(junit.render(run).encode())
    [suite] = tree.findall("testsuite")
    assert (suite.get("tests"), suite.get("failures"), suite.get("skipped")) == ("3", "1", "1")
    [failure] = suite.iter("failure")
    assert "<script>" in (failure.get("message") or "")
    assert "50 52 49 20" in (failure.text or "")


def test_sarif_names_the_rule_and_the_place(run: Run) -> None:
    found = json.loads(sarif.render(run))
    [one] = found["runs"]
    assert [rule["id"] for rule in one["tool"]["driver"]["rules"]] == ["h2/1.1/bad"]
    [result] = one["results"]
    assert (result["ruleId"], result["level"], result["baselineState"]) == ("h2/1.1/bad", "error", "new")
    assert result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] == "http://127.0.0.1/"


class Page(HTMLParser):
    """Looks for what is open at the end, and for what would be loaded from elsewhere."""

    EMPTY = frozenset({"meta", "br"})

    def __init__(self, source: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.loads: list[str] = []
        self.feed(source)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in self.EMPTY:
            self.open.append(tag)
        if tag in ("script", "img", "link", "iframe") or "src" in dict(attrs):
            self.loads.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_is_whole_loads_nothing_and_runs_nothing(run: Run) -> None:
    source = html.render(run)
    source.encode()
    page = Page(source)
    assert page.open == []
    assert page.loads == []
    assert "url(" not in source
    assert "Why &lt;b&gt;it&lt;/b&gt; matters" in source
    assert "The cure" in source
    assert "50 52 49 20 2a" in source
    assert "<b>50</b>" in source


def test_the_page_of_a_run_without_failures_says_so(run: Run) -> None:
    run.results = run.results[:1]
    source = html.render(run)
    assert "Nothing failed." in source
    assert "<b>100</b>" in source
    Page(source)


def test_the_summary_counts_by_suite_and_by_level(run: Run) -> None:
    lines = text.summary(run, text.plain)
    assert any(re.fullmatch(r"  h2 +1 +1 +1 +50 %", line) for line in lines)
    assert any("1 passed, 1 failed (1 MUST, 0 SHOULD), 1 skipped" in line for line in lines)


def test_hostile_words_cannot_steer_the_terminal(run: Run) -> None:
    [failure] = run.failures()
    assert "\x1b" not in "\n".join(text.failure_lines(failure, text.plain, with_bytes=True))


def test_a_score_of_100_means_that_nothing_failed(run: Run) -> None:
    many = [run.results[0]] * 500 + [run.results[1]]
    assert score(many) == 99
    assert score(run.results[:1]) == 100
    assert score(run.results[2:]) is None


@pytest.mark.parametrize("form", ["json", "list"])
def test_what_the_baseline_knows_does_not_count(run: Run, tmp_path: Path, form: str) -> None:
    path = tmp_path / "baseline"
    path.write_text(json_report.render(run) if form == "json" else "# argued below\nh2/1.1/bad  # because\n\n")
    assert baseline.read(path).ids == {"h2/1.1/bad"}
    baseline.apply(run, baseline.read(path))
    assert len(run.failures()) == 1
    assert run.failures(new_only=True) == []
    assert ElementTree.fromstring(junit.render(run).encode()).find(".//failure") is None
    assert json.loads(sarif.render(run))["runs"][0]["results"][0]["baselineState"] == "unchanged"
    assert "(1 MUST, 0 SHOULD; 1 known)" in "\n".join(text.summary(run, text.plain))


def test_what_is_cured_can_leave_the_baseline(run: Run) -> None:
    baseline.apply(run, Baseline(frozenset({"h2/1.1/good"}), "known.txt"))
    assert "The baseline can be shortened, as these pass now: h2/1.1/good." in run.notes


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"{", "neither a JSON report nor a list of ids"),
        (b'{"cases": 3}', "neither a JSON report nor a list of ids"),
        (b'{"cases": [1]}', "neither a JSON report nor a list of ids"),
        (b'{"tests": []}', "neither a JSON report nor a list of ids (KeyError)"),
        (b'{"a":' * 100_000, "neither a JSON report nor a list of ids (RecursionError)"),
        (b"\xff\xfe", "neither a JSON report nor a list of ids"),
        (b"\x89PNG\r\n", "neither a JSON report nor a list of ids"),
        (b"h2/1.1/bad\n<html>\n", "(line 2 is '<html>')"),
        (b"[1, 2]", "(line 1 is '[1, 2]')"),
        (b'{"format": 2, "cases": []}', "a report of format 2, and this version reads 1"),
        (b'{"format": 1, "runs": []}', "a baseline is the --json report of one"),
    ],
)
def test_a_baseline_that_is_none_is_refused_with_its_name_and_the_cure(
    tmp_path: Path, content: bytes, words: str
) -> None:
    path = tmp_path / "baseline"
    path.write_bytes(content)
    with pytest.raises(TargetError) as refused:
        baseline.read(path)
    assert words in str(refused.value)
    assert str(refused.value).startswith(f"{path}: ")
    assert "--json" in str(refused.value)


def test_a_baseline_without_end_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(baseline, "MAXIMUM_BYTES", 1 << 16)
    with pytest.raises(TargetError, match="/dev/zero: larger than 65536 bytes"):
        baseline.read(Path("/dev/zero"))


def test_an_empty_baseline_knows_nothing(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "baseline"
    path.write_text("")
    baseline.apply(run, baseline.read(path))
    assert len(run.failures(new_only=True)) == 1


def test_what_is_odd_about_a_baseline_is_noted(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "baseline"
    document = json.loads(json_report.render(run))
    document |= {"target": "https://elsewhere.test/", "interrupted": True}
    document["cases"].append({"id": "h2/1.1/renamed", "outcome": "failed"})
    document["cases"].append({"id": "h3/1.1/later", "outcome": "failed"})
    document["cases"].append({"id": "hpack/6.1/index-zero", "outcome": "failed"})  # in a suite that was not asked for
    path.write_text(json.dumps(document))
    baseline.apply(run, baseline.read(path))
    assert run.failures(new_only=True) == []
    assert run.notes[-3:] == [
        f"The baseline {path} is a report about another server, https://elsewhere.test/.",
        f"The baseline {path} is of a run that was interrupted: failures are missing in it.",
        f"The baseline {path} names cases that there are not (any more): h2/1.1/renamed, h3/1.1/later.",
    ]


def test_a_hostile_name_of_a_server_harms_no_report(run: Run) -> None:
    run.server = HOSTILE + "\u202e\n| a | b |"
    run.results = [Result(one.case, one.outcome, HOSTILE + "\u202e\x9b31m", 0.1, one.entries) for one in run.results]
    run.notes = [HOSTILE, "\x1b]0;title\x07"]
    table = comparison.render([run, run])
    assert len(re.findall(r"(?<!\\)\|", table.splitlines()[0])) == 4  # the bars in the names are escaped
    assert not re.search(r"(?<!\\)<", table)
    for shown in (table, "\n".join(text.summary(run, text.plain)), html.render(run)):
        assert not {"\x1b", "\x9b", "\x07", "\x00", "\u202e"} & set(shown)
        assert "\n| a " not in shown
    page = Page(html.render(run))
    assert (page.open, page.loads) == ([], [])
    assert ElementTree.fromstring(junit.render(run).encode()).find(".//failure") is not None
    json.loads(sarif.render(run))
    assert json.loads(json_report.render(run))["server"] == run.server


def test_a_url_that_is_no_uri_is_one_in_sarif(run: Run) -> None:
    run.target = parse_target('https://a.test/%41"<x>|?a=b&c')
    [one] = json.loads(sarif.render(run))["runs"]
    [result] = one["results"]
    uri = "https://a.test/%41%22%3Cx%3E%7C?a=b&c"
    assert result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] == uri
    assert one["automationDetails"]["id"] == "conformance/a.test/"
    Page(html.render(run))


def test_servers_side_by_side(run: Run) -> None:
    lines = comparison.render([run, run]).splitlines()
    assert lines[0].count("small") == 2
    assert "50 % (1 passed, 1 failed, 1 skipped)" in lines[2]
    assert lines[-1].count("**failed**") == 2
    assert len(json.loads(comparison.render_json([run, run]))["runs"]) == 2


def test_a_partial_run_is_whole_in_every_form(run: Run) -> None:
    run.interrupted = True
    run.results = run.results[:2]
    assert json.loads(json_report.render(run))["interrupted"] is True
    assert "interrupted" in html.render(run)
    ElementTree.fromstring(junit.render(run).encode())
    assert json.loads(sarif.render(run))["runs"][0]["invocations"][0]["executionSuccessful"] is False
    assert any("Interrupted" in line for line in text.summary(run, text.plain))


def test_the_grade_of_the_header_fields_explains_itself() -> None:
    cases = [case for case in load_suite("headers").cases if case.id.startswith("headers/csp/")]
    run = new_run(TARGET, [Suite("headers", "Header fields", tuple(cases))])
    run.results = [Result(case, Outcome.FAILED, "there is <none>", 0.1) for case in cases]
    grade = grade_of(run.results)
    assert grade is not None
    run.notes = ["The certificate is not trusted here.", *grade.lines()]
    page = html.render(run)
    assert f"<b>{grade.letter}</b>" in page
    assert f"{grade.points} of 100 points" in page
    assert page.count("There is &lt;none&gt;.<small>") == len(cases)
    assert "<li>The certificate is not trusted here.</li>" in page
    assert "<li>Headers: grade" not in page
    lines = text.summary(run, text.plain)
    assert [line for line in lines if line.startswith("  note")] == [
        "  note  The certificate is not trusted here.", f"  note  {grade.lines()[0]}"
    ]  # fmt: skip
