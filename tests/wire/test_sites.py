"""Several sites on one port: whose answer a host gets, fixed answers, and the fields that filters add."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.wire.clients import Http2
from tests.wire.server_process import ServerProcess, serving, write_config

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.certificates import TestCertificates
    from tests.wire.clients import Answer, Client
    from tests.wire.conftest import Dial

FIRST = """
root = "first"
hsts = { max_age_seconds = 1000, include_subdomains = true }

[site.set_headers]
set = { x-frame-options = "DENY", x-content-type-options = "own" }
append = { link = "</style.css>; rel=preload" }
remove = ["accept-ranges"]

[[site.route]]
path = "/fixed"
[site.route.respond]
status = 403
body = "no\\n"
content_type = "text/x-own"
fields = { x-own = "1" }

[[site.route]]
path = "/fixed/deeper"
respond = { status = 204 }

[[site.route]]
path = "/other"
root = "other"
"""
OTHERS = """
[[site]]
hosts = ["example.test"]
respond = {{ body = "exact\\n" }}
[[site.certificate]]
chain = "{chain}"
key = "{key}"

[[site]]
hosts = ["*.example.test"]
respond = {{ body = "wildcard\\n" }}
[[site.certificate]]
chain = "{chain}"
key = "{key}"
"""


@pytest.fixture(scope="module")
def server(
    engine: str, tmp_path_factory: pytest.TempPathFactory, certificates: TestCertificates
) -> Iterator[ServerProcess]:
    """A server of three sites."""
    directory = tmp_path_factory.mktemp(f"sites-{engine}")
    for name in ("first", "other"):
        (directory / name).mkdir()
        (directory / name / "index.html").write_text(f"{name}\n")
    others = OTHERS.format(chain=certificates.chain, key=certificates.key)
    write_config(directory, certificates, FIRST, engine=engine, hosts='"localhost", "127.0.0.1"', extra=others)
    with serving(directory) as process:
        yield process


def get(client: Client, host: str, path: str = "/") -> Answer:
    """With a host that need not be that of the connection."""
    if isinstance(client, Http2):
        return client.answer(client.open("GET", path, authority=host))
    return client.request("GET", path, {"host": host})


@pytest.mark.parametrize(
    ("host", "body"),
    [
        ("localhost", b"first\n"),
        ("LocalHost", b"first\n"),
        ("localhost:8443", b"first\n"),
        ("127.0.0.1", b"first\n"),
        ("example.test", b"exact\n"),
        ("a.example.test", b"wildcard\n"),
        ("b.a.example.test", b"wildcard\n"),
    ],
)
def test_the_host_chooses_the_site(client: Client, host: str, body: bytes) -> None:
    answer = get(client, host)
    assert (answer.status, answer.body) == (200, body)


@pytest.mark.parametrize("host", ["other.test", "notexample.test", "example.test.evil.test", "10.0.0.1", "[::1]"])
def test_a_host_that_is_not_served_is_misdirected(client: Client, host: str) -> None:
    answer = get(client, host)
    assert answer.status == 421
    assert "strict-transport-security" not in answer.headers, "says nothing for a site that is not ours"
    assert get(client, "localhost").status == 200, "the connection goes on"


def test_certificate_of_each_site_is_shown(dial: Dial) -> None:
    for name, body in (("example.test", b"exact\n"), ("deep.example.test", b"wildcard\n")):
        for client in (dial.h1(name), dial.h2(name)):
            assert client.request("GET", "/").body == body


def test_filters_change_every_answer(client: Client) -> None:
    for path, status in (("/", 200), ("/nowhere", 404), ("/fixed", 403), ("/fixed/deeper", 204)):
        answer = client.request("GET", path)
        assert answer.status == status
        assert answer.headers["strict-transport-security"] == "max-age=1000; includeSubDomains"
        assert answer.headers["x-frame-options"] == "DENY"
        assert answer.headers["x-content-type-options"] == "own"
        assert answer.headers["link"] == "</style.css>; rel=preload"
        assert "accept-ranges" not in answer.headers


def test_fixed_answer(client: Client) -> None:
    for method in ("GET", "POST", "DELETE"):
        answer = client.request(method, "/fixed")
        assert (answer.status, answer.body) == (403, b"no\n")
        assert answer.headers["content-type"] == "text/x-own"
        assert answer.headers["x-own"] == "1"
    head = client.request("HEAD", "/fixed")
    assert (head.status, head.body, head.headers["content-length"]) == (403, b"", "3")


def test_longest_route_wins_on_segment_boundaries(client: Client) -> None:
    for path, status in (
        ("/fixed/", 403), ("/fixed/deeper/x", 204), ("/fixedx", 404), ("/fixed/deeperx", 403), ("/other/", 200),
        ("/%66ixed", 403), ("/other/../fixed", 403), ("/./fixed", 403),
    ):  # fmt: skip
        assert client.request("GET", path).status == status, path
    assert client.request("GET", "/other/").body == b"other\n"


def test_no_field_can_be_smuggled_into_a_redirect(client: Client, dial: Dial) -> None:
    for path in ("/%0d%0aset-cookie:%20a=b", "/other%0d%0ax:y", "/%0aa/..", "/other%00"):
        answer = client.request("GET", path)
        assert answer.status in (308, 400, 404)
        assert "set-cookie" not in answer.headers
        assert "\n" not in answer.headers.get("location", "")
        if answer.headers.get("connection") == "close":
            client = dial.h1()
