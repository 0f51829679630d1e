"""Databases of addresses: what they know, what they don't, and what happens when they are broken or change."""

from __future__ import annotations

import os
from pathlib import Path

import maxminddb
import pytest

from securelight.files import geo_database
from securelight.files.geo_database import NOWHERE, GeoDatabaseError, GeoDatabases, GeoFacts, open_database
from tests.files.mmdb import database, place, write

RECORDS = {"192.0.2.0/24": place("DE"), "2001:db8::/32": place("JP", "AS"), "198.51.100.7/32": place("FR")}


def test_our_databases_are_what_the_library_reads(tmp_path: Path) -> None:
    with maxminddb.open_database(write(tmp_path / "a.mmdb", RECORDS), maxminddb.MODE_FILE) as reader:
        assert reader.get("192.0.2.9") == {"continent": {"code": "EU"}, "country": {"iso_code": "DE"}}
        assert reader.get("192.0.3.9") is None


def no_report(why: str) -> None:
    raise AssertionError(why)


def test_the_first_database_that_knows_says_it(tmp_path: Path) -> None:
    countries = write(tmp_path / "countries.mmdb", RECORDS)
    networks = write(
        tmp_path / "asn.mmdb",
        {"192.0.2.0/25": {"autonomous_system_number": 64_496}, "192.0.2.128/25": {"country": {"iso_code": "XX"}}},
    )
    geo = GeoDatabases([countries, networks], no_report)
    assert geo.facts_of("192.0.2.9") == GeoFacts("DE", "EU", 64_496)
    assert geo.facts_of("192.0.2.200") == GeoFacts("DE", "EU", 0)
    assert geo.facts_of("::ffff:192.0.2.9") == GeoFacts("DE", "EU", 64_496)
    assert geo.facts_of("2001:db8::1") == GeoFacts("JP", "AS", 0)
    for nowhere in ("203.0.113.1", "2001:db9::1", "", "unix:", "192.0.2", "192.0.2.9:80", "::1", "999.1.1.1", "é"):
        assert geo.facts_of(nowhere) == NOWHERE


def test_what_is_no_country_is_none(tmp_path: Path) -> None:
    path = write(
        tmp_path / "odd.mmdb",
        {
            "192.0.2.1/32": {"country": "DE", "autonomous_system_number": "many"},
            "192.0.2.2/32": "DE",
            "192.0.2.3/32": {"country": {"iso_code": "D\n"}, "continent": {"code": 7}},
        },
    )
    geo = GeoDatabases([path], no_report)
    assert {geo.facts_of(f"192.0.2.{number}") for number in (1, 2, 3)} == {NOWHERE}


def test_few_answers_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(geo_database, "REMEMBERED", 8)
    geo = GeoDatabases([write(tmp_path / "a.mmdb", RECORDS)], no_report)
    for number in range(100):
        assert geo.facts_of(f"192.0.2.{number}").country == "DE"
        assert len(geo._known) <= 8


def test_a_changed_file_is_taken_up_and_a_broken_one_is_not(tmp_path: Path) -> None:
    reports: list[str] = []
    path = write(tmp_path / "a.mmdb", RECORDS)
    geo = GeoDatabases([path], reports.append)
    assert geo.facts_of("192.0.2.9").country == "DE"
    write(path, {"192.0.2.0/24": place("AT")})
    assert geo.facts_of("192.0.2.9").country == "DE"  # as long as nobody has looked
    geo.refresh()
    assert geo.facts_of("192.0.2.9").country == "AT"
    for broken in (b"", b"nonsense", database(RECORDS)[:-40]):
        path.write_bytes(broken)  # in place, under the eyes of who reads it
        geo.refresh()
        assert geo.facts_of("192.0.2.9").country == "AT"
    path.unlink()
    geo.refresh()
    assert len(reports) == 4
    assert all(str(path) in report for report in reports)
    geo.refresh()
    assert len(reports) == 4  # once each
    write(path, {"192.0.2.0/24": place("CH")})
    geo.refresh()
    assert geo.facts_of("192.0.2.9").country == "CH"


def test_files_that_are_no_databases_are_named(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("country,DE\n")
    os.mkfifo(tmp_path / "fifo")
    for name in ("none", "text", "fifo", "."):
        with pytest.raises(GeoDatabaseError, match=str(tmp_path)) as refused:
            open_database(tmp_path / name)
        assert "/proc/" not in str(refused.value)


def test_no_damage_is_more_than_an_unknown_address(tmp_path: Path) -> None:
    """Every eighth byte of the tree and the records turned around: an answer or none, never a crash."""
    whole = database(RECORDS)
    path = tmp_path / "a.mmdb"
    for place_of in range(0, len(whole), 8):
        path.write_bytes(whole[:place_of] + bytes([whole[place_of] ^ 0xFF]) + whole[place_of + 1 :])
        try:
            geo = GeoDatabases([path], no_report)
        except GeoDatabaseError:
            continue
        for address in ("192.0.2.9", "198.51.100.7", "2001:db8::1"):
            assert isinstance(geo.facts_of(address), GeoFacts)
