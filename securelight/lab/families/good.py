"""What every client has to accept: without these, one that refuses everything would look perfect."""

from __future__ import annotations

from typing import Final

from securelight.lab.case import Case, Verdict
from securelight.lab.families.build import chain, leaf
from securelight.pki.forge import DNS_NAME, alternative_names, name

ACCEPT = Verdict.ACCEPT

CASES: Final = (
    Case("good/ecdsa", "nothing wrong: ECDSA P-256", ACCEPT, "RFC 5280", leaf(), host="good-ecdsa.localhost"),
    Case("good/rsa", "nothing wrong: RSA 2048", ACCEPT, "RFC 5280", leaf(kind="rsa-2048"), host="good-rsa.localhost"),
    Case("good/wildcard", "nothing wrong: a wildcard for the left-most label", ACCEPT, "RFC 9525, section 6.3",
         chain(lambda world, host: world.leaf("*.good-wildcard.localhost")), host="any.good-wildcard.localhost"),
    Case("good/ip-address", "nothing wrong: the URL has an IP address, and so has the certificate", ACCEPT,
         "RFC 9525, section 6.4", leaf(), host="127.0.0.1", own_port=True),
    Case("good/direct", "nothing wrong: signed by the root, with no intermediate", ACCEPT, "RFC 5280, section 6.1",
         chain(lambda world, host: world.leaf(host, issuer=world.root, between=())), host="good-direct.localhost"),
    Case("good/no-common-name", "nothing wrong: an empty subject and a critical subjectAltName", ACCEPT,
         "RFC 5280, section 4.1.2.6",
         chain(lambda world, host: world.leaf(
             subject=name("", ""), san=alternative_names((DNS_NAME, host.encode()), critical=True))),
         host="good-no-common-name.localhost"),
    Case("good/idn", "nothing wrong: an internationalized name as its A-label", ACCEPT, "RFC 5280, section 7.2",
         leaf(), host="xn--mnchen-3ya.localhost"),
    Case("good/sha384", "nothing wrong: signed with SHA-384", ACCEPT, "RFC 5758", leaf(signature="sha384"),
         host="good-sha384.localhost"),
    Case("good/sha512-rsa", "nothing wrong: signed by RSA with SHA-512", ACCEPT, "RFC 4055",
         chain(lambda world, host: world.leaf(host, issuer=world.rsa_intermediate, signature="sha512")),
         host="good-sha512.localhost"),
)  # fmt: skip
