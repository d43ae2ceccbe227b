"""Why Harbor refuses a call of its administration to us, and who can end that.

>>> explain_call.__name__
'explain_call'
"""

import shlex
from typing import Final

from imagepipe.access.changes import find_member
from imagepipe.access.explain import Cause
from imagepipe.access.read import find_project
from imagepipe.errors import AccessError, NotFoundError, PermissionRefusedError
from imagepipe.model.access import Member, Principal, PrincipalKind, Project, Right, Role
from imagepipe.ports.administration import Administration

__all__ = ["explain_call"]

_NAMES: Final = 3  # enough people to ask


def explain_call(project: str, admin: Administration, *, reading: bool) -> Cause | None:
    """Returns why a call about a project was refused to us; None where our role there is not the reason.

    Members read, and only a projectAdmin changes anything. Source: Harbor v2.15.2 src/common/rbac/project/rbac_role.go

    Args:
        project: The project's name.
        admin: The Harbor.
        reading: Whether nothing was to be changed.

    Raises:
        ImagepipeError: Harbor does not say.
    """
    caller = admin.callers.caller()
    try:
        found = find_project(project, admin)
    except NotFoundError:
        return None
    except PermissionRefusedError:
        found = None
    if caller.kind == "robot":
        held = ", ".join(map(str, sorted(admin.callers.rights(found)))) if found else ""
        message = f"robot {caller.name} may do this in {project}: {held or 'nothing that it could see'}"
        return Cause("robot_rights", message, "make another robot with the right, or use a user's account")
    members = _members(found, admin) if found else ()
    needed = Role.GUEST if reading else Role.PROJECT_ADMIN
    admins = [str(one.principal) for one in members if one.role is Role.PROJECT_ADMIN]
    who = f"; its admins are {', '.join(admins[:_NAMES])}" if admins else ""
    there = find_member(members, Principal(PrincipalKind.USER, caller.name), folds=admin.folds)
    fix = f"{project} {shlex.quote(caller.name)} --role {needed}"
    if there is not None:
        message = f"{caller.name} is {there.role} of {project}, and this takes a {needed}{who}"
        enough = there.role is Role.PROJECT_ADMIN or (reading and there.role is not Role.LIMITED_GUEST)
        return None if enough else Cause("role", message, f"imagepipe member set {fix}")
    if caller.system_admin or (found and Right("member", "create") in admin.callers.rights(found)):
        return None
    return Cause("no_member", f"{caller.name} is no member of {project} by name{who}", f"imagepipe member add {fix}")


def _members(project: Project, admin: Administration) -> tuple[Member, ...]:
    try:
        return admin.membership.list(project)
    except AccessError:
        return ()
