"""Turns one TOML table into its struct, and finds every fault in it rather than the first.

msgspec stops at its first fault, so each value is converted on its own, and the table as a whole only once all of its
values are known to be good (which also runs the struct's own `__post_init__`).
"""

from __future__ import annotations

import functools
from dataclasses import is_dataclass
from types import UnionType
from typing import TYPE_CHECKING, Any, Final, TypeGuard, TypeVar, Union, get_args, get_origin, get_type_hints

import msgspec
from msgspec import inspect

from securelight.config import explain
from securelight.config.faults import Where, printable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from securelight.config.faults import Faults

T = TypeVar("T")
MAXIMUM_ITEMS: Final = 10_000
"""Elements of one list or keys of one table."""
MAXIMUM_DEPTH: Final = 64
"""Keys of a key path: conditions may hold conditions."""


class Converter:
    """Converts tables and collects what is wrong with them.

    Args:
        faults: where to report.
        elsewhere: keys of well-known tables with the header of that table, to tell where a misplaced key belongs.
    """

    def __init__(self, faults: Faults, elsewhere: Mapping[str, str]) -> None:
        self.faults = faults
        self.elsewhere = elsewhere

    def table(self, value: object, kind: type[T], where: Where) -> T | None:
        """`value` as a `kind` (a Struct or a dataclass); None if anything was wrong, which is then in `faults`."""
        checked = self.as_table(value, where)
        if checked is None:
            return None
        if where.path.count(".") > MAXIMUM_DEPTH:
            self.faults.add(Where(where.file, where.path[:200]), "is nested too deeply")
            return None
        before = len(self.faults)
        hints = hints_of(kind)
        for key, item in checked.items():
            if key in hints:
                self.value(key, item, hints[key], where.key(key))
            else:
                self.unknown(key, where, hints)
        for key in required_keys(kind):
            if key not in checked:
                self.faults.add(where.key(key), explain.missing_key(key, hints[key]))
        if len(self.faults) != before:
            return None
        try:
            return msgspec.convert(checked, kind)
        except (msgspec.ValidationError, ValueError, TypeError) as error:
            self.faults.add(where, printable(str(error), 200))
            return None

    def value(self, name: str, value: object, hint: Any, where: Where, *, strict: bool = True) -> object:
        """Check `value` against the type `hint`; returns it converted, None if it has a fault.

        Args:
            name: the key, for messages.
            value: what the file has.
            hint: the type of the key.
            where: the place of the key.
            strict: False for texts from the environment, which stand for numbers too.
        """
        if isinstance(value, list | dict) and len(value) > MAXIMUM_ITEMS:
            self.faults.add(where, f"has more than {MAXIMUM_ITEMS} elements")
            return None
        if is_table(hint):
            return self.table(value, hint, where)
        origin, arguments = get_origin(hint), get_args(hint)
        same_items = origin in (list, set, frozenset) or (origin is tuple and arguments[1:] == (...,))
        if same_items and isinstance(value, list):
            for index, item in enumerate(value):
                self.value(name, item, arguments[0], where.item(index))
            return value
        if origin in (list, tuple) and is_table(arguments[0]) and isinstance(value, dict):
            self.faults.add(where, two_brackets(where))
            return None
        if origin is dict and isinstance(value, dict):
            for key, item in value.items():
                self.value(key, item, arguments[1], where.key(key))
            return value
        return self._plain(name, value, hint, where, strict=strict)

    def _plain(self, name: str, value: object, hint: Any, where: Where, *, strict: bool) -> object:
        try:
            converted: object = msgspec.convert(value, hint, strict=strict)
        except msgspec.ValidationError as error:
            self.faults.add(where, explain.wrong_value(name, value, hint, str(error), in_file=strict))
            return None
        if not explain.is_finite(converted):
            self.faults.add(where, "must be a finite number")
            return None
        return converted

    def as_table(self, value: object, where: Where) -> dict[str, object] | None:
        """`value` if it is a table; None, and a fault, if not."""
        if isinstance(value, dict):
            return value
        header = explain.header_of(where.path)
        if isinstance(value, list):
            self.faults.add(where, f"there is only one of these: write {header} with single brackets")
        else:
            self.faults.add(
                where, f"expected a table, got {explain.describe_value(value)}; write {header} above its keys"
            )
        return None

    def as_tables(self, value: object, where: Where) -> list[object]:
        """The elements of an array of tables; empty, and a fault, if it is none."""
        if not isinstance(value, list):
            self.faults.add(where, two_brackets(where))
            return []
        if len(value) > MAXIMUM_ITEMS:
            self.faults.add(where, f"has more than {MAXIMUM_ITEMS} elements")
        return value[:MAXIMUM_ITEMS]

    def unknown(self, key: str, where: Where, known: Mapping[str, Any]) -> None:
        """Report a key that the table at `where` does not have."""
        self.faults.add(where.key(key), explain.unknown_key(key, where.path, known.keys(), self.elsewhere))


def two_brackets(where: Where) -> str:
    """What to say where an array of tables is asked for and something else stands."""
    header = explain.header_of(where.path).strip("[]")
    return f"there may be several of these: write [[{header}]] with double brackets above the keys of each"


def is_table(hint: Any) -> TypeGuard[type[Any]]:
    """True if the type `hint` is written as a TOML table of known keys."""
    return isinstance(hint, type) and (issubclass(hint, msgspec.Struct) or is_dataclass(hint))


def hints_of(kind: Any) -> Mapping[str, Any]:
    """The keys of a struct or dataclass, with their types; `X | None` is X, because TOML has no null."""
    return _keys_of(kind)[0]


def required_keys(kind: Any) -> tuple[str, ...]:
    """The keys that a table must have."""
    return _keys_of(kind)[1]


@functools.cache
def _keys_of(kind: Any) -> tuple[Mapping[str, Any], tuple[str, ...]]:
    hints = get_type_hints(kind, include_extras=True)
    fields = _fields_of(kind)
    return (
        {item.encode_name: _without_none(hints[item.name]) for item in fields},
        tuple(item.encode_name for item in fields if item.required),
    )


def _fields_of(kind: type[Any]) -> tuple[inspect.Field, ...]:
    info = inspect.type_info(kind)
    assert isinstance(info, inspect.StructType | inspect.DataclassType)
    return info.fields


def _without_none(hint: Any) -> Any:
    if get_origin(hint) in (Union, UnionType):
        rest = [part for part in get_args(hint) if part is not type(None)]
        return rest[0] if len(rest) == 1 else hint
    return hint
