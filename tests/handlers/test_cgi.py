"""CGI: small programs behind a real server, good ones and those that break every rule."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from securelight.handlers.cgi import FEATURE, CgiConfig
from securelight.model.errors import ConfigError
from tests.helpers import make_context
from tests.server.processes import alive, descriptors, wait_until
from tests.wire.clients import Client, Http1, Http2
from tests.wire.server_process import ServerProcess, running, write_config

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.certificates import TestCertificates

TEXT = 'printf "Content-Type: text/plain\\n\\n"\n'
PROGRAMS = {
    "environment": TEXT + "env",
    "count": TEXT + "wc -c",
    "echo": 'printf "Content-Type: text/plain\\nContent-Length: $CONTENT_LENGTH\\n\\n"\nexec cat',
    "descriptors": TEXT + 'exec ls "/proc/$$/fd"',
    "directory": TEXT + "pwd",
    "ignores": TEXT + 'exec grep SigIgn "/proc/$$/status"',
    "nph-whole": 'printf "HTTP/1.1 203 Fine\\r\\nContent-Type: text/plain\\r\\nConnection: close\\r\\n\\r\\nwhole"',
    "nph-junk": 'printf "SIP/2.0 200 OK\\r\\n\\r\\n"',
    "local": 'printf "Location: /cgi/environment/here?from=local\\n\\n"',
    "local-static": 'printf "Location: /cgi/../static/page.txt\\n\\n"',
    "loop": 'printf "Location: /cgi/loop\\n\\n"',
    "away": 'printf "Location: https://example.org/\\n\\n"',
    "with-cookie": 'printf "Location: /cgi/environment\\nSet-Cookie: a=b\\n\\n"',
    "double-slash": 'printf "Location: //example.org/\\n\\n"',
    "killed": TEXT + "echo half\nkill -9 $$",
    "exits-1": TEXT + "echo whole\nexit 1",
    "silent": "exit 0",
    "no-head": "echo no head here",
    "split-head": 'printf "Content-Type: a\\rX: b\\n\\n"',
    "long-head": 'printf "Content-Type: text/plain\\nX: "\nhead -c 100000 /dev/zero | tr "\\0" a',
    "short": 'printf "Content-Type: text/plain\\nContent-Length: 9\\n\\nhalf"',
    "long": 'printf "Content-Type: text/plain\\nContent-Length: 2\\n\\nhalf"',
    "errors": TEXT + 'echo the tide is out >&2\nhead -c 1000000 /dev/zero | tr "\\0" e >&2\necho done',
    "early": TEXT + "echo early",
    "endless": TEXT + 'echo $$ > "$PIDS/endless.$$"\nexec cat /dev/zero',
    "sleeps": 'sleep 600 & echo $! > "$PIDS/child.$$"\necho $$ > "$PIDS/parent.$$"\n' + TEXT + "echo begun\nwait",
    "deaf": 'echo $$ > "$PIDS/deaf.$$"\nexec sleep 600',
    "lingers": 'echo $$ > "$PIDS/lingers.$$"\n' + TEXT + "echo done\nexec >&-\nsleep 600",
    "hungry": TEXT + "exec head -c 1000000000 /dev/zero | tail -c 900000000 | wc -c",
    "waits": TEXT + 'while [ ! -e "$PIDS/go" ]; do sleep 0.05; done\necho gone',
}


class World:
    """The server, its programs, and where those write their process ids."""

    def __init__(self, server: ServerProcess, root: Path, pids: Path) -> None:
        self.server = server
        self.root = root
        self.pids = pids

    def process(self, name: str) -> int:
        """The id that the program `name` has written, waited for; the file is gone afterwards."""

        def look() -> int:
            for path in self.pids.glob(f"{name}.*"):
                text = path.read_text()
                if text.endswith("\n"):
                    path.unlink()
                    return int(text)
            return 0

        return wait_until(look, 20)

    def left(self) -> list[str]:
        """Processes and zombies below the worker."""
        (worker,) = self.server.workers()
        return Path(f"/proc/{worker}/task/{worker}/children").read_text().split()


def make_root(directory: Path) -> Path:
    root = directory / "programs"
    (root / "below").mkdir(parents=True)
    for name, text in PROGRAMS.items():
        path = root / name
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)
    (root / "below/environment").symlink_to("../environment")
    (root / "plain.txt").write_text("not a program")
    (root / "script.sh").write_text(f"{TEXT}echo by an interpreter")
    (directory / "outside").write_text(f"#!/bin/sh\n{TEXT}echo outside")
    (directory / "outside").chmod(0o755)
    (root / "leads-out").symlink_to(directory / "outside")
    static = directory / "static"
    static.mkdir()
    (static / "page.txt").write_text("a page")
    return root


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, certificates: TestCertificates) -> Iterator[World]:
    directory = tmp_path_factory.mktemp("cgi")
    root = make_root(directory)
    pids = directory / "pids"
    pids.mkdir()
    (directory / "spool").mkdir()
    site = f"""
