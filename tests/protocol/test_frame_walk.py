"""The walk by itself: what it lets through, what it reports, and that cutting its input anywhere changes nothing."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings as hypothesis_settings, strategies as st

from securelight.model.errors import ConnectionFault, Http2Code
from securelight.protocol.flood import Flood
from securelight.protocol.frame_findings import DoubtfulUpdate, DroppedData, Finding, Leaving, StreamBreach
from securelight.protocol.frame_walk import FrameWalk
from securelight.protocol.http2_frames import MAX_FRAME_BYTES
from tests.protocol.http2_support import (
    LIMITS,
    PREFACE,
    Clock,
    data,
    goaway,
    ping,
    raw_frame,
    reset,
    settings,
    window_update,
)


def greeted(*, priorities: bool = True) -> FrameWalk:
    walk = FrameWalk(LIMITS, Flood(LIMITS, Clock()), priorities=priorities)
    assert list(walk.walk(PREFACE + settings())) == [PREFACE + settings()]
    return walk


def head(stream_id: int, *, end: bool = True) -> bytes:
    return raw_frame(1, 5 if end else 4, stream_id, b"\x82")


def test_whole_frames_pass_as_one_run() -> None:
    walk = greeted()
    frames = head(1, end=False) + data(1, b"abc") + ping() + data(1, b"", end=True) + head(3)
    (run,) = walk.walk(frames)
    assert run is frames
    assert walk.frames == 5
    assert walk.last_stream_id == 3


def test_a_frame_is_held_until_it_is_whole() -> None:
    walk = greeted()
    frames = head(1) + ping()
    assert list(walk.walk(frames[:12])) == [head(1)]
    assert list(walk.walk(frames[12:-1])) == []
    assert list(walk.walk(frames[-1:])) == [ping()]


def test_a_frame_that_is_too_large_is_not_waited_for() -> None:
    walk = greeted()
    with pytest.raises(ConnectionFault) as caught:
        list(walk.walk((MAX_FRAME_BYTES + 1).to_bytes(3, "big") + b"\0\0\0\0\0\x01"))
    assert caught.value.code == Http2Code.FRAME_SIZE_ERROR


def test_a_header_block_counts_as_one_frame() -> None:
    walk = greeted()
    assert len(list(walk.walk(raw_frame(1, 1, 1, b"\x82") + raw_frame(9, 0, 1, b"\x84")))) == 1
    assert walk.frames == 1  # the engine is asked about it even before its end
    assert walk.partial_head
    assert len(list(walk.walk(raw_frame(9, 4, 1, b"\x87")))) == 1
    assert walk.frames == 1
    assert not walk.partial_head


def test_what_engines_must_not_see_is_reported_in_order() -> None:
    walk = greeted()
    findings = list(
        walk.walk(
            head(1) + window_update(1, 0) + ping() + raw_frame(0x42, 0, 0) + ping() + goaway() + goaway()
            + data(1, b"late") + window_update(1, 2**31 - 1)
        )
    )  # fmt: skip
    assert findings == [
        head(1),
        StreamBreach(1, Http2Code.PROTOCOL_ERROR, "WINDOW_UPDATE of zero"),
        ping(),
        ping(),
        Leaving(),
        StreamBreach(1, Http2Code.STREAM_CLOSED, "DATA after END_STREAM", 4),
        DoubtfulUpdate(1, 2**31 - 1, window_update(1, 2**31 - 1)),
    ]


def test_what_comes_before_a_fault_is_given_out_first() -> None:
    walk = greeted()
    findings = walk.walk(head(1) + ping() + head(2) + head(3))
    assert next(findings) == head(1) + ping()
    with pytest.raises(ConnectionFault):
        next(findings)
    assert walk.frames == 2


def test_data_of_a_cut_stream_is_dropped_and_accounted_for() -> None:
    walk = greeted()
    list(walk.walk(head(1, end=False) + data(1, b"abc")))
    walk.cut(1)
    assert list(walk.walk(data(1, b"abc") + data(1, b"", pad=9))) == [DroppedData(3), DroppedData(10)]
    # The trailers pass, because they change the compression state; then it is over.
    assert list(walk.walk(head(1))) == [head(1)]
    with pytest.raises(ConnectionFault) as caught:
        list(walk.walk(head(1)))
    assert caught.value.code == Http2Code.STREAM_CLOSED


def test_the_peers_reset_ends_the_memory_of_a_cut_stream() -> None:
    walk = greeted()
    list(walk.walk(head(1, end=False)))
    walk.cut(1)
    assert list(walk.walk(reset(1))) == []
    assert list(walk.walk(reset(1))) == [reset(1)]


def test_memory_of_cut_streams_is_bounded() -> None:
    walk = greeted()
    count = 2 * LIMITS.concurrent_streams + 1
    for stream_id in range(1, 2 * count + 1, 2):
        list(walk.walk(head(stream_id, end=False)))
        walk.cut(stream_id)
    assert list(walk.walk(data(3, b"x"))) == [DroppedData(1)]
    (breach,) = walk.walk(data(1, b"x"))
    assert isinstance(breach, StreamBreach)


def test_priority_update_is_for_engines_that_know_it() -> None:
    update = raw_frame(16, 0, 0, b"\0\0\0\1u=1")
    assert list(greeted(priorities=True).walk(head(1) + update)) == [head(1) + update]
    assert list(greeted(priorities=False).walk(head(1) + update)) == [head(1)]
    assert list(greeted(priorities=True).walk(update)) == []


FRAMES = st.lists(
    st.one_of(
        st.builds(head, st.sampled_from([1, 3, 5, 7, 9, 2]), end=st.booleans()),
        st.builds(data, st.sampled_from([1, 3, 5]), st.binary(max_size=40), end=st.booleans()),
        st.builds(window_update, st.integers(0, 5), st.sampled_from([0, 1, 1 << 30, 2**31 - 1])),
        st.builds(reset, st.integers(0, 7)),
        st.builds(
            raw_frame,
            st.integers(0, 17),
            st.sampled_from([0, 1, 4, 5, 8, 0x2D, 0xFF]),
            st.integers(0, 7),
            st.one_of(st.binary(max_size=20), st.just(b"12345678"), st.just(b"1234"), st.just(b"")),
        ),
    ),
    max_size=20,
)


def walk_all(pieces: list[bytes]) -> tuple[bytes, list[Finding], str]:
    """(all bytes that were let through, everything else, the fault)."""
    walk = FrameWalk(LIMITS, Flood(LIMITS, Clock()), priorities=True)
    passed = b""
    others: list[Finding] = []
    try:
        for piece in pieces:
            for finding in walk.walk(piece):
                if isinstance(finding, bytes):
                    passed += finding
                else:
                    others.append(finding)
    except ConnectionFault as fault:
        return passed, others, f"{fault.code} {fault}"
    return passed, others, ""


@given(FRAMES, st.lists(st.integers(0, 400), max_size=8))
@hypothesis_settings(max_examples=300, deadline=None)
def test_cutting_the_input_anywhere_changes_nothing(frames: list[bytes], cuts: list[int]) -> None:
    stream = PREFACE + settings() + b"".join(frames)
    bounds = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    pieces = [stream[start:stop] for start, stop in itertools.pairwise(bounds)]
    assert walk_all(pieces) == walk_all([stream])


@given(st.binary(max_size=300), st.booleans())
@hypothesis_settings(max_examples=300, deadline=None)
def test_random_bytes_only_ever_give_a_connection_fault(garbage: bytes, after_preface: bool) -> None:
    walk_all([(PREFACE + settings() if after_preface else b"") + garbage])


LONE_FRAMES: st.SearchStrategy[bytes] = st.builds(
    lambda kind, flags, stream_id, payload, cut: raw_frame(kind, flags, stream_id, payload)[:cut],
    st.sampled_from([0, 1, 1, 1, 9]),
    st.sampled_from([5, 5, 5, 4, 1, 0, 0x25, 0xD, 0x85]),
    st.sampled_from([0, 1, 2, 3, 5, 5, 7, 0x80000007, 2**31 - 1]),
    st.sampled_from([b"", b"\x82\x84", b"x" * 16_384, b"x" * 16_385, raw_frame(6, 0, 0, b"12345678")]),
    st.sampled_from([None, None, 5, 9, 10]),
)


RUNS = st.one_of(
    st.lists(LONE_FRAMES, min_size=1, max_size=3).map(b"".join).filter(bool),
    st.integers(1, 3).map(lambda count: b"".join(head(1 + 2 * number) for number in range(count))),
)


@given(st.sampled_from([b"", head(1), head(3), raw_frame(1, 1, 3), head(3)[:5], head(3, end=False)]), RUNS)
@hypothesis_settings(max_examples=500, deadline=None)
def test_heads_that_are_taken_at_a_glance_are_ones_that_the_walk_lets_through(before: bytes, run: bytes) -> None:
    walk, other = greeted(), greeted()
    for each in (walk, other):
        list(each.walk(before))
    if walk.takes_heads(run):
        assert list(other.walk(run)) == [run]
    assert (walk.frames, walk.last_stream_id, walk.partial_head) == (
        other.frames, other.last_stream_id, other.partial_head
    )  # fmt: skip


def test_heads_on_one_stream_after_the_other_are_taken_at_a_glance() -> None:
    walk = greeted()
    list(walk.walk(head(1)))
    assert walk.takes_heads(head(3) + head(5) + head(7))
    assert (walk.frames, walk.last_stream_id) == (3, 7)
    assert not walk.takes_heads(head(7))
    assert not walk.takes_heads(head(9)[:-1])
    assert walk.takes_heads(head(9))


def test_nothing_is_taken_at_a_glance_before_the_preface_and_settings() -> None:
    walk = FrameWalk(LIMITS, Flood(LIMITS, Clock()), priorities=True)
    assert not walk.takes_heads(head(1))
    assert list(walk.walk(PREFACE)) == [PREFACE]
    assert not walk.takes_heads(head(1))
