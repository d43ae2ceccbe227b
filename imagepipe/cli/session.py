"""One command's session: where settings come from, and where the answer, progress and errors go.

The answer alone is on stdout; progress, warnings and prompts are on stderr; `--json` prints exactly one document.
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TextIO

from imagepipe.cli.printing import in_a_log, printed, shown
from imagepipe.errors import ImagepipeError, InputError, NotFoundError, UsageError

if TYPE_CHECKING:
    from imagepipe.events import EventSink
    from imagepipe.settings import Settings
    from imagepipe.wiring import Wiring

__all__ = ["Session", "error_document", "tell"]


@dataclass(slots=True)
class Session:
    """What every command is given.

    Attributes:
        as_json: Print one JSON document on stdout.
        config: The file given with --config, or None.
        quiet: No progress.
        verbose: Also what the other side prints, line by line.
        progress: auto, plain or none.
        printed: Whether the one JSON document is out.
    """

    as_json: bool = False
    config: Path | None = None
    quiet: bool = False
    verbose: bool = False
    progress: str = "auto"
    printed: bool = False
    _drawing: Any = field(default=None, repr=False)

    def settings(self, **flags: Any) -> Settings:
        """Returns the settings; flags given on the command line come first.

        Raises:
            SettingsError: A setting is wrong, wherever it came from.
            NotFoundError: The working directory is gone.
        """
        from imagepipe.settings import load_settings

        given = {key.replace("__", "."): value for key, value in flags.items() if value is not None}
        named = self.config or (Path(os.environ["IMAGEPIPE_CONFIG"]) if os.environ.get("IMAGEPIPE_CONFIG") else None)
        return load_settings(flags=given, config_file=named, cwd=_here(), environ=os.environ)

    def wiring(self, settings: Settings) -> Wiring:
        """Returns the composition root for these settings, with this session's progress as event sink."""
        from imagepipe.wiring import Wiring

        return Wiring(settings, events=self.sink)

    @property
    def sink(self) -> EventSink:
        """Where events go: drawn on a terminal, plain lines elsewhere, nothing with -q."""
        if self._drawing is None:
            from imagepipe.cli.progress import open_drawing

            self._drawing = open_drawing(self.progress, quiet=self.quiet, verbose=self.verbose)
        draw: EventSink = self._drawing.draw
        return draw

    def close(self) -> None:
        """Ends the drawing, so that what follows stands below it."""
        if self._drawing is not None:
            self._drawing.close()
            self._drawing = None

    def answer(self, document: dict[str, Any], text: str) -> bool:
        """Prints the answer: the document with --json, else the text.

        Returns:
            Whether anybody is there to read on.

        Raises:
            InputError: stdout takes nothing; who reads it may be gone, though: what was done is done.
        """
        self.close()
        if self.as_json:
            self.printed = True
            text = json.dumps(document, indent=2, default=str)
        error = _print(text if self.as_json else printed(text))
        if error is not None and not isinstance(error, BrokenPipeError):
            raise InputError(
                f"write the answer to stdout: {error.strerror}",
                hint="make room where stdout goes, then run the same command again: what is done already stays done",
            )
        return error is None

    def say(self, text: str) -> None:
        """Prints a line for people on stderr, unless -q."""
        self.close()
        if not self.quiet:
            tell(text + "\n")

    def warn(self, text: str) -> None:
        """Prints a line for people on stderr, with -q too: what was done is weaker than it looks."""
        self.close()
        tell(f"warning: {text}\n")

    def fail(self, error: ImagepipeError) -> None:
        """Prints an error: message and hint on stderr, the error document on stdout with --json."""
        self.close()
        if self.as_json and not self.printed:
            self.printed = True
            _print(json.dumps(error_document(error), indent=2))
        tell(f"error: {error.message}\nhint: {way_out(error)}\n")

    def confirm(self, question: str, *, yes: bool) -> None:
        """Returns when the user agrees: by --yes, or by answering on a terminal.

        Raises:
            UsageError: There is no terminal and no --yes, or the user said no.
        """
        if yes:
            return
        self.close()
        if not sys.stdin.isatty() or not sys.stderr.isatty():
            raise UsageError(f"{question} There is no terminal to ask on.", hint="add --yes")
        sys.stderr.write(shown(f"{question} [y/N] "))
        sys.stderr.flush()
        if sys.stdin.readline().strip().lower() not in ("y", "yes"):
            raise UsageError("not confirmed; nothing was changed", hint="answer y, or add --yes")


def tell(text: str) -> None:
    """Writes to stderr. Who reads it may be gone, or its disk full: that must not stop what is under way."""
    _put(sys.stderr, in_a_log(shown(text)))


def error_document(error: ImagepipeError) -> dict[str, Any]:
    """Returns the JSON document of an error."""
    return {"schema": "imagepipe.error/v1", "error": error_body(error)}


def error_body(error: ImagepipeError) -> dict[str, Any]:
    """Returns the `error` object that goes into any document; `cause` is there where the other side was asked why."""
    body = {"kind": error.kind, "message": error.message, "hint": way_out(error), "exit_code": error.exit_code}
    return body if error.cause is None else body | {"cause": dict(error.cause)}


def way_out(error: ImagepipeError) -> str:
    """Returns the error's hint, or what mostly helps with its exit code: no failure is told without a way out."""
    return error.hint or _WAYS_OUT.get(error.exit_code, "see `imagepipe COMMAND --help`")


def _here() -> Path:
    try:
        return Path.cwd()
    except FileNotFoundError as error:
        raise NotFoundError("the working directory is gone", hint="go to one that is there") from error


def _print(text: str) -> OSError | None:
    """Writes to stdout, and returns why that was in vain."""
    return _put(sys.stdout, text if text.endswith("\n") or not text else f"{text}\n")


def _put(stream: TextIO, text: str) -> OSError | None:
    try:
        stream.write(text)
        stream.flush()
    except OSError as error:
        # What is left in it, and what may still come, goes nowhere; else Python fails once more at its end.
        with Path(os.devnull).open("wb") as nowhere:
            os.dup2(nowhere.fileno(), stream.fileno())
        return error
    return None


_WAYS_OUT: Final = {
    1: "please report it, with the output of the same command with -v",
    3: "correct it, then run the same command again",
    4: "check the name, and that it exists there",
    5: "check the credentials, and what they may do there",
    6: "read what the other side says: running the same command again will not help",
    7: "correct the Dockerfile or what it copies; -v shows every line",
    8: "try again in a while, or look at the other side's log",
    10: "repair what failed, then run the same command again",
}
