"""Several applications behind FastCGI, SCGI and uwsgi: balanced, failing, coming back; both protocols, both engines.

One server for each engine. Each test has a route of its own, as what is remembered of applications is the route's.
"""

from __future__ import annotations

import contextlib
import json
import re
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import pytest

from tests.server.processes import wait_until
from tests.wire.cgi_upstream import KINDS, CgiUpstream
from tests.wire.server_process import ServerProcess, running, write_config

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.certificates import TestCertificates
    from tests.wire.clients import Client
    from tests.wire.conftest import Dial

REST = "failures = 1\nfailure_seconds = 600"
CHECKS = "failures = 0\nseconds = 0.1\nups = 2\ndowns = 2"


AWAY = ("checked", "connects", "patient", "restarts")


class Behind(NamedTuple):
    """The applications of one protocol.

    Attributes:
        a, b: are there.
        full: says that it can take no more (FastCGI).
        away: by route, the socket at which nobody listens until a test does.
        none_1, none_2: addresses at which nobody ever listens.
    """

    a: CgiUpstream
    b: CgiUpstream
    full: CgiUpstream
    away: dict[str, Path]
    none_1: str
    none_2: str


Server = tuple[ServerProcess, dict[str, Behind]]


def routes(kind: str, behind: Behind) -> str:
    """The routes of one protocol."""
    a, b, full = (f'"{one.address}"' for one in (behind.a, behind.b, behind.full))
    none_1, none_2 = f'"{behind.none_1}"', f'"{behind.none_2}"'
    checked, connects, patient, restarts = (f'"unix:{one}"' for one in behind.away.values())
    path = f"/{kind}/checked/healthy"
    tables = {
        "checked": f'upstreams = [{b}, {checked}]\n[site.route.{kind}.health]\npath = "{path}"\n{CHECKS}',
        "connects": f"upstreams = [{b}, {connects}]\n[site.route.{kind}.health]\nconnect = true\n{CHECKS}",
        "patient": f"upstreams = [{patient}]\ntry_seconds = 30",
        "restarts": f"upstreams = [{restarts}]\ntry_seconds = 30\nretries = 10",
        "turn": f"upstreams = [{a}, {b}]\nweights = {{ {a} = 3 }}",
        "hash": f'upstreams = [{a}, {b}]\nbalance = "hash_header"\nhash_name = "X-User"',
        "cookie-hash": f'upstreams = [{a}, {b}]\nbalance = "hash_cookie"\nhash_name = "user"',
        "uri": f'upstreams = [{a}, {b}]\nbalance = "hash_uri"',
        "address": f'upstreams = [{a}, {b}]\nbalance = "hash_address"',
        "least": f'upstreams = [{a}, {b}]\nbalance = "least_connections"',
        "two": f'upstreams = [{a}, {b}]\nbalance = "two_choices"',
        "sticky": f'upstreams = [{a}, {b}]\nsticky_cookie = "at"\nsticky_secret_file = "secret"',
        "one-gone": f"upstreams = [{none_1}, {a}]\nhealth = {{ failures = 0 }}",
        "rests": f"upstreams = [{none_1}, {b}]\n[site.route.{kind}.health]\n{REST}",
        "gone": f"upstreams = [{none_1}, {none_2}]\n[site.route.{kind}.health]\n{REST}",
        "single": f"upstream = {none_1}\n[site.route.{kind}.health]\n{REST}",
        "full": f"upstreams = [{full}, {a}]",
        "close": f"upstreams = [{a}, {b}]\nhealth = {{ failures = 0 }}",
        "unwell": f"upstreams = [{a}, {b}]\n[site.route.{kind}.health]\n{REST}\nfailure_statuses = [503]",
        "slow": f"upstreams = [{a}, {b}]\ntimeouts.idle_seconds = 4\n[site.route.{kind}.health]\n{REST}",
        "gives-up": f"upstreams = [{a}, {b}]\n[site.route.{kind}.health]\n{REST}",
        "late": f"upstreams = [{a}, {b}]\ntimeouts.first_byte_seconds = 0.3\n[site.route.{kind}.health]\n{REST}",
    }
    head = '[[site.route]]\npath = "/{kind}/{name}"\n[site.route.{kind}]\n'
    return "".join(f"{head.format(kind=kind, name=name)}{table}\n" for name, table in tables.items())


