"""A certificate that proves trust: signed by the authority at hand for localhost, never written anywhere."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from securelight.model.errors import CertificateError
from securelight.pki.authority import CERTIFICATE_FILE, KEY_FILE, Authority
from securelight.pki.identities import UNREADABLE
from securelight.pki.key_files import read_key
from securelight.pki.leaf import new_leaf
from securelight.pki.trust_root import read_root

if TYPE_CHECKING:
    from pathlib import Path

PROBE_NAMES = ("localhost", "127.0.0.1")


def probe_pair(directory: Path) -> tuple[bytes, bytes]:
    """A chain and its key, both PEM, signed by the authority in `directory`.

    Errors: CertificateError if the authority cannot sign here: its key is kept elsewhere, or may not sign these names.
    """
    path = directory / CERTIFICATE_FILE
    try:
        certificate = x509.load_der_x509_certificate(read_root(path).der)
    except UNREADABLE as error:
        raise CertificateError(str(path), "cannot be read as a certificate") from error
    key_path = directory / KEY_FILE
    authority = Authority(certificate, read_key(key_path), path, key_path)
    leaf, key = new_leaf(authority, PROBE_NAMES, datetime.now(UTC))
    return leaf.public_bytes(Encoding.PEM), key
