"""Signed links, and who comes in by address, over the wire: what docs/access.md asks of applications is done here."""

from __future__ import annotations

import hmac
import time
from base64 import urlsafe_b64encode
from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest

from tests.wire.server_process import ServerProcess, serving, write_config

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.certificates import TestCertificates
    from tests.wire.clients import Client

SECRET = "0123456789abcdef" * 4
SITE = """
trusted_proxies = ["127.0.0.1"]

[[site.route]]
path = "/files"
root = "files"
signed_links = { secret_file = "secret" }

[[site.route]]
path = "/bound"
root = "files"
signed_links = { secret_file = "secret", bind_address = true }

[[site.route]]
path = "/office"
respond = { body = "in" }
[site.route.access]
allow = ["192.0.2.0/24", "2001:db8::/32"]
deny = ["192.0.2.66"]
"""


@pytest.fixture(scope="module")
def server(
    engine: str, tmp_path_factory: pytest.TempPathFactory, certificates: TestCertificates
) -> Iterator[ServerProcess]:
    directory = tmp_path_factory.mktemp(f"links-{engine}")
    (directory / "files").mkdir()
    (directory / "files/a b.txt").write_text("the file")
    (directory / "files/other.txt").write_text("another")
    (directory / "secret").write_text(SECRET + "\n")
    (directory / "secret").chmod(0o600)
    write_config(directory, certificates, SITE, engine=engine)
    with serving(directory) as process:
        yield process


def signed(path: str, seconds: int, secret: str = SECRET, address: str = "") -> str:
    """As the application does it."""
    expires = int(time.time()) + seconds
    lines = [path, str(expires), *([address] if address else [])]
    digest = hmac.digest(secret.encode(), "\n".join(lines).encode(), "sha256")
    return f"{quote(path)}?expires={expires}&signature={urlsafe_b64encode(digest).decode().rstrip('=')}"


def test_only_a_link_that_was_signed_opens_a_file(client: Client) -> None:
    good = signed("/files/a b.txt", 600)
    for _ in range(2):
        assert client.request("GET", good).body == b"the file"
        assert client.request("HEAD", good).status == 200
    query = good.partition("?")[2]
    refused = [
        "/files/a%20b.txt",
        f"/files/other.txt?{query}",
        f"/files/../files/other.txt?{query}",
        f"/files/a%20b.txt?{query}&{query}",
        good.replace("expires=", "expires=0"),
        good.replace("expires=1", "expires=2"),
        good[:-1],
        signed("/files/a b.txt", 600, "another secret"),
        signed("/files/a b.txt", 8 * 86_400),
    ]
    assert [client.request("GET", path).status for path in refused] == [403] * len(refused)
    assert client.request("GET", signed("/files/a b.txt", -5)).status == 410


def test_a_link_for_an_address_is_for_no_other(client: Client) -> None:
    link = signed("/bound/a b.txt", 600, address="192.0.2.7")
    assert client.request("GET", link, {"x-forwarded-for": "192.0.2.7"}).body == b"the file"
    assert client.request("GET", link, {"x-forwarded-for": "192.0.2.8"}).status == 403
    assert client.request("GET", link).status == 403


@pytest.mark.parametrize(
    ("address", "status"),
    [
        ("192.0.2.7", 200), ("2001:db8::1", 200), ("192.0.2.66", 403), ("198.51.100.1", 403), ("2001:db9::1", 403),
        ("192.0.2.7, 198.51.100.1", 403), ("::ffff:192.0.2.66", 403), ("nonsense", 403),
    ],
)  # fmt: skip
def test_who_comes_in_by_address(client: Client, address: str, status: int) -> None:
    assert client.request("GET", "/office", {"x-forwarded-for": address}).status == status
    assert client.request("GET", "/office").status == 403
