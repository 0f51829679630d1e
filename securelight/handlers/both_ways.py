"""An answer from behind us, and the request body on its way there, at the same time.

A server behind us that takes no more of the body may still answer, before the body is whole, too. What goes wrong on
the client's side ends both.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import trio

from securelight.model.errors import Refusal
from securelight.upstream.faults import UpstreamFault

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from securelight.pipeline.exchange import Exchange

T = TypeVar("T")


async def answer_while_uploading(upload: Callable[[], Awaitable[None]], answer: Callable[[], Awaitable[T]]) -> T:
    """What `answer` gives; `upload` ends with it at the latest.

    Errors: what `answer` raises; before that, what `upload` raises, but for UpstreamFault: then the reading side sees
    the answer that was sent before, or why there is none.
    """
    answers: list[T] = []
    answer_faults: list[Exception] = []
    client_faults: list[Exception] = []
    async with trio.open_nursery() as nursery:

        async def guarded_upload() -> None:
            try:
                await upload()
            except UpstreamFault:
                pass
            except Exception as error:
                client_faults.append(error)
                nursery.cancel_scope.cancel()

        nursery.start_soon(guarded_upload)
        try:
            answers.append(await answer())
        except Exception as error:
            answer_faults.append(error)
        nursery.cancel_scope.cancel()
    for found in answers:
        return found
    raise (client_faults or answer_faults)[0]


async def pass_body(
    exchange: Exchange,
    length: int | None,
    send: Callable[[bytes], Awaitable[None]],
    idle_seconds: float,
    late: Callable[[], Exception],
    send_now: Callable[[bytes], bytes] | None = None,
) -> None:
    """Pass the request body on, piece by piece.

    Args:
        exchange: whose body it is.
        length: as announced; None if it was not.
        send: to the server behind us.
        idle_seconds: for each piece.
        late: makes the error for a server that takes longer.
        send_now: sends what goes without waiting, and gives what `send` has to send; most pieces need no more.

    Errors: Refusal 400 for a body that is not as long as announced; what `exchange`, `send` and `late` have.
    """
    left = length
    while data := await exchange.receive():
        if left is not None:
            left -= len(data)
            if left < 0:
                raise Refusal(400, "The request body is longer than announced.")
        if send_now is not None and not (data := send_now(data)):
            continue
        with trio.move_on_after(idle_seconds) as scope:
            await send(data)
        if scope.cancelled_caught:
            raise late()
    if left:
        raise Refusal(400, "The request body is shorter than announced.")
