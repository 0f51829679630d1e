from __future__ import annotations

import pytest

from securelight.config.explain import header_of, nearest, schema_json, unknown_key
from tests.config.rows import ROWS


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("wokers", "workers"),
        ("Workers", "workers"),
        ("access-log", "access_log"),
        ("limit", "limits"),
        ("xyzzy", None),
        ("", None),
        ("w" * 100_000, None),
    ],
)
def test_the_nearest_key(typed: str, meant: str | None) -> None:
    assert nearest(typed, ["workers", "access_log", "limits"]) == meant


@pytest.mark.parametrize(
    ("path", "header"),
    [
        ("server", "[server]"),
        ("server.limits", "[server.limits]"),
        ("site[0]", "[[site]]"),
        ("site[12].route[3]", "[[site.route]]"),
        ("site[0].hsts", "[site.hsts]"),
    ],
)
def test_the_header_of_a_table(path: str, header: str) -> None:
    assert header_of(path) == header


def test_an_unknown_key_with_nothing_like_it_gets_the_list_of_keys() -> None:
    assert unknown_key("xyzzy", "server", ["b", "a"], {}) == "unknown key; the keys here are a, b"


class TestSchema:
    SCHEMA = schema_json(ROWS)

    def test_its_top_level_is_that_of_a_file(self) -> None:
        assert self.SCHEMA["properties"].keys() == {"include", "server", "listen", "site", "tcp"}
        assert self.SCHEMA["additionalProperties"] is False

    def test_a_site_has_its_own_keys_the_features_and_their_shorthands(self) -> None:
        site = self.SCHEMA["$defs"]["SiteKeys"]
        assert site["properties"].keys() == {
            "hosts", "tls", "certificate", "client_certificates", "client_ca", "client_crl", "client_user_from",
            "client_users", "trusted_proxies", "route", "root", "app", *(row.name for row in ROWS),
        }  # fmt: skip
        assert site["required"] == ["hosts"]
        assert site["properties"]["proxy"] == {"$ref": "#/$defs/Proxy"}

    def test_a_route_has_no_hosts(self) -> None:
        properties = self.SCHEMA["$defs"]["RouteKeys"]["properties"]
        assert properties.keys() == {"path", "when", "root", "app", *(row.name for row in ROWS)}

    def test_shorthands_of_features_that_are_not_there_are_left_out(self) -> None:
        properties = schema_json(ROWS[:1])["$defs"]["SiteKeys"]["properties"]
        assert "fence" in properties
        assert properties.keys().isdisjoint({"root", "app"})

    def test_bounds_are_in_it(self) -> None:
        definitions = self.SCHEMA["$defs"]
        assert definitions["ServerConfig"]["properties"]["workers"]["maximum"] == 1_024
        assert definitions["ListenConfig"]["properties"]["redirect_port"]["maximum"] == 65_535
        assert definitions["Limits"]["properties"]["request_body_bytes"]["minimum"] == 0
