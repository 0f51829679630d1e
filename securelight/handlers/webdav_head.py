"""The request fields of WebDAV: Depth, Destination, If, Overwrite, Timeout (RFC 4918, section 10).

All of them are an attacker's. What cannot be read is refused with 400, never guessed; a Destination gets through the
same parser as a request target, so that it can name nothing that a request could not.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NamedTuple

from securelight.files.etag import is_listed
from securelight.model.dates import parse_http_date
from securelight.model.errors import Refusal
from securelight.model.uri import parse_authority, parse_target

if TYPE_CHECKING:
    from collections.abc import Callable

    from securelight.model.headers import Headers
    from securelight.model.request import Request

CONDITIONS: Final = 64
"""Of one If field; clients send one, and one for each lock that they hold."""
_ABSOLUTE: Final = re.compile(rb"(https?)://([^/?#]+)(/[^#]*)", re.IGNORECASE)
_TOKEN: Final = re.compile(
    rb'[ \t,]*(?:<(?P<uri>[^<>\x00-\x20]+)>|\[(?P<etag>(?:W/)?"[^"]*")\]'
    rb"|(?P<open>\()|(?P<close>\))|(?P<not>[Nn][Oo][Tt]))"
)
_TIMEOUT: Final = re.compile(rb"[Ss][Ee][Cc][Oo][Nn][Dd]-([0-9]{1,10})")
_PORTS: Final = {"https": ":443", "http": ":80"}


class Test(NamedTuple):
    """One condition of an If field: a state token or an entity tag that is the resource's, or is not."""

    value: bytes
    is_etag: bool
    negated: bool


class TestList(NamedTuple):
    """Conditions of which all have to hold, for the resource at `path`; None for the request's own."""

    target: bytes | None
    tests: tuple[Test, ...]


def depth(headers: Headers, default: str, allowed: tuple[str, ...]) -> str:
    """`0`, `1` or `infinity`.

    Errors: Refusal 400 for another one than `allowed`.
    """
    value = headers.get(b"depth")
    found = default if value is None else value.decode("latin-1").strip().lower()
    if found not in allowed:
        raise Refusal(400, f"Depth is one of {', '.join(allowed)} here.", f"Depth {found[:40]!r}")
    return found


def overwrite(headers: Headers) -> bool:
    """Whether what is at the destination may be replaced.

    Errors: Refusal 400.
    """
    value = headers.get(b"overwrite")
    if value is None or value in (b"T", b"t"):
        return True
    if value in (b"F", b"f"):
        return False
    raise Refusal(400, "Overwrite is T or F.", f"Overwrite {value[:40]!r}")


def timeout_seconds(headers: Headers, default: int, maximum: int) -> int:
    """How long a lock is to last: the first that we understand, within bounds."""
    for member in (headers.get(b"timeout") or b"").split(b",")[:8]:
        wish = member.strip(b" \t")
        if wish.lower() == b"infinite":
            return maximum
        match = _TIMEOUT.fullmatch(wish)
        if match is not None:
            return min(maximum, max(1, int(match[1])))
    return min(default, maximum)


def lock_token(headers: Headers) -> str:
    """That of UNLOCK.

    Errors: Refusal 400.
    """
    value = headers.get(b"lock-token") or b""
    if not (value.startswith(b"<") and value.endswith(b">")):
        raise Refusal(400, "Lock-Token is missing or malformed.")
    return value[1:-1].decode("latin-1")


def target_path(request: Request, uri: bytes) -> str:
    """The path that a Destination, or a tag of If, names on this server.

    Errors: Refusal 400 if it cannot be read, 502 if it is on another server.
    """
    target = uri
    if not uri.startswith(b"/") or uri.startswith(b"//"):
        match = _ABSOLUTE.fullmatch(uri)
        if match is None:
            raise Refusal(400, "A URL of this server was expected.", f"URI {uri[:80]!r}")
        scheme = match[1].decode().lower()
        authority, _ = parse_authority(match[2])
        ours = request.authority.removesuffix(_PORTS.get(request.scheme, ""))
        if authority.removesuffix(_PORTS[scheme]) != ours:
            raise Refusal(502, "The destination is on another server.", f"URI {uri[:80]!r}")
        target = match[3]
    path, query = parse_target(target)
    if query:
        raise Refusal(400, "A URL without a query was expected.", f"URI {uri[:80]!r}")
    return path


