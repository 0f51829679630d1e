"""Pages with directives: what they may say, what they may not reach, and how large they may become."""

from __future__ import annotations

import os
import string
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from hypothesis import given, settings as hypothesis_settings, strategies as st

from securelight.handlers import server_side_includes
from securelight.handlers.includes_expression import PageFault, read_expression
from securelight.handlers.includes_page import read_page
from securelight.handlers.includes_run import ERROR_MESSAGE
from securelight.handlers.server_side_includes import ServerSideIncludesConfig, check
from securelight.model.body import Parts
from securelight.model.errors import ConfigError, Refusal
from tests.helpers import fetch, field, make_context, make_request, open_descriptors, read_body

if TYPE_CHECKING:
    from pathlib import Path

    from securelight.pipeline.stage import Handler

FAULT = ERROR_MESSAGE.encode()


class Site:
    """A folder, and a handler for it."""

    def __init__(self, base: Path) -> None:
        self.base = base
        self.root = base / "site"
        self.root.mkdir()

    def handler(self, **values: Any) -> Handler:
        settings = msgspec.convert({"root": "site", **values}, ServerSideIncludesConfig)
        context = make_context(self.base, route_path=values.pop("route_path", "/"))
        context.inner_routes = ("/private",)
        return server_side_includes.build(settings, context)

    def page(
        self, content: str, *, query: bytes = b"", headers: dict[bytes, bytes] | None = None, **values: Any
    ) -> bytes:
        """What a page with that content becomes."""
        (self.root / "page.shtml").write_text(content)
        return read_body(fetch(self.handler(**values), make_request(path="/page.shtml", query=query, headers=headers)))


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def put(site: Site, name: str, content: str | bytes) -> None:
    path = site.root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)


def test_pages_include_files_and_other_pages(site: Site) -> None:
    put(site, "head.html", "<h1>")
    put(site, "parts/foot.shtml", '</h1><!--#include file="last.txt" -->')
    put(site, "parts/last.txt", '.<!--#echo var="DOCUMENT_NAME" -->')
    made = site.page('<!--#include virtual="/head.html" -->Hi<!--#include virtual="parts/foot.shtml" -->')
    assert made == b'<h1>Hi</h1>.<!--#echo var="DOCUMENT_NAME" -->', "a file that is no page is as it is"


def test_other_files_are_served_as_they_are(site: Site) -> None:
    put(site, "plain.html", '<!--#echo var="DATE_GMT" -->')
    answer = fetch(site.handler(), make_request(path="/plain.html"))
    assert read_body(answer) == b'<!--#echo var="DATE_GMT" -->'
    assert field(answer, b"etag")


def test_a_page_is_made_anew_each_time_and_has_no_validators(site: Site) -> None:
    put(site, "page.shtml", '<!--#include virtual="n.txt" -->')
    handler = site.handler(cache_control="no-store")
    for text in (b"one", b"two!"):
        put(site, "n.txt", text)
        answer = fetch(
            handler, make_request(path="/page.shtml", headers={b"if-modified-since": b"Sun, 06 Nov 2044 08:49:37 GMT"})
        )
        assert (answer.status, read_body(answer)) == (200, text)
    assert field(answer, b"etag") is None
    assert field(answer, b"last-modified") is None
    assert field(answer, b"cache-control") == b"no-store"
    assert field(answer, b"content-type") == b"text/html; charset=utf-8"
    head = fetch(handler, make_request("HEAD", "/page.shtml"))
    assert (head.content_length, head.body) == (4, b"")


def test_a_folder_is_answered_with_its_page(site: Site) -> None:
    put(site, "folder/index.shtml", '<!--#echo var="DOCUMENT_URI" -->')
    assert read_body(fetch(site.handler(), make_request(path="/folder/"))) == b"/folder/"
    assert fetch(site.handler(), make_request(path="/folder")).status == 308
    put(site, "folder/index.html", "first")
    assert read_body(fetch(site.handler(), make_request(path="/folder/"))) == b"first"


