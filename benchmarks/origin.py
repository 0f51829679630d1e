"""The server behind the proxies of groups 13 to 16, nginx over plain HTTP/1.1, and php-fpm of group 18: on the core of
the load, so that what is measured on the other core is the server in front alone.
"""

from __future__ import annotations

import os
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from benchmarks.processes import BenchmarkError, cores, on_core
from benchmarks.setting import Setting, find_program

START_SECONDS = 15.0
STOP_SECONDS = 15.0

_CONFIG = """
daemon off; worker_processes 1; pid {folder}/nginx.pid; error_log {folder}/error.log;
events {{ worker_connections 2048; }}
http {{
    access_log off; sendfile on; tcp_nopush on; keepalive_requests 1000000000; keepalive_timeout 600s;
    client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
    server {{
        listen 127.0.0.1:{port}; root {site};
        location /behind/upload {{  # reads all of it first, unlike a plain `return`
            client_max_body_size 0; proxy_pass_request_body off; proxy_set_header Content-Length "";
            proxy_pass http://127.0.0.1:{port}/taken;
        }}
        location /taken {{ return 200 "taken"; }}
        location /kept/ {{ add_header Cache-Control "max-age=3600"; }}
    }}
}}
"""

_PHP_CONFIG = """
[global]
daemonize = no
error_log = {folder}/error.log
[hello]
{account}
listen = {socket}
listen.mode = 0666
listen.backlog = 4096
pm = static
pm.max_children = {children}
"""
PHP_CHILDREN = 120
"""A connection that is kept has a process of php-fpm to itself: enough for all servers, which run at the same time."""


@contextmanager
def origin(setting: Setting) -> Iterator[None]:
    """Serves `/behind/` on `setting.origin_port`.

    Errors: BenchmarkError without nginx, or if it does not start.
    """
    program = find_program("nginx")
    if program is None:
        raise BenchmarkError("the server behind the proxies is nginx, which is not installed")
    folder = setting.directory / "origin"
    folder.mkdir()
    config = folder / "nginx.conf"
    config.write_text(_CONFIG.format(folder=folder, port=setting.origin_port, site=setting.site))
    command = [program, "-p", str(folder), "-e", str(folder / "error.log"), "-c", str(config)]
    with _behind(command, lambda: _listens(setting.origin_port)):
        yield


@contextmanager
def php(setting: Setting) -> Iterator[None]:
    """php-fpm on `setting.php_socket`.

    Errors: BenchmarkError if it is not installed, or does not start.
    """
    found = sorted(Path("/usr/sbin").glob("php-fpm[0-9]*"))
    if not found:
        raise BenchmarkError("php-fpm is not installed")
    folder = setting.php_socket.parent
    folder.mkdir()
    folder.chmod(0o755)
    account = "user = nobody\ngroup = nogroup" if os.geteuid() == 0 else ""
    config = folder / "fpm.conf"
    config.write_text(
        _PHP_CONFIG.format(folder=folder, socket=setting.php_socket, account=account, children=PHP_CHILDREN)
    )
    with _behind([str(found[-1]), "-F", "-y", str(config)], setting.php_socket.exists):
        yield


@contextmanager
def _behind(command: Sequence[str], ready: Callable[[], bool]) -> Iterator[None]:
    process = subprocess.Popen(on_core(cores()[1], command), stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + START_SECONDS
        while not ready():
            if process.poll() is not None or time.monotonic() > deadline:
                raise BenchmarkError(f"{Path(command[0]).name}, which is to be behind the servers, does not start")
            time.sleep(0.05)
        yield
    finally:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(STOP_SECONDS)


def _listens(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=5):
        return True
    return False
