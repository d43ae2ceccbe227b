"""Robot accounts of a Harbor from 2.2 on.

Source: goharbor/harbor v2.15.2 src/server/v2.0/handler/robot.go, src/controller/robot/controller.go.
"""

import re
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from datetime import UTC, datetime
from typing import Final

from imagepipe.errors import ImagepipeError, NotFoundError, PermissionRefusedError, RefusedError, UnavailableError
from imagepipe.harbor.change import Change
from imagepipe.harbor.client import Call, decoded
from imagepipe.harbor.paging import Listing, every
from imagepipe.harbor.v2.rights import EFFECTS, check_grantable, exact, grants, held_grants, held_rights
from imagepipe.harbor.v2.session import Session
from imagepipe.harbor.wire import WireCreatedRobot, WireRobot, parse
from imagepipe.http.failure import words
from imagepipe.model.access import Project, Robot, RobotRequest, RobotSecret

__all__ = ["Robots2"]

_NAME: Final = re.compile(r"[a-z0-9]+(?:[._-][a-z0-9]+)*")
_NAME_CHARS: Final = 255
_FOREVER: Final = -1
# Source: goharbor/harbor v2.15.2 src/lib/config/metadata/metadatalist.go (robot_name_prefix)
_PREFIX: Final = "robot$"


