"""Puts the cases to a server: several at a time, each with its own connections and deadline, and nothing hangs.

If the server goes away in the middle, every case that ran then is a suspect: the runner waits a bounded time for the
server to come back, and puts the suspects again, one at a time, each followed by a look whether the server is still
there. Who breaks it then has failed; so has every suspect of a server that does not come back. One that is there and
answers nothing is not waited for by a thousand cases either: see VAIN_CASES.
"""

from __future__ import annotations

import signal
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

import trio

from securelight.conformance.attack_permission import Permission, permission, refusal
from securelight.conformance.case import Case, Failed, Outcome, Skipped
from securelight.conformance.dial import Baseline, Connect, Dial, Patience, connect_tcp
from securelight.conformance.grade import grade_of
from securelight.conformance.polite_client import PoliteClient
from securelight.conformance.preflight import answers, look
from securelight.conformance.results import Result, Run
from securelight.conformance.target import TargetError
from securelight.conformance.wire import Unreachable

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from securelight.conformance.suites import Suite
    from securelight.conformance.target import Target

JOBS = 8
RETURN_SECONDS = 10.0
"""How long a server that went away is waited for, each time; once it has not come back, later waits are shorter."""
GIVEN_UP_SECONDS = 0.5
GIVEN_UP_TIMES = 5
"""So often in a row it has not come back that nothing more is asked: a thousand short waits are a long one."""
VAIN_CASES = 8
"""So many of a suite in a row have waited for an answer in vain: then a plain request is tried, and if that is not
answered either, the suite is given up. A server that hangs would otherwise be waited for a thousand times."""
SLOW_PAUSE_SECONDS = 0.25
"""Between the beginnings of slow attacks: the handshakes of one should not be the wait of another's polite client."""

MAXIMUM_WORDS = 2_000
"""Characters of what is said of a case: servers choose some of them, and a field may be long."""

BREAKS = frozenset({
    "the server reset the TCP connection", "the server closed the TCP connection without close_notify",
    "TLS handshake failed: the server closed the connection",
})  # fmt: skip
"""What the transcript of a case has in it where a server died in the middle, and came back at once."""

Progress = Callable[[Result], None]


@dataclass(frozen=True, slots=True)
class Options:
    """How to run.

    Attributes:
        jobs: cases at a time.
        only: ids, beginnings of ids, or patterns as of a shell; all if empty.
        ca: see preflight.look.
        connect: how to connect to the target.
        patience: how long cases wait.
        return_seconds: how long a server that went away is waited for.
        owned_hosts: those that abuse may be tried on, besides loopback.
        tell: hears what is waited for, where that takes long.
    """

    jobs: int = JOBS
    only: tuple[str, ...] = ()
    ca: Path | None = None
    connect: Connect = connect_tcp
    patience: Patience = field(default_factory=Patience)
    return_seconds: float = RETURN_SECONDS
    owned_hosts: frozenset[str] = frozenset()
    tell: Callable[[str], None] = lambda words: None


def chosen(suites: Sequence[Suite], only: Sequence[str]) -> list[Case]:
    """The cases to run: all, or those whose id is in `only`, begins with one of it and a slash, or fits a pattern."""
    cases = [case for suite in suites for case in suite.cases]
    if not only:
        return cases
    return [case for case in cases if any(_named(case.id, one) for one in only)]


def _named(case_id: str, one: str) -> bool:
    if any(character in one for character in "*?["):
        return fnmatchcase(case_id, one)
    return case_id == one or case_id.startswith(one.rstrip("/") + "/")


async def judge(run: Run, options: Options, progress: Progress = lambda result: None) -> None:
    """Put all chosen cases to the server of `run`, which is filled as they end.

    A cancellation leaves what was found until then, in order; `run.interrupted` is true meanwhile.

    Errors: TargetError if the server cannot be reached in the first place.
    """
    begun = trio.current_time()
    run.interrupted = True
    allowed = await permission(run.target, options.owned_hosts)
    found = await look(run.target, options.connect, options.patience, options.ca)
    run.server, run.notes = found.server, run.notes + found.notes
    cases = chosen(run.suites, options.only)
    order = {case.id: place for place, case in enumerate(cases)}
    bench = _Bench(run, options, found.baseline, progress, allowed)
    if not allowed.granted:
        cases = bench.leave_out_abuse(cases)
    try:
        await bench.put_all(cases)
        run.interrupted = False
    finally:
        run.results.sort(key=lambda result: order[result.case.id])
        grade = grade_of(run.of("headers"))
        if grade is not None and not options.only:
            run.notes += grade.lines()
        run.seconds = trio.current_time() - begun


