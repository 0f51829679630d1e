"""Where an application that speaks FastCGI or one of its kin listens, and what it may be told beside the request."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from securelight.upstream.address import Address, parse_address

if TYPE_CHECKING:
    from collections.abc import Mapping

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_FRAMING = frozenset({"CONTENT_LENGTH", "HTTP_TRANSFER_ENCODING", "REQUEST_METHOD", "SCGI", "SERVER_PROTOCOL"})
"""Variables that say where a request ends, or what it is: what the client sent stands behind them."""
_HOST_AND_PORT = re.compile(r"[^/]+:[0-9]{1,5}")


def parse_upstream(upstream: str) -> Address:
    """The address that `127.0.0.1:9000` or `unix:/run/app.sock` stands for.

    Errors: ValueError, with what would cure it.
    """
    if upstream.startswith("unix:"):
        return parse_address(upstream)
    if not _HOST_AND_PORT.fullmatch(upstream):
        raise ValueError(f'{upstream!r} is not the address of an application; write "127.0.0.1:9000" or "unix:/path"')
    return parse_address(f"http://{upstream}")


def variable_fault(name: str, value: str) -> str:
    """Why an application may not be told this variable; empty if it may."""
    if not _NAME.fullmatch(name):
        return f"{name!r} is not the name of a variable"
    if "\0" in value:
        return f"the value of {name} has a zero byte in it"
    if name in _FRAMING:
        return f"{name} is what the client sent, and can't be set here"
    if name == "HTTP_PROXY":
        return "HTTP_PROXY would send the application's own requests elsewhere"
    return ""


def variable_faults(variables: Mapping[str, str]) -> list[str]:
    """What is wrong with the operator's own variables."""
    found = [variable_fault(name, value) for name, value in variables.items()]
    return [f"variables: {fault}" for fault in found if fault]
