"""What the families build their cases with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from securelight.lab.endpoints import DEFAULTS, ContextSettings, Https

if TYPE_CHECKING:
    from collections.abc import Callable

    from securelight.lab.world import Chain, World


def chain(make: Callable[[World, str], Chain], settings: ContextSettings = DEFAULTS) -> Callable[[World, str], Https]:
    """An endpoint with the chain that `make` gives."""
    return lambda world, host: Https(make(world, host), settings)


def leaf(settings: ContextSettings = DEFAULTS, **changes: Any) -> Callable[[World, str], Https]:
    """An endpoint with a leaf for its host, changed as World.leaf takes it."""
    return lambda world, host: Https(world.leaf(host, **changes), settings)


def page(**named: Any) -> Callable[[World, str], Https]:
    """An endpoint with a good certificate, and what Https takes beside it."""
    return lambda world, host: Https(world.leaf(host), **named)
