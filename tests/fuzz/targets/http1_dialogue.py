"""HTTP/1 connections, deep: the input is a list of what peer and server do, on both engines at once.

Both have to report and to send the same, to the byte; a client of h11 keeps account (tests/protocol/http1_witness.py).
"""

from __future__ import annotations

from tests.protocol.http1_support import Maker
from tests.protocol.http1_witness import Witness
from tests.protocol.test_http1_state_machine import BAD, BODIES, GOOD, BothMachine

STEPS = 40
MESSAGES = [*GOOD, *BAD, *BODIES]
ENGINES: tuple[Maker, ...] = BothMachine.engines
SEND, MESSAGE, READ, GO_ON, END_INPUT, RESPOND, RESPOND_PART, WRITE, END, TRAILERS, INFORM, UPGRADE, CANCEL, GOODBYE, \
    ANNOUNCE = range(15)  # fmt: skip


def step(kind: int, argument: int = 0, content: bytes = b"") -> bytes:
    """One action."""
    return bytes([kind, argument, len(content)]) + content


SEEDS = [
    step(MESSAGE, 0) + step(RESPOND, 5) + step(MESSAGE, 1) + step(RESPOND, 5) + step(GOODBYE),
    step(MESSAGE, 6) + step(SEND, 3, b"hello") + step(RESPOND_PART, 9) + step(WRITE, 200) + step(END, 2),
    step(MESSAGE, 7) + step(INFORM) + step(MESSAGE, 31) + step(RESPOND_PART) + step(TRAILERS),
    step(MESSAGE, 9) + step(SEND, 0, b"5;a=b\r\nhello\r\n") + step(RESPOND, 1) + step(SEND, 0, b"0\r\nX: y\r\n\r\n"),
    step(MESSAGE, 11) + step(RESPOND, 1) + step(GO_ON) + step(ANNOUNCE) + step(RESPOND, 1) + step(READ, 9),
    step(MESSAGE, 4) + step(UPGRADE) + step(SEND, 0, b"\x81\0") + step(WRITE, 3) + step(END_INPUT) + step(CANCEL),
    step(SEND, 4, b"GET / HTTP/1.1\r\nHost: a.test\r\nX: y\r\n\r\n") + step(RESPOND, 0),
]
WORDS = [step(kind, argument) for kind in range(15) for argument in (0, 3, 9)] + GOOD[:3] + BODIES[3:7]


def fuzz(data: bytes) -> None:
    sides = [Witness(engine) for engine in ENGINES]
    place = 0
    for _ in range(STEPS):
        if place + 3 > len(data):
            break
        kind, argument, size = data[place : place + 3]
        content = data[place + 3 : place + 3 + size]
        place += 3 + size
        said = [_act(side, kind % 15, argument, content) for side in sides]
        assert said[0] == said[1]
        assert sides[0].look() == sides[1].look()
        assert sides[0].adapter.closing == sides[1].adapter.closing
    for side in sides:
        side.finish()


def _act(side: Witness, kind: int, argument: int, content: bytes) -> list[object]:
    adapter = side.adapter
    if kind == SEND:
        return side.send(content, argument)
    if kind == MESSAGE:
        return side.send(MESSAGES[argument % len(MESSAGES)], len(content))
    if kind == READ:
        return side.read(argument + 1)
    if kind == GO_ON:
        return side.go_on()
    if kind == END_INPUT:
        return side.end_input()
    if kind == RESPOND:
        side.respond(b"b" * argument * argument, end=True, status=(200, 204, 304, 404)[len(content) % 4])
    elif kind == RESPOND_PART:
        side.respond(b"b" * argument, end=False, announced=content[0] if content else None)
    elif kind in (WRITE, END):
        side.write(b"c" * argument * argument, end=kind == END)
    elif kind == TRAILERS:
        side.end_with_trailers()
    elif kind == INFORM:
        side.inform()
    elif kind == UPGRADE:
        side.upgrade()
    elif kind == CANCEL:
        side.cancel()
    elif kind == GOODBYE:
        adapter.goodbye()
    else:
        adapter.announce_shutdown()
    return []
