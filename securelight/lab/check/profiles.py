"""The clients that `lab check` knows: how each is run, and where it is known to differ from a correct one.

The tables of differences are data (differences.toml beside this file): `profile.case = [outcomes, why]`.
"""

from __future__ import annotations

import functools
import importlib.util
import shutil
import sys
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

SCRIPTS: Final = Path(__file__).parent / "scripts"
DIFFERENCES: Final = Path(__file__).parent / "differences.toml"


@dataclass(frozen=True, slots=True)
class Difference:
    """Where a client is known not to do what a correct one does, or what it does where that is open.

    Args:
        outcomes: what it may do (`accepted`, `refused`, `hung`).
        why: for people.
    """

    outcomes: tuple[str, ...]
    why: str


@dataclass(frozen=True, slots=True)
class Profile:
    """A client.

    Args:
        name: on the command line.
        command: with {url}, {ca}, {proxy}.
        with_certificate: the arguments that show a client certificate, with {cert} and {key}.
        program: has to be found for it to run.
        module: a Python module that has to be there too.
        talks: one process takes all questions (see talking.py).
        prepare: run once before all, with {directory}.
    """

    name: str
    command: tuple[str, ...]
    with_certificate: tuple[str, ...] = ("{cert}", "{key}")
    program: str = ""
    module: str = ""
    prepare: tuple[str, ...] = ()
    talks: bool = False

    @property
    def missing(self) -> str:
        """What it needs and is not here; empty if nothing."""
        if self.program and not shutil.which(self.program):
            return f"{self.program} is not installed"
        if self.module and importlib.util.find_spec(self.module) is None:
            return f"the Python package {self.module} is not installed"
        return ""


def _python(name: str, module: str = "") -> Profile:
    command = (sys.executable, str(SCRIPTS / "python_client.py"), name)
    return Profile(name, command, module=module, talks=True)


PROFILES: Final[Mapping[str, Profile]] = {
    profile.name: profile
    for profile in (
        Profile("curl", ("curl", "--silent", "--show-error", "--max-time", "4", "--output", "/dev/null", "--noproxy",
                         "*", "--cacert", "{ca}", "--resolve", "{host}:{port}:127.0.0.1", "{url}"),
                ("--cert", "{cert}", "--key", "{key}"), program="curl"),
        Profile("wget", ("wget", "--quiet", "--no-verbose", "--tries=1", "--timeout=4", "--max-redirect=0",
                         "--output-document=/dev/null", "--ca-certificate={ca}", "--no-hsts", "--execute",
                         "use_proxy=yes", "--execute", "https_proxy={proxy}", "{url}"),
                ("--certificate={cert}", "--private-key={key}"), program="wget"),
        _python("python"),
        _python("requests", "requests"),
        _python("httpx", "httpx"),
        Profile("node", ("node", str(SCRIPTS / "node_client.js")), program="node", talks=True),
        Profile("go", ("{directory}/go_client", "{url}", "{ca}"), program="go",
                prepare=("go", "build", "-o", "{directory}/go_client", str(SCRIPTS / "go_client.go"))),
        Profile("chromium", (), program="certutil"),
    )
}  # fmt: skip
"""By name. `chromium` has no command: one browser visits all cases (see chromium.py)."""


@functools.cache
def differences(profile: str) -> Mapping[str, Difference]:
    """The known differences of a profile, by the id of the case."""
    tables = tomllib.loads(DIFFERENCES.read_text(encoding="utf-8"))
    found: dict[str, Difference] = {}
    for names, entries in tables.items():
        if profile in names.split("+"):
            found |= {case: Difference(tuple(outcomes.split("|")), why) for case, (outcomes, why) in entries.items()}
    return found
