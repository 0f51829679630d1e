"""The judge's HTTP/1.1 suite is judged: a small server with one fault at a time, and the right one with none.

Each fault must be found by the case that names it, and by no other than those that are about the same thing. A fault is
put before the cases of its own and every fourth of the others; with SECURELIGHT_EVERY_CASE before all.
"""

from __future__ import annotations

import os
import re
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing

from securelight.conformance.suites import Suite
from tests.conformance.http1_server import MADE, serve
from tests.conformance.support import failed_ids, judged, suites

if TYPE_CHECKING:
    from collections.abc import Sequence

    from securelight.conformance.results import Run

SLICES = 1 if os.environ.get("SECURELIGHT_EVERY_CASE") else 4

DEFECTS: dict[str, tuple[str, ...]] = {
    "large heads are a 500": ("h1/9110-5.4/long-value", "h1/9110-5.4/many-fields"),
    "empty lines are an error": ("h1/2.2/empty-line-first",),
    "bare CR is taken": ("h1/2.2/bare-cr-after-version", "h1/2.2/bare-cr-line-ends", "h1/2.2/bare-cr-hides-length"),
    "long targets are a 400": ("h1/3/long-target",),
    "any white space is taken": ("h1/3/two-spaces", "h1/3/two-spaces-before-version", "h1/3/tab", "h1/3.2/tab"),
    "versions may be anything": ("h1/2.3/version-lower-case", "h1/2.3/version-two-minor-digits"),
    "HTTP/2.0 is taken": ("h1/9110-15.6.6/version-2.0", "h1/9110-15.6.6/version-3.0", "h1/9110-15.6.6/version-0.9"),
    "1.2 is refused": ("h1/9110-2.5/version-1.2",),
    "methods have no case": ("h1/9110-9.1/case-get", "h1/9110-9.1/case-capital-get", "h1/9110-9.1/case-head"),
    "absolute targets are refused": ("h1/3.2.2/absolute", "h1/9112-3.2.4/absolute", "h1/3.2.2/absolute*"),
    "targets may be anything": ("h1/3.2/user-information",),
    "names may end with a space": (
        "h1/5.1/white-space-before-colon-space",
        "h1/7.1/trailer-space-before-colon",
        "h1/5.1/white-space-before-colon-tab",
        "h1/5.1/white-space-before-colon-content-length",
    ),
    "folded lines are fields": ("h1/2.2/white-space-before-host", "h1/7.1/trailer-folded"),
    "names may be anything": (
        "h1/9110-5.1/name-with-space",
        "h1/7.1/no-end",
        "h1/7.1/trailer*",
        "h1/5.1/white*",
        "h1/9110-5.1/name*",
        "h1/9110-5.1/empty-name",
        "h1/5/no-colon",
        "h1/6.1/both*",
    ),
    "values may be anything": (
        "h1/9110-5.5/nul-in-value",
        "h1/9110-5.5/bare-cr-refused",
        "h1/2.2/bare-lf-line",
        "h1/2.2/lf-cr",
    ),
    "names in upper case are unknown": ("h1/9110-5.1/case-of-length", "h1/9.6/upper-case", "h1/6.1/both-upper-case"),
    "underscores are dashes": ("h1/6.3/lookalike-underscore-length",),
    "no Host is needed": ("h1/3.2/no-host", "h1/3.2.2/absolute-without-host"),
    "Host may be repeated": ("h1/3.2/two-hosts", "h1/3.2/same-host-twice"),
    "Host may be anything": ("h1/3.2/host-with-space", "h1/3.2/host*"),
    "Content-Length wins": ("h1/6.1/both-length-then-coding", "h1/6.1/both*"),
    "Transfer-Encoding wins": ("h1/6.1/both-length-then-coding", "h1/6.1/both*"),
    "any coding is chunked": ("h1/6.3/coding-xchunked", "h1/6.3/coding*", "h1/6.3/chunked*", "h1/6.1/unknown-coding"),
    "unknown codings are ignored": (
        "h1/6.3/coding-xchunked",
        "h1/6.3/coding*",
        "h1/6.3/chunked*",
        "h1/6.1/unknown-coding",
    ),
    "the first length counts": ("h1/6.3/two-lengths", "h1/6.3/two-lengths-nought-first", "h1/6.3/two-lengths-of-get"),
    "the last length counts": ("h1/6.3/two-lengths", "h1/6.3/two-lengths-nought-first", "h1/6.3/two-lengths-of-get"),
    "lengths are read by int()": ("h1/6.3/length-plus", "h1/6.3/length*"),
    "lengths end anywhere": ("h1/6.3/length-plus", "h1/6.3/length*"),
    "chunk lines may end with LF": (
        "h1/7.1/size-bare-lf",
        "h1/7.1/data-bare-lf",
        "h1/7.1/data-shorter",
        "h1/7.1/last-bare-lf",
        "h1/7.1/last-extension-bare-lf",
    ),
    "extensions have no limit": ("h1/7.1.1/extension-limit",),
    "chunk extensions are an error": ("h1/7.1.1/extension-name", "h1/7.1.1/extension*", "h1/7.1/one-byte-at-a-time"),
    "sizes are read by int()": ("h1/7.1/size-0x", "h1/7.1/size*", "h1/7.1/extension-quoted-crlf"),
    "extensions may be anything": ("h1/7.1/extension-quoted-crlf",),
    "sizes overflow": ("h1/7.1/overflow-17-digits", "h1/7.1/overflow-2-to-32", "h1/7.1/overflow-long-with-noughts"),
    "the end of a chunk is not looked at": ("h1/7.1/data-two-bytes",),
    "trailers are the next request": (
        "h1/7.1.2/trailer-one",
        "h1/7.1.2/trailer-several",
        "h1/9110-6.5.1/trailer*",
        "h1/7.1/no-end",
        "h1/7.1/trailer*",
        "h1/7.1/one-byte-at-a-time",
    ),
    "trailers are not looked at": ("h1/7.1/trailer-no-colon", "h1/7.1/no-end", "h1/7.1/trailer*"),
    "answers say 1.0 to 1.0": ("h1/9110-6.2/version-of-answers",),
    "dates are of RFC 850": ("h1/9110-5.6.7/date-format", "h1/9110-6.6.1/date-is-now", "h1/9110-8.8.2.1/last-modified"),
    "no Date is sent": ("h1/9110-6.6.1/date",),
    "405 has no Allow": ("h1/9110-15.5.6/allow",),
    "close is not announced": ("h1/9.6/announced", "h1/9.6/refusal-announced"),
    "HEAD has another length": ("h1/9110-8.6/length",),
    "HEAD has content": (
        "h1/9110-9.3.2/no-content",
        "h1/9110-10.1.1/head",
        "h1/9112-6.3/old",
        "h1/9.3.2/pipeline",
        "h1/6.3/length-of-head",
        "h1/6.3/chunks-of-head",
    ),
    "304 has content": (
        "h1/9110-13.1.2/same-etag",
        "h1/9110-13.1.2/in-a-list",
        "h1/9110-13.1.2/in-two-fields",
        "h1/9110-13.1.2/weak",
        "h1/9110-13.1.2/star",
        "h1/9110-13.1.2/head",
        "h1/9110-5.6.7/rfc850",
        "h1/9110-5.6.7/asctime",
        "h1/9110-13.1.3/same",
        "h1/9110-13.1.3/newer",
        "h1/6.3/content-not-modified",
    ),
    "decoded targets become fields": ("h1/9110-5.5/no-injection",),
    "TRACE gives all back": ("h1/9110-9.3.8/trace-secrets",),
    "unknown methods are GET": (
        "h1/9110-9.1/unknown",
        "h1/9110-9.1/long",
        "h1/9110-9.1/all-characters",
        "h1/9110-9.1/case*",
    ),
    "anybody may PUT": ("h1/9110-9.2.1/get-after-delete",),
    "304 has no ETag": ("h1/9110-15.4.5/fields",),
    "HEAD has ranges": ("h1/9110-14.2/head",),
    "If-Match is ignored": ("h1/9110-13.1.1/other-etag", "h1/9110-13.1.1/weak", "h1/9110-13.1.4/over-date"),
    "If-Match is weak": ("h1/9110-13.1.1/weak",),
    "If-None-Match is ignored": (
        "h1/9110-13.1.2/same-etag",
        "h1/9110-13.1.2/in-a-list",
        "h1/9110-13.1.2/in-two-fields",
        "h1/9110-13.1.2/weak",
        "h1/9110-13.1.2/star",
        "h1/9110-13.1.2/head",
        "h1/9110-13.1.3/over-date",
        "h1/9110-15.4.5/fields",
    ),
    "If-None-Match is strong": ("h1/9110-13.1.2/weak",),
    "both conditions count": ("h1/9110-13.1.3/over-date",),
    "one form of dates is known": ("h1/9110-5.6.7/rfc850", "h1/9110-5.6.7/asctime"),
    "bad dates are now": ("h1/9110-13.1.3/no-date", "h1/9110-13.1.3/impossible-date", "h1/9110-13.1.3/two-dates"),
    "any unit is bytes": ("h1/9110-14.2/unknown-unit",),
    "If-Range is ignored": ("h1/9110-13.1.5/other-etag", "h1/9110-13.1.5/weak-etag", "h1/9110-13.1.5/other-date"),
    "many ranges are all sent": ("h1/9110-14.2/overlapping", "h1/9110-14.2/many-bytes"),
    "no range is out of reach": ("h1/9110-14.1.2/beyond", "h1/9110-14.1.2/far-beyond", "h1/9110-14.1.2/empty-suffix"),
    "ranges end one byte early": (
        "h1/9110-14.1.2/middle",
        "h1/9110-14.1.2/open",
        "h1/9110-14.1.2/suffix",
        "h1/9110-14.1.2/long-suffix",
        "h1/9110-14.1.2/past-the-end",
        "h1/9110-14.1.2/huge-end",
    ),
    "close has to stand alone": (
        "h1/9.6/upper-case",
        "h1/9.6/in-a-list",
        "h1/9.6/in-a-list-first",
        "h1/9.6/with-keep-alive",
        "h1/9.6/empty-members",
    ),
    "1.0 is kept open": (
        "h1/9.3/old-closes",
        "h1/9110-10.1.1/old-client",
        "h1/9110-15.2/old-client-no-interim",
        "h1/9.3/old-keep-alive",
    ),
    "the connection always closes": (
        "h1/9.3/two-requests",
        "h1/9110-9.3.2/no-content",
        "h1/9.3.2/pipeline",
        "h1/9.3/content-between",
    ),
    "1.0 gets 100": ("h1/9110-10.1.1/old-client",),
    "Expect is never answered": (
        "h1/9110-10.1.1/post",
        "h1/9110-10.1.1/put",
        "h1/9110-10.1.1/get",
        "h1/9110-10.1.1/head",
        "h1/9110-10.1.1/delete",
        "h1/9110-10.1.1/case",
        "h1/9110-10.1.1/chunked",
    ),
    "417 leaves the content": (
        "h1/9110-10.1.1/post",
        "h1/9110-10.1.1/put",
        "h1/9110-10.1.1/get",
        "h1/9110-10.1.1/head",
        "h1/9110-10.1.1/delete",
        "h1/9110-10.1.1/case",
        "h1/9110-10.1.1/at-once",
        "h1/9110-10.1.1/chunked",
        "h1/6.3/content-expect-tab",
    ),
    "content of GET is left": (
        "h1/6.3/length-of-get",
        "h1/9110-10.1.1/get",
        "h1/9110-10.1.1/head",
        "h1/6.3/chunks-of-get",
        "h1/6.3/chunks-of-head",
        "h1/6.3/length-of-head",
        "h1/6.3/content*",
    ),
    "content of what is missing is left": (
        "h1/6.3/content-missing",
        "h1/6.3/content-missing-folder",
        "h1/6.3/chunks-missing",
    ),
    "chunks of DELETE are left": ("h1/6.3/chunks-of-delete",),
    "requests after close are answered": (
        "h1/9.6/close",
        "h1/9110-10.1.1/old-client",
        "h1/9110-15.2/old-client-no-interim",
        "h1/9.3.2/pipeline",
        "h1/9.3/content-between",
        "h1/9.6/upper-case",
        "h1/9.6/in*",
        "h1/9.6/with-keep-alive",
        "h1/9.6/empty-members",
        "h1/9.6/close-with-content",
        "h1/9.3/old-closes",
        "h1/9.3/old-keep-alive",
        "h1/6.3/answer-order",
    ),
    "a refusal leaves the connection open": ("h1/6.3/length-plus", "h1/*"),
    "a cut request is answered": ("h1/6.3/cut-content",),
}
"""The fault -> the case that names it, and what else it may cost."""


