"""The house rules that a machine can check: who may import whom, a test for each feature, files of a readable size."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import securelight
from securelight.features import FEATURES
from securelight.pipeline.compile import Feature
from tests.certificates import TestCertificates

ROOT = Path(securelight.__file__).parent
TESTS = Path(__file__).parent
MAXIMUM_LINES = 430
MAXIMUM_TEST_LINES = 700
"""Tables of cases are long and still easy to read."""

LAYERS = {
    "model": 0,
    "config": 1, "pki": 1, "protocol": 1, "files": 1,
    "tls": 2, "pipeline": 2, "upstream": 2,
    "stages": 3, "handlers": 3, "filters": 3,
    "server": 4, "features": 4,
    "lab": 5,
    "cli": 6,
    "__main__": 7,
}  # fmt: skip

ONLY_IN = {
    "wsproto": {"protocol"}, "h2": {"protocol"}, "h11": {"protocol"}, "ngh2": {"protocol"}, "httptools": {"protocol"},
    "cryptography": {"pki"},
    "ssl": {"tls", "lab", "conformance", "cli"},
    "trio": {"server", "cli", "handlers", "stages", "upstream", "conformance", "lab"},
}  # fmt: skip
"""Packages with the folders that may import them. For their types alone anybody may, below TYPE_CHECKING."""

ALLOWED = {"conformance": {"conformance", "pki", "model"}, "model": {"model"}}
"""Folders that see less than their layer would let them."""

SOURCES = sorted(ROOT.rglob("*.py"))


def imports_of(tree: ast.AST, *, in_types: bool = False) -> Iterator[tuple[str, bool, int]]:
    """(module, whether it is below TYPE_CHECKING, line) of every import, those inside of functions too."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, in_types, node.lineno
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"line {node.lineno}: relative imports hide the folder"
            module = node.module or ""
            for alias in node.names:
                yield f"{module}.{alias.name}", in_types, node.lineno
        elif isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            yield from imports_of(ast.Module(node.body, []), in_types=True)
            yield from imports_of(ast.Module(node.orelse, []), in_types=in_types)
        else:
            yield from imports_of(node, in_types=in_types)


def breaches_of(folder: str, text: str) -> list[str]:
    """What is wrong with the imports of a file with the content `text` in `folder` of the package."""
    breaches = []
    for module, in_types, line in imports_of(ast.parse(text)):
        package, _, rest = module.partition(".")
        allowed = ONLY_IN.get(package)
        if allowed is not None and folder not in allowed and not in_types:
            breaches.append(f"line {line}: {package} only in {', '.join(sorted(allowed))}")
        target = rest.partition(".")[0]
        if package != "securelight" or target in ("", "__version__", folder):
            continue
        if target not in LAYERS and target not in ALLOWED:
            breaches.append(f"line {line}: {target} has no layer")
        elif folder in ALLOWED:
            if target not in ALLOWED[folder]:
                breaches.append(f"line {line}: {folder} may not import {target}")
        elif target in ALLOWED and target not in LAYERS:
            if folder != "cli":
                breaches.append(f"line {line}: only commands import {target}")
        elif LAYERS[target] >= LAYERS[folder]:
            breaches.append(f"line {line}: {folder} (layer {LAYERS[folder]}) imports {target} (layer {LAYERS[target]})")
    return breaches


def folder_of(path: Path) -> str:
    parts = path.relative_to(ROOT).parts
    return parts[0].removesuffix(".py")


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_go_downwards(path: Path) -> None:
    if path != ROOT / "__init__.py":
        assert breaches_of(folder_of(path), path.read_text()) == []


