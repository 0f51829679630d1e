from __future__ import annotations

import base64
import os
import signal
import socket
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from securelight.config.load import load
from securelight.config.schema import Config
from securelight.features import FEATURES
from securelight.model.errors import ConfigError
from securelight.server import landlock
from securelight.server.confinement import plan
from tests.certificates import TestCertificates
from tests.server.processes import fetch, make_site, securelight
from tests.wire.clients import Http1
from tests.wire.server_process import ServerProcess, running, write_config

needs_landlock = pytest.mark.skipif(not landlock.version(), reason="this kernel has no Landlock")

APPLICATION = """
import os
import pathlib

async def app(scope, receive, send):
    if scope["type"] != "http":
        raise NotImplementedError
    how, _, path = scope["query_string"].decode().partition("=")
    try:
        if how == "read":
            answer = pathlib.Path(path).read_text()
        elif how == "list":
            answer = " ".join(sorted(os.listdir(path)))
        else:
            pathlib.Path(path).write_text("written")
            answer = "written"
    except OSError as error:
        answer = f"refused: {error.strerror}"
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": answer.encode()})
"""

ATTACKS = """
import errno, os, socket, sys
from pathlib import Path
from securelight.config.load import load
from securelight.features import FEATURES
from securelight.server.confinement import plan
from securelight.server.process_hardening import refuse_new_privileges

directory, listening = Path(sys.argv[1]), int(sys.argv[2])
refuse_new_privileges()
plan(load(directory / "securelight.toml", FEATURES)).enforce()

def attempt(what):
    try:
        what()
    except OSError as error:
        return errno.errorcode[error.errno]
    return "done"

def bind():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))

def connect():
    socket.create_connection(("127.0.0.1", listening), 10).close()

site = directory / "site"
for name, what in {
    "page": lambda: (site / "index.html").read_bytes(),
    "key": lambda: (directory / "securelight.toml").read_bytes(),
    "passwd": lambda: Path("/etc/passwd").read_bytes(),
    "home": lambda: os.listdir(Path.home()),
    "write": lambda: (site / "new").write_bytes(b"x"),
    "change": lambda: (site / "index.html").write_bytes(b"x"),
    "remove": lambda: (site / "index.html").unlink(),
    "run": lambda: os.posix_spawn("/bin/true", ["true"], {}),
    "bind": bind,
    "connect": connect,
    "late import": lambda: __import__("xml.dom.minidom"),
}.items():
    print(name, attempt(what), sep=": ")
"""


def configured(directory: Path, certificates: TestCertificates, site: str, sandbox: str = "") -> Config:
    make_site(directory)
    table = f"[server.sandbox]\n{sandbox}" if sandbox else ""
    return load(write_config(directory, certificates, site, extra=table), FEATURES)


def ask(server: ServerProcess, certificates: TestCertificates, how: str, path: Path | str) -> str:
    return fetch(server, certificates, f"/?{how}={path}").body.decode()


