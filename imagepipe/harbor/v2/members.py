"""Who belongs to a project of a Harbor 2.x; Harbor itself checks next to nothing.

Source: goharbor/harbor v2.15.2 src/server/v2.0/handler/member.go, src/controller/member/controller.go: PUT and DELETE
answer 200 for members that are not there, and PUT for roles that there are not.
"""

import re
from collections.abc import Mapping
from typing import Final

import httpx

from imagepipe.errors import InputError, NotFoundError, RefusedError, UnsupportedError
from imagepipe.harbor.change import Change
from imagepipe.harbor.client import Call
from imagepipe.harbor.paging import Listing, every
from imagepipe.harbor.v2.session import Session, project_path
from imagepipe.harbor.wire import WireMember, parse
from imagepipe.http.failure import words
from imagepipe.model.access import Member, Principal, PrincipalKind, Project, Role

__all__ = ["Membership2"]

_KINDS: Final = {"u": PrincipalKind.USER, "g": PrincipalKind.GROUP}
# Source: goharbor/harbor v2.15.2 src/common/const.go (LDAPGroupType, HTTPGroupType, OIDCGroupType)
_GROUP_TYPES: Final[Mapping[str, int]] = {"ldap_auth": 1, "http_auth": 2, "oidc_auth": 3}
_DN: Final = re.compile(r"\s*[A-Za-z][A-Za-z0-9-]*\s*=\s*((?:\\.|[^,\\])+)\s*(?:,|$)")
_UNKNOWN_USER: Final[Mapping[str, str]] = {
    "db_auth": "check the spelling, or ask a Harbor administrator to create the user",
    "ldap_auth": "check the spelling: the directory has no such user where Harbor looks",
    "oidc_auth": "let the user log in to Harbor's web interface once, or add a group instead",
}
_LOG_IN_ONCE: Final = "let the user log in to Harbor once"
_UNKNOWN_GROUP: Final[Mapping[str, str]] = {"ldap_auth": "name the group by its DN: group:cn=devs,ou=groups,dc=example"}


