"""`securelight logs`: what is in a log, what comes to it, and nothing that a client could do to a terminal."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from securelight.cli.logs import Line, follow, last_lines, pattern_of
from securelight.cli.main import main

COMBINED = '192.0.2.7 - - [23/Nov/2026:03:12:40 +0000] "GET /{} HTTP/2" {} 625 "-" "curl/8"'
JSON = (
    '{"time":"23/Nov/2026","client":"192.0.2.7","method":"GET","host":"a.test","target":"/json","protocol":"HTTP/2",'
    '"status":503,"bytes":5,"duration_ms":1.5,"user":null,"certificate":{"subject":"x"}}'
)


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "access.log"
    lines = [COMBINED.format("first", 200), COMBINED.format("second", 404), JSON, "something else"]
    path.write_text("\n".join(lines) + "\nhalf a li")
    return path


def logs(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["logs", "--no-follow", *arguments], color=True)


def test_the_last_lines_are_shown_in_colour(log: Path) -> None:
    result = logs(str(log))
    assert result.exit_code == 0, result.output
    lines = result.output.splitlines()
    assert len(lines) == 4
    assert "\x1b[32m\x1b[1m200" in lines[0]
    assert "GET /first HTTP/2" in lines[0]
    assert "\x1b[33m\x1b[1m404" in lines[1]
    assert "\x1b[31m\x1b[1m503" in lines[2]
    assert "GET a.test/json HTTP/2" in lines[2]
    assert lines[3] == "something else"
    assert len(logs("-n", "1", str(log)).output.splitlines()) == 1


def test_a_status_can_be_chosen(log: Path) -> None:
    assert "first" in logs("--status", "2xx", str(log)).output
    assert len(logs("--status", "4xx", str(log)).output.splitlines()) == 1
    assert logs("--status", "301", str(log)).output == ""
    assert logs("--status", "abc", str(log)).exit_code == 2


@pytest.mark.parametrize("text", [COMBINED.format("\x1b]0;evil\x07", 200), "\x1b[2J", "\u202eevil", "\x9b2J"])
def test_nothing_in_a_line_reaches_the_terminal_as_a_command(text: str) -> None:
    shown = Line(text).styled()
    for code in ("\x1b]", "\x1b[2J", "\x07", "\u202e", "\x9b"):
        assert code not in shown


def test_what_is_written_later_and_what_a_rotation_brings(log: Path) -> None:
    _, offset = last_lines(log, 10)
    seen: list[str] = []

    def rotate() -> None:
        log.rename(log.with_suffix(".1"))
        with log.with_suffix(".1").open("a") as old:
            old.write("to the old one\n")
        log.write_text("to the new one\n")

    def truncate() -> None:
        log.write_text("anew\n")

    def nothing() -> None:
        pass

    steps: list[Callable[[], None]] = [rotate, nothing, truncate, nothing]

    def wait() -> None:
        steps.pop(0)()

    lines = follow(log, offset, wait)
    with log.open("a") as file:
        file.write("ne\n")
    for _ in range(4):
        seen.append(next(lines))  # noqa: PERF401 - one at a time is the point
    lines.close()
    assert seen == ["half a line", "to the old one", "to the new one", "anew"]


def test_the_log_of_a_configuration(log: Path, tmp_path: Path) -> None:
    config = tmp_path / "securelight.toml"
    text = """
[server.access_log]
file = "{}"

[[listen]]
address = "127.0.0.1:0"

[[site]]
hosts = ["*"]
root = "."
[[site.certificate]]
chain = "a"
key = "b"
"""
    config.write_text(text.format("access.log"))
    assert "first" in logs("-c", str(config)).output
    config.write_text(text.format("-"))
    result = logs("-c", str(config))
    assert (result.exit_code, "goes to no file" in result.output) == (1, True)


def test_lines_of_a_template_are_read_by_the_configuration(tmp_path: Path) -> None:
    (tmp_path / "shop.log").write_text("2026-11-23T03:12:40+00:00|GET|/a\\x20b|404|7.5|192.0.2.7\nno such line\n")
    (tmp_path / "all.log").write_text("a.test " + COMBINED.format("vhost", 302) + "\n")
    config = tmp_path / "securelight.toml"
    config.write_text("""
[server.access_log]
file = "all.log"
format = "vhost_combined"
[[listen]]
address = "127.0.0.1:0"
[[site]]
hosts = ["shop.test"]
root = "."
[site.log]
file = "shop.log"
format = "{time_iso}|{method}|{path}|{status}|{duration_ms}|{client_address}"
[[site.certificate]]
chain = "a"
key = "b"
[[site]]
hosts = ["sys.test"]
root = "."
[site.log]
syslog = "/dev/log"
[[site.certificate]]
chain = "a"
key = "b"
""")
    shown = logs("-c", str(config), "--host", "shop.test").output.splitlines()
    assert "\x1b[33m\x1b[1m404" in shown[0]
    assert "GET /a\\x20b" in shown[0]
    assert "7.5 ms, 192.0.2.7" in shown[0]
    assert shown[1] == "no such line"
    assert logs("-c", str(config), "--host", "shop.test", "--status", "4xx").output.count("\n") == 1
    assert "\x1b[36m\x1b[1m302" in logs("-c", str(config)).output
    assert "goes to syslog" in logs("-c", str(config), "--host", "sys.test").output
    assert "no site has the host" in logs("-c", str(config), "--host", "other.test").output


def test_a_template_without_a_status_is_shown_as_it_is() -> None:
    assert pattern_of("{path}") is None
    assert Line("/a 200").styled() == "/a 200"


def test_the_journal_is_read_by_its_own_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "journalctl"
    program.write_text(
        '#!/bin/sh\necho "$@" > ' + str(tmp_path / "asked") + "\ncat " + str(tmp_path / "journal") + "\n"
    )
    program.chmod(0o755)
    (tmp_path / "journal").write_text(COMBINED.format("journal", 500) + "\n\x1b[2J\n")
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    config = tmp_path / "securelight.toml"
    config.write_text("""
[server.access_log]
journal = "/run/systemd/journal/socket"
[[listen]]
address = "127.0.0.1:0"
[[site]]
hosts = ["*"]
root = "."
[[site.certificate]]
chain = "a"
key = "b"
""")
    lines = logs("-c", str(config)).output.splitlines()
    assert "\x1b[31m\x1b[1m500" in lines[0]
    assert lines[1] == "\\x1b[2J"
    assert "--identifier=securelight" in (tmp_path / "asked").read_text()