[[site.route]]
path = "/static"
static_file.root = "{directory}/static"
[[site.route]]
path = "/few"
[site.route.cgi]
root = "{root}"
run_as_root = true
variables = {{ PIDS = "{pids}" }}
limits = {{ processes = 2, queue = 1, queue_seconds = 0.5, memory_bytes = 200_000_000, output_bytes = 300_000 }}
[[site.route]]
path = "/hurry"
[site.route.cgi]
root = "{root}"
run_as_root = true
variables = {{ PIDS = "{pids}" }}
bodies_without_length = "stream"
limits = {{ first_byte_seconds = 0.5, idle_seconds = 0.5, memory_bytes = 0 }}
[[site.route]]
path = "/spool"
[site.route.cgi]
root = "{root}"
run_as_root = true
spool = {{ when = "unknown_length", directory = "{directory}/spool", body_bytes = 1_000_000 }}
[[site.route]]
path = "/cgi"
[site.route.cgi]
root = "{root}"
run_as_root = true
interpreters = {{ ".sh" = "/bin/sh" }}
variables = {{ PIDS = "{pids}", MORE = "told" }}
"""
    write_config(directory, certificates, site, engine="auto")
    with running(directory, {"SECRET": "of the server", "HTTP_PROXY": "http://ours"}) as server:
        yield World(server, root, pids)


@pytest.fixture(params=[Http1, Http2])
def client(request: pytest.FixtureRequest, world: World, certificates: TestCertificates) -> Iterator[Client]:
    made: Client = request.param(world.server.port, certificates.ca)
    yield made
    made.close()


def test_the_environment_is_that_of_the_request_alone(client: Client, world: World) -> None:
    fields = {"proxy": "http://evil", "x-a": "b", "x_a": "c", "cookie": "d=e"}
    found = client.request("GET", "/cgi/below/environment/a%20b/c?q=1&r", fields)
    assert found.status == 200
    values = dict(line.split("=", 1) for line in found.body.decode().splitlines())
    assert values["GATEWAY_INTERFACE"] == "CGI/1.1"
    assert values["SCRIPT_NAME"] == "/cgi/below/environment"
    assert values["PATH_INFO"] == "/a b/c"
    assert values["PATH_TRANSLATED"] == f"{world.root}/a b/c"
    assert values["QUERY_STRING"] == "q=1&r"
    assert values["REQUEST_METHOD"] == "GET"
    assert values["REMOTE_ADDR"] == "127.0.0.1"
    assert values["SCRIPT_FILENAME"] == str(world.root / "environment")
    assert values["SERVER_PROTOCOL"] == ("HTTP/2.0" if client.protocol == "h2" else "HTTP/1.1")
    assert values["HTTPS"] == "on"
    assert values["HTTP_X_A"] == "b"
    assert values["HTTP_COOKIE"] == "d=e"
    assert values["MORE"] == "told"
    assert values["PATH"] == "/usr/local/bin:/usr/bin:/bin"
    assert not {"HTTP_PROXY", "SECRET", "HOME", "CONTENT_LENGTH"} & values.keys()


def test_programs_have_three_descriptors_their_own_directory_and_all_signals(client: Client, world: World) -> None:
    ignored = int(client.request("GET", "/cgi/ignores").body.split()[1], 16)
    numbers = (signal.SIGHUP, signal.SIGINT, signal.SIGUSR1, signal.SIGPIPE, signal.SIGTERM)
    assert not any(ignored >> (number - 1) & 1 for number in numbers)
    shown = client.request("GET", "/cgi/descriptors").body.split()
    assert set(shown) <= {b"0", b"1", b"2", b"3"}  # 3 is the directory that ls reads
    assert client.request("GET", "/cgi/directory").body.decode().strip() == str(world.root)


def test_bodies_are_streamed_both_ways(client: Client) -> None:
    body = os.urandom(1_000_000)
    found = client.request("POST", "/cgi/echo", {"content-length": str(len(body))}, body)
    assert found.body == body
    assert client.request("GET", "/cgi/count").body.strip() == b"0"


def test_a_body_of_unknown_length_is_gathered_spooled_or_streamed(client: Client) -> None:
    body = os.urandom(300_000)
    pieces = [body[start : start + 30_000] for start in range(0, len(body), 30_000)]
    chunked = b"".join(b"7530\r\n" + piece + b"\r\n" for piece in pieces) + b"0\r\n\r\n"
    fields = {"transfer-encoding": "chunked"} if client.protocol == "http/1.1" else {}
    sent = chunked if fields else body
    assert client.request("POST", "/hurry/count", fields, sent).body.strip() == b"300000"
    assert client.request("POST", "/spool/echo", fields, sent).body == body
    assert client.request("POST", "/cgi/count", fields, sent).status == 411


@pytest.mark.parametrize(
    ("path", "status", "body"),
    [
        ("/cgi/nph-whole", 203, b"whole"),
        ("/cgi/script.sh", 200, b"by an interpreter\n"),
        ("/cgi/local-static", 200, b"a page"),
        ("/cgi/exits-1", 200, b"whole\n"),
    ],
)
def test_what_programs_say(client: Client, path: str, status: int, body: bytes) -> None:
    found = client.request("GET", path)
    assert (found.status, found.body, found.reset) == (status, body, None)


def test_a_local_redirect_is_followed_by_the_server_and_any_other_by_the_client(client: Client) -> None:
    found = client.request("POST", "/cgi/local", {"content-length": "3"}, b"abc")
    values = dict(line.split("=", 1) for line in found.body.decode().splitlines())
    assert (values["PATH_INFO"], values["QUERY_STRING"]) == ("/here", "from=local")
    assert values["REQUEST_METHOD"] == "GET"
    assert "CONTENT_LENGTH" not in values
    assert client.request("GET", "/cgi/loop").status == 500
    for path in ("/cgi/away", "/cgi/with-cookie", "/cgi/double-slash"):
        assert client.request("GET", path).status == 302


@pytest.mark.parametrize(
    "path",
    [
        "/cgi/silent", "/cgi/no-head", "/cgi/split-head", "/cgi/long-head", "/cgi/nph-junk",
    ],
)  # fmt: skip
def test_what_is_no_answer_is_502(client: Client, path: str) -> None:
    assert client.request("GET", path).status == 502


@pytest.mark.parametrize("path", ["/cgi/killed", "/cgi/short", "/cgi/long", "/few/endless"])
def test_a_broken_answer_never_looks_whole(client: Client, path: str) -> None:
    found = client.request("GET", path)
    assert found.reset is not None or found.status == 502


@pytest.mark.parametrize(
    "path", ["/cgi/plain.txt", "/cgi/none", "/cgi", "/cgi/", "/cgi/below", "/cgi/leads-out", "/few/script.sh"]
)
def test_what_is_no_program_is_404(client: Client, path: str) -> None:
    assert client.request("GET", path).status == 404


def test_head_gets_no_body_and_early_answers_get_through(client: Client) -> None:
    found = client.request("HEAD", "/cgi/early")
    assert (found.status, found.body) == (200, b"")
    if isinstance(client, Http1):
        client.send(b"POST /cgi/early HTTP/1.1\r\nHost: x\r\nContent-Length: 2000000\r\n\r\n" + b"x" * 30_000)
        found = client.answer()
    else:
        stream = client.open("POST", "/cgi/early", {"content-length": "2000000"}, end=False)
        client.send_body(stream, b"x" * 30_000, end=False)
        found = client.answer(stream)
    assert (found.status, found.body) == (200, b"early\n")


def test_error_output_is_logged_and_bounded(client: Client, world: World) -> None:
    assert client.request("GET", "/cgi/errors").body == b"done\n"
    assert "the tide is out" in world.server.wait_for_event("application error output")["text"]
    said = sum(len(event["text"]) for event in world.server.events() if event["event"] == "application error output")
    assert said <= 2 * 8192


def test_memory_is_bounded(client: Client) -> None:
    assert client.request("GET", "/few/hungry").body.strip() == b"0"


def test_late_programs_and_all_they_started_are_killed(client: Client, world: World) -> None:
    assert client.request("GET", "/hurry/deaf").status == 504
    deaf = world.process("deaf")
    found = client.request("GET", "/hurry/sleeps")
    assert found.body == b"begun\n"
    assert found.reset is not None
    family = [deaf, world.process("parent"), world.process("child")]
    wait_until(lambda: not any(alive(one) for one in family), 20)


def test_a_program_that_closes_its_output_is_not_waited_for_for_ever(
    world: World, certificates: TestCertificates
) -> None:
    client = Http2(world.server.port, certificates.ca)
    with contextlib.closing(client):
        found = client.request("GET", "/cgi/lingers")
    assert (found.body, found.reset) == (b"done\n", None)
    lingering = world.process("lingers")
    wait_until(lambda: not alive(lingering), 20)


def test_more_than_so_many_at_a_time_wait_and_then_get_503(world: World, certificates: TestCertificates) -> None:
    client = Http2(world.server.port, certificates.ca)
    try:
        streams = [client.open("GET", "/few/waits") for _ in range(4)]
        while len(client.finished) < 2:
            assert client.step()
        # Any two: one found the queue full, one waited for its time.
        assert [answer.status for answer in client.finished.values()] == [503, 503]
        running_now = [stream for stream in streams if stream not in client.finished]
        (world.pids / "go").touch()
        assert [client.answer(stream).body for stream in running_now] == [b"gone\n"] * 2
    finally:
        client.close()


def test_clients_that_vanish_leave_no_process_and_no_descriptor(world: World, certificates: TestCertificates) -> None:
    (worker,) = world.server.workers()
    wait_until(lambda: not world.left(), 20)
    before = len(descriptors(worker))

    def vanish(number: int) -> None:
        client = Http1(world.server.port, certificates.ca)
        if number % 3 == 0:
            client.send(b"GET /cgi/endless HTTP/1.1\r\nHost: x\r\n\r\n")
            assert client.read_head().status == 200
        elif number % 3 == 1:
            client.send(b"GET /cgi/sleeps HTTP/1.1\r\nHost: x\r\n\r\n")
            assert client.read_head().status == 200
        else:
            client.send(b"POST /cgi/count HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n" + b"x" * 50_000)
        client.close()

    for number in range(99):
        vanish(number)
    wait_until(lambda: not world.left(), 30)
    wait_until(lambda: len(descriptors(worker)) <= before, 20)
    children = [int(path.read_text()) for path in world.pids.glob("child.*") if path.read_text().strip()]
    wait_until(lambda: not any(alive(child) for child in children), 20)
    assert not [event for event in world.server.events() if event["level"] == "error"]


def test_memory_of_the_server_is_bounded_while_nobody_reads(world: World, certificates: TestCertificates) -> None:
    (worker,) = world.server.workers()

    def resident() -> int:
        return int(Path(f"/proc/{worker}/statm").read_text().split()[1]) * 4096

    for path in world.pids.glob("endless.*"):
        path.unlink()  # of clients that vanished
    client = Http2(world.server.port, certificates.ca)
    try:
        before = resident()
        for _ in range(5):
            client.open("GET", "/cgi/endless")
        stuck = [world.process("endless") for _ in range(5)]

        def written(process: int) -> int:
            lines = Path(f"/proc/{process}/io").read_text().splitlines()
            return next(int(line.split()[1]) for line in lines if line.startswith("wchar"))

        def all_stand_still() -> bool:
            first = [written(one) for one in stuck]
            time.sleep(0.2)
            return all(first) and first == [written(one) for one in stuck]

        wait_until(all_stand_still, 20)
        assert all(written(one) < 4_000_000 for one in stuck)
        assert resident() - before < 20_000_000
    finally:
        client.close()
    wait_until(lambda: not any(alive(one) for one in stuck), 20)


def test_programs_end_with_the_worker(tmp_path: Path, certificates: TestCertificates) -> None:
    root = make_root(tmp_path)
    (tmp_path / "pids").mkdir()
    site = f'cgi = {{ root = "{root}", run_as_root = true, variables = {{ PIDS = "{tmp_path}/pids" }} }}'
    write_config(tmp_path, certificates, site, limits="graceful_stop_seconds = 1")
    with running(tmp_path) as server:
        world = World(server, root, tmp_path / "pids")
        client = Http1(server.port, certificates.ca)
        with contextlib.closing(client):
            client.send(b"GET /sleeps HTTP/1.1\r\nHost: x\r\n\r\n")
            assert client.read_head().status == 200
            family = [world.process("parent"), world.process("child")]
            assert server.stop() == 0
    wait_until(lambda: not any(alive(one) for one in family), 20)


@pytest.mark.parametrize(
    ("keys", "part"),
    [
        ({}, "name either root"),
        ({"root": ".", "program": "/bin/cat"}, "name either root"),
        ({"root": "missing"}, "is not a directory"),
        ({"program": "/etc/passwd"}, "is not the path of an executable file"),
        ({"root": ".", "interpreters": {"pl": "/bin/sh"}}, "must be a dot and a name"),
        ({"root": ".", "interpreters": {".pl": "perl"}}, "is not the path of an executable file"),
        ({"root": ".", "variables": {"CONTENT_LENGTH": "1"}}, "what the client sent"),
        ({"root": ".", "variables": {"SCRIPT_FILENAME": "/bin/sh"}}, "which program runs"),
        ({"root": ".", "index": "a/b"}, "is not the name of a file"),
        ({"root": ".", "sendfile": {"roots": ["missing"]}}, "is not a directory"),
    ],
)
def test_faults_of_the_settings(tmp_path: Path, keys: dict[str, Any], part: str) -> None:
    (found,) = FEATURE.check(msgspec.convert(keys, CgiConfig), tmp_path)
    assert part in found


def test_programs_do_not_run_as_root_without_a_word(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 0)
    with pytest.raises(ConfigError, match="would run as root"):
        FEATURE.build(CgiConfig(root="."), make_context(tmp_path))
    assert FEATURE.build(CgiConfig(root=".", run_as_root=True), make_context(tmp_path))
