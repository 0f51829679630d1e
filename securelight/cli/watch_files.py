"""`--reload`, for development: watches files in a child process that asks the server to reload when some change.

A process of its own, because the supervisor has no threads and forks. It does nothing but send SIGHUP: what follows is
the reload that every server has, so what does not load changes nothing. It ends with the server.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from securelight.model.extras import install_command

if TYPE_CHECKING:
    from securelight.config.schema import Config

LOOK_MILLISECONDS = 1_000
"""How often the child looks whether the server is still there."""
SUFFIXES = (".toml", ".html", ".jinja", ".jinja2")
"""What counts beside Python files."""


def folders_of(config: Config) -> list[Path]:
    """Where the files are that a server with `config` is made of: those of the configuration and of applications."""
    folders = {path.absolute().parent for path in config.files}
    for site in config.sites:
        for route in site.routes:
            for item in route.features:
                directory = getattr(item.settings, "app_directory", None)
                if directory is not None:
                    folders.add((site.base / directory).absolute())
    return sorted(folders)


@contextlib.contextmanager
def reloading(folders: Sequence[Path]) -> Iterator[None]:
    """Have `folders` watched for this process, the supervisor to be.

    Errors: click.UsageError if watchfiles is not installed.
    """
    if importlib.util.find_spec("watchfiles") is None:
        raise click.UsageError(f"--reload needs an extra: {install_command('reload')}")
    sys.dont_write_bytecode = True  # a file that changes twice in a second would be believed to be the old one
    command = [sys.executable, "-m", "securelight.cli.watch_files", str(os.getpid()), *map(str, folders)]
    watcher = subprocess.Popen(command, stdin=subprocess.DEVNULL)  # noqa: S603 - our own interpreter, no shell
    try:
        yield
    finally:
        watcher.terminate()
        watcher.wait()


def main(server: int, folders: Iterable[str]) -> None:
    """The child: until the process `server` is no longer its parent."""
    from watchfiles import PythonFilter, watch  # noqa: PLC0415 - an extra, and for this process alone

    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    found = watch(
        *folders,
        watch_filter=PythonFilter(extra_extensions=SUFFIXES),
        rust_timeout=LOOK_MILLISECONDS,
        yield_on_timeout=True,
        raise_interrupt=False,
    )
    for changes in found:
        if os.getppid() != server:
            return
        if changes:
            names = sorted({os.path.relpath(path) for _change, path in changes})
            click.echo(f"changed: {', '.join(names[:5])}{' ...' if len(names) > 5 else ''}", err=True)
            os.kill(server, signal.SIGHUP)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
