"""Which TLS a server speaks: the two of Mozilla's server-side guidelines that are fit for today.

`modern` is TLS 1.3 alone. `intermediate` adds TLS 1.2, there with forward secrecy (ECDHE) and authenticated
encryption (AES-GCM, ChaCha20-Poly1305) only; every one of its suites is allowed for HTTP/2 (RFC 9113, section 9.2.2).
Finite-field Diffie-Hellman, which Mozilla's list still has at its end, is left out: it is slow, and no client of this
decade needs it.

Refused in both: TLS 1.1 and older, compression (CRIME), renegotiation, keys and signatures under 112 bits of
security, whatever the machine's own openssl.cnf allows. The suites of TLS 1.3 and the groups are OpenSSL's own choice.
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from types import MappingProxyType

_PRIORITIZE_CHACHA = 1 << 21
"""SSL_OP_PRIORITIZE_CHACHA, which the ssl module does not name: our order stands, but a client that puts ChaCha20
first (a phone without AES instructions) gets it."""

_SECURITY_LEVEL = 2
"""OpenSSL's name for 112 bits: RSA from 2048 bits on, no SHA-1 signatures."""

TICKETS = 2
"""Session tickets after a full TLS 1.3 handshake. A client uses a ticket once and may open two connections at a time
(happy eyeballs); each costs about 250 bytes. OpenSSL's own default too, set here so that it stays so."""


@dataclass(frozen=True, slots=True)
class TlsPolicy:
    """One policy.

    Args:
        name: as written in `[[site]] tls = "..."`.
        minimum_version: the oldest version spoken.
        ciphers: the suites of TLS 1.2 in our order, OpenSSL names.
    """

    name: str
    minimum_version: ssl.TLSVersion
    ciphers: tuple[str, ...]

    def apply(self, context: ssl.SSLContext) -> None:
        """Set versions, suites and options of a fresh server context."""
        context.minimum_version = self.minimum_version
        context.maximum_version = ssl.TLSVersion.MAXIMUM_SUPPORTED
        context.set_ciphers(f"{':'.join(self.ciphers)}:@SECLEVEL={_SECURITY_LEVEL}")
        context.options |= (
            ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION | ssl.OP_CIPHER_SERVER_PREFERENCE | _PRIORITIZE_CHACHA
        )
        context.num_tickets = TICKETS


_AEAD_WITH_FORWARD_SECRECY = (
    "ECDHE-ECDSA-AES128-GCM-SHA256",
    "ECDHE-RSA-AES128-GCM-SHA256",
    "ECDHE-ECDSA-AES256-GCM-SHA384",
    "ECDHE-RSA-AES256-GCM-SHA384",
    "ECDHE-ECDSA-CHACHA20-POLY1305",
    "ECDHE-RSA-CHACHA20-POLY1305",
)

# The suites of `modern` are never used, but OpenSSL wants a list, and with it the security level.
MODERN = TlsPolicy("modern", ssl.TLSVersion.TLSv1_3, _AEAD_WITH_FORWARD_SECRECY)
INTERMEDIATE = TlsPolicy("intermediate", ssl.TLSVersion.TLSv1_2, _AEAD_WITH_FORWARD_SECRECY)

POLICIES = MappingProxyType({policy.name: policy for policy in (MODERN, INTERMEDIATE)})
"""By name."""
