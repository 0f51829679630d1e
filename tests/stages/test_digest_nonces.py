"""Nonces: only ours, only fresh, each count once, and little is kept."""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode

import pytest

from securelight.pipeline.nonce_board import BUCKETS, WAYS, WINDOW, NonceBoard
from securelight.stages import digest_nonces
from securelight.stages.digest_nonces import Nonces


class Clock:
    now = 1_000_000.0


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(digest_nonces, "time", lambda: made.now)
    return made


def test_each_count_is_taken_once_in_any_order() -> None:
    nonces = Nonces("a", 60, NonceBoard())
    nonce = nonces.make()
    for count in (1, 3, 2, 5, 4, 70, 69, 7):
        assert nonces.take(nonce, count), count
        assert not nonces.take(nonce, count), count
    assert not nonces.take(nonce, 70 - WINDOW)  # 6: nobody knows any more whether it came
    assert not nonces.take(nonce, 0)
    assert nonces.take(nonce, 0xFFFFFFFF)
    assert not nonces.take(nonce, 70)


def test_a_nonce_is_over_after_its_time(clock: Clock) -> None:
    nonces = Nonces("a", 60, NonceBoard())
    nonce = nonces.make()
    clock.now += 59
    assert nonces.take(nonce, 1)
    clock.now += 2
    assert not nonces.take(nonce, 2)
    clock.now -= 100
    assert not nonces.take(nonce, 3)  # it comes from the future


def test_only_our_own_for_this_purpose_and_in_this_spelling_are_taken() -> None:
    board = NonceBoard()
    nonces = Nonces("a", 60, board)
    nonce = nonces.make()
    assert not Nonces("b", 60, board).take(nonce, 1)
    raw = urlsafe_b64decode(nonce)
    later = (int.from_bytes(raw[:8]) + 1).to_bytes(8) + raw[8:]
    for forged in (
        urlsafe_b64encode(later).decode(),
        nonce[:-4],
        nonce + "\n",
        nonce[:4] + "!" + nonce[4:],
        "",
        "é",
        "A",
    ):
        assert not nonces.take(forged, 1), forged
    assert nonces.take(nonce, 1)
    assert not Nonces("a", 60, board).take(nonce, 1)  # another worker
    assert Nonces("a", 60, board).take(nonce, 2)


def test_what_was_forgotten_is_not_taken_again(clock: Clock) -> None:
    nonces = Nonces("a", 60, NonceBoard())
    first, unused = nonces.make(), nonces.make()
    assert nonces.take(first, 1)
    for _ in range(6 * BUCKETS * WAYS):
        clock.now += 0.001
        assert nonces.take(nonces.make(), 1)
    assert not nonces.take(first, 1)
    assert not nonces.take(first, 2)
    assert not nonces.take(unused, 1)  # made when the first one was: it could be known too
    assert nonces.take(nonces.make(), 1)
