"""The client beside an attack: what it may notice, and what is only a hiccup."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing

from securelight.conformance import polite_client
from securelight.conformance.case import Failed, Outcome
from securelight.conformance.polite_client import MOST_TRIES, TRIES, Waits, percentile, watched
from securelight.conformance.runner import Options, judge, new_run
from tests.conformance.abuse_server import AbuseServer, Defect
from tests.conformance.support import TARGET, make_case, one_suite

if TYPE_CHECKING:
    from securelight.conformance.case import Question
    from securelight.conformance.dial import Dial
    from securelight.conformance.results import Result
    from securelight.conformance.target import Target

NOISE = 0.05


@pytest.mark.parametrize(
    ("values", "share", "expected"),
    [
        ([], 0.99, 0.0),
        ([3.0], 0.99, 3.0),
        ([1.0, 9.0, 2.0], 0.99, 9.0),
        ([float(one) for one in range(100)], 0.9, 89.0),
    ],
)
def test_percentiles(values: list[float], share: float, expected: float) -> None:
    assert percentile(values, share) == expected


@pytest.mark.parametrize(
    ("before", "during", "after", "late", "harmed"),
    [
        (0.002, 0.051, 0.002, 0.0, False),  # within the noise of the machine
        (0.002, 0.053, 0.002, 0.0, True),
        (0.002, 0.002, 0.053, 0.0, True),
        (0.2, 0.39, 0.2, 0.0, False),  # under twice the quiet value
        (0.2, 0.41, 0.2, 0.0, True),
        (0.002, 0.15, 0.002, 0.1, False),  # the judge itself was late
    ],
)
def test_twice_the_quiet_wait_is_too_much_and_so_is_more_than_noise(
    before: float, during: float, after: float, late: float, harmed: bool
) -> None:
    assert Waits([before], [during], [after], [late]).harmed(NOISE) is harmed


@pytest.mark.parametrize(
    ("waits", "times"),
    [
        (Waits([0.004], [0.008], [0.004]), 2.0),
        (Waits([0.004], [0.002], [0.014]), 3.5),
        (Waits([0.004], [0.010], [0.004], [0.002]), 2.0),  # the judge itself was late
        (Waits([0.0], [0.010], [0.004]), 0.0),  # on a clock that does not run
    ],
)
def test_how_many_times_its_quiet_value_is_told_where_it_is_more_than_twice(waits: Waits, times: float) -> None:
    assert waits.times() == pytest.approx(times)
    assert not waits.harmed(NOISE)
    assert ("times its quiet value" in waits.words()) is (times > 2.001)


@pytest.mark.parametrize(
    ("during", "attempts", "words"),
    [
        ([0.009, 0.007], 2, "7.0 ms during, 3.0 ms after it (p99)"),
        ([0.012, 0.015, 0.009, 0.004], 3, "9.0 ms during, 3.0 ms after it (p99, 3.0 times its quiet value)"),
        ([0.3, 0.012, 0.009], 3, "9.0 ms during, 3.0 ms after it (p99, 3.0 times its quiet value)"),
        ([0.3, 0.3, 0.006], 3, "6.0 ms during, 3.0 ms after it (p99)"),
    ],
)
def test_more_than_twice_is_asked_again_and_the_best_is_told(
    during: list[float], attempts: int, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The waits of each attempt are given: a machine that is as slow as one wants is not to be had."""
    left = list(during)

    async def attempt(*_args: object, **_more: object) -> tuple[str, Waits]:
        return "attacked", Waits([0.003 if len(during) > 2 else 0.0035], [left.pop(0)], [0.003])

    monkeypatch.setattr(polite_client, "_attempt", attempt)

    @watched()
    async def attack(_dial: Dial) -> str:
        return ""

    result = judged(AbuseServer(Defect()), attack)
    assert result.outcome is Outcome.PASSED
    assert words in result.words
    assert len(during) - len(left) == attempts


class Slowed(AbuseServer):
    """Makes everybody wait while it is told to."""

    async def hold(self) -> None:
        await trio.sleep_until(self._held_until)

    def stop(self, seconds: float) -> None:
        self._held_until = trio.current_time() + seconds


def judged(server: AbuseServer, question: Question) -> Result:
    async def main() -> Result:
        run = new_run(TARGET, one_suite([make_case(question, seconds=100.0)]))
        async with trio.open_nursery() as nursery:

            async def connect(_target: Target) -> trio.abc.Stream:
                return await server.connect(nursery)

            await judge(run, Options(connect=connect))
            nursery.cancel_scope.cancel()
        return run.results[0]

    return trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


@pytest.mark.parametrize("times", [1, TRIES, MOST_TRIES])
def test_what_slows_others_down_must_do_so_each_time(times: int) -> None:
    server = Slowed(Defect())
    attacks = 0

    @watched()
    async def attack(_dial: Dial) -> str:
        nonlocal attacks
        attacks += 1
        if attacks <= times:
            server.stop(0.5)
        await trio.sleep(0.6)
        return "attacked"

    result = judged(server, attack)
    if times < MOST_TRIES:
        assert result.outcome is Outcome.PASSED
        assert attacks == times + 1
    else:
        assert result.outcome is Outcome.FAILED
        assert "more than the 50.0 ms allowed" in result.words
        assert attacks == MOST_TRIES


def test_who_is_not_served_has_noticed_at_once() -> None:
    server = Slowed(Defect())
    attacks = 0

    @watched()
    async def attack(_dial: Dial) -> str:
        nonlocal attacks
        attacks += 1
        server.stop(7.0)
        await trio.sleep(8.0)
        return "attacked"

    result = judged(server, attack)
    assert result.outcome is Outcome.FAILED
    assert result.words == "the polite client was not served: no answer came in time"
    assert attacks == 1


def test_the_verdict_on_the_attack_itself_comes_first() -> None:
    @watched()
    async def attack(_dial: Dial) -> str:
        raise Failed("nothing has stopped it")

    assert judged(AbuseServer(Defect()), attack).words == "nothing has stopped it"


def test_connections_of_the_attack_are_closed_when_it_is_over() -> None:
    server = AbuseServer(Defect())

    @watched(fresh=True)
    async def attack(dial: Dial) -> str:
        for _ in range(20):
            await dial.tcp()
        await trio.testing.wait_all_tasks_blocked()
        assert server.connections >= 20
        return "attacked"

    async def question(dial: Dial) -> str:
        words = await attack(dial)
        await trio.testing.wait_all_tasks_blocked()
        assert server.connections == 0
        return words

    assert judged(server, question).outcome is Outcome.PASSED
