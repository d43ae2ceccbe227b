"""What a project's access is or should be, and one change between the two.

>>> Change("es-sandbox", Action.SET_ROLE, "alice", "guest", "developer").describe()
'~ es-sandbox: set role alice: guest -> developer'
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

from imagepipe.access.names import named_rights
from imagepipe.errors import InputError
from imagepipe.model.access import PROJECT_SETTINGS, Principal, Right, Role
from imagepipe.model.digest import Digest

__all__ = [
    "ROBOT_MAKERS",
    "AccessPlan",
    "Action",
    "Change",
    "DesiredProject",
    "ProjectState",
    "RobotState",
    "Setting",
    "Unmanaged",
    "fingerprint",
    "fingerprint_of_wanted",
]

Setting = bool | str | int


class Unmanaged(StrEnum):
    """What happens to members and robots that the file does not name."""

    KEEP = "keep"
    REPORT = "report"
    REMOVE = "remove"


class Action(StrEnum):
    """What a change does."""

    CREATE_PROJECT = "create project"
    SET = "set"
    ADD_MEMBER = "add member"
    SET_ROLE = "set role"
    REMOVE_MEMBER = "remove member"
    CREATE_ROBOT = "create robot"
    REPLACE_ROBOT = "replace robot"
    RENEW_ROBOT = "renew robot"
    DELETE_ROBOT = "delete robot"

    @property
    def symbol(self) -> str:
        """`+`, `~` or `-`."""
        if self in (Action.CREATE_PROJECT, Action.ADD_MEMBER, Action.CREATE_ROBOT):
            return "+"
        return "-" if self in (Action.REMOVE_MEMBER, Action.DELETE_ROBOT) else "~"


# What makes a robot, whose secret needs a place to go.
ROBOT_MAKERS: Final = (Action.CREATE_ROBOT, Action.REPLACE_ROBOT, Action.RENEW_ROBOT)


@dataclass(frozen=True, slots=True)
class RobotState:
    """A robot's rights; only they are compared.

    Attributes:
        rights: What it may do.
        days: How long a new one shall live; None: for ever.
        older: How many generations before the newest are still there.
        pending: Whether it was made and its secret not surely handed over, so that nobody may have it.
        cut: Whether that is so of a newer generation, while this one is in use.
        disabled: Whether it is switched off.
        expires_at: When it ends; None: never.
    """

    rights: frozenset[Right]
    days: int | None = field(default=None, compare=False)
    older: int = field(default=0, compare=False)
    pending: bool = field(default=False, compare=False)
    cut: bool = field(default=False, compare=False)
    disabled: bool = field(default=False, compare=False)
    expires_at: datetime | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class ProjectState:
    """Access in one project as it is.

    Attributes:
        name: The project.
        settings: By our names.
        members: Roles by principal.
        robots: Robots of the project by their short name.
    """

    name: str
    settings: Mapping[str, Setting] = field(default_factory=dict, hash=False)
    members: Mapping[Principal, Role] = field(default_factory=dict, hash=False)
    robots: Mapping[str, RobotState] = field(default_factory=dict, hash=False)

    @property
    def admins(self) -> tuple[Principal, ...]:
        """The project admins."""
        return tuple(who for who, role in self.members.items() if role is Role.PROJECT_ADMIN)

    def to_json(self) -> dict[str, Any]:
        """Returns the state as a JSON object in one fixed order."""
        return {
            "name": self.name,
            "settings": dict(sorted(self.settings.items())),
            "members": {str(who): str(role) for who, role in sorted(self.members.items())},
            "robots": {name: sorted(map(str, robot.rights)) for name, robot in sorted(self.robots.items())},
        }


@dataclass(frozen=True, slots=True)
class DesiredProject:
    """Access in one project as it should be; what `state` does not name is `unmanaged`."""

    state: ProjectState
    unmanaged: Unmanaged = Unmanaged.REPORT


@dataclass(frozen=True, slots=True)
class Change:
    """One change to one project.

    Attributes:
        project: Where.
        action: What is done.
        subject: To whom or what: a principal, a setting, a robot's name; the project itself when it is created.
        before: How it is; None where it is not there.
        after: How it will be; None where it will be gone.
    """

    project: str
    action: Action
    subject: str
    before: Any = None
    after: Any = None

    def describe(self) -> str:
        """Returns the change as one line: `~ es-sandbox: set role alice: guest -> developer`."""
        line = f"{self.action.symbol} {self.project}: {self.action}"
        if self.action is Action.CREATE_PROJECT:
            return line
        if self.action is Action.REPLACE_ROBOT:
            return f"{line} {self.subject}: {_exchanged(self.before, self.after)}"
        if self.action is Action.RENEW_ROBOT:
            return f"{line} {self.subject}: its secret was never handed over"
        shown = [_shown(value) for value in (self.before, self.after) if value is not None]
        return f"{line} {self.subject}" + (f": {' -> '.join(shown)}" if shown else "")

    def to_json(self) -> dict[str, Any]:
        """Returns the change as a JSON object. Law: `Change.from_json(c.to_json()) == c`."""
        return {
            "project": self.project,
            "action": self.action.value,
            "subject": self.subject,
            "before": self.before,
            "after": self.after,
        }

    @classmethod
    def from_json(cls, data: Any) -> "Change":
        """Returns the change of a parsed JSON object.

        Raises:
            InputError: It is not one.
        """
        try:
            action = Action(data["action"])
            change = cls(data["project"], action, data["subject"], data.get("before"), data.get("after"))
            _check_change(change)
        except (KeyError, ValueError, TypeError, AttributeError) as error:
            raise InputError(f"not a change: {error}", hint="make a new plan with `imagepipe access plan`") from error
        return change


@dataclass(frozen=True, slots=True)
class AccessPlan:
    """Every change, in the order in which they are safe, and what they were worked out from.

    Attributes:
        changes: What `apply` will do.
        reports: What differs and is left as it is, one line each.
        basis: The fingerprint of the state that was read; `apply` refuses another.
        wanted: The fingerprint of the access file; `apply` refuses another.
    """

    changes: tuple[Change, ...]
    reports: tuple[str, ...]
    basis: Digest
    wanted: Digest

    def to_json(self) -> dict[str, Any]:
        """Returns `imagepipe.access-plan/v1`. Law: `AccessPlan.from_json(p.to_json()) == p`."""
        return {
            "schema": "imagepipe.access-plan/v1",
            "basis": str(self.basis),
            "wanted": str(self.wanted),
            "changes": [change.to_json() for change in self.changes],
            "reports": list(self.reports),
        }

    @classmethod
    def from_json(cls, data: Any) -> "AccessPlan":
        """Returns the plan of a parsed JSON document.

        Raises:
            InputError: It is not one.
        """
        if not isinstance(data, dict) or data.get("schema") != "imagepipe.access-plan/v1":
            raise InputError("not an access plan", hint="make one with `imagepipe access plan FILE -o plan.json`")
        changes, reports = data.get("changes"), data.get("reports")
        if not isinstance(changes, list) or not isinstance(reports, list):
            raise InputError("not an access plan: no list of changes", hint="make a new plan")
        return cls(
            tuple(Change.from_json(change) for change in changes),
            tuple(map(str, reports)),
            Digest.parse(str(data.get("basis"))),
            Digest.parse(str(data.get("wanted"))),
        )


def fingerprint(names: Sequence[str], states: Mapping[str, ProjectState]) -> Digest:
    """Returns the digest of the state of these projects, absent ones included."""
    return _digest([_as_read(states[name]) if name in states else {"absent": name} for name in sorted(names)])


def fingerprint_of_wanted(desired: Sequence[DesiredProject]) -> Digest:
    """Returns the digest of what an access file asks for."""
    return _digest(
        [
            one.state.to_json()
            | {"unmanaged": one.unmanaged.value, "days": {name: robot.days for name, robot in one.state.robots.items()}}
            for one in sorted(desired, key=lambda one: one.state.name)
        ]
    )


def _as_read(state: ProjectState) -> dict[str, Any]:
    pending = sorted(name for name, robot in state.robots.items() if robot.pending)
    return state.to_json() | ({"pending": pending} if pending else {})


def _digest(body: Any) -> Digest:
    return Digest.of(json.dumps(body, sort_keys=True, separators=(",", ":")).encode())


def _check_change(change: Change) -> None:
    """Raises what JSON of another shape raises when it is used."""
    if not isinstance(change.project, str) or not isinstance(change.subject, str):
        raise TypeError("project and subject must be text")
    match change.action:
        case Action.ADD_MEMBER:
            Role(change.after)
        case Action.SET_ROLE:
            Role(change.before)
            Role(change.after)
        case Action.REMOVE_MEMBER:
            Role(change.before)
        case Action.DELETE_ROBOT:
            _rights(change.before)
        case action if action in ROBOT_MAKERS:
            _rights(change.after)
            if action is not Action.CREATE_ROBOT:
                _rights(change.before)
        case Action.SET if type(change.after) is not PROJECT_SETTINGS.get(change.subject):
            raise TypeError(f"{change.subject} cannot be set to {change.after!r}")


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):  # a robot
        return ", ".join(named_rights(_rights(value))) + _life(value)
    return str(value)


def _exchanged(before: Any, after: Any) -> str:
    """Returns what a robot gains and loses, or both sets of rights where each has a name."""
    old, new = _rights(before), _rights(after)
    if len(named_rights(old)) == len(named_rights(new)) == 1:
        return f"{named_rights(old)[0]} -> {named_rights(new)[0]}{_life(after)}"
    told = (("loses", old - new), ("gains", new - old))
    return "; ".join(f"{word} {', '.join(sorted(map(str, some)))}" for word, some in told if some) + _life(after)


def _rights(robot: Any) -> frozenset[Right]:
    return frozenset(map(Right.parse, robot["rights"]))


def _life(robot: Any) -> str:
    return f" for {robot['days']} days" if robot.get("days") else ""
