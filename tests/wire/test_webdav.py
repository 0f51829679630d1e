"""A share as clients meet it over TLS, on both engines and both protocols: what works, and what must not."""

from __future__ import annotations

import os
import re
import signal
import threading
from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree import ElementTree

import pytest

from tests.server.processes import wait_until
from tests.wire.clients import Answer, Http1
from tests.wire.server_process import ServerProcess, running, serving, write_config

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.certificates import TestCertificates
    from tests.wire.clients import Client
    from tests.wire.conftest import Dial

SHARE = """
[[site.route]]
path = "/dav"
[site.route.webdav]
root = "share"
writable = true
file_bytes = 3000000
locks_each = 8
xml_bytes = 8192

[[site.route]]
path = "/dav/private"
[site.route.respond]
status = 403

[[site.route]]
path = "/read"
[site.route.webdav]
root = "share"

[[site.route]]
path = "/full"
[site.route.webdav]
root = "full"
writable = true
free_bytes_kept = 1000000000000000
"""
LOCK = (
    '<?xml version="1.0"?><D:lockinfo xmlns:D="DAV:"><D:lockscope><D:{}/></D:lockscope>'
    "<D:locktype><D:write/></D:locktype><D:owner>us</D:owner></D:lockinfo>"
)
D = "{DAV:}"


@pytest.fixture(scope="module")
def server(
    engine: str, tmp_path_factory: pytest.TempPathFactory, certificates: TestCertificates
) -> Iterator[ServerProcess]:
    directory = tmp_path_factory.mktemp(f"webdav-{engine}")
    share = directory / "share"
    (share / "private").mkdir(parents=True)
    (share / "private" / "secret.txt").write_text("secret")
    (share / ".htaccess").write_text("secret")
    (share / "out").symlink_to(directory / "outside")
    (share / "out.txt").symlink_to(directory / "outside" / "file.txt")
    (directory / "full").mkdir()
    (directory / "outside").mkdir()
    (directory / "outside" / "file.txt").write_text("secret")
    write_config(directory, certificates, "", engine=engine, workers=2, extra=SHARE)
    with serving(directory) as process:
        yield process


@pytest.fixture
def place(server: ServerProcess, client: Client, request: pytest.FixtureRequest) -> tuple[str, Path]:
    """A folder for one test alone: its URL path, and itself."""
    name = re.sub(r"\W+", "-", request.node.name)
    assert client.request("MKCOL", f"/dav/{name}/").status == 201
    return f"/dav/{name}", server.directory / "share" / name


def lock(client: Client, path: str, scope: str = "exclusive", **fields: str) -> tuple[Answer, str]:
    """(the answer, the token in it)"""
    answer = client.request("LOCK", path, {"timeout": "Second-60", **fields}, LOCK.format(scope).encode())
    return answer, answer.headers.get("lock-token", "")


def properties(answer: Answer) -> dict[str, dict[str, ElementTree.Element]]:
    """Of each href, the properties with status 200 by name."""
    assert answer.status == 207
    return {
        response.findtext(f"{D}href", ""): {
            item.tag: item
            for propstat in response.iter(f"{D}propstat")
            if " 200 " in propstat.findtext(f"{D}status", "")
            for item in propstat.iterfind(f"{D}prop/*")
        }
        for response in ElementTree.fromstring(answer.body)
    }


def leftovers(folder: Path) -> list[str]:
    return [name for _, folders, files in os.walk(folder) for name in (*folders, *files)
            if name.startswith(".securelight-") and name != ".securelight-webdav"]  # fmt: skip


def test_it_says_what_it_can(client: Client) -> None:
    writable, readable = client.request("OPTIONS", "/dav/"), client.request("OPTIONS", "/read/")
    assert writable.headers["dav"] == "1, 2"
    assert "LOCK" in writable.headers["allow"]
    assert readable.headers["dav"] == "1"
    assert "PUT" not in readable.headers["allow"]


