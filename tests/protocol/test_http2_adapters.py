"""Dialogues with both HTTP/2 adapters: the same behaviour on either engine."""

from __future__ import annotations

import dataclasses
import struct
from typing import TYPE_CHECKING

import pytest

from securelight.model.errors import Http2Code
from securelight.model.request import Request
from securelight.model.response import Response
from securelight.protocol.adapter import SERVER_FIELD
from securelight.protocol.events import BodyReceived
from securelight.protocol.http2_adapter import DISCARDING_STREAMS
from securelight.protocol.http2_frames import SETTINGS
from tests.protocol.http2_support import (
    ENGINES,
    GET,
    LIMITS,
    OK,
    POST,
    PREFACE,
    Client,
    DataFrame,
    GoAwayFrame,
    HeadersFrame,
    PingFrame,
    SettingsFrame,
    WindowUpdateFrame,
    data,
    fields_of,
    goaway,
    one_request,
    outline,
    ping,
    raw_frame,
    reset,
    settings,
    window_update,
)

if TYPE_CHECKING:
    from securelight.protocol.events import Event
    from securelight.protocol.http2_adapter import Http2Adapter

pytestmark = pytest.mark.parametrize("engine", ENGINES)

Engine = type["Http2Adapter"]


# The good path


def test_server_speaks_first_with_its_settings(engine: Engine) -> None:
    client = Client(engine, greet=False)
    first, window = client.read()
    assert isinstance(first, SettingsFrame)
    assert first.settings == {
        3: LIMITS.concurrent_streams,
        4: LIMITS.request_body_buffer_bytes,
        6: LIMITS.request_head_bytes,
        9: 1,
    }
    assert isinstance(window, WindowUpdateFrame)
    assert (window.stream_id, window.window_increment) == (0, LIMITS.connection_window_bytes - 65_535)


def test_settings_come_first_even_if_the_client_was_faster(engine: Engine) -> None:
    client = Client(engine, greet=False)
    client.send(PREFACE, settings(), ping())
    frames = client.read()
    assert isinstance(frames[0], SettingsFrame)
    assert "ACK" not in frames[0].flags


def test_request_and_answer(engine: Engine) -> None:
    client = Client(engine)
    request = one_request(client.send(client.head(1, [*GET, (b"user-agent", b"test")])))
    assert (request.method, request.path, request.host, request.scheme) == ("GET", "/", "a.test", "https")
    assert request.headers.fields == ((b"host", b"a.test"), (b"user-agent", b"test"))
    assert not request.has_body
    assert client.adapter.open_streams == 1
    client.adapter.respond(1, OK, b"hello", end=True)
    head, *body = client.read()
    fields = fields_of(head)
    assert fields.pop(b"date").endswith(b"GMT")
    assert fields == {
        b":status": b"200",
        b"content-type": b"text/plain",
        b"content-length": b"5",
        b"server": SERVER_FIELD,
    }
    assert b"".join(frame.data for frame in body if isinstance(frame, DataFrame)) == b"hello"
    assert "END_STREAM" in body[-1].flags
    assert client.adapter.open_streams == 0
    assert client.resets() == {}
    assert not client.adapter.closing


def test_many_requests_of_one_read_are_all_answered(engine: Engine) -> None:
    client = Client(engine)
    events = client.send(*(client.head(stream_id) for stream_id in range(1, 100, 2)))
    assert [event.stream_id for event in events if isinstance(event, Request)] == list(range(1, 100, 2))
    for stream_id in range(1, 100, 2):
        client.adapter.respond(stream_id, OK, b"hello", end=True)
    client.read()
    assert client.answers() == dict.fromkeys(range(1, 100, 2), (200, b"hello", True))
    assert client.adapter.open_streams == 0


def test_head_answer_announces_the_length_and_ends_at_once(engine: Engine) -> None:
    client = Client(engine)
    client.send(client.head(1, [(b":method", b"HEAD"), *GET[1:]]))
    client.adapter.respond(1, OK, b"", end=True)
    (head,) = client.read()
    assert "END_STREAM" in head.flags
    assert fields_of(head)[b"content-length"] == b"5"


@pytest.mark.parametrize("status", [204, 304])
def test_answers_without_content_announce_no_length(engine: Engine, status: int) -> None:
    client = Client(engine)
    client.send(client.head(1))
    client.adapter.respond(1, Response(status), b"", end=True)
    (head,) = client.read()
    assert b"content-length" not in fields_of(head)


