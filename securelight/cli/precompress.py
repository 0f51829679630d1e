"""`securelight precompress`: the compressed siblings (.br, .zst, .gz) that are sent instead of the originals.

A sibling is written whole under another name and then renamed. It gets the time of its original, which is how the
server sees that it is current. What is current is left alone; what does not shrink gets none; siblings whose original
is gone or has become too small stay, and are named.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import sys
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from securelight.files.encoders import LEVELS, MODULES, SUFFIXES, encode, is_available
from securelight.files.mime_types import content_type
from securelight.filters.compressible import DEFAULT_TYPES, is_compressible
from securelight.model.errors import SecurelightError
from securelight.model.extras import install_command

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

MAXIMUM_BYTES = 1 << 28
"""Larger files are left alone: each is held in memory while it is compressed."""
_BEST = {b"br": 11, b"zstd": 19, b"gzip": 9}
"""It is done once, and sent for years."""


EPILOG: Final = """\b
Examples:
  securelight precompress /srv/site             all files, all codings that are installed
  securelight precompress --coding br dist      one coding, after a build

\b
Exit codes:
  0  the siblings are there
  1  some could not be made; stderr says which
  2  the command was not understood
"""


class PrecompressFailed(SecurelightError):
    """Some siblings could not be made; says which."""


class _Job:
    """One file with the codings in which its sibling is missing or old."""

    def __init__(self, path: Path, codings: Sequence[bytes], size: int) -> None:
        self.path = path
        self.codings = codings
        self.size = size

    def run(self) -> tuple[int, int]:
        """Make the siblings. Returns (how many, bytes that the smallest saves).

        Errors: OSError.
        """
        before = self.path.stat()
        content = self.path.read_bytes()
        made = saved = 0
        for coding in self.codings:
            encoded = encode(content, coding, _BEST[coding])
            if len(encoded) < len(content):
                _write(_sibling(self.path, coding), encoded, before)
                made += 1
                saved = max(saved, len(content) - len(encoded))
        after = self.path.stat()
        if (after.st_mtime_ns, after.st_size) != (before.st_mtime_ns, before.st_size):
            raise OSError(0, "it changed meanwhile; run this again")
        return made, saved


def _sibling(path: Path, coding: bytes) -> Path:
    return path.with_name(path.name + SUFFIXES[coding].decode())


def _write(path: Path, content: bytes, original: os.stat_result) -> None:
    temporary = path.with_name(f".{secrets.token_hex(8)}.new")
    try:
        with temporary.open("xb") as file:
            file.write(content)
            os.fchmod(file.fileno(), original.st_mode & 0o777)
        os.utime(temporary, ns=(original.st_atime_ns, original.st_mtime_ns))
        temporary.rename(path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise


def _files(directory: Path) -> Iterator[Path]:
    """Every regular file below, but for dot files and what symbolic links lead to."""
    for folder, folders, names in os.walk(directory):
        folders[:] = sorted(name for name in folders if not name.startswith(".") or name == ".well-known")
        for name in sorted(names):
            path = Path(folder, name)
            if not name.startswith(".") and not path.is_symlink() and path.is_file():
                yield path


def _jobs(directory: Path, codings: Sequence[bytes], minimum_bytes: int) -> Iterator[_Job]:
    suffixes = tuple(SUFFIXES[coding].decode() for coding in LEVELS)
    for path in _files(directory):
        if path.name.endswith(suffixes) or not is_compressible(content_type(os.fsencode(path.name)), DEFAULT_TYPES):
            continue
        status = path.stat()
        if not minimum_bytes <= status.st_size <= MAXIMUM_BYTES:
            continue
        wanted = [coding for coding in codings if not _is_current(_sibling(path, coding), status)]
        if wanted:
            yield _Job(path, wanted, status.st_size)


def _is_current(sibling: Path, original: os.stat_result) -> bool:
    try:
        return sibling.stat().st_mtime_ns >= original.st_mtime_ns
    except OSError:
        return False


def _stale(directory: Path) -> list[Path]:
    """Siblings without an original."""
    suffixes = {suffix.decode() for suffix in SUFFIXES.values()}
    return [
        path
        for path in _files(directory)
        if path.suffix in suffixes
        and not path.with_suffix("").exists()
        and is_compressible(content_type(os.fsencode(path.stem)), DEFAULT_TYPES)
    ]


def _size(count: int) -> str:
    amount, unit = float(count), "B"
    for unit in ("B", "kB", "MB", "GB"):  # noqa: B007 - the unit is used after the loop
        if amount < 1000:
            break
        amount /= 1000
    return f"{amount:.0f} {unit}" if amount >= 10 or unit == "B" else f"{amount:.1f} {unit}"


@click.command(epilog=EPILOG, short_help="Make the compressed siblings of a site's files.")
@click.argument("directory", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option(
    "--coding",
    "names",
    multiple=True,
    type=click.Choice([coding.decode() for coding in LEVELS]),
    help="Only this one; may be given several times. By default all that are installed.",
)
@click.option("--minimum-bytes", type=click.IntRange(0), default=512, show_default=True, help="Smaller files get none.")
@click.option("--jobs", type=click.IntRange(1, 256), default=os.cpu_count() or 1, help="Threads; by default one a CPU.")
@click.option("--quiet", is_flag=True, help="Say nothing but errors.")
def command(directory: Path, names: tuple[str, ...], minimum_bytes: int, jobs: int, quiet: bool) -> None:
    """Make the compressed siblings (.br, .zst, .gz) of the files in DIRECTORY.

    The server sends them to whoever accepts them, and has nothing to compress then. Those that are there and newer than
    their originals are left alone.
    """
    codings = [name.encode() for name in names] or [coding for coding in LEVELS if is_available(coding)]
    for coding in codings:
        if not is_available(coding):
            raise click.UsageError(
                f"{coding.decode()} needs the package {MODULES[coding]}: {install_command('compression')}"
            )
    work = list(_jobs(directory, codings, minimum_bytes))
    made = saved = 0
    faults: list[str] = []
    with (
        ThreadPoolExecutor(jobs) as threads,
        click.progressbar(
            length=max(1, sum(job.size for job in work)),
            label=f"Compressing {len(work)} files",
            file=sys.stderr,
            hidden=quiet or not work,
        ) as bar,
    ):
        running = {threads.submit(job.run): job for job in work}
        for done in as_completed(running):
            job = running[done]
            try:
                count, bytes_saved = done.result()
            except OSError as error:
                faults.append(f"{job.path}: {error.strerror}")
            else:
                made += count
                saved += bytes_saved
            bar.update(job.size)
    if not quiet:
        click.echo(f"{made} files made, {_size(saved)} less to send." if made else "Everything is current.")
        for path in _stale(directory):
            click.echo(f"{path} has no original any more")
    if faults:
        raise PrecompressFailed("\n".join(faults))
