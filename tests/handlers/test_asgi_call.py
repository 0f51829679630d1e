"""What an application may say and hear, in every order, and what its mistakes lead to."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from securelight.handlers.asgi_call import ApplicationClientGone
from securelight.model.errors import BodyAborted, ClientDisconnected, Refusal
from tests.handlers.asgi_exchange import MemoryExchange, answer, run_application, upload_request
from tests.helpers import make_request, open_descriptors

if TYPE_CHECKING:
    from pathlib import Path

    from securelight.handlers.asgi_lifespan import Application, Message, Receive, Scope, Send


def start(status: int = 200, *headers: tuple[Any, Any], **more: Any) -> Message:
    return {"type": "http.response.start", "status": status, "headers": list(headers), **more}


def body(data: Any = b"", *, more: bool = False) -> Message:
    return {"type": "http.response.body", "body": data, "more_body": more}


def says(*messages: Message) -> Application:
    """An application that sends `messages` and returns."""

    async def application(_scope: Scope, _receive: Receive, send: Send) -> None:
        for message in messages:
            await send(message)

    return application


# Answers


async def test_a_whole_answer_is_sent_in_one_step() -> None:
    exchange = await answer(says(start(201, (b"Content-Type", b"text/plain")), body(b"hello")))
    assert exchange.said == ["respond"]
    assert (exchange.status, exchange.body) == (201, b"hello")
    assert exchange.fields == ((b"content-type", b"text/plain"),)


async def test_optional_keys_may_be_left_out() -> None:
    exchange = await answer(says({"type": "http.response.start", "status": 404}, {"type": "http.response.body"}))
    assert (exchange.status, exchange.body, exchange.content_length) == (404, b"", 0)


async def test_an_answer_in_pieces_is_pushed_as_it_comes() -> None:
    exchange = await answer(says(start(), body(b"one ", more=True), body(b"", more=True), body(b"two", more=False)))
    assert exchange.said == ["begin", "send", "send", "end"]
    assert (exchange.body, exchange.content_length) == (b"one two", None)


async def test_a_head_without_content_yet_goes_out_at_once() -> None:
    """Server-sent events: the client sees that it is connected before the first event."""
    exchange = MemoryExchange(make_request())
    go_on = trio.Event()

    async def application(_scope: Scope, _receive: Receive, send: Send) -> None:
        await send(start())
        await send(body(more=True))
        await go_on.wait()
        await send(body(b"event"))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(run_application, application, exchange)
        await exchange.until_said("begin")
        assert exchange.body == b""
        go_on.set()
    assert exchange.body == b"event"


async def test_a_first_piece_that_fills_the_announced_length_is_the_whole_answer() -> None:
    """Middlewares that stream send one piece and then an empty last one."""
    exchange = await answer(says(start(200, (b"content-length", b"5")), body(b"hello", more=True), body()))
    assert exchange.said == ["respond"]
    assert exchange.body == b"hello"


@pytest.mark.parametrize("data", [bytearray(b"abc"), memoryview(b"abc")])
async def test_other_kinds_of_bytes_are_bytes(data: bytearray | memoryview) -> None:
    assert (await answer(says(start(), body(data)))).body == b"abc"


async def test_fields_of_the_framing_are_the_servers() -> None:
    exchange = await answer(
        says(
            start(
                200,
                (b"Date", b"yesterday"),
                (b"server", b"other"),
                (b"transfer-encoding", b"chunked"),
                (b"connection", b"close"),
                (b"keep-alive", b"timeout=5"),
                (b"upgrade", b"h2c"),
                (b"content-length", b"2"),
                (b"set-cookie", b"a=1"),
                (b"set-cookie", b"b=2"),
            ),
            body(b"ok"),
        )
    )
    assert exchange.fields == ((b"set-cookie", b"a=1"), (b"set-cookie", b"b=2"))
    assert exchange.content_length == 2


async def test_work_after_the_answer_does_not_hold_it_back() -> None:
    exchange = MemoryExchange(make_request())
    release = trio.Event()
    done = False

    async def application(_scope: Scope, _receive: Receive, send: Send) -> None:
        nonlocal done
        await send(start())
        await send(body(b"accepted"))
        await release.wait()
        done = True

    async with trio.open_nursery() as nursery:
        nursery.start_soon(run_application, application, exchange)
        await exchange.until_said("respond")
        assert exchange.body == b"accepted"
        assert not done
        release.set()
    assert done


async def test_a_slow_client_holds_the_application_back() -> None:
    exchange = MemoryExchange(make_request(), room_bytes=10)
    produced = 0

    async def application(_scope: Scope, _receive: Receive, send: Send) -> None:
        nonlocal produced
        await send(start())
        for _ in range(100):
            await send(body(b"12345", more=True))
            produced += 5
        await send(body())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(run_application, application, exchange)
        await wait_all_tasks_blocked()
        assert produced == 10
        exchange.take(20)
        await wait_all_tasks_blocked()
        assert produced == 30
        exchange.take(1000)
    assert len(exchange.body) == 500


# HEAD and statuses without content


async def test_head_announces_the_length_of_what_is_not_sent() -> None:
    exchange = await answer(says(start(), body(b"hello")), method="HEAD")
    assert (exchange.body, exchange.content_length, exchange.said) == (b"", 5, ["respond"])


async def test_head_keeps_the_length_that_the_application_announces() -> None:
    exchange = await answer(says(start(200, (b"content-length", b"1000")), body()), method="HEAD")
    assert exchange.content_length == 1000


async def test_head_of_a_stream_has_no_length() -> None:
    exchange = await answer(says(start(), body(b"", more=True), body()), method="HEAD")
    assert exchange.content_length is None


@pytest.mark.parametrize("status", [204, 304])
async def test_content_of_a_status_without_content_is_dropped(status: int) -> None:
    exchange = await answer(says(start(status), body(b"x" * 100)))
    assert (exchange.status, exchange.body) == (status, b"")


async def test_an_endless_stream_does_not_run_on_unseen_after_head() -> None:
    """The attack: HEAD for an event stream, again and again, each leaving a task behind."""
    pieces = 0

    async def application(_scope: Scope, _receive: Receive, send: Send) -> None:
        nonlocal pieces
        await send(start())
        while True:
            await send(body(b"tick", more=True))
            pieces += 1

    exchange = MemoryExchange(make_request("HEAD"))
    with pytest.raises(ClientDisconnected):
        await run_application(application, exchange)
    assert exchange.complete
    assert pieces == 1


# Messages out of order and malformed


@pytest.mark.parametrize(
    "messages",
    [
        pytest.param([], id="nothing"),
        pytest.param([start()], id="no body"),
        pytest.param([body(b"x")], id="body without start"),
        pytest.param([start(), start()], id="start twice"),
        pytest.param([start(), body(b"x", more=True)], id="body not ended"),
        pytest.param([start(), body(b"x", more=True), start()], id="start in the body"),
        pytest.param([start(), body(b"x"), body(b"y")], id="body after the end"),
        pytest.param([start(), body(b"x"), start()], id="start after the end"),
        pytest.param(
            [start(200, (b"content-length", b"1")), body(b"x", more=True), body(b"y")], id="too long at the end"
        ),
        pytest.param([start(200, (b"content-length", b"1")), body(b"xy")], id="too long"),
        pytest.param([start(200, (b"content-length", b"3")), body(b"xy")], id="too short"),
        pytest.param([start(200, (b"content-length", b"2")), body(b"xy", more=True)], id="last piece missing"),
        pytest.param([start(trailers=True), body(b"x")], id="trailers missing"),
        pytest.param([start(), body(b"x", more=True), {"type": "http.response.trailers"}], id="trailers unannounced"),
        pytest.param([start(), {"type": "http.response.push", "path": "/"}], id="unknown message"),
        pytest.param([{"type": "websocket.accept"}], id="a message of another protocol"),
        pytest.param([start(), body(b"x"), {"type": "http.response.early_hint", "links": [b"</a>"]}], id="late hint"),
    ],
)
async def test_messages_out_of_order_are_the_applications_error(messages: list[Message]) -> None:
    with pytest.raises(RuntimeError):
        await answer(says(*messages))


@pytest.mark.parametrize("status", [0, 99, 100, 101, 103, 199, 600, 1000, -1, "200", None, 200.0])
async def test_only_a_final_status_is_an_answer(status: Any) -> None:
    exchange = MemoryExchange(make_request())
    with pytest.raises(ValueError, match="status"):
        await run_application(says(start(status), body()), exchange)
    assert exchange.said == []


@pytest.mark.parametrize("data", ["text", 7, None, [b"list"]])
async def test_a_body_is_bytes(data: Any) -> None:
    exchange = MemoryExchange(make_request())
    with pytest.raises(TypeError):
        await run_application(says(start(), body(data)), exchange)
    assert exchange.said == []


@pytest.mark.parametrize("ending", [b"\r\n", b"\n", b"\r", b"\x00", b"\r\n\r\nHTTP/1.1 200 OK\r\n\r\n"])
async def test_a_field_cannot_begin_another_response(ending: bytes) -> None:
    exchange = MemoryExchange(make_request())
    with pytest.raises(ValueError, match="control characters"):
        await run_application(says(start(302, (b"location", b"/" + ending + b"set-cookie: a=b")), body()), exchange)
    assert exchange.said == []


async def test_an_application_may_recover_from_a_bad_start() -> None:
    async def application(_scope: Scope, _receive: Receive, send: Send) -> None:
        try:
            await send(start(200, (b"x", b"a\nb")))
        except ValueError:
            await send(start(500))
            await send(body(b"sorry"))

    assert (await answer(application)).status == 500


# Lengths


async def test_a_streamed_body_is_never_longer_than_announced() -> None:
    exchange = MemoryExchange(make_request())
    application = says(start(200, (b"content-length", b"4")), body(b"abc", more=True), body(b"defg", more=True))
    with pytest.raises(RuntimeError, match="longer"):
        await run_application(application, exchange)
    assert (exchange.body, exchange.complete) == (b"abc", False)


async def test_a_streamed_body_that_ends_short_is_aborted() -> None:
    exchange = MemoryExchange(make_request())
    application = says(start(200, (b"content-length", b"10")), body(b"abc", more=True), body(b"def"))
    with pytest.raises(BodyAborted, match="announced 10 bytes and sent 6"):
        await run_application(application, exchange)
    assert not exchange.complete


async def test_an_application_cannot_hide_a_wrong_length() -> None:
    async def application(_scope: Scope, _receive: Receive, send: Send) -> None:
        await send(start(200, (b"content-length", b"10")))
        await send(body(b"abc", more=True))
        try:
            await send(body(b"def"))
        except BodyAborted:
            return

    with pytest.raises(BodyAborted):
        await answer(application)


@pytest.mark.parametrize("length", [b"-1", b"+1", b"0x1", b"1,1", b"", b"1 1", b"9" * 30, b"\xb2"])
async def test_a_length_is_a_decimal_number(length: bytes) -> None:
    with pytest.raises(ValueError, match="content-length"):
        await answer(says(start(200, (b"content-length", length)), body(b"x")))


async def test_two_different_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match="content-length"):
        await answer(says(start(200, (b"content-length", b"1"), (b"content-length", b"2")), body(b"x")))


# Trailers, early hints, path send


async def test_trailers_go_to_clients_that_want_them() -> None:
    application = says(
        start(trailers=True),
        body(b"data"),
        {"type": "http.response.trailers", "headers": [(b"Grpc-Status", b"0")], "more_trailers": True},
        {"type": "http.response.trailers", "headers": [(b"x", b"y"), (b"content-length", b"9")]},
    )
    exchange = await answer(application, headers={b"te": b"trailers"})
    assert exchange.body == b"data"
    assert exchange.response_trailers == ((b"grpc-status", b"0"), (b"x", b"y"))
    assert (await answer(application)).response_trailers == ()


async def test_trailers_are_bounded() -> None:
    trailers: Message = {"type": "http.response.trailers", "headers": [(b"x", b"y" * 5000)], "more_trailers": True}
    with pytest.raises(RuntimeError, match="longer than 8192"):
        await answer(says(start(trailers=True), body(), trailers, trailers), headers={b"te": b"trailers"})


async def test_trailers_cannot_split_a_response() -> None:
    trailers: Message = {"type": "http.response.trailers", "headers": [(b"x", b"y\r\nz: 1")]}
    with pytest.raises(ValueError, match="control"):
        await answer(says(start(trailers=True), body(), trailers), headers={b"te": b"trailers"})


async def test_early_hints_go_out_before_the_head_and_are_dropped_after_it() -> None:
    hint: Message = {"type": "http.response.early_hint", "links": [b"</a.css>; rel=preload", b"</b.js>; rel=preload"]}
    exchange = await answer(says(start(), hint, body(b"x", more=True), hint, body()))
    assert exchange.said == ["inform", "begin", "send", "end"]
    assert exchange.hints == [((b"link", b"</a.css>; rel=preload"), (b"link", b"</b.js>; rel=preload"))]


async def test_early_hints_cannot_split_a_response() -> None:
    with pytest.raises(ValueError, match="control"):
        await answer(says(start(), {"type": "http.response.early_hint", "links": [b"</a>\r\nx: y"]}, body()))


def path_send(path: object) -> Message:
    return {"type": "http.response.pathsend", "path": str(path)}


async def test_a_file_is_sent_by_its_path(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x" * 1000)
    before = open_descriptors()
    exchange = await answer(says(start(200, (b"content-length", b"1000")), path_send(tmp_path / "file")))
    assert (exchange.said, exchange.body) == (["respond"], b"x" * 1000)
    exchange = await answer(says(start(), path_send(tmp_path / "file")), method="HEAD")
    assert (exchange.body, exchange.content_length) == (b"", 1000)
    assert open_descriptors() == before


async def test_what_is_not_a_whole_file_is_not_sent(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x" * 10)
    os.mkfifo(tmp_path / "pipe")
    before = open_descriptors()
    for messages in (
        [start(), path_send(tmp_path)],
        [start(), path_send(tmp_path / "pipe")],
        [start(), path_send(tmp_path / "missing")],
        [start(200, (b"content-length", b"11")), path_send(tmp_path / "file")],
    ):
        exchange = MemoryExchange(make_request())
        with pytest.raises((ValueError, OSError)):
            await run_application(says(*messages), exchange)
        assert exchange.said == []
    for messages in (
        [path_send(tmp_path / "file")],
        [start(), body(b"x", more=True), path_send(tmp_path / "file")],
        [start(trailers=True), path_send(tmp_path / "file")],
        [start(), path_send(tmp_path / "file"), path_send(tmp_path / "file")],
    ):
        with pytest.raises(RuntimeError, match="pathsend"):
            await answer(says(*messages))
    assert open_descriptors() == before


# The request body


async def heard(exchange: MemoryExchange, count: int) -> list[Message]:
    """The first `count` messages of an application that then answers."""
    messages: list[Message] = []

    async def application(_scope: Scope, receive: Receive, send: Send) -> None:
        while len(messages) < count:
            messages.append(await receive())
        await send(start())
        await send(body())

    await run_application(application, exchange)
    return messages


def request_body(data: bytes, *, more: bool) -> Message:
    return {"type": "http.request", "body": data, "more_body": more}


async def test_a_request_without_body_is_one_empty_message() -> None:
    assert await heard(MemoryExchange(make_request()), 1) == [request_body(b"", more=False)]


async def test_a_body_of_known_length_ends_with_its_last_byte() -> None:
    exchange = MemoryExchange(upload_request(6))
    exchange.upload(b"abc", b"def", b"")
    assert await heard(exchange, 2) == [request_body(b"abc", more=True), request_body(b"def", more=False)]


async def test_a_body_of_unknown_length_ends_with_an_empty_message() -> None:
    exchange = MemoryExchange(upload_request())
    exchange.upload(b"abc", b"")
    assert await heard(exchange, 2) == [request_body(b"abc", more=True), request_body(b"", more=False)]


async def test_a_body_is_taken_only_as_it_is_asked_for() -> None:
    exchange = MemoryExchange(upload_request())
    exchange.upload(*[b"x" * 1000] * 50, b"")
    assert len(await heard(exchange, 3)) == 3
    assert exchange.taken_pieces == 3


async def test_a_refused_body_is_answered_with_the_refusal_whatever_the_application_does() -> None:
    exchange = MemoryExchange(upload_request())
    exchange.upload(b"x", Refusal(413))

    async def application(_scope: Scope, receive: Receive, send: Send) -> None:
        assert await receive() == request_body(b"x", more=True)
        assert await receive() == {"type": "http.disconnect"}
        assert await receive() == {"type": "http.disconnect"}
        with pytest.raises(OSError, match="gone"):
            await send(start(500))
        raise LookupError("what an application makes of it")

    with pytest.raises(Refusal) as caught:
        await run_application(application, exchange)
    assert caught.value.status == 413
    assert exchange.said == []


# The client's leaving


async def test_a_client_that_leaves_in_its_body_is_a_disconnect() -> None:
    exchange = MemoryExchange(upload_request())
    exchange.upload(b"abc")
    messages: list[Message] = []

    async def application(_scope: Scope, receive: Receive, _send: Send) -> None:
        messages.append(await receive())
        exchange.leave()
        messages.append(await receive())
        raise EOFError("the upload is cut off")  # as Starlette does

    with pytest.raises(ClientDisconnected):
        await run_application(application, exchange)
    assert messages == [request_body(b"abc", more=True), {"type": "http.disconnect"}]


async def test_receive_waits_for_the_client_to_leave() -> None:
    exchange = MemoryExchange(make_request())
    messages: list[Message] = []

    async def application(_scope: Scope, receive: Receive, _send: Send) -> None:
        messages.append(await receive())
        messages.append(await receive())
        messages.append(await receive())

    async def run() -> None:
        with pytest.raises(ClientDisconnected):
            await run_application(application, exchange)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(run)
        await wait_all_tasks_blocked()
        assert messages == [request_body(b"", more=False)]
        exchange.leave()
    assert messages[1:] == [{"type": "http.disconnect"}] * 2


async def test_receive_returns_when_the_answer_is_complete() -> None:
    exchange = MemoryExchange(make_request())
    messages: list[Message] = []

    async def application(_scope: Scope, receive: Receive, send: Send) -> None:
        async def listen() -> None:
            messages.append(await receive())

        await receive()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(listen)
            nursery.start_soon(listen)
            await wait_all_tasks_blocked()
            assert messages == []
            await send(start())
            await send(body(b"done"))
        messages.append(await receive())

    await run_application(application, exchange)
    assert messages == [{"type": "http.disconnect"}] * 3


async def test_an_application_that_ignores_the_disconnect_does_not_stop_the_worker() -> None:
    exchange = MemoryExchange(make_request())
    exchange.leave()

    async def application(_scope: Scope, receive: Receive, _send: Send) -> None:
        while True:
            await receive()

    with trio.move_on_after(0) as limit:  # fires only if the loop above lets others run
        await run_application(application, exchange)
    assert limit.cancelled_caught


@pytest.mark.parametrize("swallows", [True, False])
async def test_send_fails_with_an_os_error_once_the_client_is_gone(swallows: bool) -> None:
    exchange = MemoryExchange(make_request(), room_bytes=3)
    errors: list[OSError] = []
    cleaned = False

    async def application(_scope: Scope, _receive: Receive, send: Send) -> None:
        nonlocal cleaned
        await send(start())
        try:
            while True:
                await send(body(b"abc", more=True))
        except OSError as error:
            errors.append(error)
            with pytest.raises(ApplicationClientGone):
                await send(body(b"more"))
            if not swallows:
                raise
        finally:
            cleaned = True

    async def run() -> None:
        with pytest.raises(ClientDisconnected):
            await run_application(application, exchange)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(run)
        await exchange.until_said("send", 2)
        exchange.leave()
    assert isinstance(errors[0], ApplicationClientGone)
    assert cleaned


async def test_what_other_tasks_make_of_the_clients_leaving_is_no_error_either() -> None:
    exchange = MemoryExchange(make_request())
    exchange.leave()

    async def application(_scope: Scope, _receive: Receive, send: Send) -> None:
        async def stream() -> None:
            await send(start())
            await send(body(b"x", more=True))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(stream)
            nursery.start_soon(stream)

    with pytest.raises(ClientDisconnected):
        await run_application(application, exchange)


async def test_a_cancelled_application_cleans_up_and_its_cancellation_goes_on() -> None:
    exchange = MemoryExchange(make_request())
    cleaned = 0

    async def application(_scope: Scope, receive: Receive, _send: Send) -> None:
        async def work() -> None:
            nonlocal cleaned
            try:
                await receive()
                await receive()
            finally:
                cleaned += 1

        async with trio.open_nursery() as nursery:
            nursery.start_soon(work)
            nursery.start_soon(work)

    with trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(run_application, application, exchange)
            await wait_all_tasks_blocked()
            scope.cancel()
    assert scope.cancelled_caught
    assert cleaned == 2


async def test_a_goodbye_that_nobody_hears_is_no_error() -> None:
    """The server cancels the application because the client left; in its `finally` it sends once more."""
    exchange = MemoryExchange(make_request())

    async def application(_scope: Scope, _receive: Receive, send: Send) -> None:
        try:
            await trio.sleep_forever()
        finally:
            with trio.CancelScope(shield=True):
                await send(start())
                await send(body(b"goodbye"))

    async def run() -> None:
        with pytest.raises(ClientDisconnected):
            await run_application(application, exchange)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(run)
        await wait_all_tasks_blocked()
        exchange.leave()
        nursery.cancel_scope.cancel()


async def test_an_error_of_its_own_after_the_answer_is_still_the_applications() -> None:
    exchange = MemoryExchange(make_request())

    async def application(_scope: Scope, receive: Receive, send: Send) -> None:
        await send(start())
        await send(body(b"accepted"))
        exchange.leave()
        assert await receive() == {"type": "http.disconnect"}
        raise LookupError("in the background")

    with pytest.raises(LookupError):
        await run_application(application, exchange)


async def test_an_application_cannot_end_the_worker() -> None:
    async def application(_scope: Scope, _receive: Receive, _send: Send) -> None:
        raise SystemExit(3)

    with pytest.raises(RuntimeError, match="exit with status 3"):
        await answer(application)