def new_run(target: Target, suites: Sequence[Suite]) -> Run:
    """A run that has not begun."""
    return Run(target, tuple(suites), datetime.now(UTC))


class _Bench:
    """The state of one run."""

    def __init__(self, run: Run, options: Options, baseline: Baseline, progress: Progress, allowed: Permission) -> None:
        self._run = run
        self._options = options
        self._baseline = baseline
        self._progress = progress
        self._attack, self._bystander = allowed.connects(options.connect)
        self._away = trio.Event()
        self._running: set[str] = set()
        self._suspects: list[Case] = []
        self._return_seconds = options.return_seconds
        self._absences = 0
        self._vain: Counter[str] = Counter()
        self._mute: set[str] = set()

    def leave_out_abuse(self, cases: Sequence[Case]) -> list[Case]:
        """Skip the attacks; returns the other cases."""
        words = refusal(self._run.target.host)
        for case in cases:
            if case.abuse:
                self._finish(Result(case, Outcome.SKIPPED, words, 0.0))
        return [case for case in cases if not case.abuse]

    async def put_all(self, cases: Sequence[Case]) -> None:
        waiting = [case for case in cases if not case.alone and not case.slow]
        slow = [case for case in cases if case.slow]
        lonely = [case for case in cases if case.alone and not case.slow]
        for group, jobs, pause in ((waiting, self._options.jobs, 0.0), (slow, len(slow), SLOW_PAUSE_SECONDS)):
            if group and group is slow:
                self._options.tell(f"{len(slow)} slow attacks side by side, each for up to a minute")
            while group and not self._given_up:
                group = await self._put_together(group, jobs, pause)  # noqa: PLW2901 - what is left of it
                suspects, self._suspects = self._suspects, []
                for case in suspects:
                    await self._put_alone(case, suspect=True)
            for case in group:  # it was given up
                await self._put_alone(case)
        for case in lonely:
            await self._put_alone(case)
        if self._given_up:
            self._run.notes.append("The server did not come back, and was given up: the other cases were not asked.")
        elif not lonely and not await self._server_is_there():
            self._run.notes.append("The server went away at the end: it takes no more connections.")

    async def _put_together(self, cases: list[Case], jobs: int, pause: float) -> list[Case]:
        """So many at a time, begun `pause` seconds apart, until the server goes away; returns those that were not."""
        self._away = trio.Event()
        queue = cases[::-1]

        async def work() -> None:
            while queue and not self._away.is_set():
                case = queue.pop()
                if self._left_out(case):
                    continue
                result = await self._put(case)
                if result is not None and self._was_vain(result) and not await self._takes_connections():
                    result = None  # it hangs, and only the kernel still takes them
                if result is None:
                    self._away.set()
                if result is None or self._away.is_set() or _broken_off(result):
                    self._suspects.append(case)
                else:
                    self._finish(result)
                    await self._look_for_silence(result)

        async with trio.open_nursery() as nursery:
            for _ in range(min(jobs, len(cases))):
                nursery.start_soon(work)
                await trio.sleep(pause)
        return queue[::-1]

    async def _put_alone(self, case: Case, *, suspect: bool = False) -> None:
        if self._left_out(case):
            return
        if not await self._server_is_there():
            seconds = f"{self._options.return_seconds:g} s"
            if suspect:
                words = f"the server went away while this was asked, perhaps beside others, for more than {seconds}"
                self._finish(Result(case, Outcome.FAILED, words, 0.0))
            else:
                words = f"not asked: the server was away for more than {seconds}"
                self._finish(Result(case, Outcome.SKIPPED, words, 0.0))
            return
        result = await self._put(case)
        if result is None or not await answers(self._run.target, self._options.connect, GIVEN_UP_SECONDS):
            entries = () if result is None else result.entries
            self._run.notes.append(f"The server went away during {case.id}.")
            result = Result(case, Outcome.FAILED, "the server went away: it takes no more connections", 0.0, entries)
        self._finish(result)
        await self._look_for_silence(result)

    # Servers that hang

    def _left_out(self, case: Case) -> bool:
        """Whether the suite was given up; then the case has its result."""
        if case.suite in self._mute:
            words = f"not asked: the server answers nothing, and {VAIN_CASES} cases in a row have waited in vain"
            self._finish(Result(case, Outcome.SKIPPED, words, 0.0))
        return case.suite in self._mute

    def _was_vain(self, result: Result) -> bool:
        return (
            result.outcome is Outcome.FAILED
            and result.seconds >= min(self._options.patience.answer, self._options.patience.connect)
            and not result.case.slow
        )

    async def _takes_connections(self) -> bool:
        return await answers(self._run.target, self._options.connect, self._options.patience.connect)

    async def _look_for_silence(self, result: Result) -> None:
        """Give the suite up if nothing but silence is to be had."""
        suite = result.case.suite
        if result.outcome is Outcome.PASSED:
            self._vain[suite] = 0
        if not self._was_vain(result):
            return
        self._vain[suite] += 1
        if self._vain[suite] % VAIN_CASES or await self._answers_plainly() or suite in self._mute:
            return
        self._mute.add(suite)
        self._run.notes.append(f"The server answers no plain request: the other cases of {suite} were not asked.")

    async def _answers_plainly(self) -> bool:
        dial = Dial(self._run.target, self._baseline, self._options.patience, self._options.connect)
        try:
            with trio.move_on_after(2 * self._options.patience.connect + self._options.patience.answer):
                await PoliteClient(dial, fresh=True).ask()
                return True
        except (Failed, Skipped):
            pass
        finally:
            await dial.close()
        return False

    async def _server_is_there(self) -> bool:
        if self._given_up:
            return False
        there = await answers(self._run.target, self._options.connect, self._return_seconds)
        self._return_seconds = self._options.return_seconds if there else GIVEN_UP_SECONDS
        self._absences = 0 if there else self._absences + 1
        return there

    @property
    def _given_up(self) -> bool:
        return self._absences >= GIVEN_UP_TIMES

    async def _put(self, case: Case) -> Result | None:
        """One case; None if the server could not be reached."""
        connect = self._attack if case.abuse else self._options.connect
        dial = Dial(self._run.target, self._baseline, self._options.patience, connect, bystander=self._bystander)
        begun = trio.current_time()
        outcome = Outcome.PASSED
        words = ""
        try:
            with trio.fail_after(case.seconds):
                words = await case.question(dial)
        except trio.TooSlowError:
            outcome, words = Outcome.FAILED, f"not done within {case.seconds:g} s"
        except Failed as failed:
            outcome, words = Outcome.FAILED, str(failed)
        except Skipped as skipped:
            outcome, words = Outcome.SKIPPED, str(skipped)
        except Unreachable:
            return None
        except ExceptionGroup as group:
            outcome, words = _ending_of(group)
        except Exception as error:  # a fault of ours must not cost the other results
            outcome, words = Outcome.FAILED, f"the judge itself broke: {error!r}"
        finally:
            await dial.close()
        if len(words) > MAXIMUM_WORDS:
            words = f"{words[:MAXIMUM_WORDS]} ... {len(words)} characters"
        return Result(case, outcome, words, trio.current_time() - begun, tuple(dial.transcript.entries()))

    def _finish(self, result: Result) -> None:
        self._run.results.append(result)
        self._progress(result)


