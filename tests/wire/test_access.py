"""Passwords and rate limits over the wire, on both protocols and engines."""

from __future__ import annotations

import hashlib
import re
import shutil
import signal
import subprocess
from base64 import b64encode
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import bcrypt
import pytest

from tests.wire.clients import Http1
from tests.wire.server_process import ServerProcess, serving, write_config

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.certificates import TestCertificates
    from tests.wire.clients import Client
    from tests.wire.conftest import Dial

FILTER = Path(__file__).parents[2] / "examples" / "fail2ban" / "securelight.conf"
SITE = """
root = "site"

[[site.route]]
path = "/private"
root = "private"
basic_auth = { file = "users", delay_seconds = 0 }

[[site.route]]
path = "/old"
root = "private"
digest_auth = { file = "digests", realm = "the club", delay_seconds = 0 }
[[site.route.rewrite.rule]]
when = { path = ["/old/none"] }
to = "/old/index.html"

[[site.route]]
path = "/each"
respond = { body = "each" }
basic_auth = { file = "users", delay_seconds = 0 }
[[site.route.rate_limit.rule]]
requests = 2
seconds = 3600
by = "user"

[[site.route]]
path = "/pictures"
respond = { body = "a picture" }
referer = { hosts = ["friend.test"] }

[[site.route]]
path = "/slow"
respond = { body = "slow" }
[[site.route.rate_limit.rule]]
requests = 3
seconds = 3600
by = "header:x-key"
"""


@pytest.fixture(scope="module")
def server(
    engine: str, tmp_path_factory: pytest.TempPathFactory, certificates: TestCertificates
) -> Iterator[ServerProcess]:
    directory = tmp_path_factory.mktemp(f"access-{engine}")
    for name in ("site", "private"):
        (directory / name).mkdir()
        (directory / name / "index.html").write_text(name)
    (directory / "users").write_text(
        "alice:"
        + bcrypt.hashpw(b"wonderland", bcrypt.gensalt(4)).decode()
        + "\n"
        + "bob:"
        + bcrypt.hashpw(b"builder", bcrypt.gensalt(4)).decode()
        + "\n"
    )
    (directory / "users").chmod(0o600)
    secret = hashlib.sha256(b"alice:the club:wonderland").hexdigest()
    (directory / "digests").write_text(f"alice:the club:{secret}\n")
    (directory / "digests").chmod(0o600)
    write_config(directory, certificates, SITE, engine=engine)
    with serving(directory) as process:
        yield process


def basic(text: str) -> dict[str, str]:
    return {"authorization": "Basic " + b64encode(text.encode()).decode()}


def test_a_password_opens_its_route_and_no_request_without_it(client: Client, server: ServerProcess) -> None:
    for _ in range(2):
        refused = client.request("GET", "/private/")
        assert (refused.status, refused.headers["www-authenticate"]) == (
            401,
            'Basic realm="restricted", charset="UTF-8"',
        )
        answer = client.request("GET", "/private/", basic("alice:wonderland"))
        assert (answer.status, answer.body) == (200, b"private")
        assert client.request("GET", "/").body == b"site"
    server.wait_for_access(" - alice [")


def test_wrong_passwords_are_events_that_fail2ban_reads(client: Client, server: ServerProcess) -> None:
    hostile = 'x", "address": "203.0.113.9", "event": "authentication failed'
    before = server.count_events(event="authentication failed")
    for text in ("alice:wrong", f"{hostile}:x"):
        assert client.request("GET", "/private/", basic(text)).status == 401
    server.wait_for_count(before + 2, event="authentication failed")
    [expression] = re.findall(r"^failregex = (.*)$", FILTER.read_text(), re.MULTILINE)
    matcher = re.compile(expression.replace("<HOST>", r"(?P<host>[\w.:-]+)"))
    lines = [line for line in server.events_path.read_text().splitlines() if "authentication failed" in line]
    found = [matcher.fullmatch(line) for line in lines]
    assert [match["host"] for match in found if match] == ["127.0.0.1"] * len(lines)
    assert "wrong" not in server.events_path.read_text()


def test_fail2ban_itself_reads_the_filter(client: Client, server: ServerProcess) -> None:
    if shutil.which("fail2ban-regex") is None:
        pytest.skip("fail2ban-regex is not installed (Debian: fail2ban)")
    hostile = 'x", "address": "203.0.113.9", "failures": 1, "realm": "r", "user": "y", "event": "authentication failed'
    before = server.count_events(event="authentication failed")
    for text in ("alice:wrong", f"{hostile}:x", 'a" <203.0.113.9> \\":x'):
        assert client.request("GET", "/private/", basic(text)).status == 401
    server.wait_for_count(before + 3, event="authentication failed")
    command = ["fail2ban-regex", "--out", "ip", str(server.events_path), str(FILTER)]
    found = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout.split()
    assert found == ["127.0.0.1"] * server.count_events(event="authentication failed")


@pytest.fixture(params=["--http1.1", "--http2"])
def curl(request: pytest.FixtureRequest, server: ServerProcess, certificates: TestCertificates) -> Callable[..., str]:
    """curl, which knows Digest: the statuses of its requests, and what came."""
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")

    def run(path: str, *options: str) -> str:
        urls = [f"https://localhost:{server.port}{one}" for one in path.split()]
        command = ["curl", "-sS", "--max-time", "60", request.param, "--cacert", str(certificates.ca), "--digest"]
        shown = ["-w", " %{http_code} "]
        return subprocess.run(
            [*command, *shown, *options, *urls], capture_output=True, text=True, timeout=90, check=True
        ).stdout

    return run


