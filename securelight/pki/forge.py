"""Any certificate at all, right or wrong: the structure of RFC 5280, section 4.1, written byte by byte.

Owns the DER of a certificate and its signature. Nothing is checked and nothing is refused: names with NUL bytes,
validity that ends before it begins, MD5, a version that doesn't fit. That is what it is for, so nothing but the lab
and tests may use what it makes.
"""

from __future__ import annotations

import base64
import secrets
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from cryptography.x509.oid import NameOID

if TYPE_CHECKING:
    from collections.abc import Sequence

Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey | ed448.Ed448PrivateKey

INTEGER, BIT_STRING, OCTET_STRING, NULL, OBJECT_IDENTIFIER = 0x02, 0x03, 0x04, 0x05, 0x06
UTF8_STRING, UTC_TIME, GENERALIZED_TIME, SEQUENCE, SET = 0x0C, 0x17, 0x18, 0x30, 0x31
BOOLEAN_TRUE: Final = b"\x01\x01\xff"

RFC822_NAME, DNS_NAME, URI_NAME, IP_ADDRESS = 0x81, 0x82, 0x86, 0x87
"""Tags of a GeneralName (RFC 5280, section 4.2.1.6)."""

HASHES: Final[dict[str, hashes.HashAlgorithm]] = {
    "md5": hashes.MD5(),  # noqa: S303 - a lab of bad certificates
    "sha1": hashes.SHA1(),  # noqa: S303 - wrong on purpose
    "sha256": hashes.SHA256(),
    "sha384": hashes.SHA384(),
    "sha512": hashes.SHA512(),
}

_RSA_SIGNATURES: Final = {
    "md5": "1.2.840.113549.1.1.4", "sha1": "1.2.840.113549.1.1.5", "sha256": "1.2.840.113549.1.1.11",
    "sha384": "1.2.840.113549.1.1.12", "sha512": "1.2.840.113549.1.1.13",
}  # fmt: skip
_ECDSA_SIGNATURES: Final = {
    "sha1": "1.2.840.10045.4.1", "sha256": "1.2.840.10045.4.3.2", "sha384": "1.2.840.10045.4.3.3",
    "sha512": "1.2.840.10045.4.3.4",
}  # fmt: skip
_PSS_SHA256: Final = bytes.fromhex(
    "304106092a864886f70d01010a3034a00f300d06096086480165030402010500a11c301a06092a864886f70d010108"
    "300d06096086480165030402010500a203020120"
)
"""id-RSASSA-PSS with SHA-256, MGF1 with SHA-256, and 32 bytes of salt (RFC 4055, section 3.1)."""


