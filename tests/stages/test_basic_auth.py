"""Passwords: who comes in, who waits, who is told of, and what is remembered."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import argon2
import bcrypt
import pytest
import trio
import trio.testing

from securelight.model.errors import ConfigError, Refusal
from securelight.model.request import Facts
from securelight.pipeline.compile import BuildContext
from securelight.pipeline.stage import Deferred, Stage
from securelight.stages import basic_auth, login_failures, user_file
from securelight.stages.basic_auth import BasicAuthConfig, build, check
from tests.helpers import ThreadExchange, make_context, make_request

T = TypeVar("T")


@pytest.fixture(scope="module")
def hashes() -> dict[str, str]:
    cheap = argon2.PasswordHasher(time_cost=1, memory_cost=64, parallelism=1)  # the tests hash often
    return {
        "alice": bcrypt.hashpw(b"wonder:land", bcrypt.gensalt(4)).decode(),
        "bob": cheap.hash("builder"),
    }


class Events:
    """An event log that remembers."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, dict[str, Any]]] = []

    def info(self, event: str, **values: Any) -> None: ...
    def error(self, event: str, **values: Any) -> None: ...
    def warning(self, event: str, **values: Any) -> None:
        self.seen.append((event, values))


class Counting(ThreadExchange):
    """An exchange that counts how often a thread was asked for."""

    threads = 0

    async def in_thread(self, function: Callable[[], T]) -> T:
        Counting.threads += 1
        return await super().in_thread(function)


class Site:
    """A stage, and what it does to requests."""

    def __init__(self, folder: Path, hashes: dict[str, str], **settings: Any) -> None:
        self.path = folder / "users"
        self.write(hashes)
        self.events = Events()
        self.context: BuildContext = make_context(folder)
        self.context.events = self.events
        self.stage: Stage = build(BasicAuthConfig(file="users", delay_seconds=0, **settings), self.context)

    def write(self, hashes: dict[str, str]) -> None:
        """Put another file in the place of the one that is there."""
        fresh = self.path.with_suffix(".new")
        fresh.write_text("".join(f"{user}:{stored}\n" for user, stored in hashes.items()))
        fresh.chmod(0o600)
        fresh.replace(self.path)

    async def ask(self, line: bytes | None, address: str = "192.0.2.7") -> Facts | Refusal:
        facts = Facts(address)
        request = make_request(headers={} if line is None else {b"authorization": line})
        try:
            answer = self.stage(request, facts)
            if answer is not None:
                assert isinstance(answer, Deferred)
                exchange: Any = Counting(request, facts)
                assert await answer.run(exchange) is None
        except Refusal as refusal:
            return refusal
        return facts


def basic(user: str, password: str) -> bytes:
    return b"Basic " + b64encode(f"{user}:{password}".encode())


async def test_who_knows_a_password_comes_in_and_is_hashed_once(tmp_path: Path, hashes: dict[str, str]) -> None:
    site = Site(tmp_path, hashes)
    for user, password in (("alice", "wonder:land"), ("bob", "builder")):
        before = Counting.threads
        for _ in range(3):
            facts = await site.ask(basic(user, password))
            assert isinstance(facts, Facts)
            assert facts.user == user
        assert Counting.threads == before + 1
    assert site.events.seen == []


@pytest.mark.parametrize(
    "line",
    [
        None,
        b"",
        b"Basic",
        b"Basic !!!",
        b"Bearer abc",
        b"Basic " + b64encode(b"no colon"),
        b"Basic " + b64encode(b":no user"),
        b"Basic " + b64encode(b"\xff:x"),
        b"Basic " + b64encode(b"a\r\nb:x"),
        b"Basic " + b64encode(b"alice:wonder:land\0"),
        b"Basic " + b64encode(b"alice:" + b"x" * 2000),
    ],
)
async def test_without_a_password_there_is_a_challenge_and_no_event(
    tmp_path: Path, hashes: dict[str, str], line: bytes | None
) -> None:
    site = Site(tmp_path, hashes, realm="the club")
    refusal = await site.ask(line)
    assert isinstance(refusal, Refusal)
    assert refusal.status == 401
    assert refusal.fields == ((b"www-authenticate", b'Basic realm="the club", charset="UTF-8"'),)
    assert site.events.seen == []


@pytest.mark.parametrize(
    ("user", "password"), [("alice", "wrong"), ("nobody", "guess"), ("bob", ""), ("ALICE", "land")]
)
async def test_a_wrong_password_is_hashed_counted_and_told(
    tmp_path: Path, hashes: dict[str, str], user: str, password: str
) -> None:
    site = Site(tmp_path, hashes)
    before = Counting.threads
    for count in (1, 2):
        refusal = await site.ask(basic(user, password))
        assert isinstance(refusal, Refusal)
        assert refusal.status == 401
        event, values = site.events.seen[-1]
        assert event == "authentication failed"
        assert next(iter(values)) == "address"
        assert values == {"address": "192.0.2.7", "failures": count, "realm": "restricted", "user": user}
    assert Counting.threads == before + 2
    assert not password or password not in str(site.events.seen)


