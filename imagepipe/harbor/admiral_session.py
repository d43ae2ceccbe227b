"""What all parts of one Admiral share: the client, who we are, and a project as it stands in its list."""

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Final, Self
from urllib.parse import quote

from pydantic import BeforeValidator, Field

from imagepipe.errors import NotFoundError, UnavailableError
from imagepipe.harbor.admiral_client import AdmiralClient
from imagepipe.harbor.client import Call, decoded
from imagepipe.harbor.wire import Foreign, Items, Texts, parse
from imagepipe.model.access import Caller, PrincipalKind, Role

__all__ = ["LISTS", "Session", "WireProject", "WireSession", "whoami"]

# Source: vmware/admiral vic_v1.5.6 auth/idm/AuthRole.java, goharbor/harbor v1.7.8 common/security/admiral/authcontext
LISTS: Final[Mapping[Role, str]] = {
    Role.PROJECT_ADMIN: "administrators",
    Role.DEVELOPER: "members",
    Role.GUEST: "viewers",
}
ROLE_WORDS: Final[Mapping[str, Role]] = {
    "PROJECT_ADMIN": Role.PROJECT_ADMIN,
    "PROJECT_MEMBER": Role.DEVELOPER,
    "PROJECT_VIEWER": Role.GUEST,
}
_CLOUD_ADMIN: Final = "CLOUD_ADMIN"


class _Entry(Foreign):
    id: str = ""


_Entries = Annotated[tuple[_Entry, ...], BeforeValidator(lambda value: [each for each in value or () if each])]


class WireProject(Foreign):
    """A project as Admiral lists it: of principals the ids only, those too whom single sign-on has forgotten."""

    link: str = Field(alias="documentSelfLink")
    name: str
    public: bool = Field(default=False, alias="isPublic")
    properties: Texts = Field(default_factory=dict, alias="customProperties")
    administrators: _Entries = ()
    members: _Entries = ()
    viewers: _Entries = ()
    administrator_groups: Items[str] = Field(default=(), alias="administratorsUserGroupLinks")
    member_groups: Items[str] = Field(default=(), alias="membersUserGroupLinks")
    viewer_groups: Items[str] = Field(default=(), alias="viewersUserGroupLinks")
    repositories: Items[str] = ()

    def held(self, where: str) -> tuple[str, ...]:
        """Returns the ids in one list."""
        entries: tuple[_Entry, ...] = getattr(self, where)
        return tuple(entry.id for entry in entries if entry.id)

    def kind(self, principal: str) -> PrincipalKind:
        """Returns whether an id is a group's: a group stands in the links, encoded."""
        links = (*self.administrator_groups, *self.member_groups, *self.viewer_groups)
        groups = {_id_of(link.rpartition("/")[2]) for link in links}
        return PrincipalKind.GROUP if principal in groups else PrincipalKind.USER


class _WireRoles(Foreign):
    link: str = Field(default="", alias="documentSelfLink")
    name: str = ""
    roles: Items[str] = ()


class WireSession(Foreign):
    """A SecurityContext."""

    id: str
    roles: Items[str] = ()
    projects: Items[_WireRoles] = ()


@dataclass(frozen=True, slots=True)
class Session:
    """One Admiral and who we are there.

    Attributes:
        client: Asks it.
        version: The version of the Harbor beside it.
        caller: Who we are.
    """

    client: AdmiralClient = field(repr=False)
    version: str
    caller: Caller

    @classmethod
    def open(cls, client: AdmiralClient, version: str) -> Self:
        """Returns a session once Admiral has said that it knows us.

        Raises:
            CredentialsError: It does not.
        """
        return cls(client, version, whoami(session_of(client)))

    def projects(self, what: str, condition: str = "") -> tuple[WireProject, ...]:
        """Returns the projects in which we have a role, or all for a cloud administrator.

        Args:
            what: What we are doing.
            condition: An OData filter.
        """
        query = f"&$filter={quote(condition, safe='')}" if condition else ""
        found = decoded(self.client.call(Call("GET", f"/projects?expand=true{query}", what)), what)
        if not isinstance(found, dict):
            raise UnavailableError(f"{what}: the answer is no list of projects", hint="check Admiral's address")
        return tuple(parse(WireProject, row, what) for row in (found.get("documents") or {}).values())

    def find(self, name: str, what: str) -> WireProject | None:
        """Returns a project by its exact name, or None where we see none of that name."""
        rows = self.projects(what, f"name eq '{_quoted(name)}'")
        return next((wire for wire in rows if wire.name == name), None)

    def require(self, name: str, what: str) -> WireProject:
        """Returns a project.

        Raises:
            NotFoundError: We see none of that name; Admiral does not tell whether there is one.
        """
        found = self.find(name, what)
        if found is None:
            raise NotFoundError(
                f"{what}: {self.caller.name} sees no project {name}",
                hint="list the projects, or ask an admin of the project for a role",
            )
        return found


def session_of(client: AdmiralClient) -> WireSession:
    """Returns who we are, asked anew."""
    what = "log in to Admiral"
    return parse(WireSession, decoded(client.prove(), what), what)


def whoami(session: WireSession) -> Caller:
    """Returns whom Admiral takes us for."""
    return Caller(session.id, "user", _CLOUD_ADMIN in session.roles)


def _quoted(value: str) -> str:
    # Admiral decodes a value once more than the query. Source: vmware/admiral vic_v1.5.6 ui document.service.ts
    return value.replace("%", "%25").replace("'", "%27")


def _id_of(segment: str) -> str:
    """Returns the id in a link: base64url of ids with a domain."""
    try:
        raw: Any = base64.b64decode(segment, altchars=b"-_", validate=True).decode()
    except (binascii.Error, UnicodeDecodeError, ValueError):
        return segment
    return str(raw) if "@" in raw else segment
