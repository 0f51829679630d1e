"""Which engines are installed, and which pair of adapters a configuration gets.

`pure` is h11 and h2, always there; `native` is httptools and ngh2 from the `fast` extra; `auto` takes native where it
is installed. An engine is imported only when it is chosen.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass

from securelight.model.errors import ConfigError
from securelight.model.extras import install_command
from securelight.model.limits import Limits
from securelight.model.request import Peer
from securelight.protocol.adapter import ProtocolAdapter

AdapterFactory = Callable[[Peer, Limits], ProtocolAdapter]


@dataclass(frozen=True, slots=True)
class Engines:
    """The adapters in use: `name` is `native` or `pure`."""

    name: str
    http1: AdapterFactory
    http2: AdapterFactory


def native_available() -> bool:
    """True if both packages of the `fast` extra are installed."""
    return all(importlib.util.find_spec(name) is not None for name in ("ngh2", "httptools"))


def choose(engine: str) -> Engines:
    """The adapters for `auto`, `native` or `pure`.

    Errors: ConfigError if `native` is asked for and not installed.
    """
    native = native_available()
    if engine == "native" and not native:
        raise ConfigError("engine", f"the native engine is not installed; run: {install_command('fast')}")
    if engine == "pure" or not native:
        from securelight.protocol.h2_adapter import H2Adapter  # noqa: PLC0415 - only the chosen one
        from securelight.protocol.h11_adapter import H11Adapter  # noqa: PLC0415 - only the chosen one

        return Engines("pure", H11Adapter, H2Adapter)
    from securelight.protocol.httptools_adapter import HttptoolsAdapter  # noqa: PLC0415 - only the chosen one
    from securelight.protocol.nghttp2_adapter import Nghttp2Adapter  # noqa: PLC0415 - only the chosen one

    return Engines("native", HttptoolsAdapter, Nghttp2Adapter)
