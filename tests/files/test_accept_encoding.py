"""Accept-Encoding: clients get what they prefer, and never what they refuse."""

from __future__ import annotations

import pytest
from hypothesis import given, settings, strategies as st

from securelight.files.accept_encoding import choose_coding

AVAILABLE = (b"br", b"zstd", b"gzip", b"identity")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, b"identity"),
        (b"", b"identity"),
        (b"gzip", b"gzip"),
        (b"GZIP", b"gzip"),
        (b"x-gzip", b"gzip"),
        (b"gzip, deflate, br, zstd", b"br"),
        (b"gzip, deflate", b"gzip"),
        (b"br;q=0.5, gzip;q=0.8", b"gzip"),
        (b"br ; q=0.5,gzip;Q=0.501", b"gzip"),
        (b"gzip;q=0.1", b"gzip"),
        (b"br;q=0, gzip", b"gzip"),
        (b"br;q=0.000", b"identity"),
        (b"*", b"br"),
        (b"br;q=0, *", b"zstd"),
        (b"*;q=0, gzip", b"gzip"),
        (b"identity, gzip;q=0.5", b"identity"),
        (b"identity;q=0, gzip", b"gzip"),
        (b"deflate", b"identity"),
        (b"br;q=2, gzip", b"gzip"),
        (b"br;q=0.1234, gzip", b"gzip"),
        (b"br;q=, gzip", b"gzip"),
        (b",, ,gzip,", b"gzip"),
        (b"identity;q=0", None),
        (b"*;q=0", None),
        (b"identity;q=0, deflate", None),
        (b"*;q=0, identity", b"identity"),
    ],
)
def test_preferences(value: bytes | None, expected: bytes | None) -> None:
    if expected is None:
        assert choose_coding(value, (b"identity",)) is None
    else:
        assert choose_coding(value, AVAILABLE) == expected


def test_the_server_decides_between_equals_by_its_own_order() -> None:
    assert choose_coding(b"br, gzip", (b"gzip", b"br", b"identity")) == b"gzip"


def test_a_long_field_is_read_to_its_bound_and_no_further() -> None:
    assert choose_coding(b"gzip," + b"a," * 15_000, AVAILABLE) == b"gzip"
    assert choose_coding(b"a," * 15_000 + b"gzip", AVAILABLE) == b"identity"


@settings(max_examples=300, deadline=None)
@given(
    weights=st.dictionaries(
        st.sampled_from([*AVAILABLE, b"*", b"deflate"]), st.integers(0, 1000), min_size=1, max_size=6
    ),
    count=st.integers(1, 4),
)
def test_nothing_refused_is_chosen_and_nothing_better_is_left(weights: dict[bytes, int], count: int) -> None:
    available = AVAILABLE[-count:]
    value = b", ".join(b"%b;q=%d.%03d" % (name, *divmod(weight, 1000)) for name, weight in weights.items())
    chosen = choose_coding(value, available)
    if chosen is None:
        assert weights.get(b"identity", weights.get(b"*")) == 0
        assert all(weights.get(coding, weights.get(b"*", 0)) == 0 for coding in available)
    else:
        weight = weights.get(chosen, weights.get(b"*"))
        assert weight != 0
        assert weight is not None or chosen == b"identity"
        if weight is not None:
            assert all(weights.get(coding, weights.get(b"*", 0)) <= weight for coding in available)


@settings(max_examples=200, deadline=None)
@given(value=st.binary(max_size=300))
def test_no_field_breaks_the_parser(value: bytes) -> None:
    assert choose_coding(value, AVAILABLE) in (*AVAILABLE, None)
