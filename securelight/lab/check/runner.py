"""Asks a client about every case: a process each, a few at a time, none for longer than its deadline."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import trio

from securelight.lab.case import Case
from securelight.lab.check.chromium import CHROMIUM, browser
from securelight.lab.check.errors import CheckError
from securelight.lab.check.outcome import Answer, Did, Outcome
from securelight.lab.check.profiles import Difference, Profile
from securelight.lab.check.question import Client, Question
from securelight.lab.check.talking import talking
from securelight.lab.lab import Lab
from securelight.lab.world import CLIENT_CERTIFICATES, World

SECONDS: Final = 10.0
JOBS: Final = 4
JOBS_AGAIN: Final = 2
MAXIMUM_WORDS: Final = 300
MAXIMUM_OUTPUT_BYTES: Final = 1 << 20
PREPARE_SECONDS: Final = 300.0


@dataclass(slots=True)
class CommandClient:
    """A program, run once per case; exit code 0 is for `accepted`.

    Args:
        command: with placeholders.
        with_certificate: more arguments where a client certificate is to be shown; None if the command shows it itself.
        environment: added to ours.
    """

    command: Sequence[str]
    with_certificate: Sequence[str] | None = None
    environment: Mapping[str, str] = field(default_factory=dict)

    async def ask(self, case: Case, question: Question, seconds: float) -> Answer:
        """See Client. Errors: CheckError if the program cannot be started."""
        arguments = list(self.command)
        if case.client_certificate:
            if self.with_certificate is None:
                if not any("{cert}" in one for one in arguments):
                    return Answer(Did.SKIPPED, "the command has no {cert}")
            else:
                arguments += self.with_certificate
        filled = [question.fill(one) for one in arguments]
        environment = {**os.environ, **{name: question.fill(value) for name, value in self.environment.items()}}
        began = trio.current_time()
        did, words = await _run(filled, environment, seconds)
        return Answer(did, words, trio.current_time() - began)


async def _run(arguments: list[str], environment: Mapping[str, str], seconds: float) -> tuple[Did, str]:
    """Run a program in a process group of its own, and end the group whatever happens."""
    with tempfile.TemporaryFile() as output:
        try:
            # Started in a thread, as the program may have to be read from a slow disk.
            process = await trio.to_thread.run_sync(
                lambda: subprocess.Popen(  # noqa: S603 - the command that was asked for
                    arguments, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=output,
                    env=environment, start_new_session=True,
                )
            )  # fmt: skip
        except OSError as error:
            raise CheckError(f"{arguments[0]!r} cannot be run: {error.strerror}") from error
        try:
            with trio.move_on_after(seconds):
                await _ended(process)
        finally:
            hung = process.poll() is None
            with contextlib.suppress(ProcessLookupError):  # it and its children are gone
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        output.seek(0)
        text = output.read(MAXIMUM_OUTPUT_BYTES).decode(errors="replace")
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    words = (lines[0] if lines else "")[:MAXIMUM_WORDS]
    if hung:
        return Did.HUNG, words or f"it was ended after {seconds:g} s"
    if process.returncode == 0:
        return Did.ACCEPTED, words
    return Did.REFUSED, words or f"exit code {process.returncode}"


async def _ended(process: subprocess.Popen[bytes]) -> None:
    """Return when the process has ended, without reaping it: its number stays its own until its group is ended."""
    descriptor = os.pidfd_open(process.pid)
    try:
        await trio.lowlevel.wait_readable(descriptor)
    finally:
        os.close(descriptor)


@dataclass(frozen=True, slots=True)
class Options:
    """How a check is done.

    Args:
        cases: what is asked about.
        jobs: clients at a time.
        seconds: for each.
        port: of the lab; 0 for any.
        known: differences that are no surprise, by the id of the case.
    """

    cases: Sequence[Case]
    jobs: int = JOBS
    seconds: float = SECONDS
    port: int = 0
    known: Mapping[str, Difference] = field(default_factory=dict)


@asynccontextmanager
async def running_lab(options: Options, world: World | None = None) -> AsyncIterator[tuple[Lab, Path]]:
    """A lab with the files that clients need: ca.pem and client certificates, in a directory that is removed again."""
    directory = Path(tempfile.mkdtemp(prefix="securelight-lab-"))
    lab = Lab(world, options.cases)
    try:
        write_client_files(lab, directory)
        await lab.open(port=options.port)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(lab.run)
            try:
                yield lab, directory
            finally:
                nursery.cancel_scope.cancel()
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def write_client_files(lab: Lab, directory: Path) -> None:
    """ca.pem, and client-NAME.pem and .key for each client certificate. Errors: CheckError."""
    try:
        (directory / "ca.pem").write_bytes(lab.ca_pem)
        for name in CLIENT_CERTIFICATES:
            chain = lab.world.client_chain(name)
            (directory / f"client-{name}.pem").write_bytes(chain.pem)
            key = directory / f"client-{name}.key"
            key.touch(mode=0o600)
            key.write_bytes(chain.key_pem)
    except OSError as error:
        raise CheckError(f"{directory} cannot be written: {error.strerror}") from error


def question_for(lab: Lab, case: Case, directory: Path) -> Question:
    """What a client is told about a case."""
    certificate = case.client_certificate or "good"
    return Question(
        url=lab.places.url(case), ca=str(directory / "ca.pem"), host=case.host_name, port=str(lab.places.port(case)),
        proxy=f"http://127.0.0.1:{lab.places.plain_port}", cert=str(directory / f"client-{certificate}.pem"),
        key=str(directory / f"client-{certificate}.key"), directory=str(directory),
    )  # fmt: skip


async def check(
    client: Client, options: Options, lab: Lab, directory: Path, progress: Callable[[Outcome], None] = lambda _: None
) -> list[Outcome]:
    """Ask `client` about all cases; the outcomes in the order of the cases.

    What it wrongly refuses it is asked again, when little else is going on: a busy machine is no faulty client.

    Errors: CheckError.
    """
    outcomes: dict[str, Outcome] = {}

    async def work(waiting: Iterator[Case]) -> None:
        for case in waiting:
            await lab.build(case)
            answer = await client.ask(case, question_for(lab, case, directory), options.seconds)
            outcomes[case.id] = Outcome(case, answer, options.known.get(case.id))
            progress(outcomes[case.id])

    async def ask_all(cases: Sequence[Case], jobs: int) -> None:
        waiting = iter(cases)
        async with trio.open_nursery() as nursery:
            for _ in range(jobs):
                nursery.start_soon(work, waiting)

    try:
        await ask_all(lab.cases, options.jobs)
        again = [one.case for one in outcomes.values() if one.surprise and one.answer.did is not Did.ACCEPTED]
        await ask_all(again, min(options.jobs, JOBS_AGAIN))
    except* CheckError as group:
        raise _first(group) from None
    return [outcomes[case.id] for case in lab.cases if case.id in outcomes]


def _first(group: BaseExceptionGroup[CheckError]) -> CheckError:
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    assert isinstance(error, CheckError)
    return error


@asynccontextmanager
async def client_of(profile: Profile, lab: Lab, directory: Path) -> AsyncIterator[Client]:
    """The client of a profile, ready to be asked. Errors: CheckError."""
    if profile.missing:
        raise CheckError(f"{profile.name}: {profile.missing}")
    if profile.name == CHROMIUM:
        async with browser(directory, lab.check_url) as client:
            yield client
    elif profile.talks:
        async with talking(profile.command) as client:
            yield client
    else:
        if profile.prepare:
            await _build(profile, directory)
        yield CommandClient([one.replace("{directory}", str(directory)) for one in profile.command],
                            profile.with_certificate)  # fmt: skip


async def _build(profile: Profile, directory: Path) -> None:
    arguments = [one.replace("{directory}", str(directory)) for one in profile.prepare]
    environment = {**os.environ, "GOCACHE": str(directory / "go-cache"), "GO111MODULE": "off"}
    did, words = await _run(arguments, environment, PREPARE_SECONDS)
    if did is not Did.ACCEPTED:
        raise CheckError(f"{profile.name}: cannot be built: {words}")