def test_shared_answer_is_the_same_every_time(engine: Engine) -> None:
    client = Client(engine)
    shared = Response(200, ((b"etag", b'"1"'),), b"cached", shared=True)
    client.send(client.head(1), client.head(3))
    client.adapter.respond(1, shared, b"cached", end=True)
    client.adapter.respond(3, shared, b"cached", end=True)
    first, second = (frame for frame in client.read() if isinstance(frame, HeadersFrame))
    assert fields_of(first) == fields_of(second)
    assert shared.heads


def test_interim_answers_come_before_the_final_one(engine: Engine) -> None:
    client = Client(engine)
    client.send(client.head(1, [*POST, (b"expect", b"100-continue")], end=False))
    client.adapter.inform(1, 100, ())
    client.adapter.inform(1, 103, ((b"link", b"</a.css>; rel=preload"),))
    client.adapter.respond(1, OK, b"hello", end=False)
    client.adapter.inform(1, 103, ())
    statuses = [dict(frame.fields)[b":status"] for frame in client.read() if isinstance(frame, HeadersFrame)]  # type: ignore[attr-defined]
    assert statuses == [b"100", b"103", b"200"]


def test_trailers_both_ways(engine: Engine) -> None:
    client = Client(engine)
    client.send(client.head(1, POST, end=False), data(1, b"abc"))
    events = client.send(client.head(1, [(b"x-sum", b"1"), (b"cookie", b"dropped")]))
    assert outline(events) == [("end", 1, ((b"x-sum", b"1"),))]
    client.adapter.respond(1, Response(200, (), b"", content_length=None), b"body", end=False)
    client.adapter.end_with_trailers(1, ((b"x-status", b"fine"),))
    client.read()
    last = client.frames[-1]
    assert isinstance(last, HeadersFrame)
    assert "END_STREAM" in last.flags
    assert last.fields == [(b"x-status", b"fine")]  # type: ignore[attr-defined]
    assert client.answers()[1][1:] == (b"body", True)
    assert client.adapter.open_streams == 0


def test_trailers_wait_for_the_body(engine: Engine) -> None:
    client = Client(engine)
    client.send(settings({4: 10}), client.head(1))
    client.adapter.respond(1, Response(200, (), b""), b"x" * 25, end=False)
    client.adapter.end_with_trailers(1, ((b"x-status", b"fine"),))
    client.read()
    assert client.answers()[1] == (200, b"x" * 10, False)
    client.send(window_update(1, 100))
    client.read()
    assert client.answers()[1] == (200, b"x" * 25, True)


def test_body_in_pieces_with_padding_keeps_both_windows_open(engine: Engine) -> None:
    client = Client(engine)
    client.send(client.head(1, POST, end=False))
    received = 0
    window = {0: LIMITS.connection_window_bytes, 1: LIMITS.request_body_buffer_bytes}
    for _ in range(400):
        frame = data(1, b"x" * 4000, pad=200)
        window = {key: left - (len(frame) - 9) for key, left in window.items()}
        assert min(window.values()) >= 0, "the client would have had to stop"
        for event in client.send(frame):
            assert isinstance(event, BodyReceived)
            received += len(event.data)
            client.adapter.consumed(1, event.credit)
        for answer in client.read():
            assert isinstance(answer, WindowUpdateFrame)
            window[answer.stream_id] += answer.window_increment
    assert outline(client.send(data(1, b"end", end=True))) == [("body", 1, b"end"), ("end", 1, ())]
    assert received == 400 * 4000


def test_a_client_that_is_given_no_credit_runs_out_of_window(engine: Engine) -> None:
    client = Client(engine)
    client.send(client.head(1, POST, end=False))
    client.send(*(data(1, b"x" * 16_000) for _ in range(4)))
    assert client.read() == []
    assert outline(client.send(data(1, b"x" * 16_000))) == [("failed", Http2Code.FLOW_CONTROL_ERROR)]


