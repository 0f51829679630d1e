"""The supervisor: reads the configuration, binds, makes the TLS contexts, forks workers, and never serves a request.

It runs no Trio and no thread, so that forking is safe. Signals: TERM and INT stop gracefully (a second one at once),
HUP reloads, USR1 reopens the logs. A reload that fails at any point changes nothing: the old workers go on.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

from securelight.config.schema import Config, ListenConfig
from securelight.model.errors import ConfigError, SecurelightError
from securelight.pipeline.compile import Feature
from securelight.server import channel, control
from securelight.server.event_log import event_log
from securelight.server.generation import Generation, WorkerProcess
from securelight.server.sockets import bind
from securelight.tls.identity import TlsSite, build_identities
from securelight.tls.reload import CertificateWatcher, ChangedPair

WATCH_SECONDS = 2.0
"""How often certificate files are looked at."""
CONTEXT_SECONDS = 86_400.0
"""TLS contexts, and with them the session ticket keys, are replaced at least this often."""
KILL_MARGIN_SECONDS = 2.0
"""What a worker gets beyond limits.graceful_stop_seconds before it is killed."""


class Supervisor:
    """Runs one server.

    Args:
        load: reads the configuration anew; raises SecurelightError with everything that is wrong.
        features: the feature table.
        control_path: where the control socket goes; None for none.
        on_ready: called once the first workers can serve, with the bound sockets.
        bound: sockets that are bound already, by listen address.
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
        self._sockets: dict[str, list[socket.socket]] = dict(bound or {})
        self._current: Generation | None = None
        self._next: Generation | None = None
        self._old: list[Generation] = []
        self._waiting: list[control.ControlClient] = []
        self._reload_again = False
        self._stopping_at = 0.0
        self._kill_at: dict[Generation, float] = {}
        self._contexts_at = 0.0
        self._exit_code = 0

    def run(self) -> int:
        """Serve until stopped; returns the exit code.

        Errors: SecurelightError, OSError if the server cannot start.
        """
        generation = self._make_generation(self._load())
        control_socket = control.listen(self._control_path) if self._control_path is not None else None
        if control_socket is not None:
            self._selector.register(control_socket, selectors.EVENT_READ, self._command_came)
        with self._signals():
            try:
                self._begin(generation)
                self._loop()
            finally:
                for one in self._generations():
                    one.kill()
                self._reap(wait=True)
                if control_socket is not None and self._control_path is not None:
                    control_socket.close()
                    self._control_path.unlink(missing_ok=True)
        return self._exit_code

    # Configuration to workers.

    def _make_generation(self, config: Config) -> Generation:
        """Everything that can fail, before anything changes.

        Errors: SecurelightError, OSError. What was bound for it is closed again.
        """
        fresh: dict[str, list[socket.socket]] = {}
        log_descriptor = -1
        try:
            sites = [
                TlsSite(
                    site.hosts,
                    site.tls,
                    tuple((site.base / pair.chain, site.base / pair.key) for pair in site.certificates),
                    site.where,
                )
                for site in config.sites
            ]
            watcher = CertificateWatcher(dict.fromkeys(pair for site in sites for pair in site.certificates))
            identities = build_identities(sites)
            log_descriptor = open_log(config)
            listens: list[tuple[ListenConfig, socket.socket]] = []
            for listen in config.listens:
                sockets = self._sockets.get(listen.address) or fresh.get(listen.address)
                if sockets is None:
                    sockets = fresh[listen.address] = bind(listen.address, listen.backlog)
                listens += [(listen, sock) for sock in sockets]
        except BaseException:
            for sockets in fresh.values():
                for sock in sockets:
                    sock.close()
            if log_descriptor > 2:
                os.close(log_descriptor)
            raise
        self._sockets.update(fresh)
        return Generation(config, self._features, listens, identities, watcher, log_descriptor)

    def _begin(self, generation: Generation) -> None:
        self._next = generation
        generation.start()
        for one in generation.workers.values():
            self._follow(generation, one)

    def _follow(self, generation: Generation, one: WorkerProcess) -> None:
        def message_came(end: socket.socket) -> None:
            self._message_came(generation, one, end)

        self._selector.register(one.end, selectors.EVENT_READ, message_came)

    def _message_came(self, generation: Generation, one: WorkerProcess, end: socket.socket) -> None:
        try:
            message = channel.receive(end)
        except BlockingIOError:
            return
        if message is None:
            self._selector.unregister(end)  # the process is ending; _reap will see it
        elif message.kind == "ready":
            one.ready = True
            if generation is self._next and generation.ready:
                self._switch(generation)
        elif message.kind == "failed":
            generation.failure = message.text
            self._events.error("worker could not start", worker=one.number, why=message.text)

    def _switch(self, generation: Generation) -> None:
        """The new workers are READY: the old ones drain."""
        before, self._current, self._next = self._current, generation, None
        self._contexts_at = time.monotonic() + CONTEXT_SECONDS
        if before is None:
            self._on_ready(generation.config, [sock for _listen, sock in generation.listens])
        else:
            self._retire(before)
            kept = {listen.address for listen, _sock in generation.listens}
            for address in [address for address in self._sockets if address not in kept]:
                for sock in self._sockets.pop(address):
                    sock.close()
            self._events.info("reloaded", workers=len(generation.workers))
        self._answer_reload(ok=True, message="reloaded")

    def _retire(self, generation: Generation) -> None:
        generation.drain()
        self._old.append(generation)
        seconds = generation.config.server.limits.graceful_stop_seconds + KILL_MARGIN_SECONDS
        self._kill_at[generation] = time.monotonic() + seconds

    def _reload(self) -> None:
        if self._stopping_at:
            self._answer_reload(ok=False, message="the server is stopping")
            return
        if self._next is not None:
            self._reload_again = True
            return
        try:
            generation = self._make_generation(self._load())
        except (SecurelightError, OSError) as error:
            self._events.error("reload failed, nothing has changed", why=str(error))
            self._answer_reload(ok=False, message=str(error))
            return
        self._begin(generation)

    def _answer_reload(self, *, ok: bool, message: str) -> None:
        waiting, self._waiting = self._waiting, []
        for client in waiting:
            client.answer(ok=ok, message=message)
        if self._reload_again:
            self._reload_again = False
            self._reload()

    def _next_failed(self, generation: Generation) -> None:
        """The new workers cannot start: back to how it was."""
        self._next = None
        generation.kill()
        self._old.append(generation)
        message = generation.failure or "a worker died before it was ready"
        if self._current is None:
            self._exit_code = 1
            self._stopping_at = self._stopping_at or time.monotonic()
            raise ConfigError("start", message)
        for address in {listen.address for listen, _sock in generation.listens}:
            if address not in {listen.address for listen, _sock in self._current.listens}:
                for sock in self._sockets.pop(address, []):
                    sock.close()
        self._events.error("reload failed, nothing has changed", why=message)
        self._answer_reload(ok=False, message=message)

    # The loop.

    def _generations(self) -> list[Generation]:
        return [one for one in (self._current, self._next, *self._old) if one is not None]

    def _loop(self) -> None:
        while True:
            for key, _mask in self._selector.select(self._pause()):
                key.data(key.fileobj)
            self._reap()
            now = time.monotonic()
            for generation, when in list(self._kill_at.items()):
                if now >= when:
                    del self._kill_at[generation]
                    generation.kill()
            if self._stopping_at:
                if not any(one.workers for one in self._generations()):
                    return
                continue
            self._housekeeping(now)

    def _pause(self) -> float:
        now = time.monotonic()
        times = [now + WATCH_SECONDS, *self._kill_at.values()]
        restart = self._current.next_restart() if self._current is not None else None
        if restart is not None:
            times.append(restart)
        return max(0.0, min(times) - now)

    def _housekeeping(self, now: float) -> None:
        current = self._current
        if current is None:
            return
        for one in current.restart_due(now):
            self._follow(current, one)
        changes = current.watcher.check()
        for pair in changes.pairs:
            self._take_over(current, pair)
        for fault in changes.faults:
            self._events.error("certificate not taken over, the old one stays", why=str(fault))
        if now >= self._contexts_at:
            self._contexts_at = now + CONTEXT_SECONDS
            self._reload()

    def _take_over(self, generation: Generation, pair: ChangedPair) -> None:
        """Load a proved pair into our contexts, for workers to come, and into those of the workers."""
        generation.identities.replace(*pair)
        descriptors = [_memory_file(content) for content in (pair.chain_pem, pair.key_pem)]
        generation.tell("certificate", str(generation.identities.pairs.index(pair.files)), descriptors)
        channel.close_all(descriptors)
        self._events.info("certificate taken over", file=str(pair.files[0]))

    def _reap(self, *, wait: bool = False) -> None:
        while any(one.workers for one in self._generations()):
            try:
                process_id, status = os.waitpid(-1, 0 if wait else os.WNOHANG)
            except ChildProcessError:
                return
            if process_id == 0:
                return
            for generation in self._generations():
                if process_id in generation.workers:
                    self._worker_ended(generation, process_id, status)
                    break

    def _worker_ended(self, generation: Generation, process_id: int, status: int) -> None:
        one = generation.workers[process_id]
        with contextlib.suppress(KeyError, ValueError):
            self._message_came(generation, one, one.end)  # its last words
            self._selector.unregister(one.end)
        code = os.waitstatus_to_exitcode(status)
        generation.died(process_id, time.monotonic())
        if generation is self._next and not self._stopping_at:
            self._next_failed(generation)
        elif not generation.draining:
            self._events.error("worker died, starting another", worker=one.number, process=process_id, code=code)
        if generation in self._old and not generation.workers:
            self._old.remove(generation)
            self._kill_at.pop(generation, None)
            if generation.log_descriptor > 2:
                os.close(generation.log_descriptor)

    # Signals and commands.

    @contextlib.contextmanager
    def _signals(self) -> Any:
        reader, writer = socket.socketpair()
        reader.setblocking(False)
        writer.setblocking(False)

        def came(_number: int, _frame: FrameType | None) -> None:
            pass  # the wake-up descriptor carries the number to the loop

        handled = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGCHLD)
        before = {number: signal.signal(number, came) for number in handled}
        signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
        self._selector.register(reader, selectors.EVENT_READ, self._signal_came)
        try:
            yield
        finally:
            signal.set_wakeup_fd(-1)
            for number, handler in before.items():
                signal.signal(number, handler)
            self._selector.unregister(reader)
            reader.close()
            writer.close()

    def _signal_came(self, reader: socket.socket) -> None:
        for number in reader.recv(64):
            if number in (signal.SIGTERM, signal.SIGINT):
                self._stop()
            elif number == signal.SIGHUP:
                self._events.info("reload asked for by SIGHUP")
                self._reload()
            elif number == signal.SIGUSR1:
                self._reopen_logs()

    def _stop(self) -> None:
        """First time: drain. Second time: now."""
        now = time.monotonic()
        if self._stopping_at:
            self._events.warning("stopping now")
            for one in self._generations():
                one.kill()
            return
        self._events.info("stopping", open_requests_get_seconds=self._graceful_seconds())
        self._stopping_at = now
        for generation in self._generations():
            if not generation.draining:
                generation.drain()
            self._kill_at[generation] = now + self._graceful_seconds() + KILL_MARGIN_SECONDS

    def _graceful_seconds(self) -> float:
        generation = self._current or self._next
        return generation.config.server.limits.graceful_stop_seconds if generation is not None else 0.0

    def _reopen_logs(self) -> None:
        current = self._current
        if current is None:
            return
        try:
            descriptor = open_log(current.config)
        except SecurelightError as error:
            self._events.error("log not reopened, the old one stays", why=str(error))
            return
        if descriptor < 0:
            return
        before, current.log_descriptor = current.log_descriptor, descriptor
        current.tell("reopen", "", (descriptor,))
        if before > 2:
            os.close(before)
        self._events.info("logs reopened")

    def _command_came(self, listening: socket.socket) -> None:
        try:
            sock, _address = listening.accept()
        except OSError:
            return
        sock.setblocking(False)
        client = control.ControlClient(sock)

        def readable(_sock: socket.socket) -> None:
            command = client.read()
            if command == "":
                return
            self._selector.unregister(sock)
            if command is None:
                sock.close()
            else:
                self._obey(client, command)

        self._selector.register(sock, selectors.EVENT_READ, readable)

    def _obey(self, client: control.ControlClient, command: str) -> None:
        if command == "reload":
            self._waiting.append(client)
            self._reload()
        elif command == "stop":
            client.answer(ok=True, message="stopping", process=os.getpid(), seconds=self._graceful_seconds())
            self._stop()
        elif command == "status":
            current = self._current
            workers = [] if current is None else [one.process_id for one in current.workers.values() if one.ready]
            client.answer(ok=True, message="running", process=os.getpid(), workers=workers)
        else:
            client.answer(ok=False, message=f"unknown command {command!r}")


def open_log(config: Config) -> int:
    """A descriptor for the access log: 1 for standard output, -1 for none.

    Errors: ConfigError naming the file.
    """
    log = config.server.access_log
    if log.format == "off":
        return -1
    if log.file == "-":
        return 1
    path = config.base / log.file
    try:
        return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o640)
    except OSError as error:
        raise ConfigError("server.access_log.file", f"{path} cannot be opened: {error.strerror}") from error


def _memory_file(content: bytes) -> int:
    """A descriptor of a file that only exists in memory; how a key reaches a worker that may not read its file."""
    descriptor = os.memfd_create("certificate", os.MFD_CLOEXEC)
    with open(descriptor, "wb", closefd=False) as file:
        file.write(content)
    return descriptor