def test_a_file_is_written_read_replaced_and_removed(client: Client, place: tuple[str, Path]) -> None:
    path, folder = place
    made = client.request("PUT", f"{path}/a%20b.txt", body=b"one")
    assert made.status == 201
    read = client.request("GET", f"{path}/a%20b.txt")
    assert (read.body, read.headers["etag"]) == (b"one", made.headers["etag"])
    assert read.headers["content-security-policy"] == "sandbox"
    assert client.request("GET", f"{path}/a%20b.txt", {"range": "bytes=1-"}).body == b"ne"
    assert client.request("GET", f"{path}/a%20b.txt", {"if-none-match": made.headers["etag"]}).status == 304

    (folder / "a b.txt").chmod(0o640)
    assert client.request("PUT", f"{path}/a%20b.txt", body=b"two!").status == 204
    assert client.request("GET", f"{path}/a%20b.txt").body == b"two!", "what was written is there at once"
    assert (folder / "a b.txt").stat().st_mode & 0o777 == 0o640
    assert client.request("DELETE", f"{path}/a%20b.txt").status == 204
    assert client.request("GET", f"{path}/a%20b.txt").status == 404
    assert client.request("DELETE", f"{path}/a%20b.txt").status == 404


def test_a_client_that_expects_100_is_told_to_go_on(dial: Dial) -> None:
    client = dial.h1()
    client.send(f"PUT /dav/expected.txt HTTP/1.1\r\nhost: {client.host}\r\nexpect: 100-continue\r\n"
                "content-length: 4\r\n\r\n".encode())  # fmt: skip
    head = client.sock.recv(1000)
    assert head.startswith(b"HTTP/1.1 100 ")
    client.send(b"sent")
    assert client.answer("PUT").status in (201, 204)
    assert client.request("GET", "/dav/expected.txt").body == b"sent"


def test_a_large_file_is_written_in_pieces(client: Client, place: tuple[str, Path]) -> None:
    path, folder = place
    content = os.urandom(2_500_000)
    assert client.request("PUT", f"{path}/large.bin", body=content).status == 201
    assert (folder / "large.bin").read_bytes() == content
    assert leftovers(folder) == []


def test_conditions_of_writing(client: Client, place: tuple[str, Path]) -> None:
    path, _ = place
    first = client.request("PUT", f"{path}/f", {"if-none-match": "*"}, b"1").headers["etag"]
    assert client.request("PUT", f"{path}/f", {"if-none-match": "*"}, b"2").status == 412
    assert client.request("PUT", f"{path}/f", {"if-match": first}, b"22").status == 204
    assert client.request("PUT", f"{path}/f", {"if-match": first}, b"333").status == 412
    assert client.request("DELETE", f"{path}/f", {"if-match": first}).status == 412
    assert client.request("GET", f"{path}/f").body == b"22"


def test_a_folder_is_made_listed_copied_moved_and_removed(client: Client, place: tuple[str, Path]) -> None:
    path, folder = place
    assert client.request("MKCOL", f"{path}/from/deep").status == 409
    assert client.request("MKCOL", f"{path}/from").status == 201
    assert client.request("MKCOL", f"{path}/from").status == 405
    assert client.request("MKCOL", f"{path}/body", body=b"<x/>").status == 415
    assert client.request("PUT", f"{path}/from/a.txt", body=b"a").status == 201
    assert client.request("PUT", f"{path}/from/no/a.txt", body=b"a").status == 409
    listed = properties(client.request("PROPFIND", f"{path}/from/", {"depth": "1"}))
    assert set(listed) == {f"{path}/from/", f"{path}/from/a.txt"}
    assert listed[f"{path}/from/a.txt"][f"{D}getcontentlength"].text == "1"
    assert listed[f"{path}/from/"][f"{D}resourcetype"][0].tag == f"{D}collection"

    base = f"https://{client.host}"
    assert client.request("COPY", f"{path}/from", {"destination": f"{base}{path}/to"}).status == 201
    assert client.request("COPY", f"{path}/from", {"destination": f"{path}/to", "overwrite": "F"}).status == 412
    assert client.request("MOVE", f"{path}/from", {"destination": f"{base}{path}/to"}).status == 204
    wait_until(lambda: not leftovers(folder))
    assert sorted(str(one.relative_to(folder)) for one in folder.rglob("*")) == [
        "to", "to/a.txt",
    ]  # fmt: skip
    assert client.request("DELETE", f"{path}/to").status == 204
    assert not (folder / "to").exists()
    wait_until(lambda: not leftovers(folder))


