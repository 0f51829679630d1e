from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from securelight.cli.main import COMMANDS, main
from securelight.cli.run import EXAMPLE
from tests.certificates import TestCertificates
from tests.server.processes import PAGE, fetch, make_site, securelight, static_server, wait_until
from tests.wire.server_process import write_config


def test_without_a_configuration_it_shows_one_to_begin_with(tmp_path: Path) -> None:
    done = securelight("run", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("securelight.toml: there is no such file.")
    assert "securelight serve FOLDER" in done.stderr


def test_the_configuration_that_it_shows_is_a_good_one(tmp_path: Path, certificates: TestCertificates) -> None:
    text = EXAMPLE[: EXAMPLE.index("To serve")]
    text = text.replace("/etc/ssl/www.example.org.pem", str(certificates.chain))
    text = text.replace("/etc/ssl/www.example.org.key", str(certificates.key)).replace("/srv/www", str(tmp_path))
    text = text.replace("www.example.org", "www.example.test").replace("www-data", "nobody")  # whom every machine has
    (tmp_path / "securelight.toml").write_text(text)
    done = securelight("check", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")


def test_every_fault_is_told_and_nothing_is_started(tmp_path: Path, certificates: TestCertificates) -> None:
    config = write_config(tmp_path, certificates, f'root = "{make_site(tmp_path)}"')
    config.write_text(config.read_text().replace("workers = 1", "wokers = 1").replace("hosts =", "host ="))
    done = securelight("run", "-c", config)
    assert (done.returncode, done.stdout) == (1, "")
    assert "server.wokers" in done.stderr
    assert "site[0]" in done.stderr
    assert not (tmp_path / "securelight.sock").exists()


def test_an_application_that_cannot_be_imported_stops_the_start(tmp_path: Path, certificates: TestCertificates) -> None:
    config = write_config(tmp_path, certificates, 'app = "nonsense:app"')
    done = securelight("run", "-c", config)
    assert (done.returncode, done.stdout) == (1, "")
    assert "there is no module 'nonsense'" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_folder_of_files_can_be_run(tmp_path: Path, certificates: TestCertificates) -> None:
    with static_server(tmp_path, certificates) as server:
        assert fetch(server, certificates).body == PAGE
        done = securelight("reload", "-c", tmp_path)
        assert (done.returncode, done.stdout) == (0, "reloaded\n")
        wait_until(lambda: len(server.workers()) == 1)


@pytest.mark.parametrize("name", [name for name in COMMANDS if name != "version"])
def test_help_has_examples_and_exit_codes(name: str) -> None:
    result = CliRunner().invoke(main, [name, "--help"])
    assert result.exit_code == 0
    assert "Examples:\n" in result.stdout
    assert f"  securelight {name}" in result.stdout
    assert "Exit codes:" in result.stdout