def test_credit_of_an_unread_body_comes_back_when_its_stream_ends(engine: Engine) -> None:
    client = Client(engine, dataclasses.replace(LIMITS, connection_window_bytes=100_000, stream_resets=1000))
    window = 100_000
    for stream_id in range(1, 41, 2):
        frame = data(stream_id, b"x" * 16_000, pad=100)
        window -= len(frame) - 9
        assert window >= 0, "credit was lost"
        client.send(client.head(stream_id, POST, end=False), frame)
        client.adapter.respond(stream_id, Response(403), b"", end=True)
        client.read()
        client.lose_patience()
        window += sum(f.window_increment for f in client.read() if isinstance(f, WindowUpdateFrame) and not f.stream_id)
    assert client.adapter.open_streams == 0


@pytest.mark.parametrize("announced", [5, 20_000])
@pytest.mark.parametrize("pad", [None, 100])
@pytest.mark.parametrize("ended", ["at once", "later", "by trailers"])
def test_credit_of_a_body_that_is_not_as_announced_comes_back(
    engine: Engine, announced: int, pad: int | None, ended: str
) -> None:
    client = Client(engine, dataclasses.replace(LIMITS, connection_window_bytes=100_000, stream_resets=1000))
    window = 100_000
    fields = [*POST, (b"content-length", b"%d" % announced)]
    for stream_id in range(1, 41, 2):
        body = [data(stream_id, b"x" * 12_000, pad=pad, end=ended == "at once")]
        if ended == "later":
            body.append(data(stream_id, b"x" * 3_000, pad=pad, end=True))
        client.send(client.head(stream_id, fields, end=False), *body)
        if ended == "by trailers":
            client.send(client.head(stream_id, [(b"a", b"b")]))
        window -= sum(len(frame) - 9 for frame in body)
        assert window >= 0, "credit was lost"
        window += sum(f.window_increment for f in client.read() if isinstance(f, WindowUpdateFrame) and not f.stream_id)
    assert client.resets() == dict.fromkeys(range(1, 41, 2), Http2Code.PROTOCOL_ERROR)
    assert not client.adapter.closing


# Sending under flow control


def test_response_longer_than_the_window_goes_out_as_it_opens(engine: Engine) -> None:
    client = Client(engine)
    content = bytes(range(256)) * 800
    client.send(client.head(1))
    client.adapter.respond(1, Response(200, (), content), content, end=True)
    client.read()
    assert client.answers()[1] == (200, content[:65_535], False)
    client.send(window_update(1, 10_000))
    assert client.read() == []
    client.send(window_update(0, 500_000), window_update(1, 500_000))
    client.read()
    assert client.answers()[1] == (200, content, True)
    assert client.adapter.open_streams == 0


def test_equal_streams_take_turns(engine: Engine) -> None:
    client = Client(engine)
    client.send(settings({4: 1 << 20}), window_update(0, 1 << 20), client.head(1), client.head(3), client.head(5))
    content = b"x" * 160_000
    for stream_id in (1, 3, 5):
        client.adapter.respond(stream_id, Response(200, (), content), content, end=True)
    order = [frame.stream_id for frame in client.read() if isinstance(frame, DataFrame) and frame.data]
    assert set(order[:3]) == {1, 3, 5}
    assert {order.count(stream_id) for stream_id in (1, 3, 5)} == {10}
    half = order[:15]
    assert all(4 <= half.count(stream_id) <= 6 for stream_id in (1, 3, 5))


def test_a_whole_response_goes_out_at_once_where_it_fits(engine: Engine) -> None:
    client = Client(engine)
    client.send(settings({4: 10}), client.head(1), client.head(3), client.head(5, POST, end=False), client.head(7))
    assert not client.adapter.respond_whole(1, OK, b"eleven byte")
    assert client.adapter.respond_whole(1, OK, b"ten bytes.")
    assert not client.adapter.respond_whole(1, OK, b"")
    assert client.adapter.respond_whole(3, OK, b"")
    assert client.adapter.respond_whole(5, OK, b"early")
    assert not client.adapter.respond_whole(9, OK, b"hello")
    client.send(reset(7))
    assert not client.adapter.respond_whole(7, OK, b"hello")
    client.read()
    assert client.answers() == {1: (200, b"ten bytes.", True), 3: (200, b"", True), 5: (200, b"early", True)}
    client.lose_patience()
    client.read()
    assert client.resets() == {5: Http2Code.NO_ERROR}
    assert client.adapter.open_streams == 0


