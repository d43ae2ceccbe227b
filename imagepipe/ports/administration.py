"""The seams of Harbor's administration: each dialect offers what it can, and says by name what it cannot.

>>> from imagepipe.ports.administration import Membership
>>> Membership.__name__
'Membership'
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from imagepipe.errors import UnsupportedError
from imagepipe.model.access import (
    ArtifactState,
    AuditEntry,
    Caller,
    Member,
    Principal,
    Project,
    ProjectFacts,
    Right,
    Robot,
    RobotRequest,
    RobotSecret,
    Role,
)

__all__ = ["Administration", "AuditLog", "Callers", "Membership", "Obstacles", "Projects", "Robots"]


class Callers(Protocol):
    """Who we are, and what we may."""

    def caller(self) -> Caller:
        """Returns whom Harbor takes us for; wrong credentials are silently anonymous, so this is asked first.

        Raises:
            CredentialsError: Harbor does not know us.
        """
        ...

    def rights(self, project: Project) -> frozenset[Right]:
        """Returns what we may do in a project."""
        ...


class Projects(Protocol):
    """Projects and their settings."""

    def list(self, *, name: str | None = None) -> Iterator[Project]:
        """Yields every project that we may see, each once, complete while the list changes; `name`: only that one."""
        ...

    def create(self, name: str, settings: Mapping[str, bool | str | int]) -> Project:
        """Makes a project and returns it as read back.

        Raises:
            RefusedError: It exists, or its name is not allowed.
            UnsupportedError: A setting that this dialect does not know.
        """
        ...

    def change(self, project: Project, settings: Mapping[str, bool | str | int]) -> Project:
        """Changes these settings only and returns the project as read back."""
        ...

    def delete(self, project: Project) -> None:
        """Deletes an empty project.

        Raises:
            RefusedError: It holds repositories; the message says how many.
        """
        ...

    def facts(self, project: Project) -> ProjectFacts:
        """Returns what the project holds."""
        ...


class Membership(Protocol):
    """Who is a member of a project; every write is read back."""

    def list(self, project: Project) -> tuple[Member, ...]:
        """Returns all members, users and groups."""
        ...

    def add(self, project: Project, principal: Principal, role: Role) -> Member:
        """Adds a member and returns it as read back; one who is there already with that role is success.

        Raises:
            NotFoundError: Harbor does not know the principal; the hint says how it comes to.
            UnsupportedError: The dialect has no such role or kind.
        """
        ...

    def set_role(self, project: Project, member: Member, role: Role) -> Member:
        """Gives a member another role and returns it as read back.

        Raises:
            RefusedError: Its role is neither the one that is wanted nor the one that `member` tells: it was changed.
        """
        ...

    def remove(self, project: Project, member: Member) -> None:
        """Removes a member; returns once it is gone.

        Raises:
            RefusedError: Its role is not the one that `member` tells: it was changed.
        """
        ...


class Robots(Protocol):
    """Robot accounts."""

    def list(self, project: Project | None) -> tuple[Robot, ...]:
        """Returns a project's robots, or those of the whole Harbor."""
        ...

    def create(self, request: RobotRequest, project: Project | None) -> RobotSecret:
        """Makes a robot and returns its secret, which nobody can ask for again.

        Raises:
            RefusedError: The name is taken or not allowed, or a right cannot be granted.
        """
        ...

    def disable(self, robot: Robot) -> None:
        """Switches a robot off.

        Raises:
            PermissionRefusedError: A robot can never change a robot.
        """
        ...

    def describe(self, robot: Robot, edit: Callable[[str], str]) -> None:
        """Gives a robot the description that `edit` makes of what it is now; nothing else of it changes.

        Law: `edit(edit(text)) == edit(text)`, for what was written may have to be written again.

        Raises:
            NotFoundError: There is no such robot.
            PermissionRefusedError: A robot can never change a robot.
        """
        ...

    def delete(self, robot: Robot) -> None:
        """Deletes a robot; returns once it is gone."""
        ...


class AuditLog(Protocol):
    """What was done in a project."""

    def entries(self, project: Project, *, since: datetime | None = None) -> Iterator[AuditEntry]:
        """Yields entries, newest first, back to `since`."""
        ...


class Obstacles(Protocol):
    """What stops a push or a pull besides missing rights."""

    def read_only(self) -> bool | None:
        """Tells whether Harbor takes no writes at all; None: it does not say."""
        ...

    def artifact(self, project: Project, repository: str, reference: str) -> ArtifactState | None:
        """Returns the state of an image; None: there is none, or it is not shown to us.

        Args:
            project: Its project.
            repository: Its repository, without the project.
            reference: A tag or digest.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Administration:
    """One Harbor's administration: what its dialect can do, and None for what it cannot.

    Attributes:
        dialect: `harbor-2`, `harbor-1` or `admiral`.
        version: `2.15.2`, as Harbor says it.
        roles: The roles that this dialect knows.
        settings: The project settings that this dialect knows.
        since: The version of Harbor that first had a role or setting, where not all have it.
        folds: Whether names of members that differ in case only are the same to it, as to directories: it takes `Dana`
            and lists `dana`.
    """

    dialect: str
    version: str
    roles: tuple[Role, ...]
    settings: tuple[str, ...]
    callers: Callers
    projects: Projects
    membership: Membership
    robots: Robots | None
    audit: AuditLog | None
    obstacles: Obstacles | None = None
    since: Mapping[str, str] = field(default_factory=dict)
    folds: bool = False

    def needs(self, *names: str) -> str:
        """Returns what a hint says of roles and settings that this Harbor has not: `; it needs Harbor ≥ 2.5`."""
        versions = [self.since[name] for name in names if name in self.since]
        return "".join(f"; it needs Harbor ≥ {version}" for version in dict.fromkeys(versions))

    def require_robots(self) -> Robots:
        """Returns the robots.

        Raises:
            UnsupportedError: This Harbor has none, or tokens of its own kind, as from 1.8 to 2.1.
        """
        if self.robots is None:
            raise UnsupportedError(
                f"robot accounts: need Harbor ≥ 2.2, this is {self.dialect} {self.version}",
                hint="use a user with the developer role instead, or a Harbor from 2.2 on",
            )
        return self.robots

    def require_audit(self) -> AuditLog:
        """Returns the audit log.

        Raises:
            UnsupportedError: This Harbor shows none.
        """
        if self.audit is None:
            raise UnsupportedError(
                f"audit log: {self.dialect} {self.version} does not show one here",
                hint="look in the management portal",
            )
        return self.audit
