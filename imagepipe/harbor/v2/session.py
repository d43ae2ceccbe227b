"""What all parts of one Harbor 2.x share: the client, the version, and who we are."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final, Self
from urllib.parse import quote

from imagepipe.errors import CredentialsError, NotFoundError, PermissionRefusedError, UnsupportedError
from imagepipe.harbor.client import Call, HarborClient, decoded
from imagepipe.harbor.connection import Connection
from imagepipe.harbor.detect import HARBOR_2, clean_version, detect, system_info
from imagepipe.harbor.features import Gate
from imagepipe.harbor.paging import Listing, every
from imagepipe.harbor.wire import WireProject, WireUser, parse
from imagepipe.model.access import Caller, Project

__all__ = ["LacksRightError", "Session", "encoded_repository", "open_session", "project_path"]

_OIDC_HINT: Final = "use a robot or a local administrator: the CLI secret of an OIDC user cannot administer"
# Source: Harbor v2.15.2 src/server/middleware/security/robot.go: neither is told from a wrong secret.
_ROBOT_HINT: Final = (
    "check user name and password; a robot that has expired or is switched off is answered the same: "
    "let an admin look with `imagepipe robot list`, and rotate it"
)


class LacksRightError(PermissionRefusedError):
    """A 403 that has been looked into: the project exists."""


@dataclass(frozen=True, slots=True)
class Session:
    """One Harbor 2.x and who we are there.

    Attributes:
        client: Asks it.
        gate: What its version can do.
        auth_mode: Where its users live.
        caller: Who we are.
    """

    client: HarborClient = field(repr=False)
    gate: Gate
    auth_mode: str
    caller: Caller

    @classmethod
    def open(cls, client: HarborClient, auth_mode: str, username: str) -> Self:
        """Returns a session once Harbor has said that it knows us.

        Raises:
            CredentialsError: It does not.
        """
        try:
            caller = whoami(client, username)
        except CredentialsError as error:
            raise CredentialsError(
                f"{error.message}: as {username}", hint=_hint(auth_mode, username) or error.hint
            ) from error
        info = system_info(client) or {}
        version = clean_version(str(info.get("harbor_version") or "")) or "unknown"
        return cls(client, Gate(version), auth_mode, caller)

    def exists(self, name: str) -> bool:
        """Tells whether a project of that name exists, be it hidden from us or not.

        Source: Harbor v2.15.2 src/server/v2.0/handler/project.go (HeadProject): every caller is told the truth.
        """
        call = Call("HEAD", "/projects", f"look for project {name}", {"project_name": name}, accept=(404,))
        return self.client.call(call).is_success

    @contextmanager
    def inside(self, name: str) -> Iterator[None]:
        """Tells a project that is not there from one that we may not use: Harbor answers 403 for both.

        Raises:
            NotFoundError: There is no such project.
            PermissionRefusedError: There is, and we lack a right in it.
        """
        try:
            yield
        except LacksRightError:
            raise
        except PermissionRefusedError as error:
            if not self.exists(name):
                raise NotFoundError(f"{error.message}: there is no project {name}", hint="list the projects") from error
            raise LacksRightError(
                f"{error.message}: project {name} exists, and {self.caller.name} lacks the right",
                hint=f"ask an admin of project {name} for the right, or use another account",
            ) from error

    def project_id(self, project: Project) -> int:
        """Returns a project's number, asking for it when the handle does not tell."""
        if project.handle.isdecimal():
            return int(project.handle)
        return self.wire_project(project.name, f"look up project {project.name}").project_id

    def wire_project(self, name: str, what: str) -> WireProject:
        """Returns a project as Harbor describes it.

        Raises:
            NotFoundError: There is none.
            PermissionRefusedError: It is hidden from us.
        """
        with self.inside(name):
            if not self.gate.has("path:"):
                return self._searched(name, what)
            return parse(WireProject, self.client.json(Call("GET", project_path(name), what)), what)

    def path(self, project: Project, *rest: str | int) -> str:
        """Returns the path of something in a project, in which older Harbors take its number only."""
        if self.gate.has(f"path:{rest[0] if rest else ''}"):
            return project_path(project.name, *rest)
        return project_path(str(self.project_id(project)), *rest)

    def _searched(self, name: str, what: str) -> WireProject:
        """Returns a project by its name, where that can be searched for only."""
        listing = Listing("/projects", what, {"name": name}, "project_id", open_to_all=True)
        found = next((row for row in every(self.client, listing) if row.get("name") == name), None)
        if found is None:
            raise PermissionRefusedError(what)
        return parse(WireProject, found, what)


def open_session(connection: Connection, dialect: str | None, what: str, *, instead: str) -> Session:
    """Returns a session for what only a Harbor 2.x can do.

    Args:
        connection: How Harbor is reached.
        dialect: Take it for this one; None: find out.
        what: What it shall do, for messages.
        instead: What to do where this is no Harbor 2.x.

    Raises:
        CredentialsError: There are no credentials, or Harbor does not know us.
        UnsupportedError: It is none.
    """
    if connection.credential is None:
        raise CredentialsError(
            f"{what}: no user name and password", hint="set harbor.username and harbor.password_file"
        )
    found = detect(connection, dialect=dialect)
    if found.dialect != HARBOR_2:
        said = f"{found.dialect} {found.version}".rstrip()
        raise UnsupportedError(f"{what}: this is {said}, and only Harbor 2.x can", hint=instead)
    return Session.open(connection.client("/api/v2.0"), found.auth_mode, connection.credential.username)


def whoami(client: HarborClient, username: str) -> Caller:
    """Returns whom Harbor takes us for; a robot is told by its 412.

    Raises:
        CredentialsError: Harbor does not know us.
    """
    response = client.prove()
    if response.status_code == 412:
        return Caller(username, "robot")
    what = "log in to Harbor"
    user = parse(WireUser, decoded(response, what), what)
    return Caller(user.username, "user", user.sysadmin_flag or user.admin_role_in_auth)


def _hint(auth_mode: str, username: str) -> str | None:
    """Returns what to try when Harbor does not know us; None where nothing is known of the name."""
    # The prefix may be another one, and a user's name may hold a plus sign: so the hint names both causes.
    if username.startswith("robot$") or "+" in username:
        return _ROBOT_HINT
    return _OIDC_HINT if auth_mode == "oidc_auth" else None


def project_path(name: str, *rest: str | int) -> str:
    """Returns the path of something in a project; names are encoded, so that none can climb out of it."""
    return "/".join(("/projects", quote(name, safe=""), *map(str, rest)))


def encoded_repository(name: str) -> str:
    """Returns a repository's name below its project as a path segment: Harbor decodes it twice.

    >>> encoded_repository("team/app")
    'team%252Fapp'
    """
    return quote(quote(name, safe=""), safe="") if "/" in name else quote(name, safe="")
