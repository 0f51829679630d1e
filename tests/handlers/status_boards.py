"""A scoreboard with two workers, for the tests of what shows it."""

from __future__ import annotations

import time

from securelight.pipeline.scoreboard import (
    CertificateReport,
    Counts,
    Scoreboard,
    SupervisorReport,
    UpstreamReport,
    WorkerReport,
)


def make_board() -> Scoreboard:
    board = Scoreboard(3)
    now = time.time()
    board.write(
        SupervisorReport(
            started=now - 7200,
            version="1.2<3",
            certificates=[CertificateReport('/etc/a"b.pem', now + 86_400 * 3.5)],
            ended=Counts({200: 10, 500: 1}, 1000, 0.5, [11], 3, {"bad request": 1}),
            ended_workers=1,
        ),
        0,
    )
    for number, up in ((1, True), (2, False)):
        counts = Counts({200: 100 * number, 404: 5}, 10_000, 1.5, [5, 6, 7], 20, {"<script>": 2})
        board.write(
            WorkerReport(
                number, 4000 + number, now - 60, now,
                connections={"h2": 2, "": 1}, streams=4, cache_bytes=500, cache_entries=5, open_files=1, threads=1,
                memory_bytes=40_000_000, history=[1, 2, 3], upstreams=[UpstreamReport("http://a/", up, 7)],
                counts=counts,
            ),
            board.claim(),
        )  # fmt: skip
    return board
