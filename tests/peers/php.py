"""php-fpm, started for a test."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest

from tests.server.processes import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator


def php_fpm() -> str | None:
    """The program; Debian has its version in the name."""
    found = sorted(Path("/usr/sbin").glob("php-fpm[0-9]*"))
    return str(found[-1]) if found else shutil.which("php-fpm")


class Fpm(NamedTuple):
    """A php-fpm that runs.

    Attributes:
        unix, tcp: the addresses of its two pools, five processes each; both answer /ping.
        asked: by address, the access log of the pool: a line with the path and the status of each request.
    """

    unix: str
    tcp: str
    asked: dict[str, Path]


@contextlib.contextmanager
def running_fpm(directory: Path) -> Iterator[Path]:
    """Starts one, ended with the block; gives its unix socket."""
    with running_pools(directory) as fpm:
        yield Path(fpm.unix.removeprefix("unix:"))


@contextlib.contextmanager
def running_pools(directory: Path) -> Iterator[Fpm]:
    """Starts one, ended with the block."""
    program = php_fpm()
    if program is None:
        pytest.skip("php-fpm is not installed")
    path = directory / "fpm.sock"
    account = "user = root\ngroup = root" if os.geteuid() == 0 else ""
    with socket.create_server(("127.0.0.1", 0)) as listener, (directory / "fpm.out").open("wb") as output:
        at = f"127.0.0.1:{listener.getsockname()[1]}"
        pools = {"unix": str(path), "tcp": at}
        (directory / "fpm.conf").write_text(
            f"[global]\nerror_log = {directory}/fpm.log\ndaemonize = no\n"
            + "".join(
                f"[{name}]\nlisten = {address}\npm = static\npm.max_children = 5\nping.path = /ping\n{account}\n"
                f'access.log = {directory}/{name}.log\naccess.format = "%r %s"\n'
                for name, address in pools.items()
            )
        )
        command = [program, "-F", "-y", str(directory / "fpm.conf"), *(["-R"] if os.geteuid() == 0 else [])]
        # A socket that it inherits, so that nobody else can have taken the port.
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            pass_fds=(listener.fileno(),),
            env={**os.environ, "FPM_SOCKETS": f"{at}={listener.fileno()}"},
        )
    try:
        wait_until(lambda: path.exists() or process.poll() is not None, 20)
        assert process.poll() is None, (directory / "fpm.out").read_text()
        asked = {f"unix:{path}": directory / "unix.log", at: directory / "tcp.log"}
        yield Fpm(f"unix:{path}", at, asked)
    finally:
        process.terminate()
        process.wait(20)
