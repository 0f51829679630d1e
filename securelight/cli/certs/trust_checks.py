"""Real clients, asked over a real handshake whether they trust a server. Each answers yes, no, or that it cannot tell.

What a client says of an untrusted certificate is its own text, cut to one line; everything that a server sends is
thrown away.
"""

from __future__ import annotations

import ipaddress
import os
import re
import shutil
import socket
import ssl
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from securelight.model.errors import CertificateError
from securelight.pki.trust_commands import find_program, is_superuser, look, reason

if TYPE_CHECKING:
    from collections.abc import Sequence

    from securelight.pki.trust_java import JavaKeystore
    from securelight.pki.trust_nss import NssDatabase

CONNECT_SECONDS: Final = 15.0


@dataclass(frozen=True, slots=True)
class Target:
    """A server.

    Args:
        host: a name or an address, without brackets.
        port: its TCP port.
    """

    host: str
    port: int

    @property
    def url(self) -> str:
        """Of its first page."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"https://{host}/" if self.port == 443 else f"https://{host}:{self.port}/"

    @property
    def is_address(self) -> bool:
        """Whether the host is an IP address."""
        try:
            ipaddress.ip_address(self.host)
        except ValueError:
            return False
        return True


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a client makes of a server's certificate.

    Args:
        trusted: None if that could not be found out.
        by: what made the connection.
        detail: why not, in the client's words.
    """

    trusted: bool | None
    by: str
    detail: str = ""


def presented_chain(target: Target) -> list[bytes]:
    """The certificates that a server shows, as DER, whatever they are worth.

    Errors: OSError (ssl.SSLError among them).
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with (
        socket.create_connection((target.host, target.port), timeout=CONNECT_SECONDS) as raw,
        context.wrap_socket(raw, server_hostname=target.host) as secured,
    ):
        public = getattr(secured, "get_unverified_chain", None)
        if public is not None:
            return list(public())
        # Before Python 3.13, only the object behind it has the whole chain.
        inner = getattr(getattr(secured, "_sslobj", None), "get_unverified_chain", None)
        if inner is not None:
            return [ssl.PEM_cert_to_DER_cert(certificate.public_bytes()) for certificate in inner() or ()]
        leaf = secured.getpeercert(binary_form=True)
        return [leaf] if leaf else []


def ask_python(target: Target, bundle: Path | None = None) -> Verdict:
    """Python's ssl, with its own defaults or with one bundle alone."""
    by = "a handshake with Python's ssl"
    try:
        context = ssl.create_default_context(cafile=None if bundle is None else str(bundle))
    except OSError as error:
        return Verdict(None, by, f"{bundle}: {error.strerror or error}")
    try:
        with (
            socket.create_connection((target.host, target.port), timeout=CONNECT_SECONDS) as raw,
            context.wrap_socket(raw, server_hostname=target.host),
        ):
            return Verdict(True, by)
    except ssl.SSLCertVerificationError as error:
        return Verdict(False, by, error.verify_message)
    except OSError as error:
        return Verdict(None, by, error.strerror or str(error))


def ask_curl(target: Target) -> Verdict:
    """Curl with its own defaults."""
    done = look("curl", "-sS", "--head", "-o", os.devnull, "--noproxy", "*", "--max-time", "15", target.url)
    said = reason(done.stderr).removeprefix("curl: ")
    # 60: the peer's certificate cannot be verified; 77: our own bundle cannot be read. 8, 22 and 52 come after TLS.
    return Verdict({0: True, 8: True, 22: True, 52: True, 60: False, 77: False}.get(done.returncode), "curl", said)


def ask_wget(target: Target) -> Verdict:
    """GNU Wget with its own defaults."""
    done = look("wget", "-nv", "--spider", "--no-proxy", "--tries=1", "--timeout=15", target.url)
    if done.returncode in (0, 8):  # 8: an answer that is an error, after TLS
        return Verdict(True, "wget")
    return Verdict(False if done.returncode == 5 else None, "wget", reason(done.stderr))


def ask_openssl(target: Target) -> Verdict:
    """`openssl s_client` with its own defaults."""
    flag = "-verify_ip" if target.is_address else "-verify_hostname"
    server_name = () if target.is_address else ("-servername", target.host)
    host = f"[{target.host}]" if ":" in target.host else target.host
    done = look(
        "openssl", "s_client", "-connect", f"{host}:{target.port}", *server_name, flag, target.host, "-verify", "8"
    )
    lines = done.stdout.decode(errors="replace").splitlines()
    code = next((line.partition("code: ")[2] for line in lines if "Verify return code: " in line), "")
    if not code:
        return Verdict(None, "openssl s_client", reason(done.stderr))
    return Verdict(code.startswith("0 "), "openssl s_client", "" if code.startswith("0 ") else code)


def ask_git(target: Target) -> Verdict:
    """Git, which on Debian speaks TLS through GnuTLS."""
    # Whoever asks for a password is not to ask a person.
    quiet = {"GIT_TERMINAL_PROMPT": "0", "GIT_ASKPASS": "true", "NO_PROXY": "*", "LC_ALL": "C"}
    done = look("git", "-c", "credential.helper=", "ls-remote", target.url, environment=quiet)
    said = done.stderr.decode(errors="replace")
    if "certificate" in said or "SSL peer" in said:
        return Verdict(False, "git", reason(done.stderr).removeprefix("fatal: "))
    connected = any(
        words in said for words in ("not found", "not valid", "Authentication", "returned error", "expected")
    )
    return Verdict(True if connected or done.returncode == 0 else None, "git", "" if connected else reason(done.stderr))


