"""Every end-to-end test is run on both Harbors, or named with the reason."""

import ast
import importlib
from pathlib import Path

import pytest

from tests.e2e_vic.chosen import NOT_AGAIN

_HERE = Path(__file__).parent
_MODULES = sorted(path.stem.removeprefix("test_") for path in (_HERE.parent / "e2e").glob("test_*.py"))


def _tests(file: Path) -> set[str]:
    """Returns the names of the tests in a file."""
    body = ast.parse(file.read_text()).body
    return {node.name for node in body if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")}


@pytest.mark.parametrize("name", _MODULES)
def test_each_test_is_run_here_too_or_named_with_a_reason(name: str) -> None:
    there, here = _tests(_HERE.parent / "e2e" / f"test_{name}.py"), _HERE / f"test_{name}.py"
    left_out = NOT_AGAIN.get(name, {})
    named = there if isinstance(left_out, str) else set(left_out)
    assert named <= there, "named, but not there"
    assert here.exists() is (named != there), "a file is here exactly where it has something to run"
    if here.exists():
        module = importlib.import_module(f"tests.e2e_vic.test_{name}")
        assert {test for test in vars(module) if test.startswith("test_")} & there == there - named


def test_what_is_named_is_there() -> None:
    assert set(NOT_AGAIN) <= set(_MODULES)


def test_where_a_reason_names_a_test_there_is_one() -> None:
    reasons = {reason for one in NOT_AGAIN.values() if not isinstance(one, str) for reason in one.values()}
    for reason in sorted(reason for reason in reasons if reason.startswith("test_") and " " not in reason):
        module, _, test = reason.partition(".")
        assert hasattr(importlib.import_module(f"tests.e2e_vic.{module}"), test), reason
