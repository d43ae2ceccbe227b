"""What the commands of Harbor's administration share: arguments, completion, and questions before a write."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from imagepipe.cli.session import Session
from imagepipe.errors import ImagepipeError, PermissionRefusedError, RefusedError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from imagepipe.model.access import Member, Principal, Project
    from imagepipe.ports.administration import Administration

__all__ = ["Force", "ProjectName", "Yes", "open_harbor", "principal_of", "protect", "why_refused"]

# Whoever presses TAB waits no longer.
_COMPLETION_S = 4.0
# A handful of requests; who waits longer would rather have the refusal alone.
_CAUSE_S = 8.0


def open_harbor(session: Session) -> Administration:
    """Returns the administration of the configured Harbor; that it knows us is proven."""
    return session.wiring(session.settings()).administration


def find(name: str, admin: Administration) -> Project:
    """Returns the project of that name; raises NotFoundError."""
    from imagepipe.access.read import find_project

    return find_project(name, admin)


def find_place(name: str, admin: Administration) -> Project | None:
    """Returns the project of that name, or None for `/`, the whole Harbor; raises NotFoundError."""
    from imagepipe.access.names import WHOLE

    return None if name == WHOLE else find(name, admin)


def principal_of(name: str, *, group: bool) -> Principal:
    """Returns who is named: with --group a group, else as access files spell it (`group:devs`)."""
    from imagepipe.model.access import Principal, PrincipalKind

    return Principal(PrincipalKind.GROUP, name) if group else Principal.parse(name)


def protect(project: Project, member: Member, admin: Administration, *, force: bool) -> None:
    """Returns when the member may lose what it has.

    Raises:
        RefusedError: It is the last project admin, or ourselves; Harbor would not stop us.
    """
    from imagepipe.access.changes import check_not_last_admin
    from imagepipe.model.access import PrincipalKind

    if force:
        return
    check_not_last_admin(project.name, admin.membership.list(project), member)
    if member.principal.kind is PrincipalKind.USER and member.principal.name == admin.callers.caller().name:
        raise RefusedError(
            f"{member.principal} is you: you would no longer be {member.role} of {project.name}",
            hint="let somebody else do it, or add --force",
        )


def why_refused(session: Session, error: PermissionRefusedError, project: str, *, reading: bool) -> ImagepipeError:
    """Returns a refused call's error with its cause; the same error where Harbor does not tell one in time."""
    from imagepipe.access.calls import explain_call
    from imagepipe.events import Output
    from imagepipe.fanout import within

    if error.cause is not None or "system administrator" in error.message:
        return error
    what = f"ask Harbor about {project}"
    try:
        cause = within(_CAUSE_S, what, lambda: explain_call(project, open_harbor(session), reading=reading))
    except ImagepipeError as unknown:
        session.sink(Output("explain", project, unknown.message))
        return error
    return error if cause is None else cause.behind(error)


def complete_projects(context: typer.Context, incomplete: str) -> list[str]:
    """Returns the names of projects that begin so, for the shell; nothing when Harbor is away."""
    return _quickly(context, lambda admin: (project.name for project in admin.projects.list()), incomplete)


def complete_members(context: typer.Context, incomplete: str) -> list[str]:
    """Returns the names of members of the project that was typed before."""
    return _in_project(
        context,
        incomplete,
        lambda admin, project: (str(one.principal) for one in admin.membership.list(project)) if project else (),
    )


def complete_robots(context: typer.Context, incomplete: str) -> list[str]:
    """Returns the names of robots of the project that was typed before."""
    return _in_project(
        context, incomplete, lambda admin, project: (robot.name for robot in admin.require_robots().list(project))
    )


def complete_roles(incomplete: str) -> list[str]:
    """Returns the names of roles that begin so."""
    from imagepipe.model.access import Role

    return [role.value for role in Role if role.value.lower().startswith(incomplete.lower())]


def _in_project(
    context: typer.Context, incomplete: str, names: Callable[[Administration, Project | None], Iterable[str]]
) -> list[str]:
    typed = context.params.get("project")
    if not typed:
        return []
    return _quickly(context, lambda admin: names(admin, find_place(str(typed), admin)), incomplete)


def _quickly(context: typer.Context, names: Callable[[Administration], Iterable[str]], incomplete: str) -> list[str]:
    from imagepipe.fanout import within

    config: Any = context.params.get("config")
    session = Session(config=Path(config) if config else None, quiet=True)
    try:
        found = within(_COMPLETION_S, "complete", lambda: sorted(names(open_harbor(session))))
    except ImagepipeError:
        return []
    return [name for name in found if name.startswith(incomplete)]


ProjectName = Annotated[str, typer.Argument(help="A project.", show_default=False, autocompletion=complete_projects)]
ProjectNames = Annotated[
    list[str] | None,
    typer.Argument(
        help="Projects; default: all that you may see.", show_default=False, autocompletion=complete_projects
    ),
]
RobotPlace = Annotated[
    str,
    typer.Argument(
        metavar="PROJECT",
        help="A project, or / for robots of the whole Harbor.",
        show_default=False,
        autocompletion=complete_projects,
    ),
]
MemberName = Annotated[
    str,
    typer.Argument(help="A user, or group:NAME.", show_default=False, autocompletion=complete_members),
]
RobotName = Annotated[
    str,
    typer.Argument(help="A robot, without prefix and project.", show_default=False, autocompletion=complete_robots),
]
Group = Annotated[bool, typer.Option("--group", help="NAME is a group.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
Force = Annotated[bool, typer.Option("--force", help="Also take access from the last projectAdmin, or from yourself.")]
