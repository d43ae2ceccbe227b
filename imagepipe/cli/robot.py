"""`imagepipe robot list|create|rotate|delete`."""

from __future__ import annotations

from contextlib import nullcontext, suppress
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer

from imagepipe.cli.administration import RobotName, RobotPlace, Yes, complete_projects, find_place, open_harbor
from imagepipe.cli.command import Failure, command
from imagepipe.cli.printing import clean
from imagepipe.cli.project import robot_document
from imagepipe.cli.robot_request import requested, told_rights
from imagepipe.cli.secrets import (
    EnvName,
    OutFile,
    StdinForm,
    ToCommand,
    delivery,
    delivery_document,
    place_of,
    under_mark,
)
from imagepipe.cli.session import Session
from imagepipe.cli.tables import day, table
from imagepipe.errors import AccessError, DriftError, InputError, UnsupportedError, UsageError
from imagepipe.events import Warned

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from imagepipe.access.rotate import Rotation
    from imagepipe.model.access import Robot, RobotRequest, RobotSecret
    from imagepipe.ports.administration import Administration

__all__ = ["register"]

_EVERYWHERE = "*"
Days = Annotated[int | None, typer.Option("--days", min=1, help="How long it lives, in days.", show_default=False)]


def register(app: typer.Typer) -> None:
    """Adds the commands of this module."""
    robot = typer.Typer(help="Robot accounts and their secrets.", no_args_is_help=True)
    command(robot, "list")(list_robots)
    command(robot, "create")(create)
    command(robot, "rotate")(rotate)
    command(robot, "delete")(delete)
    app.add_typer(robot, name="robot")


