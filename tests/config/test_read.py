from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings, strategies as st

from securelight.config.faults import Faults
from securelight.config.read import MAXIMUM_FILE_BYTES, MAXIMUM_FILES, read_documents
from tests.helpers import open_descriptors

if TYPE_CHECKING:
    from pathlib import Path


def read(path: Path) -> tuple[list[str], list[str]]:
    """The names of the files that were read, and the faults, with the folder cut off."""
    faults = Faults()
    documents = read_documents(path, faults)
    folder = path if path.is_dir() else path.parent
    return [document.path.name for document in documents], [
        str(fault).replace(f"{folder}/", "") for fault in faults.all()
    ]


def faults_of(folder: Path, content: bytes) -> list[str]:
    path = folder / "main.toml"
    path.write_bytes(content)
    return read(path)[1]


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b"[server\n",
         "main.toml: line 1, column 8: is not valid TOML: expected ']' at the end of a table declaration, "
         "in the line [server"),
        (b"a = 1\nroot = public\n", 'main.toml: line 2, column 8: text needs quotes: root = "public"'),
        (b"root = /srv/www", 'main.toml: line 1, column 8: text needs quotes: root = "/srv/www"'),
        (b"workers 4\n",
         "main.toml: line 1, column 9: is not valid TOML: expected '=' after a key in a key/value pair, "
         "in the line workers 4"),
        (b"a = 1\na = 2\n", "main.toml: line 2, column 6: is not valid TOML: cannot overwrite a value, in the line "
         "a = 2"),
        (b'a = "1', "main.toml: end of file: is not valid TOML: unterminated string"),
        (b"a = \x1b]0;owned\x07\n", "main.toml: line 1, column 5: is not valid TOML: invalid value, in the line "
         "a = \\x1b]0;owned\\x07"),
        (b"a = '\xff'", "main.toml: is not UTF-8 text (byte 5)"),
        (b"a = " + b"[" * 100_000, "main.toml: is nested too deeply"),
        (b"a" + b".a" * 300_000 + b" = 1", "main.toml: has a line with more than 1000 dots"),
        (b"#" * (MAXIMUM_FILE_BYTES + 1), "main.toml: is larger than 1048576 bytes"),
    ],
)  # fmt: skip
def test_what_is_not_toml_is_explained_with_its_place(tmp_path: Path, content: bytes, fault: str) -> None:
    assert faults_of(tmp_path, content) == [fault]


def test_a_number_too_long_for_python_is_a_fault(tmp_path: Path) -> None:
    [fault] = faults_of(tmp_path, b"a = " + b"9" * 5_000)
    assert fault.startswith("main.toml: ")


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=200) | st.text(max_size=200).map(lambda text: text.encode("utf-8", "replace")))
def test_no_content_makes_reading_fail_otherwise_than_with_a_fault(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    folder = tmp_path_factory.mktemp("read")
    assert all(fault.isprintable() for fault in faults_of(folder, content))


def test_a_byte_order_mark_is_no_fault(tmp_path: Path) -> None:
    assert faults_of(tmp_path, b"\xef\xbb\xbfa = 1\n") == []


def test_a_fifo_is_refused_instead_of_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "main.toml")
    assert read(tmp_path / "main.toml") == ([], ["main.toml: is not a regular file"])


def test_includes_are_read_in_the_order_of_the_patterns_then_of_the_names(tmp_path: Path) -> None:
    for name in ("b.toml", "a.toml", "first.conf"):
        (tmp_path / name).write_text("x = 1\n")
    main = tmp_path / "main.toml"
    main.write_text('include = ["first.conf", "*.toml"]\n')
    assert read(main) == (["main.toml", "first.conf", "a.toml", "b.toml"], [])


def test_an_included_file_may_not_include(tmp_path: Path) -> None:
    (tmp_path / "conf.d").mkdir()
    (tmp_path / "conf.d/loop.toml").write_text('include = ["../main.toml"]\n')
    main = tmp_path / "main.toml"
    main.write_text("")
    assert read(main)[1] == ["conf.d/loop.toml: include: only the main file may include others"]


def test_a_file_that_is_named_must_be_there_but_a_pattern_may_be_empty(tmp_path: Path) -> None:
    main = tmp_path / "main.toml"
    main.write_text('include = ["sites/*.toml", "shop.toml"]\n')
    assert read(main)[1] == ['main.toml: include[1]: there is no file "shop.toml"']


def test_a_folder_is_not_included_and_leaves_no_descriptor_behind(tmp_path: Path) -> None:
    (tmp_path / "sites/old").mkdir(parents=True)
    main = tmp_path / "main.toml"
    before = open_descriptors()
    main.write_text('include = ["sites/", "sites/*"]\n')
    assert read(main)[1] == [
        'main.toml: include[0]: "sites/" is a folder; write "sites/*.toml"',
        "sites/old: is not a regular file",
    ]
    assert open_descriptors() == before


@pytest.mark.parametrize("written", ['"conf.d/*.toml"', "[1]", "true"])
def test_include_is_a_list_of_texts(tmp_path: Path, written: str) -> None:
    assert faults_of(tmp_path, f"include = {written}\n".encode()) == [
        'main.toml: include: expected a list of texts; write include = ["conf.d/*.toml"]'
    ]


def test_the_number_of_files_is_bounded(tmp_path: Path) -> None:
    (tmp_path / "conf.d").mkdir()
    for number in range(MAXIMUM_FILES + 1):
        (tmp_path / f"conf.d/{number}.toml").touch()
    main = tmp_path / "main.toml"
    main.write_text("")
    assert read(main) == (["main.toml"], ["conf.d: has more than 256 files to read"])


def test_a_directory_without_configuration_is_a_fault(tmp_path: Path) -> None:
    assert read(tmp_path) == ([], [f"{tmp_path}: has no *.toml files in it"])