class Robots2:
    """Keeps `ports.administration.Robots`."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._client = session.client
        self._prefix: str | None = None

    def list(self, project: Project | None) -> tuple[Robot, ...]:
        """Returns a project's robots, or those of the whole Harbor, by login."""
        what = f"list the robots of {project.name if project else 'the whole Harbor'}"
        robots = (self._robot(wire, project.name if project else None) for wire in self._wires(project, what))
        return tuple(sorted(robots, key=lambda robot: robot.login))

    def create(self, request: RobotRequest, project: Project | None) -> RobotSecret:
        """Makes a robot and returns its secret; one whose secret was lost on the way is deleted and made anew."""
        where = project.name if project else None
        what = f"create robot {request.name[:80]} in {where or 'the whole Harbor'}"
        if len(request.name) > _NAME_CHARS or _NAME.fullmatch(request.name) is None:
            raise RefusedError(
                f"{what}: Harbor takes no such name", hint="use lower-case letters and digits, with . _ - between them"
            )
        check_grantable(self._session, request.rights, where, what)
        if self._named(project, request.name, what):
            raise RefusedError(f"{what}: the name is taken", hint="choose another name, or rotate that robot")
        made = self._made(request, project, what)
        self._prefix = made.name.removesuffix(f"{where}+{request.name}" if where else request.name)
        return RobotSecret(self._kept(made, request, where, what), made.secret)

    def _made(self, request: RobotRequest, project: Project | None, what: str) -> WireCreatedRobot:
        """Makes a robot; as a robot in both spellings of the rights, for ours may be stored in either.

        A robot's rights must be among its maker's to the letter, and "" is not "allow".
        Source: goharbor/harbor v2.15.2 src/server/v2.0/handler/robot.go (isValidPermissionScope)
        """
        try:
            return self._posted(request, project, what, EFFECTS[0])
        except PermissionRefusedError:
            if self._session.caller.kind != "robot":
                raise
            return self._posted(request, project, what, EFFECTS[1])

    def _posted(self, request: RobotRequest, project: Project | None, what: str, effect: str) -> WireCreatedRobot:
        where = project.name if project else None
        change = Change(self._client, what)
        call = Call("POST", "/robots", what, body=_body(request, where, effect), accept=(409,))

        def attempt() -> WireCreatedRobot | None:
            if change.in_doubt:
                self._forget(project, request, what)
            response = change.write(call)
            if response is None or (response.status_code == 409 and change.in_doubt):
                return None
            if response.status_code == 409:
                raise RefusedError(f"{what}: {words(response)}", hint="somebody else has just made it: look at it")
            return parse(WireCreatedRobot, decoded(response, what), what)

        with _in_project(self._session, project):
            return change.until(attempt)

    def disable(self, robot: Robot) -> None:
        """Switches a robot off."""
        self._edit(robot, f"disable robot {robot.login}", lambda now: now.model_copy(update={"disable": True}))

    def describe(self, robot: Robot, edit: Callable[[str], str]) -> None:
        """Gives a robot the description that `edit` makes of what it is now."""
        what = f"describe robot {robot.login}"
        self._edit(robot, what, lambda now: now.model_copy(update={"description": edit(now.description)}))

    def _edit(self, robot: Robot, what: str, edit: Callable[[WireRobot], WireRobot]) -> None:
        """Brings a robot to what `edit` makes of it, whatever becomes of an answer."""
        if self._session.caller.kind == "robot":
            # robot:update is in no table of rights. Source: v2.15.2 src/common/rbac/const.go; goharbor/harbor#23299
            raise PermissionRefusedError(
                f"{what}: a robot can never change a robot", hint="delete it instead, or use a user's account"
            )
        change = Change(self._client, what)

        def attempt() -> bool | None:
            now = self._get(robot, what)
            if now is None:
                raise NotFoundError(f"{what}: there is no such robot", hint="list the robots")
            wanted = edit(now)
            if wanted == now:
                return True
            # The whole object: what is left out would be emptied.
            change.write(Call("PUT", f"/robots/{now.id}", what, body=_whole(wanted)))
            now = self._get(robot, what)
            return True if now is not None and edit(now) == now else None

        change.until(attempt)

    def delete(self, robot: Robot) -> None:
        """Deletes a robot; returns once it is gone, whoever deleted it."""
        what = f"delete robot {robot.login}"
        change = Change(self._client, what)

        def attempt() -> bool | None:
            now = self._get(robot, what)
            if now is None:
                return True
            change.write(Call("DELETE", f"/robots/{now.id}", what, accept=(404,)))
            return True if self._get(robot, what) is None else None

        change.until(attempt)

    def _kept(self, made: WireCreatedRobot, request: RobotRequest, where: str | None, what: str) -> Robot:
        """Returns the robot as read back; a secret is never lost over a reading that fails.

        Raises:
            RefusedError: Harbor gave it other rights; it is deleted again.
        """
        promised = Robot(
            request.name,
            made.name,
            where,
            request.rights,
            _moment(made.expires_at),
            disabled=False,
            description=request.description,
            grants=request.grants,
            days=request.days,
            handle=str(made.id),
        )
        try:
            wire = self._get(promised, what)
        except (UnavailableError, PermissionRefusedError):
            return promised
        robot = self._robot(wire, where) if wire is not None else promised
        if robot.rights != request.rights or (request.grants and robot.grants != request.grants):
            self.delete(robot)
            odd = ", ".join(map(str, sorted(robot.rights ^ request.rights))) or "in other places"
            raise RefusedError(f"{what}: Harbor gave it other rights than asked for: {odd}", hint="leave them out")
        return robot

    def _forget(self, project: Project | None, request: RobotRequest, what: str) -> None:
        """Deletes the robot that a request without an answer made: nobody can know its secret."""
        for wire in self._named(project, request.name, what):
            if held_rights(wire.permissions) == request.rights and wire.description == request.description:
                self.delete(self._robot(wire, project.name if project else None))

    def _named(self, project: Project | None, name: str, what: str) -> tuple[WireRobot, ...]:
        where = project.name if project else None
        return tuple(wire for wire in self._wires(project, what) if self._robot(wire, where).name == name)

    def _wires(self, project: Project | None, what: str) -> Iterable[WireRobot]:
        params: dict[str, str | int | bool] = {"sort": "-id"}
        with _in_project(self._session, project):
            if project is not None:
                params["q"] = f"Level=project,ProjectID={self._session.project_id(project)}"
            found = every(self._client, Listing("/robots", what, params))
        return [parse(WireRobot, row, what) for row in found]

    def _get(self, robot: Robot, what: str) -> WireRobot | None:
        response = self._client.call(Call("GET", f"/robots/{robot.handle}", what, accept=(404,)))
        wire = parse(WireRobot, decoded(response, what), what) if response.is_success else None
        if wire is not None and wire.name != robot.login:
            raise RefusedError(f"{what}: number {robot.handle} is {wire.name}", hint="list the robots again")
        return wire

    def _robot(self, wire: WireRobot, project: str | None) -> Robot:
        return Robot(
            self._short(wire.name, project),
            wire.name,
            project,
            held_rights(wire.permissions),
            _moment(wire.expires_at),
            wire.disable,
            wire.description,
            held_grants(wire.permissions) if project is None else (),
            wire.duration if wire.duration and wire.duration > 0 else None,
            str(wire.id),
        )

    def _short(self, login: str, project: str | None) -> str:
        """Returns a robot's name without prefix and project; neither of the two can hold a plus sign."""
        _, plus, name = login.rpartition(f"{project}+")
        if project is not None and plus:
            return name
        return login.removeprefix(self._known_prefix())

    def _known_prefix(self) -> str:
        if self._prefix is None:
            self._prefix = self._configured_prefix()
        return self._prefix

    def _configured_prefix(self) -> str:
        if not self._session.caller.system_admin:
            return _PREFIX
        what = "ask for the prefix of robots' names"
        try:
            found = self._client.json(Call("GET", "/configurations", what))
            return str(found["robot_name_prefix"]["value"])
        except (ImagepipeError, KeyError, TypeError):
            return _PREFIX


def _in_project(session: Session, project: Project | None) -> AbstractContextManager[None]:
    return session.inside(project.name) if project is not None else nullcontext()


def _body(request: RobotRequest, project: str | None, effect: str) -> dict[str, object]:
    return {
        "name": request.name,
        "description": request.description,
        "level": "system" if project is None else "project",
        "duration": _FOREVER if request.days is None else request.days,
        "disable": False,
        "permissions": exact(request.grants, effect) if request.grants else grants(request.rights, project, effect),
    }


def _whole(wire: WireRobot) -> dict[str, object]:
    """Returns a robot as PUT wants it: the full name, and its permissions as they are."""
    body: dict[str, object] = {
        "id": wire.id,
        "name": wire.name,
        "description": wire.description,
        "level": wire.level,
        "disable": wire.disable,
        "permissions": [permission.model_dump(exclude_defaults=True) for permission in wire.permissions],
    }
    return body if wire.duration is None else {**body, "duration": wire.duration}


def _moment(seconds: int) -> datetime | None:
    """Returns the time of an expiry in seconds since 1970, or None for a robot that lives for ever."""
    return datetime.fromtimestamp(seconds, UTC) if seconds > 0 else None
