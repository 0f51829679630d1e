"""What a client says of itself does not pass, however it is spelled."""

from __future__ import annotations

import pytest
from hypothesis import given, settings, strategies

from securelight.model.claimed_fields import claimed_names, spellings, without_claims

NAMES = claimed_names(["Remote-User", "x_group"])


@pytest.mark.parametrize("name", [b"remote-user", b"remote_user", b"x-group", b"x_group"])
def test_a_claim_goes_in_every_spelling_and_nothing_else(name: bytes) -> None:
    others = [(b"remote-users", b"1"), (b"x-remote-user", b"2"), (b"connection", b"keep-alive")]
    assert without_claims([*others, (name, b"root")], NAMES) == others


@pytest.mark.parametrize(
    ("said", "left"),
    [
        (b"Remote-User", None),
        (b"close, Remote-User", b"close"),
        (b"REMOTE_USER ,\tx-group, upgrade", b"upgrade"),
        (b"close", b"close"),
    ],
)
def test_a_client_cannot_have_the_true_field_taken_out_on_the_way(said: bytes, left: bytes | None) -> None:
    assert without_claims([(b"connection", said)], NAMES) == ([] if left is None else [(b"connection", left)])


def test_all_spellings_of_a_name_are_known() -> None:
    assert spellings("X-Real_User") == {b"x-real-user", b"x_real-user", b"x-real_user", b"x_real_user"}
    assert spellings("user") == {b"user"}
    assert len(spellings("a-" * 12 + "a")) == 4096
    assert len(spellings("a-" * 100 + "a")) == 2


@settings(max_examples=200)
@given(strategies.lists(strategies.tuples(strategies.text("remotusr-_", max_size=12), strategies.just("x"))))
def test_no_spelling_survives(fields: list[tuple[str, str]]) -> None:
    kept = without_claims([(name.encode(), value.encode()) for name, value in fields], NAMES)
    assert all(name.replace(b"_", b"-") not in NAMES for name, _ in kept)
    assert len(kept) == sum(name.replace("_", "-").encode() not in NAMES for name, _ in fields)
