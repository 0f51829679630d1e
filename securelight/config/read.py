"""Reads TOML files, the main one and those that it includes, within bounds.

Refused: files that are not regular files (a FIFO would block for ever), or too large, too many or too deeply nested;
an `include` inside an included file.
"""

from __future__ import annotations

import glob
import os
import re
import stat
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from securelight.config.environment import with_variables
from securelight.config.faults import Where, printable, quoted

if TYPE_CHECKING:
    from collections.abc import Mapping

    from securelight.config.faults import Faults

MAXIMUM_FILE_BYTES: Final = 1 << 20
MAXIMUM_FILES: Final = 256
MAXIMUM_DOTS: Final = 1_000
"""In one line: the standard library takes time quadratic in the parts of a dotted key."""
DEFAULT_INCLUDE: Final = ("conf.d/*.toml",)
_WILDCARD = re.compile(r"[*?\[]")
_SYNTAX = re.compile(r"(?P<what>.*) \(at (?:line (?P<line>\d+), column (?P<column>\d+)|end of document)\)", re.DOTALL)
_UNQUOTED = re.compile(r"\s*(?P<key>[A-Za-z0-9_-]{1,40})\s*=\s*(?P<text>[A-Za-z/.~*][^\"'\[\]{}#]{0,60}?)\s*")


class Document(NamedTuple):
    """One file that was read.

    Attributes:
        path: the file.
        where: the top of the file, for messages.
        table: what it holds.
    """

    path: Path
    where: Where
    table: dict[str, object]

    @property
    def base(self) -> Path:
        """The directory that relative paths in this file start from."""
        return self.path.absolute().parent


def read_documents(path: Path, faults: Faults, environment: Mapping[str, str] | None = None) -> list[Document]:
    """Read the file `path` and what it includes, or every `*.toml` of the directory `path`, in name order.

    Files with faults are left out. Texts may name variables of `environment`, see config/environment.
    """
    documents = _read_all(path, faults)
    if environment is None:
        return documents
    return [_with_variables(document, environment, faults) for document in documents]


def _with_variables(document: Document, environment: Mapping[str, str], faults: Faults) -> Document:
    try:
        return document._replace(table=with_variables(document.table, environment, document.where, faults))
    except RecursionError:
        faults.add(document.where, "is nested too deeply")
        return document._replace(table={})


def _read_all(path: Path, faults: Faults) -> list[Document]:
    if path.is_dir():
        names = _matches(path, "*.toml")
        if not names:
            faults.add(printable(str(path)), "has no *.toml files in it")
    else:
        main = _read(path, faults)
        if main is None:
            return []
        names = _included(main, faults)
        documents = [main]
        return documents + _read_others(names, faults)
    return _read_others(names, faults)


def _read_others(paths: list[Path], faults: Faults) -> list[Document]:
    if len(paths) > MAXIMUM_FILES:
        faults.add(printable(str(paths[0].parent)), f"has more than {MAXIMUM_FILES} files to read")
        return []
    documents = [document for path in paths if (document := _read(path, faults)) is not None]
    for document in documents:
        if document.table.pop("include", None) is not None:
            faults.add(document.where.key("include"), "only the main file may include others")
    return documents


def _included(main: Document, faults: Faults) -> list[Path]:
    patterns = main.table.pop("include", list(DEFAULT_INCLUDE))
    where = main.where.key("include")
    if not isinstance(patterns, list) or not all(isinstance(pattern, str) for pattern in patterns):
        faults.add(where, 'expected a list of texts; write include = ["conf.d/*.toml"]')
        return []
    found: dict[Path, Path] = {}
    for index, pattern in enumerate(patterns[:MAXIMUM_FILES]):
        matches = _matches(main.base, pattern) if "\0" not in pattern else []
        if not _WILDCARD.search(pattern):
            if not matches:
                faults.add(where.item(index), f"there is no file {quoted(pattern)}")
            elif matches[0].is_dir():
                cure = quoted(pattern.rstrip("/") + "/*.toml")
                faults.add(where.item(index), f"{quoted(pattern)} is a folder; write {cure}")
                continue
        for path in matches:
            found.setdefault(path.resolve(), main.path.parent / os.path.relpath(path, main.base))
    found.pop(main.path.resolve(), None)
    return list(found.values())


def _matches(base: Path, pattern: str) -> list[Path]:
    return [Path(name) for name in sorted(glob.glob(os.path.join(glob.escape(str(base)), pattern)))]


def _read(path: Path, faults: Faults) -> Document | None:
    where = Where(printable(str(path), 300))
    try:
        text = _read_text(path)
        return Document(path, where, tomllib.loads(text))
    except OSError as error:
        faults.add(where, f"cannot be read: {error.strerror or error}")
    except UnicodeDecodeError as error:
        faults.add(where, f"is not UTF-8 text (byte {error.start})")
    except RecursionError:
        faults.add(where, "is nested too deeply")
    except tomllib.TOMLDecodeError as error:
        faults.add(*_explain_syntax(where, text, str(error)))
    except ValueError as error:
        faults.add(where, printable(str(error), 200))
    return None


def _read_text(path: Path) -> str:
    """The text of a regular file.

    Errors: OSError; ValueError if it is too large or not a regular file; UnicodeDecodeError.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise ValueError("is not a regular file")
    with open(descriptor, "rb") as file:
        data = file.read(MAXIMUM_FILE_BYTES + 1)
    if len(data) > MAXIMUM_FILE_BYTES:
        raise ValueError(f"is larger than {MAXIMUM_FILE_BYTES} bytes")
    text = data.decode("utf-8-sig")
    if any(line.count(".") > MAXIMUM_DOTS for line in text.split("\n")):
        raise ValueError(f"has a line with more than {MAXIMUM_DOTS} dots")
    return text


def _explain_syntax(where: Where, text: str, message: str) -> tuple[Where, str]:
    match = _SYNTAX.fullmatch(message)
    if match is None:
        return where, f"is not valid TOML: {printable(message, 200)}"
    what = printable(match["what"], 200)
    what = what[:1].lower() + what[1:]
    if match["line"] is None:
        return Where(where.file, "end of file"), f"is not valid TOML: {what}"
    place = Where(where.file, f"line {match['line']}, column {match['column']}")
    lines = text.replace("\r\n", "\n").split("\n")
    number = int(match["line"]) - 1
    line = lines[number] if number < len(lines) else ""
    unquoted = _UNQUOTED.fullmatch(line)
    if unquoted is not None:
        return place, f"text needs quotes: {unquoted['key']} = {quoted(unquoted['text'])}"
    return place, f"is not valid TOML: {what}, in the line {printable(line.strip(), 60)}"