def test_what_a_client_sends_is_escaped(site: Site) -> None:
    evil = b"\"><script>alert('1')</script>&"
    made = site.page(
        '<!--#echo var="HTTP_USER_AGENT" --><!--#set var="a" value="$HTTP_USER_AGENT" --><!--#echo var="a" -->'
        '<!--#printenv --><!--#echo var="QUERY_STRING" -->',
        headers={b"user-agent": evil, b"authorization": b"Basic c2VjcmV0", b"cookie": b"session=secret"},
        query=b"a='%3Cb%3E'",
    )
    assert b"<script>" not in made
    assert b"'" not in made
    assert made.count(b"&quot;&gt;&lt;script&gt;alert(&#x27;1&#x27;)&lt;/script&gt;&amp;") == 4
    assert b"secret" not in made
    assert b"c2Vj" not in made
    assert site.page('<!--#echo var="HTTP_AUTHORIZATION" --><!--#echo var="HTTP_COOKIE" -->') == b"(none)(none)"
    assert site.page('<!--#set var="a" value="<b>" --><!--#echo var="a" encoding="none" -->') == b"<b>"
    assert site.page('<!--#echo var="HTTP_REFERER" encoding="url" -->', headers={b"referer": b"a b<"}) == b"a%20b%3C"


@pytest.mark.parametrize(
    ("expression", "holds"),
    [
        ("$a", True), ("$nothing", False), ("!$nothing", True), ("$a = one", True), ("$a != one", False),
        ("$a == 'one'", True), ('${a}x = "onex"', True), ("$a = /^o.e$/", True), ("$a != /^o.e$/", False),
        ("$a < two && $b >= two", True), ("$nothing || ($a = one && !($b = one))", True), ("one two = 'one two'", True),
        ("$e", False), ("$evil = one", False), ("\\$a = '$a'", False),
    ],
)  # fmt: skip
def test_expressions(site: Site, expression: str, holds: bool) -> None:
    quote = "'" if '"' in expression else '"'
    made = site.page(
        '<!--#set var="a" value="one" --><!--#set var="b" value="two" --><!--#set var="evil" value="x = one || one" -->'
        f"<!--#if expr={quote}{expression}{quote} -->yes<!--#else -->no<!--#endif -->"
    )
    assert made == (b"yes" if holds else b"no"), "and what is in a variable is never a part of the expression"


def test_branches(site: Site) -> None:
    page = (
        '<!--#if expr="$QUERY_STRING = 1" -->one<!--#elif expr="$QUERY_STRING = 2" -->two'
        '<!--#if expr="x" -->!<!--#endif --><!--#else -->many<!--#endif -->.'
    )
    assert [site.page(page, query=query) for query in (b"1", b"2", b"3")] == [b"one.", b"two!.", b"many."]


@pytest.mark.parametrize(
    "expression",
    [
        "",
        "=",
        "a =",
        "(a",
        "a)",
        "a && ",
        "/x/",
        "a < /x/",
        "a = /(a+)+$/",
        "a = /[/",
        "(" * 65,
        "!" * 65,
        "a" * 1_025,
        '"a',
    ],
)
def test_expressions_that_cannot_be_read(expression: str) -> None:
    with pytest.raises(PageFault):
        read_expression(expression)


def test_a_test_that_cannot_be_read_shows_nothing_of_what_it_hides(site: Site) -> None:
    assert site.page('<!--#if expr="((" -->hidden<!--#else -->hidden too<!--#endif -->.') == FAULT + b"."


def test_sizes_and_times(site: Site) -> None:
    put(site, "f.bin", bytes(1_234_567))
    os.utime(site.root / "f.bin", (0, 86_400))
    size = '<!--#fsize file="f.bin" -->'
    assert site.page(f'{size} <!--#config sizefmt="bytes" -->{size}') == b"1.2M 1,234,567"
    assert site.page('<!--#config timefmt="%Y" --><!--#flastmod virtual="/f.bin" -->') == b"1970"
    for wide in ("%099999999d", "%Y" * 32, "%", "%E%O%"):
        assert len(site.page(f'<!--#config timefmt="{wide}" --><!--#echo var="DATE_GMT" -->')) < 20_000
    assert site.page('<!--#config timefmt="%Y<b>" --><!--#echo var="DATE_GMT" -->').endswith(b"&lt;b&gt;")


