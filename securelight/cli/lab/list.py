"""`securelight lab list`: the cases, without running any."""

from __future__ import annotations

import click

from securelight.lab.case import Verdict
from securelight.lab.catalogue import FAMILIES, chosen
from securelight.lab.page import WORDS, list_json

COLOURS = {Verdict.ACCEPT: "green", Verdict.REFUSE: "red", Verdict.EITHER: "yellow", Verdict.WARN: "magenta"}


@click.command(short_help="List the cases.")
@click.argument("wanted", metavar="[CASE|FAMILY]...", nargs=-1)
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def command(wanted: tuple[str, ...], as_json: bool) -> None:
    """List the cases, and what a correct client does with each.

    A family is one of good, dates, names, chains, signatures, versions, handshakes, clients and http.
    """
    cases = chosen(wanted)
    if as_json:
        click.echo(list_json(cases), nl=False)
        return
    width = max(len(case.id) for case in cases)
    for family, (title, _) in FAMILIES.items():
        members = [case for case in cases if case.family == family]
        if members:
            click.echo(f"\n{click.style(title, bold=True)}")
        for case in members:
            if case.not_offered:
                words = click.style(f"{'not offered':<13}", dim=True)
                click.echo(f"  {case.id:<{width}}  {words}  {case.title} ({case.not_offered})")
            else:
                words = click.style(f"{WORDS[case.verdict]:<13}", fg=COLOURS[case.verdict])
                click.echo(f"  {case.id:<{width}}  {words}  {case.title}")
    offered = sum(not case.not_offered for case in cases)
    click.echo(f"\n{offered} cases are offered, {len(cases) - offered} are not.")
