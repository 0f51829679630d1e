"""The servers that are compared, each on a free port of loopback with the certificate and the page of the run.

Each is set up as its own documentation has it for a folder with TLS and HTTP/2, and nothing else is changed: no field
is added, no limit moved. Both engines of ours are what `make serve` starts. hypercorn serves an application, because
it has no files.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from tests.conformance.reading_app import PAGE
from tests.server.processes import make_site, wait_until

ROOT = Path(__file__).parents[2]
BENCH_ENVIRONMENT = ROOT / ".venv-bench" / "bin"
"""Where servers from PyPI are installed, apart from ours: `make bench` and `make compare` do so."""
START_SECONDS = 60.0
STOP_SECONDS = 15.0
LOOK_SECONDS = 0.2
_PATH = os.pathsep.join([os.environ.get("PATH", ""), "/usr/local/sbin", "/usr/sbin", "/sbin"])

NGINX = """
{user}
worker_processes 1;
daemon off;
pid {directory}/nginx.pid;
error_log {directory}/error.log;
events {{ worker_connections 768; }}
http {{
  types {{ text/html html; }}
  access_log {directory}/access.log;
  client_body_temp_path {directory}/1; proxy_temp_path {directory}/2; fastcgi_temp_path {directory}/3;
  uwsgi_temp_path {directory}/4; scgi_temp_path {directory}/5;
  ssl_protocols TLSv1.2 TLSv1.3;
  server {{
    listen 127.0.0.1:{port} ssl http2;
    root {site};
    ssl_certificate {chain};
    ssl_certificate_key {key};
  }}
}}
"""
LIGHTTPD = """
server.modules = ("mod_openssl")
server.document-root = "{site}"
server.bind = "127.0.0.1"
server.port = {port}
server.errorlog = "{directory}/error.log"
index-file.names = ("index.html")
mimetype.assign = (".html" => "text/html", "" => "application/octet-stream")
ssl.engine = "enable"
ssl.pemfile = "{chain}"
ssl.privkey = "{key}"
"""
CADDY = """
{{
	admin off
	auto_https off
	storage file_system {directory}/storage
}}
https://:{port} {{
	bind 127.0.0.1
	tls {chain} {key}
	root * {site}
	file_server
}}
"""
H2O = """
{user}
num-threads: 1
pid-file: {directory}/h2o.pid
error-log: {directory}/error.log
listen:
  host: 127.0.0.1
  port: {port}
  ssl:
    certificate-file: {chain}
    key-file: {key}
    minimum-version: TLSv1.2
hosts:
  "localhost:{port}":
    paths:
      "/":
        file.dir: {site}
