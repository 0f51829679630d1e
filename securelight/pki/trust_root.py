"""The root that clients are to trust, and what a trust store is.

A store never acts: it only says whether it holds the root, and which commands would put it there or take it away.
Needs neither `cryptography` nor `ssl`: a bundle is text, and equality of certificates is equality of bytes.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

from securelight.model.errors import CertificateError

if TYPE_CHECKING:
    from pathlib import Path

    from securelight.pki.trust_commands import Command

StoreKind = Literal["system", "nss", "java", "keychain"]

MAXIMUM_BUNDLE_BYTES = 16 << 20

OUR_PREFIX = "securelight-"
"""What everything that we put into a store is called, and nothing else that we would ever remove."""

_CERTIFICATE = re.compile(
    rb"-----BEGIN (?:TRUSTED )?CERTIFICATE-----\s+([A-Za-z0-9+/=\s]+)-----END (?:TRUSTED )?CERTIFICATE-----"
)


@dataclass(frozen=True, slots=True)
class Root:
    """The certificate that clients are to trust.

    Args:
        path: a file that holds it alone, as PEM.
        der: its content.
    """

    path: Path
    der: bytes

    @property
    def label(self) -> str:
        """What it is called in every store: by its content, so that a re-made authority never hides an older one."""
        return f"{OUR_PREFIX}{hashlib.sha256(self.der).hexdigest()[:16]}"

    @property
    def sha256(self) -> str:
        """Its fingerprint as people compare it: upper-case hex with colons."""
        return hashlib.sha256(self.der).digest().hex(":").upper()

    @property
    def sha1(self) -> str:
        """What macOS and Windows name a certificate by: upper-case hex."""
        return hashlib.sha1(self.der, usedforsecurity=False).hexdigest().upper()

    @property
    def pem(self) -> bytes:
        """Its content as PEM, lines of 64 characters (RFC 7468)."""
        text = base64.b64encode(self.der)
        lines = [text[start : start + 64] for start in range(0, len(text), 64)]
        return b"\n".join([b"-----BEGIN CERTIFICATE-----", *lines, b"-----END CERTIFICATE-----", b""])


class TrustStore(Protocol):
    """One place where clients look for the roots that they trust."""

    @property
    def kind(self) -> StoreKind:
        """Which family it is of."""

    @property
    def name(self) -> str:
        """For people, short."""

    @property
    def path(self) -> Path:
        """Where it is."""

    def obstacle(self) -> str:
        """Why it cannot be looked into or changed here, and the cure, in one line; "" if nothing is in the way."""

    def holds(self, root: Root) -> bool:
        """Whether the root is in it, and trusted to sign for servers.

        Errors: CertificateError for a store that cannot be read.
        """

    def install(self, root: Root) -> tuple[Command, ...]:
        """The commands that put the root there."""

    def remove(self, root: Root) -> tuple[Command, ...]:
        """The commands that take it away: only what we put there, and nothing else; none if we put nothing there.

        Errors: CertificateError for a store that cannot be read.
        """


def read_root(path: Path) -> Root:
    """The one certificate of the PEM file `path`.

    Errors: CertificateError if the file cannot be read, or does not hold exactly one certificate.
    """
    try:
        with path.open("rb") as file:
            found = certificates_in(file.read(MAXIMUM_BUNDLE_BYTES))
    except FileNotFoundError as error:
        raise CertificateError(
            str(path),
            "there is no authority here; make one with: securelight certs ca, or name its folder with --certs",
        ) from error
    except OSError as error:
        raise CertificateError(str(path), f"cannot be read: {error.strerror}") from error
    if not found:
        raise CertificateError(str(path), "holds no certificate in PEM form")
    if len(found) > 1:
        raise CertificateError(
            str(path), f"holds {len(found)} certificates; only a root, alone in its file, can be trusted"
        )
    return Root(path, found[0])


def read_bundle(path: Path) -> list[bytes]:
    """The certificates of a file of many, as DER; none for one that cannot be read."""
    try:
        with path.open("rb") as file:
            return certificates_in(file.read(MAXIMUM_BUNDLE_BYTES))
    except OSError:
        return []


def certificates_in(pem: bytes) -> list[bytes]:
    """The certificates in PEM text as DER; what cannot be decoded is no certificate."""
    found = []
    for match in _CERTIFICATE.finditer(pem):
        try:
            found.append(binascii.a2b_base64(match[1]))
        except binascii.Error:
            continue
    return found
