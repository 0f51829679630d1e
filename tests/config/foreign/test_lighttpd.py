"""The common part of lighttpd.conf, carried over or named."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from securelight.config.foreign.draft import SyntaxFault
from securelight.config.foreign.includes import Includes
from securelight.config.foreign.lighttpd import convert_lighttpd
from securelight.config.load import load
from securelight.features import FEATURES
from tests.config.foreign.originals import LIGHTTPD


def sites(text: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = tomllib.loads(convert_lighttpd(text).toml("lighttpd.conf"))["site"]
    return found


def test_a_whole_file_is_carried_over_and_can_be_loaded(tmp_path: Path) -> None:
    (tmp_path / "made.toml").write_text(convert_lighttpd(LIGHTTPD).toml("lighttpd.conf"))
    config = load(tmp_path / "made.toml", FEATURES, {})
    listens = [(listen.address, listen.plain_http) for listen in config.listens]
    assert listens == [("*:80", "redirect"), ("*:443", "off")]
    assert config.server.user == "www-data"
    first, rest = config.sites
    assert (first.hosts, rest.hosts) == (("example.org", "www.example.org"), ("*",))
    assert sorted(route.path for route in rest.routes) == ["/", "/", "/api", "/docs", "/docs"]
    names = {item.name for item in rest.routes[0].features}
    assert names == {"static_file", "access", "redirect", "rewrite", "expires"}


def test_a_host_has_what_stands_at_the_top_and_its_own_in_its_place() -> None:
    [host, _] = sites("""
        server.document-root = "/srv/www"
        url.access-deny = ( ".inc" )
        url.redirect = ( "^/a" => "/b" )
        alias.url = ( "/docs/" => "/d" )
        $HTTP["host"] == "a.test" { url.redirect = ( "^/x" => "/y" ) }
    """)
    assert host["access"]["rule"] == [{"action": "deny", "when": {"path": ["*.inc"]}}]
    assert [rule["to"] for rule in host["redirect"]["rule"]] == ["/y"]
    assert host["route"] == [{"path": "/docs", "root": "/d"}]


def test_what_is_not_carried_over_is_named_with_its_line() -> None:
    notes = convert_lighttpd(LIGHTTPD).notes
    assert any("auth.require" in note for note in notes)
    assert any('$HTTP["remoteip"]' in note for note in notes)
    notes = convert_lighttpd('mod.unknown = "x"\nurl.redirect = ( "a" => "%1" )\nelse { a = 1 }\n').notes
    assert [note.partition(":")[0] for note in notes[:2]] == ["line 1", "line 2"]


def test_what_is_included_is_read_and_programs_are_not_run(tmp_path: Path) -> None:
    (tmp_path / "conf-enabled").mkdir()
    (tmp_path / "conf-enabled/a.conf").write_text('alias.url = ( "/a/" => "/srv/a/" )\nodd.thing = 1\n')
    (tmp_path / "ran").touch()
    text = f"""server.document-root = "/srv/www"
include_shell "rm {tmp_path}/ran"
include "conf-enabled/*.conf"
include "missing.conf"
"""
    made = convert_lighttpd(text, Includes(tmp_path))
    assert made.sites[0]["route"] == [{"path": "/a", "root": "/srv/a/"}]
    assert (tmp_path / "ran").exists()
    assert [note for note in made.notes if "certificate" not in note] == [
        "line 2: include_shell", f"line 2 of {tmp_path}/conf-enabled/a.conf: odd.thing", "line 4: include",
    ]  # fmt: skip
    (tmp_path / "a.conf").write_text('include "a.conf"')
    with pytest.raises(SyntaxFault, match="deep"):
        convert_lighttpd('include "a.conf"', Includes(tmp_path))


def test_variables_and_the_root_of_a_host_are_where_they_were_used() -> None:
    made = convert_lighttpd(
        """var.base = "/srv"
server.document-root = var.base + "/www"
index-file.names = ("index.php")
fastcgi.server = (".php" => (("socket" => "/run/php.sock")))
alias.url = ("/old/" => var.base + "/old/")
$HTTP["host"] == "b.test" { server.document-root = var.base + "/b"  dir-listing.activate = "enable" }
$HTTP["host"] == "c.test" { proxy.server = ("" => (("host" => "127.0.0.1", "port" => 3000))) }"""
    )
    main, listed, proxied = made.sites[-1], *made.sites[:2]
    assert main["root"] == "/srv/www"
    assert [route.get("fastcgi", route)["root"] for route in main["route"]] == ["/srv/www", "/srv/old/", "/srv/old/"]
    assert [route["path"] for route in main["route"]] == ["/", "/old", "/old"]
    assert listed["directory_listing"] == {"root": "/srv/b", "index": ["index.php"]}
    assert listed["route"][0]["fastcgi"]["root"] == "/srv/b"
    assert not {"root", "static_file", "directory_listing"} & set(proxied)


def test_several_applications_are_one_route() -> None:
    backends = '(("host" => "10.0.0.1", "port" => 9000), ("socket" => "/run/php.sock"), ("port" => 1))'
    (site,) = sites(f'server.document-root = "/srv"\nfastcgi.server = ( ".php" => {backends} )')
    (route,) = site["route"]
    assert route["fastcgi"] == {"upstreams": ["10.0.0.1:9000", "unix:/run/php.sock"], "root": "/srv"}


def test_a_folder_for_each_host() -> None:
    assert sites('evhost.path-pattern = "/srv/%0/"')[0]["root"] == "/srv/{host}"
    assert "root" not in sites('evhost.path-pattern = "/srv/%3/"')[0]


@pytest.mark.parametrize("text", ["a = (", "}", "a b", 'a = "x" }', '$HTTP["host"] == "x" {', "a = ((((" * 20])
def test_what_is_no_configuration_is_refused_with_a_line(text: str) -> None:
    with pytest.raises(SyntaxFault, match=r"line \d"):
        convert_lighttpd(text)


PIECES = st.sampled_from(
    ['a = "b"', "c += (", ")",
     '"k" => "v"', ",", '$HTTP["host"] == "x" {', "}", "url.redirect = (", "server.port = 1",
     'proxy.server = ( "/" => (( "host" => "h" )) )', "alias.url = 1",
     "else", '$HTTP["url"] =~ "(" {', "#c\n", "=", "1"]
)  # fmt: skip


@settings(max_examples=200, deadline=None)
@given(st.lists(PIECES, max_size=14).map(" ".join))
def test_any_text_is_carried_over_or_refused(text: str) -> None:
    try:
        draft = convert_lighttpd(text)
    except SyntaxFault:
        return
    tomllib.loads(draft.toml("x"))
