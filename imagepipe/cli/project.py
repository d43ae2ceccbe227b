"""`imagepipe project list|show|create|set|delete`."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Any

import typer

from imagepipe.cli.administration import ProjectName, Yes, find, open_harbor
from imagepipe.cli.command import command
from imagepipe.cli.printing import clean
from imagepipe.cli.session import Session
from imagepipe.cli.tables import day, size, table
from imagepipe.errors import AccessError, ImagepipeError, RefusedError, UnsupportedError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from imagepipe.model.access import Member, Project, ProjectFacts, Robot
    from imagepipe.model.protection import Protected
    from imagepipe.ports.administration import Administration

__all__ = ["register", "settings_of"]

Assignments = Annotated[
    list[str] | None,
    typer.Argument(metavar="[KEY=VALUE]...", help="Settings, such as auto_scan=true.", show_default=False),
]
_LIMIT = "storage_limit_bytes"
# In the message; all are told before.
_NAMED = 3
_UNITS = {"": 1, "b": 1, "k": 2**10, "m": 2**20, "g": 2**30, "t": 2**40}


def register(app: typer.Typer) -> None:
    """Adds the commands of this module."""
    project = typer.Typer(help="Projects in Harbor and their settings.", no_args_is_help=True)
    command(project, "list")(list_projects)
    command(project, "show")(show)
    command(project, "create")(create)
    command(project, "set")(set_)
    command(project, "delete")(delete)
    app.add_typer(project, name="project")


def list_projects(session: Session) -> None:
    """List the projects that you may see."""
    admin = open_harbor(session)
    found = list(admin.projects.list())
    document = {
        "schema": "imagepipe.project-list/v1",
        "projects": [{"name": one.name, "settings": dict(one.settings)} for one in found],
    }
    rows = [(one.name, _visibility(one), size(_limit(one))) for one in found]
    session.answer(document, table(("project", "visibility", "quota"), rows))


def show(session: Session, project: ProjectName) -> None:
    """Show a project's settings, members, robots and size.

    Members by role, robots with their expiry, the quota, and the last push.
    """
    admin = open_harbor(session)
    found = find(project, admin)
    facts = admin.projects.facts(found)
    members = _if_shown(lambda: admin.membership.list(found))
    robots = _if_shown(lambda: admin.require_robots().list(found))
    document = {
        "schema": "imagepipe.project-show/v1",
        "name": found.name,
        "dialect": admin.dialect,
        "version": admin.version,
        "settings": dict(found.settings),
        "facts": facts_document(facts),
        "members": None if members is None else [member_document(one) for one in members],
        "robots": None if robots is None else [robot_document(one) for one in robots],
    }
    session.answer(document, _described(found, facts, members, robots, admin))


def create(
    session: Session,
    project: ProjectName,
    settings: Assignments = None,
    public: Annotated[bool, typer.Option("--public", help="Let everybody pull from it.")] = False,
    yes: Yes = False,
) -> None:
    """Make a project; you become its projectAdmin."""
    from imagepipe.access.names import check_name

    wanted = settings_of(settings or ()) | ({"public": True} if public else {})
    check_name("project", project)
    admin = open_harbor(session)
    _check_known(wanted, admin)
    told = f" with {_written(wanted)}" if wanted else ""
    session.confirm(f"Create project {project}{told}?", yes=yes)
    made = admin.projects.create(project, wanted)
    session.say(f"created {made.name}")
    session.answer(
        {"schema": "imagepipe.project-create/v1", "name": made.name, "settings": dict(made.settings)}, made.name
    )


def set_(session: Session, project: ProjectName, settings: Assignments = None, yes: Yes = False) -> None:
    """Change settings of a project; what is not named stays."""
    wanted = settings_of(settings or ())
    if not wanted:
        raise UsageError("no setting is named", hint="write KEY=VALUE, such as auto_scan=true")
    admin = open_harbor(session)
    _check_known(wanted, admin)
    found = find(project, admin)
    new = {key: value for key, value in wanted.items() if found.settings.get(key) != value}
    if new:
        for key, value in new.items():
            session.say(f"~ {project}: {key}: {_word(found.settings.get(key, 'not shown'))} -> {_word(value)}")
        session.confirm(f"Change project {project}?", yes=yes)
        found = admin.projects.change(found, new)
    else:
        session.say("nothing to change")
    document = {
        "schema": "imagepipe.project-set/v1",
        "name": found.name,
        "changed": sorted(new),
        "settings": dict(found.settings),
    }
    session.answer(
        document, "\n".join(f"{key}={_word(found.settings.get(key, value))}" for key, value in wanted.items())
    )


def delete(session: Session, project: ProjectName, yes: Yes = False) -> None:
    """Delete an empty project, with its members and robots."""
    admin = open_harbor(session)
    found = find(project, admin)
    facts = admin.projects.facts(found)
    members = _if_shown(lambda: admin.membership.list(found))
    robots = _if_shown(lambda: admin.require_robots().list(found))
    held = [
        _count(facts.repositories, "repository", "repositories")
        + ("" if facts.used_bytes is None else f" ({size(facts.used_bytes)})"),
        _count(None if members is None else len(members), "member", "members"),
        _count(None if robots is None else len(robots), "robot", "robots"),
    ]
    session.say(f"{project} holds {', '.join(held)}; last push {_last_push(facts)}")
    for robot in robots or ():
        session.say(f"  robot {clean(robot.login)} would stop working")
    needed = _needed(session, project) if facts.repositories != 0 else ()
    for one in needed:
        session.say(f"  {one.image} is needed: {', '.join(map(str, one.needs))}")
    session.confirm(f"Delete project {project}?", yes=yes)
    try:
        admin.projects.delete(found)
    except RefusedError as error:
        if needed:
            error.message += f"; targets need {len(needed)} of its images: {_first(needed)}"
        raise
    document = {"schema": "imagepipe.project-delete/v1", "name": project, "deleted": True}
    session.answer(document | {"held": facts_document(facts), "needed": [one.to_json() for one in needed]}, "")
    session.say(f"deleted {project}")


def _needed(session: Session, project: str) -> tuple[Protected, ...]:
    """Returns the images of a project that targets run or would go back to; what cannot be found out is told."""
    settings = session.settings()
    if not settings.targets or not settings.registry:
        return ()
    try:
        return session.wiring(settings).protection().needed_in(settings.registry, project)
    except ImagepipeError as error:
        session.warn(f"which of its images targets need is not known: {error.message}")
        return ()


def _first(needed: Sequence[Protected]) -> str:
    told = [f"{one.image} ({', '.join(map(str, one.needs))})" for one in needed[:_NAMED]]
    return ", ".join([*told, *(["…"] if needed[_NAMED:] else [])])


def settings_of(assignments: Sequence[str]) -> dict[str, bool | str | int]:
    """Returns what KEY=VALUE assignments mean; a size may have a unit (`10GiB`), and `unlimited` is no limit.

    Raises:
        UsageError: There is no such setting, or the value is not of its kind.
    """
    from imagepipe.model.access import PROJECT_SETTINGS
    from imagepipe.problems import did_you_mean

    found: dict[str, bool | str | int] = {}
    for assignment in assignments:
        key, equals, text = assignment.partition("=")
        if not equals:
            raise UsageError(f"{assignment[:80]!r} is no setting", hint="write KEY=VALUE, such as auto_scan=true")
        kind = PROJECT_SETTINGS.get(key)
        if kind is None:
            near = did_you_mean(key, PROJECT_SETTINGS)
            raise UsageError(f"no setting named {key[:60]!r}{near}", hint=f"use one of {', '.join(PROJECT_SETTINGS)}")
        found[key] = text if kind is str else _truth(key, text) if kind is bool else _bytes(key, text)
    return found


def facts_document(facts: ProjectFacts) -> dict[str, Any]:
    """Returns what a project holds as a JSON object."""
    return {
        "repositories": facts.repositories,
        "used_bytes": facts.used_bytes,
        "limit_bytes": facts.limit_bytes,
        "last_push": facts.last_push.isoformat() if facts.last_push else None,
    }


def member_document(member: Member) -> dict[str, str]:
    """Returns a member as a JSON object."""
    return {"name": member.principal.name, "kind": member.principal.kind.value, "role": member.role.value}


def robot_document(robot: Robot) -> dict[str, Any]:
    """Returns a robot as a JSON object."""
    return {
        "name": robot.name,
        "login": robot.login,
        "project": robot.project,
        "rights": sorted(map(str, robot.rights)),
        "expires_at": robot.expires_at.isoformat() if robot.expires_at else None,
        "disabled": robot.disabled,
        "description": robot.description,
        "grants": [{"namespace": one.namespace, "rights": sorted(map(str, one.rights))} for one in robot.grants],
    }


def _described(
    project: Project,
    facts: ProjectFacts,
    members: Sequence[Member] | None,
    robots: Sequence[Robot] | None,
    admin: Administration,
) -> str:
    from imagepipe.access.names import short_rights

    untold = f"not told by {admin.dialect} {admin.version}"
    limit = _limit(project) if facts.limit_bytes is None else facts.limit_bytes
    nothing_told = facts.used_bytes is None and limit is None
    lines = [
        ("project", project.name),
        ("repositories", "-" if facts.repositories is None else str(facts.repositories)),
        ("used", untold if nothing_told else f"{size(facts.used_bytes)} of {size(limit)}"),
        ("last push", _last_push(facts) if facts.last_push or facts.repositories == 0 else untold),
        *((key, _word(value)) for key, value in project.settings.items() if key != _LIMIT),
    ]
    for member in sorted(members or (), key=lambda one: (admin.roles.index(one.role), one.principal)):
        lines.append((member.role.value, str(member.principal)))
    for robot in robots or ():
        ends = (
            "switched off"
            if robot.disabled
            else f"expires {day(robot.expires_at)}"
            if robot.expires_at
            else "never expires"
        )
        lines.append(("robot", f"{robot.login} {short_rights(robot.rights)} {ends}"))
    if members is None:
        lines.append(("members", "not shown to you"))
    if robots is None:
        lines.append(("robots", "not shown to you" if admin.robots else untold))
    return table(("what", "value"), lines)


def _last_push(facts: ProjectFacts) -> str:
    if facts.last_push is None:
        return "never" if facts.repositories == 0 else "unknown"
    return day(facts.last_push)


def _if_shown(read: Callable[[], Sequence[Any]]) -> Sequence[Any] | None:
    """Returns what is read, or None where it is not for us to see or this Harbor has none."""
    try:
        return read()
    except (AccessError, UnsupportedError):
        return None


def _check_known(wanted: Mapping[str, bool | str | int], admin: Administration) -> None:
    unknown = [key for key in wanted if key not in admin.settings]
    if unknown:
        raise UnsupportedError(
            f"{admin.dialect} {admin.version} has no setting {', '.join(unknown)}",
            hint=f"it has {', '.join(admin.settings)}{admin.needs(*unknown)}",
        )


def _visibility(project: Project) -> str:
    return "public" if project.settings.get("public") else "private"


def _limit(project: Project) -> int | None:
    value = project.settings.get(_LIMIT)
    return int(value) if value is not None else None


def _written(settings: Mapping[str, bool | str | int]) -> str:
    return " ".join(f"{key}={_word(value)}" for key, value in settings.items())


def _word(value: bool | str | int) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _count(number: int | None, one: str, many: str) -> str:
    return f"an unknown number of {many}" if number is None else f"{number} {one if number == 1 else many}"


def _truth(key: str, text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise UsageError(f"{key}={text[:40]}: must be true or false", hint=f"write {key}=true or {key}=false")
    return text.lower() == "true"


def _bytes(key: str, text: str) -> int:
    if text in ("-1", "unlimited"):
        return -1
    found = re.fullmatch(r"([0-9]{1,18}) ?(?:([kmgt]?)i?b?)", text.lower())
    if found is None:
        raise UsageError(f"{key}={text[:40]}: not a size", hint=f"write {key}=10GiB, or {key}=unlimited")
    return int(found[1]) * _UNITS[found[2]]
