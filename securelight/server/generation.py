"""The workers of one configuration: forked together, READY together, told to serve together, drained together.

A worker that is READY does not accept yet. Only when all of them are does the supervisor tell them to serve, so that
a configuration that cannot start has never answered anybody.
"""

from __future__ import annotations

import contextlib
import gc
import math
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from securelight.config.schema import Config, ListenConfig
from securelight.model.errors import ConfigError
from securelight.pipeline.compile import EventLog, Feature
from securelight.pipeline.scoreboard import Scoreboard
from securelight.protocol.engine import Engines
from securelight.server import channel, signals, worker
from securelight.server.confinement import Confinement
from securelight.server.log_file import LogOutputs
from securelight.tls.identity import IdentityTable
from securelight.tls.reload import CertificateWatcher, ChangedPair

RESTART_MOST_SECONDS = 5.0
"""The longest pause before a worker that keeps dying is started again."""
STEADY_SECONDS = 10.0
"""A worker that lived this long did not die of its start; its successor comes at once."""
KILL_MARGIN_SECONDS = 2.0
"""What a draining worker gets beyond limits.graceful_stop_seconds for its requests, and as much again for the shutdown
of its applications, before it is killed."""


@dataclass(slots=True, eq=False)
class WorkerProcess:
    """One forked worker, as the supervisor sees it."""

    number: int
    process_id: int
    end: socket.socket
    started: float
    kill_at: float
    """Until when it has to be ready, or to have ended; infinite in between."""
    ready: bool = False
    leaving: bool = False
    """It was told by somebody else to end, and its successor is on the list."""
    closed: bool = False
    """It has closed its listening sockets."""
    slot: int = -1
    """On the scoreboard."""


