"""php-fpm, started for a test."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.server.processes import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator


def php_fpm() -> str | None:
    """The program; Debian has its version in the name."""
    found = sorted(Path("/usr/sbin").glob("php-fpm[0-9]*"))
    return str(found[-1]) if found else shutil.which("php-fpm")


@contextlib.contextmanager
def running_fpm(directory: Path) -> Iterator[Path]:
    """php-fpm with three processes; gives its socket."""
    program = php_fpm()
    if program is None:
        pytest.skip("php-fpm is not installed")
    socket, log = directory / "fpm.sock", directory / "fpm.log"
    account = "user = root\ngroup = root" if os.geteuid() == 0 else ""
    (directory / "fpm.conf").write_text(
        f"[global]\nerror_log = {log}\ndaemonize = no\n"
        f"[www]\nlisten = {socket}\npm = static\npm.max_children = 3\n{account}\n"
    )
    command = [program, "-F", "-y", str(directory / "fpm.conf"), *(["-R"] if os.geteuid() == 0 else [])]
    with (directory / "fpm.out").open("wb") as output:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
    try:
        wait_until(lambda: socket.exists() or process.poll() is not None, 20)
        assert process.poll() is None, (directory / "fpm.out").read_text()
        yield socket
    finally:
        process.terminate()
        process.wait(20)
