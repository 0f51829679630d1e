"""Which country and network an address is from, by databases in MaxMind's format.

A file is copied into memory when it is opened, so that one that is written over while it is in use cannot end the
worker, and read again when it has changed. One that cannot be read leaves the last good one in force. An address that
no database knows, or that is none, is from nowhere.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import os
import re
import stat
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from securelight.model.extras import install_command

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

MAXIMUM_BYTES: Final = 1 << 30
"""Of one database; the greatest that are sold have 150 MB."""
REMEMBERED: Final = 4_096
"""Addresses whose answer is kept; then all are forgotten."""
MISSING: Final = f"country, continent and asn need a library; run: {install_command('geoip')}"


class GeoFacts(NamedTuple):
    """What is known of an address.

    Attributes:
        country: ISO 3166-1, two capitals; empty if it is not known.
        continent: AF, AN, AS, EU, NA, OC or SA; empty if it is not known.
        asn: number of the autonomous system; 0 if it is not known.
    """

    country: str = ""
    continent: str = ""
    asn: int = 0


NOWHERE: Final = GeoFacts()


class GeoDatabaseError(Exception):
    """A file that is no database; the text is for the operator."""


def library_missing() -> str | None:
    """What to say if databases cannot be read here; None if they can."""
    return MISSING if importlib.util.find_spec("maxminddb") is None else None


def open_database(path: Path) -> Any:
    """A reader of a copy of the file.

    Errors: GeoDatabaseError; PermissionError.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except PermissionError:
        raise
    except OSError as error:
        raise GeoDatabaseError(f"{str(path)!r} cannot be read: {error.strerror}") from error
    try:
        return _reader(descriptor)
    except (OSError, ValueError, RuntimeError) as error:
        why = re.sub(r" \(/proc/self/fd/\d+\)", "", str(error))
        raise GeoDatabaseError(f"{str(path)!r} is not a MaxMind database: {why}") from error
    finally:
        os.close(descriptor)


def _reader(descriptor: int) -> Any:
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        raise ValueError("it is not a regular file")
    if status.st_size > MAXIMUM_BYTES:
        raise ValueError(f"it is larger than {MAXIMUM_BYTES} bytes")
    library: Any = importlib.import_module("maxminddb")
    copy = os.memfd_create("geoip", os.MFD_CLOEXEC)
    try:
        with open(descriptor, "rb", closefd=False) as source, open(copy, "wb", closefd=False) as target:
            while piece := source.read(1 << 20):
                target.write(piece)
        reader = library.open_database(f"/proc/self/fd/{copy}")
    finally:
        os.close(copy)
    _ask(reader, "192.0.2.1")
    return reader


def _ask(reader: Any, address: str) -> dict[str, Any]:
    """What the database has of the address.

    Errors: ValueError, which stands for the library's own errors too: a database may be broken anywhere.
    """
    try:
        found = reader.get(address)
    except (ValueError, TypeError, KeyError, IndexError, RuntimeError, OSError) as error:
        if ":" in address and isinstance(error, ValueError):  # a database of IPv4 alone
            return {}
        raise ValueError(str(error)) from error
    return found if isinstance(found, dict) else {}


class GeoDatabases:
    """The databases of one process.

    Args:
        paths: of the files.
        report: told why a changed file is not taken up.

    Errors: GeoDatabaseError, PermissionError if one cannot be used from the beginning.
    """

    __slots__ = ("_known", "_opened", "_paths", "_readers", "_report")

    def __init__(self, paths: Sequence[Path], report: Callable[[str], None]) -> None:
        self._paths = tuple(paths)
        self._report = report
        self._opened = [_identity(path) for path in self._paths]
        self._readers = [open_database(path) for path in self._paths]
        self._known: dict[str, GeoFacts] = {}

    def facts_of(self, address: str) -> GeoFacts:
        """What is known of the address in `address`."""
        known = self._known.get(address)
        if known is None:
            known = self._look_up(address)
            if len(self._known) >= REMEMBERED:
                self._known.clear()
            self._known[address] = known
        return known

    def _look_up(self, text: str) -> GeoFacts:
        try:
            address = ip_address(text)
        except ValueError:
            return NOWHERE
        text = str(getattr(address, "ipv4_mapped", None) or address)
        country, continent, asn = "", "", 0
        for reader in self._readers:
            with contextlib.suppress(ValueError):
                found = _ask(reader, text)
                country = country or _text(found, "country", "iso_code")
                continent = continent or _text(found, "continent", "code")
                number = found.get("autonomous_system_number")
                asn = asn or (number if isinstance(number, int) else 0)
        return GeoFacts(country, continent, asn)

    def refresh(self) -> None:
        """Open again what has changed. It reads files: for a thread."""
        for index, path in enumerate(self._paths):
            identity = _identity(path)
            if identity == self._opened[index]:
                continue
            self._opened[index] = identity
            try:
                reader = open_database(path)
            except GeoDatabaseError as error:
                self._report(str(error))
            except PermissionError:
                pass  # a confined worker may not open the new file; workers that may take its place
            else:
                # The old one is not closed but forgotten: it may be in use in another thread.
                self._readers = [*self._readers[:index], reader, *self._readers[index + 1 :]]
                self._known = {}


def _text(found: dict[str, Any], table: str, key: str) -> str:
    inner = found.get(table)
    value = inner.get(key) if isinstance(inner, dict) else None
    return value if isinstance(value, str) and len(value) == 2 and value.isascii() and value.isalpha() else ""


def _identity(path: Path) -> tuple[int, ...]:
    try:
        status = os.stat(path)
    except OSError:
        return ()
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns
