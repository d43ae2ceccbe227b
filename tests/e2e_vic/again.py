"""The tests of another package once more: what they ask for is made by this one."""

from collections.abc import Collection
from types import ModuleType
from typing import Any

__all__ = ["again"]


def again(module: ModuleType, *, without: Collection[str] = ()) -> dict[str, Any]:
    """Returns the tests and fixtures of a module, with all that they use.

    Args:
        module: Whose.
        without: The tests that say something else here, or the same whatever Harbor there is; each must be there.
    """
    there = {name: value for name, value in vars(module).items() if not name.startswith("__")}
    assert set(without) <= set(there), f"{module.__name__} has no {sorted(set(without) - set(there))}"
    return {name: value for name, value in there.items() if name not in without}
