from __future__ import annotations

import shutil
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from securelight.model.errors import CertificateError
from securelight.pki import identities
from securelight.pki.local_certificates import ensure_local_certificates
from securelight.tls.context import server_context
from securelight.tls.policy import MODERN
from tests.certificates import make_test_certificates
from tests.tls.handshakes import client_context, handshake


def stamps(directory: Path) -> dict[str, tuple[int, int]]:
    return {path.name: (path.stat().st_ino, path.stat().st_mtime_ns) for path in directory.iterdir()}


def test_a_directory_is_filled_once(tmp_path: Path) -> None:
    directory = tmp_path / "certs"
    first = ensure_local_certificates(directory, ["a.test"])
    before = stamps(directory)
    second = ensure_local_certificates(directory, ["A.Test."])
    assert first.authority.created
    assert first.leaf.created
    assert not second.authority.created
    assert not second.leaf.created
    assert stamps(directory) == before
    assert set(before) == {
        *("ca.pem", "ca.key", "intermediate.pem", "intermediate.key"),
        *("localhost.pem", "localhost.key", "issued.json", ".lock"),
    }


def test_a_server_with_it_is_accepted_under_every_name(tmp_path: Path) -> None:
    made = ensure_local_certificates(tmp_path / "certs", ["*.shop.test", "10.1.2.3"])
    server = server_context(MODERN, [(made.leaf.chain_path, made.leaf.key_path)])
    names = ["localhost", "127.0.0.1", "::1", "www.shop.test", "10.1.2.3"]
    for name in filter(None, [*names, identities.host_name()]):
        handshake(server, client_context(made.authority.certificate_path), name)


def test_a_new_authority_signs_a_new_leaf(tmp_path: Path) -> None:
    directory = tmp_path / "certs"
    ensure_local_certificates(directory)
    (directory / "ca.pem").unlink()
    (directory / "ca.key").unlink()
    made = ensure_local_certificates(directory)
    assert made.leaf.created
    made.leaf.certificate.verify_directly_issued_by(made.authority.issuer.certificate)
    made.authority.issuer.certificate.verify_directly_issued_by(made.authority.certificate)


def test_nothing_runs_out_in_twenty_years(tmp_path: Path) -> None:
    now = datetime.now(UTC)
    for month in range(0, 240, 2):
        moment = now + timedelta(days=30 * month)
        made = ensure_local_certificates(tmp_path / "certs", now=moment)
        assert made.leaf.certificate.not_valid_after_utc > moment + timedelta(days=29)
        assert made.leaf.certificate.not_valid_after_utc < made.authority.not_after


def test_a_machine_that_got_another_name_goes_on_without_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """To sign for it would take a new authority, which clients would have to be told about."""
    monkeypatch.setattr("socket.gethostname", lambda: "old-name")
    assert "old-name" in ensure_local_certificates(tmp_path / "certs").leaf.names
    monkeypatch.setattr("socket.gethostname", lambda: "new-name")
    made = ensure_local_certificates(tmp_path / "certs")
    assert made.left_out == ("new-name",)
    assert "new-name" not in made.leaf.names
    assert not made.authority.created


@pytest.mark.parametrize("host", ["", "under_score", "(none)", "localhost", "*.test"])
def test_odd_machine_names_do_no_harm(host: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("socket.gethostname", lambda: host)
    assert ensure_local_certificates(tmp_path / "certs").leaf.names == identities.ALWAYS


def test_a_bad_name_makes_nothing(tmp_path: Path) -> None:
    with pytest.raises(CertificateError, match="neither a host name nor an IP address"):
        ensure_local_certificates(tmp_path / "certs", ["https://a.test"])
    assert not (tmp_path / "certs").exists()


def test_processes_that_start_together_agree(tmp_path: Path) -> None:
    directory = tmp_path / "certs"
    command = [sys.executable, "-m", "securelight.cli.make_certificates", "--directory", str(directory), "--json"]
    started = [subprocess.Popen(command, stdout=subprocess.PIPE) for _ in range(4)]
    outputs = [process.communicate(timeout=60)[0] for process in started]
    assert [process.returncode for process in started] == [0] * 4
    assert sum(b'"created": true' in output for output in outputs) == 1
    made = ensure_local_certificates(directory)
    assert not made.leaf.created
    server = server_context(MODERN, [(made.leaf.chain_path, made.leaf.key_path)])
    handshake(server, client_context(made.authority.certificate_path))


def test_a_protected_authority_serves_without_its_passphrase_and_renews_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory, now = tmp_path / "certs", datetime.now(UTC)
    monkeypatch.setenv("SECURELIGHT_CERTS_PASSPHRASE", "sesame")
    first = ensure_local_certificates(directory)
    assert b"ENCRYPTED" in (directory / "ca.key").read_bytes()
    assert b"ENCRYPTED" in (directory / "intermediate.key").read_bytes()
    monkeypatch.delenv("SECURELIGHT_CERTS_PASSPHRASE")
    due = now + timedelta(days=70)
    assert ensure_local_certificates(directory, now=due).leaf.certificate == first.leaf.certificate
    for names, moment in ((["new.test"], due), ([], now + timedelta(days=91))):
        with pytest.raises(CertificateError, match="has a passphrase, and none was given"):
            ensure_local_certificates(directory, names, now=moment)
    monkeypatch.setenv("SECURELIGHT_CERTS_PASSPHRASE", "wrong")
    assert not ensure_local_certificates(directory, now=due).leaf.created
    monkeypatch.setenv("SECURELIGHT_CERTS_PASSPHRASE", "sesame")
    assert ensure_local_certificates(directory, now=due).leaf.created


def test_a_folder_from_before_intermediates_goes_on_as_it_is(tmp_path: Path) -> None:
    """Its clients trust that root, which allows no intermediate."""
    directory = tmp_path / "certs"
    old = make_test_certificates(directory, ["localhost"], stem="localhost")
    root = old.ca.read_bytes()
    made = ensure_local_certificates(directory)
    assert old.ca.read_bytes() == root
    assert not (directory / "intermediate.pem").exists()
    server = server_context(MODERN, [(made.leaf.chain_path, made.leaf.key_path)])
    handshake(server, client_context(old.ca))


@pytest.mark.peer
@pytest.mark.skipif(shutil.which("openssl") is None, reason="the openssl program is not installed")
def test_openssl_verifies_it_strictly(tmp_path: Path) -> None:
    made = ensure_local_certificates(tmp_path / "certs")
    command = ["openssl", "verify", "-x509_strict", "-purpose", "sslserver", "-verify_hostname", "localhost"]
    command += ["-CAfile", str(made.authority.certificate_path), "-untrusted", str(made.leaf.chain_path)]
    command.append(str(made.leaf.chain_path))
    verified = subprocess.run(command, capture_output=True, text=True, check=False)
    assert verified.returncode == 0, verified.stderr