@pytest.fixture(scope="module")
def served(engine: str, tmp_path_factory: pytest.TempPathFactory, certificates: TestCertificates) -> Iterator[Server]:
    """The server, and what stands behind it."""
    directory = tmp_path_factory.mktemp(f"cgi-{engine}")
    (directory / "secret").write_text("a secret of many bytes")
    behind = {}
    with contextlib.ExitStack() as stack:
        for kind in KINDS:
            made = [CgiUpstream(kind, "a"), CgiUpstream(kind, "b", directory / f"{kind}-b"), CgiUpstream(kind, "full")]
            for one in made:
                stack.callback(one.close)
            none_1, none_2 = (f"unix:{directory}/{kind}-none-{number}" for number in (1, 2))
            away = {route: directory / f"{kind}-{route}" for route in AWAY}
            behind[kind] = Behind(made[0], made[1], made[2], away, none_1, none_2)
        site = "".join(routes(kind, behind[kind]) for kind in KINDS)
        site += '[[site.route]]\npath = "/status"\nstatus_page = {}\n[[site.route]]\npath = "/metrics"\nmetrics = {}\n'
        write_config(directory, certificates, site, engine=engine)
        yield stack.enter_context(running(directory)), behind


@pytest.fixture
def server(served: Server) -> ServerProcess:
    """The server."""
    return served[0]


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    """The protocol."""
    return str(request.param)


@pytest.fixture
def behind(served: Server, kind: str) -> Iterator[Behind]:
    """What stands behind it, as if nobody had asked yet."""
    found = served[1][kind]
    for one in (found.a, found.b):
        one.requests.clear()
        one.waits.clear()
        one.proceed.clear()
    yield found
    for one in (found.a, found.b):
        one.proceed.set()


def bodies(client: Client, path: str, count: int, **keys: str) -> list[bytes]:
    answers = [client.request("GET", path, {name.replace("_", "-"): value for name, value in keys.items()})
               for _ in range(count)]  # fmt: skip
    assert {answer.status for answer in answers} == {200}
    return [answer.body for answer in answers]


# Which one is asked.


def test_in_turn_by_weight(client: Client, kind: str) -> None:
    found = b"".join(bodies(client, f"/{kind}/turn", 16))
    assert (found.count(b"a"), found.count(b"b")) == (12, 4)
    assert b"bb" not in found


@pytest.mark.parametrize(("route", "field", "value"), [("hash", "x_user", "{}"), ("cookie-hash", "cookie", "user={}")])
def test_the_same_key_leads_to_the_same_one(client: Client, kind: str, route: str, field: str, value: str) -> None:
    found = {user: set(bodies(client, f"/{kind}/{route}", 3, **{field: value.format(user)})) for user in range(40)}
    assert all(len(names) == 1 for names in found.values())
    assert set.union(*found.values()) == {b"a", b"b"}
    assert len(set(bodies(client, f"/{kind}/{route}", 3))) == 1, "those without a key are alike"


def test_the_address_and_the_uri_are_keys_too(client: Client, kind: str, dial: Dial) -> None:
    assert len(set(bodies(client, f"/{kind}/address", 4) + bodies(dial.h1(), f"/{kind}/address/other", 4))) == 1
    found = {page: set(bodies(client, f"/{kind}/uri/{page}", 2)) for page in range(40)}
    assert all(len(names) == 1 for names in found.values())
    assert set.union(*found.values()) == {b"a", b"b"}


@pytest.mark.parametrize("route", ["least", "two"])
def test_the_one_with_less_to_do_is_asked(client: Client, kind: str, behind: Behind, dial: Dial, route: str) -> None:
    busy = dial.h1()
    busy.send(f"GET /{kind}/{route}/wait HTTP/1.1\r\nHost: {busy.host}\r\n\r\n".encode())
    wait_until(lambda: behind.a.waits.is_set() or behind.b.waits.is_set(), 15)
    idle = b"b" if behind.a.waits.is_set() else b"a"
    assert set(bodies(client, f"/{kind}/{route}", 6)) == {idle}
    behind.a.proceed.set()
    behind.b.proceed.set()
    assert busy.answer().status == 200


