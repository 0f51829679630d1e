"""Fetches the HTTP cache tests from npm, starts their origin server, and runs them against a cache before it.

The packages are pinned by digest and unpacked beside the virtual environment, without what only their web page needs.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import os
import re
import select
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple

HERE = Path(__file__).parent
VERSION: Final = "0.4.5"
_PACKAGES: Final = {
    f"http-cache-tests@{VERSION}": (
        ".",
        "DjuwN9nUZXLTW+wav1LRESCZNVxl8SshwOy4z1pxuWbWt5/ay6sM9QQ1lebBaDO6P1IMBoK6mdf+PuVP/QNL8A==",
    ),
    "node-fetch@2.6.1": (
        "node_modules/node-fetch",
        "V4aYg89jEoVRxRb2fJdAg8FHvI7cEyYdVAh94HH0UIK8oJxUfkjlDQN9RbMx+bEjP7+ggMiFRprSti032Oipxw==",
    ),
}
"""Package to the folder that it goes to, and the SHA-512 of its archive."""
FETCH_SECONDS = 120.0
RUN_SECONDS = 240.0
START_SECONDS = 30.0


class Unreachable(Exception):
    """The suite cannot be had here; says why."""


class Result(NamedTuple):
    """What came of one test.

    Attributes:
        id, suite, name: of the test.
        kind: `required`, `optimal` or `check`, which only looks at what a cache does.
        outcome: `pass` or `fail`; of a check `yes` or `no`; `setup` if the cache does not do what the test is built on;
            `untested` if it does not pass a test that this one depends on; `broken` or `retry`.
        said: why it is not a pass.
    """

    id: str
    suite: str
    name: str
    kind: str
    outcome: str
    said: str


def fetched_suite() -> Path:
    """The folder of the suite, fetched from npm if it is not there yet.

    Errors: Unreachable.
    """
    folder = Path(sys.prefix) / "cache" / f"http-cache-tests-{VERSION}"
    if folder.is_dir():
        return folder
    for program in ("node", "npm"):
        if shutil.which(program) is None:
            raise Unreachable(f"{program} is not installed")
    folder.parent.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as name:
        made = Path(name) / "made"
        for package, (place, digest) in _PACKAGES.items():
            _unpack(_packed(package, Path(name)), digest, made / place)
        if not folder.is_dir():
            made.rename(folder)
    return folder


def _packed(package: str, folder: Path) -> Path:
    command = ["npm", "pack", package, "--pack-destination", str(folder), "--json"]
    try:
        done = subprocess.run(command, capture_output=True, timeout=FETCH_SECONDS, cwd=folder, check=False, text=True)
    except subprocess.TimeoutExpired as error:
        raise Unreachable("the npm registry does not answer") from error
    if done.returncode:
        raise Unreachable(f"the npm registry cannot be reached: {done.stderr.strip()[-300:]}")
    file_name: str = json.loads(done.stdout)[0]["filename"]
    return folder / file_name


def _unpack(archive: Path, digest: str, folder: Path) -> None:
    data = archive.read_bytes()
    assert base64.b64encode(hashlib.sha512(data).digest()).decode() == digest, f"{archive.name} is not the one we know"
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        for member in tar.getmembers():
            place = folder / Path(*Path(member.name).parts[1:])
            assert folder in place.parents, member.name
            content = tar.extractfile(member) if member.isfile() else None
            if content is not None:
                place.parent.mkdir(parents=True, exist_ok=True)
                place.write_bytes(content.read())


@contextmanager
def origin_server(suite: Path) -> Iterator[int]:
    """The suite's own origin server; gives its port on 127.0.0.1."""
    with tempfile.TemporaryDirectory() as directory, (Path(directory) / "log").open("w+") as log:
        settings = {"protocol": "http", "port": "0", "pidfile": f"{directory}/pid"}
        environment = os.environ | {f"npm_config_{name}": value for name, value in settings.items()}
        command = ["node", "--require", str(HERE / "on_loopback.cjs"), "server/server.mjs"]
        process = subprocess.Popen(command, cwd=suite, env=environment, stdout=log, stderr=log)
        try:
            deadline = time.monotonic() + START_SECONDS
            while not (found := re.search(r"Listening on http://127\.0\.0\.1:(\d+)/", Path(log.name).read_text())):
                assert process.poll() is None, Path(log.name).read_text()
                assert time.monotonic() < deadline, "the origin server does not start"
                select.select([], [], [], 0.05)
            yield int(found[1])
        finally:
            process.terminate()
            process.wait()


def run_suite(suite: Path, base: str, *, ca: Path | None = None, ids: Sequence[str] = ()) -> list[Result]:
    """Run the tests, or those with `ids` and what they depend on, through the cache at `base`.

    Args:
        base: its URL, without a slash at its end.
        ca: the authority that its certificate is signed by.
    """
    environment = dict(os.environ)
    if ca is not None:
        environment["NODE_EXTRA_CA_CERTS"] = str(ca)
    command = ["node", "--no-warnings", "--dns-result-order=ipv4first", str(HERE / "run_suite.mjs"), str(suite), base]
    done = subprocess.run(
        [*command, *ids], capture_output=True, text=True, timeout=RUN_SECONDS, env=environment, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return [Result(**one) for one in json.loads(done.stdout)]
