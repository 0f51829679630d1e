"""The signals of the server: events of the supervisor's loop, and held back while a worker is forked.

A forked child has the parent's handlers and wake-up descriptor until it says otherwise. A Ctrl-C that came just then
would be counted twice by the supervisor, which takes the second one for "stop at once".
"""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import socket
from collections.abc import Callable, Iterator
from types import FrameType

HANDLED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGCHLD)


class Signals:
    """Delivers the handled signals to a selector's loop; a context manager.

    Args:
        selector: where their descriptor is registered, with a callback as data.
        came: called in the loop with the number of each signal.
    """

    def __init__(self, selector: selectors.BaseSelector, came: Callable[[int], None]) -> None:
        self._selector = selector
        self._came = came
        self._reader, self._writer = socket.socketpair()
        self._reader.setblocking(False)
        self._writer.setblocking(False)

    def __enter__(self) -> Signals:
        def noted(_number: int, _frame: FrameType | None) -> None:
            pass  # the wake-up descriptor carries the number to the loop

        self._before = {number: signal.signal(number, noted) for number in HANDLED}
        signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)
        self._selector.register(self._reader, selectors.EVENT_READ, self._readable)
        return self

    def __exit__(self, *_: object) -> None:
        signal.set_wakeup_fd(-1)
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._selector.unregister(self._reader)
        self.close()

    def close(self) -> None:
        """Close the descriptors; all that a forked worker does with this object, after `reset_in_worker`."""
        self._reader.close()
        self._writer.close()

    def _readable(self, _reader: socket.socket) -> None:
        for number in self._reader.recv(64):
            self._came(number)


@contextlib.contextmanager
def held() -> Iterator[None]:
    """The handled signals wait until the end of the block."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, HANDLED)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _nothing(_number: int, _frame: FrameType | None) -> None:
    """Ignores a signal."""


def reset_in_worker() -> None:
    """In a worker forked within `held`: the supervisor decides, and a terminal sends its Ctrl-C to all of us."""
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGUSR1):
        signal.signal(number, _nothing)  # not SIG_IGN, which programs that the worker starts would inherit
    for number in (signal.SIGTERM, signal.SIGCHLD):
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, HANDLED)


def has_terminal() -> bool:
    """Whether this process has a controlling terminal that is still there."""
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC))
    except OSError:
        return False
    return True
