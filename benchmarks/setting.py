"""What all servers of a run share: files to serve, certificates, and the tools around them.

Everything is made anew in a temporary folder for each run and gone after it.
"""

from __future__ import annotations

import gzip
import os
import random
import resource
import shutil
import socket
from dataclasses import dataclass
from pathlib import Path

from securelight.pki.issue import Wish, issue
from securelight.pki.local_certificates import LocalCertificates, ensure_local_certificates

SMALL_FILE_BYTES = 612
"""The size of the page that many servers install as their first; small enough for what a request costs to show."""
TEN_KILOBYTES = 10_000
TEN_MEGABYTES = 10_000_000
GIGABYTE = 1_000_000_000
UPLOAD_BYTES = 100_000_000
PAGE_ASSETS = 20

SMALL = "/static/small.html"
TEN = "/static/ten.html"
LARGE = "/static/large.bin"
HUGE = "/static/huge.bin"
PRECOMPRESSED = "/static/style.css"
BEHIND_ONE, BEHIND_HUNDRED, BEHIND_UPLOAD = "/behind/1k.bin", "/behind/100k.bin", "/behind/upload"
"""What proxies pass on to the server behind them."""
BEHIND_UPLOAD_BYTES = 100_000
CODED_SMALL, CODED_TEN, MADE_TEN = "/coded/small.html", "/coded/ten.html", "/made/ten.html"
"""Files that are compressed, and an answer of the server behind that is."""
KEPT_SMALL, KEPT_MEGABYTE = "/kept/small.html", "/kept/1m.bin"
"""What the server behind says may be kept."""
PHP_HELLO = "/php/hello.php"
RULED, LIMITED, GUARDED = "/ruled/small.html", "/limited/small.html", "/guarded/small.html"
PAGE = ("/static/page/index.html", *(f"/static/page/asset-{number:02}.js" for number in range(PAGE_ASSETS)))

_PATH = os.pathsep.join([os.environ.get("PATH", ""), "/usr/local/sbin", "/usr/sbin", "/sbin"])


@dataclass(frozen=True, slots=True)
class Identity:
    """A host, and the files with its certificate (PEM, ECDSA P-256)."""

    host: str
    chain: Path
    key: Path


@dataclass(frozen=True, slots=True)
class Setting:
    """What all servers of a run share.

    Attributes:
        directory: where each server may write below its name.
        site: the folder that is served; all files are in its folder `static`, for servers that want a prefix.
        certificates: the authority of this run and the certificate for localhost.
        peers: the environment that has the servers from PyPI; it may be missing.
        origin_port: where the server behind proxies listens, on 127.0.0.1, if it was started.
    """

    directory: Path
    site: Path
    certificates: LocalCertificates
    peers: Path
    origin_port: int

    @property
    def authority(self) -> Path:
        """The certificate that clients have to trust."""
        return self.certificates.authority.certificate_path

    @property
    def php_socket(self) -> Path:
        """Where php-fpm listens, if it was started."""
        return self.directory / "php-fpm" / "fpm.sock"

    @property
    def localhost(self) -> Identity:
        """The one site that most servers are started with."""
        leaf = self.certificates.leaf
        return Identity("localhost", leaf.chain_path, leaf.key_path)

    def file(self, url_path: str) -> Path:
        """The file behind a path of a URL."""
        return self.site / url_path.lstrip("/")

    def identities(self, count: int) -> tuple[Identity, ...]:
        """`count` sites s0.localhost, s1.localhost, ..., with a certificate and a key each.

        Errors: CertificateError, OSError.
        """
        folder = self.directory / "identities"
        folder.mkdir(exist_ok=True)
        found = []
        for number in range(count):
            one = Identity(f"s{number}.localhost", folder / f"{number}.pem", folder / f"{number}.key")
            if not one.chain.exists():
                issue(self.certificates.authority, Wish((one.host,))).write(folder, str(number))
            found.append(one)
        return tuple(found)

    def many_files(self, count: int) -> tuple[str, ...]:
        """The paths of `count` files of the small file's size, 1,000 a folder; made when they are first asked for."""
        paths = tuple(f"/static/many/{number // 1_000}/{number}.html" for number in range(count))
        content = small_page()
        for path in paths:
            file = self.file(path)
            if not file.exists():
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(content)
        return paths


def find_program(name: str) -> str | None:
    """Where a program of the system is; servers live in folders that not everybody has in PATH."""
    return shutil.which(name, path=_PATH)


def connection_limit() -> int:
    """How many connections a server is given and a client opens at the most: lighttpd and HAProxy count two descriptors
    for each.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != soft:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return min((hard - 1_000) // 2, 11_000)


def small_page() -> bytes:
    """A page of SMALL_FILE_BYTES."""
    line = b"<p>A page that is exactly as small as many first pages are.</p>\n"
    return (b"<!doctype html>\n<title>small</title>\n" + line * 20)[:SMALL_FILE_BYTES]


def write_site(site: Path) -> None:
    """Everything that is served, but for what is made when it is first asked for. Large files are sparse: what is
    measured is the way from the page cache to the client.
    """
    static = site / "static"
    (static / "page").mkdir(parents=True)
    (site / SMALL.lstrip("/")).write_bytes(small_page())
    words = ["light", "server", "secure", "stream", "frame", "header", "window", "table", "field", "name"]
    source = random.Random(7)
    text = " ".join(source.choice(words) for _ in range(20_000)).encode()
    (site / TEN.lstrip("/")).write_bytes(text[:TEN_KILOBYTES])
    style = site / PRECOMPRESSED.lstrip("/")
    style.write_bytes(text[: 2 * TEN_KILOBYTES])
    style.with_name(style.name + ".gz").write_bytes(gzip.compress(style.read_bytes(), 9, mtime=0))
    (site / PAGE[0].lstrip("/")).write_bytes(text[:15_000])
    for path in PAGE[1:]:
        (site / path.lstrip("/")).write_bytes(text[: source.randrange(1_000, 30_000)])
    for path in (CODED_SMALL, KEPT_SMALL, RULED, LIMITED, GUARDED):
        (site / path.lstrip("/")).parent.mkdir()
        (site / path.lstrip("/")).write_bytes(small_page())
    (site / "made").mkdir()
    (site / PHP_HELLO.lstrip("/")).parent.mkdir()
    (site / PHP_HELLO.lstrip("/")).write_text('<?php header("Content-Type: text/plain"); echo "Hello, world!\\n";\n')
    for path in (CODED_TEN, MADE_TEN):
        (site / path.lstrip("/")).write_bytes(text[:TEN_KILOBYTES])
    (site / KEPT_MEGABYTE.lstrip("/")).write_bytes(source.randbytes(1_000_000))
    (site / "behind").mkdir()
    for path, size in ((BEHIND_ONE, 1_000), (BEHIND_HUNDRED, 100_000)):
        (site / path.lstrip("/")).write_bytes(source.randbytes(size))
    for path, size in ((LARGE, TEN_MEGABYTES), (HUGE, GIGABYTE)):
        with (site / path.lstrip("/")).open("wb") as file:
            file.truncate(size)


def make_setting(directory: Path, peers: Path) -> Setting:
    """Write the files and make the certificates below `directory`, which servers that drop root must be able to enter.

    Errors: CertificateError, OSError.
    """
    directory.chmod(0o755)
    site = directory / "site"
    site.mkdir()
    write_site(site)
    with socket.create_server(("127.0.0.1", 0)) as sock:
        origin_port = int(sock.getsockname()[1])
    return Setting(directory, site, ensure_local_certificates(directory / "certs", []), peers, origin_port)
