"""The suite abuse is judged: servers that lack one bound each, and the right one that lacks none.

As in test_planted_defects: each must be found by the case that names it, and by no other than those that are about the
same thing; beside its own, each is put before every sixty-fourth of the other cases.
"""

from __future__ import annotations

import re
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING
from urllib.parse import unquote_to_bytes

import pytest
import trio
import trio.testing

from securelight.conformance.case import Outcome
from securelight.conformance.runner import Options, judge, new_run
from securelight.conformance.suites import Suite
from securelight.conformance.target import parse_target
from tests.certificates import make_test_certificates
from tests.conformance.abuse_server import AbuseServer, Defect
from tests.conformance.support import failed_ids, suites
from tests.conformance.test_planted_tls import allow_renegotiation, judge_server
from tests.conformance.tls_server import Fault, Server

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from securelight.conformance.results import Run
    from securelight.conformance.target import Target

SLICES = 64
DEAR = "abuse/8446-4/descriptors"
"""It takes seconds, whoever is asked."""
MANY = 10**9


def _twice(target: bytes) -> bytes:
    return unquote_to_bytes(unquote_to_bytes(target))


def _climbs(path: bytes) -> bytes:
    """Where a path leads that is opened without another look; empty if nowhere above the site."""
    return path if b"../" in path or b"//" in path else b""


def _without_parameters(target: bytes) -> bytes:
    return _climbs(re.sub(rb";[^/]*", b"", target))


def _overlong(target: bytes) -> bytes:
    found = re.sub(rb"(?i)%c0%ae|%e0%80%ae", b".", target)
    return _climbs(re.sub(rb"(?i)%c0%af|%c1%9c", b"/", found)) if found != target or b"%c" in target else b""


def _wide(target: bytes) -> bytes:
    found = re.sub(rb"(?i)%ef%bc%8e|%u002e", b".", target)
    return _climbs(re.sub(rb"(?i)%ef%bc%8f", b"/", found)) if found != target or b"%ef" in target else b""


