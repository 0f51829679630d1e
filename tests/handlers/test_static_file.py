"""Static files as a client sees them: what is served, what is refused, and what changes when the files do."""

from __future__ import annotations

import email.parser
import email.policy
import os
import time
from pathlib import Path
from types import MethodType
from typing import Any

import pytest

from securelight.handlers import static_file
from securelight.handlers.static_file import StaticFileConfig, StaticFiles, build, check
from securelight.model.body import FileSlice
from securelight.model.errors import ConfigError, Refusal
from securelight.model.limits import Limits
from securelight.model.request import Request
from securelight.model.response import FRAMING_FIELDS, Response
from securelight.model.uri import parse_target
from securelight.pipeline.compile import BuildContext
from securelight.pipeline.stage import Deferred, Handler
from tests.helpers import fetch, field, finish, make_context, make_facts, make_request, open_descriptors, read_body

PAGE = b"<!doctype html><title>Home</title>" * 20
OLD_NS = 1_700_000_000_000_000_000
DATE = b"Tue, 14 Nov 2023 22:13:20 GMT"


def write(path: Path, content: bytes, modified_ns: int = OLD_NS) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    os.utime(path, ns=(modified_ns, modified_ns))


@pytest.fixture
def site(tmp_path: Path) -> Path:
    root = tmp_path / "site"
    write(root / "index.html", PAGE)
    write(root / "style.css", b"body{}" * 100)
    write(root / "docs/index.html", b"docs")
    write(root / "empty/.keep", b"")
    write(root / ".env", b"secret")
    write(root / ".well-known/security.txt", b"Contact: a@a.test")
    write(tmp_path / "secret", b"outside")
    return root


def handler_of(root: Path, *, limits: Limits | None = None, route_path: str = "/", **settings: Any) -> Handler:
    return build(StaticFileConfig(root=str(root), **settings), make_context(root, limits=limits, route_path=route_path))


def refusal_of(handler: Handler, request: Request) -> Refusal:
    before = open_descriptors()
    with pytest.raises(Refusal) as caught:
        fetch(handler, request)
    assert open_descriptors() == before
    return caught.value


def expire(handler: Handler) -> None:
    """Let the second pass for which the handler believes what it knows."""
    assert isinstance(handler, MethodType)
    files = handler.__self__
    assert isinstance(files, StaticFiles)
    for resource in files._view.values():
        resource.fresh_until = 0.0


# What is served


def test_a_file_comes_with_type_validators_and_protection(site: Path) -> None:
    response = fetch(handler_of(site), make_request(path="/style.css"))
    assert response.status == 200
    assert response.content_length == 600
    assert read_body(response) == b"body{}" * 100
    assert field(response, b"content-type") == b"text/css; charset=utf-8"
    assert field(response, b"last-modified") == DATE
    assert field(response, b"x-content-type-options") == b"nosniff"
    assert field(response, b"accept-ranges") == b"bytes"
    assert field(response, b"vary") is None
    assert field(response, b"cache-control") is None
    assert not FRAMING_FIELDS.intersection(name for name, _ in response.fields)
    assert (field(response, b"etag") or b"").startswith(b'"')


def test_a_cached_file_is_the_same_shared_answer_each_time(site: Path) -> None:
    handler = handler_of(site)
    first = fetch(handler, make_request(path="/style.css"))
    again = handler(make_request(path="/style.css"), make_facts())
    assert again is handler(make_request("HEAD", "/style.css"), make_facts())
    assert isinstance(again, Response)
    assert again.heads is not None
    assert read_body(again) == read_body(first)


def test_index_files_answer_for_directories_in_their_order(site: Path) -> None:
    assert read_body(fetch(handler_of(site), make_request(path="/"))) == PAGE
    assert read_body(fetch(handler_of(site), make_request(path="/docs/"))) == b"docs"
    handler = handler_of(site, index=("main.html", "index.html"))
    assert read_body(fetch(handler, make_request(path="/"))) == PAGE
    write(site / "main.html", b"main")
    expire(handler)
    assert read_body(fetch(handler, make_request(path="/"))) == b"main"


def test_a_directory_without_index_file_is_not_there(site: Path) -> None:
    assert refusal_of(handler_of(site), make_request(path="/empty/")).status == 404
    assert refusal_of(handler_of(site, index=()), make_request(path="/")).status == 404


