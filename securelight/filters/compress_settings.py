"""The table `compress` in the configuration, and what may be wrong with it; the filter is in filters/compress."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import msgspec

from securelight.files.encoders import MODULES, is_available
from securelight.files.own_directory import own_directory_faults
from securelight.filters.compressible import DEFAULT_TYPES, TYPE_PATTERN

if TYPE_CHECKING:
    from pathlib import Path

Coding = Literal["br", "zstd", "gzip"]
_ALL: tuple[Coding, ...] = ("br", "zstd", "gzip")


class CompressLevels(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How much work each coding takes: more is smaller and slower."""

    br: Annotated[int, msgspec.Meta(ge=0, le=11)] = 4
    zstd: Annotated[int, msgspec.Meta(ge=1, le=19)] = 3
    gzip: Annotated[int, msgspec.Meta(ge=1, le=9)] = 5


class CompressConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`compress`: answers are compressed for clients that accept it."""

    codings: tuple[Coding, ...] = _ALL
    """In the order of preference, where a client likes several equally. br and zstd need the extra `compression`."""
    types: tuple[str, ...] = DEFAULT_TYPES
    """Media types that are compressed; `text/*` means all of that kind, `*+json` all with that suffix."""
    minimum_bytes: Annotated[int, msgspec.Meta(ge=0)] = 512
    """What is shorter is not worth it."""
    maximum_bytes: Annotated[int, msgspec.Meta(ge=1)] = 268_435_456
    """What is longer, as far as the length is known before, goes as it is."""
    personal: Literal["same-origin", "never", "always"] = "same-origin"
    """Applications' answers to somebody with a cookie, a password or a certificate: compressed if their browser says
    that the request came from this site, never, or always. Always lets other sites guess at secrets (BREACH)."""
    live: CompressLevels = CompressLevels()
    """For what is made at the moment."""
    kept: CompressLevels = CompressLevels(br=9, zstd=15, gzip=9)
    """For files, which are compressed once."""
    directory: str = ""
    """Where compressed files are kept on the disk, relative to the file that this stands in; empty for nowhere. Nobody
    but the server may write there."""
    directory_bytes: Annotated[int, msgspec.Meta(ge=1_048_576)] = 1_073_741_824
    """How much may be kept there; what was used least lately goes first."""
    concurrent: Annotated[int, msgspec.Meta(ge=1, le=100_000)] = 64
    """Answers that each worker compresses at a time; more go as they are."""
    maximum_load: Annotated[float, msgspec.Meta(ge=0)] = 0.0
    """Load average of the machine, for each processor, beyond which nothing is compressed; 0 for no such bound. What is
    kept compressed is still sent so."""


def faults_of(settings: CompressConfig, base: Path) -> list[str]:
    """What is wrong with the settings, besides their types."""
    faults = []
    if not settings.codings:
        faults.append("codings is empty; name br, zstd or gzip")
    if len(set(settings.codings)) != len(settings.codings):
        faults.append("codings names one twice")
    if settings.codings != _ALL:
        faults += [
            f"codings: {coding} needs the package {MODULES[coding.encode()]}; install securelight[compression]"
            for coding in settings.codings
            if not is_available(coding.encode())
        ]
    faults += [
        f'types: {kind!r} is not a media type; write it as "text/html", "text/*" or "*+json"'
        for kind in settings.types
        if not TYPE_PATTERN.fullmatch(kind)
    ]
    if settings.minimum_bytes > settings.maximum_bytes:
        faults.append("minimum_bytes is larger than maximum_bytes")
    if settings.directory:
        faults += own_directory_faults(base / settings.directory)
    return faults
