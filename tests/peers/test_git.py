"""git: clones and pushes through git-http-backend, and its pages through cgit, both as CGI programs."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from securelight.protocol.engine import native_available
from tests.wire.clients import Http1, Http2
from tests.wire.server_process import ServerProcess, running, write_config

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.certificates import TestCertificates

CGIT = Path("/usr/lib/cgit/cgit.cgi")


def git(*arguments: str | Path, cwd: Path, ca: Path | None = None, version: str = "HTTP/2") -> str:
    """Run git, without anything that this machine's user has configured."""
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(cwd),
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_TERMINAL_PROMPT": "0",
        **{f"GIT_{who}_{what}": "tide@example.org" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")},
    }
    options = ["-c", f"http.version={version}", "-c", "init.defaultBranch=main"]
    if ca is not None:
        options += ["-c", f"http.sslCAInfo={ca}"]
    done = subprocess.run(
        ["git", *options, *map(str, arguments)],
        cwd=cwd, env=environment, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module", params=["pure", "native"])
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, certificates: TestCertificates
) -> Iterator[ServerProcess]:
    """A server with a repository at /git, and cgit at /cgit."""
    if shutil.which("git") is None:
        pytest.skip("git is not installed")
    if request.param == "native" and not native_available():
        pytest.skip("the native engine is not installed (extra: fast)")
    directory = tmp_path_factory.mktemp(f"git-{request.param}")
    backend = Path(git("--exec-path", cwd=directory).strip()) / "git-http-backend"
    git("init", "-q", "--bare", "repositories/tide.git", cwd=directory)
    git("config", "http.receivepack", "true", cwd=directory / "repositories/tide.git")
    site = f"""
[[site.route]]
path = "/git"
[site.route.cgi]
program = "{backend}"
run_as_root = true
bodies_without_length = "stream"
variables = {{ GIT_PROJECT_ROOT = "{directory}/repositories", GIT_HTTP_EXPORT_ALL = "1" }}
"""
    if CGIT.exists():
        (directory / "cgitrc").write_text(
            f"virtual-root=/cgit\nrepo.url=tide\nrepo.path={directory}/repositories/tide.git\n"
        )
        site += f"""
[[site.route]]
path = "/cgit"
[site.route.cgi]
program = "{CGIT}"
run_as_root = true
variables = {{ CGIT_CONFIG = "{directory}/cgitrc" }}
"""
    write_config(directory, certificates, site, engine=request.param)
    with running(directory) as process:
        yield process


def test_what_is_pushed_can_be_cloned(
    server: ServerProcess, certificates: TestCertificates, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    version = "HTTP/1.1" if request.node.callspec.params["server"] == "pure" else "HTTP/2"
    url = f"https://localhost:{server.port}/git/tide.git"
    branch = version.replace("/", "-")
    git("clone", "-q", url, "work", cwd=tmp_path, ca=certificates.ca, version=version)
    work = tmp_path / "work"
    (work / "small.txt").write_text("high water\n")
    (work / "large.bin").write_bytes(os.urandom(2_000_000))  # more than http.postBuffer: sent without a length
    git("checkout", "-q", "-b", branch, cwd=work)
    git("add", ".", cwd=work)
    git("commit", "-q", "-m", "Tide", cwd=work)
    # Not over HTTP/2: libcurl 7.88 leaves our WINDOW_UPDATE unread now and then, and such a push waits for ever.
    git("push", "-q", "origin", branch, cwd=work, ca=certificates.ca, version="HTTP/1.1")
    git("clone", "-q", "-b", branch, url, "again", cwd=tmp_path, ca=certificates.ca, version=version)
    for name in ("small.txt", "large.bin"):
        assert (tmp_path / "again" / name).read_bytes() == (work / name).read_bytes()
    assert not [event for event in server.events() if event["level"] == "error"]


def test_cgit_shows_what_was_pushed(server: ServerProcess, certificates: TestCertificates, tmp_path: Path) -> None:
    if not CGIT.exists():
        pytest.skip("cgit is not installed")
    url = f"https://localhost:{server.port}/git/tide.git"
    git("init", "-q", ".", cwd=tmp_path)
    (tmp_path / "shown.txt").write_text("spring tide\n")
    git("add", "shown.txt", cwd=tmp_path)
    git("commit", "-q", "-m", "A commit to be seen", cwd=tmp_path)
    git("push", "-q", url, "HEAD:refs/heads/shown", cwd=tmp_path, ca=certificates.ca)
    for kind in (Http1, Http2):
        client = kind(server.port, certificates.ca)
        try:
            found = client.request("GET", "/cgit/tide/log/?h=shown")
            assert found.status == 200
            assert found.headers["content-type"].startswith("text/html")
            assert b"A commit to be seen" in found.body
            found = client.request("GET", "/cgit/tide/plain/shown.txt?h=shown")
            assert (found.status, found.body) == (200, b"spring tide\n")
            assert client.request("GET", "/cgit/none/").status == 404
        finally:
            client.close()
