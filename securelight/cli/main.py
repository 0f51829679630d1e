"""The `securelight` command and the table of its subcommands."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any, Final

import click

import securelight
from securelight.cli.lazy_group import LazyGroup
from securelight.model.errors import SecurelightError

if TYPE_CHECKING:
    from collections.abc import Mapping

COMMANDS: Final[Mapping[str, tuple[str, str]]] = {
    "serve": ("securelight.cli.serve", "Serve a folder or an application over HTTPS, without any configuration."),
    "run": ("securelight.cli.run", "Run the server from a configuration file."),
    "check": ("securelight.cli.check", "Check a configuration: every fault at once, certificates and keys too."),
    "fmt": ("securelight.cli.fmt", "Lay configuration files out as usual."),
    "adapt": ("securelight.cli.adapt", "Print the configuration that is in effect."),
    "reload": ("securelight.cli.reload", "Make a running server read its configuration again."),
    "stop": ("securelight.cli.stop", "Stop a running server gracefully."),
    "logs": ("securelight.cli.logs", "Show the access log as it is written, in colour."),
    "precompress": ("securelight.cli.precompress", "Make the compressed siblings of a site's files."),
    "convert": ("securelight.cli.convert", "Make a configuration from nginx.conf or lighttpd.conf."),
    "hash-password": ("securelight.cli.hash_password", "Hash a password for basic_auth."),
    "certs": ("securelight.cli.certs.group", "Make, check, revoke and trust certificates of your own."),
    "conform": ("securelight.cli.conform", "Judge any HTTPS server by the RFCs."),
    "lab": ("securelight.cli.lab.group", "Endpoints with bad TLS, and checks of what clients make of them."),
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


class Program(LazyGroup):
    """The program: errors that we raise on purpose end in one line each."""

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
    cls=Program,
    commands=COMMANDS,
    prefix="SECURELIGHT",
    epilog=EXAMPLES,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(securelight.__version__, prog_name="securelight", message="%(prog)s %(version)s")
@click.pass_context
def main(ctx: click.Context) -> None:
    """A fast, hardened web server for HTTPS: HTTP/2 and HTTP/1.1."""
    if os.environ.get("NO_COLOR"):
        ctx.color = False