@pytest.mark.parametrize(
    "directive",
    [
        '<!--#exec cmd="id" -->',
        '<!--#exec cgi="/x" -->',
        '<!--#EXEC cmd="id" -->',
        "<!--#nothing -->",
        "<!--#include -->x",
        '<!--#include file="/etc/passwd" -->',
        '<!--#include file="../outside.txt" -->',
        '<!--#include file="a/../../outside.txt" -->',
        '<!--#include virtual="/../outside.txt" -->',
        '<!--#include virtual="/%2e%2e/outside.txt" -->',
        '<!--#include virtual="/..%2foutside.txt" -->',
        '<!--#include virtual="https://a.test/" -->',
        '<!--#include virtual="/link.txt" -->',
        '<!--#include file="link.txt" -->',
        '<!--#include file=".hidden" -->',
        '<!--#include virtual="/.hidden" -->',
        '<!--#include virtual="/private/f.txt" -->',
        '<!--#include file="private/f.txt" -->',
        '<!--#include virtual="/private//f.txt" -->',
        '<!--#include virtual="/folder" -->',
        '<!--#include file="" -->',
        '<!--#include virtual="/f.txt?x" -->',
        '<!--#include virtual="/%00" -->',
        '<!--#fsize file="../outside.txt" -->',
        '<!--#flastmod virtual="/private/f.txt" -->',
        '<!--#include virtual="/$HTTP_REFERER" -->',
        '<!--#set var="a" -->',
        '<!--#echo value="a" -->',
        '<!--#config sizefmt="x" -->',
        "<!--#include virtual=/f.txt -->",
        "<!--#endif -->",
        '<!--#config timefmt="' + "x" * 65 + '" -->',
        '<!--#echo var="a" encoding="x" -->',
    ],
)
def test_what_is_refused(site: Site, directive: str) -> None:
    (site.base / "outside.txt").write_text("secret")
    put(site, ".hidden", "secret")
    put(site, "private/f.txt", "secret")
    put(site, "folder/f.txt", "secret")
    (site.root / "link.txt").symlink_to(site.base / "outside.txt")
    made = site.page(f"before {directive} after", headers={b"referer": b"../outside.txt"})
    assert b"secret" not in made
    assert b"root:" not in made
    if directive != "<!--#include -->x":
        assert made == b"before " + FAULT + b" after"


def test_the_message_is_the_pages_own(site: Site) -> None:
    assert site.page('<!--#config errmsg="Sorry." --><!--#exec cmd="id" -->') == b"Sorry."


def test_pages_that_include_each_other_end(site: Site) -> None:
    put(site, "a.shtml", 'a<!--#include virtual="/b.shtml" -->')
    put(site, "b.shtml", 'b<!--#include virtual="/a.shtml" -->')
    made = read_body(fetch(site.handler(), make_request(path="/a.shtml")))
    assert made == b"ababababa" + FAULT
    assert site.page('x<!--#include virtual="/page.shtml" -->', depth=0) == b"x" + FAULT


@pytest.mark.parametrize(
    ("values", "content"),
    [
        ({"includes": 100}, "many"),
        ({"output_bytes": 10_000}, "long"),
        ({"directives": 50}, "many"),
    ],
)
def test_laughs_end_in_an_error_and_hold_nothing_open(site: Site, values: dict[str, int], content: str) -> None:
    put(site, "text.txt", "ha" * 100)
    put(site, "large.bin", bytes(100_000) if content == "long" else b"x")
    for level in range(6):
        below = f"l{level + 1}.shtml" if level < 5 else "large.bin"
        put(site, f"l{level}.shtml", f'<!--#include virtual="/{below}" -->' * 10)
    before = open_descriptors()
    with pytest.raises(Refusal) as refused:
        fetch(site.handler(**values), make_request(path="/l0.shtml"))
    assert refused.value.status == 500
    assert "more than" in refused.value.detail
    assert open_descriptors() == before