def test_a_whole_response_of_many_frames_takes_turns(engine: Engine) -> None:
    client = Client(engine)
    client.send(settings({4: 1 << 20}), window_update(0, 1 << 20), client.head(1), client.head(3))
    for stream_id in (1, 3):
        assert client.adapter.respond_whole(stream_id, OK, b"x" * 60_000)
    order = [frame.stream_id for frame in client.read() if isinstance(frame, DataFrame) and frame.data]
    assert set(order[:2]) == {1, 3}


def test_whole_responses_to_earlier_requests_come_before_the_goaway(engine: Engine) -> None:
    client = Client(engine)
    client.send(client.head(1), raw_frame(5, 0, 1))
    assert client.adapter.respond_whole(1, OK, b"hello")
    client.read()
    assert client.answers() == {1: (200, b"hello", True)}
    assert isinstance(client.frames[-1], GoAwayFrame)


def test_capacity_is_bounded_by_windows_and_by_what_waits(engine: Engine) -> None:
    client = Client(engine)
    client.send(settings({4: 1000}), client.head(1), client.head(3))
    client.adapter.respond(1, Response(200, (), b"", content_length=None), b"", end=False)
    assert client.adapter.capacity(1) == 1000
    client.adapter.write(1, b"x" * 400, end=False)
    assert client.adapter.capacity(1) == 600
    client.read()
    assert client.adapter.capacity(1) == 600
    client.adapter.write(1, b"x" * 600, end=False)
    client.read()
    assert client.adapter.capacity(1) == 0
    client.send(window_update(1, 1 << 20), window_update(0, 1 << 20))
    assert client.adapter.capacity(1) == LIMITS.response_buffer_bytes
    client.adapter.write(1, b"", end=True)
    client.read()
    assert client.adapter.capacity(1) == -1
    assert client.answers()[1] == (200, b"x" * 1000, True)
    assert client.adapter.capacity(99) == -1


def test_a_stream_without_window_does_not_hold_up_the_others(engine: Engine) -> None:
    client = Client(engine)
    client.send(settings({4: 0}), client.head(1), client.head(3), window_update(3, 1 << 20))
    content = b"x" * 60_000
    client.adapter.respond(1, Response(200, (), content), content, end=True)
    client.adapter.respond(3, Response(200, (), b""), b"", end=False)
    assert client.adapter.capacity(3) > 0
    client.adapter.write(3, b"y" * 60_000, end=True)
    client.read()
    assert client.answers() == {1: (200, b"", False), 3: (200, b"y" * 60_000, True)}


def test_the_largest_windows_are_no_fault(engine: Engine) -> None:
    client = Client(engine)
    client.send(client.head(1))
    assert client.send(settings({4: 2**31 - 1}), window_update(0, 2**31 - 1 - 65_535)) == []
    client.adapter.respond(1, OK, b"hello", end=True)
    client.read()
    assert client.answers()[1] == (200, b"hello", True)


@pytest.mark.parametrize("first", [window_update(1, 2**31 - 1 - 65_535), settings({4: 2**31 - 1})])
def test_a_window_that_overflows_in_small_steps_costs_its_stream(engine: Engine, first: bytes) -> None:
    client = Client(engine)
    client.send(client.head(1), client.head(3))
    assert client.send(first) == []
    assert outline(client.send(window_update(1, 1))) == [("aborted", 1, Http2Code.FLOW_CONTROL_ERROR, False)]
    client.adapter.respond(3, OK, b"hello", end=True)
    client.read()
    assert client.resets() == {1: Http2Code.FLOW_CONTROL_ERROR}
    assert client.answers() == {3: (200, b"hello", True)}


def test_many_small_updates_of_many_streams_are_no_fault(engine: Engine) -> None:
    client = Client(engine)
    for stream_id in range(1, 301, 2):
        assert len(client.send(client.head(stream_id), window_update(stream_id, 1 << 24))) == 1
        client.adapter.respond(stream_id, OK, b"hello", end=True)
        client.read()
    assert client.resets() == {}
    assert len(client.answers()) == 150


def test_output_comes_in_slices_of_about_the_limit(engine: Engine) -> None:
    client = Client(engine)
    client.send(settings({4: 1 << 20}), window_update(0, 1 << 20), client.head(1))
    content = b"x" * 200_000
    client.adapter.respond(1, Response(200, (), content), content, end=True)
    first = client.adapter.take_output(20_000)
    assert 0 < len(first) <= 20_000 + 16_393


