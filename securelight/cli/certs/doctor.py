"""`securelight certs doctor`: every client of this machine is sent to the server, and says whether it trusts it.

Finds out before it advises: what the server shows, whether the authority signed it, and only then who knows the
authority. A client that cannot be asked is told as such, and is no failure.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import ssl
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import click

from securelight.cli.certs import trust_checks
from securelight.cli.certs.trust_checks import Target, Verdict, presented_chain
from securelight.cli.certs.trust_steps import ask
from securelight.model.errors import CertificateError
from securelight.pki.authority import CERTIFICATE_FILE
from securelight.pki.inspect import describe_chain
from securelight.pki.trust_root import Root, read_root
from securelight.pki.trust_stores import find_stores
from securelight.pki.trust_system import bundles

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from securelight.pki.inspect import CertificateReport

DEFAULT_PORT: Final = 8443
AT_ONCE: Final = 4
"""Clients that are asked at the same time: each is a process, a browser several."""
EXIT_UNREACHABLE: Final = 3

EXAMPLES: Final = """\b
Examples:
  securelight certs doctor                       the server that runs from this folder, else port 8443
  securelight certs doctor https://shop.test/    another one
  securelight certs doctor --json                for scripts

Asked are, where they are installed: the system's store, Python, OpenSSL, curl, wget, Git, Node.js, the roots of
certifi, every Java keystore, every NSS database (Firefox, Chromium), and a headless Chromium.

Exit codes: 0 all of them trust the server, 1 some do not, 2 wrong usage, 3 the server cannot be reached.
"""


@dataclass(frozen=True, slots=True)
class Client:
    """One that is asked.

    Args:
        name: for people.
        ask: makes the connection.
        cure: what to do if it does not know the authority.
    """

    name: str
    ask: Callable[[], Verdict]
    cure: str


@click.command(epilog=EXAMPLES, short_help="Ask every client of this machine whether it trusts the server.")
@click.argument("url", required=False)
@click.option("--certs", type=click.Path(path_type=Path), default=Path("certs"), show_default=True,
              help="The folder of the authority.")  # fmt: skip
@click.option("--browser/--no-browser", default=True, show_default=True, help="Start a headless Chromium too.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(*, url: str | None, certs: Path, browser: bool, as_json: bool) -> None:
    """Connect to the server at URL with each trust store of this machine: who trusts it, and what to do."""
    target = parse_target(url) if url is not None else default_target(certs)
    try:
        chain = presented_chain(target)
    except OSError as error:
        _unreachable(target, error, as_json=as_json)
    authority = _authority(certs)
    server = _server_facts(target, chain, authority)
    clients = find_clients(target, chain, authority, certs, browser=browser)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        verdicts = list(pool.map(_ask, clients))
    signed = server["signed_by_the_authority"]
    rows = [
        {
            "client": client.name,
            "trusts": verdict.trusted,
            "detail": verdict.detail,
            "cure": client.cure if verdict.trusted is False and signed else "",
        }
        for client, verdict in zip(clients, verdicts, strict=True)
    ]
    refused = any(verdict.trusted is False for verdict in verdicts)
    report = {"url": target.url, "server": server, "clients": rows, "trusted_by_all": not refused}
    click.echo(json.dumps(report, indent=2) if as_json else text(report))
    sys.exit(1 if refused else 0)


def parse_target(url: str) -> Target:
    """A server from `https://host:port/...`, `host:port` or `host`.

    Errors: click.UsageError.
    """
    try:
        parts = urlsplit(url if "://" in url else f"https://{url}")
        port = parts.port
        (parts.hostname or "").encode("idna")  # as sockets do, which say so much later
    except ValueError as error:
        raise click.UsageError(f"{url}: {error}") from error
    if parts.scheme != "https" or not parts.hostname:
        raise click.UsageError(f"{url}: not a URL that begins with https://, and no HOST:PORT")
    return Target(parts.hostname, 443 if port is None else port)


def default_target(certs: Path) -> Target:
    """The server that `securelight serve` runs with these certificates, or would."""
    ports = [int(port) for path in certs.glob("serve-*.sock") if (port := path.stem.removeprefix("serve-")).isdecimal()]
    return Target("localhost", ports[0] if len(ports) == 1 else DEFAULT_PORT)


def _unreachable(target: Target, error: OSError, *, as_json: bool) -> None:
    if isinstance(error, ssl.SSLError):
        why = f"what answers there does not speak TLS as we do: {error.reason or error}"
    elif isinstance(error, ConnectionRefusedError):
        why = "nobody listens there; start the server (securelight serve), or give its URL"
    else:
        why = error.strerror or str(error)
    if as_json:
        click.echo(json.dumps({"url": target.url, "error": why}, indent=2))
    else:
        click.echo(f"{target.url}: {why}", err=True)
    sys.exit(EXIT_UNREACHABLE)


def _authority(certs: Path) -> Root | None:
    """None if there is none: the server's certificate may come from somewhere else, and its clients be right."""
    try:
        return read_root(certs / CERTIFICATE_FILE)
    except CertificateError:
        return None


