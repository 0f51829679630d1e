"""Client certificates over real sockets: who is let in, who is known to whom, and the many ways around the gate."""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
import subprocess
import sys
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from tests.certificates import TestCertificates, make_test_certificates
from tests.client_certificates import ClientAuthority, Credentials, write_revocations
from tests.wire.clients import TIMEOUT_SECONDS, Http1, Http2, connect
from tests.wire.server_process import ServerProcess, serving, write_config

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.wire.clients import Answer, Client

NAMES = ("open.test", "private.test", "optional.test", "strange.test", "a.wild.test", "b.wild.test", "127.0.0.1")

APP = """
import json


async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        while (await receive())["type"] == "lifespan.startup":
            await send({"type": "lifespan.startup.complete"})
        await send({"type": "lifespan.shutdown.complete"})
        return
    tls = scope["extensions"]["tls"]
    body = json.dumps([tls["client_cert_name"], len(tls["client_cert_chain"]), tls["client_cert_error"]]).encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
    await send({"type": "http.response.body", "body": body})
"""

WHO = """
[site.asgi]
app = "who:app"
app_directory = "."

[site.set_headers]
set = {{ x-site = "{name}" }}

[[site.route]]
path = "/page"
root = "pages"
"""

SITE = """
[[site]]
hosts = [{hosts}]
{keys}
"""

PAIR = """
[[site.certificate]]
chain = "{chain}"
key = "{key}"
"""


