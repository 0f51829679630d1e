"""What the keys of logs come to: what sites inherit, which outputs are one, and faults with their file and key."""

from __future__ import annotations

from pathlib import Path

import pytest

from securelight.config.faults import ConfigFaults
from securelight.config.load import load
from securelight.config.logs import Log, logs_of, syslog_address
from securelight.features import FEATURES

CONFIG = """
[server.access_log]
{server}

[[listen]]
address = "127.0.0.1:0"

[[site]]
hosts = ["a.test"]
root = "."
{site}
[[site.route]]
path = "/own"
root = "."
{route}
[[site.route]]
path = "/same"
root = "."
[[site.certificate]]
chain = "a"
key = "b"
"""


def logs(folder: Path, server: str = "", site: str = "", route: str = "") -> list[Log]:
    path = folder / "securelight.toml"
    path.write_text(CONFIG.format(server=server, site=site, route=route))
    return list(logs_of(load(path, FEATURES, {})).values())


def test_without_a_word_there_is_one_plain_log(tmp_path: Path) -> None:
    [log] = logs(tmp_path)
    assert log.is_plain
    assert (log.form, str(log.output)) == ("combined", "file -")
    [log] = logs(tmp_path, 'format = "json"\nfile = "a.log"')
    assert log.is_plain
    assert str(log.output) == f"file {tmp_path}/a.log"
    for server in ('format = "common"', 'syslog = "/dev/log"', "one_in = 2", "slow_seconds = 1", 'query = "hidden"'):
        assert not logs(tmp_path, server)[0].is_plain


def test_a_site_takes_from_the_server_what_it_does_not_say(tmp_path: Path) -> None:
    server, site = logs(
        tmp_path, 'file = "a.log"\nformat = "{path}"\nslow_seconds = 5\nquery = "hidden"', "log = { one_in = 10 }"
    )
    assert (site.form, site.output, site.slow_seconds, site.hide_query) == ("{path}", server.output, 5, True)
    assert (server.one_in, site.one_in) == (1, 10)
    server, site = logs(tmp_path, 'format = "off"', 'log = { format = "common" }')
    assert (server.output, str(site.output)) == (None, "file -")
    server, site = logs(tmp_path, 'file = "a.log"', 'log = { format = "off" }')
    assert site.output is None


def test_a_route_has_its_own_in_place_of_the_site_s(tmp_path: Path) -> None:
    _, *others = logs(tmp_path, "", 'log = { file = "site.log" }', 'log = { syslog = "/dev/log" }')
    assert sorted(str(log.output) for log in others) == [f"file {tmp_path}/site.log", "syslog /dev/log"]


@pytest.mark.parametrize(
    ("server", "where", "what"),
    [
        ('format = "comined"', "server.access_log.format", "did you mean 'combined'?"),
        ('format = "{staus}"', "server.access_log.format", "did you mean {status}?"),
        ('journal = "x"', "server.access_log.journal", "not the path of a socket"),
        ('syslog = "tcp://logs:1"', "server.access_log.syslog", "names are not looked up"),
        ('syslog = "/dev/log"\nfile = "a"', "server.access_log.file", "goes to one place"),
        ("one_in = 0", "server.access_log.one_in", "from 1 to 1000000"),
    ],
)
def test_a_fault_is_named_with_file_and_key(tmp_path: Path, server: str, where: str, what: str) -> None:
    with pytest.raises(ConfigFaults) as raised:
        logs(tmp_path, server)
    [line] = str(raised.value).splitlines()
    assert line.startswith(f"{tmp_path}/securelight.toml: {where}: ")
    assert what in line


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("udp://192.0.2.1:514", ("udp", "192.0.2.1", 514)),
        ("tcp://[2001:db8::1]:601", ("tcp", "2001:db8::1", 601)),
    ],
)
def test_addresses_of_syslog(url: str, address: tuple[str, str, int]) -> None:
    assert syslog_address(url) == address


@pytest.mark.parametrize(
    "url", ["", "udp://", "udp://192.0.2.1:65536", "udp://192.0.2.1:٣", "http://192.0.2.1:1", "192.0.2.1:1"]
)
def test_what_is_no_syslog(url: str) -> None:
    with pytest.raises(ValueError, match=r"\S"):
        syslog_address(url)
