"""Conditions and rules over the wire, on both protocols and engines: routes, rewriting, fields, repeated heads."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import pytest

from tests.server.processes import wait_until
from tests.wire.clients import Http2
from tests.wire.conftest import Dial
from tests.wire.server_process import ServerProcess, serving, write_config

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.certificates import TestCertificates
    from tests.wire.clients import Client

SITE = """
root = "site"
trusted_proxies = ["127.0.0.1"]

[[site.redirect.rule]]
when = { path_regex = "^/blog/(?P<year>[0-9]{4})/(?P<slug>[a-z-]+)$" }
to = "/posts/{slug}?y={year}"
status = 301

[[site.rewrite.rule]]
when = { path = ["/pretty/*"], path_regex = "^/pretty/(?P<page>.+)$" }
to = "/app/{page}"

[[site.rewrite.rule]]
when = { path_prefix = ["/loop"] }
to = "/loop{path}"
repeat = true

[site.request_headers]
set = { x-client = "{client_address}" }
remove = ["x-secret"]

[[site.early_hints.rule]]
when = { path_prefix = ["/app"] }
link = ["</style.css>; rel=preload; as=style"]

[[site.route]]
path = "/"
when = { header = { x-beta = "yes" }, path = ["/index.html"] }
respond = { body = "beta" }

[[site.route]]
path = "/"
when = { client = ["198.51.100.0/24"] }
respond = { body = "office" }

[[site.route]]
path = "/app"
app = "rules_app:app"
"""
APP = """
async def app(scope, receive, send):
    if scope["type"] != "http":
        raise RuntimeError("no lifespan")
    headers = {name.decode(): value.decode() for name, value in scope["headers"]}
    seen = (scope["path"], scope["raw_path"].decode(), headers.get("x-client", "-"), headers.get("x-secret", "-"))
    body = " ".join(seen)
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": body.encode()})
"""


@pytest.fixture(scope="module")
def server(
    engine: str, tmp_path_factory: pytest.TempPathFactory, certificates: TestCertificates
) -> Iterator[ServerProcess]:
    directory = tmp_path_factory.mktemp(f"rules-{engine}")
    (directory / "site").mkdir()
    (directory / "site" / "index.html").write_text("home")
    (directory / "rules_app.py").write_text(APP)
    write_config(directory, certificates, SITE, engine=engine)
    with serving(directory) as process:
        yield process


def test_a_route_is_chosen_by_its_condition_each_time_anew(client: Client) -> None:
    for _ in range(3):
        assert client.request("GET", "/index.html").body == b"home"
        assert client.request("GET", "/index.html", {"x-beta": "yes"}).body == b"beta"
        assert client.request("GET", "/index.html", {"x-beta": "no"}).body == b"home"


def test_the_client_is_who_the_trusted_proxy_says(client: Client) -> None:
    for _ in range(3):
        assert client.request("GET", "/", {"x-forwarded-for": "198.51.100.7"}).body == b"office"
        assert client.request("GET", "/", {"x-forwarded-for": "198.51.100.7, 203.0.113.1"}).body == b"home"


def test_a_redirect_with_captures(client: Client) -> None:
    answer = client.request("GET", "/blog/2024/spring-is-here?utm=x")
    assert (answer.status, answer.headers["location"]) == (301, "/posts/spring-is-here?y=2024")


def test_an_application_sees_what_a_rule_has_made_and_the_log_what_was_asked(
    client: Client, server: ServerProcess
) -> None:
    target = f"/pretty/one%20two-{client.protocol.replace('/', '')}?q=1"
    answer = client.request("GET", target, {"x-secret": "s", "x-client": "forged"})
    path = target.removeprefix("/pretty").partition("?")[0]
    assert answer.body.decode() == f"/app{path.replace('%20', ' ')} /app{path} 127.0.0.1 -"
    server.wait_for_access(f'"GET {target} ')


def test_a_rewrite_loop_is_a_500_and_its_rule_is_told_once(client: Client, server: ServerProcess) -> None:
    for _ in range(3):
        answer = client.request("GET", "/loop/x")
        assert answer.status == 500
        assert b"rule" not in answer.body
    event = server.wait_for_event("rewrite loop")
    assert event["rule"].endswith("securelight.toml: site[0].rewrite.rule[1]")
    assert server.count_events(event="rewrite loop") == 1


def test_hints_come_first_where_clients_understand_them(client: Client) -> None:
    answer = client.request("GET", "/app/page")
    assert answer.status == 200
    hints = [(status, fields["link"]) for status, fields in answer.interim]
    assert hints == ([(103, "</style.css>; rel=preload; as=style")] if isinstance(client, Http2) else [])


def answers(client: Client, path: str, body: bytes) -> bool:
    return client.request("GET", path).body == body


def test_a_file_that_comes_and_goes_changes_the_answer_of_the_same_head(
    engine: str, tmp_path_factory: pytest.TempPathFactory, certificates: TestCertificates
) -> None:
    directory = tmp_path_factory.mktemp(f"spa-{engine}")
    (directory / "site").mkdir()
    (directory / "site" / "index.html").write_text("page")
    rules = """
root = "site"
[[site.rewrite.rule]]
when = { method = ["GET", "HEAD"], not = { file_exists = "site" } }
to = "/index.html"
"""
    write_config(directory, certificates, rules, engine=engine)
    with serving(directory) as process:
        dial = Dial(process, certificates)
        for client in (dial.h1(), dial.h2()):
            for _ in range(3):
                assert client.request("GET", "/users/7").body == b"page"
        (directory / "site" / "users").mkdir()
        (directory / "site" / "users" / "7").write_text("file")
        for client in (dial.h1(), dial.h2()):
            wait_until(partial(answers, client, "/users/7", b"file"), 15)
        dial.close()
