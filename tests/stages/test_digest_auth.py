"""Digest passwords: who comes in, who doesn't, and what is said of the settings."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest

from securelight.model.errors import ConfigError, Refusal
from securelight.model.request import Facts, Request
from securelight.pipeline.stage import Deferred, Rewritten
from securelight.stages import user_file
from securelight.stages.digest_auth import FEATURE, DigestAuthConfig, build, check, warnings
from securelight.stages.rewrite import RewriteConfig, RewriteRule, build as build_rewrite
from tests.helpers import ThreadExchange, make_context, make_request

REALM = "the club"


def digest(text: str, algorithm: str = "SHA-256") -> str:
    return (hashlib.sha256 if algorithm == "SHA-256" else hashlib.md5)(text.encode()).hexdigest()


def line(user: str, password: str, *, realm: str = REALM, algorithm: str = "SHA-256") -> str:
    return f"{user}:{realm}:{digest(f'{user}:{realm}:{password}', algorithm)}\n"


class Site:
    """A stage, and a client that knows Digest."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        self.path = folder / "users"
        self.write(line("alice", "wonder:land") + line("bob", "builder") + line("eve", "x", realm="other"))
        self.algorithm = settings.get("algorithm", "SHA-256")
        self.events: list[dict[str, Any]] = []
        context = make_context(folder)
        context.events = self
        self.stage = build(DigestAuthConfig(file="users", realm=REALM, delay_seconds=0, **settings), context)

    def info(self, event: str, **values: Any) -> None: ...
    def error(self, event: str, **values: Any) -> None: ...
    def warning(self, event: str, **values: Any) -> None:
        self.events.append({"event": event, **values})

    def write(self, text: str) -> None:
        fresh = self.path.with_suffix(".new")
        fresh.write_text(text)
        fresh.chmod(0o600)
        fresh.replace(self.path)

    async def ask(self, authorization: str | None, target: str = "/a?b=c", method: str = "GET") -> Facts | Refusal:
        headers = {} if authorization is None else {b"authorization": authorization.encode()}
        path, _, query = target.partition("?")
        request = make_request(method, path, headers, query=query.encode()).changed(target=target.encode())
        return await self.run(request, Facts("192.0.2.7"))

    async def run(self, request: Request, facts: Facts) -> Facts | Refusal:
        try:
            answer = self.stage(request, facts)
            if answer is not None:
                assert isinstance(answer, Deferred)
                exchange: Any = ThreadExchange(request, facts)
                await answer.run(exchange)
        except Refusal as refusal:
            return refusal
        return facts

    async def nonce(self) -> str:
        refusal = await self.ask(None)
        assert isinstance(refusal, Refusal)
        assert refusal.status == 401
        return challenge(refusal)["nonce"]

    def proof(self, user: str, password: str, nonce: str, **changes: str) -> str:
        method, realm = changes.pop("method", "GET"), changes.get("realm", REALM)
        says = {"username": user, "realm": realm, "nonce": nonce, "uri": "/a?b=c", "qop": "auth", "nc": "00000001"}
        says |= {"cnonce": "0a4f113b", "algorithm": self.algorithm, **changes}
        secret = digest(f"{user}:{realm}:{password}", self.algorithm)
        asked = digest(f"{method}:{says['uri']}", self.algorithm)
        parts = (secret, nonce, says["nc"], says["cnonce"], says["qop"], asked)
        says.setdefault("response", digest(":".join(parts), self.algorithm))
        return "Digest " + ", ".join(f'{name}="{value}"' for name, value in says.items())


def challenge(refusal: Refusal) -> dict[str, str]:
    [(name, value)] = refusal.fields
    assert name == b"www-authenticate"
    assert value.startswith(b"Digest ")
    return {key: quoted or token for key, quoted, token in re.findall(r'(\w+)=(?:"([^"]*)"|([^, ]+))', value.decode())}


