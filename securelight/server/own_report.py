"""The supervisor's side of the scoreboard: slots for workers, what ended workers had counted, and certificates."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import securelight
from securelight.pipeline.scoreboard import CertificateReport, Scoreboard, SupervisorReport

if TYPE_CHECKING:
    from securelight.tls.expiry import ExpiryWatch

SPARE_SLOTS = 64
"""For workers beside those of one generation: a reload has two of them, and old ones take their time."""
_CERTIFICATES_SECONDS = 60.0
_MOST_CERTIFICATES = 200


class OwnReport:
    """What the supervisor shows in slot 0.

    Attributes:
        board: the scoreboard.
    """

    def __init__(self) -> None:
        self.board = Scoreboard(SPARE_SLOTS)
        self._report = SupervisorReport(started=time.time(), version=securelight.__version__)
        self._due = 0.0
        self._watch: ExpiryWatch | None = None

    def worker_ended(self, slot: int) -> None:
        """Keep what the worker of `slot` had counted, so that totals do not shrink."""
        last = self.board.free(slot)
        if last is not None:
            self._report.ended.add(last.counts)
        self._report.ended_workers += 1
        self.board.write(self._report, 0)

    def look(self, watch: ExpiryWatch, now: float) -> None:
        """Take up when certificates end, once a minute and when others are served."""
        if now < self._due and watch is self._watch:
            return
        self._due, self._watch = now + _CERTIFICATES_SECONDS, watch
        self._report.certificates = [
            CertificateReport(str(file), not_after.timestamp()) for file, not_after in watch.ends()[:_MOST_CERTIFICATES]
        ]
        self.board.write(self._report, 0)
