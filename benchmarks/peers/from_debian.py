"""Servers that Debian has packages of."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

from benchmarks.peers.peer import ALL_FILES, RULES, Ability, Peer, Place, site_features, write_config, write_users
from benchmarks.setting import Setting


def _nginx(log_options: str = "", more: str = "") -> Callable[[Setting, Place], list[str]]:
    def command(setting: Setting, place: Place) -> list[str]:
        write_users(place)
        rules = _rules("            rewrite ^/blog/{0}/([a-z0-9-]+)/?$ /new/{0} permanent;")
        features = site_features("nginx-features.conf", setting, place, rules=rules)
        config = write_config("nginx.conf", setting, place, log_options=log_options, more=more, features=features)
        return ["-p", str(place.directory), "-e", str(place.directory / "error.log"), "-c", str(config)]

    return command


_TUNED = _nginx(" buffer=64k flush=1s", "open_file_cache max=200000 inactive=60s; open_file_cache_valid 1s;")


def _lighttpd(setting: Setting, place: Place) -> list[str]:
    (place.directory / "deflate").mkdir(exist_ok=True)
    write_users(place)
    rules = _rules('    "^/blog/{0}/([a-z0-9-]+)/?$" => "/new/{0}",')
    return ["-D", "-f", str(write_config("lighttpd.conf", setting, place, rules=rules))]


def _caddy(setting: Setting, place: Place) -> list[str]:
    write_users(place)
    user, _, hashed = (place.directory / "users").read_text().strip().partition(":")
    rules = _rules("\tredir /blog/{0}/* /new/{0} permanent")
    features = site_features("Caddyfile-features", setting, place, rules=rules, user=user, hash=hashed)
    config = write_config("Caddyfile", setting, place, features=features)
    return ["run", "--adapter", "caddyfile", "--config", str(config)]


def _varnish(setting: Setting, place: Place) -> list[str]:
    first = place.identities[0]
    pair = place.directory / "pair.pem"
    pair.touch(0o600)
    pair.write_bytes(first.chain.read_bytes() + first.key.read_bytes())
    return [
        "-m",
        "benchmarks.peers.varnish",
        str(place.directory),
        str(pair),
        str(place.port),
        str(setting.origin_port),
    ]


def _rules(line: str) -> str:
    return "\n".join(line.format(number) for number in range(RULES))


def _h2o(setting: Setting, place: Place) -> list[str]:
    # Started as root, h2o wants to be told whom to become; anybody else cannot become anybody.
    user = "user: nobody" if os.geteuid() == 0 else ""
    return ["-m", "worker", "-c", str(write_config("h2o.yaml", setting, place, user=user))]


def _haproxy(setting: Setting, place: Place) -> list[str]:
    first = place.identities[0]
    pair = place.directory / "pair.pem"
    pair.touch(0o600)
    pair.write_bytes(first.chain.read_bytes() + first.key.read_bytes())
    return ["-db", "-f", str(write_config("haproxy.cfg", setting, place))]


_MORE = frozenset({Ability.PROXY, Ability.CODING, Ability.RULES, Ability.PASSWORDS, Ability.FASTCGI})
_NGINX = frozenset(Ability) - {Ability.APPLICATIONS, Ability.WEBSOCKETS, Ability.WSGI}

DEBIAN = (
    Peer("nginx", "nginx", "nginx", _nginx(), _NGINX, ("-v",)),
    Peer("nginx-tuned", "nginx", "nginx", _TUNED, ALL_FILES, ("-v",)),
    Peer("lighttpd", "lighttpd", "lighttpd", _lighttpd, ALL_FILES | _MORE | {Ability.SITES}, ("-v",)),
    Peer("caddy", "caddy", "caddy", _caddy, ALL_FILES | _MORE, ("version",), {"GOMAXPROCS": "1"}),
    Peer(
        "varnish",
        sys.executable,
        "varnish and hitch",
        _varnish,
        frozenset({Ability.HTTP1, Ability.PROXY, Ability.CACHE}),
        ("-c", "import subprocess; subprocess.run(['varnishd', '-V'])"),
    ),
    Peer("h2o", "h2o", "h2o", _h2o, ALL_FILES, ("-v",)),
    Peer(
        "haproxy",
        "haproxy",
        "haproxy",
        _haproxy,
        frozenset({Ability.HTTP1, Ability.HTTP2, Ability.TLS12, Ability.CLOSE, Ability.SMALL_FILES, Ability.PROXY}),
        ("-v",),
    ),
)
