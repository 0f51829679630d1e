"""Weak, wrong and unusual signatures and keys."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from securelight.lab.case import Case, Verdict, never
from securelight.lab.endpoints import ContextSettings
from securelight.lab.families.build import chain, leaf
from securelight.lab.old_tls import MISSING, OldTls
from securelight.lab.world import Chain, World

if TYPE_CHECKING:
    from collections.abc import Callable

    from securelight.lab.endpoints import Https

ACCEPT, REFUSE, EITHER = Verdict.ACCEPT, Verdict.REFUSE, Verdict.EITHER
BASELINE, HASHES = "CA/Browser Forum BR, section 6.1.5", "CA/Browser Forum BR, section 7.1.3.2; RFC 9155"
TLS12: Final = ContextSettings(versions=("TLSv1_2", "TLSv1_2"))


def _rsa_signed(**changes: Any) -> Callable[[World, str], Https]:
    return chain(lambda world, host: world.leaf(host, issuer=world.rsa_intermediate, **changes))


def _below(kind: str, signature: str = "sha256") -> Callable[[World, str], Https]:
    """A leaf below an intermediate with a key of `kind`."""

    def make(world: World, host: str) -> Chain:
        return world.leaf(host, issuer=world.authority(f"{kind} intermediate", world.root, kind=kind, path_length=0))

    return chain(make)


def _weak_intermediate(signature: str) -> Callable[[World, str], Https]:
    """The intermediate itself is signed with an old hash, by an RSA authority below the root."""

    def make(world: World, host: str) -> Chain:
        upper = world.authority("RSA upper", world.root, kind="rsa-2048")
        lower = world.authority(f"{signature} intermediate", upper, path_length=0, signature=signature)
        return world.leaf(host, issuer=lower, between=(lower, upper))

    return chain(make)


def _mismatch(world: World, host: str) -> OldTls:
    return OldTls(world.leaf(host, kind="rsa-2048"), {"minVersion": (3, 3)}, key=world.key("rsa-2048", "other"))


CASES: Final = (
    Case("signatures/sha1", "signed with SHA-1", REFUSE, HASHES, _rsa_signed(signature="sha1")),
    Case("signatures/sha1-ecdsa", "signed with SHA-1 by ECDSA", REFUSE, HASHES, leaf(signature="sha1")),
    Case("signatures/sha1-intermediate", "the intermediate is signed with SHA-1", REFUSE, HASHES,
         _weak_intermediate("sha1")),
    Case("signatures/md5", "signed with MD5", REFUSE, "RFC 6151", _rsa_signed(signature="md5")),
    Case("signatures/md5-intermediate", "the intermediate is signed with MD5", REFUSE, "RFC 6151",
         _weak_intermediate("md5")),
    Case("signatures/md2", "signed with MD2", REFUSE, "RFC 6149", never,
         not_offered="OpenSSL has had no MD2 for long"),
    Case("signatures/corrupt", "the signature is one bit off", REFUSE, "RFC 5280, section 6.1.3",
         leaf(corrupt=True)),
    Case("signatures/two-algorithms", "names one algorithm inside, and another one outside", REFUSE,
         "RFC 5280, section 4.1.1.2", leaf(named_signature="sha384")),
    Case("signatures/pss", "signed with RSA-PSS", ACCEPT, "RFC 4055", _rsa_signed(signature="pss")),
    Case("signatures/key-mismatch", "the server has another key than its certificate", REFUSE,
         "RFC 8446, section 4.4.3", _mismatch, own_port=True, not_offered=MISSING),
    Case("signatures/rsa-512", "RSA with 512 bits", REFUSE, BASELINE, never,
         not_offered="`cryptography` makes no RSA key below 1024 bits"),
    Case("signatures/rsa-1024", "RSA with 1024 bits", REFUSE, BASELINE, leaf(kind="rsa-1024")),
    Case("signatures/rsa-1024-intermediate", "the intermediate has RSA with 1024 bits", REFUSE, BASELINE,
         _below("rsa-1024")),
    Case("signatures/rsa-3072", "RSA with 3072 bits", ACCEPT, BASELINE, leaf(kind="rsa-3072")),
    Case("signatures/rsa-4096", "RSA with 4096 bits", ACCEPT, BASELINE, leaf(kind="rsa-4096")),
    Case("signatures/rsa-8192", "RSA with 8192 bits", EITHER, BASELINE, leaf(kind="rsa-8192"),
         advice="Slow for the server; clients may draw a line (NSS at 16384, Go at 8192)."),
    Case("signatures/rsa-exponent-3", "RSA with the exponent 3", EITHER, "CA/Browser Forum BR, section 6.1.6",
         leaf(kind="rsa-2048-e3")),
    Case("signatures/p-224", "ECDSA with P-224", REFUSE, "RFC 8446, section 4.2.3", leaf(TLS12, kind="p-224"),
         own_port=True),
    Case("signatures/p-384", "ECDSA with P-384", ACCEPT, BASELINE, leaf(kind="p-384")),
    Case("signatures/p-521", "ECDSA with P-521", EITHER, BASELINE, leaf(kind="p-521"),
         advice="Chromium does not offer it."),
    Case("signatures/secp256k1", "ECDSA with secp256k1", REFUSE, "RFC 8422, section 5.1.1",
         leaf(TLS12, kind="secp256k1"), own_port=True),
    Case("signatures/brainpool", "ECDSA with brainpoolP256r1", EITHER, "RFC 7027", leaf(TLS12, kind="brainpool-256"),
         own_port=True),
    Case("signatures/ed25519", "Ed25519", EITHER, "RFC 8410", leaf(kind="ed25519"),
         advice="Fine by RFC 8446; browsers don't offer it."),
    Case("signatures/ed448", "Ed448", EITHER, "RFC 8410", leaf(kind="ed448")),
    Case("signatures/dsa", "DSA", REFUSE, "RFC 8446, section 4.2.3", never,
         not_offered="no client of today offers a DSA cipher suite, so it would never get as far as a certificate"),
)  # fmt: skip
