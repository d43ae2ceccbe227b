"""Where robots' secrets go, as options of commands: a file, or the standard input of a command; never an argument."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from imagepipe.errors import UsageError
from imagepipe.events import Warned

if TYPE_CHECKING:
    from collections.abc import Callable

    from imagepipe.access.changes import Making
    from imagepipe.access.handover import SecretCommand
    from imagepipe.access.ports import SecretPlace
    from imagepipe.cli.session import Session
    from imagepipe.model.access import RobotSecret
    from imagepipe.ports.administration import Administration

__all__ = [
    "EnvName",
    "OutFile",
    "StdinForm",
    "ToCommand",
    "command_of",
    "delivery",
    "delivery_document",
    "place_of",
    "under_mark",
]

_FORMS = ("secret", "env", "json")

OutFile = Annotated[
    Path | None,
    typer.Option(
        "--out",
        help="Where the secret goes, mode 0600: NAME.env for a shell, other lines kept; NAME.json; else it alone.",
        show_default=False,
    ),
]
ToCommand = Annotated[
    str | None,
    typer.Option(
        "--to-command",
        help="A command that takes the secret on its stdin; no shell; {project}, {robot} and {login} are filled in.",
        show_default=False,
    ),
]
StdinForm = Annotated[
    str, typer.Option("--stdin", help="What the command reads: secret, env (NAME=value lines) or json.")
]
EnvName = Annotated[str, typer.Option("--env-name", help="Variables are NAME_USERNAME and NAME_PASSWORD.")]


def place_of(
    session: Session, *, out: Path | None, to_command: str | None, stdin: str, env_name: str
) -> SecretPlace | None:
    """Returns where a secret goes; None where nobody says.

    Raises:
        UsageError: Two places are named, or one makes no sense.
    """
    from imagepipe.access.secrets import SecretFile

    if out is not None and to_command is not None:
        raise UsageError("the secret goes to one place", hint="give either --out or --to-command")
    if out is not None:
        return SecretFile.at(out, _variable(env_name))
    return None if to_command is None else command_of(session, to_command, stdin=stdin, env_name=env_name)


def command_of(session: Session, line: str, *, stdin: str, env_name: str = "HARBOR") -> SecretCommand:
    """Returns the command of a command line, split as a shell would, and run without one.

    Raises:
        UsageError: There is none in it.
    """
    from imagepipe.access.forms import SecretForm
    from imagepipe.access.handover import SecretCommand
    from imagepipe.http.redact import redact

    try:
        words = tuple(shlex.split(line))
    except ValueError as error:
        raise UsageError(f"--to-command cannot be split into words: {error}", hint="close every quote") from error
    if not words:
        raise UsageError("--to-command names no command", hint="write --to-command 'gh secret set HARBOR_PASSWORD'")
    if stdin not in _FORMS:
        raise UsageError(f"--stdin {stdin[:40]!r} is not known", hint=f"use one of {', '.join(_FORMS)}")
    settings = session.settings()
    return SecretCommand(
        words=words,
        form=SecretForm(stdin),
        # One Harbor's robots are not another's.
        kept=session.wiring(settings).state_folder / "secrets" / re.sub(r"[^A-Za-z0-9.-]+", "_", settings.harbor_url),
        prefix=_variable(env_name),
        redact=redact,
        sink=session.sink,
    )


def delivery(
    session: Session, place: SecretPlace, admin: Administration
) -> tuple[Callable[[RobotSecret], None], Making]:
    """Returns what takes a new robot's secret to a place, and what the robot is made within until it is there."""
    from contextlib import nullcontext

    marked = under_mark(place.deliver, admin)
    if marked is None and not place.readable:
        told = (
            "a robot may change no robot, so none is marked until its secret is taken: if this run is killed, no later "
            "one can tell that nobody has it; then `imagepipe robot rotate` makes another"
        )
        session.sink(Warned(str(place), told))
    return marked or (place.deliver, nullcontext)


def under_mark(
    take: Callable[[RobotSecret], None], admin: Administration
) -> tuple[Callable[[RobotSecret], None], Making] | None:
    """Returns the same for secrets whose robots bear a mark in Harbor until they are taken; None: we may leave none."""
    from imagepipe.access.mark import HandoverMark, can_mark

    if not can_mark(admin.callers.caller()):
        return None
    mark = HandoverMark(admin.require_robots(), take)
    return mark.deliver, mark.making


def delivery_document(place: SecretPlace) -> dict[str, Any]:
    """Returns where a secret went, for a command's document."""
    return {"out": str(place)} if place.readable else {"out": None, "command": str(place).strip("`")}


def _variable(name: str) -> str:
    if re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name) is None:
        raise UsageError(f"--env-name {name[:40]!r} begins no variable's name", hint="use A-Z, 0-9 and _")
    return name
