"""A machine in a folder for tests of trust stores: a Debian root, a home with a browser's profile, a Java keystore.

The programs are the real ones; nothing outside of the folder is touched.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from securelight.pki.trust_root import Root, read_root
from tests.certificates import TestCertificates, make_test_certificates

HAS_UPDATE = Path("/usr/sbin/update-ca-certificates").exists() and Path("/etc/debian_version").exists()
needs_debian = pytest.mark.skipif(not HAS_UPDATE, reason="needs Debian's update-ca-certificates (ca-certificates)")
needs_certutil = pytest.mark.skipif(
    not shutil.which("certutil"), reason="certutil is not installed (Debian: libnss3-tools)"
)
needs_keytool = pytest.mark.skipif(not shutil.which("keytool"), reason="there is no Java here (keytool)")

FAST_JAVA = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"
"""For JAVA_TOOL_OPTIONS: keytool lives for a second, most of which a thorough compiler would spend on itself."""


@dataclass(frozen=True, slots=True)
class Machine:
    """The parts of it.

    Args:
        root: of its file system.
        home: of its user.
        certificates: our authority, and a pair that it signed.
        stranger: another authority, which the machine trusts from the beginning.
    """

    root: Path
    home: Path
    certificates: TestCertificates
    stranger: TestCertificates

    @property
    def authority(self) -> Root:
        return read_root(self.certificates.ca)

    @property
    def bundle(self) -> Path:
        return self.root / "etc/ssl/certs/ca-certificates.crt"

    @property
    def anchors(self) -> Path:
        return self.root / "usr/local/share/ca-certificates"

    @property
    def profile(self) -> Path:
        """The Firefox profile, if it was made."""
        return self.home / ".mozilla/firefox/abc.default"

    @property
    def keystore(self) -> Path:
        """Java's, if it was made."""
        return self.root / "etc/ssl/certs/java/cacerts"

    @property
    def environment(self) -> dict[str, str]:
        """For programs: the home, and no browser in PATH that would want a database of its own."""
        return {"HOME": str(self.home), "JAVA_HOME": "", "XDG_DATA_HOME": ""}


def make_machine(folder: Path, certificates: TestCertificates) -> Machine:
    """A Debian that trusts one stranger; no browser, no Java."""
    stranger = make_test_certificates(folder / "stranger")
    machine = Machine(folder / "root", folder / "home", certificates, stranger)
    machine.home.mkdir()
    machine.anchors.mkdir(parents=True)
    machine.bundle.parent.mkdir(parents=True)
    shipped = machine.root / "usr/share/ca-certificates"
    shipped.mkdir(parents=True)
    shutil.copyfile(stranger.ca, shipped / "stranger.crt")
    (machine.root / "etc/ca-certificates.conf").write_text("stranger.crt\n")
    shutil.copyfile(stranger.ca, machine.bundle)
    return machine


def make_nss_database(folder: Path) -> Path:
    """An empty database, as a browser makes it."""
    folder.mkdir(parents=True)
    subprocess.run(["certutil", "-N", "-d", f"sql:{folder}", "--empty-password"], check=True)
    return folder


def make_keystore(path: Path, holds: Path) -> Path:
    """A keystore with one root, of the type that a `cacerts` has: Java reads it without a password."""
    path.parent.mkdir(parents=True, exist_ok=True)
    command = ["keytool", "-importcert", "-noprompt", "-storetype", "JKS"]
    command += ["-alias", "stranger", "-file", str(holds)]
    subprocess.run([*command, "-keystore", str(path), "-storepass", "changeit"], check=True, capture_output=True)
    return path


def put_program(folder: Path, name: str, script: str) -> Path:
    """A stand-in for a program that cannot run here; its folder goes in front of PATH."""
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


def path_with(folder: Path) -> str:
    return f"{folder}{os.pathsep}{os.environ['PATH']}"