def der(tag: int, *parts: bytes) -> bytes:
    """A value with its tag and length (X.690, section 8.1)."""
    content = b"".join(parts)
    length = len(content)
    if length < 0x80:
        return bytes((tag, length)) + content
    size = length.to_bytes((length.bit_length() + 7) // 8)
    return bytes((tag, 0x80 | len(size))) + size + content


def der_integer(number: int) -> bytes:
    """An INTEGER, negative ones too."""
    return der(INTEGER, number.to_bytes(number.bit_length() // 8 + 1, signed=True))


def der_oid(dotted: str) -> bytes:
    """An OBJECT IDENTIFIER from `1.2.3`."""
    first, second, *rest = map(int, dotted.split("."))
    content = bytearray()
    for arc in [first * 40 + second, *rest]:
        groups = [arc & 0x7F]
        while arc := arc >> 7:
            groups.append(arc & 0x7F | 0x80)
        content += bytes(reversed(groups))
    return der(OBJECT_IDENTIFIER, bytes(content))


def der_time(moment: datetime, *, generalized: bool | None = None) -> bytes:
    """A date: UTCTime until 2049, GeneralizedTime after (RFC 5280, section 4.1.2.5), unless `generalized` says."""
    if moment.year >= 2050 if generalized is None else generalized:
        return der(GENERALIZED_TIME, f"{moment:%Y%m%d%H%M%SZ}".rjust(15, "0").encode())
    return der(UTC_TIME, f"{moment:%y%m%d%H%M%SZ}".encode())


def name(common_name: str | bytes, organization: str = "securelight lab") -> bytes:
    """The DER of a distinguished name; without a common name, and for an empty name, give "" for both."""
    sets = []
    for oid, value in ((NameOID.ORGANIZATION_NAME, organization), (NameOID.COMMON_NAME, common_name)):
        if value:
            content = value if isinstance(value, bytes) else value.encode()
            sets.append(der(SET, der(SEQUENCE, der_oid(oid.dotted_string), der(UTF8_STRING, content))))
    return der(SEQUENCE, *sets)


@dataclass(frozen=True, slots=True)
class Extension:
    """One extension.

    Args:
        oid: dotted.
        value: DER of what is in it.
        critical: clients that don't know it must refuse the certificate.
    """

    oid: str
    value: bytes
    critical: bool = False

    @property
    def encoded(self) -> bytes:
        """As it stands in a certificate."""
        critical = BOOLEAN_TRUE if self.critical else b""
        return der(SEQUENCE, der_oid(self.oid), critical, der(OCTET_STRING, self.value))


def extension(value: x509.ExtensionType, *, critical: bool = False) -> Extension:
    """An extension that `cryptography` can write."""
    return Extension(value.oid.dotted_string, value.public_bytes(), critical)


def alternative_names(*names: tuple[int, bytes], critical: bool = False) -> Extension:
    """A subjectAltName of (tag, bytes), whatever the bytes are."""
    return Extension("2.5.29.17", der(SEQUENCE, *(der(tag, value) for tag, value in names)), critical)


@dataclass(frozen=True, slots=True)
class Recipe:
    """What is to be in a certificate.

    Args:
        subject: DER of the name (see `name`).
        key: its own key; only the public half goes in.
        issuer: DER of the name of who signs.
        issuer_key: what it is signed with.
        not_before: when it begins.
        not_after: when it ends.
        extensions: in this order, twice the same one if asked for.
        signature: `md5` to `sha512`, or `pss` for an RSA key; no meaning for Ed25519 and Ed448.
        named_signature: what the certificate says inside that it is signed with, if that is to differ.
        serial: of the certificate; a random one if None.
        version: 0 for version 1, 2 for version 3.
        validity: DER of the two dates, in place of `not_before` and `not_after`.
        corrupt: the signature is one bit off.
    """

    subject: bytes
    key: Key
    issuer: bytes
    issuer_key: Key
    not_before: datetime
    not_after: datetime
    extensions: Sequence[Extension] = ()
    signature: str = "sha256"
    named_signature: str | None = None
    serial: int | None = None
    version: int = 2
    validity: bytes | None = field(default=None, repr=False)
    corrupt: bool = False


def forge(recipe: Recipe) -> bytes:
    """The certificate, DER. Errors: ValueError, where a key cannot sign in the way that was asked for."""
    algorithm = signature_algorithm(recipe.issuer_key, recipe.signature)
    named = (
        algorithm if recipe.named_signature is None else signature_algorithm(recipe.issuer_key, recipe.named_signature)
    )
    validity = recipe.validity or der_time(recipe.not_before) + der_time(recipe.not_after)
    serial = secrets.randbits(126) | 1 << 126 if recipe.serial is None else recipe.serial
    listed = [der(0xA3, der(SEQUENCE, *(one.encoded for one in recipe.extensions)))] if recipe.extensions else []
    body = der(
        SEQUENCE,
        der(0xA0, der_integer(recipe.version)) if recipe.version else b"",
        der_integer(serial),
        named,
        recipe.issuer,
        der(SEQUENCE, validity),
        recipe.subject,
        recipe.key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
        *listed,
    )
    signature = bytearray(sign(recipe.issuer_key, body, recipe.signature))
    if recipe.corrupt:
        signature[-1] ^= 1
    return der(SEQUENCE, body, algorithm, der(BIT_STRING, b"\0", bytes(signature)))


def signature_algorithm(key: Key, signature: str) -> bytes:
    """The AlgorithmIdentifier of a signature by `key`. Errors: ValueError."""
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return der(SEQUENCE, der_oid("1.3.101.112"))
    if isinstance(key, ed448.Ed448PrivateKey):
        return der(SEQUENCE, der_oid("1.3.101.113"))
    if signature == "pss":
        return _PSS_SHA256
    if isinstance(key, rsa.RSAPrivateKey):
        return der(SEQUENCE, der_oid(_RSA_SIGNATURES[signature]), der(NULL))
    if signature not in _ECDSA_SIGNATURES:
        raise ValueError(f"there is no ECDSA signature with {signature}")
    return der(SEQUENCE, der_oid(_ECDSA_SIGNATURES[signature]))


def sign(key: Key, body: bytes, signature: str) -> bytes:
    """A signature of `body`."""
    if isinstance(key, ed25519.Ed25519PrivateKey | ed448.Ed448PrivateKey):
        return key.sign(body)
    if isinstance(key, ec.EllipticCurvePrivateKey):
        return key.sign(body, ec.ECDSA(HASHES[signature]))
    if signature == "pss":
        return key.sign(body, padding.PSS(padding.MGF1(hashes.SHA256()), 32), hashes.SHA256())
    return key.sign(body, padding.PKCS1v15(), HASHES[signature])


def forged_pem(certificate: bytes) -> bytes:
    """PEM of a certificate that `forge` made, without anybody reading it."""
    return _pem("CERTIFICATE", certificate)


def _pem(label: str, content: bytes) -> bytes:
    text = base64.b64encode(content).decode()
    lines = "\n".join(text[index : index + 64] for index in range(0, len(text), 64))
    return f"-----BEGIN {label}-----\n{lines}\n-----END {label}-----\n".encode()


def key_pem(key: Key, *, traditional: bool = False) -> bytes:
    """PEM of a private key, in the clear: PKCS #8, or the older form of its kind."""
    form = PrivateFormat.TraditionalOpenSSL if traditional else PrivateFormat.PKCS8
    return key.private_bytes(Encoding.PEM, form, NoEncryption())


def forge_revocation_list(issuer: bytes, key: Key, begins: datetime, ends: datetime, serials: Sequence[int]) -> bytes:
    """A certificate revocation list (RFC 5280, section 5.1), PEM."""
    algorithm = signature_algorithm(key, "sha256")
    revoked = [der(SEQUENCE, der_integer(serial), der_time(begins)) for serial in serials]
    number = Extension("2.5.29.20", der_integer(1))
    body = der(
        SEQUENCE, der_integer(1), algorithm, issuer, der_time(begins), der_time(ends),
        *([der(SEQUENCE, *revoked)] if revoked else []), der(0xA0, der(SEQUENCE, number.encoded)),
    )  # fmt: skip
    signature = sign(key, body, "sha256")
    return _pem("X509 CRL", der(SEQUENCE, body, algorithm, der(BIT_STRING, b"\0", signature)))


def diffie_hellman_pem(prime: int, generator: int) -> bytes:
    """Diffie-Hellman parameters (PKCS #3), PEM; of any size, and not checked."""
    return _pem("DH PARAMETERS", der(SEQUENCE, der_integer(prime), der_integer(generator)))
