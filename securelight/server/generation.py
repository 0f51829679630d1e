"""The workers of one configuration: forked together, READY together, drained together."""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import socket
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass

from securelight.config.schema import Config, ListenConfig
from securelight.pipeline.compile import Feature
from securelight.server import channel, worker
from securelight.tls.identity import IdentityTable
from securelight.tls.reload import CertificateWatcher

RESTART_MOST_SECONDS = 5.0
"""The longest pause before a worker that keeps dying is started again."""
STEADY_SECONDS = 10.0
"""A worker that lived this long did not die of its start; its successor comes at once."""


@dataclass(slots=True)
class WorkerProcess:
    """One forked worker, as the supervisor sees it."""

    number: int
    process_id: int
    end: socket.socket
    started: float
    ready: bool = False


class Generation:
    """All workers that serve one configuration.

    Args:
        config, features, listens, identities: what they serve.
        watcher: of the certificate files behind `identities`.
        log_descriptor: the access log; owned by the supervisor.
    """

    def __init__(
        self,
        config: Config,
        features: Sequence[Feature],
        listens: Sequence[tuple[ListenConfig, socket.socket]],
        identities: IdentityTable,
        watcher: CertificateWatcher,
        log_descriptor: int,
    ) -> None:
        self.config = config
        self.listens = listens
        self.identities = identities
        self.watcher = watcher
        self.log_descriptor = log_descriptor
        self.workers: dict[int, WorkerProcess] = {}
        self.draining = False
        self.failure = ""
        """Why a worker could not start; ends the generation if it was never complete."""
        self._features = features
        self._restarts: list[tuple[float, int]] = []
        self._deaths = [0] * (config.server.workers + 1)

    @property
    def ready(self) -> bool:
        """True once every worker can serve."""
        workers = self.workers.values()
        return len(workers) == self.config.server.workers and all(one.ready for one in workers)

    def start(self) -> None:
        """Fork every worker."""
        for number in range(1, self.config.server.workers + 1):
            self._fork(number)

    def _fork(self, number: int) -> None:
        ours, theirs = channel.make_pair()
        task = worker.WorkerTask(
            self.config, self._features, self.listens, self.identities, self.log_descriptor, theirs, number
        )
        sys.stdout.flush()
        sys.stderr.flush()
        gc.collect()
        gc.freeze()  # what the workers share stays shared: the collector does not touch it any more
        process_id = os.fork()
        if process_id == 0:
            ours.close()
            for sibling in self.workers.values():
                sibling.end.close()
            worker.main(task)
        gc.unfreeze()
        theirs.close()
        self.workers[process_id] = WorkerProcess(number, process_id, ours, time.monotonic())

    def died(self, process_id: int, now: float) -> None:
        """A worker has ended; unless that was wanted, its successor is put on the list."""
        one = self.workers.pop(process_id)
        one.end.close()
        if self.draining:
            return
        steady = now - one.started > STEADY_SECONDS or not self._deaths[one.number]
        self._deaths[one.number] = 1 if steady else self._deaths[one.number] + 1
        pause = 0.0 if steady else min(0.1 * 2 ** self._deaths[one.number], RESTART_MOST_SECONDS)
        self._restarts.append((now + pause, one.number))

    def restart_due(self, now: float) -> list[WorkerProcess]:
        """Fork the successors whose time has come; returns them."""
        due = [number for when, number in self._restarts if when <= now]
        self._restarts = [item for item in self._restarts if item[0] > now]
        before = set(self.workers)
        for number in due:
            self._fork(number)
        return [one for process_id, one in self.workers.items() if process_id not in before]

    def next_restart(self) -> float | None:
        """When the next successor is due; None if there is none."""
        return min((when for when, _number in self._restarts), default=None)

    def tell(self, kind: str, text: str = "", descriptors: Sequence[int] = ()) -> None:
        """Send every worker a message."""
        for one in self.workers.values():
            channel.send(one.end, kind, text, descriptors)

    def drain(self) -> None:
        """Let the workers end their open requests."""
        self.draining = True
        self._restarts.clear()
        self.tell("drain")

    def kill(self) -> None:
        """End the workers now."""
        self.draining = True
        self._restarts.clear()
        for process_id in self.workers:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process_id, signal.SIGKILL)
