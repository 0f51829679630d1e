from __future__ import annotations

import json
import plistlib
import shlex
import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from securelight.model.errors import CertificateError
from securelight.pki.key_files import read_key
from securelight.pki.trust_exports import TARGETS, combined_bundle, java_truststore, mobile_config
from securelight.pki.trust_facts import root_facts
from securelight.pki.trust_root import Root, certificates_in, read_root
from tests.certificates import TestCertificates
from tests.pki.trust_machine import needs_keytool

URL = "https://localhost:8443/"


@pytest.fixture
def root(certificates: TestCertificates) -> Root:
    return read_root(certificates.ca)


def test_no_target_contains_a_key(root: Root, certificates: TestCertificates) -> None:
    key = read_key(certificates.ca.with_name("ca.key"))
    assert key is not None
    secret = certificates.ca.with_name("ca.key").read_bytes().splitlines()[1]
    assert load_pem_private_key(certificates.ca.with_name("ca.key").read_bytes(), None) is not None
    for target in TARGETS.values():
        said = target.text(root, "file", URL).encode() + (target.content(root) if target.content else b"")
        assert secret not in said
        assert b"PRIVATE KEY" not in said


@pytest.mark.parametrize("name", ["curl", "git", "node", "python-requests", "java", "wsl2"])
def test_what_is_for_a_shell_is_good_for_a_shell_whatever_the_path(
    name: str, certificates: TestCertificates, tmp_path: Path
) -> None:
    nasty = tmp_path / "it's $HOME; `id`" / "ca.pem"
    nasty.parent.mkdir()
    nasty.write_bytes(certificates.ca.read_bytes())
    file = shlex.quote(str(tmp_path / "a file"))
    text = TARGETS[name].text(read_root(nasty), file, URL)
    subprocess.run(["sh", "-n", "-c", text], check=True)
    if name == "node":
        printed = subprocess.run(
            ["sh", "-c", f'{text}\nprintf %s "$NODE_EXTRA_CA_CERTS"'], check=True, capture_output=True, text=True
        )
        assert printed.stdout == str(nasty)


def test_the_profile_holds_the_root_and_is_the_same_every_time(root: Root) -> None:
    profile = plistlib.loads(mobile_config(root))
    [payload] = profile["PayloadContent"]
    assert payload["PayloadType"] == "com.apple.security.root"
    assert payload["PayloadContent"] == root.der
    assert payload["PayloadUUID"] != profile["PayloadUUID"]
    assert root.sha256 in profile["PayloadDescription"]
    assert mobile_config(root) == mobile_config(root)


def test_the_bundle_has_ours_beside_the_systems(root: Root) -> None:
    found = certificates_in(combined_bundle(root))
    assert found[0] == root.der
    assert len(set(found)) == len(found)


def test_policies_are_what_browsers_read(root: Root) -> None:
    firefox, chrome = TARGETS["firefox-policy"], TARGETS["chrome-policy"]
    assert firefox.content is not None
    assert chrome.content is not None
    [path] = json.loads(firefox.content(root))["policies"]["Certificates"]["Install"]
    assert Path(path).read_bytes() == root.path.read_bytes()
    [encoded] = json.loads(chrome.content(root))["CACertificates"]
    pem = f"-----BEGIN CERTIFICATE-----\n{encoded}\n-----END CERTIFICATE-----\n".encode()
    assert certificates_in(pem) == [root.der]


@needs_keytool
def test_java_reads_the_truststore(root: Root, tmp_path: Path) -> None:
    path = tmp_path / "trust.p12"
    path.write_bytes(java_truststore(root))
    listing = ["keytool", "-J-Duser.language=en", "-list", "-alias", "securelight", "-storepass", "changeit"]
    done = subprocess.run([*listing, "-keystore", str(path)], check=True, capture_output=True, text=True)
    assert "trustedCertEntry" in done.stdout
    assert root.sha256 in done.stdout


def test_one_knows_what_a_root_may_vouch_for(root: Root) -> None:
    facts = root_facts(root)
    assert facts.name.startswith("securelight local CA ")
    assert "localhost" in facts.limits
    assert "10.0.0.0/8" in facts.limits


def test_a_servers_certificate_is_no_root(certificates: TestCertificates, tmp_path: Path) -> None:
    garbage = tmp_path / "garbage.pem"
    garbage.write_text("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
    for path in (certificates.chain, garbage):
        with pytest.raises(CertificateError) as caught:
            root_facts(read_root(path))
        assert caught.value.where == str(path)
