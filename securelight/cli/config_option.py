"""The option that names the configuration, for the commands that read one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

if TYPE_CHECKING:
    from collections.abc import Callable

DEFAULT_CONFIG: Final = Path("securelight.toml")

config_option: Final[Callable[[Callable[..., Any]], Callable[..., Any]]] = click.option(
    "-c",
    "--config",
    "path",
    type=click.Path(path_type=Path),
    default=DEFAULT_CONFIG,
    show_default=True,
    help="The main file, or a folder of *.toml files.",
)
"""Gives the command an argument `path`."""