def test_an_index_that_is_a_directory_is_passed_over(site: Path) -> None:
    (site / "main.html").mkdir()
    assert read_body(fetch(handler_of(site, index=("main.html", "index.html")), make_request(path="/"))) == PAGE


def test_a_route_stands_for_the_root(site: Path) -> None:
    handler = handler_of(site, route_path="/assets")
    assert read_body(fetch(handler, make_request(path="/assets/docs/"))) == b"docs"
    assert field(fetch(handler, make_request(path="/assets")), b"location") == b"/assets/"
    assert refusal_of(handler, make_request(path="/assets/.well-known/security.txt")).status == 404


def test_configured_cache_control_goes_with_200_206_and_304(site: Path) -> None:
    handler = handler_of(site, cache_control="max-age=60")
    for headers, status in (({}, 200), ({b"range": b"bytes=0-1"}, 206), ({b"if-none-match": b"*"}, 304)):
        response = fetch(handler, make_request(path="/style.css", headers=headers))
        assert (response.status, field(response, b"cache-control")) == (status, b"max-age=60")


def test_names_that_are_not_utf_8_are_served_as_they_are(site: Path) -> None:
    (site / os.fsdecode(b"caf\xe9.txt")).write_bytes(b"latin")
    path = parse_target(b"/caf%E9.txt").path
    assert read_body(fetch(handler_of(site), make_request(path=path))) == b"latin"


def test_an_empty_file_is_served(site: Path) -> None:
    write(site / "nothing.txt", b"")
    response = fetch(handler_of(site), make_request(path="/nothing.txt"))
    assert (response.status, response.content_length) == (200, 0)
    with_range = fetch(handler_of(site), make_request(path="/nothing.txt", headers={b"range": b"bytes=-5"}))
    assert with_range.status == 200


# Methods


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "TRACE", "get"])
@pytest.mark.parametrize("path", ["/", "/style.css", "/missing"])
def test_other_methods_are_told_what_is_allowed(site: Path, method: str, path: str) -> None:
    handler = handler_of(site)
    fetch(handler, make_request(path="/style.css"))
    refusal = refusal_of(handler, make_request(method, path))
    assert refusal.status == 405
    assert refusal.fields == ((b"allow", b"GET, HEAD, OPTIONS"),)


def test_options_tells_what_is_allowed(site: Path) -> None:
    for path in ("/style.css", "*"):
        response = fetch(handler_of(site), make_request("OPTIONS", path))
        assert (response.status, field(response, b"allow")) == (204, b"GET, HEAD, OPTIONS")


# Directories


@pytest.mark.parametrize(
    ("target", "location"),
    [
        (b"/docs", b"/docs/"),
        (b"/docs?a=b&c=%0d%0a", b"/docs/?a=b&c=%0d%0a"),
        (b"//docs", b"/docs/"),
        (b"//a.test/..//docs", b"/docs/"),
        (b"/%2Fdocs", b"/docs/"),
        (b"/a%20b%3Fc%23d", b"/a%20b%3Fc%23d/"),
        (b"/caf%C3%A9", b"/caf%C3%A9/"),
        (b"//evil.test/%2e%2e/evil.test", b"/evil.test/"),
        (b"//evil.test", b"/evil.test/"),
    ],
)
def test_a_directory_is_redirected_to_its_slash_and_never_to_another_host(
    site: Path, target: bytes, location: bytes
) -> None:
    for name in ("a b?c#d", "café", "evil.test"):
        (site / name).mkdir()
    path, query = parse_target(target)
    response = fetch(handler_of(site), make_request(path=path, query=query))
    assert (response.status, field(response, b"location")) == (308, location)


def test_a_path_that_no_normalisation_has_seen_still_stays_on_this_host(site: Path) -> None:
    response = fetch(handler_of(site), make_request(path="//docs"))
    assert field(response, b"location") == b"/docs/"


def test_a_file_is_not_a_directory(site: Path) -> None:
    assert refusal_of(handler_of(site), make_request(path="/style.css/")).status == 404
    assert refusal_of(handler_of(site), make_request(path="/style.css/a")).status == 404


# What is refused