# Ends of streams


def test_answer_before_the_end_of_the_request_is_followed_by_a_reset(engine: Engine) -> None:
    client = Client(engine)
    client.send(client.head(1, POST, end=False), data(1, b"abc"))
    client.adapter.respond(1, OK, b"hello", end=True)
    client.read()
    assert client.answers()[1] == (200, b"hello", True)
    assert client.resets() == {}
    assert client.send(data(1, b"discarded")) == []
    client.lose_patience()
    client.read()
    assert client.resets() == {1: Http2Code.NO_ERROR}
    assert client.adapter.open_streams == 0


def test_a_client_that_stops_when_it_is_answered_is_not_reset(engine: Engine) -> None:
    client = Client(engine)
    client.send(client.head(1, POST, end=False), data(1, b"abc"))
    client.adapter.respond(1, OK, b"hello", end=True)
    client.read()
    assert client.send(data(1, b"discarded"), data(1, end=True)) == []
    assert client.adapter.open_streams == 0
    client.lose_patience()
    client.read()
    assert client.resets() == {}


def test_few_streams_at_once_are_waited_for(engine: Engine) -> None:
    client = Client(engine)
    for stream_id in range(1, 41, 2):
        client.send(client.head(stream_id, POST, end=False))
        client.adapter.respond(stream_id, OK, b"hello", end=True)
    client.read()
    assert client.adapter.open_streams == DISCARDING_STREAMS
    assert sorted(client.resets()) == list(range(1, 41 - 2 * DISCARDING_STREAMS, 2))


def test_early_answer_is_not_cut_off_by_its_reset(engine: Engine) -> None:
    client = Client(engine)
    content = b"x" * 100_000
    client.send(client.head(1, POST, end=False))
    client.adapter.respond(1, Response(413, (), content), content, end=True)
    client.read()
    client.lose_patience()
    client.read()
    assert client.resets() == {}
    client.send(window_update(0, 1 << 20), window_update(1, 1 << 20))
    client.read()
    client.lose_patience()
    client.read()
    assert client.answers()[1] == (413, content, True)
    assert client.resets() == {1: Http2Code.NO_ERROR}


def test_request_that_ends_in_time_is_not_reset(engine: Engine) -> None:
    client = Client(engine)
    client.send(client.head(1, POST, end=False))
    client.adapter.respond(1, OK, b"hello", end=True)
    assert outline(client.send(data(1, b"abc", end=True))) == [("body", 1, b"abc"), ("end", 1, ())]
    client.read()
    assert client.answers()[1] == (200, b"hello", True)
    assert client.resets() == {}
    assert client.adapter.open_streams == 0


def test_body_that_is_under_way_after_a_reset_is_dropped_and_its_window_given_back(engine: Engine) -> None:
    client = Client(engine)
    client.send(client.head(1, POST, end=False))
    client.adapter.respond(1, OK, b"hello", end=True)
    client.read()
    client.lose_patience()
    client.read()
    assert client.resets() == {1: Http2Code.NO_ERROR}
    assert client.send(data(1, b"x" * 1000), data(1, b"x" * 500, pad=10), data(1, end=True)) == []
    (update,) = client.read()
    assert isinstance(update, WindowUpdateFrame)
    assert (update.stream_id, update.window_increment) == (0, 1511)
    assert outline(client.send(data(1, b"x"))) == [("failed", Http2Code.STREAM_CLOSED)]


def test_trailers_that_are_under_way_after_a_reset_keep_the_compression_state(engine: Engine) -> None:
    client = Client(engine)
    client.send(client.head(1, POST, end=False))
    client.adapter.reset(1, Http2Code.INTERNAL_ERROR)
    client.read()
    assert client.resets() == {1: Http2Code.INTERNAL_ERROR}
    trailers = client.head(1, [(b"x-new", b"value")])
    request = one_request(client.send(trailers, client.head(3, [*GET, (b"x-new", b"value")])))
    assert request.headers.get(b"x-new") == b"value"


