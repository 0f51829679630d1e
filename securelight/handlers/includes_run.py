"""Works a page with server-side includes out: what it includes, echoes, sets and asks for.

One Run is one answer. Everything that a page or a request could make large has a bound for the whole answer, whatever
includes what: files, depth, directives, bytes, variables. What goes over a bound ends the answer with an error; what
merely cannot be done leaves the page's error message in its place.

Included files are found beneath the root as any request's are. Small ones are read, larger ones are put into the answer
as they lie on the disk. Nothing that a client sends reaches the page unescaped, unless the page says `encoding="none"`.
"""

from __future__ import annotations

import html
import os
import time
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol
from urllib.parse import quote

from securelight.handlers.includes_expression import VALUE_CHARACTERS, PageFault, filled
from securelight.handlers.includes_page import Choice, Directive, Fault, Node
from securelight.model.body import FileSlice, OpenFile
from securelight.model.errors import Refusal
from securelight.model.uri import parse_target

if TYPE_CHECKING:
    from collections.abc import Sequence

    from securelight.model.request import Facts, Request

VARIABLES: Final = 64
"""That one answer may set."""
ERROR_MESSAGE: Final = "[an error occurred while processing this directive]"
_MESSAGE_CHARACTERS: Final = 1_024
_TIME_FORMAT: Final = "%A, %d-%b-%Y %H:%M:%S %Z"
_TIME_FORMAT_CHARACTERS: Final = 64
_UNITS: Final = ("", "K", "M", "G", "T", "P")
_ENCODINGS: Final = ("entity", "url", "none")


class Bounds(NamedTuple):
    """Of one answer: how deep files may include each other, how many, how many directives are done, how many bytes."""

    depth: int
    includes: int
    directives: int
    output_bytes: int


class Piece(NamedTuple):
    """An included file: nodes if it has directives itself, otherwise what it holds, or itself if it is large."""

    path: str
    modified: float
    content: Sequence[Node] | bytes | tuple[OpenFile, int]


class Files(Protocol):
    """Where pages find other files; paths are those of requests."""

    def load(self, path: str) -> Piece:
        """The file at `path`.

        Errors: PageFault, BlockingIOError.
        """
        ...

    def facts(self, path: str) -> tuple[int, float]:
        """(bytes, time of change) of it.

        Errors: PageFault, BlockingIOError.
        """
        ...


class TooMuch(Exception):
    """The answer goes over a bound."""