def test_a_sticky_cookie_that_cannot_be_made_up(client: Client, kind: str) -> None:
    first = client.request("GET", f"/{kind}/sticky")
    cookie = first.headers["set-cookie"]
    assert re.fullmatch(r"at=[0-9a-f]{32}; Path=/; HttpOnly; SameSite=Lax; Secure", cookie)
    again = [client.request("GET", f"/{kind}/sticky", {"cookie": cookie.partition(";")[0]}) for _ in range(5)]
    assert {(answer.body, answer.headers.get("set-cookie")) for answer in again} == {(first.body, None)}
    made_up = [client.request("GET", f"/{kind}/sticky", {"cookie": "at=" + "0" * 32}) for _ in range(2)]
    assert {answer.body for answer in made_up} == {b"a", b"b"}
    assert all("set-cookie" in answer.headers for answer in made_up)


# What fails.


def test_one_that_is_not_there_costs_nobody_a_request(client: Client, kind: str, behind: Behind) -> None:
    fields = {"content-length": "70000"}
    answers = [client.request("POST", f"/{kind}/one-gone", fields, b"x" * 70_000) for _ in range(4)]
    assert {(answer.status, answer.body) for answer in answers} == {(200, b"a")}
    assert [len(body) for _path, body in behind.a.requests] == [70_000] * 4


def test_one_that_fails_rests(client: Client, kind: str, server: ServerProcess, behind: Behind) -> None:
    assert set(bodies(client, f"/{kind}/rests", 4)) == {b"b"}
    wait_until(lambda: server.count_events(event="upstream down", upstream=behind.none_1), 15)


def test_all_of_them_down_is_503_with_a_time_to_come_back(client: Client, kind: str) -> None:
    first, answer = (client.request("GET", f"/{kind}/gone") for _ in range(2))
    assert first.status in (502, 503)  # 503 if they have rested since another protocol's turn
    assert answer.status == 503
    assert 0 < int(answer.headers["retry-after"]) <= 601


def test_a_single_one_never_rests(client: Client, kind: str) -> None:
    assert [client.request("GET", f"/{kind}/single").status for _ in range(5)] == [502] * 5


def test_one_that_did_not_look_at_a_request_is_not_the_last(client: Client, kind: str, behind: Behind) -> None:
    if kind == "fastcgi":  # the others can't say so
        fields = {"content-type": "text/plain"}
        assert set(bodies(client, "/fastcgi/full", 4)) == {b"a"}
        posted = [client.request("POST", "/fastcgi/full", fields, b"") for _ in range(2)]
        assert {(answer.status, answer.body) for answer in posted} == {(200, b"a")}
        return
    assert bodies(client, f"/{kind}/full", 2).count(b"a") == 1
    assert len(behind.a.requests) == 1


def test_what_may_have_been_done_is_not_done_twice(client: Client, kind: str, behind: Behind) -> None:
    for fields, body in (({"content-length": "3"}, b"abc"), ({"content-length": "0"}, b"")):
        assert client.request("POST", f"/{kind}/close/close", fields, body).status == 502
    assert sorted(body for _path, body in behind.a.requests + behind.b.requests) == [b"", b"abc"]


def test_what_may_be_done_twice_is_asked_of_others(client: Client, kind: str, behind: Behind) -> None:
    assert client.request("GET", f"/{kind}/close/close").status == 502
    assert (len(behind.a.requests), len(behind.b.requests)) in ((1, 2), (2, 1)), "the first one and two retries"


def test_one_that_says_that_it_is_unwell_rests(client: Client, kind: str, behind: Behind) -> None:
    """Both do in the end: then it is we who say so, and nobody is asked."""
    while (answer := client.request("GET", f"/{kind}/unwell/unwell")).body in (b"a", b"b"):
        assert answer.status == 503
    assert answer.status == 503
    assert "retry-after" in answer.headers
    assert len(behind.a.requests) <= 1
    assert len(behind.b.requests) <= 1


def test_one_that_is_late_rests(client: Client, kind: str, behind: Behind) -> None:
    statuses = [client.request("GET", f"/{kind}/late/wait").status for _ in range(3)]
    assert set(statuses[:2]) <= {504, 503}
    assert statuses[2] == 503
    assert len(behind.a.requests) <= 1
    assert len(behind.b.requests) <= 1