async def test_after_many_failures_an_address_is_not_worth_hashing_for(
    tmp_path: Path, hashes: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(login_failures, "MAXIMUM_FAILURES", 3)
    site = Site(tmp_path, {"alice": hashes["alice"]})
    assert isinstance(await site.ask(basic("alice", "wonder:land"), "2001:db8::9"), Facts)
    for _ in range(3):
        await site.ask(basic("alice", "wrong"), "2001:db8::1")
    before = Counting.threads
    refusal = await site.ask(basic("alice", "guess"), "2001:db8::2")  # the same /64
    assert isinstance(refusal, Refusal)
    assert refusal.status == 429
    assert Counting.threads == before
    assert isinstance(await site.ask(basic("alice", "wonder:land"), "2001:db8::2"), Facts)  # remembered
    refusal = await site.ask(basic("alice", "guess"), "2001:db8:1::1")
    assert isinstance(refusal, Refusal)
    assert refusal.status == 401


async def test_failures_are_answered_later_and_later(
    tmp_path: Path, hashes: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    monkeypatch.setattr(trio, "sleep", sleep)
    site = Site(tmp_path, {"alice": hashes["alice"]})
    site.stage = build(BasicAuthConfig(file="users", delay_seconds=0.5), site.context)
    for _ in range(6):
        await site.ask(basic("alice", "wrong"))
    assert slept == [0.5, 1.0, 2.0, 4.0, 8.0, 8.0]


async def test_a_flood_of_passwords_is_refused_beyond_a_number(
    tmp_path: Path, hashes: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(basic_auth, "WAITING", 2)
    site = Site(tmp_path, {"alice": hashes["alice"]})
    free = trio.Event()

    class Busy(ThreadExchange):
        async def in_thread(self, function: Callable[[], T]) -> T:
            await free.wait()
            return function()

    refused: list[int] = []

    async def guess(number: int) -> None:
        facts = Facts(f"192.0.2.{number}")
        request = make_request(headers={b"authorization": basic("alice", f"guess {number}")})
        answer = site.stage(request, facts)
        assert isinstance(answer, Deferred)
        busy: Any = Busy(request, facts)
        with pytest.raises(Refusal) as wrong:
            await answer.run(busy)
        refused.append(wrong.value.status)

    async with trio.open_nursery() as nursery:
        for number in range(2):
            nursery.start_soon(guess, number)
        await trio.testing.wait_all_tasks_blocked()
        late = await site.ask(basic("alice", "wonder:land"), "192.0.2.99")
        assert isinstance(late, Refusal)
        assert late.status == 503
        free.set()
    assert refused == [401, 401]
    assert isinstance(await site.ask(basic("alice", "wonder:land"), "192.0.2.99"), Facts)


async def test_a_new_password_ends_what_is_remembered_of_the_old_one(
    tmp_path: Path, hashes: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(user_file, "LOOK_SECONDS", 0.0)
    site = Site(tmp_path, hashes)
    assert isinstance(await site.ask(basic("alice", "wonder:land")), Facts)
    site.write({"alice": hashes["bob"]})
    assert isinstance(await site.ask(basic("alice", "wonder:land")), Refusal)
    assert isinstance(await site.ask(basic("alice", "builder")), Facts)
    site.write({"bob": hashes["bob"]})
    assert isinstance(await site.ask(basic("alice", "builder")), Refusal)


async def test_only_some_of_the_users_come_in(tmp_path: Path, hashes: dict[str, str]) -> None:
    site = Site(tmp_path, hashes, users=["bob"])
    for _ in range(2):
        refusal = await site.ask(basic("alice", "wonder:land"))
        assert isinstance(refusal, Refusal)
        assert refusal.status == 403
    assert isinstance(await site.ask(basic("bob", "builder")), Facts)


@pytest.mark.parametrize(
    ("settings", "fault"),
    [
        ({"file": "none"}, "cannot be read"),
        ({"file": "weak"}, "plain text"),
        ({"file": "users", "realm": 'a"b'}, "realm"),
        ({"file": "users", "users": ["mallory"]}, "'mallory' is not in"),
    ],
)
def test_bad_settings_are_named_and_never_built(
    tmp_path: Path, hashes: dict[str, str], settings: dict[str, Any], fault: str
) -> None:
    Site(tmp_path, hashes)
    (tmp_path / "weak").write_text("a:b\n")
    (tmp_path / "weak").chmod(0o600)
    config = BasicAuthConfig(**settings)
    assert [fault in message for message in check(config, tmp_path)] == [True]
    with pytest.raises(ConfigError):
        build(config, make_context(tmp_path))
