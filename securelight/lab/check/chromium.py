"""Headless Chromium: one browser, in which one page fetches all cases, told over a pipe (DevTools protocol).

The browser gets a home of its own, in whose certificate database the lab's authority is, as a person would import it.
What it refuses it names itself, as `net::ERR_CERT_DATE_INVALID`.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import trio

from securelight.lab.case import Case
from securelight.lab.check.errors import CheckError
from securelight.lab.check.outcome import Answer, Did
from securelight.lab.check.question import Question

CHROMIUM: Final = "chromium"
PROGRAMS: Final = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
NAVIGATION_SECONDS: Final = 5.0
START_SECONDS: Final = 60.0
MAXIMUM_MESSAGE_BYTES: Final = 1 << 24
START: Final = "import os, sys; [os.dup2(int(sys.argv[n - 2]), n) for n in (3, 4)]; os.execv(sys.argv[3], sys.argv[3:])"
"""Becomes the browser, which reads from descriptor 3 and writes to 4."""

FETCH: Final = """fetch(%s, {redirect: "manual", cache: "no-store", signal: AbortSignal.timeout(%d)})
  .then(answer => answer.type == "opaqueredirect" ? "" : answer.arrayBuffer().then(() => ""))
  .catch(error => error.name + ": " + error.message)"""
"""Gives "" for an answer that was read to its end, or an error."""

OPTIONS: Final = (
    "--headless=new", "--remote-debugging-pipe", "--no-first-run", "--no-default-browser-check", "--disable-gpu",
    "--disable-quic", "--disable-component-update", "--disable-background-networking", "--disable-sync",
    "--no-proxy-server", "--disable-dev-shm-usage",
)  # fmt: skip


class Browser:
    """The pipe to a browser. Messages are JSON, each ended by a NUL byte."""

    def __init__(self, sink: trio.lowlevel.FdStream, source: trio.lowlevel.FdStream) -> None:
        self._sink, self._source = sink, source
        self._writing = trio.Lock()
        self._number = 0
        self._session = ""
        self._urls: dict[str, str] = {}
        self._errors: dict[str, str] = {}
        self._waiting: dict[int, trio.MemorySendChannel[dict[str, Any]]] = {}

    async def call(self, method: str, session: str | None = None, **parameters: Any) -> dict[str, Any]:
        """Call a method. Errors: CheckError if the browser is gone, or does not know what is meant."""
        self._number += 1
        number = self._number
        message: dict[str, Any] = {"id": number, "method": method, "params": parameters}
        if session is not None:
            message["sessionId"] = session
        send, receive = trio.open_memory_channel[dict[str, Any]](1)
        self._waiting[number] = send
        try:
            async with self._writing:
                await self._sink.send_all(json.dumps(message).encode() + b"\0")
            answer = await receive.receive()
        except (trio.BrokenResourceError, trio.EndOfChannel) as error:
            raise CheckError("the browser ended by itself") from error
        finally:
            self._waiting.pop(number, None)
        if "error" in answer:
            raise CheckError(f"the browser does not do {method}: {answer['error'].get('message')}")
        result: dict[str, Any] = answer["result"]
        return result

    async def read(self) -> None:
        """Take answers and events until the browser ends."""
        received = bytearray()
        try:
            async for data in self._source:
                received += data
                *messages, rest = received.split(b"\0")
                received = bytearray(rest)
                if len(received) > MAXIMUM_MESSAGE_BYTES:
                    break
                for message in messages:
                    self._take(json.loads(message))
        except trio.BrokenResourceError:
            pass  # it ended; whoever waits is told below
        for send in list(self._waiting.values()):
            send.close()

    def _take(self, message: dict[str, Any]) -> None:
        send = self._waiting.get(message.get("id", 0))
        if send is not None:
            send.send_nowait(message)
            return
        event = message.get("params", {})
        if message.get("method") == "Network.requestWillBeSent":
            self._urls[event["requestId"]] = event["request"]["url"]
        elif message.get("method") == "Network.loadingFailed":
            self._errors[self._urls.get(event["requestId"], "")] = event["errorText"]

    async def visit(self, url: str) -> None:
        """Open the page that all questions are asked from. Errors: CheckError."""
        target = (await self.call("Target.createTarget", url="about:blank"))["targetId"]
        self._session = (await self.call("Target.attachToTarget", targetId=target, flatten=True))["sessionId"]
        await self.call("Network.enable", self._session)
        await self.call("Page.enable", self._session)
        found = await self.call("Page.navigate", self._session, url=url)
        if found.get("errorText"):
            raise CheckError(f"the browser does not load {url}: {found['errorText']}")

    async def ask(self, case: Case, question: Question, seconds: float) -> Answer:
        """See Client. Client certificates would have to be imported, and chosen by a person: these are skipped."""
        if case.client_certificate:
            return Answer(Did.SKIPPED, "client certificates are chosen by hand in a browser")
        began = trio.current_time()
        limit = int(min(seconds, NAVIGATION_SECONDS) * 1000)
        expression = FETCH % (json.dumps(question.url), limit)
        result = await self.call(
            "Runtime.evaluate", self._session, expression=expression, awaitPromise=True, returnByValue=True
        )
        words = str(result["result"].get("value", "no answer"))
        took = trio.current_time() - began
        if words.startswith("TimeoutError"):
            return Answer(Did.HUNG, "it waits for longer than that", took)
        if words:
            return Answer(Did.REFUSED, self._errors.get(question.url, words), took)
        return Answer(Did.ACCEPTED, "", took)


@asynccontextmanager
async def browser(directory: Path, url: str) -> AsyncIterator[Browser]:
    """A browser that trusts `directory`/ca.pem and has opened `url`, ended with the block. Errors: CheckError."""
    program = next((found for name in PROGRAMS if (found := shutil.which(name))), None)
    if program is None:
        raise CheckError("chromium: no Chromium is installed")
    home = directory / "home"
    await trio.to_thread.run_sync(make_home, home, directory / "ca.pem")
    their_input, our_sink = _pipe()
    our_source, their_output = _pipe()
    options = [*OPTIONS, f"--user-data-dir={home / 'profile'}", *(["--no-sandbox"] if os.geteuid() == 0 else [])]
    command = [sys.executable, "-c", START, str(their_input), str(their_output), program, *options, "about:blank"]
    process = await trio.to_thread.run_sync(
        lambda: subprocess.Popen(  # noqa: S603 - a browser that was looked for
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            pass_fds=(their_input, their_output), env={**os.environ, "HOME": str(home)}, start_new_session=True,
        )
    )  # fmt: skip
    os.close(their_input)
    os.close(their_output)
    sink, source = trio.lowlevel.FdStream(our_sink), trio.lowlevel.FdStream(our_source)
    client = Browser(sink, source)
    try:
        async with sink, source, trio.open_nursery() as nursery:
            nursery.start_soon(client.read)
            with trio.move_on_after(START_SECONDS) as scope:
                await client.visit(url)
            if scope.cancelled_caught:
                raise CheckError(f"{program} does not start")
            yield client
            nursery.cancel_scope.cancel()
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _pipe() -> tuple[int, int]:
    """Both ends of a pipe, neither of them a descriptor that START moves something to."""
    ends = os.pipe()
    moved = tuple(fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 10) for end in ends)
    for end in ends:
        os.close(end)
    return moved[0], moved[1]


def make_home(home: Path, ca: Path) -> None:
    """A home for a browser that trusts `ca`. Errors: CheckError."""
    database = home / ".pki" / "nssdb"
    database.mkdir(parents=True)
    for arguments in (
        ["-N", "--empty-password"],
        ["-A", "-n", "securelight lab", "-t", "C,,", "-i", str(ca)],
    ):
        command = ["certutil", "-d", f"sql:{database}", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)  # noqa: S603 - ours
        if done.returncode:
            raise CheckError(f"certutil: {done.stderr.strip()[:200]}")
