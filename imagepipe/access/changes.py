"""Makes one change to access at a time, each so that doing it twice is doing it once.

>>> Changes.__name__
'Changes'
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext, suppress

from imagepipe.access.mark import HandoverMark, can_mark, is_pending, without_mark
from imagepipe.access.names import WHOLE, families, family_of, matching, robot_name
from imagepipe.access.read import find_project, state_of
from imagepipe.access.state import Action, Change
from imagepipe.errors import (
    ImagepipeError,
    PartialError,
    PermissionRefusedError,
    RefusedError,
    UnavailableError,
)
from imagepipe.model.access import (
    Member,
    Principal,
    PrincipalKind,
    Project,
    Right,
    Robot,
    RobotRequest,
    RobotSecret,
    Role,
)
from imagepipe.ports.administration import Administration, Robots

__all__ = ["Changes", "Making", "check_not_last_admin", "create_robot", "find_member", "remove_member", "set_role"]


Making = Callable[[RobotRequest], AbstractContextManager[RobotRequest]]


class Changes:
    """Makes changes, and remembers projects and members meanwhile.

    Args:
        admin: The Harbor.
        deliver: Takes a new robot's secret to where it belongs.
        making: What a robot is made within, from before there is one until its secret is delivered; yields which.
    """

    def __init__(
        self, admin: Administration, deliver: Callable[[RobotSecret], None], making: Making = nullcontext
    ) -> None:
        self.admin = admin
        self._deliver = deliver
        self._making = making
        self._projects: dict[str, Project] = {}
        self._members: dict[str, list[Member]] = {}
        self._created = set[str]()

    def make(self, change: Change) -> None:
        """Makes a change; one that is made already is success.

        Raises:
            RefusedError: It would leave the project without an admin, somebody has changed the same meanwhile, or
                Harbor says no.
        """
        try:
            self._make(change)
        except ImagepipeError:
            # It may have been done all the same: what we remember is no longer sure.
            self._members.pop(change.project, None)
            raise

    def _make(self, change: Change) -> None:
        if change.action is Action.CREATE_PROJECT:
            self._projects[change.project] = self.admin.projects.create(change.project, {})
            self._created.add(change.project)
            return
        if change.project not in self._projects:
            self._projects[change.project] = find_project(change.project, self.admin)
        project = self._projects[change.project]
        match change.action:
            case Action.SET:
                self.admin.projects.change(project, {change.subject: change.after})
            case Action.ADD_MEMBER | Action.SET_ROLE:
                self._give_role(project, change, Role(change.after))
            case Action.REMOVE_MEMBER:
                self._remove(project, change)
            case _:
                self._robot(change, project)

    def _list(self, project: Project) -> list[Member]:
        if project.name not in self._members:
            self._members[project.name] = list(self.admin.membership.list(project))
        return self._members[project.name]

    def _found(self, change: Change, members: list[Member]) -> Member | None:
        """Returns the member whom a change is about.

        Raises:
            RefusedError: It is no longer as the change says; whoever creates a project is its admin before anybody.
        """
        there = find_member(members, Principal.parse(change.subject), folds=self.admin.folds)
        now = there.role.value if there else None
        if now not in (change.before, change.after) and change.project not in self._created:
            raise RefusedError(
                f"{change.subject} was {change.before or 'no member'}, and is {now or 'no member'} meanwhile",
                hint="make a new plan and look at it",
            )
        return there

    def _give_role(self, project: Project, change: Change, role: Role) -> None:
        members = self._list(project)
        there = self._found(change, members)
        if there is None:
            members.append(self.admin.membership.add(project, Principal.parse(change.subject), role))
        elif there.role is not role:
            check_not_last_admin(project.name, members, there)
            members[members.index(there)] = set_role(project, there, role, self.admin)

    def _remove(self, project: Project, change: Change) -> None:
        members = self._list(project)
        there = self._found(change, members)
        if there is not None:
            check_not_last_admin(project.name, members, there)
            remove_member(project, there, self.admin)
            members.remove(there)

    def _robot(self, change: Change, project: Project) -> None:
        """Makes, replaces or deletes a robot; the old one goes when the new one's secret is where it belongs."""
        robots = self.admin.require_robots()
        before = families(robots.list(project)).get(change.subject, ())
        if before:
            _check_robot(change, before)
        if change.action is not Action.DELETE_ROBOT:
            newest = family_of(before[-1].name)[1] if before else 0
            name = robot_name(change.subject, newest + 1)
            rights = frozenset(Right.parse(text) for text in change.after["rights"])
            # What people wrote about a robot that is only made anew goes on being so.
            told = without_mark(before[-1].description) if change.action is Action.RENEW_ROBOT and before else ""
            request = RobotRequest(name, project.name, rights, change.after.get("days"), told)
            with self._making(request) as asked:
                self._hand_over(robots, asked, project, before)
        for robot in before:
            robots.delete(robot)

    def _hand_over(self, robots: Robots, request: RobotRequest, project: Project, before: tuple[Robot, ...]) -> None:
        """Makes a robot and delivers its secret, under a mark where one before it has one: else it would hide that."""
        if any(map(is_pending, before)) and can_mark(self.admin.callers.caller()):
            mark = HandoverMark(robots, self._deliver)
            with mark.making(request) as asked:
                create_robot(robots, asked, project, mark.deliver, successor=True)
        else:
            create_robot(robots, request, project, self._deliver, successor=bool(before))


