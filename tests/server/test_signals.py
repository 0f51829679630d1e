from __future__ import annotations

import os
import selectors
import signal

from securelight.server.signals import HANDLED, Signals, held, reset_in_worker
from tests.helpers import open_descriptors


def test_signals_come_to_the_loop_and_the_handlers_of_before_come_back() -> None:
    before = {number: signal.getsignal(number) for number in HANDLED}
    descriptors = open_descriptors()
    came: list[int] = []
    with selectors.DefaultSelector() as selector:
        with Signals(selector, came.append):
            os.kill(os.getpid(), signal.SIGTERM)
            os.kill(os.getpid(), signal.SIGHUP)
            for key, _mask in selector.select(5):
                key.data(key.fileobj)
        assert not selector.get_map()
    assert came == [signal.SIGTERM, signal.SIGHUP]
    assert {number: signal.getsignal(number) for number in HANDLED} == before
    assert open_descriptors() == descriptors


def test_a_signal_to_a_child_that_was_just_forked_is_not_heard_by_its_parent() -> None:
    came: list[int] = []
    with selectors.DefaultSelector() as selector, Signals(selector, came.append):
        with held():
            child = os.fork()
            if child == 0:
                os.kill(os.getpid(), signal.SIGINT)  # waits until it is nobody's business any more
                reset_in_worker()
                os._exit(7)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
        for key, _mask in selector.select(5):
            key.data(key.fileobj)
    assert set(came) == {signal.SIGCHLD}
