"""Routes, rules and fields by country, over the wire: behind a trusted proxy, so that clients come from anywhere."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.files.mmdb import place, write
from tests.server.processes import wait_until
from tests.wire.clients import Http1
from tests.wire.conftest import Dial
from tests.wire.server_process import ServerProcess, running, serving, write_config

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.certificates import TestCertificates
    from tests.wire.clients import Client

SITE = """
root = "site"
trusted_proxies = ["127.0.0.1"]

[[site.access.rule]]
action = "deny"
when = { asn = [64496] }

[[site.redirect.rule]]
when = { path = ["/"], country = ["*"] }
to = "/{country}/"
status = 302

[[site.set_headers.rule]]
when = { country = ["*"] }
set = { x-from = "{continent} {country}" }

[[site.route]]
path = "/where"
respond = { placeholders = true, body = "{country} {continent} {asn}|", fields = { x-where = "in {country}" } }

[[site.route]]
path = "/DE"
when = { country = ["DE", "AT"] }
respond = { body = "moin" }
"""
RECORDS = {"192.0.2.0/24": place("DE"), "198.51.100.0/24": place("JP", "AS")}


@pytest.fixture(scope="module")
def server(
    engine: str, tmp_path_factory: pytest.TempPathFactory, certificates: TestCertificates
) -> Iterator[ServerProcess]:
    directory = tmp_path_factory.mktemp(f"geoip-{engine}")
    (directory / "site").mkdir()
    (directory / "site/index.html").write_text("nowhere")
    write(directory / "countries.mmdb", RECORDS)
    write(directory / "asn.mmdb", {"203.0.113.0/24": {"autonomous_system_number": 64_496}})
    extra = '[server.geoip]\ndatabases = ["countries.mmdb", "asn.mmdb"]'
    log = "{client_address} {country} {continent} {asn} {path}"
    write_config(directory, certificates, SITE, engine=engine, extra=extra, log_format=log)
    with serving(directory) as process:
        yield process


def from_(address: str) -> dict[str, str]:
    return {"x-forwarded-for": address}


def test_clients_get_what_is_for_their_country(client: Client) -> None:
    for _ in range(2):  # the second answer is not a repetition of somebody else's
        found = client.request("GET", "/", from_("192.0.2.7"))
        assert (found.status, found.headers["location"], found.headers["x-from"]) == (302, "/DE/", "EU DE")
        found = client.request("GET", "/", from_("198.51.100.7"))
        assert (found.status, found.headers["location"], found.headers["x-from"]) == (302, "/JP/", "AS JP")
        found = client.request("GET", "/", from_("10.0.0.1"))
        assert (found.status, found.body, found.headers.get("x-from")) == (200, b"nowhere", None)
        assert client.request("GET", "/").status == 200
    assert client.request("GET", "/DE/", from_("192.0.2.7")).body == b"moin"
    assert client.request("GET", "/DE/", from_("198.51.100.7")).status == 404


def test_they_are_words_of_bodies_fields_and_logs(client: Client, server: ServerProcess) -> None:
    for address, body, field in (
        ("192.0.2.7", b"DE EU |", "in DE"),
        ("198.51.100.7", b"JP AS |", "in JP"),
        ("10.0.0.1", b"  |", "in"),
    ):
        found = client.request("GET", "/where", from_(address))
        assert (found.body, found.headers["x-where"]) == (body, field)
    server.wait_for_access("198.51.100.7 JP AS - /where")
    server.wait_for_access("10.0.0.1 - - - /where")


def test_a_network_is_kept_out_and_no_client_can_claim_another(client: Client) -> None:
    assert client.request("GET", "/", from_("203.0.113.5")).status == 403
    assert client.request("GET", "/", from_("192.0.2.7, 203.0.113.5")).status == 403
    assert client.request("GET", "/", from_("203.0.113.5, 10.0.0.1")).status == 200  # the last that is not trusted


def test_a_new_database_is_taken_up(dial: Dial, server: ServerProcess) -> None:
    def sent_to() -> str | None:
        """By a connection of its own: confined workers are replaced by others that may open the new file."""
        try:
            client = dial.h1()
            return client.request("GET", "/", {**from_("192.0.2.7"), "connection": "close"}).headers.get("location")
        except OSError:  # of a worker that is about to go
            return None

    write(server.directory / "countries.mmdb", {**RECORDS, "192.0.2.0/24": place("AT")})
    try:
        wait_until(lambda: sent_to() == "/AT/", 60)
    finally:
        write(server.directory / "countries.mmdb", RECORDS)
    wait_until(lambda: sent_to() == "/DE/", 60)


def test_a_broken_database_changes_nothing_and_is_told(tmp_path: Path, certificates: TestCertificates) -> None:
    write(tmp_path / "countries.mmdb", {"127.0.0.0/8": place("DE")})
    site = (
        'respond = { body = "x" }\nredirect = { rule = [{ when = { country = ["DE"] }, to = "/de/", status = 302 }] }'
    )
    write_config(tmp_path, certificates, site, extra='[server.geoip]\ndatabases = ["countries.mmdb"]')
    with running(tmp_path) as server:
        (tmp_path / "broken").write_text("nothing")
        (tmp_path / "broken").replace(tmp_path / "countries.mmdb")
        # The supervisor says it where workers are confined and have to be replaced, else the worker itself.
        told = ("reload failed, nothing has changed", "database of addresses not taken up")
        wait_until(lambda: sum(server.count_events(event=event) for event in told), 60)
        client = Http1(server.port, certificates.ca)
        try:
            assert client.request("GET", "/").headers["location"] == "/de/"
        finally:
            client.close()
