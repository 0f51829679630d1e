"""One WSGI call: the application in its thread, and the stream's task that sends and receives for it.

The thread says what it wants (`_ask`) and waits; the task does it and answers, so that back-pressure reaches the
application, and reads of `wsgi.input` block its thread alone. When the task is cancelled (the client is gone, or
Limits.handler_seconds are over), the thread cannot be killed: whatever it asks next raises ApplicationClientGone, which
ends it at its next read or piece. The iterable's `close` is called however the call ends.
"""

from __future__ import annotations

import io
import re
import threading
from collections import deque
from contextlib import suppress
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

import trio

from securelight.handlers.wsgi_environ import RequestBody
from securelight.model.application_fields import checked_head
from securelight.model.body import PUSHED_BODY
from securelight.model.errors import BodyAborted, ClientDisconnected, Refusal
from securelight.model.response import BODYLESS_STATUSES, Response

if TYPE_CHECKING:
    from collections.abc import Callable

    from securelight.handlers.sendfile import Sendfile
    from securelight.model.headers import Field
    from securelight.pipeline.exchange import Exchange

_STATUS = re.compile(r"[2-5][0-9][0-9](?: [^\x00-\x1f\x7f]*)?")


class ApplicationClientGone(OSError):
    """What reading or writing raises in the application once nobody listens any more."""