def _broken_off(result: Result) -> bool:
    """Whether the server broke off in a way that another case's victim would see too: then it is asked again, alone.

    Slow attacks end so by themselves, and a minute each is too long.
    """
    broken = any(entry.words in BREAKS for entry in result.entries)
    return broken and result.outcome is Outcome.FAILED and not result.case.slow


def _ending_of(group: ExceptionGroup) -> tuple[Outcome, str]:
    """How a case that runs several tasks has ended: what failed counts first, then what was skipped."""
    for kind, outcome in ((Failed, Outcome.FAILED), (Skipped, Outcome.SKIPPED)):
        error: BaseException | None = group.subgroup(kind)
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        if error is not None:
            return outcome, str(error)
    error = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return Outcome.FAILED, f"the judge itself broke: {error!r}"


def judge_sync(run: Run, options: Options, progress: Progress = lambda result: None) -> None:
    """`judge` for callers without Trio. SIGINT and SIGTERM end it early, with what was found until then.

    Errors: as `judge`.
    """
    trio.run(_judge_until_signal, run, options, progress)


async def _judge_until_signal(run: Run, options: Options, progress: Progress) -> None:
    error = None
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_cancel_on_signal, nursery.cancel_scope)
        try:
            await judge(run, options, progress)
        except TargetError as fault:
            error = fault
        nursery.cancel_scope.cancel()
    if error is not None:
        raise error


async def _cancel_on_signal(scope: trio.CancelScope) -> None:
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async for _ in signals:
            scope.cancel()
            return
