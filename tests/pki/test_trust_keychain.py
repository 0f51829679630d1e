"""The commands only: the keychain itself exists on macOS alone. A stand-in answers as Apple's `security` does."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from securelight.model.errors import CertificateError
from securelight.pki import trust_keychain
from securelight.pki.trust_keychain import Keychain
from securelight.pki.trust_root import read_root
from tests.certificates import TestCertificates
from tests.pki.trust_machine import path_with, put_program


def test_it_is_held_if_it_is_there_and_trusted(
    certificates: TestCertificates, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, ca = read_root(certificates.ca), shlex.quote(str(certificates.ca))
    monkeypatch.setattr(trust_keychain, "is_superuser", lambda: False)
    monkeypatch.setenv("PATH", path_with(tmp_path / "bin"))
    put_program(tmp_path / "bin", "security", f'[ "$1" = verify-cert ] || cat {ca}')
    keychain = Keychain(tmp_path / "System.keychain")
    assert keychain.obstacle() == ""
    assert keychain.holds(root)
    assert [str(command).split()[:3] for command in keychain.remove(root)] == [
        ["sudo", "security", "remove-trusted-cert"],
        ["sudo", "security", "delete-certificate"],
    ]
    put_program(tmp_path / "bin", "security", f'[ "$1" != verify-cert ] && cat {ca}')
    assert not keychain.holds(root), "there, but not trusted"
    put_program(tmp_path / "bin", "security", "echo 'The specified item could not be found' >&2; exit 44")
    assert not keychain.holds(root)
    assert keychain.remove(root) == ()
    put_program(tmp_path / "bin", "security", "echo 'UNIX[Permission denied]' >&2; exit 1")
    with pytest.raises(CertificateError, match="Permission denied"):
        keychain.holds(root)


def test_elsewhere_it_is_not_offered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trust_keychain, "find_program", lambda name: None)
    assert "macOS only" in Keychain().obstacle()
