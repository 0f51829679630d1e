"""Compresses answers as they leave: gzip, brotli and zstd, by Accept-Encoding (RFC 9110, sections 8.4 and 12.5.3).

Files are compressed once: small ones stay in the content cache beside the original, and if a directory is named, all
stay on the disk too, under a name that is made of what they were made of. What applications send is compressed on its
way, and each piece is flushed, so that who has received it can read it.

Left as it is: what has a Content-Encoding, is a part (206), says `no-transform`, carries a digest of its content, is
not of a type that shrinks, or is too short; and everything while the encoders of this worker are all at work.

BREACH: compressing what holds a secret together with something that an attacker chose tells the secret by its length.
So the answer to somebody with a cookie, a password or a certificate is compressed only if their browser says that the
request came from this very site (Sec-Fetch-Site), not from an attacker's page. Files are the same for everybody and
hold nothing of the request.

A compressed answer is another representation: its entity tag becomes weak, so that conditions still match (they compare
weakly), and parts of one are never joined to parts of the other (ranges compare strongly).
"""

from __future__ import annotations

import itertools
import math
import os
from time import monotonic
from typing import TYPE_CHECKING

from securelight.files.accept_encoding import IDENTITY, choose_coding
from securelight.files.compressed_copies import HEADER_BYTES, CompressedCopies
from securelight.files.content_cache import CacheEntry
from securelight.files.encoders import encode, is_available, kept_encoder, live_encoder
from securelight.files.representation import REPRESENTATION_OVERHEAD_BYTES
from securelight.filters.compress_settings import CompressConfig, CompressLevels, faults_of
from securelight.filters.compressed_bodies import (
    DEAR_INLINE_BYTES,
    INLINE_BYTES,
    EncodedBody,
    EncodedFile,
    EncodedPush,
    MadeBody,
    Place,
    Room,
    file_key,
)
from securelight.filters.compressible import coded_fields, is_eligible, with_vary
from securelight.model.body import PUSHED_BODY, AsyncBody, FileSlice, OpenFile, PushedBody
from securelight.model.errors import ConfigError
from securelight.model.response import Response
from securelight.pipeline.compile import BuildContext, Feature

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from securelight.model.headers import Fields
    from securelight.model.request import Facts, Request
    from securelight.pipeline.stage import Filter

_PERSONAL_FIELDS = frozenset({b"cookie", b"authorization"})
_OWN_SITE = frozenset({b"same-origin", b"none"})
_DEFAULT_LEVELS = CompressLevels()
_LOAD_SECONDS = 1.0
"""How long a look at the load of the machine counts."""
_numbers = itertools.count()


class _Copy(CacheEntry):
    """A compressed body that is sent again and again.

    Attributes:
        response: the answer with it, if it is in memory; None once it was pushed out of the cache.
        size: bytes of the content, if it is in a file.
    """

    __slots__ = ("response", "size")

    def __init__(self, response: Response | None, file: OpenFile | None = None, size: int = 0) -> None:
        held = len(response.body) if response is not None and isinstance(response.body, bytes) else 0
        super().__init__(REPRESENTATION_OVERHEAD_BYTES + held, () if file is None else (file,), math.inf)
        self.response = response
        self.size = size

    def release(self) -> None:
        """See CacheEntry."""
        self.response = None
        super().release()


class _Variants:
    """What was made of one answer that is sent many times; lives in its `heads`."""

    __slots__ = ("copies", "plain", "working")

    def __init__(self, plain: Response) -> None:
        self.plain = plain
        """For clients that take it as it is: with Vary."""
        self.copies: dict[bytes, _Copy] = {}
        self.working: set[bytes] = set()
        """Codings that it is being compressed with."""


