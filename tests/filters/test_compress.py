"""Compression: who gets what coding, what is left alone, what is kept, and what an attacker must not learn."""

from __future__ import annotations

import gzip
import os
import zlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import brotli
import pytest
import trio
import zstandard

from securelight.features import FEATURES
from securelight.files.compressed_copies import CompressedCopies
from securelight.filters.compress import Compress
from securelight.filters.compress_settings import CompressConfig
from securelight.filters.compressible import is_compressible, with_vary
from securelight.handlers.static_file import StaticFileConfig, build as build_files
from securelight.model.body import PUSHED_BODY, AsyncBody, ChangedPush, FileSlice
from securelight.model.errors import ConfigError, Refusal
from securelight.model.limits import Limits
from securelight.model.request import Facts, Request
from securelight.model.response import Response
from tests.helpers import fetch, field, in_thread, make_context, make_facts, make_request, open_descriptors

FEATURE = next(feature for feature in FEATURES if feature.name == "compress")
TEXT = b"The quick brown fox jumps over the lazy dog. " * 100
LARGE = b"A line of a large file, number %d.\n"
HTML = (b"content-type", b"text/html; charset=utf-8")
BROWSER = {b"accept-encoding": b"gzip, deflate, br, zstd"}
DECODERS: dict[bytes | None, Callable[[bytes], bytes]] = {
    None: bytes,
    b"gzip": gzip.decompress,
    b"br": brotli.decompress,
    b"zstd": lambda data: zstandard.ZstdDecompressor().decompressobj().decompress(data),
}


def large_text(count: int) -> bytes:
    return b"".join(LARGE % number for number in range(count))


def make_filter(base: Path = Path(), limits: Limits | None = None, **settings: Any) -> Compress:
    context = make_context(base, limits=limits)
    context.in_thread = in_thread
    return Compress(CompressConfig(**settings), context)


def body_of(response: Response) -> bytes:
    """The whole body; waits where that is needed."""
    body = response.body
    if isinstance(body, bytes):
        return body
    if isinstance(body, FileSlice):
        try:
            return os.pread(body.file.descriptor, body.length, body.offset)
        finally:
            response.release()
    assert isinstance(body, AsyncBody)

    async def collect() -> bytes:
        return b"".join([chunk async for chunk in body.chunks()])

    return trio.run(collect)


def decoded(response: Response) -> bytes:
    return DECODERS[field(response, b"content-encoding")](body_of(response))


def html(body: bytes = TEXT, *extra: tuple[bytes, bytes], status: int = 200, shared: bool = False) -> Response:
    return Response(status, (HTML, *extra), body, shared=shared)


@pytest.mark.parametrize(
    ("accepted", "coding"),
    [
        (b"gzip", b"gzip"),
        (b"x-gzip", b"gzip"),
        (b"br;q=0.5, gzip;q=0.9", b"gzip"),
        (b"gzip, br", b"br"),
        (b"zstd", b"zstd"),
        (b"*", b"br"),
        (b"identity;q=0, gzip;q=0.1", b"gzip"),
        (b"gzip;q=0", None),
        (b"identity", None),
        (b"deflate", None),
        (b"", None),
        (None, None),
        (b"gzip;q=nonsense", None),
    ],
)
@pytest.mark.parametrize("shared", [True, False])
def test_the_client_chooses_and_caches_are_told(accepted: bytes | None, coding: bytes | None, shared: bool) -> None:
    headers = {} if accepted is None else {b"accept-encoding": accepted}
    answer = make_filter().apply(make_request(headers=headers), make_facts(), html(shared=shared))

    assert field(answer, b"content-encoding") == coding
    assert field(answer, b"vary") == b"accept-encoding"
    assert decoded(answer) == TEXT
    assert answer.content_length == len(body_of(answer))


def test_a_validator_becomes_weak_and_ranges_are_not_offered() -> None:
    response = html(TEXT, (b"etag", b'"abc"'), (b"accept-ranges", b"bytes"))
    answer = make_filter().apply(make_request(headers=BROWSER), make_facts(), response)

    assert field(answer, b"etag") == b'W/"abc"'
    assert field(answer, b"accept-ranges") is None
    plain = make_filter().apply(make_request(), make_facts(), response)
    assert field(plain, b"etag") == b'"abc"'
    assert field(plain, b"accept-ranges") == b"bytes"


