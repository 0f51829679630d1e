"""How `reload` and `stop` find the server that they are for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from securelight.cli.config_option import DEFAULT_CONFIG
from securelight.cli.run import control_path
from securelight.config.load import load_leniently
from securelight.features import FEATURES
from securelight.server.control import ControlError


def control_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """The two options that say which server is meant."""
    function = click.option("--control", type=click.Path(path_type=Path), help="Its control socket.")(function)
    return click.option(
        "-c", "--config", "path", type=click.Path(path_type=Path), help="The configuration that it runs."
    )(function)


def find_control(path: Path | None, control: Path | None) -> Path:
    """The control socket of the server that is meant.

    Errors: ControlError if that is not clear.
    """
    if control is not None:
        return control
    if path is not None or DEFAULT_CONFIG.exists():
        if path is not None and not path.exists():
            raise ControlError(f"{path}: there is no such configuration")
        # One that has just been broken still says where its server is.
        return control_path(load_leniently(path or DEFAULT_CONFIG, FEATURES).config)
    found = sorted(Path("certs").glob("serve-*.sock"))
    if len(found) == 1:
        return found[0]
    if found:
        raise ControlError(f"several servers run here; name one: {', '.join(f'--control {one}' for one in found)}")
    raise ControlError("no server is running from this folder; name its configuration with -c, or --control SOCKET")
