r"""What others wrote, on a terminal and in the log of a CI job: it stays text, and neither of them acts on it.

>>> clean("a\tb\n\x1b[2J"), shown("a\tb\n\x1b[2J")
('a�b��[2J', 'a\tb\n�[2J')
"""

from __future__ import annotations

import os
import re
import sys
from typing import Final

__all__ = ["clean", "in_a_log", "printed", "shown"]

# Line breaks and columns are ours; so is what a table's headings are drawn with, whose cells are clean.
_OURS: Final = re.compile(r"(\n|\t|\x1b\[[01]m)")
# A line that begins so is a command to GitHub's runner, and what stands behind the other mark is one on any line.
# Source: actions/runner src/Runner.Common/ActionCommand.cs TryParseV2, TryParse
_COMMAND: Final = re.compile(r"(?m)^(?=\s*::)")
_OLD_COMMAND: Final = "##["


def clean(text: str) -> str:
    """Returns text without what would move a terminal's cursor or a line's columns: others chose these names."""
    return "".join(char if char.isprintable() else "\ufffd" for char in text)


def shown(text: str) -> str:
    """Returns several lines without what would move a terminal's cursor, or turn round the order of their letters."""
    return "".join(part if _OURS.fullmatch(part) else clean(part) for part in _OURS.split(text))


def in_a_log(text: str) -> str:
    """Returns lines that are no commands to the CI system whose job this is."""
    if not os.environ.get("GITHUB_ACTIONS"):
        return text
    return _COMMAND.sub("| ", text.replace(_OLD_COMMAND, "## ["))


def printed(text: str) -> str:
    """Returns an answer as it goes to stdout: exactly as it is where a program reads it."""
    return in_a_log(shown(text) if sys.stdout.isatty() else text)
