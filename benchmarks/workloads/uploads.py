"""Group 5: 100 MB to an application that reads all of it."""

from __future__ import annotations

from collections.abc import Mapping

from benchmarks.loads import Load
from benchmarks.peers.peer import Ability
from benchmarks.processes import Running
from benchmarks.rounds import APPLICATION_SERVERS, Effort, Measure, Workload
from benchmarks.setting import UPLOAD_BYTES
from benchmarks.workloads.downloads import TRANSFER, transfer


def upload(*, http2: bool) -> Measure:
    """One client, one upload after the other."""

    def measure(target: Running, effort: Effort) -> Mapping[str, float]:
        size = UPLOAD_BYTES // 5 if effort.quick else UPLOAD_BYTES
        file = target.setting.directory / f"upload-{size}"
        if not file.exists():
            with file.open("wb") as new:
                new.truncate(size)
        return transfer(target, Load(["/upload"], http2, 1, requests=2, upload=file), size)

    return measure


_H2, _H1 = frozenset({Ability.APPLICATIONS, Ability.HTTP2}), frozenset({Ability.APPLICATIONS, Ability.HTTP1})

WORKLOADS = (
    Workload(5, "100 MB upload, HTTP/2", upload(http2=True), _H2, TRANSFER, APPLICATION_SERVERS, application=True),
    Workload(5, "100 MB upload, HTTP/1.1", upload(http2=False), _H1, TRANSFER, APPLICATION_SERVERS, application=True),
)
