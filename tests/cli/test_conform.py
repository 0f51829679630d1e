"""`securelight conform` as a command: usage, exit codes, interruption. What it judges is in tests/conformance."""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import pytest

from securelight.cli.conform import exit_code
from securelight.conformance.case import Level, Outcome
from securelight.conformance.results import Result
from securelight.conformance.runner import new_run
from securelight.conformance.suites import load_suite
from securelight.conformance.target import TargetError, parse_target
from tests.server.processes import securelight

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def test_cases_are_listed_without_a_server() -> None:
    done = securelight("conform", "--list", "--suite", "h2")
    assert done.returncode == 0
    assert "h2/6.9.1/window-overflow" in done.stdout
    assert "hpack/" not in done.stdout


def test_the_list_counts_its_cases_and_there_are_as_many_as_there_have_to_be() -> None:
    done = securelight("conform", "--list")
    last = done.stdout.splitlines()[-1]
    counts = {name: int(count) for name, count in re.findall(r"(\w+) (\d+)", last.partition(":")[2])}
    least = {"h2": 150, "hpack": 30, "h1": 150, "tls": 60, "abuse": 40}
    assert {name: count for name, count in counts.items() if count < least.get(name, 1)} == {}
    assert last.startswith(f"{sum(counts.values())} cases: ")
    assert len(done.stdout.splitlines()) == sum(counts.values()) + 2


def test_a_pattern_takes_cases_of_several_suites() -> None:
    lines = securelight("conform", "--list", "--only", "h*/*/*window-of-zero").stdout.splitlines()
    assert [line.split()[0] for line in lines[:-2]] == ["h2/6.9.2/window-of-zero"]
    both = securelight("conform", "--list", "--only", "h[12]/*").stdout.splitlines()[-1]
    assert "h2 " in both
    assert "h1 " in both
    assert "hpack" not in both


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "Name one server"),
        (["https://a.test", "https://b.test"], "Name one server"),
        (["https://a.test", "--only", "h2/no/such"], "there is no such case"),
        (["https://a.test", "--only", "nonsense/1/x"], "There is no suite 'nonsense'"),
        (["https://a.test", "--suite", "nonsense"], "nonsense"),
        (["https://a.test", "--suite", "h2", "--only", "hpack/6.1"], "there is no such case in h2"),
        (["https://a.test", "--only", "h2/*/no-such*"], "there is no such case"),
        (["https://a.test", "--only", "x*/1"], "There is no suite 'x*'"),
        (["https://a.test", "--fail-on", "nonsense"], "'nonsense' is not one of 'must', 'should', 'never'"),
        (["https://a.test", "--html", "/no/such/folder/report.html"], "its folder does not exist"),
        (["https://a.test", "--json", "/proc/report.json"], "/proc/report.json cannot be written"),
        (["https://a.test", "--json", "/proc/version"], "/proc/version cannot be written"),
        (["https://a.test", "--json", "/"], "is a directory"),
        (["https://a.test", "--json", "-", "--html", "-"], "- is named for two reports"),
        (["https://a.test", "--json", "/tmp/x.json", "--html", "/tmp/../tmp/x.json"], "is named for two reports"),
        (["compare", "https://a.test", "--html", "/tmp/x.html"], "--html is about one server"),
        (["https://a.test", "--baseline", "/etc/hostname/x"], "does not exist"),
        (["https://a.test", "--baseline", "/proc/version"], "neither a JSON report nor a list of ids (line 1 is"),
    ],
)
def test_wrong_usage_is_told(arguments: list[str], words: str) -> None:
    done = securelight("conform", *arguments)
    assert done.returncode == 2
    assert words in done.stderr


@pytest.mark.parametrize(
    "url",
    [
        "ftp://a.test", "https://", "https://a.test:99999", "https://a.test:0", "https://a.test:+8", "https://a\nb",
        "https://a..b", "https://.a", f"https://{'a' * 64}.test", f"https://{'a.' * 130}test", "https://a\\b",
        'https://a"b', "https://a%41", "https://-a.test", "https://127.1", "https://1.2.3.4.5", "https://[::1",
        "https://[::1%25lo]", "https://[a]", "https://b\u00fccher.test",
    ],
)  # fmt: skip
def test_what_is_no_url_of_a_server_is_told(url: str) -> None:
    with pytest.raises(TargetError):
        parse_target(url)


