from __future__ import annotations

import json
import os
import shutil
import socket
import threading
from collections.abc import Iterator, Sequence
from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from securelight.cli.certs import doctor
from securelight.cli.certs.doctor import DEFAULT_PORT, default_target, parse_target
from securelight.cli.certs.trust_checks import Target
from securelight.cli.certs.trust_probe import ProbeServer
from securelight.cli.main import main
from securelight.pki.trust_probe import probe_pair
from securelight.pki.trust_stores import find_stores
from tests.certificates import TestCertificates, make_test_certificates
from tests.pki.trust_machine import Machine, make_machine, make_nss_database, needs_certutil, needs_debian

CLIENTS = ("curl", "openssl")


@pytest.fixture
def machine(tmp_path: Path, certificates: TestCertificates, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """Stores in a folder, and two clients that are told which root they know."""
    made = make_machine(tmp_path, certificates)
    (tmp_path / "bin").mkdir()
    programs = {name: shutil.which(name) for name in (*CLIENTS, "certutil", "vfyserv")}
    for name, found in programs.items():
        if found is not None:
            (tmp_path / "bin" / name).symlink_to(found)
    environment = made.environment | {"PATH": str(tmp_path / "bin")}
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(doctor, "find_stores", partial(find_stores, root=made.root, environment=environment))
    knows(monkeypatch, made.stranger.ca)
    return made


def knows(monkeypatch: pytest.MonkeyPatch, root: Path) -> None:
    for name in ("SSL_CERT_FILE", "CURL_CA_BUNDLE", "REQUESTS_CA_BUNDLE"):
        monkeypatch.setenv(name, str(root))


@pytest.fixture
def server(certificates: TestCertificates) -> Iterator[str]:
    with ProbeServer(*probe_pair(certificates.ca.parent)) as probe:
        yield f"https://localhost:{probe.port}/"


def ask(certs: Path, *arguments: str) -> Result:
    return CliRunner().invoke(main, ["certs", "doctor", "--no-browser", "--certs", str(certs), *arguments])


def ask_json(certs: Path, *arguments: str) -> tuple[int, dict[str, object]]:
    result = ask(certs, "--json", *arguments)
    return result.exit_code, json.loads(result.stdout)


@needs_debian
@needs_certutil
def test_it_says_who_trusts_the_server_and_what_to_do_and_that_helps(
    machine: Machine, server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_nss_database(machine.profile)
    certs = machine.certificates.ca.parent

    before = ask(certs, server)

    assert before.exit_code == 1
    assert before.stdout.count("REFUSES") == 5, before.stdout
    assert "trusts it" not in before.stdout
    assert f"securelight certs trust --store system --certs {certs}" in before.stdout
    assert f"securelight certs trust --store nss --certs {certs}" in before.stdout
    assert f"CURL_CA_BUNDLE is set to {machine.stranger.ca}: unset it" in before.stdout

    trust = ["certs", "trust", "--certs", str(certs), "--root", str(machine.root)]
    with monkeypatch.context() as elsewhere:
        elsewhere.setenv("PATH", os.defpath)  # what builds the system's store needs a whole system
        assert CliRunner().invoke(main, trust).exit_code == 0
    knows(monkeypatch, machine.certificates.ca)
    after = ask(certs, server)

    assert after.exit_code == 0, after.stdout
    assert after.stdout.count("trusts it") >= 5
    assert "REFUSES" not in after.stdout
    assert "What to do" not in after.stdout


def test_machines_read_the_same(machine: Machine, server: str) -> None:
    status, report = ask_json(machine.certificates.ca.parent, server)
    assert status == 1
    assert report["url"] == server
    assert report["trusted_by_all"] is False
    facts, clients = report["server"], report["clients"]
    assert isinstance(facts, dict)
    assert isinstance(clients, list)
    assert facts["signed_by_the_authority"] is True
    assert facts["faults"] == []
    assert "localhost" in facts["names"]
    assert {client["trusts"] for client in clients} == {False}
    assert all(client["cure"] for client in clients)
    assert {"curl", "openssl"} <= {client["client"] for client in clients}


@pytest.mark.parametrize(
    ("names", "age", "fault"),
    [
        (("other.test",), timedelta(0), "the certificate is not for localhost, but for other.test"),
        (("localhost",), timedelta(days=200), "the certificate expired on "),
    ],
)
def test_a_fault_of_the_server_is_not_blamed_on_its_clients(
    names: Sequence[str], age: timedelta, fault: str, machine: Machine, tmp_path: Path
) -> None:
    shutil.copytree(machine.certificates.ca.parent, tmp_path / "certs")
    pair = make_test_certificates(tmp_path / "certs", names, stem="faulty", age=age).pair
    with ProbeServer(*(path.read_bytes() for path in pair)) as probe:
        result = ask(tmp_path / "certs", f"localhost:{probe.port}")
    assert result.exit_code == 1
    assert f"  {fault}" in result.stdout
    assert "securelight certs trust" not in result.stdout
    assert "would not help" in result.stdout


def test_a_server_of_another_authority_is_found_out(machine: Machine, server: str) -> None:
    result = ask(machine.stranger.ca.parent, server)
    assert f"{machine.stranger.ca} did not sign this certificate" in result.stdout
    assert "securelight certs trust" not in result.stdout


def test_without_an_authority_it_asks_all_the_same(machine: Machine, server: str, tmp_path: Path) -> None:
    result = ask(tmp_path / "nothing", server)
    assert result.exit_code == 1
    assert "REFUSES" in result.stdout
    assert "no authority in this folder" in result.stdout


def test_nobody_there_is_a_status_of_its_own(machine: Machine) -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        url = f"https://127.0.0.1:{held.getsockname()[1]}/"
        result = ask(machine.certificates.ca.parent, url)
        status, report = ask_json(machine.certificates.ca.parent, url)
    assert result.exit_code == status == 3
    assert result.stderr == f"{url}: nobody listens there; start the server (securelight serve), or give its URL\n"
    assert result.stdout == ""
    assert "nobody listens" in str(report["error"])


def test_a_server_without_tls_is_a_status_of_its_own(machine: Machine) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer() -> None:
            client, _address = listener.accept()
            with client:
                client.recv(4096)
                client.sendall(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n")

        plain = threading.Thread(target=answer)
        plain.start()
        result = ask(machine.certificates.ca.parent, f"127.0.0.1:{listener.getsockname()[1]}")
        plain.join()
    assert result.exit_code == 3
    assert "does not speak TLS as we do" in result.stderr


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("https://shop.test/path?x", Target("shop.test", 443)),
        ("https://shop.test:8443", Target("shop.test", 8443)),
        ("shop.test:8443", Target("shop.test", 8443)),
        ("shop.test", Target("shop.test", 443)),
        ("[::1]:8443", Target("::1", 8443)),
        ("127.0.0.1:8443", Target("127.0.0.1", 8443)),
        ("SHOP.test.", Target("shop.test.", 443)),
        ("bücher.test", Target("bücher.test", 443)),
    ],
)
def test_a_server_is_named_as_people_do(text: str, target: Target) -> None:
    assert parse_target(text) == target


@pytest.mark.parametrize(
    "text", ["http://shop.test/", "https://", "shop.test:port", "shop.test:70000", "https://[::1", "a..b", "a" * 64]
)
def test_what_is_no_server_is_wrong_usage(text: str, machine: Machine) -> None:
    result = ask(machine.certificates.ca.parent, text)
    assert result.exit_code == 2
    assert result.stderr.splitlines()[-1].startswith(f"Error: {text}: ")


def test_the_server_that_runs_from_here_is_found(tmp_path: Path) -> None:
    assert default_target(tmp_path) == Target("localhost", DEFAULT_PORT)
    (tmp_path / "serve-9001.sock").touch()
    assert default_target(tmp_path) == Target("localhost", 9001)
    (tmp_path / "serve-9002.sock").touch()
    assert default_target(tmp_path) == Target("localhost", DEFAULT_PORT)
