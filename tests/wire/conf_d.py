"""The examples of conf.d, switched on as their comments say, in a folder that has everything they name.

What an example needs that a test cannot have stands elsewhere here: names end in .test, because our authority signs for
nothing else, and /srv, /run, /home and /var/cache are folders of the test's.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final

from cryptography import x509

from securelight.stages.password_file import hash_password
from tests.certificates import TestCertificates, make_test_certificates
from tests.client_certificates import ClientAuthority, Credentials, write_revocations
from tests.files.mmdb import Value, write as write_database

if TYPE_CHECKING:
    from collections.abc import Mapping

EXAMPLES: Final = Path(__file__).parents[2] / "conf.d"
LINK_SECRET: Final = "0123456789abcdef" * 4
PICTURE: Final = bytes(range(256)) * 4
DOWNLOAD_BYTES: Final = 8_000_000

ASGI = """
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

async def answer(request):
    return PlainTextResponse("shop " + request.url.path)

application = Starlette(routes=[Route("/{path:path}", answer)])
"""
WEBSOCKET = """
from fastapi import FastAPI, WebSocket

app = FastAPI()

@app.websocket("/echo")
async def echo(socket: WebSocket):
    await socket.accept()
    await socket.send_text("heard " + await socket.receive_text())
    await socket.close()
"""
WSGI = """
def application(environ, start_response):
    start_response("200 OK", [("content-type", "text/plain")])
    return [b"orders " + environ["PATH_INFO"].encode()]
"""
PHP = """<?php
$path = parse_url($_SERVER["REQUEST_URI"], PHP_URL_PATH);
if ($path === "/sent") header("X-Sendfile: SRV/blog/a.pdf");
else if ($path === "/moved") header("X-Accel-Redirect: /protected/a.pdf");
else echo "php ", $path, " ", $_SERVER["PATH_INFO"] ?? "-", " ", $_SERVER["APP_ENV"] ?? "-";
"""
GUARD = """<?php
if (($_SERVER["HTTP_X_KEY"] ?? "") === "open") header("Variable-REMOTE_USER: alice");
else { http_response_code(403); echo "guarded"; }
"""
FLOW = """
def application(environ, start_response):
    if environ["PATH_INFO"] == "/sent":
        start_response("200 OK", [("content-type", "text/plain"), ("x-sendfile", "SRV/flow/file.txt")])
        return []
    start_response("200 OK", [("content-type", "text/plain")])
    return [f"flow {environ['PATH_INFO']} {environ['APP_ENV']}".encode()]