def test_properties_are_kept_moved_and_forgotten(client: Client, place: tuple[str, Path]) -> None:
    path, _ = place
    client.request("PUT", f"{path}/f", body=b"x")
    body = (
        '<D:propertyupdate xmlns:D="DAV:" xmlns:s="urn:s"><D:set><D:prop><s:colour xml:lang="en">red<s:x a="1"/> &amp;'
        "</s:colour></D:prop></D:set></D:propertyupdate>"
    )
    assert client.request("PROPPATCH", f"{path}/f", body=body.encode()).status == 207
    assert client.request("MOVE", f"{path}/f", {"destination": f"{path}/g"}).status == 201
    wish = b'<propfind xmlns="DAV:"><prop><colour xmlns="urn:s"/><displayname/></prop></propfind>'
    answer = client.request("PROPFIND", f"{path}/g", {"depth": "0"}, wish)
    found = properties(answer)[f"{path}/g"]
    assert list(found) == ["{urn:s}colour"]
    assert found["{urn:s}colour"].text == "red"
    assert found["{urn:s}colour"][0].attrib == {"a": "1"}
    assert found["{urn:s}colour"].get("{http://www.w3.org/XML/1998/namespace}lang") == "en"
    assert b"404 Not Found" in answer.body
    client.request("PUT", f"{path}/f", body=b"another")
    assert "{urn:s}colour" not in properties(client.request("PROPFIND", f"{path}/f", {"depth": "0"}))[f"{path}/f"]

    protected = body.replace("s:colour", "D:getetag")
    refused = client.request("PROPPATCH", f"{path}/g", body=protected.encode())
    assert b"403 Forbidden" in refused.body


def test_a_lock_keeps_others_out(client: Client, place: tuple[str, Path], dial: Dial) -> None:
    path, _ = place
    client.request("PUT", f"{path}/f", body=b"mine")
    answer, token = lock(client, f"{path}/f")
    assert (answer.status, token[:10]) == (200, "<urn:uuid:")
    other = dial.h1()
    assert lock(other, f"{path}/f")[0].status == 423
    for method, fields in (("PUT", {}), ("DELETE", {}), ("MOVE", {"destination": f"{path}/g"})):
        refused = other.request(method, f"{path}/f", fields, b"theirs" if method == "PUT" else None)
        assert refused.status == 423
        assert f"<href>{path}/f</href>".encode() in refused.body
    assert other.request("DELETE", path).status == 423, "nor the folder that it is in"
    assert client.request("PUT", f"{path}/f", {"if": f"({token})"}, b"mine too").status == 204
    assert client.request("PUT", f"{path}/f", {"if": f'({token} ["wrong"])'}, b"no").status == 412
    assert client.request("PUT", f"{path}/f", {"if": "(<urn:uuid:wrong>)"}, b"no").status == 412
    assert client.request("UNLOCK", f"{path}/f", {"lock-token": "<urn:uuid:wrong>"}).status == 409
    assert client.request("UNLOCK", f"{path}/f", {"lock-token": token}).status == 204
    assert other.request("PUT", f"{path}/f", body=b"theirs").status == 204


def test_a_lock_of_a_folder_covers_what_is_made_in_it(client: Client, place: tuple[str, Path]) -> None:
    path, _ = place
    _, token = lock(client, path, depth="infinity")
    assert client.request("PUT", f"{path}/new", body=b"x").status == 423
    assert client.request("PUT", f"{path}/new", {"if": f"<{path}> ({token})"}, b"x").status == 201
    found = properties(client.request("PROPFIND", f"{path}/new", {"depth": "0"}))[f"{path}/new"]
    assert token[1:-1] in ElementTree.tostring(found[f"{D}lockdiscovery"]).decode()
    assert client.request("UNLOCK", f"{path}/new", {"lock-token": token}).status == 204
    assert client.request("PUT", f"{path}/new", body=b"y").status == 204


def test_shared_locks_and_their_bound(client: Client, place: tuple[str, Path]) -> None:
    path, _ = place
    tokens = [lock(client, path, "shared")[1] for _ in range(8)]
    assert len(set(tokens)) == 8
    assert lock(client, path, "exclusive")[0].status == 423
    assert lock(client, path, "shared")[0].status == 507, "an address may have eight here"
    for token in tokens:
        assert client.request("UNLOCK", path, {"lock-token": token}).status == 204


