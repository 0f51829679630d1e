"""The systemd unit in examples: systemd understands it, what it starts exists, and the server lives with what it takes
away."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
from contextlib import closing
from pathlib import Path

import pytest

from tests.certificates import make_test_certificates
from tests.server.processes import make_site, securelight, wait_until
from tests.server.test_service_manager import Manager
from tests.wire.clients import Http1
from tests.wire.server_process import write_config

UNIT = Path(__file__).parent.parent / "examples" / "systemd" / "securelight.service"
MOST_EXPOSURE = 4.0
"""What systemd calls OK ends at 5."""
SETTINGS: list[tuple[str, str]] = re.findall(r"^(\w+)=(.*)$", UNIT.read_text(), re.MULTILINE)

needs_systemd = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not here")


def setting(name: str) -> str:
    [value] = [value for key, value in SETTINGS if key == name]
    return value


@pytest.mark.parametrize("key", ["ExecStartPre", "ExecStart", "ExecReload"])
def test_what_it_starts_is_a_command_of_ours_with_options_that_it_has(key: str) -> None:
    program, command, *arguments = shlex.split(setting(key))
    assert Path(program).name == "securelight"
    done = securelight(command, "--help")
    assert done.returncode == 0
    for option in arguments[::2]:
        assert f"{option}, " in done.stdout


@needs_systemd
def test_systemd_understands_it(tmp_path: Path) -> None:
    unit = tmp_path / UNIT.name
    unit.write_text(UNIT.read_text().replace("/opt/securelight/bin/securelight", sys.executable))
    done = subprocess.run(["systemd-analyze", "verify", unit], capture_output=True, text=True, timeout=60, check=False)
    assert [line for line in done.stderr.splitlines() if UNIT.name in line] == []


@needs_systemd
def test_systemd_finds_it_tight(tmp_path: Path) -> None:
    done = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--no-pager", UNIT],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=tmp_path,
    )
    if "--offline" in done.stderr:
        pytest.skip("this systemd-analyze cannot look at files yet")
    found = re.search(r"exposure level for \S+: ([\d.]+)", done.stdout)
    assert found is not None, done.stdout[-500:] + done.stderr
    assert float(found[1]) < MOST_EXPOSURE


@pytest.mark.skipif(os.geteuid() != 0 or shutil.which("setpriv") is None, reason="takes root, and setpriv")
def test_the_server_lives_with_the_capabilities_that_it_is_left() -> None:
    """Root with nothing but those, no new privileges and no writable code: becomes a user, serves, reloads, stops."""
    capabilities = [f"+{name.removeprefix('CAP_').lower()}" for name in setting("CapabilityBoundingSet").split()]
    directory = Path(tempfile.mkdtemp(prefix="securelight-test-"))
    directory.chmod(0o755)
    try:
        certificates = make_test_certificates(directory / "certs")
        make_site(directory)
        config = write_config(directory, certificates, 'root = "site"')
        config.write_text(config.read_text().replace("[server]", '[server]\nuser = "nobody"', 1))
        manager = Manager(str(directory / "notify"))
        no_writable_code = (
            "import ctypes, os, sys; ctypes.CDLL(None).prctl(65, 1, 0, 0, 0); os.execv(sys.argv[1], sys.argv[1:])"
        )
        command = ["setpriv", "--bounding-set=" + ",".join(["-all", *capabilities]), "--no-new-privs"]
        command += [sys.executable, "-c", no_writable_code]
        with (
            closing(manager),
            subprocess.Popen(
                [*command, sys.executable, "-m", "securelight", "run", "-c", config],
                env={**os.environ, "NOTIFY_SOCKET": str(directory / "notify")},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
            ) as process,
        ):
            try:
                wait_until(lambda: manager.states() == ["READY"] or process.poll() is not None, 30)
                assert process.poll() is None
                assert process.stderr is not None
                serving = next(line for line in process.stderr if '"serving"' in line)
                found = re.search(r'127\.0\.0\.1:(\d+)"', serving)
                assert found is not None
                done = securelight("reload", "-c", config)
                assert (done.returncode, done.stderr) == (0, "")
                with closing(Http1(int(found[1]), certificates.ca)) as client:
                    assert client.request("GET", "/").status == 200
                process.send_signal(signal.SIGTERM)
                assert process.wait(30) == 0
            finally:
                if process.poll() is None:
                    process.kill()
    finally:
        shutil.rmtree(directory)
