"""Regular expressions of an operator: refused in words, or bounded in time on whatever text comes."""

from __future__ import annotations

import contextlib
import time

from securelight.model.patterns import PatternTooLong, compile_pattern

SEEDS = [b"^/a/(.*)$", b"^/(?P<name>[^/]+)/x++", b"(a|b)*c\n" + b"ab" * 40, b"(?i)^x{2,30}y\nXXXX", rb"\d+(?=x)|[^a-z]"]
WORDS = [
    b"(?:",
    b"(?P<a>",
    b"(?=",
    b"(?<!",
    b"(?i)",
    b"*+",
    b"++",
    b"{1,9}",
    b"|",
    b"[^",
    b"]",
    b")",
    b"\\b",
    b"\\1",
    b".*",
]
MOST_SECONDS = 2.0
"""For one search; typically it takes microseconds, and the machine may be busy."""


def fuzz(data: bytes) -> None:
    pattern, _, text = data.decode("latin-1").partition("\n")
    try:
        compiled = compile_pattern(pattern)
    except ValueError:
        return
    repeated = (text or "ab/") * 40
    started = time.thread_time()
    with contextlib.suppress(PatternTooLong):
        compiled.search(text)
        compiled.search(repeated[:4000] + "\x01")
    assert time.thread_time() - started < MOST_SECONDS