class Run:
    """One answer.

    Args:
        request, facts: to what.
        files: where others are found.
        bounds: see Bounds.

    Attributes:
        parts: the answer so far; whoever takes it releases the files in it, also after an error.
        faults: what could not be done.
    """

    def __init__(self, request: Request, facts: Facts, files: Files, bounds: Bounds) -> None:
        self.parts: list[bytes | FileSlice] = []
        self.faults: list[str] = []
        self._request = request
        self._facts = facts
        self._files = files
        self._bounds = bounds
        self._includes = 0
        self._directives = 0
        self._bytes = 0
        self._set: dict[str, str] = {}
        self._now = time.time()
        self._modified = 0.0
        self._error = ERROR_MESSAGE
        self._unset = "(none)"
        self._time_format = _TIME_FORMAT
        self._abbreviates = True

    def page(self, piece: Piece, depth: int = 0) -> None:
        """Work `piece` out.

        Errors: TooMuch, BlockingIOError.
        """
        content = piece.content
        if not depth:
            self._modified = piece.modified
        if isinstance(content, bytes):
            self._write(content)
        elif isinstance(content, tuple):
            file, size = content
            self.parts.append(FileSlice(file, 0, size))
            self._count_bytes(size)
        else:
            self._nodes(content, piece, depth)

    def _nodes(self, nodes: Sequence[Node], piece: Piece, depth: int) -> None:
        for node in nodes:
            if isinstance(node, str):
                self._write(_bytes(node))
                continue
            self._directives += 1
            if self._directives > self._bounds.directives:
                raise TooMuch(f"more than {self._bounds.directives} directives")
            try:
                if isinstance(node, Fault):
                    raise PageFault(node.why)
                if isinstance(node, Choice):
                    self._nodes(self._chosen(node, piece), piece, depth)
                else:
                    self._do(node, piece, depth)
            except PageFault as fault:
                self.faults.append(f"{piece.path}: {fault}")
                self._write(_bytes(self._error))

    def _chosen(self, choice: Choice, piece: Piece) -> list[Node]:
        for test, nodes in choice.branches:
            if test is None or test(lambda name: self._value(name, piece)):
                return nodes
        return []

    def _write(self, data: bytes) -> None:
        self._count_bytes(len(data))
        self.parts.append(data)

    def _count_bytes(self, count: int) -> None:
        self._bytes += count
        if self._bytes > self._bounds.output_bytes:
            raise TooMuch(f"more than {self._bounds.output_bytes} bytes")

    def _do(self, directive: Directive, piece: Piece, depth: int) -> None:
        match directive.name:
            case "include":
                for key, value in directive.attributes:
                    self._include(self._path(key, value, piece), depth)
            case "echo":
                self._echo(directive, piece)
            case "set":
                self._assign(directive, piece)
            case "config":
                for key, value in directive.attributes:
                    self._configure(key, value)
            case "fsize" | "flastmod":
                for key, value in directive.attributes:
                    size, modified = self._files.facts(self._path(key, value, piece))
                    text = self._size(size) if directive.name == "fsize" else self._time(modified)
                    self._write(_bytes(html.escape(text)))
            case _:  # printenv
                names = (*_VALUES, *self._set)
                lines = (f"{name}={html.escape(self._value(name, piece) or self._unset)}\n" for name in names)
                self._write(_bytes("".join(lines)))

    def _include(self, path: str, depth: int) -> None:
        self._includes += 1
        if self._includes > self._bounds.includes:
            raise TooMuch(f"more than {self._bounds.includes} files are included")
        if depth >= self._bounds.depth:
            raise PageFault(f"files include each other more than {self._bounds.depth} deep")
        self.page(self._files.load(path), depth + 1)

    def _path(self, key: str, value: str, piece: Piece) -> str:
        """The path of the file that an attribute names."""
        text = filled(value, lambda name: self._value(name, piece))
        folder = piece.path[: piece.path.rfind("/") + 1]
        if key == "file":
            if text.startswith("/") or ".." in text.split("/") or "\0" in text:
                raise PageFault(f"file is a name below the page's own folder, not {text[:80]!r}")
            return folder + text
        raw = text if text.startswith("/") else quote(folder.encode("utf-8", "surrogateescape")) + text
        try:
            path, query = parse_target(
                quote(raw.encode("utf-8", "surrogateescape"), safe="/%?!$&'()*+,;=:@~-._").encode()
            )
        except Refusal as refusal:
            raise PageFault(f"virtual {text[:80]!r}: {refusal.detail}") from refusal
        if query:
            raise PageFault("what is included is a file, and takes no query")
        return path

    def _echo(self, directive: Directive, piece: Piece) -> None:
        encoding, default = "entity", None
        for key, value in directive.attributes:
            if key == "encoding":
                if value not in _ENCODINGS:
                    raise PageFault(f"encoding is one of {', '.join(_ENCODINGS)}")
                encoding = value
            elif key == "default":
                default = value
        for key, name in directive.attributes:
            if key == "var":
                found = self._value(name, piece)
                text = (self._unset if default is None else default) if found is None else found
                if encoding == "entity":
                    text = html.escape(text)
                elif encoding == "url":
                    text = quote(text.encode("utf-8", "surrogateescape"))
                self._write(_bytes(text))

    def _assign(self, directive: Directive, piece: Piece) -> None:
        values = dict(directive.attributes)
        name, value = values.get("var", ""), values.get("value")
        if not name or value is None or not name.isidentifier() or len(name) > 64:
            raise PageFault("set needs a var, which is a name, and a value")
        if name not in self._set and len(self._set) >= VARIABLES:
            raise PageFault(f"more than {VARIABLES} variables")
        found = filled(value, lambda name: self._value(name, piece))
        if len(found) > VALUE_CHARACTERS:
            raise PageFault(f"a value is longer than {VALUE_CHARACTERS} characters")
        self._set[name] = found

    def _configure(self, key: str, value: str) -> None:
        if key == "timefmt":
            if len(value) > _TIME_FORMAT_CHARACTERS:
                raise PageFault(f"timefmt is longer than {_TIME_FORMAT_CHARACTERS} characters")
            self._time_format = value
        elif key == "sizefmt":
            if value not in ("bytes", "abbrev"):
                raise PageFault("sizefmt is bytes or abbrev")
            self._abbreviates = value == "abbrev"
        elif len(value) > _MESSAGE_CHARACTERS:
            raise PageFault(f"{key} is longer than {_MESSAGE_CHARACTERS} characters")
        elif key == "errmsg":
            self._error = value
        else:
            self._unset = value

    def _size(self, size: int) -> str:
        if not self._abbreviates:
            return f"{size:,}"
        value, unit = float(size), 0
        while value >= 1024 and unit < len(_UNITS) - 1:
            value, unit = value / 1024, unit + 1
        return f"{value:.1f}{_UNITS[unit]}" if unit and value < 10 else f"{value:.0f}{_UNITS[unit]}"

    def _time(self, seconds: float, *, utc: bool = False) -> str:
        try:
            moment = time.gmtime(seconds) if utc else time.localtime(seconds)
            return time.strftime(self._time_format, moment)
        except (ValueError, OverflowError, OSError) as error:  # a file may have any time
            raise PageFault(f"timefmt: {error}") from error

    def _value(self, name: str, piece: Piece) -> str | None:
        """The value of a variable; None if it is not set."""
        if name in self._set:
            return self._set[name]
        match name:
            case "DATE_LOCAL":
                return self._time(self._now)
            case "DATE_GMT":
                return self._time(self._now, utc=True)
            case "LAST_MODIFIED":
                return self._time(self._modified)
            case "DOCUMENT_NAME":
                return os.path.basename(self._request.path) or os.path.basename(piece.path)
            case "DOCUMENT_URI":
                return self._request.path
            case "QUERY_STRING":
                return self._request.query.decode("latin-1")
            case "REQUEST_METHOD":
                return self._request.method
            case "REQUEST_SCHEME":
                return self._request.scheme
            case "REQUEST_URI":
                return self._request.target.decode("latin-1")
            case "SERVER_NAME":
                return self._request.host
            case "SERVER_PROTOCOL":
                return f"HTTP/{self._request.http_version}"
            case "REMOTE_ADDR":
                return self._facts.client_address
            case "REMOTE_USER":
                return self._facts.user
        field = _FIELDS.get(name)
        value = None if field is None else self._request.headers.get(field)
        return None if value is None else value.decode("utf-8", "replace")


_FIELDS: Final = {
    "HTTP_HOST": b"host",
    "HTTP_USER_AGENT": b"user-agent",
    "HTTP_REFERER": b"referer",
    "HTTP_ACCEPT": b"accept",
    "HTTP_ACCEPT_LANGUAGE": b"accept-language",
}
"""The fields that pages may know; passwords and cookies are not among them."""
_VALUES: Final = (
    "DATE_LOCAL", "DATE_GMT", "LAST_MODIFIED", "DOCUMENT_NAME", "DOCUMENT_URI", "QUERY_STRING", "REQUEST_METHOD",
    "REQUEST_SCHEME", "REQUEST_URI", "SERVER_NAME", "SERVER_PROTOCOL", "REMOTE_ADDR", "REMOTE_USER", *_FIELDS,
)  # fmt: skip
"""What printenv tells, beside what the page has set."""


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")
