from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from securelight.model.errors import CertificateError
from securelight.pki.trust_stores import SystemTrust, system_trust
from tests.certificates import TestCertificates, make_test_certificates

SUDO = ""  # the folders of these tests are our own


def put(root: Path, name: str, content: bytes) -> Path:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def test_a_system_that_has_it_in_its_bundle_trusts_it(certificates: TestCertificates, tmp_path: Path) -> None:
    stranger = make_test_certificates(tmp_path / "certs").ca.read_bytes()
    root = tmp_path / "root"
    store = put(root, "etc/ssl/certs/ca-certificates.crt", stranger)
    assert system_trust(certificates.ca, root) == SystemTrust(False, str(store), "")
    # Other tools break lines elsewhere and write comments between.
    ours = certificates.ca.read_bytes().replace(b"\n", b"\r\n")
    store.write_bytes(stranger + b"# a comment\n-----BEGIN CERTIFICATE-----\nA\n-----END CERTIFICATE-----\n" + ours)
    assert system_trust(certificates.ca, root).trusted


def test_a_second_bundle_counts_as_well(certificates: TestCertificates, tmp_path: Path) -> None:
    put(tmp_path, "etc/ssl/certs/ca-certificates.crt", b"")
    store = put(tmp_path, "etc/ssl/cert.pem", certificates.ca.read_bytes())
    assert system_trust(certificates.ca, tmp_path) == SystemTrust(True, str(store), "")


@pytest.mark.parametrize(
    ("directory", "suffix", "update"),
    [
        ("usr/local/share/ca-certificates", ".crt", "update-ca-certificates"),
        ("etc/pki/ca-trust/source/anchors", ".pem", "update-ca-trust"),
        ("etc/ca-certificates/trust-source/anchors", ".crt", "update-ca-trust"),
        ("etc/pki/trust/anchors", ".pem", "update-ca-certificates"),
    ],
)
def test_each_family_has_its_command(
    directory: str, suffix: str, update: str, certificates: TestCertificates, tmp_path: Path
) -> None:
    (tmp_path / directory).mkdir(parents=True)
    command = system_trust(certificates.ca, tmp_path).command
    copy, _, then = command.partition(" && ")
    assert then.startswith(f"{SUDO}{update}")
    assert copy.startswith(f"{SUDO}install -m 0644 {certificates.ca} {tmp_path}/{directory}/securelight-")
    assert copy.endswith(suffix)


def test_another_authority_is_copied_to_another_name(certificates: TestCertificates, tmp_path: Path) -> None:
    (tmp_path / "usr/local/share/ca-certificates").mkdir(parents=True)
    other = make_test_certificates(tmp_path / "certs")
    commands = {system_trust(made.ca, tmp_path).command.split("/usr")[1] for made in (certificates, other)}
    assert len(commands) == 2


def test_paths_are_quoted_for_the_shell(certificates: TestCertificates, tmp_path: Path) -> None:
    (tmp_path / "usr/local/share/ca-certificates").mkdir(parents=True)
    nasty = put(tmp_path, "it's; rm -rf $HOME/ca.pem", certificates.ca.read_bytes())
    words = shlex.split(system_trust(nasty, tmp_path).command.removeprefix("sudo "))
    assert words[:4] == ["install", "-m", "0644", str(nasty)]


def test_a_system_that_we_do_not_know_gets_no_command(certificates: TestCertificates, tmp_path: Path) -> None:
    assert system_trust(certificates.ca, tmp_path) == SystemTrust(False, "", "")


def test_this_machine_does_not_trust_what_was_made_a_moment_ago(certificates: TestCertificates) -> None:
    assert not system_trust(certificates.ca).trusted


def test_a_file_without_one_certificate_is_named(certificates: TestCertificates, tmp_path: Path) -> None:
    empty = put(tmp_path, "ca.pem", b"")
    two = put(tmp_path, "two.pem", certificates.ca.read_bytes() * 2)
    for path in (empty, two, tmp_path / "none.pem", tmp_path):
        with pytest.raises(CertificateError) as caught:
            system_trust(path, tmp_path)
        assert caught.value.where == str(path)


def test_it_needs_no_cryptography() -> None:
    """So that a serving process may ask too."""
    code = "import sys, securelight.pki.trust_stores; sys.exit('cryptography' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