@pytest.mark.parametrize(
    "response",
    [
        html(b"x" * 511),
        html(TEXT, (b"content-encoding", b"gzip")),
        html(TEXT, (b"content-range", b"bytes 0-4499/9000"), status=206),
        html(TEXT, (b"cache-control", b"public, no-transform")),
        html(TEXT, (b"cache-control", b"No-Transform")),
        html(TEXT, (b"repr-digest", b"sha-256=:AA==:")),
        html(b"", status=204),
        Response(200, ((b"content-type", b"image/png"),), TEXT),
        Response(200, ((b"content-type", b"application/octet-stream"),), TEXT),
        Response(200, (), TEXT),
        html(b"x" * 5000),
    ],
    ids=repr,
)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_what_must_not_or_need_not_be_compressed_is_left_as_it_is(response: Response, method: str) -> None:
    answer = make_filter(maximum_bytes=4999).apply(make_request(method, headers=BROWSER), make_facts(), response)
    assert answer is response


def test_an_error_page_is_compressed_like_any_other() -> None:
    answer = make_filter().apply(make_request(headers=BROWSER), make_facts(), html(status=404))
    assert (answer.status, decoded(answer)) == (404, TEXT)


def test_what_does_not_shrink_is_sent_as_it_is() -> None:
    noise = os.urandom(2000)
    compress = make_filter()
    for shared in (True, False):
        original = html(noise, shared=shared)
        for _ in range(2):
            answer = compress.apply(make_request(headers=BROWSER), make_facts(), original)
            assert field(answer, b"content-encoding") is None
            assert body_of(answer) == noise


def test_a_shared_answer_is_compressed_once() -> None:
    compress, original = make_filter(), html(shared=True)
    first = compress.apply(make_request(headers=BROWSER), make_facts(), original)
    assert compress.apply(make_request(headers=BROWSER), make_facts(), original) is first
    assert first.heads is not None, "adapters may keep its head too"
    facts: Any = make_facts()
    facts.basis = basis = object()
    compress.apply(make_request(headers=BROWSER), facts, original)
    assert facts.basis is basis, "it may stand"


def test_a_longer_shared_answer_is_compressed_by_a_thread_once_and_nobody_waits_for_it() -> None:
    compress, text = make_filter(), large_text(2000)
    original = html(text, shared=True)
    facts: Any = make_facts()
    facts.basis = object()

    first = compress.apply(make_request(headers=BROWSER), facts, original)
    assert isinstance(first.body, AsyncBody)
    assert facts.basis is None, "the next answer is another one, so this one must not stand"
    meanwhile_facts: Any = make_facts()
    meanwhile_facts.basis = object()
    meanwhile = compress.apply(make_request(headers=BROWSER), meanwhile_facts, original)
    assert meanwhile.body == text
    assert meanwhile_facts.basis is None

    assert decoded(first) == text
    then = compress.apply(make_request(headers=BROWSER), make_facts(), original)
    assert isinstance(then.body, bytes)
    assert decoded(then) == text
    assert field(then, b"content-encoding") == b"br"


def test_a_client_that_leaves_does_not_leave_a_place_taken() -> None:
    compress, original = make_filter(concurrent=1), html(large_text(2000), shared=True)
    request = make_request(headers=BROWSER)
    answer = compress.apply(request, make_facts(), original)
    assert isinstance(answer.body, AsyncBody)
    del answer  # its chunks were never asked for
    answer = compress.apply(request, make_facts(), original)
    assert isinstance(answer.body, AsyncBody)
    assert decoded(answer) == original.body


def test_what_is_kept_counts_in_the_content_cache_and_goes_when_there_is_no_room() -> None:
    limits = Limits(content_cache_bytes=12_000)
    context = make_context(Path(), limits=limits)
    compress = Compress(CompressConfig(), context)
    originals = [html(TEXT + b"%d" % number, shared=True) for number in range(20)]
    for original in originals:
        compress.apply(make_request(headers=BROWSER), make_facts(), original)
        assert context.content_cache.used_bytes <= limits.content_cache_bytes
    assert 0 < len(context.content_cache) < 5
    for original in originals:  # what was pushed out is made anew
        assert decoded(compress.apply(make_request(headers=BROWSER), make_facts(), original)) == original.body


# BREACH.


def personal(headers: dict[bytes, bytes], **settings: Any) -> Response:
    return make_filter(**settings).apply(make_request(headers={**BROWSER, **headers}), make_facts(), html())


