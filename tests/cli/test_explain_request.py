"""`securelight check --explain URL`: what a configuration makes of one request."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from securelight.cli.main import main
from tests.certificates import make_test_certificates

if TYPE_CHECKING:
    from click.testing import Result

CONFIG = """
[[listen]]
address = "localhost:8443"

[[site]]
hosts = ["localhost"]
root = "site"

[site.access]
deny = ["192.0.2.0/24"]

[[site.redirect.rule]]
when = { path_regex = "^/blog/(?P<slug>[a-z-]+)$" }
to = "/posts/{slug}"

[[site.rewrite.rule]]
when = { path_prefix = ["/app"], not = { file_exists = "site" } }
to = "/index.html"

[site.set_headers]
set = { x-a = "1" }

[[site.route]]
path = "/"
when = { header = { accept = "*json*" } }
respond = { body = "{}" }

[[site.route]]
path = "/api"
proxy = { upstreams = ["http://127.0.0.1:1"] }

[[site.certificate]]
chain = "certs/server.pem"
key = "certs/server.key"
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    make_test_certificates(tmp_path / "certs")
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "index.html").write_text("page")
    (tmp_path / "securelight.toml").write_text(CONFIG)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def explain(url: str, *arguments: str) -> Result:
    return CliRunner().invoke(main, ["check", "--explain", url, *arguments])


def lines(result: Result) -> list[str]:
    assert result.exit_code == 0, result.output
    return [" ".join(line.split()) for line in result.stdout.splitlines()]


def test_a_redirect_is_told_with_its_rule_and_captures() -> None:
    found = lines(explain("https://localhost/blog/spring"))
    assert found[:2] == [
        "request GET https://localhost/blog/spring from 127.0.0.1",
        "site securelight.toml: site[0], for localhost",
    ]
    for line in (
        "when site[0].route[0].when: does not fit",
        "stage access: lets it pass",
        "when site[0].redirect.rule[0].when: fits",
        "stage redirect: answers",
        "captures 1 = 'spring', slug = 'spring'",
        "filters set_headers",
        "answer 308 Permanent Redirect",
        "location: /posts/spring",
    ):
        assert line in found


def test_a_rewritten_request_is_followed_to_its_file() -> None:
    found = lines(explain("https://localhost/app/users/7"))
    assert "stage rewrite: asks for /index.html instead" in found
    assert found.index("handler static_file") > found.index("stage rewrite: asks for /index.html instead")
    assert "answer 200 OK" in found


def test_fields_addresses_and_methods_count() -> None:
    assert "handler respond" in lines(explain("https://localhost/", "-H", "Accept: application/json"))
    refused = lines(explain("https://localhost/", "--from", "192.0.2.9"))
    assert "stage access: refuses with 403 (access denied to 192.0.2.9)" in refused
    assert "answer 405 Method Not Allowed (Files can only be read: use GET or HEAD.)" in lines(
        explain("https://localhost/", "--method", "POST")
    )


def test_nobody_is_asked_who_is_behind_us() -> None:
    found = lines(explain("https://localhost/api/x"))
    assert "route /api, securelight.toml: site[0].route[1]" in found
    assert "handler proxy upstreams = ('http://127.0.0.1:1',); it is not asked here" in found


def test_a_host_that_nobody_serves() -> None:
    found = lines(explain("https://other.test/"))
    assert "site none has the host other.test" in found
    assert any(line.startswith("answer 421") for line in found)


@pytest.mark.parametrize(
    "arguments",
    [
        ("localhost",),
        ("ftp://localhost/",),
        ("https://localhost/\x1b[31m",),
        ("https://localhost/../..",),
        ("https://localhost/", "-H", "no colon"),
        ("https://localhost/", "--from", "nobody"),
    ],
)
def test_what_is_no_request_is_said_in_a_line(arguments: tuple[str, ...]) -> None:
    result = explain(*arguments)
    assert result.exit_code == 1
    assert len(result.output.splitlines()) == 1
    assert "\x1b" not in result.output


def test_a_faulty_configuration_is_not_explained(folder: Path) -> None:
    (folder / "securelight.toml").write_text(CONFIG.replace('to = "/posts/{slug}"', 'to = "/posts/{slog}"'))
    result = explain("https://localhost/")
    assert result.exit_code == 1
    assert "site[0].redirect: rule[0].to: '/posts/{slog}' has {slog}, which nothing sets; did you mean {slug}?" in (
        result.stderr
    )


def test_what_stands_around_a_route_is_no_stage(folder: Path) -> None:
    """The log, the cache, and limits of uploads."""
    text = CONFIG.replace("[site.access]", "[site.log]\nformat = 'json'\n[site.bandwidth]\nupload_stream = "
                          "{ bytes_per_second = 1000 }\n[site.access]")  # fmt: skip
    (folder / "securelight.toml").write_text(text)
    result = CliRunner().invoke(main, ["check", "--explain", "https://localhost/index.html"])
    assert (result.exit_code, result.stderr) == (0, "")
    assert "static_file" in result.stdout
    assert "200" in result.stdout
