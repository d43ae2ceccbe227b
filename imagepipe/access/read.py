"""Reads access as it is in Harbor.

>>> read_access.__name__
'read_access'
"""

from collections.abc import Sequence
from typing import Final

from imagepipe import fanout
from imagepipe.access.mark import is_pending
from imagepipe.access.names import families
from imagepipe.access.state import ProjectState, RobotState
from imagepipe.errors import NotFoundError, PermissionRefusedError
from imagepipe.events import EventSink, Warned, silent
from imagepipe.model.access import Project, Robot
from imagepipe.ports.administration import Administration
from imagepipe.problems import did_you_mean

__all__ = ["find_project", "read_access", "state_of"]

# Harbor serves a handful of calls at once without queueing. Source: goharbor/harbor#18440, #23789.
_READS_AT_ONCE: Final = 4
# Two requests find a project by its name; a page of the list holds a hundred.
_NAMES_ONE_BY_ONE: Final = 10


def read_access(
    names: Sequence[str] | None, admin: Administration, *, sink: EventSink = silent
) -> dict[str, ProjectState]:
    """Returns access by project; those that do not exist are absent.

    Args:
        names: Which projects; None: all whose members we may see, and the sink hears of the others.
        admin: The Harbor.
        sink: Hears of projects that are left out.

    Raises:
        PermissionRefusedError: A named project's members are not for us to see.
    """
    projects = list(admin.projects.list()) if names is None else _named(list(dict.fromkeys(names)), admin)
    states: dict[str, ProjectState] = {}
    for outcome in fanout.each(projects, lambda project: _read(project, admin), jobs=_READS_AT_ONCE):
        if names is None and isinstance(outcome.error, PermissionRefusedError):
            # Everybody sees public projects; only members see who is in them.
            sink(Warned(outcome.item.name, "left out: its members are not shown to you"))
            continue
        states[outcome.item.name] = outcome.unwrap()
    return states


def _named(names: Sequence[str], admin: Administration) -> list[Project]:
    """Returns the projects of these names; many are looked for in one list, and only the rest one by one."""
    listed = {project.name: project for project in admin.projects.list()} if len(names) > _NAMES_ONE_BY_ONE else {}
    found: list[Project] = []
    for name in names:
        found += [listed[name]] if name in listed else admin.projects.list(name=name)
    return found


def find_project(name: str, admin: Administration) -> Project:
    """Returns the project of that name.

    Raises:
        NotFoundError: There is none that we may see.
    """
    for project in admin.projects.list(name=name):
        return project
    near = did_you_mean(name, (project.name for project in admin.projects.list()))
    raise NotFoundError(f"no project {name!r} that you may see{near}", hint="see `imagepipe project list`")


def _read(project: Project, admin: Administration) -> ProjectState:
    robots = admin.robots.list(project) if admin.robots is not None else ()
    return ProjectState(
        name=project.name,
        settings=dict(project.settings),
        members={member.principal: member.role for member in admin.membership.list(project)},
        robots={family: state_of(robots) for family, robots in families(robots).items()},
    )


def state_of(generations: Sequence[Robot]) -> RobotState:
    """Returns what the newest generation may do that is switched on, and whose secret somebody has."""
    enabled = [robot for robot in generations if not robot.disabled] or generations
    known = [robot for robot in enabled if not is_pending(robot)]
    newest = (known or enabled)[-1]
    older = len(generations) - 1
    return RobotState(
        newest.rights,
        older=older,
        pending=not known,
        cut=newest is not enabled[-1],
        disabled=newest.disabled,
        expires_at=newest.expires_at,
    )