class Setting:
    """Everything of one server: its sites' certificates, the clients' authorities, the clients."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.certificates: TestCertificates = make_test_certificates(directory / "certs", NAMES)
        self.authority = ClientAuthority(directory)
        self.stranger = ClientAuthority(directory, "Stranger CA")
        self.alice = self.authority.issue(
            "alice smith", organization="Example", names=[x509.RFC822Name("alice@a.test")]
        )
        self.bob = self.authority.issue("bob", names=[x509.RFC822Name("bob@a.test")])
        self.carol = self.authority.issue("carol")
        self.mallory = self.stranger.issue("mallory", names=[x509.RFC822Name("mallory@a.test")])
        self.revocations = write_revocations(directory / "clients.crl", self.authority.revoke(self.carol))

    def write(self, engine: str, log_format: str = "json") -> None:
        (self.directory / "pages").mkdir(exist_ok=True)
        (self.directory / "pages" / "page.txt").write_text("the page\n")
        (self.directory / "who.py").write_text(APP)
        pair = PAIR.format(chain=self.certificates.chain, key=self.certificates.key)
        asks = f'client_ca = "{self.authority.path}"\nclient_crl = "{self.revocations}"\n'
        sites = {
            '"private.test", "127.0.0.1"': 'client_certificates = "required"\nclient_user_from = "common_name"\n'
            + asks,
            '"optional.test"': 'client_certificates = "optional"\nclient_user_from = "email"\n' + asks,
            '"strange.test"': f'client_certificates = "required"\nclient_ca = "{self.stranger.path}"\n',
            '"*.wild.test"': 'client_certificates = "required"\n' + asks,
        }
        extra = "".join(
            SITE.format(hosts=hosts, keys=keys) + WHO.format(name=hosts.split('"')[1]) + pair
            for hosts, keys in sites.items()
        )
        extra += SITE.format(hosts='"routed.test"', keys='client_certificates = "required"\n' + asks)
        extra += '[[site.route]]\npath = "/only"\nrespond = { body = "x" }\n' + pair
        write_config(
            self.directory,
            self.certificates,
            WHO.format(name="open"),
            engine=engine,
            hosts='"open.test"',
            extra=extra,
            log_format=log_format,
        )


class Caller:
    """Connects, and closes what it connected."""

    def __init__(self, server: ServerProcess, setting: Setting) -> None:
        self.server = server
        self.setting = setting
        self.opened: list[Client] = []

    def open(self, protocol: str, name: str, client: Credentials | None = None) -> Client:
        kind = Http1 if protocol == "h1" else Http2
        path = None if client is None else client.path
        made = kind(self.server.port, self.setting.certificates.ca, name, path)
        self.opened.append(made)
        return made

    def close(self) -> None:
        for client in self.opened:
            client.close()

    def count(self, why: str) -> int:
        return self.server.count_events(event="tls handshake failed", why=why)

    def first_bytes(self, protocol: str, name: str, client: Credentials | None) -> bytes:
        """What comes of a connection; like any client, ours has asked before it can know that it is refused."""
        alpn = "h2" if protocol == "h2" else "http/1.1"
        path = None if client is None else client.path
        with connect(self.server.port, self.setting.certificates.ca, alpn, name, path) as sock:
            sock.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" if protocol == "h2" else b"GET / HTTP/1.1\r\n")
            return sock.recv(1024)

    def refused(self, protocol: str, name: str, client: Credentials | None, why: str) -> str:
        """The alert with which a client is refused, the server having counted and logged why."""
        before = self.count(why)
        with pytest.raises(ssl.SSLError) as caught:
            self.first_bytes(protocol, name, client)
        self.server.wait_for_count(before + 1, event="tls handshake failed", why=why)
        return caught.value.reason or ""


@pytest.fixture(scope="module")
def setting(tmp_path_factory: pytest.TempPathFactory, engine: str) -> Setting:
    setting = Setting(tmp_path_factory.mktemp("client-certificates"))
    setting.write(engine)
    return setting


@pytest.fixture(scope="module")
def server(setting: Setting) -> Iterator[ServerProcess]:
    with serving(setting.directory) as server:
        yield server


@pytest.fixture
def caller(server: ServerProcess, setting: Setting) -> Iterator[Caller]:
    made = Caller(server, setting)
    yield made
    made.close()


@pytest.fixture(params=["h1", "h2"])
def protocol(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def ask(client: Client, host: str | None = None, path: str = "/who") -> Answer:
    """GET `path` of `host`, by default that of the connection."""
    if isinstance(client, Http2):
        return client.answer(client.open("GET", path, authority=host))
    return client.request("GET", path, {"host": host} if host else None)


def identity(answer: Answer) -> Any:
    """[name, length of the chain, error], as the application has them."""
    assert answer.status == 200, answer
    return json.loads(answer.body)


NOBODY = [None, 0, None]


# Who is let in.


def test_a_site_that_does_not_ask_knows_nobody(caller: Caller, protocol: str, setting: Setting) -> None:
    assert identity(ask(caller.open(protocol, "open.test"))) == NOBODY
    assert identity(ask(caller.open(protocol, "open.test", setting.alice))) == NOBODY


def test_a_good_client_is_known_to_the_application(caller: Caller, protocol: str, setting: Setting) -> None:
    client = caller.open(protocol, "private.test", setting.alice)
    assert identity(ask(client)) == ["CN=alice smith,O=Example", 1, None]
    assert ask(client, path="/page/page.txt").body == b"the page\n"
    assert identity(ask(caller.open(protocol, "optional.test", setting.bob)))[0] == "CN=bob"
    assert identity(ask(caller.open(protocol, "strange.test", setting.mallory)))[0] == "CN=mallory"


def test_an_optional_certificate_may_be_missing(caller: Caller, protocol: str) -> None:
    client = caller.open(protocol, "optional.test")
    assert identity(ask(client)) == NOBODY
    assert ask(client, path="/page/page.txt").status == 200


def test_a_required_certificate_is_missing(caller: Caller, protocol: str) -> None:
    why = "client certificate: none was sent, and the site requires one"
    assert "CERTIFICATE_REQUIRED" in caller.refused(protocol, "private.test", None, why)


@pytest.mark.parametrize("name", ["private.test", "optional.test"])
def test_bad_certificates_are_refused_and_counted(caller: Caller, name: str, setting: Setting) -> None:
    authority = setting.authority
    bad = [
        (setting.carol, "certificate revoked", "CERTIFICATE_REVOKED"),
        (setting.mallory, "unable to get local issuer certificate", "UNKNOWN_CA"),
        (authority.issue("eve", self_signed=True), "self-signed certificate", "UNKNOWN_CA"),
        (authority.issue("eve", age=timedelta(days=20)), "certificate has expired", "CERTIFICATE_EXPIRED"),
        (
            authority.issue("eve", usage=ExtendedKeyUsageOID.SERVER_AUTH),
            "unsuitable certificate purpose", "UNSUPPORTED_CERTIFICATE",
        ),
    ]  # fmt: skip
    for client, why, alert in bad:
        assert alert in caller.refused("h1", name, client, f"client certificate: {why}")
    assert ask(caller.open("h1", "private.test", setting.alice)).status == 200, "others do not notice"


def test_a_huge_chain_is_refused(caller: Caller, setting: Setting) -> None:
    filler = [setting.stranger.issue("x" * 60).certificate for _ in range(300)]
    client = setting.authority.issue("eve", above=filler)
    failed = caller.server.count_events(event="tls handshake failed")
    with pytest.raises((ssl.SSLError, ConnectionError)):
        caller.first_bytes("h1", "private.test", client)
    caller.server.wait_for_count(failed + 1, event="tls handshake failed")


# Around the gate: the name of the handshake is not that of the request.


PROTECTED = ["private.test", "optional.test", "strange.test", "a.wild.test", "routed.test"]


@pytest.mark.parametrize("path", ["/who", "/page/page.txt", "/nowhere"])
@pytest.mark.parametrize("host", PROTECTED)
def test_a_connection_for_an_open_site_reaches_no_other(
    caller: Caller, protocol: str, setting: Setting, host: str, path: str
) -> None:
    for credentials in (None, setting.alice):
        client = caller.open(protocol, "open.test", credentials)
        for _ in range(3):  # what is remembered of the first changes nothing
            answer = ask(client, f"{host}:{caller.server.port}", path)
            assert answer.status == 421
            assert "x-site" not in answer.headers, "it shows nothing of the site"
        assert identity(ask(client)) == NOBODY, "and the connection goes on"


def test_a_connection_for_one_protected_site_reaches_no_other(caller: Caller, protocol: str, setting: Setting) -> None:
    """Whoever is let in without a certificate, by another authority, or for a sibling, is not let in here."""
    for name, credentials in (
        ("optional.test", None),
        ("optional.test", setting.bob),
        ("strange.test", setting.mallory),
        ("private.test", setting.alice),
        ("a.wild.test", setting.alice),
    ):
        client = caller.open(protocol, name, credentials)
        for other in (*PROTECTED, "b.wild.test", "127.0.0.1"):
            assert ask(client, other).status == (200 if other == name else 421), (name, other)


def test_the_same_head_on_connections_of_different_clients(caller: Caller, protocol: str, setting: Setting) -> None:
    """Heads that were seen before are not taken apart again; who sent them is."""
    clients = {
        "CN=alice smith,O=Example": caller.open(protocol, "optional.test", setting.alice),
        None: caller.open(protocol, "optional.test"),
        "CN=bob": caller.open(protocol, "optional.test", setting.bob),
    }
    elsewhere = caller.open(protocol, "open.test")
    host = f"optional.test:{caller.server.port}"
    for _ in range(4):
        for name, client in clients.items():
            assert identity(ask(client))[0] == name
            assert ask(client, path="/page/page.txt").body == b"the page\n"
        assert ask(elsewhere, host).status == 421
        assert ask(elsewhere, host, "/page/page.txt").status == 421


def test_an_open_site_does_not_believe_in_the_certificate_of_another(
    caller: Caller, protocol: str, setting: Setting
) -> None:
    """A browser may share the connection; who its user is was proved to the other site."""
    client = caller.open(protocol, "private.test", setting.alice)
    assert identity(ask(client, "open.test")) == NOBODY


@pytest.mark.parametrize("host", ["PRIVATE.test", "private.test.", "private.test:1", "private.test.:1"])
def test_other_spellings_of_a_host(caller: Caller, protocol: str, setting: Setting, host: str) -> None:
    outside = caller.open(protocol, "open.test")
    assert ask(outside, host).status in (400, 421)
    inside = caller.open(protocol, "private.test", setting.alice)
    assert ask(inside, host).status in (200, 421)


def raw_h1(setting: Setting, port: int, server_name: str | None, request: bytes, client: Path | None = None) -> bytes:
    """Whatever is answered to raw bytes."""
    context = ssl.create_default_context(cafile=str(setting.certificates.ca))
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if client is not None:
        context.load_cert_chain(client)
    with (
        socket.create_connection(("127.0.0.1", port), TIMEOUT_SECONDS) as raw,
        context.wrap_socket(raw, server_hostname=server_name) as sock,
    ):
        sock.sendall(request)
        answer = b""
        with contextlib.suppress(ssl.SSLError):
            while piece := sock.recv(65_536):
                answer += piece
        return answer


@pytest.mark.parametrize("server_name", [None, "unknown.test", "127.0.0.1", "open.test"])
@pytest.mark.parametrize(
    "head",
    [
        b"GET /who HTTP/1.1\r\nHost: private.test\r\n",
        b"GET /who HTTP/1.1\r\nHost: 127.0.0.1\r\n",
        b"GET https://private.test/who HTTP/1.1\r\nHost: open.test\r\n",
        b"GET https://private.test/who HTTP/1.1\r\nHost: private.test\r\n",
        b"OPTIONS * HTTP/1.1\r\nHost: private.test\r\n",
    ],
)
def test_without_its_name_in_the_handshake_a_protected_site_is_not_reached(
    server: ServerProcess, setting: Setting, server_name: str | None, head: bytes
) -> None:
    """No SNI, an unknown one, or another's: the first site's certificate is shown, and nothing is asked for."""
    answer = raw_h1(setting, server.port, server_name, head + b"Connection: close\r\n\r\n", setting.alice.path)
    assert answer.split(b" ")[1] in (b"421", b"400"), answer[:200]
    assert b"x-site" not in answer


# Sessions.


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_sessions_stay_bound_to_their_certificate_and_site(
    server: ServerProcess, setting: Setting, version: ssl.TLSVersion
) -> None:
    """A session of alice is hers whoever resumes it, and is worth nothing for another site."""

    def visit(context: ssl.SSLContext, name: str, session: ssl.SSLSession | None = None) -> tuple[Any, bool, Any]:
        with (
            socket.create_connection(("127.0.0.1", server.port), TIMEOUT_SECONDS) as raw,
            context.wrap_socket(raw, server_hostname=name, session=session) as sock,
        ):
            sock.sendall(f"GET /who HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n\r\n".encode())
            answer = b""
            while piece := sock.recv(65_536):
                answer += piece
            return json.loads(answer.partition(b"\r\n\r\n")[2])[0], bool(sock.session_reused), sock.session

    def context_of(client: Credentials | None) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=str(setting.certificates.ca))
        context.maximum_version = version
        if client is not None:
            context.load_cert_chain(client.path)
        return context

    alice, nobody = context_of(setting.alice), context_of(None)
    for name in ("private.test", "optional.test"):
        who, _reused, session = visit(alice, name)
        assert who == "CN=alice smith,O=Example"
        who, reused, _session = visit(alice, name, session)
        assert who == "CN=alice smith,O=Example"
        assert reused is (version == ssl.TLSVersion.TLSv1_2), "TLS 1.3 has no tickets there"
    for name in ("open.test", "optional.test"):
        who, _reused, session = visit(nobody, name)
        assert who is None
        with pytest.raises((ssl.SSLError, ConnectionError)):
            visit(nobody, "private.test", session)


# Logs.


def test_the_log_tells_who_it_was_and_why_not(caller: Caller, protocol: str, setting: Setting) -> None:
    mark = f"/who?{protocol}"
    known = caller.open(protocol, "private.test", setting.alice)
    ask(known, path=mark)
    ask(caller.open(protocol, "optional.test", setting.bob), path=mark + "o")
    ask(known, "open.test", path=mark + "x")
    ask(caller.open(protocol, "open.test", setting.alice), "private.test", path=mark + "y")
    last = json.loads(caller.server.wait_for_access(f'"{mark}y"'))
    first, optional, open_site = (json.loads(caller.server.wait_for_access(f'"{mark}{end}"')) for end in ("", "o", "x"))
    assert first["user"] == "alice smith"
    assert first["certificate"]["subject"] == "CN=alice smith,O=Example"
    assert first["certificate"]["serial"] == f"{setting.alice.certificate.serial_number:x}"
    assert optional["user"] == "bob@a.test"
    assert (open_site["status"], open_site["user"], "certificate" in open_site) == (200, None, False)
    assert (last["status"], last["user"]) == (421, None)
    assert last["refusal"] == "host 'private.test' on a connection for 'open.test'"


def test_a_certificate_without_the_name_that_the_user_is_called_by(
    caller: Caller, protocol: str, setting: Setting
) -> None:
    """The certificate is good, but names nobody, or two, or what no log could show: no user, no answer."""
    two = [x509.RFC822Name("a@a.test"), x509.RFC822Name("b@a.test")]
    for names in ([], two, [x509.DNSName("a.test")]):
        client = caller.open(protocol, "optional.test", setting.authority.issue("alice", names=names))
        assert ask(client).status == 403
    for name in ("al\nice", "al\0ice", None):
        client = caller.open(protocol, "private.test", setting.authority.issue(name, organization="Example"))
        assert ask(client).status == 403


# Lists that change while the server runs.


def replaced(caller: Caller, number: int, opened: Client) -> None:
    """Wait until the contexts were replaced for the `number`th time, and the worker of `opened` accepts no more."""
    caller.server.wait_for_event("reloaded", 30, count=number)
    assert isinstance(opened, Http2)
    while opened.step():
        pass
    assert opened.goaway is not None, "a connection of before does not outlive the list"


def test_a_changed_list_counts_at_once_and_a_damaged_one_refuses_everybody(tmp_path: Path) -> None:
    setting = Setting(tmp_path)
    setting.write("auto", "combined")
    good = setting.revocations.read_bytes()
    with serving(tmp_path, errors=1) as server, contextlib.closing(Caller(server, setting)) as caller:
        opened = caller.open("h2", "private.test", setting.alice)
        assert ask(opened).status == 200
        assert server.wait_for_access("/who").startswith(r"127.0.0.1 - alice\x20smith [")
        write_revocations(setting.revocations, setting.authority.revoke(setting.carol, setting.alice))
        replaced(caller, 1, opened)
        caller.refused("h1", "private.test", setting.alice, "client certificate: certificate revoked")
        opened = caller.open("h2", "private.test", setting.bob)
        assert ask(opened).status == 200

        setting.revocations.write_bytes(good[: len(good) // 2])
        replaced(caller, 2, opened)
        told = server.wait_for_event("client certificates")
        assert "clients.crl: is damaged or was cut off; until it can be read, all client" in told["why"]
        why = "client certificate: unable to get certificate CRL"
        caller.refused("h1", "private.test", setting.bob, why)
        caller.refused("h1", "optional.test", setting.bob, why)
        assert ask(caller.open("h1", "optional.test")).status == 200
        opened = caller.open("h2", "open.test")
        assert ask(opened).status == 200

        setting.revocations.write_bytes(good)
        replaced(caller, 3, opened)
        assert ask(caller.open("h1", "private.test", setting.bob)).status == 200


def test_a_server_does_not_start_with_a_list_that_it_cannot_read(tmp_path: Path) -> None:
    setting = Setting(tmp_path)
    setting.write("auto")
    setting.revocations.write_bytes(b"junk")
    command = [sys.executable, "-m", "securelight", "run", "-c", str(tmp_path / "securelight.toml")]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert ended.returncode == 1
    assert f"{setting.revocations}: holds no revocation list" in ended.stderr


# A protected site as the one for everybody else.


@pytest.mark.parametrize("hosts", ['"private.test"', '"*"'])
def test_a_protected_site_that_comes_first_is_closed_to_every_name(tmp_path: Path, hosts: str) -> None:
    """Whoever names no site, or one that is not there, is asked as the first site, or the one for `*`, asks."""
    setting = Setting(tmp_path)
    keys = f'client_certificates = "required"\nclient_ca = "{setting.authority.path}"\nrespond = {{ body = "in" }}'
    write_config(tmp_path, setting.certificates, keys, hosts=hosts)
    with serving(tmp_path) as server:
        for server_name in (None, "unknown.test", "private.test"):
            for host in (b"private.test", b"unknown.test", b"127.0.0.1"):
                request = b"GET / HTTP/1.1\r\nHost: " + host + b"\r\nConnection: close\r\n\r\n"
                assert raw_h1(setting, server.port, server_name, request) == b""
                answer = raw_h1(setting, server.port, server_name, request, setting.alice.path)
                is_same = host.decode() == server_name or (server_name is None and host == b"127.0.0.1")
                is_served = hosts == '"*"' or host == b"private.test"
                assert answer.startswith(b"HTTP/1.1 200 " if is_same and is_served else b"HTTP/1.1 421 "), server_name
