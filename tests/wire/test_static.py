"""Files as a client gets them over TLS, on both engines and both protocols."""

from __future__ import annotations

import gzip
import os
import re
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.wire.server_process import ServerProcess, serving, write_config

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.certificates import TestCertificates
    from tests.wire.clients import Client
    from tests.wire.conftest import Dial

PAGE = b"<!doctype html><title>hello</title>\n"
TEXT = bytes(range(32, 127)) * 20
STYLE = b"body { color: teal }\n" * 200
SITE = """
root = "site"

[site.error_pages]
pages = { "404" = "missing.html" }
"""


@pytest.fixture(scope="module")
def server(
    engine: str, tmp_path_factory: pytest.TempPathFactory, certificates: TestCertificates
) -> Iterator[ServerProcess]:
    """A server of a small site."""
    directory = tmp_path_factory.mktemp(f"static-{engine}")
    site = directory / "site"
    (site / "folder").mkdir(parents=True)
    (site / ".git").mkdir()
    (site / "empty").mkdir()
    (site / "index.html").write_bytes(PAGE)
    (site / "text.txt").write_bytes(TEXT)
    (site / "nothing.bin").write_bytes(b"")
    (site / "folder" / "index.html").write_bytes(b"in the folder\n")
    (site / ".git" / "config").write_text("secret")
    (site / ".htpasswd").write_text("secret")
    (site / "style.css").write_bytes(STYLE)
    (site / "style.css.gz").write_bytes(gzip.compress(STYLE))
    (site / "a b+c%d.txt").write_bytes(b"odd name\n")
    (directory / "missing.html").write_text("<p>our own page {{status}}</p>\n")
    (directory / "outside.txt").write_text("secret")
    (site / "link.txt").symlink_to(directory / "outside.txt")
    write_config(directory, certificates, SITE, engine=engine)
    with serving(directory) as process:
        yield process


def test_get(client: Client) -> None:
    answer = client.request("GET", "/")
    assert (answer.status, answer.body) == (200, PAGE)
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert answer.headers["content-length"] == str(len(PAGE))
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["server"] == "securelight"
    assert re.fullmatch(r"\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT", answer.headers["date"])
    assert re.fullmatch(r'"[^"]+"', answer.headers["etag"])
    assert answer.headers["accept-ranges"] == "bytes"


def test_head_is_get_without_the_body(client: Client) -> None:
    head, get = client.request("HEAD", "/text.txt"), client.request("GET", "/text.txt")
    assert (head.status, head.body) == (200, b"")
    assert get.body == TEXT
    for answer in (head, get):
        answer.headers.pop("date")
    assert head.headers == get.headers


def test_empty_file(client: Client) -> None:
    answer = client.request("GET", "/nothing.bin")
    assert (answer.status, answer.body, answer.headers["content-length"]) == (200, b"", "0")
    assert client.request("GET", "/").status == 200


def test_name_with_escapes(client: Client) -> None:
    assert client.request("GET", "/a%20b+c%25d.txt?query=1").body == b"odd name\n"


@pytest.mark.parametrize("path", ["/nowhere", "/text.txt/", "/empty/", "/folder/nowhere/deeper", "/%ff"])
def test_missing_file_gets_the_page_of_the_site(client: Client, path: str) -> None:
    answer = client.request("GET", path)
    assert (answer.status, answer.body) == (404, b"<p>our own page 404</p>\n")
    assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
def test_files_can_only_be_read(client: Client, method: str) -> None:
    answer = client.request(method, "/text.txt", body=b"x=1")
    assert answer.status == 405
    assert answer.headers["allow"] == "GET, HEAD, OPTIONS"
    assert client.request("GET", "/").body == PAGE, "the connection can still be used"


def test_options(client: Client) -> None:
    answer = client.request("OPTIONS", "/text.txt")
    assert (answer.status, answer.headers["allow"]) == (204, "GET, HEAD, OPTIONS")


def test_unknown_method(client: Client) -> None:
    assert client.request("BREW", "/text.txt").status == 501


def test_validators(client: Client) -> None:
    first = client.request("GET", "/text.txt")
    etag, modified = first.headers["etag"], first.headers["last-modified"]
    for fields, status in (
        ({"if-none-match": etag}, 304),
        ({"if-none-match": f'"other", W/{etag}'}, 304),
        ({"if-none-match": "*"}, 304),
        ({"if-none-match": '"other"'}, 200),
        ({"if-none-match": '"other"', "if-modified-since": modified}, 200),
        ({"if-modified-since": modified}, 304),
        ({"if-modified-since": "Sun, 06 Nov 1994 08:49:37 GMT"}, 200),
        ({"if-modified-since": "nonsense"}, 200),
        ({"if-match": etag}, 200),
        ({"if-match": '"other"'}, 412),
        ({"if-unmodified-since": "Sun, 06 Nov 1994 08:49:37 GMT"}, 412),
    ):
        answer = client.request("GET", "/text.txt", fields)
        assert answer.status == status, fields
        if status == 304:
            assert (answer.body, answer.headers["etag"]) == (b"", etag)


def test_single_ranges(client: Client) -> None:
    for value, start, end in (("0-0", 0, 0), ("5-", 5, 1899), ("-7", 1893, 1899), ("100-99999", 100, 1899)):
        answer = client.request("GET", "/text.txt", {"range": f"bytes={value}"})
        assert (answer.status, answer.body) == (206, TEXT[start : end + 1])
        assert answer.headers["content-range"] == f"bytes {start}-{end}/{len(TEXT)}"
        assert answer.headers["content-length"] == str(end + 1 - start)


