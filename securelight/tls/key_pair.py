"""A certificate chain and its private key, from files or bytes into an SSLContext.

Owns the reading of the two files, the proof that they belong together, and the messages when they do not. Nothing is
ever loaded into a context before it was proved in a scratch one: OpenSSL takes the certificate first and finds out
about the key afterwards, and by then a live context has lost its old pair.
"""

from __future__ import annotations

import binascii
import os
import re
import ssl
import stat
from typing import TYPE_CHECKING

from securelight.model.errors import CertificateError
from securelight.tls.policy import INTERMEDIATE

if TYPE_CHECKING:
    from pathlib import Path

PairFiles = tuple["Path", "Path"]
"""The files of a pair: the chain, the key. Both PEM."""

MAXIMUM_FILE_BYTES = 1 << 20
"""Of a chain or key file; the longest real chains have about 20 kB."""

_CERTIFICATE = re.compile(rb"-----BEGIN CERTIFICATE-----\s+([A-Za-z0-9+/=\s]+)-----END CERTIFICATE-----")
_PRIVATE_KEY = re.compile(rb"-----BEGIN (?:[A-Z0-9]+ )?PRIVATE KEY-----")

_KEY_TYPES = {
    bytes.fromhex("2a8648ce3d0201"): "ECDSA",
    bytes.fromhex("2a864886f70d010101"): "RSA",
    bytes.fromhex("2a864886f70d01010a"): "RSA-PSS",
    bytes.fromhex("2b6570"): "Ed25519",
    bytes.fromhex("2b6571"): "Ed448",
}
"""Object identifiers of SubjectPublicKeyInfo (RFC 5480, 3279, 4055, 8410)."""

_REASONS = {
    "KEY_VALUES_MISMATCH": "the key does not belong to the first certificate of the chain; put that one first, or "
    "take the key that was made with it",
    "KEY_TYPE_MISMATCH": "the key is of another type than the first certificate of the chain; take the key that was "
    "made with it",
    "EE_KEY_TOO_SMALL": "the key is too short to be safe; use ECDSA P-256, or RSA with 2048 bits or more",
    "CA_KEY_TOO_SMALL": "the key of a certificate in the chain is too short to be safe",
    "CA_MD_TOO_WEAK": "a certificate of the chain has a signature that is no longer safe (SHA-1 or MD5)",
}


def read_pair(files: PairFiles) -> tuple[bytes, bytes]:
    """The contents of chain and key.

    Errors: CertificateError naming the file that cannot be read, is too large, or holds something else.
    """
    chain, key = files
    return read_pem(chain), read_pem(key)


def read_pem(path: Path, limit_bytes: int = MAXIMUM_FILE_BYTES) -> bytes:
    """The contents of one file, at most `limit_bytes`.

    Errors: CertificateError.
    """
    try:
        # Not blocking, so that a FIFO in the place of the file does not hold the supervisor for ever.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise CertificateError(str(path), f"cannot be read: {error.strerror}") from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise CertificateError(str(path), "is not a file")
    with open(descriptor, "rb") as file:
        content = file.read(limit_bytes + 1)
    if len(content) > limit_bytes:
        raise CertificateError(str(path), f"is larger than {limit_bytes} bytes, so not what belongs there")
    return content


def prove(chain_pem: bytes, key_pem: bytes, *, chain_name: str = "chain", key_name: str = "key") -> str:
    """See whether a chain and a key can be served together, in a context that is thrown away.

    Args:
        chain_pem: certificates, that of the server first.
        key_pem: its private key, without a password.
        chain_name: what messages call the chain, its file name mostly.
        key_name: the same for the key.

    Returns: the type of the key: ECDSA, RSA, RSA-PSS, Ed25519, Ed448, or an object identifier in hex.

    Errors: CertificateError.
    """
    match = _CERTIFICATE.search(chain_pem)
    if match is None:
        raise CertificateError(chain_name, "holds no certificate in PEM form (-----BEGIN CERTIFICATE-----)")
    if b"-----BEGIN ENCRYPTED PRIVATE KEY-----" in key_pem or b"Proc-Type: 4,ENCRYPTED" in key_pem:
        raise CertificateError(key_name, "is protected with a password; a server cannot ask for one, so remove it with "
                               "`openssl pkey -in OLD -out NEW`")  # fmt: skip
    if not _PRIVATE_KEY.search(key_pem):
        raise CertificateError(key_name, "holds no private key in PEM form (-----BEGIN PRIVATE KEY-----)")
    scratch = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    INTERMEDIATE.apply(scratch)
    try:
        load_into(scratch, chain_pem, key_pem)
    except ssl.SSLError as error:
        reason = _REASONS.get(error.reason or "")
        if reason is None:
            told = f" (OpenSSL: {error.reason.replace('_', ' ').lower()})" if error.reason else ""
            reason = f"cannot be used with the key {key_name}; one of the two files is damaged{told}"
        raise CertificateError(chain_name, reason) from error
    try:
        return _key_type(binascii.a2b_base64(match[1]))
    except (IndexError, ValueError) as error:
        raise CertificateError(chain_name, "its first certificate cannot be read") from error


def load_into(context: ssl.SSLContext, chain_pem: bytes, key_pem: bytes) -> None:
    """Load a proved pair, over a pair of the same key type if the context has one. Session tickets stay good.

    No file is opened, so this works in a worker that may no longer read the key.

    Errors: ssl.SSLError, after which the context must not be used: call `prove` first.
    """
    chain = _in_memory("chain", chain_pem)
    try:
        key = _in_memory("key", key_pem)
        try:
            # Without a password callback OpenSSL would ask on the terminal.
            context.load_cert_chain(f"/proc/self/fd/{chain}", f"/proc/self/fd/{key}", password=lambda: "")
        finally:
            os.close(key)
    finally:
        os.close(chain)


def _in_memory(name: str, content: bytes) -> int:
    """A descriptor of an anonymous file, since `ssl` loads pairs from paths alone."""
    descriptor = os.memfd_create(name, os.MFD_CLOEXEC)
    with open(descriptor, "wb", closefd=False) as file:
        file.write(content)
    return descriptor


def _key_type(certificate: bytes) -> str:
    """The algorithm of the public key in a DER certificate (RFC 5280, section 4.1).

    Certificate { TBSCertificate { [0] version?, serial, signature, issuer, validity, subject,
    SubjectPublicKeyInfo { AlgorithmIdentifier { OBJECT IDENTIFIER ...
    """
    _, at, _ = _der(certificate, 0)
    _, at, _ = _der(certificate, at)
    tag, _, end = _der(certificate, at)
    before_key = 6 if tag == 0xA0 else 5
    for _ in range(before_key):
        _, _, at = _der(certificate, at)
    _, at, _ = _der(certificate, at)
    _, at, _ = _der(certificate, at)
    _, at, end = _der(certificate, at)
    identifier = certificate[at:end]
    return _KEY_TYPES.get(identifier, identifier.hex())


def _der(data: bytes, at: int) -> tuple[int, int, int]:
    """Tag, start and end of the contents of the element at `at`."""
    tag, length, start = data[at], data[at + 1], at + 2
    if length >= 0x80:
        size = length & 0x7F
        length = int.from_bytes(data[start : start + size], "big")
        start += size
    if start + length > len(data):
        raise ValueError("element past the end")
    return tag, start, start + length
