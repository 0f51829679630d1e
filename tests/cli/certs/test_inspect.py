from __future__ import annotations

import json
import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from securelight.cli.certs import inspect
from securelight.cli.certs.trust_probe import ProbeServer
from securelight.cli.main import main
from securelight.pki import Authority


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("inspect")
    authority = Authority(folder / "certs")
    authority.issue("localhost", "127.0.0.1").write(folder, "good")
    return folder


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[str]:
    with ProbeServer((folder / "good.pem").read_bytes(), (folder / "good.key").read_bytes()) as probe:
        yield f"https://localhost:{probe.port}/"


def run(*arguments: str | Path, status: int) -> Result:
    result = CliRunner().invoke(main, ["certs", "inspect", *map(str, arguments)])
    assert result.exit_code == status, result.output
    return result


def facts(*arguments: str | Path, status: int) -> Any:
    return json.loads(run(*arguments, "--json", status=status).stdout)


def test_a_good_file_is_read_to_its_end(folder: Path) -> None:
    output = run(folder / "good.pem", "--ca", folder / "certs/ca.pem", "--host", "localhost", status=0).output
    assert "Nothing in it speaks against it." in output
    assert "1. certificate CN=localhost" in output
    assert "2. authority CN=securelight local intermediate" in output
    for word in ("localhost, 127.0.0.1", "ECDSA P-256", "SHA-256", "serverAuth", "may sign for", "expires in 365 days"):
        assert word in output


def test_why_it_would_be_refused(folder: Path) -> None:
    output = run(folder / "good.pem", "--host", "shop.test", status=3).output
    assert "it is not for shop.test" in output
    assert "nor trusted here" in " ".join(output.split())
    told = facts(folder / "good.pem", "--host", "shop.test", status=3)
    assert len(told["faults"]) == 2
    assert told["chain"][0]["names"] == ["localhost", "127.0.0.1"]
    assert told["chain"][0]["not_after"].endswith("Z")


def test_an_authority_is_not_judged_as_a_server(folder: Path) -> None:
    assert "nothing is said of it as a server's" in run(folder / "certs/ca.pem", status=0).output


def test_a_server_shows_its_whole_chain(folder: Path, server: str) -> None:
    told = facts(server, "--ca", folder / "certs/ca.pem", status=0)
    assert len(told["chain"]) == 2
    assert told["server"]["python"] == "ok"
    assert told["server"]["tls"] == "TLSv1.3"
    stranger = facts(server.removeprefix("https://").removesuffix("/"), status=3)
    assert "unable to get" in stranger["server"]["python"]


@pytest.mark.parametrize(
    ("what", "words"),
    [
        ("nothing.pem", "neither a file nor a URL"),
        ("./nothing", "neither a file nor a URL"),
        ("http://localhost/", "neither a file nor a URL"),
        ("https://localhost:99999/", "neither a file nor a URL"),
        ("https://", "neither a file nor a URL"),
        ("", "neither a file nor a URL"),
        ("localhost:1", "no TLS server could be looked at"),
    ],
)
def test_what_cannot_be_looked_at_is_one_error(what: str, words: str) -> None:
    result = run(what, status=1)
    assert words in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_a_key_is_never_shown(folder: Path) -> None:
    result = run(folder / "good.key", status=1)
    assert "holds no certificate" in result.stderr
    assert "PRIVATE" not in result.output


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 400 Bad Request\r\n\r\n"], ids=["silent", "not TLS"])
def test_a_server_that_does_not_shake_hands_is_left(answer: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """However slowly it drips: there is one deadline for the whole handshake."""
    monkeypatch.setattr(inspect, "SECONDS", 0.5)
    done = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                if answer:
                    connection.sendall(answer)
                done.wait(15)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            result = run(f"127.0.0.1:{listener.getsockname()[1]}", status=1)
        finally:
            done.set()
            thread.join()
    assert "no TLS server could be looked at" in result.stderr


def test_hostile_text_in_a_certificate_cannot_reach_the_terminal(tmp_path: Path) -> None:
    issued = Authority().issue(client=True, user="evil")
    # The signature no longer fits, which is no reason not to read it.
    raw = ssl.PEM_cert_to_DER_cert(issued.certificate_pem.decode()).replace(b"evil", b"\x1b[2J")
    (tmp_path / "evil.der").write_bytes(raw)
    assert "\x1b[2J" not in run(tmp_path / "evil.der", status=3).output
