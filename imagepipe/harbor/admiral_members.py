"""Who belongs to a project of VIC's Admiral: its 200 comes before the change, and groups can get lost on the way.

Source: vmware/admiral vic_v1.5.6 auth/…/project/ProjectRolesHandler.java:63-330, util/UserGroupsUpdater.java:131-187.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Final
from urllib.parse import quote

import httpx

from imagepipe.errors import ImagepipeError, InputError, NotFoundError, RefusedError, UnavailableError, UnsupportedError
from imagepipe.harbor.admiral_client import refused_as_stale, said
from imagepipe.harbor.admiral_session import LISTS, Session, WireProject
from imagepipe.harbor.change import unchanged
from imagepipe.harbor.client import Call, decoded
from imagepipe.harbor.wire import Foreign, parse
from imagepipe.http.retry import settle
from imagepipe.model.access import Member, Principal, PrincipalKind, Project, Role

__all__ = ["Membership"]

# A dozen seconds or so of waiting at random: writes take effect within a second, or are lost.
_LOOKS: Final = 14
_SUGGESTIONS: Final = 3
_ADMINISTRATORS: Final = LISTS[Role.PROJECT_ADMIN]
_MEMBERS: Final = LISTS[Role.DEVELOPER]
_KINDS: Final = {"USER": PrincipalKind.USER, "GROUP": PrincipalKind.GROUP}
_SINCE: Final = {Role.MAINTAINER: "1.8", Role.LIMITED_GUEST: "1.10"}


class _WirePrincipal(Foreign):
    id: str
    type: str = "USER"


class Membership:
    """Keeps `ports.administration.Membership`; a principal with several roles counts with the highest."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._client = session.client

    def list(self, project: Project) -> tuple[Member, ...]:
        """Returns all members, users and groups, those too whom single sign-on has forgotten."""
        wire = self._session.require(project.name, f"list the members of {project.name}")
        found: dict[str, Member] = {}
        for role, where in LISTS.items():
            for own in wire.held(where):
                found.setdefault(own, Member(Principal(wire.kind(own), own), role, own))
        return tuple(sorted(found.values(), key=lambda member: member.principal))

    def add(self, project: Project, principal: Principal, role: Role) -> Member:
        """Adds a member and returns it as read back; one who is there already with that role is success.

        Raises:
            RefusedError: It is there already with another role.
            UnsupportedError: Admiral has no such role.
        """
        what = f"add {principal} to {project.name}"
        self._require_role(role, what)
        own = self._look_up(principal, what)
        there = self._find(project, own)
        if there is not None and there.role is not role:
            raise RefusedError(f"{what}: it is {there.role} there already", hint="set its role instead")
        if there is not None:
            return there
        self._write(project, {LISTS[role]: {"add": [own.name]}}, what, own)
        return self._until(lambda: self._held(project, own, (LISTS[role],)), project, own, what)

    def set_role(self, project: Project, member: Member, role: Role) -> Member:
        """Gives a member another role, and this one only, and returns it as read back.

        Raises:
            NotFoundError: It is no member.
            RefusedError: It has another role by now.
        """
        what = f"make {member.principal} {role} of {project.name}"
        self._require_role(role, what)
        wire = self._session.require(project.name, what)
        own, wanted = self._stored(wire, member), LISTS[role]
        held = _lists(wire, own.name)
        if not held:
            raise NotFoundError(f"{what}: it is not a member", hint="add it instead")
        _unchanged(held, role, member, what)
        others = tuple(where for where in held if where != wanted)
        if others or wanted not in held:
            self._move(project, own, wanted, others, what)
        return self._until(lambda: self._held(project, own, (wanted,)), project, own, what)

    def remove(self, project: Project, member: Member) -> None:
        """Removes a member from all its roles; returns once it is gone, whoever removed it.

        Raises:
            RefusedError: It has another role by now.
        """
        what = f"remove {member.principal} from {project.name}"
        wire = self._session.require(project.name, what)
        own = self._stored(wire, member)
        held = _lists(wire, own.name)
        if held:
            _unchanged(held, None, member, what)
            self._write(project, {where: {"remove": [own.name]} for where in held}, what, own)
        self._wait(lambda: self._is_out(project, own), project, own, what)

    def _move(self, project: Project, own: Principal, wanted: str, others: tuple[str, ...], what: str) -> None:
        """Puts a principal into one list and out of the others, in one write where nothing can be lost by it."""
        leave = {where: {"remove": [own.name]} for where in others}
        enter = {wanted: {"add": [own.name]}}
        # In one PATCH a group leaves the administrators and never arrives at the members.
        two_steps = own.kind is PrincipalKind.GROUP and wanted == _MEMBERS and _ADMINISTRATORS in others
        if not two_steps:
            self._write(project, {**leave, **enter}, what, own)
            return
        self._write(project, leave, what, own)
        try:
            self._wait(lambda: self._held(project, own, (), besides=wanted), project, own, what)
            self._write(project, enter, what, own)
        except ImagepipeError:
            self._write(project, {where: {"add": [own.name]} for where in others}, f"{what}, undone", own)
            raise

    def _write(
        self, project: Project, roles: Mapping[str, Mapping[str, Sequence[str]]], what: str, own: Principal
    ) -> None:
        """Sends one PATCH of roles; repeating it changes nothing, so a lost answer only costs a look.

        Raises:
            RefusedError: Single sign-on no longer knows the principal.
        """
        link = self._session.require(project.name, what).link
        try:
            answer = self._client.call(Call("PATCH", link, what, body=roles, accept=(400, 500)))
        except UnavailableError:
            answer = self._client.call(Call("PATCH", link, what, body=roles, accept=(400, 500)))
        if answer.status_code < 400:
            return
        text = said(answer)
        if "/principals/" in text or "does not exist" in text:
            raise refused_as_stale(what, own.name)
        if answer.status_code == 400:
            raise RefusedError(f"{what}: {text or 'refused'} (HTTP 400)")
        raise UnavailableError(f"{what}: {text or 'it broke'} (HTTP 500)", hint="try again later")

    def _until(self, settled: Callable[[], bool], project: Project, own: Principal, what: str) -> Member:
        self._wait(settled, project, own, what)
        found = self._find(project, own)
        if found is None:
            raise UnavailableError(f"{what}: it was there, and is gone again", hint="look who else changes it")
        return found

    def _wait(self, settled: Callable[[], bool], project: Project, own: Principal, what: str) -> None:
        """Looks until a change shows: Admiral says 200 before it writes, and a write that fails is lost.

        Raises:
            UnavailableError: It does not come.
        """

        def lost() -> UnavailableError:
            now = ", ".join(_lists(self._session.require(project.name, what), own.name)) or "no list"
            return UnavailableError(
                f"{what}: Admiral took it and did not apply it: {own.name} is in {now}",
                hint="try again, it changes nothing",
            )

        settle(lambda: settled() or None, what, attempts=_LOOKS, sleep=self._client.sleep, failure=lost)

    def _is_out(self, project: Project, own: Principal) -> bool:
        try:
            return self._held(project, own, ())
        except NotFoundError:
            # Who has left a project does not see it any more.
            if own.name != self._session.caller.name:
                raise
            return True

    def _held(self, project: Project, own: Principal, wanted: tuple[str, ...], *, besides: str = "") -> bool:
        wire = self._session.require(project.name, f"look into project {project.name}")
        return tuple(where for where in _lists(wire, own.name) if where != besides) == wanted

    def _find(self, project: Project, own: Principal) -> Member | None:
        return next((member for member in self.list(project) if member.principal.name == own.name), None)

    def _stored(self, wire: WireProject, member: Member) -> Principal:
        """Returns a member as the project has it, to the letter: another spelling is somebody else to Admiral."""
        everybody = [own for where in LISTS.values() for own in wire.held(where)]
        name = member.handle or member.principal.name
        own = name if name in everybody else name.lower()
        return Principal(wire.kind(own), own)

    def _look_up(self, principal: Principal, what: str) -> Principal:
        """Returns a principal under the id that single sign-on has for it: any other makes a member without rights.

        Raises:
            InputError: The name is spelled with a backslash.
            NotFoundError: It is not there, or it is a group and not a user; the hint says who is meant.
        """
        if "\\" in principal.name:
            raise InputError(f"{what}: Admiral wants name@domain", hint="write dana@corp.example, not CORP\\dana")
        path = f"/auth/idm/principals/{quote(principal.name.lower(), safe='')}"
        answer = self._client.call(Call("GET", path, what, accept=(404, 500)))
        if not answer.is_success:
            raise NotFoundError(
                f"{what}: single sign-on does not know it: {_reason(answer)}", hint=self._suggest(principal, what)
            )
        wire = parse(_WirePrincipal, decoded(answer, what), what)
        kind = _KINDS.get(wire.type, PrincipalKind.USER)
        if kind is not principal.kind:
            raise NotFoundError(f"{what}: {wire.id} is a {kind}", hint=f"name it {kind}:{wire.id}")
        return Principal(kind, wire.id)

    def _suggest(self, principal: Principal, what: str) -> str:
        criteria = quote(principal.name.partition("@")[0], safe="")
        answer = self._client.call(Call("GET", f"/auth/idm/principals?criteria={criteria}", what, accept=(400, 404)))
        rows = decoded(answer, what) if answer.is_success else ()
        found = [parse(_WirePrincipal, row, what).id for row in rows or ()][:_SUGGESTIONS]
        return f"did you mean {' or '.join(found)}?" if found else "give the name with its domain: dana@vsphere.local"

    def _require_role(self, role: Role, what: str) -> None:
        if role not in LISTS:
            raise UnsupportedError(
                f"{what}: {role} needs Harbor ≥ {_SINCE[role]} without Admiral, this is {self._session.version}",
                hint=f"use one of {', '.join(LISTS)}",
            )


def _reason(answer: httpx.Response) -> str:
    return said(answer).partition(":")[0] or f"HTTP {answer.status_code}"


def _lists(wire: WireProject, own: str) -> tuple[str, ...]:
    return tuple(where for where in LISTS.values() if own in wire.held(where))


def _unchanged(held: tuple[str, ...], wanted: Role | None, known: Member, what: str) -> None:
    """Returns when the highest role that a member holds is the one it shall have, or the one that is known."""
    highest = next(role for role, where in LISTS.items() if where in held)
    if highest is not wanted:
        unchanged(Member(known.principal, highest), known, what)
