"""Who there is and what belongs to whom: the questions that Harbor asks its own database, or Admiral.

Source: goharbor/harbor v1.7.8 src/core/promgr, src/common/security/{local,admiral}/context.go.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

PROJECT_ADMIN: Final = 1
DEVELOPER: Final = 2
GUEST: Final = 3
MAINTAINER: Final = 4
LIMITED_GUEST: Final = 5
# Source: goharbor/harbor v1.7.8 src/common/models/role.go, src/core/api/projectmember.go (1..3 only).
ROLE_NAMES: Final = {PROJECT_ADMIN: "projectAdmin", DEVELOPER: "developer", GUEST: "guest"}
_LATER: Final = {(1, 8): {MAINTAINER: "master"}, (1, 10): {LIMITED_GUEST: "limitedGuest"}}
"""Roles by the version that brought them. Source: goharbor/harbor v1.8.0, v1.10.0 src/common/const.go."""


def role_names(release: tuple[int, int]) -> dict[int, str]:
    """Returns the roles that a version knows, by id."""
    known = dict(ROLE_NAMES)
    for since, names in _LATER.items():
        known |= names if release >= since else {}
    return known


@dataclass(frozen=True, slots=True)
class Project:
    """A project as Harbor sees it; `metadata` are texts.

    Attributes:
        broken: What keeps Harbor from reading it: then every call that needs it fails.
    """

    id: int
    name: str
    metadata: Mapping[str, str]
    row: Mapping[str, Any] = field(default_factory=dict, repr=False)
    broken: str = ""

    @property
    def public(self) -> bool:
        """Returns whether everybody may read it."""
        return self.metadata.get("public", "").lower() in {"true", "1"}


_WRITERS: Final = frozenset({PROJECT_ADMIN, DEVELOPER, MAINTAINER})


def no_roles(project_id: int) -> Sequence[int]:  # noqa: ARG001 - nobody has a role anywhere
    """Returns nothing."""
    return ()


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks; without a name, nobody.

    Attributes:
        name: The login name; with Admiral the principal's id.
        sysadmin: Whether everything is allowed.
        user_id: In Harbor's own database; 0 with Admiral.
        roles: The role ids held in a project.
        global_manager: Whether Harbor looks at projects with its own eyes instead of the caller's.
    """

    name: str = ""
    sysadmin: bool = False
    user_id: int = 0
    roles: Callable[[int], Sequence[int]] = field(default=no_roles, repr=False, compare=False)
    global_manager: bool = False

    def may_read(self, project: Project) -> bool:
        """Returns whether the caller may pull and look."""
        return project.public or self.sysadmin or bool(self.name and self.roles(project.id))

    def may_write(self, project: Project) -> bool:
        """Returns whether the caller may push."""
        return self.sysadmin or any(role in _WRITERS for role in self.roles(project.id))

    def may_look_inside(self, project: Project) -> bool:
        """Returns whether the caller may see the members and the log.

        Source: docs of Harbor 1.10, "Managing users": a limited guest sees neither logs nor other members.
        """
        return self.may_read(project) and (self.sysadmin or set(self.roles(project.id)) != {LIMITED_GUEST})

    def may_all(self, project: Project) -> bool:
        """Returns whether the caller may change the project."""
        return self.sysadmin or PROJECT_ADMIN in self.roles(project.id)


NOBODY: Final = Caller()


class Directory(Protocol):
    """Where users and projects live."""

    async def enter(self, name: str, password: str) -> Caller | None:
        """Returns who has this name and password."""
        ...

    def holder(self, token: str) -> Caller | None:
        """Returns who holds an Admiral token; stand-alone nobody does."""
        ...

    def project(self, key: str | int) -> Project | None:
        """Returns a project by name (str) or id (int)."""
        ...

    def projects(self, caller: Caller | None) -> list[Project]:
        """Returns what a caller sees, by name; None sees everything."""
        ...

    def create(self, caller: Caller, name: str, metadata: Mapping[str, str]) -> int:
        """Makes a project and returns its id."""
        ...
