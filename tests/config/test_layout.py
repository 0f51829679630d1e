"""The layout of configuration files: white space changes, meaning does not."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from securelight.config.layout import format_toml, write_toml

EXAMPLES = sorted((Path(__file__).parents[2] / "conf.d").glob("*.toml"))
UGLY = '''


# the server
[server]
workers=2
   engine   =    "auto"   # fast
[[listen]]
address="localhost:8443"


# two lines
# of comment
[[site]]
hosts=[
"a.test",   # first
      "b.test",
]
text = """
  kept   =as it is

"""
inline={a=1,b="x = y"}
"quoted key"='#no comment'
matrix = [
[1,2],
  [3,
4],
]
'''
FINE = '''# the server
[server]
workers = 2
engine = "auto"   # fast

[[listen]]
address = "localhost:8443"

# two lines
# of comment
[[site]]
hosts = [
    "a.test",   # first
    "b.test",
]
text = """
  kept   =as it is

"""
inline = {a=1,b="x = y"}
"quoted key" = '#no comment'
matrix = [
    [1,2],
    [3,
        4],
]
'''


def test_white_space_is_put_in_order_and_nothing_else_changes() -> None:
    assert format_toml(UGLY) == FINE
    assert format_toml(FINE) == FINE
    assert tomllib.loads(UGLY) == tomllib.loads(FINE)


@pytest.mark.parametrize(
    "path", sorted((Path(__file__).parents[2] / "conf.d").glob("*.toml")), ids=lambda path: path.name
)
def test_the_examples_are_in_the_usual_layout(path: Path) -> None:
    assert format_toml(path.read_text()) == path.read_text()


@pytest.mark.parametrize("text", ["a = ", "[a", "a = 1\na = 2", 'a = """'])
def test_what_is_no_toml_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"line|document"):
        format_toml(text)


PIECES = st.sampled_from(
    ["a=1", "b = 'x#y'", "# c", "", "[t]", "[[u]]", "d=[1,", "2]", 'e="""', '"""', "f='''", "'''", "  g.h = {i=1}", "]"]
)


@settings(max_examples=300, deadline=None)
@given(st.lists(PIECES, max_size=10).map("\n".join))
def test_whatever_is_valid_means_the_same_afterwards(text: str) -> None:
    try:
        meaning = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return
    formatted = format_toml(text)
    assert tomllib.loads(formatted) == meaning
    assert format_toml(formatted) == formatted


VALUES = st.recursive(
    st.booleans() | st.integers(-(2**40), 2**40) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(st.text(max_size=5), VALUES, max_size=4))
def test_what_is_written_is_read_again(table: dict[str, Any]) -> None:
    assert tomllib.loads(write_toml(table)) == table
