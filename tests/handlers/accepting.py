"""An application on a unix socket, in a thread: what the tests of FastCGI and its kin share."""

from __future__ import annotations

import contextlib
import socket
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


class Accepting:
    """Accepts one connection after the other and hands each to `serve`; OSError of that is the client's end.

    Attributes:
        connections: how many there were.
    """

    def __init__(self, path: Path, serve: Callable[[socket.socket], None]) -> None:
        self.connections = 0
        self._serve = serve
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen(8)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            sock.settimeout(20)
            with sock, contextlib.suppress(OSError):
                self._serve(sock)

    def close(self) -> None:
        """Stop accepting, and wait for the thread."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(25)