"""
CGI = """#!/bin/sh
printf 'content-type: text/plain\\r\\n\\r\\n%s %s' "$PATH_INFO" "$LANG"
"""
PERL = 'print "content-type: text/plain\\r\\n\\r\\nperl";\n'
INCLUDING = '<p>before</p>\n<!--#include virtual="/part.html" -->\n'

FILES: Final[Mapping[str, str | bytes]] = {
    "shop/shop/web.py": ASGI,
    "shop/static/style.css": "p {}",
    "chat/chat/main.py": WEBSOCKET,
    "orders/orders/wsgi.py": WSGI,
    "flow/app.py": FLOW,
    "flow/file.txt": "a file",
    "club/index.html": "club",
    "club/picture.png": PICTURE,
    "club/report.txt": "report",
    "club/link-secret": LINK_SECRET,
    "members/index.html": "members",
    "members/guard.php": GUARD,
    "downloads/large.bin": bytes(DOWNLOAD_BYTES),
    "programs/hello": CGI,
    "programs/hello.pl": PERL,
    "private/index.html": "private",
    "news/index.html": "<p>news</p>\n" * 400,
    "mirror/folder/a.txt": "a",
    "mirror/folder/.hidden": "hidden",
    "mirror/folder/README.md": "read me",
    "php/public/index.php": PHP,
    "php/public/secret.txt": "secret",
    "blog/index.php": PHP,
    "blog/style.css": "p {}",
    "blog/a.pdf": PICTURE,
    "world/index.html": "world",
    "world/de/index.html": "welt",
    "world/login/index.html": "login",
    "fields/index.html": "<p>fields</p>",
    "fields/a.pdf": PICTURE,
    "fields/a.png": PICTURE,
    "logged/index.html": "logged",
    "logged/a.png": PICTURE,
    "rules/index.html": "rules",
    "rules/app/index.html": "the application",
    "rules/app/script.js": "script",
    "rules/notes.bak": "a backup",
    "rules/sorry.html": "<p>Sorry.</p>\n",
    "rules/not-found": "nothing of that name",
    "village/index.shtml": INCLUDING,
    "village/part.html": "<p>part</p>",
    "files/note.txt": "a note",
}
"""What is in /srv."""


@dataclass
class SwitchedOn:
    """The folder: `conf.d`, what its files name, and who may come in.

    Attributes:
        folder: holds conf.d and securelight.toml.
        certificates: of all sites.
        member: a client with a certificate for private.example.test.
        revoked: one whose certificate is on the list.
    """

    folder: Path
    certificates: TestCertificates
    member: Credentials
    revoked: Credentials

    def change(self, file: str, *changes: tuple[str, str]) -> None:
        """Put something else in the place of what an example has."""
        path = self.folder / "conf.d" / file
        text = path.read_text()
        for old, new in changes:
            assert old in text, f"{file} has no {old}"
            text = text.replace(old, new)
        path.write_text(text)


def switch_on(folder: Path) -> SwitchedOn:
    """Every example of conf.d, in `folder`, switched on."""
    names = ["localhost", "127.0.0.1", "::1", "*.example.test"]
    certificates = make_test_certificates(folder / "certs", names, stem="localhost")
    shutil.copytree(EXAMPLES.parent / "examples/site", folder / "examples/site")
    shutil.copytree(EXAMPLES, folder / "conf.d")
    (folder / "securelight.toml").write_text("")
    for path in (folder / "conf.d").glob("*.toml"):
        text = re.sub(r"^#(?=\S)", "", path.read_text(), flags=re.MULTILINE)
        text = text.replace("example.org", "example.test")
        text = re.sub(r'"/etc/.*fullchain\.pem"', f'"{certificates.chain}"', text)
        text = re.sub(r'"/etc/.*privkey\.pem"', f'"{certificates.key}"', text)
        for system in ("/srv/", "/run/", "/home/", "/var/cache/"):
            text = re.sub(rf'(?<=["\':]){system}', f"{folder}{system}", text)
        path.write_text(text)

    serve = folder / "srv"
    for name, content in FILES.items():
        path = serve / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.replace("SRV", str(serve)).encode() if isinstance(content, str) else content)
    (serve / "programs/hello").chmod(0o755)
    subprocess.run(["git", "init", "-q", "--bare", serve / "programs/tide.git"], check=True)
    (serve / "club/link-secret").chmod(0o600)
    for path in (serve / "club/users.htpasswd", serve / "files.htpasswd"):
        path.write_text(f"alice:{hash_password('secret', bcrypt=True)}\n")
        path.chmod(0o600)
    (folder / "home/alice/public_html").mkdir(parents=True)
    (folder / "home/alice/public_html/index.html").write_text("alice's")
    for name in ("run/php", "run/securelight", "var/cache/securelight/answers", "var/cache/securelight/compressed"):
        (folder / name).mkdir(parents=True, mode=0o700)

    authority = ClientAuthority(serve / "private-ca", not_after=datetime.now(UTC) + timedelta(days=100))
    authority.path.rename(serve / "private-ca/clients-ca.pem")
    member, revoked = (
        authority.issue(name, names=[x509.RFC822Name(f"{name}@example.test")]) for name in ("alice", "mallory")
    )
    write_revocations(serve / "private-ca/clients.crl", authority.revoke(revoked))

    made = SwitchedOn(folder, certificates, member, revoked)
    here: dict[str, Value] = {"country": {"iso_code": "DE"}, "continent": {"code": "EU"}}
    records = {"127.0.0.0/8": {**here, "autonomous_system_number": 64_496}}
    database = write_database(folder / "places.mmdb", records)
    made.change("00-server.toml", ("# databases = ", "databases = "))
    path = folder / "conf.d/00-server.toml"
    path.write_text(re.sub(r"^databases = .*", f'databases = ["{database}"]', path.read_text(), flags=re.MULTILINE))
    if os.geteuid() == 0:  # the example's own way is server.user, which the files of a test are not for
        stream = 'bodies_without_length = "stream"'
        made.change("cgi.toml", ("run_as_root = false", "run_as_root = true"))
        made.change("cgi.toml", (stream, f"{stream}\nrun_as_root = true"))
    return made