def judge_faults(cases: Sequence[Suite], *faults: str) -> Run:
    """The run of `cases` against the small server with these faults."""
    wrong = frozenset(faults)
    MADE.clear()

    async def main() -> Run:
        return await judged(cases, lambda stream: serve(stream, wrong))

    return trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


def some_cases(defect: str) -> tuple[Suite, ...]:
    """The cases that a fault is put before."""
    place = list(DEFECTS).index(defect)
    (suite,) = suites("h1")
    cases = [
        case
        for number, case in enumerate(suite.cases)
        if number % SLICES == place % SLICES or case.id == DEFECTS[defect][0]
    ]
    return (Suite(suite.name, suite.title, tuple(cases)),)


@pytest.mark.parametrize("defect", DEFECTS)
def test_a_planted_defect_is_found_by_its_case_and_by_no_stranger(defect: str) -> None:
    failed = failed_ids(judge_faults(some_cases(defect), defect))
    assert DEFECTS[defect][0] in failed
    assert [one for one in failed if not any(fnmatchcase(one, pattern) for pattern in DEFECTS[defect])] == []


def test_the_server_without_a_defect_passes_whole() -> None:
    run = judge_faults(suites("h1"))
    assert [(result.case.id, result.words) for result in run.failures()] == []
    assert len(run.results) >= 440
    assert [result.case.id for result in run.results if result.outcome.value == "skipped"] == []


def test_every_defect_of_the_small_server_is_planted() -> None:
    source = (Path(__file__).parent / "http1_server.py").read_text()
    assert set(re.findall(r'wrong\(\s*"([^"]+)"', source)) == set(DEFECTS)
