"""`securelight version`: what is installed, which engine runs, and what TLS can and cannot do here."""

from __future__ import annotations

import importlib.metadata
import json
import platform
import ssl
from typing import Any, Final

import click

import securelight
from securelight.model.extras import install_command
from securelight.protocol.engine import native_available
from securelight.tls.policy import POLICIES

ADAPTERS: Final = {"HTTP/1.1": ("httptools", "h11"), "HTTP/2": ("ngh2", "h2")}
"""The package behind each adapter, the native one first."""
IMPOSSIBLE: Final = ("OCSP stapling", "Encrypted Client Hello (ECH)", "0-RTT", "rotating ticket keys by hand")
"""What Python's ssl module has no door to."""
_POST_QUANTUM_FROM: Final = (3, 5)
"""The OpenSSL version that offers X25519MLKEM768 by default."""


def installed_version(package: str) -> str | None:
    """The version of an installed package; None if it is not there. Does not import it."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def facts() -> dict[str, Any]:
    """All that the command prints."""
    return {
        "securelight": securelight.__version__,
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        "openssl": ssl.OPENSSL_VERSION,
        "trio": installed_version("trio"),
        "engine": "native" if native_available() else "pure",
        "adapters": {
            protocol: {package: installed_version(package) for package in packages}
            for protocol, packages in ADAPTERS.items()
        },
        "tls": {
            "lowest_version": {name: _version_name(policy.minimum_version) for name, policy in POLICIES.items()},
            "post_quantum": ssl.OPENSSL_VERSION_INFO[:2] >= _POST_QUANTUM_FROM,
            "not_possible": IMPOSSIBLE,
        },
    }


def _version_name(version: ssl.TLSVersion) -> str:
    return version.name.replace("TLSv", "TLS ").replace("_", ".")


def _lines(known: dict[str, Any]) -> list[tuple[str, str]]:
    policies = ", ".join(f"{name} from {version} on" for name, version in known["tls"]["lowest_version"].items())
    post_quantum = "X25519MLKEM768" if known["tls"]["post_quantum"] else "no (OpenSSL 3.5 or newer has it)"
    engine = known["engine"]
    advice = "" if engine == "native" else f" (slow; for the fast one: {install_command('fast')})"
    rows = [
        ("Python", f"{known['python']} on {known['platform']}"),
        ("OpenSSL", known["openssl"].removeprefix("OpenSSL ")),
        ("Trio", known["trio"] or "not installed"),
        ("Engine", f"auto takes {engine}{advice}"),
    ]
    for protocol, packages in known["adapters"].items():
        found = (f"{package} {version or 'not installed'}" for package, version in packages.items())
        rows.append((protocol, ", ".join(found)))
    rows += [
        ("TLS policies", f"{policies}; up to TLS 1.3"),
        ("Post-quantum", post_quantum),
        ("Not possible", f"{', '.join(known['tls']['not_possible'])}: Python's ssl has no way to them"),
    ]
    return rows


@click.command(
    epilog="\b\nExamples:\n  securelight version\n  securelight version --json    for scripts and bug reports"
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(*, as_json: bool) -> None:
    """Show versions, the engines found, and what TLS can do here."""
    known = facts()
    if as_json:
        click.echo(json.dumps(known, indent=2))
        return
    click.echo(f"securelight {known['securelight']}")
    rows = _lines(known)
    width = max(len(name) for name, _ in rows)
    for name, value in rows:
        click.echo(f"  {click.style(name.ljust(width), dim=True)}  {value}")
