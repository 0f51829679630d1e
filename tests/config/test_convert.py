from __future__ import annotations

import datetime
from typing import TYPE_CHECKING

from hypothesis import given, settings, strategies as st

from securelight.config.convert import MAXIMUM_ITEMS, Converter, hints_of
from securelight.config.faults import Faults, Where
from securelight.config.schema import ListenConfig, ServerConfig
from securelight.model.limits import Limits
from tests.config.rows import ROWS, Answer, Fence, Files, Proxy, Target

if TYPE_CHECKING:
    from typing import TypeVar

    T = TypeVar("T")


def convert(value: object, kind: type[T], elsewhere: dict[str, str] | None = None) -> tuple[T | None, list[str]]:
    faults = Faults()
    result = Converter(faults, elsewhere or {}).table(value, kind, Where("f", "t"))
    return result, [str(fault).removeprefix("f: ") for fault in faults.all()]


def test_a_table_becomes_its_struct() -> None:
    assert convert({"root": "a", "index": ["b"]}, Files) == (Files("a", ("b",)), [])


def test_every_fault_of_a_table_is_found_and_not_only_the_first() -> None:
    result, faults = convert({"rot": "a", "index": ["b", 1, True]}, Files)
    assert result is None
    assert faults == [
        't.rot: unknown key; did you mean "root"?',
        't.index[1]: expected text in quotes, got 1; put it in quotes: index = "1"',
        "t.index[2]: expected text in quotes, got true",
        "t.root: is missing: add root = ..., text in quotes",
    ]


def test_tables_in_tables_are_looked_into() -> None:
    assert convert({"to": [{"address": "a"}, {"address": "b", "weight": 2}]}, Proxy)[0] == Proxy(
        [Target("a"), Target("b", 2.0)]
    )
    assert convert({"to": [{"adress": "a"}, {"address": "b", "weight": "2"}, 5]}, Proxy)[1] == [
        't.to[0].adress: unknown key; did you mean "address"?',
        "t.to[0].address: is missing: add address = ..., text in quotes",
        't.to[1].weight: expected a number, got the text "2"; write it without quotes: weight = 2',
        "t.to[2]: expected a table, got 5; write [[t.to]] above its keys",
    ]
    assert convert({"to": {"address": "a"}}, Proxy)[1] == [
        "t.to: there may be several of these: write [[t.to]] with double brackets above the keys of each"
    ]


def test_tables_of_any_key_are_looked_into() -> None:
    assert convert({"fields": {"a": "b", "c d": 1}}, Answer)[1] == [
        't.fields."c d": expected text in quotes, got 1; put it in quotes: c d = "1"'
    ]


def test_what_may_be_left_out_is_described_as_what_it_is() -> None:
    assert convert({"to": [{"address": "a"}], "retries": "3"}, Proxy)[1] == [
        't.retries: expected a whole number, got the text "3"; write it without quotes: retries = 3'
    ]


def test_what_the_struct_itself_refuses_is_reported_at_the_table() -> None:
    assert convert({"to": []}, Proxy)[1] == ["t: needs at least one target"]


def test_truth_is_no_number_and_a_date_no_text() -> None:
    assert convert({"workers": True}, ServerConfig)[1] == [
        "t.workers: expected a whole number from 1 to 1024, got true"
    ]
    assert convert({"user": datetime.date(2026, 1, 1)}, ServerConfig)[1] == [
        "t.user: expected text in quotes, got a date or time"
    ]


def test_a_misplaced_key_is_shown_its_place() -> None:
    assert convert({"allow": [], "workers": 1}, Fence, {"workers": "[server]"})[1] == [
        "t.workers: unknown key here; it belongs to [server]"
    ]


def test_the_number_of_elements_is_bounded() -> None:
    assert convert({"allow": ["a"] * (MAXIMUM_ITEMS + 1)}, Fence)[1] == [
        f"t.allow: has more than {MAXIMUM_ITEMS} elements"
    ]


def test_the_limits_have_their_keys() -> None:
    assert hints_of(Limits)["idle_seconds"] is float


TOML_VALUES = st.recursive(
    st.just(datetime.date(2026, 1, 1)) | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.sampled_from(["root", "address", "to", "weight", "fields", "limits", "idle_seconds", "x"]),
                      inner, max_size=4),
    max_leaves=8,
)  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(TOML_VALUES, st.sampled_from([*(row.config_class for row in ROWS), ServerConfig, ListenConfig]))
def test_any_value_is_either_converted_or_reported(value: object, kind: type[object]) -> None:
    result, faults = convert(value, kind)
    assert (result is None) == bool(faults)
    assert all(fault.isprintable() for fault in faults)
