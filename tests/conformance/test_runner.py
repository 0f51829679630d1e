"""The runner: deadlines, servers that go away, interruptions, attacks, and what it makes of a case that is broken."""

from __future__ import annotations

import os
import signal
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing

from securelight.conformance.case import Case, Failed, Level, Outcome, Skipped, Topic
from securelight.conformance.runner import JOBS, Options, chosen, judge, judge_sync, new_run
from securelight.conformance.suites import load_suite, suite_names
from securelight.conformance.target import TargetError, parse_target
from securelight.conformance.transcript import Transcript
from tests.conformance.http2_server import serve
from tests.conformance.support import TARGET, judged, make_case, one_suite

if TYPE_CHECKING:
    from securelight.conformance.dial import Dial
    from securelight.conformance.results import Run
    from securelight.conformance.target import Target


async def right(stream: trio.abc.Stream) -> None:
    await serve(stream, frozenset())


async def good(dial: Dial) -> str:
    return await (await dial.http2()).works()


async def bad(dial: Dial) -> str:
    await (await dial.http2()).works()
    raise Failed("it was wrong")


async def idle(_dial: Dial) -> str:
    raise Skipped("no question")


async def broken(_dial: Dial) -> str:
    raise RuntimeError("a fault of ours")


async def hangs(dial: Dial) -> str:
    client = await dial.http2()
    await client.until(lambda: False, 1_000_000)
    return "never"


async def fails_in_a_task(dial: Dial) -> str:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(bad, dial)
    return "never"


def outcomes(run: Run) -> dict[str, tuple[Outcome, str]]:
    return {result.case.id.rpartition("/")[2]: (result.outcome, result.words) for result in run.results}


async def test_each_way_in_which_a_case_can_end(autojump_clock: trio.testing.MockClock) -> None:
    questions = {"good": good, "bad": bad, "idle": idle, "broken": broken, "hangs": hangs, "task": fails_in_a_task}
    run = await judged(one_suite([make_case(question, name) for name, question in questions.items()]), right)
    found = outcomes(run)
    assert list(found) == list(questions)
    assert found["good"] == (Outcome.PASSED, "the connection works: a new request got 200")
    assert found["bad"] == (Outcome.FAILED, "it was wrong")
    assert found["task"] == (Outcome.FAILED, "it was wrong")
    assert found["idle"] == (Outcome.SKIPPED, "no question")
    assert found["broken"] == (Outcome.FAILED, "the judge itself broke: RuntimeError('a fault of ours')")
    assert found["hangs"] == (Outcome.FAILED, "not done within 30 s")
    assert not run.interrupted
    assert run.server == "small"


async def test_what_went_over_the_wire_is_kept() -> None:
    run = await judged(one_suite([make_case(bad)]), right)
    words = [f"{entry.direction} {entry.words}" for entry in run.results[0].entries]
    assert words[0] == "> the connection preface"
    assert "< SETTINGS stream 0, 6 bytes: MAX_CONCURRENT_STREAMS=100" in words
    assert any(line.startswith("> HEADERS stream 1 END_STREAM END_HEADERS") for line in words)


async def test_a_case_that_runs_alone_has_nothing_beside_it() -> None:
    running: set[str] = set()
    most = 0

    def watched(name: str, *, alone: bool = False) -> Case:
        async def question(dial: Dial) -> str:
            nonlocal most
            running.add(name)
            if alone:
                assert running == {name}
            most = max(most, len(running))
            words = await good(dial)
            running.remove(name)
            return words

        return make_case(question, name, alone=alone)

    cases = [watched("alone", alone=True), *(watched(f"case-{number}") for number in range(9))]
    run = await judged(one_suite(cases), right, options=Options(jobs=3))
    assert [result.outcome for result in run.results] == [Outcome.PASSED] * 10
    assert most == 3


class Mortal:
    """A server that dies when it is told to, and comes back after so many refused connections."""

    def __init__(self, refusals: int) -> None:
        self.refusals = refusals
        self.left = 0
        self.deaths = 0

    async def connect(self, nursery: trio.Nursery) -> trio.abc.Stream:
        if self.left:
            self.left -= 1
            raise ConnectionRefusedError(111, "Connection refused")
        ours, theirs = trio.testing.memory_stream_pair()
        nursery.start_soon(serve, theirs, frozenset())
        return ours

    async def killer(self, dial: Dial) -> str:
        client = await dial.http2()
        self.left = self.refusals
        self.deaths += 1
        return await client.works()


async def run_mortal(mortal: Mortal, cases: list[Case]) -> Run:
    run = new_run(TARGET, one_suite(cases))
    async with trio.open_nursery() as nursery:

        async def connect(_target: Target) -> trio.abc.Stream:
            return await mortal.connect(nursery)

        await judge(run, Options(jobs=1, connect=connect, return_seconds=5.0))
        nursery.cancel_scope.cancel()
    return run


