"""Every fuzz target on its seeds, its kept corpus and a few hundred mutations; and the runners find a fault that is
there."""

from __future__ import annotations

import random
import sys
import tempfile
from pathlib import Path

import pytest

from tests.fuzz import corpus
from tests.fuzz.runner import PIECES, Target, can_be_guided, load, mutated, names, run, run_guided

MUTATIONS = 200


@pytest.mark.parametrize("name", names())
def test_nothing_is_found(name: str) -> None:
    target = load(name)
    source = random.Random(name)
    inputs = [*target.seeds, *corpus.kept(name)]
    for data in [*inputs, *(mutated(source, inputs, target.words) for _ in range(MUTATIONS))]:
        target.fuzz(data)


def test_the_runner_finds_a_planted_fault_and_keeps_its_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))

    def faulty(data: bytes) -> None:
        assert b"\xff" not in data

    outcome = run(Target(faulty, [b"harmless"], PIECES), seconds=60, seed=1)
    assert outcome.finding is not None
    assert b"\xff" in outcome.finding.read_bytes()
    assert outcome.runs > 1


PLANTED = """
SEEDS = [b"harmless"]

def fuzz(data):
    if data[:1] == b"d" and data[1:2] == b"e" and data[2:3] == b"e" and data[3:4] == b"p":
        raise RuntimeError("found")
"""


@pytest.mark.skipif(not can_be_guided(), reason="needs the extra `fuzz`")
def test_the_guided_runner_finds_what_random_bytes_hardly_would(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "planted_targets"
    folder.mkdir()
    (folder / "__init__.py").touch()
    (folder / "planted.py").write_text(PLANTED)
    monkeypatch.setenv("SECURELIGHT_FUZZ_TARGETS", "planted_targets")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    outcome = run_guided("planted", 60, 1, keep=False)
    assert outcome.finding is not None
    assert outcome.finding.read_bytes()[:4] == b"deep"
    assert "RuntimeError: found" in capsys.readouterr().err
    sys.modules.pop("planted_targets.planted", None)


def test_what_is_kept_is_little_and_can_be_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(corpus, "FOLDER", tmp_path)
    inputs = [b"\r\n\0\xff'", b"GET", bytes(1000), b"\\x"]
    corpus.keep("uri", [*inputs, *(b"%d" % number * 500 for number in range(50))], lambda data: {len(data)})
    assert {b"GET", b"\\x"} <= set(corpus.kept("uri"))
    assert (tmp_path / "uri.txt").stat().st_size <= corpus.MAXIMUM_FILE_BYTES


def test_every_corpus_has_a_target_and_is_small() -> None:
    for path in corpus.FOLDER.glob("*"):
        assert path.stem in names()
        assert path.stat().st_size <= corpus.MAXIMUM_FILE_BYTES