@pytest.mark.parametrize(
    ("destination", "status"),
    [
        ("https://elsewhere.test/dav/x", 502),
        ("https://localhost/dav/x", 502),  # another port is another server
        ("//localhost/dav/x", 400),
        ("/elsewhere/x", 502),
        ("/dav/../../etc/passwd", 400),
        ("/dav/..%2f..%2fetc/x", 400),
        ("/dav/%00x", 400),
        ("/dav/line%0abreak", 400),
        ("/dav/x?query", 400),
        ("/dav/.htaccess", 403),
        ("/dav/folder/.git", 403),
        ("/dav/.securelight-webdav/state.sqlite", 403),
        ("/dav/private/x", 403),
        ("/dav/private", 403),
        ("/dav/", 403),
        ("/dav/out/x", 409),
        ("ftp://localhost/dav/x", 400),
        ("x", 400),
    ],
)
def test_destinations_that_are_refused(
    client: Client, place: tuple[str, Path], destination: str, status: int, server: ServerProcess
) -> None:
    path, folder = place
    client.request("PUT", f"{path}/f", body=b"x")
    for method in ("COPY", "MOVE"):
        assert client.request(method, f"{path}/f", {"destination": destination}).status == status, method
    assert (folder / "f").read_bytes() == b"x"
    assert sorted(one.name for one in (server.directory / "outside").iterdir()) == ["file.txt"]


def test_nothing_is_copied_or_moved_into_itself(client: Client, place: tuple[str, Path]) -> None:
    path, folder = place
    client.request("MKCOL", f"{path}/d")
    client.request("PUT", f"{path}/d/f", body=b"x")
    for method in ("COPY", "MOVE"):
        assert client.request(method, f"{path}/d", {"destination": f"{path}/d"}).status == 403
        assert client.request(method, f"{path}/d", {"destination": f"{path}/d/e"}).status == 403
        assert client.request(method, f"{path}/d/f", {"destination": f"{path}/d"}).status == 403
    assert client.request("COPY", "/full/", {"destination": "/full/all"}).status == 403
    assert (folder / "d" / "f").read_bytes() == b"x"


@pytest.mark.parametrize(
    "path",
    ["/dav/.htaccess", "/dav/.securelight-webdav/state.sqlite", "/dav/.securelight-upload-0", "/dav/.new", "/dav/a/.b"],
)
def test_hidden_names_are_neither_read_nor_written(client: Client, path: str, server: ServerProcess) -> None:
    assert client.request("GET", path).status == 404
    assert client.request("PROPFIND", path, {"depth": "0"}).status == 404
    assert client.request("PUT", path, body=b"evil").status == 403
    assert client.request("DELETE", path).status == 403
    assert (server.directory / "share" / ".htaccess").read_text() == "secret"


def test_links_that_lead_out_are_neither_shown_nor_followed(client: Client, server: ServerProcess) -> None:
    shown = properties(client.request("PROPFIND", "/dav/", {"depth": "1"}))
    hidden = {f"/dav/{name}" for name in ("out", "out/", "out.txt", "private/", ".securelight-webdav/", ".htaccess")}
    assert not hidden & set(shown)
    assert client.request("GET", "/dav/out/file.txt").status == 404
    assert client.request("PUT", "/dav/out/file.txt", body=b"evil").status == 409
    assert client.request("PUT", "/dav/out/new.txt", body=b"evil").status == 409
    assert client.request("MKCOL", "/dav/out/new").status == 409
    assert client.request("DELETE", "/dav/out/file.txt").status == 404
    assert client.request("COPY", "/dav/out.txt", {"destination": "/dav/stolen.txt"}).status == 404
    outside = server.directory / "outside"
    assert [(one.name, one.read_text()) for one in outside.iterdir()] == [("file.txt", "secret")]


def test_the_share_itself_and_folders_are_no_files(client: Client, place: tuple[str, Path]) -> None:
    path, _ = place
    assert client.request("PUT", path, body=b"x").status == 405
    assert client.request("PUT", f"{path}/", body=b"x").status == 405
    assert client.request("PUT", "/dav/", body=b"x").status == 405
    assert client.request("DELETE", "/dav/").status == 403
    assert client.request("PUT", f"{path}/f", {"content-range": "bytes 0-0/1"}, b"x").status == 400


