"""The system's trust store on Linux: a folder for the owner's own roots, and a program that builds bundles from it.

Every distribution has these two, under names of its own. What clients read is the bundle, so that decides whether a
root is trusted, and not the file in the folder.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from securelight.model.errors import CertificateError
from securelight.pki.trust_commands import Command, find_program, may_write
from securelight.pki.trust_root import OUR_PREFIX, Root, read_bundle

BUNDLES = (
    "etc/ssl/certs/ca-certificates.crt",  # Debian, Ubuntu, Arch, Gentoo, Alpine
    "etc/pki/tls/certs/ca-bundle.crt",  # Fedora, RHEL and their relatives
    "etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",  # newer ones of those
    "etc/ssl/ca-bundle.pem",  # openSUSE
    "var/lib/ca-certificates/ca-bundle.pem",  # newer ones of that
    "etc/ssl/cert.pem",  # Alpine, others
)
"""Where distributions put all trusted roots in one file, from the root of the file system."""

_MACHINE = Path("/")


@dataclass(frozen=True, slots=True)
class Family:
    """How distributions of one kind do it.

    Args:
        name: for people.
        anchors: the folder for the owner's own roots, from the root of the file system.
        suffix: what files there must end in.
        update: the program that builds the bundles.
        removal: its further arguments after a root was taken away.
        package: what to install where the program is missing.
    """

    name: str
    anchors: str
    suffix: str
    update: str
    removal: tuple[str, ...]
    package: str


FAMILIES = (
    Family("Fedora", "etc/pki/ca-trust/source/anchors", ".pem", "update-ca-trust", (), "dnf install ca-certificates"),
    Family(
        "Arch", "etc/ca-certificates/trust-source/anchors", ".crt", "update-ca-trust", (),
        "pacman -S ca-certificates-utils",
    ),
    Family(
        "openSUSE", "etc/pki/trust/anchors", ".pem", "update-ca-certificates", (), "zypper install ca-certificates"
    ),
    # Without --fresh, Debian leaves the links of a removed root where OpenSSL finds them.
    Family(
        "Debian", "usr/local/share/ca-certificates", ".crt", "update-ca-certificates", ("--fresh",),
        "apt-get install ca-certificates",
    ),
)  # fmt: skip
"""In the order in which they are looked for."""


@dataclass(frozen=True, slots=True)
class SystemStore:
    """The store of this machine, or of a file system below another root.

    Args:
        family: of its distribution.
        root: of the file system.
    """

    family: Family
    root: Path
    kind: Literal["system"] = "system"

    @property
    def name(self) -> str:
        """Such as `system (Debian)`."""
        return f"system ({self.family.name})"

    @property
    def path(self) -> Path:
        """The bundle, or where it will be."""
        return next(iter(bundles(self.root)), self.root / BUNDLES[0])

    @property
    def anchors(self) -> Path:
        """The folder for the owner's own roots."""
        return self.root / self.family.anchors

    def obstacle(self) -> str:
        """The program that builds the bundles may be missing."""
        if find_program(self.family.update) is None:
            return f"{self.family.update} is not installed; as root, run: {self.family.package}"
        return ""

    def holds(self, root: Root) -> bool:
        """Whether it is in a bundle."""
        path = self.path
        if path.exists() and not os.access(path, os.R_OK):
            raise CertificateError(str(path), "cannot be read; as root, run: chmod a+r " + str(path))
        return any(root.der in read_bundle(bundle) for bundle in bundles(self.root))

    def install(self, root: Root) -> tuple[Command, ...]:
        """Copy it, readable for all whatever the umask, and build the bundles."""
        target = self.anchors / f"{root.label}{self.family.suffix}"
        copy = Command(("install", "-m", "0644", str(root.path.resolve()), str(target)), self._needs_sudo)
        return copy, self._update(())

    def remove(self, root: Root) -> tuple[Command, ...]:
        """Delete the files of ours that hold it, and build the bundles."""
        try:
            files = sorted(self.anchors.iterdir())
        except OSError as error:
            raise CertificateError(str(self.anchors), f"cannot be read: {error.strerror}") from error
        ours = [str(file) for file in files if file.name.startswith(OUR_PREFIX) and read_bundle(file) == [root.der]]
        if not ours:
            return ()
        return Command(("rm", "-f", *ours), self._needs_sudo), self._update(self.family.removal)

    @property
    def _needs_sudo(self) -> bool:
        return not may_write(self.anchors)

    def _update(self, arguments: tuple[str, ...]) -> Command:
        if self.root != _MACHINE and self.family.name == "Debian":
            places = {
                "--certsconf": "etc/ca-certificates.conf",
                "--certsdir": "usr/share/ca-certificates",
                "--localcertsdir": self.family.anchors,
                "--etccertsdir": "etc/ssl/certs",
                "--hooksdir": "etc/ca-certificates/update.d",
            }
            arguments += tuple(word for flag, place in places.items() for word in (flag, str(self.root / place)))
        return Command((self.family.update, *arguments), self._needs_sudo)


def system_store(root: Path | None = None) -> SystemStore | None:
    """The store of the file system below `root`, by default this machine's; None if it has none that we know of."""
    base = root or _MACHINE
    for family in FAMILIES:
        if (base / family.anchors).is_dir():
            return SystemStore(family, base)
    return None


def bundles(root: Path | None = None) -> list[Path]:
    """The bundles that there are."""
    return [(root or _MACHINE) / bundle for bundle in BUNDLES if ((root or _MACHINE) / bundle).is_file()]
