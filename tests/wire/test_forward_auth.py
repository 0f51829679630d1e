"""Forward auth: over the wire with a server that decides, one behind, and clients that claim to be somebody."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

import pytest

from securelight.protocol.websocket import accept_key
from tests.certificates import make_test_certificates
from tests.wire.clients import Client, Http1, Http2
from tests.wire.conftest import Dial
from tests.wire.raw_upstream import Conversation, RawUpstream, Seen
from tests.wire.server_process import ServerProcess, running, serving, write_config
from tests.wire.websocket_client import ask_to_open

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.certificates import TestCertificates


def uri(seen: Seen) -> str:
    return (seen.get("x-forwarded-uri") or "").partition("?")[0]


def decide(upstream: RawUpstream, conversation: Conversation, seen: Seen) -> bool:
    """What the path of the request that is asked about calls for."""
    path = uri(seen)
    if path == "/login":
        conversation.answer(
            b"this way",
            "Location: https://auth.test/?back=1",
            "Set-Cookie: a=1",
            "Set-Cookie: b=2",
            "Connection: x-secret",
            "X-Secret: between us",
            status="302 Found",
        )
    elif path == "/challenge":
        conversation.answer(b"who are you?", "WWW-Authenticate: Bearer", status="401 Unauthorized")
    elif path == "/forbidden":
        conversation.answer(b"not you", status="403 Forbidden")
    elif path == "/anonymous":
        conversation.answer(b"", status="204 No Content")
    elif path == "/missing":
        conversation.answer(b"", status="404 Not Found")
    elif path == "/error":
        conversation.answer(b"", status="500 Internal Server Error")
    elif path == "/unchanged":
        conversation.answer(b"", status="304 Not Modified")
    elif path == "/junk":
        conversation.send("what?\r\n\r\n")
        return False
    elif path == "/gone":
        return False
    elif path == "/half":
        conversation.send("HTTP/1.1 403 Forbidden\r\nContent-Length: 90\r\n\r\nhalf")
        return False
    elif path == "/huge":
        conversation.answer(b"x" * 100_000, status="403 Forbidden")
    elif path == "/hasty/silent":
        conversation.wait_for_end()
        return False
    elif path == "/two-users":
        conversation.answer(b"", "Remote-User: alice", "Remote-User: root")
    elif path == "/talkative":
        conversation.answer(b"x" * 100_000, "Remote-User: alice", "X-Else: 1")
    else:
        conversation.answer(b"", "Remote-User: alice", "Remote-Groups: crew", "Remote-Groups: guests", "X-Else: 1")
    return True


def tell(_upstream: RawUpstream, conversation: Conversation, seen: Seen) -> bool:
    """The server behind: what it was told. A WebSocket says hello and ends."""
    key = seen.get("sec-websocket-key")
    if key is not None:
        accept = accept_key(key.encode()).decode()
        conversation.send("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n")
        conversation.send(f"Sec-WebSocket-Accept: {accept}\r\n\r\n\x81\x05hello")
        conversation.wait_for_end()
        return False
    body = conversation.read_body(seen)
    conversation.answer(b"%d bytes" % len(body))
    return True


@pytest.fixture(scope="module")
def decider() -> Iterator[RawUpstream]:
    made = RawUpstream({"/": decide})
    yield made
    made.close()


@pytest.fixture(scope="module")
def behind() -> Iterator[RawUpstream]:
    made = RawUpstream({"/": tell})
    yield made
    made.close()


SITE = """
proxy = {{ upstreams = ["{behind}"], upgrade = {{ protocols = ["websocket"] }} }}
[site.forward_auth]
upstream = "{decider}"
path = "/verify?app=tide"
identity = ["Remote-User", "Remote-Groups"]
seconds = 15
when = {{ not = {{ path_prefix = ["/public"] }} }}

[[site.route]]
path = "/kept"
proxy = {{ upstreams = ["{behind}"] }}
[site.route.forward_auth]
upstream = "{decider}"
identity = ["Remote-User"]
cache_seconds = 3600

[[site.route]]
path = "/hasty"
respond = {{ body = "in" }}
forward_auth = {{ upstream = "{decider}", seconds = 0.3 }}