def test_values_that_double_end(site: Site) -> None:
    doubling = '<!--#set var="a" value="$a$a" -->' * 40
    made = site.page(f'<!--#set var="a" value="0123456789" -->{doubling}<!--#echo var="a" -->')
    assert len(made) < 100_000
    assert FAULT in made
    many = "".join(f'<!--#set var="v{number}" value="x" -->' for number in range(100))
    assert site.page(many).count(FAULT) == 36


def test_large_files_are_sent_from_the_disk(site: Site) -> None:
    content = os.urandom(300_000)
    put(site, "large.bin", content)
    put(site, "page.shtml", '<<!--#include virtual="/large.bin" -->>')
    before = open_descriptors()
    answer = fetch(site.handler(), make_request(path="/page.shtml"))
    assert isinstance(answer.body, Parts)
    assert answer.content_length == 300_002
    assert read_body(answer) == b"<" + content + b">"
    assert fetch(site.handler(), make_request("HEAD", "/page.shtml")).content_length == 300_002
    assert open_descriptors() == before
    assert site.page('<!--#include virtual="/large.bin" -->' * 17).endswith(FAULT)
    assert open_descriptors() == before


def test_a_page_that_is_too_long(site: Site) -> None:
    with pytest.raises(Refusal) as refused:
        site.page("x" * 1_001, page_bytes=1_000)
    assert refused.value.status == 500
    assert site.page("x" * 1_000, page_bytes=1_000) == b"x" * 1_000


@pytest.mark.parametrize("path", ["/.page.shtml", "/../page.shtml", "/a/.b/x.shtml", "/nothing.shtml", "/link.shtml"])
def test_pages_that_no_request_gets(site: Site, path: str) -> None:
    put(site, ".page.shtml", "secret")
    put(site, "a/.b/x.shtml", "secret")
    (site.base / "page.shtml").write_text("secret")
    (site.root / "link.shtml").symlink_to(site.base / "page.shtml")
    with pytest.raises(Refusal) as refused:
        fetch(site.handler(), make_request(path=path))
    assert refused.value.status == 404


def test_pages_are_only_read(site: Site) -> None:
    put(site, "page.shtml", "x")
    with pytest.raises(Refusal) as refused:
        fetch(site.handler(), make_request("POST", "/page.shtml"))
    assert refused.value.status == 405


@pytest.mark.parametrize(
    ("values", "fault"),
    [
        ({"suffixes": []}, "suffixes is empty"),
        ({"suffixes": [""]}, "not the end of a name"),
        ({"suffixes": ["a/b"]}, "not the end of a name"),
        ({"root": "{host}"}, "depend on nothing"),
        ({"root": "nowhere"}, "does not exist"),
    ],
)
def test_settings_that_cannot_be_meant(site: Site, values: dict[str, Any], fault: str) -> None:
    settings = msgspec.convert({"root": "site", **values}, ServerSideIncludesConfig)
    assert any(fault in found for found in check(settings, site.base))
    with pytest.raises(ConfigError):
        server_side_includes.build(settings, make_context(site.base))


@given(st.text(alphabet=string.ascii_letters + "<!-#=\"'\\ $/()&|>{}\n", max_size=200))
@hypothesis_settings(max_examples=300, deadline=None)
def test_any_text_is_a_page(text: str) -> None:
    read_page(text)
    read_page(f"<!--#{text}-->")
    try:
        test = read_expression(text)
        test(lambda _name: "x")
    except PageFault:
        pass


def test_a_text_without_directives_is_itself() -> None:
    for text in ("", "<!-- a comment -->", "<!--#", '<!--#echo var="a', "<!--#echo var='a -->"):
        assert "".join(node for node in read_page(text) if isinstance(node, str)) == text
