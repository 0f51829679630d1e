"""The head of a response that a server behind us gave: what is believed of it, and what is refused.

Owns the syntax of its fields (RFC 9110, section 5), their number and size, and the one question that decides whether
responses can be told apart: how long the body is. The readers of each protocol (http1_responses) end here. What an
upstream gets wrong is a ResponseFault; the client then sees 502 or a broken stream, never a guess.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from securelight.model.errors import SecurelightError

if TYPE_CHECKING:
    from securelight.model.headers import Fields

FIELD_VALUE = re.compile(rb"(?:[\x21-\x7e\x80-\xff](?:[\t\x20-\x7e\x80-\xff]*[\x21-\x7e\x80-\xff])?)?")


class ResponseFault(SecurelightError):
    """The upstream's response breaks HTTP: it can't be passed on, and its connection can't be used again."""


class ResponseHead:
    """One response head.

    Attributes:
        status: 100 to 599.
        fields: names in lower case, values without spaces around them; all lines, those about the connection too.
        length: what Content-Length says; None without one. Of HEAD and 304 it is not the length of a body.
        has_body: whether a body follows, be it empty.
        persistent: whether its connection may serve another request.
        kept: what others make of it, by whoever it is; for a head that came before it is there already.
    """

    __slots__ = ("fields", "has_body", "kept", "length", "persistent", "status")

    def __init__(self, status: int, fields: Fields, length: int | None, *, has_body: bool) -> None:
        self.status = status
        self.fields = fields
        self.length = length
        self.has_body = has_body
        self.persistent = True
        self.kept: dict[object, Any] = {}

    def __repr__(self) -> str:
        return f"<ResponseHead {self.status}, {self.length} bytes>"
