"""What a verified client certificate says about its client: subject, alternative names, serial number.

The handshake has verified it; here it is only read, once a connection, from the DER. A part that cannot be read is
empty rather than guessed, and never stops the connection: what needs it then refuses the request.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from securelight.model.client_certificate import ClientCertificate
from securelight.tls.der import (
    INTEGER,
    OCTET_STRING,
    SEQUENCE,
    Element,
    common_names,
    elements,
    name_text,
    only,
    time_of,
)

if TYPE_CHECKING:
    from datetime import datetime

_VERSION, _EXTENSIONS = 0xA0, 0xA3
_SUBJECT_ALTERNATIVE_NAME = b"\x55\x1d\x11"
_EMAIL, _DNS, _URI = 0x81, 0x82, 0x86
"""GeneralName's rfc822Name, dNSName and uniformResourceIdentifier (RFC 5280, section 4.2.1.6)."""


def read_client_certificate(der: bytes) -> ClientCertificate:
    """What `der` says; never raises."""
    try:
        parts = _parts(der)
    except ValueError:
        return ClientCertificate(der)
    subject, names = _subject(parts)
    alternatives = _alternative_names(parts)
    return ClientCertificate(
        der,
        subject,
        f"{int.from_bytes(parts[0].content, 'big', signed=True):x}",
        names,
        alternatives.get(_EMAIL, ()),
        alternatives.get(_DNS, ()),
        alternatives.get(_URI, ()),
    )


def expired(der: bytes, now: float) -> bool:
    """Whether `der` is past its end at the time.time() `now`, or does not say when that is."""
    try:
        return now > end_of(der).timestamp()
    except ValueError:
        return True


def end_of(der: bytes) -> datetime:
    """Until when the certificate `der` is valid, UTC.

    Errors: ValueError if it does not say.
    """
    _not_before, not_after = elements(_parts(der)[3].content)
    return time_of(not_after)


def _parts(der: bytes) -> list[Element]:
    """serial number, signature algorithm, issuer, validity, subject, key, and what may follow.

    Errors: ValueError.
    """
    parts = elements(only(only(der, SEQUENCE), SEQUENCE))
    if parts and parts[0].tag == _VERSION:
        del parts[0]
    if [part.tag for part in parts[:6]] != [INTEGER, *[SEQUENCE] * 5]:
        raise ValueError("not a certificate")
    return parts


def _subject(parts: list[Element]) -> tuple[str, tuple[str, ...]]:
    try:
        return name_text(parts[4].content), common_names(parts[4].content)
    except (ValueError, KeyError):
        return "", ()


def _alternative_names(parts: list[Element]) -> dict[int, tuple[str, ...]]:
    """By the tag of their kind; empty if there is a fault in any."""
    found: dict[int, tuple[str, ...]] = {}
    try:
        for part in parts[6:]:
            if part.tag != _EXTENSIONS:
                continue
            for extension in elements(only(part.content, SEQUENCE)):
                identifier, *_critical, value = elements(extension.content)
                if identifier.content != _SUBJECT_ALTERNATIVE_NAME or value.tag != OCTET_STRING:
                    continue
                for name in elements(only(value.content, SEQUENCE)):
                    if name.tag in (_EMAIL, _DNS, _URI):
                        found[name.tag] = (*found.get(name.tag, ()), name.content.decode("ascii"))
    except ValueError:
        return {}
    return found