[[site.route]]
path = "/alone"
proxy = {{ upstreams = ["{behind}"] }}
forward_auth = {{ upstream = "http://127.0.0.1:{closed}" }}
"""


@pytest.fixture(scope="module")
def server(
    engine: str,
    decider: RawUpstream,
    behind: RawUpstream,
    tmp_path_factory: pytest.TempPathFactory,
    certificates: TestCertificates,
) -> Iterator[ServerProcess]:
    directory = tmp_path_factory.mktemp(f"forward-auth-{engine}")
    closed = RawUpstream({"/": tell})
    closed.close()
    site = SITE.format(behind=behind.url, decider=decider.url, closed=closed.port)
    write_config(directory, certificates, site, engine=engine)
    with serving(directory) as process:
        yield process


def test_who_may_pass_is_named_to_the_server_behind(
    client: Client, server: ServerProcess, decider: RawUpstream, behind: RawUpstream
) -> None:
    sent = {"cookie": "session=1", "x-other": "kept", "if-none-match": '"1"', "range": "bytes=0-1"}
    found = client.request("POST", "/a%20b/%2e%2e/c?d=e", sent, b"secret")
    assert (found.status, found.body) == (200, b"6 bytes")
    asked, came = decider.requests[-1], behind.requests[-1]
    assert asked.line == "GET /verify?app=tide HTTP/1.1"
    assert asked.get("host") == f"127.0.0.1:{decider.port}"
    assert asked.get("x-forwarded-method") == "POST"
    assert asked.get("x-forwarded-uri") == "/c?d=e"
    assert asked.get("x-forwarded-host") == f"localhost:{server.port}"
    assert asked.get("x-forwarded-proto") == "https"
    assert asked.get("x-forwarded-for") == "127.0.0.1"
    assert (asked.get("cookie"), asked.get("x-other")) == ("session=1", "kept")
    for name in ("content-length", "transfer-encoding", "if-none-match", "range"):
        assert asked.get(name) is None
    assert b"secret" not in b"".join(decider.raw)
    assert [value for name, value in came.fields if name == "remote-groups"] == ["crew", "guests"]
    assert came.get("remote-user") == "alice"
    assert came.get("x-else") is None
    assert (came.get("if-none-match"), came.body) == ('"1"', b"secret")
    server.wait_for_access(" - alice [")


CLAIMS = {"remote-user": "root", "remote_user": "root", "Remote-Groups": "admins", "REMOTE_GROUPS": "admins"}


@pytest.mark.parametrize("path", ["/page", "/anonymous", "/public/page", "/kept/anonymous"])
def test_no_client_says_who_it_is(client: Client, behind: RawUpstream, decider: RawUpstream, path: str) -> None:
    claims = {name.lower(): value for name, value in CLAIMS.items()}
    if client.protocol == "http/1.1":
        claims = {**CLAIMS, "connection": "keep-alive, Remote-User, remote_groups"}
    before = len(decider.requests)
    assert (
        client.request("GET", path, {**claims, "x-forwarded-uri": "/anonymous", "x-original-url": "/x"}).status == 200
    )
    came = behind.requests[-1]
    identity = [value for name, value in came.fields if name.lower().replace("_", "-").startswith("remote-")]
    if path == "/page":
        assert identity == ["alice", "crew", "guests"]
    elif path.startswith("/kept"):
        assert "root" not in identity
    else:
        assert identity == []
    for asked in decider.requests[before:]:
        assert asked.get("x-original-url") is None
        assert uri(asked) == path
        # /kept has nothing to do with groups, so what a client says of them is no claim there
        forged = {"root"} if path.startswith("/kept") else {"root", "admins"}
        assert forged.isdisjoint(value for _, value in asked.fields)


def test_a_refusal_of_the_server_that_decides_is_the_answer(client: Client, behind: RawUpstream) -> None:
    before = len(behind.requests)
    found = client.request("GET", "/login", {"accept": "text/html"})
    assert (found.status, found.body) == (302, b"this way")
    assert found.headers["location"] == "https://auth.test/?back=1"
    assert found.headers["set-cookie"] in ("a=1, b=2", "b=2")  # the clients keep all, or the last one
    assert found.headers["cache-control"] == "no-store"
    assert "x-secret" not in found.headers
    found = client.request("POST", "/challenge", None, b"x" * 1000)
    assert (found.status, found.headers["www-authenticate"], found.body) == (401, "Bearer", b"who are you?")
    assert client.request("GET", "/forbidden").status == 403
    assert client.request("HEAD", "/forbidden").body == b""
    assert len(behind.requests) == before


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/missing", 502), ("/error", 502), ("/unchanged", 502), ("/junk", 502), ("/gone", 502), ("/half", 502),
        ("/huge", 502), ("/two-users", 502), ("/hasty/silent", 504), ("/alone/page", 502),
    ],
)  # fmt: skip
def test_nothing_passes_because_something_broke(client: Client, behind: RawUpstream, path: str, status: int) -> None:
    before = len(behind.requests)
    assert client.request("GET", path, {"remote-user": "root"}).status == status
    assert len(behind.requests) == before
    assert client.request("GET", "/talkative").status == 200


@pytest.mark.parametrize("protocol", ["h1", "h2"])
def test_a_websocket_opens_for_who_may_pass_alone(
    dial: Dial, protocol: str, decider: RawUpstream, behind: RawUpstream
) -> None:
    connect = dial.h1 if protocol == "h1" else dial.h2
    before = len(behind.requests)
    answer, _tunnel = ask_to_open(connect(), "/forbidden", {"remote-user": "root"})
    assert (answer.status, len(behind.requests)) == (403, before)
    _answer, tunnel = ask_to_open(connect(), "/socket", {"remote-user": "root"})
    came = b""
    while b"hello" not in came:
        data = tunnel.receive()
        assert data
        came += data
    tunnel.end()
    told, asked = behind.requests[-1], decider.requests[-1]
    assert (told.get("remote-user"), told.get("upgrade")) == ("alice", "websocket")
    assert (asked.get("x-forwarded-method"), asked.get("upgrade"), asked.get("x-forwarded-uri")) == (
        "GET", None, "/socket",
    )  # fmt: skip


def test_only_the_very_same_question_is_not_asked_again(
    client: Client, decider: RawUpstream, server: ServerProcess
) -> None:
    sent = {"cookie": f"session={server.port}-{client.protocol}"}
    before = len(decider.requests)
    for _ in range(3):
        assert client.request("GET", "/kept/page", sent).status == 200
    assert len(decider.requests) == before + 1
    assert client.request("GET", "/kept/other", sent).status == 200
    assert client.request("POST", "/kept/page", sent, b"").status == 200
    assert client.request("GET", "/kept/page", {"cookie": sent["cookie"] + "-other"}).status == 200
    assert len(decider.requests) == before + 4
    for _ in range(2):
        assert client.request("GET", "/kept/forbidden", sent).status == 200  # its path is /kept/forbidden
    for _ in range(2):
        assert client.request("GET", "/page", sent).status == 200
    assert len(decider.requests) == before + 7


def test_the_server_that_decides_is_believed_over_tls_only_if_it_is_the_right_one(
    tmp_path: Path, certificates: TestCertificates
) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates.chain, certificates.key)
    stranger = make_test_certificates(tmp_path / "stranger")
    decider = RawUpstream({"/": decide}, tls=context)
    try:
        url = f"https://localhost:{decider.port}"
        site = f"""