def test_reset_by_the_client_aborts_the_stream(engine: Engine) -> None:
    client = Client(engine)
    client.send(client.head(1, POST, end=False), client.head(3))
    assert outline(client.send(reset(1, 8))) == [("aborted", 1, 8, True)]
    assert client.adapter.open_streams == 1
    client.adapter.respond(1, OK, b"hello", end=True)
    client.adapter.write(1, b"more", end=True)
    client.adapter.consumed(1, 10)
    client.adapter.reset(1, Http2Code.CANCEL)
    client.adapter.end_with_trailers(1, ((b"a", b"b"),))
    client.adapter.inform(1, 103, ())
    client.adapter.respond(3, OK, b"hello", end=True)
    client.read()
    assert client.answers() == {3: (200, b"hello", True)}
    assert client.resets() == {}


def test_our_reset_cuts_the_response(engine: Engine) -> None:
    client = Client(engine)
    client.send(client.head(1))
    client.adapter.respond(1, Response(200, (), b"", content_length=100), b"part", end=False)
    client.read()
    client.adapter.reset(1, Http2Code.INTERNAL_ERROR)
    client.read()
    assert client.answers()[1] == (200, b"part", False)
    assert client.resets() == {1: Http2Code.INTERNAL_ERROR}
    assert client.adapter.open_streams == 0


def test_end_of_input_aborts_open_requests_only(engine: Engine) -> None:
    client = Client(engine)
    client.send(client.head(1, POST, end=False), client.head(3))
    assert outline(client.adapter.receive_end()) == [("aborted", 1, Http2Code.CANCEL, True)]
    assert not client.adapter.closing
    client.adapter.respond(3, OK, b"hello", end=True)
    client.read()
    assert client.answers()[3] == (200, b"hello", True)
    assert client.adapter.closing


# Ends of connections


def test_a_goaway_never_names_a_later_stream_than_the_one_before(engine: Engine) -> None:
    client = Client(engine)
    client.adapter.goodbye()
    client.send(client.head(1, POST, end=False), reset(1), data(1, b""))
    client.read()
    assert [last_stream for last_stream, _ in client.goaways()] == [0, 0]


def test_a_malformed_head_after_goodbye_is_refused_like_any_other(engine: Engine) -> None:
    client = Client(engine)
    client.adapter.goodbye()
    assert client.send(client.head(1, GET[1:])) == []
    client.read()
    assert list(client.resets()) == [1]
    client.adapter.fail(Http2Code.INTERNAL_ERROR)
    client.read()
    assert [last_stream for last_stream, _ in client.goaways()] == [0, 0]


def test_goodbye_lets_open_streams_finish_and_refuses_new_ones(engine: Engine) -> None:
    client = Client(engine)
    client.send(client.head(1))
    client.adapter.goodbye()
    client.adapter.goodbye()
    client.read()
    assert client.goaways() == [(1, Http2Code.NO_ERROR)]
    assert client.send(client.head(3)) == []
    assert not client.adapter.closing
    client.adapter.respond(1, OK, b"hello", end=True)
    client.read()
    assert client.answers() == {1: (200, b"hello", True)}
    assert client.resets() == {3: Http2Code.REFUSED_STREAM}
    assert client.adapter.closing


def test_an_announced_shutdown_refuses_nothing_until_goodbye(engine: Engine) -> None:
    client = Client(engine)
    client.adapter.announce_shutdown()
    client.adapter.announce_shutdown()
    client.read()
    assert client.goaways() == [((1 << 31) - 1, Http2Code.NO_ERROR)]
    assert one_request(client.send(client.head(1))).stream_id == 1
    client.adapter.goodbye()
    client.adapter.announce_shutdown()
    client.adapter.respond(1, OK, b"hello", end=True)
    client.read()
    assert client.goaways()[-1] == (1, Http2Code.NO_ERROR)
    assert client.answers() == {1: (200, b"hello", True)}
    assert client.adapter.closing


def test_goodbye_on_an_idle_connection_closes_it(engine: Engine) -> None:
    client = Client(engine)
    client.adapter.goodbye()
    client.read()
    assert client.goaways() == [(0, Http2Code.NO_ERROR)]
    assert client.adapter.closing


def test_client_that_leaves_still_gets_its_answers(engine: Engine) -> None:
    client = Client(engine)
    client.send(client.head(1))
    assert outline(client.send(goaway(), goaway())) == [("leaving",)]
    client.adapter.respond(1, OK, b"hello", end=True)
    client.read()
    assert client.answers() == {1: (200, b"hello", True)}
    assert client.adapter.closing


