from __future__ import annotations

import os
import pwd
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from securelight.cli.main import main
from tests.certificates import make_test_certificates

if TYPE_CHECKING:
    from click.testing import Result

CONFIG = """
[server]
[[listen]]
address = "localhost:8443"
[[site]]
hosts = ["localhost"]
root = "public"
[[site.certificate]]
chain = "certs/server.pem"
key = "certs/server.key"
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a configuration in which nothing is loose, as the current one."""
    make_test_certificates(tmp_path / "certs")
    (tmp_path / "public").mkdir()
    monkeypatch.chdir(tmp_path)
    (tmp_path / "securelight.toml").write_text(CONFIG)
    (tmp_path / "securelight.toml").chmod(0o644)
    return tmp_path


def change(old: str, new: str) -> None:
    path = Path("securelight.toml")
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))


def check() -> Result:
    return CliRunner().invoke(main, ["check"])


@pytest.mark.usefixtures("folder")
class TestLoose:
    def test_a_tight_configuration_has_no_warnings(self) -> None:
        result = check()
        assert (result.exit_code, result.stderr) == (0, "")

    def test_a_port_of_root_without_a_user(self) -> None:
        change("localhost:8443", "localhost:443")
        assert '"localhost:443" is a port of root' in check().stderr
        change("[server]", '[server]\nuser = "nobody"')
        assert check().stderr == ""

    def test_a_user_that_is_root(self) -> None:
        change("[server]", '[server]\nuser = "root"')
        assert "server.user: workers stay root" in check().stderr

    def test_a_sandbox_that_is_off(self) -> None:
        change("[server]", '[server.sandbox]\nmode = "off"')
        assert "server.sandbox.mode: workers may open every file" in check().stderr

    def test_a_sandbox_that_is_required_and_cannot_be(self) -> None:
        change("[server]", '[server.sandbox]\nmode = "required"')
        change('root = "public"', "[site.static_file]\nroot = 'public'\nfollow_symlinks = true")
        result = check()
        assert result.exit_code == 1
        assert "server.sandbox.mode: workers cannot be confined: " in result.stderr

    @pytest.mark.parametrize("root", [".", "certs", "../" * 20])
    def test_a_root_that_has_the_key_in_it(self, root: str) -> None:
        change('"public"', f'"{root}"')
        assert "certificate[0].key: " in check().stderr
        assert "which is served; move it out of there" in check().stderr

    def test_a_link_to_a_root_with_the_key_in_it(self) -> None:
        Path("link").symlink_to(".")
        change('"public"', '"link"')
        assert "which is served; move it out of there" in check().stderr

    def test_a_configuration_that_everybody_can_write(self) -> None:
        Path("securelight.toml").chmod(0o666)
        result = check()
        assert result.exit_code == 0
        assert "securelight.toml: can be written by everybody" in result.stderr

    def test_a_folder_of_the_configuration_that_everybody_can_write(self, folder: Path) -> None:
        folder.chmod(0o777)
        try:
            assert "can be written by everybody" in check().stderr
        finally:
            folder.chmod(0o700)

    def test_a_log_folder_that_everybody_can_write(self) -> None:
        Path("logs").mkdir()
        Path("logs").chmod(0o777)
        change("[server]", '[server.access_log]\nfile = "logs/access.log"')
        assert "server.access_log.file: its folder can be written by everybody" in check().stderr

    def test_a_share_that_everybody_may_write_to(self) -> None:
        change('root = "public"', '[site.webdav]\nroot = "public"\nwritable = true')
        assert "webdav.writable: everybody may change what is in it; add [site.basic_auth]" in check().stderr
        change("[site.webdav]", '[site.access]\nallow = ["127.0.0.0/8"]\n[site.webdav]')
        result = check()
        assert (result.exit_code, result.stderr) == (0, "")
        change("writable = true", "")
        assert check().stderr == ""

    def test_a_key_that_everybody_can_read(self) -> None:
        Path("certs/server.key").chmod(0o644)
        assert "can be read by others (mode 0644)" in check().stderr

    @pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
    def test_a_key_that_belongs_to_the_user_of_the_workers(self) -> None:
        change("[server]", '[server]\nuser = "nobody"')
        assert check().stderr == ""
        os.chown("certs/server.key", pwd.getpwnam("nobody").pw_uid, -1)
        assert 'belongs to "nobody", so whoever takes over a worker can read it' in check().stderr

    def test_passwords_of_digest_and_their_hashes(self) -> None:
        Path("users").write_text(f"alice:club:{'0' * 32}\n")
        Path("users").chmod(0o600)
        change(
            'root = "public"', 'root = "public"\ndigest_auth = { file = "users", realm = "club", algorithm = "MD5" }'
        )
        result = check()
        assert result.exit_code == 0, result.output
        assert "basic_auth is better" in result.stderr
        assert "algorithm MD5 is broken" in result.stderr
