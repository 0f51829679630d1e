from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from securelight.config.log_settings import AccessLogConfig
from securelight.config.schema import Config, ServerConfig
from securelight.model.errors import ConfigError
from securelight.server.log_file import STANDARD_OUTPUT, LogOutputs, close_log
from tests.helpers import open_descriptors


def config(base: Path, **log: Any) -> Config:
    return Config(ServerConfig(access_log=AccessLogConfig(**log)), (), (), base)


def opened(base: Path, **log: str) -> int:
    """The one descriptor of a plain log; -1 for none."""
    descriptor = LogOutputs(config(base, **log)).plain
    assert descriptor is not None
    return descriptor


def test_a_log_is_appended_to_and_not_for_everybody(tmp_path: Path) -> None:
    (tmp_path / "a.log").write_text("before\n")
    descriptor = opened(tmp_path, file="a.log")
    os.write(descriptor, b"after\n")
    close_log(descriptor)
    assert (tmp_path / "a.log").read_text() == "before\nafter\n"
    close_log(opened(tmp_path, file="b.log"))
    assert (tmp_path / "b.log").stat().st_mode & 0o027 == 0


def test_standard_output_and_none_are_never_closed(tmp_path: Path) -> None:
    before = open_descriptors()
    assert opened(tmp_path) == STANDARD_OUTPUT
    assert opened(tmp_path, format="off") == -1
    close_log(STANDARD_OUTPUT)
    close_log(-1)
    assert open_descriptors() == before


def test_what_root_must_not_write_to_is_refused(tmp_path: Path) -> None:
    (tmp_path / "passwd").write_text("root")
    (tmp_path / "link.log").symlink_to(tmp_path / "passwd")
    os.mkfifo(tmp_path / "pipe.log")
    for name, why in [
        ("link.log", "it is a symbolic link"),
        ("pipe.log", "it is a pipe that nobody reads"),
        ("nowhere/a.log", "No such file or directory"),
        (".", "Is a directory"),
    ]:
        with pytest.raises(ConfigError, match=why):
            opened(tmp_path, file=name)
    assert (tmp_path / "passwd").read_text() == "root"
