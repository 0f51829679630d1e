"""A client that is one process for all cases: a question a line in, an answer a line out, in any order."""

from __future__ import annotations

import json
import subprocess
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Final

import trio

from securelight.lab.case import Case
from securelight.lab.check.errors import CheckError
from securelight.lab.check.outcome import Answer, Did
from securelight.lab.check.question import Question

MAXIMUM_LINE_BYTES: Final = 1 << 16
MAXIMUM_WORDS: Final = 300


class TalkingClient:
    """See the module.

    Args:
        process: its stdin takes questions, its stdout gives answers.
    """

    def __init__(self, process: trio.Process) -> None:
        self._process = process
        self._writing = trio.Lock()
        self._answers: dict[str, trio.MemorySendChannel[Answer]] = {}

    async def ask(self, case: Case, question: Question, seconds: float) -> Answer:
        """See Client. Errors: CheckError if the process has ended."""
        send, receive = trio.open_memory_channel[Answer](1)
        self._answers[case.id] = send
        shown = bool(case.client_certificate)
        line = {
            "id": case.id, "url": question.url, "ca": question.ca, "cert": question.cert if shown else "",
            "key": question.key if shown else "",
        }  # fmt: skip
        assert self._process.stdin is not None
        began = trio.current_time()
        try:
            async with self._writing:
                await self._process.stdin.send_all(json.dumps(line).encode() + b"\n")
            with trio.move_on_after(seconds):
                answer = await receive.receive()
                return Answer(answer.did, answer.words, trio.current_time() - began)
        except (trio.BrokenResourceError, trio.EndOfChannel) as error:
            raise CheckError(f"the client's process ended at {case.id}") from error
        finally:
            self._answers.pop(case.id, None)
        return Answer(Did.HUNG, f"no answer within {seconds:g} s", seconds)

    async def read(self) -> None:
        """Take answers until the process ends."""
        assert self._process.stdout is not None
        received = b""
        async for data in self._process.stdout:
            received += data
            *lines, received = received.split(b"\n")
            if len(received) > MAXIMUM_LINE_BYTES:
                break
            for line in lines:
                self._take(line)
        for send in list(self._answers.values()):
            send.close()

    def _take(self, line: bytes) -> None:
        answer = json.loads(line)
        send = self._answers.get(answer["id"])
        if send is not None:
            did = Did.ACCEPTED if answer["ok"] else Did.REFUSED
            send.send_nowait(Answer(did, " ".join(str(answer["words"]).split())[:MAXIMUM_WORDS]))


@asynccontextmanager
async def talking(command: Sequence[str]) -> AsyncIterator[TalkingClient]:
    """The client that is `command`, ended with the block. Errors: CheckError if it cannot be started."""
    try:
        process = await trio.lowlevel.open_process(
            list(command), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            start_new_session=True,
        )  # fmt: skip
    except OSError as error:
        raise CheckError(f"{command[0]!r} cannot be run: {error.strerror}") from error
    client = TalkingClient(process)
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(client.read)
            yield client
            nursery.cancel_scope.cancel()
    finally:
        with trio.CancelScope(shield=True):
            process.kill()
            await process.wait()
            for stream in (process.stdin, process.stdout):
                assert stream is not None
                await stream.aclose()
