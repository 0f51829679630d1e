"""Certificates that are fine by themselves, behind a path that is not."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from securelight.lab.case import Case, Verdict
from securelight.lab.families.build import chain, leaf
from securelight.lab.old_tls import MISSING, OldTls, add_garbage_certificate
from securelight.lab.world import Chain, Signer, World
from securelight.pki.forge import Extension, der, name
from securelight.pki.forge_keys import (
    basic_constraints,
    extended_key_usage,
    key_usage,
    name_constraints,
    subject_key_identifier,
)  # fmt: skip

if TYPE_CHECKING:
    from collections.abc import Callable

    from securelight.lab.endpoints import Https

ACCEPT, REFUSE, EITHER = Verdict.ACCEPT, Verdict.REFUSE, Verdict.EITHER
PATH, NAMES, USAGE = "RFC 5280, section 6.1", "RFC 5280, section 4.2.1.10", "RFC 5280, section 4.2.1.3"
UNKNOWN: Final = "1.3.6.1.4.1.55555.1"
"""An extension that nobody knows."""


def _below(**settings: Any) -> Callable[[World, str], Https]:
    """A leaf below an intermediate that is made with `settings` (see World.authority)."""

    def make(world: World, host: str) -> Chain:
        return world.leaf(host, issuer=world.authority(f"{host} intermediate", world.root, **settings))

    return chain(make)


def _self_signed(world: World, host: str) -> Chain:
    key = world.key()
    return world.leaf(host, issuer=Signer(name(host), key, b""), between=())


def _unknown_root(world: World, host: str) -> Chain:
    stranger = world.authority("unknown root")
    return world.leaf(host, issuer=stranger)


def _same_name(world: World, host: str) -> Chain:
    key = world.key("p-256", "impostor")
    itself = Signer(world.root.subject, key, b"")
    impostor = world.authority("impostor", itself, key=key, subject=world.root.subject)
    return world.leaf(host, issuer=impostor)


def _reordered(world: World, host: str) -> Chain:
    upper = world.authority("upper", world.root)
    lower = world.authority("lower", upper)
    return world.leaf(host, issuer=lower, between=(upper, lower))


def _deep(count: int) -> Callable[[World, str], Https]:
    def make(world: World, host: str) -> Chain:
        signers = [world.root]
        for number in range(count):
            signers.append(world.authority(f"step {number}", signers[-1], key=world.key("p-256", "steps")))
        return world.leaf(host, issuer=signers[-1], between=signers[:0:-1])

    return chain(make)


def _loop(world: World, host: str) -> Chain:
    keys = [world.key("p-256", "loop 1"), world.key("p-256", "loop 2")]
    names = [name("securelight lab loop 1"), name("securelight lab loop 2")]
    signers = [Signer(subject, key, b"") for subject, key in zip(names, keys, strict=True)]
    first = world.authority("loop 1", signers[1], key=keys[0])
    second = world.authority("loop 2", signers[0], key=keys[1])
    return world.leaf(host, issuer=first, between=(first, second))


def _leaf_as_authority(world: World, host: str) -> Chain:
    key = world.key("p-256", "leaf as authority")
    issuer = world.leaf("issuer.localhost", key=key)
    signer = Signer(name("issuer.localhost"), key, issuer.certificates[0])
    return world.leaf(host, issuer=signer, between=(signer, world.intermediate))


def _past(world: World) -> dict[str, Any]:
    return {"not_before": world.now - timedelta(days=60), "not_after": world.now - timedelta(days=1)}


def _alternative_path(world: World, host: str) -> Chain:
    key = world.key("p-256", "two certificates")
    expired = world.authority("two certificates", world.root, key=key, path_length=0, **_past(world))
    current = world.authority("two certificates", world.root, key=key, path_length=0)
    return world.leaf(host, issuer=current, between=(expired, current))


def _constrained(**constraints: Any) -> Callable[[World, str], Https]:
    """Below an intermediate with name constraints."""

    def make(world: World, host: str) -> Chain:
        extensions = [
            basic_constraints(ca=True, path_length=0),
            key_usage("key_cert_sign", "crl_sign"),
            name_constraints(**constraints),
        ]
        return world.leaf(host, issuer=world.authority(f"{host} constrained", world.root, extensions=extensions))

    return chain(make)


def _path_length(world: World, host: str) -> Chain:
    upper = world.authority("path length 0", world.root, path_length=0)
    lower = world.authority("one too many", upper)
    return world.leaf(host, issuer=lower, between=(lower, upper))


def _two_keys(world: World, host: str) -> Chain:
    # The issuer's name is right, and the signature is by somebody else.
    return world.leaf(host, issuer_key=world.key("p-256", "nobody"), identifiers=False)


def _renamed(world: World, host: str) -> Chain:
    made = world.intermediate
    stranger = Signer(name("securelight lab somebody else"), made.key, made.certificate)
    return world.leaf(host, issuer=stranger, identifiers=False)


def _garbage_extra(world: World, host: str) -> OldTls:
    return OldTls(world.leaf(host), {"maxVersion": (3, 3)}, mutate=add_garbage_certificate)


def _twice(world: World, host: str) -> OldTls:
    return OldTls(world.leaf(host, extra=[extended_key_usage("server")]), {"minVersion": (3, 3)})


AUTHORITY_USAGE = key_usage("key_cert_sign", "crl_sign")

CASES: Final = (
    Case("chains/self-signed", "signed by itself", REFUSE, PATH, chain(_self_signed)),
    Case("chains/unknown-root", "signed by an authority that nobody trusts", REFUSE, PATH, chain(_unknown_root)),
    Case("chains/unknown-root-sent", "the unknown root is sent along", REFUSE, PATH,
         chain(lambda world, host: world.leaf(host, issuer=(stranger := world.authority("unknown root")),
                                              between=(stranger, stranger)))),
    Case("chains/impostor-root", "signed by a root with the name of ours, but another key", REFUSE, PATH,
         chain(_same_name)),
    Case("chains/incomplete", "the intermediate is missing", REFUSE, "RFC 8446, section 4.4.2", leaf(between=()),
         advice="Browsers that fetch or remember intermediates accept it where they have seen it before."),
    Case("chains/wrong-order", "two intermediates in the wrong order", EITHER, "RFC 8446, section 4.4.2",
         chain(_reordered), advice="TLS 1.2 forbids it, TLS 1.3 says that clients should cope."),
    Case("chains/with-root", "the root is sent along", ACCEPT, "RFC 8446, section 4.4.2",
         chain(lambda world, host: world.leaf(host, between=(world.intermediate, world.root)))),
    Case("chains/unrelated-extra", "a certificate that has nothing to do with it is sent along", EITHER,
         "RFC 8446, section 4.4.2", chain(lambda world, host: world.leaf(
             host, between=(world.intermediate, world.rsa_intermediate)))),
    Case("chains/intermediate-twice", "the intermediate is sent twice", EITHER, "RFC 8446, section 4.4.2",
         chain(lambda world, host: world.leaf(host, between=(world.intermediate, world.intermediate)))),
    Case("chains/garbage-extra", "what follows the leaf is no certificate", EITHER, "RFC 8446, section 4.4.2",
         _garbage_extra, own_port=True, not_offered=MISSING),
    Case("chains/alternative-path", "the intermediate is there twice, once expired", ACCEPT, "RFC 4158, section 2.4",
         chain(_alternative_path), advice="What took half of the web down on 30 May 2020 (AddTrust)."),
    Case("chains/path-length", "an authority more than the path length allows", REFUSE, "RFC 5280, section 4.2.1.9",
         chain(_path_length)),
    Case("chains/no-basic-constraints", "the intermediate has no basicConstraints", REFUSE,
         "RFC 5280, section 4.2.1.9", _below(extensions=[AUTHORITY_USAGE])),
    Case("chains/basic-constraints-false", "the intermediate says that it is no authority", REFUSE,
         "RFC 5280, section 4.2.1.9", _below(extensions=[basic_constraints(ca=False), AUTHORITY_USAGE])),
    Case("chains/basic-constraints-not-critical", "the intermediate's basicConstraints are not critical", EITHER,
         "RFC 5280, section 4.2.1.9", _below(extensions=[
             Extension("2.5.29.19", basic_constraints(ca=True).value), AUTHORITY_USAGE])),
    Case("chains/version-1-intermediate", "the intermediate is a version 1 certificate", REFUSE,
         "RFC 5280, section 6.1.4", _below(extensions=(), version=0)),
    Case("chains/leaf-as-authority", "signed by the certificate of another server", REFUSE,
         "RFC 5280, section 4.2.1.9; CVE-2002-0862", chain(_leaf_as_authority)),
    Case("chains/authority-as-leaf", "the server's certificate is that of an authority", EITHER,
         "CA/Browser Forum BR, section 7.1.2.7", leaf(basic=basic_constraints(ca=True))),
    Case("chains/no-cert-sign", "the intermediate may not sign certificates", REFUSE, USAGE,
         _below(extensions=[basic_constraints(ca=True), key_usage("crl_sign")])),
    Case("chains/key-usage-leaf", "the leaf's key may sign certificates and nothing else", EITHER, USAGE,
         leaf(usage=key_usage("key_cert_sign")), advice="Chromium refuses, OpenSSL does not look."),
    Case("chains/key-usage-agreement", "the leaf's key is for key agreement alone", EITHER, USAGE,
         leaf(usage=key_usage("key_agreement"))),
    Case("chains/client-usage", "the leaf is for clients alone", REFUSE, "RFC 5280, section 4.2.1.12",
         leaf(extended=extended_key_usage("client"))),
    Case("chains/email-usage", "the leaf is for email alone", REFUSE, "RFC 5280, section 4.2.1.12",
         leaf(extended=extended_key_usage("email"))),
    Case("chains/any-usage", "the leaf is for any use", EITHER, "RFC 5280, section 4.2.1.12",
         leaf(extended=extended_key_usage("any"))),
    Case("chains/no-usage", "the leaf has no extKeyUsage", EITHER, "CA/Browser Forum BR, section 7.1.2.7",
         leaf(extended=None)),
    Case("chains/intermediate-usage", "the intermediate is for clients alone", REFUSE,
         "CA/Browser Forum BR, section 7.1.2.6", _below(extensions=[
             basic_constraints(ca=True), AUTHORITY_USAGE, extended_key_usage("client")]),
         advice="RFC 5280 gives extKeyUsage no meaning in authorities, but all TLS libraries do."),
    Case("chains/excluded-name", "the intermediate may not sign for this host", REFUSE, NAMES,
         _constrained(excluded=["excluded-name.localhost"])),
    Case("chains/not-permitted-name", "the intermediate may sign for other hosts alone", REFUSE, NAMES,
         _constrained(permitted=["elsewhere.localhost"])),
    Case("chains/permitted-name", "the intermediate may sign for this host, and few others", ACCEPT, NAMES,
         _constrained(permitted=["permitted-name.localhost"])),
    Case("chains/not-permitted-address", "the intermediate may sign for other addresses alone", REFUSE, NAMES,
         _constrained(permitted=["127.1.0.0/16"]), host="127.0.0.1", own_port=True),
    Case("chains/outside-root-constraints", "the root may not sign for one of the names", REFUSE, NAMES,
         chain(lambda world, host: world.leaf(host, "www.example.com"))),
    Case("chains/critical-unknown", "a critical extension that nobody knows", REFUSE, "RFC 5280, section 4.2",
         leaf(extra=[Extension(UNKNOWN, der(0x05), critical=True)])),
    Case("chains/critical-unknown-intermediate", "the intermediate has one", REFUSE, "RFC 5280, section 4.2",
         _below(extensions=[basic_constraints(ca=True), AUTHORITY_USAGE,
                            Extension(UNKNOWN, der(0x05), critical=True)])),
    Case("chains/unknown-extension", "an extension that nobody knows, not critical", ACCEPT, "RFC 5280, section 4.2",
         leaf(extra=[Extension(UNKNOWN, der(0x05))])),
    Case("chains/extension-twice", "extKeyUsage is there twice", REFUSE, "RFC 5280, section 4.2",
         _twice, own_port=True, not_offered=MISSING),
    Case("chains/version-1", "a version 1 certificate with extensions", REFUSE, "RFC 5280, section 4.1.2.1",
         leaf(version=0)),
    Case("chains/unknown-version", "a version 4 certificate", REFUSE, "RFC 5280, section 4.1.2.1", leaf(version=3)),
    Case("chains/serial-negative", "a negative serial number", EITHER, "RFC 5280, section 4.1.2.2",
         leaf(serial=-12345)),
    Case("chains/serial-zero", "the serial number is 0", EITHER, "RFC 5280, section 4.1.2.2", leaf(serial=0)),
    Case("chains/serial-long", "a serial number of 40 bytes", EITHER, "RFC 5280, section 4.1.2.2",
         leaf(serial=1 << 318)),
    Case("chains/wrong-key-identifier", "the authorityKeyIdentifier names another key", EITHER,
         "RFC 5280, section 4.2.1.1", chain(lambda world, host: world.leaf(host, identifiers=False, extra=[
             subject_key_identifier(world.key()),
             Extension("2.5.29.35", der(0x30, der(0x80, b"\x11" * 20)))]))),
    Case("chains/wrong-issuer-name", "signed by the intermediate, but names another issuer", REFUSE, PATH,
         chain(_renamed)),
    Case("chains/wrong-signer", "names the intermediate as issuer, but is signed by another key", REFUSE, PATH,
         chain(_two_keys)),
    Case("chains/loop", "two authorities that have signed each other", REFUSE, PATH, chain(_loop)),
    Case("chains/five-intermediates", "five intermediates", ACCEPT, PATH, _deep(5)),
    Case("chains/long", "20 intermediates", EITHER, PATH, _deep(20)),
    Case("chains/very-long", "120 intermediates, more than OpenSSL's limit of 100", EITHER, PATH, _deep(120)),
)  # fmt: skip
