"""SECURITY.md: each position names a file and a test that exist, and no class has two."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in (ROOT / "SECURITY.md").read_text(encoding="utf-8").splitlines()[6:]
    if line.startswith("| ") and "`" in line
]


def test_each_class_has_one_position() -> None:
    classes = [row[0] for row in ROWS]

    assert len(classes) >= 16
    assert len(set(classes)) == len(classes)


def test_each_position_names_code_and_a_test_that_exist() -> None:
    for _, _, where, shown in ROWS:
        file, name = shown.strip("`").split("::")
        assert (ROOT / where.strip("`")).is_file(), where
        assert re.search(rf"^(async )?def {name}\b", (ROOT / file).read_text(encoding="utf-8"), re.MULTILINE), shown
