"""Who belongs to a project of a Harbor 2.x; Harbor itself checks next to nothing.

Source: goharbor/harbor v2.15.2 src/server/v2.0/handler/member.go, src/controller/member/controller.go: PUT and DELETE
answer 200 for members that are not there, and PUT for roles that there are not.
"""

from collections.abc import Mapping
from typing import Final

import httpx

from imagepipe.errors import InputError, NotFoundError, RefusedError, UnavailableError, UnsupportedError
from imagepipe.harbor.change import Change, one_of, unchanged
from imagepipe.harbor.client import Call, decoded
from imagepipe.harbor.paging import Listing, every
from imagepipe.harbor.v2.groups import Groups, first_value, same_dn
from imagepipe.harbor.v2.session import Session
from imagepipe.harbor.wire import WireMember, parse
from imagepipe.http.failure import words
from imagepipe.model.access import Member, Principal, PrincipalKind, Project, Role

__all__ = ["Membership2"]

_KINDS: Final = {"u": PrincipalKind.USER, "g": PrincipalKind.GROUP}
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
        self._groups = Groups(session)

    def list(self, project: Project) -> tuple[Member, ...]:
        """Returns all members, users and groups."""
        return self._members(project, f"list the members of {project.name}")

    def add(self, project: Project, principal: Principal, role: Role) -> Member:
        """Adds a member and returns it as read back; one who is there already with that role is success.

        Raises:
            RefusedError: It is there already with another role.
        """
        what = f"add {principal} to {project.name}"
        body: dict[str, object] = {"role_id": role.harbor_id, **self._entity(principal, what)}
        change = Change(self._client, what)

        def attempt() -> Member | None:
            there = self._find(project, principal, what)
            if there is None:
                call = Call("POST", self._session.path(project, "members"), what, body=body, accept=(404, 409))
                there = self._answered(project, principal, what, change.write(call))
            if there is not None and there.role is not role:
                raise RefusedError(f"{what}: it is {there.role} there already", hint="set its role instead")
            return there

        with self._session.inside(project.name):
            try:
                return change.until(attempt)
            except UnavailableError as error:
                hint = self._groups.hint_when_broken(principal)
                raise UnavailableError(error.message, hint=hint or error.hint) from error

    def set_role(self, project: Project, member: Member, role: Role) -> Member:
        """Gives a member another role and returns it as read back.

        Raises:
            NotFoundError: It is no member.
            RefusedError: It has another role by now.
        """
        what = f"make {member.principal} {role} of {project.name}"
        change = Change(self._client, what)

        def attempt() -> Member | None:
            there = self._certain(project, member, what)
            if there is None:
                raise NotFoundError(f"{what}: it is not a member", hint="add it instead")
            if there.role is role:
                return there
            unchanged(there, member, what)
            path = self._session.path(project, "members", there.handle)
            change.write(Call("PUT", path, what, body={"role_id": role.harbor_id}))
            now = self._listed(project, there, what)
            return now if now is not None and now.role is role else None

        with self._session.inside(project.name):
            return change.until(attempt)

    def remove(self, project: Project, member: Member) -> None:
        """Removes a member; returns once it is gone, whoever removed it.

        Raises:
            RefusedError: It has another role by now.
        """
        what = f"remove {member.principal} from {project.name}"
        there = self._certain(project, member, what)
        if there is None:
            return
        unchanged(there, member, what)
        change = Change(self._client, what)
        path = self._session.path(project, "members", there.handle)

        def attempt() -> bool | None:
            # By its id from here on: another one of the same name is another member.
            if change.in_doubt and self._listed(project, there, what) is None:
                return True
            change.write(Call("DELETE", path, what, accept=(404,)))
            return True if self._listed(project, there, what) is None else None

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
        call = Call("GET", self._session.path(project, "members", number), what, accept=(404,))
        found = self._client.call(call)
        return self._member(parse(WireMember, decoded(found, what), what), what) if found.is_success else None

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
        if principal.kind is PrincipalKind.USER:
            return {"member_user": {"username": principal.name}}
        return self._groups.entity(principal, what)

    def _certain(self, project: Project, member: Member, what: str) -> Member | None:
        """Returns a member as listed, or None when it surely is none.

        Raises:
            RefusedError: A group may be the one that is meant; only system administrators may look DNs up.
        """
        there = self._find(project, member.principal, what, member.handle)
        unsure = there is None and self._groups.by_dn(member.principal) and not self._session.caller.system_admin
        alike = self._alike(project, member.principal, what) if unsure else None
        if alike is not None:
            raise RefusedError(
                f"{what}: it may or may not be {alike.principal}, which is a member",
                hint=f"name it as Harbor lists it: {alike.principal}",
            )
        return there

    def _listed(self, project: Project, member: Member, what: str) -> Member | None:
        """Returns a member as it is listed now, known by its id."""
        listed = self._members(project, what, member.principal.name)
        return next((each for each in listed if each.handle == member.handle), None)

    def _find(self, project: Project, principal: Principal, what: str, handle: str = "") -> Member | None:
        """Returns a member as listed, or None when it is none.

        Raises:
            RefusedError: More than one member may be meant, and the handle is none of theirs.
        """
        if self._groups.by_dn(principal):
            return self._find_by_dn(project, principal.name, what, handle)
        listed = self._members(project, what, principal.name)
        return one_of([member for member in listed if member.principal == principal], handle, what)

    def _find_by_dn(self, project: Project, dn: str, what: str, handle: str) -> Member | None:
        numbers = self._groups.numbers(dn, what)
        groups = [wire for wire in self._wires(project, what) if wire.entity_type == "g"]
        if numbers is not None:
            sure = [wire for wire in groups if wire.entity_id in numbers]
        else:
            sure = [wire for wire in groups if same_dn(wire.entity_name, dn) or str(wire.id) == handle]
        return one_of([self._member(wire, what) for wire in sure], handle, what)

    def _alike(self, project: Project, principal: Principal, what: str) -> Member | None:
        """Returns the one member whose name differs in case only, or is the first part of the DN asked for."""
        name = first_value(principal.name) if self._groups.by_dn(principal) else principal.name
        found = [
            member
            for member in self._members(project, what)
            if member.principal.kind is principal.kind and member.principal.name.casefold() == name.casefold()
        ]
        return found[0] if len(found) == 1 else None

    def _members(self, project: Project, what: str, name: str = "") -> tuple[Member, ...]:
        members = (self._member(wire, what) for wire in self._wires(project, what, name))
        return tuple(sorted(members, key=lambda member: (member.principal, member.handle)))

    def _wires(self, project: Project, what: str, name: str = "") -> tuple[WireMember, ...]:
        listing = Listing(self._session.path(project, "members"), what, {"entityname": name} if name else {})
        with self._session.inside(project.name):
            rows = every(self._client, listing)
        return tuple(parse(WireMember, row, what) for row in rows)

    def _member(self, wire: WireMember, what: str) -> Member:
        kind = _KINDS.get(wire.entity_type, PrincipalKind.USER)
        try:
            return Member(Principal(kind, wire.entity_name), Role.of_harbor_id(wire.role_id), str(wire.id))
        except InputError as error:
            raise UnsupportedError(f"{what}: member {wire.entity_name}: {error.message}", hint=error.hint) from error
