"""What `securelight check` finds out about certificates and keys: that they can be opened, belong together, are in
time, and cover the hosts of their site; and of what client certificates are judged by, that it is there and in time.

A pair is proved by the code with which the server loads it. Nothing of a key is ever shown.
"""

from __future__ import annotations

import stat
from typing import TYPE_CHECKING, Final, NamedTuple, TypeVar

from securelight.config.faults import printable
from securelight.model.errors import CertificateError
from securelight.pki.inspect import CertificateReport, describe_chain
from securelight.tls.client_trust import Authorities, Revocations, read_authorities, read_revocations, without_list
from securelight.tls.key_pair import prove, read_pem

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime
    from pathlib import Path

    from securelight.config.schema import CertificateFiles, SiteConfig

Read = TypeVar("Read")

EXPIRING_DAYS: Final = 30


class Finding(NamedTuple):
    """One thing to tell about a certificate."""

    where: str
    what: str
    is_fault: bool
    """False for a warning."""


def check_certificates(site: SiteConfig, now: datetime) -> list[Finding]:
    """Everything to tell about the certificates of `site` at the time `now`, which knows its zone."""
    findings: list[Finding] = []
    reports: list[CertificateReport] = []
    for index, files in enumerate(site.certificates):
        where = f"{site.where}.certificate[{index}]"
        chain_pem, found = _check_pair(files, site.base, where)
        findings += found
        findings += _key_warnings(site.base / files.key, f"{where}.key")
        try:
            report = describe_chain(chain_pem)
        except CertificateError:
            continue  # reported with the pair
        reports.append(report)
        findings += [Finding(f"{where}.chain", what, is_fault=False) for what in _chain_warnings(report, now)]
    if len(reports) == len(site.certificates):
        findings += [
            Finding(f"{site.where}.hosts", f"no certificate of this site is for {host}", is_fault=False)
            for host in site.hosts
            if host != "*" and not any(report.covers(host) for report in reports)
        ]
    return findings + _check_clients(site, now)


def _check_clients(site: SiteConfig, now: datetime) -> list[Finding]:
    """What there is to tell about the authorities of its clients and their revocation lists."""
    rules = site.client_certificates
    if rules is None or not rules.authorities:
        return []  # that it is missing was found before
    where, list_where = f"{site.where}.client_ca", f"{site.where}.client_crl"
    authorities, findings = _read_trust(site.base / rules.authorities, read_authorities, where)
    if authorities is not None:
        findings += [Finding(where, what, is_fault=False) for what in _authority_warnings(authorities, now)]
    if not rules.revocations:
        return findings
    revocations, found = _read_trust(site.base / rules.revocations, read_revocations, list_where)
    findings += found
    if revocations is not None:
        findings += [Finding(list_where, what, is_fault=False) for what in _list_warnings(revocations, now)]
        if authorities is not None:
            findings += [
                Finding(list_where, f"there is no list of {name}, so what it vouches for is refused", False)
                for name in without_list(authorities, revocations)
            ]
    return findings


def _read_trust(path: Path, read: Callable[[Path], Read], where: str) -> tuple[Read | None, list[Finding]]:
    try:
        return read(path), []
    except CertificateError as error:
        return None, [Finding(where, f"{_shown(path)} {error.what}", is_fault=True)]


def _authority_warnings(authorities: Authorities, now: datetime) -> list[str]:
    warnings = []
    for one in authorities.latest():
        name, day = one.shown, f"{one.not_after:%Y-%m-%d}"
        days_left = (one.not_after - now).total_seconds() / 86_400
        if days_left < 0:
            warnings.append(f"the certificate of {name} expired on {day}; what it vouches for is refused")
        elif now < one.not_before:
            warnings.append(f"the certificate of {name} is not valid before {one.not_before:%Y-%m-%d %H:%M} UTC")
        elif days_left < EXPIRING_DAYS:
            warnings.append(f"the certificate of {name} expires in {int(days_left)} days, on {day}")
    return warnings


def _list_warnings(revocations: Revocations, now: datetime) -> list[str]:
    warnings = []
    for one in revocations.latest():
        name = one.shown
        if one.next_update is None:
            warnings.append(f"the list of {name} does not say until when it is to be believed, so it is for ever")
        elif one.next_update < now:
            warnings.append(
                f"the list of {name} expired on {one.next_update:%Y-%m-%d %H:%M} UTC; all certificates that it is for "
                "are refused until there is a new one"
            )
        if one.this_update > now:
            first = f"{one.this_update:%Y-%m-%d %H:%M} UTC"
            warnings.append(f"the list of {name} is not valid before {first}; is the clock right?")
    return warnings


def _check_pair(files: CertificateFiles, base: Path, where: str) -> tuple[bytes, list[Finding]]:
    """The contents of the chain, empty if there are none; and what is wrong with the pair."""
    chain, chain_findings = _open(base / files.chain, f"{where}.chain")
    key, key_findings = _open(base / files.key, f"{where}.key")
    if chain_findings or key_findings:
        return chain, chain_findings + key_findings
    if b"PRIVATE KEY-----" in chain and b"-----BEGIN CERTIFICATE-----" in key and b"CERTIFICATE-----" not in chain:
        return b"", [
            Finding(where, "chain and key are swapped: chain names a key, and key a certificate", is_fault=True)
        ]
    try:
        prove(chain, key, chain_name=_shown(base / files.chain), key_name=_shown(base / files.key))
    except CertificateError as error:
        return chain, [Finding(where, str(error), is_fault=True)]
    return chain, []


def _open(path: Path, where: str) -> tuple[bytes, list[Finding]]:
    try:
        return read_pem(path), []
    except CertificateError as error:
        return b"", [Finding(where, f"{_shown(path)} {error.what}", is_fault=True)]


def _shown(path: Path) -> str:
    return printable(str(path), 300)


def _key_warnings(path: Path, where: str) -> list[Finding]:
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
    except OSError:
        return []
    if not mode & 0o077:
        return []
    what = f"{_shown(path)} can be read by others (mode {mode:04o}); run: chmod 600 {_shown(path)}"
    return [Finding(where, what, is_fault=False)]


def _chain_warnings(report: CertificateReport, now: datetime) -> list[str]:
    warnings = []
    day = f"{report.not_after:%Y-%m-%d}"
    days_left = report.days_left(now)
    if days_left < 0:
        warnings.append(f"the certificate expired on {day}; no client will accept it")
    elif now < report.not_before:
        first = f"{report.not_before:%Y-%m-%d %H:%M} UTC"
        warnings.append(f"the certificate is not valid before {first}; is the clock right?")
    elif days_left < EXPIRING_DAYS:
        warnings.append(f"the certificate expires in {int(days_left)} days, on {day}")
    if report.self_signed:
        warnings.append("the certificate is signed by itself; clients accept it only if they are told to")
    elif report.is_ca:
        warnings.append("the first certificate is that of an authority; the one of the server has to come first")
    if not report.chain_in_order:
        warnings.append("the certificates are not in order: each has to be followed by the one that signed it")
    return warnings