def test_several_ranges(client: Client) -> None:
    answer = client.request("GET", "/text.txt", {"range": "bytes=0-9,900-999,-5"})
    assert answer.status == 206
    kind, _, boundary = answer.headers["content-type"].partition("; boundary=")
    assert kind == "multipart/byteranges"
    assert answer.headers["content-length"] == str(len(answer.body))
    first, *parts, last = answer.body.split(b"--" + boundary.encode())
    assert (first.strip(), last.strip()) == (b"", b"--")
    for part, (start, end) in zip(parts, ((0, 9), (900, 999), (1895, 1899)), strict=True):
        head, _, content = part.partition(b"\r\n\r\n")
        assert f"content-range: bytes {start}-{end}/1900".encode() in head.lower()
        assert content.removesuffix(b"\r\n") == TEXT[start : end + 1]


def test_ranges_that_cannot_be_met(client: Client) -> None:
    answer = client.request("GET", "/text.txt", {"range": "bytes=1900-"})
    assert (answer.status, answer.headers["content-range"]) == (416, "bytes */1900")


@pytest.mark.parametrize("value", ["bytes=9-5", "lines=1-2", "bytes=", "bytes=x-y", "bytes=" + ",".join(["0-"] * 200)])
def test_ranges_that_are_no_use_get_the_whole_file(client: Client, value: str) -> None:
    answer = client.request("GET", "/text.txt", {"range": value})
    assert answer.status in (200, 206)
    assert answer.body == TEXT, "never amplified, whatever the request repeats (CVE-2011-3192)"


def test_if_range(client: Client) -> None:
    etag = client.request("HEAD", "/text.txt").headers["etag"]
    assert client.request("GET", "/text.txt", {"range": "bytes=0-1", "if-range": etag}).status == 206
    assert client.request("GET", "/text.txt", {"range": "bytes=0-1", "if-range": '"old"'}).status == 200


def test_directory_without_slash(client: Client) -> None:
    answer = client.request("GET", "/folder?a=b")
    assert (answer.status, answer.headers["location"]) == (308, "/folder/?a=b")
    assert client.request("GET", "/folder/").body == b"in the folder\n"


def test_redirect_never_leaves_the_site(client: Client) -> None:
    """`Location: //folder/` would be another host."""
    for path in ("//folder", "///folder", "/%2ffolder", "/./folder"):
        answer = client.request("GET", path)
        assert not re.match(r"//|https?:|\\", answer.headers.get("location", "/")), path


def test_precompressed_sibling(client: Client) -> None:
    plain = client.request("GET", "/style.css")
    packed = client.request("GET", "/style.css", {"accept-encoding": "br;q=0.5, gzip"})
    assert plain.body == STYLE
    assert "content-encoding" not in plain.headers
    assert packed.headers["content-encoding"] == "gzip"
    assert gzip.decompress(packed.body) == STYLE
    assert packed.headers["content-length"] == str(len(packed.body))
    assert packed.headers["content-type"] == plain.headers["content-type"]
    assert packed.headers["etag"] != plain.headers["etag"]
    assert plain.headers["vary"] == packed.headers["vary"] == "accept-encoding"
    refused = client.request("GET", "/style.css", {"accept-encoding": "gzip;q=0"})
    assert refused.body == STYLE
    assert client.request("GET", "/style.css", {"accept-encoding": "identity;q=0, *;q=0"}).status == 406


SECRETS = (
    "/.htpasswd", "/.git/config", "/link.txt", "/../outside.txt", "/folder/../../outside.txt", "/%2e%2e/outside.txt",
    "/..%2foutside.txt", "/%2e%2e%2foutside.txt", "/%252e%252e/outside.txt", "/..%5coutside.txt", "/..\\outside.txt",
    "/folder/..%2f..%2foutside.txt", "/.%2e/outside.txt", "/folder/%2e%2e/.htpasswd",
    "/text.txt%00.html", "/%00", "/..;/outside.txt", "/%c0%ae%c0%ae/outside.txt", "/..%c0%afoutside.txt",
    "/.%00./outside.txt", "/folder/.%252e/.%252e/outside.txt", "/proc/self/environ", "//etc/passwd", "/~root/",
)  # fmt: skip


def test_nothing_outside_the_site_and_no_dot_files(client: Client, dial: Dial, server: ServerProcess) -> None:
    for path in SECRETS:
        answer = client.request("GET", path)
        if answer.headers.get("connection") == "close":
            client = dial.h1()
        assert answer.status in (400, 403, 404), path
        assert b"secret" not in answer.body
        assert str(server.directory).encode() not in answer.body, "says nothing of where things are"
    assert client.request("GET", "/").status == 200


def test_file_that_changes_is_seen_within_seconds(client: Client, server: ServerProcess) -> None:
    path = server.directory / "site" / f"changing-{client.protocol.replace('/', '')}.txt"
    replace(path, b"before")
    first = client.request("GET", f"/{path.name}")
    assert first.body == b"before"
    replace(path, b"after, and longer")
    answer = first
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        answer = client.request("GET", f"/{path.name}", {"if-none-match": first.headers["etag"]})
        if answer.status != 304:
            break
    assert (answer.status, answer.body) == (200, b"after, and longer")
    assert answer.headers["etag"] != first.headers["etag"]


def replace(path: Path, content: bytes) -> None:
    """As editors and deployments do it."""
    other = path.with_suffix(".new")
    other.write_bytes(content)
    os.replace(other, path)
