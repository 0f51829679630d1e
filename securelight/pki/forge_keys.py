"""Keys of every kind that the lab shows, weak and unusual ones too, and what `cryptography` adds to a forged name."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING, Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID

from securelight.pki.forge import DNS_NAME, IP_ADDRESS, Extension, Key, extension

if TYPE_CHECKING:
    from collections.abc import Sequence

CURVES: Final[dict[str, type[ec.EllipticCurve]]] = {
    "p-224": ec.SECP224R1, "p-256": ec.SECP256R1, "p-384": ec.SECP384R1, "p-521": ec.SECP521R1,
    "secp256k1": ec.SECP256K1, "brainpool-256": ec.BrainpoolP256R1,
}  # fmt: skip

_FLAGS: Final = (
    "digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement",
    "key_cert_sign", "crl_sign", "encipher_only", "decipher_only",
)  # fmt: skip


def new_key(kind: str) -> Key:
    """A new key: a curve of CURVES, `ed25519`, `ed448`, or `rsa-BITS`, with `-e3` behind it for the exponent 3.

    8192 bits are made of four primes (RFC 8017, section 3.2), which takes seconds instead of minutes: two 4096-bit
    keys, multiplied. What a client sees, modulus and exponent, has no trace of that.
    """
    if kind in CURVES:
        return ec.generate_private_key(CURVES[kind]())
    if kind == "ed25519":
        return ed25519.Ed25519PrivateKey.generate()
    if kind == "ed448":
        return ed448.Ed448PrivateKey.generate()
    _, bits, *exponent = kind.split("-")
    if int(bits) == 8192:
        return _four_prime_key()
    return rsa.generate_private_key(public_exponent=3 if exponent else 65537, key_size=int(bits))


def _four_prime_key() -> rsa.RSAPrivateKey:
    exponent = 65537
    first = second = 1
    while (first * second).bit_length() < 8192:  # two numbers of 4096 bits may have a product of 8191
        halves = [rsa.generate_private_key(exponent, 4096).private_numbers() for _ in range(2)]
        first, second = (half.p * half.q for half in halves)
    totients = [(half.p - 1) * (half.q - 1) for half in halves]
    exponents = [pow(exponent, -1, totient) for totient in totients]
    public = rsa.RSAPublicNumbers(exponent, first * second)
    private = pow(exponent, -1, totients[0] * totients[1])
    # Chinese remaindering asks of the two "primes" only that they have no common factor.
    numbers = rsa.RSAPrivateNumbers(first, second, private, exponents[0], exponents[1], pow(second, -1, first), public)
    return numbers.private_key(unsafe_skip_rsa_key_validation=True)


def basic_constraints(*, ca: bool, path_length: int | None = None) -> Extension:
    """Whether it is an authority (RFC 5280, section 4.2.1.9)."""
    return extension(x509.BasicConstraints(ca=ca, path_length=path_length), critical=True)


def key_usage(*allowed: str) -> Extension:
    """A critical keyUsage with these flags of section 4.2.1.3, in Python's spelling."""
    assert set(allowed) <= set(_FLAGS)
    return extension(x509.KeyUsage(**{flag: flag in allowed for flag in _FLAGS}), critical=True)


def extended_key_usage(*usages: str) -> Extension:
    """What it may be used for: `server`, `client`, `any`, `email`."""
    known = {
        "server": ExtendedKeyUsageOID.SERVER_AUTH,
        "client": ExtendedKeyUsageOID.CLIENT_AUTH,
        "email": ExtendedKeyUsageOID.EMAIL_PROTECTION,
        "any": ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE,
    }
    return extension(x509.ExtendedKeyUsage([known[usage] for usage in usages]))


def subject_key_identifier(key: Key) -> Extension:
    """Section 4.2.1.2."""
    return extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()))


def authority_key_identifier(key: Key) -> Extension:
    """Section 4.2.1.1."""
    return extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key()))


def name_constraints(permitted: Sequence[str] = (), excluded: Sequence[str] = ()) -> Extension:
    """Section 4.2.1.10: DNS names, and networks such as 127.0.0.0/8."""

    def entries(values: Sequence[str]) -> list[x509.GeneralName] | None:
        found: list[x509.GeneralName] = []
        for value in values:
            try:
                found.append(x509.IPAddress(ipaddress.ip_network(value)))
            except ValueError:
                found.append(x509.DNSName(value))
        return found or None

    return extension(x509.NameConstraints(entries(permitted), entries(excluded)), critical=True)


def alternative_name(value: str) -> tuple[int, bytes]:
    """Tag and bytes of a GeneralName: an IP address if it is one, else a DNS name as it is written."""
    try:
        return IP_ADDRESS, ipaddress.ip_address(value).packed
    except ValueError:
        return DNS_NAME, value.encode()
