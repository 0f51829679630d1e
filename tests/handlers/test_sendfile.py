"""Files that applications name: which of them are opened, and what is left of the application's own fields."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import pytest
from hypothesis import given, settings, strategies as st

from securelight.handlers.sendfile import Sendfile, SendfileConfig, faults, make_sendfile
from securelight.model.errors import Refusal
from securelight.model.limits import Limits
from tests.helpers import SilentEvents, field, make_request, open_descriptors, read_body

if TYPE_CHECKING:
    from pathlib import Path

    from securelight.model.headers import Field
    from securelight.model.response import Response

CONTENT = b"high water at noon" * 30_000
TYPE = (b"content-type", b"text/x-tide")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("sendfile")
    for name in ("files", "files/below", "files-beside", "other"):
        (made / name).mkdir()
    (made / "files/tide.pdf").write_bytes(CONTENT)
    (made / "files/below/small.txt").write_bytes(b"small")
    (made / "files/.hidden").write_bytes(b"secret")
    (made / "files-beside/secret").write_bytes(b"secret")
    (made / "secret").write_bytes(b"secret")
    (made / "files/leads-out").symlink_to(made / "secret")
    (made / "link").symlink_to("files")
    return made


@pytest.fixture(scope="module")
def sendfile(base: Path) -> Sendfile:
    config = SendfileConfig(("files", "link"), {"/protected": "files", "/protected/deep/": "files/below"})
    assert faults(config, base) == []
    made = make_sendfile(config, base, Limits(), SilentEvents())
    assert made is not None
    return made


def answer(sendfile: Sendfile, *fields: Field, status: int = 200, method: str = "GET", **headers: bytes) -> Response:
    request = make_request(method, headers={name.replace("_", "-").encode(): value for name, value in headers.items()})
    assert sendfile.names_a_file(fields)
    return sendfile.answer(request, status, fields)


def test_a_file_below_a_root_is_the_answer(sendfile: Sendfile, base: Path) -> None:
    before = open_descriptors()
    for name in (f"{base}/files/tide.pdf", f"{base}/link/tide.pdf"):
        found = answer(sendfile, TYPE, (b"x-sendfile", name.encode()), (b"set-cookie", b"a=b"), (b"etag", b'"mine"'))
        assert (found.status, read_body(found)) == (200, CONTENT)
        assert field(found, b"content-type") == b"text/x-tide"
        assert field(found, b"set-cookie") == b"a=b"
        assert field(found, b"etag") != b'"mine"'
        assert field(found, b"x-sendfile") is None
    assert open_descriptors() == before


def test_a_location_stands_for_a_directory_and_the_longest_one_counts(sendfile: Sendfile) -> None:
    for path in (b"/protected/below/small.txt", b"/protected/deep/small.txt", b"/protected/deep/sm%61ll.txt?a=b"):
        found = answer(sendfile, (b"x-accel-redirect", path))
        assert read_body(found) == b"small"
        assert field(found, b"content-type") == b"text/plain; charset=utf-8"


def test_ranges_and_validators_count_as_for_any_file(sendfile: Sendfile) -> None:
    named = (b"x-accel-redirect", b"/protected/tide.pdf")
    whole = answer(sendfile, named)
    whole.release()
    etag = field(whole, b"etag")
    assert etag is not None
    found = answer(sendfile, named, range=b"bytes=5-9")
    assert (found.status, read_body(found)) == (206, CONTENT[5:10])
    assert answer(sendfile, named, if_none_match=etag).status == 304
    assert answer(sendfile, named, method="HEAD").content_length == len(CONTENT)
    with pytest.raises(Refusal) as refused:
        answer(sendfile, named, range=b"bytes=999999-")
    assert refused.value.status == 416
    with pytest.raises(Refusal) as refused:
        answer(sendfile, named, if_match=b'"other"')
    assert refused.value.status == 412
    other = answer(sendfile, named, status=404, range=b"bytes=5-9")
    assert (other.status, read_body(other)) == (404, CONTENT)


@pytest.mark.parametrize(
    "name",
    [
        "secret", "files/../secret", "files/leads-out", "files/.hidden", "files-beside/secret", "files", "files/",
        "files/below", "files/none", "files/tide.pdf/", "files//../../secret", "link/../secret", "files/\0tide.pdf",
    ],
)  # fmt: skip
def test_no_other_file_is_opened(sendfile: Sendfile, base: Path, name: str) -> None:
    before = open_descriptors()
    for named in ((b"x-sendfile", f"{base}/{name}".encode()), (b"x-sendfile", name.encode())):
        if name == "files/tide.pdf/" and named[1].startswith(b"/"):
            continue
        with pytest.raises(Refusal) as refused:
            answer(sendfile, named)
        assert refused.value.status == 404
    assert open_descriptors() == before


@pytest.mark.parametrize(
    "path",
    [
        b"/protected/../secret", b"/protected/%2e%2e/secret", b"/protected/.hidden", b"/protected", b"/other/a", b"",
        b"/protected/%zz", b"/protected/%00", b"protected/tide.pdf", b"https://example.org/protected/tide.pdf",
        b"/protected/leads-out",
    ],
)  # fmt: skip
def test_no_other_location_is_followed(sendfile: Sendfile, path: bytes) -> None:
    with pytest.raises(Refusal) as refused:
        answer(sendfile, (b"x-accel-redirect", path))
    assert refused.value.status == 404


def test_two_files_are_none(sendfile: Sendfile) -> None:
    named = (b"x-accel-redirect", b"/protected/tide.pdf")
    with pytest.raises(Refusal) as refused:
        answer(sendfile, named, named)
    assert refused.value.status == 502


def test_only_what_is_listed_counts(base: Path) -> None:
    assert make_sendfile(SendfileConfig(), base, Limits(), SilentEvents()) is None
    roots_only = Sendfile(SendfileConfig(("files",)), base, Limits(), SilentEvents())
    assert not roots_only.names_a_file([(b"x-accel-redirect", b"/protected/tide.pdf"), TYPE])
    assert roots_only.names_a_file([(b"x-sendfile", b"/")])


@settings(max_examples=300, deadline=None)
@given(st.text(alphabet="./\\%2e0a-secretfilstd\n\x00", max_size=40))
def test_nothing_leads_to_a_secret(sendfile: Sendfile, base: Path, name: str) -> None:
    for named in (
        (b"x-sendfile", f"{base}/files/{name}".encode()),
        (b"x-accel-redirect", f"/protected/{name}".encode()),
    ):
        try:
            found = answer(sendfile, named)
        except Refusal:
            continue
        assert b"secret" not in read_body(found)


@pytest.mark.parametrize(
    ("keys", "part"),
    [
        ({"roots": ["missing"]}, "'missing' is not a directory"),
        ({"roots": [""]}, "'' is not a directory"),
        ({"locations": {"/a": "missing"}}, "'missing' is not a directory"),
        ({"locations": {"a": "files"}}, "must begin with a slash"),
        ({"locations": {"/": "files"}}, "must begin with a slash"),
    ],
)
def test_faults_of_the_settings(base: Path, keys: dict[str, object], part: str) -> None:
    (found,) = faults(msgspec.convert(keys, SendfileConfig), base)
    assert part in found
