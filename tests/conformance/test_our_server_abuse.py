"""Our own server under attack, on both engines: a real process, over TLS, with its memory looked at meanwhile.

Its deadlines are short here, so that the slow attacks are over soon. The attacks that take seconds by themselves run
with SECURELIGHT_EVERY_CASE=1 only.
"""

from __future__ import annotations

import json
import os
import threading
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from securelight.conformance.suites import load_suite
from securelight.protocol.engine import native_available
from tests.server.processes import alive, make_site, securelight
from tests.wire.server_process import ServerProcess, running, write_config

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tests.certificates import TestCertificates

PAGE = b"<p>High water at noon.</p>" * 5_000
LIMITS = """
handshake_seconds = 2
request_head_seconds = 2
idle_seconds = 3
write_stall_seconds = 2
body_grace_seconds = 2
"""
SITE = """
root = "{site}"

[[site.route]]
path = "/read"

[site.route.asgi]
app = "reading_app:app"
app_directory = "{here}"
"""
DEAR = (
    "abuse/8446-4/descriptors", "abuse/8446-4/handshake-flood", "abuse/8446-4.6.3/*",
    "abuse/9112-9.5/idle-crowd", "abuse/CVE-2024-2511/ticket-flood", "abuse/8446-4.1.2/hello-flood",
    "abuse/8446-5/rubbish", "abuse/8446-4/connect-and-leave", "abuse/9110-8.4/bomb-*", "abuse/CVE-2021-41773/[!eb]*",
    "abuse/9110-5.5/split-[lwt]*", "abuse/CVE-2025-8671/[hns]*", "abuse/10.5/*-*",
    "abuse/CVE-2024-27316/many-blocks", "abuse/9112-5/many-*", "abuse/*/*-unread",
)  # fmt: skip
GROWTH_BYTES = 20 << 20
"""Of a worker, by whatever attacks it, one connection or eighty; and what may be left when they are over."""
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


class Memory:
    """Looks at what the workers hold, again and again."""

    def __init__(self, server: ServerProcess) -> None:
        self._pids = server.workers()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.before = self.peak = self.now()

    def __enter__(self) -> Memory:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def now(self) -> int:
        """Bytes in the memory of the machine, of all workers."""
        return sum(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in self._pids) * PAGE_BYTES

    def _run(self) -> None:
        while not self._over.wait(0.02):
            self.peak = max(self.peak, self.now())


@pytest.fixture(scope="module", params=["pure", "native"])
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, certificates: TestCertificates
) -> Iterator[ServerProcess]:
    if request.param == "native" and not native_available():
        pytest.skip("the native engine is not installed (extra: fast)")
    directory = tmp_path_factory.mktemp(f"attacked-{request.param}")
    site = SITE.format(site=make_site(directory, PAGE), here=Path(__file__).parent)
    write_config(directory, certificates, site, engine=str(request.param), limits=LIMITS)
    with running(directory) as started:
        yield started


def attacked(server: ServerProcess, ca: Path, path: str, only: Sequence[str], report: Path) -> list[dict[str, Any]]:
    """The cases of a run that passed whole."""
    chosen = [argument for one in only for argument in ("--only", one)]
    done = securelight(
        "conform", f"https://localhost:{server.port}{path}", *chosen, "--fail-on", "should", "--ca", ca, "--patience",
        "40", "--json", report, seconds=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    cases: list[dict[str, Any]] = json.loads(report.read_text())["cases"]
    assert [case for case in cases if case["outcome"] == "failed"] == []
    return cases


def test_attacks_are_stopped_and_leave_nothing_behind(
    server: ServerProcess, certificates: TestCertificates, tmp_path: Path
) -> None:
    workers = server.workers()
    everything = bool(os.environ.get("SECURELIGHT_EVERY_CASE"))
    fast = [
        case.id
        for case in load_suite("abuse").cases
        if not case.slow and (everything or not any(fnmatchcase(case.id, dear) for dear in DEAR))
    ]
    attacked(server, certificates.ca, "/", ["h2/6.7"], tmp_path / "warm.json")
    with Memory(server) as memory:
        cases = attacked(server, certificates.ca, "/read", fast, tmp_path / "fast.json")
    assert len(cases) >= 50
    assert memory.peak - memory.before <= GROWTH_BYTES
    assert memory.now() - memory.before <= GROWTH_BYTES
    slow = [case.id for case in load_suite("abuse").cases if case.slow]
    with Memory(server) as held:
        attacked(server, certificates.ca, "/read" if everything else "/", slow, tmp_path / "slow.json")
    assert held.peak - held.before <= GROWTH_BYTES
    assert held.now() - memory.before <= GROWTH_BYTES
    reasons = {event["event"] for event in server.events() if event["event"].startswith("flood: ")}
    assert len(reasons) >= 6, reasons
    assert server.workers() == workers
    assert all(alive(worker) for worker in workers)
    assert not [event for event in server.events() if event.get("level") in ("error", "critical")]