def _server_facts(target: Target, chain: Sequence[bytes], authority: Root | None) -> dict[str, Any]:
    faults = []
    leaf: CertificateReport | None = None
    try:
        leaf = describe_chain("".join(map(ssl.DER_cert_to_PEM_cert, chain)).encode(), target.url)
    except CertificateError as error:
        faults.append(error.what)
    signed, why = None, ""
    if authority is not None:
        verdict = trust_checks.ask_python(target, authority.path)
        signed, why = verdict.trusted, verdict.detail
    if leaf is not None:
        if not leaf.covers(target.host):
            faults.append(f"the certificate is not for {target.host}, but for {', '.join(leaf.names) or 'no name'}")
        if leaf.days_left() < 0:
            faults.append(f"the certificate expired on {leaf.not_after:%Y-%m-%d}; securelight serve makes a new one")
    if signed is False and not faults:
        faults.append(f"{authority.path if authority else ''} did not sign this certificate ({why})")
    return {
        "subject": leaf.subject if leaf else "",
        "issuer": leaf.issuer if leaf else "",
        "names": list(leaf.names) if leaf else [],
        "not_after": leaf.not_after.strftime("%Y-%m-%dT%H:%M:%SZ") if leaf else "",
        "days_left": int(leaf.days_left()) if leaf else None,
        "authority": str(authority.path) if authority else "",
        "signed_by_the_authority": signed,
        "faults": faults,
    }


def find_clients(
    target: Target, chain: Sequence[bytes], authority: Root | None, certs: Path, *, browser: bool
) -> list[Client]:
    """Every client that is here."""
    where = "" if certs == Path("certs") else f" --certs {certs}"

    def trust(kind: str) -> str:
        return f"securelight certs trust --store {kind}{where}"

    def export(name: str) -> str:
        return f"securelight certs export --for {name}{where}"

    clients = []
    for store in find_stores():
        problem = store.obstacle() if store.kind == "nss" else ""
        if store.kind == "nss" and not (store.path / "cert9.db").is_file():
            continue
        asked = partial(ask, store, target, authority)
        clients.append(Client(f"{store.name}: {store.path}", asked, problem or trust(store.kind)))
    clients.append(Client("Python's ssl (this one)", partial(trust_checks.ask_python, target), _python_cure(trust)))
    certifi = importlib.util.find_spec("certifi")
    if certifi is not None and certifi.origin is not None:
        bundle = Path(os.environ.get("REQUESTS_CA_BUNDLE") or Path(certifi.origin).with_name("cacert.pem"))
        asked = partial(trust_checks.ask_python, target, bundle)
        clients.append(Client(f"requests: {bundle}", asked, export("python-requests")))
    programs = (
        ("openssl", trust_checks.ask_openssl, trust("system")),
        ("curl", trust_checks.ask_curl, _overridden("CURL_CA_BUNDLE", "SSL_CERT_FILE") or trust("system")),
        ("wget", trust_checks.ask_wget, trust("system")),
        ("git", trust_checks.ask_git, _overridden("GIT_SSL_CAINFO") or trust("system")),
        ("node", trust_checks.ask_node, export("node")),
    )
    clients += [Client(name, partial(check, target), cure) for name, check, cure in programs if shutil.which(name)]
    if browser and any(map(shutil.which, trust_checks.CHROMIUM_PROGRAMS)):
        clients.append(Client("Chromium, headless", partial(trust_checks.ask_chromium, target), trust("nss")))
    return clients


def _python_cure(trust: Callable[[str], str]) -> str:
    overridden = _overridden("SSL_CERT_FILE", "SSL_CERT_DIR")
    paths = ssl.get_default_verify_paths()
    if not overridden and not (paths.cafile or paths.capath):
        return f"this Python looks for roots in {paths.openssl_cafile}, where nothing is: set SSL_CERT_FILE"
    return overridden or trust("system")


def _overridden(*names: str) -> str:
    """Why a client does not even look into the system's store."""
    system = {place for bundle in bundles() for place in (bundle.resolve(), bundle.resolve().parent)}
    name = next((name for name in names if os.environ.get(name)), "")
    if not name or Path(os.environ[name]).resolve() in system:
        return ""
    return f"{name} is set to {os.environ[name]}: unset it, or add the authority there"


def _ask(client: Client) -> Verdict:
    try:
        return client.ask()
    except (CertificateError, OSError) as error:
        return Verdict(None, client.name, str(error))


def text(report: dict[str, Any]) -> str:
    """The report for people."""
    server, rows = report["server"], report["clients"]
    lines = [click.style(report["url"], bold=True)]
    if server["not_after"]:
        lines.append(f"  certificate for {', '.join(server['names']) or 'no name'}")
        lines.append(f"  until {server['not_after'][:10]}, signed by {server['issuer']}")
    lines += [click.style(f"  {fault}", fg="red") for fault in server["faults"]]
    lines.append("")
    width = max(len(row["client"]) for row in rows)
    marks = {True: ("trusts it", "green"), False: ("REFUSES", "red"), None: ("not asked", "yellow")}
    for row in rows:
        mark, colour = marks[row["trusts"]]
        detail = f"  {row['detail']}" if row["detail"] and row["trusts"] is not True else ""
        lines.append(f"  {row['client'].ljust(width)}  {click.style(mark.ljust(9), fg=colour)}{detail}")
    cures = list(dict.fromkeys(row["cure"] for row in rows if row["cure"]))
    if cures:
        lines += ["", "What to do:", *(f"  {cure}" for cure in cures)]
    elif not report["trusted_by_all"]:
        known = server["signed_by_the_authority"]
        advice = (
            "There is no authority in this folder to compare with: name it with --certs."
            if known is None
            else "Trusting the authority would not help while the server's certificate is at fault (see above)."
        )
        lines += ["", advice]
    return "\n".join(lines)
