from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.lab.running import RunningLab, running_lab


@pytest.fixture(scope="session")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningLab]:
    """One lab for all tests."""
    with running_lab(tmp_path_factory.mktemp("lab")) as started:
        yield started
