"""When a server rests, comes back, and what checks say of it."""

from __future__ import annotations

import pytest

from securelight.upstream import health as module
from securelight.upstream.health import Health, HealthRules


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(module, "monotonic", clock)
    return clock


def make(rules: HealthRules) -> tuple[Health, list[str]]:
    told: list[str] = []
    return Health(rules, lambda change, _why: told.append(change)), told


def test_failures_in_a_window_take_it_out_for_as_long(clock: Clock) -> None:
    health, told = make(HealthRules(failures=3, failure_seconds=10))
    for _ in range(3):
        assert health.is_up(clock.now)
        health.failed("late")
    assert not health.is_up(clock.now)
    assert health.seconds_down(clock.now) == 10
    clock.now += 10
    assert health.is_up(clock.now)
    health.worked()
    assert told == ["down", "up"]


def test_failures_far_apart_do_not_add_up(clock: Clock) -> None:
    health, told = make(HealthRules(failures=2, failure_seconds=10))
    for _ in range(10):
        health.failed("late")
        clock.now += 11
    assert told == []


def test_after_a_rest_one_failure_is_enough(clock: Clock) -> None:
    health, _told = make(HealthRules(failures=3, failure_seconds=10))
    for _ in range(3):
        health.failed("late")
    clock.now += 11
    health.failed("late")
    assert not health.is_up(clock.now)


def test_a_server_that_comes_back_begins_slowly(clock: Clock) -> None:
    health, _told = make(HealthRules(failures=1, failure_seconds=10, slow_start_seconds=20))
    assert health.share(clock.now) == 1
    health.failed("late")
    clock.now += 10
    assert health.share(clock.now) == pytest.approx(0.1)
    clock.now += 10
    assert health.share(clock.now) == pytest.approx(0.5)
    clock.now += 10
    assert health.share(clock.now) == 1


def test_checks_are_believed_after_several_in_a_row(clock: Clock) -> None:
    health, told = make(HealthRules(ups=2, downs=3))
    for good, up in [(False, True), (False, True), (True, True), (False, True), (False, True), (False, False),
                     (True, False), (False, False), (True, False), (True, True)]:  # fmt: skip
        health.checked(good=good, why="")
        assert health.is_up(clock.now) is up
    assert told == ["down", "up"]


def test_no_bound_is_no_rest(clock: Clock) -> None:
    health, told = make(HealthRules(failures=0))
    for _ in range(100):
        health.failed("late")
    assert health.is_up(clock.now)
    assert told == []