class WsgiCall:
    """One request, on both sides of the thread's border.

    Args:
        exchange: the request.
        application: the WSGI callable.
        environ: without `wsgi.input`.
        released: called in the event loop once the thread is free; its argument is whether it had been abandoned.
        sendfile: answers with files that the application names; None where it may not.

    Attributes:
        running: the thread has not ended.
    """

    def __init__(
        self,
        exchange: Exchange,
        application: Any,
        environ: dict[str, Any],
        released: Callable[[bool], None],
        sendfile: Sendfile | None = None,
    ) -> None:
        self._sendfile = sendfile
        self._exchange = exchange
        self._application = application
        self._environ = environ
        self._released = released
        self._token = trio.lowlevel.current_trio_token()
        self._commands: deque[tuple[str, Any]] = deque()
        self._news = trio.Event()
        self._replies: SimpleQueue[bytes | BaseException] = SimpleQueue()
        self._asking = threading.Lock()
        self._abandoned = False
        self.running = True
        self._ended = False
        self._waiting = False
        self._cause: Exception | None = None
        """Why the task could not do what the thread asked for."""
        self._started = False
        self._begun = False
        self._complete = False
        self._bodyless = False
        self._status = 0
        self._fields: list[Field] = []
        self._announced: int | None = None
        self._sent_bytes = 0

    # The stream's task

    async def run(self) -> None:
        """Run the application to its end.

        Errors: what it raises; Refusal or ClientDisconnected if that is why it could not go on.
        """
        trio.lowlevel.start_thread_soon(self._in_thread, self._deliver)
        try:
            while True:
                while not self._commands:
                    self._news = trio.Event()
                    await self._news.wait()
                what, argument = self._commands.popleft()
                if what == "ended":
                    break
                self._reply(await self._do(what, argument))
        finally:
            self._abandoned = True
            self._reply(ApplicationClientGone("the client is gone"))
        if self._cause is not None and not self._complete:
            raise self._cause
        try:
            argument.unwrap()
        except SystemExit as error:
            raise RuntimeError(f"the application called exit with status {error.code!r}") from error

    async def _do(self, what: str, argument: Any) -> bytes | BaseException:
        exchange = self._exchange
        if self._cause is not None:
            return ApplicationClientGone("the client is gone")
        try:
            if what == "receive":
                return await exchange.receive(ahead=True)
            if what == "respond":
                await exchange.respond(argument)
            elif what == "begin":
                await exchange.begin(argument)
            elif what == "send":
                await exchange.send(argument)
            else:
                await exchange.end()
        except (ClientDisconnected, Refusal, BodyAborted) as error:
            self._cause = error
            return ApplicationClientGone("the client is gone")
        except Exception as error:
            return error
        return b""

    def _reply(self, reply: bytes | BaseException) -> None:
        if self._waiting:
            self._waiting = False
            self._replies.put(reply)

    def _post(self, what: str, argument: Any) -> None:
        """A word of the thread has arrived in the event loop."""
        if what == "ended":
            self.running = False
            self._released(self._abandoned)
        else:
            self._waiting = True
            if self._abandoned:
                self._reply(ApplicationClientGone("the client is gone"))
                return
        self._commands.append((what, argument))
        self._news.set()

    # The thread

    def _deliver(self, outcome: Any) -> None:
        with suppress(trio.RunFinishedError):  # the worker is gone, and the process with it
            self._token.run_sync_soon(self._post, "ended", outcome)

    def _ask(self, what: str, argument: Any = None) -> bytes:
        """Have the task do something.

        Errors: ApplicationClientGone.
        """
        with self._asking:
            if self._abandoned or self._ended:
                raise ApplicationClientGone("the request is over")
            try:
                self._token.run_sync_soon(self._post, what, argument)
            except trio.RunFinishedError:
                raise ApplicationClientGone("the server has stopped") from None
            reply = self._replies.get()
        if isinstance(reply, BaseException):
            raise reply
        return reply

    def _in_thread(self) -> None:
        result: Any = None
        has_body = self._exchange.request.has_body
        raw = RequestBody(lambda: self._ask("receive"))
        self._environ["wsgi.input"] = io.BufferedReader(raw, 65_536) if has_body else io.BytesIO()
        try:
            result = self._application(self._environ, self._start_response)
            self._send_all(result)
        finally:
            try:
                close = getattr(result, "close", None)
                if close is not None:
                    close()
            finally:
                self._ended = True

    def _start_response(self, status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
        try:
            if exc_info is not None and self._begun:
                raise exc_info[1].with_traceback(exc_info[2])
            if self._started and exc_info is None:
                raise RuntimeError("start_response was called twice without exc_info")
        finally:
            exc_info = None  # no circle of references
        if not isinstance(status, str) or not _STATUS.fullmatch(status):
            raise ValueError(f"response status {status!r} is not a final one such as '200 OK'")
        if not isinstance(headers, list):
            raise TypeError(f"the response headers are a list, not a {type(headers).__name__}")
        self._fields, self._announced = checked_head([_encoded(name, value) for name, value in headers])
        self._status = int(status[:3])
        self._bodyless = self._exchange.request.method == "HEAD" or self._status in BODYLESS_STATUSES
        self._started = True
        return self._write

    def _send_all(self, result: Any) -> None:
        if isinstance(result, (list, tuple)):
            whole = b"".join(result)
            if not self._begun:
                self._respond_whole(whole)
                return
            result = (whole,)
        for piece in result:
            if self._abandoned:
                raise ApplicationClientGone("the client is gone")
            if piece or not isinstance(piece, bytes):
                self._write(piece)
            if self._complete and self._bodyless:
                return  # nobody waits for the content of HEAD; an endless stream would run on for ever
        if self._complete:
            return
        if not self._begun:
            self._respond_whole(b"")
            return
        if self._announced is not None and self._sent_bytes != self._announced:
            raise BodyAborted(f"the application announced {self._announced} bytes and sent {self._sent_bytes}")
        self._complete = True
        self._ask("end")

    def _respond_whole(self, data: bytes) -> None:
        """Answer in one step.

        Errors: RuntimeError if nothing was started, or if the length is not the announced one.
        """
        if not self._started:
            raise RuntimeError("the application returned without calling start_response")
        if self._sent_file():
            return
        length = self._announced
        if self._bodyless:
            length = len(data) if length is None and data else length
            response = Response(self._status, tuple(self._fields), PUSHED_BODY if length is None else b"",
                                content_length=length)  # fmt: skip
        elif length is not None and length != len(data):
            raise RuntimeError(f"content-length is {length}, but the body has {len(data)} bytes")
        else:
            response = Response(self._status, tuple(self._fields), data)
        self._begun = True
        self._ask("respond", response)
        self._complete = True

    def _sent_file(self) -> bool:
        """Whether a file that the application names is the answer; what else it writes is dropped.

        Errors: Refusal.
        """
        if self._sendfile is None or not self._sendfile.names_a_file(self._fields):
            return False
        response = self._sendfile.answer(self._exchange.request, self._status, self._fields)
        self._begun = self._bodyless = True
        self._ask("respond", response)
        self._complete = True
        return True

    def _write(self, data: bytes) -> None:
        """Send a piece at once; the callable that start_response returns."""
        if not isinstance(data, bytes):
            raise TypeError(f"the body of a response is bytes, not {type(data).__name__}")
        if not self._started:
            raise RuntimeError("the body came before start_response")
        if not self._begun:
            if self._sent_file():
                return
            if self._bodyless:
                self._begun = True
                body = PUSHED_BODY if self._announced is None else b""
                self._ask("respond", Response(self._status, tuple(self._fields), body, content_length=self._announced))
                self._complete = True
                return
            if self._announced == len(data):
                self._respond_whole(data)
                return
            if self._announced is not None and len(data) > self._announced:
                raise RuntimeError(f"content-length is {self._announced}, but the body has {len(data)} bytes so far")
            self._begun = True
            self._ask(
                "begin",
                Response(self._status, tuple(self._fields), PUSHED_BODY, content_length=self._announced),
            )
        elif self._complete:
            if data and not self._bodyless:
                raise RuntimeError("the body goes on after its announced end")
            return
        self._sent_bytes += len(data)
        if self._announced is not None and self._sent_bytes > self._announced:
            raise RuntimeError(f"the response is longer than its content-length {self._announced}")
        if data:
            self._ask("send", data)


def _encoded(name: Any, value: Any) -> tuple[bytes, bytes]:
    if not isinstance(name, str) or not isinstance(value, str):
        raise TypeError("a header field is a pair of strings")
    return name.encode("latin-1"), value.encode("latin-1")
