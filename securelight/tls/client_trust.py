"""Which clients a site believes: the authorities that vouch for them, and the certificates that these have revoked.

Owns the reading of the two files and their way into an SSLContext. What OpenSSL does with them at each handshake:

- every certificate in the file of authorities is believed by itself, so an intermediate can stand there alone;
- where there is a revocation list (CRL), every certificate of a chain is looked up, that of the client and those of
  the authorities, as nginx and HAProxy do it: an authority without a current list vouches for nobody;
- a list past its next update is worth as much as none: all are refused. The same is done here with a list that cannot
  be read (`closed`), so that a damaged file never lets a revoked certificate in.

Sessions: OpenSSL verifies nothing anew when one is resumed. So there are no tickets on TLS 1.3 here; those of TLS 1.2
live two hours at most and hold the client's certificate (tls/session looks at its end). New lists mean new contexts,
which know no old ticket.
"""

from __future__ import annotations

import base64
import binascii
import os
import re
import ssl
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from securelight.config.faults import printable
from securelight.model.errors import CertificateError
from securelight.tls.der import (
    GENERALIZED_TIME,
    INTEGER,
    SEQUENCE,
    UTC_TIME,
    elements,
    name_text,
    only,
    time_of,
)
from securelight.tls.key_pair import read_pem

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime
    from pathlib import Path

AUTHORITIES_BYTES = 1 << 20
"""Of a file of authorities; all those that browsers know have 220 kB."""
REVOCATIONS_BYTES = 16 << 20
"""Of a file of revocation lists; an entry has about 40 bytes, so this is some 400,000 of them."""
SHOWN_CHARACTERS = 200
"""Of a name, in messages."""

_VERSION = 0xA0
_PEM = {
    kind: re.compile(rb"-----BEGIN " + kind + rb"-----\s([A-Za-z0-9+/=\s]+)-----END " + kind + rb"-----")
    for kind in (b"CERTIFICATE", b"X509 CRL")
}


@dataclass(frozen=True, slots=True)
class ClientTrust:
    """The rules of one site.

    Args:
        required: a client without a certificate is refused by the handshake; else it is let in without.
        authorities: file of the certificates of those who vouch for clients, PEM.
        revocations: file of their revocation lists, PEM or DER; None to look nobody up.
        where: the site, for messages, and to tell its connections from those of others.
    """

    required: bool
    authorities: Path
    revocations: Path | None
    where: str


class Authority(NamedTuple):
    """One certificate that vouches for clients."""

    subject: bytes
    """DER of the name."""
    issuer: bytes
    not_before: datetime
    not_after: datetime

    @property
    def shown(self) -> str:
        """The subject, for messages."""
        return shown_name(self.subject)


class RevocationList(NamedTuple):
    """One revocation list (RFC 5280, section 5.1)."""

    issuer: bytes
    this_update: datetime
    next_update: datetime | None
    """When it is no longer to be believed; None if it does not say."""

    @property
    def shown(self) -> str:
        """The issuer, for messages."""
        return shown_name(self.issuer)


class Authorities(NamedTuple):
    """A file of authorities."""

    pem: bytes
    certificates: tuple[Authority, ...]

    def latest(self) -> list[Authority]:
        """Of each name the one that is good the longest: a renewed certificate may stand beside the one of before."""
        found: dict[bytes, Authority] = {}
        for one in sorted(self.certificates, key=lambda one: one.not_after):
            found[one.subject] = one
        return list(found.values())


class Revocations(NamedTuple):
    """A file of revocation lists."""

    pem: bytes
    lists: tuple[RevocationList, ...]

    def latest(self) -> list[RevocationList]:
        """Of each issuer the one that is good the longest, which is the one that OpenSSL takes."""
        found: dict[bytes, RevocationList] = {}
        for one in sorted(self.lists, key=lambda one: (one.next_update is None, one.next_update or one.this_update)):
            found[one.issuer] = one
        return list(found.values())


def shown_name(content: bytes) -> str:
    """A DER name in the form of RFC 4514, fit for a line of a log, or something to tell it by."""
    try:
        return printable(name_text(content), SHOWN_CHARACTERS) or "an empty name"
    except ValueError:
        return f"#{content[:40].hex()}"


def read_authorities(path: Path) -> Authorities:
    """The certificates in a file, proved to be loadable.

    Errors: CertificateError naming the file.
    """
    pem = read_pem(path, AUTHORITIES_BYTES)
    found = _decoded(path, pem, b"CERTIFICATE")
    if not found:
        raise CertificateError(str(path), "holds no certificate in PEM form (-----BEGIN CERTIFICATE-----)")
    if b"PRIVATE KEY-----" in pem:
        raise CertificateError(str(path), "holds a private key; only certificates belong there")
    try:
        certificates = tuple(_authority(der) for der in found)
        pem = _encoded(found, b"CERTIFICATE")
        _load(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), pem)
    except (ValueError, ssl.SSLError) as error:
        raise CertificateError(str(path), "holds a certificate that cannot be read") from error
    return Authorities(pem, certificates)


