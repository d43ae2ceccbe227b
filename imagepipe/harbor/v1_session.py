"""What all parts of one Harbor 1.x share: the client, the version, who we are, and how a name becomes a number."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final, Self

from pydantic import Field

from imagepipe.errors import CredentialsError, NotFoundError, PermissionRefusedError, UnsupportedError
from imagepipe.harbor.client import Call, HarborClient, decoded
from imagepipe.harbor.features import release
from imagepipe.harbor.paging import Listing, every
from imagepipe.harbor.wire import Foreign, Texts, parse
from imagepipe.model.access import Caller, Project, Role

__all__ = ["Session1", "WireProject1", "project_path"]

# Source: goharbor/harbor v1.7.0, v1.8.0, v1.10.0 src/common/const.go
_ROLES_SINCE: Final[Mapping[Role, tuple[int, int]]] = {
    Role.PROJECT_ADMIN: (1, 0),
    Role.DEVELOPER: (1, 0),
    Role.GUEST: (1, 0),
    Role.MAINTAINER: (1, 8),  # called master
    Role.LIMITED_GUEST: (1, 10),
}


class WireProject1(Foreign):
    """A Project of Harbor 1.x."""

    project_id: int
    name: str
    current_user_role_id: int = 0
    repo_count: int = 0
    metadata: Texts = Field(default_factory=dict)


class _WireUser1(Foreign):
    username: str
    has_admin_role: bool = False


class LacksRight1Error(PermissionRefusedError):
    """A 403 that has been told in words."""


@dataclass(frozen=True, slots=True)
class Session1:
    """One Harbor 1.x and who we are there.

    Attributes:
        client: Asks it.
        version: `1.7.8`.
        auth_mode: Where its users live.
        caller: Who we are.
    """

    client: HarborClient = field(repr=False)
    version: str
    auth_mode: str
    caller: Caller

    @classmethod
    def open(cls, client: HarborClient, version: str, auth_mode: str, username: str) -> Self:
        """Returns a session once Harbor has said that it knows us.

        Raises:
            CredentialsError: It does not.
        """
        try:
            caller = whoami(client)
        except CredentialsError as error:
            raise CredentialsError(f"{error.message}: as {username}", hint=error.hint) from error
        return cls(client, version or "unknown", auth_mode, caller)

    @property
    def roles(self) -> tuple[Role, ...]:
        """The roles that this version knows; one that hides its version knows what all know."""
        own = release(self.version) or (1, 0)
        return tuple(role for role in Role if own >= _ROLES_SINCE[role])

    def require_role(self, role: Role, what: str) -> None:
        """Lets pass a role that this version knows.

        Raises:
            UnsupportedError: It came later; the message says when.
        """
        if role not in self.roles:
            major, minor = _ROLES_SINCE[role]
            raise UnsupportedError(
                f"{what}: {role} needs Harbor ≥ {major}.{minor}, this is {self.version}",
                hint=f"use one of {', '.join(self.roles)}",
            )

    def exists(self, name: str) -> bool:
        """Tells whether a project of that name exists, be it hidden from us or not.

        Source: goharbor/harbor v1.7.8 src/core/api/project.go (Head): everybody is told the truth.
        """
        call = Call("HEAD", "/projects", f"look for project {name}", {"project_name": name}, accept=(404,))
        return self.client.call(call).is_success

    def projects(self, what: str, name: str = "") -> tuple[WireProject1, ...]:
        """Returns the projects that we may see; `name` is any part of theirs."""
        params: dict[str, str | int | bool] = {"name": name} if name else {}
        listing = Listing("/projects", what, params, "project_id", open_to_all=True)
        return tuple(parse(WireProject1, row, what) for row in every(self.client, listing))

    def wire_project(self, name: str, what: str) -> WireProject1:
        """Returns a project by its exact name, which Harbor 1.x itself can only search for.

        Raises:
            NotFoundError: There is none.
            PermissionRefusedError: It is hidden from us.
        """
        found = next((wire for wire in self.projects(what, name) if wire.name == name), None)
        if found is not None:
            return found
        if not self.exists(name):
            raise NotFoundError(f"{what}: there is no project {name}", hint="list the projects")
        raise self.lacks(name, what)

    def number(self, project: Project, what: str) -> int:
        """Returns a project's number, asking for it when the handle does not tell."""
        return int(project.handle) if project.handle.isdecimal() else self.wire_project(project.name, what).project_id

    def lacks(self, name: str, what: str) -> LacksRight1Error:
        """Returns the error of a project that is there, and not for us."""
        return LacksRight1Error(
            f"{what}: project {name} exists, and {self.caller.name} lacks the right",
            hint=f"ask an admin of project {name} for the right, or use another account",
        )

    @contextmanager
    def inside(self, name: str, what: str) -> Iterator[None]:
        """Says a 403 in words: Harbor 1.x answers with our own name and nothing else.

        Raises:
            PermissionRefusedError: We lack a right in the project.
        """
        try:
            yield
        except LacksRight1Error:
            raise
        except PermissionRefusedError as error:
            raise self.lacks(name, what) from error


def whoami(client: HarborClient) -> Caller:
    """Returns whom Harbor takes us for.

    Raises:
        CredentialsError: It does not know us.
    """
    what = "log in to Harbor"
    user = parse(_WireUser1, decoded(client.prove(), what), what)
    return Caller(user.username, "user", user.has_admin_role)


def project_path(number: int, *rest: Any) -> str:
    """Returns the path of something in a project, which Harbor 1.x knows by number only."""
    return "/".join(("/projects", str(number), *map(str, rest)))
