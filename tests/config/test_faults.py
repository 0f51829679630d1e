from __future__ import annotations

from hypothesis import given, settings, strategies as st

from securelight.config.faults import MAXIMUM_FAULTS, ConfigFaults, Faults, Where, printable
from securelight.model.errors import ConfigError


def test_a_place_is_a_file_and_a_path_of_keys() -> None:
    where = Where("a.toml").key("site").item(1).key("hosts").item(0)
    assert str(where) == "a.toml: site[1].hosts[0]"
    assert str(Where("a.toml")) == "a.toml"


def test_a_key_that_is_not_plain_is_quoted() -> None:
    assert str(Where("a.toml").key("a b").key("\x1b[2J")) == 'a.toml: "a b"."\\x1b[2J"'


@settings(max_examples=200, deadline=None)
@given(st.text(st.characters(), max_size=300))
def test_whatever_is_shown_prints_and_is_short(text: str) -> None:
    shown = printable(text, 50)
    assert shown.isprintable()
    assert len(shown) <= 50 * 10 + 3


def test_faults_keep_their_order_and_their_number_is_bounded() -> None:
    faults = Faults()
    for number in range(MAXIMUM_FAULTS + 5):
        faults.add("a.toml", f"fault {number}")
    assert len(faults) == MAXIMUM_FAULTS + 5
    kept = faults.all()
    assert [str(fault) for fault in kept[:2]] == ["a.toml: fault 0", "a.toml: fault 1"]
    assert str(kept[-1]) == "configuration: 5 more faults are not shown"
    assert len(kept) == MAXIMUM_FAULTS + 1


def test_the_error_has_a_line_for_each() -> None:
    error = ConfigFaults([ConfigError("a.toml", "is bad"), ConfigError("b.toml: x", "is worse")])
    assert str(error) == "a.toml: is bad\nb.toml: x: is worse"
    assert [fault.where for fault in error.faults] == ["a.toml", "b.toml: x"]
