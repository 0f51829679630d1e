"""Lists of directories: what is in them, what is not, in which form, and what names by attackers do to them."""

from __future__ import annotations

import json
import os
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote_to_bytes, urljoin, urlsplit

import msgspec
import pytest
import trio
from hypothesis import given, settings as hypothesis_settings, strategies

from securelight.features import FEATURES
from securelight.files.directory_entries import Entry, in_order
from securelight.handlers import listing_page
from securelight.handlers.directory_listing import DirectoryListingConfig, build, check
from securelight.model.body import AsyncBody
from securelight.model.errors import ConfigError, Refusal
from securelight.model.response import Response
from tests.helpers import fetch, field, in_thread, make_context, make_request, open_descriptors, read_body

JSON = {b"accept": b"application/json"}
HOSTILE = [
    b"<script>alert(1)<",
    b'x" onmouseover="alert(1)',
    b"x' onmouseover='alert(1)",
    b"javascript:alert(1)",
    b"data:text",
    b"&lt;b&gt;",
    b"?style=1",
    b"#fragment",
    b"a%2e%2e",
    b"back\\slash",
    b"line\nbreak",
    b"bad\xffbytes",
    "evil\u202egpj.exe".encode(),
    b" ",
    b"http:",
]


def make_listing(base: Path, **settings: Any) -> Any:
    context = make_context(base, route_path=settings.pop("route_path", "/"))
    context.in_thread = in_thread
    return build(DirectoryListingConfig(root="site", **settings), context)


def body_of(response: Response) -> bytes:
    body = response.body
    assert isinstance(body, AsyncBody)

    async def collect() -> bytes:
        return b"".join([chunk async for chunk in body.chunks()])

    return trio.run(collect)


def names_in(listing: Any, path: str = "/", query: bytes = b"") -> list[str]:
    answer = fetch(listing, make_request("GET", path, JSON, query=query))
    assert field(answer, b"content-type") == b"application/json"
    return [entry["name"] for entry in json.loads(body_of(answer))]


