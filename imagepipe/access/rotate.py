"""Gives a robot a new secret while the old one goes on working, and can be run again after every step.

Only Harbor's own users may give a robot another secret; a robot may not. So the new secret is a new robot of the same
family: it is made, tried for real, delivered, and only then is the old one switched off, and deleted after a grace.
What the secret file holds tells how far a rotation went, and where a command took the secret, that the old ones are
switched off; nothing else is remembered but a date in the description, and the mark of `mark` until the hand-over.

>>> since_of("pushes (in place since 2026-03-01T12:00:00+00:00)")
datetime.datetime(2026, 3, 1, 12, 0, tzinfo=datetime.timezone.utc)
"""

import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Final

from imagepipe.access.changes import create_robot
from imagepipe.access.mark import is_pending, marked, settle, without_mark
from imagepipe.access.names import WHOLE, family_of, need_family, robot_name
from imagepipe.access.ports import ProveCredential, SecretPlace
from imagepipe.errors import AccessError, PermissionRefusedError, RefusedError, UnsupportedError
from imagepipe.events import EventSink, Warned, silent, step
from imagepipe.model.access import Grant, Project, Right, Robot, RobotRequest, RobotSecret
from imagepipe.model.result import Credential
from imagepipe.ports import Clock
from imagepipe.ports.administration import Robots

__all__ = ["Rotation", "RotationOptions", "RotationWorld", "rotate", "since_of"]

_DEFAULT_DAYS: Final = 90
_SINCE: Final = re.compile(r" ?\(in place since (\S+)\)")


@dataclass(frozen=True, slots=True, kw_only=True)
class RotationWorld:
    """What a rotation talks to.

    Attributes:
        robots: Harbor's robots.
        place: Where the secret goes; also what tells whether the newest one arrived.
        proof: Tries a credential for real.
        sample: A project in which a robot of all projects is tried; empty: nowhere.
        marks: Whether we may change robots, and so mark one whose secret is not handed over yet.
        clock: The time.
        sink: Hears about each step.
    """

    robots: Robots
    place: SecretPlace
    proof: ProveCredential
    clock: Clock
    sample: str = ""
    marks: bool = False
    sink: EventSink = silent


@dataclass(frozen=True, slots=True, kw_only=True)
class RotationOptions:
    """How to rotate.

    Attributes:
        grace: How long the old robot is kept after its successor is in place.
        days: How long the successor lives; None: as long as the old one; 90 days where nobody tells.
        keep_enabled: Leave the old robot switched on until the grace is over.
        finish: Only end a rotation that was begun; never begin one.
    """

    grace: timedelta
    days: int | None = None
    keep_enabled: bool = False
    finish: bool = False


@dataclass(frozen=True, slots=True)
class Rotation:
    """What became of it.

    Attributes:
        current: The robot whose secret is in place.
        created: Whether this run made it.
        waiting: Older generations that are still there.
        deleted: Logins of those that are gone now.
        until: When those that wait can go; None: nobody waits, or nobody knows since when.
    """

    current: Robot
    created: bool
    waiting: tuple[Robot, ...]
    deleted: tuple[str, ...]
    until: datetime | None


def rotate(project: Project | None, name: str, world: RotationWorld, options: RotationOptions) -> Rotation:
    """Rotates a robot of a project, or of the whole Harbor, or takes up a rotation where it stands.

    A rotation whose successor is in place is ended, not begun again, as long as its grace lasts.

    Raises:
        NotFoundError: There is no such robot.
        AccessError: The successor does not work; it is deleted again, and nothing else has changed.
        PartialError: Nobody knows whether the successor's secret was taken: both robots work, and it is kept.
        RefusedError: With `finish`, and the place does not prove that the newest robot is in use.
    """
    family = need_family(world.robots.list(project), name, project.name if project else WHOLE)
    if _handed_over(family[-1], project, world):
        # Only now: whoever uses an older one has had no time yet to take the new one.
        return _switch_off(family, world, options)
    deleted: tuple[str, ...] = ()
    in_place = len(family) > 1 and _in_place(family, project, world)
    if in_place:
        if world.marks and is_pending(family[-1]):
            settle(family[-1], world.robots)
        ended = _retire(family, world, options)
        if ended.waiting or options.finish:
            return ended
        family, deleted = family[-1:], ended.deleted
    elif options.finish and len(family) > 1:
        raise RefusedError(
            f"{world.place} does not prove that {family[-1].login} is in use, so nothing older is taken away",
            hint="run the same command without --finish",
        )
    if options.finish:
        return Rotation(family[-1], created=False, waiting=(), deleted=(), until=None)
    world.place.check()
    made = _successor(family[-1], project, world, options)
    ended = _retire((*family, made.robot), world, options)
    return Rotation(
        ended.current, created=True, waiting=ended.waiting, deleted=deleted + ended.deleted, until=ended.until
    )


def since_of(description: str) -> datetime | None:
    """Returns since when a robot is in place, as its description tells."""
    found = _SINCE.search(description)
    try:
        return datetime.fromisoformat(found[1]).astimezone(UTC) if found else None
    except ValueError:
        return None


