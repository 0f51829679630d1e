"""The judge is judged: small servers with one fault each, and the right one with none.

Each fault must be found by the case that names it, and by no other than those that are about the same thing. To keep
the time short, a fault is put before the cases of its own and every sixteenth of the others, another sixteenth for the
next fault; all of them together see every other case several times.
"""

from __future__ import annotations

import os
import re
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

from securelight.conformance.case import Outcome
from securelight.conformance.suites import Suite
from tests.conformance.support import failed_ids, judge_faults, suites

SLICES = 1 if os.environ.get("SECURELIGHT_EVERY_CASE") else 16
"""With SECURELIGHT_EVERY_CASE, every fault is put before every case: a few minutes."""

DEFECTS: dict[str, tuple[str, ...]] = {
    # Beginning and end
    "the preface is not looked at": ("h2/3.4/wrong-first-byte", "h2/3.4/*"),
    "any frame may be first": ("h2/3.4/first-frame-ping", "h2/3.4/first-frame-*"),
    "settings come late": ("h2/3.4/server-settings-first",),
    "an error does not close": ("h2/5.4.1/closed-after-error",),
    "no goaway is sent": ("h2/5.4.1/goaway-before-close",),
    "goaway forgets streams": ("h2/6.8/last-stream",),
    "GOAWAY ends all streams": ("h2/6.8/finish",),
    "resets are answered with resets": ("h2/5.4.2/no-reset-for-reset", "h2/5.1/*-on-reset", "h2/5.1/rst-stream-on-*",
                                        "hpack/2.2/after-reset", "h2/7/unknown-code"),
    # Frames
    "frames may be too large": ("h2/4.2/oversize-unknown", "h2/4.2/*"),
    "wrong code for large frames": ("h2/4.2/oversize-data", "h2/4.2/oversize-*"),
    "frames sent are too large": ("h2/4.2/frame-size",),
    "the reserved bit counts": ("h2/4.1/reserved-bit-headers", "h2/4.1/reserved-bit-*"),
    "unknown frames are an error": ("h2/5.5/unknown-type-0b", "h2/5.5/*", "h2/9218-7.1/*", "h2/4.2/largest-unknown",
                                    "h2/5.1/altsvc-on-*", "h2/5.1/unknown-on-*", "h2/5.1/priority-update-on-*"),
    "PRIORITY may have any size": ("h2/6.3/priority-of-4-bytes", "h2/6.3/priority-of-*"),
    "PING may have any size": ("h2/6.7/ping-of-7-bytes", "h2/6.7/ping-of-*", "h2/4.2/oversize-ping"),
    "RST_STREAM may have any size": ("h2/6.4/rst-stream-of-3-bytes", "h2/6.4/rst-stream-of-*"),
    "WINDOW_UPDATE may have any size": ("h2/6.9/window-update-of-3-bytes", "h2/6.9/*window-update-of-*"),
    "SETTINGS may have any size": ("h2/6.5/settings-of-5-bytes", "h2/6.5/settings-of-*"),
    "GOAWAY may be short": ("h2/6.8/goaway-of-7-bytes", "h2/6.8/goaway-of-*"),
    "control frames may be on a stream": ("h2/5.1/ping-on-idle", "h2/5.1/settings-on-*", "h2/5.1/ping-on-*",
                                          "h2/5.1/goaway-on-*"),
    "PUSH_PROMISE is ignored": ("h2/5.1/push-promise-on-open", "h2/5.1/push-promise-on-*",
                                "h2/8.4/push-promise-on-stream-0"),
    "stream 0 is ignored": ("h2/6.2/headers-on-stream-0", "h2/6.*/*-on-stream-0", "h2/5.4.1/*", "h2/6.8/last-stream"),
    "padding may be too long": ("h2/6.1/padding-much-too-long", "h2/6.?/padding-*"),
    "padding is content": ("h2/6.1/padded-data", "h2/6.1/pad*"),
    # Streams
    "even streams may be opened": ("h2/5.1.1/request-on-stream-2", "h2/5.1.1/request-on-stream-*"),
    "streams may be opened in any order": ("h2/5.1.1/lower-number", "h2/5.1.1/left-out-is-closed"),
    "streams have no limit": ("h2/5.1.2/too-many-streams",),
    "few streams are allowed": ("h2/6.5.2/hundred-streams", "h2/5.1.2/too-many-streams"),
    "DATA may be on an idle stream": ("h2/5.1/data-on-idle",),
    "RST_STREAM may be on an idle stream": ("h2/5.1/rst-stream-on-idle",),
    "WINDOW_UPDATE may be on an idle stream": ("h2/5.1/window-update-on-idle",),
    "DATA after the end is ignored": ("h2/5.1/data-on-half-closed", "h2/5.1/data-on-*"),
    "HEADERS after the end are ignored": ("h2/5.1/headers-on-closed", "h2/5.1/headers-on-*"),
    "late frames are an error": ("h2/5.1/data-on-server-reset", "h2/5.1/*-on-server-reset", "hpack/2.2/after-*"),
    # SETTINGS and PING
    "SETTINGS are not acknowledged": ("h2/6.5.3/acknowledged", "h2/6.5.3/*", "hpack/4.2/changed-later"),
    "acknowledgements are acknowledged": ("h2/6.5.3/acknowledgement-unanswered", "h2/6.5.3/acknowledged"),
    "a SETTINGS acknowledgement may have content": ("h2/6.5/ack-with-content",),
    "ENABLE_PUSH may be anything": ("h2/6.5.2/enable-push-2", "h2/6.5.2/enable-push-*"),
    "INITIAL_WINDOW_SIZE may be anything": ("h2/6.5.2/window-2-31", "h2/6.5.2/window-*"),
    "MAX_FRAME_SIZE may be anything": ("h2/6.5.2/frame-size-16383", "h2/6.5.2/frame-size-*"),
    "unknown settings are an error": ("h2/6.5.2/unknown",),
    "push is announced": ("h2/6.5.2/server-push-off",),
    "PING is answered with zeros": ("h2/6.7/echo", "h2/6.7/*"),
    "PING acknowledgements are answered": ("h2/6.7/ack-unanswered",),
    # Flow control
    "the connection's window may overflow": ("h2/6.9.1/window-overflow", "h2/6.9.1/window-overflow-in-steps"),
    "a stream's window may overflow": ("h2/6.9.1/stream-overflow", "h2/6.9.1/stream-overflow-in-steps"),
    "SETTINGS may overflow windows": ("h2/6.9.2/settings-overflow",),
    "zero increments are ignored": ("h2/6.9/zero-increment", "h2/6.9/zero-increment-on-stream"),
    "the increment's reserved bit counts": ("h2/6.9/reserved-bit-of-increment",),
    "stream windows are ignored": ("h2/6.9/window-of-one", "h2/6.9*", "h2/6.5.3/in-order", "h2/5.1/*-on-half-closed",
                                   "h2/5.4.2/no-reset-for-reset", "h2/5.1.2/too-many-streams", "h2/6.8/finish"),
    "the connection's window is ignored": ("h2/6.9/connection-window", "h2/6.9*"),
    "SETTINGS change the connection's window": ("h2/6.9.2/not-the-connection", "h2/6.9*"),
    "open streams keep their window": ("h2/6.9.2/raised-in-flight", "h2/6.9.2/*"),
    "windows are never negative": ("h2/6.9.2/negative-window",),
    "windows for content are not checked": ("h2/6.9.1/stream-overrun", "h2/6.9.1/padding-counts"),
    "padding is not counted": ("h2/6.9.1/padding-counts",),
    "discarded content is not credited": ("h2/5.2.1/credit-for-discarded",),
    # Header blocks in pieces
    "blocks may be interrupted by PING": ("h2/6.10/interrupted-by-ping",),
    "blocks may be interrupted by unknown frames": ("h2/6.10/interrupted-by-unknown",),
    "CONTINUATION may come alone": ("h2/6.10/after-the-end", "h2/6.10/after-*", "h2/5.1/continuation-on-*"),
    "CONTINUATION has no end": ("h2/6.10/endless",),
    # Requests
    "names may be in upper case": ("h2/8.2.1/name-with-upper-case", "h2/8.2.1/name-with-one-upper-case",
                                   "h2/8.1/trailers-with-upper-case", "hpack/2.2/after-*", "h2/5.1/*-on-server-reset"),
    "names may be anything": ("h2/8.2.1/name-with-space", "h2/8.2.1/*name*", "h2/8.1/trailers-with-upper-case"),
    "values may have control characters": ("h2/8.2.1/value-with-new-line", "h2/8.2.1/value-with-*", "h2/8.3.1/*-in-*",
                                           "h2/8.1/trailers-with-new-line"),
    "values may have white space around": ("h2/8.2.1/value-with-leading-space", "h2/8.2.1/value-with-*"),
    "connection fields are taken": ("h2/8.2.2/transfer-encoding", "h2/8.2.2/*", "h2/8.1/trailers-with-*"),
    "TE may be anything": ("h2/8.2.2/te", "h2/8.2.2/te-with-more"),
    "pseudo-headers may come late": ("h2/8.3/after-a-field",),
    "pseudo-headers may be repeated": ("h2/8.3.1/two-path", "h2/8.3.1/two-*"),
    "any pseudo-header is taken": ("h2/8.3/unknown", "h2/8.3/*", "h2/8441-4/*"),
    "no method is needed": ("h2/8.3.1/no-method", "h2/8.3.1/empty-method"),
    "no scheme is needed": ("h2/8.3.1/no-scheme",),
    "no path is needed": ("h2/8.3.1/no-path",),
    "paths may be anything": ("h2/8.3.1/relative-path", "h2/8.3.1/*-path*"),
    "Host may be another one": ("h2/8.3.1/other-host",),
    "user information is taken": ("h2/8.3.1/user-information",),
    "content-length is not compared": ("h2/8.1.1/length-too-little", "h2/8.1.1/*length*"),
    "lengths are read by int()": ("h2/8.1.1/length-plus",),
    "lengths may be repeated": ("h2/8.1.1/two-lengths",),
    "trailers are an error": ("h2/8.1/trailers", "h2/8.1/trailers-without-content", "h2/6.10/trailers-in-pieces",
                              "h2/5.1/headers-on-open", "hpack/2.2/after-trailers"),
    "trailers need no end": ("h2/8.1/trailers-without-end",),
    "trailers may have pseudo-header fields": ("h2/8.1/trailers-with-pseudo", "h2/8.1/trailers-with-status",
                                               "hpack/2.2/after-trailers"),
    "trailers are not looked at": ("h2/8.1/trailers-with-upper-case", "h2/8.1/trailers-with-*"),
    # Answers
    "answers have connection fields": ("h2/8.2.2/no-connection-fields",),
    "answers have upper-case names": ("h2/8.2/lower-case",),
    "content-length lies": ("h2/8.1.1/true-length",),
    "HEAD has content": ("h2/8.1/head-without-content", "hpack/*", "h2/6.9/only-data-counts"),
    # Header compression
    "compression errors have another code": ("hpack/6.1/index-zero", "hpack/*"),
    "compression errors cost a stream": ("hpack/5.2/cut-value", "hpack/*"),
    "index zero is skipped": ("hpack/6.1/index-zero",),
    "indexes beyond the table are taken": ("hpack/2.3.3/index-beyond", "hpack/2.3.3/*", "hpack/6.*", "hpack/4.*",
                                           "hpack/5.1/index-*", "hpack/5.1/cut-*"),
    "integers have 32 bits": ("hpack/5.1/index-overflow-to-two", "hpack/5.1/*-overflow*"),
    "cut integers are taken": ("hpack/5.1/cut-integer", "hpack/5.1/cut-long-integer"),
    "cut strings are taken": ("hpack/5.2/cut-value", "hpack/5.2/*", "hpack/5.1/length-overflow*"),
    "EOS is skipped": ("hpack/5.2/huffman-eos", "hpack/5.2/huffman-eos-inside"),
    "long padding is taken": ("hpack/5.2/huffman-long-padding", "hpack/5.2/huffman-whole-byte-padding"),
    "padding is not looked at": ("hpack/5.2/huffman-zero-padding", "hpack/5.2/huffman-*-padding"),
    "late size updates are taken": ("hpack/4.2/size-update-at-the-end", "hpack/4.2/size-update-inside"),
    "size updates have no limit": ("hpack/6.3/beyond-the-limit",),
    "size updates are ignored": ("hpack/4.3/emptied-by-update", "hpack/4.3/*"),
    "table is new for each request": ("hpack/2.3.2/kept", "hpack/*", "h2/*"),
    "oldest entry is first": ("hpack/2.3.2/newest-first", "hpack/*", "h2/*"),
    "late blocks are not decoded": ("hpack/2.2/after-refusal", "h2/5.1/headers-on-server-reset"),
    "never-indexed fields are indexed": ("hpack/6.2.3/never-added",),
    "fields without indexing are indexed": ("hpack/6.2.2/not-added", "hpack/*"),
    "nothing is evicted": ("hpack/4.4/one-byte-more", "hpack/4.*"),
    "entries have no overhead": ("hpack/4.4/one-byte-more", "hpack/4.4/*"),
    "a large field is an error": ("hpack/4.4/larger-than-the-table",),
    "a large field empties nothing": ("hpack/4.4/larger-than-the-table",),
    "the client's table size is ignored": ("hpack/4.2/client-table-0", "hpack/4.2/*"),
}  # fmt: skip
"""The fault -> the case that names it, and what else it may cost."""


