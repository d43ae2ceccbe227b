"""What many stand-ins of Harbor stand in front of: a real registry, one for each file of tests."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.contract.registry_worlds import Server, docker_registry


@pytest.fixture(scope="module")
def seeds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where a module's stand-ins keep what they are seeded with."""
    return tmp_path_factory.mktemp("seeds")


@pytest.fixture(scope="module")
def backend(seeds: Path) -> Iterator[Server]:
    """The registry behind them."""
    with docker_registry(seeds) as server:
        yield server