@pytest.mark.parametrize("algorithm", ["SHA-256", "MD5"])
async def test_who_knows_a_password_comes_in(tmp_path: Path, algorithm: str) -> None:
    site = Site(tmp_path)
    if algorithm == "MD5":
        site.write(line("alice", "wonder:land", algorithm="MD5"))
        site = Site.__new__(Site)
        site.algorithm, site.events = "MD5", []
        context = make_context(tmp_path)
        site.stage = build(DigestAuthConfig(file="users", realm=REALM, algorithm="MD5"), context)
    refusal = await site.ask(None)
    assert isinstance(refusal, Refusal)
    said = challenge(refusal)
    assert (said["realm"], said["qop"], said["algorithm"], said.get("stale")) == (REALM, "auth", algorithm, None)
    for number in range(1, 4):
        facts = await site.ask(site.proof("alice", "wonder:land", said["nonce"], nc=f"{number:08x}"))
        assert isinstance(facts, Facts)
        assert facts.user == "alice"
    assert site.events == []


async def test_an_answer_that_was_overheard_opens_nothing_again(tmp_path: Path) -> None:
    site = Site(tmp_path)
    nonce = await site.nonce()
    heard = site.proof("alice", "wonder:land", nonce)
    assert isinstance(await site.ask(heard), Facts)
    refusal = await site.ask(heard)
    assert isinstance(refusal, Refusal)
    assert (refusal.status, challenge(refusal)["stale"]) == (401, "true")
    for target, method in (("/other?b=c", "GET"), ("/a", "GET")):
        refusal = await site.ask(site.proof("alice", "wonder:land", nonce, nc="00000002"), target, method)
        assert isinstance(refusal, Refusal)
        assert refusal.status == 400
    refusal = await site.ask(site.proof("alice", "wonder:land", nonce, nc="00000003"), method="DELETE")
    assert isinstance(refusal, Refusal)
    assert (refusal.status, "stale" in challenge(refusal)) == (401, False)
    assert isinstance(await site.ask(site.proof("alice", "wonder:land", nonce, nc="00000003")), Facts)
    whole = site.proof("alice", "wonder:land", nonce, nc="00000004", uri="https://a.test/a?b=c")
    assert isinstance(await site.ask(whole), Facts)


@pytest.mark.parametrize(
    ("user", "password"), [("alice", "wrong"), ("nobody", "guess"), ("eve", "x"), ("ALICE", "wonder:land")]
)
async def test_a_wrong_password_is_counted_and_told(tmp_path: Path, user: str, password: str) -> None:
    site = Site(tmp_path)
    nonce = await site.nonce()
    for count in (1, 2):
        refusal = await site.ask(site.proof(user, password, nonce, nc=f"{count:08x}"))
        assert isinstance(refusal, Refusal)
        assert (refusal.status, "stale" in challenge(refusal)) == (401, False)
        assert list(site.events[-1].items()) == [
            ("event", "authentication failed"),
            ("address", "192.0.2.7"),
            ("failures", count),
            ("realm", REALM),
            ("user", user),
        ]
    assert isinstance(await site.ask(site.proof("bob", "builder", nonce)), Facts)


@pytest.mark.parametrize(
    "changes", [{"realm": "other"}, {"algorithm": "MD5"}, {"algorithm": "SHA-256-sess"}, {"qop": "auth-int"}]
)
async def test_what_is_not_for_us_is_asked_again_without_an_event(tmp_path: Path, changes: dict[str, str]) -> None:
    site = Site(tmp_path)
    refusal = await site.ask(site.proof("alice", "wonder:land", await site.nonce(), **changes))
    assert isinstance(refusal, Refusal)
    assert (refusal.status, "stale" in challenge(refusal)) == (401, False)
    assert site.events == []


