from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import click
import pytest
from click.testing import CliRunner

from securelight.cli.main import COMMANDS, main
from securelight.config.faults import ConfigFaults
from securelight.model.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

MODULES = """
import json, sys
try:
    {code}
except SystemExit:
    pass
print(json.dumps(sorted(name.partition(".")[0] for name in sys.modules)), file=sys.stderr)
"""


def modules_after(code: str, folder: Path) -> set[str]:
    """The top-level packages that a fresh interpreter has loaded after `code`."""
    done = subprocess.run(
        [sys.executable, "-c", MODULES.format(code=code)], capture_output=True, text=True, check=True, cwd=folder
    )
    return set(json.loads(done.stderr.splitlines()[-1]))


def test_help_names_every_command_and_loads_none(tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["--help"])
    assert result.exit_code == 0
    assert "Examples:" in result.stdout
    for name in COMMANDS:
        assert f"\n  {name} " in result.stdout
    loaded = modules_after("from securelight.cli.main import main; main(['--help'])", tmp_path)
    assert loaded.isdisjoint({"trio", "msgspec", "cryptography", "h2", "ngh2", "structlog", "rich"})


@pytest.mark.parametrize("name", ["serve", "run"])
def test_what_serves_never_loads_cryptography(name: str, tmp_path: Path) -> None:
    loaded = modules_after(f"from securelight.cli.main import main; main(['{name}', '--help'])", tmp_path)
    assert "msgspec" in loaded
    assert "cryptography" not in loaded


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help(name: str) -> None:
    result = CliRunner().invoke(main, [name, "--help"])
    assert result.exit_code == 0
    assert result.stdout.startswith(f"Usage: main {name} ")


def test_a_misspelt_command_gets_a_suggestion() -> None:
    result = CliRunner().invoke(main, ["chek"])
    assert result.exit_code == 2
    assert "There is no command 'chek'. Did you mean check?" in result.stderr


def test_an_unknown_command_gets_the_list() -> None:
    result = CliRunner().invoke(main, ["xyzzy"])
    assert result.exit_code == 2
    assert f"The commands are {', '.join(COMMANDS)}." in result.stderr


def test_an_error_raised_on_purpose_is_lines_and_not_a_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise ConfigFaults([ConfigError("a.toml", "is wrong"), ConfigError("b.toml", "is wrong too")])

    class Broken:
        command = click.Command("check", callback=fail)

    monkeypatch.setattr("importlib.import_module", lambda _name: Broken)
    result = CliRunner().invoke(main, ["check"])
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == "a.toml: is wrong\nb.toml: is wrong too\n"


def test_options_are_environment_variables() -> None:
    result = CliRunner().invoke(main, ["version"], env={"SECURELIGHT_VERSION_JSON": "1"})
    assert json.loads(result.stdout)["securelight"]
    result = CliRunner().invoke(main, ["check"], env={"SECURELIGHT_CHECK_CONFIG": "/nowhere.toml"})
    assert result.stderr == "/nowhere.toml: cannot be read: No such file or directory\n"
    result = CliRunner().invoke(main, ["check", "-c", "/flag.toml"], env={"SECURELIGHT_CHECK_CONFIG": "/nowhere.toml"})
    assert result.stderr == "/flag.toml: cannot be read: No such file or directory\n"
