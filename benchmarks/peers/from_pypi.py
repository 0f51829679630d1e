"""Application servers from PyPI. What is in requirements.txt is installed into an environment of its own.

Their access logs go to standard output or error where they have no option for a file; the harness writes both to a
file.
"""

from __future__ import annotations

from benchmarks.peers.peer import Ability, Peer, Place, write_config
from benchmarks.setting import Setting

_APPLICATION = "bench_app:app"
_BOTH = frozenset(
    {
        Ability.HTTP1,
        Ability.HTTP2,
        Ability.TLS12,
        Ability.CLOSE,
        Ability.SMALL_FILES,
        Ability.FILES,
        Ability.CONDITIONS,
        Ability.APPLICATIONS,
    }
)


def _hypercorn(worker_class: str) -> Peer:
    def command(setting: Setting, place: Place) -> list[str]:
        config = write_config("hypercorn.toml", setting, place)
        return ["--config", str(config), "--worker-class", worker_class, _APPLICATION]

    return Peer(
        f"hypercorn-{worker_class}", "hypercorn", "hypercorn", command, _BOTH, from_pypi=True, reason_phrases=False
    )


def _granian(setting: Setting, place: Place) -> list[str]:
    first = place.identities[0]
    listen = ["--host", "127.0.0.1", "--port", str(place.port), "--backlog", "4096"]
    tls = ["--ssl-certificate", str(first.chain), "--ssl-keyfile", str(first.key), "--ssl-protocol-min", "tls1.2"]
    files = ["--static-path-route", "/static", "--static-path-mount", str(setting.site / "static")]
    one_core = ["--workers", "1", "--runtime-threads", "1", "--loop", "uvloop"]
    return ["--interface", "asgi", "--access-log", "--no-ws", *listen, *tls, *files, *one_core, _APPLICATION]


def _uvicorn(_setting: Setting, place: Place) -> list[str]:
    first = place.identities[0]
    listen = ["--host", "127.0.0.1", "--port", str(place.port), "--backlog", "4096", "--timeout-keep-alive", "600"]
    tls = ["--ssl-certfile", str(first.chain), "--ssl-keyfile", str(first.key)]
    return [*listen, *tls, "--loop", "uvloop", "--http", "httptools", "--no-use-colors", _APPLICATION]


def _h2corn(_setting: Setting, place: Place) -> list[str]:
    first = place.identities[0]
    listen = ["--bind", f"127.0.0.1:{place.port}", "--backlog", "4096", "--timeout-keep-alive", "600"]
    tls = ["--certfile", str(first.chain), "--keyfile", str(first.key)]
    return [*listen, *tls, "--workers", "1", "--runtime-threads", "1", "--loop", "uvloop", _APPLICATION]


PYPI = (
    Peer("granian", "granian", "granian", _granian, _BOTH - {Ability.CONDITIONS}, from_pypi=True),
    Peer("h2corn", "h2corn", "h2corn", _h2corn, _BOTH, from_pypi=True),
    Peer("uvicorn", "uvicorn", "uvicorn", _uvicorn, _BOTH - {Ability.HTTP2}, from_pypi=True),
    _hypercorn("trio"),
    _hypercorn("uvloop"),
)
"""All import the application and serve files with it, but for granian, which has its own way."""
