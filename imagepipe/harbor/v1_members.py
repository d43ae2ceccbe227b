"""Who belongs to a project of a Harbor 1.x; a change of somebody who is not there is answered with 200.

Source: goharbor/harbor v1.7.8 src/core/api/projectmember.go, src/common/dao/project/projectmember.go.
"""

import re
from typing import Any, Final

import httpx

from imagepipe.errors import InputError, NotFoundError, RefusedError, UnavailableError, UnsupportedError
from imagepipe.harbor.change import Change, one_of, unchanged
from imagepipe.harbor.client import Call
from imagepipe.harbor.v1_session import Session1, project_path
from imagepipe.harbor.wire import Foreign, WireMember, parse
from imagepipe.http.failure import words
from imagepipe.model.access import Member, Principal, PrincipalKind, Project, Role

__all__ = ["Membership1"]

_KINDS: Final = {"u": PrincipalKind.USER, "g": PrincipalKind.GROUP}
_LDAP: Final = "ldap_auth"
_DN: Final = re.compile(r"\s*[A-Za-z][A-Za-z0-9-]*\s*=\s*((?:\\.|[^,\\])+)\s*(?:,|$)")


class _WireGroup(Foreign):
    id: int
    group_name: str = ""
    ldap_group_dn: str = ""


class Membership1:
    """Keeps `ports.administration.Membership`."""

    def __init__(self, session: Session1) -> None:
        self._session = session
        self._client = session.client

    def list(self, project: Project) -> tuple[Member, ...]:
        """Returns all members, users and groups."""
        what = f"list the members of {project.name}"
        with self._session.inside(project.name, what):
            return self._members(project, what)

    def add(self, project: Project, principal: Principal, role: Role) -> Member:
        """Adds a member and returns it as read back; one who is there already with that role is success.

        Raises:
            RefusedError: It is there already with another role.
            UnsupportedError: This version has no such role, or this Harbor no groups.
        """
        what = f"add {principal} to {project.name}"
        self._session.require_role(role, what)
        body = {"role_id": role.harbor_id, **self._entity(principal, what)}
        change = Change(self._client, what)

        def attempt() -> Member | None:
            there = self._find(project, principal, what)
            if there is None:
                path = project_path(self._session.number(project, what), "members")
                response = change.write(Call("POST", path, what, body=body, accept=(404, 409)))
                there = self._answered(project, principal, what, response)
            if there is not None and there.role is not role:
                raise RefusedError(f"{what}: it is {there.role} there already", hint="set its role instead")
            return there

        with self._session.inside(project.name, what):
            return change.until(attempt)

    def set_role(self, project: Project, member: Member, role: Role) -> Member:
        """Gives a member another role and returns it as read back.

        Raises:
            NotFoundError: It is no member.
            RefusedError: It has another role by now.
        """
        what = f"make {member.principal} {role} of {project.name}"
        self._session.require_role(role, what)
        change = Change(self._client, what)

        def attempt() -> Member | None:
            there = self._find(project, member.principal, what, member.handle)
            if there is None:
                raise NotFoundError(f"{what}: it is not a member", hint="add it instead")
            if there.role is role:
                return there
            unchanged(there, member, what)
            change.write(Call("PUT", self._path(project, there, what), what, body={"role_id": role.harbor_id}))
            now = self._listed(project, there, what)
            return now if now is not None and now.role is role else None

        with self._session.inside(project.name, what):
            return change.until(attempt)

    def remove(self, project: Project, member: Member) -> None:
        """Removes a member; returns once it is gone, whoever removed it.

        Raises:
            RefusedError: It has another role by now.
        """
        what = f"remove {member.principal} from {project.name}"
        with self._session.inside(project.name, what):
            there = self._find(project, member.principal, what, member.handle)
        if there is None:
            return
        unchanged(there, member, what)
        change = Change(self._client, what)

        def attempt() -> bool | None:
            # By its id from here on: another one of the same name is another member.
            if change.in_doubt and self._listed(project, there, what) is None:
                return True
            change.write(Call("DELETE", self._path(project, there, what), what, accept=(404,)))
            return True if self._listed(project, there, what) is None else None

        with self._session.inside(project.name, what):
            change.until(attempt)

    def _path(self, project: Project, member: Member, what: str) -> str:
        return project_path(self._session.number(project, what), "members", member.handle)

    def _answered(
        self, project: Project, principal: Principal, what: str, response: httpx.Response | None
    ) -> Member | None:
        """Returns the member that an answer to POST speaks of, read back, or None when there is none to see yet."""
        if response is not None and response.status_code == 404:
            if not self._session.exists(project.name):
                raise NotFoundError(f"{what}: there is no project {project.name}", hint="list the projects")
            raise NotFoundError(f"{what}: Harbor does not know it: {words(response)}", hint=self._unknown(principal))
        number = response.headers.get("location", "").rpartition("/")[2] if response is not None else ""
        # Of groups that have one name the new one's id tells which it is.
        there = self._find(project, principal, what, number)
        if response is not None and response.status_code == 409 and there is None:
            raise RefusedError(
                f"{what}: {words(response)}, though it is not listed", hint="look for it under another spelling"
            )
        return there

    def _unknown(self, principal: Principal) -> str:
        if principal.kind is PrincipalKind.GROUP:
            return "name the group by its DN: group:cn=devs,ou=groups,dc=example"
        if self._session.auth_mode == _LDAP:
            return "check the spelling: the directory has no such user where Harbor looks"
        return "check the spelling, or ask a Harbor administrator to create the user"

    def _entity(self, principal: Principal, what: str) -> dict[str, object]:
        """Returns how a request names the principal.

        Raises:
            NotFoundError: No group of that name was ever a member of anything.
            UnsupportedError: This Harbor has no groups.
        """
        if principal.kind is PrincipalKind.USER:
            return {"member_user": {"username": principal.name}}
        if self._session.auth_mode != _LDAP:
            raise UnsupportedError(
                f"{what}: Harbor 1.x has groups of LDAP only, and this one has {self._session.auth_mode}",
                hint="add the users one by one, or ask for an upgrade to Harbor 2.x",
            )
        if _DN.match(principal.name):
            return {"member_group": {"ldap_group_dn": principal.name}}
        known = [group for group in self._groups(what) if group.group_name == principal.name]
        if len(known) != 1:
            reason = "there are several of that name" if known else "Harbor does not know it"
            raise NotFoundError(f"{what}: {reason}", hint=self._unknown(principal))
        return {"member_group": {"id": known[0].id}}

    def _groups(self, what: str) -> tuple[_WireGroup, ...]:
        return tuple(parse(_WireGroup, row, what) for row in self._rows(Call("GET", "/usergroups", what)))

    def _listed(self, project: Project, member: Member, what: str) -> Member | None:
        """Returns a member as it is listed now, known by its id."""
        return next((each for each in self._members(project, what) if each.handle == member.handle), None)

    def _find(self, project: Project, principal: Principal, what: str, handle: str = "") -> Member | None:
        """Returns a member as listed, or None when it is none.

        Raises:
            RefusedError: More than one member may be meant, and the handle is none of theirs.
        """
        names = {principal.name}
        if principal.kind is PrincipalKind.GROUP and _DN.match(principal.name):
            # A group is listed by its name, and only LDAP's own table says which DN that is.
            wanted = principal.name.casefold()
            names = {group.group_name for group in self._groups(what) if group.ldap_group_dn.casefold() == wanted}
        found = [
            member
            for member in self._members(project, what)
            if member.principal.kind is principal.kind and member.principal.name in names
        ]
        return one_of(found, handle, what)

    def _members(self, project: Project, what: str) -> tuple[Member, ...]:
        # Always all of them, in one answer: there are no pages, and the filter takes any part of a name.
        path = project_path(self._session.number(project, what), "members")
        try:
            rows = self._rows(Call("GET", path, what))
        except NotFoundError as error:
            raise NotFoundError(f"{what}: there is no project {project.name}", hint="list the projects") from error
        members = (self._member(parse(WireMember, row, what), what) for row in rows)
        return tuple(sorted(members, key=lambda member: (member.principal, member.handle)))

    def _rows(self, call: Call) -> tuple[Any, ...]:
        found = self._client.json(call) or ()
        if not isinstance(found, list | tuple):
            raise UnavailableError(f"{call.what}: the answer is no list", hint="check that harbor.url is Harbor's")
        return tuple(found)

    def _member(self, wire: WireMember, what: str) -> Member:
        kind = _KINDS.get(wire.entity_type, PrincipalKind.USER)
        try:
            return Member(Principal(kind, wire.entity_name), Role.of_harbor_id(wire.role_id), str(wire.id))
        except InputError as error:
            raise UnsupportedError(f"{what}: member {wire.entity_name}: {error.message}", hint=error.hint) from error
