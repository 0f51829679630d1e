from __future__ import annotations

import importlib.metadata
import json
import platform
import ssl

import pytest
from click.testing import CliRunner

import securelight
from securelight.cli.main import main
from securelight.cli.version import installed_version
from securelight.protocol.engine import choose


def test_people_read_what_runs_here() -> None:
    result = CliRunner().invoke(main, ["version"])
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert lines[0] == f"securelight {securelight.__version__}"
    rows = {line[:14].strip(): line[14:].strip() for line in lines[1:]}
    assert platform.python_version() in rows["Python"]
    assert rows["OpenSSL"] in ssl.OPENSSL_VERSION
    assert rows["TLS policies"] == "modern from TLS 1.3 on, intermediate from TLS 1.2 on; up to TLS 1.3"
    for impossible in ("OCSP stapling", "ECH", "0-RTT"):
        assert impossible in rows["Not possible"]


def test_machines_read_the_same() -> None:
    result = CliRunner().invoke(main, ["version", "--json"])
    assert result.exit_code == 0
    facts = json.loads(result.stdout)
    assert facts["openssl"] == ssl.OPENSSL_VERSION
    assert facts["adapters"]["HTTP/2"]["h2"] == importlib.metadata.version("h2")
    assert facts["adapters"]["HTTP/1.1"]["h11"] == importlib.metadata.version("h11")
    assert facts["tls"]["lowest_version"] == {"modern": "TLS 1.3", "intermediate": "TLS 1.2"}


def test_the_engine_is_the_one_that_auto_chooses() -> None:
    facts = json.loads(CliRunner().invoke(main, ["version", "--json"]).stdout)
    assert facts["engine"] == choose("auto").name


def test_without_the_fast_extra_it_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("securelight.cli.version.native_available", lambda: False)
    assert "-m pip install 'securelight[fast]'" in CliRunner().invoke(main, ["version"]).stdout


def test_a_package_that_is_not_there_has_no_version() -> None:
    assert installed_version("no-such-package-at-all") is None