def test_a_client_that_is_slow_or_gone_says_nothing_of_them(dial: Dial) -> None:
    """Not while they wait for its upload, though they have begun to answer; each failure would be the last."""
    one, two = dial.h1(), dial.h2()
    one.send(b"POST /scgi/slow/early HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nhalf")
    streams = [
        two.open("POST", f"/{kind}/slow/early", {"content-length": "9"}, end=False) for kind in KINDS for _ in range(2)
    ]
    for stream in streams:
        two.send_body(stream, b"half", end=False)
    for kind in KINDS:
        gone = dial.h1()
        gone.send(f"POST /{kind}/slow HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nhalf".encode())
        gone.close()
    answers = [one.answer(), *(two.answer(stream) for stream in streams)]
    assert all(answer.reset is not None for answer in answers), "nothing came for idle_seconds"
    for kind in KINDS:
        assert set(bodies(two, f"/{kind}/slow", 4)) == {b"a", b"b"}


def test_one_that_gave_a_slow_client_up_is_not_blamed(dial: Dial) -> None:
    client = dial.h2()
    paths = [f"/{kind}/gives-up/gives-up" for kind in KINDS for _ in range(2)]
    streams = [client.open("POST", path, {"content-length": "9"}, end=False) for path in paths]
    for stream in streams:
        client.send_body(stream, b"half", end=False)
    assert [client.answer(stream).status for stream in streams] == [502] * 6
    for kind in KINDS:
        assert set(bodies(client, f"/{kind}/gives-up", 4)) == {b"a", b"b"}


# Checks, and what comes back.


@pytest.mark.parametrize("route", ["checked", "connects"])
def test_checks_take_one_out_and_bring_it_back(
    client: Client, kind: str, behind: Behind, route: str, server: ServerProcess
) -> None:
    path, socket = f"/{kind}/{route}", behind.away[route]

    def told(change: str) -> int:
        return server.count_events(event=f"upstream {change}", upstream=f"unix:{socket}")

    wait_until(lambda: told("down") > told("up"), 20)
    back = CgiUpstream(kind, "back", socket)
    try:
        wait_until(lambda: told("down") == told("up"), 20)
        assert set(bodies(client, path, 4)) == {b"b", b"back"}
        if route == "checked":
            assert back.checks >= 2
            back.well = False
            wait_until(lambda: told("down") > told("up"), 20)
            back.requests.clear()
            assert set(bodies(client, path, 4)) == {b"b"}
            assert not back.requests
        else:
            assert back.checks == 0
    finally:
        back.close()
    wait_until(lambda: told("down") > told("up"), 20)
    assert set(bodies(client, path, 4)) == {b"b"}


def test_one_that_restarts_is_waited_for(client: Client, kind: str, behind: Behind, dial: Dial) -> None:
    early = dial.h1()
    early.send(f"POST /{kind}/patient HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc".encode())
    back = CgiUpstream(kind, "back", behind.away["patient"])
    try:
        assert early.answer().body == b"back"
        assert bodies(client, f"/{kind}/patient", 2) == [b"back"] * 2
    finally:
        back.close()


def test_restarts_under_load_lose_no_request_that_may_be_sent_again(kind: str, behind: Behind, dial: Dial) -> None:
    seen: list[bytes] = []
    over = threading.Event()

    def load(client: Client) -> None:
        while not over.is_set():
            answer = client.request("GET", f"/{kind}/restarts")
            seen.append(answer.body if answer.status == 200 else str(answer.status).encode())

    def answered(count: int) -> bool:
        return len(seen) >= count

    with ThreadPoolExecutor(4) as pool, contextlib.ExitStack() as stack:
        made = [pool.submit(load, client) for client in (dial.h1(), dial.h1(), dial.h2(), dial.h2())]
        stack.callback(over.set)
        for life in range(5):
            upstream = CgiUpstream(kind, f"life {life}", behind.away["restarts"])
            stack.callback(upstream.close)
            wanted = len(seen) + 30
            wait_until(partial(answered, wanted), 20)
            if life < 4:
                upstream.close()
        over.set()
        for one in made:
            one.result(20)
    assert set(seen) == {b"life %d" % life for life in range(5)}


# What is told.


def test_the_status_and_the_metrics_name_each_of_them(client: Client, kind: str, behind: Behind) -> None:
    here, away = behind.a.address, f"unix:{behind.away['checked']}"

    def listed() -> bool:
        answer = client.request("GET", "/status", {"accept": "application/json"})
        found = {one["url"]: one for one in json.loads(answer.body)["upstreams"]}
        return here in found and away in found

    wait_until(listed, 20)
    metrics = client.request("GET", "/metrics").body.decode()
    assert f'url="{here}"' in metrics
    assert f'url="{away}"' in metrics