def test_a_share_that_is_not_writable_is_not_written(client: Client, server: ServerProcess) -> None:
    for method in ("PUT", "DELETE", "MKCOL", "COPY", "MOVE", "PROPPATCH", "LOCK", "UNLOCK"):
        answer = client.request(method, "/read/x", body=b"x" if method == "PUT" else None)
        assert (answer.status, answer.headers["allow"]) == (405, "OPTIONS, GET, HEAD, PROPFIND")
    assert "/read/" in properties(client.request("PROPFIND", "/read/", {"depth": "1"}))


def test_a_file_that_is_too_large_or_has_no_room_leaves_nothing(
    client: Client, place: tuple[str, Path], server: ServerProcess
) -> None:
    path, folder = place
    assert client.request("PUT", "/full/f", body=b"x").status == 507
    assert not (server.directory / "full" / "f").exists()
    announced = {"content-length": "3000001"}
    if isinstance(client, Http1):
        assert client.request("PUT", f"{path}/f", announced).status == 413
    else:
        assert client.answer(client.open("PUT", f"{path}/f", announced, end=False)).status == 413
    assert list(folder.iterdir()) == []


def test_a_file_that_grows_too_large_on_its_way_leaves_nothing(dial: Dial, server: ServerProcess) -> None:
    client = dial.h2()
    stream = client.open("PUT", "/dav/grows", end=False)
    client.send_body(stream, bytes(3_000_001))
    assert client.answer(stream).status == 413
    assert not (server.directory / "share" / "grows").exists()
    wait_until(lambda: not leftovers(server.directory / "share"))


BOMB = (
    '<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;">]>'
    '<propfind xmlns="DAV:"><prop><x>&b;</x></prop></propfind>'
)
EXTERNAL = BOMB.replace('"aaaaaaaaaa"', 'SYSTEM "file:///etc/passwd"')


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (BOMB, 400),
        (EXTERNAL, 400),
        ("<propfind", 400),
        ("<x/>", 400),
        ("<propfind xmlns='DAV:'><prop/><allprop/></propfind>", 400),
        ("<a>" * 40 + "</a>" * 40, 400),
        ("<propfind xmlns='DAV:'><prop>" + "<a/>" * 2_040 + "</prop></propfind>", 413),
        ("<propfind xmlns='DAV:'><prop>" + "<a/>" * 1_900 + "<a" + " " * 200 + "/></prop></propfind>", 207),
    ],
    ids=["bomb", "external entity", "cut", "another element", "two wishes", "deep", "large", "many"],
)
def test_xml_that_is_hostile(client: Client, body: str, status: int) -> None:
    assert client.request("PROPFIND", "/dav/", {"depth": "0"}, body.encode()).status == status


@pytest.mark.parametrize(
    "value", ["(", "()", "(<a>", "<a>", "<a> <b> (<c>)", "(Not)", "(<a>) <b> (<c>)", "x", "(<a b>)", "(<a>) " * 65]
)
def test_if_fields_that_are_malformed(client: Client, value: str) -> None:
    assert client.request("DELETE", "/dav/nothing", {"if": value}).status == 400


def test_depth_infinity_is_refused_by_name(client: Client) -> None:
    for fields in ({}, {"depth": "infinity"}):
        refused = client.request("PROPFIND", "/dav/", fields)
        assert refused.status == 403
        assert b"<propfind-finite-depth/>" in refused.body
    assert client.request("PROPFIND", "/dav/", {"depth": "2"}).status == 400


def test_names_that_are_no_text_come_back_as_they_went(client: Client, place: tuple[str, Path]) -> None:
    path, folder = place
    (folder / os.fsdecode(b"\xff \x01&<")).write_bytes(b"odd")
    shown = properties(client.request("PROPFIND", path, {"depth": "1"}))
    [href] = set(shown) - {f"{path}/"}
    assert href == f"{path}/%FF%20%01%26%3C"
    assert client.request("GET", f"{path}/%FF%20%01%26%3C").status == 400, "control characters are in no request"


