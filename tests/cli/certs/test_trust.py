from __future__ import annotations

import platform
import re
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from securelight.cli.certs import trust_steps
from securelight.cli.main import main
from securelight.pki import trust_system
from securelight.pki.authority import AuthorityWish, ensure_authority
from securelight.pki.key_files import prepare_directory
from securelight.pki.trust_probe import probe_pair
from tests.certificates import TestCertificates, make_test_certificates
from tests.pki.trust_machine import (
    FAST_JAVA,
    Machine,
    make_keystore,
    make_machine,
    make_nss_database,
    needs_certutil,
    needs_debian,
    needs_keytool,
    path_with,
    put_program,
)


@pytest.fixture
def machine(tmp_path: Path, certificates: TestCertificates, monkeypatch: pytest.MonkeyPatch) -> Machine:
    made = make_machine(tmp_path, certificates)
    for name, value in made.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("JAVA_TOOL_OPTIONS", FAST_JAVA)
    return made


def run(machine: Machine, *arguments: str, command: str = "trust", answer: str = "") -> Result:
    """The command as a person runs it, on that machine."""
    places = ["--certs", str(machine.certificates.ca.parent), "--root", str(machine.root)]
    result = CliRunner().invoke(main, ["certs", command, *places, *arguments], input=answer)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def rows(result: Result) -> dict[str, tuple[str, str]]:
    """Outcome and words of every store in the table."""
    found = re.findall(r"^  (\S.*?) {2,}(done|already|skipped|failed|would) +(.+)$", result.stdout, re.MULTILINE)
    return {name: (outcome, said) for name, outcome, said in found}


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@needs_debian
@needs_certutil
@needs_keytool
def test_every_store_is_changed_and_proved_with_a_handshake_and_changed_back(
    machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_nss_database(machine.profile)
    make_keystore(machine.keystore, machine.stranger.ca)
    put_program(tmp_path / "bin", "google-chrome", "exit 1")
    monkeypatch.setenv("PATH", path_with(tmp_path / "bin"))
    proofs = {
        "system (Debian)": "a handshake with Python's ssl",
        "Chromium": "a handshake with NSS",
        "Firefox abc.default": "a handshake with NSS",
        "Java": "a handshake with Java",
    }

    again = ("--store", "system", "--store", "nss")  # each question to Java takes a second
    first, second = run(machine), run(machine, *again)
    gone, still_gone = (run(machine, *again, command="untrust") for _ in range(2))

    assert rows(first) == {name: ("done", f"added; trusted in {by}") for name, by in proofs.items()}
    del proofs["Java"]
    assert rows(second) == {name: ("already", f"already there; trusted in {by}") for name, by in proofs.items()}
    for result, outcome, words in (
        (gone, "done", "removed; refused in"),
        (still_gone, "already", "not there; refused"),
    ):
        assert set(rows(result)) == set(proofs)
        assert all(found[0] == outcome and found[1].startswith(words) for found in rows(result).values())
    assert [result.exit_code for result in (first, second, gone, still_gone)] == [0, 0, 0, 0]
    # What was run could be read before, and nothing was run the second time.
    assert f"install -m 0644 {machine.certificates.ca} {machine.anchors}/securelight-" in first.stderr
    assert "update-ca-certificates" in first.stderr
    assert second.stderr == still_gone.stderr == ""


@needs_certutil
def test_a_store_that_fails_does_not_stop_the_others(machine: Machine) -> None:
    make_nss_database(machine.profile)
    broken = make_nss_database(machine.home / ".mozilla/firefox/aaa.broken")
    (broken / "cert9.db").write_bytes(b"no database")

    result = run(machine, "--store", "nss")

    assert result.exit_code == 1
    found = rows(result)
    assert found["Firefox abc.default"][0] == "done"
    assert found["Firefox aaa.broken"][0] == "failed"
    assert "cert9.db away" in found["Firefox aaa.broken"][1]


@needs_debian
def test_a_dry_run_shows_the_commands_and_changes_nothing(machine: Machine) -> None:
    before = tree(machine.root)
    result = run(machine, "--store", "system", "--dry-run")
    assert result.exit_code == 0
    assert f"  install -m 0644 {machine.certificates.ca}" in result.stdout
    assert rows(result)["system (Debian)"][0] == "would"
    assert tree(machine.root) == before


@needs_debian
@pytest.mark.parametrize(
    ("arguments", "terminal", "answer", "outcome", "said"),
    [
        (["--yes"], False, "", "done", "trusted in a handshake"),
        ([], True, "y\n", "done", "trusted in a handshake"),
        ([], True, "n\n", "failed", "by hand: sudo install"),
        ([], True, "\n", "failed", "by hand: sudo install"),
        ([], False, "", "failed", "by hand: sudo install"),
    ],
)
def test_sudo_is_asked_for_before_it_is_used(
    arguments: Sequence[str], terminal: bool, answer: str, outcome: str, said: str,
    machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(trust_system, "may_write", lambda *paths: False)
    monkeypatch.setattr(trust_steps, "has_terminal", lambda: terminal)
    put_program(tmp_path / "bin", "sudo", f'echo "$1" >> {tmp_path}/used; exec "$@"')
    monkeypatch.setenv("PATH", path_with(tmp_path / "bin"))

    result = run(machine, "--store", "system", *arguments, answer=answer)

    assert rows(result)["system (Debian)"][0] == outcome
    assert said in rows(result)["system (Debian)"][1]
    assert (tmp_path / "used").exists() == (outcome == "done")
    assert result.exit_code == (0 if outcome == "done" else 1)
    assert "  sudo install -m 0644 " in result.stderr, "shown before it is run"
    if not terminal and not arguments:
        assert "pass --yes" in result.stderr


@needs_debian
def test_a_refused_sudo_leaves_the_store_as_it_was(
    machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trust_system, "may_write", lambda *paths: False)
    put_program(tmp_path / "bin", "sudo", "echo 'sudo: 3 incorrect password attempts' >&2; exit 1")
    monkeypatch.setenv("PATH", path_with(tmp_path / "bin"))
    before = tree(machine.root)
    result = run(machine, "--store", "system", "--yes")
    assert result.exit_code == 1
    assert "3 incorrect password attempts; by hand: sudo install" in rows(result)["system (Debian)"][1]
    assert tree(machine.root) == before


@needs_debian
def test_commands_that_do_not_help_are_found_out(
    machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A store that reports success and does not trust it afterwards: people meet that with mkcert."""
    put_program(tmp_path / "bin", "update-ca-certificates", "echo 0 added")
    monkeypatch.setenv("PATH", path_with(tmp_path / "bin"))
    result = run(machine, "--store", "system")
    assert result.exit_code == 1
    assert "it is still not there" in rows(result)["system (Debian)"][1]


@needs_debian
def test_a_root_that_is_there_but_not_believed_is_found_out(
    machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The bundle holds it, and yet the handshake fails: it is the handshake that counts."""
    other = make_test_certificates(tmp_path / "other")
    monkeypatch.setattr(trust_steps, "probe_pair", lambda *arguments: probe_pair(other.ca.parent))
    result = run(machine, "--store", "system")
    assert result.exit_code == 1
    assert rows(result)["system (Debian)"][0] == "failed"
    assert "added; refused in a handshake with Python's ssl" in rows(result)["system (Debian)"][1]


@needs_debian
def test_without_the_key_the_root_is_trusted_all_the_same(machine: Machine, tmp_path: Path) -> None:
    certs = tmp_path / "only-the-root"
    certs.mkdir()
    shutil.copyfile(machine.certificates.ca, certs / "ca.pem")
    result = CliRunner().invoke(
        main, ["certs", "trust", "--certs", str(certs), "--root", str(machine.root), "--store", "system"]
    )
    assert result.exit_code == 0
    assert rows(result)["system (Debian)"] == ("done", "added")
    assert "Not proved with handshakes" in result.stderr


@needs_debian
def test_keys_with_a_passphrase_prove_it_once_that_is_given(
    machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    certs = tmp_path / "protected"
    prepare_directory(certs)
    ensure_authority(certs, wish=AuthorityWish(passphrase=b"correct horse"))
    (tmp_path / "passphrase").write_text("correct horse\n")
    arguments = ["certs", "trust", "--certs", str(certs), "--root", str(machine.root), "--store", "system"]
    without = CliRunner().invoke(main, arguments)
    given = CliRunner().invoke(main, [*arguments, "--passphrase-file", str(tmp_path / "passphrase")])
    assert without.exit_code == given.exit_code == 0
    assert "Not proved with handshakes" in without.stderr
    assert "passphrase" in without.stderr
    assert "trusted in a handshake with Python's ssl" in rows(given)["system (Debian)"][1]


def test_it_says_what_the_authority_may_vouch_for(machine: Machine) -> None:
    assert re.search(r"^  may vouch for: .*localhost", run(machine, "--dry-run").stdout, re.MULTILINE)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "there is no authority here; make one with: securelight certs ca"),
        (b"", "holds no certificate in PEM form"),
        (b"chain", "is not the certificate of an authority"),
    ],
)
def test_without_an_authority_it_is_one_line_with_the_cure(
    content: bytes | None, said: str, machine: Machine, tmp_path: Path
) -> None:
    certs = tmp_path / "empty"
    certs.mkdir()
    if content is not None:
        (certs / "ca.pem").write_bytes(machine.certificates.chain.read_bytes() if content == b"chain" else content)
    result = CliRunner().invoke(main, ["certs", "trust", "--certs", str(certs)])
    assert result.exit_code == 1
    assert result.stdout == ""
    assert result.stderr.startswith(f"{certs / 'ca.pem'}: {said}")
    assert result.stderr.count("\n") == 1


def test_a_machine_without_stores_says_what_to_install(tmp_path: Path, machine: Machine) -> None:
    (tmp_path / "nothing").mkdir()
    result = run(machine, "--store", "system", "--root", str(tmp_path / "nothing"))
    assert result.exit_code == 1
    assert "No trust store was found here (system)." in result.stderr
    assert "ca-certificates" in result.stderr


def test_under_sudo_it_says_that_browsers_belong_to_somebody_else(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trust_steps, "is_superuser", lambda: True)
    assert "Run this as yourself" not in run(machine, "--dry-run").stderr
    monkeypatch.setenv("SUDO_USER", "somebody")
    assert "Run this as yourself" in run(machine, "--dry-run").stderr


def test_in_wsl_it_says_how_windows_gets_to_know(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "wsl2" not in run(machine, "--dry-run").stdout
    monkeypatch.setattr(platform, "release", lambda: "6.6.87.2-microsoft-standard-WSL2")
    assert "securelight certs export --for wsl2" in run(machine, "--dry-run").stdout


def test_an_unknown_store_is_wrong_usage(machine: Machine) -> None:
    result = run(machine, "--store", "browsers")
    assert result.exit_code == 2
    assert "'system', 'keychain', 'nss', 'java'" in result.stderr
