"""Coverage of processes that tests start: told to them by variables."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["measuring", "unmeasured"]


def measuring() -> dict[str, str]:
    """Returns the variables that let a process measure its coverage, if this one does."""
    return {name: value for name, value in os.environ.items() if name.startswith("COVERAGE_")}


@contextmanager
def unmeasured() -> Iterator[None]:
    """Lets no process that is started meanwhile measure coverage."""
    known = measuring()
    for name in known:
        del os.environ[name]
    try:
        yield
    finally:
        os.environ.update(known)