def _handed_over(robot: Robot, project: Project | None, world: RotationWorld) -> bool:
    """Tells whether the newest robot's secret was left lying by an earlier run, and is delivered now."""
    kept = world.place.pending(robot)
    if kept is None or not _works(robot, kept.password, project, world):
        return False
    _deliver(RobotSecret(robot, kept.password), world)
    return True


def _in_place(family: tuple[Robot, ...], project: Project | None, world: RotationWorld) -> bool:
    """Tells whether the newest robot's secret is where it belongs, and works."""
    newest, older = family[-1], family[:-1]
    if not world.place.readable:
        # An older one is switched off only when the newest one's secret is delivered.
        return not newest.disabled and not is_pending(newest) and all(robot.disabled for robot in older)
    held = world.place.held()
    known = held is not None and held.username in ("", newest.login)
    return held is not None and known and _works(newest, held.password, project, world)


def _works(robot: Robot, secret: str, project: Project | None, world: RotationWorld) -> bool:
    if robot.disabled:
        return False
    try:
        _prove(robot, secret, project, world)
    except AccessError:
        return False
    return True


def _prove(robot: Robot, secret: str, project: Project | None, world: RotationWorld) -> None:
    with step(world.sink, "prove", robot.login):
        for place, rights in _places(robot, project, world):
            world.proof.prove(Credential(robot.login, secret), place, rights)


def _places(robot: Robot, project: Project | None, world: RotationWorld) -> Iterator[tuple[str, frozenset[Right]]]:
    """Yields the projects in which a robot is tried, and what it may do there; an empty name is none."""
    if project is not None:
        yield project.name, robot.rights
        return
    for grant in robot.grants or (Grant("*", robot.rights),):
        yield {"/": "", "*": world.sample}.get(grant.namespace, grant.namespace), grant.rights


def _successor(old: Robot, project: Project | None, world: RotationWorld, options: RotationOptions) -> RobotSecret:
    """Makes the next generation, tries it, and delivers its secret; one that fails is deleted again."""
    family, generation = family_of(old.name)
    now = world.clock.now().replace(microsecond=0)
    days = options.days or (None if old.expires_at is None else old.days or _DEFAULT_DAYS)
    description = f"{_SINCE.sub('', without_mark(old.description))} (in place since {now.isoformat()})".lstrip()
    where = project.name if project else None
    if world.marks and (is_pending(old) or not world.place.readable):
        # After one whose secret nobody has, nobody looks for this one's either.
        description = marked(description)
    request = RobotRequest(robot_name(family, generation + 1), where, old.rights, days, description, old.grants)

    def deliver(made: RobotSecret) -> None:
        # Tried before it is delivered: nobody is ever handed a secret that does not work.
        _prove(made.robot, made.secret, project, world)
        _deliver(made, world)

    with step(world.sink, "create robot", f"{where or WHOLE} {request.name}"):
        return create_robot(world.robots, request, project, deliver, successor=True)


def _deliver(made: RobotSecret, world: RotationWorld) -> None:
    with step(world.sink, "deliver", f"{made.robot.login} to {world.place}"):
        world.place.deliver(made)
    if is_pending(made.robot):
        settle(made.robot, world.robots)


def _retire(family: tuple[Robot, ...], world: RotationWorld, options: RotationOptions) -> Rotation:
    """Deletes what is older than the newest once the grace is over, and until then switches it off where we may."""
    gone: list[str] = []
    left: list[Robot] = []
    for robot, successor in itertools.pairwise(family):
        until = _until(successor, family[-1], world, options)
        if options.grace and (until is None or until > world.clock.now()):
            left.append(robot)
            continue
        with step(world.sink, "delete robot", robot.login):
            world.robots.delete(robot)
        gone.append(robot.login)
    kept = _switch_off((*left, family[-1]), world, options)
    return Rotation(kept.current, created=False, waiting=kept.waiting, deleted=tuple(gone), until=kept.until)


def _switch_off(family: tuple[Robot, ...], world: RotationWorld, options: RotationOptions) -> Rotation:
    """Switches off what is older than the newest where we may, and tells when it can go."""
    current, older = replace(family[-1], description=without_mark(family[-1].description)), family[:-1]
    if not options.keep_enabled:
        for robot in older:
            _disable(robot, world)
    until = _until(current, current, world, options) if older else None
    return Rotation(current, created=False, waiting=older, deleted=(), until=until)


def _until(successor: Robot, newest: Robot, world: RotationWorld, options: RotationOptions) -> datetime | None:
    """Returns when a robot's grace is over: counted from when another was in place, None where nobody knows.

    Where nobody can look whether the newest is in place, the next one counts: else a robot that may switch off no
    robot, and so rotates anew each time, would never get rid of any.
    """
    since = since_of((newest if world.place.readable else successor).description)
    return since + options.grace if since else None


def _disable(robot: Robot, world: RotationWorld) -> None:
    if robot.disabled:
        return
    try:
        with step(world.sink, "disable robot", robot.login):
            world.robots.disable(robot)
    except (PermissionRefusedError, UnsupportedError):
        world.sink(Warned(robot.login, "stays switched on until it is deleted: we may not change it"))
