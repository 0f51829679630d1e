"""The certificate with which a client has proved who it is. Facts only: they were verified by the handshake."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ClientCertificate:
    """One verified client certificate.

    Attributes:
        der: all of it.
        subject: RFC 4514, e.g. `CN=alice,O=Example`; empty if there is none or it cannot be written so.
        serial: the serial number, hex without leading zeros.
        common_names, emails, dns_names, uris: of the subject, and of the subject's alternative names, as they are:
            nothing says that they are printable, or short.
    """

    der: bytes
    subject: str = ""
    serial: str = ""
    common_names: tuple[str, ...] = ()
    emails: tuple[str, ...] = ()
    dns_names: tuple[str, ...] = ()
    uris: tuple[str, ...] = ()

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the certificate, hex."""
        return hashlib.sha256(self.der).hexdigest()
