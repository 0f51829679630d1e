"""Heads as CGI programs write them: what is read, what is refused, in whatever pieces the bytes come."""

from __future__ import annotations

import pytest
from hypothesis import given, settings, strategies as st

from securelight.model.limits import Limits
from securelight.upstream.cgi_response import CgiHead, StatusLine, split_head

LIMITS = Limits()


def head_of(text: bytes) -> CgiHead:
    split = split_head(text, LIMITS)
    assert split is not None
    return split[0]


@pytest.mark.parametrize(
    ("text", "status", "fields", "length", "redirect"),
    [
        (b"Content-Type: a/b\n\nbody", 200, [(b"content-type", b"a/b")], None, b""),
        (b"Status: 404 Not here\r\nX-A:b\r\n\r\n", 404, [(b"x-a", b"b")], None, b""),
        (b"Status:201\nContent-Length: 5\n\n", 201, [], 5, b""),
        (b"Location: /a?b\n\n", 302, [(b"location", b"/a?b")], None, b"/a?b"),
        (b"Location: https://a/\n\n", 302, [(b"location", b"https://a/")], None, b""),
        (b"Location: //a/\n\n", 302, [(b"location", b"//a/")], None, b""),
        (b"Location: /a\nStatus: 301\n\n", 301, [(b"location", b"/a")], None, b""),
        (b"Location: /a\nX-A: b\n\n", 302, [(b"location", b"/a"), (b"x-a", b"b")], None, b""),
        (b"Content-Type: a\nConnection: keep-alive\nDate: never\n\n", 200, [(b"content-type", b"a")], None, b""),
    ],
)
def test_heads(
    text: bytes, status: int, fields: list[tuple[bytes, bytes]], length: int | None, redirect: bytes
) -> None:
    head = head_of(text)
    assert (head.status, head.fields, head.length, head.redirect) == (status, fields, length, redirect)


@pytest.mark.parametrize(
    "text",
    [
        b"\n\n", b"no field\n\n", b"X-A: b\n\n", b"Status: 99\n\n", b"Status: 100\n\n", b"Status: 600\n\n",
        b"Status: 200\nStatus: 201\n\n", b"Status: 2000\n\n", b"Status: abc\n\n", b"Status: 200 a\x00b\n\n",
        b"Location: /a\nLocation: /b\n\n", b"Content-Type: a\rX: b\n\n", b"Content-Type : a\n\n", b": a\n\n",
        b"Content-Type: a\n folded\n\n", b"Status: 200\nContent-Length: 1\nContent-Length: 2\n\n",
        b"Status: 200\nContent-Length: -1\n\n", b"Status: 200\nTransfer-Encoding: chunked\n\n",
        b"Status: 200\n" + b"X: y\n" * 300 + b"\n", b"Status: 200\nX: " + b"y" * 40_000 + b"\n\n", b"y" * 40_000,
    ],
)  # fmt: skip
def test_what_is_no_head(text: bytes) -> None:
    with pytest.raises(ValueError, match=r"\S"):
        split_head(text, LIMITS)


@settings(max_examples=300)
@given(
    st.lists(
        st.sampled_from([b"Status: 200 OK", b"X-A: b", b"Location: /a", b"Content-Length: 3", b"junk", b"\r", b""])
        | st.binary(max_size=12),
        max_size=6,
    ),
    st.sampled_from([b"\n", b"\r\n"]),
    st.integers(1, 7),
)
def test_it_makes_no_difference_how_the_bytes_come(lines: list[bytes], end: bytes, step: int) -> None:
    text = end.join([*lines, b"", b"body"])

    def read(pieces: list[bytes]) -> tuple[object, ...] | None:
        buffer = bytearray()
        for piece in pieces:
            buffer += piece
            try:
                split = split_head(buffer, LIMITS)
            except ValueError:
                return ()
            if split is not None:
                head = split[0]
                return head.status, head.fields, head.length, head.redirect
        return None

    whole = read([text])
    assert read([text[start : start + step] for start in range(0, len(text), step)]) == whole
    if whole:
        assert b"\n" not in repr(whole).encode()
        assert isinstance(whole[0], int)
        assert 200 <= whole[0] <= 599


@pytest.mark.parametrize("step", [1, 2, 5, 1000])
def test_a_status_line_becomes_a_field(step: int) -> None:
    text = b"HTTP/1.1 404 Not here\r\nX-A: b\r\n\r\nHTTP/1.1 200 OK\r\n"
    line = StatusLine()
    read = b"".join(line.feed(text[start : start + step]) for start in range(0, len(text), step))
    assert read == b"Status: 404 Not here\r\nX-A: b\r\n\r\nHTTP/1.1 200 OK\r\n"


@pytest.mark.parametrize(
    "text",
    [b"HTTP/3 200 OK\r\n", b"Status: 200\n", b"\n", b"HTTP/1.1\n", b"HTTP/1.1 " + b"a" * 2000, b"http/1.1 200\n"],
)
def test_what_is_no_status_line(text: bytes) -> None:
    with pytest.raises(ValueError, match="status line"):
        StatusLine().feed(text)