UP = "abuse/CVE-2021-41773/"
HPACK, BOMB, RESET, MADE, ENDLESS = (
    "abuse/CVE-2016-6581/", "abuse/CVE-2026-49975/", "abuse/CVE-2023-44487/", "abuse/CVE-2025-8671/",
    "abuse/CVE-2024-27316/",
)  # fmt: skip
DEFECTS: dict[str, tuple[Defect, str, *tuple[str, ...]]] = {
    # Counters
    "the client's resets are not counted": (Defect(uncounted=("reset",)), f"{RESET}rapid-reset", f"{RESET}*",
                                            "abuse/10.5/reset-again"),
    "the server's resets are not counted": (Defect(uncounted=("streams reset for faults",)), f"{MADE}window-zero",
                                            f"{MADE}*", "abuse/5.1.2/*", "abuse/10.5/*"),
    "resets come back fast": (Defect(limits={"stream_resets_per_second": 1e6}), f"{RESET}rapid-reset-post",
                              f"{RESET}*", f"{MADE}*", "abuse/5.1.2/*", "abuse/10.5/*"),
    "streams have no limit": (Defect(limits={"concurrent_streams": 10_000}), "abuse/5.1.2/refused-gets",
                              "abuse/5.1.2/*"),
    "PING is not counted": (Defect(uncounted=("PING",)), "abuse/CVE-2019-9512/ping", "abuse/CVE-2019-9512/*",
                            "abuse/10.5/ping-ack"),
    "SETTINGS are not counted": (Defect(uncounted=("SETTINGS",)), "abuse/CVE-2019-9515/settings",
                                 "abuse/CVE-2019-9515/*"),
    "PRIORITY is not counted": (Defect(uncounted=("PRIORITY",)), "abuse/CVE-2019-9513/priority",
                                "abuse/CVE-2019-9513/*"),
    "PRIORITY_UPDATE is not counted": (Defect(uncounted=("PRIORITY_UPDATE",)), "abuse/10.5/priority-update"),
    "WINDOW_UPDATE is not counted": (Defect(uncounted=("WINDOW_UPDATE",)), "abuse/10.5/window-update",
                                     "abuse/10.5/window-update-*"),
    "unknown frames are not counted": (Defect(uncounted=("unknown frames",)), "abuse/10.5/unknown",
                                       "abuse/10.5/unknown-*"),
    "empty DATA is not counted": (Defect(uncounted=("empty DATA",)), "abuse/CVE-2019-9518/empty-data",
                                  "abuse/10.5/padding-only", "abuse/10.5/late-data"),
    "control frames come back fast": (Defect(limits={"control_frames_per_second": 1e7}),
                                      "abuse/CVE-2019-9513/priority", "abuse/CVE-2019-951*", "abuse/10.5/*"),
    # Header blocks
    "CONTINUATION is not counted": (Defect(limits={"continuation_frames": MANY}), f"{ENDLESS}empty", f"{ENDLESS}*"),
    "header blocks may be of any size": (Defect(limits={"continuation_frames": MANY, "request_head_bytes": MANY}),
                                         f"{ENDLESS}fields", f"{ENDLESS}*", f"{HPACK}*", f"{BOMB}*", "abuse/9112-*",
                                         "abuse/CVE-2025-53020/*", "abuse/CVE-2019-9516/*"),
    "fields may be of any size and number": (
        Defect(limits={"request_head_bytes": MANY, "request_fields": MANY, "request_target_bytes": MANY,
                       "continuation_frames": MANY}),
        f"{BOMB}tiny-fields", f"{BOMB}*", f"{HPACK}*", f"{ENDLESS}*", "abuse/CVE-2025-53020/*", "abuse/9112-*",
    ),
    "crumbs are no fields": (
        Defect(limits={"request_fields": MANY, "request_head_bytes": 1 << 20}), f"{BOMB}cookie-crumbs", f"{BOMB}*",
        f"{HPACK}*", f"{ENDLESS}*", "abuse/CVE-2025-53020/*", "abuse/9112-*",
    ),
    # HTTP/1.1
    "lines may be of any size": (
        Defect(limits={"request_target_bytes": MANY, "request_head_bytes": MANY}), "abuse/9112-3/long-line",
        "abuse/9112-*", f"{HPACK}*", f"{ENDLESS}*",
    ),
    "fields may be of any size": (Defect(limits={"request_head_bytes": MANY, "request_fields": MANY}),
                                  "abuse/9112-5/large-field", "abuse/9112-*", f"{HPACK}*", f"{BOMB}*",
                                  f"{ENDLESS}*", "abuse/CVE-2025-53020/*"),
    "extensions may be of any size": (Defect(limits={"chunk_extension_bytes": MANY}),
                                      "abuse/CVE-2023-39326/long-extension", "abuse/CVE-2024-22019/*",
                                      "abuse/9112-7.1*"),
    "extensions are not added up": (Defect(limits={"chunk_overhead_bytes": MANY}),
                                    "abuse/9112-7.1.1/many-extensions", "abuse/9112-7.1/*"),
    "trailers have no end": (Defect(limits={"trailer_bytes": MANY, "request_fields": MANY}),
                             "abuse/9112-7.1.2/many-trailers", "abuse/9112-*", f"{BOMB}*", "abuse/CVE-*"),
    "content is decompressed": (Defect(inflates=True), "abuse/9110-8.4/bomb-gzip", "abuse/9110-8.4/*"),
    # Time
    "heads may take for ever": (Defect(forgets="head"), "abuse/9112-9.5/slow-value", "abuse/9112-9.5/slow-fields",
                                "abuse/9113-10.5/slow-head"),
    "each byte is a new beginning": (Defect(restarts=True), "abuse/9112-9.5/slow-fields", "abuse/9112-9.5/slow-value",
                                     "abuse/9113-10.5/slow-head"),
    "content may take for ever": (Defect(forgets="body"), "abuse/9112-9.5/slow-content", "abuse/9112-9.5/slow-chunks",
                                  "abuse/9113-10.5/slow-content", "abuse/9113-10.5/no-content"),
    "windows may stay closed": (Defect(forgets="stall"), "abuse/9113-10.5/zero-window", "abuse/9113-10.5/byte-window"),
    "connections may stay idle": (Defect(forgets="idle"), "abuse/9112-9.5/no-request", "abuse/8446-4/nothing",
                                  "abuse/9113-3.4/no-preface"),
    # What others notice
    "each stream takes the thread for long": (Defect(stalls=0.08), f"{ENDLESS}many-blocks", "abuse/*"),
    "nobody else gets a connection": (Defect(accepts=40), DEAR, "abuse/9112-9.5/*", "abuse/8446-4*"),
    # Paths
    "dot segments are followed": (Defect(follows=_climbs), f"{UP}plain", f"{UP}*"),
    "paths are decoded after the check": (Defect(follows=lambda target: _climbs(unquote_to_bytes(target))),
                                          f"{UP}encoded-slash", f"{UP}*"),
    "paths are decoded twice": (Defect(follows=lambda target: _climbs(_twice(target))), f"{UP}encoded-twice", f"{UP}*"),
    "backslashes are slashes": (
        Defect(follows=lambda target: _climbs(unquote_to_bytes(target).replace(b"\\", b"/"))), f"{UP}backslash",
        f"{UP}*",
    ),
    "overlong forms are decoded": (Defect(follows=_overlong), f"{UP}overlong", f"{UP}*"),
    "wide characters are narrowed": (Defect(follows=_wide), f"{UP}wide", f"{UP}*"),
    "parameters are cut off late": (Defect(follows=_without_parameters), f"{UP}parameters", f"{UP}*"),
    "dots are removed once": (Defect(follows=lambda target: _climbs(target.replace(b"../", b""))), f"{UP}doubled",
                              f"{UP}*"),
    "double slashes are roots": (Defect(follows=lambda target: target * target.startswith(b"//")), f"{UP}absolute"),
    "NUL ends a path": (Defect(follows=lambda target: target * (b"%00" in target)), f"{UP}nul", f"{UP}parameters"),
    # Splitting
    "decoded paths become fields": (Defect(splits=unquote_to_bytes), "abuse/9110-5.5/split-crlf",
                                    "abuse/9110-5.5/split-*"),
    "twice decoded paths become fields": (Defect(splits=_twice), "abuse/9110-5.5/split-twice",
                                          "abuse/9110-5.5/split-*"),
}  # fmt: skip


