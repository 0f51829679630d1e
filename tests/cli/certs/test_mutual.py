"""Issue, serve, revoke: the commands and a running server that asks its clients for certificates, as documented."""

from __future__ import annotations

import http.client
import ssl
from pathlib import Path

import pytest
from click.testing import CliRunner

from securelight.cli.main import main
from tests.certificates import TestCertificates
from tests.server.processes import wait_until
from tests.wire.server_process import ServerProcess, serving, write_config

SITE = """
client_certificates = "required"
client_ca = "{certs}/ca.pem"
client_crl = "{certs}/crl.pem"
respond = {{ body = "hello" }}
"""
SECONDS = 15


def certs(*arguments: str) -> None:
    result = CliRunner().invoke(main, ["certs", *arguments])
    assert result.exit_code == 0, result.output


def visit(server: ServerProcess, folder: Path, who: str) -> str:
    """What the server says to a client with a certificate, or why it does not."""
    context = ssl.create_default_context(cafile=str(folder / "ca.pem"))
    context.load_cert_chain(folder / f"{who}.pem", folder / f"{who}.key")
    connection = http.client.HTTPSConnection("localhost", server.port, timeout=SECONDS, context=context)
    try:
        connection.request("GET", "/")
        return connection.getresponse().read().decode()
    except ssl.SSLError as error:
        return error.reason
    except (OSError, http.client.HTTPException) as error:  # the alert may be lost behind a reset
        return repr(error)
    finally:
        connection.close()


def test_a_client_is_let_in_until_its_certificate_is_taken_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    certs("issue", "localhost")
    for user in ("alice", "bob"):
        certs("issue", "--client", "--user", user)
    certs("crl")
    folder = tmp_path / "certs"
    pair = TestCertificates(folder / "ca.pem", folder / "localhost.pem", folder / "localhost.key")
    write_config(tmp_path, pair, SITE.format(certs=folder))
    with serving(tmp_path) as server:
        assert visit(server, folder, "alice") == visit(server, folder, "bob") == "hello"
        # That of a server is none for a client, although the same authority has signed it.
        assert visit(server, folder, "localhost") != "hello"
        certs("revoke", "bob")
        wait_until(lambda: "REVOKED" in visit(server, folder, "bob"), 30)
        wait_until(lambda: visit(server, folder, "alice") == "hello")
