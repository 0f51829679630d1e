"""A file that an application names instead of sending it: `X-Sendfile` and `X-Accel-Redirect` in its answer.

Owns which files may be named: those below the roots that the operator has listed, opened as files/safe_path does it.
Refused: everything else, with 404 and a line in the log, since what is in such a field may come from users. The file is
sent as static files are, with validators and ranges; the application's own fields stay, but for those that speak of
the content that it did not send.
"""

from __future__ import annotations

import os
from stat import S_ISREG
from typing import TYPE_CHECKING

import msgspec

from securelight.files.mime_types import content_type
from securelight.files.representation import Representation
from securelight.files.safe_path import DocumentRoot, relative_path
from securelight.files.stored_file import store
from securelight.model.errors import Refusal
from securelight.model.response import Response
from securelight.model.uri import normalise_path

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from securelight.model.headers import Field
    from securelight.model.limits import Limits
    from securelight.model.request import Request
    from securelight.pipeline.compile import EventLog

_NAMING = frozenset({b"x-sendfile", b"x-accel-redirect"})
_OF_THE_CONTENT = frozenset(
    b"accept-ranges content-encoding content-length content-range content-type etag last-modified x-accel-redirect "
    b"x-content-type-options x-sendfile".split()
)


class SendfileConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`sendfile`: files that the application may name in its answer instead of sending them."""

    roots: tuple[str, ...] = ()
    """Directories; `X-Sendfile: /srv/files/a.pdf` names a file below one of them."""
    locations: dict[str, str] = {}
    """Directories by path: with `"/protected" = "/srv/files"`, `X-Accel-Redirect: /protected/a.pdf` names
    `/srv/files/a.pdf`."""


def faults(settings: SendfileConfig, base: Path) -> list[str]:
    """What is wrong with the settings, besides their types."""
    found = [
        f"sendfile: {directory!r} is not a directory"
        for directory in (*settings.roots, *settings.locations.values())
        if not directory or not (base / directory).is_dir()
    ]
    found += [
        f"sendfile.locations: {location!r} must begin with a slash and name a path, such as /protected"
        for location in settings.locations
        if not location.startswith("/") or not location.strip("/")
    ]
    return found


class Sendfile:
    """Finds the files of one route.

    Args:
        settings: without faults.
        base: where relative paths start.
        limits: the server's bounds.
        events: is told of names that are refused.
    """

    def __init__(self, settings: SendfileConfig, base: Path, limits: Limits, events: EventLog) -> None:
        self._limits = limits
        self._events = events
        self._roots: dict[bytes, list[tuple[bytes, DocumentRoot]]] = {b"x-sendfile": [], b"x-accel-redirect": []}
        for directory in settings.roots:
            written = os.path.normpath(base.absolute() / directory)
            root = DocumentRoot((base / directory).resolve())
            for name in dict.fromkeys((os.fsencode(written), root.path)):
                self._roots[b"x-sendfile"].append((name.rstrip(b"/") + b"/", root))
        for location, directory in settings.locations.items():
            prefix = b"/" + location.strip("/").encode() + b"/"
            self._roots[b"x-accel-redirect"].append((prefix, DocumentRoot((base / directory).resolve())))
        for roots in self._roots.values():
            roots.sort(key=lambda item: len(item[0]), reverse=True)

    def names_a_file(self, fields: Sequence[Field]) -> bool:
        """Whether an answer with these fields names a file."""
        return any(name in _NAMING and self._roots[name] for name, _value in fields)

    def answer(self, request: Request, status: int, fields: Sequence[Field]) -> Response:
        """The answer with the file that `fields` name. Blocks: for a thread.

        Args:
            request: what was asked for; ranges and preconditions count for GET and HEAD with status 200.
            status: of the application's answer.
            fields: of the application's answer.

        Errors: Refusal 404, 412, 416, 502.
        """
        named = [(name, value) for name, value in fields if name in _NAMING and self._roots[name]]
        if len(named) > 1:
            raise Refusal(502, "The application can't be reached.", "it names two files")
        name, value = named[0]
        path, descriptor, opened = self._open(name, value)
        stored = store(descriptor, opened, self._limits.content_cache_file_bytes, may_block=True)
        try:
            kept = tuple(field for field in fields if field[0] not in _OF_THE_CONTENT)
            kinds = [text for field, text in fields if field == b"content-type"]
            found = Representation(stored, kinds[0] if kinds else content_type(path), varies=kept)
            if status == 200 and request.method in ("GET", "HEAD"):
                return found.answer(request, self._limits.ranges)
            whole = found.whole(request.method)
            return Response(status, whole.fields, whole.body, content_length=whole.content_length)
        finally:
            if stored.file is not None:
                stored.file.release()

    def _open(self, name: bytes, value: bytes) -> tuple[bytes, int, os.stat_result]:
        path = value
        if name == b"x-accel-redirect":
            try:
                path = normalise_path(value.partition(b"?")[0]).encode("utf-8", "surrogateescape")
            except Refusal as refusal:
                raise self._refused(name, value, refusal.detail) from refusal
        for prefix, root in self._roots[name]:
            if not path.startswith(prefix):
                continue
            relative = relative_path("/" + path[len(prefix) :].decode("utf-8", "surrogateescape"))
            if relative is None:
                break
            try:
                descriptor, status = root.open(relative)
            except (FileNotFoundError, PermissionError) as error:
                raise self._refused(name, value, str(error.strerror)) from error
            except OSError as error:
                raise Refusal(503, "", f"{name.decode()}: {error.strerror}", ((b"retry-after", b"1"),)) from error
            if not S_ISREG(status.st_mode):
                os.close(descriptor)
                raise self._refused(name, value, "not a regular file")
            return path, descriptor, status
        raise self._refused(name, value, "not below one of the directories of sendfile")

    def _refused(self, name: bytes, value: bytes, why: str) -> Refusal:
        text = value[:200].decode("utf-8", "backslashreplace")
        self._events.warning("file of an application refused", field=name.decode(), value=text, why=why)
        return Refusal(404, "There is nothing here.", f"{name.decode()} {text!r}: {why}")


def make_sendfile(settings: SendfileConfig, base: Path, limits: Limits, events: EventLog) -> Sendfile | None:
    """What answers with files; None where no directory is listed."""
    if not settings.roots and not settings.locations:
        return None
    return Sendfile(settings, base, limits, events)
