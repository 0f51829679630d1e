"""The settings that every route with servers behind it has: which is asked next, which is not asked for a while."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Literal, TypeVar

import msgspec

from securelight.handlers.proxy_settings import ProxyHealth
from securelight.handlers.upstream_group import Member, StickyCookie, cookie_value
from securelight.model.field_syntax import is_field_name
from securelight.upstream.health import CheckRules, HealthRules

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from securelight.model.request import Facts, Request
    from securelight.pipeline.compile import EventLog

Balance = Literal[
    "round_robin", "least_connections", "two_choices", "hash_address", "hash_uri", "hash_header", "hash_cookie"
]
M = TypeVar("M", bound=Member)
HOST = re.compile(r"[A-Za-z0-9._~:\[\]-]{1,255}")
_CHECK_PATH = re.compile(r"/[!-~]*")
_SECRET_BYTES = 16


class BalanceConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The keys of all of them."""

    weights: dict[str, Annotated[int, msgspec.Meta(ge=1, le=1000)]] = {}
    """Shares of servers, by what stands in `upstreams`; 1 for those that are not named."""
    balance: Balance = "round_robin"
    """Which server is asked next."""
    hash_name: str = ""
    """The field or cookie of hash_header and hash_cookie."""
    sticky_cookie: str = ""
    """The name of a cookie that brings a client back to the server it had; empty for none."""
    sticky_secret_file: str = ""
    """A file with at least 16 random bytes that sign the cookie, such as `openssl rand -hex 32` makes."""
    retries: Annotated[int, msgspec.Meta(ge=0, le=10)] = 2
    """How often a request is sent again, where no server can have done anything with it or doing it twice is safe."""
    try_seconds: Annotated[float, msgspec.Meta(ge=0, le=300)] = 0.0
    """For how long servers are tried none of which takes a connection, such as while the only one restarts."""
    health: ProxyHealth = ProxyHealth()


def balance_faults(settings: BalanceConfig, upstreams: Sequence[str], base: Path) -> list[str]:
    """What is wrong with those keys, and with the list of servers, besides their types."""
    faults = [f"weights: {name!r} is none of the upstreams" for name in settings.weights if name not in upstreams]
    if len(set(upstreams)) != len(upstreams):
        faults.append("upstreams: the same server twice; give it a weight instead")
    by_name = settings.balance in ("hash_header", "hash_cookie")
    if by_name and not is_field_name(settings.hash_name):
        faults.append(f"hash_name must name the field or cookie of balance = {settings.balance!r}")
    elif settings.hash_name and not by_name:
        faults.append("hash_name is for balance = 'hash_header' and 'hash_cookie' only")
    return faults + _sticky_faults(settings, base) + _health_faults(settings.health)


def _sticky_faults(settings: BalanceConfig, base: Path) -> list[str]:
    if not settings.sticky_cookie:
        return ["sticky_secret_file is of use with sticky_cookie only"] if settings.sticky_secret_file else []
    faults = []
    if not is_field_name(settings.sticky_cookie):
        faults.append(f"sticky_cookie {settings.sticky_cookie!r} is not the name of a cookie")
    if not settings.sticky_secret_file:
        faults.append("sticky_secret_file must name a file with the secret that signs the sticky cookie")
        return faults
    try:
        _read_secret(base / settings.sticky_secret_file)
    except (OSError, ValueError) as error:
        faults.append(f"sticky_secret_file {settings.sticky_secret_file!r}: {error}")
    return faults


def _read_secret(path: Path) -> bytes:
    with path.open("rb") as file:
        secret = file.read(4096).strip()
    if len(secret) < _SECRET_BYTES:
        raise ValueError(f"has fewer than {_SECRET_BYTES} bytes; make one with: openssl rand -hex 32")
    return secret


def _health_faults(health: ProxyHealth) -> list[str]:
    faults = []
    if health.path and not _CHECK_PATH.fullmatch(health.path):
        faults.append(f"health.path {health.path!r} must begin with a slash and be visible ASCII")
    if health.path and health.connect:
        faults.append("health.connect is of no use with health.path: a question needs a connection too")
    if health.host and not HOST.fullmatch(health.host):
        faults.append(f"health.host {health.host!r} is not a host name")
    if health.statuses[0] > health.statuses[1]:
        faults.append("health.statuses: the first is greater than the last")
    return faults


def health_rules(health: ProxyHealth, servers: int) -> HealthRules:
    """When one of so many servers is down: failures of requests say nothing of a single one."""
    return HealthRules(
        failures=health.failures if servers > 1 else 0,
        failure_seconds=health.failure_seconds,
        slow_start_seconds=health.slow_start_seconds,
        ups=health.ups,
        downs=health.downs,
    )


def check_rules(health: ProxyHealth) -> CheckRules:
    """The active checks."""
    return CheckRules(
        health.path, health.host, health.statuses, health.seconds, health.timeout_seconds, connect=health.connect
    )


def reporter(events: EventLog, name: str) -> Callable[[str, str], None]:
    """What tells the event log when the health of server `name` changes."""

    def report(change: str, why: str) -> None:
        tell = events.info if change == "up" else events.warning
        tell(f"upstream {change}", upstream=name, why=why)

    return report


def sticky_cookie(settings: BalanceConfig, base: Path, members: Sequence[M]) -> StickyCookie[M] | None:
    """The cookie, None without one.

    Errors: OSError and ValueError, for what `balance_faults` reports.
    """
    if not settings.sticky_cookie:
        return None
    return StickyCookie(settings.sticky_cookie, _read_secret(base / settings.sticky_secret_file), members)


def key_of(
    settings: BalanceConfig, client_address: Callable[[Request, Facts], str]
) -> Callable[[Request, Facts], bytes]:
    """What a hash is made of."""
    name = settings.hash_name.encode("ascii")
    if settings.balance == "hash_address":
        return lambda request, facts: client_address(request, facts).encode()
    if settings.balance == "hash_uri":
        return lambda request, _facts: request.target
    if settings.balance == "hash_header":
        return lambda request, _facts: request.headers.get(name.lower()) or b""
    if settings.balance == "hash_cookie":
        return lambda request, _facts: cookie_value(request, name) or b""
    return lambda _request, _facts: b""
