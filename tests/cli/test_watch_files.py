"""`--reload`: an application is changed, broken and mended while it is served."""

from __future__ import annotations

import signal
import ssl
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from securelight.cli.watch_files import folders_of
from securelight.config.load import load
from securelight.features import FEATURES
from tests.server.processes import alive, securelight, wait_until
from tests.wire.server_process import write_config

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.certificates import TestCertificates

APP = """
from words import WORDS

async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        raise RuntimeError("not spoken here")
    await send({"type": "http.response.start", "status": 200})
    await send({"type": "http.response.body", "body": WORDS})
"""
SECONDS = 40


class Serving:
    """`securelight serve --app shop:app --reload` in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.output_path = folder / "output.log"
        with self.output_path.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "securelight", "serve", "--app", "shop:app", "--reload", "--listen",
                 "localhost:0"],
                cwd=folder, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
            )  # fmt: skip
        wait_until(lambda: "https://" in self.output and self.output.endswith("/\n\n"), SECONDS)
        wait_until(self._is_watched, SECONDS)
        self._url = self.output.split()[-1]
        self._context = ssl.create_default_context(cafile=str(folder / "certs" / "ca.pem"))

    def _is_watched(self) -> bool:
        """The kernel tells some child of changes."""
        for child in self.children():
            for link in Path(f"/proc/{child}/fd").iterdir():
                try:
                    if "inotify wd" in Path(f"/proc/{child}/fdinfo/{link.name}").read_text():
                        return True
                except FileNotFoundError:
                    continue
        return False

    @property
    def output(self) -> str:
        return self.output_path.read_text()

    def words(self) -> str:
        with urllib.request.urlopen(self._url, context=self._context, timeout=15) as answer:
            body: bytes = answer.read()
        return body.decode()

    def children(self) -> list[int]:
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text()
        return [int(child) for child in children.split()]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An application in two files."""
    (tmp_path / "shop.py").write_text(APP)
    (tmp_path / "words.py").write_text('WORDS = b"one"\n')
    return tmp_path


@pytest.fixture
def serving(folder: Path) -> Iterator[Serving]:
    """It, served."""
    made = Serving(folder)
    yield made
    made.process.send_signal(signal.SIGINT)
    try:
        made.process.wait(20)
    except subprocess.TimeoutExpired:
        made.process.kill()
        made.process.wait()


def test_an_application_is_changed_broken_and_mended(serving: Serving) -> None:
    words = serving.folder / "words.py"
    assert serving.words() == "one"
    words.write_text('WORDS = b"two"\n')
    wait_until(lambda: serving.words() == "two", SECONDS)
    assert "changed: words.py" in serving.output

    words.write_text("WORDS = 1 / 0\n")
    wait_until(lambda: "reload failed, nothing has changed" in serving.output, SECONDS)
    assert "ZeroDivisionError" in serving.output
    assert serving.words() == "two", "the one before goes on"

    words.write_text('WORDS = b"three"\n')
    wait_until(lambda: serving.words() == "three", SECONDS)


def test_what_is_no_source_changes_nothing(serving: Serving) -> None:
    (serving.folder / "data.bin").write_bytes(b"x")
    (serving.folder / "words.py").write_text('WORDS = b"two"\n')
    wait_until(lambda: serving.words() == "two", SECONDS)
    assert "data.bin" not in serving.output


def test_the_watcher_ends_with_the_server(serving: Serving) -> None:
    children = serving.children()
    assert len(children) == 2, "a worker and the watcher"
    serving.process.kill()
    serving.process.wait()
    wait_until(lambda: not any(map(alive, children)), SECONDS)


def test_it_is_for_applications(tmp_path: Path) -> None:
    done = securelight("serve", "--reload", cwd=tmp_path)
    assert done.returncode == 2
    assert "--reload is for --app" in done.stderr


def test_folders_of_a_configuration(tmp_path: Path, certificates: TestCertificates, folder: Path) -> None:
    inner = tmp_path / "inner"
    inner.mkdir()
    (inner / "shop.py").write_text(APP)
    path = write_config(tmp_path, certificates, '[site.asgi]\napp = "shop:app"\napp_directory = "inner"')
    assert folders_of(load(path, FEATURES)) == [tmp_path, inner]
