"""TLS versions, cipher suites and key exchange."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from securelight.lab.case import Case, Verdict, never
from securelight.lab.endpoints import HTTP1, ContextSettings, Https, Version
from securelight.lab.old_tls import MISSING, OldTls, ask_for_large_cookie

if TYPE_CHECKING:
    from collections.abc import Callable

    from securelight.lab.world import World

ACCEPT, REFUSE, EITHER = Verdict.ACCEPT, Verdict.REFUSE, Verdict.EITHER
OLD, PROHIBITED, SUITES13 = "RFC 8996", "RFC 9325, section 4.1", "RFC 8446, section 9.1"


def _only(low: Version, high: Version, **settings: Any) -> Callable[[World, str], Https]:
    return lambda world, host: Https(world.leaf(host), ContextSettings(versions=(low, high), **settings))


def _suite(suite: str, kind: str = "p-256", **settings: Any) -> Callable[[World, str], Https]:
    """TLS 1.2 with one cipher suite."""
    return lambda world, host: Https(
        world.leaf(host, kind=kind), ContextSettings(versions=("TLSv1_2", "TLSv1_2"), ciphers=suite, **settings)
    )


def _old(kind: str | None = "rsa-2048", mutate: Callable[[Any], None] | None = None,
         **settings: Any) -> Callable[[World, str], OldTls]:  # fmt: skip
    return lambda world, host: OldTls(world.leaf(host, kind=kind) if kind else None, settings, mutate=mutate)


def _suite13(cipher: str) -> Callable[[World, str], OldTls]:
    """TLS 1.3 with one cipher suite, which Python's ssl cannot choose before 3.15."""
    return _old("p-256", minVersion=(3, 4), maxVersion=(3, 4), versions=[(3, 4)], cipherNames=[cipher],
                keyShares=["x25519", "secp256r1"], eccCurves=CURVES)  # fmt: skip


def _version(low: tuple[int, int]) -> dict[str, Any]:
    return {"minVersion": low, "maxVersion": low, "versions": [low], "macNames": ["sha", "md5"],
            "useExtendedMasterSecret": False, "useEncryptThenMAC": False}  # fmt: skip


ANONYMOUS: Final = "without any certificate"
CURVES: Final = ["x25519", "secp256r1", "secp384r1", "secp521r1"]
"""Those of TLS 1.3."""

WEAK_GROUP: Final = int(
    "FFFFFFFFFFFFFFFFC90FDAA22168C234C4C6628B80DC1CD129024E088A67CC74020BBEA63B139B22514A08798E3404DD"
    "EF9519B3CD3A431B302B0A6DF25F14374FE1356D6D51C245E485B576625E7EC6F44C42E9A637ED6B0BFF5CB6F406B7ED"
    "EE386BFB5A899FA5AE9F24117C4B1FE649286651ECE65381FFFFFFFFFFFFFFFF", 16)  # fmt: skip
"""A prime of 1024 bits, group 2 of RFC 2409, section 6.2."""