async def test_a_nonce_of_somebody_else_is_stale_for_who_knows_the_password_alone(tmp_path: Path) -> None:
    site = Site(tmp_path)
    refusal = await site.ask(site.proof("alice", "wonder:land", "AAAA"))
    assert isinstance(refusal, Refusal)
    assert challenge(refusal)["stale"] == "true"
    refusal = await site.ask(site.proof("alice", "guess", "AAAA"))
    assert isinstance(refusal, Refusal)
    assert "stale" not in challenge(refusal)


async def test_a_request_that_a_rule_changes_is_proved_once(tmp_path: Path) -> None:
    site = Site(tmp_path)
    rewrite = build_rewrite(RewriteConfig([RewriteRule("/b")]), make_context(tmp_path))
    proof = site.proof("alice", "wonder:land", await site.nonce())
    request = make_request("GET", "/a", {b"authorization": proof.encode()}, query=b"b=c").changed(target=b"/a?b=c")
    facts = Facts("192.0.2.7")
    assert await site.run(request, facts) is facts
    changed = rewrite(request, facts)
    assert isinstance(changed, Rewritten)
    assert changed.request.target == b"/b?b=c"
    assert await site.run(changed.request, facts) is facts
    assert isinstance(await site.run(request, Facts("192.0.2.7")), Refusal)


async def test_a_changed_file_is_taken_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(user_file, "LOOK_SECONDS", 0.0)
    site = Site(tmp_path)
    nonce = await site.nonce()
    assert isinstance(await site.ask(site.proof("alice", "wonder:land", nonce)), Facts)
    site.write(line("alice", "new"))
    assert isinstance(await site.ask(site.proof("alice", "wonder:land", nonce, nc="00000002")), Refusal)
    assert isinstance(await site.ask(site.proof("alice", "new", nonce, nc="00000003")), Facts)
    site.write("broken")
    assert isinstance(await site.ask(site.proof("alice", "new", nonce, nc="00000004")), Facts)


async def test_only_some_of_the_users_come_in(tmp_path: Path) -> None:
    site = Site(tmp_path, users=["bob"])
    nonce = await site.nonce()
    refusal = await site.ask(site.proof("alice", "wonder:land", nonce))
    assert isinstance(refusal, Refusal)
    assert refusal.status == 403
    assert isinstance(await site.ask(site.proof("bob", "builder", nonce, nc="00000002")), Facts)


@pytest.mark.parametrize(
    ("text", "keys", "fault"),
    [
        (None, {}, "cannot be read"),
        ("alice\n", {}, "line 1 is not user:realm:hash"),
        ("alice:the club:secret\n", {}, "64 hexadecimal digits"),
        (line("alice", "x", algorithm="MD5"), {}, "no users of the realm 'the club' with SHA-256"),
        (line("alice", "x"), {"algorithm": "MD5"}, "--md5"),
        (line("alice", "x", realm="other"), {}, "no users of the realm"),
        (line("alice", "x") * 2, {}, "line 2: 'alice' is there twice"),
        (line("alice", "x"), {"users": ["mallory"]}, "'mallory' is not in"),
        (line("alice", "x"), {"realm": 'a"b'}, "without quotes"),
        (line("alice", "x"), {"when": {}}, "fits every request"),
    ],
)
def test_bad_settings_are_named_and_never_built(
    tmp_path: Path, text: str | None, keys: dict[str, Any], fault: str
) -> None:
    if text is not None:
        (tmp_path / "users").write_text(text)
        (tmp_path / "users").chmod(0o600)
    settings = msgspec.convert({"file": "users", "realm": REALM, **keys}, DigestAuthConfig)
    (found,) = check(settings, tmp_path)
    assert fault in found
    assert "secret" not in found
    with pytest.raises(ConfigError):
        build(settings, make_context(tmp_path))


def test_check_warns_of_what_is_weak() -> None:
    assert FEATURE.name == "digest_auth"
    assert len(warnings(DigestAuthConfig("users", REALM))) == 1
    assert "MD5" in warnings(DigestAuthConfig("users", REALM, algorithm="MD5"))[1]
