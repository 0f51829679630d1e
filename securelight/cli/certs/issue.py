"""`securelight certs issue`: a certificate for a server or a client, in files; the one there is if it will do."""

from __future__ import annotations

import json
import os
import re
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from securelight.cli.certs.options import (
    Moment,
    certs_option,
    given_passphrase,
    iso,
    passphrase_option,
    passphrase_source,
    time_left,
)
from securelight.config.faults import printable
from securelight.model.errors import CertificateError
from securelight.pki.authority import RESERVED, AuthorityWish, ensure_authority
from securelight.pki.identities import identities_of, normal_identity
from securelight.pki.inspect import fingerprint
from securelight.pki.issue import ISSUE_DAYS, Wish, issue, plan, subject_name, user_name
from securelight.pki.key_files import CERTIFICATE_MODE, KEY_MODE, MAXIMUM_FILE_BYTES, locked, prepare_directory
from securelight.pki.key_types import DEFAULT_KEY_TYPE, KEY_TYPES, describe_key
from securelight.pki.leaf import matches, read_leaf, write_recorded

if TYPE_CHECKING:
    from cryptography import x509

    from securelight.pki.authority import Authority
    from securelight.pki.key_types import KeyType

PKCS12_PASSWORD: Final = "changeit"  # noqa: S105 - the one that everybody knows, and told to the user
PKCS12_PASSWORD_VARIABLE: Final = "SECURELIGHT_CERTS_PKCS12_PASSWORD"  # noqa: S105 - where it is, not what

EXAMPLES = f"""\b
Examples:
  securelight certs issue shop.test '*.shop.test' 192.168.1.20
  securelight certs issue shop.test --out ./shop            shop.pem and shop.key, here
  securelight certs issue --client --user alice             a client certificate for the user alice
  securelight certs issue --client alice@shop.test --pkcs12 for a browser or a phone to import
  securelight certs issue old.test --not-after 2024-01-01   one that has expired
  securelight certs issue --csr router.csr                  for a key that is elsewhere

Run again, it changes nothing as long as the certificate will do: the same names, key type and life, not revoked,
and a third of its life left. So it can run from cron. What is there is replaced by --force, or when the wish is
another one.

A PKCS #12 file gets the password in {PKCS12_PASSWORD_VARIABLE}, or else "{PKCS12_PASSWORD}".
"""


@click.command(epilog=EXAMPLES, short_help="Make a certificate for a server or a client.")
@click.argument("names", metavar="[NAME]...", nargs=-1)
@certs_option
@click.option("--out", metavar="STEM", help="Write STEM.pem and STEM.key.  [default: the first name, in --certs]")
@click.option(
    "--days",
    type=click.FloatRange(0, min_open=True),
    default=ISSUE_DAYS,
    show_default=True,
    help="How long it is valid.",
)
@click.option("--not-before", type=Moment(), help="Valid from this time (UTC).  [default: an hour ago]")
@click.option("--not-after", type=Moment(), help="Valid until this time (UTC), which may be past.")
@click.option(
    "--key-type", type=click.Choice(KEY_TYPES), default=DEFAULT_KEY_TYPE, show_default=True, help="Of its key."
)
@click.option("--client", is_flag=True, help="For a client instead of a server.")
@click.option("--user", metavar="USER", help="Of a client: its common name, by which servers know it.")
@click.option("--subject", metavar="NAME", help="Its whole distinguished name, such as CN=alice,O=Shop.")
@click.option(
    "--csr",
    metavar="FILE",
    type=click.Path(allow_dash=True),
    help="A signing request: for its key, and its names if no NAME is given; - for standard input.",
)
@click.option("--pkcs12", is_flag=True, help="Write one file STEM.p12 instead, always a new one.")
@click.option("--force", is_flag=True, help="Make a new one although the one there is will do.")
@passphrase_option
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(
    *,
    names: tuple[str, ...],
    certs: Path,
    out: str | None,
    days: float,
    not_before: datetime | None,
    not_after: datetime | None,
    key_type: KeyType,
    client: bool,
    user: str | None,
    subject: str | None,
    csr: str | None,
    pkcs12: bool,
    force: bool,
    passphrase_file: Path | None,
    as_json: bool,
) -> None:
    """Make a certificate for NAMEs, signed by the local authority, which is made if there is none.

    A NAME is a host name, a wildcard, an address, a URI or a mail address.
    """
    if user and not client:
        raise click.UsageError("--user is for client certificates; add --client")
    if user and subject:
        raise click.UsageError("--user and --subject both say who it is for; give one of them")
    if csr and pkcs12:
        raise click.UsageError("--pkcs12 needs the key, and that of a signing request is elsewhere")
    if not names and not csr and not (client and (user or subject)):
        raise click.UsageError("Whom is it for? Give a NAME" + (", --user or --subject" if client else ""))
    now = datetime.now(UTC)
    who = user_name(user) if user else subject_name(subject) if subject else None
    request = _read_request(csr) if csr else None
    wish = Wish(names, client, who, key_type, days, not_before, not_after, request)
    for name in names:
        normal_identity(name)  # before anything is made
    prepare_directory(certs)
    with locked(certs):
        source = passphrase_source(passphrase_file)
        authority = ensure_authority(certs, now, AuthorityWish(passphrase=given_passphrase(passphrase_file)), source)
        granted = plan(authority, wish, now)
        stem = _stem(certs, out, granted.names, granted.subject)
        chain_path, key_path = stem.with_name(f"{stem.name}.pem"), stem.with_name(f"{stem.name}.key")
        if stem.parent.absolute() != certs.absolute() and not stem.parent.is_dir():
            raise CertificateError(str(stem.parent), "is not a folder")
        p12_path = stem.with_name(f"{stem.name}.p12") if pkcs12 else None
        present = None
        if not force and p12_path is None:
            present = read_leaf(authority, chain_path, None if csr else key_path)
        if present is not None and matches(present, authority, wish, now):
            certificate, made = present, False
        else:
            certificate, made = _make(authority, wish, now, (chain_path, key_path, p12_path)), True
    places = [p12_path] if p12_path else [chain_path] if csr else [chain_path, key_path]
    if as_json:
        click.echo(json.dumps(_facts(certificate, places, made=made), indent=2))
    else:
        click.echo(_report(authority, certificate, places, now, made=made))
    sys.exit(0)


