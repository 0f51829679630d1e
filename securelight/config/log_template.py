"""The form of a line in the access log: a name, or a template such as `{client_address} "{method} {path}" {status}`.

A name in braces is one of FIELDS or `request_header:NAME`; `{{` and `}}` are braces. Only what the template says is
read here; server/log_format makes the function that writes lines, cli/logs the one that reads them.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from securelight.config.explain import nearest
from securelight.model.field_syntax import is_field_name

COMMON: Final = '{client_address} - {user} [{time}] "{request}" {status} {bytes}'
COMBINED: Final = COMMON + ' "{request_header:referer}" "{request_header:user-agent}"'
NAMED: Final = {"combined": COMBINED, "common": COMMON, "vhost_combined": "{authority} " + COMBINED}
"""Formats by name, as templates."""
NAMES: Final = (*NAMED, "json", "off")
"""All that have a name."""

FIELDS: Final = frozenset(
    {"client_address", "client_port", "local_address", "local_port", "user", "time", "time_iso", "time_unix"}
    | {"request", "method", "scheme", "authority", "host", "target", "path", "query", "protocol", "status", "bytes"}
    | {"duration_ms", "duration_seconds", "stream", "route", "refusal", "error_id"}
    | {"tls_version", "cipher", "sni", "resumed"}
    | {"country", "continent", "asn"}
    | {"certificate_subject", "certificate_serial", "certificate_fingerprint"}
)
MAXIMUM_CHARACTERS: Final = 4_096
"""Of a template."""

_PART: Final = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|([{}])")
_HEADER: Final = "request_header:"
_SECRET: Final = frozenset({"authorization", "cookie", "proxy-authorization", "x-api-key", "x-auth-token"})


class Part(NamedTuple):
    """A piece of a template: a text, or the name of a field."""

    literal: str
    field: str = ""


def template_of(form: str) -> str:
    """The template of the format `form`: itself if it is none of the names."""
    return NAMED.get(form, form)


def form_faults(form: str) -> list[str]:
    """What is wrong with `form`, a name or a template."""
    if "{" not in form and "}" not in form:
        if form in NAMES:
            return []
        close = nearest(form, NAMES)
        meant = f"did you mean {close!r}?" if close else f"there are {', '.join(NAMES)}"
        return [f"{form!r} is no format; {meant} A template has fields in it, such as {{path}}"]
    faults = []
    if len(form) > MAXIMUM_CHARACTERS:
        faults.append(f"is longer than {MAXIMUM_CHARACTERS} characters")
    if not form.isprintable():
        faults.append("has a line break, or another character that does not print; a request is one line")
    for match in _PART.finditer(form):
        if match[2]:
            faults.append(f"has a single {match[2]}; write {match[2] * 2} for one that is meant")
        elif match[1] is not None and not _is_field(match[1]):
            close = nearest(match[1], FIELDS)
            listed = f"; there are {', '.join(sorted(FIELDS))} and request_header:NAME"
            faults.append(
                f"has {{{match[1]}}}, which is no field" + (f"; did you mean {{{close}}}?" if close else listed)
            )
    return faults


def form_warnings(form: str) -> list[str]:
    """What `form` would write that does not belong in a log."""
    names = dict.fromkeys(part.field.removeprefix(_HEADER).lower() for part in parts_of(template_of(form)))
    return [f"writes the field {name}, which holds secrets, into the log" for name in names if name in _SECRET]


def header_of(field: str) -> bytes | None:
    """The request's field that `request_header:NAME` is, in lower case; None for others."""
    return field.removeprefix(_HEADER).lower().encode() if field.startswith(_HEADER) else None


def parts_of(template: str) -> list[Part]:
    """The parts of a template without faults, literals in one piece."""
    parts: list[Part] = []
    place = 0
    text = ""
    for match in _PART.finditer(template):
        text += template[place : match.start()]
        place = match.end()
        if match[1] is None:
            text += match[0][0]
            continue
        if text:
            parts.append(Part(text))
        parts.append(Part("", match[1]))
        text = ""
    text += template[place:]
    return [*parts, Part(text)] if text else parts


def _is_field(name: str) -> bool:
    return name in FIELDS or (name.startswith(_HEADER) and is_field_name(name.removeprefix(_HEADER)))