@pytest.mark.parametrize(
    "target",
    [
        b"/../secret", b"/..%2fsecret", b"/%2e%2e/secret", b"/%2e%2e%2fsecret", b"/.%2e/secret", b"/%252e%252e/secret",
        b"/%252e%252e%252fsecret", b"/..%5csecret", b"/..%c0%afsecret", b"/%c0%ae%c0%ae/secret", b"/docs/../../secret",
        b"/docs/%2e%2e/%2e%2e/secret", b"/....//secret", b"/..;/secret", b"/docs/..%00/secret", b"/secret%00.html",
        b"/style.css%00", b"/%2fetc/passwd", b"//etc/passwd", b"/file:///etc/passwd", b"/.env", b"/%2eenv",
        b"/docs/../.env", b"/.git/config", b"/empty/.keep", b"/.well-known/../.env", b"/.well-known/.htpasswd",
        b"/link-out", b"/dir-out/secret", b"/" + b"a" * 300, b"/" + b"a/" * 2000, b"/~root/", b"/fifo", b"/missing",
    ],
)  # fmt: skip
def test_attacks_on_the_path_find_nothing(site: Path, target: bytes) -> None:
    (site / "link-out").symlink_to("../secret")
    (site / "dir-out").symlink_to("..")
    os.mkfifo(site / "fifo")

    def ask() -> None:
        path, query = parse_target(target)
        fetch(handler_of(site), make_request(path=path, query=query))

    before = open_descriptors()
    with pytest.raises(Refusal) as caught:
        ask()
    assert caught.value.status in (400, 404)
    assert "secret" not in caught.value.public
    assert open_descriptors() == before


def test_a_path_that_no_normalisation_has_seen_still_finds_nothing(site: Path) -> None:
    for path in ("/../secret", "/docs/../../secret", "/\0", "/\ud800", "/..", "/./.env"):
        assert refusal_of(handler_of(site), make_request(path=path)).status == 404


def test_well_known_is_served_and_other_dot_files_where_allowed(site: Path) -> None:
    request = make_request(path="/.well-known/security.txt")
    assert read_body(fetch(handler_of(site), request)) == b"Contact: a@a.test"
    assert read_body(fetch(handler_of(site, dot_files=True), make_request(path="/.env"))) == b"secret"


def test_symlinks_out_of_the_root_are_followed_where_allowed(site: Path) -> None:
    (site / "link-out").symlink_to("../secret")
    assert read_body(fetch(handler_of(site, follow_symlinks=True), make_request(path="/link-out"))) == b"outside"


def test_a_file_swapped_for_a_link_out_is_gone_with_the_next_look(site: Path) -> None:
    handler = handler_of(site)
    assert fetch(handler, make_request(path="/style.css")).status == 200
    (site / "style.css").unlink()
    (site / "style.css").symlink_to("../secret")
    expire(handler)
    assert refusal_of(handler, make_request(path="/style.css")).status == 404


# Conditions and ranges


def test_a_client_that_has_the_file_gets_304(site: Path) -> None:
    handler = handler_of(site)
    etag = field(fetch(handler, make_request(path="/style.css")), b"etag") or b""
    for headers in ({b"if-none-match": b'"x", ' + etag}, {b"if-modified-since": DATE}):
        for method in ("GET", "HEAD"):
            response = fetch(handler, make_request(method, "/style.css", headers))
            assert (response.status, response.body, field(response, b"etag")) == (304, b"", etag)


def test_a_client_that_wants_another_state_gets_412(site: Path) -> None:
    handler = handler_of(site)
    assert refusal_of(handler, make_request(path="/style.css", headers={b"if-match": b'"old"'})).status == 412


def test_conditions_do_not_bring_missing_files_to_light(site: Path) -> None:
    for headers in ({b"if-match": b"*"}, {b"if-none-match": b"*"}, {b"range": b"bytes=0-"}):
        assert refusal_of(handler_of(site), make_request(path="/missing", headers=headers)).status == 404


@pytest.fixture(params=["in memory", "open file"])
def numbers(request: pytest.FixtureRequest, site: Path) -> Handler:
    write(site / "numbers.txt", bytes(range(256)) * 40)
    limits = Limits() if request.param == "in memory" else Limits(content_cache_file_bytes=100)
    return handler_of(site, limits=limits)


NUMBERS = bytes(range(256)) * 40


