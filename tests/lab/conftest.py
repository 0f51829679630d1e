from __future__ import annotations

from collections.abc import Iterator

import pytest

from securelight.lab.world import World
from tests.lab.running import RunningLab, running_lab


@pytest.fixture(scope="session")
def world() -> World:
    """The keys of all labs, of which some take seconds to make."""
    return World()


@pytest.fixture(scope="session")
def running(tmp_path_factory: pytest.TempPathFactory, world: World) -> Iterator[RunningLab]:
    """One lab for all tests."""
    with running_lab(tmp_path_factory.mktemp("lab"), world) as started:
        yield started
