"""imagepipe is killed at every event of a promotion and of a rollback, and at every change that shows from outside."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.e2e.box import Box
from tests.e2e.cli import Cli
from tests.e2e.sweeping import Sweep, deaths

pytestmark = pytest.mark.sandbox

# Events, and what others see: the lock, the carrier's tag, a probe's container, the record, and the tag of the newest.
PROMOTING = ("event", "volumes/", "containers/create", "manifests/")
# The way of a rollback is the same, up to its record.
RETURNING = ("event -> record", "manifests/sha256:", "manifests/imagepipe-head.vch-a", "event ok record")


@pytest.fixture
def sweep(box: Box, cli: Cli, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Sweep]:
    name = request.node.name.removeprefix("test_").replace("_", "-")[:20].rstrip("-")
    with closing(Sweep.of(box, cli, tmp_path, f"es-sandbox/{name}")) as made:
        yield made


def test_a_promotion_survives_its_death_at_each_of_16_moments(sweep: Sweep) -> None:
    swept = deaths(sweep.promoted(None), PROMOTING)
    assert len(swept) == 16
    for death in swept:
        sweep.promoted(death)
    sweep.whole()


def test_a_rollback_survives_its_death_at_each_of_4_moments(sweep: Sweep) -> None:
    sweep.promoted(None)
    swept = deaths(sweep.returned(None), RETURNING)
    assert len(swept) == 4
    for death in swept:
        sweep.returned(death)
    sweep.whole()
