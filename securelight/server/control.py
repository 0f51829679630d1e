"""The control socket: how `securelight reload`, `stop` and `status` talk to a running supervisor.

A unix socket with mode 0600 in the state directory, so that only the same user (and root) reaches it. One line of
JSON each way.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import socket
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from securelight.model.errors import SecurelightError

REQUEST_BYTES = 1024
"""The longest command."""
ANSWER_SECONDS = 120.0
"""How long a command waits for its answer: a reload starts every worker anew, perhaps behind another reload."""
_PROBE_SECONDS = 2.0
_PATH_BYTES = 100
"""A little below what sockaddr_un holds; longer paths go through /proc/self/fd."""


class ControlError(SecurelightError):
    """The running server cannot be reached, or another one has the socket."""


class _Address:
    """A path for bind and connect that is short enough, whatever the directory is called."""

    def __init__(self, path: Path) -> None:
        self._descriptor = -1
        self.text = str(path)
        if len(os.fsencode(self.text)) > _PATH_BYTES:
            self._descriptor = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            self.text = f"/proc/self/fd/{self._descriptor}/{path.name}"

    def __enter__(self) -> str:
        return self.text

    def __exit__(self, *_: object) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)


def listen(path: Path) -> socket.socket:
    """The supervisor's end, non-blocking.

    Errors: ControlError if a live server has the socket already, or the directory cannot be written.
    """
    sock = socket.socket(socket.AF_UNIX)
    try:
        with _locked(path.parent), _Address(path) as address:
            if path.is_socket():
                _remove_stale(path)
            before = os.umask(0o177)
            try:
                sock.bind(address)
            finally:
                os.umask(before)
            sock.listen(8)
        sock.setblocking(False)
    except OSError as error:
        sock.close()
        why = "something else has its name" if error.errno == errno.EADDRINUSE else error.strerror
        raise ControlError(f"{path}: the control socket cannot be made: {why}") from error
    except BaseException:
        sock.close()
        raise
    return sock


@contextlib.contextmanager
def _locked(directory: Path) -> Iterator[None]:
    """Of two servers that start at the same time, one looks and binds before the other looks."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _remove_stale(path: Path) -> None:
    probe = socket.socket(socket.AF_UNIX)
    probe.settimeout(_PROBE_SECONDS)
    try:
        with _Address(path) as address:
            probe.connect(address)
    except ConnectionRefusedError:
        path.unlink(missing_ok=True)  # its server was killed
    except TimeoutError as error:
        raise ControlError(f"{path}: a server that does not answer has this control socket") from error
    else:
        raise ControlError(f"{path}: a server is running with this configuration already; see securelight reload, stop")
    finally:
        probe.close()


def ask(path: Path, command: str) -> dict[str, Any]:
    """Send `command` to the server behind `path`; returns its answer, in which `ok` tells how it went.

    Errors: ControlError.
    """
    try:
        if not stat.S_ISSOCK(os.stat(path).st_mode):
            raise ControlError(f"{path} is not a control socket")
        with socket.socket(socket.AF_UNIX) as sock, _Address(path) as address:
            sock.settimeout(ANSWER_SECONDS)
            sock.connect(address)
            sock.sendall(command.encode() + b"\n")
            answer = b""
            while not answer.endswith(b"\n"):
                piece = sock.recv(65_536)
                if not piece:
                    break
                answer += piece
    except OSError as error:
        raise ControlError(f"{path}: no running server answers there: {error.strerror or error}") from error
    try:
        values: dict[str, Any] = msgspec.json.decode(answer, type=dict[str, Any])
    except msgspec.DecodeError as error:
        raise ControlError(f"{path}: the server went away before it answered") from error
    return values


class ControlClient:
    """One connected command on the supervisor's side, non-blocking."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self._received = b""

    def read(self) -> str | None:
        """The command once it is whole; "" while it is not; None if the client is gone or talks too much."""
        try:
            data = self.sock.recv(REQUEST_BYTES)
        except BlockingIOError:
            return ""
        except OSError:
            return None
        self._received += data
        if not data or len(self._received) > REQUEST_BYTES:
            return None
        line, newline, _rest = self._received.partition(b"\n")
        return line.decode("ascii", "replace") if newline else ""

    def answer(self, **values: Any) -> None:
        """Answer and hang up."""
        try:
            self.sock.setblocking(True)
            self.sock.settimeout(1)
            self.sock.sendall(msgspec.json.encode(values) + b"\n")
        except OSError:
            pass  # whoever asked has gone
        self.sock.close()
