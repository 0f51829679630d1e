"""Conditions that ask where an address is from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from securelight.config.conditions import Condition, condition_faults
from securelight.files.geo_database import GeoDatabases
from securelight.model.request import Facts
from securelight.pipeline.conditions import captured_names, compile_condition, depends_on_head_only
from tests.files.mmdb import place, write
from tests.helpers import make_request


@pytest.fixture(scope="module")
def geo(tmp_path_factory: pytest.TempPathFactory) -> GeoDatabases:
    folder = tmp_path_factory.mktemp("geo")
    countries = {"192.0.2.0/24": place("DE"), "198.51.100.0/24": place("JP", "AS"), "2001:db8::/32": place("FR")}
    networks = {"192.0.2.0/24": {"autonomous_system_number": 64_496}, "203.0.113.0/24": {"autonomous_system_number": 7}}
    paths = [write(folder / "countries.mmdb", countries), write(folder / "asn.mmdb", networks)]  # type: ignore[arg-type]
    return GeoDatabases(paths, pytest.fail)


GERMAN, JAPANESE, FRENCH, NETWORK_ONLY, NOWHERE = "192.0.2.1", "198.51.100.1", "2001:db8::1", "203.0.113.1", "10.0.0.1"
ALL = (GERMAN, JAPANESE, FRENCH, NETWORK_ONLY, NOWHERE)


@pytest.mark.parametrize(
    ("settings", "who"),
    [
        ({"country": ["DE", "AT"]}, [GERMAN]),
        ({"country": ["*"]}, [GERMAN, JAPANESE, FRENCH]),
        ({"country": ["XX", "*"]}, [GERMAN, JAPANESE, FRENCH]),
        ({"continent": ["EU"]}, [GERMAN, FRENCH]),
        ({"asn": [64_496, 7]}, [GERMAN, NETWORK_ONLY]),
        ({"continent": ["EU"], "asn": [64_496]}, [GERMAN]),
        ({"country": ["FR"], "asn": [64_496]}, []),
        ({"not": {"country": ["DE"]}}, [JAPANESE, FRENCH, NETWORK_ONLY, NOWHERE]),
        ({"any": [{"country": ["JP"]}, {"asn": [7]}]}, [JAPANESE, NETWORK_ONLY]),
        ({"country": ["*"], "path": ["/other"]}, []),
    ],
)
def test_who_is_from_where(geo: GeoDatabases, settings: dict[str, Any], who: list[str]) -> None:
    condition = msgspec.convert(settings, Condition)
    compiled = compile_condition(condition, Path(), geo)
    assert [address for address in ALL if compiled.test(make_request(path="/"), Facts(address))] == who
    assert not compiled.head_only
    assert not depends_on_head_only(condition)


def test_what_is_known_can_be_used_in_rules(geo: GeoDatabases) -> None:
    condition = Condition(country=["*"], path_regex="^/(?P<page>[a-z]+)$")
    assert captured_names(condition) >= {"country", "continent", "asn", "page"}
    facts = Facts(JAPANESE)
    test = compile_condition(condition, Path(), geo).test
    assert test(make_request(path="/tide"), facts)
    assert facts.captures == {"country": "JP", "continent": "AS", "asn": "", "page": "tide", "1": "tide"}
    facts = Facts(JAPANESE)
    assert not test(make_request(path="/"), facts)
    assert facts.captures is None
    facts = Facts(GERMAN)
    assert compile_condition(msgspec.convert({"not": {"country": ["JP"]}}, Condition), Path(), geo).test(
        make_request(), facts
    )
    assert facts.captures is None


@pytest.mark.parametrize("text", ["de", "GERMANY", "", "D", "DE*"])
def test_what_is_no_country_is_a_fault(text: str) -> None:
    (fault,) = condition_faults(Condition(country=[text]))
    assert "when.country" in fault


def test_without_databases_such_a_condition_is_refused() -> None:
    for settings in ({"country": ["DE"]}, {"any": [{"asn": [1]}]}, {"not": {"continent": ["EU"]}}):
        with pytest.raises(ValueError, match=r"\[server.geoip\]"):
            compile_condition(msgspec.convert(settings, Condition), Path())
