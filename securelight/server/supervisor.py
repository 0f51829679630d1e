"""The supervisor: reads the configuration, binds, makes the TLS contexts, forks workers, and never serves a request.

It runs no Trio and no thread, so that forking is safe. Signals: TERM and INT stop gracefully (a second one at once),
HUP reloads, USR1 reopens the logs. A reload that fails at any point changes nothing: the old workers go on.

A configuration's workers are a Generation. At most one is current and serves; at most one is next and starts; any
number are old and drain.
"""

from __future__ import annotations

import contextlib
import math
import os
import selectors
import signal
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from securelight.config.schema import Config
from securelight.model.errors import SecurelightError
from securelight.pipeline.compile import Feature
from securelight.server import channel
from securelight.server.certificate_care import look_after_certificates
from securelight.server.commands import CommandServer
from securelight.server.control import ControlClient
from securelight.server.event_log import event_log
from securelight.server.generation import Generation, WorkerProcess, kill
from securelight.server.log_command import EndingCommands
from securelight.server.own_report import OwnReport
from securelight.server.preparation import prepare
from securelight.server.service_manager import ServiceManager
from securelight.server.signals import Signals, has_terminal
from securelight.server.sockets import BoundSockets

WATCH_SECONDS = 2.0
"""How often certificate files are looked at."""
CLOSE_SECONDS = 3.0
"""How long `reloaded` is held back for old workers that do not close their listening sockets."""
CONTEXT_SECONDS = 86_400.0
"""TLS contexts, and with them the session ticket keys, are replaced at least this often."""
RETRY_SECONDS = 30.0
"""When it is tried again to replace workers that do not fit any more, if that failed."""


class StartFailed(SecurelightError):
    """The first workers could not start; says why."""


