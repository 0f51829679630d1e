"""Both HTTP/2 engines on the same input: they accept the same requests, refuse the same, and fail for the same reasons.

Known differences, each argued:

- `requests before a compression error`: nghttp2 does not send the answers of requests that came in the same run of
  frames as a header block that cannot be decompressed, or as one too large to go on, or as DATA beyond a window, so
  they are not reported (and GOAWAY says so). Here every frame is given in a read of its own, where there is no
  difference.
- A connection window that overflows, found by the engines: nghttp2 then sends nothing any more but GOAWAY, not even
  what it had ready. Events and GOAWAY are the same.
- What was ready to be sent on a stream that is then reset: h2 has it in its buffer, nghttp2 lets the reset overtake it.
- `credit`: with nghttp2 padding is given back at once and is not part of it; it is not compared.
- The order of events of one read: faults that nghttp2 finds by itself (malformed heads, bodies of another length than
  announced) come after the other events of their run. The same events are reported, in the same order by stream.
- Credit of the last frame of a body that is too short is lost inside nghttp2; its adapter widens the connection's
  window instead, so the client is given as much in either case (tested in test_http2_adapters).
- A header list of more than twice the allowed size that is malformed, too, costs the connection on h2, which counts all
  of it first, and the stream on nghttp2, which stops looking at its first fault.
- Compression faults may differ in which malformed block is noticed (`COMPRESSION_FAULTS`): RFC 7541 leaves open
  whether a Huffman-coded string with superfluous padding, or a table size update in a place where it does nothing, is
  looked at. Random blocks are therefore compared by their engines' verdict only when both can decode them; everything
  else uses blocks that hpack has encoded.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings as hypothesis_settings, strategies as st

from securelight.model.errors import Http2Code
from securelight.model.request import Request
from securelight.model.response import Response
from securelight.protocol.events import BodyReceived, RequestRefused, StreamAborted
from securelight.protocol.h2_adapter import H2Adapter
from securelight.protocol.nghttp2_adapter import Nghttp2Adapter
from tests.protocol.http2_support import (
    ENGINES,
    GET,
    POST,
    PREFACE,
    Client,
    data,
    goaway,
    outline,
    ping,
    raw_frame,
    reset,
    settings,
    window_update,
)

if TYPE_CHECKING:
    from securelight.protocol.http2_adapter import Http2Adapter

COMPRESSION_FAULTS = {Http2Code.COMPRESSION_ERROR}

Step = tuple[str, Any]
"""What one side does next: `frame` with its bytes, `head` with (stream, fields, end, cut), `answer`, `read`."""


def play(engine: type[Http2Adapter], steps: list[Step]) -> tuple[list[Any], dict[int, Any], dict[int, int], Any]:
    """(events, answers, resets, goaways) of a dialogue."""
    client = Client(engine)
    events: list[Any] = []
    for kind, what in steps:
        if kind == "head":
            stream_id, fields, end, cut = what
            received = [event for frame in _frames(client.head(stream_id, fields, end=end, split=cut))
                        for event in client.send(frame)]  # fmt: skip
        elif kind == "frame":
            received = client.send(what)
        elif kind == "read":
            client.read()
            continue
        else:
            stream_id, content, end = what
            client.adapter.respond(stream_id, Response(200, (), content), content, end=end)
            client.read()  # or a reset would overtake the answer on nghttp2
            continue
        for event in received:
            if isinstance(event, BodyReceived):
                client.adapter.consumed(event.stream_id, event.credit)
        events += outline(received)
        if any(isinstance(event, StreamAborted) for event in received):
            client.read()  # or a reset of the client may make that of nghttp2 needless
    client.read()
    return events, client.answers(), client.resets(), client.goaways()


def _frames(stream: bytes) -> list[bytes]:
    result = []
    while stream:
        length = 9 + int.from_bytes(stream[:3], "big")
        result.append(stream[:length])
        stream = stream[length:]
    return result


STREAMS = st.sampled_from([1, 3, 5, 7, 9])
TOKENS = st.sampled_from([
    b"", b"x", b"X", b"a b", b"cookie", b"host", b"te", b"connection", b"content-length", b"priority", b":path",
    b":foo", b"expect", b"x-a", b"transfer-encoding",
])  # fmt: skip
VALUES = st.one_of(
    st.sampled_from([
        b"", b"0", b"3", b"03", b"+3", b"3, 3", b"trailers", b"a.test", b"b.test", b" a", b"a\t", b"a\0", b"\x80\xff",
        b"u=1, i", b"100-continue",
    ]),
    st.binary(max_size=6),
)  # fmt: skip
PSEUDO = st.fixed_dictionaries({}, optional={
    b":method": st.sampled_from([b"GET", b"POST", b"CONNECT", b"OPTIONS", b"get", b"G T", b"", b"FOO"]),
    b":scheme": st.sampled_from([b"https", b"http", b"HTTPS", b"", b"1", b"ftp", b"h s"]),
    b":path": st.one_of(
        st.sampled_from([b"/", b"*", b"", b"a", b"/a b", b"/%zz", b"/\xff", b"/a#b", b"http://a.test/", b"/../"]),
        st.binary(max_size=4).map(lambda tail: b"/" + tail),
    ),
    b":authority": st.one_of(
        st.sampled_from([b"a.test", b"", b"a b", b"a@b", b"[::1]:80", b"a:99999", b"A.TEST", b"-", b"a.test.", b":"]),
        st.binary(max_size=4),
    ),
})  # fmt: skip
EXTRAS = st.lists(st.tuples(TOKENS, VALUES), max_size=3)


@st.composite
def heads(draw: st.DrawFn) -> list[tuple[bytes, bytes]]:
    """Mostly right, with something wrong in it now and then."""
    pseudo = dict(GET) | draw(PSEUDO)
    fields = list(pseudo.items())
    if draw(st.integers(0, 9)) == 0:
        fields.pop(draw(st.integers(0, 3)))
    fields += draw(EXTRAS)
    if draw(st.integers(0, 9)) == 0:
        fields = draw(st.permutations(fields))
    return fields


UPLOAD = [*POST, (b"content-length", b"4")]
REFUSED = [*UPLOAD, (b"expect", b"something")]
ORDERLY = ["head", "head", "head", "data", "data", "trailers", "update", "reset", "window", "leave", "answer", "answer",
           "read"]  # fmt: skip
TRAILERS = [(b"x-checksum", b"1")]
STEPS = st.lists(
    st.one_of(
        st.tuples(
            st.just("head"),
            st.tuples(STREAMS, st.one_of(st.just(GET), st.just(POST), st.just(UPLOAD), st.just(TRAILERS), heads()),
                      st.booleans(), st.sampled_from([(), (1,), (2, 5)])),
        ),
        st.tuples(st.just("frame"), st.builds(data, STREAMS, st.binary(max_size=5), end=st.booleans(),
                                              pad=st.sampled_from([None, 0, 7]))),
        st.tuples(st.just("frame"), st.builds(window_update, st.sampled_from([0, 1, 3, 5]),
                                              st.sampled_from([0, 1, 70_000, 2**30, 2**31 - 1]))),
        st.tuples(st.just("frame"), st.builds(reset, STREAMS, st.integers(0, 14))),
        st.tuples(st.just("frame"), st.sampled_from([
            ping(), goaway(), settings(), settings({4: 10}), settings({4: 0}), settings({4: 2**31 - 1}),
            settings({1: 0}), settings({5: 20_000}), settings({9: 0}),
            raw_frame(4, 1, 0), raw_frame(2, 0, 1, b"\0\0\0\3\x10"), raw_frame(0x33, 0, 0, b"?"),
            raw_frame(16, 0, 0, b"\0\0\0\1u=0"),
        ])),
        st.tuples(st.just("answer"), st.tuples(STREAMS, st.sampled_from([b"", b"hello", b"x" * 70_000]),
                                               st.booleans())),
        st.tuples(st.just("read"), st.none()),
    ),
    max_size=14,
)  # fmt: skip


CONTENT = st.sampled_from([b"", b"ab", b"abcd", b"abcde"])
BODIES = st.sampled_from([b"", b"hello", b"x" * 70_000])


@st.composite
def orderly_steps(draw: st.DrawFn) -> list[Step]:
    """A client that opens its streams in order and does little on others: the ends of requests and answers meet."""
    steps: list[Step] = []
    next_id = 1
    for _ in range(draw(st.integers(1, 16))):
        stream_id = draw(st.sampled_from(range(1, max(next_id, 3), 2)))
        match "head" if next_id == 1 else draw(st.sampled_from(ORDERLY)):
            case "head":
                fields = draw(st.sampled_from([GET, POST, UPLOAD, UPLOAD, REFUSED]))
                steps.append(("head", (next_id, fields, draw(st.integers(0, 3)) == 0, ())))
                next_id += 2
            case "data":
                pad = draw(st.sampled_from([None, None, 3]))
                steps.append(("frame", data(stream_id, draw(CONTENT), end=draw(st.booleans()), pad=pad)))
            case "trailers":
                steps.append(("head", (stream_id, TRAILERS, draw(st.integers(0, 3)) > 0, ())))
            case "update":
                increment = draw(st.sampled_from([1, 70_000, 2**30, 2**31 - 1 - 65_535]))
                steps.append(("frame", window_update(draw(st.sampled_from([0, stream_id, stream_id])), increment)))
            case "reset":
                steps.append(("frame", reset(stream_id)))
            case "window":
                steps.append(("frame", settings({4: draw(st.sampled_from([0, 10, 65_535, 2**31 - 1]))})))
            case "leave":
                steps.append(("frame", goaway()))
            case "answer":
                steps.append(("answer", (stream_id, draw(BODIES), draw(st.integers(0, 4)) > 0)))
            case _:
                steps.append(("read", None))
    return steps


@given(heads(), st.booleans())
@hypothesis_settings(max_examples=400, deadline=None)
def test_same_verdict_on_every_head(fields: list[tuple[bytes, bytes]], end: bool) -> None:
    steps: list[Step] = [("head", (1, fields, end, ())), ("read", None)]
    assert play(H2Adapter, steps) == play(Nghttp2Adapter, steps)


@pytest.mark.parametrize("name", [b":method", b":scheme", b":path", b":authority", b"host", b"x-a", b"te", b"x-\xff"])
def test_same_verdict_on_every_byte_of_a_value(name: bytes) -> None:
    for byte in range(256):
        for value in (bytes([byte]), b"a%cb" % byte, b"/%c" % byte, b"a%c" % byte, b"%ca" % byte):
            fields = [(key, old) for key, old in GET if key != name]
            fields.insert(0 if name[:1] == b":" else len(fields), (name, value))
            steps: list[Step] = [("head", (1, fields, True, ())), ("read", None)]
            assert play(H2Adapter, steps) == play(Nghttp2Adapter, steps), (name, value)


def test_same_verdict_on_every_byte_of_a_name() -> None:
    for byte in range(256):
        for name in (bytes([byte]), b"a%cb" % byte):
            steps: list[Step] = [("head", (1, [*GET, (name, b"x")], True, ())), ("read", None)]
            assert play(H2Adapter, steps) == play(Nghttp2Adapter, steps), name


@given(st.one_of(STEPS, orderly_steps()))
@hypothesis_settings(max_examples=800, deadline=None)
def test_same_dialogue(steps: list[Step]) -> None:
    first, second = play(H2Adapter, steps), play(Nghttp2Adapter, steps)
    assert first[0] == second[0]
    assert first[3] == second[3]
    if ("failed", Http2Code.FLOW_CONTROL_ERROR) in first[0]:
        return
    assert first[2] == second[2]
    broken = {event[1] for event in first[0] if event[0] == "aborted"}
    answers = [{key: whole for key, whole in side[1].items() if key not in broken} for side in (first, second)]
    assert answers[0] == answers[1]


@given(st.sampled_from(ENGINES), STEPS, st.lists(st.integers(0, 2000), max_size=6))
@hypothesis_settings(max_examples=200, deadline=None)
def test_cutting_the_input_anywhere_gives_the_same_events(
    engine: type[Http2Adapter], steps: list[Step], cuts: list[int]
) -> None:
    client = Client(engine, greet=False)
    stream = PREFACE + settings()
    for kind, what in steps:
        if kind == "head":
            stream += client.head(what[0], what[1], end=what[2], split=what[3])
        elif kind == "frame":
            stream += what
    whole = outline(client.send(stream))
    bounds = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    other = Client(engine, greet=False)
    pieces = []
    for start, stop in itertools.pairwise(bounds):
        pieces += outline(other.send(stream[start:stop]))
    # Faults that nghttp2 finds by itself come at the end of what was given to it at once.
    assert sorted(pieces, key=_by_stream) == sorted(whole, key=_by_stream)


def _by_stream(item: tuple[Any, ...]) -> int:
    return item[1] if item[0] not in ("failed", "leaving") else 1 << 32


@given(st.sampled_from(ENGINES), st.binary(max_size=400), st.booleans())
@hypothesis_settings(max_examples=300, deadline=None)
def test_random_bytes_never_raise(engine: type[Http2Adapter], garbage: bytes, greet: bool) -> None:
    client = Client(engine, greet=greet)
    for event in client.send(garbage):
        if isinstance(event, (Request, RequestRefused)):
            client.adapter.respond(event.stream_id, Response(200, (), b"x"), b"x", end=True)
    client.read()


@pytest.mark.parametrize("engine", ENGINES)
def test_a_malformed_head_is_judged_when_all_of_it_has_come(engine: type[Http2Adapter]) -> None:
    client = Client(engine)
    assert outline(client.send(raw_frame(1, 0, 1, b"\0\0\0"))) == []
    assert outline(client.send(raw_frame(9, 0, 1, b"\x82"))) == []
    assert outline(client.send(raw_frame(9, 4, 1, b"\x84"))) == [("aborted", 1, Http2Code.PROTOCOL_ERROR, False)]


RANDOM_FRAMES = st.lists(
    st.tuples(
        st.integers(0, 17),
        st.one_of(st.integers(0, 255), st.sampled_from([0, 1, 4, 5])),
        st.one_of(st.integers(0, 5), st.just(0x80000001)),
        st.one_of(st.binary(max_size=30), st.binary(min_size=4, max_size=4), st.just(b"\x82\x84\x87\x41\x01a")),
    ),
    max_size=12,
)


@given(RANDOM_FRAMES)
@hypothesis_settings(max_examples=300, deadline=None)
def test_random_frames_never_raise_and_fail_alike(frames: list[tuple[int, int, int, bytes]]) -> None:
    verdicts = []
    for engine in ENGINES:
        client = Client(engine)
        events = []
        for kind, flags, stream_id, payload in frames:
            events += outline(client.send(raw_frame(kind, flags, stream_id, payload)))
        client.read()
        verdicts.append(events)
    if not any(event == ("failed", code) for events in verdicts for event in events for code in COMPRESSION_FAULTS):
        assert verdicts[0] == verdicts[1]