def test_one_range(numbers: Handler) -> None:
    response = fetch(numbers, make_request(path="/numbers.txt", headers={b"range": b"bytes=10-19"}))
    assert response.status == 206
    assert response.content_length == 10
    assert field(response, b"content-range") == b"bytes 10-19/10240"
    assert field(response, b"content-type") == b"text/plain; charset=utf-8"
    assert field(response, b"x-content-type-options") == b"nosniff"
    assert read_body(response) == NUMBERS[10:20]


def test_several_ranges_are_parts_that_a_mime_parser_understands(numbers: Handler) -> None:
    response = fetch(numbers, make_request(path="/numbers.txt", headers={b"range": b"bytes=5000-5009,0-9,-10"}))
    kind = field(response, b"content-type") or b""
    announced = response.content_length
    body = read_body(response)
    assert (response.status, announced) == (206, len(body))
    parser = email.parser.BytesParser(policy=email.policy.HTTP)
    message = parser.parsebytes(b"content-type: " + kind + b"\r\n\r\n" + body)
    assert message.get_content_type() == "multipart/byteranges"
    assert [part["content-range"] for part in message.iter_parts()] == [
        "bytes 5000-5009/10240",
        "bytes 0-9/10240",
        "bytes 10230-10239/10240",
    ]
    boundary = kind.partition(b"boundary=")[2]
    pieces = [piece.partition(b"\r\n\r\n")[2][:10] for piece in body.split(b"--" + boundary)[1:-1]]
    assert pieces == [NUMBERS[5000:5010], NUMBERS[:10], NUMBERS[-10:]]


def test_a_range_past_the_end_gets_416_with_the_size(numbers: Handler) -> None:
    fetch(numbers, make_request("HEAD", "/numbers.txt"))
    refusal = refusal_of(numbers, make_request(path="/numbers.txt", headers={b"range": b"bytes=10240-"}))
    assert (refusal.status, refusal.fields) == (416, ((b"content-range", b"bytes */10240"),))


@pytest.mark.parametrize(
    "value",
    [
        b"bytes=" + b",".join([b"0-"] * 200),
        b"bytes=" + b",".join(b"%d-" % start for start in range(200)),
        b"bytes=" + b",".join([b"0-"] * 16),
        b"bytes=" + b",".join(b"%d-%d" % (start, start) for start in range(0, 32, 2)),
        b"bytes=" + b",".join(b"%d-%d" % (start, start) for start in range(0, 10_000, 700)),
    ],
)
def test_ranges_never_make_the_answer_much_larger_than_the_file(numbers: Handler, value: bytes) -> None:
    response = fetch(numbers, make_request(path="/numbers.txt", headers={b"range": value}))
    assert response.content_length is not None
    assert response.content_length <= len(NUMBERS) + 16 * 200
    assert len(read_body(response)) == response.content_length


def test_a_range_counts_for_get_only_and_only_for_the_same_file(numbers: Handler) -> None:
    head = fetch(numbers, make_request("HEAD", "/numbers.txt", {b"range": b"bytes=0-1"}))
    assert (head.status, head.content_length) == (200, 10240)
    etag = field(head, b"etag") or b""
    for if_range, status in ((etag, 206), (DATE, 206), (b'"old"', 200), (b"W/" + etag, 200)):
        headers = {b"range": b"bytes=0-1", b"if-range": if_range}
        response = fetch(numbers, make_request(path="/numbers.txt", headers=headers))
        assert response.status == status
        response.release()


def test_conditions_go_before_ranges(numbers: Handler) -> None:
    headers = {b"range": b"bytes=0-1", b"if-none-match": b"*"}
    assert fetch(numbers, make_request(path="/numbers.txt", headers=headers)).status == 304


# Large files


def test_a_large_file_is_sent_from_its_descriptor_and_not_read_here(site: Path) -> None:
    with (site / "huge.bin").open("wb") as file:
        file.truncate(5 << 30)
    handler = handler_of(site)
    before = open_descriptors()
    response = fetch(handler, make_request(path="/huge.bin"))
    assert response.content_length == 5 << 30
    assert isinstance(response.body, FileSlice)
    assert fetch(handler, make_request("HEAD", "/huge.bin")).content_length == 5 << 30
    assert open_descriptors() == before + 1
    end = fetch(handler, make_request(path="/huge.bin", headers={b"range": b"bytes=-3"}))
    assert read_body(end) == b"\0\0\0"
    response.release()


