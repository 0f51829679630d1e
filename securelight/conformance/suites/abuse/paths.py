"""Paths that lead out of the site, and paths that become fields of the answer, on both protocols.

A server is right that decodes once, resolves dot segments, and opens below its root (RFC 3986, sections 5.2.4, 7.3;
RFC 9110, sections 5.5, 17.3).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from securelight.conformance import polite_client
from securelight.conformance.case import Failed, Skipped, Topic
from securelight.conformance.http1_client import connect, request
from securelight.conformance.polite_client import watched

if TYPE_CHECKING:
    from collections.abc import Iterable

    from securelight.conformance.case import Question
    from securelight.conformance.dial import Dial

PATHS = Topic(
    "Paths that lead elsewhere",
    rfc=0,
    why="Who gets out of the site's folder reads the system's files, keys and passwords among them.",
    cure="Decode a path once, remove its dot segments, and open the file below the root without leaving it.",
    abuse=True,
)
SPLITTING = Topic(
    "Paths that become fields",
    rfc=9110,
    why="A line end that a client can put into an answer lets it write fields, or whole answers, for other people.",
    cure="Refuse CR, LF and NUL in decoded paths, and in every field that is sent.",
    abuse=True,
)
DEPTH = 8
PASSWORDS = re.compile(rb"(?m)^root:[^:\n]*:0:0:|^\[fonts\]")
"""What is in /etc/passwd, and in the file that is its like elsewhere."""

_UPWARDS: dict[str, tuple[str, tuple[bytes, ...]]] = {
    "plain": ("dot segments", (b"../",)),
    "encoded-dots": ("encoded dots", (b"%2e%2e/", b".%2e/", b"%2E./")),
    "encoded-slash": ("an encoded slash", (b"..%2f", b"..%2F")),
    "all-encoded": ("encoded dots and slashes", (b"%2e%2e%2f",)),
    "encoded-twice": ("dots and slashes that are encoded twice", (b"%252e%252e%252f", b"..%252f", b"%25252e%25252e/")),
    "backslash": ("backslashes", (b"..%5c", b"%2e%2e%5c", b"..\\")),
    "overlong": ("overlong UTF-8", (b"%c0%ae%c0%ae/", b"..%c0%af", b"%e0%80%ae%e0%80%ae/", b"..%c1%9c")),
    "wide": ("characters of other widths", (b"%ef%bc%8e%ef%bc%8e/", b"..%ef%bc%8f", b"%u002e%u002e/")),
    "parameters": ("parameters in segments", (b"..;/", b"..;tide=1/", b".%00./")),
    "doubled": ("what is left when dot segments are removed once", (b"....//", b"..././", b"...%2f./")),
}
_WHOLE: dict[str, tuple[str, tuple[bytes, ...]]] = {
    "absolute": ("a second slash", (b"//etc/passwd", b"/%2fetc/passwd", b"/%2f%2fetc%2fpasswd", b"/file:///etc/passwd")),
    "nul": (
        "a NUL byte", (b"/index.html%00../../../../../../etc/passwd", b"/" + b"../" * DEPTH + b"etc/passwd%00.html"),
    ),
    "process": ("the kernel's view of the server", (b"/../../../../../../../../proc/self/root/etc/passwd",)),
}  # fmt: skip


async def _bodies(dial: Dial, path: bytes) -> Iterable[tuple[str, int, list[tuple[bytes, bytes]], bytes]]:
    """(protocol, status, fields, body) of the answer to `path`, for each protocol that answers."""
    found = []
    try:
        client = await connect(dial)
        await client.send(request(dial.target, b"Connection: close", path=path))
        answer = await client.answer()
        if answer is not None:
            found.append(("HTTP/1.1", answer.status, answer.fields, answer.body))
    except Skipped:
        pass
    try:
        http2 = await dial.http2()
        await http2.send(http2.head(1, http2.request(b"GET", path)))
        await http2.until(lambda: http2.ended(1) or http2.over)
        if 1 in http2.answers and http2.answers[1].status:
            given = http2.answers[1]
            found.append(("HTTP/2", given.status, given.fields, given.body))
    except Skipped:
        pass
    return found


def _stays_inside(paths: Iterable[bytes]) -> Question:
    async def attack(dial: Dial) -> str:
        seen: dict[int, int] = {}
        for path in paths:
            for protocol, status, _fields, body in await _bodies(dial, path):
                if PASSWORDS.search(body):
                    raise Failed(f"{protocol}: {path.decode()} is answered with a file of the system: {body[:60]!r}")
                if status >= 500 and status not in (501, 503):
                    raise Failed(f"{protocol}: {path.decode()} broke something: it got {status}")
                seen[status] = seen.get(status, 0) + 1
        return ", ".join(f"{count} x {status}" for status, count in sorted(seen.items())) or "all were dropped"

    return watched()(attack)


for _key, (_words, _steps) in _UPWARDS.items():
    PATHS.must(f"abuse/CVE-2021-41773/{_key}", f"The way up with {_words}", seconds=polite_client.CASE_SECONDS)(
        _stays_inside([
            prefix + step * DEPTH + b"etc" + (b"%2f" if b"%2f" in step else b"/") + b"passwd"
            for step in _steps
            for prefix in (b"/", b"/icons/")
        ])
    )  # fmt: skip
for _key, (_words, _paths) in _WHOLE.items():
    PATHS.must(f"abuse/CVE-2021-41773/{_key}", f"The way up with {_words}", seconds=polite_client.CASE_SECONDS)(
        _stays_inside(_paths)
    )


_SPLITS: dict[str, tuple[str, tuple[bytes, ...]]] = {
    "crlf": ("CR and LF", (b"%0d%0a", b"%0D%0A%20")),
    "lf": ("LF alone", (b"%0a",)),
    "cr": ("CR alone", (b"%0d",)),
    "wide": ("characters whose last byte is a line end", (b"%E5%98%8A%E5%98%8D", b"%c4%8a", b"%c0%8d%c0%8a")),
    "twice": ("CR and LF that are encoded twice", (b"%250d%250a",)),
}


def _splits(ends: Iterable[bytes]) -> Question:
    async def attack(dial: Dial) -> str:
        seen: dict[int, int] = {}
        for end in ends:
            for path in (
                b"/" + end + b"X-Tide:%20high",
                b"/icons" + end + b"X-Tide:%20high/..",
                b"/?tide=" + end + b"X-Tide:high",
            ):
                for protocol, status, fields, _body in await _bodies(dial, path):
                    names = [name.lower() for name, _ in fields]
                    values = b"".join(value for _, value in fields)
                    if b"x-tide" in names or re.search(rb"[\r\n\0]", values):
                        raise Failed(f"{protocol}: {path.decode()} has become a field of the answer")
                    if status >= 500 and status not in (501, 503):
                        raise Failed(f"{protocol}: {path.decode()} broke something: it got {status}")
                    seen[status] = seen.get(status, 0) + 1
        return ", ".join(f"{count} x {status}" for status, count in sorted(seen.items())) or "all were dropped"

    return watched()(attack)


for _key, (_words, _ends) in _SPLITS.items():
    SPLITTING.must(
        f"abuse/9110-5.5/split-{_key}", f"A path, and a query, with {_words}", section="5.5",
        seconds=polite_client.CASE_SECONDS,
    )(_splits(_ends))  # fmt: skip