def judge_defect(defect: Defect, suite: Sequence[Suite], only: Sequence[str] = ()) -> Run:
    """The run of the suite against a server in memory, on a clock that does not wait."""
    run = new_run(parse_target("http://127.0.0.1:80/"), suite)

    async def main() -> None:
        server = AbuseServer(defect)
        async with trio.open_nursery() as nursery:

            async def connect(_target: Target) -> trio.abc.Stream:
                return await server.connect(nursery)

            await judge(run, Options(connect=connect, only=tuple(only)))
            nursery.cancel_scope.cancel()

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
    return run


def test_the_right_server_passes_whole() -> None:
    run = judge_defect(Defect(), suites("abuse"), [case.id for case in suites("abuse")[0].cases if case.id != DEAR])
    assert failed_ids(run) == []
    skipped = {result.words for result in run.results if result.outcome is Outcome.SKIPPED}
    assert len(skipped) <= 3, skipped  # no TLS, no sockets, and a page that is too small
    assert run.notes == []


@pytest.mark.parametrize("name", DEFECTS)
def test_a_defect_is_found_by_its_own_case_and_no_unrelated_one(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    defect, own, *related = DEFECTS[name]
    if "continuation_frames" in defect.limits:
        monkeypatch.setattr("h2.frame_buffer.CONTINUATION_BACKLOG", MANY)  # h2 has a bound of its own
    number = list(DEFECTS).index(name)
    suite = suites("abuse")
    others = [case.id for case in suite[0].cases[number % SLICES :: SLICES] if case.id != DEAR]
    run = judge_defect(defect, suite, [own, *others])
    failed = failed_ids(run)
    assert own in failed, [result.words for result in run.results if result.case.id == own]
    strangers = [one for one in failed if not any(fnmatchcase(one, pattern) for pattern in (own, *related))]
    assert strangers == []


OF_TLS = (
    "abuse/8446-4.6.3/key-updates", "abuse/8446-5.4/empty-records", "abuse/8446-4/nothing", "abuse/8446-4/half-hello",
    "abuse/8446-4/silent-after-hello", "abuse/CVE-2011-1473/renegotiation",
)  # fmt: skip
"""What a server of OpenSSL that has no bounds of its own fails, but for empty records, of which OpenSSL takes 32."""


def test_a_server_of_tls_without_bounds_is_found(tmp_path: Path) -> None:
    pytest.importorskip("tlslite", reason="tlslite-ng is not installed (extra: conformance)")
    [suite] = suites("abuse")
    cases = tuple(case for case in suite.cases if case.id in OF_TLS)
    server = Server(make_test_certificates(tmp_path), Fault(settings=allow_renegotiation))
    run = judge_server((Suite("abuse", suite.title, cases),), server)
    assert sorted(failed_ids(run)) == sorted({*OF_TLS} - {"abuse/8446-5.4/empty-records"})
