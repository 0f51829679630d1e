"""The Autobahn test suite before an application that echoes: WebSocket as others understand it, on both engines.

Its last release runs on Python 2.7 alone, so it gets a folder of its own in our environment, where there is such a
Python. It speaks HTTP/1.1 only; the cases of tests/wire/test_websocket_cases.py are tried over HTTP/2 as well.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.wire.server_process import serving, write_config

if TYPE_CHECKING:
    from tests.certificates import TestCertificates

pytestmark = pytest.mark.peer

HERE = Path(__file__).parent
APPLICATIONS = HERE.parent / "wire"
INSTALL_SECONDS = 300.0
RUN_SECONDS = 240.0
CASES = [
    *(f"{group}.*" for group in (1, 2, 3, 4, 5, 6, 7, 10)),
    *(f"{group}.1.{n}" for group in (12, 13) for n in (1, 2, 3)),
]
"""All but limits of size and speed (9), and most of a few hundred alike of compression (12 and 13), for their time."""
GOOD = {"OK", "NON-STRICT", "INFORMATIONAL"}
"""Not strict is who does not answer a whole message that came before the fault; RFC 6455 leaves it open."""
PROGRAM = "import sys; from autobahntestsuite.wstest import run; sys.argv[0] = 'wstest'; run()"


def python_two() -> str | None:
    """A Python 2.7 that runs; pyenv keeps its own where no PATH leads."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    for program in (shutil.which("python2.7"), *sorted(pyenv.glob("versions/2.7*/bin/python2.7"))):
        if (
            program is not None
            and subprocess.run([program, "--version"], capture_output=True, check=False).returncode == 0
        ):
            return str(program)
    return None


@pytest.fixture(scope="module")
def suite() -> list[str]:
    """The command of the suite, fetched if it is not there yet."""
    python = python_two()
    if python is None:
        pytest.skip("there is no Python 2.7, which the Autobahn suite needs")
    folder = Path(sys.prefix) / "cache" / "autobahn"
    if not folder.is_dir():
        made = folder.with_name(f"autobahn-{os.getpid()}")
        install = [
            python,
            "-m",
            "pip",
            "install",
            "-q",
            "--no-deps",
            "--target",
            str(made),
            "-r",
            str(HERE / "autobahn.txt"),
        ]
        done = subprocess.run(install, capture_output=True, text=True, timeout=INSTALL_SECONDS, check=False)
        if done.returncode:
            shutil.rmtree(made, ignore_errors=True)
            pytest.skip(f"the Autobahn suite cannot be fetched: {done.stderr.strip()[-300:]}")
        (made / "zope" / "__init__.py").touch()  # where pip puts a package of that name apart, Python 2 needs it
        made.rename(folder)
    return [python, "-c", f"import sys; sys.path.insert(0, {str(folder)!r}); {PROGRAM}"]


def test_the_autobahn_suite(engine: str, suite: list[str], certificates: TestCertificates, tmp_path: Path) -> None:
    write_config(
        tmp_path,
        certificates,
        f'[site.asgi]\napp = "websocket_apps:bare"\napp_directory = "{APPLICATIONS}"\n',
        engine=engine,
        limits="websocket_message_bytes = 33554432\nwebsocket_message_frames = 200000",
    )
    with serving(tmp_path) as server:
        wishes = {
            "outdir": str(tmp_path / "reports"),
            "servers": [{"agent": "securelight", "url": f"wss://localhost:{server.port}/echo"}],
            "cases": CASES,
            "exclude-cases": [],
            "exclude-agent-cases": {},
        }
        (tmp_path / "wishes.json").write_text(json.dumps(wishes))
        done = subprocess.run(
            [*suite, "-m", "fuzzingclient", "-s", str(tmp_path / "wishes.json")],
            env={**os.environ, "PYTHONWARNINGS": "ignore"},
            capture_output=True, text=True, timeout=RUN_SECONDS, check=False,
        )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    results = json.loads((tmp_path / "reports" / "index.json").read_text())["securelight"]
    assert len(results) > 240
    assert {name: one for name, one in results.items() if not {one["behavior"], one["behaviorClose"]} <= GOOD} == {}
