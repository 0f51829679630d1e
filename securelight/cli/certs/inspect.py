"""`securelight certs inspect`: a readable report of a certificate file, or of what a server shows."""

from __future__ import annotations

import dataclasses
import json
import select
import socket
import ssl
import sys
import textwrap
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar
from urllib.parse import urlsplit

import click

from securelight.cli.certs.options import iso, time_left
from securelight.config.faults import printable
from securelight.model.errors import CertificateError
from securelight.pki.chain_facts import CertificateFacts, facts_of, load_chain, load_roots
from securelight.pki.chain_faults import Fault, chain_faults
from securelight.pki.key_files import read_file
from securelight.pki.trust_system import bundles

if TYPE_CHECKING:
    from collections.abc import Callable

EXIT_REFUSED: Final = 3
SECONDS: Final = 15.0
"""For one connection, from its first packet to the end of the handshake."""
NAMES_SHOWN: Final = 20
TEXT_CHARACTERS: Final = 300
"""Of one value from a certificate on the terminal."""

EXAMPLES = """\b
Examples:
  securelight certs inspect certs/localhost.pem
  securelight certs inspect https://localhost:8443/
  securelight certs inspect example.org:443 --json
  securelight certs inspect chain.pem --host shop.test --ca certs/ca.pem

Trusted roots are those of this machine's store and the ones in --ca. Of a server, the whole chain is read
without a judgement first; then Python's ssl is asked, as it would be by any program.

\b
Exit codes: 0 nothing speaks against it, 1 it cannot be read, 2 wrong usage, 3 clients would refuse it.
"""


_Result = TypeVar("_Result")


class Shown(NamedTuple):
    """What a server shows."""

    chain: list[bytes]
    """DER, the server's own first."""
    version: str
    cipher: str
    protocol: str
    """ALPN."""
    verdict: str
    """What Python's ssl says of it, with the system's roots; "" if it is content."""


