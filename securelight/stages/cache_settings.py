"""The table `cache` in the configuration, and what may be wrong with it; the cache is in stages/cache."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import msgspec

from securelight.files.own_directory import own_directory_faults
from securelight.pipeline.status_report import network_faults

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


class CacheConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`cache`: answers are kept and given again, as far as their Cache-Control says so."""

    memory_bytes: Annotated[int, msgspec.Meta(ge=0)] = 67_108_864
    """How much each worker keeps in memory."""
    object_bytes: Annotated[int, msgspec.Meta(ge=1, le=67_108_864)] = 1_048_576
    """The largest body that is kept."""
    directory: str = ""
    """Where answers are kept over restarts and shared by the workers, relative to the file that this stands in; empty
    for memory alone. Nobody but the server may write there."""
    directory_bytes: Annotated[int, msgspec.Meta(ge=1_048_576)] = 1_073_741_824
    """How much is kept there; what was used least lately goes first."""
    default_seconds: Annotated[int, msgspec.Meta(ge=0)] = 0
    """How long an answer is fresh that says nothing of it; 0 keeps only those that do."""
    stale_if_error_seconds: Annotated[int, msgspec.Meta(ge=0)] = 0
    """How long a stale answer stands in while no other can be had, where it says nothing of that."""
    wait_seconds: Annotated[float, msgspec.Meta(ge=0, le=3600)] = 10.0
    """How long a request waits for the fetch of another that wants the same, before it fetches itself."""
    honour_clients: bool = True
    """Clients may ask for a new answer (`Cache-Control: no-cache`, `max-age=0`)."""
    status_field: bool = True
    """Say in Cache-Status where an answer came from."""
    anyway: tuple[Literal["private", "set-cookie", "cookie"], ...] = ()
    """What is otherwise never kept: answers that say `private`; answers that set a cookie (kept without it); answers to
    requests with a cookie. Right only where the application gives everybody the same."""
    purge: tuple[str, ...] = ()
    """Addresses and networks that may send PURGE; none by default."""


def check(settings: CacheConfig, base: Path) -> Sequence[str]:
    """What is wrong with the settings, besides their types."""
    faults = network_faults("purge", settings.purge)
    if settings.object_bytes > settings.memory_bytes and not settings.directory:
        faults.append("object_bytes is larger than memory_bytes, and there is no directory: nothing so large is kept")
    if settings.directory:
        faults += own_directory_faults(base / settings.directory)
    return faults
