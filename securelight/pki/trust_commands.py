"""Commands that change or ask a trust store: how they are shown to people, and how they are run.

Owns the use of sudo, the time that a command may take, and how a failed one is told in one line. Nothing goes through
a shell.
"""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import shutil
import signal
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

from securelight.model.errors import CertificateError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

CHANGE_SECONDS = 300.0
"""For a command that changes a store: a person may have to type a password, and Debian's Java hook is slow."""

LOOK_SECONDS = 60.0
"""For a command that only looks."""

_REASON_CHARACTERS = 300
_NOISE = re.compile(r"^\s*(at |Usage:|usage:|Picked up |$)|^W: ")


@dataclass(frozen=True, slots=True)
class Command:
    """A program and its arguments.

    Args:
        arguments: the program first.
        sudo: it needs more rights than we have.
    """

    arguments: tuple[str, ...]
    sudo: bool = False

    def __str__(self) -> str:
        """As one would type it."""
        return f"{'sudo ' if self.sudo else ''}{shlex.join(self.arguments)}"


def command_line(commands: Iterable[Command]) -> str:
    """One line for a shell that runs them all, up to the first that fails."""
    return " && ".join(map(str, commands))


def is_superuser() -> bool:
    """Whether sudo is not needed for anything."""
    return os.geteuid() == 0


def may_write(*paths: Path) -> bool:
    """Whether these can be changed without sudo."""
    return is_superuser() or all(os.access(path, os.W_OK) for path in paths)


def find_program(name: str) -> str | None:
    """Where a program is, also in the folders that only root has in its PATH; None if it is nowhere."""
    return shutil.which(name, path=os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"]))


def change(command: Command) -> None:
    """Run a command that changes a store; sudo asks for its password on the terminal, if there is one.

    Errors: CertificateError that says what went wrong and how to do it by hand.
    """
    arguments = list(command.arguments)
    if command.sudo:
        if shutil.which("sudo") is None:
            raise CertificateError(
                arguments[0], f"needs root, and sudo is not installed; as root, run: {shlex.join(arguments)}"
            )
        arguments.insert(0, "sudo")
    else:
        arguments[0] = find_program(arguments[0]) or arguments[0]
    try:
        # In our session, so that sudo finds the terminal; without input, so that nothing else waits for an answer.
        done = subprocess.run(  # noqa: S603 - no shell
            arguments, stdin=subprocess.DEVNULL, capture_output=True, timeout=CHANGE_SECONDS, check=False
        )
    except FileNotFoundError as error:
        raise CertificateError(arguments[0], "is not installed") from error
    except subprocess.TimeoutExpired as error:
        raise CertificateError(
            command.arguments[0], f"did not end within {CHANGE_SECONDS:.0f} s; run by hand: {command}"
        ) from error
    except OSError as error:
        raise CertificateError(arguments[0], f"cannot be run: {error.strerror}") from error
    if done.returncode != 0:
        said = reason(done.stderr + b"\n" + done.stdout) or f"ended with status {done.returncode}"
        if "input terminal" in said:  # certutil's way of saying that it wanted to ask something
            said = "asks for a password, which only you can type"
        raise CertificateError(command.arguments[0], f"{said}; by hand: {command}")


def look(*arguments: str, environment: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[bytes]:
    """Run a command that only looks, without a terminal it could ask questions on.

    Args:
        arguments: the program first.
        environment: added to ours.

    Errors: CertificateError if it cannot be run or does not end.
    """
    try:
        process = subprocess.Popen(  # noqa: S603 - no shell
            [find_program(arguments[0]) or arguments[0], *arguments[1:]],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
            env={**os.environ, **(environment or {})},
        )
    except OSError as error:
        raise CertificateError(arguments[0], f"cannot be run: {error.strerror}") from error
    with process:
        try:
            output, errors = process.communicate(timeout=LOOK_SECONDS)
        except subprocess.TimeoutExpired as error:
            raise CertificateError(arguments[0], f"did not end within {LOOK_SECONDS:.0f} s") from error
        finally:
            # With all of its children: a browser has several, and they outlive it.
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
    return subprocess.CompletedProcess(arguments, process.returncode, output, errors)


def reason(output: bytes) -> str:
    """The line of a program's output that says what went wrong: the first that is no noise, printable and short."""
    for line in output.decode(errors="replace").splitlines():
        if not _NOISE.match(line):
            return "".join(character for character in line.strip() if character.isprintable())[:_REASON_CHARACTERS]
    return ""
