from __future__ import annotations

import re
import shlex
import shutil
import socket
import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from securelight.cli.certs.trust_probe import ProbeServer
from securelight.cli.main import main
from securelight.pki.trust_exports import TARGETS
from securelight.pki.trust_probe import probe_pair
from securelight.pki.trust_root import certificates_in, read_root
from tests.certificates import TestCertificates


@pytest.fixture
def certs(tmp_path: Path, certificates: TestCertificates) -> Path:
    """A folder of our own, since files are written there."""
    folder = tmp_path / "certs"
    shutil.copytree(certificates.ca.parent, folder)
    return folder


def export(certs: Path, *arguments: str) -> Result:
    return CliRunner().invoke(main, ["certs", "export", "--certs", str(certs), *arguments])


@pytest.mark.parametrize("name", TARGETS)
def test_every_target_says_what_to_do_and_writes_its_file(name: str, certs: Path) -> None:
    before = set(certs.iterdir())
    result = export(certs, "--for", name)
    assert result.exit_code == 0, result.stderr
    assert result.stdout.strip()
    written = set(certs.iterdir()) - before
    assert {path.name for path in written} == ({TARGETS[name].file_name} - {""})
    for path in written:
        assert path.stat().st_mode & 0o777 == 0o644
        assert result.stderr == f"Wrote {path}\n"
        first = path.read_bytes()
    assert export(certs, "--for", name).stdout == result.stdout
    if written and name != "java":  # whose encryption has a salt
        assert path.read_bytes() == first


@pytest.mark.peer
@pytest.mark.parametrize(
    ("name", "client"),
    [
        ("node", "node -e 'fetch(process.argv[1]).then(r => r.text()).then(t => console.log(t))'"),
        ("python-requests", "python3 -c 'import sys, urllib.request as u; print(u.urlopen(sys.argv[1]).read())'"),
        ("curl", ""),
        ("git", "git ls-remote"),
    ],
)  # fmt: skip
def test_a_client_that_does_as_it_is_told_trusts_the_server(name: str, client: str, certs: Path) -> None:
    program = shlex.split(client)[0] if client else name
    if shutil.which(program) is None:
        pytest.skip(f"there is no {program} here")
    with ProbeServer(*probe_pair(certs)) as probe:
        url = f"https://localhost:{probe.port}/"
        told = export(certs, "--for", name, "--url", url).stdout
        script = f"{told}\n{client} {url}" if client else told
        environment = {"HOME": str(certs), "PATH": "/usr/local/bin:/usr/bin:/bin", "GIT_TERMINAL_PROMPT": "0"}
        done = subprocess.run(
            ["sh", "-c", script], env=environment, capture_output=True, text=True, timeout=60, check=False
        )
        if name == "git":  # finds no repository, over a connection that it trusts
            assert "certificate" not in done.stderr
            assert "unable to access" not in done.stderr
        else:
            assert probe.token in done.stdout, done.stderr


def test_to_standard_output_goes_the_file_and_nothing_else(certs: Path) -> None:
    root = read_root(certs / "ca.pem")
    result = export(certs, "--for", "der", "--output", "-")
    assert result.stdout_bytes == root.der
    assert result.stderr == ""
    assert not (certs / "securelight-ca.der").exists()
    assert certificates_in(export(certs, "--for", "pem", "--output", "-").stdout_bytes) == [root.der]


def test_the_file_can_be_put_elsewhere(certs: Path, tmp_path: Path) -> None:
    output = tmp_path / "it's here.mobileconfig"
    result = export(certs, "--for", "docker", "--output", str(output))
    assert certificates_in(output.read_bytes()) == [read_root(certs / "ca.pem").der]
    assert f"COPY {shlex.quote(output.name)} /usr/local/share/ca-certificates/securelight-" in result.stdout
    assert export(certs, "--for", "node", "--output", str(tmp_path / "env.sh")).exit_code == 0
    assert (tmp_path / "env.sh").read_text() == f"export NODE_EXTRA_CA_CERTS={certs / 'ca.pem'}\n"


def test_what_cannot_be_written_is_one_line(certs: Path, tmp_path: Path) -> None:
    result = export(certs, "--for", "ios", "--output", str(tmp_path / "no" / "folder" / "file"))
    assert result.exit_code == 1
    assert re.fullmatch(r".*/no/folder/file: cannot be written: No such file or directory\n", result.stderr)


def test_without_an_authority_it_says_how_to_make_one(tmp_path: Path) -> None:
    result = export(tmp_path, "--for", "node")
    assert result.exit_code == 1
    assert "make one with: securelight certs ca" in result.stderr
    assert result.stderr.count("\n") == 1


def test_the_help_lists_every_target() -> None:
    said = CliRunner().invoke(main, ["certs", "export", "--help"]).stdout
    for name, target in TARGETS.items():
        assert re.search(rf"^\s+{re.escape(name)}\s+{re.escape(target.summary)}$", said, re.MULTILINE), name
    assert CliRunner().invoke(main, ["certs", "export", "--for", "toaster"]).exit_code == 2


def test_it_needs_no_network(certs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object, **settings: object) -> None:
        raise AssertionError("a connection was made")

    monkeypatch.setattr(socket, "create_connection", refuse)
    assert export(certs, "--for", "android").exit_code == 0
