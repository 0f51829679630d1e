"""Endpoints that ask for a client certificate, each with the one that a client is to show."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final

from securelight.lab.case import Case, Verdict
from securelight.lab.endpoints import HTTP1, ContextSettings, Https, Version
from securelight.lab.old_tls import MISSING, OldTls
from securelight.lab.world import REVOKED_SERIAL, World
from securelight.pki.forge import forge_revocation_list, forged_pem, name

if TYPE_CHECKING:
    from collections.abc import Callable

ACCEPT, REFUSE = Verdict.ACCEPT, Verdict.REFUSE
REQUESTS, VERIFIED = "RFC 8446, section 4.3.2", "RFC 8446, section 4.4.2.4"


def _asks(*, required: bool = True, version: Version | None = None,
          revocations: bool = False) -> Callable[[World, str], Https]:  # fmt: skip
    def build(world: World, host: str) -> Https:
        authority = world.client_authority
        crl = forge_revocation_list(
            authority.subject, authority.key, world.now - timedelta(hours=1), world.now + timedelta(days=30),
            [REVOKED_SERIAL],
        ) if revocations else b""  # fmt: skip
        settings = ContextSettings(
            versions=(version, version) if version else ("TLSv1_2", "TLSv1_3"), alpn=(HTTP1,),
            authorities=forged_pem(authority.certificate) + forged_pem(world.root.certificate),
            revocations=crl, required=required,
        )  # fmt: skip
        return Https(world.leaf(host), settings)

    return build


def _many_authorities(world: World, host: str) -> OldTls:
    # Python's ssl names no authorities to clients at all.
    crowd = [name(f"securelight lab crowd {number}") for number in range(200)]
    return OldTls(world.leaf(host), {"minVersion": (3, 3), "maxVersion": (3, 3)}, authorities=crowd)


CASES: Final = (
    Case("clients/optional", "asks for a client certificate, and goes on without", ACCEPT, REQUESTS,
         _asks(required=False), host="client-optional.localhost", own_port=True),
    Case("clients/required", "needs a client certificate, and the client has none", REFUSE, VERIFIED, _asks(),
         host="client-required.localhost", own_port=True),
    Case("clients/required-tls12", "the same in TLS 1.2, where it shows within the handshake", REFUSE,
         "RFC 5246, section 7.4.6", _asks(version="TLSv1_2"), host="client-required-12.localhost", own_port=True),
    Case("clients/many-authorities", "asks for a client certificate of one of 200 authorities, and goes on without",
         ACCEPT, REQUESTS, _many_authorities,
         host="client-many.localhost", own_port=True, not_offered=MISSING),
    Case("clients/good", "nothing wrong: a client certificate that fits", ACCEPT, VERIFIED, _asks(),
         host="client-good.localhost", own_port=True, client_certificate="good"),
    Case("clients/good-tls12", "nothing wrong: the same in TLS 1.2", ACCEPT, VERIFIED, _asks(version="TLSv1_2"),
         host="client-good-12.localhost", own_port=True, client_certificate="good"),
    Case("clients/unknown-authority", "the client's certificate is by an authority that the server does not know",
         REFUSE, VERIFIED, _asks(), host="client-unknown.localhost", own_port=True,
         client_certificate="unknown-authority"),
    Case("clients/expired", "the client's certificate has expired", REFUSE, VERIFIED, _asks(),
         host="client-expired.localhost", own_port=True, client_certificate="expired"),
    Case("clients/revoked", "the client's certificate is revoked", REFUSE, VERIFIED, _asks(revocations=True),
         host="client-revoked.localhost", own_port=True, client_certificate="revoked"),
    Case("clients/wrong-purpose", "the client's certificate is for servers", REFUSE, "RFC 5280, section 4.2.1.12",
         _asks(), host="client-wrong-purpose.localhost", own_port=True, client_certificate="wrong-purpose"),
)  # fmt: skip
