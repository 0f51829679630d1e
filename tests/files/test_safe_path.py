"""Opening beneath a root: what is inside is found, and nothing leads outside, not even a race."""

from __future__ import annotations

import contextlib
import os
import socket
import tempfile
import threading
from pathlib import Path

import pytest
from hypothesis import given, settings, strategies as st

from securelight.files.safe_path import DocumentRoot, relative_path
from tests.helpers import open_descriptors

SECRET = b"outside the root"


def make_tree(base: Path) -> Path:
    outside = base / "outside"
    outside.mkdir()
    (outside / "secret").write_bytes(SECRET)
    (base / "root-twin").mkdir()
    (base / "root-twin" / "secret").write_bytes(SECRET)
    root = base / "root"
    (root / "dir" / "sub").mkdir(parents=True)
    (root / ".well-known").mkdir()
    (root / "file").write_bytes(b"inside")
    (root / "dir" / "file").write_bytes(b"inside")
    (root / "dir" / "sub" / "file").write_bytes(b"inside")
    (root / "link-in").symlink_to("dir/file")
    (root / "link-up-in").symlink_to("dir/../file")
    (root / "dir" / "parent").symlink_to("..")
    (root / "absolute-in").symlink_to(root / "dir")
    (root / "link-out").symlink_to("../outside")
    (root / "file-out").symlink_to("../outside/secret")
    (root / "absolute-out").symlink_to(outside)
    (root / "twin").symlink_to(base / "root-twin")
    (root / "chain").symlink_to("link-out")
    (root / "dir" / "climb").symlink_to("../../outside")
    (root / "magic").symlink_to(f"/proc/self/cwd/{os.path.relpath(outside)}")
    (root / "loop").symlink_to("loop")
    return root


@pytest.fixture(params=["openat2", "walk"])
def root(request: pytest.FixtureRequest, tmp_path: Path) -> DocumentRoot:
    document_root = DocumentRoot(make_tree(tmp_path))
    if request.param == "walk":
        document_root._openat2 = False
    return document_root


def read(root: DocumentRoot, relative: bytes) -> bytes:
    descriptor, _ = root.open(relative)
    try:
        return os.read(descriptor, 100)
    except IsADirectoryError:
        return b"directory"
    finally:
        os.close(descriptor)


@pytest.mark.parametrize(
    "relative", [b"file", b"dir/file", b"link-in", b"link-up-in", b"dir/parent/file", b"absolute-in/file"]
)
def test_files_inside_are_opened_also_over_symlinks_that_stay_inside(root: DocumentRoot, relative: bytes) -> None:
    assert read(root, relative) == b"inside"


def test_the_root_itself_is_a_directory(root: DocumentRoot) -> None:
    assert read(root, b".") == b"directory"
    assert read(root, b"dir/parent") == b"directory"


@pytest.mark.parametrize(
    "relative",
    [
        b"link-out/secret", b"file-out", b"absolute-out/secret", b"twin/secret", b"chain/secret", b"dir/climb/secret",
        b"magic/secret", b"loop", b"../outside/secret", b"dir/../../outside/secret", b"dir/parent/../outside/secret",
        b"absolute-in/../../outside/secret",
    ],
)  # fmt: skip
def test_what_leads_outside_is_as_good_as_not_there(root: DocumentRoot, relative: bytes) -> None:
    before = open_descriptors()
    with pytest.raises(FileNotFoundError):
        root.open(relative)
    assert open_descriptors() == before


def test_an_absolute_path_is_never_opened(root: DocumentRoot) -> None:
    with pytest.raises(FileNotFoundError):
        root.open(root.path + b"/../outside/secret")


@pytest.mark.parametrize("relative", [b"missing", b"file/below", b"a" * 300, b"a/" * 3000 + b"a"])
def test_missing_and_impossible_names_are_not_there(root: DocumentRoot, relative: bytes) -> None:
    with pytest.raises(FileNotFoundError):
        root.open(relative)


def test_only_regular_files_and_directories_are_opened_and_a_fifo_does_not_block(root: DocumentRoot) -> None:
    base = Path(os.fsdecode(root.path))
    os.mkfifo(base / "fifo")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(base / "socket"))
        before = open_descriptors()
        for name in (b"fifo", b"socket"):
            with pytest.raises(FileNotFoundError):
                root.open(name)
        assert open_descriptors() == before
    with pytest.raises(FileNotFoundError):
        DocumentRoot(Path("/dev")).open(b"null")


