"""The common part of nginx.conf, carried over or named."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from securelight.config.foreign.draft import Draft, SyntaxFault
from securelight.config.foreign.includes import Includes
from securelight.config.foreign.nginx import convert_nginx
from securelight.config.load import load
from securelight.features import FEATURES
from tests.config.foreign.originals import NGINX


def tables(draft: Draft) -> dict[str, Any]:
    return tomllib.loads(draft.toml("nginx.conf"))


def routes(draft: Draft) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = tables(draft)["site"][0]["route"]
    return found


def server(text: str) -> Draft:
    tls = "listen 443 ssl; server_name a.test; ssl_certificate a.pem; ssl_certificate_key a.key;"
    return convert_nginx(f"server {{ {tls} {text} }}")


def test_a_whole_file_is_carried_over_and_can_be_loaded(tmp_path: Path) -> None:
    draft = convert_nginx(NGINX)
    (tmp_path / "made.toml").write_text(draft.toml("nginx.conf"))
    config = load(tmp_path / "made.toml", FEATURES, {})
    listens = [(listen.address, listen.plain_http) for listen in config.listens]
    assert sorted(listens) == [("*:443", "off"), ("*:80", "redirect")]
    [site] = config.sites
    assert site.hosts == ("example.org", "example.net", "*.example.net")
    assert (config.server.user, config.server.workers, config.server.limits.request_body_bytes) == (
        "www-data", 4, 50 << 20,
    )  # fmt: skip
    made = {
        (route.path, str(route.when.path or route.when.path_regex) if route.when else ""): {
            item.name for item in route.features if item.name not in ("compress", "set_headers", "error_pages")
        }
        for route in site.routes
    }
    assert made == {
        ("/", ""): {"static_file", "redirect", "rewrite"},
        ("/api", r"(?i)\.php$"): {"fastcgi", "redirect"},
        ("/api", ""): {"proxy", "redirect"},
        ("/img", ""): {"static_file", "expires", "redirect"},
        ("/", "['/favicon.ico']"): {"respond", "redirect"},
        ("/", r"(?i)\.php$"): {"fastcgi", "redirect"},
        ("/admin", r"(?i)\.php$"): {"fastcgi", "redirect"},
        ("/files", r"(?i)\.php$"): {"fastcgi", "redirect"},
        ("/admin", ""): {"static_file", "access", "basic_auth", "redirect"},
        ("/files", ""): {"directory_listing", "redirect"},
    }


def test_what_is_not_carried_over_is_named_with_its_line() -> None:
    notes = convert_nginx(NGINX).notes
    for text in ("limit_req zone=one", "location @named", "weight=2", "include mime.types"):
        assert any(text in note and note.startswith("line ") for note in notes), text
    for text in ("satisfy any", "if ($x) { ... }", "auth_request /x", "perl_set $a b"):
        written = text.replace("{ ... }", "{ return 403; }") + ("" if "{" in text else ";")
        assert any(text in note for note in server(written).notes), text


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("return 301 https://b.test$request_uri;", {"to": "https://b.test{path}", "status": 301}),
        ("return 302 $scheme://$host/x;", {"to": "{scheme}://{host}/x", "status": 302}),
        ("rewrite ^/a/(.*)$ /b/$1 redirect;", {"when": {"path_regex": "^/a/(.*)$"}, "to": "/b/{1}", "status": 302}),
    ],
)
def test_redirects(text: str, rule: dict[str, Any]) -> None:
    assert tables(server(text))["site"][0]["redirect"]["rule"] == [rule]


def test_a_variable_without_an_equal_is_a_note_and_no_rule() -> None:
    draft = server("return 301 https://$geoip_city/;")
    assert "redirect" not in tables(draft)["site"][0]
    assert any("$geoip_city has no equal" in note for note in draft.notes)


def test_root_and_alias_mean_different_folders() -> None:
    made = routes(server("location /a/ { root /data; } location /b/ { alias /data/; }"))
    assert [route["root"] for route in made] == ["/data/a", "/data"]


def test_what_nobody_may_see_is_not_shown() -> None:
    made = routes(server("root /data; location /internal/ { internal; } location ~ /\\.ht { deny all; }"))
    assert [route["path"] for route in made] == ["/", "/internal", "/internal"]
    assert made[2]["respond"] == {"status": 404}
    assert made[0]["access"] == made[1]["access"] == {"rule": [{"action": "deny"}]}


def test_plain_http_becomes_a_redirect_and_that_is_said() -> None:
    made = convert_nginx("server { listen 8080; root /x; }")
    assert tables(made)["listen"] == [{"address": "*:8080", "plain_http": "redirect"}, {"address": "*:443"}]
    assert made.sites == [{"hosts": ["*"], "root": "/x"}]
    assert any("plain HTTP" in note for note in made.notes)
    assert any("no certificate" in note for note in made.notes)


def test_the_server_with_a_certificate_has_the_host_of_both() -> None:
    tls = "server { listen 443 ssl; server_name a.test; ssl_certificate a; ssl_certificate_key a; root /secure; }"
    made = convert_nginx(f"server {{ listen 80; server_name a.test b.test; root /plain; }} {tls}")
    assert [(site["hosts"], site["root"]) for site in made.sites] == [(["a.test"], "/secure"), (["b.test"], "/plain")]
    assert any("another server for a.test" in note for note in made.notes)


def test_what_is_included_is_read_where_it_stands(tmp_path: Path) -> None:
    (tmp_path / "sites").mkdir()
    (tmp_path / "sites/b.conf").write_text("server {\n listen 443 ssl;\n server_name b.test;\n include tls.conf;\n}")
    (tmp_path / "sites/a.conf").write_text("server { listen 443 ssl; server_name a.test; include tls.conf; nonsense; }")
    (tmp_path / "tls.conf").write_text("ssl_certificate x.pem; ssl_certificate_key x.key;")
    made = convert_nginx("http { include sites/*.conf; include missing.conf; include none/*; }", Includes(tmp_path))
    assert [site["hosts"] for site in made.sites] == [["a.test"], ["b.test"]]
    assert all(site["certificate"] == [{"chain": "x.pem", "key": "x.key"}] for site in made.sites)
    assert f"line 1 of {tmp_path}/sites/a.conf: nonsense" in made.notes
    assert "line 1: include missing.conf" in made.notes
    assert len(made.notes) == 2


def test_programs_run_below_every_path_where_they_ran_before() -> None:
    """Else a folder with a location of its own would show their source."""
    made = routes(
        server(
            "root /srv; location /blog/ { expires 1d; } location ^~ /raw/ { expires 1d; } "
            "location = /blog/x { return 204; } location ~ [.]php$ { fastcgi_pass unix:/run/php.sock; } "
            "location /api/ { proxy_pass http://127.0.0.1:1; }"
            "location /wp-login.php { deny all; }"
        )
    )
    found = [
        (route["path"], *route.get("when", {}).values(), *(set(route) & {"fastcgi", "proxy", "respond"}))
        for route in made
    ]
    assert found == [
        ("/", ["/blog/x"], "respond"),
        ("/", "[.]php$", "fastcgi"),
        ("/blog", ["/blog/x"], "respond"),
        ("/blog", "[.]php$", "fastcgi"),
        ("/blog",),
        ("/raw",),
        ("/api", "[.]php$", "fastcgi"),
        ("/api", "proxy"),
        ("/", ["/wp-login.php*"]),
    ]
    assert [route["fastcgi"]["root"] for route in made if "fastcgi" in route] == ["/srv", "/srv/blog", "/srv/api"]


def test_several_applications_are_carried_over() -> None:
    made = convert_nginx(
        "http { upstream php { server 10.0.0.1:9000; server unix:/run/php.sock weight=2; } server { listen 443 ssl; "
        "server_name a.test; root /srv; location ~ [.]php$ { fastcgi_pass php; } } }"
    )
    (route,) = (route for route in routes(made) if "fastcgi" in route)
    assert route["fastcgi"] == {"upstreams": ["10.0.0.1:9000", "unix:/run/php.sock"], "root": "/srv"}
    assert "line 1: upstream php: server unix:/run/php.sock weight=2" in made.notes


def test_files_that_include_each_other_for_ever_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.conf").write_text("include a.conf;")
    with pytest.raises(SyntaxFault, match="deep"):
        convert_nginx("include a.conf;", Includes(tmp_path))
    (tmp_path / "a.conf").write_text("include b*.conf;")
    for number in range(300):
        (tmp_path / f"b{number}.conf").touch()
    with pytest.raises(SyntaxFault, match="more than 256 files"):
        convert_nginx("include a.conf;", Includes(tmp_path))


@pytest.mark.parametrize("text", ["server {", "}", "a", "a 'b", "{ }", ";", "a { " * 40])
def test_what_is_no_configuration_is_refused_with_a_line(text: str) -> None:
    with pytest.raises(SyntaxFault, match=r"line \d"):
        convert_nginx(text)


def test_a_return_of_nothing_is_a_note() -> None:
    draft = convert_nginx("server { listen 80; return; }")
    assert [note for note in draft.notes if "return" in note], draft.notes


PIECES = st.sampled_from(
    ["server {", "}", "location / {", "listen 443 ssl;", "root /x;", "return 301 $1;", "return;", "rewrite a;", "a",
     ";", "{", "'q'", "proxy_pass http://u/p;", "error_page 404;", "allow;", "try_files =404;", "expires x;", "#c\n",
     "location ~ {"]
)  # fmt: skip


@settings(max_examples=200, deadline=None)
@given(st.lists(PIECES, max_size=14).map(" ".join))
def test_any_text_is_carried_over_or_refused(text: str) -> None:
    try:
        draft = convert_nginx(text)
    except SyntaxFault:
        return
    tomllib.loads(draft.toml("x"))
