"""The supervisor's side of the control socket: takes commands in without ever waiting for who sends them."""

from __future__ import annotations

import selectors
import socket
from collections.abc import Callable
from pathlib import Path

from securelight.server import control

CLIENTS = 16
"""Commands at a time; they come from the server's own user and from root alone."""


class CommandServer:
    """Listens on the control socket; a context manager.

    Args:
        path: of the socket; it is removed at the end.
        selector: where descriptors are registered, with a callback as data.
        obey: called in the loop with the client and its command; the client is then the callee's to answer.

    Errors: ControlError if the socket cannot be made, or a live server has it.
    """

    def __init__(
        self, path: Path, selector: selectors.BaseSelector, obey: Callable[[control.ControlClient, str], None]
    ) -> None:
        self._path = path
        self._selector = selector
        self._obey = obey
        self._clients: set[control.ControlClient] = set()
        self._listening = control.listen(path)

    def __enter__(self) -> CommandServer:
        self._selector.register(self._listening, selectors.EVENT_READ, self._connected)
        return self

    def __exit__(self, *_: object) -> None:
        self._path.unlink(missing_ok=True)
        for client in self._clients:
            client.sock.close()
        self._listening.close()

    def _connected(self, _listening: socket.socket) -> None:
        try:
            sock, _address = self._listening.accept()
        except OSError:
            return
        if len(self._clients) >= CLIENTS:
            sock.close()
            return
        sock.setblocking(False)
        client = control.ControlClient(sock)
        self._clients.add(client)
        self._selector.register(sock, selectors.EVENT_READ, lambda _sock: self._readable(client))

    def _readable(self, client: control.ControlClient) -> None:
        command = client.read()
        if command == "":
            return
        self._selector.unregister(client.sock)
        self._clients.discard(client)
        if command is None:
            client.sock.close()
        else:
            self._obey(client, command)
