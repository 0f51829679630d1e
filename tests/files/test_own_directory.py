"""Folders of the server's own: which are refused before they are used."""

from __future__ import annotations

from typing import TYPE_CHECKING

from securelight.files.own_directory import own_directory_faults

if TYPE_CHECKING:
    from pathlib import Path


def test_a_folder_that_is_there_or_can_be_made_is_fine(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    assert own_directory_faults(tmp_path) == []
    assert own_directory_faults(tmp_path / "not" / "yet") == []


def test_what_is_no_folder_and_what_is_below_it(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    assert own_directory_faults(file) == [f"directory '{file}' is not a directory"]
    assert own_directory_faults(file / "below" / "it") == [f"directory '{file}/below/it': Not a directory"]


def test_a_folder_that_others_write_to_is_refused(tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o777)
    (fault,) = own_directory_faults(shared)
    assert fault.endswith("chmod go-w")
    assert own_directory_faults(shared / "mine") == []
