"""curl, on HTTP/1.1 and HTTP/2: whole and partial downloads, uploads, conditions, codings, redirects, trust, limits."""

from __future__ import annotations

import filecmp
import hashlib
import json
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.peers.conftest import FILES, LARGE_BYTES, TEXT, peak_memory_kb

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.certificates import TestCertificates
    from tests.wire.server_process import ServerProcess

pytestmark = [
    pytest.mark.peer,
    pytest.mark.skipif(not shutil.which("curl"), reason="curl is not installed (Debian: curl)"),
]

MEMORY_KB = 4_000
"""How much a worker may grow while 100 MB go through it."""
TIMEOUT_SECONDS = 60
COULD_NOT_CONNECT_TLS = 35
CERTIFICATE_REFUSED = 60


@dataclass
class Result:
    """What one run of curl did."""

    code: int
    errors: str
    body: bytes
    facts: dict[str, Any]
    """curl's own account of the last transfer (--write-out '%{json}')."""
    heads: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    """Each head that came: status line and fields, interim ones and trailers too."""

    @property
    def status(self) -> int:
        """Of the last response."""
        return int(self.facts["response_code"])

    @property
    def fields(self) -> dict[str, str]:
        """Of the last head."""
        return self.heads[-1][1]


def read_heads(text: str) -> list[tuple[str, dict[str, str]]]:
    """What --dump-header wrote."""
    heads: list[tuple[str, dict[str, str]]] = []
    for line in text.splitlines():
        if line.startswith("HTTP/"):
            heads.append((line.strip(), {}))
        elif ":" in line:
            name, _, value = line.partition(":")
            heads[-1][1][name.lower()] = value.strip()
    return heads


class Curl:
    """Runs curl against the server; it trusts our authority and reads no settings of the user."""

    def __init__(self, base: str, ca: Path, directory: Path, environment: dict[str, str], *options: str) -> None:
        self.base = base
        self._directory = directory
        self._environment = environment
        self._options = ["--cacert", str(ca), *options]

    def command(self, *arguments: str | Path) -> list[str]:
        """The command line, options of this client first."""
        start = ["curl", "-q", "--silent", "--show-error", "--max-time", str(TIMEOUT_SECONDS)]
        return [*start, *self._options, *map(str, arguments)]

    def run(self, *arguments: str | Path) -> subprocess.CompletedProcess[bytes]:
        """curl as it is, for what is not one transfer."""
        return subprocess.run(
            self.command(*arguments), capture_output=True, check=False, env=self._environment, timeout=TIMEOUT_SECONDS
        )

    def __call__(self, path: str, *options: str | Path, fails: bool = False) -> Result:
        """One transfer. `path` may be a whole URL."""
        head, body = self._directory / "head", self._directory / "body"
        body.unlink(missing_ok=True)
        url = path if "://" in path else self.base + path
        kept = ["--output", str(body)] if "--output" not in options else []
        done = self.run("--dump-header", head, "--write-out", "%{json}", *kept, *options, url)
        errors = done.stderr.decode()
        assert fails == (done.returncode != 0), f"curl: exit code {done.returncode}, {errors}"
        content = body.read_bytes() if body.exists() else b""
        heads = read_heads(head.read_text()) if head.exists() else []
        return Result(done.returncode, errors, content, json.loads(done.stdout), heads)


@pytest.fixture(params=["--http1.1", "--http2"])
def curl(
    request: pytest.FixtureRequest,
    base: str,
    certificates: TestCertificates,
    quiet_environment: dict[str, str],
    tmp_path: Path,
) -> Curl:
    """curl on each protocol."""
    return Curl(base, certificates.ca, tmp_path, quiet_environment, request.param)


@pytest.fixture
def bare_curl(
    base: str, certificates: TestCertificates, quiet_environment: dict[str, str], tmp_path: Path
) -> Callable[..., Curl]:
    """Makes a curl with other options, or another authority."""

    def make(*options: str, ca: Path = certificates.ca) -> Curl:
        return Curl(base, ca, tmp_path, quiet_environment, *options)

    return make


@pytest.fixture
def upload(tmp_path: Path) -> Path:
    """10 MB."""
    path = tmp_path / "upload"
    path.write_bytes(hashlib.shake_128(b"upload").digest(10 << 20))
    return path


def expected_digest(path: Path) -> dict[str, object]:
    content = path.read_bytes()
    return {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}


