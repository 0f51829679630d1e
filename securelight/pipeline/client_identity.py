"""The gate of a site that asks for client certificates: a stage that only such sites have, before all others.

A connection proves an identity to one site, the one whose name its handshake asked for. HTTP lets its requests name
any other: by Host, or because a browser shares one HTTP/2 connection between names (RFC 9113, section 9.1.1). So a
request is let in only if it names what the handshake named and the handshake followed the rules of this very site;
else it is misdirected (421), and the client opens a connection of its own. Only here does the certificate of the
connection become a fact of the request, so that no other site believes it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from securelight.model.errors import Refusal

if TYPE_CHECKING:
    from collections.abc import Mapping

    from securelight.config.schema import UserFrom
    from securelight.model.client_certificate import ClientCertificate
    from securelight.model.request import Facts, Request
    from securelight.pipeline.stage import Stage

NO_USER = "Your certificate does not name a user of this site."
MAXIMUM_USER_CHARACTERS = 256
"""Of the name of a user; longer ones are nobody's."""


def client_identity(where: str, user_from: UserFrom, users: Mapping[str, str] | None = None) -> Stage:
    """The stage.

    Args:
        where: the site (SiteConfig.where).
        user_from: what of a certificate is the name of the user.
        users: the names of users by that; only they come in. None or empty if it is the name itself.
    """

    def gate(request: Request, facts: Facts) -> None:
        tls = request.peer.tls
        if tls.asked_by != where or not _same_name(tls.server_name, request.host):
            named = f"host {request.host[:80]!r} on a connection for {tls.server_name!r}"
            raise Refusal(421, "This connection was opened for another host.", named)
        certificate = tls.client_certificate
        if certificate is None:
            return
        facts.certificate = certificate
        if user_from != "none":
            name = _user(certificate, user_from)
            user = users.get(name) if users else name
            if user is None:
                raise Refusal(403, NO_USER, f"the certificate of {name!r} is none of client_users")
            facts.user = user

    return gate


def _same_name(server_name: str, host: str) -> bool:
    # An address is never in SNI (RFC 6066, section 3), so there an empty one is the right one.
    return server_name == host or (not server_name and (host[:1] == "[" or host[-1:].isdigit()))


def _user(certificate: ClientCertificate, user_from: UserFrom) -> str:
    """The one name of that kind.

    Errors: Refusal 403 if there is none, or several, so that it would be a matter of taste which one is meant; or one
    that could not be told from another in a log or a list of users.
    """
    names: tuple[str, ...]
    if user_from == "subject":
        names = (certificate.subject,) if certificate.subject else ()
    elif user_from == "common_name":
        names = certificate.common_names
    elif user_from == "email":
        names = certificate.emails
    elif user_from == "dns":
        names = certificate.dns_names
    elif user_from == "fingerprint":
        names = (certificate.fingerprint,)
    else:
        names = certificate.uris
    if len(names) == 1 and names[0] and names[0].isprintable() and len(names[0]) <= MAXIMUM_USER_CHARACTERS:
        return names[0]
    why = f"{len(names)} of the kind {user_from!r}" if len(names) != 1 else f"{names[0][:80]!r}"
    raise Refusal(403, NO_USER, f"user in the certificate: {why}")
