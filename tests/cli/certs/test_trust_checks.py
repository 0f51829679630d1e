"""Every client that is here, against a server whose authority it knows, and one whose authority it does not."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest

from securelight.cli.certs import trust_checks
from securelight.cli.certs.trust_checks import (
    Target,
    Verdict,
    ask_chromium,
    ask_curl,
    ask_git,
    ask_java,
    ask_node,
    ask_nss,
    ask_openssl,
    ask_python,
    ask_wget,
    judge_with_certutil,
    presented_chain,
)
from securelight.cli.certs.trust_probe import MAXIMUM_CLIENTS, ProbeServer
from securelight.pki.authority import ensure_authority
from securelight.pki.key_files import prepare_directory
from securelight.pki.trust_commands import change
from securelight.pki.trust_java import JavaKeystore
from securelight.pki.trust_nss import NssDatabase
from securelight.pki.trust_probe import probe_pair
from securelight.pki.trust_root import read_root
from tests.certificates import make_test_certificates
from tests.pki.trust_machine import (
    FAST_JAVA,
    make_keystore,
    make_nss_database,
    needs_certutil,
    needs_keytool,
    put_program,
)

PROGRAMS = {"curl": ask_curl, "wget": ask_wget, "openssl": ask_openssl, "git": ask_git, "node": ask_node}
SETTINGS = ("SSL_CERT_FILE", "CURL_CA_BUNDLE", "GIT_SSL_CAINFO", "NODE_EXTRA_CA_CERTS")
"""How each of them is told of another root without touching the machine's."""


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The root of an authority as people have it, with an intermediate that servers show."""
    directory = tmp_path_factory.mktemp("authority")
    prepare_directory(directory)
    ensure_authority(directory)
    return directory / "ca.pem"


@pytest.fixture
def probe(authority: Path) -> Iterator[ProbeServer]:
    with ProbeServer(*probe_pair(authority.parent)) as running:
        yield running


@pytest.fixture
def target(probe: ProbeServer) -> Target:
    return Target("localhost", probe.port)


@pytest.fixture
def closed_port() -> Iterator[int]:
    """Bound and not listening: nobody else can take it meanwhile."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield held.getsockname()[1]