@pytest.mark.parametrize("secret", [b"cookie", b"authorization"])
@pytest.mark.parametrize("site", [None, b"cross-site", b"same-site", b"nonsense"])
def test_an_answer_with_secrets_is_not_compressed_for_a_request_from_elsewhere(
    secret: bytes, site: bytes | None
) -> None:
    headers = {secret: b"s3cret", **({} if site is None else {b"sec-fetch-site": site})}
    assert field(personal(headers), b"content-encoding") is None
    assert field(personal(headers), b"vary") == b"accept-encoding"
    assert field(personal(headers, personal="always"), b"content-encoding") == b"br"


@pytest.mark.parametrize("site", [b"same-origin", b"none"])
def test_an_answer_with_secrets_is_compressed_for_its_own_site(site: bytes) -> None:
    headers = {b"cookie": b"s3cret", b"sec-fetch-site": site}
    assert field(personal(headers), b"content-encoding") == b"br"
    assert field(personal(headers, personal="never"), b"content-encoding") is None


def test_who_gets_a_cookie_or_is_known_has_secrets_too() -> None:
    compress, request = make_filter(), make_request(headers=BROWSER)
    assert (
        field(compress.apply(request, make_facts(), html(TEXT, (b"set-cookie", b"a=b"))), b"content-encoding") is None
    )
    facts = make_facts()
    facts.user = "alice"
    assert field(compress.apply(request, facts, html()), b"content-encoding") is None


def test_files_hold_nothing_of_the_request() -> None:
    answer = make_filter().apply(make_request(headers={**BROWSER, b"cookie": b"a"}), make_facts(), html(shared=True))
    assert field(answer, b"content-encoding") == b"br"


# Bodies on their way.


class Pieces(AsyncBody):
    def __init__(self, *pieces: bytes) -> None:
        self.pieces = pieces
        self.closed = False

    async def chunks(self) -> AsyncIterator[bytes]:
        try:
            for piece in self.pieces:
                yield piece
        finally:
            self.closed = True

    def trailers(self) -> tuple[tuple[bytes, bytes], ...]:
        return ((b"x-sum", b"1"),)


@pytest.mark.parametrize("coding", [b"gzip", b"br", b"zstd"])
async def test_each_piece_can_be_read_as_soon_as_it_came(coding: bytes) -> None:
    pieces = (b"first", b"", b"second " * 3000, b"third")
    body = Pieces(*pieces)
    response = Response(200, (HTML,), body)
    request = make_request(headers={b"accept-encoding": coding})
    answer = make_filter().apply(request, make_facts(), response)
    assert answer.content_length is None
    assert isinstance(answer.body, AsyncBody)
    decoder: Any = {
        b"gzip": lambda: zlib.decompressobj(31),
        b"br": brotli.Decompressor,
        b"zstd": lambda: zstandard.ZstdDecompressor().decompressobj(),
    }[coding]()
    read = decoder.process if coding == b"br" else decoder.decompress

    seen = [read(chunk) async for chunk in answer.body.chunks()]

    assert seen[:3] == [piece for piece in pieces if piece]
    assert b"".join(seen) == b"".join(pieces)
    assert answer.body.trailers() == ((b"x-sum", b"1"),)
    assert body.closed


async def test_what_an_application_pushes_is_changed_on_its_way_and_places_are_given_back() -> None:
    compress = make_filter(concurrent=1)
    request = make_request(headers={b"accept-encoding": b"gzip"})
    answer = compress.apply(request, make_facts(), Response(200, (HTML,), PUSHED_BODY, content_length=5000))
    assert answer.content_length is None
    push = answer.body
    assert isinstance(push, ChangedPush)
    busy = compress.apply(request, make_facts(), Response(200, (HTML,), PUSHED_BODY))
    assert field(busy, b"content-encoding") is None, "all encoders are at work"
    assert field(busy, b"vary") == b"accept-encoding"

    sent = await push.change(b"one ") + await push.change(b"two " * 5000) + await push.last()
    assert gzip.decompress(sent) == b"one " + b"two " * 5000
    push.close()
    push.close()
    again = compress.apply(request, make_facts(), Response(200, (HTML,), PUSHED_BODY))
    assert isinstance(again.body, ChangedPush)


def test_nothing_is_made_while_the_machine_is_overloaded_but_what_is_kept_is_sent(
    tmp_path: Path,
) -> None:
    compress, kept = make_filter(maximum_load=2.0), html(shared=True)
    load = tmp_path / "loadavg"
    load.write_text(f"{2.1 * (os.cpu_count() or 1):.2f} 0.00 0.00 1/100 12345\n")
    os.close(compress._load)
    compress._load = os.open(load, os.O_RDONLY)
    request = make_request(headers=BROWSER)
    compress.apply(request, make_facts(), kept)

    assert field(compress.apply(request, make_facts(), html()), b"content-encoding") is None
    assert field(compress.apply(request, make_facts(), kept), b"content-encoding") == b"br"
    os.close(compress._load)