respond = {{ body = "in" }}
forward_auth = {{ upstream = "{url}", ca = "{certificates.ca}" }}
[[site.route]]
path = "/fooled"
respond = {{ body = "in" }}
forward_auth = {{ upstream = "{url}", ca = "{stranger.ca}" }}
"""
        write_config(tmp_path, certificates, site)
        with running(tmp_path) as server:
            client = Http2(server.port, certificates.ca)
            try:
                assert client.request("GET", "/page").body == b"in"
                assert client.request("GET", "/forbidden").status == 403
                assert client.request("GET", "/fooled").status == 502
            finally:
                client.close()
    finally:
        decider.close()


def test_the_server_that_decides_may_listen_on_a_socket(tmp_path: Path, certificates: TestCertificates) -> None:
    (tmp_path / "site").mkdir()
    (tmp_path / "site/tide.txt").write_text("high water")
    decider = RawUpstream({"/": decide}, path=tmp_path / "auth.sock")
    try:
        site = f'root = "site"\nforward_auth = {{ upstream = "unix:{tmp_path}/auth.sock" }}'
        write_config(tmp_path, certificates, site)
        with running(tmp_path) as server:
            for kind in (Http1, Http2):
                client = kind(server.port, certificates.ca)
                try:
                    assert client.request("GET", "/tide.txt").body == b"high water"
                    assert client.request("GET", "/forbidden").status == 403
                finally:
                    client.close()
    finally:
        decider.close()