# Downloads


def test_get(curl: Curl, site: Path) -> None:
    result = curl("/small.txt")
    assert result.status == 200
    assert result.facts["http_version"] in ("1.1", "2")
    assert result.facts["ssl_verify_result"] == 0
    assert result.body == (site / "small.txt").read_bytes()
    assert result.fields["content-type"] == "text/plain; charset=utf-8"
    assert result.fields["x-content-type-options"] == "nosniff"


def test_the_protocol_is_the_one_that_was_asked_for(bare_curl: Callable[..., Curl]) -> None:
    for option, version in (("--http1.1", "1.1"), ("--http2", "2"), ("--no-alpn", "1.1")):
        assert bare_curl(option)("/small.txt").facts["http_version"] == version


def test_head_says_what_get_would(curl: Curl) -> None:
    asked, got = curl("/medium.bin", "--head"), curl("/medium.bin")
    assert asked.status == 200
    assert asked.facts["size_download"] == 0
    unlike = {"date"}
    assert {key: value for key, value in asked.fields.items() if key not in unlike} == {
        key: value for key, value in got.fields.items() if key not in unlike
    }


def test_100_mb_in_constant_memory(curl: Curl, server: ServerProcess, site: Path, tmp_path: Path) -> None:
    curl("/medium.bin")
    before = peak_memory_kb(server)
    result = curl("/large.bin", "--output", tmp_path / "large")
    assert result.facts["size_download"] == LARGE_BYTES
    assert filecmp.cmp(site / "large.bin", tmp_path / "large", shallow=False)
    assert peak_memory_kb(server) - before < MEMORY_KB


def test_a_reader_slower_than_the_network_gets_everything(curl: Curl, site: Path, tmp_path: Path) -> None:
    """Longer than the server waits for a reader that takes nothing, and than its grace for the minimum rate."""
    end = (8 << 20) - 1
    result = curl("/large.bin", "--range", f"0-{end}", "--limit-rate", "3M", "--output", tmp_path / "slow")
    assert result.facts["time_total"] > 2
    with (site / "large.bin").open("rb") as file:
        assert (tmp_path / "slow").read_bytes() == file.read(end + 1)


def test_fifty_files_at_a_time(curl: Curl, site: Path, tmp_path: Path) -> None:
    arguments = ("--parallel", "--parallel-max", "50", "--output", tmp_path / "#1.txt", "--write-out", "%{http_code}\n")
    done = curl.run(*arguments, f"{curl.base}/many/[0-{FILES - 1}].txt")
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [b"200"] * FILES
    for number in range(FILES):
        assert (tmp_path / f"{number}.txt").read_bytes() == (site / "many" / f"{number}.txt").read_bytes()


def test_one_connection_serves_several_files(curl: Curl, site: Path) -> None:
    done = curl.run("--write-out", "%{num_connects} ", f"{curl.base}/many/[1-9].txt")
    pieces = [(site / "many" / f"{number}.txt").read_bytes() for number in range(1, 10)]
    assert done.stdout == b"".join(piece + (b"0 " if number else b"1 ") for number, piece in enumerate(pieces))


def test_a_body_of_unknown_length(curl: Curl) -> None:
    result = curl("/app/stream")
    assert result.body == b"".join(b"%d\n" % number for number in range(100))
    assert "content-length" not in result.fields


# Parts


def test_a_range(curl: Curl, site: Path) -> None:
    content = (site / "medium.bin").read_bytes()
    for asked, start, end in (("5-9", 5, 10), ("1048000-", 1_048_000, 1 << 20), ("-7", (1 << 20) - 7, 1 << 20)):
        result = curl("/medium.bin", "--range", asked)
        assert result.status == 206
        assert result.body == content[start:end]
        assert result.fields["content-range"] == f"bytes {start}-{end - 1}/{1 << 20}"


def test_a_range_past_the_end(curl: Curl) -> None:
    result = curl("/small.txt", "--range", "600-")
    assert result.status == 416
    assert result.fields["content-range"] == "bytes */600"


