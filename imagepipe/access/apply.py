"""Reads access from Harbor, carries a plan out, and proves by reading again that nothing is left to do.

>>> from imagepipe.access.apply import apply_plan
>>> apply_plan.__name__
'apply_plan'
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from imagepipe import fanout
from imagepipe.access.plan import plan_access
from imagepipe.access.state import (
    AccessPlan,
    Action,
    Change,
    DesiredProject,
    ProjectState,
    RobotState,
    fingerprint,
)
from imagepipe.errors import ImagepipeError, NotFoundError, StalePlanError
from imagepipe.events import EventSink, silent, step
from imagepipe.model.access import (
    Member,
    Principal,
    Project,
    Right,
    RobotRequest,
    RobotSecret,
    Role,
)
from imagepipe.ports.administration import Administration

__all__ = ["Applied", "Failure", "apply_plan", "read_access"]

# Harbor serves a handful of calls at once without queueing. Source: goharbor/harbor#18440, #23789.
_READS_AT_ONCE = 4


@dataclass(frozen=True, slots=True)
class Failure:
    """A change that was not made, and why; `skipped` when it was not even tried."""

    change: Change
    error: ImagepipeError
    skipped: bool = False


@dataclass(frozen=True, slots=True)
class Applied:
    """What became of a plan.

    Attributes:
        done: Changes made, each read back.
        failed: Changes not made.
        remaining: The plan that reading again gives; empty when everything is as the file says.
    """

    done: tuple[Change, ...]
    failed: tuple[Failure, ...]
    remaining: AccessPlan


@dataclass(slots=True)
class _Run:
    admin: Administration
    deliver: Callable[[RobotSecret], None]
    sink: EventSink
    done: list[Change] = field(default_factory=list)
    failed: list[Failure] = field(default_factory=list)


def read_access(names: Sequence[str] | None, admin: Administration) -> dict[str, ProjectState]:
    """Returns the access of the named projects (None: all that we may see); those that do not exist are absent."""
    if names is None:
        projects = list(admin.projects.list())
    else:
        projects = [found for name in names for found in admin.projects.list(name=name)]
    outcomes = fanout.each(projects, lambda project: _read(project, admin), jobs=_READS_AT_ONCE)
    return {outcome.item.name: outcome.unwrap() for outcome in outcomes}


def apply_plan(
    plan: AccessPlan,
    desired: Sequence[DesiredProject],
    admin: Administration,
    *,
    deliver: Callable[[RobotSecret], None],
    sink: EventSink = silent,
) -> Applied:
    """Carries out exactly this plan, continues past what fails, and reads everything again.

    Args:
        plan: What `plan_access` worked out.
        desired: What it was worked out for; reading again is held against it.
        admin: The Harbor.
        deliver: Takes a new robot's secret to where it belongs; when it cannot, the robot is deleted again.
        sink: Hears about each change.

    Raises:
        StalePlanError: Access is no longer what the plan was worked out from; nothing was changed.
    """
    names = [one.state.name for one in desired]
    if fingerprint(names, read_access(names, admin)) != plan.basis:
        raise StalePlanError("access has changed since the plan was made", hint="make a new plan and look at it")
    run = _Run(admin, deliver, sink)
    for change in plan.changes:
        _try(change, run)
    caller = admin.callers.caller().name
    after = read_access(names, admin)
    # Harbor makes a project's creator its admin: where the file does not want that, it goes now that others are there.
    created = {change.project for change in run.done if change.action is Action.CREATE_PROJECT}
    leftover = plan_access([one for one in desired if one.state.name in created], after, caller=caller, force=True)
    for change in leftover.changes:
        _try(change, run)
    return Applied(
        tuple(run.done),
        tuple(run.failed),
        plan_access(desired, read_access(names, admin), caller=caller, force=True),
    )


def _read(project: Project, admin: Administration) -> ProjectState:
    robots = admin.robots.list(project) if admin.robots is not None else ()
    return ProjectState(
        name=project.name,
        settings=dict(project.settings),
        members={member.principal: member.role for member in admin.membership.list(project)},
        robots={robot.name: RobotState(robot.rights) for robot in robots},
    )


def _try(change: Change, run: _Run) -> None:
    blocked = _blocked(change, run.failed)
    if blocked is not None:
        run.failed.append(Failure(change, blocked, skipped=True))
        return
    try:
        with step(run.sink, change.action.value, f"{change.project} {change.subject}"):
            _make(change, run)
    except ImagepipeError as error:
        run.failed.append(Failure(change, error))
    else:
        run.done.append(change)


def _blocked(change: Change, failed: Sequence[Failure]) -> ImagepipeError | None:
    """Returns why a change must not be tried: its project is not there, or it could be left without an admin."""
    takes_away = change.action in (Action.REMOVE_MEMBER, Action.SET_ROLE) and change.before == Role.PROJECT_ADMIN.value
    for failure in failed:
        if failure.change.project != change.project:
            continue
        made_admin = failure.change.after == Role.PROJECT_ADMIN.value
        if failure.change.action is Action.CREATE_PROJECT or (takes_away and made_admin):
            return failure.error
    return None


def _make(change: Change, run: _Run) -> None:
    admin = run.admin
    if change.action is Action.CREATE_PROJECT:
        admin.projects.create(change.project, {})
        return
    project = _project(change.project, admin)
    match change.action:
        case Action.SET:
            admin.projects.change(project, {change.subject: change.after})
        case Action.ADD_MEMBER:
            admin.membership.add(project, Principal.parse(change.subject), Role(change.after))
        case Action.SET_ROLE:
            admin.membership.set_role(project, _member(project, change.subject, admin), Role(change.after))
        case Action.REMOVE_MEMBER:
            admin.membership.remove(project, _member(project, change.subject, admin))
        case _:
            _make_robot(change, project, run)


def _make_robot(change: Change, project: Project, run: _Run) -> None:
    robots = run.admin.require_robots()
    if change.action is not Action.CREATE_ROBOT:
        for robot in robots.list(project):
            if robot.name == change.subject:
                robots.delete(robot)
    if change.action is Action.DELETE_ROBOT:
        return
    made = robots.create(_request(change), project)
    try:
        run.deliver(made)
    except ImagepipeError:
        robots.delete(made.robot)  # a secret that nobody has is a robot that nobody can use
        raise


def _request(change: Change) -> RobotRequest:
    told: Mapping[str, Any] = change.after
    rights = frozenset(Right.parse(text) for text in told["rights"])
    return RobotRequest(change.subject, change.project, rights, told.get("days"))


def _project(name: str, admin: Administration) -> Project:
    for project in admin.projects.list(name=name):
        return project
    raise NotFoundError(f"project {name} is not there", hint="make a new plan")


def _member(project: Project, subject: str, admin: Administration) -> Member:
    for member in admin.membership.list(project):
        if str(member.principal) == subject:
            return member
    raise NotFoundError(f"{subject} is no member of {project.name}", hint="make a new plan")
