"""SECURITY.md: a position for each class of attack, with code and a test that exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in (ROOT / "SECURITY.md").read_text(encoding="utf-8").splitlines()
    if line.startswith("| ") and "::" in line
]
CLASSES = (
    "2023-44487", "2025-8671", "2024-27316", "2016-6581", "2026-49975", "2025-53020", "2019-9511", "9517", "2019-9512",
    "9515", "2019-9513", "2019-9514", "9516", "9518", "WINDOW_UPDATE spam", "Streams over the limit", "Zero-window",
    "Slowloris", "RUDY", "Slow read", "2023-39326", "2024-22019", "2025-22871", "2025-55315", "smuggling by lengths",
    "CL.0", "Expect desync", "2023-47627", "Trailers", "2026-58055", "H2.CL", "H2.TE", "Response splitting",
    "2021-41773", "2011-3192", "ALPACA", "Renegotiation", "KeyUpdate", "2024-2511", "2025-23419", "0-RTT", "2016-5385",
    "WebSocket", "BREACH",
)  # fmt: skip
"""What a position is owed for."""


@pytest.mark.parametrize("attack", CLASSES)
def test_each_class_has_one_position(attack: str) -> None:
    assert len([row for row in ROWS if attack in row[0]]) == 1


@pytest.mark.parametrize("row", ROWS, ids=[row[0] for row in ROWS])
def test_each_position_names_code_and_a_test_that_exist(row: list[str]) -> None:
    _, what, where, shown = row
    file, name = shown.strip("`").split("::")
    assert what
    assert (ROOT / where.strip("`")).is_file(), where
    assert re.search(rf"^(async )?def {name}\b", (ROOT / file).read_text(encoding="utf-8"), re.MULTILINE), shown
