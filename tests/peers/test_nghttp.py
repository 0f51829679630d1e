"""nghttp, the client of nghttp2, tells every frame: no dialogue of its may end in an error that it did not ask for."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from tests.wire.clients import Http2

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.certificates import TestCertificates
    from tests.wire.server_process import ServerProcess

pytestmark = [
    pytest.mark.peer,
    pytest.mark.skipif(not shutil.which("nghttp"), reason="nghttp is not installed (Debian: nghttp2-client)"),
]

TIMEOUT_SECONDS = 60
ENHANCE_YOUR_CALM = "ENHANCE_YOUR_CALM(0x0b)"

_STATUS = re.compile(r"recv \(stream_id=(\d+)\) :status: (\d+)")
_FRAME = re.compile(r"(recv|send) ([A-Z_]+) frame <length=(\d+), flags=(0x[0-9a-f]+), stream_id=(\d+)>")
_ERROR = re.compile(r"error_code=([A-Z_]+\(0x[0-9a-f]+\))")


@dataclass
class Dialogue:
    """What nghttp --verbose told."""

    code: int
    text: str
    body: bytes

    def statuses(self) -> list[int]:
        """Final ones, in the order in which they came."""
        return [status for _stream, status in self._heads() if status >= 200]

    def interim(self) -> list[int]:
        return [status for _stream, status in self._heads() if status < 200]

    def received(self, kind: str) -> list[tuple[int, int]]:
        """(length, stream) of each frame of a kind that the server sent."""
        frames = _FRAME.findall(self.text)
        return [(int(length), int(stream)) for way, name, length, _, stream in frames if (way, name) == ("recv", kind)]

    def sent_heads(self) -> list[int]:
        """The lengths of the header blocks that nghttp sent, CONTINUATION frames included."""
        frames = _FRAME.findall(self.text)
        return [int(length) for way, name, length, *_ in frames if (way, name) == ("send", "HEADERS")]

    def error_codes(self) -> set[str]:
        """Of every GOAWAY and RST_STREAM of either side."""
        return set(_ERROR.findall(self.text))

    def _heads(self) -> list[tuple[int, int]]:
        return [(int(stream), int(status)) for stream, status in _STATUS.findall(self.text)]


@pytest.fixture
def nghttp(base: str, certificates: TestCertificates, quiet_environment: dict[str, str]) -> Callable[..., Dialogue]:
    """Runs nghttp on paths of the server; its dialogue must be free of errors unless they are expected."""

    def run(*options: str | Path, paths: tuple[str, ...], errors: frozenset[str] = frozenset()) -> Dialogue:
        done = subprocess.run(
            ["nghttp", "--verbose", *map(str, options), *(base + path for path in paths)],
            capture_output=True,
            check=False,
            timeout=TIMEOUT_SECONDS,
            env={**quiet_environment, "SSL_CERT_FILE": str(certificates.ca)},  # with it, certificates are verified
        )
        dialogue = Dialogue(done.returncode, done.stdout.decode("latin-1"), done.stdout)
        assert dialogue.code == 0, done.stderr
        assert dialogue.error_codes() - {"NO_ERROR(0x00)"} == errors
        if not errors:
            assert dialogue.received("GOAWAY") == []
            assert done.stderr == b""
        return dialogue

    return run


def test_one_file(nghttp: Callable[..., Dialogue]) -> None:
    dialogue = nghttp(paths=("/small.txt",))
    assert dialogue.statuses() == [200]
    assert b"0123456789" * 60 in dialogue.body
    assert "The negotiated protocol: h2" in dialogue.text
    assert "SETTINGS_NO_RFC7540_PRIORITIES(0x09):1" in dialogue.text


def test_a_hundred_requests_at_a_time(nghttp: Callable[..., Dialogue]) -> None:
    dialogue = nghttp("--null-out", "--multiply=100", paths=("/small.txt",))
    assert dialogue.statuses() == [200] * 100
    assert dialogue.received("RST_STREAM") == []


def test_more_requests_than_streams_are_allowed_at_a_time(nghttp: Callable[..., Dialogue]) -> None:
    """nghttp waits as our SETTINGS say: no stream is refused."""
    dialogue = nghttp("--null-out", "--multiply=300", paths=("/small.txt",))
    assert dialogue.statuses() == [200] * 300
    assert dialogue.received("RST_STREAM") == []


def test_large_files_at_a_time_take_turns(nghttp: Callable[..., Dialogue]) -> None:
    dialogue = nghttp("--null-out", "--no-dep", "--multiply=8", paths=("/medium.bin",))
    frames = dialogue.received("DATA")
    assert sum(length for length, _stream in frames) == 8 << 20
    half = frames[: len(frames) // 2]
    assert len({stream for _length, stream in half}) == 8, "some stream had nothing of the first half"


@pytest.mark.parametrize("bits", [12, 14, 16, 20, 30])
def test_windows_of_every_size(nghttp: Callable[..., Dialogue], bits: int) -> None:
    dialogue = nghttp("--null-out", f"--window-bits={bits}", f"--connection-window-bits={bits}", paths=("/medium.bin",))
    frames = dialogue.received("DATA")
    assert sum(length for length, _stream in frames) == 1 << 20
    assert max(length for length, _stream in frames) <= min(1 << bits, 16_384)


def test_a_small_window_of_one_stream_does_not_hold_the_connection(nghttp: Callable[..., Dialogue]) -> None:
    dialogue = nghttp("--null-out", "--window-bits=12", "--multiply=4", paths=("/medium.bin", "/small.txt"))
    assert dialogue.statuses() == [200] * 8


def test_windows_of_a_few_bytes_are_too_much_work(nghttp: Callable[..., Dialogue]) -> None:
    """Data dribble, CVE-2019-9511: a megabyte in pieces of 127 bytes is more updates than frames are worth."""
    options = ("--null-out", "--window-bits=8", "--connection-window-bits=8")
    dialogue = nghttp(*options, paths=("/medium.bin",), errors=frozenset({ENHANCE_YOUR_CALM}))
    assert len(dialogue.received("GOAWAY")) == 1
    assert nghttp(paths=("/small.txt",)).statuses() == [200]


def test_a_window_that_never_opens_is_given_up(nghttp: Callable[..., Dialogue]) -> None:
    """The server's patience ends, not nghttp's, which would wait for ever."""
    ours = frozenset({"CANCEL(0x08)"})
    dialogue = nghttp("--null-out", "--window-bits=0", paths=("/small.txt",), errors=ours)
    assert dialogue.statuses() == [200]


@pytest.mark.parametrize("size", [0, 1, 128, 4_096, 65_536])
def test_compression_tables_of_every_size(nghttp: Callable[..., Dialogue], size: int) -> None:
    tables = (f"--header-table-size={size}", f"--encoder-header-table-size={size}")
    dialogue = nghttp("--null-out", *tables, "--multiply=40", paths=("/small.txt", "/text.txt"))
    assert dialogue.statuses() == [200] * 80
    assert dialogue.text.count("content-type: text/plain; charset=utf-8") == 80


def test_a_compression_table_that_is_emptied_first(nghttp: Callable[..., Dialogue]) -> None:
    """Two sizes in one SETTINGS frame: the smaller is to be announced too (RFC 7541, section 4.2)."""
    dialogue = nghttp("-c", "0", "-c", "4096", "--multiply=40", "--null-out", paths=("/small.txt",))
    assert dialogue.statuses() == [200] * 40


def test_heads_that_are_continued(nghttp: Callable[..., Dialogue]) -> None:
    """Longer than a frame may be: the rest comes in CONTINUATION frames, of which nghttp does not tell."""
    fields = [f"--header=x-{number}: {'~' * 480}" for number in range(50)]
    dialogue = nghttp(*fields, "--null-out", paths=("/app/fields", "/small.txt"))
    assert dialogue.statuses() == [200, 200]
    assert max(dialogue.sent_heads()) > 16_384


def test_a_head_past_the_limits_costs_one_stream(nghttp: Callable[..., Dialogue]) -> None:
    fields = [f"--header=x-{number}: {'v' * 900}" for number in range(40)]
    assert nghttp(*fields, "--multiply=2", paths=("/small.txt",)).statuses() == [431, 431]
    fields = [f"--header=x-{number}: 1" for number in range(101)]
    assert nghttp(*fields, paths=("/small.txt",)).statuses() == [431]


def test_an_upload(nghttp: Callable[..., Dialogue], site: Path) -> None:
    content = (site / "medium.bin").read_bytes()
    expected = json.dumps({"size": len(content), "sha256": hashlib.sha256(content).hexdigest()})
    for options in ([], ["--no-content-length"], ["--padding=255"], ["--trailer=x-after: 1"]):
        dialogue = nghttp("--data", site / "medium.bin", *options, paths=("/app/digest",))
        assert dialogue.statuses() == [200], options
        assert expected.encode() in dialogue.body


def test_an_upload_that_waits_for_100(nghttp: Callable[..., Dialogue], site: Path) -> None:
    dialogue = nghttp("--expect-continue", "--data", site / "medium.bin", "--null-out", paths=("/app/digest",))
    assert dialogue.interim() == [100]
    assert dialogue.statuses() == [200]


def test_an_upload_that_nobody_reads_is_stopped(nghttp: Callable[..., Dialogue], site: Path) -> None:
    """The answer first, then NO_ERROR: not a fault of the client (RFC 9113, section 8.1)."""
    dialogue = nghttp("--data", site / "large.bin", "--null-out", paths=("/small.txt",))
    assert dialogue.statuses() == [405]
    assert dialogue.received("RST_STREAM") == [(4, 13)]
    assert dialogue.text.index(":status: 405") < dialogue.text.index("recv RST_STREAM")


@pytest.mark.parametrize("option", ["--no-dep", "--no-rfc7540-pri", "--weight=256", "--weight=1"])
def test_priorities_of_the_old_kind_are_no_fault(nghttp: Callable[..., Dialogue], option: str) -> None:
    dialogue = nghttp("--null-out", option, "--multiply=10", paths=("/small.txt", "/medium.bin"))
    assert dialogue.statuses() == [200] * 20


def test_priority_fields_are_no_fault(nghttp: Callable[..., Dialogue]) -> None:
    for value in ("u=0", "u=7, i", "nonsense;;"):
        dialogue = nghttp("--null-out", f"--header=priority: {value}", paths=("/medium.bin", "/small.txt"))
        assert dialogue.statuses() == [200, 200]


def test_head_early_hints_and_trailers(nghttp: Callable[..., Dialogue]) -> None:
    assert nghttp("--header=:method: HEAD", "--null-out", paths=("/medium.bin",)).received("DATA") == []
    dialogue = nghttp("--header=te: trailers", "--null-out", paths=("/app/hints",))
    assert (dialogue.interim(), dialogue.statuses()) == ([103], [200])
    assert "x-checksum: 42" in dialogue.text


def test_the_server_still_serves(
    server: ServerProcess, certificates: TestCertificates, nghttp: Callable[..., Dialogue]
) -> None:
    """After a breach of one connection, another that is open goes on."""
    client = Http2(server.port, certificates.ca)
    options = ("--null-out", "--window-bits=8", "--connection-window-bits=8")
    nghttp(*options, paths=("/medium.bin",), errors=frozenset({ENHANCE_YOUR_CALM}))
    assert client.request("GET", "/small.txt").status == 200
    client.close()