def some_cases(defect: str) -> tuple[Suite, ...]:
    """The cases that a fault is put before."""
    place = list(DEFECTS).index(defect)
    chosen = []
    for suite in suites("h2", "hpack"):
        own = [case for case in suite.cases if any(fnmatchcase(case.id, one) for one in DEFECTS[defect])]
        own = own if len(own) < 40 else [case for case in own if case.id == DEFECTS[defect][0]]
        others = [case for number, case in enumerate(suite.cases) if number % SLICES == place % SLICES]
        chosen.append(Suite(suite.name, suite.title, tuple(dict.fromkeys(own + others))))
    return tuple(chosen)


@pytest.mark.parametrize("defect", DEFECTS)
def test_a_planted_defect_is_found_by_its_case_and_by_no_stranger(defect: str) -> None:
    failed = failed_ids(judge_faults(some_cases(defect), defect))
    assert DEFECTS[defect][0] in failed
    assert [one for one in failed if not any(fnmatchcase(one, pattern) for pattern in DEFECTS[defect])] == []


def test_the_server_without_a_defect_passes_whole() -> None:
    run = judge_faults(suites("h2", "hpack"))
    assert failed_ids(run) == []
    skipped = [result.case.id for result in run.results if result.outcome is Outcome.SKIPPED]
    assert skipped == ["h2/3.2/alpn", "h2/9.2/tls-version"]  # there is no TLS in memory


def test_every_defect_of_the_small_server_is_planted() -> None:
    folder = Path(__file__).parent
    sources = (folder / "http2_server.py").read_text() + (folder / "hpack_decoder.py").read_text()
    known = set(re.findall(r'wrong\(\s*"([^"]+)"', sources)) | set(
        re.findall(r'"([^"]+)" (?:not )?in self\.f', sources)
    )
    assert known == set(DEFECTS)
