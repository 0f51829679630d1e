"""What the server says on HTTP/2 whatever the engine: its first frames, GOAWAY, the fields of a response."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

from securelight.model.dates import current_date
from securelight.protocol.adapter import SERVER_FIELD
from securelight.protocol.http2_frames import DEFAULT_WINDOW, GOAWAY, RST_STREAM, SETTINGS, WINDOW_UPDATE

if TYPE_CHECKING:
    from securelight.model.errors import Http2Code
    from securelight.model.headers import Field
    from securelight.model.limits import Limits
    from securelight.model.response import Response

_NO_LENGTH_STATUSES = frozenset({204, 304})
"""A 204 has no Content-Length (RFC 9110, section 8.6); that of a 304 would have to be that of the 200."""

_frame_header = struct.Struct(">BHBBI").pack
_setting = struct.Struct(">HI").pack
_uint32 = struct.Struct(">I").pack
_two_uint32 = struct.Struct(">II").pack


def _frame(kind: int, payload: bytes, stream_id: int = 0) -> bytes:
    """A frame without flags, by default of the connection itself."""
    return _frame_header(len(payload) >> 16, len(payload) & 0xFFFF, kind, 0, stream_id) + payload


def server_preface(limits: Limits, *, upgrades: bool) -> bytes:
    """SETTINGS and the receive window of the connection (RFC 9113, section 3.4).

    `upgrades` offers extended CONNECT (SETTINGS_ENABLE_CONNECT_PROTOCOL, RFC 8441, section 3).
    """
    settings = b"".join(
        _setting(identifier, value)
        for identifier, value in (
            (0x3, limits.concurrent_streams),
            (0x4, limits.request_body_buffer_bytes),
            (0x6, limits.request_head_bytes),
            *(((0x8, 1),) if upgrades else ()),
            (0x9, 1),
        )
    )
    preface = _frame(SETTINGS, settings)
    if limits.connection_window_bytes > DEFAULT_WINDOW:
        preface += window_update(limits.connection_window_bytes - DEFAULT_WINDOW)
    return preface


def window_update(increment: int, stream_id: int = 0) -> bytes:
    """WINDOW_UPDATE, by default for the connection."""
    return _frame(WINDOW_UPDATE, _uint32(increment), stream_id)


def rst_stream(stream_id: int, code: Http2Code) -> bytes:
    """RST_STREAM (RFC 9113, section 6.4)."""
    return _frame(RST_STREAM, _uint32(code), stream_id)


def goaway(last_stream_id: int, code: Http2Code) -> bytes:
    """GOAWAY (RFC 9113, section 6.8)."""
    return _frame(GOAWAY, _two_uint32(last_stream_id, code))


def fields_to_send(response: Response) -> list[Field]:
    """The header list of `response`; that of a shared one is kept for as long as the Date stays the same."""
    date = current_date()
    heads = response.serialised
    if heads is None:
        return _response_fields(response, date)
    kept = heads.get("2")
    if kept is None or kept[0] is not date:
        kept = heads["2"] = (date, _response_fields(response, date))
    fields: list[Field] = kept[1]
    return fields


def _response_fields(response: Response, date: bytes) -> list[Field]:
    fields: list[Any] = [(b":status", b"%d" % response.status), *response.fields]
    if response.content_length is not None and response.status not in _NO_LENGTH_STATUSES:
        fields.append((b"content-length", b"%d" % response.content_length))
    fields.append((b"date", date))
    fields.append((b"server", SERVER_FIELD))
    return fields
