"""From a certificate to a user: for rules, logs, programs and servers behind, whatever the client says of itself."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import pytest

from tests.client_certificates import ClientAuthority
from tests.wire.clients import Client, Http1, Http2
from tests.wire.raw_upstream import Conversation, RawUpstream, Seen
from tests.wire.server_process import ServerProcess, serving, write_config

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.certificates import TestCertificates
    from tests.client_certificates import Credentials

SITE = """
client_certificates = "optional"
client_ca = "{authority}"
client_user_from = "fingerprint"
client_users = {{ "{alice}" = "alice", "{bob}" = "bob" }}

[site.request_headers]
set = {{ x-user = "{{user}}", x-certificate = "{{certificate_subject}}" }}

[[site.route]]
path = "/"
[site.route.proxy]
upstreams = ["{behind}"]

[[site.route]]
path = "/direct"
request_headers = {{ remove = ["x-nothing"] }}
[site.route.proxy]
upstreams = ["{behind}"]
fields = {{ set = {{ x-user = "{{user}}" }}, remove = ["x-certificate"] }}

[[site.route]]
path = "/program"
cgi = {{ program = "{program}", run_as_root = true }}

[[site.route]]
path = "/alice"
respond = {{ body = "for alice" }}
[[site.route.access.rule]]
action = "allow"
when = {{ user = ["alice"] }}
[[site.route.access.rule]]
action = "deny"
when = {{ path = ["*"] }}
"""


def tell(_upstream: RawUpstream, conversation: Conversation, seen: Seen) -> bool:
    told = [f"{name}={value}" for name, value in seen.fields if name.lower().startswith("x")]
    conversation.answer("\n".join(line for line in told if not line.startswith("x-forwarded")).encode())
    return True


class People:
    """An authority and whom it vouches for."""

    def __init__(self, authority: ClientAuthority) -> None:
        self.authority = authority
        self.alice = authority.issue("alice", organization="Example")
        self.bob = authority.issue("bob")
        self.carol = authority.issue("carol")


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> People:
    return People(ClientAuthority(tmp_path_factory.mktemp("certificate-users-ca")))


@pytest.fixture(scope="module")
def server(
    engine: str, people: People, tmp_path_factory: pytest.TempPathFactory, certificates: TestCertificates
) -> Iterator[ServerProcess]:
    directory = tmp_path_factory.mktemp(f"certificate-users-{engine}")
    program = directory / "program"
    program.write_text('#!/bin/sh\nprintf "Content-Type: text/plain\\n\\n$REMOTE_USER $HTTP_X_USER"\n')
    program.chmod(0o755)
    behind = RawUpstream({"/": tell})
    alice = hashlib.sha256(people.alice.der).hexdigest().upper()
    try:
        site = SITE.format(
            authority=people.authority.path,
            alice=":".join(alice[at : at + 2] for at in range(0, 64, 2)),
            bob=hashlib.sha256(people.bob.der).hexdigest(),
            behind=behind.url,
            program=program,
        )
        write_config(directory, certificates, site, engine=engine)
        with serving(directory) as process:
            yield process
    finally:
        behind.close()


class Caller:
    """Connects with a certificate; one protocol."""

    def __init__(self, kind: type[Http1 | Http2], server: ServerProcess, certificates: TestCertificates) -> None:
        self._kind, self._server, self._certificates = kind, server, certificates
        self.is_http1 = kind is Http1
        self.opened: list[Client] = []

    def __call__(self, who: Credentials | None) -> Client:
        path = None if who is None else who.path
        self.opened.append(self._kind(self._server.port, self._certificates.ca, "localhost", path))
        return self.opened[-1]


@pytest.fixture(params=[Http1, Http2])
def call(request: pytest.FixtureRequest, server: ServerProcess, certificates: TestCertificates) -> Iterator[Caller]:
    made = Caller(request.param, server, certificates)
    yield made
    for client in made.opened:
        client.close()


CLAIMS = {"x-user": "root", "x_user": "root", "x-certificate": "CN=root", "x_certificate": "CN=root"}


def test_the_server_behind_is_told_who_it_is_by_us_alone(call: Caller, people: People, server: ServerProcess) -> None:
    claims = {**CLAIMS, "connection": "keep-alive, x-user, X_Certificate"} if call.is_http1 else CLAIMS
    found = call(people.alice).request("GET", "/", claims).body.decode().splitlines()
    assert sorted(found) == ["x-certificate=CN=alice,O=Example", "x-user=alice"]
    found = call(people.bob).request("GET", "/direct", claims).body.decode().splitlines()
    assert found == ["x-user=bob"]
    found = call(None).request("GET", "/", claims).body.decode().splitlines()
    assert sorted(found) == ["x-certificate=", "x-user="]
    server.wait_for_access(" - bob [")


def test_a_program_and_rules_know_the_user(call: Caller, people: People) -> None:
    assert call(people.alice).request("GET", "/program", CLAIMS).body == b"alice alice"
    assert call(people.alice).request("GET", "/alice").body == b"for alice"
    for other in (people.bob, None):
        assert call(other).request("GET", "/alice", CLAIMS).status == 403


def test_a_certificate_of_nobody_that_we_know_is_refused(call: Caller, people: People) -> None:
    for path in ("/", "/alice", "/program"):
        assert call(people.carol).request("GET", path).status == 403
