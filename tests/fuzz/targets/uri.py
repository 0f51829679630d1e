"""Request targets, and the file paths made of them: none leads out of its root."""

from __future__ import annotations

import contextlib

from securelight.files.safe_path import relative_path
from securelight.model.errors import Refusal
from securelight.model.uri import parse_authority, parse_target

SEEDS = [b"/a/../b?c", b"/%2e%2e/%2fetc", b"/a%C3%A9", b"a.test:80", b"[::1]:8443"]


def fuzz(data: bytes) -> None:
    with contextlib.suppress(Refusal):
        parse_authority(data)
    try:
        path = parse_target(data).path
    except Refusal:
        return
    relative = relative_path(path)
    if relative is not None:
        assert not relative.startswith(b"/")
        assert b"\0" not in relative
        assert b".." not in relative.split(b"/")
