"""Texts of the configuration with parts of the request in them: `/posts/{slug}`, `https://www.{host}{path}`.

A name in braces is one of NAMES, `{header:NAME}`, `{query:NAME}`, or a capture of the rule's condition; `{{` and `}}`
are braces. Checked when it is read: a name that nothing sets is a fault there, not an empty place in a URL later.

What the client chose never changes the shape of the result. In a URL it is percent-encoded, in its authority slashes
and at signs too, and `//` at the beginning of a path, which would name another host, becomes one slash. In a field,
whatever is not visible ASCII is percent-encoded. In a body it is text, as HTML, XML or JSON write that.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

from securelight.config.explain import nearest
from securelight.model.field_syntax import is_field_name
from securelight.pipeline.request_values import query_values

if TYPE_CHECKING:
    from securelight.model.request import Facts, Request

Value = Callable[["Request", "Facts"], str]

_PART = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|([{}])")
_PATH_SAFE: Final = "/!$&'()*+,;=:@~-._"
_FIELD_SAFE: Final = "".join(map(chr, range(0x20, 0x7F)))
MAXIMUM_CHARACTERS: Final = 8_192
"""Of a URL or field that a template makes; a longer one is cut, so that it fits into a head."""

_VALUES: Final[dict[str, Value]] = {
    "host": lambda request, _facts: request.host,
    "authority": lambda request, _facts: request.authority,
    "path": lambda request, _facts: request.path,
    "query": lambda request, _facts: request.query.decode("ascii", "replace"),
    "?query": lambda request, _facts: "?" + request.query.decode("ascii", "replace") if request.query else "",
    "scheme": lambda request, _facts: request.scheme,
    "method": lambda request, _facts: request.method,
    "client_address": lambda _request, facts: facts.client_address,
    "user": lambda _request, facts: facts.user or "",
    "certificate_subject": lambda _request, facts: facts.certificate.subject if facts.certificate else "",
    "certificate_fingerprint": lambda _request, facts: facts.certificate.fingerprint if facts.certificate else "",
    "country": lambda _request, facts: facts.place("country"),
    "continent": lambda _request, facts: facts.place("continent"),
    "asn": lambda _request, facts: facts.place("asn"),
}
PLACES: Final = frozenset({"country", "continent", "asn"})
"""Those that need databases of addresses."""
NAMES: Final = tuple(_VALUES)
_RAW: Final = frozenset({"host", "authority", "query", "?query", "scheme"})
"""Valid as they are in any part of a URL."""


def template_faults(text: str, captures: frozenset[str] = frozenset()) -> list[str]:
    """What is wrong with the template `text` of a rule whose condition sets `captures`."""
    faults = []
    for match in _PART.finditer(text):
        if match[2]:
            faults.append(f"{text!r} has a single {match[2]}; write {match[2] * 2} for one that is meant")
        elif match[1] is not None and _value(match[1], captures) is None:
            close = nearest(match[1], (*NAMES, *captures))
            meant = f"; did you mean {{{close}}}?" if close else f"; there are {', '.join((*NAMES, *sorted(captures)))}"
            faults.append(f"{text!r} has {{{match[1]}}}, which nothing sets{meant}")
    return faults


def tells_place(text: str) -> bool:
    """Whether the template `text` says where the client is from."""
    return any(match[1] in PLACES for match in _PART.finditer(text))


def url_template(text: str, captures: frozenset[str] = frozenset()) -> Value:
    """Makes a URL or the path of one: `https://...` or `/...`.

    Errors: ValueError for what `template_faults` reports.
    """
    parts = _parts(text, captures)
    absolute = "://" in text.partition("{")[0]
    values: list[Value] = []
    before = ""
    for literal, name, value in parts:
        if value is None:
            values.append(_constant(literal))
        else:
            # The path begins with the slash that ends the authority.
            in_authority = absolute and name != "path" and "/" not in before.partition("://")[2]
            values.append(value if name in _RAW else _quoted(value, "" if in_authority else _PATH_SAFE))
        before += "/" if name == "path" else literal
    joined = _joined(values)
    if absolute:
        return joined
    return lambda request, facts: "/" + joined(request, facts).lstrip("/")


def field_template(text: str, captures: frozenset[str] = frozenset()) -> Value:
    """Makes the value of a field.

    Errors: ValueError for what `template_faults` reports.
    """
    parts = _parts(text, captures)
    joined = _joined(
        [_constant(literal) if value is None else _quoted(value, _FIELD_SAFE) for literal, _, value in parts]
    )
    return lambda request, facts: joined(request, facts).strip()


def text_template(text: str, content_type: str) -> Value:
    """Makes the body of an answer; what stands for a name is escaped as text of `content_type` has to be.

    Errors: ValueError for what `template_faults` reports.
    """
    kind = content_type.partition(";")[0].strip().lower()
    escape: Callable[[str], str] | None = None
    if kind in ("text/html", "image/svg+xml") or kind.endswith(("/xml", "+xml")):
        escape = html.escape
    elif kind.endswith(("/json", "+json")):
        escape = _json_text
    elif kind != "text/plain":
        raise ValueError(f"{kind} is no type whose text can be made safely; there are text/plain, HTML, XML and JSON")
    return _joined(
        [
            _constant(literal) if value is None else value if escape is None else _escaped(value, escape)
            for literal, _, value in _parts(text, frozenset())
        ]
    )


def is_constant(text: str) -> bool:
    """Whether `text` has nothing of the request in it."""
    return "{" not in text and "}" not in text


def _parts(text: str, captures: frozenset[str]) -> list[tuple[str, str, Value | None]]:
    """(literal, "", None) or ("", name, value) of each part."""
    faults = template_faults(text, captures)
    if faults:
        raise ValueError("; ".join(faults))
    parts: list[tuple[str, str, Value | None]] = []
    place = 0
    for match in _PART.finditer(text):
        literal = text[place : match.start()]
        place = match.end()
        if match[1] is None:
            parts.append((literal + match[0][0], "", None))
            continue
        parts.append((literal, "", None))
        parts.append(("", match[1], _value(match[1], captures)))
    parts.append((text[place:], "", None))
    return [part for part in parts if part[0] or part[2] is not None]


def _joined(values: list[Value]) -> Value:
    if len(values) == 1:
        return values[0]
    return lambda request, facts: "".join([value(request, facts) for value in values])[:MAXIMUM_CHARACTERS]


def _constant(text: str) -> Value:
    return lambda _request, _facts: text


def _quoted(value: Value, safe: str) -> Value:
    return lambda request, facts: quote(value(request, facts), safe=safe, errors="surrogateescape")


def _escaped(value: Value, escape: Callable[[str], str]) -> Value:
    return lambda request, facts: escape(value(request, facts))


def _json_text(text: str) -> str:
    """Within the quotes of a string, and of a script too."""
    return json.dumps(text)[1:-1].replace("<", "\\u003c")


def _value(name: str, captures: frozenset[str]) -> Value | None:
    """What stands for `name`; None if nothing does."""
    if name in captures:
        return _capture(name)
    if name in _VALUES:
        return _VALUES[name]
    kind, colon, of = name.partition(":")
    if colon and kind == "header" and is_field_name(of):
        return _header(of.lower().encode())
    if colon and kind == "query" and of:
        return _query(of)
    return None


def _capture(name: str) -> Value:
    return lambda _request, facts: (facts.captures or {}).get(name, "")


def _header(name: bytes) -> Value:
    return lambda request, _facts: (request.headers.get(name) or b"").decode("latin-1")


def _query(name: str) -> Value:
    return lambda request, _facts: next(iter(query_values(request, name)), "")