class Supervisor:
    """Runs one server.

    Args:
        load: reads the configuration anew; raises SecurelightError with everything that is wrong.
        features: the feature table.
        control_path: where the control socket goes; None for none.
        on_ready: called once the first workers can serve, with the bound sockets.
        bound: sockets that are bound already, by listen address; owned from now on.
    """

    def __init__(
        self,
        load: Callable[[], Config],
        features: Sequence[Feature],
        control_path: Path | None,
        on_ready: Callable[[Config, Sequence[socket.socket]], None],
        bound: Mapping[str, list[socket.socket]] | None = None,
    ) -> None:
        self._load = load
        self._features = features
        self._control_path = control_path
        self._on_ready = on_ready
        self._events = event_log("supervisor")
        self._selector = selectors.DefaultSelector()
        self._signals: Signals | None = None
        self._had_terminal = has_terminal()
        self._manager = ServiceManager(os.environ)
        self._sockets = BoundSockets(bound or {})
        self._current: Generation | None = None
        self._next: Generation | None = None
        self._old: list[Generation] = []
        self._waiting: list[ControlClient] = []
        """Who waits for the reload under way."""
        self._waiting_again: list[ControlClient] = []
        """Who asked while one was under way: it may have read the files before they were changed."""
        self._reload_again = False
        self._leaving: list[tuple[Generation, float, list[ControlClient]]] = []
        """Generations that still have to close their sockets, until when that is waited for, and by whom."""
        self._log_commands = EndingCommands()
        self._stopping = False
        self._failure = ""
        self._watch_at = 0.0
        self._renew_at = 0.0
        self._report = OwnReport()
        self._outdated = ""
        """Why the workers do not fit any more: by what they judge client certificates, or which folders they see."""

    def run(self) -> int:
        """Serve until stopped; returns the exit code.

        Errors: SecurelightError if the server cannot start.
        """
        with contextlib.ExitStack() as stack:
            stack.callback(self._selector.close)
            stack.callback(self._sockets.close)
            if self._control_path is not None:
                stack.enter_context(CommandServer(self._control_path, self._selector, self._obey))
            generation = prepare(self._load(), self._features, self._sockets)
            self._signals = stack.enter_context(Signals(self._selector, self._signal_came))
            stack.callback(self._kill_all)
            self._begin(generation)
            self._loop()
        if self._failure:
            raise StartFailed(self._failure)
        return 0

    def _loop(self) -> None:
        while True:
            for key, _mask in self._selector.select(self._pause()):
                key.data(key.fileobj)
            self._reap()
            self._tell_reloaded()
            now = time.monotonic()
            self._manager.alive(now)
            for generation in self._generations():
                generation.logs.look(now, self._events)
                for one in generation.overdue(now):
                    self._overdue(generation, one)
            self._log_commands.look(now)
            if not self._stopping:
                self._housekeeping(now)
            elif not any(one.workers for one in self._generations()):
                return

    def _pause(self) -> float | None:
        due = min((one.next_due() for one in self._generations()), default=math.inf)
        due = min(due, self._log_commands.next_look)
        due = min(due, self._manager.next_ping, *(until for _generation, until, _clients in self._leaving))
        if self._current is not None and not self._stopping:
            due = min(due, self._watch_at)
        return None if due == math.inf else max(0.0, due - time.monotonic())

    def _generations(self) -> list[Generation]:
        return [one for one in (self._current, self._next, *self._old) if one is not None]

    def _kill_all(self) -> None:
        """The end, whatever the way to it."""
        for generation in self._generations():
            generation.kill()
            for process_id in generation.workers:
                with contextlib.suppress(ChildProcessError):
                    os.waitpid(process_id, 0)
            self._log_commands.end(generation.logs)
        self._log_commands.wait()

    # Generations.

    def _begin(self, generation: Generation) -> None:
        self._next = generation
        generation.scoreboard = self._report.board
        try:
            generation.start(lambda: self._leave_to(generation))
        except OSError as error:
            self._next_failed(generation, f"workers cannot be started: {error.strerror}")
            return
        for one in generation.workers.values():
            self._follow(generation, one)

    def _leave_to(self, generation: Generation) -> None:
        """In a forked worker: let go of everything that is the supervisor's or another generation's.

        A listening socket that stayed open here would be listened on by nobody, a channel's end would hide the
        supervisor's death, a command's connection would not end.
        """
        for key in list(self._selector.get_map().values()):
            if isinstance(key.fileobj, socket.socket):
                key.fileobj.close()
        self._selector.close()
        leaving = (client for _generation, _until, clients in self._leaving for client in clients)
        for client in (*self._waiting, *self._waiting_again, *leaving):
            client.sock.close()
        self._sockets.keep({listen.address for listen, _sock in generation.listens})
        for other in self._generations():
            if other is not generation:
                for one in other.workers.values():  # also those that have hung up, and are not followed any more
                    one.end.close()
                other.close()
        if self._signals is not None:
            self._signals.close()

    def _follow(self, generation: Generation, one: WorkerProcess) -> None:
        self._selector.register(one.end, selectors.EVENT_READ, lambda _end: self._hear(generation, one))

    def _unfollow(self, one: WorkerProcess) -> None:
        with contextlib.suppress(KeyError, ValueError):
            self._selector.unregister(one.end)

    def _hear(self, generation: Generation, one: WorkerProcess) -> bool:
        """Take in one message of a worker; False if there is none."""
        try:
            message = channel.receive(one.end)
        except BlockingIOError:
            return False
        except channel.ChannelError as error:
            self._events.error("worker killed", worker=one.number, process=one.process_id, why=str(error))
            kill(one)
            self._unfollow(one)
            return False
        if message is None:
            self._unfollow(one)  # the process is ending; _reap will see it
            return False
        channel.close_all(message.descriptors)
        if message.kind == "ready":
            self._ready(generation, one)
        elif message.kind == "leaving":
            if generation.replace(one, time.monotonic()):
                self._events.info("worker drains, starting another", worker=one.number, process=one.process_id)
        elif message.kind == "closed":
            one.closed = True
        elif message.kind == "failed":
            generation.failure = message.text
            if generation is self._current:
                self._events.error("worker could not start", worker=one.number, why=message.text)
        return True

    def _ready(self, generation: Generation, one: WorkerProcess) -> None:
        one.ready, one.kill_at = True, math.inf
        if generation is self._current:
            channel.send(one.end, "serve")
        elif generation is self._next and generation.ready:
            self._switch(generation)

    def _switch(self, generation: Generation) -> None:
        """The new workers are READY: they serve, the old ones drain."""
        before, self._current, self._next = self._current, generation, None
        self._renew_at = time.monotonic() + CONTEXT_SECONDS
        self._outdated = ""
        for listen, sock in generation.listens:
            sock.listen(listen.backlog)  # which may have changed
        generation.tell("serve")
        if before is None:
            self._on_ready(generation.config, [sock for _listen, sock in generation.listens])
        else:
            before.drain()
            self._old.append(before)
            self._sockets.keep({listen.address for listen, _sock in generation.listens})
            self._leaving.append((before, time.monotonic() + CLOSE_SECONDS, self._waiting))
            self._waiting = []
        self._reload_over(ok=True, message="reloaded")

    def _tell_reloaded(self) -> None:
        """Whoever connects after this meets the new workers: the old ones have closed their sockets, or are stuck."""
        now = math.inf if self._stopping else time.monotonic()
        for item in [item for item in self._leaving if item[0].closed or item[1] <= now]:
            self._leaving.remove(item)
            self._events.info("reloaded", workers=len(self._current.workers) if self._current is not None else 0)
            for client in item[2]:
                client.answer(ok=True, message="reloaded")

    def _next_failed(self, generation: Generation, why: str) -> None:
        """The new workers cannot start: back to how it was."""
        self._next = None
        generation.kill()
        self._old.append(generation)
        if self._current is None:
            self._failure, self._stopping = why, True
            return
        self._sockets.keep({listen.address for listen, _sock in self._current.listens})
        self._reload_failed(why)

    # Reloading.

    def _reload(self, client: ControlClient | None = None) -> None:
        if client is not None:
            (self._waiting if self._next is None else self._waiting_again).append(client)
        if self._stopping:
            self._answer_all(ok=False, message="the server is stopping")
        elif self._next is not None:
            self._reload_again = True
        else:
            self._manager.reloading()
            self._start_next(self._load)

    def _start_next(self, load: Callable[[], Config], *, forgiving: bool = False) -> None:
        try:
            generation = prepare(load(), self._features, self._sockets, forgiving=forgiving)
        except (SecurelightError, OSError) as error:
            self._reload_failed(str(error))
        except Exception as error:
            self._events.error("internal error", doing="reloading", exc_info=error)
            self._reload_failed(f"internal error: {type(error).__name__}")
        else:
            self._begin(generation)

    def _reload_failed(self, why: str) -> None:
        for line in why.splitlines():
            self._events.error("reload failed, nothing has changed", why=line)
        self._reload_over(ok=False, message=why)

    def _reload_over(self, *, ok: bool, message: str) -> None:
        waiting, self._waiting, self._waiting_again = self._waiting, self._waiting_again, []
        for client in waiting:
            client.answer(ok=ok, message=message)
        self._manager.ready(f"serving, the last reload failed: {message}" if not ok else "serving")
        if self._reload_again:
            self._reload_again = False
            self._reload()

    def _answer_all(self, *, ok: bool, message: str) -> None:
        waiting = self._waiting + self._waiting_again
        self._waiting, self._waiting_again, self._reload_again = [], [], False
        for client in waiting:
            client.answer(ok=ok, message=message)

    # What the loop looks after.

    def _housekeeping(self, now: float) -> None:
        current = self._current
        if current is None:
            return
        try:
            for one in current.restart_due(now, lambda: self._leave_to(current)):
                self._follow(current, one)
        except OSError as error:
            self._events.error("no worker can be started, trying again", why=error.strerror)
        if now >= self._watch_at:
            self._watch_at = now + WATCH_SECONDS
            self._report.look(current.watcher.expiry, now)
            if look_after_certificates(current, self._events):
                self._outdated, self._renew_at = "what client certificates are judged by has changed", now
            elif current.misplaced and not self._outdated:
                self._outdated, self._renew_at = "a folder that they serve is another one now", now
        if now >= self._renew_at and self._next is None:
            # The configuration as it was read: what stands in the files may be half-written, and nobody asked for it.
            self._renew_at = now + (RETRY_SECONDS if self._outdated else CONTEXT_SECONDS)
            self._events.info("replacing the workers", why=self._outdated or "their TLS contexts are a day old")
            self._start_next(lambda: current.config, forgiving=True)

    def _overdue(self, generation: Generation, one: WorkerProcess) -> None:
        kill(one)
        if generation.draining or one.leaving:
            self._events.warning("worker did not end in time, killed", worker=one.number, process=one.process_id)
            return
        seconds = generation.config.server.limits.worker_start_seconds
        generation.failure = f"worker {one.number} was not ready in {seconds:g} seconds (limits.worker_start_seconds)"
        if generation is self._current:
            self._events.error("worker could not start", worker=one.number, why=generation.failure)

    def _reap(self) -> None:
        for generation in self._generations():
            for one in list(generation.workers.values()):
                process_id, status = os.waitpid(one.process_id, os.WNOHANG)
                if process_id:
                    self._worker_ended(generation, one, os.waitstatus_to_exitcode(status))
        for generation in [one for one in self._old if not one.workers]:
            self._log_commands.end(generation.logs)
            self._old.remove(generation)

    def _worker_ended(self, generation: Generation, one: WorkerProcess, code: int) -> None:
        while self._hear(generation, one):
            pass  # its last words
        self._unfollow(one)
        generation.died(one, time.monotonic())
        self._report.worker_ended(one.slot)
        how = f"was killed by signal {-code}" if code < 0 else f"ended with code {code}"
        if generation is self._next:
            self._next_failed(generation, generation.failure or f"worker {one.number} {how} before it was ready")
        elif not generation.draining and not one.leaving:
            self._events.error("worker died, starting another", worker=one.number, process=one.process_id, how=how)

    # Signals and commands.

    def _signal_came(self, number: int) -> None:
        if number in (signal.SIGTERM, signal.SIGINT):
            self._stop()
        elif number == signal.SIGHUP:
            if self._had_terminal and not has_terminal():
                self._events.info("the terminal was closed")
                self._stop()
            else:
                self._events.info("reload asked for by SIGHUP")
                self._reload()
        elif number == signal.SIGUSR1 and self._current is not None:
            self._current.reopen_logs(self._events)

    def _stop(self) -> None:
        """First time: drain. Second time: now."""
        if self._stopping:
            self._events.warning("stopping now")
            for generation in self._generations():
                generation.kill()
            return
        self._stopping = True
        self._manager.stopping()
        self._events.info("stopping", open_requests_get_seconds=self._graceful_seconds())
        self._answer_all(ok=False, message="the server is stopping")
        self._sockets.close()  # new clients are refused instead of left to wait
        if self._next is not None:
            self._next.kill()  # it has never served
            self._old.append(self._next)
            self._next = None
        if self._current is not None:
            self._current.drain()

    def _graceful_seconds(self) -> float:
        generation = self._current or self._next
        return generation.config.server.limits.graceful_stop_seconds if generation is not None else 0.0

    def _obey(self, client: ControlClient, command: str) -> None:
        if command == "reload":
            self._reload(client)
        elif command == "stop":
            seconds = 0.0 if self._current is None else self._current.drain_seconds
            client.answer(ok=True, message="stopping", process=os.getpid(), seconds=seconds)
            if not self._stopping:
                self._stop()
        elif command == "status":
            current = self._current
            workers = [] if current is None else [one.process_id for one in current.workers.values() if one.ready]
            client.answer(ok=True, message="running", process=os.getpid(), workers=workers)
        else:
            client.answer(ok=False, message=f"unknown command {command!r}")
