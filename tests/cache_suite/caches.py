"""The caches that the suite is run against: ours, and nginx and Varnish as the suite's authors configure them."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Final, NamedTuple

from securelight import __version__
from tests.certificates import make_test_certificates
from tests.wire.server_process import serving, write_config

START_SECONDS = 30.0
_NGINX = """
daemon off;
pid {directory}/nginx.pid;
error_log {directory}/error.log;
{user}
events {{ worker_connections 2048; }}
http {{
    access_log off;
    client_body_temp_path {directory}/body;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    proxy_temp_path {directory}/proxy;
    proxy_cache_path {directory}/cache levels=1:2 keys_zone=my-cache:8m max_size=1000m inactive=600m;
    server {{
        listen 127.0.0.1:{port};
        location / {{
            proxy_pass http://127.0.0.1:{origin};
            proxy_cache my-cache;
            proxy_cache_revalidate on;
        }}
    }}
}}
"""


class Running(NamedTuple):
    """A cache that answers.

    Attributes:
        base: its URL.
        ca: what its certificate is signed by, None for plain HTTP.
        version: its program's.
    """

    base: str
    ca: Path | None
    version: str


@contextmanager
def securelight(directory: Path, origin: int) -> Iterator[Running]:
    """Ours, with the settings of conf.d/cache.toml."""
    certificates = make_test_certificates(directory)
    site = f'[site.proxy]\nupstreams = ["http://127.0.0.1:{origin}"]\n[site.cache]\ndirectory = "kept"\n'
    write_config(directory, certificates, site)
    with serving(directory) as server:
        yield Running(f"https://localhost:{server.port}", certificates.ca, __version__)


@contextmanager
def nginx(directory: Path, origin: int) -> Iterator[Running]:
    """nginx with proxy_cache."""
    port = _free_port()
    user = "user root;" if os.geteuid() == 0 else ""
    config = directory / "nginx.conf"
    config.write_text(_NGINX.format(directory=directory, port=port, origin=origin, user=user))
    command = ["nginx", "-p", str(directory), "-e", str(directory / "error.log"), "-c", str(config)]
    with _process(command, port):
        yield Running(f"http://127.0.0.1:{port}", None, _version("nginx", "-v"))


@contextmanager
def varnish(directory: Path, origin: int) -> Iterator[Running]:
    """Varnish without a program of its own, with no lifetime but the origin's."""
    port = _free_port()
    settings = [f"-p{name}" for name in ("default_ttl=0", "default_grace=0", "default_keep=3600")]
    command = [
        "varnishd", "-F", "-j", "none", "-n", str(directory), "-a", f"127.0.0.1:{port}", "-b", f"127.0.0.1:{origin}",
        *settings, "-s", "malloc,64M",
    ]  # fmt: skip
    with _process(command, port):
        yield Running(f"http://127.0.0.1:{port}", None, _version("varnishd", "-V"))


CACHES: Final[dict[str, Callable[[Path, int], AbstractContextManager[Running]]]] = {
    "securelight": securelight,
    "nginx": nginx,
    "Varnish": varnish,
}


@contextmanager
def _process(command: list[str], port: int) -> Iterator[None]:
    assert shutil.which(command[0]) is not None, f"{command[0]} is not installed"
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + START_SECONDS
        while True:
            assert process.poll() is None, f"{command[0]} does not start"
            assert time.monotonic() < deadline, f"{command[0]} does not answer"
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                time.sleep(0.05)
        yield
    finally:
        process.terminate()
        process.wait()


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def _version(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found = re.search(r"(\d+\.\d+\.\d+)", done.stdout + done.stderr)
    assert found is not None
    return found[1]
