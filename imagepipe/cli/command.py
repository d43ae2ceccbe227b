"""Registers commands: adds the flags that every command has, and turns errors into exit codes."""

from __future__ import annotations

import contextlib
import inspect
import threading
import time
from collections.abc import Callable
from functools import partial, wraps
from pathlib import Path
from typing import Annotated, Any

import typer

from imagepipe.cli.session import Session
from imagepipe.errors import ImagepipeError, InterruptedByUserError, PermissionRefusedError, UsageError

__all__ = ["EVERYWHERE", "Failure", "command"]

# Enough for a request that is nearly answered, and for removing a probe's container; a build or pull is hung up on.
_GRACE_S = 3.0
# Commands that change nothing, and show what every member may see.
_READING = ("list", "show", "export", "plan", "review")
_COMMON: dict[str, Any] = {
    "as_json": Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")],
    "config": Annotated[Path | None, typer.Option("--config", "-c", help="The configuration file.")],
    "quiet": Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")],
    "verbose": Annotated[bool, typer.Option("--verbose", "-v", help="Also what the other side prints.")],
    "progress": Annotated[str, typer.Option("--progress", help="auto, plain or none.")],
}
# How the flags that every command has are spelled.
EVERYWHERE = ("--json", "--config", "-c", "--quiet", "-q", "--verbose", "-v", "--progress")
_DEFAULTS: dict[str, Any] = {"as_json": False, "config": None, "quiet": False, "verbose": False, "progress": "auto"}


class Failure(Exception):  # noqa: N818 - it carries an exit code out of a command; it is not an error of its own
    """A command ended with this exit code after saying everything itself."""

    def __init__(self, exit_code: int) -> None:
        super().__init__(exit_code)
        self.exit_code = exit_code


def command(app: typer.Typer, name: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Registers a function as a command; its first argument is the `Session`.

    Our errors are printed once, as message and hint, and end in their exit code; Ctrl-C ends in 130.
    """

    def register(function: Callable[..., None]) -> Callable[..., None]:
        signature = inspect.signature(function, eval_str=True)
        own = list(signature.parameters.values())[1:]
        common = [
            inspect.Parameter(key, inspect.Parameter.KEYWORD_ONLY, default=_DEFAULTS[key], annotation=kind)
            for key, kind in _COMMON.items()
        ]

        @wraps(function)
        def run(*args: Any, **kwargs: Any) -> None:
            session = Session(**{key: kwargs.pop(key) for key in _COMMON})
            about = kwargs.get("project") or next(iter(kwargs.get("projects") or ()), None)

            def work() -> None:
                _check_text("--reason", kwargs.get("reason"))
                function(session, *args, **kwargs)

            try:
                code = _guard(session, work, partial(_explained, session, name, about))
            except KeyboardInterrupt as late:  # all that there was to say is said
                raise Failure(InterruptedByUserError.exit_code) from late
            if code:
                raise Failure(code)

        parameters = [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in own] + common
        run.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined] # typer reads it
        run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        del run.__wrapped__  # or typer would look through to the function's own signature
        app.command(name)(run)
        return function

    return register


def _guard(session: Session, work: Callable[[], None], explained: Callable[[ImagepipeError], ImagepipeError]) -> int:
    try:
        work()
    except Failure as failure:
        return failure.exit_code
    except ImagepipeError as error:
        session.fail(explained(error))
        return error.exit_code
    except KeyboardInterrupt:
        _let_end(session)
        stopped = InterruptedByUserError("interrupted", hint="run the same command again; it takes up what is left")
        session.fail(stopped)
        return stopped.exit_code
    finally:
        session.close()
    return 0


def _check_text(flag: str, text: str | None) -> None:
    """Returns when the text can be written into a record: better asked before anything is done.

    Raises:
        UsageError: It is not UTF-8.
    """
    try:
        (text or "").encode()
    except UnicodeEncodeError as error:
        raise UsageError(f"{flag} {text!r} is not UTF-8", hint="give it in UTF-8, as this terminal's locale") from error


def _explained(session: Session, name: str, project: str | None, error: ImagepipeError) -> ImagepipeError:
    """Returns the error of a call about a project with its cause, if Harbor refused the call and tells why."""
    if project is None or not isinstance(error, PermissionRefusedError):
        return error
    from imagepipe.cli.administration import why_refused

    return why_refused(session, error, project, reading=name in _READING)


def _let_end(session: Session) -> None:
    """Gives calls that are under way a moment to end; who stops it once more later on does not wait for them."""
    until = time.monotonic() + _GRACE_S
    working = [
        thread for thread in threading.enumerate() if not thread.daemon and thread is not threading.main_thread()
    ]
    with contextlib.suppress(KeyboardInterrupt):
        if working:
            session.say(f"interrupted; what is under way has {_GRACE_S:g} s to end")
        for thread in working:
            thread.join(max(0.0, until - time.monotonic()))