def _check_robot(change: Change, before: tuple[Robot, ...]) -> None:
    """Returns when a robot is as the change says: else another run has handed a secret over that works, or people did.

    Raises:
        RefusedError: It is not.
    """
    now = state_of(before)
    told = frozenset(map(Right.parse, change.before["rights"])) if change.before else None
    if now.rights != told or (change.action is Action.RENEW_ROBOT and not now.pending):
        raise RefusedError(
            f"robot {change.subject}: somebody has made or changed it meanwhile", hint="make a new plan and look at it"
        )


def create_robot(
    robots: Robots,
    request: RobotRequest,
    project: Project | None,
    deliver: Callable[[RobotSecret], None],
    *,
    successor: bool = False,
) -> RobotSecret:
    """Makes a robot and delivers its secret; a robot whose secret nobody has is deleted again, and made anew.

    Args:
        robots: Harbor's robots.
        request: The robot to make.
        project: Its project; None: the whole Harbor.
        deliver: Takes its secret.
        successor: Whether it follows another generation: then it stays if we are interrupted while its secret is
            delivered, for those who have it already.

    Raises:
        RefusedError: There is one of that name, or Harbor does not allow it.
        PartialError: It is there, and nobody knows whether its secret was taken: `deliver` keeps that.
    """
    _make_room(robots, request, project, successor=successor)
    made: RobotSecret | None = None
    try:
        made = robots.create(request, project)
        deliver(made)
    except PartialError:
        raise
    except ImagepipeError as error:
        # Of one that is not made, only the answer may be lost, and with it the secret.
        if made is not None or isinstance(error, UnavailableError):
            _discard_after(error, made, request, project, robots)
        raise
    except KeyboardInterrupt:
        if made is None or not successor:
            with suppress(ImagepipeError):
                _discard(made, request, project, robots)
        raise
    return made


def _make_room(robots: Robots, request: RobotRequest, project: Project | None, *, successor: bool) -> None:
    """Returns when no robot of that name is there; a first one whose secret was never handed over is deleted.

    Raises:
        RefusedError: There is one, or another generation of it: the new one would pass for an older one.
    """
    family = family_of(request.name)[0]
    there = families(robots.list(project)).get(family, ())
    left = [one for one in there if one.name == request.name and is_pending(one) and not successor]
    taken = [one for one in there if one not in left and (one.name == request.name or not successor)]
    if taken:
        named = "one already" if taken[0].name == request.name else f"{taken[0].name} already, which is one"
        raise RefusedError(
            f"create robot {request.name}: {request.project or 'the whole Harbor'} has {named}",
            hint=f"use `imagepipe robot rotate {request.project or WHOLE} {family}` for a new secret",
        )
    for one in left:
        robots.delete(one)


def _discard(made: RobotSecret | None, request: RobotRequest, project: Project | None, robots: Robots) -> None:
    """Deletes a robot whose secret nobody has; where nobody knows whether it was made, the one that is as asked for."""
    if made is not None:
        robots.delete(made.robot)
        return
    for robot in robots.list(project):
        if (robot.name, robot.description) == (request.name, request.description):
            robots.delete(robot)


def _discard_after(
    error: ImagepipeError, made: RobotSecret | None, request: RobotRequest, project: Project | None, robots: Robots
) -> None:
    """Deletes a robot whose secret nobody has.

    Raises:
        ImagepipeError: It may still be there; of the first error's kind.
    """
    try:
        _discard(made, request, project, robots)
    except ImagepipeError as second:
        raise type(error)(
            f"{error.message}; robot {request.name} may be there, with a secret that nobody has: {second.message}",
            hint=f"look for it with `imagepipe robot list`, and delete {request.name}",
        ) from error


def set_role(project: Project, member: Member, role: Role, admin: Administration) -> Member:
    """Gives a member another role, be it ourselves and one that sees no members."""
    try:
        return admin.membership.set_role(project, member, role)
    except PermissionRefusedError:
        if not _gone_ourselves(project, member, admin):
            raise
    return Member(member.principal, role, member.handle)


def remove_member(project: Project, member: Member, admin: Administration) -> None:
    """Removes a member, be it ourselves."""
    try:
        admin.membership.remove(project, member)
    except PermissionRefusedError:
        if not _gone_ourselves(project, member, admin):
            raise


def _gone_ourselves(project: Project, member: Member, admin: Administration) -> bool:
    """Tells whether a refusal came from reading back what we took from ourselves: we no longer see who is there."""
    if member.principal != Principal(PrincipalKind.USER, admin.callers.caller().name):
        return False
    try:
        admin.membership.list(project)
    except PermissionRefusedError:
        return True
    return False


def find_member(members: list[Member] | tuple[Member, ...], who: Principal, *, folds: bool = False) -> Member | None:
    """Returns the member that is meant, however it is spelled; `folds` as `Administration.folds` says.

    Raises:
        RefusedError: Several are called so, as groups of an old Harbor may be.
    """
    meant = matching(who, {member.principal for member in members}, folds=folds)
    found = [member for member in members if member.principal == meant]
    if len(found) > 1:
        raise RefusedError(
            f"{meant}: {len(found)} members have that name", hint="change the one you mean in Harbor's web interface"
        )
    return found[0] if found else None


def check_not_last_admin(project: str, members: list[Member] | tuple[Member, ...], member: Member) -> None:
    """Returns when the project has an admin without this member too; Harbor itself does not look.

    Raises:
        RefusedError: It is the last one.
    """
    admins = [one for one in members if one.role is Role.PROJECT_ADMIN]
    if admins == [member]:
        raise RefusedError(
            f"{member.principal} is the last projectAdmin of {project}", hint="make another one first, or add --force"
        )
