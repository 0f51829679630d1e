"""What the workers of a server tell each other about themselves: a page of shared memory for each.

The supervisor makes the board before it forks. Each worker writes a report into its own slot once a second, and whoever
shows the status reads all of them; nobody waits for anybody. A report carries its length and a checksum, so one that is
read while it is written is seen to be torn, and read again. Slot 0 is the supervisor's: what ended workers had counted,
so that no total ever shrinks, and what only it may see, such as certificates.
"""

from __future__ import annotations

import mmap
import struct
import zlib
from typing import Final, Protocol, TypeVar

import msgspec

from securelight.pipeline.nonce_board import NonceBoard
from securelight.pipeline.purge_board import PurgeBoard

_R = TypeVar("_R")

SLOT_BYTES: Final = 32_768
"""The longest report. What there is most of in it (faults, upstreams) is bounded below that."""
_HEAD = struct.Struct("<II")
_READ_ATTEMPTS = 5
SECONDS_BOUNDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Upper bounds of the classes in which durations are counted; one more class has none."""
HISTORY_SECONDS: Final = 60


class Counts(msgspec.Struct):
    """What only grows.

    Attributes:
        statuses: finished requests by status.
        sent_bytes: of response bodies.
        seconds: that requests took in all, but for those that were answered from what stood ready.
        classes: those requests by SECONDS_BOUNDS.
        accepted: connections.
        faults: what peers did wrong, and we, by a short phrase.
    """

    statuses: dict[int, int] = {}
    sent_bytes: int = 0
    seconds: float = 0.0
    classes: list[int] = []
    accepted: int = 0
    faults: dict[str, int] = {}

    def add(self, other: Counts) -> None:
        """Add what `other` has counted."""
        for status, number in other.statuses.items():
            self.statuses[status] = self.statuses.get(status, 0) + number
        self.sent_bytes += other.sent_bytes
        self.seconds += other.seconds
        width = max(len(self.classes), len(other.classes))
        ours, theirs = (one + [0] * (width - len(one)) for one in (self.classes, other.classes))
        self.classes = [mine + more for mine, more in zip(ours, theirs, strict=True)]
        self.accepted += other.accepted
        for what, number in other.faults.items():
            self.faults[what] = self.faults.get(what, 0) + number

    @property
    def requests(self) -> int:
        """All of them."""
        return sum(self.statuses.values())


class UpstreamReport(msgspec.Struct):
    """A server behind us, as one worker sees it."""

    url: str
    up: bool
    load: int
    """Requests under way, or waiting for a connection."""


class WorkerReport(msgspec.Struct):
    """One worker at one moment.

    Attributes:
        number, process_id: which it is.
        started, written: time.time() of its start and of this report.
        draining: it serves what it has, and takes no more.
        connections: that are open, by protocol (`h2`, `http/1.1`, or empty before the handshake).
        streams: requests on their way.
        cache_bytes, cache_entries, open_files: of the content cache.
        answer_bytes, answer_entries: of the caches of answers, in memory.
        threads: that work right now.
        memory_bytes: resident.
        history: requests in each of the last HISTORY_SECONDS, the latest last.
        upstreams: at most 100.
        counts: since its start.
    """

    number: int
    process_id: int
    started: float
    written: float
    draining: bool = False
    connections: dict[str, int] = {}
    streams: int = 0
    cache_bytes: int = 0
    cache_entries: int = 0
    open_files: int = 0
    answer_bytes: int = 0
    answer_entries: int = 0
    threads: int = 0
    memory_bytes: int = 0
    history: list[int] = []
    upstreams: list[UpstreamReport] = []
    counts: Counts = msgspec.field(default_factory=Counts)


class CertificateReport(msgspec.Struct):
    """When a certificate ends, as time.time()."""

    file: str
    not_after: float


class SupervisorReport(msgspec.Struct):
    """What the supervisor has to say.

    Attributes:
        started: time.time() of its start.
        version: of the program.
        certificates: of the server, each with its file.
        ended: counted by workers that have ended.
        ended_workers: how many those are.
    """

    started: float = 0.0
    version: str = ""
    certificates: list[CertificateReport] = []
    ended: Counts = msgspec.field(default_factory=Counts)
    ended_workers: int = 0


class Held(Protocol):
    """What is held in memory."""

    used_bytes: int

    def __len__(self) -> int: ...


class Scoreboard:
    """The shared memory, and who has which slot of it.

    Args:
        slots: for workers; more of them than that are not seen.

    Attributes:
        slot: this process's own; -1 for none.
        wanted: something shows the status, so reports are worth writing.
        draining: this process takes no more connections.
        purges: what workers tell each other to forget; a row is that of the slot with its number.
        nonces: what clients have proved with them, for digest passwords.
        answers: what this process holds of answers, for its report.
    """

    def __init__(self, slots: int) -> None:
        self._memory = mmap.mmap(-1, (slots + 1) * SLOT_BYTES)
        self._free = list(range(slots, 0, -1))
        self._slots = slots + 1
        self.slot = -1
        self.wanted = False
        self.draining = False
        self.purges = PurgeBoard(slots)
        self.nonces = NonceBoard()
        self.answers: list[Held] = []

    def claim(self) -> int:
        """A free slot for a worker, in the supervisor; -1 if there is none."""
        return self._free.pop() if self._free else -1

    def free(self, slot: int) -> WorkerReport | None:
        """Take a slot back, in the supervisor, once its worker has ended; returns the last report in it."""
        if slot < 0:
            return None
        last = self._decoded(slot, WorkerReport)
        _HEAD.pack_into(self._memory, slot * SLOT_BYTES, 0, 0)
        self._free.append(slot)
        return last

    def write(self, report: WorkerReport | SupervisorReport, slot: int) -> None:
        """Show `report` in `slot`; one that is too long is left out."""
        data = msgspec.msgpack.encode(report)
        if slot < 0 or len(data) > SLOT_BYTES - _HEAD.size:
            return
        start = slot * SLOT_BYTES
        self._memory[start + _HEAD.size : start + _HEAD.size + len(data)] = data
        _HEAD.pack_into(self._memory, start, len(data), zlib.crc32(data))

    def supervisor(self) -> SupervisorReport:
        """The supervisor's report."""
        return self._decoded(0, SupervisorReport) or SupervisorReport()

    def workers(self) -> list[WorkerReport]:
        """The reports of all workers, in their order."""
        found = [self._decoded(slot, WorkerReport) for slot in range(1, self._slots)]
        return sorted((one for one in found if one is not None), key=lambda one: (one.number, one.started))

    def _decoded(self, slot: int, kind: type[_R]) -> _R | None:
        start = slot * SLOT_BYTES
        for _ in range(_READ_ATTEMPTS):
            size, checksum = _HEAD.unpack_from(self._memory, start)
            if not size:
                return None
            data = self._memory[start + _HEAD.size : start + _HEAD.size + min(size, SLOT_BYTES)]
            if zlib.crc32(data) == checksum:
                return msgspec.msgpack.decode(data, type=kind)
        return None