@pytest.mark.parametrize(
    "response",
    [html(), html(large_text(2000)), Response(200, (HTML,), PUSHED_BODY), html(large_text(2000), shared=True)],
    ids=["small", "large", "pushed", "shared"],
)
def test_head_has_the_fields_of_get_and_no_wrong_length(response: Response) -> None:
    head = make_filter().apply(make_request("HEAD", headers=BROWSER), make_facts(), response)
    assert field(head, b"content-encoding") == b"br"
    assert field(head, b"vary") == b"accept-encoding"
    assert head.content_length is None


# Files.


@pytest.fixture
def site(tmp_path: Path) -> Path:
    root = tmp_path / "site"
    root.mkdir()
    (root / "page.html").write_bytes(TEXT)
    (root / "large.txt").write_bytes(large_text(20_000))
    return tmp_path


class Files:
    """A route with files and compression."""

    def __init__(self, base: Path, **settings: Any) -> None:
        self.context = make_context(base)
        self.context.in_thread = in_thread
        self._files = build_files(StaticFileConfig(root="site"), self.context)
        self._compress = Compress(CompressConfig(**settings), self.context)

    def get(self, path: str, headers: dict[bytes, bytes] | None = None, method: str = "GET") -> Response:
        request = make_request(method, path, BROWSER if headers is None else headers)
        return self.filtered(request, make_facts(), fetch(self._files, request))

    def filtered(self, request: Request, facts: Facts, response: Response) -> Response:
        return self._compress.apply(request, facts, response)


def test_conditions_hold_for_the_compressed_file_and_ranges_are_of_the_plain_one(site: Path) -> None:
    files = Files(site)
    answer = files.get("/page.html")
    tag = field(answer, b"etag")
    assert tag is not None
    assert tag.startswith(b'W/"')
    same = files.get("/page.html", {**BROWSER, b"if-none-match": tag})
    assert (same.status, field(same, b"etag"), field(same, b"vary")) == (304, tag, b"accept-encoding")
    plain = files.get("/page.html", {**BROWSER, b"if-none-match": tag.removeprefix(b"W/")})
    assert (plain.status, field(plain, b"etag")) == (304, tag.removeprefix(b"W/"))
    part = files.get("/page.html", {**BROWSER, b"range": b"bytes=0-9"})
    assert (part.status, part.body, field(part, b"content-encoding")) == (206, TEXT[:10], None)
    whole = files.get("/page.html", {**BROWSER, b"range": b"bytes=0-9", b"if-range": tag})
    assert (whole.status, decoded(whole)) == (200, TEXT), "a part must not be joined to the compressed file"
    with pytest.raises(Refusal, match="412"):
        files.get("/page.html", {**BROWSER, b"if-match": tag})


def test_a_large_file_is_compressed_on_its_way(site: Path) -> None:
    files = Files(site)
    before = open_descriptors()
    for _ in range(2):
        answer = files.get("/large.txt")
        assert answer.content_length is None
        assert decoded(answer) == large_text(20_000)
    head = files.get("/large.txt", method="HEAD")
    assert (field(head, b"content-encoding"), head.content_length) == (b"br", None)
    part = files.get("/large.txt", {**BROWSER, b"range": b"bytes=5-"})
    assert (part.status, field(part, b"content-encoding")) == (206, None)
    part.release()
    files.context.content_cache.clear()
    assert open_descriptors() <= before


def test_an_unread_answer_gives_its_file_back(site: Path) -> None:
    files = Files(site, directory="copies")
    answer = files.get("/large.txt")
    files.context.content_cache.clear()
    before = open_descriptors()
    del answer
    assert open_descriptors() == before - 1
    assert decoded(files.get("/large.txt")) == large_text(20_000)


@pytest.mark.parametrize("name", ["/page.html", "/large.txt"])
def test_copies_on_the_disk_outlive_the_server_until_the_original_changes(site: Path, name: str) -> None:
    before = Files(site, directory="copies").get(name)
    text = decoded(before)
    [copy] = (site / "copies").iterdir()
    made = copy.stat().st_ino

    after = Files(site, directory="copies")
    assert decoded(after.get(name)) == text
    kept = after.get(name)
    assert kept.content_length is not None, "from now on from memory or the open copy"
    assert field(after.get(name, method="HEAD"), b"content-encoding") == b"br"
    assert decoded(kept) == text
    assert [one.stat().st_ino for one in (site / "copies").iterdir()] == [made]

    changed = text.replace(b"e", b"E")
    (site / "site" / name[1:]).write_bytes(changed)
    again = Files(site, directory="copies")
    assert decoded(again.get(name)) == changed
    after.context.content_cache.clear()
    again.context.content_cache.clear()