def test_a_client_that_knows_digest_comes_in(curl: Callable[..., str], server: ServerProcess) -> None:
    assert curl("/old/ /old/?a=b /old/none", "-u", "alice:wonderland").split() == ["private", "200"] * 3
    server.wait_for_access(" - alice [")
    for user in ("alice:wrong", "nobody:wonderland"):
        assert curl("/old/", "-u", user).split()[-1] == "401"
    assert curl("/old/", "-u", "alice:wonderland", "-X", "POST").split()[-1] == "405"


def test_any_worker_takes_a_nonce_of_another_and_no_count_twice(tmp_path: Path, certificates: TestCertificates) -> None:
    secret = hashlib.sha256(b"alice:club:x").hexdigest()
    (tmp_path / "digests").write_text(f"alice:club:{secret}\n")
    (tmp_path / "digests").chmod(0o600)
    site = 'respond = { body = "in" }\ndigest_auth = { file = "digests", realm = "club" }'
    write_config(tmp_path, certificates, site, workers=2)

    def field(count: int, nonce: str) -> dict[str, str]:
        asked = hashlib.sha256(b"GET:/").hexdigest()
        proof = hashlib.sha256(f"{secret}:{nonce}:{count:08x}:c:auth:{asked}".encode()).hexdigest()
        said = f'Digest username="alice", realm="club", nonce="{nonce}", uri="/", qop=auth, nc={count:08x}, cnonce="c"'
        return {"authorization": f'{said}, response="{proof}", algorithm=SHA-256'}

    with serving(tmp_path) as process:

        def ask(nonce: str, *counts: int) -> list[int]:
            """The statuses of these counts, on a connection of its own, which one of the workers has."""
            with closing(Http1(process.port, certificates.ca)) as client:
                return [client.request("GET", "/", field(count, nonce)).status for count in counts]

        with closing(Http1(process.port, certificates.ca)) as client:
            challenge = client.request("GET", "/", field(1, "AAAA")).headers["www-authenticate"]
        [nonce] = re.findall(r'nonce="([^"]+)"', challenge)
        assert [ask(nonce, count) for count in range(1, 13)] == [[200]] * 12
        assert [ask(nonce, 12) for _ in range(12)] == [[401]] * 12

        counts = range(13, 43)
        with ThreadPoolExecutor(6) as pool:
            found = list(pool.map(lambda _: ask(nonce, *counts), range(6)))
        for count, statuses in zip(counts, zip(*found, strict=True), strict=True):
            assert sorted(statuses) == [200] + [401] * 5, count

        process.send_signal(signal.SIGHUP)
        process.wait_for_event("reloaded")
        assert [ask(nonce, count) for count in (42, 43, 43)] == [[401], [200], [401]]


def test_what_an_onlooker_heard_opens_nothing(client: Client, curl: Callable[..., str]) -> None:
    said = curl("/old/", "-u", "alice:wonderland", "-v", "--stderr", "-")
    [heard] = re.findall(r"(?im)^> authorization: (Digest .*?)\r?$", said)
    found = client.request("GET", "/old/", {"authorization": heard})
    assert found.status == 401
    assert "stale=true" in found.headers["www-authenticate"]
    found = client.request("GET", "/old/", {"authorization": heard.replace("nc=00000001", "nc=00000002")})
    assert found.status == 401
    assert "stale" not in found.headers["www-authenticate"]


def test_each_user_has_a_rate_and_guesses_cost_nobody_anything(dial: Dial) -> None:
    clients = (dial.h1(), dial.h2())

    def statuses(text: str, count: int) -> list[int]:
        return [clients[number % 2].request("GET", "/each", basic(text)).status for number in range(count)]

    assert statuses("alice:wrong", 4) == [401] * 4
    assert statuses("alice:wonderland", 4) == [200, 200, 429, 429]
    assert statuses("bob:builder", 3) == [200, 200, 429]


def test_other_sites_do_not_embed_our_pictures(client: Client, server: ServerProcess) -> None:
    for _ in range(2):
        for referer, status in (
            (f"https://localhost:{server.port}/page", 200),
            ("https://friend.test/", 200),
            ("https://evil.test/", 403),
            ("https://localhost.evil.test/", 403),
        ):
            assert client.request("GET", "/pictures", {"referer": referer}).status == status
        assert client.request("GET", "/pictures").status == 200


def test_more_requests_than_the_rate_allows_wait(client: Client, engine: str) -> None:
    key = {"x-key": f"{engine}-{client.protocol}"}
    answers = [client.request("GET", "/slow", key) for _ in range(4)]
    assert [answer.status for answer in answers] == [200, 200, 200, 429]
    assert [answer.headers["ratelimit"].split(";")[1] for answer in answers] == ["r=2", "r=1", "r=0", "r=0"]
    assert 1000 < int(answers[3].headers["retry-after"]) <= 1200
    assert client.request("GET", "/slow", {"x-key": key["x-key"] + "-other"}).status == 200
