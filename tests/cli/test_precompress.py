"""`securelight precompress`: siblings that the server takes, and no others."""

from __future__ import annotations

import gzip
import os
from pathlib import Path
from typing import TYPE_CHECKING

import brotli
import pytest
import zstandard
from click.testing import CliRunner

from securelight.cli.main import main
from securelight.handlers.static_file import StaticFileConfig, build
from tests.helpers import fetch, field, make_context, make_request, read_body

if TYPE_CHECKING:
    from click.testing import Result

TEXT = b"body { color: teal }\n" * 200


@pytest.fixture
def site(tmp_path: Path) -> Path:
    (tmp_path / "folder").mkdir()
    (tmp_path / ".git").mkdir()
    for name in ("style.css", "folder/page.html", ".git/config.txt", ".hidden.txt", "picture.png"):
        (tmp_path / name).write_bytes(TEXT)
    (tmp_path / "small.txt").write_bytes(b"small")
    (tmp_path / "noise.txt").write_bytes(os.urandom(3000))
    (tmp_path / "link.txt").symlink_to("/etc/services")
    return tmp_path


def precompress(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["precompress", *arguments])


def names_of(site: Path) -> set[str]:
    return {str(path.relative_to(site)) for path in site.rglob("*") if path.suffix in {".br", ".zst", ".gz"}}


def test_what_shrinks_gets_siblings_which_the_server_sends(site: Path) -> None:
    done = precompress(str(site))
    assert done.exit_code == 0, done.output
    assert "6 files made" in done.output
    assert names_of(site) == {
        f"{name}.{suffix}" for name in ("style.css", "folder/page.html") for suffix in ("br", "zst", "gz")
    }
    assert gzip.decompress((site / "style.css.gz").read_bytes()) == TEXT
    assert brotli.decompress((site / "style.css.br").read_bytes()) == TEXT
    assert zstandard.ZstdDecompressor().decompressobj().decompress((site / "style.css.zst").read_bytes()) == TEXT
    assert not list(site.rglob("*.new"))

    handler = build(StaticFileConfig(root="."), make_context(site))
    answer = fetch(handler, make_request("GET", "/style.css", {b"accept-encoding": b"br"}))
    assert field(answer, b"content-encoding") == b"br"
    assert brotli.decompress(read_body(answer)) == TEXT


def test_only_what_has_changed_is_made_again(site: Path) -> None:
    precompress(str(site))
    before = (site / "style.css.gz").stat().st_ino
    again = precompress(str(site))
    assert "Everything is current." in again.output
    (site / "style.css").write_bytes(TEXT + b"more")
    os.utime(site / "style.css", (2_000_000_000, 2_000_000_000))
    assert "3 files made" in precompress(str(site)).output
    assert (site / "style.css.gz").stat().st_ino != before
    assert gzip.decompress((site / "style.css.gz").read_bytes()) == TEXT + b"more"


def test_one_coding_can_be_chosen_and_orphans_are_named(site: Path) -> None:
    (site / "gone.html.gz").write_bytes(b"")
    done = precompress(str(site), "--coding", "gzip")
    assert names_of(site) == {"style.css.gz", "folder/page.html.gz", "gone.html.gz"}
    assert "gone.html.gz has no original any more" in done.output
    quiet = precompress(str(site), "--coding", "br", "--quiet")
    assert (quiet.exit_code, quiet.output) == (0, "")


def test_a_directory_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    assert precompress(str(tmp_path / "nowhere")).exit_code == 2
