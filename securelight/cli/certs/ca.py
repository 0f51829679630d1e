"""`securelight certs ca`: make the local authority, or show it and renew it if it is about to expire."""

from __future__ import annotations

import json
import shlex
import sys
import textwrap
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from securelight.cli.certs.options import (
    certs_option,
    given_passphrase,
    iso,
    passphrase_option,
    passphrase_source,
    time_left,
)
from securelight.model.errors import CertificateError
from securelight.pki.authority import AuthorityWish, ensure_authority, read_authority, renew_authority
from securelight.pki.constraints import constraints_of, not_permitted
from securelight.pki.inspect import fingerprint
from securelight.pki.key_files import has_passphrase, locked, prepare_directory, read_file
from securelight.pki.key_types import AUTHORITY_KEY_TYPES, DEFAULT_KEY_TYPE, describe_key, key_type_of

if TYPE_CHECKING:
    from pathlib import Path

    from securelight.pki.authority import Authority
    from securelight.pki.key_types import KeyType
    from securelight.pki.signer import Signer

EXAMPLES = """\b
Examples:
  securelight certs ca                           make it, or show it
  securelight certs ca --permit example.com      it may sign for this domain and all below it too
  securelight certs ca --permit example.com --renew    the same for the one there is
  securelight certs ca --passphrase              ask for a passphrase for its keys
  securelight certs ca --certs ~/other --key-type rsa-3072

By default it can sign for names that nobody can own on the internet, and no others: localhost, test, local,
internal, home.arpa, this machine's name, loopback and private addresses. Clients refuse all else, so a stolen
key is no use against your bank. With --unconstrained that guard is gone: whoever gets the key can pose as any
site to everyone who trusts the authority.

--renew signs root and intermediate anew with the keys that they have. All that they have signed stays good,
and clients that trust the old root go on until it expires; what is newly permitted they accept only from the
new root, so run: securelight certs trust.
"""


@click.command(epilog=EXAMPLES, short_help="Make the local authority, or show it.")
@certs_option
@click.option(
    "--key-type", type=click.Choice(AUTHORITY_KEY_TYPES), help=f"Of a new one.  [default: {DEFAULT_KEY_TYPE}]"
)
@click.option("--permit", multiple=True, metavar="NAME", help="A domain, address or network besides the local ones.")
@click.option("--unconstrained", is_flag=True, help="It may sign for any name on the internet. See below.")
@click.option("--passphrase", "ask", is_flag=True, help="Ask for a passphrase that protects the keys of a new one.")
@passphrase_option
@click.option("--renew", is_flag=True, help="Sign root and intermediate anew, with the keys that they have.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(
    *,
    certs: Path,
    key_type: KeyType | None,
    permit: tuple[str, ...],
    unconstrained: bool,
    ask: bool,
    passphrase_file: Path | None,
    renew: bool,
    as_json: bool,
) -> None:
    """Make the local certificate authority, or show the one there is."""
    if permit and unconstrained:
        raise click.UsageError("--unconstrained permits everything; --permit adds nothing to that")
    now = datetime.now(UTC)
    source = passphrase_source(passphrase_file)
    present = read_authority(certs, source)
    secret = given_passphrase(passphrase_file) if present is None else None
    if ask and present is None and secret is None:
        secret = click.prompt("New passphrase", hide_input=True, confirmation_prompt=True, err=True, type=str).encode()
    wish = AuthorityWish(key_type or DEFAULT_KEY_TYPE, permit, unconstrained, passphrase=secret)
    wish.constraints()  # before anything is made
    prepare_directory(certs)
    with locked(certs):
        present = read_authority(certs, source)
        if present is not None:
            _refuse_other_wishes(present, key_type, wish, renew=renew, ask=ask)
        if present is not None and renew:
            authority, did = renew_authority(certs, present, now, wish if permit or unconstrained else None), "renewed"
        else:
            authority = ensure_authority(certs, now, wish, source)
            did = "made" if present is None else "present"
            if present is not None and authority.certificate != present.certificate:
                did = "renewed"
    if as_json:
        click.echo(json.dumps(_facts(authority, did), indent=2))
    else:
        click.echo(_report(authority, did, now))
    if unconstrained and did != "present":
        click.echo(
            "warning: this authority may sign for any name on the internet. Whoever gets its key can pose as any site "
            "to everyone who trusts it.",
            err=True,
        )
    sys.exit(0)


