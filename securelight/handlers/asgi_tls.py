"""The `tls` extension of an ASGI scope: what an application may know of the connection's handshake.

Source: the ASGI TLS extension, version 0.2. `server_cert` is None, which the extension allows. The client certificate
was verified by the handshake for the site of the request; one that fails ends the handshake, optional or not, so
`client_cert_error` is always None. Of the chain it has the client's certificate alone.
"""

from __future__ import annotations

import base64
import functools
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from securelight.model.client_certificate import ClientCertificate
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


def tls_extension(tls: TlsFacts, certificate: ClientCertificate | None) -> dict[str, Any]:
    """The extension's dictionary for one request; a new one each time, because applications may write to it.

    Args:
        tls: of the connection.
        certificate: Facts.certificate.
    """
    return {
        "server_cert": None,
        "client_cert_chain": [] if certificate is None else [_pem(certificate.der)],
        "client_cert_name": None if certificate is None else certificate.subject,
        "client_cert_error": None,
        "tls_version": _VERSIONS.get(tls.version),
        "cipher_suite": _CIPHER_SUITES.get(tls.cipher),
    }


@functools.lru_cache(maxsize=64)
def _pem(der: bytes) -> str:
    encoded = base64.b64encode(der).decode("ascii")
    lines = "\n".join(encoded[start : start + 64] for start in range(0, len(encoded), 64))
    return f"-----BEGIN CERTIFICATE-----\n{lines}\n-----END CERTIFICATE-----\n"