class Generation:
    """All workers that serve one configuration.

    Args:
        config, features, engines, listens, identities: what they serve, and with which adapters.
        watcher: of the certificate files behind `identities`.
        logs: what access logs are written to; owned from now on.
        confinement: what the workers may still open.

    Attributes:
        scoreboard: where workers show their reports; the supervisor's.
    """

    def __init__(
        self,
        config: Config,
        features: Sequence[Feature],
        engines: Engines,
        listens: Sequence[tuple[ListenConfig, socket.socket]],
        identities: IdentityTable,
        watcher: CertificateWatcher,
        logs: LogOutputs,
        confinement: Confinement,
    ) -> None:
        self.config = config
        self.listens = listens
        self.identities = identities
        self.watcher = watcher
        self.logs = logs
        self.confinement = confinement
        self._confined_to = confinement.identities()
        self.workers: dict[int, WorkerProcess] = {}
        self.draining = False
        self.failure = ""
        """Why a worker could not start; ends the generation if it was never complete."""
        self.scoreboard = Scoreboard(1)
        self._features = features
        self._engines = engines
        self._restarts: list[tuple[float, int]] = []
        self._deaths = [0] * (config.server.workers + 1)

    @property
    def misplaced(self) -> bool:
        """True once one of the folders that the workers are confined to has become another one, as when a site is
        deployed by renaming: they cannot open the new one."""
        return any(
            new and new != old for new, old in zip(self.confinement.identities(), self._confined_to, strict=True)
        )

    @property
    def closed(self) -> bool:
        """True once no worker accepts any more."""
        return all(one.closed for one in self.workers.values())

    @property
    def ready(self) -> bool:
        """True once every worker can serve."""
        return sum(one.ready for one in self.workers.values()) == self.config.server.workers

    def start(self, leave_supervisor: Callable[[], None]) -> None:
        """Fork every worker.

        Args:
            leave_supervisor: called in the child; closes what only the supervisor may hold.

        Errors: OSError. The workers that were forked until then are there.
        """
        for number in range(1, self.config.server.workers + 1):
            self._fork(number, leave_supervisor)

    def _fork(self, number: int, leave_supervisor: Callable[[], None]) -> WorkerProcess:
        ours, theirs = channel.make_pair()
        task = worker.WorkerTask(
            self.config,
            self._features,
            self._engines,
            self.listens,
            self.identities,
            self.logs,
            theirs,
            number,
            self.scoreboard,
        )
        slot = self.scoreboard.claim()
        with contextlib.suppress(OSError):  # whoever reads them has gone
            sys.stdout.flush()
            sys.stderr.flush()
        gc.collect()
        gc.freeze()  # what the workers share stays shared: the collector does not touch it any more
        try:
            with signals.held():
                process_id = os.fork()
                if process_id == 0:
                    self.scoreboard.slot = slot
                    self._become_worker(task, ours, leave_supervisor)
        except OSError:
            ours.close()
            self.scoreboard.free(slot)
            raise
        finally:
            gc.unfreeze()
            theirs.close()
        now = time.monotonic()
        kill_at = now + self.config.server.limits.worker_start_seconds
        started = WorkerProcess(number, process_id, ours, now, kill_at, slot=slot)
        self.workers[process_id] = started
        return started

    def _become_worker(
        self, task: worker.WorkerTask, ours: socket.socket, leave_supervisor: Callable[[], None]
    ) -> None:
        """In the child. An end of a channel that stayed open here would hide the supervisor's death from a worker."""
        try:
            ours.close()
            for sibling in self.workers.values():
                sibling.end.close()
            leave_supervisor()
            worker.main(task, self.confinement)
        finally:
            os._exit(1)

    def died(self, one: WorkerProcess, now: float) -> None:
        """A worker has ended; unless that was wanted, its successor is put on the list."""
        del self.workers[one.process_id]
        one.end.close()
        if self.draining or one.leaving:
            return
        steady = now - one.started > STEADY_SECONDS or not self._deaths[one.number]
        self._deaths[one.number] = 1 if steady else self._deaths[one.number] + 1
        pause = 0.0 if steady else min(0.1 * 2 ** self._deaths[one.number], RESTART_MOST_SECONDS)
        self._restarts.append((now + pause, one.number))

    def replace(self, one: WorkerProcess, now: float) -> bool:
        """A worker drains by itself; whether its successor is due now, because it was not told to."""
        if one.leaving:
            return False
        one.leaving, one.ready = True, False
        one.kill_at = now + self.drain_seconds
        if not self.draining:
            self._restarts.append((now, one.number))
        return not self.draining

    def restart_due(self, now: float, leave_supervisor: Callable[[], None]) -> list[WorkerProcess]:
        """Fork the successors whose time has come; returns them.

        Errors: OSError; those that could not be forked stay on the list.
        """
        forked = []
        for item in [item for item in self._restarts if item[0] <= now]:
            self._restarts.remove(item)
            try:
                forked.append(self._fork(item[1], leave_supervisor))
            except OSError:
                self._restarts.append((now + RESTART_MOST_SECONDS, item[1]))
                raise
        return forked

    def overdue(self, now: float) -> list[WorkerProcess]:
        """The workers whose time is up; each is given only once."""
        due = [one for one in self.workers.values() if one.kill_at <= now]
        for one in due:
            one.kill_at = math.inf
        return due

    def next_due(self) -> float:
        """When there is something to do about a worker; infinite if that cannot be told."""
        times = [one.kill_at for one in self.workers.values()] + [when for when, _number in self._restarts]
        times.append(self.logs.next_due())
        return min(times, default=math.inf)

    @property
    def drain_seconds(self) -> float:
        """How long a worker may take to end."""
        return 2 * self.config.server.limits.graceful_stop_seconds + KILL_MARGIN_SECONDS

    def tell(self, kind: str, text: str = "", descriptors: Sequence[int] = ()) -> list[WorkerProcess]:
        """Send every worker a message; returns those that could not be told."""
        return [one for one in self.workers.values() if not channel.send(one.end, kind, text, descriptors)]

    def take_over(self, pair: ChangedPair) -> list[WorkerProcess]:
        """Load a proved pair into our contexts, for workers to come, and into those of the workers.

        Returns: the workers that could not be told.
        Errors: CertificateError.
        """
        self.identities.replace(*pair)
        descriptors = [_memory_file(content) for content in (pair.chain_pem, pair.key_pem)]
        missed = self.tell("certificate", str(self.identities.pairs.index(pair.files)), descriptors)
        channel.close_all(descriptors)
        return missed

    def drain(self) -> None:
        """Let the workers end their open requests; those that do not come to an end are killed."""
        self.draining = True
        self._restarts.clear()
        self.tell("drain")
        kill_at = time.monotonic() + self.drain_seconds
        for one in self.workers.values():
            one.kill_at = min(one.kill_at, kill_at)

    def kill(self) -> None:
        """End the workers now."""
        self.draining = True
        self._restarts.clear()
        for one in self.workers.values():
            kill(one)

    def reopen_logs(self, events: EventLog) -> None:
        """Open the log files anew, here and in the workers; the old ones stay if that fails."""
        try:
            opened = self.logs.reopen()
        except ConfigError as error:
            events.error("log not reopened, the old one stays", why=str(error))
            return
        for number, descriptor in opened:
            self.tell("reopen", str(number), (descriptor,))
        if opened:
            events.info("logs reopened")

    def close(self) -> None:
        """Close the logs in this process."""
        self.logs.close()


def kill(one: WorkerProcess) -> None:
    """End a worker now."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(one.process_id, signal.SIGKILL)


def _memory_file(content: bytes) -> int:
    """A descriptor of a file that only exists in memory; how a key reaches a worker that may not read its file."""
    descriptor = os.memfd_create("certificate", os.MFD_CLOEXEC)
    with open(descriptor, "wb", closefd=False) as file:
        file.write(content)
    return descriptor
