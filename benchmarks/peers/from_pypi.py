"""Application servers from PyPI. What is in requirements.txt is installed into an environment of its own.

Their access logs go to standard output or error where they have no option for a file; the harness writes both to a
file.
"""

from __future__ import annotations

from benchmarks.peers.peer import Ability, Peer, Place, write_config
from benchmarks.setting import Setting

_APPLICATION, _WSGI_APPLICATION = "bench_app:app", "bench_app:wsgi"
WSGI_THREADS = 20
"""As many as there are connections. hypercorn has those of asyncio's default executor."""
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
        Ability.WEBSOCKETS,
    }
)


_WSGI = frozenset({Ability.HTTP1, Ability.HTTP2, Ability.WSGI})


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
    return ["--interface", "asgi", "--access-log", *listen, *tls, *files, *one_core, _APPLICATION]


def _hypercorn_wsgi(setting: Setting, place: Place) -> list[str]:
    config = write_config("hypercorn.toml", setting, place)
    # On Trio, version 0.18 does not start with a WSGI application.
    return ["--config", str(config), "--worker-class", "uvloop", f"wsgi:{_WSGI_APPLICATION}"]


def _granian_wsgi(_setting: Setting, place: Place) -> list[str]:
    first = place.identities[0]
    listen = ["--host", "127.0.0.1", "--port", str(place.port), "--backlog", "4096"]
    tls = ["--ssl-certificate", str(first.chain), "--ssl-keyfile", str(first.key), "--ssl-protocol-min", "tls1.2"]
    threads = ["--workers", "1", "--runtime-threads", "1", "--blocking-threads", str(WSGI_THREADS)]
    return ["--interface", "wsgi", "--access-log", *listen, *tls, *threads, _WSGI_APPLICATION]


def _gunicorn(_setting: Setting, place: Place) -> list[str]:
    first = place.identities[0]
    listen = ["--bind", f"127.0.0.1:{place.port}", "--backlog", "4096", "--keep-alive", "600"]
    tls = ["--certfile", str(first.chain), "--keyfile", str(first.key)]
    logs = ["--access-logfile", str(place.directory / "access.log"), "--worker-tmp-dir", str(place.directory)]
    threads = ["--workers", "1", "--worker-class", "gthread", "--threads", str(WSGI_THREADS)]
    return [*listen, *tls, *logs, *threads, _WSGI_APPLICATION]


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
    Peer("granian-wsgi", "granian", "granian", _granian_wsgi, _WSGI, from_pypi=True),
    Peer("gunicorn", "gunicorn", "gunicorn", _gunicorn, _WSGI - {Ability.HTTP2}, from_pypi=True),
    Peer("h2corn", "h2corn", "h2corn", _h2corn, _BOTH, from_pypi=True),
    Peer("uvicorn", "uvicorn", "uvicorn", _uvicorn, _BOTH - {Ability.HTTP2}, from_pypi=True),
    _hypercorn("trio"),
    Peer("hypercorn-wsgi", "hypercorn", "hypercorn", _hypercorn_wsgi, _WSGI, from_pypi=True, reason_phrases=False),
    _hypercorn("uvloop"),
)
"""All import the application and serve files with it, but for granian, which has its own way."""