def read_revocations(path: Path) -> Revocations:
    """The revocation lists in a file, PEM or one in DER, proved to be loadable; their times are not judged.

    Errors: CertificateError naming the file.
    """
    content = read_pem(path, REVOCATIONS_BYTES)
    found = [content] if content[:1] == b"\x30" else _decoded(path, content, b"X509 CRL")
    if not found:
        raise CertificateError(str(path), "holds no revocation list, neither PEM (-----BEGIN X509 CRL-----) nor DER")
    try:
        lists = tuple(_revocation_list(der) for der in found)
        pem = _encoded(found, b"X509 CRL")
        _load(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), pem)
    except (ValueError, ssl.SSLError) as error:
        raise CertificateError(str(path), "holds a revocation list that cannot be read") from error
    return Revocations(pem, lists)


def without_list(authorities: Authorities, revocations: Revocations) -> list[str]:
    """The names of those whose revocation list is missing, without which an authority vouches for nobody."""
    issuers = {one.issuer for one in revocations.lists}
    missing = dict.fromkeys(one.issuer for one in authorities.certificates if one.issuer not in issuers)
    missing |= dict.fromkeys(one.subject for one in authorities.certificates if one.subject not in issuers)
    return [shown_name(name) for name in missing]


def ask_for_certificates(context: ssl.SSLContext, trust: ClientTrust, *, forgiving: bool = False) -> None:
    """Make `context`, fresh and with its own certificate, ask clients for theirs.

    Args:
        context: to be changed.
        trust: the rules.
        forgiving: take a file of revocation lists that cannot be read as one that revokes everything, instead of
            raising; authorities that cannot be read are raised always.

    Errors: CertificateError.
    """
    _load(context, read_authorities(trust.authorities).pem)
    context.verify_mode = ssl.CERT_REQUIRED if trust.required else ssl.CERT_OPTIONAL
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    context.num_tickets = 0
    if trust.revocations is None:
        return
    context.verify_flags |= ssl.VERIFY_CRL_CHECK_CHAIN
    try:
        pem = read_revocations(trust.revocations).pem
    except CertificateError:
        if not forgiving:
            raise
        return  # looked up nowhere, every certificate is refused
    _load(context, pem)


def _decoded(path: Path, pem: bytes, kind: bytes) -> list[bytes]:
    """DER of every block of a kind. A block that is begun and not ended, or damaged, is a fault: half a file counts
    for nothing."""
    blocks = _PEM[kind].findall(pem)
    if len(blocks) != pem.count(b"-----BEGIN " + kind + b"-----"):
        raise CertificateError(str(path), "is damaged or was cut off")
    try:
        return [binascii.a2b_base64(block) for block in blocks]
    except binascii.Error as error:
        raise CertificateError(str(path), "is damaged or was cut off") from error


def _encoded(found: Iterable[bytes], kind: bytes) -> bytes:
    """PEM of these and nothing else: OpenSSL would take a certificate between lists for one that is to be trusted."""
    return b"".join(
        b"-----BEGIN %s-----\n%s-----END %s-----\n" % (kind, base64.encodebytes(der), kind) for der in found
    )


def _load(context: ssl.SSLContext, pem: bytes) -> None:
    """Certificates or revocation lists into the store of `context`, which takes lists from files alone."""
    descriptor = os.memfd_create("trust", os.MFD_CLOEXEC)
    try:
        with open(descriptor, "wb", closefd=False) as file:
            file.write(pem)
        context.load_verify_locations(f"/proc/self/fd/{descriptor}")
    finally:
        os.close(descriptor)


def _authority(der: bytes) -> Authority:
    parts = elements(only(only(der, SEQUENCE), SEQUENCE))
    if parts and parts[0].tag == _VERSION:
        del parts[0]
    if [part.tag for part in parts[:6]] != [INTEGER, *[SEQUENCE] * 5]:
        raise ValueError("not a certificate")
    not_before, not_after = elements(parts[3].content)
    return Authority(parts[4].content, parts[2].content, time_of(not_before), time_of(not_after))


def _revocation_list(der: bytes) -> RevocationList:
    parts = elements(only(only(der, SEQUENCE), SEQUENCE))
    if parts and parts[0].tag == INTEGER:
        del parts[0]
    if [part.tag for part in parts[:2]] != [SEQUENCE, SEQUENCE] or len(parts) < 3:
        raise ValueError("not a revocation list")
    times = [part for part in parts[2:4] if part.tag in (UTC_TIME, GENERALIZED_TIME)]
    if not times:
        raise ValueError("a revocation list without a time")
    return RevocationList(parts[1].content, time_of(times[0]), time_of(times[1]) if len(times) > 1 else None)
