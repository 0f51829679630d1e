"""This server on each engine, and the bare reactor: the least that the same libraries can do (see bare_reactor.py)."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

from benchmarks.peers.peer import (
    APPLICATION_FOLDER,
    RULES,
    Ability,
    Peer,
    Place,
    common_values,
    each_site,
    fill,
    split_template,
    write_users,
)
from benchmarks.setting import SMALL, TEN, Setting

SITES_A_FILE = 500
"""A configuration file may have a megabyte."""


_WSGI = f"""[[site.route]]
path = "/wsgi"
[site.route.wsgi]
app = "bench_app:wsgi"
app_directory = "{APPLICATION_FOLDER}"
"""


def write_our_config(setting: Setting, place: Place, engine: str) -> Path:
    """A folder of configuration files: one for the server, and sites in further ones."""
    if place.application:
        content = f"""app = "bench_app:app"
[site.asgi]
app_directory = "{APPLICATION_FOLDER}"
[[site.route]]
path = "/static"
root = "{setting.site / "static"}"
{_WSGI if place.features else ""}"""
    else:
        content = f"""[[site.route]]
path = "/"
root = "{setting.site}"
[[site.route]]
path = "/behind"
[site.route.proxy]
upstreams = ["http://127.0.0.1:{setting.origin_port}"]
{_features(setting, place) if place.features and len(place.identities) == 1 else ""}"""
    values = {**common_values(setting, place), "engine": engine, "content": content}
    server, each, _ = split_template("securelight.toml")
    folder = place.directory / "conf.d"
    folder.mkdir(exist_ok=True)
    (folder / "0000.toml").write_text(fill(server, values))
    sites = each_site(each, place, values)
    for start in range(0, len(sites), SITES_A_FILE):
        (folder / f"1{start:05}.toml").write_text("".join(sites[start : start + SITES_A_FILE]))
    return folder


def _features(setting: Setting, place: Place) -> str:
    write_users(place)
    (place.directory / "users").chmod(0o600)
    rules = "".join(
        f"""[[site.route.redirect.rule]]
when = {{ {_RULES[number % len(_RULES)].replace("N", str(number))} }}
to = "/new/{number}"
"""
        for number in range(RULES)
    )
    files = {
        name: f"""[[site.route]]
path = "/{name}"
root = "{setting.site / name}"
"""
        for name in ("coded", "ruled", "limited", "guarded")
    }
    behind = f"""[site.route.proxy]
upstreams = ["http://127.0.0.1:{setting.origin_port}"]
"""
    return f"""{files["coded"]}[site.route.compress]
[[site.route]]
path = "/made"
{behind}[site.route.compress]
[[site.route]]
path = "/kept"
{behind}[site.route.cache]
{files["ruled"]}{rules}{files["limited"]}[[site.route.rate_limit.rule]]
requests = 1000000
{files["guarded"]}[site.route.basic_auth]
file = "{place.directory / "users"}"
[[site.route]]
path = "/php"
[site.route.fastcgi]
upstream = "unix:{setting.php_socket}"
root = "{setting.site / "php"}"
"""


_RULES = (
    "path_regex = '^/blog/N/(?P<slug>[a-z0-9-]+)/?$'",
    'path_prefix = ["/old/N"]',
    'path = ["*.xN"]',
    'header = { x-betaN = "*" }',
)


def _securelight(engine: str) -> Callable[[Setting, Place], list[str]]:
    def command(setting: Setting, place: Place) -> list[str]:
        return ["-m", "securelight", "run", "-c", str(write_our_config(setting, place, engine))]

    return command


def _bare(setting: Setting, place: Place) -> list[str]:
    first = place.identities[0]
    files = [str(path) for path in (first.chain, first.key, setting.site)]
    return ["-m", "benchmarks.bare_reactor", str(place.port), *files, SMALL, TEN]


_OURS = frozenset(Ability)
_VERSION = ("-m", "securelight", "version")

OURS = (
    Peer("securelight", sys.executable, "securelight", _securelight("native"), _OURS, _VERSION),
    Peer("securelight-pure", sys.executable, "securelight", _securelight("pure"), _OURS, _VERSION),
    Peer(
        "bare",
        sys.executable,
        "securelight",
        _bare,
        frozenset({Ability.HTTP1, Ability.HTTP2, Ability.TLS12, Ability.SMALL_FILES}),
    ),
)
