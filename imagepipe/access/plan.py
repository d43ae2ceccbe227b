"""Works out the changes between what access is and what it should be; pure, and in the order in which they are safe.

No project is ever without an admin: admins are made first, roles are lowered and members removed last, and our own
right to go on is the very last to be taken.

>>> plan_access([], {}, caller=Caller("alice", "user")).changes
()
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Final

from imagepipe.access.names import family_of, matching
from imagepipe.access.state import (
    AccessPlan,
    Action,
    Change,
    DesiredProject,
    ProjectState,
    RobotState,
    Setting,
    Unmanaged,
    fingerprint,
    fingerprint_of_wanted,
)
from imagepipe.errors import RefusedError
from imagepipe.model.access import Caller, Principal, PrincipalKind, Role

__all__ = ["plan_access"]

# Of two roles the one further left may do more. Source: Harbor v2.15.2 src/common/rbac/project/rbac_role.go
_STRENGTH: Final = (Role.PROJECT_ADMIN, Role.MAINTAINER, Role.DEVELOPER, Role.GUEST, Role.LIMITED_GUEST)
# What an absent setting means. Source: Harbor v2.15.2 src/pkg/project/models/project.go (isTrue of absent is false;
# ReuseSysCVEAllowlist is true).
_UNSET: Final[Mapping[str, Setting]] = {
    "public": False,
    "auto_scan": False,
    "auto_sbom": False,
    "prevent_vulnerable": False,
    "require_cosign": False,
    "require_notation": False,
    "reuse_system_cve_allowlist": True,
}
# Shown to system administrators alone, or to those with quota:read: absent is not a difference.
_HIDDEN: Final = "storage_limit_bytes"
_ADMIN: Final = Role.PROJECT_ADMIN.value
# What ends the robot that there is.
_ROBOT_TAKERS: Final = (Action.DELETE_ROBOT, Action.REPLACE_ROBOT, Action.RENEW_ROBOT)


def plan_access(
    desired: Sequence[DesiredProject],
    actual: Mapping[str, ProjectState],
    *,
    caller: Caller,
    force: bool = False,
    folds: bool = False,
    now: datetime | None = None,
) -> AccessPlan:
    """Returns the changes that make `actual` what is desired. Law: where they are equal there is none.

    Args:
        desired: The projects of the access file.
        actual: What was read, by project; a project that does not exist is absent.
        caller: Who we are: becomes admin of what we create, and must not be locked out.
        force: Whether we may be.
        folds: Whether members' names that differ in case only are the same, as `Administration.folds` says.
        now: The time, for robots that have expired; None: they are not told.

    Raises:
        RefusedError: A project would be left without an admin, or we would lock ourselves out.
    """
    changes: list[Change] = []
    reports: list[str] = []
    own = str(Principal(PrincipalKind.USER, caller.name)) if caller.kind == "user" else None
    for asked in desired:
        state = actual.get(asked.state.name)
        project = _as_held(asked, state, own, folds=folds)
        robot = _own_robot(caller, project.state.name)
        found = sorted(_changes(project, state, own), key=lambda change: _rank(change, own, robot))
        _check_admins(project.state.name, state, found, own)
        if state is not None:
            if own is not None and not force:
                _check_caller(state, found, own)
            if robot is not None and not force:
                _check_own_robot(found, robot)
            reports.extend(_reports(project, state, now))
        changes.extend(found)
    basis = fingerprint([one.state.name for one in desired], actual)
    return AccessPlan(tuple(changes), tuple(reports), basis, fingerprint_of_wanted(desired))


def _as_held(project: DesiredProject, state: ProjectState | None, own: str | None, *, folds: bool) -> DesiredProject:
    """Returns what is desired with members spelled as Harbor has them, each of whom is meant by one name at most."""
    created = {Principal.parse(own)} if own else set()
    free = set(state.members) if state else created
    held: dict[Principal, Principal] = {}
    for who in sorted(project.state.members, key=lambda one: one not in free):
        held[who] = matching(who, free, folds=folds) or who
        free.discard(held[who])
    members = {held[who]: role for who, role in project.state.members.items()}
    return replace(project, state=replace(project.state, members=members))


def _changes(project: DesiredProject, state: ProjectState | None, own: str | None) -> Iterator[Change]:
    wanted, name = project.state, project.state.name
    if state is None:
        yield Change(name, Action.CREATE_PROJECT, name)
        yield from _creator_changes(project, own)
    yield from _setting_changes(wanted, state)
    there = state or ProjectState(name)
    yield from _member_changes(project, there)
    yield from _robot_changes(project, there)


def _creator_changes(project: DesiredProject, own: str | None) -> Iterator[Change]:
    """Yields what becomes of us, whom Harbor makes admin of what we create, where the file does not name us."""
    named = {str(who) for who in project.state.members}
    if own is not None and own not in named and project.unmanaged is Unmanaged.REMOVE:
        yield Change(project.state.name, Action.REMOVE_MEMBER, own, _ADMIN, None)


def _setting_changes(wanted: ProjectState, state: ProjectState | None) -> Iterator[Change]:
    held = state.settings if state else {}
    for key, value in wanted.settings.items():
        before = held.get(key, _UNSET.get(key))
        hidden = key == _HIDDEN and state is not None and before is None
        if before != value and not hidden:
            yield Change(wanted.name, Action.SET, key, before, value)


def _member_changes(project: DesiredProject, state: ProjectState) -> Iterator[Change]:
    name = project.state.name
    for who, role in project.state.members.items():
        there = state.members.get(who)
        if there is None:
            yield Change(name, Action.ADD_MEMBER, str(who), None, role.value)
        elif there is not role:
            yield Change(name, Action.SET_ROLE, str(who), there.value, role.value)
    if project.unmanaged is Unmanaged.REMOVE:
        for who in _unmanaged_members(project.state, state):
            yield Change(name, Action.REMOVE_MEMBER, str(who), state.members[who].value, None)


def _robot_changes(project: DesiredProject, state: ProjectState) -> Iterator[Change]:
    name = project.state.name
    for robot, wanted in project.state.robots.items():
        there = state.robots.get(robot)
        if there is None:
            yield Change(name, Action.CREATE_ROBOT, robot, None, _told(wanted))
        elif there != wanted:
            yield Change(name, Action.REPLACE_ROBOT, robot, _told(there), _told(wanted))
        elif there.pending and not wanted.pending:
            yield Change(name, Action.RENEW_ROBOT, robot, _told(there), _told(wanted))
    if project.unmanaged is Unmanaged.REMOVE:
        for robot in _unmanaged_robots(project.state, state):
            yield Change(name, Action.DELETE_ROBOT, robot, _told(state.robots[robot]), None)


def _told(robot: RobotState) -> dict[str, object]:
    return {"rights": sorted(map(str, robot.rights))} | ({"days": robot.days} if robot.days else {})


def _unmanaged_members(wanted: ProjectState, state: ProjectState) -> list[Principal]:
    return sorted(set(state.members) - set(wanted.members))


def _unmanaged_robots(wanted: ProjectState, state: ProjectState) -> list[str]:
    return sorted(set(state.robots) - set(wanted.robots))


def _reports(project: DesiredProject, state: ProjectState, now: datetime | None) -> Iterator[str]:
    wanted, name = project.state, state.name
    if _HIDDEN in wanted.settings and _HIDDEN not in state.settings:
        yield f"{name}: {_HIDDEN} is not shown to you, so it was not compared"
    for robot in sorted(set(wanted.robots) & set(state.robots)):
        if state.robots[robot] != wanted.robots[robot]:
            # All its generations are replaced.
            continue
        yield from _ended(name, robot, state.robots[robot], now)
        if state.robots[robot].cut:
            yield (
                f"{name}: a rotation of robot {robot} was cut off before its new secret was handed over; "
                f"`imagepipe robot rotate {name} {robot}` takes it up"
            )
        elif state.robots[robot].older:
            yield f"{name}: robot {robot} has older generations; `imagepipe robot rotate --finish` ends the rotation"
    if project.unmanaged is Unmanaged.REPORT:
        for who in _unmanaged_members(wanted, state):
            yield f"{name}: {who} is {state.members[who]} and is not in the file"
        for robot in _unmanaged_robots(wanted, state):
            yield f"{name}: robot {robot} is not in the file"


def _own_robot(caller: Caller, project: str) -> str | None:
    """Returns which robot of a project we are; a login is a prefix, which may be any, the project, `+` and the name."""
    head, plus, name = caller.name.rpartition("+")
    return family_of(name)[0] if caller.kind == "robot" and plus and head.endswith(project) else None


def _ended(name: str, robot: str, state: RobotState, now: datetime | None) -> Iterator[str]:
    """Yields why a robot that is as the file says lets nobody in all the same."""
    if state.disabled:
        yield f"{name}: robot {robot} is switched off, which the file does not say"
    elif now is not None and state.expires_at is not None and state.expires_at <= now and not state.pending:
        yield (
            f"{name}: robot {robot} has expired on {state.expires_at:%Y-%m-%d}; "
            f"`imagepipe robot rotate {name} {robot}` makes its successor"
        )


def _rank(change: Change, own: str | None, robot: str | None) -> int:
    """Returns where in a project's order a change stands."""
    members = (Action.ADD_MEMBER, Action.SET_ROLE, Action.REMOVE_MEMBER)
    match change.action:
        case Action.CREATE_PROJECT:
            return 0
        case Action.ADD_MEMBER | Action.SET_ROLE if change.after == _ADMIN:
            return 1
        case action if (action in members and change.subject == own) or _ends(change, robot):
            return 6
        case Action.SET_ROLE:
            lowered = _STRENGTH.index(Role(change.after)) > _STRENGTH.index(Role(change.before))
            return 4 if lowered else 3
        case Action.REMOVE_MEMBER | Action.DELETE_ROBOT:
            return 5
        case _:
            return 2


