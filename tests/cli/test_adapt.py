"""`securelight adapt`: the configuration in effect, which can be used again."""

from __future__ import annotations

import tomllib
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner

from securelight.cli.main import main
from securelight.config.load import load
from securelight.config.schema import Config
from securelight.features import FEATURES

MAIN = """
[server]
workers = 3

[[listen]]
address = "localhost:8443"
"""
SITE = """
[[site]]
hosts = ["${NAME:-a.test}"]
root = "../site"
trusted_proxies = ["10.0.0.0/8"]

[site.hsts]

[[site.redirect.rule]]
when = { path_regex = '^/a/(?P<b>\\d+)$', not = { header = { x-a = "*" } } }
to = "/b/{b}"

[[site.route]]
path = "/api"
when = { any = [{ method = ["GET"] }, { client = ["::1"] }] }
respond = { body = "x", fields = { x-a = "\\"quoted\\"" } }

[[site.certificate]]
chain = "a.pem"
key = "a.key"
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "conf.d").mkdir()
    (tmp_path / "securelight.toml").write_text(MAIN)
    (tmp_path / "conf.d" / "a.toml").write_text(SITE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SECURELIGHT_SERVER_ENGINE", "pure")
    monkeypatch.setenv("NAME", "b.test")
    return tmp_path


def comparable(config: Config) -> object:
    """Without the places in files, which differ."""
    plain = msgspec.to_builtins(msgspec.structs.replace(config, files=(), base=Path(), sites=()), enc_hook=str)
    sites = [
        (site.hosts, site.tls, site.trusted_proxies, site.certificates,
         sorted((route.path, str(route.when), [(item.name, item.settings) for item in route.features])
                for route in site.routes))
        for site in config.sites
    ]  # fmt: skip
    return plain, sites


def test_what_is_printed_is_everything_and_means_the_same(folder: Path) -> None:
    result = CliRunner().invoke(main, ["adapt", "--print"])
    assert result.exit_code == 0, result.output
    table = tomllib.loads(result.stdout)
    assert table["server"]["workers"] == 3
    assert table["server"]["engine"] == "pure"
    assert table["site"][0]["hosts"] == ["b.test"]
    routes = {route["path"]: route for route in table["site"][0]["route"]}
    assert routes["/api"]["hsts"] == routes["/"]["hsts"]
    assert routes["/api"]["when"] == {"any": [{"method": ["GET"]}, {"client": ["::1"]}]}
    before = load(folder / "securelight.toml", FEATURES, {"SECURELIGHT_SERVER_ENGINE": "pure", "NAME": "b.test"})
    (folder / "conf.d" / "again.toml").write_text(result.stdout)
    after = load(folder / "conf.d" / "again.toml", FEATURES, {})
    assert comparable(before) == comparable(after)


def test_a_faulty_configuration_is_not_printed(folder: Path) -> None:
    (folder / "conf.d" / "a.toml").write_text(SITE + "\nworker = 1\n")
    result = CliRunner().invoke(main, ["adapt"])
    assert result.exit_code == 1
    assert result.stdout == ""
