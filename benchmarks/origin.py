"""The server behind the proxies of groups 13 to 16: nginx over plain HTTP/1.1, on the core of the load, so that what is
measured on the other core is the proxy alone.
"""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

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
    process = subprocess.Popen(on_core(cores()[1], command), stdin=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + START_SECONDS
        while not _listens(setting.origin_port):
            if process.poll() is not None or time.monotonic() > deadline:
                raise BenchmarkError("the server behind the proxies does not start")
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
