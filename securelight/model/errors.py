"""The errors that cross layers. Anything that is not one of these is our bug, and the fence reports it as such.

Who is at fault is in the type, never in the text: `Refusal` is an answer that the client gets, `StreamFault` and
`ConnectionFault` are the peer's breaches of a protocol with the wire code to name them by, `ConfigError` and
`CertificateError` are the operator's.
"""

from __future__ import annotations

import enum


class Http2Code(enum.IntEnum):
    """Error codes of RST_STREAM and GOAWAY (RFC 9113, section 7)."""

    NO_ERROR = 0x0
    PROTOCOL_ERROR = 0x1
    INTERNAL_ERROR = 0x2
    FLOW_CONTROL_ERROR = 0x3
    SETTINGS_TIMEOUT = 0x4
    STREAM_CLOSED = 0x5
    FRAME_SIZE_ERROR = 0x6
    REFUSED_STREAM = 0x7
    CANCEL = 0x8
    COMPRESSION_ERROR = 0x9
    CONNECT_ERROR = 0xA
    ENHANCE_YOUR_CALM = 0xB
    INADEQUATE_SECURITY = 0xC
    HTTP_1_1_REQUIRED = 0xD


class SecurelightError(Exception):
    """The root of every error that we raise on purpose."""


class Refusal(SecurelightError):
    """A request that is answered with an error status instead of being served.

    Args:
        status: the status code of the answer (RFC 9110, section 15).
        public: one sentence that the client may read.
        detail: what the log says; never sent. Falls back to `public`.
        fields: extra response fields, such as Allow for 405 or Retry-After for 503.
    """

    def __init__(
        self, status: int, public: str = "", detail: str = "", fields: tuple[tuple[bytes, bytes], ...] = ()
    ) -> None:
        super().__init__(status, public)
        self.status = status
        self.public = public
        self.detail = detail or public
        self.fields = fields

    def __str__(self) -> str:
        return f"{self.status} {self.detail}"


class StreamFault(SecurelightError):
    """The peer broke a rule that costs it one HTTP/2 stream (RFC 9113, section 5.4.2)."""

    code = Http2Code.PROTOCOL_ERROR

    def __init__(self, detail: str, code: Http2Code | None = None) -> None:
        super().__init__(detail)
        if code is not None:
            self.code = code


class ConnectionFault(SecurelightError):
    """The peer broke a rule that costs it the connection (RFC 9113, section 5.4.1)."""

    code = Http2Code.PROTOCOL_ERROR

    def __init__(self, detail: str, code: Http2Code | None = None) -> None:
        super().__init__(detail)
        if code is not None:
            self.code = code


class ConfigError(SecurelightError):
    """A fault in the configuration.

    Args:
        where: the file and key path, such as `conf.d/20-app.toml: site[0].route[1].path`.
        what: what is wrong and what would cure it.
    """

    def __init__(self, where: str, what: str) -> None:
        super().__init__(where, what)
        self.where = where
        self.what = what

    def __str__(self) -> str:
        return f"{self.where}: {self.what}"


class CertificateError(SecurelightError):
    """A certificate, key or authority that cannot be used.

    Args:
        where: the file, or the name of what was being made.
        what: what is wrong and what would cure it. Never contains key material.
    """

    def __init__(self, where: str, what: str) -> None:
        super().__init__(where, what)
        self.where = where
        self.what = what

    def __str__(self) -> str:
        return f"{self.where}: {self.what}"


class BodyAborted(SecurelightError):
    """A body that cannot be finished as announced: the stream ends with an error, never with a wrong length."""


class ServerLeaving(SecurelightError):
    """The server is about to stop: a good time to say goodbye on a connection that has no end of its own."""


class ClientDisconnected(SecurelightError):
    """The client, or the stream it opened, is gone; there is nobody left to read from or write to."""