@needs_landlock
def test_what_a_worker_of_static_sites_can_still_do(tmp_path: Path, certificates: TestCertificates) -> None:
    configured(tmp_path, certificates, 'root = "site"')
    (tmp_path / "attacks.py").write_text(ATTACKS)
    with closing(socket.create_server(("127.0.0.1", 0))) as listening:
        done = subprocess.run(
            [sys.executable, tmp_path / "attacks.py", tmp_path, str(listening.getsockname()[1])],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    outcome = dict(line.split(": ") for line in done.stdout.splitlines())
    network = "EACCES" if landlock.version() >= 4 else "done"
    assert outcome == {
        "page": "done",
        "late import": "done",
        **dict.fromkeys(("key", "passwd", "home", "write", "change", "remove", "run"), "EACCES"),
        **dict.fromkeys(("bind", "connect"), network),
    }


@needs_landlock
def test_a_root_that_is_deployed_by_renaming_is_served_and_only_it(
    tmp_path: Path, certificates: TestCertificates
) -> None:
    configured(tmp_path, certificates, 'root = "site"')
    with running(tmp_path) as server:
        assert fetch(server, certificates).status == 200
        server.send_signal(signal.SIGSTOP)  # who would notice the new folder, and start workers that may open it
        try:
            (tmp_path / "site").rename(tmp_path / "before")
            (tmp_path / "site").mkdir()
            (tmp_path / "site" / "new.html").write_text("deployed")
            assert fetch(server, certificates, "/new.html").status in (403, 404)
        finally:
            server.send_signal(signal.SIGCONT)
        server.wait_for_event("reloaded", 30)
        assert fetch(server, certificates, "/new.html").body == b"deployed"
        assert server.wait_for_event("replacing the workers")["why"] == "a folder that they serve is another one now"


@needs_landlock
def test_an_application_with_a_list_opens_what_is_on_it(tmp_path: Path, certificates: TestCertificates) -> None:
    for folder in ("app", "data", "uploads", "private"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "note").write_text(folder)
    (tmp_path / "app" / "opener.py").write_text(APPLICATION)
    site = '[site.asgi]\napp = "opener:app"\napp_directory = "app"'
    configured(tmp_path, certificates, site, 'mode = "required"\nread = ["data"]\nwrite = ["uploads"]')
    with running(tmp_path) as server:
        assert ask(server, certificates, "read", tmp_path / "data" / "note") == "data"
        assert ask(server, certificates, "read", tmp_path / "app" / "note") == "app"
        assert ask(server, certificates, "write", tmp_path / "uploads" / "new") == "written"
        for how, path in [
            ("read", tmp_path / "private" / "note"),
            ("read", tmp_path / "data" / ".." / "private" / "note"),
            ("read", certificates.key),
            ("list", tmp_path),
            ("list", Path("/root")),
            ("write", tmp_path / "data" / "new"),
            ("write", tmp_path / "app" / "opener.py"),
            ("write", Path("/tmp/securelight-was-here")),
        ]:
            assert ask(server, certificates, how, path) == "refused: Permission denied", (how, path)


def test_an_application_without_a_list_is_left_alone_and_that_is_said(
    tmp_path: Path, certificates: TestCertificates
) -> None:
    (tmp_path / "opener.py").write_text(APPLICATION)
    (tmp_path / "note").write_text("beside")
    configured(tmp_path, certificates, 'app = "opener:app"')
    with running(tmp_path) as server:
        assert ask(server, certificates, "read", tmp_path / "note") == "beside"
        told = server.wait_for_event("workers are not confined to what they serve")
        assert "site[0].app runs a program of yours; list in server.sandbox" in told["why"]


def test_required_means_that_it_does_not_start_otherwise(tmp_path: Path, certificates: TestCertificates) -> None:
    (tmp_path / "opener.py").write_text(APPLICATION)
    configured(tmp_path, certificates, 'app = "opener:app"', 'mode = "required"')
    done = securelight("run", "-c", tmp_path / "securelight.toml")
    assert done.returncode == 1
    assert "server.sandbox.mode: workers cannot be confined: " in done.stderr
    assert "runs a program of yours" in done.stderr


def test_a_kernel_without_landlock_is_said_or_refused(
    tmp_path: Path, certificates: TestCertificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(landlock, "version", lambda: 0)  # the machine of this test cannot be without
    assert "no Landlock" in plan(configured(tmp_path, certificates, 'root = "site"')).why_not
    with pytest.raises(ConfigError, match="no Landlock"):
        plan(configured(tmp_path, certificates, 'root = "site"', 'mode = "required"'))


@needs_landlock
@pytest.mark.parametrize(
    ("site", "why_not"),
    [
        ('root = "site"', ""),
        ('respond = { body = "x" }', ""),
        ('[site.static_file]\nroot = "site"\nfollow_symlinks = true', "follows symbolic links out of its root"),
        ('app = "opener:app"', "runs a program of yours"),
        ('[site.proxy]\nupstreams = ["http://127.0.0.1:9"]', ""),
        ('[site.fastcgi]\nspawn = { command = ["/usr/bin/true"] }', "runs a program of yours"),
    ],
)
def test_who_is_confined(site: str, why_not: str, tmp_path: Path, certificates: TestCertificates) -> None:
    found = plan(configured(tmp_path, certificates, site)).why_not
    assert why_not in found
    assert bool(found) == bool(why_not)


@needs_landlock
def test_only_who_has_servers_behind_it_may_connect(tmp_path: Path, certificates: TestCertificates) -> None:
    assert not plan(configured(tmp_path, certificates, 'root = "site"')).connects
    assert plan(configured(tmp_path, certificates, '[site.proxy]\nupstreams = ["http://127.0.0.1:9"]')).connects
    for syslog, connects in (("tcp://192.0.2.1:601", True), ("udp://192.0.2.1:514", False), ("/dev/log", False)):
        site = f'root = "site"\nlog = {{ syslog = "{syslog}" }}'
        assert plan(configured(tmp_path, certificates, site)).connects is connects


@needs_landlock
def test_off_confines_nothing(tmp_path: Path, certificates: TestCertificates) -> None:
    assert plan(configured(tmp_path, certificates, 'root = "site"', 'mode = "off"')).why_not
    with running(tmp_path) as server:
        (worker,) = server.workers()
        assert "NoNewPrivs:\t0" in Path(f"/proc/{worker}/status").read_text()
        assert not [one for one in server.events() if one["event"].startswith("workers are not confined")]


@needs_landlock
def test_a_folder_for_each_host_is_confined_to_the_folder_above(tmp_path: Path, certificates: TestCertificates) -> None:
    (tmp_path / "hosts").mkdir()
    config = configured(tmp_path, certificates, 'root = "hosts/{host}/public"')
    assert plan(config).read == (tmp_path / "hosts",)


@needs_landlock
def test_a_certificate_is_taken_over_by_a_confined_worker_of_another_user(
    tmp_path: Path, certificates: TestCertificates
) -> None:
    """It comes as a descriptor, opened anew by way of /proc/self."""
    configured(tmp_path, certificates, 'root = "site"')
    chain, key = tmp_path / "chain.pem", tmp_path / "key.pem"
    chain.write_bytes(certificates.chain.read_bytes())
    key.write_bytes(certificates.key.read_bytes())
    config = tmp_path / "securelight.toml"
    config.write_text(config.read_text().replace(str(certificates.chain), "chain.pem").replace(
        str(certificates.key), "key.pem"))  # fmt: skip
    with running(tmp_path) as server:
        (worker,) = server.workers()
        replaced = chain.with_suffix(".new")
        replaced.write_bytes(chain.read_bytes() + b"\n")
        os.replace(replaced, chain)
        server.wait_for_event("certificate taken over", 20)
        with closing(Http1(server.port, certificates.ca)) as client:
            assert client.request("GET", "/").status == 200
        assert server.workers() == [worker]
        assert not [event for event in server.events() if event["level"] == "error"]


@needs_landlock
def test_what_features_name_beside_roots_is_reached(tmp_path: Path, certificates: TestCertificates) -> None:
    for folder in ("copies", "answers", "bodies", "flags"):
        (tmp_path / folder).mkdir()
    site = """
[site.basic_auth]
file = "users"
[site.compress]
directory = "copies"
[site.cache]
directory = "answers"
[[site.route]]
path = "/a"
when = { any = [{ method = ["PUT"] }, { not = { file_exists = "flags" } }] }
[site.route.proxy]
upstreams = ["http://127.0.0.1:9"]
spool = { when = "always", directory = "bodies" }
[[site.route]]
path = "/"
root = "site"
"""
    found = plan(configured(tmp_path, certificates, site))
    assert found.why_not == ""
    assert set(found.read) == {tmp_path / name for name in ("users", "site", "flags")}
    assert set(found.write) == {tmp_path / name for name in ("copies", "answers", "bodies")}


@needs_landlock
def test_passwords_that_are_replaced_are_taken_up(tmp_path: Path, certificates: TestCertificates) -> None:
    """By renaming, as editors do; the file that the worker was confined to is then another one."""
    passwords = tmp_path / "users"

    def write(user: str) -> None:
        command = [sys.executable, "-m", "securelight", "hash-password", "--user", user, "--stdin"]
        done = subprocess.run(command, input="secret\n", capture_output=True, text=True, timeout=60, check=True)
        fresh = passwords.with_suffix(".new")
        fresh.write_text(done.stdout)
        fresh.chmod(0o600)
        fresh.replace(passwords)

    def status_for(user: str) -> int:
        credentials = base64.b64encode(f"{user}:secret".encode()).decode()
        with closing(Http1(server.port, certificates.ca)) as client:
            return client.request("GET", "/", headers={"authorization": f"Basic {credentials}"}).status

    write("alice")
    configured(tmp_path, certificates, 'root = "site"\n[site.basic_auth]\nfile = "users"')
    with running(tmp_path) as server:
        assert (status_for("alice"), status_for("bob")) == (200, 401)
        write("bob")
        server.wait_for_event("reloaded", 30)
        assert (status_for("bob"), status_for("alice")) == (200, 401)