class Page(HTMLParser):
    """A page's links with their text, and whatever could run or reach out."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: dict[str, str] = {}
        self.suspicious: list[str] = []
        self.headings: list[dict[str, str | None]] = []
        self.text = ""
        self._link: str | None = None
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        if tag == "a":
            self._link = values["href"] or ""
            self.links.setdefault(self._link, "")
        if tag == "th":
            self.headings.append(values)
        if tag in {"script", "style", "iframe", "img", "form", "base", "object"}:
            self.suspicious.append(tag)
        self.suspicious += [name for name in values if name.startswith("on") or name == "style"]

    def handle_endtag(self, tag: str) -> None:
        if tag == "a":
            self._link = None

    def handle_data(self, data: str) -> None:
        self.text += data
        if self._link is not None:
            self.links[self._link] += data


@pytest.fixture
def base(tmp_path: Path) -> Path:
    site = tmp_path / "site"
    (site / "folder" / "inner").mkdir(parents=True)
    (site / "with-index").mkdir()
    (site / "with-index" / "index.html").write_text("index")
    (site / ".git").mkdir()
    for name, size in (("b10.txt", 10), ("B2.txt", 3000), ("a.png", 200), (".htaccess", 1)):
        (site / name).write_bytes(bytes(size))
    (tmp_path / "outside.txt").write_text("secret")
    return tmp_path


def page_of(listing: Any, path: str = "/", query: bytes = b"") -> Page:
    answer = fetch(listing, make_request("GET", path, query=query))
    assert (answer.status, field(answer, b"content-type")) == (200, b"text/html; charset=utf-8")
    return Page(body_of(answer).decode())


def test_people_get_a_page_whose_links_lead_to_what_is_there(base: Path) -> None:
    page = page_of(make_listing(base))
    assert list(page.links)[-5:] == ["./folder/", "./with-index/", "./a.png", "./B2.txt", "./b10.txt"]
    assert page.links["./folder/"] == "folder/"
    assert "3.0 kB" in page.text
    assert "2 folders, 3 files, 3.2 kB" in page.text
    assert "../" not in page.links, "there is nothing above the root"
    below = page_of(make_listing(base), "/folder/")
    assert below.links["../"].endswith("Parent folder")
    assert "1 folder, 0 files, 0 B" in below.text


def test_files_and_index_files_are_served_as_by_static_file(base: Path) -> None:
    listing = make_listing(base)
    assert read_body(fetch(listing, make_request("GET", "/a.png"))) == bytes(200)
    assert read_body(fetch(listing, make_request("GET", "/with-index/"))) == b"index"
    moved = fetch(listing, make_request("GET", "/folder"))
    assert (moved.status, field(moved, b"location")) == (308, b"/folder/")
    for path in ("/nowhere/", "/a.png/", "/.git/", "/nowhere"):
        with pytest.raises(Refusal, match="404"):
            fetch(listing, make_request("GET", path))
    with pytest.raises(Refusal, match="405"):
        fetch(listing, make_request("POST", "/folder/"))


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        (None, b"text/html; charset=utf-8"),
        (b"*/*", b"text/html; charset=utf-8"),
        (b"text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", b"text/html; charset=utf-8"),
        (b"application/json", b"application/json"),
        (b"application/json;q=0.9, text/html;q=0.1", b"application/json"),
        (b"application/json;q=0.1, text/*", b"text/html; charset=utf-8"),
        (b"application/json, */*;q=0.5", b"application/json"),
        (b"nonsense;;;,,", b"text/html; charset=utf-8"),
    ],
)
def test_programs_get_json(base: Path, accept: bytes | None, kind: bytes) -> None:
    headers = {} if accept is None else {b"accept": accept}
    answer = fetch(make_listing(base), make_request("GET", "/", headers))
    assert field(answer, b"content-type") == kind
    assert field(answer, b"vary") == b"accept"
    body_of(answer)


def test_json_says_what_there_is(base: Path) -> None:
    os.utime(base / "site" / "a.png", (1_700_000_000, 1_700_000_000))
    entries = json.loads(body_of(fetch(make_listing(base), make_request("GET", "/", JSON))))
    assert [entry for entry in entries if entry["name"] == "a.png"] == [
        {"name": "a.png", "href": "a.png", "type": "file", "modified": "2023-11-14T22:13:20Z", "size": 200}
    ]
    assert [(entry["href"], "size" in entry) for entry in entries[:1]] == [("folder/", False)]
    assert json.loads(body_of(fetch(make_listing(base), make_request("GET", "/folder/inner/", JSON)))) == []


@pytest.mark.parametrize(
    ("query", "names"),
    [
        (b"", ["folder", "with-index", "a.png", "B2.txt", "b10.txt"]),
        (b"sort=name&order=desc", ["with-index", "folder", "b10.txt", "B2.txt", "a.png"]),
        (b"sort=size", ["folder", "with-index", "b10.txt", "a.png", "B2.txt"]),
        (b"sort=size&order=desc", ["with-index", "folder", "B2.txt", "a.png", "b10.txt"]),
        (b"sort=<script>&order=1", ["folder", "with-index", "a.png", "B2.txt", "b10.txt"]),
        (b"sort=size&" + b"x" * 300, ["folder", "with-index", "a.png", "B2.txt", "b10.txt"]),
    ],
)
def test_the_order_is_by_the_query_and_folders_come_first(base: Path, query: bytes, names: list[str]) -> None:
    assert names_in(make_listing(base), query=query) == names


def test_the_order_by_time_and_the_headings_that_ask_for_it(base: Path) -> None:
    for number, name in enumerate(("a.png", "b10.txt", "B2.txt")):
        os.utime(base / "site" / name, (number, number))
    assert names_in(make_listing(base, sort="time"))[2:] == ["a.png", "b10.txt", "B2.txt"]
    page = page_of(make_listing(base), query=b"sort=time&order=desc")
    assert [heading.get("aria-sort") for heading in page.headings] == [None, None, "descending"]
    assert "?sort=time&order=asc" in page.links
    assert "?sort=name&order=asc" in page.links


def test_what_no_request_would_get_is_not_listed(base: Path) -> None:
    site = base / "site"
    (site / "outside").symlink_to(base / "outside.txt")
    (site / "dangling").symlink_to("nowhere")
    (site / "inside").symlink_to("a.png")
    (site / "page.css").write_text("a")
    (site / "page.css.gz").write_text("a")
    (site / "alone.gz").write_text("a")
    (site / "old~").write_text("a")
    os.mkfifo(site / "fifo")
    (site / "sealed.txt").write_text("secret")
    (site / "sealed.txt").chmod(0)

    names = names_in(make_listing(base, hide=("*~",)))
    expected = ["folder", "with-index", "a.png", "alone.gz", "B2.txt", "b10.txt", "inside", "page.css"]
    assert [name for name in names if name != "sealed.txt"] == expected
    if os.geteuid() != 0:
        assert "sealed.txt" not in names
    assert {".git", ".htaccess"} < set(names_in(make_listing(base, dot_files=True)))
    assert "outside" in names_in(make_listing(base, follow_symlinks=True))
    assert "page.css.gz" in names_in(make_listing(base, precompressed=False))


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_name_is_only_a_name(base: Path, name: bytes) -> None:
    site = os.fsencode(base / "site" / "folder" / "inner")
    Path(os.fsdecode(site + b"/" + name)).write_bytes(b"content")
    listing = make_listing(base)
    page = page_of(listing, "/folder/inner/")
    assert page.suspicious == []
    link = list(page.links)[-1]
    target = urlsplit(urljoin("https://a.test/folder/inner/", link))
    assert (target.scheme, target.netloc, target.query, target.fragment) == ("https", "a.test", "", "")
    assert unquote_to_bytes(target.path) == b"/folder/inner/" + name
    assert not re.search(r"[\x00-\x1f\u202a-\u202e]", page.links[link])
    if all(byte >= 0x20 for byte in name):
        path = unquote_to_bytes(target.path).decode("utf-8", "surrogateescape")
        assert read_body(fetch(listing, make_request("GET", path))) == b"content"
    [entry] = json.loads(body_of(fetch(listing, make_request("GET", "/folder/inner/", JSON))))
    assert unquote_to_bytes(entry["href"]) == name


@pytest.mark.parametrize("name", [b"<img src=x onerror=alert(1)>", b'"><script>', b"a&b", "\u202eevil".encode()])
def test_a_hostile_folder_is_only_a_folder(base: Path, name: bytes) -> None:
    os.mkdir(os.fsencode(base / "site") + b"/" + name)
    path = f"/{name.decode()}/"
    page = page_of(make_listing(base), path)
    assert page.suspicious == []
    assert list(page.links)[:2] == ["../", "./"]
    assert "\u202e" not in page.text


@hypothesis_settings(max_examples=200, deadline=None)
@given(strategies.binary(min_size=1, max_size=40).filter(lambda name: b"/" not in name and b"\0" not in name))
def test_no_name_leaves_its_row(name: bytes) -> None:
    page = Page(f"<table>{listing_page.rows([Entry(name, False, 1, 1), Entry(name, True, 0, 10**12)])}</table>")
    assert page.suspicious == []
    assert len(page.links) == 2
    for link in page.links:
        assert re.fullmatch(r"\./(?:[\w.~-]|%[0-9A-F]{2})+/?", link, re.ASCII)


def test_the_policy_lets_nothing_run_and_the_style_comes_from_here(base: Path) -> None:
    listing = make_listing(base)
    answer = fetch(listing, make_request("GET", "/"))
    assert (field(answer, b"content-security-policy") or b"").startswith(b"default-src 'none'; style-src 'self'")
    assert field(answer, b"x-content-type-options") == b"nosniff"
    text = body_of(answer).decode()
    [style] = re.findall(r'<link rel="stylesheet" href="\?([^"]*)">', text)
    for path in ("/", "/folder/inner/"):
        css = fetch(listing, make_request("GET", path, query=style.encode()))
        assert (field(css, b"content-type"), css.body) == (b"text/css; charset=utf-8", listing_page.STYLE)
    assert field(css, b"cache-control") == b"public, max-age=31536000, immutable"
    with pytest.raises(Refusal, match="405"):
        fetch(listing, make_request("POST", "/", query=style.encode()))


def test_header_and_readme_are_text_unless_the_operator_says_html(base: Path) -> None:
    folder = base / "site" / "folder"
    (folder / "HEADER.txt").write_text("Hello <script>alert(1)</script>")
    (folder / "HEADER.html").write_text("<em>Hello</em>")
    (folder / "README.md").write_bytes(b"# About\xff" + b"x" * 200)
    text = body_of(fetch(make_listing(base, text_bytes=100), make_request("GET", "/folder/"))).decode()
    assert "Hello &lt;script&gt;" in text
    assert text.index("Hello") < text.index("<table>") < text.index("# About")
    assert "x" * 92 in text
    assert "x" * 93 not in text
    text = body_of(fetch(make_listing(base, header=("HEADER.html",)), make_request("GET", "/folder/"))).decode()
    assert '<div class="text"><em>Hello</em></div>' in text


def test_header_and_readme_cannot_be_links_to_the_outside(base: Path) -> None:
    (base / "site" / "HEADER.txt").symlink_to(base / "outside.txt")
    (base / "site" / "README").mkdir()
    assert b"secret" not in body_of(fetch(make_listing(base), make_request("GET", "/")))


def test_a_route_below_another_path_links_no_higher_than_itself(base: Path) -> None:
    listing = make_listing(base, route_path="/pub")
    page = page_of(listing, "/pub/folder/inner/")
    assert list(page.links)[:4] == ["../../", "../", "./", "?sort=name&order=desc"]
    assert "Home" in page.text


def test_a_large_directory_comes_in_pieces_and_is_cut_where_the_operator_says(base: Path) -> None:
    many = base / "site" / "many"
    many.mkdir()
    for number in range(3000):
        (many / f"{number}.txt").touch()
    answer = fetch(make_listing(base), make_request("GET", "/many/"))
    body = answer.body
    assert isinstance(body, AsyncBody)

    async def pieces() -> list[int]:
        return [len(chunk) async for chunk in body.chunks()]

    sizes = trio.run(pieces)
    assert len(sizes) > 3
    assert max(sizes) < 300_000
    assert len(names_in(make_listing(base), "/many/")) == 3000
    page = page_of(make_listing(base, maximum_entries=100), "/many/")
    assert "100 files" in page.text
    assert "There are more; only these are shown." in page.text


def test_more_lists_than_places_are_refused_and_places_come_back(base: Path) -> None:
    listing = make_listing(base, concurrent=1)

    async def two() -> None:
        request = make_request("GET", "/folder/")
        body = listing(request, None).body
        chunks = body.chunks()
        await anext(chunks)
        with pytest.raises(Refusal, match="503"):
            listing(request, None)
        await chunks.aclose()

    before = open_descriptors()
    trio.run(two)
    assert names_in(listing) == names_in(listing)
    fetch(listing, make_request("GET", "/"))  # never asked for its chunks
    assert field(fetch(listing, make_request("HEAD", "/")), b"content-type") == b"text/html; charset=utf-8"
    assert open_descriptors() <= before


def test_sorted_runs_are_merged() -> None:
    entries = [Entry(b"%d" % number, number % 3 == 0, number % 7, 0) for number in range(10_000, 0, -1)]
    ordered = [int(entry.name) for entry in in_order(entries, "name", descending=False)]
    folders = [number for number in range(1, 10_001) if number % 3 == 0]
    assert ordered == folders + [number for number in range(1, 10_001) if number % 3]


@pytest.mark.parametrize(
    ("settings", "fault"),
    [
        (DirectoryListingConfig(root="nowhere"), "does not exist"),
        (DirectoryListingConfig(root="site", header=("../HEADER",)), "not a file name"),
        (DirectoryListingConfig(root="site", readme=("..",)), "not a file name"),
        (DirectoryListingConfig(root="site", hide=("a/*",)), "a name has no slash"),
        (DirectoryListingConfig(root="site", index=("a/b",)), "not a file name"),
    ],
)
def test_bad_settings_are_named(settings: DirectoryListingConfig, fault: str, base: Path) -> None:
    [found] = check(settings, base)
    assert fault in found
    with pytest.raises(ConfigError, match=r"test\.toml"):
        build(settings, make_context(base))


def test_lists_are_off_by_default(base: Path) -> None:
    static = next(feature for feature in FEATURES if feature.name == "static_file")
    with pytest.raises(Refusal, match="404"):
        fetch(static.build(static.config_class(root="site"), make_context(base)), make_request("GET", "/folder/"))


def test_what_the_access_of_the_route_denies_is_not_listed_nor_shown(base: Path) -> None:
    (base / "site" / "secret.bak").write_bytes(b"old")
    (base / "site" / "private").mkdir()
    (base / "site" / "HEADER.txt").write_text("for keepers only")
    context = make_context(base)
    context.in_thread = in_thread
    listing = build(DirectoryListingConfig(root="site"), context)
    everything = names_in(listing)
    assert {"secret.bak", "private", "HEADER.txt"} <= set(everything)
    rule = {"action": "deny", "when": {"any": [{"path": ["*.bak", "/HEADER.txt"]}, {"path_prefix": ["/private"]}]}}
    access = next(feature for feature in FEATURES if feature.name == "access")
    access.build(msgspec.convert({"rule": [rule]}, access.config_class), context)
    assert names_in(listing) == [one for one in everything if one not in ("secret.bak", "private", "HEADER.txt")]
    page = body_of(fetch(listing, make_request("GET", "/"))).decode()
    assert "keepers" not in page
    assert "secret" not in page
