"""Content types come from our own table."""

from __future__ import annotations

import mimetypes

import pytest

from securelight.files.mime_types import content_type


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (b"index.html", b"text/html; charset=utf-8"),
        (b"a/b/STYLE.CSS", b"text/css; charset=utf-8"),
        (b"app.mjs", b"text/javascript; charset=utf-8"),
        (b"notes.txt", b"text/plain; charset=utf-8"),
        (b"data.json", b"application/json"),
        (b"logo.svg", b"image/svg+xml"),
        (b"font.woff2", b"font/woff2"),
        (b"module.wasm", b"application/wasm"),
        (b"app.webmanifest", b"application/manifest+json"),
        (b"a.tar.gz", b"application/gzip"),
        (b"a.css.br", b"application/octet-stream"),
        (b"README", b"application/octet-stream"),
        (b".html", b"application/octet-stream"),
        (b"v1.html/README", b"application/octet-stream"),
        (b"odd.html~", b"application/octet-stream"),
        (b"trailing.", b"application/octet-stream"),
        (b"\xff.\xff", b"application/octet-stream"),
    ],
)
def test_types(name: bytes, expected: bytes) -> None:
    assert content_type(name) == expected


def test_the_machine_has_no_say() -> None:
    mimetypes.add_type("text/evil", ".html")
    try:
        assert content_type(b"a.html") == b"text/html; charset=utf-8"
    finally:
        mimetypes.init()
