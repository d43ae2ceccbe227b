"""The command line: every command in one tree, and the last catch for what nobody expected."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import traceback
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Annotated, Final, NoReturn

import typer

from imagepipe import __version__
from imagepipe.cli.command import EVERYWHERE, Failure
from imagepipe.cli.session import Session
from imagepipe.errors import ImagepipeError, InterruptedByUserError, UsageError

__all__ = ["COMMANDS", "command_line", "leave", "run"]

_IDLE_S = 0.2  # a thread that has nothing left to do ends by itself at once

# The commands of each module, in the order of the help: whoever names one waits for no other's.
COMMANDS: Final[Mapping[str, Sequence[str]]] = {
    "run_command": ("run", "schema"),
    "planning": ("plan",),
    "promotion": ("promote",),
    "approval": ("approve",),
    "protection": ("protect",),
    "status": ("status",),
    "history": ("rollback", "history", "reject"),
    "outbox": ("outbox",),
    "image": ("sign", "verify", "digest", "tree"),
    "project": ("project",),
    "member": ("member",),
    "robot": ("robot",),
    "access": ("access",),
    "doctor": ("doctor",),
    "targets": ("targets",),
    "config": ("config",),
    "sandbox": ("sandbox",),
}


def _print_version(wanted: bool) -> None:
    if wanted:
        sys.stdout.write(f"imagepipe {__version__}\n")
        raise typer.Exit


def _root(
    version: Annotated[
        bool, typer.Option("--version", "-V", help="Print the version.", is_eager=True, callback=_print_version)
    ] = False,
) -> None:
    """From a merged commit to a running, trusted container: build, sign, push, promote by digest, prove."""
    del version  # answered before any command


def command_line(named: str = "") -> typer.Typer:
    """Returns the command of that name, alone in the tree; every command where there is none of that name."""
    app = typer.Typer(
        name="imagepipe",
        help="From a merged commit to a running, trusted container: build, sign, push, promote by digest, prove.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
    )
    app.callback()(_root)
    for module in [module for module, names in COMMANDS.items() if named in names] or COMMANDS:
        import_module(f"imagepipe.cli.{module}").register(app)
    return app


def run(argv: list[str]) -> int:
    """Runs one command line and returns its exit code."""
    session = Session(as_json="--json" in argv)
    try:
        tree = typer.main.get_command(command_line(*argv[:1]))
        code = tree.main(args=argv, prog_name="imagepipe", standalone_mode=False)
        if code == InterruptedByUserError.exit_code:
            raise KeyboardInterrupt  # noqa: TRY301 -- before the command began: typer ends without a word then
    except Failure as failure:
        return failure.exit_code
    except (KeyboardInterrupt, typer.Abort):
        session.fail(InterruptedByUserError("interrupted", hint="run the same command again; it takes up what is left"))
        return InterruptedByUserError.exit_code
    except Exception as error:  # noqa: BLE001 - the last catch: everything that reaches it is told as what it is
        return _unexpected(session, error, argv)
    return code if isinstance(code, int) else 0


def leave(code: int) -> NoReturn:
    """Ends the process, whoever may still wait for an answer in another thread: nobody would read it any more.

    The other side notices that we hung up: an engine stops and removes the container of the step that it builds.
    Source: moby v20.10.24 builder/dockerfile/containerbackend.go.
    """
    others = (thread for thread in threading.enumerate() if thread is not threading.main_thread())
    working = [thread for thread in others if not thread.daemon]
    with contextlib.suppress(KeyboardInterrupt):  # who presses it once more has been told all there is
        for thread in working:
            thread.join(_IDLE_S)
    if any(thread.is_alive() for thread in working):
        with contextlib.suppress(OSError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


def _unexpected(session: Session, error: Exception, argv: list[str]) -> int:
    if isinstance(error, _CLICK_ERROR):
        said = str(error.format_message())  # type: ignore[attr-defined] # every one of them has it
        if type(error).__name__ == "NoArgsIsHelpError":
            sys.stderr.write(f"{said}\n")
            return UsageError.exit_code
        wrong = UsageError(said, hint=_way_out(error))
        session.fail(wrong)
        return wrong.exit_code
    if {"-v", "--verbose"} & set(argv):
        traceback.print_exception(error, file=sys.stderr)
    session.fail(
        ImagepipeError(
            f"a bug: {type(error).__name__}: {error}",
            hint="please report it, with the output of the same command with -v",
        )
    )
    return ImagepipeError.exit_code


def _way_out(error: Exception) -> str:
    """Returns where the command that was misspelled is explained."""
    context = getattr(error, "ctx", None)
    path = context.command_path if context is not None else "imagepipe"
    option = getattr(error, "option_name", None)
    if option in EVERYWHERE and hasattr(getattr(context, "command", None), "commands"):
        return f"write it behind the command: {path} COMMAND {option}"
    return f"see `{path} --help`"


# typer carries its own click; this is the root of the errors by which it refuses a command line.
_CLICK_ERROR: type = next(kind for kind in typer.BadParameter.__mro__ if kind.__name__ == "ClickException")
