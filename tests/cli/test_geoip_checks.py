"""`securelight check` on databases of addresses."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from securelight.cli.main import main
from tests.certificates import make_test_certificates
from tests.files.mmdb import place, write

CONFIG = """
[[listen]]
address = "localhost:8443"
[[site]]
hosts = ["localhost"]
root = "public"
[[site.certificate]]
chain = "certs/server.pem"
key = "certs/server.key"
"""
RULE = '[[site.access.rule]]\naction = "deny"\nwhen = { not = { country = ["DE"] } }\n'
ROUTE = '[[site.route]]\npath = "/a"\nwhen = { asn = [7] }\nrespond = { body = "a" }\n'
FIELD = '[[site.set_headers.rule]]\nset = { x-from = "{continent}" }\n'
BODY = '[[site.route]]\npath = "/a"\nrespond = { placeholders = true, body = "{asn}" }\n'
PROXY = '[[site.route]]\npath = "/a"\nproxy = { upstreams = ["http://a"], fields = { set = { x-a = "{country}" } } }\n'
LOG = '[server.access_log]\nformat = "{country} {path}"\n'
SITE_LOG = '[site.log]\nformat = "{asn} {path}"\n'


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    make_test_certificates(tmp_path / "certs")
    (tmp_path / "public").mkdir()
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "good.mmdb", {"127.0.0.0/8": place("DE")})
    (tmp_path / "bad.mmdb").write_text("nothing")
    return tmp_path


def check(text: str, *more: str) -> tuple[int, str]:
    path = Path("securelight.toml")
    path.write_text(text)
    path.chmod(0o644)
    result = CliRunner().invoke(main, ["check", *more])
    return result.exit_code, result.output


def databases(*names: str) -> str:
    return f"[server.geoip]\ndatabases = {list(names)}\n"


def test_good_databases_are_good_and_explained() -> None:
    text = databases("good.mmdb") + CONFIG + RULE
    assert check(text)[0] == 0
    question = ("--explain", "https://localhost/", "--from")
    assert "does not fit" in check(text, *question, "127.0.0.1")[1]
    assert "403" in check(text, *question, "10.0.0.1")[1]
    assert "403" not in check(text, *question, "127.0.0.1")[1]


@pytest.mark.parametrize(
    ("text", "part"),
    [
        (databases("bad.mmdb") + CONFIG, "securelight.toml: server.geoip.databases: "),
        (databases("bad.mmdb") + CONFIG, "is not a MaxMind database"),
        (databases("good.mmdb", "none.mmdb") + CONFIG, "none.mmdb' cannot be read: No such file"),
        (CONFIG + RULE, "site[0].access: country, continent and asn need databases"),
        (CONFIG + ROUTE, "site[0].route[0]: country, continent and asn need databases"),
        (CONFIG + FIELD, "site[0].set_headers: country, continent and asn need databases"),
        (CONFIG + BODY, "site[0].route[0].respond: country, continent and asn need databases"),
        (CONFIG + PROXY, "site[0].route[0].proxy: country, continent and asn need databases"),
        (CONFIG + LOG, "server.access_log.format: country, continent and asn need databases"),
        (CONFIG + SITE_LOG, "site[0].log: country, continent and asn need databases"),
        (databases("good.mmdb") + CONFIG + RULE.replace("DE", "Germany"), "'Germany' is not a country"),
        (databases("good.mmdb") + CONFIG + ROUTE.replace("7", "0"), "site[0].route[0].when.asn"),
        (CONFIG + "[server.geoip]\ndatabase = []\n", "databases"),
    ],
)
def test_what_is_wrong_is_named(text: str, part: str) -> None:
    code, output = check(text)
    assert code == 1
    assert part in output


@pytest.mark.parametrize("table", [FIELD, BODY, PROXY, LOG, SITE_LOG, BODY.replace("{asn}", "{{asn}}")])
def test_with_a_database_they_stand_wherever_parts_of_requests_do(table: str) -> None:
    assert check(databases("good.mmdb") + CONFIG + table)[0] == 0


def test_braces_that_are_meant_need_no_database() -> None:
    assert check(CONFIG + BODY.replace("{asn}", "{{asn}}"))[0] == 0
    assert check(CONFIG + BODY.replace("placeholders = true, ", ""))[0] == 0
