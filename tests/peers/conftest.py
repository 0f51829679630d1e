"""A server for clients that nobody here wrote: files of every kind and an application, on both engines."""

from __future__ import annotations

import base64
import gzip
import os
import random
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from securelight.protocol.engine import native_available
from tests.certificates import make_test_certificates
from tests.wire.server_process import ServerProcess, serving, write_config

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.certificates import TestCertificates

TEXT = b"The light turns, and the sea keeps its own time.\n" * 200
# What brotli and zstd made of TEXT: Python's library has neither.
TEXT_BROTLI = base64.b64decode("G0cmQB0JNk58/bgpOEKlZxnVXCmgJYhLGDjkgP1blFiRRGIViNQWECqmBYtp4sjW10eLenQHQFQ=")
TEXT_ZSTD = base64.b64decode(
    "KLUv/WBIJdUBABQDVGhlIGxpZ2h0IHR1cm5zLCBhbmQgdGhlIHNlYSBrZWVwcyBpdHMgb3duIHRpbWUuCgEAQWEor6A="
)
LARGE_BYTES = 100 << 20
FILES = 50

CONFIG = """
root = "{site}"

[[site.route]]
path = "/app"

[site.route.asgi]
app = "applications:app"
app_directory = "{here}"

[[site.route]]
path = "/moved"

[site.route.respond]
status = 308
fields = {{ location = "/folder" }}
"""


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files: small, many, compressed beside the plain one, in a folder, medium (1 MB) and large (100 MB)."""
    folder = tmp_path_factory.mktemp("site")
    (folder / "small.txt").write_bytes(b"0123456789" * 60)
    (folder / "text.txt").write_bytes(TEXT)
    (folder / "text.txt.br").write_bytes(TEXT_BROTLI)
    (folder / "text.txt.zst").write_bytes(TEXT_ZSTD)
    (folder / "text.txt.gz").write_bytes(gzip.compress(TEXT))
    (folder / "folder").mkdir()
    (folder / "folder" / "index.html").write_text("<!doctype html><title>Index</title>\n")
    (folder / "many").mkdir()
    for number in range(FILES):
        (folder / "many" / f"{number}.txt").write_text(f"file {number}\n" * (number * 100 + 1))
    noise = random.Random(7).randbytes(1 << 20)
    (folder / "medium.bin").write_bytes(noise)
    with (folder / "large.bin").open("wb") as file:
        for number in range(LARGE_BYTES >> 20):  # no two pieces are the same
            file.write(number.to_bytes(8) + noise[8:])
    return folder


@pytest.fixture(scope="session")
def rsa(certificates: TestCertificates) -> TestCertificates:
    """A second pair for the same names, RSA, by the same authority."""
    return make_test_certificates(certificates.ca.parent, stem="rsa", key_type="rsa")


@pytest.fixture(scope="session")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> TestCertificates:
    """What another authority made: our server is not signed by it."""
    return make_test_certificates(tmp_path_factory.mktemp("stranger") / "certs")


@pytest.fixture(scope="module", params=["native", "pure"])
def engine(request: pytest.FixtureRequest) -> str:
    """The engine of the module's server."""
    if request.param == "native" and not native_available():
        pytest.skip("the native engine is not installed (extra: fast)")
    return str(request.param)


@pytest.fixture(scope="module")
def server(
    engine: str,
    tmp_path_factory: pytest.TempPathFactory,
    certificates: TestCertificates,
    rsa: TestCertificates,
    site: Path,
) -> Iterator[ServerProcess]:
    """One worker, one site with an ECDSA and an RSA certificate; it may log no error while the module runs."""
    directory = tmp_path_factory.mktemp(f"peers-{engine}")
    second = f'[[site.certificate]]\nchain = "{rsa.chain}"\nkey = "{rsa.key}"\n'
    # Patience is short, so that a slow client of a test meets its limits.
    limits = "body_grace_seconds = 1\nbody_minimum_bytes_per_second = 1000\nwrite_stall_seconds = 1.5"
    config = CONFIG.format(site=site, here=Path(__file__).parent)
    write_config(directory, certificates, config, engine=engine, limits=limits, extra=second)
    with serving(directory) as running:
        yield running


@pytest.fixture(scope="module")
def base(server: ServerProcess) -> str:
    """The URL of the server, without a slash at the end."""
    return f"https://localhost:{server.port}"


@pytest.fixture(scope="session")
def quiet_environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment for a client: an empty home, no proxies."""
    home = tmp_path_factory.mktemp("client-home")
    kept = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    return {**kept, "HOME": str(home), "NO_PROXY": "*"}


def peak_memory_kb(server: ServerProcess) -> int:
    """The most that the only worker ever held in memory."""
    (worker,) = server.workers()
    status = Path(f"/proc/{worker}/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))