class Compress:
    """The filter of one route."""

    def __init__(self, settings: CompressConfig, context: BuildContext) -> None:
        codings = tuple(coding.encode() for coding in settings.codings if is_available(coding.encode()))
        self._settings = settings
        self._codings = (*codings, IDENTITY)
        self._live = {coding: int(getattr(settings.live, coding.decode())) for coding in codings}
        self._inline_bytes = {
            coding: INLINE_BYTES if level <= getattr(_DEFAULT_LEVELS, coding.decode()) else DEAR_INLINE_BYTES
            for coding, level in self._live.items()
        }
        self._kept = {coding: int(getattr(settings.kept, coding.decode())) for coding in codings}
        self._cache = context.content_cache
        self._in_thread = context.in_thread
        self._events = context.events
        self._key = f"compress {next(_numbers)}"
        self._view: dict[str, _Copy] = {}
        """Of those in `_Variants`, by number; of files, by their key."""
        self._files_working: set[bytes] = set()
        self._room = Room(settings.concurrent)
        # Opened now, because a worker that is confined may not open it later.
        self._load = os.open("/proc/loadavg", os.O_RDONLY | os.O_CLOEXEC) if settings.maximum_load else -1
        self._load_until = 0.0
        self._overloaded = False
        self._disk: CompressedCopies | None = None
        if settings.directory:
            try:
                self._disk = CompressedCopies(context.base / settings.directory, settings.directory_bytes)
            except OSError as error:
                raise ConfigError(context.where, f"directory {settings.directory!r}: {error.strerror}") from error

    def apply(self, request: Request, facts: Facts, response: Response) -> Response:
        """The answer, compressed if it may be."""
        heads = response.heads
        if heads is not None:
            variants: _Variants | None = heads.get(self._key, _UNKNOWN)
            if variants is _UNKNOWN:
                variants = heads[self._key] = self._variants(response)
            if variants is not None:
                return self._shared(request, facts, variants)
            return _revalidated(request, response) if response.status == 304 else self._head(request, response)
        if not is_eligible(response, self._settings.types, self._settings.minimum_bytes, self._settings.maximum_bytes):
            return response
        fields = with_vary(response.fields)
        coding = choose_coding(request.headers.get(b"accept-encoding"), self._codings)
        if coding is None or coding == IDENTITY:
            return _replaced(response, fields)
        if isinstance(response.body, FileSlice):
            return self._file(request, response, response.body, fields, coding)
        if not self._may_be_secret(request, facts, response):
            return self._made(request, response, fields, coding)
        return _replaced(response, fields)

    # What is sent many times.

    def _variants(self, response: Response) -> _Variants | None:
        settings = self._settings
        if not isinstance(response.body, bytes) or not is_eligible(
            response, settings.types, settings.minimum_bytes, settings.maximum_bytes
        ):
            return None
        if len(response.body) != response.content_length:
            return None  # it stands for a larger file, to answer HEAD
        plain = Response(response.status, with_vary(response.fields), response.body, shared=True)
        return _Variants(plain)

    def _shared(self, request: Request, facts: Facts, variants: _Variants) -> Response:
        coding = choose_coding(request.headers.get(b"accept-encoding"), self._codings)
        if coding is None or coding == IDENTITY:
            return variants.plain
        copy = variants.copies.get(coding)
        if copy is not None and copy.response is not None:
            copy.used = True
            return copy.response
        plain = variants.plain
        content = plain.body
        assert isinstance(content, bytes)
        if len(content) <= DEAR_INLINE_BYTES and self._disk is None:
            return self._keep(variants, coding, encode(content, coding, self._kept[coding]))
        facts.basis = None  # the next answer is another one
        fields = coded_fields(plain.fields, coding)
        if request.method == "HEAD":
            return Response(plain.status, fields, PUSHED_BODY)
        if coding in variants.working or self._is_busy():
            return plain
        variants.working.add(coding)
        level = self._kept[coding]

        def done(made: bytes | None) -> None:
            variants.working.discard(coding)
            if made is not None:
                self._keep(variants, coding, made)

        body = MadeBody(lambda: self._from_disk(content, coding, level), done, self._in_thread, Place(self._room))
        return Response(plain.status, fields, body)

    def _keep(self, variants: _Variants, coding: bytes, made: bytes) -> Response:
        plain = variants.plain
        if len(made) < (plain.content_length or 0):
            response = Response(plain.status, coded_fields(plain.fields, coding), made, shared=True)
            copy = _Copy(response)
        else:
            response = plain
            copy = _Copy(None)
            copy.response = plain
        variants.copies[coding] = copy
        self._cache.put(self._view, str(next(_numbers)), copy)
        return response

    def _from_disk(self, content: bytes, coding: bytes, level: int) -> bytes:
        """In a thread."""
        disk = self._disk
        if disk is None:
            return encode(content, coding, level)
        key = content + b" %b %d" % (coding, level)
        found = disk.load(key)
        if found is not None:
            descriptor, size = found
            try:
                with open(descriptor, "rb", buffering=0, closefd=False) as file:
                    file.seek(HEADER_BYTES)
                    made = file.readall()
                if made is not None and len(made) == size:
                    return made
            except OSError:
                pass
            finally:
                os.close(descriptor)
        made = encode(content, coding, level)
        disk.save(key, made)
        return made

    # Large files.

    def _head(self, request: Request, response: Response) -> Response:
        """The answer to HEAD that stands for a large file, as GET would answer; anything else stays as it is."""
        settings = self._settings
        if (
            response.body != b""
            or not response.content_length
            or not is_eligible(response, settings.types, settings.minimum_bytes, settings.maximum_bytes)
        ):
            return response
        fields = with_vary(response.fields)
        coding = choose_coding(request.headers.get(b"accept-encoding"), self._codings)
        if coding is None or coding == IDENTITY:
            return _replaced(response, fields)
        return Response(response.status, coded_fields(fields, coding), PUSHED_BODY)

    def _file(self, request: Request, response: Response, body: FileSlice, fields: Fields, coding: bytes) -> Response:
        plain = _replaced(response, fields)
        try:
            status = os.fstat(body.file.descriptor)
            key = file_key(body.file.descriptor) + b" %b %d" % (coding, self._kept[coding])
        except OSError:
            return plain
        if body.offset or body.length != status.st_size or response.status != 200:
            return plain
        name = key.decode()
        copy = self._view.get(name)
        fields = coded_fields(fields, coding)
        if copy is not None and copy.files:
            copy.used = True
            if request.method == "HEAD":
                response.release()
                return Response(200, fields, PUSHED_BODY, content_length=copy.size)
            response.release()
            return Response(200, fields, FileSlice(copy.files[0].acquire(), HEADER_BYTES, copy.size))
        if request.method == "HEAD":
            response.release()
            return Response(200, fields, PUSHED_BODY)
        if self._is_busy():
            return plain
        keeps = self._disk is not None and key not in self._files_working
        level = self._kept[coding] if keeps else self._live[coding]
        place = Place(self._room)
        if keeps:
            self._files_working.add(key)

        def kept(descriptor: int, size: int) -> None:
            file = OpenFile(descriptor, os.fstat(descriptor).st_dev)
            self._cache.put(self._view, name, _Copy(None, file, size))

        def ended() -> None:
            place.leave()
            if keeps:
                self._files_working.discard(key)

        make = kept_encoder if keeps else live_encoder
        return Response(
            200,
            fields,
            EncodedFile(
                body, lambda: make(coding, level), self._disk if keeps else None, key, kept, ended, self._in_thread
            ),
        )

    # What is made at the moment.

    def _may_be_secret(self, request: Request, facts: Facts, response: Response) -> bool:
        mode = self._settings.personal
        if mode == "always":
            return False
        personal = (
            not request.headers.isdisjoint(_PERSONAL_FIELDS)
            or facts.user is not None
            or request.peer.tls.client_certificate is not None
            or any(name == b"set-cookie" for name, _ in response.fields)
        )
        return personal and (mode == "never" or request.headers.get(b"sec-fetch-site") not in _OWN_SITE)

    def _made(self, request: Request, response: Response, fields: Fields, coding: bytes) -> Response:
        body = response.body
        if request.method == "HEAD":
            return Response(response.status, coded_fields(fields, coding), PUSHED_BODY)
        if self._is_busy():
            return _replaced(response, fields)
        level = self._live[coding]
        inline_bytes = self._inline_bytes[coding]
        coded = coded_fields(fields, coding)
        if isinstance(body, bytes):
            if len(body) <= inline_bytes:
                encoder = live_encoder(coding, level, len(body))
                made = encoder.feed(body, flush=False) + encoder.finish()
                if len(made) >= len(body):
                    return _replaced(response, fields)
                return Response(response.status, coded, made)

            def make() -> bytes:
                encoder = live_encoder(coding, level)
                return encoder.feed(body, flush=False) + encoder.finish()

            return Response(
                response.status, coded, MadeBody(make, lambda _made: None, self._in_thread, Place(self._room))
            )
        place = Place(self._room)
        encoder = live_encoder(coding, level, response.content_length)
        if isinstance(body, PushedBody):
            return Response(response.status, coded, EncodedPush(encoder, inline_bytes, self._in_thread, place))
        assert isinstance(body, AsyncBody)
        return Response(response.status, coded, EncodedBody(body, encoder, inline_bytes, self._in_thread, place))

    def _is_busy(self) -> bool:
        if self._room.free <= 0:
            return True
        if not self._settings.maximum_load:
            return False
        now = monotonic()
        if now >= self._load_until:
            self._load_until = now + _LOAD_SECONDS
            load = float(os.pread(self._load, 64, 0).split(b" ", 1)[0])
            self._overloaded = load > self._settings.maximum_load * (os.cpu_count() or 1)
        return self._overloaded


