"""Draws events on stderr: live with rich on a terminal, one plain line per step elsewhere."""

from __future__ import annotations

import os
import re
import sys
import threading
from typing import TYPE_CHECKING, Protocol

from imagepipe.cli.printing import clean, in_a_log, shown
from imagepipe.cli.session import tell
from imagepipe.errors import UsageError
from imagepipe.events import Event, Output, Progress, Retried, StepFailed, StepFinished, StepStarted, Warned

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import TaskID

__all__ = ["Drawing", "open_drawing"]


class Drawing(Protocol):
    """Something that draws events until it is closed."""

    def draw(self, event: Event) -> None:
        """Draws one event; called from any thread."""
        ...

    def close(self) -> None:
        """Ends the drawing; what was drawn stays."""
        ...


def open_drawing(mode: str, *, quiet: bool, verbose: bool) -> Drawing:
    """Returns the drawing for this terminal.

    Raises:
        UsageError: The mode is none of auto, plain, none.
    """
    if mode not in ("auto", "plain", "none"):
        raise UsageError(f"--progress {mode!r} is not known", hint="use auto, plain or none")
    if quiet or mode == "none":
        return _Nothing()
    live = sys.stderr.isatty() and os.environ.get("TERM") != "dumb" and not os.environ.get("CI")
    return _Live(verbose=verbose) if mode == "auto" and live else _Plain(verbose=verbose)


def plain_line(event: Event, *, verbose: bool) -> str | None:
    """Returns the one line that tells of an event, or None where it is not worth one."""
    line = _told(event, verbose=verbose)
    return in_a_log(shown(line)) if line is not None else None


def _told(event: Event, *, verbose: bool) -> str | None:  # noqa: PLR0911 - one line per kind of event
    match event:
        case StepStarted(step, subject):
            return f"-> {step} {short(subject)}"
        case StepFinished(step, subject, duration_s, detail):
            return f"ok {step} {short(subject)} ({duration_s:.1f} s)" + (f" {detail}" if detail else "")
        case StepFailed(step, subject, duration_s, _):
            return f"FAILED {step} {short(subject)} ({duration_s:.1f} s)"
        case Output(step, subject, line):
            return f"   {step} {subject} | {line}" if verbose else None
        case Warned(subject, message):
            return f"warning: {subject}: {message}"
        case Retried(what, attempt, delay_s, reason):
            return f"   {what}: attempt {attempt} failed ({reason}); trying again in {delay_s:.1f} s"
        case Progress():
            return None


def short(subject: str) -> str:
    """Returns a subject with its digest cut to 12 digits: the whole one stands in the answer."""
    return re.sub(r"@sha256:([0-9a-f]{12})[0-9a-f]{52}", r"@\1", subject)


class _Nothing:
    def draw(self, event: Event) -> None:
        """Draws nothing."""

    def close(self) -> None:
        """Has nothing to end."""


class _Plain:
    def __init__(self, *, verbose: bool) -> None:
        self._verbose = verbose
        self._lock = threading.Lock()

    def draw(self, event: Event) -> None:
        line = plain_line(event, verbose=self._verbose)
        if line is not None:
            with self._lock:
                tell(line + "\n")

    def close(self) -> None:
        """Has nothing to end."""


class _Live:
    """One line per running step, with bytes where they are known; finished steps scroll up."""

    def __init__(self, *, verbose: bool) -> None:
        from rich.console import Console
        from rich.progress import Progress as Bars
        from rich.progress import SpinnerColumn, TextColumn, TimeElapsedColumn

        self._verbose = verbose
        self._console: Console = Console(stderr=True, highlight=False)
        columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), TimeElapsedColumn())
        self._bars = Bars(*columns, console=self._console, transient=True)
        self._tasks: dict[tuple[str, str], TaskID] = {}
        self._bytes: dict[tuple[str, str], dict[str, tuple[int, int]]] = {}
        self._lock = threading.Lock()
        self._bars.start()

    def draw(self, event: Event) -> None:
        with self._lock:
            self._update(event)

    def close(self) -> None:
        self._bars.stop()

    def _update(self, event: Event) -> None:
        match event:
            case StepStarted(step, subject):
                self._tasks[step, subject] = self._bars.add_task(clean(f"{step} {short(subject)}"), total=None)
                return
            case Progress(step, subject, item, status, current, total):
                self._advance((step, subject), item, status, current, total)
                return
            case StepFinished(step, subject) | StepFailed(step, subject):
                task = self._tasks.pop((step, subject), None)
                self._bytes.pop((step, subject), None)
                if task is not None:
                    self._bars.remove_task(task)
        line = plain_line(event, verbose=self._verbose)
        if line is not None:
            style = "red" if isinstance(event, StepFailed) else "yellow" if isinstance(event, Warned) else None
            self._bars.console.print(line, style=style, markup=False, soft_wrap=True)

    def _advance(self, key: tuple[str, str], item: str, status: str, current: int, total: int) -> None:
        task = self._tasks.get(key)
        if task is None:
            return
        sizes = self._bytes.setdefault(key, {})
        if total:
            sizes[item] = (min(current, total), total)
        done, all_bytes = sum(size[0] for size in sizes.values()), sum(size[1] for size in sizes.values())
        amount = f"{done / 1e6:.1f} of {all_bytes / 1e6:.1f} MB" if all_bytes else status
        self._bars.update(task, description=clean(f"{key[0]} {short(key[1])}  {amount}"))