@click.command(epilog=EXAMPLES, short_help="Read a certificate, and why clients would refuse it.")
@click.argument("what", metavar="FILE|URL")
@click.option("--host", metavar="NAME", help="The host that clients ask for.  [default: that of the URL]")
@click.option("--ca", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE", help="Further roots to trust.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(*, what: str, host: str | None, ca: Path | None, as_json: bool) -> None:
    """Read a chain of certificates from a file or a server, and say why clients would refuse it."""
    now = datetime.now(UTC)
    shown: Shown | None = None
    if Path(what).is_file():
        chain = load_chain(read_file(Path(what)) or b"", what)
    else:
        name, port = _address(what)
        shown = look(name, port, ca)
        host = host or name
        chain = [load_chain(der, what)[0] for der in shown.chain]
    extra = load_chain(read_file(ca) or b"", str(ca)) if ca is not None else []
    roots = load_roots(bundles()[:1]) + extra
    facts = [facts_of(certificate, what) for certificate in chain]
    faults = [] if facts[0].is_ca and shown is None else chain_faults(chain, host, now, roots)
    refused = any(fault.clients for fault in faults) or bool(shown and shown.verdict)
    if as_json:
        click.echo(json.dumps(_data(what, facts, faults, shown), indent=2))
    else:
        click.echo(_text(facts, faults, shown, now))
    sys.exit(EXIT_REFUSED if refused else 0)


def _address(what: str) -> tuple[str, int]:
    """Host and port of a URL, or of `host:port`.

    Errors: CertificateError.
    """
    try:
        parts = urlsplit(what if "://" in what else f"//{what}")
        host, port = parts.hostname, parts.port or 443
    except ValueError:
        host, port = None, 0
    if not host or parts.scheme not in ("", "https") or ("://" not in what and ("/" in what or what.endswith(".pem"))):
        raise CertificateError(what, "is neither a file nor a URL such as https://localhost:8443/")
    return host, port


def look(host: str, port: int, ca: Path | None) -> Shown:
    """Connect twice: to see everything, and to hear what Python makes of it.

    Errors: CertificateError if there is no server that speaks TLS.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_ciphers("ALL:@SECLEVEL=0")  # to look at weak ones as well, not to trust them
    context.set_alpn_protocols(["h2", "http/1.1"])
    where = f"{host}:{port}"

    def read(secured: ssl.SSLSocket) -> Shown:
        cipher = secured.cipher()
        protocol = secured.selected_alpn_protocol() or "none"
        return Shown(_chain_of(secured), secured.version() or "", cipher[0] if cipher else "", protocol, "")

    try:
        seen = _connected(host, port, context, read)
    except OSError as error:
        raise CertificateError(where, f"no TLS server could be looked at: {_reason(error)}") from error
    try:
        judge = ssl.create_default_context()
        if ca is not None:
            judge.load_verify_locations(ca)
        _connected(host, port, judge, lambda _secured: None)
    except ssl.SSLCertVerificationError as error:
        return seen._replace(verdict=error.verify_message)
    except OSError as error:
        return seen._replace(verdict=_reason(error))
    return seen


def _connected(host: str, port: int, context: ssl.SSLContext, use: Callable[[ssl.SSLSocket], _Result]) -> _Result:
    """Errors: OSError, TimeoutError among them."""
    deadline = time.monotonic() + SECONDS
    with socket.create_connection((host, port), timeout=SECONDS) as raw:
        raw.setblocking(False)
        with context.wrap_socket(raw, server_hostname=host, do_handshake_on_connect=False) as secured:
            while True:
                # A server that sends a byte now and then does not get more time.
                left = deadline - time.monotonic()
                if left <= 0:
                    raise TimeoutError(f"the handshake took longer than {SECONDS:g} seconds")
                try:
                    secured.do_handshake()
                    break
                except ssl.SSLWantReadError:
                    select.select([secured], [], [], left)
                except ssl.SSLWantWriteError:
                    select.select([], [secured], [], left)
            return use(secured)


def _chain_of(secured: ssl.SSLSocket) -> list[bytes]:
    public = getattr(secured, "get_unverified_chain", None)
    if public is not None:  # since Python 3.13
        return list(public())
    internal: Any = getattr(secured, "_sslobj", None)
    if hasattr(internal, "get_unverified_chain"):
        return [ssl.PEM_cert_to_DER_cert(one.public_bytes()) for one in internal.get_unverified_chain() or ()]
    leaf = secured.getpeercert(binary_form=True)
    return [leaf] if leaf else []


def _reason(error: OSError) -> str:
    return printable(str(error.strerror or error), TEXT_CHARACTERS)


def _text(facts: list[CertificateFacts], faults: list[Fault], shown: Shown | None, now: datetime) -> str:
    lines: list[str] = []
    if shown is not None:
        lines += [f"{shown.version}, {shown.cipher}, ALPN {shown.protocol}", ""]
    for number, one in enumerate(facts):
        role = "authority" if one.is_ca else "certificate"
        role = "root" if one.is_ca and one.self_signed else role
        lines += [click.style(f"{number + 1}. {role} {_safe(one.subject) or '(no subject)'}", bold=True)]
        lines += _lines(one, now)
        lines.append("")
    minded = [fault for fault in faults if fault.clients]
    if shown is not None:
        verdict = f"refuses it: {shown.verdict}" if shown.verdict else "accepts it"
        lines.append(f"Python's ssl on this machine {verdict}.")
    if facts[0].is_ca and shown is None:
        lines.append("An authority's: nothing is said of it as a server's certificate.")
    elif not minded:
        lines.append(click.style("Nothing in it speaks against it.", fg="green"))
    else:
        lines.append(click.style("Clients would refuse it:", fg="red"))
    for fault in [*minded, *(fault for fault in faults if not fault.clients)]:
        who = ", ".join(fault.clients) if fault.clients else "note"
        lines += textwrap.wrap(f"{who}: {_safe(fault.what)}", 100, initial_indent="  - ", subsequent_indent="    ")
    return "\n".join(lines)


def _lines(one: CertificateFacts, now: datetime) -> list[str]:
    rows = [
        ("issuer", "itself" if one.self_signed else _safe(one.issuer)),
        ("valid", f"{one.not_before:%Y-%m-%d %H:%M} to {one.not_after:%Y-%m-%d %H:%M} UTC ("
                  + ("expired " if one.not_after <= now else "expires ") + f"{time_left(one.not_after, now)})"),
        ("key", f"{one.key_type}; {', '.join(one.key_usage) or 'any use'}"),
        ("signature", one.signature),
        ("serial", one.serial),
        ("SHA-256", one.sha256),
    ]  # fmt: skip
    if one.names:
        more = f" and {len(one.names) - NAMES_SHOWN} more" if len(one.names) > NAMES_SHOWN else ""
        rows.insert(1, ("names", ", ".join(_safe(name) for name in one.names[:NAMES_SHOWN]) + more))
    if one.extended_key_usage:
        rows.append(("purpose", ", ".join(one.extended_key_usage)))
    if one.is_ca:
        length = "any number of" if one.path_length is None else str(one.path_length)
        rows.append(("authorities", f"{length} below it"))
        rows.append(("may sign for", "every name" if one.permitted is None else _safe(", ".join(one.permitted))))
    if one.excluded:
        rows.append(("but not for", _safe(", ".join(one.excluded))))
    rows += [("SCT", f"log {proof.log[:16]}..., {proof.at:%Y-%m-%d %H:%M} UTC") for proof in one.log_proofs]
    lines = []
    for label, value in rows:
        wrapped = textwrap.wrap(value, 96) or [""]
        lines.append(f"   {label.ljust(13)} {wrapped[0]}")
        lines += [f"{' ' * 17}{line}" for line in wrapped[1:]]
    return lines


def _safe(text: str) -> str:
    return printable(text, 2000)


def _data(what: str, facts: list[CertificateFacts], faults: list[Fault], shown: Shown | None) -> dict[str, Any]:
    def plain(value: Any) -> Any:
        if isinstance(value, datetime):
            return iso(value)
        if isinstance(value, dict):
            return {key: plain(one) for key, one in value.items()}
        return [plain(one) for one in value] if isinstance(value, (list, tuple)) else value

    server = None
    if shown is not None:
        server = {"tls": shown.version, "cipher": shown.cipher, "alpn": shown.protocol, "python": shown.verdict or "ok"}
    return {
        "what": what,
        "server": server,
        "chain": [plain(dataclasses.asdict(one)) for one in facts],
        "faults": [plain(dataclasses.asdict(fault)) for fault in faults],
    }
