"""Puts types and mistakes into words for somebody who has never seen the file before, and into a JSON Schema.

Every message says what is wrong, and where one cure is likely, the line to write instead.
"""

from __future__ import annotations

import datetime
import difflib
import math
import re
from dataclasses import fields as dataclass_fields, is_dataclass
from typing import TYPE_CHECKING, Any, Final

import msgspec
from msgspec import inspect

from securelight.config.faults import printable, quoted
from securelight.config.schema import SHORTHANDS, ListenConfig, RouteKeys, ServerConfig, SiteKeys
from securelight.config.tcp import TcpConfig
from securelight.model.limits import Limits

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from securelight.config.schema import FeatureRow

_COMPARED_CHARACTERS: Final = 64
_LISTED_KEYS: Final = 16
_SIMILARITY: Final = 0.6
_INDEX = re.compile(r"\[\d+\]")
_AT = re.compile(r" - at `[^`]*`\Z")


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The one of `known` that `name` was probably meant to be; None if nothing is close."""
    folded = {candidate.lower().replace("-", "_"): candidate for candidate in known}
    typed = name[:_COMPARED_CHARACTERS].lower().replace("-", "_")
    close = difflib.get_close_matches(typed, folded, n=1, cutoff=_SIMILARITY)
    return folded[close[0]] if close else None


def header_of(path: str) -> str:
    """The TOML header under which the keys of the table at the key path `path` stand, e.g. `[[site.route]]`."""
    names = _INDEX.sub("", path)
    return f"[[{names}]]" if path.endswith("]") else f"[{names}]"


def unknown_key(name: str, path: str, known: Collection[str], elsewhere: Mapping[str, str]) -> str:
    """What to say of the key `name` that the table at `path` does not have.

    Args:
        name: the key as written.
        path: the key path of the table, empty for the top of a file.
        known: the keys that the table does have.
        elsewhere: keys of other tables, with the header of their table.
    """
    section = elsewhere.get(name)
    if section is not None:
        header = header_of(path) if path else ""
        if header.strip("[]").startswith(section.strip("[]") + "."):
            return f"unknown key here; it belongs to {section}: move it above {header}"
        return f"unknown key here; it belongs to {section}"
    close = nearest(name, known)
    if close is not None:
        return f"unknown key; did you mean {quoted(close)}?"
    listed = sorted(known)
    more = ", ..." if len(listed) > _LISTED_KEYS else ""
    return f"unknown key; the keys here are {', '.join(listed[:_LISTED_KEYS])}{more}"


def missing_key(name: str, hint: Any) -> str:
    """What to say of the key `name` that a table must have."""
    return f"is missing: add {name} = ..., {_describe_type(hint)}"


def wrong_value(name: str, value: object, hint: Any, error: str, *, in_file: bool = True) -> str:
    """What to say of a `value` that does not fit the type `hint` of the key `name`.

    Args:
        name: the key.
        value: what the file has.
        hint: the Python type of the key.
        error: msgspec's own message, used where the type has no words here.
        in_file: whether it is TOML that has to be cured; False for a variable of the environment.
    """
    choices = choices_of(hint)
    if choices and isinstance(value, str):
        close = nearest(value, choices)
        listed = ", ".join(quoted(choice) for choice in choices)
        meant = f"; did you mean {quoted(close)}?" if close else ""
        return f"{quoted(value)} is not one of {listed}{meant}"
    expected = _describe_type(hint)
    if not expected:
        return printable(_AT.sub("", error), 200)
    cure = _cure(name, value, expected) if in_file else ""
    return f"expected {expected}, got {describe_value(value)}{cure}"


def choices_of(hint: Any) -> list[str]:
    """The texts that a Literal type allows; empty for any other type."""
    info = inspect.type_info(hint)
    if isinstance(info, inspect.LiteralType):
        return [choice for choice in info.values if isinstance(choice, str)]
    return []


def describe_value(value: object) -> str:
    """`value`, as read from TOML, in words."""
    match value:
        case bool():
            return "true" if value else "false"
        case str():
            return f"the text {quoted(value)}"
        case int() | float():
            return printable(repr(value))
        case dict():
            return "a table"
        case list():
            return "a list"
        case datetime.date() | datetime.time():
            return "a date or time"
        case _:
            return "something else"


def _describe_type(hint: Any) -> str:
    """The type of a key in words; empty for what TOML users never meet."""
    return _words(inspect.type_info(hint))


def _words(info: inspect.Type) -> str:
    match info:
        case inspect.Metadata():
            return _words(info.type)
        case inspect.StrType():
            return "text in quotes that is not empty" if info.min_length else "text in quotes"
        case inspect.BoolType():
            return "true or false"
        case inspect.IntType() | inspect.FloatType():
            return ("a whole number" if isinstance(info, inspect.IntType) else "a number") + _range(info)
        case inspect.LiteralType():
            return "one of " + ", ".join(quoted(str(choice)) for choice in info.values)
        case inspect.ListType() | inspect.VarTupleType():
            return "a list"
        case inspect.DictType() | inspect.StructType() | inspect.DataclassType():
            return "a table"
        case inspect.UnionType():
            parts = [_words(part) for part in info.types if not isinstance(part, inspect.NoneType)]
            return " or ".join(parts) if all(parts) else ""
        case _:
            return ""


def _range(info: inspect.IntType | inspect.FloatType) -> str:
    if info.ge is not None and info.le is not None:
        return f" from {info.ge} to {info.le}"
    if info.ge is not None:
        return f", at least {info.ge}"
    return f", at most {info.le}" if info.le is not None else ""


def _cure(name: str, value: object, expected: str) -> str:
    if isinstance(value, str):
        if expected == "a list":
            return f"; write {name} = [{quoted(value)}]"
        text = value.strip()
        if (expected == "true or false" and text in ("true", "false")) or (
            "number" in expected and re.fullmatch(r"\d{1,18}(\.\d{1,9})?", text)
        ):
            return f"; write it without quotes: {name} = {text}"
    elif isinstance(value, int | float) and not isinstance(value, bool) and expected.startswith("text in quotes"):
        return f'; put it in quotes: {name} = "{printable(str(value))}"'
    return ""


def is_finite(value: object) -> bool:
    """False for the numbers `nan` and `inf`, which TOML has and no setting can use."""
    return not isinstance(value, float) or math.isfinite(value)


def schema_json(features: Sequence[FeatureRow]) -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of a configuration file with `features`, for editors."""
    kinds = [ServerConfig, ListenConfig, SiteKeys, RouteKeys, TcpConfig, *(row.config_class for row in features)]
    references, definitions = msgspec.json.schema_components(kinds, ref_template="#/$defs/{name}")
    for definition in definitions.values():
        if "properties" in definition:
            definition["additionalProperties"] = False
    definitions["Limits"] = _limits_schema(definitions["Limits"])
    own = dict(zip(("server", "listen", "site", "route", "tcp"), references, strict=False))
    rows = dict(zip((row.name for row in features), references[len(own) :], strict=True))
    short = {key: {"type": "string", "description": text} for key, (name, text) in SHORTHANDS.items() if name in rows}
    for name in ("site", "route"):
        definitions[own[name]["$ref"].rpartition("/")[2]]["properties"].update(rows | short)
    definitions["SiteKeys"]["properties"]["route"] = {"type": "array", "items": own["route"]}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "securelight configuration",
        "type": "object",
        "additionalProperties": False,
        "properties": {
            "include": {
                "type": "array",
                "items": {"type": "string"},
                "default": ["conf.d/*.toml"],
                "description": "Files read after the main one, in name order; patterns relative to its directory.",
            },
            "server": own["server"],
            "listen": {"type": "array", "items": own["listen"]},
            "site": {"type": "array", "items": own["site"]},
            "tcp": {"type": "array", "items": own["tcp"]},
        },
        "$defs": definitions,
    }


def _limits_schema(schema: dict[str, Any]) -> dict[str, Any]:
    assert is_dataclass(Limits)
    for item in dataclass_fields(Limits):
        about = item.metadata
        schema["properties"][item.name] |= {
            "description": f"{about['reason']} (unit: {about['unit']})",
            "minimum": about["minimum"],
        }
    return schema
