"""Server contexts: a policy, one or several certificates, the protocols offered by ALPN.

A context is about 21 kB and takes a millisecond or more to make, so there is one for each name of a site, up to a
bound, and one for each distinct set of certificates and policy (tls/identity). They are made before the workers are
forked, which then share their ticket keys: a session that one worker began, another resumes. A ticket of one context is
of no use in another, so what was agreed for one name never counts for the next (CVE-2025-23419).
"""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

from securelight.model.errors import CertificateError
from securelight.tls.client_trust import ask_for_certificates
from securelight.tls.key_pair import PairFiles, load_into, prove, read_pair

if TYPE_CHECKING:
    from collections.abc import Sequence

    from securelight.tls.client_trust import ClientTrust
    from securelight.tls.policy import TlsPolicy

ALPN = ("h2", "http/1.1", "http/1.0")
"""What we offer, best first (RFC 7301). curl --http1.0 offers the last one alone; it is answered as HTTP/1.1 is."""


def server_context(
    policy: TlsPolicy,
    certificates: Sequence[PairFiles],
    alpn: Sequence[str] = ALPN,
    clients: ClientTrust | None = None,
    *,
    forgiving: bool = False,
) -> ssl.SSLContext:
    """A context to serve with.

    Args:
        policy: versions and suites.
        certificates: files of (chain, key), each of another key type: OpenSSL picks the first one that suits the
            client, which is how old clients get RSA and all others ECDSA.
        alpn: protocols in order of preference.
        clients: which certificates clients are asked for; None to ask for none.
        forgiving: see client_trust.ask_for_certificates.

    Errors: CertificateError with the file that is at fault.
    """
    if not certificates:
        raise CertificateError("tls", "no certificate was given")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    policy.apply(context)
    context.set_alpn_protocols(alpn)
    loaded: dict[str, PairFiles] = {}
    for files in certificates:
        chain, key = files
        chain_pem, key_pem = read_pair(files)
        key_type = prove(chain_pem, key_pem, chain_name=str(chain), key_name=str(key))
        if key_type in loaded:
            raise CertificateError(
                str(chain),
                f"is the second {key_type} certificate of the same site, after {loaded[key_type][0]}; a site can have "
                "one of each type (give every name in one certificate, or make two sites)",
            )
        loaded[key_type] = files
        load_into(context, chain_pem, key_pem)
    if clients is not None:
        ask_for_certificates(context, clients, forgiving=forgiving)
    return context
