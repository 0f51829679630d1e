"""The `securelight` command: finds the subcommands by a table and imports one only when it is used.

So `securelight --help` answers at once, and `securelight serve` never loads what only `check` needs.
"""

from __future__ import annotations

import difflib
import importlib
import os
import sys
from typing import TYPE_CHECKING, Any, Final

import click

import securelight
from securelight.model.errors import SecurelightError

if TYPE_CHECKING:
    from collections.abc import Mapping

COMMANDS: Final[Mapping[str, tuple[str, str]]] = {
    "serve": ("securelight.cli.serve", "Serve a folder or an application over HTTPS, without any configuration."),
    "run": ("securelight.cli.run", "Run the server from a configuration file."),
    "check": ("securelight.cli.check", "Check a configuration: every fault at once, certificates and keys too."),
    "reload": ("securelight.cli.reload", "Make a running server read its configuration again."),
    "stop": ("securelight.cli.stop", "Stop a running server gracefully."),
    "version": ("securelight.cli.version", "Show versions, the engines found, and what TLS can do here."),
}
"""Each command's module, which has `command: click.Command`, and its line in the help."""

EXAMPLES: Final = """\b
Examples:
  securelight serve                          this folder, on https://localhost:8443
  securelight serve site --listen '*:8443'   another folder, for the whole network
  securelight serve --app shop.web:app       an ASGI application
  securelight check -c securelight.toml      is the configuration good?
  securelight run -c securelight.toml        the real thing

Every option is also an environment variable: `serve --workers` is SECURELIGHT_SERVE_WORKERS.
"""


class LazyGroup(click.Group):
    """A group whose commands are imported when they are used; errors that we raise on purpose end in one line each."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All commands, in the order of the table."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command `cmd_name`, imported now; None if there is none of that name.

        Each of its options gets its environment variable: `serve --log-format` is SECURELIGHT_SERVE_LOG_FORMAT.
        """
        if cmd_name not in COMMANDS:
            return None
        command = importlib.import_module(COMMANDS[cmd_name][0]).command
        assert isinstance(command, click.Command)
        for option in command.params:
            if isinstance(option, click.Option) and option.envvar is None:
                flag = max(option.opts, key=len).lstrip("-")
                option.envvar = f"SECURELIGHT_{cmd_name}_{flag}".upper().replace("-", "_")
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click does, with a suggestion where the name is unknown."""
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            close = difflib.get_close_matches(args[0][:40], COMMANDS, n=1)
            meant = f" Did you mean {close[0]}?" if close else f" The commands are {', '.join(COMMANDS)}."
            ctx.fail(f"There is no command {args[0]!r}.{meant}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The list of commands, from the table alone."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in COMMANDS.items()])

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; a SecurelightError becomes exit status 1 and its lines on stderr."""
        try:
            return super().invoke(ctx)
        except SecurelightError as error:
            click.echo(str(error), err=True)
            ctx.exit(1)
        except BrokenPipeError:
            # Whoever read our output has left; keep the interpreter from complaining when it flushes at its end.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            ctx.exit(1)


@click.group(
    cls=LazyGroup,
    epilog=EXAMPLES,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(securelight.__version__, prog_name="securelight", message="%(prog)s %(version)s")
@click.pass_context
def main(ctx: click.Context) -> None:
    """A fast, hardened web server for HTTPS: HTTP/2 and HTTP/1.1."""
    if os.environ.get("NO_COLOR"):
        ctx.color = False
