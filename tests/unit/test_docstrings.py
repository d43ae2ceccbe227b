"""What docstrings show is what happens."""

import doctest
from importlib import import_module
from pathlib import Path

import pytest

import imagepipe

ROOT = Path(imagepipe.__file__).parent
MODULES = sorted(
    ".".join(("imagepipe", *path.relative_to(ROOT).with_suffix("").parts)).removesuffix(".__init__")
    for path in ROOT.rglob("*.py")
    if ">>> " in path.read_text(encoding="utf-8")
)


@pytest.mark.parametrize("name", MODULES)
def test_an_example_in_a_docstring_gives_what_it_says(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    outcome = doctest.testmod(import_module(name))
    assert outcome.attempted, "it has some"
    assert not outcome.failed, capsys.readouterr().out
