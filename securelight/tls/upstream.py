"""Contexts with which we are the client of servers behind us: verified, by the system's authorities or one's own."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

from securelight.model.errors import CertificateError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


def upstream_context(
    *,
    ca: Path | None = None,
    certificate: Path | None = None,
    key: Path | None = None,
    verify: bool = True,
    alpn: Sequence[str] = ("http/1.1",),
) -> ssl.SSLContext:
    """A context to connect with, TLS 1.2 at least.

    Args:
        ca: PEM of the authorities to trust instead of the system's.
        certificate, key: our own, if the server asks for one; `key` is by default in the file of the certificate.
        verify: False to accept anybody, which leaves encryption against onlookers only.
        alpn: protocols in order of preference.

    Errors: CertificateError with the file that is at fault.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    context.set_alpn_protocols(alpn)
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    elif ca is None:
        context.load_default_certs(ssl.Purpose.SERVER_AUTH)
    else:
        try:
            context.load_verify_locations(ca)
        except (OSError, ssl.SSLError) as error:
            raise CertificateError(str(ca), f"holds no authority in PEM form that can be read: {error}") from error
    if certificate is not None:
        try:
            context.load_cert_chain(certificate, key, password=_no_password)
        except (OSError, ssl.SSLError) as error:
            raise CertificateError(str(certificate), f"can't be used with its key: {error}") from error
    return context


def _no_password() -> str:
    raise ssl.SSLError("the key is encrypted; write it without a password")
