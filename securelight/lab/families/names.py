"""Certificates for another name, or for this one in a way that must not count."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from securelight.lab.case import Case, Verdict
from securelight.lab.families.build import chain, leaf
from securelight.pki.forge import DNS_NAME, IP_ADDRESS, RFC822_NAME, URI_NAME, alternative_names, name

if TYPE_CHECKING:
    from collections.abc import Callable

    from securelight.lab.endpoints import Https

ACCEPT, REFUSE, EITHER = Verdict.ACCEPT, Verdict.REFUSE, Verdict.EITHER
MATCHING, WILDCARDS, ADDRESSES = "RFC 9525, section 6", "RFC 9525, section 6.3", "RFC 9525, section 6.4"
OTHER: Final = "someone-else.localhost"
"""Still within the constraints of the lab's root, so that the name is the only fault."""


def _for(*names: str) -> Callable[..., Https]:
    return chain(lambda world, host: world.leaf(*names))


def _alternatives(*entries: tuple[int, bytes]) -> Callable[..., Https]:
    return chain(lambda world, host: world.leaf(OTHER, san=alternative_names(*entries)))


def _many(count: int) -> Callable[..., Https]:
    return chain(lambda world, host: world.leaf(*(f"n{number}.many.localhost" for number in range(count - 1)), host))


