"""What the examples of conf.d offer in the place of something else, or to add ("# key", with a space): tried as well.

Not here: what needs another machine or root (server.user, several servers of an application), and outputs of logs that
tests/wire/test_log_outputs.py tries.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import shutil
import socket
from typing import TYPE_CHECKING, Final

import pytest

from tests.server.processes import wait_until
from tests.wire.clients import Http1, Http2
from tests.wire.conf_d import SwitchedOn
from tests.wire.test_conf_d import Served, Visitor

if TYPE_CHECKING:
    from collections.abc import Iterator

REALM: Final = "the club"


def choose(on: SwitchedOn, file: str, *, instead_of: str = "", begins: tuple[str, ...] = ()) -> None:
    """Take lines out of an example, by a regular expression, and switch those on that begin as `begins` says."""
    path = on.folder / "conf.d" / file
    text = path.read_text()
    if instead_of:
        text, count = re.subn(instead_of, "", text, flags=re.MULTILINE)
        assert count == 1, f"{file} has no {instead_of}"
    for beginning in begins:
        text, count = re.subn(rf"^# (?={re.escape(beginning)})", "", text, count=1, flags=re.MULTILINE)
        assert count == 1, f"{file} has no {beginning}"
    path.write_text(text)


def adjust(on: SwitchedOn) -> None:
    srv = on.folder / "srv"
    # Digest in the place of basic_auth.
    basic = r"^\[site\.basic_auth\]\n(?:#.*\n|[a-z]+ = .*\n)*?users = \[\]\n"
    digest = ("[site.digest_auth]", f'file = "{srv}/club/users.htdigest"', "realm", "nonce_seconds")
    choose(on, "access.toml", instead_of=basic, begins=digest)
    secret = hashlib.sha256(f"alice:{REALM}:secret".encode()).hexdigest()
    (srv / "club/users.htdigest").write_text(f"alice:{REALM}:{secret}\n")
    (srv / "club/users.htdigest").chmod(0o600)
    # A part that nobody is asked for; users by another name.
    choose(on, "forward-auth.toml", begins=("when",))
    choose(on, "client-certificates.toml", begins=("client_users",))
    # The server that a client had.
    choose(on, "proxy.toml", begins=("sticky_cookie", "sticky_secret_file"))
    (srv / "app").mkdir()
    (srv / "app/sticky-secret").write_text("0123456789abcdef" * 4)
    (srv / "app/sticky-secret").chmod(0o600)
    # PHP without php-fpm.
    choose(
        on,
        "php-fpm.toml",
        instead_of=r'^upstream = "unix:.*\n',
        begins=("[site.route.fastcgi.spawn]", "command", "minimum", "maximum", "environment"),
    )
    # Syslog in the place of a file.
    choose(on, "logs.toml", instead_of=r'^file = ".*\n', begins=("syslog",))
    on.change("logs.toml", ('"/dev/log"', f'"{on.folder}/run/log"'))


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    if shutil.which("php-cgi", path="/usr/bin") is None:
        pytest.skip("/usr/bin/php-cgi, which the example names, is not installed")
    with contextlib.ExitStack() as stack:
        yield Served(tmp_path_factory.mktemp("other"), "auto", stack, adjust)


@pytest.fixture(params=[Http1, Http2])
def visitor(request: pytest.FixtureRequest, served: Served) -> Iterator[Visitor]:
    made = Visitor(served, request.param)
    yield made
    made.close()


def test_digest_in_the_place_of_basic_auth(visitor: Visitor) -> None:
    refused = visitor.ask("club")
    challenge = refused.headers["www-authenticate"]
    assert refused.status == 401
    assert challenge.startswith(f'Digest realm="{REALM}", ')
    [nonce] = re.findall(r'nonce="([^"]+)"', challenge)

    def hashed(*parts: str) -> str:
        return hashlib.sha256(":".join(parts).encode()).hexdigest()

    proof = hashed(hashed("alice", REALM, "secret"), nonce, "00000001", "c", "auth", hashed("GET", "/"))
    said = f'Digest username="alice", realm="{REALM}", nonce="{nonce}", uri="/", qop=auth, nc=00000001, cnonce="c"'
    field = {"authorization": f'{said}, response="{proof}", algorithm=SHA-256'}
    assert visitor.ask("club", headers=field).body == b"club"
    assert visitor.status("club", headers=field) == 401, "once"


def test_a_part_that_the_other_server_is_not_asked_for(visitor: Visitor) -> None:
    assert visitor.status("team", "/plans") == 401
    assert json.loads(visitor.ask("team", "/public/plans").body)["server"] == "team"


def test_users_by_another_name(visitor: Visitor) -> None:
    assert visitor.dial("private", visitor.served.on.member.path).request("GET", "/").body == b"private"


def test_a_cookie_that_brings_back_to_the_same_server(visitor: Visitor) -> None:
    first = visitor.ask("app", "/")
    cookie = first.headers["set-cookie"].partition(";")[0]
    assert cookie.startswith("server=")
    name = json.loads(first.body)["server"]
    assert {json.loads(visitor.ask("app", "/", {"cookie": cookie}).body)["server"] for _ in range(6)} == {name}


def test_php_that_the_server_starts_itself(visitor: Visitor) -> None:
    assert visitor.ask("blog", "/assets/style.css").body == b"p {}"
    assert visitor.ask("blog", "/2026/spring").body.startswith(b"php /2026/spring")


def test_syslog_in_the_place_of_a_file(visitor: Visitor) -> None:
    path = visitor.served.on.folder / "run/log"
    path.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as log:
        log.bind(str(path))
        log.settimeout(0.5)
        wanted = f'127.0.0.1 "GET /?of={visitor.protocol}" 200 6 '.encode()

        def heard() -> bool:
            """Lines are lost while nobody listens, and the server looks again for who does: so it is asked again."""
            assert visitor.status("logged", f"/?of={visitor.protocol}") == 200
            with contextlib.suppress(TimeoutError):
                return wanted in log.recv(65_536)
            return False

        wait_until(heard, 60)
