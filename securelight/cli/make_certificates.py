"""Make or renew this machine's certificates: `python -m securelight.cli.make_certificates --directory certs`.

Not a command that people type: `serve` runs it as a child process, so that `cryptography` (9 MB) is never loaded by a
process that serves. Prints what there is now, as text or with --json as one object; a fault is one line on standard
error and exit status 1.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from securelight.model.errors import CertificateError
from securelight.pki.inspect import fingerprint
from securelight.pki.local_certificates import LocalCertificates, ensure_local_certificates
from securelight.pki.trust_stores import SystemTrust, system_trust

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime


def describe(made: LocalCertificates, trust: SystemTrust) -> dict[str, Any]:
    """The report as plain data; times in UTC, ISO 8601; paths as the directory was given."""
    authority, leaf = made.authority, made.leaf
    return {
        "authority": {
            "certificate": str(authority.certificate_path),
            "key": str(authority.key_path),
            "name": authority.certificate.subject.rfc4514_string(),
            "sha256": fingerprint(authority.certificate),
            "not_after": _time(authority.not_after),
            "created": authority.created,
        },
        "leaf": {
            "chain": str(leaf.chain_path),
            "key": str(leaf.key_path),
            "names": list(leaf.names),
            "not_after": _time(leaf.certificate.not_valid_after_utc),
            "created": leaf.created,
        },
        "left_out": list(made.left_out),
        "system_trust": {"trusted": trust.trusted, "store": trust.store, "command": trust.command},
    }


def _time(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def _text(report: dict[str, Any]) -> str:
    authority, leaf, trust = report["authority"], report["leaf"], report["system_trust"]
    lines = [
        f"{'Made' if authority['created'] else 'Found'} the local authority {authority['certificate']}, "
        f"valid until {authority['not_after'][:10]}",
        f"  SHA-256 {authority['sha256']}",
        f"{'Made' if leaf['created'] else 'Found'} the certificate {leaf['chain']}, "
        f"valid until {leaf['not_after'][:10]}",
        f"  for {', '.join(leaf['names'])}",
    ]
    if report["left_out"]:
        lines.append(
            f"  not for {', '.join(report['left_out'])}: the authority was made when this machine had another name"
        )
    if trust["trusted"]:
        lines.append(f"This machine trusts it ({trust['store']}).")
    elif trust["command"]:
        lines.append(f"This machine does not trust it yet. To change that:\n  {trust['command']}")
    else:
        lines.append("This machine has no trust store that we know of.")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run with command line `arguments`; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m securelight.cli.make_certificates", description=__doc__)
    parser.add_argument("--directory", type=Path, required=True, help="where the files are, or will be")
    parser.add_argument("--name", action="append", default=[], help="a further name or address; may be repeated")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args(arguments)
    try:
        made = ensure_local_certificates(options.directory, options.name)
        report = describe(made, system_trust(made.authority.certificate_path))
    except CertificateError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write(f"{json.dumps(report) if options.json else _text(report)}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
