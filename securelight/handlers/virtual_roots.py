"""Folders that depend on the request: one site of files for many hosts, or for many users.

`root = "/srv/{host}"` is a folder for each name that somebody points here. The values are `{host}`, `{domain}` (the
host without `www.`), and captures of the route's condition, which `prefix` may have too:

    [[site.route]]
    path = "/"
    when = { path_regex = "^/~(?P<name>[a-z][a-z0-9_-]{0,31})(?:/|$)" }
    [site.route.static_file]
    root = "/home/{name}/public_html"
    prefix = "/~{name}"

A value becomes one name of a folder or part of one, never a path: what is not letters, digits, dots, hyphens and
underscores, or begins with a dot, is a 404. So is a folder that is not there. The handlers of the folders that were
asked for last are kept, a bounded number of them.
"""

from __future__ import annotations

import os
import re
from collections import OrderedDict
from typing import TYPE_CHECKING, Final

from securelight.model.errors import Refusal

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from securelight.model.request import Facts, Request
    from securelight.model.response import Response
    from securelight.pipeline.stage import Deferred, Handler

FOLDERS: Final = 512
"""Whose handlers are kept."""
_NAME: Final = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]{0,63})\}")
_SAFE: Final = re.compile(r"(?!\.)(?!.*\.\.)[A-Za-z0-9._-]{1,253}(?<!\.)")


def is_pattern(root: str) -> bool:
    """Whether the folder depends on the request."""
    return "{" in root


def pattern_faults(root: str, prefix: str, base: Path) -> list[str]:
    """What is wrong with the patterns of a folder and a prefix."""
    faults = [
        f"{key} {text!r} has a brace without a name; write {{host}}, or the name of a capture"
        for key, text in (("root", root), ("prefix", prefix))
        if set(_NAME.sub("", text)) & set("{}")
    ]
    if ".." in root.partition("{")[2].split("/"):
        faults.append(f"root {root!r} has .. in it; name the folder itself")
    fixed = os.path.dirname(root.partition("{")[0])
    if is_pattern(root) and not (base / fixed).is_dir():
        faults.append(f"root {root!r}: there is no folder {str(base / fixed)!r}")
    if prefix and (not prefix.startswith("/") or prefix.endswith("/")):
        faults.append(f"prefix {prefix!r} has to begin with a slash, and not to end with one")
    return faults


class VirtualRoots:
    """The handler.

    Args:
        root, prefix: the patterns; `prefix` is what of a path stands for the folder, that of the route if it is empty.
        base: the folder that a relative `root` starts from.
        make: makes the handler of one folder, from it and the prefix.
    """

    __slots__ = ("_base", "_known", "_make", "_prefix", "_root")

    def __init__(self, root: str, prefix: str, base: Path, make: Callable[[Path, str], Handler]) -> None:
        self._root = root
        self._prefix = prefix
        self._base = base
        self._make = make
        self._known: OrderedDict[tuple[str, str], Handler] = OrderedDict()

    def handle(self, request: Request, facts: Facts) -> Response | Deferred:
        """Answer from the folder that `request` means.

        Errors: Refusal 404 if there is none.
        """
        key = (_filled(self._root, request, facts), _filled(self._prefix, request, facts))
        handler = self._known.get(key)
        if handler is None:
            handler = self._new(key)
        else:
            self._known.move_to_end(key)
        return handler(request, facts)

    def _new(self, key: tuple[str, str]) -> Handler:
        folder = self._base / key[0]
        if not folder.is_dir():
            raise Refusal(404, "", f"there is no folder {str(folder)!r}")
        handler = self._known[key] = self._make(folder, key[1])
        if len(self._known) > FOLDERS:
            self._known.popitem(last=False)
        return handler


def _filled(pattern: str, request: Request, facts: Facts) -> str:
    def value(match: re.Match[str]) -> str:
        name = match[1]
        text = (facts.captures or {}).get(name)
        if text is None and name in ("host", "domain"):
            text = request.host if name == "host" else request.host.removeprefix("www.")
        if text is None or not _SAFE.fullmatch(text):
            raise Refusal(404, "", f"{{{name}}} is {text!r}, which names no folder")
        return text

    return _NAME.sub(value, pattern)