CASES: Final = (
    Case("names/wrong-host", "for another host", REFUSE, MATCHING, _for(OTHER)),
    Case("names/parent-domain", "for the domain above", REFUSE, MATCHING, _for("parent-domain.localhost"),
         host="www.parent-domain.localhost"),
    Case("names/child-domain", "for a host below", REFUSE, MATCHING, _for("www.child-domain.localhost")),
    Case("names/suffix-only", "for a name that this one ends with", REFUSE, MATCHING, _for("suffix.localhost"),
         host="evil-suffix.localhost"),
    Case("names/common-name-only", "the name is in the common name alone; no subjectAltName", REFUSE,
         "RFC 9525, section 6.3; RFC 2818, section 3.1", leaf(san=None),
         advice="Clients of before 2017 fall back to the common name."),
    Case("names/common-name-ignored", "the common name fits, the subjectAltName does not", REFUSE,
         "RFC 6125, section 6.4.4",
         chain(lambda world, host: world.leaf(host, san=alternative_names((DNS_NAME, OTHER.encode()))))),
    Case("names/no-name", "no name at all", REFUSE, MATCHING,
         chain(lambda world, host: world.leaf(san=None, subject=name("", "")))),
    Case("names/empty-san", "a subjectAltName without entries", REFUSE, "RFC 5280, section 4.2.1.6",
         chain(lambda world, host: world.leaf(host, san=alternative_names()))),
    Case("names/other-common-name", "the common name is another host's, the subjectAltName fits", ACCEPT,
         "RFC 9525, section 2", chain(lambda world, host: world.leaf(host, subject=name(OTHER)))),
    Case("names/upper-case", "in upper case", ACCEPT, "RFC 9525, section 6.3",
         chain(lambda world, host: world.leaf(host.upper()))),
    Case("names/trailing-dot", "with a dot at its end", EITHER, MATCHING,
         chain(lambda world, host: world.leaf(host + "."))),
    Case("names/leading-dot", "with a dot before it, as if that were a wildcard", REFUSE, MATCHING,
         _for(".leading-dot.localhost"), host="www.leading-dot.localhost"),
    Case("names/space", "with a space behind it", REFUSE, MATCHING,
         chain(lambda world, host: world.leaf(host + " "))),
    Case("names/wildcard-partial", "a wildcard in the middle of a label", REFUSE, WILDCARDS,
         _for("wild*partial.localhost"), host="wildcard-partial.localhost"),
    Case("names/wildcard-two-labels", "a wildcard that would have to stand for two labels", REFUSE, WILDCARDS,
         _for("*.two-labels.localhost"), host="a.b.two-labels.localhost"),
    Case("names/wildcard-no-label", "a wildcard that would have to stand for no label", REFUSE, WILDCARDS,
         _for("*.no-label.localhost"), host="no-label.localhost"),
    Case("names/wildcard-second-label", "a wildcard that is not in the left-most label", REFUSE, WILDCARDS,
         _for("www.*.second-label.localhost"), host="www.any.second-label.localhost"),
    Case("names/wildcard-double", "two wildcards", REFUSE, WILDCARDS,
         _for("*.*.double.localhost"), host="a.b.double.localhost"),
    Case("names/wildcard-bare", "a wildcard for everything", REFUSE, WILDCARDS, _for("*")),
    Case("names/wildcard-top-level", "a wildcard for a whole top-level domain", EITHER,
         "CA/Browser Forum BR, section 3.2.2.6", _for("*.localhost"),
         advice="RFC 9525 leaves it to the client; OpenSSL and browsers refuse, others don't."),
    Case("names/wildcard-in-idn", "a wildcard inside of an A-label", REFUSE, WILDCARDS,
         _for("xn--*-3ya.idn-wild.localhost"), host="xn--mnchen-3ya.idn-wild.localhost"),
    Case("names/nul-byte", "the name, a NUL byte, and another name", REFUSE, "CVE-2009-2408",
         chain(lambda world, host: world.leaf(
             OTHER, san=alternative_names((DNS_NAME, host.encode() + b"\0.evil.localhost"))))),
    Case("names/nul-byte-common-name", "the same in the common name; no subjectAltName", REFUSE, "CVE-2009-2408",
         chain(lambda world, host: world.leaf(san=None, subject=name(host.encode() + b"\0.evil.localhost")))),
    Case("names/idn-utf8", "an internationalized name in UTF-8, not as its A-label", REFUSE,
         "RFC 5280, section 7.2", _alternatives((DNS_NAME, "köln.idn-utf8.localhost".encode())),
         host="xn--kln-sna.idn-utf8.localhost"),
    Case("names/homograph", "for a name that looks the same, with Cyrillic letters", REFUSE, "UTS #39",
         _for("xn--pple-43d.homograph.localhost"), host="apple.homograph.localhost"),
    Case("names/uri-only", "the name is in a URI", REFUSE, MATCHING,
         _alternatives((URI_NAME, b"https://uri-only.localhost/"))),
    Case("names/email-only", "the name is in an email address", REFUSE, MATCHING,
         _alternatives((RFC822_NAME, b"admin@email-only.localhost"))),
    Case("names/ip-mismatch", "for another IP address", REFUSE, ADDRESSES, _for("127.0.0.2"), host="127.0.0.1",
         own_port=True),
    Case("names/ip-as-dns-name", "the IP address is written as a DNS name", REFUSE, ADDRESSES,
         _alternatives((DNS_NAME, b"127.0.0.1")), host="127.0.0.1", own_port=True,
         advice="The root of the lab permits no such DNS name either."),
    Case("names/ip-wildcard", "a wildcard over IP addresses", REFUSE, ADDRESSES,
         _alternatives((DNS_NAME, b"*.0.0.1")), host="127.0.0.1", own_port=True),
    Case("names/ip-in-common-name", "the IP address is in the common name alone", REFUSE, ADDRESSES,
         chain(lambda world, host: world.leaf(san=None, subject=name(host))), host="127.0.0.1", own_port=True),
    Case("names/dns-name-as-ip", "the name fits, and an IP address of five bytes stands beside it", REFUSE,
         "RFC 5280, section 4.2.1.6",
         chain(lambda world, host: world.leaf(host, san=alternative_names(
             (DNS_NAME, host.encode()), (IP_ADDRESS, b"\x7f\0\0\x01\0"))))),
    Case("names/san-100", "100 names, the last one fits", ACCEPT, MATCHING, _many(100), host="hundred.localhost"),
    Case("names/san-1000", "1,000 names, the last one fits", ACCEPT, MATCHING, _many(1000), host="thousand.localhost"),
    Case("names/san-10000", "10,000 names, the last one fits; the certificate is 250 kB", EITHER, MATCHING,
         _many(10_000), host="ten-thousand.localhost"),
)  # fmt: skip
