"""The `tls` extension of an ASGI scope: what an application may know of the connection's handshake.

Source: the ASGI TLS extension, version 0.2. `server_cert` is None, which the extension allows. The client certificate
was verified by the handshake; its subject is read here from the DER, by a bounded walk that gives up rather than guess.
"""

from __future__ import annotations

import base64
import functools
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from securelight.model.request import TlsFacts

_VERSIONS = {"TLSv1.2": 0x0303, "TLSv1.3": 0x0304}

_CIPHER_SUITES = {
    "TLS_AES_128_GCM_SHA256": 0x1301,
    "TLS_AES_256_GCM_SHA384": 0x1302,
    "TLS_CHACHA20_POLY1305_SHA256": 0x1303,
    "ECDHE-ECDSA-AES128-GCM-SHA256": 0xC02B,
    "ECDHE-ECDSA-AES256-GCM-SHA384": 0xC02C,
    "ECDHE-RSA-AES128-GCM-SHA256": 0xC02F,
    "ECDHE-RSA-AES256-GCM-SHA384": 0xC030,
    "ECDHE-RSA-CHACHA20-POLY1305": 0xCCA8,
    "ECDHE-ECDSA-CHACHA20-POLY1305": 0xCCA9,
}
"""OpenSSL's names of the suites that the TLS policies offer, and their IANA numbers."""

_ATTRIBUTE_NAMES = {
    b"\x55\x04\x03": "CN",
    b"\x55\x04\x06": "C",
    b"\x55\x04\x07": "L",
    b"\x55\x04\x08": "ST",
    b"\x55\x04\x09": "STREET",
    b"\x55\x04\x0a": "O",
    b"\x55\x04\x0b": "OU",
    b"\x09\x92\x26\x89\x93\xf2\x2c\x64\x01\x01": "UID",
    b"\x09\x92\x26\x89\x93\xf2\x2c\x64\x01\x19": "DC",
}
"""The attribute types that RFC 4514, section 3 names; others are written as their dotted numbers."""

_STRING_ENCODINGS = {0x0C: "utf-8", 0x13: "ascii", 0x14: "latin-1", 0x16: "ascii", 0x1E: "utf-16-be"}
"""DER string tags: UTF8String, PrintableString, TeletexString, IA5String, BMPString."""

_SEQUENCE, _SET, _OBJECT_IDENTIFIER, _VERSION_TAG = 0x30, 0x31, 0x06, 0xA0


def tls_extension(tls: TlsFacts) -> dict[str, Any]:
    """The extension's dictionary for one connection; a new one each time, because applications may write to it."""
    chain: list[str] = []
    name: str | None = None
    if tls.client_certificate:
        pem, name = _client_certificate(tls.client_certificate)
        if name is not None:  # a chain without a name is not allowed by the extension
            chain.append(pem)
    return {
        "server_cert": None,
        "client_cert_chain": chain,
        "client_cert_name": name,
        "client_cert_error": None,
        "tls_version": _VERSIONS.get(tls.version),
        "cipher_suite": _CIPHER_SUITES.get(tls.cipher),
    }


@functools.lru_cache(maxsize=64)
def _client_certificate(der: bytes) -> tuple[str, str | None]:
    encoded = base64.b64encode(der).decode("ascii")
    lines = "\n".join(encoded[start : start + 64] for start in range(0, len(encoded), 64))
    return f"-----BEGIN CERTIFICATE-----\n{lines}\n-----END CERTIFICATE-----\n", subject_name(der)


def subject_name(der: bytes) -> str | None:
    """The subject of the certificate `der` as an RFC 4514 string; None if it cannot be read."""
    try:
        return _subject_name(der)
    except (ValueError, IndexError, UnicodeDecodeError):
        return None


def _subject_name(der: bytes) -> str:
    certificate = _elements(der)[0][1]
    to_be_signed = _elements(certificate)[0][1]
    fields = [(tag, content) for tag, content, _raw in _elements(to_be_signed)]
    # version (optional), serial number, signature algorithm, issuer, validity, subject
    tag, subject = fields[5 if fields[0][0] == _VERSION_TAG else 4]
    if tag != _SEQUENCE:
        raise ValueError("no subject")
    names = []
    for set_tag, attributes, _raw in _elements(subject):
        if set_tag != _SET:
            raise ValueError("no relative distinguished name")
        names.append("+".join(_attribute(content) for _tag, content, _raw in _elements(attributes)))
    return ",".join(reversed(names))


def _elements(data: bytes) -> list[tuple[int, bytes, bytes]]:
    """(tag, content, whole element) of each DER element in `data`.

    Errors: ValueError or IndexError where it is not DER.
    """
    found = []
    start = 0
    while start < len(data):
        tag, length = data[start], data[start + 1]
        content = start + 2
        if length >= 0x80:
            length_bytes = length & 0x7F
            if not 1 <= length_bytes <= 4:
                raise ValueError("length of a DER element")
            length = int.from_bytes(data[content : content + length_bytes], "big")
            content += length_bytes
        end = content + length
        if end > len(data):
            raise ValueError("a DER element is cut off")
        found.append((tag, data[content:end], data[start:end]))
        start = end
    return found


def _attribute(content: bytes) -> str:
    (name_tag, identifier, _), (value_tag, value, raw) = _elements(content)
    if name_tag != _OBJECT_IDENTIFIER or not identifier:
        raise ValueError("no attribute type")
    name = _ATTRIBUTE_NAMES.get(identifier)
    encoding = _STRING_ENCODINGS.get(value_tag)
    if name is None or encoding is None:
        return f"{name or _dotted(identifier)}=#{raw.hex()}"
    return f"{name}={_escaped(value.decode(encoding))}"


def _dotted(identifier: bytes) -> str:
    numbers = []
    number = 0
    for byte in identifier:
        number = number << 7 | byte & 0x7F
        if not byte & 0x80:
            numbers.append(number)
            number = 0
    first = min(numbers[0] // 40, 2)
    return ".".join(map(str, (first, numbers[0] - 40 * first, *numbers[1:])))


def _escaped(value: str) -> str:
    """RFC 4514, section 2.4."""
    escaped = "".join("\\" + letter if letter in '"+,;<>\\' else letter for letter in value).replace("\0", "\\00")
    if escaped[:1] in (" ", "#"):
        escaped = "\\" + escaped
    if value[-1:] == " " and len(value) > 1:
        escaped = escaped[:-1] + "\\ "
    return escaped