def test_an_unreadable_file_is_told_apart_from_a_missing_one() -> None:
    user = os.geteuid()
    with tempfile.TemporaryDirectory() as directory:
        base = Path(directory)
        base.chmod(0o755)
        (base / "file").touch(0)
        root = DocumentRoot(base)
        if not user:
            os.seteuid(65_534)  # the superuser may read everything
        try:
            with pytest.raises(PermissionError):
                root.open(b"file")
            with pytest.raises(FileNotFoundError):
                root.open(b"missing")
        finally:
            os.seteuid(user)


def test_symlinks_lead_anywhere_where_the_operator_says_so(tmp_path: Path) -> None:
    root = DocumentRoot(make_tree(tmp_path), follow_symlinks=True)
    assert read(root, b"link-out/secret") == SECRET
    assert read(root, b"absolute-out/secret") == SECRET


def test_the_root_may_be_a_symlink_that_is_swapped_by_a_deployment(tmp_path: Path) -> None:
    for release in ("1", "2"):
        (tmp_path / release).mkdir()
        (tmp_path / release / "version").write_text(release)
    current = tmp_path / "current"
    current.symlink_to("1")
    root = DocumentRoot(current)
    assert read(root, b"version") == b"1"
    (tmp_path / "next").symlink_to("2")
    (tmp_path / "next").rename(current)
    assert read(root, b"version") == b"2"


def test_a_directory_swapped_for_a_symlink_while_it_is_opened_does_not_lead_outside(root: DocumentRoot) -> None:
    base = Path(os.fsdecode(root.path))
    target, aside = base / "swap", base / "aside"
    target.mkdir()
    (target / "secret").write_bytes(b"inside")
    done = threading.Event()

    def swap() -> None:
        while not done.is_set():
            target.rename(aside)
            target.symlink_to("../outside")
            target.unlink()
            aside.rename(target)

    swapper = threading.Thread(target=swap)
    swapper.start()
    seen: set[bytes | None] = set()
    try:
        for _ in range(3000):
            try:
                seen.add(read(root, b"swap/secret"))
            except (FileNotFoundError, BlockingIOError):
                seen.add(None)
    finally:
        done.set()
        swapper.join()
    assert SECRET not in seen


SEGMENTS = st.one_of(
    st.sampled_from(
        ["dir", "sub", "file", "..", ".", "", "link-out", "absolute-out", "absolute-in", "parent", "climb", "chain",
         "secret", "file-out", "twin", "magic", "outside", "root", "loop", "..\\", "%2e%2e", "\0", "..;"]
    ),
    st.text(max_size=5),
)  # fmt: skip


@pytest.fixture(scope="module")
def shared_tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tree(tmp_path_factory.mktemp("tree"))


@settings(max_examples=600, deadline=None)
@given(segments=st.lists(SEGMENTS, max_size=8), dot_files=st.booleans(), walk=st.booleans())
def test_no_path_whatever_reads_anything_outside(
    shared_tree: Path, segments: list[str], dot_files: bool, walk: bool
) -> None:
    root = DocumentRoot(shared_tree)
    root._openat2 = not walk
    raw = "/".join(segments)
    relative = relative_path("/" + raw, dot_files=dot_files)
    for candidate in (relative, raw.encode("utf-8", "ignore").replace(b"\0", b"") or b"."):
        if candidate is None:
            continue
        with contextlib.suppress(FileNotFoundError, PermissionError):
            assert read(root, candidate) in (b"inside", b"directory")


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("", b"."),
        ("/", b"."),
        ("/a/b.txt", b"a/b.txt"),
        ("/a/", b"a"),
        ("/caf\xe9", "café".encode()),
        ("/\udcff", b"\xff"),
        ("/a..b", b"a..b"),
        ("/a.", b"a."),
    ],
)
def test_request_paths_name_files(path: str, expected: bytes) -> None:
    assert relative_path(path) == expected


@pytest.mark.parametrize(
    "path",
    ["/.", "/..", "/../a", "/a/..", "/a/../b", "/.git/config", "/a/.env", "/.htpasswd", "..", ".env", "/a\0b",
     "/\ud800", "/.well-known/x", "/..."],
)  # fmt: skip
def test_refused_paths(path: str) -> None:
    assert relative_path(path) is None


def test_well_known_is_let_through_as_the_first_segment_only() -> None:
    assert relative_path("/.well-known/a", well_known=True) == b".well-known/a"
    assert relative_path("/a/.well-known/b", well_known=True) is None
    assert relative_path("/.well-known/.htpasswd", well_known=True) is None
    assert relative_path("/.well-known/../a", well_known=True) is None


def test_dot_files_can_be_allowed_but_never_dot_segments() -> None:
    assert relative_path("/.git/config", dot_files=True) == b".git/config"
    assert relative_path("/a/../b", dot_files=True) is None
    assert relative_path("/./b", dot_files=True) is None
