"""The formats of the access log as functions: a template is compiled once, and then makes a line for each request.

Whatever a client sent is escaped, so that a line is always one line, and no terminal obeys it. A value that does not
stand in double quotes has its spaces escaped too, and the character that ends it in the template: nobody can make one
value look like two.

The signature of a signed link is not written, wherever it stands: who reads the log could use the link.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from typing import Any, Final, NamedTuple

import msgspec

from securelight.config.log_template import header_of, parts_of, template_of
from securelight.model.headers import CREDENTIALS
from securelight.model.request import Facts, Request

_UNSAFE = re.compile(rb'[^\x20-\x21\x23-\x5b\x5d-\x7e]')  # fmt: skip
_SIGNATURE = re.compile(rb"([?&;]signature=)[^&;#]+")
_KEPT_BYTES = 256
"""Longer values are escaped anew each time, so that what is kept stays small."""
_KEPT_VALUES = 1024


def escape(value: bytes) -> str:
    """As it may stand in double quotes."""
    if b"signature=" in value:
        value = _SIGNATURE.sub(rb"\1...", value)
    if _UNSAFE.search(value):
        value = _UNSAFE.sub(lambda match: b"\\x%02x" % match[0][0], value)
    return value.decode("ascii")


_kept: dict[bytes | None, str] = {}
"""Most targets and user agents are those of a moment ago."""
kept_text = _kept.get
"""What `escaped` gave for the same value a moment ago; None if it has to be asked."""


def escaped(value: bytes | None) -> str:
    """As it may stand in double quotes; "-" for none. For what `kept_text` does not know."""
    text = escape(value) if value else "-"
    if not value or len(value) <= _KEPT_BYTES:
        if len(_kept) >= _KEPT_VALUES:
            _kept.clear()
        _kept[value] = text
    return text


def user_text(user: str | None) -> str:
    """A name may come from a certificate or a password file: with spaces and anything that prints."""
    return escape(user.encode("utf-8", "surrogateescape")).replace(" ", "\\x20") if user else "-"


class Moment:
    """The time of a line, as text; the same for all within a second."""

    __slots__ = ("common", "iso", "second")

    def __init__(self) -> None:
        self.second = -1
        self.common = self.iso = ""

    def look(self) -> None:
        """Be now."""
        second = int(time.time())
        if second != self.second:
            self.second = second
            local = time.localtime(second)
            self.common = time.strftime("%d/%b/%Y:%H:%M:%S %z", local)
            zone = time.strftime("%z", local)
            self.iso = f"{time.strftime('%Y-%m-%dT%H:%M:%S', local)}{zone[:3]}:{zone[3:]}"


class Entry(NamedTuple):
    """A request that has ended."""

    request: Request
    facts: Facts
    status: int
    sent_bytes: int
    seconds: float
    moment: Moment


_Value = Callable[[Entry], str]
Line = Callable[[Entry], str]
"""Makes a line, its end included."""

ADDRESS_MARK: Final = "\0"
TIME_MARKS: Final = {"time": "\1", "time_iso": "\2"}
"""What stands for who and when in the line of a repeated request. No escaped value has such a character."""

_STABLE: Final[dict[str, Callable[[Request], str]]] = {
    "method": lambda request: _text(request.method),
    "scheme": lambda request: request.scheme or "-",
    "authority": lambda request: _text(request.authority),
    "host": lambda request: _text(request.host),
    "path": lambda request: _text(request.path),
    "protocol": lambda request: f"HTTP/{request.http_version}",
}
_OTHERS: Final[dict[str, _Value]] = {
    "client_address": lambda entry: entry.facts.client_address or "-",
    "client_port": lambda entry: str(entry.request.peer.port),
    "local_address": lambda entry: entry.request.peer.local_address or "-",
    "local_port": lambda entry: str(entry.request.peer.local_port),
    "user": lambda entry: user_text(entry.facts.user),
    "time": lambda entry: entry.moment.common,
    "time_iso": lambda entry: entry.moment.iso,
    "time_unix": lambda entry: f"{time.time():.3f}",
    "duration_ms": lambda entry: f"{entry.seconds * 1000:.3f}",
    "duration_seconds": lambda entry: f"{entry.seconds:.6f}",
    "stream": lambda entry: str(entry.request.stream_id),
    "route": lambda entry: _text(entry.facts.route_path or "/"),
    "refusal": lambda entry: _text(entry.facts.refusal.detail) if entry.facts.refusal is not None else "-",
    "error_id": lambda entry: _text(entry.facts.error_id),
    "tls_version": lambda entry: entry.request.peer.tls.version or "-",
    "cipher": lambda entry: entry.request.peer.tls.cipher or "-",
    "sni": lambda entry: _text(entry.request.peer.tls.server_name),
    "resumed": lambda entry: "yes" if entry.request.peer.tls.resumed else "no",
    "certificate_subject": lambda entry: _text(entry.facts.certificate.subject) if entry.facts.certificate else "-",
    "certificate_serial": lambda entry: _text(entry.facts.certificate.serial) if entry.facts.certificate else "-",
    "certificate_fingerprint": lambda entry: (
        _text(entry.facts.certificate.fingerprint) if entry.facts.certificate else "-"
    ),
    "country": lambda entry: _text(entry.facts.place("country")),
    "continent": lambda entry: _text(entry.facts.place("continent")),
    "asn": lambda entry: _text(entry.facts.place("asn")),
}  # fmt: skip
_MEASURED: Final[dict[str, Callable[[int, int], str]]] = {
    "status": lambda status, _sent_bytes: str(status),
    "bytes": lambda _status, sent_bytes: str(sent_bytes),
}
_OURS: Final = frozenset(_MEASURED) | {
    *("client_address", "client_port", "local_address", "local_port", "time", "time_iso", "time_unix"),
    *("duration_ms", "duration_seconds", "stream", "tls_version", "cipher", "resumed", "error_id"),
}
"""Nobody else chooses a character of these."""


def _text(value: object) -> str:
    return escape(str(value).encode("utf-8", "surrogateescape")) or "-"


def _quiet(text: bytes | None) -> bytes | None:
    """Without what is behind the question mark."""
    return text.partition(b"?")[0] if text else text


class Format:
    """A compiled form of lines.

    Args:
        form: a name or a template, without faults; not `off`.
        hide_query: leave the query of URLs out.

    Attributes:
        line: makes the line of a request.
    """

    __slots__ = ("_hide_query", "_parts", "line")

    def __init__(self, form: str, *, hide_query: bool = False) -> None:
        self._hide_query = hide_query
        self._parts: list[tuple[str, _Value]] | None = None
        if form == "json":
            self.line: Line = lambda entry: json_line(entry, hide_query=hide_query)
            return
        self._parts = self._compiled(template_of(form))
        values = tuple(value for _name, value in self._parts)
        self.line = lambda entry: "".join([value(entry) for value in values]) + "\n"

    def repeated(self, request: Request, status: int, sent_bytes: int) -> str | None:
        """The line of a request whose head comes again, with marks for who and when; None if it says more."""
        if self._parts is None:
            return None
        nobody = Facts("")
        entry = Entry(request, nobody, status, sent_bytes, 0.0, Moment())
        pieces = []
        for name, value in self._parts:
            if name == "client_address":
                pieces.append(ADDRESS_MARK)
            elif name in TIME_MARKS:
                pieces.append(TIME_MARKS[name])
            elif (name in _OTHERS and name != "user") or header_of(name) in CREDENTIALS:
                return None
            else:
                pieces.append(value(entry))
        return "".join(pieces) + "\n"

    def _compiled(self, template: str) -> list[tuple[str, _Value]]:
        parts = parts_of(template)
        compiled: list[tuple[str, _Value]] = []
        quotes = 0
        for number, part in enumerate(parts):
            if not part.field:
                quotes += part.literal.count('"')
                compiled.append(("", _constant(part.literal)))
                continue
            following = parts[number + 1].literal[:1] if number + 1 < len(parts) else ""
            compiled.append((part.field, self._value(part.field, None if quotes % 2 else following)))
        return compiled

    def _value(self, name: str, following: str | None) -> _Value:
        """What makes the text of the field `name`; `following` comes after it, None within quotes."""
        if name == "request":
            target = self._value("target", None if following is None else " ")
            return lambda entry: f"{_text(entry.request.method)} {target(entry)} HTTP/{entry.request.http_version}"
        value = self._plain_value(name)
        return value if following is None or name in _OURS else _bare(value, following)

    def _plain_value(self, name: str) -> _Value:
        field = header_of(name)
        hides = self._hide_query
        if field is not None:
            if hides and field == b"referer":
                return lambda entry: escaped(_quiet(entry.request.headers.get(b"referer")))
            return lambda entry: _kept_value(entry.request.headers.get(field))
        if name in _STABLE:
            stable = _STABLE[name]
            return lambda entry: stable(entry.request)
        if name in _MEASURED:
            measured = _MEASURED[name]
            return lambda entry: measured(entry.status, entry.sent_bytes)
        if name == "query":
            return lambda entry: "-" if hides else escaped_query(entry.request.query)
        if name == "target":
            return _hidden_target if hides else _target
        return _OTHERS[name]


def escaped_query(query: bytes) -> str:
    """A query, which has no question mark before it."""
    return escape(b"?" + query)[1:] or "-"


def _target(entry: Entry) -> str:
    return kept_text(entry.request.target) or escaped(entry.request.target)


def _hidden_target(entry: Entry) -> str:
    return escaped(_quiet(entry.request.target))


def _kept_value(value: bytes | None) -> str:
    return kept_text(value) or escaped(value)


def _constant(text: str) -> _Value:
    return lambda _entry: text


def _bare(value: _Value, following: str) -> _Value:
    """`value` where no quotes are around it, and `following` comes after it."""
    if following in ("", " ", "\\", "x") or following.isalnum() or not following.isascii():
        return lambda entry: value(entry).replace(" ", "\\x20")
    code = f"\\x{ord(following):02x}"
    return lambda entry: value(entry).replace(following, code).replace(" ", "\\x20")


def _printable(text: str) -> str:
    """JSON escapes some of what a terminal obeys, and not the rest; nor can it have half a character."""
    return text if text.isprintable() else text.encode("unicode_escape").decode("ascii")


def json_line(entry: Entry, *, hide_query: bool = False) -> str:
    """The line of the format `json`."""
    request, facts, tls = entry.request, entry.facts, entry.request.peer.tls
    target, referer = request.target, request.headers.get(b"referer")
    if hide_query:
        target, referer = _quiet(target) or b"", _quiet(referer)
    values: dict[str, Any] = {
        "time": entry.moment.common,
        "client": facts.client_address,
        "user": facts.user and _printable(facts.user),
        "method": request.method,
        "scheme": request.scheme,
        "host": request.authority,
        "target": kept_text(target) or escaped(target),
        "protocol": f"HTTP/{request.http_version}",
        "status": entry.status,
        "bytes": entry.sent_bytes,
        "duration_ms": round(entry.seconds * 1000, 3),
        "stream": request.stream_id,
        "tls_version": tls.version,
        "cipher": tls.cipher,
        "sni": tls.server_name and _printable(tls.server_name),
        "resumed": tls.resumed,
        "referer": escaped(referer),
        "user_agent": escaped(request.headers.get(b"user-agent")),
    }
    if facts.certificate is not None:
        values["certificate"] = {
            "subject": _printable(facts.certificate.subject),
            "serial": facts.certificate.serial,
            "sha256": facts.certificate.fingerprint,
        }
    if facts.refusal is not None:
        values["refusal"] = _printable(facts.refusal.detail)
    if facts.error_id:
        values["error_id"] = facts.error_id
    return msgspec.json.encode(values).decode() + "\n"
