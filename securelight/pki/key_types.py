"""Kinds of keys: how one is made, what it signs with, and which ones no client would accept today."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal, get_args

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa

if TYPE_CHECKING:
    from securelight.pki.key_files import SigningKey

KeyType = Literal["ecdsa-p256", "ecdsa-p384", "rsa-2048", "rsa-3072", "rsa-4096", "ed25519"]
KEY_TYPES: Final[tuple[KeyType, ...]] = get_args(KeyType)
AUTHORITY_KEY_TYPES: Final[tuple[KeyType, ...]] = ("ecdsa-p256", "ecdsa-p384", "rsa-3072", "ed25519")
DEFAULT_KEY_TYPE: Final[KeyType] = "ecdsa-p256"

LEAST_RSA_BITS: Final = 2048
MOST_RSA_BITS: Final = 8192
"""A larger one takes OpenSSL's clients longer than they are worth; GnuTLS and NSS refuse some."""

_CURVES: Final = {"secp256r1": "P-256", "secp384r1": "P-384", "secp521r1": "P-521"}


def new_key(key_type: KeyType) -> SigningKey:
    """A fresh private key."""
    match key_type:
        case "ecdsa-p256":
            return ec.generate_private_key(ec.SECP256R1())
        case "ecdsa-p384":
            return ec.generate_private_key(ec.SECP384R1())
        case "ed25519":
            return ed25519.Ed25519PrivateKey.generate()
        case _:
            return rsa.generate_private_key(public_exponent=65537, key_size=int(key_type.removeprefix("rsa-")))


def signature_hash(key: SigningKey) -> hashes.SHA256 | hashes.SHA384 | None:
    """The hash that goes with a key that signs; None where the algorithm brings its own."""
    if isinstance(key, (ed25519.Ed25519PrivateKey, ed448.Ed448PrivateKey)):
        return None
    if isinstance(key, ec.EllipticCurvePrivateKey) and key.curve.key_size > 256:
        return hashes.SHA384()
    return hashes.SHA256()


def describe_key(key: object) -> str:
    """A public key for people, such as `ECDSA P-256`, `RSA 2048`, `Ed25519`."""
    if isinstance(key, ec.EllipticCurvePublicKey):
        return f"ECDSA {_CURVES.get(key.curve.name, key.curve.name)}"
    if isinstance(key, rsa.RSAPublicKey):
        return f"RSA {key.key_size}"
    if isinstance(key, ed25519.Ed25519PublicKey):
        return "Ed25519"
    if isinstance(key, ed448.Ed448PublicKey):
        return "Ed448"
    return type(key).__name__.removesuffix("PublicKey").lstrip("_")


def key_type_of(key: object) -> KeyType | None:
    """Which of ours a public key is; None for another kind."""
    name = describe_key(key).lower().replace("ecdsa p-", "ecdsa-p").replace("rsa ", "rsa-")
    return next((one for one in KEY_TYPES if one == name), None)


def weakness(key: object) -> str:
    """Why no certificate should be signed for this public key; "" if nothing speaks against it."""
    if isinstance(key, rsa.RSAPublicKey):
        if not LEAST_RSA_BITS <= key.key_size <= MOST_RSA_BITS:
            return f"an RSA key of {key.key_size} bits; {LEAST_RSA_BITS} to {MOST_RSA_BITS} are accepted"
        if key.public_numbers().e < 65537:
            return f"an RSA key with the public exponent {key.public_numbers().e}; 65537 is usual"
        return ""
    if isinstance(key, ec.EllipticCurvePublicKey):
        return "" if key.curve.name in _CURVES else f"an ECDSA key on {key.curve.name}, which TLS clients do not know"
    return "" if isinstance(key, ed25519.Ed25519PublicKey) else f"a key of the kind {describe_key(key)}"