@pytest.mark.peer
@pytest.mark.parametrize("name", PROGRAMS)
def test_a_program_trusts_whom_it_is_told_to_trust(
    name: str, target: Target, authority: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if shutil.which(name) is None:
        pytest.skip(f"there is no {name} here")
    stranger = make_test_certificates(tmp_path / "stranger").ca
    monkeypatch.setenv("HOME", str(tmp_path))
    answers = []
    for root in (authority, stranger):
        for setting in SETTINGS:
            monkeypatch.setenv(setting, str(root))
        if name == "wget":  # GnuTLS or OpenSSL, by distribution; neither has a variable for both
            (tmp_path / ".wgetrc").write_text(f"ca_certificate = {root}\nca_directory = {tmp_path}\n")
        answers.append(PROGRAMS[name](target))
    trusting, refusing = answers
    assert trusting.trusted is True, trusting
    assert refusing.trusted is False, refusing
    assert refusing.detail


@pytest.mark.peer
@pytest.mark.parametrize("name", PROGRAMS)
def test_nobody_there_is_neither_trust_nor_refusal(name: str, closed_port: int) -> None:
    if shutil.which(name) is None:
        pytest.skip(f"there is no {name} here")
    verdict = PROGRAMS[name](Target("127.0.0.1", closed_port))
    assert verdict.trusted is None, verdict


def test_python_with_a_bundle(target: Target, authority: Path, tmp_path: Path, closed_port: int) -> None:
    stranger = make_test_certificates(tmp_path / "stranger").ca
    (tmp_path / "empty").touch()
    assert ask_python(target, authority).trusted is True
    assert ask_python(target, stranger).trusted is False
    for bundle in (tmp_path / "empty", tmp_path / "missing"):
        assert ask_python(target, bundle).trusted is None
    assert ask_python(Target("127.0.0.1", closed_port), authority).trusted is None


def test_a_certificate_for_another_name_is_refused(authority: Path, tmp_path: Path) -> None:
    shutil.copytree(authority.parent, tmp_path / "certs")
    pair = make_test_certificates(tmp_path / "certs", ["other.test"]).pair
    with ProbeServer(*(path.read_bytes() for path in pair)) as other:
        verdict = ask_python(Target("localhost", other.port), authority)
    assert verdict.trusted is False
    assert "localhost" in verdict.detail


def test_the_whole_chain_is_seen(target: Target, authority: Path) -> None:
    chain = presented_chain(target)
    assert len(chain) == 2
    assert chain[1] == ssl.PEM_cert_to_DER_cert((authority.parent / "intermediate.pem").read_text())


@needs_certutil
@pytest.mark.parametrize("with_vfyserv", [True, False])
def test_nss_trusts_whom_its_database_holds(
    with_vfyserv: bool,
    target: Target,
    authority: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Both ways: with a connection, and where vfyserv is missing by certutil's judgement of the chain."""
    if with_vfyserv and shutil.which("vfyserv") is None:
        pytest.skip("there is no vfyserv here")
    if not with_vfyserv:
        monkeypatch.setattr(trust_checks, "find_program", lambda name: None)
        monkeypatch.setattr(trust_checks, "NSS_TOOL_FOLDERS", ())
    database = NssDatabase(make_nss_database(tmp_path / "nssdb"), "Firefox")
    chain = presented_chain(target)
    before = (database.path / "cert9.db").read_bytes()
    refused = ask_nss(target, database, chain)
    assert refused.trusted is False
    assert "issuer is not recognized" in refused.detail
    assert (database.path / "cert9.db").read_bytes() == before, "to ask changes nothing"
    for command in database.install(read_root(authority)):
        change(command)
    assert ask_nss(target, database, chain).trusted is True


@needs_certutil
def test_certutil_cannot_judge_what_is_no_certificate(tmp_path: Path) -> None:
    database = NssDatabase(make_nss_database(tmp_path / "nssdb"), "Firefox")
    assert judge_with_certutil(database, [b"garbage"]).trusted is None


@needs_keytool
def test_java_trusts_whom_its_keystore_holds(
    target: Target, authority: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, closed_port: int
) -> None:
    monkeypatch.setenv("JAVA_TOOL_OPTIONS", FAST_JAVA)
    keytool = shutil.which("keytool") or ""
    stranger = make_test_certificates(tmp_path / "stranger").ca
    ours = JavaKeystore(make_keystore(tmp_path / "ours.jks", authority), keytool)
    theirs = JavaKeystore(make_keystore(tmp_path / "theirs.jks", stranger), keytool)
    assert ask_java(target, ours).trusted is True
    refused = ask_java(target, theirs)
    assert refused.trusted is False
    assert refused.detail == "unable to find valid certification path to requested target"
    assert ask_java(Target("localhost", closed_port), ours).trusted is None


@pytest.mark.peer
@needs_certutil
@pytest.mark.skipif(
    not any(map(shutil.which, trust_checks.CHROMIUM_PROGRAMS)), reason="Chromium is not installed (Debian: chromium)"
)
def test_chromium_trusts_whom_the_database_of_its_user_holds(
    target: Target, authority: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    refused = ask_chromium(target)
    assert refused == Verdict(False, "a page in headless Chromium", "ERR_CERT_AUTHORITY_INVALID")
    database = NssDatabase(tmp_path / ".pki/nssdb", "Chromium")
    for command in database.install(read_root(authority))[0 if not database.exists else 2 :]:
        change(command)
    assert ask_chromium(target).trusted is True


def test_a_chromium_that_shows_nothing_says_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in trust_checks.CHROMIUM_PROGRAMS:
        put_program(tmp_path / "bin", name, "exit 0")
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    assert ask_chromium(Target("localhost", 1)).trusted is None


@pytest.mark.parametrize(
    ("target", "url"),
    [
        (Target("localhost", 8443), "https://localhost:8443/"),
        (Target("localhost", 443), "https://localhost/"),
        (Target("::1", 8443), "https://[::1]:8443/"),
    ],
)
def test_a_target_has_a_url(target: Target, url: str) -> None:
    assert target.url == url


def test_the_probe_survives_strange_clients_and_stops_with_idle_ones(authority: Path) -> None:
    with contextlib.ExitStack() as stack:
        with ProbeServer(*probe_pair(authority.parent)) as probe:
            address = ("127.0.0.1", probe.port)
            idle = [stack.enter_context(socket.create_connection(address, 15)) for _ in range(3)]
            with socket.create_connection(address, 15) as garbage, contextlib.suppress(ConnectionResetError):
                garbage.sendall(b"GET / HTTP/1.1\r\n\r\n")
                while garbage.recv(4096):
                    pass
            assert len(presented_chain(Target(*address))) >= 1
        # Closed by the probe's end, and not by its patience with slow clients.
        assert [one.recv(1) for one in idle] == [b"", b"", b""]


def test_the_probe_takes_a_bounded_number_of_clients(authority: Path) -> None:
    with contextlib.ExitStack() as stack, ProbeServer(*probe_pair(authority.parent)) as probe:
        for _ in range(MAXIMUM_CLIENTS):
            stack.enter_context(socket.create_connection(("127.0.0.1", probe.port), 15))
        late = stack.enter_context(socket.create_connection(("127.0.0.1", probe.port), 15))
        assert late.recv(1) == b"", "closed at once"


def test_the_probe_answers_with_its_token(probe: ProbeServer, authority: Path) -> None:
    context = ssl.create_default_context(cafile=str(authority))
    with (
        socket.create_connection(("127.0.0.1", probe.port), 15) as raw,
        context.wrap_socket(raw, server_hostname="localhost") as client,
    ):
        client.sendall(b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n")
        received = b""
        while piece := client.recv(4096):
            received += piece
    assert received.endswith(probe.token.encode())