def test_a_url_that_is_none_is_wrong_usage_and_its_password_is_not_shown() -> None:
    done = securelight("conform", "https://me:secret@a.test")
    assert done.returncode == 2
    assert "user names and passwords in URLs are not used" in done.stderr
    assert "secret" not in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("url", "host", "authority"),
    [
        ("https://[::1]:8443", "::1", "[::1]:8443"),
        ("LOCALHOST.:8443/a?b#c", "localhost", "localhost:8443"),
        ("https://xn--bcher-kva.test:443", "xn--bcher-kva.test", "xn--bcher-kva.test"),
        ("https://127.0.0.1", "127.0.0.1", "127.0.0.1"),
        ("https://_a.test", "_a.test", "_a.test"),
    ],
)
def test_what_a_url_says_is_what_is_sent(url: str, host: str, authority: str) -> None:
    target = parse_target(url)
    assert (target.host, target.authority) == (host, authority)


def test_a_server_that_cannot_be_reached_has_its_exit_code() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        done = securelight("conform", f"https://127.0.0.1:{unused.getsockname()[1]}", "--suite", "h2")
    assert done.returncode == 3
    assert "cannot be reached" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("failed", "known", "fail_on", "code"),
    [
        ((), False, "should", 0),
        ((Level.SHOULD,), False, "must", 0),
        ((Level.SHOULD,), False, "should", 1),
        ((Level.MUST,), False, "must", 1),
        ((Level.MUST,), False, "should", 1),
        ((Level.MUST, Level.SHOULD), False, "never", 0),
        ((Level.MUST, Level.SHOULD), True, "should", 0),
    ],
)
def test_the_exit_code_goes_by_the_level_that_was_asked_for(
    failed: tuple[Level, ...], known: bool, fail_on: str, code: int
) -> None:
    suite = load_suite("h2")
    run = new_run(parse_target("https://a.test"), [suite])
    for level in Level:
        case = next(one for one in suite.cases if one.level is level)
        outcome = Outcome.FAILED if level in failed else Outcome.PASSED
        run.results.append(Result(case, outcome, "", 0.1, known=known))
    assert exit_code(run, fail_on) == code
    run.interrupted = True
    assert exit_code(run, fail_on) == 130


@pytest.fixture
def silent_port() -> Iterator[int]:
    """A port where connections are taken and nothing is ever said."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        held = []

        def accept() -> None:
            while True:
                try:
                    held.append(listener.accept()[0])
                except OSError:
                    return

        thread = threading.Thread(target=accept)
        thread.start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(15)
        for one in held:
            one.close()


def test_a_server_that_never_does_the_handshake_is_given_up(silent_port: int) -> None:
    done = securelight("conform", f"https://127.0.0.1:{silent_port}", "--suite", "h2", "--patience", "1")
    assert done.returncode == 3
    assert "the TLS handshake was not done within 1 s" in done.stderr


def test_one_server_of_two_that_cannot_be_reached_is_told(silent_port: int) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        urls = f"http://127.0.0.1:{silent_port}", f"http://127.0.0.1:{unused.getsockname()[1]}"
        done = securelight("conform", "compare", *urls, "--only", "h2/6.9.1/largest-window", "--patience", "1")
    assert done.returncode == 3
    assert "cannot be reached" in done.stderr
    assert "**failed**" in done.stdout


def test_an_interrupted_run_still_writes_its_report(silent_port: int, tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    process = subprocess.Popen(
        [sys.executable, "-m", "securelight", "conform", f"http://127.0.0.1:{silent_port}", "--suite", "h2",
         "--jobs", "1", "--patience", "1", "--json", str(report)],
        stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    with process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("FAILED ")
        process.send_signal(signal.SIGINT)
        rest, _ = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "Interrupted" in rest
    found = json.loads(report.read_text())
    assert found["interrupted"] is True
    assert found["cases"][0]["outcome"] == "failed"
