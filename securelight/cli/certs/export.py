"""`securelight certs export`: the authority's certificate in the form that one kind of client needs, and what to do."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

import click

from securelight.pki.authority import CERTIFICATE_FILE
from securelight.pki.key_files import CERTIFICATE_MODE, write_file
from securelight.pki.trust_exports import TARGETS
from securelight.pki.trust_facts import root_facts
from securelight.pki.trust_root import read_root

EXAMPLES = "\n".join(
    [
        "\b",
        "Examples:",
        '  eval "$(securelight certs export --for node)"',
        "  securelight certs export --for docker --output securelight-ca.crt >> Dockerfile",
        "  securelight certs export --for der --output - | openssl x509 -inform der -noout -text",
        "",
        "\b",
        "Targets:",
        *(f"  {name.ljust(16)} {target.summary}" for name, target in TARGETS.items()),
        "",
        "What is to be done goes to standard output; the file that it speaks of is written, where there is one, into",
        "the folder of the authority or to --output. The key is never in it.",
    ]
)


@click.command(epilog=EXAMPLES, short_help="Write what phones, containers, Node, Java, Windows ... need to trust it.")
@click.option("--for", "name", type=click.Choice(list(TARGETS)), required=True, help="Which client.")
@click.option("--certs", type=click.Path(path_type=Path), default=Path("certs"), show_default=True,
              help="The folder of the authority.")  # fmt: skip
@click.option("--output", metavar="FILE", help="Where the file goes; - for standard output, and nothing else there.")
@click.option("--url", metavar="URL", default="https://localhost:8443/", show_default=True,
              help="The server, where the client wants to know.")  # fmt: skip
def command(*, name: str, certs: Path, output: str | None, url: str) -> None:
    """Write what one kind of client needs in order to trust the local authority."""
    root = read_root(certs / CERTIFICATE_FILE)
    root_facts(root)
    target = TARGETS[name]
    make = target.content
    if make is None:
        text = target.text(root, "", url) + "\n"
        if output is None or output == "-":
            click.echo(text, nl=False)
        else:
            write_file(Path(output), text.encode(), CERTIFICATE_MODE)
            click.echo(f"Wrote {output}", err=True)
        return
    content = make(root)
    if output == "-":
        if sys.stdout.isatty() and b"\0" in content:
            raise click.UsageError("this is no text for a terminal: name a file with --output, or pipe it")
        click.echo(content, nl=False)
        return
    path = Path(output) if output is not None else certs / target.file_name
    write_file(path, content, CERTIFICATE_MODE)
    click.echo(f"Wrote {path}", err=True)
    click.echo(target.text(root, shlex.quote(str(path.resolve())), url))
