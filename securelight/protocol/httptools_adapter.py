"""HTTP/1.1 with httptools, a binding of llhttp: the fast engine.

A parser is used again for the next message as long as there are no bodies; after a body it is replaced. llhttp takes
what follows a request with an Upgrade field for another protocol, so it never gets to see that field: a refused
Upgrade is an ordinary request.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import httptools

from securelight.model.errors import Refusal
from securelight.protocol.http1_adapter import Http1Adapter

if TYPE_CHECKING:
    from securelight.model.headers import Field
    from securelight.model.limits import Limits
    from securelight.model.request import Peer
    from securelight.protocol.http1_guard import Head

_UPGRADE = re.compile(rb"\r\nupgrade:", re.IGNORECASE)
_DISGUISE = b"\r\n!pgrade:"


class _Message:
    """What the parser calls back with. Holds no reference to the parser, so that neither keeps the other alive."""

    __slots__ = ("ended", "fields", "on_body", "on_url", "pieces", "target")

    def __init__(self) -> None:
        self.target: list[bytes] = []
        self.fields: list[Field] = []
        self.pieces: list[bytes] = []
        self.ended = False
        self.on_url = self.target.append
        self.on_body = self.pieces.append

    def on_header(self, name: bytes, value: bytes) -> None:
        """One field; llhttp has removed the white space before the value only."""
        self.fields.append((name.lower(), value.strip(b" \t")))

    def on_message_complete(self) -> None:
        """The end, as the engine sees it."""
        self.ended = True


class HttptoolsAdapter(Http1Adapter):
    """See Http1Adapter."""

    __slots__ = ("_message", "_parser")

    def __init__(self, peer: Peer, limits: Limits) -> None:
        super().__init__(peer, limits)
        self._message = _Message()
        self._parser: httptools.HttpRequestParser | None = None

    def _read_head(self, head: Head) -> tuple[bytes, bytes, list[Field]]:
        parser = self._parser
        message = self._message
        if parser is None:
            message = self._message = _Message()
            parser = self._parser = httptools.HttpRequestParser(message)
        else:
            message.target.clear()
            message.ended = False
        try:
            parser.feed_data(_UPGRADE.sub(_DISGUISE, head.raw) if head.has_upgrade else head.raw)
        except httptools.HttpParserInvalidURLError:
            raise Refusal(400, "The request target is not valid.", f"target {head.target[:80]!r}") from None
        except httptools.HttpParserError as error:
            raise Refusal(400, "The request is malformed.", f"httptools: {error}") from None
        if message.ended is head.has_body:
            raise Refusal(400, "The request is malformed.", "httptools does not frame it as the guard does")
        fields, message.fields = message.fields, []
        if head.chunked:  # the guard lets through no other coding; h11 writes it in lower case
            fields = [(name, b"chunked" if name == b"transfer-encoding" else value) for name, value in fields]
        if head.has_upgrade:
            lines = head.raw.split(b"\r\n")[1:-2]
            fields = [
                (b"upgrade" if line[:8].lower() == b"upgrade:" else name, value)
                for (name, value), line in zip(fields, lines, strict=True)
            ]
        return parser.get_method(), b"".join(message.target), fields

    def _read_body(self, data: bytes, *, ended: bool) -> bytes:
        parser = self._parser
        message = self._message
        assert parser is not None
        try:
            parser.feed_data(data)
        except httptools.HttpParserError as error:
            raise Refusal(400, "The request body is malformed.", f"httptools: {error}") from None
        if message.ended is not ended:
            raise Refusal(400, "The request body is malformed.", "httptools does not frame it as the guard does")
        if ended:
            self._parser = None
        content = b"".join(message.pieces)
        message.pieces.clear()
        return content
