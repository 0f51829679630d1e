"""A configuration that is being made from another server's, and what could not be carried over."""

from __future__ import annotations

import copy
import re
from typing import Any, Final

from securelight.config.faults import printable
from securelight.config.layout import write_toml

MAXIMUM_NOTES: Final = 200
_WITH_ROOT: Final = ("fastcgi", "directory_listing")
"""Whose root is what the path of the route stands for, as that of the route itself."""
_CAPTURE: Final = re.compile(r"\$(\d)|\$\{(\d)\}")


Line = int | str
"""A number, with the file behind it if that is not the main one."""


class SyntaxFault(ValueError):
    """A text that is not what it should be; the message names the line."""


class Draft:
    """What has been made so far.

    Attributes:
        server: the table `[server]`.
        listens: by address.
        sites: the tables `[[site]]`.
        notes: what the reader has to look at, with the lines of the original.
    """

    def __init__(self) -> None:
        self.server: dict[str, Any] = {}
        self.listens: dict[str, dict[str, Any]] = {}
        self.sites: list[dict[str, Any]] = []
        self.notes: list[str] = []

    def note(self, line: Line, text: str) -> None:
        """Something that was not carried over, or not quite."""
        entry = f"line {line}: {printable(text, 160)}"
        if len(self.notes) < MAXIMUM_NOTES and entry not in self.notes:
            self.notes.append(entry)

    def listen(self, address: str, *, redirect: bool = False) -> None:
        """Listen there; an address that serves https stays one."""
        table = {"address": address} | ({"plain_http": "redirect"} if redirect else {})
        if address not in self.listens or not redirect:
            self.listens[address] = table

    def free(self, hosts: list[str], line: Line) -> list[str]:
        """Those of `hosts` that no site has yet; the others become a note."""
        taken = {host for site in self.sites for host in site["hosts"]}
        again = [host for host in hosts if host in taken]
        if again:
            self.note(line, f"another server for {', '.join(again)}; one site here has all that is for a host")
        return [host for host in hosts if host not in taken]

    def toml(self, source: str) -> str:
        """All of it, as a file; `source` names the original."""
        head = [f"# Made from {printable(source)} by securelight convert. Look through it, then: securelight check"]
        head += [f"# not carried over: {note}" for note in self.notes]
        table: dict[str, Any] = {}
        if self.server:
            table["server"] = self.server
        table["listen"] = list(self.listens.values())
        if all("plain_http" in listen for listen in table["listen"]):
            table["listen"].append({"address": "*:443"})
        table["site"] = self.sites
        return "\n".join(head) + "\n\n" + write_toml(table)


def with_captures(text: str) -> str:
    """`$1` as `{1}`; braces that were there already are doubled."""
    return _CAPTURE.sub(
        lambda match: "{" + (match[1] or match[2]) + "}", re.sub(r"(?<!\$)\{|(?<!\$\{\d)\}", lambda m: m[0] * 2, text)
    )


def below(path: str, routes: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Copies of `routes`, which have a condition and stand at `/`, for what is below `path`.

    Here the longest path decides before conditions are asked; there, conditions come first. Without these a folder with
    a route of its own would show the source of programs that run everywhere else.
    """
    copies = []
    for route in copy.deepcopy(routes):
        for table in (route, *(route[name] for name in _WITH_ROOT if name in route)):
            if "root" in table:
                table["root"] = table["root"].rstrip("/") + path
        copies.append(route | {"path": path})
    return copies


def add_rule(site: dict[str, Any], feature: str, rule: dict[str, Any]) -> None:
    """Append a rule to the table of a feature."""
    site.setdefault(feature, {}).setdefault("rule", []).append(rule)