def test_large_files_are_bounded_in_descriptors_and_downloads_survive_eviction(site: Path) -> None:
    for number in range(10):
        write(site / f"{number}.bin", b"%d" % number * 1000)
    handler = handler_of(site, limits=Limits(content_cache_file_bytes=100, open_files=2))
    before = open_descriptors()
    first = fetch(handler, make_request(path="/0.bin"))
    for number in range(1, 10):
        fetch(handler, make_request(path=f"/{number}.bin")).release()
    assert open_descriptors() == before + 3
    assert read_body(first) == b"0" * 1000
    assert open_descriptors() == before + 2


def test_a_file_that_disappears_during_its_download_is_still_sent_and_then_gone(site: Path) -> None:
    write(site / "a.bin", b"a" * 1000)
    handler = handler_of(site, limits=Limits(content_cache_file_bytes=100))
    response = fetch(handler, make_request(path="/a.bin"))
    (site / "a.bin").unlink()
    expire(handler)
    before = open_descriptors()
    with pytest.raises(Refusal):
        fetch(handler, make_request(path="/a.bin"))
    assert read_body(response) == b"a" * 1000
    assert open_descriptors() == before - 1


def kept_in_memory(handler: Handler, path: str) -> bool:
    """Whether the file is answered from memory once others have asked for it and it is looked at anew."""
    for _ in range(2):
        fetch(handler, make_request(path=path)).release()
    expire(handler)
    response = fetch(handler, make_request(path=path))
    body = read_body(response)
    assert body == path[1:2].encode() * len(body)
    return isinstance(response.body, bytes)


def test_a_large_file_that_is_asked_for_again_is_kept_while_there_is_room(site: Path) -> None:
    for name, size in (("a", 8000), ("b", 8000), ("c", 10_001)):
        write(site / name, name.encode() * size)
    limits = Limits(content_cache_file_bytes=100, content_cache_popular_file_bytes=10_000, content_cache_bytes=34_000)
    handler = handler_of(site, limits=limits)
    before = open_descriptors()
    assert kept_in_memory(handler, "/a")
    assert open_descriptors() == before
    assert not kept_in_memory(handler, "/c")  # larger than the limit
    assert kept_in_memory(handler, "/b")
    write(site / "d", b"d" * 8000)
    assert not kept_in_memory(handler, "/d")  # there is no room left, and the others stay
    assert kept_in_memory(handler, "/a")
    assert open_descriptors() == before + 2


def test_a_large_file_that_was_asked_for_once_is_not_kept(site: Path) -> None:
    write(site / "a", b"a" * 8000)
    handler = handler_of(site, limits=Limits(content_cache_file_bytes=100))
    for _ in range(3):
        response = fetch(handler, make_request(path="/a"))
        assert isinstance(response.body, FileSlice)
        response.release()
        expire(handler)


def test_a_large_file_in_memory_that_changes_is_noticed(site: Path) -> None:
    write(site / "a", b"a" * 8000)
    handler = handler_of(site, limits=Limits(content_cache_file_bytes=100))
    assert kept_in_memory(handler, "/a")
    write(site / "a", b"b" * 8000, OLD_NS + 1)
    expire(handler)
    assert read_body(fetch(handler, make_request(path="/a"))) == b"b" * 8000


def test_without_any_cache_files_are_served_all_the_same(site: Path) -> None:
    handler = handler_of(site, limits=Limits(content_cache_bytes=0))
    before = open_descriptors()
    for _ in range(3):
        assert read_body(fetch(handler, make_request(path="/style.css"))) == b"body{}" * 100
        assert fetch(handler, make_request("HEAD", "/style.css")).content_length == 600
    assert open_descriptors() == before


# Changes


def test_a_changed_file_is_noticed_with_its_new_tag(site: Path) -> None:
    handler = handler_of(site)
    old = fetch(handler, make_request(path="/style.css"))
    write(site / "style.css", b"changed", OLD_NS + 1)
    expire(handler)
    new = fetch(handler, make_request(path="/style.css"))
    assert read_body(new) == b"changed"
    assert field(new, b"etag") != field(old, b"etag")


def test_a_change_that_keeps_size_and_time_is_noticed(site: Path) -> None:
    handler = handler_of(site)
    fetch(handler, make_request(path="/style.css"))
    write(site / "style.css", b"BODY{}" * 100)
    expire(handler)
    assert read_body(fetch(handler, make_request(path="/style.css"))) == b"BODY{}" * 100