_UNKNOWN = _Variants(Response(200))


def _replaced(response: Response, fields: Fields) -> Response:
    """`response` with other fields; the body is the same object."""
    if fields is response.fields:
        return response
    return Response(response.status, fields, response.body, content_length=response.content_length)


def _revalidated(request: Request, response: Response) -> Response:
    """A 304 to a client that has a compressed copy, with that one's entity tag."""
    tag = next((value for name, value in response.fields if name == b"etag"), b"")
    if not tag or b"W/" + tag not in (request.headers.get(b"if-none-match") or b""):
        return response
    fields = ((name, b"W/" + value if name == b"etag" else value) for name, value in response.fields)
    return Response(304, with_vary(tuple(fields)))


def check(settings: CompressConfig, base: Path) -> Sequence[str]:
    """What is wrong with the settings, besides their types."""
    return faults_of(settings, base)


def build(settings: CompressConfig, context: BuildContext) -> Filter:
    """The filter.

    Errors: ConfigError for what `check` reports.
    """
    faults = faults_of(settings, context.base)
    if faults:
        raise ConfigError(context.where, "; ".join(faults))
    return Compress(settings, context).apply


FEATURE = Feature(
    name="compress", kind="filter", config_class=CompressConfig, build=build, check=check, repeatable=True
)
