"""Which of several servers is asked next."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from securelight.upstream.balance import BALANCERS, LeastConnections, Rendezvous, RoundRobin, TwoChoices


@dataclass
class Server:
    name: str
    weight: float = 1.0
    load: int = 0

    def share(self) -> float:
        return self.weight


def names(count: int) -> list[Server]:
    return [Server(f"http://10.0.0.{number}:80") for number in range(count)]


def test_round_robin_is_fair_by_weight_and_has_no_runs() -> None:
    servers = [Server("a", 5), Server("b", 1), Server("c", 1)]
    balancer = RoundRobin()
    order = "".join(servers[balancer.choose(servers, b"")].name for _ in range(14))

    assert order == "aabacaa" * 2


def test_round_robin_goes_on_fairly_when_a_server_leaves_and_comes_back() -> None:
    servers = names(3)
    balancer = RoundRobin()
    for _ in range(100):
        balancer.choose(servers[:2], b"")
    counted = Counter(balancer.choose(servers, b"") for _ in range(30))

    assert min(counted.values()) >= 9


def test_least_connections_weighs_what_is_under_way() -> None:
    assert LeastConnections().choose([Server("a", 1, 3), Server("b", 1, 2), Server("c", 1, 4)], b"") == 1
    assert LeastConnections().choose([Server("a", 4, 3), Server("b", 1, 2)], b"") == 0


def test_least_connections_takes_turns_among_equals() -> None:
    balancer = LeastConnections()
    assert {balancer.choose(names(3), b"") for _ in range(3)} == {0, 1, 2}


def test_two_choices_never_takes_the_worst_of_all_and_takes_the_only_one() -> None:
    servers = [Server("a"), Server("b"), Server("c", 1, 100)]
    assert 2 not in {TwoChoices().choose(servers, b"") for _ in range(200)}
    assert TwoChoices().choose(servers[:1], b"") == 0


def test_a_hash_spreads_by_weight_and_moves_only_the_keys_of_the_one_that_goes() -> None:
    servers = [*names(4), Server("heavy", 4)]
    keys = [b"%d" % number for number in range(4000)]
    balancer = Rendezvous()
    before = {key: servers[balancer.choose(servers, key)].name for key in keys}
    fewer = servers[1:]
    after = {key: fewer[balancer.choose(fewer, key)].name for key in keys}
    counted = Counter(before.values())

    assert 1750 < counted["heavy"] < 2250
    assert all(400 < counted[server.name] < 600 for server in servers[:4])
    assert {before[key] for key in keys if before[key] != after[key]} == {servers[0].name}


def test_every_way_chooses_one_that_is_there() -> None:
    for make in BALANCERS.values():
        balancer = make()
        assert {balancer.choose(names(3), b"key") for _ in range(50)} <= {0, 1, 2}
