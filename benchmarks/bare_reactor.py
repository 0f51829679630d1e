"""The least that a TLS server on this stack can do: the yardstick for what everything else in securelight costs.

One Trio task, one nested epoll, TLS in memory, ngh2 and httptools, files held in memory. No limits, no deadlines,
no turns, no log, no error answers and no trust in anybody: it exists to be measured on loopback, never to serve.

    python -m benchmarks.bare_reactor PORT CHAIN KEY FOLDER URL_PATH...
"""

from __future__ import annotations

import select
import socket
import ssl
import sys
from pathlib import Path
from typing import Protocol

import httptools
import ngh2
import trio

RECEIVE_BYTES = 16_384
PLAINTEXT_BYTES = 65_536
OUTPUT_BYTES = 262_144
FAULTS = (OSError, KeyError, ngh2.NGH2Error, httptools.HttpParserError, httptools.HttpParserCallbackError)

Pages = dict[bytes, tuple[list[tuple[bytes, bytes]], bytes]]
"""Response fields and body, by path."""


class Talk(Protocol):
    """One side of one protocol."""

    def take(self, data: bytes) -> bytes:
        """What to answer to `data`, as much as may be sent now."""
        ...


class Http1Talk:
    """Answers with one of `pages`, by path."""

    def __init__(self, pages: Pages) -> None:
        self._pages = pages
        self._parser = httptools.HttpRequestParser(self)
        self._path = b""
        self._answers: list[bytes] = []

    def on_url(self, url: bytes) -> None:
        """Called by the parser."""
        self._path = url

    def on_message_complete(self) -> None:
        """Called by the parser."""
        fields, body = self._pages[self._path]
        lines = b"".join(name + b": " + value + b"\r\n" for name, value in fields)
        self._answers.append(b"HTTP/1.1 200 OK\r\n" + lines + b"\r\n" + body)

    def take(self, data: bytes) -> bytes:
        """See Talk."""
        if data:
            self._parser.feed_data(data)
        answers = b"".join(self._answers)
        self._answers.clear()
        return answers


class Http2Talk:
    """The same over HTTP/2."""

    def __init__(self, pages: Pages) -> None:
        self._pages = {path: ([(b":status", b"200"), *fields], body) for path, (fields, body) in pages.items()}
        self._session = ngh2.Connection(ngh2.Role.SERVER)
        self._session.initiate_connection({ngh2.Setting.MAX_CONCURRENT_STREAMS: 100})

    def take(self, data: bytes) -> bytes:
        """See Talk."""
        session = self._session
        if data:
            session.receive_data(data)
            for event in session.events():
                if type(event) is ngh2.RequestReceived:
                    path = next(value for name, value in event.headers if name == b":path")
                    fields, body = self._pages[path]
                    session.send_response(event.stream_id, fields)
                    session.send_data(event.stream_id, body, end_stream=True)
        return session.data_to_send(OUTPUT_BYTES)


class Link:
    """One connection: socket, TLS in memory, protocol."""

    def __init__(self, sock: socket.socket, tls: ssl.SSLContext, epoll: select.epoll, pages: Pages) -> None:
        self.sock = sock
        self._epoll = epoll
        self._pages = pages
        self._received, self._unsent = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = tls.wrap_bio(self._received, self._unsent, server_side=True)
        self._talk: Talk | None = None
        self._held = memoryview(b"")
        self._blocked = False

    def step(self) -> bool:
        """Do what can be done now; False once the connection is over."""
        if self._blocked and not self._send():
            return True
        try:
            ciphertext = self.sock.recv(RECEIVE_BYTES)
        except BlockingIOError:
            return True
        if not ciphertext:
            return False
        self._received.write(ciphertext)
        try:
            if self._talk is None:
                self._tls.do_handshake()
                h2 = self._tls.selected_alpn_protocol() == "h2"
                self._talk = Http2Talk(self._pages) if h2 else Http1Talk(self._pages)
            while data := self._tls.read(PLAINTEXT_BYTES):
                if answer := self._talk.take(data):
                    self._tls.write(answer)
                if not self._received.pending:
                    break
            else:
                return False
        except ssl.SSLWantReadError:
            pass
        self._send()
        return True

    def _send(self) -> bool:
        while True:
            if not self._held:
                if not self._unsent.pending and self._talk is not None and (more := self._talk.take(b"")):
                    self._tls.write(more)
                if not self._unsent.pending:
                    return self._wait_for_room(wanted=False)
                self._held = memoryview(self._unsent.read())
            try:
                self._held = self._held[self.sock.send(self._held) :]
            except BlockingIOError:
                return self._wait_for_room(wanted=True)

    def _wait_for_room(self, *, wanted: bool) -> bool:
        if wanted != self._blocked:
            self._blocked = wanted
            self._epoll.modify(self.sock.fileno(), select.EPOLLIN | (select.EPOLLOUT if wanted else 0))
        return not wanted


def read_pages(directory: Path, paths: list[str]) -> Pages:
    """These files of a folder, with the fields of a static file's answer."""
    pages = {}
    for path in paths:
        body = (directory / path.lstrip("/")).read_bytes()
        fields = [
            (b"date", b"Sun, 22 Nov 2026 10:00:00 GMT"),
            (b"server", b"bare"),
            (b"content-type", b"text/html"),
            (b"content-length", b"%d" % len(body)),
            (b"etag", b'"1"'),
        ]
        pages[path.encode()] = fields, body
    return pages


async def serve(port: int, chain: str, key: str, pages: Pages) -> None:
    """Answer with `pages` until cancelled."""
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(chain, key)
    tls.set_alpn_protocols(["h2", "http/1.1"])
    links: dict[int, Link] = {}
    with select.epoll() as epoll, socket.create_server(("127.0.0.1", port), backlog=1024) as listener:
        listener.setblocking(False)
        epoll.register(listener, select.EPOLLIN)
        while True:
            ready = epoll.poll(0)
            if not ready:
                await trio.lowlevel.wait_readable(epoll.fileno())
                continue
            for number, _mask in ready:
                link = links.get(number)
                if link is None:
                    accept(listener, tls, epoll, links, pages)
                    continue
                try:
                    going_on = link.step()
                except FAULTS:
                    going_on = False
                if not going_on:
                    epoll.unregister(number)
                    links.pop(number).sock.close()
            await trio.lowlevel.checkpoint()


def accept(
    listener: socket.socket, tls: ssl.SSLContext, epoll: select.epoll, links: dict[int, Link], pages: Pages
) -> None:
    """Take in whoever waits."""
    while True:
        try:
            sock, _address = listener.accept()
        except BlockingIOError:
            return
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        links[sock.fileno()] = Link(sock, tls, epoll, pages)
        epoll.register(sock, select.EPOLLIN)


if __name__ == "__main__":
    trio.run(serve, int(sys.argv[1]), sys.argv[2], sys.argv[3], read_pages(Path(sys.argv[4]), sys.argv[5:]))
