"""What a server of the comparison is, and how its configuration file is filled in."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

import bcrypt

from benchmarks.setting import Identity, Setting, connection_limit, find_program

_HERE = Path(__file__).parent
APPLICATION_FOLDER = _HERE.parent / "apps"
_VERSION_SECONDS = 10
RULES = 100
"""Of the rows with rules; none of them fits."""
USER, PASSWORD = b"keeper", b"lamp oil"


class Ability(StrEnum):
    """What a workload needs and not every server has."""

    HTTP1 = "HTTP/1.1"
    HTTP2 = "HTTP/2"
    TLS12 = "TLS 1.2"
    CLOSE = "a connection that ends when it is asked to"
    SMALL_FILES = "files of 10 kB and less"
    FILES = "files of any size"
    CONDITIONS = "validators and ranges"
    PRECOMPRESSED = "precompressed files"
    APPLICATIONS = "ASGI applications"
    WEBSOCKETS = "WebSockets of ASGI applications"
    WSGI = "WSGI applications"
    FASTCGI = "PHP by FastCGI"
    SITES = "many sites with a certificate each"
    PROXY = "servers behind it"
    CODING = "compression of what is sent"
    CACHE = "a cache of answers"
    RULES = "a hundred rules"
    LIMITS = "a rate limit"
    PASSWORDS = "passwords"


ALL_FILES = frozenset(
    {
        Ability.HTTP1,
        Ability.HTTP2,
        Ability.TLS12,
        Ability.CLOSE,
        Ability.SMALL_FILES,
        Ability.FILES,
        Ability.CONDITIONS,
        Ability.PRECOMPRESSED,
    }
)


@dataclass(frozen=True, slots=True)
class Place:
    """What one start of a server gets of its own.

    Attributes:
        directory: where it may write.
        port: where it listens, on 127.0.0.1.
        identities: its sites; all serve the same files.
        application: the applications are wanted too.
        features: a route for each feature that has a row; never where there are many sites, which are plain.
    """

    directory: Path
    port: int
    identities: tuple[Identity, ...]
    application: bool = False
    features: bool = True


@dataclass(frozen=True, slots=True)
class Peer:
    """One server.

    Attributes:
        name: for tables and the command line.
        program: what has to be installed; found in PATH, or in the environment of the peers if `from_pypi`.
        package: what to install for it.
        command: writes what the server needs, and returns the command that serves, without the program itself.
        abilities: the workloads that it can take part in.
        version: arguments that make the program say its version.
        environment: variables for it.
        reason_phrases: it sends `200 OK`, not `200` alone, on HTTP/1.1.
    """

    name: str
    program: str
    package: str
    command: Callable[[Setting, Place], list[str]]
    abilities: frozenset[Ability]
    version: tuple[str, ...] = ("--version",)
    environment: Mapping[str, str] = field(default_factory=dict)
    from_pypi: bool = False
    reason_phrases: bool = True

    def find(self, setting: Setting) -> str | None:
        """The path of the program, or None if it is not installed."""
        if not self.from_pypi:
            return find_program(self.program)
        path = setting.peers / "bin" / self.program
        return str(path) if path.exists() else None

    def say_version(self, setting: Setting) -> str:
        """Its name and version, one line."""
        program = self.find(setting)
        if program is None:
            return "not installed"
        command = [program, *self.version]
        if self.from_pypi:  # not every one of them has --version
            code = f"import importlib.metadata as m; print('{self.package}', m.version('{self.package}'))"
            command = [str(setting.peers / "bin" / "python"), "-c", code]
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=_VERSION_SECONDS, stdin=subprocess.DEVNULL
        )
        lines = (done.stdout + done.stderr).strip().splitlines()
        return lines[0].strip() if lines else "unknown"


def fill(template: str, values: Mapping[str, object]) -> str:
    """`template` with every @name@ replaced.

    Errors: ValueError if one is left, which would start the server with something that nobody meant.
    """
    for name, value in values.items():
        template = template.replace(f"@{name}@", str(value))
    if "@" in template:
        at = template.index("@")
        raise ValueError(f"nothing is known for {template[at : at + 30]!r}")
    return template


def common_values(setting: Setting, place: Place) -> dict[str, object]:
    """What every configuration may name."""
    first = place.identities[0]
    return {
        "directory": place.directory,
        "port": place.port,
        "site": setting.site,
        "origin": setting.origin_port,
        "php": setting.php_socket,
        "connections": connection_limit(),
        "descriptors": 2 * connection_limit() + 800,
        "first_chain": first.chain,
        "first_key": first.key,
        "users": place.directory / "users",
    }


def write_users(place: Place) -> None:
    """The file of users of the rows with a password; bcrypt at its cheapest."""
    hashed = bcrypt.hashpw(PASSWORD, bcrypt.gensalt(4, b"2a")).decode()
    (place.directory / "users").write_text(f"{USER.decode()}:{hashed}\n")


def split_template(name: str) -> tuple[str, str, str]:
    """The template file `name`: what comes before, for each, and after the sites."""
    text = (_HERE / name).read_text()
    if "#@each_site\n" not in text:
        return text, "", ""
    before, _, rest = text.partition("#@each_site\n")
    each, _, after = rest.partition("#@end\n")
    return before, each, after


def each_site(block: str, place: Place, values: Mapping[str, object]) -> list[str]:
    """`block` for every site."""
    return [fill(block, {**values, "host": one.host, "chain": one.chain, "key": one.key}) for one in place.identities]


def site_features(name: str, setting: Setting, place: Place, **more: object) -> str:
    """The template file `name`, which belongs into the site; nothing where sites are plain."""
    if len(place.identities) > 1 or not place.features:
        return ""
    return fill((_HERE / name).read_text(), {**common_values(setting, place), **more})


def write_config(name: str, setting: Setting, place: Place, **more: object) -> Path:
    """Fill in the template file `name` and write it to the server's folder; returns where."""
    values = {**common_values(setting, place), **more}
    before, each, after = split_template(name)
    if not each:
        values |= {"chain": place.identities[0].chain, "key": place.identities[0].key}
    path = place.directory / name
    path.write_text(fill(before, values) + "".join(each_site(each, place, values)) + fill(after, values))
    return path