def test_several_ranges(curl: Curl, site: Path) -> None:
    result = curl("/medium.bin", "--range", "0-4,500000-500004,-5")
    assert result.status == 206
    kind, _, boundary = result.fields["content-type"].partition("; boundary=")
    assert kind == "multipart/byteranges"
    parts = result.body.split(f"--{boundary}".encode())
    content = (site / "medium.bin").read_bytes()
    expected = [content[:5], content[500_000:500_005], content[-5:]]
    assert [part.partition(b"\r\n\r\n")[2] for part in parts[1:-1]] == [piece + b"\r\n" for piece in expected]
    assert parts[-1].strip() == b"--"
    assert len(result.body) == int(result.fields["content-length"])


def test_a_download_is_resumed(curl: Curl, site: Path, tmp_path: Path) -> None:
    content = (site / "medium.bin").read_bytes()
    begun = tmp_path / "begun"
    begun.write_bytes(content[:400_001])
    result = curl("/medium.bin", "--continue-at", "-", "--output", begun)
    assert result.status == 206
    assert result.facts["size_download"] == len(content) - 400_001
    assert begun.read_bytes() == content


# Conditions and codings


def test_an_entity_tag_saves_the_second_download(curl: Curl, tmp_path: Path) -> None:
    tag = tmp_path / "tag"
    tag.touch()
    options = ("--etag-compare", tag, "--etag-save", tag)
    assert curl("/medium.bin", *options).status == 200
    assert tag.read_text().startswith('"')
    again = curl("/medium.bin", *options)
    assert (again.status, again.facts["size_download"]) == (304, 0)


