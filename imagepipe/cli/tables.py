"""Rows of text: a table on a terminal, tab-separated lines for programs."""

from __future__ import annotations

import io
import os
import shutil
import sys
from typing import TYPE_CHECKING

from imagepipe.cli.printing import clean

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

__all__ = ["day", "size", "table"]

_STEP = 1024


def table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Returns the rows as text; headings are for people only."""
    cells = [tuple(map(clean, row)) for row in rows]
    if sys.stdout.isatty() and os.environ.get("TERM") != "dumb":
        return _drawn(headings, cells)
    return "\n".join("\t".join(row) for row in cells)


def day(when: datetime | None) -> str:
    """Returns a date, or a dash."""
    return f"{when:%Y-%m-%d}" if when else "-"


def size(size_bytes: int | None) -> str:
    """Returns a size as people read it; -1 is no limit.

    >>> size(1536)
    '1.5 KiB'
    """
    if size_bytes is None:
        return "-"
    if size_bytes < 0:
        return "unlimited"
    amount, units = float(size_bytes), ["B", "KiB", "MiB", "GiB", "TiB"]
    while amount >= _STEP and len(units) > 1:
        amount /= _STEP
        units.pop(0)
    return f"{amount:.1f} {units[0]}" if units[0] != "B" else f"{size_bytes} B"


def _drawn(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    drawn = Table(box=None, pad_edge=False, header_style="bold")
    for heading in headings:
        drawn.add_column(heading, overflow="fold")
    for row in rows:
        drawn.add_row(*(Text(cell) for cell in row))
    text = io.StringIO()
    Console(file=text, force_terminal=True, width=shutil.get_terminal_size().columns).print(drawn)
    return text.getvalue()
