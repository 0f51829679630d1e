"""Request heads that were accepted a moment ago and come again to the byte: they are not taken apart a second time.

Clients repeat themselves: the same target with the same fields, from the same program. What decides about a head are
its bytes, the limits and the scheme alone, so the verdict on the same bytes is the same; this only saves reaching it
again. Long heads are never kept, nor those of requests with a body. Bounded by number and size; when it is full it
begins anew, so that a flood of ever new heads costs little and gains nothing.

Credentials are somebody's secret and are never kept. A head is known without them: they are taken out before it is
looked up, looked at by themselves each time, and go with the request. That changes no verdict, because one more
well-formed field of theirs makes of a head that was accepted one that would be, as long as there is room for it.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterator
from itertools import compress
from operator import itemgetter, not_
from typing import TYPE_CHECKING, Any

from securelight.model.headers import CREDENTIALS, Headers
from securelight.protocol.http2_stream import Http2Stream
from securelight.protocol.request_head import FIELD_OVERHEAD_BYTES, is_field_value

if TYPE_CHECKING:
    from securelight.model.headers import Field, Fields
    from securelight.model.limits import Limits
    from securelight.model.request import Request

HEADS_KEPT = 512
"""For each protocol of a worker; with HEAD_BYTES at most about a megabyte."""
HEAD_BYTES = 1024
PSEUDO_FIELDS = 4
"""Counted for their size on HTTP/2."""

_CREDENTIAL_LINE = re.compile(rb"\r\n([Cc]ookie|[Aa]uthorization): ([^\r\n]*+)(?=\r\n)")
"""As programs write it; any other spelling, and a second one, is an ordinary field of a head that is not kept."""
_is_credential = CREDENTIALS.__contains__
_name = itemgetter(0)


class KnownHead:
    """A head that was accepted before.

    Attributes:
        request: the one that it was, without credentials.
        room_bytes, room_fields: how much may be added to it; the size of a field is counted as for the whole head.
        pseudo_fields: of HTTP/2; how many it begins with, before which no other field may come.
        host: of HTTP/2; the field that came of them.
        stream: of HTTP/2; what the adapter keeps of a stream with this head until it is answered, and never changes.
        answer: what the connection keeps beside it; None at first.
    """

    __slots__ = ("answer", "host", "pseudo_fields", "request", "room_bytes", "room_fields", "stream")

    def __init__(self, request: Request, room_bytes: int, room_fields: int) -> None:
        self.request = request
        self.room_bytes = room_bytes
        self.room_fields = room_fields
        self.pseudo_fields = 0
        self.host: Fields = ()
        self.stream: Any = None
        self.answer: Any = None


_UNKNOWN: tuple[None, Fields] = (None, ())


class KnownHeads:
    """The heads that are known to the adapters of one kind.

    Args:
        limits: the bounds that they were accepted under; kept, so that no others can get their identity.

    Attributes:
        get: the KnownHead of a head without credentials; None if it is not known. The head is as the protocol has it:
            bytes on HTTP/1, decoded fields on HTTP/2.
    """

    __slots__ = ("_heads", "_limits", "get")

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._heads: dict[Hashable, KnownHead] = {}
        self.get = self._heads.get

    def with_fields(self, fields: Fields) -> tuple[KnownHead | None, Fields]:
        """The head of HTTP/2 that is known without the credentials in `fields`, and all fields of the request.

        None and none if there is no such head, or what there is of credentials is not fit to go with it.
        """
        secret = [*map(_is_credential, map(_name, fields))]
        if True not in secret:
            return _UNKNOWN
        known = self.get(tuple(compress(fields, map(not_, secret))))
        if known is None or secret.index(True) < known.pseudo_fields:
            return _UNKNOWN
        size = added = 0
        for name, value in compress(fields, secret):
            if not is_field_value(value):
                return _UNKNOWN
            size += len(name) + len(value) + FIELD_OVERHEAD_BYTES
            added += 1
        if size > known.room_bytes or added > known.room_fields:
            return _UNKNOWN
        return known, known.host + fields[known.pseudo_fields :]

    def with_line(self, head: bytes) -> tuple[KnownHead | None, Fields]:
        """The same for a head of HTTP/1 with one line of credentials."""
        match = _CREDENTIAL_LINE.search(head)
        # The line ends before the empty line, so that it stands among the fields and not behind the head.
        if match is None or len(head) - match.end() < 4:
            return _UNKNOWN
        start, end = match.span()
        known = self.get(head[:start] + head[end:])
        if known is None or end - start + FIELD_OVERHEAD_BYTES > known.room_bytes or known.room_fields < 1:
            return _UNKNOWN
        name, value = match.groups()
        if not is_field_value(value):
            return _UNKNOWN
        fields, place = known.request.headers.fields, head.count(b"\r\n", 0, start)
        return known, (*fields[:place], (name.lower(), value), *fields[place:])

    def remember_fields(self, fields: Fields, request: Request) -> None:
        """Keep the HTTP/2 head `fields` of a `request` without a body."""
        if not request.headers.isdisjoint(CREDENTIALS):
            fields = tuple(_without_credentials(fields))
        known = self._remember(fields, sum(len(name) + len(value) for name, value in fields), request)
        if known is not None:
            known.pseudo_fields = sum(name[:1] == b":" for name, _ in fields)
            headers = known.request.headers.fields
            known.host = headers[: len(headers) - len(fields) + known.pseudo_fields]
            known.stream = Http2Stream(True, request.content_length, known.request.headers, shared=True)

    def remember_head(self, head: bytes, request: Request) -> None:
        """Keep the HTTP/1 head `head`, which is that of a `request` without a body, to the last byte."""
        if not request.headers.isdisjoint(CREDENTIALS):
            match = _CREDENTIAL_LINE.search(head)
            if match is None or sum(name in CREDENTIALS for name, _ in request.headers) != 1:
                return
            head = head[: match.start()] + head[match.end() :]
        self._remember(head, len(head), request)

    def _remember(self, head: Hashable, size: int, request: Request) -> KnownHead | None:
        if size > HEAD_BYTES:
            return None
        if not request.headers.isdisjoint(CREDENTIALS):
            request = request.changed(headers=Headers(_without_credentials(request.headers.fields)))
        limits, count = self._limits, len(request.headers)
        room_bytes = limits.request_head_bytes - size - FIELD_OVERHEAD_BYTES * (count + PSEUDO_FIELDS)
        if len(self._heads) >= HEADS_KEPT:
            self._heads.clear()
        known = self._heads[head] = KnownHead(request, room_bytes, limits.request_fields - count)
        return known


def _without_credentials(fields: Fields) -> Iterator[Field]:
    return (field for field in fields if field[0] not in CREDENTIALS)


_LIMITS_KEPT = 64
"""There is one Limits in a worker; tests have many."""
_known: dict[tuple[int, str], KnownHeads] = {}
"""By identity of the limits: to compare all of them takes longer than all else that is done for a new connection."""


def known_heads(limits: Limits, protocol: str) -> KnownHeads:
    """The heads that are known to adapters with these `limits`; `protocol` names the adapter's kind and scheme."""
    key = id(limits), protocol
    known = _known.get(key)
    if known is None:
        if len(_known) >= _LIMITS_KEPT:
            _known.clear()
        known = _known[key] = KnownHeads(limits)
    return known
