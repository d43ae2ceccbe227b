"""What can be known about a push or a pull before it is tried, gathered from one Harbor.

>>> str(Image("es-sandbox", "team/web", "1.0"))
'es-sandbox/team/web:1.0'
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from imagepipe.access.changes import find_member
from imagepipe.access.read import find_project
from imagepipe.errors import AccessError, NotFoundError, PermissionRefusedError, UnsupportedError
from imagepipe.model.access import (
    ArtifactState,
    Member,
    Principal,
    PrincipalKind,
    Project,
    Right,
    Robot,
    Role,
)
from imagepipe.ports.administration import Administration

__all__ = ["Facts", "Image", "gather"]

_LONG_AGO: Final = datetime(1970, 1, 1, tzinfo=UTC)
# Source: goharbor/harbor v2.15.2 src/common/rbac/project/rbac_role.go, v1.7.8 src/common/security/local/context.go
_PUSHERS: Final = (Role.PROJECT_ADMIN, Role.MAINTAINER, Role.DEVELOPER)


@dataclass(frozen=True, slots=True)
class Image:
    """An image as Harbor sees it: project, repository in it, and tag or digest."""

    project: str
    repository: str
    reference: str

    def __str__(self) -> str:
        colon = "@" if self.reference.startswith("sha256:") else ":"
        return f"{self.project}/{self.repository}{colon}{self.reference}"


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known. None, and empty, where it cannot be.

    Attributes:
        image: What is pushed or pulled.
        push: Whether it is pushed.
        who: Whose push or pull it is.
        now: The time.
        refused: What Harbor says to our credentials when it does not take them, with `refused_hint`.
        project: The project, if it is there for us.
        hidden: Whether it is there, and not for us.
        near: Words about a project of a similar name.
        system_admin: Whether nothing is forbidden.
        is_robot: Whether it is a robot that asks.
        rights: What `who` may do.
        role: Its role, where that is shown.
        robot: The robot that it is.
        groups: The groups through which a user may be a member.
        used_bytes: Storage used by the project, of `limit_bytes`; -1: as much as there is.
        read_only: Whether Harbor takes no writes.
        artifact: What is stored by that name already.
        said: The words of a refusal; empty: nothing was tried.
    """

    image: Image
    push: bool
    who: str
    now: datetime = _LONG_AGO
    refused: str = ""
    refused_hint: str = ""
    project: Project | None = None
    hidden: bool = False
    near: str = ""
    system_admin: bool = False
    is_robot: bool = False
    rights: frozenset[Right] | None = None
    role: Role | None = None
    robot: Robot | None = None
    groups: tuple[str, ...] = ()
    used_bytes: int | None = None
    limit_bytes: int | None = None
    read_only: bool | None = None
    artifact: ArtifactState | None = None
    said: str = ""

    def setting(self, name: str) -> bool | str | int | None:
        """Returns a setting of the project, or None where it is not known."""
        return None if self.project is None else self.project.settings.get(name)


@dataclass(frozen=True, slots=True)
class _Who:
    system_admin: bool = False
    is_robot: bool = False
    rights: frozenset[Right] | None = None
    role: Role | None = None
    robot: Robot | None = None
    groups: tuple[str, ...] = ()
    name: str = ""


def gather(image: Image, admin: Administration, *, push: bool, who: str | None, now: datetime) -> Facts:
    """Returns what Harbor tells us about a push or pull.

    Args:
        image: What is pushed or pulled.
        admin: The Harbor.
        push: Whether it is pushed.
        who: A user, a robot's login or its short name; None: ourselves.
        now: The time.

    Raises:
        PermissionRefusedError: Others' rights are not for us to see.
    """
    caller = admin.callers.caller()
    try:
        project = find_project(image.project, admin)
    except NotFoundError as error:
        return Facts(
            image, push, who or caller.name, now, near=f" ({error.message})" if "mean" in error.message else ""
        )
    except PermissionRefusedError:
        return Facts(image, push, who or caller.name, now, hidden=True, is_robot=who is None and caller.kind == "robot")
    known = _ourselves(project, admin) if who in (None, caller.name) else _other(str(who), project, admin)
    obstacles = admin.obstacles
    try:
        held = admin.projects.facts(project) if push else None
    except AccessError:
        held = None
    return Facts(
        image,
        push,
        known.robot.login if known.robot else known.name or who or caller.name,
        now,
        project=project,
        system_admin=known.system_admin,
        is_robot=known.is_robot,
        rights=known.rights,
        role=known.role,
        robot=known.robot,
        groups=known.groups,
        used_bytes=held.used_bytes if held else None,
        limit_bytes=held.limit_bytes if held else None,
        read_only=obstacles.read_only() if obstacles else None,
        artifact=obstacles.artifact(project, image.repository, image.reference) if obstacles else None,
    )


def _ourselves(project: Project, admin: Administration) -> _Who:
    caller = admin.callers.caller()
    members, robots = _members(project, admin), _robots(project, admin)
    there = find_member(members, Principal(PrincipalKind.USER, caller.name), folds=admin.folds)
    return _Who(
        system_admin=caller.system_admin,
        is_robot=caller.kind == "robot",
        rights=admin.callers.rights(project),
        role=there.role if there else None,
        robot=next((robot for robot in robots if robot.login == caller.name), None),
        groups=_groups(members),
    )


def _other(who: str, project: Project, admin: Administration) -> _Who:
    for robot in _robots(project, admin):
        if who in (robot.login, robot.name):
            return _Who(is_robot=True, rights=robot.rights, robot=robot)
    members = admin.membership.list(project)
    there = find_member(members, Principal.parse(who), folds=admin.folds) or _in_any_domain(who, members)
    pull = Right("repository", "pull")
    if there is not None:
        push = {Right("repository", "push")} if there.role in _PUSHERS else set()
        return _Who(rights=frozenset({pull} | push), role=there.role, name=str(there.principal))
    public = project.settings.get("public") is True
    return _Who(rights=frozenset({pull} if public else ()), groups=_groups(members))


def _in_any_domain(who: str, members: tuple[Member, ...]) -> Member | None:
    """Returns the only user of that name, whatever the domain: single sign-on writes dana@vsphere.local."""
    found = [
        one
        for one in members
        if one.principal.kind is PrincipalKind.USER and one.principal.name.partition("@")[0] == who
    ]
    return found[0] if len(found) == 1 else None


def _members(project: Project, admin: Administration) -> tuple[Member, ...]:
    try:
        return admin.membership.list(project)
    except AccessError:
        return ()


def _robots(project: Project, admin: Administration) -> tuple[Robot, ...]:
    try:
        return admin.robots.list(project) if admin.robots is not None else ()
    except (AccessError, UnsupportedError):
        return ()


def _groups(members: tuple[Member, ...]) -> tuple[str, ...]:
    return tuple(str(one.principal) for one in members if one.principal.kind is PrincipalKind.GROUP)