def list_robots(
    session: Session,
    project: Annotated[
        str | None,
        typer.Argument(
            help="A project, or / for the whole Harbor; default: all.",
            show_default=False,
            autocompletion=complete_projects,
        ),
    ] = None,
    expiring: Annotated[
        int | None,
        typer.Option(
            "--expiring",
            min=0,
            max=36_500,
            help="Only those that end within so many days; exit 9 if there are any.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """List robots with their rights and expiry.

    Also tells whose robots are not shown to you.
    """
    from imagepipe.access.names import reach_of
    from imagepipe.wiring import SystemClock

    now = SystemClock().now()
    found, unseen = _robots(project, open_harbor(session))
    for place, why in unseen.items():
        session.sink(Warned(place, f"left out: {why}"))
    if expiring is not None:
        limit = now + timedelta(days=expiring)
        found = sorted((one for one in found if one.expires_at and one.expires_at <= limit), key=_expiry)
    document: dict[str, Any] = {
        "schema": "imagepipe.robot-list/v1",
        "robots": [robot_document(one) for one in found],
        "unseen": list(unseen),
    }
    rows = [(one.login, reach_of(one), day(one.expires_at), _state(one, now), one.description) for one in found]
    session.answer(document, table(("login", "can", "expires", "state", "description"), rows))
    if expiring is not None and found:
        told = "1 robot ends soon, or has ended" if len(found) == 1 else f"{len(found)} robots end soon, or have ended"
        session.say(f"{told}: use `imagepipe robot rotate`")
        raise Failure(DriftError.exit_code)


def create(
    session: Session,
    project: RobotPlace,
    name: RobotName,
    can: Annotated[
        str, typer.Option("--can", help="push, pull, ci, read or resource:action, with commas.", show_default=False)
    ] = "",
    places: Annotated[
        list[str] | None,
        typer.Option("--in", help="With /: a project, or * for all of them; may be repeated.", show_default=False),
    ] = None,
    system_can: Annotated[
        str, typer.Option("--system-can", help="With /: rights on the system itself.", show_default=False)
    ] = "",
    days: Days = None,
    forever: Annotated[bool, typer.Option("--forever", help="It never expires.")] = False,
    out: OutFile = None,
    to_command: ToCommand = None,
    stdin: StdinForm = "secret",
    env_name: EnvName = "HARBOR",
    description: Annotated[str, typer.Option("--description", help="For people.")] = "",
    show_secret: Annotated[bool, typer.Option("--show-secret", help="Print the secret on stdout.")] = False,
    yes: Yes = False,
) -> None:
    """Make a robot, and hand its secret over.

    The secret is told only once, and goes to a file or a command.
    """
    from imagepipe.access.changes import create_robot
    from imagepipe.access.mark import is_pending

    if (days is None) != forever:
        raise UsageError("how long shall it live?", hint="give either --days N or --forever")
    place = place_of(session, out=out, to_command=to_command, stdin=stdin, env_name=env_name)
    if place is None and not show_secret:
        raise UsageError("where does the secret go?", hint="add --out FILE, --to-command COMMAND, or --show-secret")
    if place is not None:
        place.check()
    request = requested(project, name, can, places or [], system_can, days, description)
    admin = open_harbor(session)
    robots, found = admin.require_robots(), find_place(project, admin)
    for where in places or ():
        if where != _EVERYWHERE:
            find_place(where, admin)
    ends = f"for {days} days" if days else "for ever"
    session.say(f"+ {project}: robot {name} may {told_rights(request)} {ends}")
    if any(is_pending(one) for one in robots.list(found) if one.name == name):
        session.say("  one is there whose secret was never handed over: another takes its place")
    session.confirm(f"Create robot {name} in {project}?", yes=yes)
    if place is not None:
        deliver, making = delivery(session, place, admin)
    else:
        show = partial(_show, session, request)
        deliver, making = under_mark(show, admin) or (show, nullcontext)
    with making(request) as asked:
        made = create_robot(robots, asked, found, deliver)
    if place is not None:
        session.answer(_created(made, request) | delivery_document(place), made.robot.login)


def rotate(
    session: Session,
    project: RobotPlace,
    name: RobotName,
    out: OutFile = None,
    to_command: ToCommand = None,
    stdin: StdinForm = "secret",
    env_name: EnvName = "HARBOR",
    days: Annotated[
        int | None,
        typer.Option("--days", min=1, help="How long the new one lives; default: as the old one.", show_default=False),
    ] = None,
    grace: Annotated[
        float, typer.Option("--grace", min=0, max=876_000, help="How long the old robot is kept, in hours.")
    ] = 24.0,
    keep_enabled: Annotated[
        bool, typer.Option("--keep-enabled", help="Leave the old robot switched on until then.")
    ] = False,
    finish: Annotated[bool, typer.Option("--finish", help="Only end a rotation that was begun.")] = False,
    yes: Yes = False,
) -> None:
    """Give a robot a new secret, with no moment in which none works.

    Run it again after the grace to end it.
    """
    from imagepipe.access.mark import can_mark
    from imagepipe.access.rotate import RotationOptions, RotationWorld
    from imagepipe.access.rotate import rotate as rotate_robot
    from imagepipe.wiring import SystemClock

    place = place_of(session, out=out, to_command=to_command, stdin=stdin, env_name=env_name)
    if place is None:
        hint = "add --out FILE, the same file at every rotation, or --to-command COMMAND"
        raise UsageError("where does the secret go?", hint=hint)
    wiring = session.wiring(session.settings())
    admin = wiring.administration
    found = find_place(project, admin)
    world = RotationWorld(
        robots=admin.require_robots(),
        place=place,
        proof=wiring.credential_proof(),
        clock=SystemClock(),
        sample="" if found else next((one.name for one in admin.projects.list()), ""),
        marks=can_mark(admin.callers.caller()),
        sink=session.sink,
    )
    session.confirm(f"Rotate robot {name} of {project}?", yes=yes)
    options = RotationOptions(grace=timedelta(hours=grace), days=days, keep_enabled=keep_enabled, finish=finish)
    rotation = rotate_robot(found, name, world, options)
    for line in _told(rotation, finish=finish):
        session.say(line)
    document = {
        "schema": "imagepipe.robot-rotate/v1",
        "robot": robot_document(rotation.current),
        "created": rotation.created,
        "waiting": [one.login for one in rotation.waiting],
        "deleted": list(rotation.deleted),
        "until": rotation.until.isoformat() if rotation.until else None,
        **delivery_document(place),
    }
    session.answer(document, rotation.current.login)


def delete(session: Session, project: RobotPlace, name: RobotName, yes: Yes = False) -> None:
    """Delete a robot with all its generations, or the one named."""
    from imagepipe.access.names import family_of, need_family

    admin = open_harbor(session)
    robots, found = admin.require_robots(), find_place(project, admin)
    family = need_family(robots.list(found), name, project)
    doomed = list(family) if family_of(name)[1] == 1 else [one for one in family if one.name == name]
    if not doomed:
        raise InputError(
            f"robot {name} is not there; there is {', '.join(one.name for one in family)}", hint="name one of them"
        )
    for one in doomed:
        session.say(f"- {project}: robot {clean(one.login)} would stop working")
    session.confirm(f"Delete robot {name} of {project}?", yes=yes)
    for one in doomed:
        robots.delete(one)
    session.answer({"schema": "imagepipe.robot-delete/v1", "deleted": [one.login for one in doomed]}, "")


def _created(made: RobotSecret, request: RobotRequest) -> dict[str, Any]:
    robot = replace(made.robot, description=request.description)
    return {"schema": "imagepipe.robot-create/v1", "robot": robot_document(robot), "created": True}


def _show(session: Session, request: RobotRequest, made: RobotSecret) -> None:
    """Prints a robot's secret.

    Raises:
        InputError: Nobody takes it.
    """
    login, taken = made.robot.login, False
    with suppress(InputError):  # no room: what its hint says of things that are done is not so here
        taken = session.answer(_created(made, request) | {"secret": made.secret}, f"{login}\t{made.secret}")
    if not taken:
        raise InputError(
            f"the secret of {login} could not be written to stdout, and nobody has it: the robot is deleted again",
            hint="let stdout go where it is read, or add --out FILE",
        )


def _robots(project: str | None, admin: Administration) -> tuple[list[Robot], dict[str, str]]:
    """Returns the robots of a place, or all that we may see, and whose robots we may not see, with the reason."""
    from imagepipe.access.names import WHOLE

    robots = admin.require_robots()
    if project is not None:
        return list(robots.list(find_place(project, admin))), {}
    found: list[Robot] = []
    unseen: dict[str, str] = {}
    for one in (None, *admin.projects.list()):
        try:
            found += robots.list(one)
        except UnsupportedError:
            # This Harbor has no robots of that kind.
            continue
        except AccessError:
            unseen[one.name if one else WHOLE] = (
                "its robots are not shown to you" if one else "robots of the whole Harbor are for system administrators"
            )
    return found, unseen


def _told(rotation: Rotation, *, finish: bool) -> Iterator[str]:
    if rotation.created:
        ends = f", and expires {day(rotation.current.expires_at)}" if rotation.current.expires_at else ""
        yield f"{rotation.current.login} is in place{ends}"
    elif not rotation.waiting and not rotation.deleted:
        yield "nothing to finish" if finish else f"{rotation.current.login} is in place"
    for login in rotation.deleted:
        yield f"{login} is deleted"
    for one in rotation.waiting:
        until = f" until {rotation.until:%Y-%m-%d %H:%M} UTC; run the same command again then" if rotation.until else ""
        yield f"{one.login} is kept{until}"


def _state(robot: Robot, now: datetime) -> str:
    return "disabled" if robot.disabled else "expired" if robot.expired(now) else "active"


def _expiry(robot: Robot) -> datetime:
    assert robot.expires_at is not None
    return robot.expires_at