def _refuse_other_wishes(
    authority: Authority, key_type: KeyType | None, wish: AuthorityWish, *, renew: bool, ask: bool
) -> None:
    """Errors: CertificateError if the authority there is is not what is asked for, and will not be."""
    where = str(authority.certificate_path)
    if key_type is not None and key_type_of(authority.certificate.public_key()) != key_type:
        kind = describe_key(authority.certificate.public_key())
        raise CertificateError(where, f"has an {kind} key, and keeps it; for another, take another folder: --certs")
    if ask:
        raise CertificateError(where, "is there already; a passphrase can be given only to the keys of a new authority")
    if renew:
        return
    has = constraints_of(authority.issuer.certificate)
    missing = not_permitted(has, wish.permit)
    if missing or (wish.unconstrained and has is not None):
        what = ", ".join(missing) if missing else "everything"
        raise CertificateError(
            where, f"is there already and may not sign for {what}; to sign it anew with the same key, add --renew"
        )


def _facts(authority: Authority, did: str) -> dict[str, Any]:
    return {
        "authority": did,
        "root": _signer_facts(authority.root),
        "intermediate": _signer_facts(authority.intermediate) if authority.intermediate is not None else None,
        "permitted": authority.limits.split(", ") if authority.limits else None,
    }


def _signer_facts(signer: Signer) -> dict[str, Any]:
    certificate = signer.certificate
    return {
        "certificate": str(signer.certificate_path),
        "key": str(signer.key_path),
        "key_state": _key_state(signer),
        "name": signer.name,
        "key_type": describe_key(certificate.public_key()),
        "sha256": fingerprint(certificate),
        "not_before": iso(certificate.not_valid_before_utc),
        "not_after": iso(certificate.not_valid_after_utc),
    }


def _key_state(signer: Signer) -> str:
    content = read_file(signer.key_path) if signer.key_path is not None else None
    if content is None:
        return "not here"
    return "passphrase" if has_passphrase(content) else "open"


_KEY_WORDS = {"open": "", "passphrase": "with a passphrase", "not here": "not here: it cannot sign"}


def _report(authority: Authority, did: str, now: datetime) -> str:
    bold = click.style(authority.root.name, bold=True)
    first = {"made": f"Made {bold}", "renewed": f"Renewed {bold}", "present": bold}[did]
    lines = [first, ""]
    for role, signer in (("root", authority.root), ("intermediate", authority.intermediate)):
        if signer is None:
            lines += ["  intermediate  none: this root allows none below it, and signs by itself", ""]
            continue
        end = signer.certificate.not_valid_after_utc
        state = _KEY_WORDS[_key_state(signer)]
        lines += [
            f"  {role.ljust(12)}  {signer.certificate_path}",
            f"  key           {signer.key_path}, {describe_key(signer.certificate.public_key())}"
            + (f", {state}" if state else ""),
            f"  expires       {end:%Y-%m-%d} ({time_left(end, now)})",
        ]
        if role == "root":
            lines.append(f"  SHA-256       {fingerprint(signer.certificate)}")
        lines.append("")
    limits = authority.limits or "every name on the internet"
    wrapped = textwrap.wrap(limits, 90)
    lines += [f"  may sign for  {wrapped[0]}", *(f"                {line}" for line in wrapped[1:])]
    if did != "present":
        lines += [
            "",
            f"Next: securelight certs trust{_where(authority)}, then: securelight certs issue{_where(authority)} NAME",
        ]
    return "\n".join(lines)


def _where(authority: Authority) -> str:
    folder = authority.certificate_path.parent
    return "" if str(folder) == "certs" else f" --certs {shlex.quote(str(folder))}"
