"""Request bodies that are collected before a server behind us sees any of them: in memory at first, then in a file.

For servers that can serve one slow upload at a time, or must know how long a body is. The file has no name (it was
unlinked before its first byte was written), so nobody else can open it and nothing is left of it, however we end. How
large one body and all of them together may become, in each worker, is bounded.
"""

from __future__ import annotations

import tempfile
from typing import IO, TYPE_CHECKING, Annotated, Literal, Protocol, TypeVar

import msgspec

from securelight.model.errors import Refusal

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable
    from pathlib import Path


T = TypeVar("T")
Bytes = Annotated[int, msgspec.Meta(ge=1, le=1 << 50)]


class SpoolConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`spool`: request bodies are collected on the disk before the server behind us gets them."""

    when: Literal["never", "unknown_length", "always"] = "never"
    """`unknown_length`: only those whose length the client did not announce."""
    directory: str = ""
    """Where; it must be there, and be writable for the workers. Relative paths start from the file that this stands
    in."""
    memory_bytes: Annotated[int, msgspec.Meta(ge=1, le=1 << 20)] = 65_536
    """Of each body, held in memory; a body that fits needs no file."""
    body_bytes: Bytes = 1 << 30
    """Of one body; 413 for more."""
    total_bytes: Bytes = 10 << 30
    """Of all bodies that are on the disk at a time, in each worker; 503 for more."""


def spool_faults(settings: SpoolConfig, base: Path) -> list[str]:
    """What is wrong with the settings, besides their types."""
    if settings.when == "never":
        return ["spool.directory is of use with spool.when only"] if settings.directory else []
    if not settings.directory:
        return ["spool.directory must name a folder, such as /var/lib/securelight/spool"]
    faults = []
    if not (base / settings.directory).is_dir():
        faults.append(f"spool.directory {settings.directory!r} is not a folder; make it, writable for the workers")
    if settings.memory_bytes > settings.body_bytes:
        faults.append("spool.memory_bytes is more than spool.body_bytes")
    return faults


class Upload(Protocol):
    """What brings a body: a part of pipeline.exchange.Exchange."""

    async def receive(self) -> bytes: ...  # noqa: D102 - see there
    async def in_thread(self, function: Callable[[], T]) -> T: ...  # noqa: D102 - see there


class SpoolRoom:
    """What the spools of one feature share.

    Args:
        settings: checked.
        base: where relative paths start.

    Attributes:
        used_bytes: on the disk at the moment.
    """

    def __init__(self, settings: SpoolConfig, base: Path) -> None:
        self.settings = settings
        self.directory = base / settings.directory
        self.used_bytes = 0

    def wants(self, *, length: int | None) -> bool:
        """Whether a body is collected; `length` is None if it was not announced."""
        when = self.settings.when
        return when == "always" or (when == "unknown_length" and length is None)

    async def collect(self, upload: Upload, announced: int | None) -> Spool:
        """The whole body of a request; the caller closes it.

        Args:
            upload: brings it.
            announced: its length; None if it was not announced.

        Errors: Refusal 413, 503 and 400 (shorter than announced); what `upload.receive` has; OSError.
        """
        if announced is not None and announced > self.settings.body_bytes:
            raise Refusal(413, "The request body is too large.", f"spool: {announced} bytes were announced")
        spool = Spool(self, upload)
        try:
            while data := await upload.receive():
                await spool.add(data)
            if announced is not None and spool.length != announced:
                raise Refusal(400, "The request body is not as long as announced.")
        except BaseException:
            spool.close()
            raise
        return spool


class Spool:
    """One body.

    Args:
        room: with the bounds.
        upload: has threads for the disk.

    Attributes:
        length: of what was added.
    """

    def __init__(self, room: SpoolRoom, upload: Upload) -> None:
        self._room = room
        self._upload = upload
        self._memory = bytearray()
        self._file: IO[bytes] | None = None
        self._file_bytes = 0
        self.length = 0

    async def add(self, data: bytes) -> None:
        """Take `data` in.

        Errors: Refusal 413, 503; OSError.
        """
        settings = self._room.settings
        self.length += len(data)
        if self.length > settings.body_bytes:
            raise Refusal(413, "The request body is too large.", f"spool: more than {settings.body_bytes} bytes")
        self._memory += data
        if len(self._memory) > settings.memory_bytes:
            await self._flush()

    async def _flush(self) -> None:
        room, data = self._room, bytes(self._memory)
        if room.used_bytes + len(data) > room.settings.total_bytes:
            raise Refusal(503, "The server is busy.", "spool: total_bytes are in use", ((b"retry-after", b"5"),))
        room.used_bytes += len(data)
        self._file_bytes += len(data)
        self._memory.clear()
        await self._upload.in_thread(lambda: self._write(data))

    def _write(self, data: bytes) -> None:
        if self._file is None:
            self._file = tempfile.TemporaryFile(dir=self._room.directory, prefix="securelight-", buffering=0)  # noqa: SIM115 - closed by close
        view = memoryview(data)
        while view:
            view = view[self._file.write(view) :]

    async def pieces(self) -> AsyncGenerator[bytes, None]:
        """The body from its beginning; may be asked for more than once, one after the other.

        Errors: OSError.
        """
        file, at = self._file, 0
        while file is not None and at < self._file_bytes:
            data = await self._upload.in_thread(lambda offset=at: self._read(offset))  # type: ignore[misc]  # mypy cannot tell the default's type
            if not data:
                raise OSError("a spooled body became shorter")
            at += len(data)
            yield data
        if self._memory:
            yield bytes(self._memory)

    def _read(self, offset: int) -> bytes:
        assert self._file is not None
        self._file.seek(offset)
        return self._file.read(min(self._room.settings.memory_bytes, self._file_bytes - offset))

    def close(self) -> None:
        """Forget it, on the disk too. May be called twice."""
        self._memory.clear()
        self._room.used_bytes -= self._file_bytes
        self._file_bytes = 0
        if self._file is not None:
            self._file.close()
            self._file = None