async def test_who_kills_the_server_has_failed_and_the_others_are_asked_when_it_is_back(
    autojump_clock: trio.testing.MockClock,
) -> None:
    mortal = Mortal(refusals=20)
    cases = [make_case(good, "first"), make_case(mortal.killer, "killer", alone=True),
             make_case(good, "last", alone=True)]  # fmt: skip
    run = await run_mortal(mortal, cases)
    found = outcomes(run)
    assert found["killer"] == (Outcome.FAILED, "the server went away: it takes no more connections")
    assert found["first"][0] is found["last"][0] is Outcome.PASSED
    assert run.notes == ["The server went away during h2/1.1/killer."]


async def test_suspects_are_asked_again_one_at_a_time(autojump_clock: trio.testing.MockClock) -> None:
    mortal = Mortal(refusals=20)
    cases = [make_case(mortal.killer, "killer"), *(make_case(good, f"case-{number}") for number in range(4))]
    run = await run_mortal(mortal, cases)
    assert len(run.results) == 5
    assert {name for name, (outcome, _) in outcomes(run).items() if outcome is Outcome.PASSED} >= {
        f"case-{number}" for number in range(4)
    }


async def test_a_server_that_never_comes_back_costs_a_bounded_time(autojump_clock: trio.testing.MockClock) -> None:
    mortal = Mortal(refusals=1_000_000)
    cases = [make_case(mortal.killer, "killer", alone=True),
             *(make_case(good, f"case-{number}", alone=True) for number in range(20))]  # fmt: skip
    begun = trio.current_time()
    run = await run_mortal(mortal, cases)
    assert trio.current_time() - begun < 30
    assert [result.outcome for result in run.results] == [Outcome.FAILED, *[Outcome.SKIPPED] * 20]
    assert run.results[-1].words == "not asked: the server was away for more than 5 s"


async def test_a_server_that_never_comes_back_is_given_up(autojump_clock: trio.testing.MockClock) -> None:
    """A thousand short waits would be a long one."""
    mortal = Mortal(refusals=1_000_000)
    cases = [make_case(mortal.killer, "killer"), *(make_case(good, f"case-{number}") for number in range(1_000))]
    begun = trio.current_time()
    run = await run_mortal(mortal, cases)
    assert trio.current_time() - begun < 30
    assert len(run.results) == 1_001
    suspects = [result for result in run.results if result.outcome is Outcome.FAILED]
    assert 1 <= len(suspects) <= JOBS
    assert all("went away while this was asked" in result.words for result in suspects)
    assert sum(result.outcome is Outcome.SKIPPED for result in run.results) >= 1_001 - 2 * JOBS
    assert run.notes[-1] == "The server did not come back, and was given up: the other cases were not asked."


async def test_the_victim_of_a_server_that_died_and_came_back_at_once_is_asked_again() -> None:
    """A service manager starts it again, sooner than anybody sees that it was away."""
    killed: list[trio.abc.Stream] = []
    streams: list[trio.abc.Stream] = []

    async def victim(dial: Dial) -> str:
        client = await dial.http2()
        if not killed:
            killed.append(streams[-1])
            await trio.aclose_forcefully(streams[-1])
        return await client.works()

    run = new_run(TARGET, one_suite([make_case(victim, "victim"), make_case(bad, "bad")]))
    async with trio.open_nursery() as nursery:

        async def connect(_target: Target) -> trio.abc.Stream:
            ours, theirs = trio.testing.memory_stream_pair()
            nursery.start_soon(serve, theirs, frozenset())
            streams.append(ours)
            return ours

        await judge(run, Options(jobs=1, connect=connect))
        nursery.cancel_scope.cancel()
    assert len(killed) == 1
    assert outcomes(run) == {
        "victim": (Outcome.PASSED, "the connection works: a new request got 200"),
        "bad": (Outcome.FAILED, "it was wrong"),
    }


async def test_a_server_that_is_not_there_is_an_error_of_its_own() -> None:
    async def connect(_target: Target) -> trio.abc.Stream:
        raise ConnectionRefusedError(111, "Connection refused")

    with pytest.raises(TargetError, match="cannot be reached"):
        await judge(new_run(TARGET, one_suite([make_case(good)])), Options(connect=connect))


async def test_a_port_for_tls_that_is_named_without_is_told_of() -> None:
    async def connect(_target: Target) -> trio.abc.Stream:
        ours, theirs = trio.testing.memory_stream_pair()
        trio.lowlevel.spawn_system_task(redirect, theirs)
        return ours

    async def redirect(stream: trio.abc.Stream) -> None:
        await stream.receive_some(65_536)
        await stream.send_all(b"HTTP/1.1 308 Permanent Redirect\r\nLocation: https://a.test:8443/\r\n\r\n")
        await stream.aclose()

    run = new_run(parse_target("http://a.test:8443/"), one_suite([make_case(good)]))
    with pytest.raises(TargetError, match=r"for TLS, name https://a\.test:8443/"):
        await judge(run, Options(connect=connect))


