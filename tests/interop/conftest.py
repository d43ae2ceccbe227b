"""One sandbox for all tools: hello is built, pushed, signed and promoted once, by imagepipe's own commands."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.interop.world import Box

TAG = "interop"


@pytest.fixture(scope="session")
def box() -> Iterator[Box]:
    with tempfile.TemporaryDirectory(prefix="ip-interop-", dir="/tmp") as folder, Box(Path(folder)) as opened:
        yield opened


@pytest.fixture(scope="session")
def hello(box: Box) -> str:
    """The pinned image: signed, with provenance, promoted to engine-a with its record."""
    built = box.imagepipe("run", "hello", "--tag", TAG)
    assert built.code == 0, built.text
    image = built.out.strip()
    promoted = box.imagepipe("promote", image, "--to", "engine-a", "--yes")
    assert promoted.code == 0, promoted.text
    return image
