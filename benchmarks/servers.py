"""The servers that are compared, and what each is started with. One row of SERVERS a server.

A server gets a folder of its own, a port, a certificate and the folder of files to serve, on one processor core.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.workloads import SMALL_FILE_BYTES

SMALL_FILE = "small.html"
HUGE_FILE = "huge.bin"


@dataclass(frozen=True, slots=True)
class Bench:
    """What all servers of a run share.

    Attributes:
        directory: where each server may write below its name.
        site: the folder that is served.
        authority, chain, key: certificate files.
    """

    directory: Path
    site: Path
    authority: Path
    chain: Path
    key: Path


@dataclass(frozen=True, slots=True)
class Server:
    """One server.

    Attributes:
        name: for the table and the command line.
        prepare: writes what it needs below the given folder, and returns the command that serves on the given port.
    """

    name: str
    prepare: Callable[[Bench, Path, int], list[str]]


SECURELIGHT_CONFIG = """\
[server]
workers = 1
engine = "{engine}"
event_log = "json"

[server.access_log]
format = "combined"
file = "{directory}/access.log"

[[listen]]
address = "127.0.0.1:{port}"

[[site]]
hosts = ["localhost", "127.0.0.1"]
root = "{site}"

[site.set_headers]
set = {{ x-content-type-options = "nosniff", referrer-policy = "no-referrer" }}

[site.hsts]
max_age_seconds = 86400

[[site.certificate]]
chain = "{chain}"
key = "{key}"
"""


def _securelight(engine: str) -> Callable[[Bench, Path, int], list[str]]:
    def prepare(bench: Bench, directory: Path, port: int) -> list[str]:
        config = directory / "securelight.toml"
        config.write_text(
            SECURELIGHT_CONFIG.format(
                engine=engine, directory=directory, port=port, site=bench.site, chain=bench.chain, key=bench.key
            )
        )
        return [sys.executable, "-m", "securelight", "run", "-c", str(config)]

    return prepare


def _bare(bench: Bench, _directory: Path, port: int) -> list[str]:
    files = (bench.chain, bench.key, bench.site)
    return [sys.executable, "-m", "benchmarks.bare_reactor", str(port), *map(str, files)]


SERVERS = {
    server.name: server
    for server in (
        Server("bare", _bare),
        Server("securelight", _securelight("native")),
        Server("securelight-pure", _securelight("pure")),
    )
}
BASELINE = "bare"
"""What the ratios are of."""


def make_bench(directory: Path) -> Bench:
    """The files that are served and a certificate for them, below `directory`.

    Errors: CalledProcessError if no certificate could be made.
    """
    site, certificates = directory / "site", directory / "certs"
    site.mkdir()
    line = b"<p>A page that is exactly as small as many first pages are.</p>\n"
    page = (b"<!doctype html>\n<title>small</title>\n" + line * 20)[:SMALL_FILE_BYTES]
    (site / SMALL_FILE).write_bytes(page)
    command = [sys.executable, "-m", "securelight.cli.make_certificates", "--json", "--directory", str(certificates)]
    made = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    authority, leaf = made["authority"], made["leaf"]
    return Bench(directory, site, Path(authority["certificate"]), Path(leaf["chain"]), Path(leaf["key"]))