def _make(authority: Authority, wish: Wish, now: datetime, paths: tuple[Path, Path, Path | None]) -> x509.Certificate:
    chain_path, key_path, p12_path = paths
    issued = issue(authority, wish, now)
    if p12_path is not None:
        password = os.environ.get(PKCS12_PASSWORD_VARIABLE) or PKCS12_PASSWORD
        files = [(p12_path, issued.pkcs12(password), KEY_MODE)]
    elif wish.request is not None:
        files = [(chain_path, issued.chain_pem, CERTIFICATE_MODE)]
    else:
        files = [(key_path, issued.key_pem, KEY_MODE), (chain_path, issued.chain_pem, CERTIFICATE_MODE)]
    write_recorded(authority, issued, files, now)
    return issued.certificate


def _stem(certs: Path, out: str | None, names: tuple[str, ...], subject: x509.Name) -> Path:
    """Where the files go, without what comes behind the dot.

    Errors: CertificateError for names that the authority's own files have.
    """
    if out:
        stem = Path(out)
    else:
        first = names[0] if names else str(next(iter(subject)).value)
        stem = certs / (re.sub(r"[^A-Za-z0-9.@_-]+", "_", first.replace("*", "_wildcard"))[:100].lstrip(".") or "_")
    if stem.absolute().parent == certs.absolute() and RESERVED & {f"{stem.name}.pem", f"{stem.name}.key"}:
        raise CertificateError(str(stem), "is the name of one of the authority's own files; choose another with --out")
    if not stem.name or stem.is_dir():
        raise CertificateError(str(stem), "is a folder; --out is the beginning of a file's name, such as ./shop")
    return stem


def _read_request(csr: str) -> bytes:
    try:
        with click.open_file(csr, "rb") as file:
            content: bytes = file.read(MAXIMUM_FILE_BYTES + 1)
    except OSError as error:
        raise CertificateError(csr, f"cannot be read: {error.strerror}") from error
    if len(content) > MAXIMUM_FILE_BYTES:
        raise CertificateError(csr, f"is larger than {MAXIMUM_FILE_BYTES} bytes, so no signing request")
    return content


def _facts(certificate: x509.Certificate, places: list[Path], *, made: bool) -> dict[str, object]:
    return {
        "made": made,
        "files": [str(place) for place in places],
        "names": list(identities_of(certificate)),
        "subject": certificate.subject.rfc4514_string(),
        "serial": f"{certificate.serial_number:x}",
        "sha256": fingerprint(certificate),
        "not_before": iso(certificate.not_valid_before_utc),
        "not_after": iso(certificate.not_valid_after_utc),
    }


def _report(
    authority: Authority, certificate: x509.Certificate, places: list[Path], now: datetime, *, made: bool
) -> str:
    begin, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    who = ", ".join(identities_of(certificate)) or certificate.subject.rfc4514_string()
    what = "Made a certificate for" if made else "Nothing to do: there is a certificate for"
    expires = f"{end:%Y-%m-%d %H:%M} UTC ({time_left(end, now)})"
    lines = [
        f"{what} {click.style(printable(who, 2000), bold=True)}",
        "",
        f"  certificate   {places[0]}",
        *(f"  key           {place}" for place in places[1:]),
        f"  key type      {describe_key(certificate.public_key())}",
        f"  {'expired ' if end <= now else 'expires '}      {expires}",
    ]
    if begin > now:
        lines.append(f"  valid from    {begin:%Y-%m-%d %H:%M} UTC ({time_left(begin, now)})")
    lines.append(f"  signed by     {authority.issuer.name}")
    if places[0].suffix == ".p12" and not os.environ.get(PKCS12_PASSWORD_VARIABLE):
        lines.append(f"  password      {PKCS12_PASSWORD}")
    notes = []
    if authority.created:
        notes.append(f"the authority was made as well: {authority.certificate_path}; clients do not know it yet")
    if end > authority.not_after:
        notes.append(f"it would outlive its authority, which expires on {authority.not_after:%Y-%m-%d}")
    notes += [
        f"{name} covers one label, not {name[2:]} itself" + (
            ", and most clients refuse a star right below a top-level domain" if "." not in name[2:] else "")
        for name in identities_of(certificate) if name.startswith("*.") and (
            name[2:] not in identities_of(certificate) or "." not in name[2:])
    ]  # fmt: skip
    return "\n".join([*lines, *(f"  note          {note}" for note in notes)])
