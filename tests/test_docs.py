"""The documents agree with the code: what is generated is current, and what they name exists."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import msgspec
import pytest

from securelight.model.errors import Refusal
from securelight.model.limits import describe
from securelight.model.request import Facts
from tests.helpers import make_context, make_request

ROOT = Path(__file__).parent.parent
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
LINK = re.compile(
    r"\[[^\]]*\]\((?!https?:|mailto:|#)([^)#\s]+)(?:#[^)]*)?\)|<(?:img|source) [^>]*(?:src|srcset)=\"([^\"]+)\""
)
SOURCE = re.compile(r"`((?:securelight|tests|docs|benchmarks|examples|conf\.d)/[\w./-]+)`")


def test_the_list_of_limits_is_current() -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "docs" / "generate_limits.py", "--check"], capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stderr


def test_every_limit_is_a_row_with_its_default_and_reason() -> None:
    rows = [line for line in (ROOT / "docs" / "limits.md").read_text().splitlines() if line.startswith("| `")]

    assert [row.split("`")[1] for row in rows] == [name for name, *_ in describe()]
    assert all(len(row.split("|")) == 7 for row in rows)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_what_a_document_points_to_is_there(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    links = [document.parent / (link or image) for link, image in LINK.findall(text)]
    sources = [ROOT / name for name in SOURCE.findall(text)]
    made_later = {ROOT / "examples" / "site" / "long.html", ROOT / "benchmarks" / "results"}

    missing = [str(path.relative_to(ROOT)) for path in links + sources if not path.exists() and path not in made_later]

    assert missing == []


def test_every_make_target_that_is_named_exists() -> None:
    targets = set(re.findall(r"^([a-z][\w-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = {name for path in DOCUMENTS for name in re.findall(r"`make ([\w-]+)", path.read_text(encoding="utf-8"))}

    assert named - targets == set()


def test_the_worked_example_of_a_feature_works(monkeypatch: pytest.MonkeyPatch) -> None:
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "adding-a-feature.md").read_text(), re.DOTALL)
    assert len(blocks) == 1
    example = ModuleType("maintenance_example")
    monkeypatch.setitem(sys.modules, example.__name__, example)  # msgspec looks annotations up there
    exec(compile(blocks[0], "adding-a-feature.md", "exec"), example.__dict__)
    feature = example.FEATURE
    settings = msgspec.convert({"allow": ["192.0.2.7"]}, feature.config_class)
    stage = feature.build(settings, make_context(Path()))
    stranger, worker = Facts("198.51.100.1"), Facts("192.0.2.7")

    assert stage(make_request(), worker) is None
    with pytest.raises(Refusal) as refused:
        stage(make_request(), stranger)
    assert (refused.value.status, refused.value.fields) == (503, ((b"retry-after", b"600"),))
    assert feature.check(feature.config_class(allow=("nobody",)), Path()) == ["allow: 'nobody' is not an IP address"]
