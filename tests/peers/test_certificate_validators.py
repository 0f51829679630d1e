"""What others make of our certificates: chains that we issue are accepted, and the authority's limits bite.

Whoever has stolen the key of the authority does not ask whether he may sign. So each validator gets two kinds of
leaves: those that we would issue, and those that a thief signs for names on the internet.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from securelight.pki.authority import Authority
from securelight.pki.issue import Wish, issue
from tests.certificates import TestCertificates
from tests.wire.server_process import ServerProcess, serving, write_config

if TYPE_CHECKING:
    from collections.abc import Iterator

    from securelight.pki.key_types import KeyType

pytestmark = pytest.mark.peer

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome") or ""
LINTER = Path(sys.executable).with_name("lint_pkix_cert")
SECONDS = 60
PAGE_SECONDS = 30

GOOD = {
    "host": ("www.a.test",),
    "wildcard": ("a.test", "*.a.test"),
    "address": ("localhost", "127.0.0.1", "::1", "10.1.2.3"),
    "mixed": ("a.test", "alice@a.test", "spiffe://a.test/shop"),
}
STOLEN = {
    "stolen-host": ("www.example.com",),
    "stolen-beside": ("www.a.test", "www.example.com"),
    "stolen-address": ("8.8.8.8",),
    "stolen-mail": ("www.a.test", "alice@example.com"),
}
STOLEN_URI = {"stolen-uri": ("www.a.test", "spiffe://example.com/shop")}


class StolenAuthority(Authority):
    """In the hands of somebody who does not keep to our rules."""

    __slots__ = ()

    def permits(self, name: str) -> bool:
        return True


@dataclass(frozen=True)
class Workshop:
    """A folder with an authority (certs/) and leaves: STEM.pem the chain, STEM.leaf.pem the leaf alone."""

    directory: Path

    @property
    def root(self) -> Path:
        return self.directory / "certs" / "ca.pem"

    @property
    def intermediate(self) -> Path:
        return self.directory / "certs" / "intermediate.pem"

    def pair(self, stem: str) -> TestCertificates:
        return TestCertificates(self.root, self.directory / f"{stem}.pem", self.directory / f"{stem}.key")


def make_workshop(directory: Path, key_type: KeyType) -> Workshop:
    authority = Authority(directory / "certs", key_type=key_type)
    stolen = StolenAuthority.of(authority.root, authority.intermediate, None, created=False)
    for by, leaves in ((authority, GOOD), (stolen, {**STOLEN, **STOLEN_URI})):
        for stem, names in leaves.items():
            issued = issue(by, Wish(names, key_type=key_type))
            issued.write(directory, stem)
            (directory / f"{stem}.leaf.pem").write_bytes(issued.certificate_pem)
    return Workshop(directory)


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    return make_workshop(tmp_path_factory.mktemp("workshop"), "ecdsa-p256")


@pytest.fixture(scope="module", params=["ecdsa-p384", "rsa-3072", "ed25519"])
def other_workshop(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    return make_workshop(tmp_path_factory.mktemp(f"workshop-{request.param}"), request.param)


def run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=SECONDS)


def needs(program: str, package: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(shutil.which(program) is None, reason=f"{program} is not installed (Debian: {package})")


def openssl(workshop: Workshop, stem: str) -> tuple[bool, str]:
    chain = workshop.pair(stem).chain
    command = ("openssl", "verify", "-x509_strict", "-purpose", "sslserver", "-CAfile", workshop.root)
    done = run(*command, "-untrusted", chain, chain)
    return done.returncode == 0, done.stdout + done.stderr


def gnutls(workshop: Workshop, stem: str) -> tuple[bool, str]:
    done = run("certtool", "--verify", "--load-ca-certificate", workshop.root, "--infile", workshop.pair(stem).chain)
    return done.returncode == 0, done.stdout + done.stderr


@needs("openssl", "openssl")
@pytest.mark.parametrize("stem", GOOD)
def test_openssl_accepts_what_we_issue(stem: str, workshop: Workshop) -> None:
    accepted, said = openssl(workshop, stem)
    assert accepted, said


@needs("openssl", "openssl")
@pytest.mark.parametrize("stem", [*STOLEN, *STOLEN_URI])
def test_openssl_refuses_what_a_thief_signs(stem: str, workshop: Workshop) -> None:
    accepted, said = openssl(workshop, stem)
    assert not accepted
    assert "permitted subtree violation" in said


@needs("openssl", "openssl")
@needs("certtool", "gnutls-bin")
def test_other_keys_are_as_good(other_workshop: Workshop) -> None:
    for validate in (openssl, gnutls):
        for stem in GOOD:
            accepted, said = validate(other_workshop, stem)
            assert accepted, said
        for stem in STOLEN:
            assert not validate(other_workshop, stem)[0]


@needs("certtool", "gnutls-bin")
@pytest.mark.parametrize("stem", GOOD)
def test_gnutls_accepts_what_we_issue(stem: str, workshop: Workshop) -> None:
    accepted, said = gnutls(workshop, stem)
    assert accepted, said


@needs("certtool", "gnutls-bin")
@pytest.mark.parametrize("stem", STOLEN)
def test_gnutls_refuses_what_a_thief_signs(stem: str, workshop: Workshop) -> None:
    """It does not look at constraints on URIs, so they are not among these."""
    accepted, said = gnutls(workshop, stem)
    assert not accepted
    assert "violates the signer's constraints" in said


def new_database(directory: Path, root: Path) -> str:
    """An NSS database that trusts `root` for servers."""
    directory.mkdir(parents=True)
    database = f"sql:{directory}"
    assert run("certutil", "-d", database, "-N", "--empty-password").returncode == 0
    assert run("certutil", "-d", database, "-A", "-t", "C,,", "-n", "root", "-i", root).returncode == 0
    return database


@needs("certutil", "libnss3-tools")
def test_nss_accepts_what_we_issue_and_refuses_what_a_thief_signs(workshop: Workshop, tmp_path: Path) -> None:
    database = new_database(tmp_path / "nss", workshop.root)
    run("certutil", "-d", database, "-A", "-t", ",,", "-n", "intermediate", "-i", workshop.intermediate)
    for stem in (*GOOD, *STOLEN, *STOLEN_URI):
        leaf = workshop.directory / f"{stem}.leaf.pem"
        assert run("certutil", "-d", database, "-A", "-t", ",,", "-n", stem, "-i", leaf).returncode == 0
        done = run("certutil", "-d", database, "-V", "-u", "V", "-n", stem)
        said = done.stdout + done.stderr
        assert ("certificate is valid" in said) is (stem in GOOD), said
        if stem not in GOOD:
            assert "not permitted to issue a certificate with this name" in said


LINTED = {
    "host": set(),
    "certs/intermediate": {"pkix.invalid_domain_name_syntax", "pkix.invalid_email_address_syntax",
                           "pkix.invalid_uri_syntax"},
    "certs/ca": {"pkix.invalid_domain_name_syntax", "pkix.invalid_email_address_syntax", "pkix.invalid_uri_syntax"},
}  # fmt: skip
"""What pkilint finds: it holds constraints to the syntax of whole names, and knows no top-level domain by itself
(`test`), although RFC 5280, section 4.2.1.10, allows both, and a domain with a dot before it."""


@pytest.mark.skipif(not LINTER.exists(), reason="pkilint is not installed (extra: dev)")
@pytest.mark.parametrize("stem", LINTED)
def test_pkilint_finds_nothing_else(stem: str, workshop: Workshop, tmp_path: Path) -> None:
    first = x509.load_pem_x509_certificate((workshop.directory / f"{stem}.pem").read_bytes())
    alone = tmp_path / "alone.pem"  # pkilint stumbles over a file with a chain in it, depending on the padding
    alone.write_bytes(first.public_bytes(Encoding.PEM))
    done = run(LINTER, "lint", "-s", "WARNING", "-f", "CSV", alone)
    rows = [line for line in done.stdout.splitlines() if ",pkix." in line or ",itu." in line or "(ERROR)" in line]
    assert done.stderr == ""
    assert {code for line in rows for code in line.split(",") if code.startswith(("pkix.", "itu."))} == LINTED[stem]
    assert all("nameConstraints" in line for line in rows)


@pytest.fixture(scope="module")
def server(workshop: Workshop, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """One site for the good host, and one that shows what a thief signed for another."""
    directory = tmp_path_factory.mktemp("validators")
    stolen = workshop.pair("stolen-host")
    other = f"""