async def test_a_server_that_says_nothing_is_judged_all_the_same(autojump_clock: trio.testing.MockClock) -> None:
    async def silent(stream: trio.abc.Stream) -> None:
        while await stream.receive_some(65_536):
            pass

    run = await judged(one_suite([make_case(good)]), silent)
    assert outcomes(run)["case"][0] is Outcome.FAILED
    assert "did not send its SETTINGS" in outcomes(run)["case"][1]
    assert any("plain request was not answered" in note for note in run.notes)


def test_a_signal_leaves_what_was_found_until_then() -> None:
    async def interrupts(dial: Dial) -> str:
        os.kill(os.getpid(), signal.SIGINT)
        return await hangs(dial)

    async def connect(_target: Target) -> trio.abc.Stream:
        ours, theirs = trio.testing.memory_stream_pair()
        trio.lowlevel.spawn_system_task(serve, theirs, frozenset())
        return ours

    cases = [make_case(bad, "first"), make_case(interrupts, "interrupts"), make_case(good, "never")]
    run = new_run(TARGET, one_suite(cases))
    judge_sync(run, Options(jobs=1, connect=connect))
    assert run.interrupted
    assert list(outcomes(run)) == ["first"]


async def test_attacks_are_not_tried_on_strangers(monkeypatch: pytest.MonkeyPatch) -> None:
    attacks = Topic("Attacks", rfc=0, why="", cure="", abuse=True)
    attacks.must("h2/x/attack", "An attack")(good)
    [case] = attacks.cases
    assert case.alone
    assert outcomes(await judged(one_suite([case]), right))["attack"][0] is Outcome.PASSED

    async def elsewhere(*_args: object) -> list[tuple[int, int, int, str, tuple[str, int]]]:
        return [(2, 1, 6, "", ("192.0.2.1", 0))]

    monkeypatch.setattr(trio.socket, "getaddrinfo", elsewhere)
    run = await judged(one_suite([case]), right)
    assert outcomes(run)["attack"] == (
        Outcome.SKIPPED, "attacks are tried on loopback only; if 127.0.0.1 is yours, add --i-own-this-host 127.0.0.1",
    )  # fmt: skip


async def test_what_takes_a_minute_is_told_before() -> None:
    told: list[str] = []

    async def question(dial: Dial) -> str:
        assert told == ["1 slow attacks side by side, each for up to a minute"]
        return await good(dial)

    slow = replace(make_case(question, "slow"), slow=True)
    run = await judged(one_suite([make_case(good), slow]), right, options=Options(tell=told.append))
    assert {outcome for outcome, _ in outcomes(run).values()} == {Outcome.PASSED}


def test_cases_are_chosen_by_id_and_by_section() -> None:
    suites = [load_suite("h2")]
    assert [case.id for case in chosen(suites, ["h2/6.9.1/window-overflow"])] == ["h2/6.9.1/window-overflow"]
    sections = {case.section for case in chosen(suites, ["h2/6.9"])}
    assert sections == {"6.9"}
    assert len(chosen(suites, ["h2"])) == len(suites[0].cases)


@pytest.mark.parametrize("name", suite_names())
def test_every_case_tells_its_source_its_reason_and_its_cure(name: str) -> None:
    suite = load_suite(name)
    assert suite.cases
    for case in suite.cases:
        assert case.title, case.id
        assert case.why.endswith("."), case.id
        assert case.cure.endswith("."), case.id
        assert isinstance(case.level, Level)


def test_the_suites_are_as_large_as_they_are_said_to_be() -> None:
    for name, least in {"h2": 150, "hpack": 30, "h1": 150, "tls": 60, "abuse": 40}.items():
        assert len(load_suite(name).cases) >= least, name


@pytest.mark.parametrize("wrong", ["h2", "h2/6.9", "H2/6.9/x", "h2/6.9/Upper", "h2/6.9/x y"])
def test_an_id_has_three_parts(wrong: str) -> None:
    with pytest.raises(ValueError, match="no id of the form"):
        Topic("T", rfc=0, why="", cure="").must(wrong, "title")


def test_long_pages_do_not_make_long_reports() -> None:
    transcript = Transcript()
    transcript.add(1, ">", "5 bytes", b"GET /")
    for _ in range(1_000):
        transcript.add(1, "<", "1400 bytes", b"x" * 1_400)
    transcript.add(1, ">", "2 bytes", b"ok")
    transcript.add(1, "<", "1 bytes", b"y")
    transcript.add(1, "<", "1 bytes", b"z")
    assert [(one.direction, one.words, len(one.data)) for one in transcript.entries()] == [
        (">", "5 bytes", 5), ("<", "1400000 bytes", 512), (">", "2 bytes", 2), ("<", "1 bytes", 1), ("<", "1 bytes", 1),
    ]  # fmt: skip
