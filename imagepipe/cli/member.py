"""`imagepipe member list|add|set|remove`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from imagepipe.cli.administration import (
    Force,
    Group,
    MemberName,
    ProjectName,
    Yes,
    complete_roles,
    find,
    open_harbor,
    principal_of,
    protect,
)
from imagepipe.cli.command import command
from imagepipe.cli.project import member_document
from imagepipe.cli.session import Session
from imagepipe.cli.tables import table
from imagepipe.errors import InputError, NotFoundError, RefusedError, UnsupportedError, UsageError

if TYPE_CHECKING:
    from imagepipe.model.access import Member, Principal, Project, Role
    from imagepipe.ports.administration import Administration

__all__ = ["register"]

RoleName = Annotated[
    str,
    typer.Option(
        "--role",
        help="projectAdmin, maintainer, developer, guest or limitedGuest.",
        show_default=False,
        autocompletion=complete_roles,
    ),
]


def register(app: typer.Typer) -> None:
    """Adds the commands of this module."""
    member = typer.Typer(help="Members of a project and their roles.", no_args_is_help=True)
    command(member, "list")(list_members)
    command(member, "add")(add)
    command(member, "set")(set_)
    command(member, "remove")(remove)
    app.add_typer(member, name="member")


def list_members(session: Session, project: ProjectName) -> None:
    """List members, users and groups, with their roles."""
    admin = open_harbor(session)
    found = admin.membership.list(find(project, admin))
    document = {
        "schema": "imagepipe.member-list/v1",
        "project": project,
        "members": [member_document(one) for one in found],
    }
    rows = [(one.principal.name, one.principal.kind.value, one.role.value) for one in found]
    session.answer(document, table(("name", "kind", "role"), rows))


def add(
    session: Session, project: ProjectName, name: MemberName, role: RoleName, group: Group = False, yes: Yes = False
) -> None:
    """Add a user or a group.

    One who is there already with that role is fine.
    """
    admin = open_harbor(session)
    wanted, who = _role(role, admin), principal_of(name, group=group)
    found = find(project, admin)
    there = _held(found, who, admin)
    if there is not None and there.role is not wanted:
        raise RefusedError(
            f"{there.principal} is {there.role} of {project} already",
            hint=f"use `imagepipe member set` to make it {wanted}",
        )
    if there is None:
        session.say(f"+ {project}: {who} as {wanted}")
        session.confirm(f"Add {who} to {project} as {wanted}?", yes=yes)
    _answer(session, "add", found, there or admin.membership.add(found, who, wanted), changed=there is None)


def set_(
    session: Session,
    project: ProjectName,
    name: MemberName,
    role: RoleName,
    group: Group = False,
    force: Force = False,
    yes: Yes = False,
) -> None:
    """Give a member another role."""
    from imagepipe.access.changes import set_role
    from imagepipe.model.access import Role

    admin = open_harbor(session)
    wanted = _role(role, admin)
    found = find(project, admin)
    there = _member(found, principal_of(name, group=group), admin)
    changed = there.role is not wanted
    if changed:
        if there.role is Role.PROJECT_ADMIN:
            protect(found, there, admin, force=force)
        session.say(f"~ {project}: {there.principal}: {there.role} -> {wanted}")
        session.confirm(f"Make {there.principal} {wanted} of {project}?", yes=yes)
        there = set_role(found, there, wanted, admin)
    _answer(session, "set", found, there, changed=changed)


def remove(
    session: Session,
    project: ProjectName,
    name: MemberName,
    group: Group = False,
    force: Force = False,
    yes: Yes = False,
) -> None:
    """Remove a member."""
    from imagepipe.access.changes import remove_member

    admin = open_harbor(session)
    found = find(project, admin)
    there = _member(found, principal_of(name, group=group), admin)
    protect(found, there, admin, force=force)
    session.say(f"- {project}: {there.principal} ({there.role})")
    session.confirm(f"Remove {there.principal} from {project}?", yes=yes)
    remove_member(found, there, admin)
    _answer(session, "remove", found, there, changed=True)


def _answer(session: Session, what: str, project: Project, member: Member, *, changed: bool) -> None:
    if not changed:
        session.say("nothing to change")
    document = {
        "schema": f"imagepipe.member-{what}/v1",
        "project": project.name,
        "changed": changed,
        "member": member_document(member),
    }
    row = (member.principal.name, member.principal.kind.value, member.role.value)
    session.answer(document, table(("name", "kind", "role"), [row]) if what != "remove" else "")


def _role(text: str, admin: Administration) -> Role:
    """Returns the role of that name, once this Harbor has it.

    Raises:
        UsageError: There is no such role.
        UnsupportedError: There is, but not here.
    """
    from imagepipe.model.access import Role
    from imagepipe.problems import did_you_mean

    try:
        role = Role.parse(text)
    except InputError as error:
        raise UsageError(f"{error.message}{did_you_mean(text, map(str, Role))}", hint=error.hint) from error
    if role not in admin.roles:
        raise UnsupportedError(
            f"{admin.dialect} {admin.version} has no role {role}",
            hint=f"use one of {', '.join(admin.roles)}{admin.needs(role)}",
        )
    return role


def _held(project: Project, who: Principal, admin: Administration) -> Member | None:
    from imagepipe.access.changes import find_member

    return find_member(admin.membership.list(project), who, folds=admin.folds)


def _member(project: Project, who: Principal, admin: Administration) -> Member:
    from imagepipe.problems import did_you_mean

    found = _held(project, who, admin)
    if found is None:
        near = did_you_mean(str(who), (str(one.principal) for one in admin.membership.list(project)))
        raise NotFoundError(
            f"{who} is no member of {project.name}{near}", hint=f"see `imagepipe member list {project.name}`"
        )
    return found