class Membership2:
    """Keeps `ports.administration.Membership`."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._client = session.client

    def list(self, project: Project) -> tuple[Member, ...]:
        """Returns all members, users and groups."""
        return self._members(project, f"list the members of {project.name}")

    def add(self, project: Project, principal: Principal, role: Role) -> Member:
        """Adds a member and returns it as read back; one who is there already with that role is success.

        Raises:
            RefusedError: It is there already with another role.
        """
        what = f"add {principal} to {project.name}"
        body = {"role_id": role.harbor_id, **self._entity(principal, what)}
        change = Change(self._client, what)

        def attempt() -> Member | None:
            there = self._find(project, principal, what)
            if there is None:
                call = Call("POST", project_path(project.name, "members"), what, body=body, accept=(404, 409))
                there = self._answered(project, principal, what, change.write(call))
            if there is not None and there.role is not role:
                raise RefusedError(f"{what}: it is {there.role} there already", hint="set its role instead")
            return there

        with self._session.inside(project.name):
            return change.until(attempt)

    def set_role(self, project: Project, member: Member, role: Role) -> Member:
        """Gives a member another role and returns it as read back.

        Raises:
            NotFoundError: It is no member.
        """
        what = f"make {member.principal} {role} of {project.name}"
        change = Change(self._client, what)

        def attempt() -> Member | None:
            there = self._find(project, member.principal, what)
            if there is None:
                raise NotFoundError(f"{what}: it is not a member", hint="add it instead")
            if there.role is role:
                return there
            path = project_path(project.name, "members", there.handle)
            change.write(Call("PUT", path, what, body={"role_id": role.harbor_id}))
            there = self._find(project, member.principal, what)
            return there if there is not None and there.role is role else None

        with self._session.inside(project.name):
            return change.until(attempt)

    def remove(self, project: Project, member: Member) -> None:
        """Removes a member; returns once it is gone, whoever removed it."""
        what = f"remove {member.principal} from {project.name}"
        change = Change(self._client, what)

        def attempt() -> bool | None:
            there = self._find(project, member.principal, what)
            if there is None:
                return True
            path = project_path(project.name, "members", there.handle)
            change.write(Call("DELETE", path, what, accept=(404,)))
            return True if self._find(project, member.principal, what) is None else None

        with self._session.inside(project.name):
            change.until(attempt)

    def _answered(
        self, project: Project, principal: Principal, what: str, response: httpx.Response | None
    ) -> Member | None:
        """Returns the member that an answer to POST speaks of, read back, or None when there is none to see yet."""
        if response is None:
            return self._find(project, principal, what)
        if response.status_code == 404:
            raise self._unknown(project, principal, what, words(response))
        if response.status_code == 409:
            there = self._find(project, principal, what) or self._alike(project, principal, what)
            if there is None:
                raise RefusedError(
                    f"{what}: {words(response)}, though it is not listed",
                    hint="look for it under another spelling, or with a role that Harbor does not know",
                )
            return there
        # A group that was named by its DN is listed by its name: the id alone tells which one it is.
        number = response.headers.get("location", "").rstrip("/").rpartition("/")[2]
        if not number.isdecimal():
            return self._find(project, principal, what)
        call = Call("GET", project_path(project.name, "members", number), what, accept=(404,))
        found = self._client.call(call)
        return self._member(parse(WireMember, found.json(), what), what) if found.is_success else None

    def _unknown(self, project: Project, principal: Principal, what: str, said: str) -> NotFoundError:
        if not self._session.exists(project.name):
            return NotFoundError(f"{what}: there is no project {project.name}", hint="list the projects")
        mode = self._session.auth_mode
        if principal.kind is PrincipalKind.GROUP:
            hint = _UNKNOWN_GROUP.get(mode, "check the group's spelling")
        else:
            hint = _UNKNOWN_USER.get(mode, _LOG_IN_ONCE)
        return NotFoundError(f"{what}: Harbor does not know it: {said}", hint=hint)

    def _entity(self, principal: Principal, what: str) -> dict[str, object]:
        """Returns how a request names the principal.

        Raises:
            UnsupportedError: This Harbor has no groups.
        """
        if principal.kind is PrincipalKind.USER:
            return {"member_user": {"username": principal.name}}
        kind = _GROUP_TYPES.get(self._session.auth_mode)
        if kind is None:
            raise UnsupportedError(
                f"{what}: this Harbor has no groups, as it keeps its users itself ({self._session.auth_mode})",
                hint="add the users one by one, or ask for LDAP or OIDC",
            )
        if kind == _GROUP_TYPES["ldap_auth"] and _DN.match(principal.name):
            return {"member_group": {"ldap_group_dn": principal.name, "group_type": kind}}
        return {"member_group": {"group_name": principal.name, "group_type": kind}}

    def _find(self, project: Project, principal: Principal, what: str) -> Member | None:
        # The filter is exact; a DN is listed by the group's name, which is mostly its first part.
        name = principal.name
        dn = _DN.match(name) if principal.kind is PrincipalKind.GROUP else None
        names = {name, dn[1].replace("\\", "")} if dn else {name}
        found = (
            member
            for each in sorted(names)
            for member in self._members(project, what, each)
            if member.principal.kind is principal.kind and member.principal.name == each
        )
        return next(found, None)

    def _alike(self, project: Project, principal: Principal, what: str) -> Member | None:
        """Returns the one member whose name differs in case only: directories take both for the same."""
        name = principal.name.casefold()
        found = [
            member
            for member in self._members(project, what)
            if member.principal.kind is principal.kind and member.principal.name.casefold() == name
        ]
        return found[0] if len(found) == 1 else None

    def _members(self, project: Project, what: str, name: str = "") -> tuple[Member, ...]:
        listing = Listing(project_path(project.name, "members"), what, {"entityname": name} if name else {})
        with self._session.inside(project.name):
            rows = every(self._client, listing)
        members = (self._member(parse(WireMember, row, what), what) for row in rows)
        return tuple(sorted(members, key=lambda member: (member.principal, member.handle)))

    def _member(self, wire: WireMember, what: str) -> Member:
        kind = _KINDS.get(wire.entity_type, PrincipalKind.USER)
        try:
            return Member(Principal(kind, wire.entity_name), Role.of_harbor_id(wire.role_id), str(wire.id))
        except InputError as error:
            raise UnsupportedError(f"{what}: member {wire.entity_name}: {error.message}", hint=error.hint) from error