@pytest.mark.parametrize(
    ("folder", "line", "breach"),
    [
        ("model", "import securelight.config.load", "model may not import config"),
        ("config", "from securelight.pki import inspect", "config (layer 1) imports pki (layer 1)"),
        ("config", "from securelight import features", "config (layer 1) imports features (layer 4)"),
        ("filters", "from securelight.handlers.static_file import check",
         "filters (layer 3) imports handlers (layer 3)"),
        ("server", "def f():\n    import h2.connection", "h2 only in protocol"),
        ("server", "from h2.events import Event", "h2 only in protocol"),
        ("cli", "import cryptography.x509", "cryptography only in pki"),
        ("protocol", "import trio", "trio only in cli, conformance, handlers, lab, server, stages, upstream"),
        ("server", "import ssl", "ssl only in cli, conformance, lab, tls"),
        ("conformance", "from securelight.protocol import engine", "conformance may not import protocol"),
        ("server", "from securelight.conformance import runner", "only commands import conformance"),
        ("cli", "from securelight.newcomer import thing", "newcomer has no layer"),
        ("pipeline", "if TYPE_CHECKING:\n    from securelight.server import reactor",
         "pipeline (layer 2) imports server (layer 4)"),
    ],
)  # fmt: skip
def test_the_check_sees_a_breach(folder: str, line: str, breach: str) -> None:
    [found] = breaches_of(folder, line)
    assert found.endswith(breach)


@pytest.mark.parametrize(
    ("folder", "line"),
    [
        ("cli", "from securelight.server.supervisor import Supervisor"),
        ("cli", "from securelight.conformance.runner import run"),
        ("server", "from securelight import __version__"),
        ("server", "if TYPE_CHECKING:\n    import ssl"),
        ("handlers", "import trio"),
        ("protocol", "def f():\n    import ngh2"),
        ("conformance", "from securelight.pki.leaf import new_leaf"),
    ],
)
def test_the_check_lets_pass_what_is_allowed(folder: str, line: str) -> None:
    assert breaches_of(folder, line) == []


@pytest.mark.parametrize("feature", FEATURES, ids=lambda feature: feature.name)
def test_a_feature_is_one_file_with_its_name_and_one_test_file_with_its_name(feature: Feature) -> None:
    folder = f"{feature.kind}s"
    assert (ROOT / folder / f"{feature.name}.py").is_file()
    assert (TESTS / folder / f"test_{feature.name}.py").is_file()


@pytest.mark.parametrize("folder", ["stages", "handlers", "filters"])
def test_every_feature_file_has_its_row_in_the_table(folder: str) -> None:
    rows = {feature.name for feature in FEATURES if f"{feature.kind}s" == folder}
    files = {path.stem for path in (ROOT / folder).glob("*.py") if "\nFEATURE = " in path.read_text()}
    assert files == rows


@pytest.mark.parametrize("row", FEATURES, ids=lambda row: row.name)
def test_a_row_is_the_feature_of_its_file(row: Feature) -> None:
    feature = importlib.import_module(f"securelight.{row.kind}s.{row.name}").FEATURE
    assert [getattr(row, slot) for slot in Feature.__slots__] == [getattr(feature, slot) for slot in Feature.__slots__]


def test_features_that_nobody_uses_are_not_imported(tmp_path: Path, certificates: TestCertificates) -> None:
    (tmp_path / "securelight.toml").write_text(
        f'[[listen]]\naddress = "localhost:0"\n[[site]]\nhosts = ["a.test"]\nrespond = {{ body = "a" }}\n'
        f'[[site.certificate]]\nchain = "{certificates.chain}"\nkey = "{certificates.key}"\n'
    )
    code = (
        "import sys, pathlib; from securelight.config.load import load; from securelight.features import FEATURES; "
        "import securelight.server.supervisor; load(pathlib.Path(sys.argv[1]), FEATURES); "
        "print(*(name for name in sys.modules if name.startswith('securelight.handlers.')))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "securelight.toml")], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["securelight.handlers.respond"]


def test_the_table_is_in_the_order_in_which_features_run() -> None:
    order = ["stage", "handler", "filter"]
    kinds = [order.index(feature.kind) for feature in FEATURES]
    assert kinds == sorted(kinds)
    assert len({feature.name for feature in FEATURES}) == len(FEATURES)


@pytest.mark.parametrize(
    "path", [*SOURCES, *sorted(TESTS.rglob("*.py"))], ids=lambda path: str(path.relative_to(ROOT.parent))
)
def test_a_file_is_short_enough_to_be_read(path: Path) -> None:
    lines = len(path.read_text().splitlines())
    assert lines <= (MAXIMUM_TEST_LINES if TESTS in path.parents else MAXIMUM_LINES), (
        f"{lines} lines: make it two files"
    )
