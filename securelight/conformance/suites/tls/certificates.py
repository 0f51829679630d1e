"""The certificate and its chain (RFC 5280, RFC 9525, RFC 8446, section 4.4.2)."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from securelight.conformance import tls_records as tls
from securelight.conformance.case import Failed, Skipped, Topic
from securelight.conformance.tls_questions import name_of, offer
from securelight.model.errors import CertificateError
from securelight.pki.chain_facts import CertificateFacts, facts_of, load_chain
from securelight.pki.identities import covers

if TYPE_CHECKING:
    from securelight.conformance.case import Question
    from securelight.conformance.dial import Dial

CERTIFICATES = Topic(
    "The certificate",
    rfc=5280,
    why="Clients refuse what is expired, for another name or badly signed; people learn to click that away.",
    cure="Get a certificate for this name from an authority, renew it in time, and serve its chain in order.",
)
Look = Callable[["Dial", list[CertificateFacts]], str]
LONGEST_DAYS = 398
WEAK_BITS = {"RSA": 2048, "DSA": 2048}


async def _chain(dial: Dial) -> list[CertificateFacts]:
    """What the server shows: all of it in TLS 1.2, the first certificate where only TLS 1.3 is spoken."""
    flight = await offer(dial, tls.hello_1_2(name_of(dial)))
    try:
        found = flight.certificates()
    except ValueError as error:
        raise Failed(f"the Certificate message is malformed: {error}") from None
    if not found:
        wire = await dial.tls(("h2", "http/1.1"))
        first = wire.tls.getpeercert(binary_form=True) if wire.tls is not None else None
        found = [first] if first else []
    if not found:
        raise Failed("the server shows no certificate")
    try:
        return [facts_of(load_chain(der, "the chain")[0], "the chain") for der in found]
    except CertificateError as error:
        raise Failed(str(error)) from None


def _looks(look: Look) -> Question:
    async def question(dial: Dial) -> str:
        return look(dial, await _chain(dial))

    return question


def _ask(case_id: str, title: str, *, rfc: int | None = None, must: bool = True) -> Callable[[Look], Look]:
    def add(look: Look) -> Look:
        section = case_id.split("/")[1].rpartition("-")[2]
        (CERTIFICATES.must if must else CERTIFICATES.should)(case_id, title, rfc=rfc, section=section)(_looks(look))
        return look

    return add


@_ask("tls/9525-6.3/name", "It is for the name in the URL", rfc=9525)
def _name(dial: Dial, chain: list[CertificateFacts]) -> str:
    if not covers(chain[0].names, dial.target.host):
        raise Failed(f"it is for {', '.join(chain[0].names[:5]) or 'no name'}, not for {dial.target.host}")
    return ", ".join(chain[0].names[:5])


@_ask("tls/5280-4.1.2.5/expired", "No certificate of the chain has expired")
def _expired(_: Dial, chain: list[CertificateFacts]) -> str:
    for one in chain:
        if one.not_after < datetime.now(UTC):
            raise Failed(f"{one.subject or 'it'} has expired on {one.not_after:%d %B %Y}")
    return f"until {chain[0].not_after:%d %B %Y}"


@_ask("tls/5280-4.1.2.5/not-yet", "Every certificate of the chain is valid already")
def _not_yet(_: Dial, chain: list[CertificateFacts]) -> str:
    for one in chain:
        if one.not_before > datetime.now(UTC):
            raise Failed(f"{one.subject or 'it'} is valid from {one.not_before:%d %B %Y}")
    return f"since {chain[0].not_before:%d %B %Y}"


@_ask("tls/5280-4.2.1.6/alternative-names", "It has subjectAltName")
def _alternative_names(_: Dial, chain: list[CertificateFacts]) -> str:
    if not chain[0].names:
        raise Failed("it has none, and clients have not looked at the common name since 2017")
    return f"{len(chain[0].names)} names"


@_ask("tls/5280-4.2.1.9/no-authority", "It is not the certificate of an authority")
def _no_authority(_: Dial, chain: list[CertificateFacts]) -> str:
    if chain[0].is_ca:
        raise Failed("it may sign other certificates; its key should not be on a server")
    return "it is not"


@_ask("tls/5280-4.2.1.12/usage", "Its extended key usage, if there is one, is for servers")
def _usage(_: Dial, chain: list[CertificateFacts]) -> str:
    usage = chain[0].extended_key_usage
    if usage and not any("server" in one.lower() or "any" in one.lower() for one in usage):
        raise Failed(f"it is for {', '.join(usage)}")
    return ", ".join(usage) or "it does not say"


@_ask("tls/5280-4.2.1.3/key-usage", "Its key usage, if there is one, allows signatures")
def _key_usage(_: Dial, chain: list[CertificateFacts]) -> str:
    usage = chain[0].key_usage
    if usage and "digital signature" not in usage:
        raise Failed(f"the key is for {', '.join(usage)} only")
    return ", ".join(usage) or "it does not say"


@_ask("tls/9325-4.5/key-size", "Keys of RSA have 2048 bits, those of curves 224", rfc=9325)
def _key_size(_: Dial, chain: list[CertificateFacts]) -> str:
    for one in chain:
        kind, _space, bits = one.key_type.partition(" ")
        if kind in WEAK_BITS and bits.isdigit() and int(bits) < WEAK_BITS[kind]:
            raise Failed(f"{one.subject or 'the first'} has a key of {one.key_type}")
    return ", ".join(one.key_type for one in chain)


@_ask("tls/9155-4/signed", "No certificate below the root is signed with MD5 or SHA-1", rfc=9155)
def _signed(_: Dial, chain: list[CertificateFacts]) -> str:
    for one in chain:
        if not one.self_signed and ("md5" in one.signature.lower() or "sha1" in one.signature.lower()):
            raise Failed(f"{one.subject or 'the first'} is signed by {one.signature}")
    return ", ".join(one.signature for one in chain)


@_ask("tls/8446-4.4.2/order", "Each certificate is followed by that of its issuer", rfc=8446, must=False)
def _order(_: Dial, chain: list[CertificateFacts]) -> str:
    for lower, upper in itertools.pairwise(chain):
        if lower.issuer != upper.subject:
            raise Failed(f"{lower.issuer} has signed {lower.subject or 'the first'}, and {upper.subject} follows")
    return f"{len(chain)} certificates"


@_ask("tls/8446-4.4.2/no-root", "The root is not sent, which clients have or do not trust", rfc=8446, must=False)
def _no_root(_: Dial, chain: list[CertificateFacts]) -> str:
    if len(chain) > 1 and chain[-1].self_signed:
        raise Failed(f"{chain[-1].subject} is sent for nothing")
    return "it is not"


@_ask("tls/5280-4.1.2.5/long", f"It is not valid for more than {LONGEST_DAYS} days", must=False)
def _long(_: Dial, chain: list[CertificateFacts]) -> str:
    days = (chain[0].not_after - chain[0].not_before).total_seconds() / 86_400
    if days > LONGEST_DAYS:
        raise Failed(f"it is valid for {days:.0f} days, and browsers take {LONGEST_DAYS}")
    return f"{days:.0f} days"


@CERTIFICATES.should("tls/5280-4.1.2.5/renewed", "It is valid for another week", section="4.1.2.5")
async def renewed(dial: Dial) -> str:
    """Whoever renews at the last moment has none left for a failure."""
    left = ((await _chain(dial))[0].not_after - datetime.now(UTC)).total_seconds() / 86_400
    if left < 0:
        raise Skipped("it has expired, which is another case")
    if left < 7:
        raise Failed(f"{left:.1f} days are left")
    return f"{left:.0f} days are left"