def test_failing_sends_what_was_answered_and_then_goaway(engine: Engine) -> None:
    client = Client(engine)
    client.send(client.head(1))
    client.adapter.respond(1, OK, b"hello", end=True)
    client.adapter.fail(Http2Code.INTERNAL_ERROR)
    assert client.adapter.closing
    assert client.send(client.head(3)) == []
    client.read()
    assert client.answers() == {1: (200, b"hello", True)}
    assert client.goaways() == [(1, Http2Code.INTERNAL_ERROR)]


def test_earlier_requests_of_a_read_are_answered_before_a_connection_error(engine: Engine) -> None:
    client = Client(engine)
    events = client.send(client.head(1), client.head(3), raw_frame(6, 0, 5, b"12345678"), client.head(7))
    assert [event[0] for event in outline(events)] == ["request", "request", "failed"]
    client.adapter.respond(1, OK, b"hello", end=True)
    client.adapter.respond(3, OK, b"hello", end=True)
    client.read()
    assert client.answers() == {1: (200, b"hello", True), 3: (200, b"hello", True)}
    assert client.goaways() == [(3, Http2Code.PROTOCOL_ERROR)]
    assert client.read() == []


# Heads in pieces


def test_partial_head_is_seen(engine: Engine) -> None:
    client = Client(engine)
    frames = client.head(1, [*GET, (b"x-long", b"v" * 100)], split=[20, 30])
    seen = []
    events: list[Event] = []
    for piece in (b"", frames[:5], frames[5:40], frames[40:]):
        events += client.send(piece)
        seen.append(client.adapter.partial_head)
    assert seen == [False, True, True, False]
    assert one_request(events).headers.get(b"x-long") == b"v" * 100


def test_one_byte_at_a_time(engine: Engine) -> None:
    client = Client(engine, greet=False)
    stream = PREFACE + settings() + client.head(1, POST, end=False, split=[3]) + data(1, b"abc", end=True)
    events = [event for byte in stream for event in client.send(bytes([byte]))]
    assert [item[0] for item in outline(events)] == ["request", "body", "end"]


# Answers to control frames


def test_ping_is_answered(engine: Engine) -> None:
    client = Client(engine)
    client.send(ping(b"abcdefgh"))
    (answer,) = client.read()
    assert isinstance(answer, PingFrame)
    assert (answer.opaque_data, "ACK" in answer.flags) == (b"abcdefgh", True)


def test_our_compression_table_stays_small_whatever_the_client_offers(engine: Engine) -> None:
    client = Client(engine)
    client.decoder.max_allowed_table_size = 2**24
    client.send(settings({1: 2**24}))
    for stream_id in range(1, 401, 2):
        client.send(client.head(stream_id))
        client.adapter.respond(stream_id, Response(200, ((b"x-id", b"%050d" % stream_id),)), b"", end=True)
        client.read()
    table = client.decoder.header_table
    assert sum(32 + len(name) + len(value) for name, value in table.dynamic_entries) <= 4096


@pytest.mark.parametrize(
    ("frames", "updates"),
    [
        ([raw_frame(SETTINGS, 0, 0, struct.pack(">HIHI", 1, 0, 1, 4_096))], b"\x20\x3f\xe1\x1f"),
        ([settings({1: 0}), settings({1: 4_096})], b"\x20\x3f\xe1\x1f"),
        ([settings({1: 100}), settings({1: 100})], b"\x3f\x45"),
        ([settings({1: 100}), settings({1: 30}), settings({1: 50})], b"\x3e\x3f\x13"),
    ],
    ids=["twice in one frame", "in two frames", "the same again", "down and up"],
)
def test_the_smallest_compression_table_is_announced_and_then_the_last(
    engine: Engine, frames: list[bytes], updates: bytes
) -> None:
    """RFC 7541, section 4.2; nghttp ends the connection otherwise."""
    client = Client(engine)
    client.send(*frames, client.head(1))
    client.adapter.respond(1, OK, b"hello", end=True)
    (head,) = [frame for frame in client.read() if isinstance(frame, HeadersFrame)]
    assert head.data.startswith(updates)
    assert head.data[len(updates)] & 0xE0 != 0x20, "one more size"
