"""Lets two workers share the suite: tests that share a sandbox or a file's fixtures stay together.

    pytest -n 2 --dist loadgroup
"""

from pathlib import Path

import pytest

HERE = Path(__file__).parent
# Their tests share one sandbox each.
TOGETHER = ("e2e", "interop")


@pytest.hookimpl(tryfirst=True)  # the workers read the marks in the same hook
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Names each test's group: its folder where that shares a sandbox, else its file."""
    for item in items:
        place = item.path.relative_to(HERE)
        group = place.parts[0] if place.parts[0] in TOGETHER else place.as_posix()
        item.add_marker(pytest.mark.xdist_group(group))
