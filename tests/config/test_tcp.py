"""`[[tcp]]`: what is good of it, and how each fault is told."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from securelight.config.load import load_leniently
from securelight.config.tcp import TcpConfig, find_host, upstream_parts
from tests.config.rows import ROWS

if TYPE_CHECKING:
    from pathlib import Path

SITE = """
[[listen]]
address = "localhost:8443"
[[site]]
hosts = ["own.test"]
root = "."
[[site.certificate]]
chain = "c.pem"
key = "k.pem"
"""


def loaded(directory: Path, text: str) -> tuple[tuple[TcpConfig, ...], list[str]]:
    path = directory / "securelight.toml"
    path.write_text(SITE + text)
    found = load_leniently(path, ROWS, {})
    return found.config.tcp, [str(fault) for fault in found.faults]


def test_a_good_table(tmp_path: Path) -> None:
    text = '[[tcp]]\nhosts = ["Mail.test", "*.db.test"]\nupstreams = ["127.0.0.1:993", "[::1]:993", "unix:/run/a.sock"]'
    (tcp,), faults = loaded(tmp_path, text)

    assert faults == []
    assert tcp.hosts == ["mail.test", "*.db.test"]
    assert [upstream_parts(one) for one in tcp.upstreams] == [
        ("127.0.0.1", 993, ""), ("::1", 993, ""), ("", 0, "/run/a.sock"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("table", "part"),
    [
        ('hosts = ["own.test"]\nupstreams = ["a:1"]', 'hosts[0]: "own.test" is already the host of'),
        ('hosts = ["192.0.2.1"]\nupstreams = ["a:1"]', "is an IP address, which no ClientHello names"),
        ('hosts = ["::1"]\nupstreams = ["a:1"]', "is an IP address, which no ClientHello names"),
        ('hosts = []\nupstreams = ["a:1"]', "hosts: is empty"),
        ('hosts = ["a..b"]\nupstreams = ["a:1"]', "is not a host name"),
        ('hosts = ["a.test"]\nupstreams = []', "upstreams"),
        ('hosts = ["a.test"]', "upstreams: is missing"),
        ('hosts = ["a.test"]\nupstreams = ["http://a:1"]', "is a URL"),
        ('hosts = ["a.test"]\nupstreams = ["*:1"]', "is nowhere to connect to"),
        ('hosts = ["a.test"]\nupstreams = ["a:0"]', "is nowhere to connect to"),
        ('hosts = ["a.test"]\nupstreams = ["unix:run/a.sock"]', "is not the path of a unix socket"),
        ('hosts = ["a.test"]\nupstreams = ["a:1"]\nsend_proxy_protocol = "v3"', "send_proxy_protocol"),
        ('hosts = ["a.test"]\nupstreams = ["a:1"]\nidle_second = 5', 'did you mean "idle_seconds"?'),
    ],
)
def test_faults(tmp_path: Path, table: str, part: str) -> None:
    _tcp, faults = loaded(tmp_path, f"[[tcp]]\n{table}\n")
    assert len(faults) == 1
    assert part in faults[0]


def test_balancers_of_a_listener_are_networks(tmp_path: Path) -> None:
    _tcp, faults = loaded(tmp_path, '[[listen]]\naddress = "localhost:1"\nproxy_protocol_from = ["10.0.0.1/8"]\n')
    assert len(faults) == 1
    assert "proxy_protocol_from" in faults[0]


def test_an_exact_name_comes_first_then_the_longest_wildcard_then_the_rest() -> None:
    names = ("a.x.test", "*.x.test", "*.test", "*")
    configs = {name: TcpConfig([name], ["a:1"]) for name in names}
    wanted = {"a.x.test": "a.x.test", "b.x.test": "*.x.test", "x.test": "*.test", "": "*", "other.example": "*"}

    assert {name: find_host(configs, name) for name in wanted} == {name: configs[key] for name, key in wanted.items()}
    del configs["*"]
    assert find_host(configs, "") is None
    assert find_host(configs, "other.example") is None