def test_an_unchanged_file_is_looked_at_at_most_once_a_second_and_not_read_again(site: Path) -> None:
    while time.time_ns() - (site / "style.css").stat().st_ctime_ns < 60_000_000:
        time.sleep(0.01)
    handler = handler_of(site)
    response = fetch(handler, make_request(path="/style.css"))
    expire(handler)
    assert fetch(handler, make_request(path="/style.css")) is response


def test_a_file_that_becomes_a_directory_is_redirected(site: Path) -> None:
    handler = handler_of(site)
    fetch(handler, make_request(path="/style.css"))
    (site / "style.css").unlink()
    (site / "style.css").mkdir()
    expire(handler)
    assert fetch(handler, make_request(path="/style.css")).status == 308


# Precompressed siblings


@pytest.fixture
def compressed(site: Path) -> Path:
    write(site / "style.css.br", b"BR" * 20)
    write(site / "style.css.zst", b"ZSTD" * 15)
    write(site / "style.css.gz", b"GZ" * 40)
    return site


@pytest.mark.parametrize(
    ("accept", "coding", "body"),
    [
        (None, None, b"body{}" * 100),
        (b"gzip, deflate, br, zstd", b"br", b"BR" * 20),
        (b"gzip", b"gzip", b"GZ" * 40),
        (b"zstd, gzip;q=0.9", b"zstd", b"ZSTD" * 15),
        (b"br;q=0, *", b"zstd", b"ZSTD" * 15),
        (b"identity", None, b"body{}" * 100),
        (b"deflate", None, b"body{}" * 100),
    ],
)
def test_clients_get_the_sibling_they_accept(
    compressed: Path, accept: bytes | None, coding: bytes | None, body: bytes
) -> None:
    headers = {} if accept is None else {b"accept-encoding": accept}
    response = fetch(handler_of(compressed), make_request(path="/style.css", headers=headers))
    assert field(response, b"content-encoding") == coding
    assert field(response, b"content-type") == b"text/css; charset=utf-8"
    assert field(response, b"vary") == b"accept-encoding"
    assert response.content_length == len(body)
    assert read_body(response) == body


def test_each_variant_has_its_own_tag_and_ranges(compressed: Path) -> None:
    handler = handler_of(compressed)
    tags = set()
    for accept in (b"br", b"zstd", b"gzip", b"identity"):
        response = fetch(handler, make_request(path="/style.css", headers={b"accept-encoding": accept}))
        tags.add(field(response, b"etag"))
    assert len(tags) == 4
    plain = field(fetch(handler, make_request(path="/style.css")), b"etag") or b""
    stale = make_request(path="/style.css", headers={b"accept-encoding": b"br", b"if-none-match": plain})
    assert fetch(handler, stale).status == 200
    part = make_request(path="/style.css", headers={b"accept-encoding": b"br", b"range": b"bytes=0-2"})
    response = fetch(handler, part)
    assert (read_body(response), field(response, b"content-range")) == (b"BRB", b"bytes 0-2/40")
    assert field(response, b"content-encoding") == b"br"
    fresh = make_request(path="/style.css", headers={b"accept-encoding": b"br", b"if-none-match": b"*"})
    assert field(fetch(handler, fresh), b"vary") == b"accept-encoding"


@pytest.mark.parametrize("accept", [b"identity;q=0", b"*;q=0", b"identity;q=0, deflate"])
def test_a_client_that_refuses_everything_gets_406(compressed: Path, accept: bytes) -> None:
    refusal = refusal_of(handler_of(compressed), make_request(path="/style.css", headers={b"accept-encoding": accept}))
    assert refusal.status == 406


def brotli_of(root: Path, **settings: Any) -> bytes | None:
    request = make_request(path="/style.css", headers={b"accept-encoding": b"br"})
    return field(fetch(handler_of(root, **settings), request), b"content-encoding")


def test_a_sibling_older_than_the_original_is_not_used(site: Path) -> None:
    write(site / "style.css.br", b"BR", OLD_NS - 1)
    assert brotli_of(site) is None
    write(site / "style.css.br", b"BR", OLD_NS)
    assert brotli_of(site) == b"br"