_NODE = """
require("https").get(process.argv[1], answer => { answer.resume(); console.log("OK"); process.exit(0) })
  .on("error", error => { console.log(error.code + " " + error.message); process.exit(1) })
"""


def ask_node(target: Target) -> Verdict:
    """Node.js, which brings roots of its own."""
    done = look("node", "-e", _NODE, target.url)
    said = reason(done.stdout)
    if said == "OK":
        return Verdict(True, "node")
    marks = ("CERT", "SELF_SIGNED", "UNABLE_TO", "ISSUER", "ALTNAME", "certificate")
    return Verdict(False if any(mark in said for mark in marks) else None, "node", said or reason(done.stderr))


def ask_java(target: Target, keystore: JavaKeystore) -> Verdict:
    """Java with this keystore. Its keytool fetches a revocation list over HTTPS, which no Java lacks; there is none
    behind the URL, and the complaint about that comes after the handshake.
    """
    by = "a handshake with Java"
    done = look(
        keystore.keytool, "-J-Duser.language=en", f"-J-Djavax.net.ssl.trustStore={keystore.path}",
        "-J-Djava.net.useSystemProxies=false", "-printcrl", "-file", target.url,
    )  # fmt: skip
    said = (done.stdout + done.stderr).decode(errors="replace")
    if "SSL" in said or "CertificateException" in said or "PKIX" in said:
        return Verdict(False, by, reason(done.stdout).rpartition(": ")[2])
    # A page that is not there is told with its URL; the same error with a mangled one means that it was never asked.
    if "CRL" in said.replace("-printcrl", "") or target.url.rstrip("/") in said:
        return Verdict(True, by)
    return Verdict(None, by, reason(done.stdout))


NSS_TOOL_FOLDERS: Final = ("/usr/lib64/nss/unsupported-tools", "/usr/lib/nss/unsupported-tools", "/usr/lib/nss")
"""Where distributions hide vfyserv."""


def ask_nss(target: Target, database: NssDatabase, chain: Sequence[bytes]) -> Verdict:
    """NSS with this database: vfyserv makes a connection; where it is missing, certutil judges the chain by itself.

    Args:
        target: the server.
        database: whose roots count.
        chain: what the server shows.
    """
    tool = find_program("vfyserv") or next(
        (f"{folder}/vfyserv" for folder in NSS_TOOL_FOLDERS if os.access(f"{folder}/vfyserv", os.X_OK)), None
    )
    if tool is None:
        return judge_with_certutil(database, chain)
    by = "a handshake with NSS"
    done = look(tool, "-d", database.argument, "-p", str(target.port), target.host)
    said = (done.stdout + done.stderr).decode(errors="replace")
    if "Handshake Complete" in said:
        return Verdict(True, by)
    why = next((line.strip() for line in said.splitlines() if "ERROR " in line), "")
    return Verdict(False if why else None, by, why.partition(": ")[2] or why or reason(done.stderr))


def judge_with_certutil(database: NssDatabase, chain: Sequence[bytes]) -> Verdict:
    """`certutil -V` on a copy of the database, to which the server's chain is added: the original stays as it is."""
    by = "certutil -V"
    with tempfile.TemporaryDirectory(prefix="securelight-") as folder:
        for name in ("cert9.db", "key4.db", "pkcs11.txt"):
            if (database.path / name).is_file():
                shutil.copyfile(database.path / name, Path(folder) / name)
        for number, certificate in enumerate(chain):
            file = Path(folder) / f"{number}.der"
            file.write_bytes(certificate)
            done = look("certutil", "-A", "-d", f"sql:{folder}", "-t", ",,", "-n", f"probe-{number}", "-i", str(file))
            if done.returncode != 0:
                return Verdict(None, by, reason(done.stderr))
        done = look("certutil", "-V", "-d", f"sql:{folder}", "-u", "V", "-n", "probe-0")
    return Verdict(done.returncode == 0, by, "" if done.returncode == 0 else reason(done.stderr + done.stdout))


CHROMIUM_PROGRAMS: Final = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_CHROMIUM_FAULT: Final = re.compile(r"\b(?:net::)?(ERR_[A-Z0-9_]{3,60})\b")


def ask_chromium(target: Target) -> Verdict:
    """A headless Chromium with a profile of its own, and the roots of the user's."""
    by = "a page in headless Chromium"
    program = next(filter(None, map(shutil.which, CHROMIUM_PROGRAMS)), None)
    if program is None:
        raise CertificateError("chromium", "is not installed")
    with tempfile.TemporaryDirectory(prefix="securelight-", ignore_cleanup_errors=True) as profile:
        done = look(
            program, "--headless", "--disable-gpu", "--disable-quic", "--no-proxy-server", "--no-first-run",
            "--disable-component-update", "--disable-background-networking", f"--user-data-dir={profile}",
            # Its sandbox does not run as root.
            *(("--no-sandbox",) if is_superuser() else ()), "--dump-dom", target.url,
        )  # fmt: skip
    page = done.stdout.decode(errors="replace")
    # Newer ones say it on standard error and show no page, older ones show a page that says it.
    fault = _CHROMIUM_FAULT.search(done.stderr.decode(errors="replace") + page)
    if fault is not None:
        return Verdict(False if fault[1].startswith("ERR_CERT_") else None, by, fault[1])
    return Verdict(True, by) if page.strip() else Verdict(None, by, "no page was shown")
