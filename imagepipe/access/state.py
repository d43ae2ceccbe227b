"""What a project's access is or should be, and one change between the two.

>>> identity_of(Principal.parse("group:CN=Devs, DC=Example"))
('group', 'cn=devs,dc=example')
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from imagepipe.errors import InputError
from imagepipe.model.access import Principal, PrincipalKind, Right, Role
from imagepipe.model.digest import Digest

__all__ = [
    "AccessPlan",
    "Action",
    "Change",
    "DesiredProject",
    "ProjectState",
    "RobotState",
    "Setting",
    "Unmanaged",
    "fingerprint",
    "identity_of",
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
    DELETE_ROBOT = "delete robot"

    @property
    def symbol(self) -> str:
        """`+`, `~` or `-`."""
        if self in (Action.CREATE_PROJECT, Action.ADD_MEMBER, Action.CREATE_ROBOT):
            return "+"
        return "-" if self in (Action.REMOVE_MEMBER, Action.DELETE_ROBOT) else "~"


@dataclass(frozen=True, slots=True)
class RobotState:
    """A robot's rights; `days` is how long a new one shall live and is never compared."""

    rights: frozenset[Right]
    days: int | None = field(default=None, compare=False)


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
    def from_json(cls, data: Mapping[str, Any]) -> "Change":
        """Returns the change of a parsed JSON object.

        Raises:
            InputError: It is not one.
        """
        try:
            action = Action(data["action"])
            return cls(str(data["project"]), action, str(data["subject"]), data.get("before"), data.get("after"))
        except (KeyError, ValueError, TypeError) as error:
            raise InputError(f"not a change: {error}", hint="make a new plan with `imagepipe access plan`") from error


@dataclass(frozen=True, slots=True)
class AccessPlan:
    """Every change, in the order in which they are safe, and the state they were worked out from.

    Attributes:
        changes: What `apply` will do.
        reports: What differs and is left as it is, one line each.
        basis: The fingerprint of the state that was read; `apply` refuses another.
    """

    changes: tuple[Change, ...]
    reports: tuple[str, ...]
    basis: Digest

    def to_json(self) -> dict[str, Any]:
        """Returns `imagepipe.access-plan/v1`. Law: `AccessPlan.from_json(p.to_json()) == p`."""
        return {
            "schema": "imagepipe.access-plan/v1",
            "basis": str(self.basis),
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
        changes = tuple(Change.from_json(change) for change in data.get("changes") or ())
        return cls(changes, tuple(map(str, data.get("reports") or ())), Digest.parse(str(data.get("basis"))))


def identity_of(principal: Principal) -> tuple[str, str]:
    """Returns what makes two spellings the same principal: an LDAP name's case and blanks do not.

    Source: RFC 4514 (blanks round separators), RFC 4517 caseIgnoreMatch.
    """
    if principal.kind is PrincipalKind.GROUP and "=" in principal.name:
        parts = [part.strip() for part in principal.name.split(",")]
        return principal.kind.value, ",".join("=".join(x.strip() for x in part.split("=", 1)) for part in parts).lower()
    return principal.kind.value, principal.name


def fingerprint(names: Sequence[str], states: Mapping[str, ProjectState]) -> Digest:
    """Returns the digest of the state of these projects, absent ones included."""
    body = [states[name].to_json() if name in states else {"name": name, "absent": True} for name in sorted(names)]
    return Digest.of(json.dumps(body, sort_keys=True, separators=(",", ":")).encode())


def _shown(value: Any) -> str:
    return (
        ", ".join(map(str, value))
        if isinstance(value, list)
        else str(value).lower()
        if value in (True, False)
        else str(value)
    )