def test_a_sibling_with_the_original_time_in_whole_seconds_is_used(site: Path) -> None:
    write(site / "style.css", b"body{}" * 100, OLD_NS + 5)
    write(site / "style.css.br", b"BR", OLD_NS)
    assert brotli_of(site) == b"br"


def test_a_sibling_that_is_empty_larger_outside_or_no_file_is_not_used(site: Path) -> None:
    sibling = site / "style.css.br"
    write(sibling, b"")
    assert brotli_of(site) is None
    write(sibling, b"B" * 600)
    assert brotli_of(site) is None
    sibling.unlink()
    sibling.mkdir()
    assert brotli_of(site) is None
    sibling.rmdir()
    sibling.symlink_to("../secret")
    assert brotli_of(site) is None


def test_siblings_can_be_switched_off(compressed: Path) -> None:
    assert brotli_of(compressed, precompressed=False) is None


def test_a_sibling_that_appears_or_disappears_is_noticed(site: Path) -> None:
    handler = handler_of(site)
    request = make_request(path="/style.css", headers={b"accept-encoding": b"br"})
    assert field(fetch(handler, request), b"content-encoding") is None
    write(site / "style.css.br", b"BR")
    expire(handler)
    assert field(fetch(handler, request), b"content-encoding") == b"br"
    (site / "style.css.br").unlink()
    expire(handler)
    assert field(fetch(handler, request), b"content-encoding") is None


def test_index_files_have_siblings_too(site: Path) -> None:
    write(site / "index.html.gz", b"GZ")
    response = fetch(handler_of(site), make_request(path="/", headers={b"accept-encoding": b"gzip"}))
    assert (field(response, b"content-encoding"), read_body(response)) == (b"gzip", b"GZ")


# Cold files, and a system in trouble


async def test_a_file_that_cannot_be_read_without_waiting_is_read_by_a_thread(
    site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_arguments: object) -> int:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(os, "preadv", refuse)  # as overlayfs and tmpfs answer to RWF_NOWAIT
    handler = handler_of(site)
    request = make_request(path="/style.css")
    waiting = [handler(request, make_facts()) for _ in range(3)]
    before = open_descriptors()
    bodies = []
    for deferred in waiting:
        assert isinstance(deferred, Deferred)
        bodies.append(read_body(await finish(deferred, request)))
    assert bodies == [b"body{}" * 100] * 3
    assert isinstance(handler(request, make_facts()), Response)
    assert open_descriptors() <= before + 2  # what Trio keeps for its threads
    missing = make_request(path="/style.css/")
    with pytest.raises(Refusal):
        handler(missing, make_facts())


def test_without_descriptors_what_is_known_is_still_served(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    handler = handler_of(site)
    response = fetch(handler, make_request(path="/style.css"))
    expire(handler)

    def refuse(*_arguments: object, **_keywords: object) -> int:
        raise OSError(24, "Too many open files")

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", refuse)
        assert handler(make_request(path="/style.css"), make_facts()) is response
        with pytest.raises(Refusal) as caught:
            handler(make_request(path="/index.html"), make_facts())
    assert caught.value.status == 503
    assert fetch(handler, make_request(path="/index.html")).status == 200


# Settings


def test_good_settings_have_no_faults(site: Path) -> None:
    assert not check(StaticFileConfig(root="."), site)


@pytest.mark.parametrize(
    ("settings", "fault"),
    [
        ({"root": ""}, "empty"),
        ({"root": "missing"}, "does not exist"),
        ({"root": "style.css"}, "not a directory"),
        ({"root": ".", "index": ("../secret",)}, "not a file name"),
        ({"root": ".", "index": ("..",)}, "not a file name"),
        ({"root": ".", "index": ("",)}, "not a file name"),
        ({"root": ".", "cache_control": "a\r\nset-cookie: b"}, "not a field value"),
    ],
)
def test_bad_settings_are_named_and_never_built(site: Path, settings: dict[str, Any], fault: str) -> None:
    config = StaticFileConfig(**settings)
    assert [fault in message for message in check(config, site)] == [True]
    context: BuildContext = make_context(site)
    with pytest.raises(ConfigError, match=fault) as caught:
        build(config, context)
    assert caught.value.where == "test.toml"


def test_the_feature_is_a_handler() -> None:
    assert (static_file.FEATURE.name, static_file.FEATURE.kind) == ("static_file", "handler")