def _ends(change: Change, robot: str | None) -> bool:
    return change.action in _ROBOT_TAKERS and change.subject == robot


def _admins_after(admins: set[str], changes: Sequence[Change]) -> set[str]:
    left = set(admins)
    for change in changes:
        if change.action in (Action.ADD_MEMBER, Action.SET_ROLE, Action.REMOVE_MEMBER):
            left.discard(change.subject)
            if change.after == _ADMIN:
                left.add(change.subject)
    return left


def _check_admins(name: str, state: ProjectState | None, changes: Sequence[Change], own: str | None) -> None:
    admins = {str(who) for who in state.admins} if state else {own} if own else set()
    if admins and not _admins_after(admins, changes):
        raise RefusedError(
            f"{name} would be left without a projectAdmin", hint="name a projectAdmin for it in the access file"
        )


def _check_caller(state: ProjectState, changes: Sequence[Change], own: str) -> None:
    admins = {str(who) for who in state.admins}
    if own in admins and own not in _admins_after(admins, changes):
        raise RefusedError(
            f"{state.name}: you ({own}) would no longer be projectAdmin",
            hint="keep yourself in the access file, or add --force",
        )


def _check_own_robot(changes: Sequence[Change], robot: str) -> None:
    for change in changes:
        if _ends(change, robot):
            done = "deleted" if change.action is Action.DELETE_ROBOT else "replaced"
            raise RefusedError(
                f"{change.project}: you (robot {robot}) would be {done}",
                hint="keep yourself in the access file with the rights that you have, or add --force",
            )