"""
HYPERCORN = """
bind = ["127.0.0.1:{port}"]
certfile = "{chain}"
keyfile = "{key}"
workers = 1
worker_class = "trio"
"""


@dataclass(frozen=True, slots=True)
class Place:
    """What one start of a server gets: a folder of its own, a port, the page, a certificate with its key."""

    directory: Path
    port: int
    site: Path
    certs: Path
    chain: Path
    key: Path


@dataclass(frozen=True, slots=True)
class Peer:
    """One server.

    Attributes:
        name: for tables, files and the command line.
        program: what has to be installed.
        package: what brings it.
        arguments: writes what the server needs and returns the arguments of the program.
        version: arguments that make it say its version; none for a Python program that does not.
    """

    name: str
    program: str
    package: str
    arguments: Callable[[Place], list[str]]
    version: tuple[str, ...] = ("-v",)

    @property
    def ours(self) -> bool:
        """Whether it is an engine of this server."""
        return self.name.startswith("securelight")

    def find(self) -> str | None:
        """The path of the program; None if it is not installed."""
        return shutil.which(self.program, path=os.pathsep.join([str(BENCH_ENVIRONMENT), _PATH]))

    def say_version(self) -> str:
        """The number alone; empty if it does not say one, or is not installed."""
        program = self.find()
        if program is None:
            return ""
        command = [program, *self.version]
        if not self.version:  # it cannot say
            code = f"import importlib.metadata as m; print(m.version('{self.program}'))"
            command = [str(Path(program).parent / "python"), "-c", code]
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=60, stdin=subprocess.DEVNULL
        )
        found = re.search(r"\d+\.\d+(\.\d+)?", done.stdout + done.stderr)
        return found[0] if found else ""


def _written(name: str, template: str, place: Place, user: str = "") -> str:
    path = place.directory / name
    path.write_text(
        template.format(
            user=user if os.geteuid() == 0 else "", directory=place.directory, port=place.port, site=place.site,
            chain=place.chain, key=place.key,
        )
    )  # fmt: skip
    return str(path)


def _serve(engine: str) -> Callable[[Place], list[str]]:
    def arguments(place: Place) -> list[str]:
        return [
            "-m", "securelight", "serve", str(place.site), "--listen", f"127.0.0.1:{place.port}", "--engine", engine,
            "--certs", str(place.certs), "--access-log", str(place.directory / "access.log"),
        ]  # fmt: skip

    return arguments


PEERS = {
    peer.name: peer
    for peer in (
        Peer("securelight", sys.executable, "securelight[fast]", _serve("native"), ("-m", "securelight", "version")),
        Peer("securelight-pure", sys.executable, "securelight", _serve("pure"), ("-m", "securelight", "version")),
        Peer("nginx", "nginx", "nginx", lambda place: ["-c", _written("nginx.conf", NGINX, place, "user root;")]),
        Peer(
            "lighttpd", "lighttpd", "lighttpd lighttpd-mod-openssl",
            lambda place: ["-D", "-f", _written("lighttpd.conf", LIGHTTPD, place)],
        ),
        Peer(
            "caddy", "caddy", "caddy",
            lambda place: ["run", "--adapter", "caddyfile", "--config", _written("Caddyfile", CADDY, place)],
            ("version",),
        ),
        Peer(
            "h2o", "h2o", "h2o",
            lambda place: ["-m", "worker", "-c", _written("h2o.yaml", H2O, place, "user: root")],
        ),
        Peer(
            "hypercorn", "hypercorn", "hypercorn[trio]",
            lambda place: ["--config", _written("hypercorn.toml", HYPERCORN, place), "reading_app:app"],
            (),
        ),
    )
}  # fmt: skip
"""By name, in the order of the tables."""


def make_place(directory: Path, certs: Path, chain: Path, key: Path) -> Place:
    """A place below `directory`, which is made; `certs` is for ours, the files are for the others."""
    directory.mkdir(mode=0o755)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = int(free.getsockname()[1])
    return Place(directory, port, make_site(directory, PAGE), certs, chain, key)


class Keeper:
    """Runs a server, and again whenever it ends, as a service manager does.

    Attributes:
        deaths: how often it ended by itself.
    """

    def __init__(self, peer: Peer, place: Place) -> None:
        program = peer.find()
        assert program is not None, f"{peer.name} is not installed"
        self._command = [program, *peer.arguments(place)]
        self._environment = {**os.environ, "PYTHONPATH": str(ROOT if peer.ours else Path(__file__).parent)}
        self._log = place.directory / "output.log"
        self._over = threading.Event()
        self._process = self._start()
        self.deaths = 0
        self._thread = threading.Thread(target=self._keep)

    def _start(self) -> subprocess.Popen[bytes]:
        with self._log.open("ab") as output:
            return subprocess.Popen(
                self._command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=self._environment,
                start_new_session=True,
            )  # fmt: skip

    def ended(self) -> str:
        """What it said last, if it runs no more."""
        return "" if self._process.poll() is None else self._log.read_text(errors="replace")[-2000:] or "nothing said"

    def keep(self) -> None:
        """From now on, start it again."""
        self._thread.start()

    def _keep(self) -> None:
        while not self._over.wait(LOOK_SECONDS):
            if self._process.poll() is not None and not self._over.is_set():
                self.deaths += 1
                self._end_group()
                self._process = self._start()

    def _end_group(self) -> None:
        with suppress(ProcessLookupError):  # what is left of the group that it was started in
            os.killpg(self._process.pid, signal.SIGKILL)

    def stop(self) -> None:
        """For good."""
        self._over.set()
        if self._thread.is_alive():
            self._thread.join()
        self._process.terminate()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(STOP_SECONDS)
        self._end_group()
        self._process.wait()


@contextmanager
def running(peer: Peer, place: Place) -> Iterator[Keeper]:
    """Start `peer`, wait until it does TLS, start it again whenever it dies, and stop it at the end.

    Errors: AssertionError with what it said last if it does not come up.
    """
    keeper = Keeper(peer, place)

    def answers() -> bool:
        assert not (said := keeper.ended()), f"{peer.name} does not start: {said}"
        return _does_tls(place.port)

    try:
        wait_until(answers, START_SECONDS)
        keeper.keep()
        yield keeper
    finally:
        keeper.stop()


def _does_tls(port: int) -> bool:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        with (
            socket.create_connection(("127.0.0.1", port), timeout=5) as raw,
            context.wrap_socket(raw, server_hostname="localhost"),
        ):
            return True
    except OSError:
        return False