def test_a_time_saves_the_second_download(curl: Curl, site: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    assert curl("/medium.bin", "--remote-time", "--output", copy).status == 200
    assert int(copy.stat().st_mtime) == int((site / "medium.bin").stat().st_mtime)
    again = curl("/medium.bin", "--time-cond", copy)
    assert (again.status, again.body) == (304, b"")
    assert curl("/medium.bin", "--time-cond", "Sat, 01 Jan 2000 00:00:00 GMT").status == 200


@pytest.mark.parametrize("coding", ["br", "zstd", "gzip"])
def test_compressed_siblings(curl: Curl, coding: str) -> None:
    result = curl("/text.txt", "--compressed", "--header", f"Accept-Encoding: {coding}")
    assert result.fields["content-encoding"] == coding
    assert result.fields["vary"].lower() == "accept-encoding"
    assert result.body == TEXT
    assert result.facts["size_download"] == int(result.fields["content-length"]) < len(TEXT) // 50


def test_what_curl_can_decode_by_itself_is_what_it_gets(curl: Curl) -> None:
    result = curl("/text.txt", "--compressed")
    assert result.fields["content-encoding"] in ("br", "zstd", "gzip")
    assert result.body == TEXT


def test_who_does_not_ask_gets_the_plain_file(curl: Curl) -> None:
    result = curl("/text.txt")
    assert "content-encoding" not in result.fields
    assert result.body == TEXT
    assert result.facts["size_download"] == len(TEXT)


# Redirects


def test_redirects_are_followed(curl: Curl) -> None:
    """/moved goes to /folder, and that to /folder/."""
    result = curl("/moved", "--location")
    assert result.status == 200
    assert result.facts["num_redirects"] == 2
    assert result.facts["url_effective"] == f"{curl.base}/folder/"
    assert b"<title>Index</title>" in result.body


def test_plain_http_to_the_tls_port_is_led_to_https(curl: Curl) -> None:
    result = curl(curl.base.replace("https:", "http:") + "/small.txt?a=b", "--location")
    assert [line.split()[1] for line, _fields in result.heads] == ["308", "200"]
    assert result.facts["url_effective"] == f"{curl.base}/small.txt?a=b"


def test_plain_http2_to_the_tls_port_is_refused(bare_curl: Callable[..., Curl]) -> None:
    curl = bare_curl("--http2-prior-knowledge")
    result = curl(curl.base.replace("https:", "http:") + "/small.txt", fails=True)
    assert result.status in (0, 400)
    assert bare_curl("--http2")("/small.txt").status == 200


# Uploads


def test_an_upload(curl: Curl, upload: Path) -> None:
    result = curl("/app/digest", "--request", "POST", "--upload-file", upload)
    assert result.status == 200
    assert json.loads(result.body) == expected_digest(upload)
    assert result.facts["size_upload"] == 10 << 20


def test_an_upload_of_unknown_length(curl: Curl, upload: Path) -> None:
    """From standard input: chunked on HTTP/1.1, simply frames on HTTP/2."""
    target = ("--request", "POST", "--upload-file", "-", f"{curl.base}/app/digest")
    with upload.open("rb") as file:
        done = subprocess.run(curl.command(*target), stdin=file, capture_output=True, check=True)
    assert json.loads(done.stdout) == expected_digest(upload)


def test_a_form_with_a_file(curl: Curl, upload: Path) -> None:
    result = curl("/app/digest", "--form", f"file=@{upload}", "--form", "note=ä")
    assert (10 << 20) < json.loads(result.body)["size"] < (10 << 20) + 1000


def test_uploads_at_the_same_time_do_not_mix(curl: Curl, tmp_path: Path) -> None:
    transfers: list[str | Path] = []
    for number in range(8):
        (tmp_path / f"in{number}").write_bytes(bytes([number]) * (number * 100_000 + 1))
        transfers += ["--next", "--cacert", curl.command()[curl.command().index("--cacert") + 1]] if number else []
        transfers += ["--data-binary", f"@{tmp_path / f'in{number}'}", "--output", tmp_path / f"out{number}"]
        transfers += [f"{curl.base}/app/digest"]
    done = curl.run("--parallel", "--parallel-immediate", *transfers)
    assert done.returncode == 0, done.stderr
    for number in range(8):
        assert json.loads((tmp_path / f"out{number}").read_text()) == expected_digest(tmp_path / f"in{number}")


def test_100_continue(bare_curl: Callable[..., Curl], upload: Path) -> None:
    curl = bare_curl("--http1.1", "--expect100-timeout", "30")
    result = curl("/app/digest", "--request", "POST", "--upload-file", upload, "--header", "Expect: 100-continue")
    assert [line for line, _fields in result.heads] == ["HTTP/1.1 100 Continue", "HTTP/1.1 200 OK"]
    assert json.loads(result.body) == expected_digest(upload)
    assert result.facts["time_total"] < 30, "nobody answered the expectation"


def test_an_upload_to_a_file_is_refused_before_it_is_sent(bare_curl: Callable[..., Curl], upload: Path) -> None:
    curl = bare_curl("--http1.1", "--expect100-timeout", "30")
    result = curl("/small.txt", "--upload-file", upload, "--header", "Expect: 100-continue")
    assert [line for line, _fields in result.heads] == ["HTTP/1.1 405 Method Not Allowed"]
    assert result.fields["allow"] == "GET, HEAD, OPTIONS"
    assert result.facts["size_upload"] == 0


def test_an_upload_to_a_file_is_refused_in_the_middle(curl: Curl, upload: Path) -> None:
    """The answer arrives although nobody reads the body to its end; of a longer one, `closing_bytes` are waited for."""
    with upload.open("r+b") as file:
        file.truncate(2_000_000)
    result = curl("/small.txt", "--upload-file", upload, "--header", "Expect:")
    assert result.status == 405
    assert b"405" in result.body


def test_a_connection_goes_on_after_a_small_body_that_nobody_read(curl: Curl, tmp_path: Path) -> None:
    second = ["--next", *curl.command()[6:], "--output", str(tmp_path / "second"), "--write-out", "%{num_connects}"]
    first = ["--data", "x" * 5000, "--output", str(tmp_path / "first"), "--write-out", "%{http_code} "]
    done = curl.run(*first, f"{curl.base}/small.txt", *second, f"{curl.base}/small.txt")
    assert done.stdout == b"405 0"
    assert (tmp_path / "second").read_bytes() == b"0123456789" * 60


# Heads


def test_fields_arrive_in_their_order(curl: Curl) -> None:
    sent = [("x-one", "1"), ("x-two", "ä b"), ("x-one", "again"), ("x-empty", "")]
    options = [part for name, value in sent for part in ("--header", f"{name}: {value}" if value else f"{name};")]
    got = json.loads(curl("/app/fields", *options).body)["fields"]
    ours = [(name, value.encode("latin-1").decode()) for name, value in got if name.startswith("x-")]
    assert ours == sent


def test_many_cookies_are_one_field(curl: Curl) -> None:
    cookies = "; ".join(f"name{number}={'v' * 60}" for number in range(50))  # curl drops more
    got = json.loads(curl("/app/fields", "--cookie", cookies).body)["fields"]
    assert [value for name, value in got if name == "cookie"] == [cookies]


@pytest.mark.parametrize(
    "options",
    [
        [part for number in range(101) for part in ("--header", f"x-{number}: 1")],
        [part for number in range(5) for part in ("--header", f"x-{number}: {'v' * 8000}")],
        ["--header", "cookie: a=" + "v" * 33_000],
    ],
    ids=["too many", "too large together", "one too large"],
)
def test_heads_past_the_limits(curl: Curl, options: list[str]) -> None:
    assert curl("/small.txt", *options).status == 431
    assert curl("/small.txt").status == 200


def test_a_target_past_the_limit(curl: Curl) -> None:
    assert curl("/" + "a" * 8_200).status == 414
    assert curl("/small.txt?" + "a" * 8_000).status == 200


def test_an_unknown_method(curl: Curl) -> None:
    assert curl("/small.txt", "--request", "BREW").status == 501
    assert curl("/app/fields", "--request", "BREW").status == 501
    assert curl("/small.txt", "--request", "PURGE").status == 405


def test_paths_that_lead_outside_are_not_found(curl: Curl) -> None:
    for path in ("/../../../../etc/passwd", "/folder/../../conftest.py", "/..%2f..%2fetc/passwd", "/%2e%2e/etc/passwd"):
        assert curl(path, "--path-as-is").status in (400, 404)


def test_early_hints_and_trailers(curl: Curl) -> None:
    """103 breaks some HTTP/1.1 clients: it is for HTTP/2 only."""
    result = curl("/app/hints", "--header", "TE: trailers")
    statuses = [line.split()[1] for line, _fields in result.heads]
    if result.facts["http_version"] == "2":
        assert statuses == ["103", "200"]
        assert result.heads[0][1]["link"] == "</style.css>; rel=preload; as=style"
    else:
        assert statuses == ["200"]
    assert result.fields["x-checksum"] == "42"
    assert result.body == b"hinted\n"


def test_http_1_0(bare_curl: Callable[..., Curl], site: Path, upload: Path) -> None:
    curl = bare_curl("--http1.0")
    result = curl("/medium.bin")
    assert (result.status, result.facts["http_version"]) == (200, "1.1")  # we say what we are
    assert result.body == (site / "medium.bin").read_bytes()
    # A length that nobody knows: the end of the connection is the end of the body, no chunks.
    result = curl("/app/stream")
    assert "transfer-encoding" not in result.fields
    assert result.body == b"".join(b"%d\n" % number for number in range(100))
    result = curl("/app/digest", "--request", "POST", "--upload-file", upload)
    assert json.loads(result.body) == expected_digest(upload)


# TLS


@pytest.mark.parametrize("version", ["1.2", "1.3"])
def test_both_versions_of_tls(curl: Curl, version: str) -> None:
    result = curl("/small.txt", f"--tlsv{version}", "--tls-max", version, "--verbose")
    assert f"SSL connection using TLSv{version}" in result.errors


@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_older_versions_are_refused(curl: Curl, version: str) -> None:
    options = (f"--tlsv{version}", "--tls-max", version, "--ciphers", "ALL:@SECLEVEL=0")
    assert curl("/small.txt", *options, fails=True).code == COULD_NOT_CONNECT_TLS


def test_who_trusts_another_authority_does_not_connect(
    bare_curl: Callable[..., Curl], stranger: TestCertificates
) -> None:
    result = bare_curl(ca=stranger.ca)("/small.txt", fails=True)
    assert result.code == CERTIFICATE_REFUSED
    assert result.body == b""


def test_who_trusts_the_system_alone_does_not_connect(base: str, quiet_environment: dict[str, str]) -> None:
    done = subprocess.run(
        ["curl", "-q", "--silent", f"{base}/small.txt"], capture_output=True, check=False, env=quiet_environment
    )
    assert done.returncode == CERTIFICATE_REFUSED
    assert done.stdout == b""


def test_the_certificate_is_for_its_names_only(curl: Curl) -> None:
    port = curl.base.rpartition(":")[2]
    for name in ("example.test", "www.example.test"):
        resolve = ("--resolve", f"{name}:{port}:127.0.0.1")
        assert curl(f"https://{name}:{port}/small.txt", *resolve).status == 200
    resolve = ("--resolve", f"another.invalid:{port}:127.0.0.1")
    assert curl(f"https://another.invalid:{port}/", *resolve, fails=True).code == CERTIFICATE_REFUSED


def test_by_address_without_a_name(curl: Curl) -> None:
    assert curl(curl.base.replace("localhost", "127.0.0.1") + "/small.txt").status == 200
