"""The example site holds together: its links lead somewhere, its made parts are what their scripts make."""

from __future__ import annotations

import re
import subprocess
import sys
import zlib
from html.parser import HTMLParser
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parent.parent / "examples"
SITE = EXAMPLES / "site"
PAGES = ("index.html", "about.html", "long.html")
NOWHERE = "/nothing-is-here"
"""The one link that is meant to show an error page."""


class Links(HTMLParser):
    """What a page loads and links to, and what a strict Content-Security-Policy would refuse."""

    def __init__(self) -> None:
        super().__init__()
        self.targets: list[str] = []
        self.anchors: set[str] = set()
        self.inline: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.targets += [value for name in ("href", "src") if (value := values.get(name))]
        self.anchors |= {value for value in (values.get("id"),) if value}
        if tag == "style" or (tag == "script" and "src" not in values):
            self.inline.append(tag)
        self.inline += [name for name in values if name == "style" or name.startswith("on")]


@pytest.fixture(scope="module")
def long_page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("examples") / "long.html"
    subprocess.run([sys.executable, EXAMPLES / "build_long_page.py", target], check=True)
    return target


@pytest.mark.parametrize("name", PAGES)
def test_every_link_of_the_site_leads_somewhere_on_it(name: str, long_page: Path) -> None:
    page = Links()
    page.feed((long_page if name == "long.html" else SITE / name).read_text(encoding="utf-8"))

    broken = []
    for target in page.targets:
        path, _, anchor = target.partition("#")
        file = SITE / (path.removeprefix("./").lstrip("/") or ("index.html" if path else name))
        if anchor and anchor not in page.anchors:
            broken.append(target)
        if not file.is_file() and file.name != "long.html" and target != NOWHERE:
            broken.append(target)
    assert broken == []
    assert page.inline == []


def test_the_long_page_is_over_a_megabyte_and_always_the_same(long_page: Path, tmp_path: Path) -> None:
    again = tmp_path / "again.html"
    subprocess.run([sys.executable, EXAMPLES / "build_long_page.py", again], check=True)

    assert long_page.stat().st_size > 1 << 20
    assert long_page.read_bytes() == again.read_bytes()


def test_the_almanac_knows_the_seasons(long_page: Path) -> None:
    sections = dict(re.findall(r'id="lat(-?\d+)">(.*?)</section>', long_page.read_text(encoding="utf-8"), re.DOTALL))

    def night(latitude: int, day: int, month: int) -> int:
        row = re.search(rf'<th scope="row">{day}</th>(.*?)</tr>', sections[str(latitude)])
        assert row is not None
        hours, minutes = re.findall(r"<td>[\d:]+ [\d:]+ <small>(\d+):(\d+)</small>", row[1])[month - 1]
        return int(hours) * 60 + int(minutes)

    assert 420 < night(52, 21, 6) < 450  # a short night in Holland at midsummer
    assert night(52, 21, 12) > 16 * 60
    assert abs(night(0, 21, 3) - 12 * 60) < 12
    assert "·" in sections["70"]
    assert "·" not in sections["60"]


def test_the_picture_is_what_its_script_draws(tmp_path: Path) -> None:
    drawn = tmp_path / "night.png"
    subprocess.run([sys.executable, EXAMPLES / "draw_night.py", drawn], check=True)

    header, pixels = png_parts(drawn.read_bytes())
    assert (header, pixels) == png_parts((SITE / "night.png").read_bytes())


def png_parts(data: bytes) -> tuple[bytes, bytes]:
    """Header and pixels; the compressed bytes themselves depend on the version of zlib."""
    assert data.startswith(b"\x89PNG\r\n\x1a\n")
    start = data.index(b"IDAT")
    length = int.from_bytes(data[start - 4 : start], "big")
    return data[8 : start - 4], zlib.decompress(data[start + 4 : start + 4 + length])
