"""A group of commands that finds them by a table and imports one only when it is used.

So `--help` answers at once, and no command loads what only another one needs.
"""

from __future__ import annotations

import difflib
import importlib
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from collections.abc import Mapping


class LazyGroup(click.Group):
    """See above.

    Args:
        commands: the table, in the order of the help.
        prefix: what the environment variables of the options begin with, as in SECURELIGHT_SERVE_LOG_FORMAT.
    """

    def __init__(self, *args: Any, commands: Mapping[str, tuple[str, str]], prefix: str, **settings: Any) -> None:
        super().__init__(*args, **settings)
        self._table = commands
        self._prefix = prefix

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All commands, in the order of the table."""
        return list(self._table)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command `cmd_name`, imported now; None if there is none of that name.

        Each of its options gets its environment variable: `serve --log-format` is SECURELIGHT_SERVE_LOG_FORMAT.
        """
        if cmd_name not in self._table:
            return None
        command = importlib.import_module(self._table[cmd_name][0]).command
        assert isinstance(command, click.Command)
        for option in command.params:
            if isinstance(option, click.Option) and option.envvar is None:
                flag = max(option.opts, key=len).lstrip("-")
                option.envvar = f"{self._prefix}_{cmd_name}_{flag}".upper().replace("-", "_")
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click does, with a suggestion where the name is unknown."""
        if args and args[0] not in self._table and not args[0].startswith("-"):
            close = difflib.get_close_matches(args[0][:40], self._table, n=1)
            meant = f" Did you mean {close[0]}?" if close else f" The commands are {', '.join(self._table)}."
            ctx.fail(f"There is no command {args[0]!r}.{meant}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The list of commands, from the table alone."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in self._table.items()])