def destination_path(request: Request) -> str:
    """The path that Destination names.

    Errors: Refusal 400 and 502.
    """
    lines = request.headers.lines(b"destination")
    if len(lines) != 1:
        raise Refusal(400, "One Destination was expected.", f"{len(lines)} Destination fields")
    return target_path(request, lines[0].strip(b" \t"))


def parse_if(value: bytes) -> tuple[TestList, ...]:
    """The lists of an If field (section 10.4.2).

    Errors: Refusal 400.
    """
    lists: list[TestList] = []
    tests: list[Test] | None = None
    target: bytes | None = None
    negated, count, position, untagged, used = False, 0, 0, False, True
    value = value.rstrip(b" \t,")
    while position < len(value):
        match = _TOKEN.match(value, position)
        if match is None or (negated and match.lastgroup not in ("uri", "etag")):
            raise _bad_if(value)
        position = match.end()
        kind = match.lastgroup
        if tests is None:
            if kind == "uri":
                if untagged or not used:
                    raise _bad_if(value)
                target, used = match["uri"], False
            elif kind == "open":
                untagged = untagged or target is None
                tests, used = [], True
            else:
                raise _bad_if(value)
        elif kind == "close":
            if not tests:
                raise _bad_if(value)
            lists.append(TestList(target, tuple(tests)))
            tests = None
        elif kind == "not":
            negated = True
        elif kind in ("uri", "etag"):
            count += 1
            if count > CONDITIONS:
                raise Refusal(400, f"The If field has more than {CONDITIONS} conditions.")
            tests.append(Test(match[kind], kind == "etag", negated))
            negated = False
        else:
            raise _bad_if(value)
    if tests is not None or not used or not lists:
        raise _bad_if(value)
    return tuple(lists)


def _bad_if(value: bytes) -> Refusal:
    return Refusal(400, "The If field is malformed.", f"If {value[:200]!r}")


def holds(
    lists: tuple[TestList, ...], tokens: Callable[[bytes | None], frozenset[str]], etag: Callable[[bytes | None], bytes]
) -> bool:
    """Whether one of the lists holds.

    Args:
        tokens: the tokens of the locks that the resource at a target is under.
        etag: its entity tag; empty if it has none.
    """
    return any(
        all(
            (
                bool(etag(one.target)) and test.value == etag(one.target)
                if test.is_etag
                else test.value.decode("latin-1") in tokens(one.target)
            )
            is not test.negated
            for test in one.tests
        )
        for one in lists
    )


def submitted(lists: tuple[TestList, ...]) -> frozenset[str]:
    """Every state token that is mentioned: they count as submitted (section 6.5)."""
    return frozenset(test.value.decode("latin-1") for one in lists for test in one.tests if not test.is_etag)


def check_preconditions(headers: Headers, etag: bytes | None, modified_seconds: int) -> None:
    """The conditions of RFC 9110, section 13, for a request that changes something.

    Args:
        etag: of what is there; None if nothing is, empty for a folder.
        modified_seconds: its Last-Modified.

    Errors: Refusal 412.
    """
    if_match = headers.get(b"if-match")
    if if_match is not None:
        if etag is None or not (if_match == b"*" or is_listed(if_match, etag, weak=False)):
            raise Refusal(412, "It is not in the state that the request asks for.")
    else:
        since = parse_http_date(headers.get(b"if-unmodified-since") or b"")
        if since is not None and etag is not None and modified_seconds > since:
            raise Refusal(412, "It has changed since.")
    if_none_match = headers.get(b"if-none-match")
    if (
        if_none_match is not None
        and etag is not None
        and (if_none_match == b"*" or is_listed(if_none_match, etag, weak=True))
    ):
        raise Refusal(412, "It is there already.")
