"""Who we are at a Harbor 1.x and what we may, reckoned from our role: it cannot be asked."""

from collections.abc import Mapping
from typing import Final

from imagepipe.harbor.v1_session import Session1, whoami
from imagepipe.model.access import Caller, Project, Right, Role

__all__ = ["Callers1", "rights_of"]


def _rights(*texts: str) -> frozenset[Right]:
    return frozenset(map(Right.parse, texts))


# Source: goharbor/harbor v1.7.8 src/common/security/local/context.go (read, write, all), by Harbor 2's names of rights
_READ: Final = _rights(
    "project:read", "metadata:read", "repository:pull", "repository:list", "repository:read", "artifact:read",
    "artifact:list", "tag:list", "scan:read",
)  # fmt: skip
_MEMBER: Final = _READ | _rights("member:read", "member:list", "log:list")
_WRITE: Final = _MEMBER | _rights("repository:push", "repository:update", "artifact:create", "tag:create")
_DELETE: Final = _WRITE | _rights("repository:delete", "artifact:delete", "tag:delete", "scan:create")
_ALL: Final = _DELETE | _rights(
    "project:update", "project:delete", "metadata:create", "metadata:update", "metadata:delete", "member:create",
    "member:update", "member:delete",
)  # fmt: skip
_BY_ROLE: Final[Mapping[Role, frozenset[Right]]] = {
    Role.PROJECT_ADMIN: _ALL,
    Role.MAINTAINER: _DELETE,
    Role.DEVELOPER: _WRITE,
    Role.GUEST: _MEMBER,
    Role.LIMITED_GUEST: _READ,
}


def rights_of(role: Role | None, *, system_admin: bool, public: bool) -> frozenset[Right]:
    """Returns what a role may do in a project; without one, what everybody may in a public one."""
    if system_admin:
        return _ALL
    if role is not None:
        return _BY_ROLE[role]
    return _READ if public else frozenset()


class Callers1:
    """Keeps `ports.administration.Callers`."""

    def __init__(self, session: Session1) -> None:
        self._session = session

    def caller(self) -> Caller:
        """Returns whom Harbor takes us for, asked anew."""
        return whoami(self._session.client)

    def rights(self, project: Project) -> frozenset[Right]:
        """Returns what our role in the project lets us do."""
        what = f"ask what {self._session.caller.name} may do in project {project.name}"
        wire = self._session.wire_project(project.name, what)
        number = wire.current_user_role_id
        role = Role.of_harbor_id(number) if number else None
        public = wire.metadata.get("public") == "true"
        return rights_of(role, system_admin=self._session.caller.system_admin, public=public)
