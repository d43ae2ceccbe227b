"""Lets workers share the suite (`pytest -n 2`): tests that share a sandbox or a file's fixtures stay together."""

import signal
from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

# Their tests share one sandbox each.
TOGETHER = ("tests/e2e", "tests/interop")
# Those in it with sandboxes of their own, which make nothing on the machine that the others look at.
APART = ("tests/e2e/test_dialects.py",)


def pytest_configure() -> None:
    """Takes Ctrl-C back where we were started in the background: children would inherit that it is ignored."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


class Scheduling(LoadScopeScheduling):  # type: ignore[misc] # xdist has no types
    """Hands out whole files, and whole folders where these share a sandbox; the largest first."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        return next((folder for folder in TOGETHER if file.startswith(f"{folder}/") and file not in APART), file)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Scheduling:
    """Returns how tests are handed out."""
    return Scheduling(config, log)