@pytest.mark.parametrize("name", ["/page.html", "/large.txt"])
@pytest.mark.parametrize("damage", [lambda data: data[:-1], lambda data: data[:-3] + b"abc", lambda _: b""])
def test_a_damaged_copy_is_never_served(site: Path, name: str, damage: Callable[[bytes], bytes]) -> None:
    first = Files(site, directory="copies")
    text = decoded(first.get(name))
    first.context.content_cache.clear()
    [copy] = (site / "copies").iterdir()
    copy.write_bytes(damage(copy.read_bytes()))

    files = Files(site, directory="copies")
    assert decoded(files.get(name)) == text
    assert decoded(files.get(name)) == text
    files.context.content_cache.clear()
    [mended] = (site / "copies").iterdir()
    assert mended.read_bytes()[:8] == b"SLcopy1\n"


def test_a_file_that_changes_while_it_is_compressed_leaves_no_copy(site: Path) -> None:
    files = Files(site, directory="copies")
    answer = files.get("/large.txt")
    with (site / "site" / "large.txt").open("ab") as file:
        file.write(b"more\n")
    assert decoded(answer) == large_text(20_000)
    assert list((site / "copies").iterdir()) == []


def test_the_disk_is_bounded_and_what_was_used_least_lately_goes(tmp_path: Path) -> None:
    copies = CompressedCopies(tmp_path / "copies", 80_000)
    leftover = tmp_path / "copies" / ".new-old"
    leftover.write_bytes(b"half")
    os.utime(leftover, (1, 1))
    for number in range(30):
        copies.save(b"%d" % number, bytes(5_000))
        found = copies.load(b"0")
        assert found is not None, "it is used again and again"
        os.close(found[0])
        for path in (tmp_path / "copies").iterdir():  # what came earlier was used earlier, however coarse the clock
            os.utime(path, ns=(path.stat().st_atime_ns, path.stat().st_mtime_ns - 10**9))
    assert sum(path.stat().st_size for path in (tmp_path / "copies").iterdir()) < 80_000 * 9 / 8 + 5_100
    assert copies.load(b"1") is None
    assert not leftover.exists()


def test_a_directory_that_cannot_be_written_is_no_obstacle(tmp_path: Path) -> None:
    copies = CompressedCopies(tmp_path / "copies", 1 << 20)
    (tmp_path / "copies").rmdir()
    copies.save(b"a", b"b")
    assert copies.create(b"a") is None
    assert copies.load(b"a") is None


# Settings.


@pytest.mark.parametrize(
    ("settings", "fault"),
    [
        (CompressConfig(codings=()), "codings is empty"),
        (CompressConfig(codings=("gzip", "gzip")), "twice"),
        (CompressConfig(types=("html",)), "not a media type"),
        (CompressConfig(minimum_bytes=10, maximum_bytes=9), "larger than"),
        (CompressConfig(directory="open"), "written by others"),
        (CompressConfig(directory="file"), "not a directory"),
    ],
)
def test_bad_settings_are_named(settings: CompressConfig, fault: str, tmp_path: Path) -> None:
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    (tmp_path / "file").write_text("")
    [found] = FEATURE.check(settings, tmp_path)
    assert fault in found
    with pytest.raises(ConfigError, match=r"test\.toml"):
        FEATURE.build(settings, make_context(tmp_path))


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (b"text/html; charset=utf-8", True),
        (b"TEXT/HTML", True),
        (b"application/problem+json", True),
        (b"image/svg+xml", True),
        (b"", False),
        (b"\xff\xfe/*", False),
        (b"image/jpeg", False),
        (b"application/zip", False),
    ],
)
def test_types(kind: bytes, expected: bool) -> None:
    assert is_compressible(kind, CompressConfig().types) is expected


def test_vary_is_added_once() -> None:
    for value in (b"*", b"Origin, Accept-Encoding"):
        fields = ((b"vary", value),)
        assert with_vary(fields) is fields
    assert with_vary(((b"vary", b"Origin"),)) == ((b"vary", b"Origin"), (b"vary", b"accept-encoding"))
