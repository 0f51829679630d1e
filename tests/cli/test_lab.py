"""`securelight lab`, `lab list` and `lab check` as their users run them."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.server.processes import securelight


def start(*arguments: str, directory: Path) -> tuple[subprocess.Popen[str], str]:
    """A lab, once it has said that it runs."""
    process = subprocess.Popen(
        [sys.executable, "-m", "securelight", "lab", *arguments], stdout=subprocess.PIPE, text=True,
        env={**os.environ, "TMPDIR": str(directory), "PYTHONUNBUFFERED": "1"},
    )  # fmt: skip
    assert process.stdout is not None
    said = ""
    while "Ctrl-C" not in said:
        line = process.stdout.readline()
        assert line, said
        said += line
    return process, said


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM])
def test_it_runs_until_it_is_told_to_stop_and_leaves_nothing(tmp_path: Path, ending: signal.Signals) -> None:
    process, said = start("--port", "0", directory=tmp_path)
    try:
        [port] = re.findall(r"https://lab\.localhost:(\d+)/", said)
        [ca] = re.findall(r"Authority\s+(\S+)", said)
        context = ssl.create_default_context(cafile=ca)
        with (
            socket.create_connection(("127.0.0.1", int(port)), 15) as raw,
            context.wrap_socket(raw, server_hostname="lab.localhost") as sock,
        ):
            sock.sendall(b"GET /ca.pem HTTP/1.1\r\nHost: lab.localhost\r\n\r\n")
            answer = b""
            while data := sock.recv(65_536):
                answer += data
        assert answer.endswith(Path(ca).read_bytes())
    finally:
        process.send_signal(ending)
        rest, _ = process.communicate(timeout=30)
    assert process.returncode == 0
    assert "closed" in rest
    assert list(tmp_path.iterdir()) == []


def test_what_is_exported_stays_and_keys_are_private(tmp_path: Path) -> None:
    process, _ = start("--port", "0", "--export", str(tmp_path / "out"), directory=tmp_path)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)
    assert (tmp_path / "out" / "ca.pem").is_file()
    assert (tmp_path / "out" / "client-good.key").stat().st_mode & 0o077 == 0


def test_a_port_that_is_taken_is_one_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = securelight("lab", "--port", str(port))
    assert done.returncode == 1
    assert re.fullmatch(rf"127\.0\.0\.1:{port} cannot be listened on: .*Choose another --port\.\n", done.stderr)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("lab", "--address", "nowhere"), "is not an IP address"),
        (("lab", "--port", "65500"), "The lab needs"),
        (("lab", "list", "dates/expird"), "Did you mean dates/expired?"),
        (("lab", "check", "--only", "datez", "curl"), "Did you mean dates?"),
        (("lab", "check"), "Name a profile"),
        (("lab", "check", "--", "my-client"), "has no {url}"),
        (("lab", "check", "--", "no-such-client", "{url}"), "There is no command 'no-such-client'"),
        (("lab", "chekc"), "Did you mean check?"),
    ],
)
def test_bad_input_is_one_clear_line(
    arguments: tuple[str, ...], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    done = securelight(*arguments)
    assert done.returncode in (1, 2)
    assert words in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_the_list_for_people_and_for_programs() -> None:
    people = securelight("lab", "list", "dates").stdout
    assert re.search(r"dates/expired +refuse +expired yesterday", people)
    cases = json.loads(securelight("lab", "list", "--json").stdout)["cases"]
    assert len(cases) >= 80
    assert len({case["id"] for case in cases}) == len(cases)
    assert {case["expected"] for case in cases} == {"accept", "refuse", "either", "warn"}
    assert all(case["reason"] for case in cases if not case["offered"])


def test_a_check_reports_to_people_programs_and_ci(tmp_path: Path) -> None:
    reports = ("--json", tmp_path / "found.json", "--junit", tmp_path / "found.xml")
    done = securelight("lab", "check", "--only", "dates", *reports, "--", "true", "{url}")
    assert done.returncode == 1
    assert re.search(r"dates/expired +wrongly accepted +expired yesterday", done.stdout)
    found = json.loads((tmp_path / "found.json").read_text())
    [expired] = [one for one in found["results"] if one["id"] == "dates/expired"]
    assert (expired["expected"], expired["did"], expired["surprise"]) == ("refuse", "accepted", True)
    [suite] = ElementTree.parse(tmp_path / "found.xml").getroot()
    assert int(suite.attrib["failures"]) == found["surprises"] == len(suite.findall("testcase/failure")) > 0


def test_a_check_without_surprises_ends_with_0() -> None:
    done = securelight("lab", "check", "python", "--only", "dates", "--only", "good")
    assert done.returncode == 0, done.stdout
    assert "0 surprises" in done.stdout