CASES: Final = (
    Case("versions/ssl-2", "SSL 2.0 alone", REFUSE, "RFC 6176", never,
         not_offered="neither OpenSSL 3 nor tlslite-ng speaks it"),
    Case("versions/ssl-3", "SSL 3.0 alone", REFUSE, "RFC 7568", _old(**_version((3, 0))), own_port=True,
         not_offered=MISSING),
    Case("versions/tls-1-0", "TLS 1.0 alone", REFUSE, OLD, _old(**_version((3, 1))), own_port=True,
         not_offered=MISSING),
    Case("versions/tls-1-1", "TLS 1.1 alone", REFUSE, OLD, _old(**_version((3, 2))), own_port=True,
         not_offered=MISSING),
    Case("versions/tls-1-2", "nothing wrong: TLS 1.2 alone", ACCEPT, "RFC 9325, section 3.1",
         _only("TLSv1_2", "TLSv1_2"), own_port=True),
    Case("versions/tls-1-3", "nothing wrong: TLS 1.3 alone", ACCEPT, "RFC 9325, section 3.1",
         _only("TLSv1_3", "TLSv1_3"), own_port=True),
    *(Case(f"versions/tls12-{label}", f"nothing wrong: TLS 1.2 with {suite} alone", ACCEPT, "RFC 9325, section 4.2",
           _suite(suite, kind), own_port=True)
      for label, suite, kind in (
          ("ecdsa-aes128-gcm", "ECDHE-ECDSA-AES128-GCM-SHA256", "p-256"),
          ("ecdsa-aes256-gcm", "ECDHE-ECDSA-AES256-GCM-SHA384", "p-256"),
          ("ecdsa-chacha20", "ECDHE-ECDSA-CHACHA20-POLY1305", "p-256"),
          ("rsa-aes128-gcm", "ECDHE-RSA-AES128-GCM-SHA256", "rsa-2048"),
          ("rsa-aes256-gcm", "ECDHE-RSA-AES256-GCM-SHA384", "rsa-2048"),
          ("rsa-chacha20", "ECDHE-RSA-CHACHA20-POLY1305", "rsa-2048"),
      )),
    *(Case(f"versions/tls12-{label}", f"TLS 1.2 with {suite} alone: {fault}", EITHER, "RFC 9325, section 4.2",
           _suite(suite, "rsa-2048", alpn=(HTTP1,)), own_port=True)
      for label, suite, fault in (
          ("cbc-sha", "ECDHE-RSA-AES128-SHA", "CBC"),
          ("cbc-sha256", "ECDHE-RSA-AES128-SHA256", "CBC"),
          ("static-rsa", "AES128-GCM-SHA256", "no forward secrecy"),
          ("static-rsa-cbc", "AES128-SHA", "no forward secrecy, CBC"),
      )),
    Case("versions/tls12-dhe", "TLS 1.2 with finite field Diffie-Hellman of 2048 bits alone", EITHER,
         "RFC 9325, section 4.2", _old(minVersion=(3, 3), maxVersion=(3, 3), versions=[(3, 3)],
                                       keyExchangeNames=["dhe_rsa"], dhGroups=["ffdhe2048"]),
         own_port=True, not_offered=MISSING),
    Case("versions/tls12-null", "TLS 1.2 with NULL-SHA256 alone: no encryption", REFUSE, PROHIBITED,
         _suite("NULL-SHA256", "rsa-2048"), own_port=True),
    Case("versions/tls12-anonymous", f"TLS 1.2 {ANONYMOUS}", REFUSE, PROHIBITED,
         lambda world, host: Https(None, ContextSettings(
             versions=("TLSv1_2", "TLSv1_2"), ciphers="AECDH-AES128-SHA")), own_port=True),
    Case("versions/tls12-3des", "TLS 1.2 with 3DES alone", REFUSE, "RFC 9325, section 4.1; CVE-2016-2183",
         _old(minVersion=(3, 3), maxVersion=(3, 3), versions=[(3, 3)], cipherNames=["3des"],
              keyExchangeNames=["ecdhe_rsa", "rsa"]), own_port=True, not_offered=MISSING),
    Case("versions/tls12-rc4", "TLS 1.2 with RC4 alone", REFUSE, "RFC 7465",
         _old(minVersion=(3, 3), maxVersion=(3, 3), versions=[(3, 3)], cipherNames=["rc4"],
              macNames=["sha", "md5"], keyExchangeNames=["ecdhe_rsa", "rsa"]), own_port=True, not_offered=MISSING),
    Case("versions/tls12-export", "TLS 1.0 with a 40-bit export cipher", REFUSE, "RFC 9325, section 4.1; CVE-2015-0204",
         never, not_offered="neither OpenSSL 3 nor tlslite-ng has export ciphers"),
    Case("versions/dh-1024", "TLS 1.2 with Diffie-Hellman of 1024 bits alone", REFUSE, "RFC 9325, section 4.1",
         _suite("DHE-RSA-AES128-GCM-SHA256", "rsa-2048", dh=WEAK_GROUP), own_port=True),
    *(Case(f"versions/tls13-{label}", f"nothing wrong: TLS 1.3 with {suite} alone", verdict, SUITES13, _suite13(cipher),
           own_port=True, not_offered=MISSING)
      for label, suite, cipher, verdict in (
          ("aes128-gcm", "TLS_AES_128_GCM_SHA256", "aes128gcm", ACCEPT),
          ("aes256-gcm", "TLS_AES_256_GCM_SHA384", "aes256gcm", ACCEPT),
          ("chacha20", "TLS_CHACHA20_POLY1305_SHA256", "chacha20-poly1305", ACCEPT),
          ("aes128-ccm", "TLS_AES_128_CCM_SHA256", "aes128ccm", EITHER),
      )),
    *(Case(f"versions/group-{curve.lower()}", f"nothing wrong: key exchange with {label} alone", verdict,
           "RFC 8446, section 4.1.4", _only("TLSv1_3", "TLSv1_3", curve=curve), own_port=True,
           advice="Clients that guessed another group have to follow a HelloRetryRequest.")
      for curve, label, verdict in (
          ("prime256v1", "P-256", ACCEPT), ("secp384r1", "P-384", ACCEPT), ("X25519", "X25519", ACCEPT),
          ("secp521r1", "P-521", EITHER), ("X448", "X448", EITHER),
      )),
    Case("versions/large-client-hello", "nothing wrong: a cookie of 12 kB, so that the second ClientHello is large",
         ACCEPT, "RFC 8446, section 4.2.2",
         _old("p-256", ask_for_large_cookie, minVersion=(3, 4), maxVersion=(3, 4), versions=[(3, 4)],
              keyShares=["secp521r1"], eccCurves=["secp384r1", "secp521r1"]),
         own_port=True, not_offered=MISSING),
    Case("versions/early-data", "early data is offered and then refused", ACCEPT, "RFC 8446, section 4.2.10", never,
         not_offered="Python's ssl and tlslite-ng cannot offer early data"),
)  # fmt: skip
