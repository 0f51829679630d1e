"""One site of files for many hosts and users."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import trio

from securelight.handlers import virtual_roots
from securelight.handlers.static_file import StaticFileConfig, build, check
from securelight.model.errors import ConfigError, Refusal
from securelight.model.headers import Headers
from securelight.model.request import Request
from securelight.pipeline.stage import Deferred, Handler
from tests.helpers import PEER, fetch, finish, make_context, make_facts, make_request, read_body


@pytest.fixture
def base(tmp_path: Path) -> Path:
    for name in ("a.test", "www.b.test", "b.test"):
        (tmp_path / "srv" / name).mkdir(parents=True)
        (tmp_path / "srv" / name / "index.html").write_text(name)
    (tmp_path / "secret.txt").write_text("secret")
    (tmp_path / "srv" / ".hidden").mkdir()
    (tmp_path / "srv" / ".hidden" / "index.html").write_text("hidden")
    return tmp_path


def handler_of(base: Path, **settings: Any) -> Handler:
    return build(StaticFileConfig(**settings), make_context(base))


def asked(handler: Handler, host: str, path: str = "/") -> bytes:
    return read_body(fetch(handler, Request("GET", path, Headers(), peer=PEER, host=host, authority=host)))


def test_each_host_has_its_folder(base: Path) -> None:
    handler = handler_of(base, root="srv/{host}")
    assert asked(handler, "a.test") == b"a.test"
    assert asked(handler, "b.test") == b"b.test"
    assert asked(handler, "a.test") == b"a.test"
    assert asked(handler_of(base, root="srv/{domain}"), "www.b.test") == b"b.test"
    (base / "srv" / "new.test").mkdir()
    (base / "srv" / "new.test" / "index.html").write_text("new")
    assert asked(handler, "new.test") == b"new"


@pytest.mark.parametrize("host", ["", "..", ".", ".hidden", "a..test", "a.test/..", "[::1]", "none.test", "a.test\0"])
def test_no_host_leads_anywhere_else(base: Path, host: str) -> None:
    with pytest.raises(Refusal) as refused:
        asked(handler_of(base, root="srv/{host}"), host)
    assert refused.value.status == 404


def test_no_path_leads_from_one_host_to_another(base: Path) -> None:
    with pytest.raises(Refusal):
        asked(handler_of(base, root="srv/{host}"), "a.test", "/../b.test/index.html")


def test_users_have_their_folders(base: Path) -> None:
    (base / "home" / "alice" / "public_html").mkdir(parents=True)
    (base / "home" / "alice" / "public_html" / "x.txt").write_text("hers")
    handler = handler_of(base, root="home/{name}/public_html", prefix="/~{name}")
    facts = make_facts()
    facts.captures = {"name": "alice"}
    request = make_request(path="/~alice/x.txt")
    answer = handler(request, facts)
    assert read_body(trio.run(finish, answer, request) if isinstance(answer, Deferred) else answer) == b"hers"
    for name in ("..", "bob", "alice/../..", ""):
        facts.captures = {"name": name}
        with pytest.raises(Refusal):
            handler(make_request(path="/~alice/x.txt"), facts)
    with pytest.raises(Refusal):
        handler(make_request(path="/~alice/x.txt"), make_facts())


def test_no_end_of_folders_is_kept(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(virtual_roots, "FOLDERS", 2)
    roots = virtual_roots.VirtualRoots("srv/{host}", "", base, lambda root, _prefix: handler_of(base, root=str(root)))
    for _ in range(2):
        for host in ("a.test", "b.test", "www.b.test"):
            assert asked(roots.handle, host) == host.encode()
    assert len(roots._known) == 2


@pytest.mark.parametrize(
    ("settings", "fault"),
    [
        ({"root": "srv/{ho st}"}, "brace without a name"),
        ({"root": "srv/{host"}, "brace without a name"),
        ({"root": "srv/{host}/../x"}, "has .. in it"),
        ({"root": "none/{host}"}, "there is no folder"),
        ({"root": "srv", "prefix": "~x"}, "has to begin with a slash"),
        ({"root": "srv", "prefix": "/x/"}, "not to end with one"),
    ],
)
def test_bad_patterns_are_named_and_never_built(base: Path, settings: dict[str, Any], fault: str) -> None:
    config = StaticFileConfig(**settings)
    assert [fault in message for message in check(config, base)] == [True]
    with pytest.raises(ConfigError):
        build(config, make_context(base))
