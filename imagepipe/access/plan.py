"""Works out the changes between what access is and what it should be; pure, and in the order in which they are safe.

No project is ever without an admin: admins are made first, and roles are lowered and members removed last.

>>> plan_access([], {}, caller="alice").changes
()
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from imagepipe.access.state import (
    AccessPlan,
    Action,
    Change,
    DesiredProject,
    ProjectState,
    RobotState,
    Unmanaged,
    fingerprint,
    identity_of,
)
from imagepipe.errors import RefusedError
from imagepipe.model.access import Principal, Role

__all__ = ["plan_access"]

# Of two roles the one further left may do more. Source: Harbor v2.15.2 src/common/rbac/project/rbac_role.go
_STRENGTH: Final = (Role.PROJECT_ADMIN, Role.MAINTAINER, Role.DEVELOPER, Role.GUEST, Role.LIMITED_GUEST)


def plan_access(
    desired: Sequence[DesiredProject], actual: Mapping[str, ProjectState], *, caller: str, force: bool = False
) -> AccessPlan:
    """Returns the changes that make `actual` what is desired. Law: where they are equal there is none.

    Args:
        desired: The projects of the access file.
        actual: What was read, by project; a project that does not exist is absent.
        caller: Our own user name, which must not be locked out.
        force: Whether it may be.

    Raises:
        RefusedError: A project would be left without an admin, or we would lock ourselves out.
    """
    changes: list[Change] = []
    reports: list[str] = []
    for project in desired:
        state = actual.get(project.state.name)
        found = sorted(_changes(project, state), key=_rank)
        if state is not None:
            _check_admins(state, found)
            _check_caller(state, found, caller, force=force)
            if project.unmanaged is Unmanaged.REPORT:
                reports.extend(_unmanaged_lines(project.state, state))
        changes.extend(found)
    return AccessPlan(tuple(changes), tuple(reports), fingerprint([one.state.name for one in desired], actual))


def _changes(project: DesiredProject, state: ProjectState | None) -> Iterator[Change]:
    wanted, name = project.state, project.state.name
    if state is None:
        yield Change(name, Action.CREATE_PROJECT, name)
        state = ProjectState(name)
    for key, value in wanted.settings.items():
        before = state.settings.get(key)
        if before != value:
            yield Change(name, Action.SET, key, before, value)
    yield from _member_changes(project, state)
    yield from _robot_changes(project, state)


def _member_changes(project: DesiredProject, state: ProjectState) -> Iterator[Change]:
    name, held = project.state.name, _by_identity(state)
    for who, role in project.state.members.items():
        there = held.get(identity_of(who))
        if there is None:
            yield Change(name, Action.ADD_MEMBER, str(who), None, role.value)
        elif state.members[there] is not role:
            yield Change(name, Action.SET_ROLE, str(there), state.members[there].value, role.value)
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
    if project.unmanaged is Unmanaged.REMOVE:
        for robot in sorted(set(state.robots) - set(project.state.robots)):
            yield Change(name, Action.DELETE_ROBOT, robot, _told(state.robots[robot]), None)


def _told(robot: RobotState) -> dict[str, object]:
    return {"rights": sorted(map(str, robot.rights))} | ({"days": robot.days} if robot.days else {})


def _by_identity(state: ProjectState) -> dict[tuple[str, str], Principal]:
    return {identity_of(who): who for who in state.members}


def _unmanaged_members(wanted: ProjectState, state: ProjectState) -> list[Principal]:
    named = {identity_of(who) for who in wanted.members}
    return sorted(who for who in state.members if identity_of(who) not in named)


def _unmanaged_lines(wanted: ProjectState, state: ProjectState) -> Iterator[str]:
    for who in _unmanaged_members(wanted, state):
        yield f"{state.name}: {who} is {state.members[who]} and is not in the file"
    for robot in sorted(set(state.robots) - set(wanted.robots)):
        yield f"{state.name}: robot {robot} is not in the file"


def _rank(change: Change) -> int:
    """Returns where in a project's order a change stands: what makes admins first, what takes rights away last."""
    admin = change.after == Role.PROJECT_ADMIN.value
    match change.action:
        case Action.CREATE_PROJECT:
            return 0
        case Action.ADD_MEMBER | Action.SET_ROLE if admin:
            return 1
        case Action.SET | Action.ADD_MEMBER | Action.CREATE_ROBOT | Action.REPLACE_ROBOT:
            return 2
        case Action.SET_ROLE:
            lowered = _STRENGTH.index(Role(change.after)) > _STRENGTH.index(Role(change.before))
            return 4 if lowered else 3
        case _:
            return 5


def _admins_after(state: ProjectState, changes: Sequence[Change]) -> set[str]:
    admins = {str(who) for who in state.admins}
    for change in changes:
        if change.action in (Action.ADD_MEMBER, Action.SET_ROLE, Action.REMOVE_MEMBER):
            admins.discard(change.subject)
            if change.after == Role.PROJECT_ADMIN.value:
                admins.add(change.subject)
    return admins


def _check_admins(state: ProjectState, changes: Sequence[Change]) -> None:
    if state.admins and not _admins_after(state, changes):
        raise RefusedError(
            f"{state.name} would be left without a projectAdmin", hint="name a projectAdmin for it in the access file"
        )


def _check_caller(state: ProjectState, changes: Sequence[Change], caller: str, *, force: bool) -> None:
    if force or caller not in {str(who) for who in state.admins} or caller in _admins_after(state, changes):
        return
    raise RefusedError(
        f"{state.name}: you ({caller}) would no longer be projectAdmin",
        hint="keep yourself in the access file, or add --force",
    )
