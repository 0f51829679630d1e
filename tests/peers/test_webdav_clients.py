"""Clients of WebDAV that nobody here wrote: litmus, whose suites judge servers, cadaver, rclone and curl."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.wire.server_process import ServerProcess, serving, write_config

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.certificates import TestCertificates

pytestmark = pytest.mark.peer

SUITES = {"basic": 16, "copymove": 13, "props": 30, "locks": 41, "http": 3}
"""The tests of each of litmus 0.13; docs/webdav.md has them too."""
SHARE = """
[[site.route]]
path = "/dav"
[site.route.webdav]
root = "share"
writable = true
"""


def needs(program: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(not shutil.which(program), reason=f"{program} is not installed (Debian: {program})")


@pytest.fixture(scope="module", params=["pure", "native"])
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, certificates: TestCertificates
) -> Iterator[ServerProcess]:
    directory = tmp_path_factory.mktemp(f"share-{request.param}")
    (directory / "share").mkdir()
    write_config(directory, certificates, "", engine=str(request.param), workers=2, extra=SHARE)
    with serving(directory) as process:
        yield process


def run(arguments: list[str], cwd: Path, commands: str = "") -> str:
    environment = {**os.environ, "HOME": str(cwd), "RCLONE_CONFIG": str(cwd / "rclone.conf")}
    done = subprocess.run(
        arguments, cwd=cwd, env=environment, input=commands, capture_output=True, text=True, timeout=120, check=False
    )
    output = done.stdout + done.stderr
    assert done.returncode == 0, output
    return output


@needs("litmus")
def test_every_test_of_litmus_passes(server: ServerProcess, tmp_path: Path) -> None:
    output = run(["litmus", "-k", f"https://localhost:{server.port}/dav/"], tmp_path)
    summaries = re.findall(r"summary for `(\w+)': of (\d+) tests run: (\d+) passed, (\d+) failed", output)
    assert {suite: int(total) for suite, total, _, _ in summaries} == SUITES, output
    assert all(total == passed and failed == "0" for _, total, passed, failed in summaries), output
    assert "WARNING" not in output


@needs("cadaver")
def test_cadaver_puts_gets_moves_locks_and_deletes(server: ServerProcess, tmp_path: Path) -> None:
    (tmp_path / "up.txt").write_text("the tide\n")
    commands = """
mkcol boats
put up.txt boats/up.txt
lock boats/up.txt
unlock boats/up.txt
copy boats/up.txt boats/copy.txt
move boats/copy.txt boats/moved.txt
get boats/moved.txt down.txt
ls boats
delete boats/up.txt
rmcol boats
quit
"""
    # It asks on a terminal whether to trust the certificate of an authority that it does not know.
    program = ["script", "-qec", f"cadaver https://localhost:{server.port}/dav/", "/dev/null"]
    output = run(program, tmp_path, "y" + commands)
    assert (tmp_path / "down.txt").read_text() == "the tide\n", output
    assert "moved.txt" in output
    assert "failed" not in output
    assert not (server.directory / "share" / "boats").exists()


@needs("rclone")
@pytest.mark.parametrize("version", ["HTTP/1.1", "HTTP/2"])
def test_rclone_synchronises_a_folder_both_ways(
    server: ServerProcess, certificates: TestCertificates, tmp_path: Path, version: str
) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    (source / "deep" / "er").mkdir(parents=True)
    files = {"a.txt": b"a" * 10, "deep/b c&d.bin": os.urandom(3_000_000), "deep/er/ü.txt": b"", "100%.txt": b"x"}
    for name, content in files.items():
        (source / name).write_bytes(content)
    remote = f":webdav,url='https://localhost:{server.port}/dav/',vendor=other:{version[-1]}"
    options = ["--ca-cert", str(certificates.ca), *(["--disable-http2"] if version == "HTTP/1.1" else [])]
    run(["rclone", "sync", str(source), remote, *options], tmp_path)
    run(["rclone", "sync", remote, str(target), *options], tmp_path)
    assert {str(one.relative_to(target)): one.read_bytes() for one in target.rglob("*") if one.is_file()} == files
    run(["rclone", "moveto", f"{remote}/a.txt", f"{remote}/deep/a.txt", *options], tmp_path)
    assert "deep/a.txt" in run(["rclone", "lsf", "-R", remote, *options], tmp_path)
    run(["rclone", "purge", remote, *options], tmp_path)
    assert not (server.directory / "share" / version[-1]).exists()
    server.wait_for_access(f" {version}")


@needs("curl")
@pytest.mark.parametrize("version", ["--http1.1", "--http2"])
def test_curl_puts_moves_and_deletes(
    server: ServerProcess, certificates: TestCertificates, tmp_path: Path, version: str
) -> None:
    (tmp_path / "up.bin").write_bytes(os.urandom(1_000_000))
    url = f"https://localhost:{server.port}/dav/curl"
    curl = ["curl", "-sS", "--fail", version, "--cacert", str(certificates.ca), "-w", "%{http_version} %{http_code}\n"]
    number = "1.1" if version == "--http1.1" else "2"
    assert run([*curl, "-T", "up.bin", f"{url}.bin"], tmp_path).split() == [number, "201"]
    moved = run([*curl, "-X", "MOVE", "-H", f"Destination: {url}-2.bin", f"{url}.bin"], tmp_path)
    assert moved.split() == [number, "201"]
    run([*curl, "-o", "down.bin", f"{url}-2.bin"], tmp_path)
    assert (tmp_path / "down.bin").read_bytes() == (tmp_path / "up.bin").read_bytes()
    assert run([*curl, "-X", "DELETE", f"{url}-2.bin"], tmp_path).split() == [number, "204"]
