"""Who on this machine trusts our authority, and the exact command that would make it so.

Looks, and never changes: adding a root to a trust store is the owner's decision, made by running the command that is
printed. Needs neither `cryptography` nor `ssl`: a bundle is text, and equality of certificates is equality of bytes.
"""

from __future__ import annotations

import binascii
import os
import re
import shlex
from dataclasses import dataclass
from pathlib import Path

from securelight.model.errors import CertificateError

BUNDLES = (
    "etc/ssl/certs/ca-certificates.crt",  # Debian, Ubuntu, Arch, Gentoo, Alpine
    "etc/pki/tls/certs/ca-bundle.crt",  # Fedora, RHEL and their relatives
    "etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",  # newer ones of those
    "etc/ssl/ca-bundle.pem",  # openSUSE
    "etc/ssl/cert.pem",  # Alpine, others
)
"""Where distributions put all trusted roots in one file, from the root of the file system."""

_ANCHORS = (
    ("etc/pki/ca-trust/source/anchors", ".pem", "update-ca-trust"),  # Fedora, RHEL
    ("etc/ca-certificates/trust-source/anchors", ".crt", "update-ca-trust"),  # Arch
    ("etc/pki/trust/anchors", ".pem", "update-ca-certificates"),  # openSUSE
    ("usr/local/share/ca-certificates", ".crt", "update-ca-certificates"),  # Debian, Ubuntu, Alpine
)
"""Directories for roots of the owner's own, the suffix that is looked for there, and what puts them to use."""

MAXIMUM_BUNDLE_BYTES = 16 << 20

_CERTIFICATE = re.compile(
    rb"-----BEGIN (?:TRUSTED )?CERTIFICATE-----\s+([A-Za-z0-9+/=\s]+)-----END (?:TRUSTED )?CERTIFICATE-----"
)


@dataclass(frozen=True, slots=True)
class SystemTrust:
    """What the system's trust store makes of an authority.

    Args:
        trusted: True if it is among the trusted roots.
        store: the file that was looked at, or "" if this system has none that we know of.
        command: makes the system trust it; "" if we do not know how.
    """

    trusted: bool
    store: str
    command: str


def system_trust(authority_path: Path, root: Path = Path("/")) -> SystemTrust:
    """Whether this machine's system store trusts the authority in the PEM file `authority_path`.

    Args:
        authority_path: the root certificate.
        root: of the file system to look at.

    Errors: CertificateError if the file cannot be read or holds no certificate.
    """
    try:
        certificates = _certificates(authority_path.read_bytes())
    except OSError as error:
        raise CertificateError(str(authority_path), f"cannot be read: {error.strerror}") from error
    if not certificates:
        raise CertificateError(str(authority_path), "holds no certificate in PEM form")
    authority = certificates[0]
    stores = [root / bundle for bundle in BUNDLES if (root / bundle).is_file()]
    trusted_by = next((store for store in stores if authority in _read_bundle(store)), None)
    store = trusted_by or next(iter(stores), None)
    return SystemTrust(trusted_by is not None, str(store or ""), _command(authority_path, authority, root))


def _command(authority_path: Path, authority: bytes, root: Path) -> str:
    for directory, suffix, update in _ANCHORS:
        if (root / directory).is_dir():
            # Named by its content, so that a re-made authority never overwrites, or hides behind, an older one.
            name = f"securelight-{binascii.crc32(authority):08x}{suffix}"
            sudo = "" if os.geteuid() == 0 else "sudo "
            source = shlex.quote(str(authority_path.resolve()))
            return f"{sudo}cp {source} /{directory}/{name} && {sudo}{update}"
    return ""


def _read_bundle(path: Path) -> list[bytes]:
    try:
        with path.open("rb") as file:
            return _certificates(file.read(MAXIMUM_BUNDLE_BYTES))
    except OSError:
        return []


def _certificates(pem: bytes) -> list[bytes]:
    """The certificates in PEM text as DER; what cannot be decoded is no certificate."""
    found = []
    for match in _CERTIFICATE.finditer(pem):
        try:
            found.append(binascii.a2b_base64(match[1]))
        except binascii.Error:
            continue
    return found
