"""A server behind the proxy that restarts under load: requests that were not sent wait for it; none is sent twice."""

from __future__ import annotations

import socket
import threading
from collections import Counter
from functools import partial
from typing import TYPE_CHECKING

import pytest

from tests.server.processes import wait_until
from tests.wire.clients import Http1, Http2
from tests.wire.raw_upstream import Conversation, RawUpstream, Seen
from tests.wire.server_process import running, write_config

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.certificates import TestCertificates

RESTARTS = 3
PER_LIFE = 20
BODY = b"an order"


def take_an_order(_upstream: RawUpstream, conversation: Conversation, seen: Seen) -> bool:
    conversation.read_body(seen)
    conversation.answer(b"taken")
    return True


class Customer(threading.Thread):
    """Sends one POST after the other, each with a target of its own, until it is told to stop.

    Attributes:
        answers: the status of each.
        begun: how many it has begun.
        may_begin: cleared by a test that wants it to rest between two.
        rests: it has the answers to all that it has begun, and begins no other until it may.
    """

    def __init__(self, connect: Callable[[], Http1 | Http2], name: str) -> None:
        super().__init__()
        self.over = threading.Event()
        self.may_begin = threading.Event()
        self.may_begin.set()
        self.rests = False
        self.answers: dict[str, int] = {}
        self.begun = 0
        self._connect = connect
        self._prefix = name

    def target(self, number: int) -> str:
        """Of its `number`th request."""
        return f"/{self._prefix}/{number}"

    def run(self) -> None:
        """Order."""
        client = self._connect()
        try:
            while not self.over.is_set():
                if not self.may_begin.is_set():
                    self.rests = True
                    self.may_begin.wait(60)
                    self.rests = False
                self.begun += 1
                target = self.target(self.begun)
                self.answers[target] = status = client.request("POST", target, {}, BODY).status
                if status != 200:  # it may have closed the connection
                    client.close()
                    client = self._connect()
        finally:
            client.close()


@pytest.mark.parametrize("spool", [False, True], ids=["streamed", "spooled"])
def test_an_order_that_was_not_sent_waits_and_none_is_sent_twice(
    tmp_path: Path, certificates: TestCertificates, engine: str, spool: bool
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port = int(sock.getsockname()[1])
    table = f'[site.proxy]\nupstreams = ["http://127.0.0.1:{port}"]\ntry_seconds = 60\nretries = 5\n'
    if spool:
        (tmp_path / "spool").mkdir()
        table += '[site.proxy.spool]\nwhen = "always"\ndirectory = "spool"\n'
    write_config(tmp_path, certificates, table, engine=engine)
    lives = [RawUpstream({"/": take_an_order}, port=port)]
    customers: list[Customer] = []
    unsent: set[str] = set()

    def answered() -> int:
        return sum(len(one.answers) for one in customers)

    def have_answers(wanted: int) -> bool:
        return answered() >= wanted

    def all_rest(those: list[Customer]) -> bool:
        return all(one.rests for one in those)

    def have_begun(nexts: dict[Customer, int]) -> bool:
        return all(one.begun >= number for one, number in nexts.items())

    with running(tmp_path) as server:
        for kind, number in ((Http1, 1), (Http2, 2), (Http1, 3), (Http2, 4)):
            customers.append(Customer(partial(kind, server.port, certificates.ca), f"{kind.__name__}-{number}"))
        patient = customers[:2]
        try:
            for one in customers:
                one.start()
            for _ in range(RESTARTS):
                wait_until(partial(have_answers, answered() + PER_LIFE))
                for one in patient:
                    one.may_begin.clear()
                wait_until(partial(all_rest, patient))
                lives[-1].close()
                # Nothing listens: what the patient ones begin now can't have been sent. The others were not stopped.
                nexts = {one: one.begun + 1 for one in patient}
                for one in patient:
                    one.may_begin.set()
                wait_until(partial(have_begun, nexts))
                unsent.update(one.target(number) for one, number in nexts.items())
                lives.append(RawUpstream({"/": take_an_order}, port=port))
            wait_until(partial(have_answers, answered() + PER_LIFE))
        finally:
            for one in customers:
                one.over.set()
                one.may_begin.set()
            for one in customers:
                one.join(60)
            lives[-1].close()

    statuses = {target: status for one in customers for target, status in one.answers.items()}
    seen = Counter(one.path for life in lives for one in life.requests)
    whole = Counter(one.path for life in lives for one in life.requests if one.whole)
    assert len(unsent) == RESTARTS * len(patient)
    assert {statuses[target] for target in unsent} == {200}
    assert set(seen.values()) == {1}, [target for target, count in seen.items() if count > 1]
    assert all(whole[target] == 1 for target, status in statuses.items() if status == 200)
    lost = [target for target, status in statuses.items() if status != 200]
    assert len(lost) <= RESTARTS * (len(customers) - len(patient)), (
        "only those that were under way when the server ended"
    )
    assert {statuses[target] for target in lost} <= {502}
