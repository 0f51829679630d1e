"""NSS databases: where Firefox and Chromium on Linux keep the roots that their user added.

Changed with NSS's own `certutil` alone, which locks a database against the browser that has it open. Only the modern
form is known (cert9.db, since 2018). A running browser notices after a restart.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from securelight.model.errors import CertificateError
from securelight.pki.trust_commands import Command, find_program, look, reason
from securelight.pki.trust_root import OUR_PREFIX, Root, certificates_in

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

DATABASE_FILE = "cert9.db"
TRUST_FLAGS = "C,,"
"""Trusted to sign for servers, and for nothing else (not for mail, not for code)."""

MAXIMUM_DATABASES = 64
"""That are looked at in one home."""

CHROMIUM_PATTERNS = (
    ".pki/nssdb",  # every Chromium that was not confined
    ".local/share/pki/nssdb",  # newer ones, where the old place is not there
    "snap/*/current/.pki/nssdb",
    "snap/*/current/.local/share/pki/nssdb",
    ".var/app/*/.pki/nssdb",  # flatpak
    ".var/app/*/data/pki/nssdb",
)
"""From the home folder."""

FIREFOX_PATTERNS = (
    ".mozilla/firefox/*",
    ".config/mozilla/firefox/*",
    "snap/firefox/common/.mozilla/firefox/*",
    ".var/app/*/.mozilla/firefox/*",
    ".var/app/*/config/mozilla/firefox/*",
    ".librewolf/*",
    ".var/app/*/.librewolf/*",
    "Library/Application Support/Firefox/Profiles/*",  # macOS
)
"""Profiles, from the home folder; those that hold a database count."""

CHROMIUM_PROGRAMS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "brave-browser")
"""If one of them is installed that never ran, its database is made."""

CURES = {
    "apt-get": "apt-get install libnss3-tools",
    "dnf": "dnf install nss-tools",
    "pacman": "pacman -S nss",
    "zypper": "zypper install mozilla-nss-tools",
    "apk": "apk add nss-tools",
    "brew": "brew install nss",
}
"""How to get certutil, for each package manager."""

# `-n` takes a name from the listing, which pads it with blanks and ends with three columns of flags.
_ROW = re.compile(r"^(?P<name>.*\S)\s+(?P<flags>[a-zA-Z]*,[a-zA-Z]*,[a-zA-Z]*)\s*$")


@dataclass(frozen=True, slots=True)
class NssDatabase:
    """One database.

    Args:
        path: its folder.
        browser: whose it is.
    """

    path: Path
    browser: Literal["Chromium", "Firefox"]
    kind: Literal["nss"] = "nss"

    @property
    def name(self) -> str:
        """Such as `Firefox (snap) abc.default`."""
        packaging = "".join(f" ({kind})" for kind in ("snap", "flatpak") if _MARKS[kind] in str(self.path))
        profile = f" {self.path.name}" if self.browser == "Firefox" else ""
        return f"{self.browser}{packaging}{profile}"

    @property
    def exists(self) -> bool:
        """False for one that is still to be made."""
        return (self.path / DATABASE_FILE).is_file()

    @property
    def argument(self) -> str:
        """How NSS's programs are told of it."""
        return f"sql:{self.path}"

    def obstacle(self) -> str:
        """certutil may be missing, the database not ours to read or write."""
        if find_program("certutil") is None:
            cure = next((cure for manager, cure in CURES.items() if find_program(manager)), CURES["apt-get"])
            return f"certutil is not installed; as root, run: {cure}"
        owned = next(path for path in (self.path, *self.path.parents) if path.exists())
        if owned.stat().st_uid != os.geteuid():
            return f"{owned} belongs to another user; run this as that user, so that the browser can still write there"
        if self.exists and not os.access(self.path / DATABASE_FILE, os.R_OK | os.W_OK):
            return (
                f"{self.path / DATABASE_FILE} may not be read and written by this user; run this as the one who owns it"
            )
        return ""

    def holds(self, root: Root) -> bool:
        """Whether it is there and trusted for servers."""
        return self.exists and any("C" in flags.partition(",")[0] for _name, flags in self._entries(root))

    def install(self, root: Root) -> tuple[Command, ...]:
        """Make the database if there is none, and import the root."""
        make = (
            Command(("mkdir", "-p", "-m", "0700", str(self.path))),
            Command(("certutil", "-N", "-d", self.argument, "--empty-password")),
        )
        add = Command(
            ("certutil", "-A", "-d", self.argument, "-t", TRUST_FLAGS, "-n", root.label, "-i", str(root.path.resolve()))
        )
        return (add,) if self.exists else (*make, add)

    def remove(self, root: Root) -> tuple[Command, ...]:
        """Delete the entry, if it has our name."""
        if not self.exists:
            return ()
        names = [name for name, _flags in self._entries(root) if name.startswith(OUR_PREFIX)]
        return tuple(Command(("certutil", "-D", "-d", self.argument, "-n", name)) for name in names)

    def _entries(self, root: Root) -> list[tuple[str, str]]:
        """Name and flags of every entry that is this root. A person may have imported it under another name."""
        listing = self._certutil("-L").decode(errors="replace")
        rows = [(row["name"], row["flags"]) for row in map(_ROW.match, listing.splitlines()) if row is not None]
        return [
            (name, flags)
            for name, flags in rows
            # What is neither ours nor trusted is not worth a process: a profile has many that it saw on its way.
            if (name.startswith(OUR_PREFIX) or "C" in flags) and self._is(root, name)
        ]

    def _is(self, root: Root, name: str) -> bool:
        return root.der in certificates_in(self._certutil("-L", "-a", "-n", name))

    def _certutil(self, *arguments: str) -> bytes:
        done = look("certutil", *arguments, "-d", self.argument)
        if done.returncode != 0:
            raise CertificateError(
                str(self.path),
                f"certutil cannot read this database ({reason(done.stderr)}); close the browser, and if that does not "
                f"help, move {DATABASE_FILE} away: the browser makes a new one",
            )
        return done.stdout


_MARKS = {"snap": "/snap/", "flatpak": "/.var/app/"}


def nss_stores(environment: Mapping[str, str]) -> list[NssDatabase]:
    """The databases of the user whose HOME this is; one for a Chromium that has none yet."""
    home = Path(environment.get("HOME") or Path.home())
    chromium = _databases(home, CHROMIUM_PATTERNS)
    if data := environment.get("XDG_DATA_HOME"):
        chromium += _databases(Path(data), ("pki/nssdb",))
    found: dict[Path, NssDatabase] = {}
    for path in chromium:
        found.setdefault(path.resolve(), NssDatabase(path, "Chromium"))
    wanted = any(_has_program(name, environment) for name in CHROMIUM_PROGRAMS)
    if wanted and not any((home / place / DATABASE_FILE).is_file() for place in CHROMIUM_PATTERNS[:2]):
        path = home / CHROMIUM_PATTERNS[0]
        found[path] = NssDatabase(path, "Chromium")
    for path in _databases(home, FIREFOX_PATTERNS):
        found.setdefault(path.resolve(), NssDatabase(path, "Firefox"))
    return list(found.values())[:MAXIMUM_DATABASES]


def _databases(home: Path, patterns: Iterable[str]) -> list[Path]:
    return [path for pattern in patterns for path in sorted(home.glob(pattern)) if (path / DATABASE_FILE).is_file()]


def _has_program(name: str, environment: Mapping[str, str]) -> bool:
    folders = environment.get("PATH", "").split(os.pathsep)
    return any(os.access(Path(folder) / name, os.X_OK) for folder in folders if folder)
