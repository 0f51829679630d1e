"""Reads how a server behind us answers a request to upgrade: a 101, or a response as to any other request. No waiting.

As strict as http1_responses, which reads the latter. A 101 is believed only if it names what was asked for: whatever
follows it goes to the client unread, and must not be the beginning of somebody else's response.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from securelight.protocol.response_head import ResponseFault

if TYPE_CHECKING:
    from securelight.model.headers import Fields
    from securelight.model.limits import Limits

INTERIM_RESPONSES = 16
_TEXT = rb"[\t -~\x80-\xff]"
_FIELD = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]++:" + _TEXT + rb"*+\r\n"
_INTERIM = re.compile(rb"HTTP/1\.1 (1[0-9][0-9])(?: " + _TEXT + rb"*+)?\r\n((?:" + _FIELD + rb")*+)\r\n")
_BEGINNING = b"HTTP/1.1 1"


class UpgradeResponse:
    """The answer to one request to upgrade.

    Args:
        limits: for the size of the head.

    Attributes:
        fields: of the 101, names in lower case.
        rest: what has come behind it; or, where the answer is no 101, all of it from its beginning.
        switched: it was a 101.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._interim = 0
        self.fields: Fields = ()
        self.rest = b""
        self.switched = False

    def feed(self, data: bytes) -> bool:
        """Take `data` in; True once it is known which of the two it is.

        Errors: ResponseFault.
        """
        self.rest += data
        while True:
            rest = self.rest
            if not rest.startswith(_BEGINNING[: len(rest)]):
                return True
            end = rest.find(b"\r\n\r\n")
            if max(end, len(rest) if end < 0 else 0) > self._limits.upstream_head_bytes:
                raise ResponseFault(f"head of more than {self._limits.upstream_head_bytes} bytes")
            if end < 0:
                return False
            match = _INTERIM.match(rest)
            if match is None:
                raise ResponseFault(f"malformed head {rest[:60]!r}")
            self.rest = rest[match.end() :]
            if match[1] == b"101":
                self.switched = True
                self.fields = _split(match[2])
                if len(self.fields) > self._limits.upstream_fields:
                    raise ResponseFault(f"{len(self.fields)} header fields")
                return True
            self._interim += 1
            if self._interim > INTERIM_RESPONSES:
                raise ResponseFault(f"more than {INTERIM_RESPONSES} interim responses")

    def check(self, protocol: bytes) -> None:
        """Whether the 101 switches to `protocol`.

        Errors: ResponseFault if it does not.
        """
        connection = b",".join(self._lines(b"connection")).lower()
        if [value.lower() for value in self._lines(b"upgrade")] != [protocol]:
            raise ResponseFault(f"101 that does not switch to {protocol.decode('ascii', 'replace')}")
        if b"upgrade" not in [option.strip() for option in connection.split(b",")]:
            raise ResponseFault("101 without Connection: Upgrade")
        if self._lines(b"content-length") or self._lines(b"transfer-encoding"):
            raise ResponseFault("101 with a body")

    def check_websocket(self, accept: bytes, subprotocols: list[str], *, extensions: bool) -> None:
        """Whether it accepts the WebSocket that was asked for (RFC 6455, section 4.1).

        Args:
            accept: Sec-WebSocket-Accept, as it has to be.
            subprotocols: those that the client offers.
            extensions: the client offers some.

        Errors: ResponseFault if it does not.
        """
        if self._lines(b"sec-websocket-accept") != [accept]:
            raise ResponseFault("101 with another Sec-WebSocket-Accept")
        chosen = self._lines(b"sec-websocket-protocol")
        if len(chosen) > 1 or (chosen and chosen[0].decode("latin-1") not in subprotocols):
            raise ResponseFault("101 with a subprotocol that was not offered")
        if self._lines(b"sec-websocket-extensions") and not extensions:
            raise ResponseFault("101 with extensions that were not offered")

    def _lines(self, name: bytes) -> list[bytes]:
        return [value for field, value in self.fields if field == name]


def _split(block: bytes) -> Fields:
    pairs = (line.split(b":", 1) for line in block.split(b"\r\n")[:-1])
    return tuple((name.lower(), value.strip(b" \t")) for name, value in pairs)