[[site]]
hosts = ["www.example.com"]
respond = {{ body = "stolen" }}

[[site.certificate]]
chain = "{stolen.chain}"
key = "{stolen.key}"
"""
    site = 'respond = { body = "good" }'
    write_config(directory, workshop.pair("host"), site, hosts='"www.a.test"', extra=other)
    with serving(directory) as started:
        yield started


NODE = """
const tls = require('tls'), fs = require('fs');
const [port, servername, ca] = process.argv.slice(1);
const socket = tls.connect({host: '127.0.0.1', port, servername, ca: fs.readFileSync(ca)}, () => {
  console.log(socket.authorized ? 'accepted' : socket.authorizationError); socket.destroy(); });
socket.on('error', error => console.log(error.message));
"""


@needs("node", "nodejs")
def test_node_accepts_what_we_issue_and_refuses_what_a_thief_signs(workshop: Workshop, server: ServerProcess) -> None:
    said = {
        host: run("node", "-e", NODE, str(server.port), host, workshop.root).stdout.strip()
        for host in ("www.a.test", "www.example.com")
    }
    assert said == {"www.a.test": "accepted", "www.example.com": "permitted subtree violation"}


@needs("certutil", "libnss3-tools")
@pytest.mark.skipif(not CHROMIUM, reason="Chromium is not installed (Debian: chromium)")
def test_chromium_accepts_what_we_issue_and_refuses_what_a_thief_signs(
    workshop: Workshop, server: ServerProcess, tmp_path: Path
) -> None:
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed (extra: dev)")
    new_database(tmp_path / ".pki" / "nssdb", workshop.root)
    options = ("--disable-quic", "--disable-component-update", "--no-proxy-server",
               "--host-resolver-rules=MAP * 127.0.0.1")  # fmt: skip
    with (
        sync_api.sync_playwright() as driver,
        driver.chromium.launch(
            executable_path=CHROMIUM, env={**os.environ, "HOME": str(tmp_path)}, args=options, chromium_sandbox=False
        ) as browser,
    ):
        page = browser.new_page()
        page.set_default_timeout(PAGE_SECONDS * 1000)
        answer = page.goto(f"https://www.a.test:{server.port}/")
        assert answer is not None
        assert answer.text() == "good"
        with pytest.raises(sync_api.Error, match="ERR_CERT_"):
            page.goto(f"https://www.example.com:{server.port}/")
