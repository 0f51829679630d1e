"""The command that installs an extra."""

from __future__ import annotations

import shlex
import subprocess
import sys
from typing import TYPE_CHECKING

from securelight.model.extras import install_command

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def test_it_is_for_the_python_that_runs_this(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    python, *rest = shlex.split(install_command("auth"))
    assert rest == ["-m", "pip", "install", "securelight[auth]"]
    found = subprocess.run([python, "-c", "import sys; print(sys.prefix)"], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == sys.prefix


def test_it_is_short_where_it_can_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "executable", str(tmp_path / ".venv" / "bin" / "python"))
    assert install_command("fast") == ".venv/bin/python -m pip install 'securelight[fast]'"
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert install_command("fast").startswith(f"{tmp_path}/.venv/bin/python ")