def test_a_client_that_leaves_in_the_middle_leaves_nothing(dial: Dial, server: ServerProcess) -> None:
    share = server.directory / "share"
    h1, h2 = dial.h1(), dial.h2()
    h1.send(f"PUT /dav/half-1 HTTP/1.1\r\nhost: {h1.host}\r\ncontent-length: 2000000\r\n\r\n".encode() + bytes(100_000))
    stream = h2.open("PUT", "/dav/half-2", end=False)
    h2.send_body(stream, bytes(60_000), end=False)
    wait_until(lambda: len(leftovers(share)) >= 2)
    h1.close()
    h2.close()
    wait_until(lambda: not leftovers(share))
    assert not (share / "half-1").exists()
    assert not (share / "half-2").exists()


def test_files_that_many_write_at_once_are_whole(server: ServerProcess, certificates: TestCertificates) -> None:
    results: list[int] = []
    contents = [bytes([number]) * 200_000 for number in range(8)]

    def write(content: bytes, fields: dict[str, str], name: str) -> None:
        client = Http1(server.port, certificates.ca)
        try:
            results.append(client.request("PUT", f"/dav/{name}", fields, content).status)
        finally:
            client.close()

    for name, fields in (("race", {}), ("first", {"if-none-match": "*"})):
        (server.directory / "share" / name).unlink(missing_ok=True)
        results.clear()
        threads = [threading.Thread(target=write, args=(content, fields, name)) for content in contents]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert (server.directory / "share" / name).read_bytes() in contents
        assert sorted(results) == ([201] + [204] * 7 if not fields else [201] + [412] * 7)


def test_a_folder_of_many_is_answered_in_pieces_and_removed_at_once(
    server: ServerProcess, dial: Dial, engine: str
) -> None:
    count = 20_000 if engine == "native" else 2_000  # what the other engine costs is not looked at here
    many = server.directory / "share" / "many"
    many.mkdir()
    for number in range(count):
        os.close(os.open(many / f"{number}", os.O_CREAT | os.O_WRONLY))
    wish = b'<propfind xmlns="DAV:"><prop><getcontentlength/></prop></propfind>'
    client = dial.h1()
    answer = client.request("PROPFIND", "/dav/many", {"depth": "1"}, wish)
    assert answer.body.count(b"<response>") == count + 1
    assert client.request("PROPFIND", "/dav/", {"depth": "infinity"}, wish).status == 403
    assert client.request("DELETE", "/dav/many").status == 204
    assert not many.exists(), "at once; what is left is removed when nobody waits"
    wait_until(lambda: not leftovers(server.directory / "share"), 60)


def test_a_client_that_leaves_while_a_folder_is_copied_leaves_nothing(dial: Dial, server: ServerProcess) -> None:
    share = server.directory / "share"
    (share / "source").mkdir()
    with (share / "source" / "sparse").open("wb") as sparse:
        sparse.truncate(4 << 30)  # nobody copies that before the client has gone
    client = dial.h1()
    client.send(f"COPY /dav/source HTTP/1.1\r\nhost: {client.host}\r\ndestination: /dav/copied\r\n\r\n".encode())
    wait_until(lambda: leftovers(share))
    client.close()
    wait_until(lambda: not leftovers(share), 60)
    assert not (share / "copied").exists()
    assert dial.h1().request("DELETE", "/dav/source").status == 204


def test_locks_and_properties_survive_a_kill(tmp_path: Path, certificates: TestCertificates) -> None:
    (tmp_path / "share").mkdir()
    (tmp_path / "full").mkdir()
    write_config(tmp_path, certificates, "", extra=SHARE)
    with running(tmp_path) as server:
        client = Http1(server.port, certificates.ca)
        client.request("PUT", "/dav/f", body=b"x")
        _, token = lock(client, "/dav/f")
        client.send(f"PUT /dav/g HTTP/1.1\r\nhost: {client.host}\r\ncontent-length: 9\r\n\r\nhalf".encode())
        wait_until(lambda: leftovers(tmp_path / "share"))
        before = server.workers()
        for worker in before:
            os.kill(worker, signal.SIGKILL)
        client.close()
        wait_until(lambda: server.workers() and not set(server.workers()) & set(before))
        wait_until(lambda: not leftovers(tmp_path / "share"))
        client = Http1(server.port, certificates.ca)
        assert client.request("PUT", "/dav/f", body=b"y").status == 423
        assert client.request("PUT", "/dav/f", {"if": f"({token})"}, b"y").status == 204
        client.close()
