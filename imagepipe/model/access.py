"""Projects, members, roles and robots, as every Harbor dialect must be able to say them.

>>> Role.parse("maintainer").harbor_id
4
>>> str(Principal.parse("group:devs"))
'group:devs'
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Final, Literal

from imagepipe.errors import InputError

__all__ = [
    "PERMISSION_SETS",
    "PROJECT_SETTINGS",
    "ArtifactState",
    "AuditEntry",
    "Caller",
    "Grant",
    "Member",
    "Principal",
    "PrincipalKind",
    "Project",
    "ProjectFacts",
    "Right",
    "Robot",
    "RobotRequest",
    "RobotSecret",
    "Role",
]


class Role(StrEnum):
    """A project role, spelled as Harbor spells it. Law: `Role.parse(str(r)) == r`.

    Source: Harbor v2.15.2 src/common/const.go
    """

    PROJECT_ADMIN = "projectAdmin"
    MAINTAINER = "maintainer"
    DEVELOPER = "developer"
    GUEST = "guest"
    LIMITED_GUEST = "limitedGuest"

    @classmethod
    def parse(cls, text: str) -> "Role":
        """Returns the role of that name; case, `-` and `_` do not matter, and `admin` is projectAdmin.

        Raises:
            InputError: There is no such role.
        """
        wanted = text.lower().replace("-", "").replace("_", "")
        for role in cls:
            if wanted == role.value.lower() or (wanted == "admin" and role is cls.PROJECT_ADMIN):
                return role
        raise InputError(f"no role named {text[:60]!r}", hint=f"use one of {', '.join(cls)}")

    @property
    def harbor_id(self) -> int:
        """The number that Harbor's API gives the role."""
        return _ROLE_IDS[self]

    @classmethod
    def of_harbor_id(cls, number: int) -> "Role":
        """Returns the role with that number.

        Raises:
            InputError: There is none: Harbor itself takes any number and then hides the member.
        """
        for role, role_id in _ROLE_IDS.items():
            if role_id == number:
                return role
        raise InputError(f"no role has the number {number}", hint="ask who wrote it, and set a real role")


_ROLE_IDS: Final = {
    Role.PROJECT_ADMIN: 1,
    Role.DEVELOPER: 2,
    Role.GUEST: 3,
    Role.MAINTAINER: 4,
    Role.LIMITED_GUEST: 5,
}


class PrincipalKind(StrEnum):
    """Who a member is."""

    USER = "user"
    GROUP = "group"


@dataclass(frozen=True, slots=True, order=True)
class Principal:
    """A user or a group, by name. Law: `Principal.parse(str(p)) == p`.

    Attributes:
        kind: User or group.
        name: As Harbor knows it; `@`, spaces and a leading `group:` inside a user's name are its own business.
    """

    kind: PrincipalKind
    name: str

    def __post_init__(self) -> None:
        if not self.name.strip() or self.name != self.name.strip():
            raise InputError(f"not a member's name: {self.name[:80]!r}", hint="leave no blanks around it")

    @classmethod
    def parse(cls, text: str) -> "Principal":
        """Returns the principal that `name`, `user:name` or `group:name` spells."""
        kind, colon, name = text.partition(":")
        if colon and kind in tuple(PrincipalKind):
            return cls(PrincipalKind(kind), name)
        return cls(PrincipalKind.USER, text)

    def __str__(self) -> str:
        plain = self.kind is PrincipalKind.USER and self.name.partition(":")[0] not in tuple(PrincipalKind)
        return self.name if plain else f"{self.kind}:{self.name}"


@dataclass(frozen=True, slots=True)
class Member:
    """One member of a project; `handle` is what the dialect needs to find it again, opaque to everybody else."""

    principal: Principal
    role: Role
    handle: str = field(default="", compare=False)


# Our name of a setting, and what kind of value it has. Each dialect maps them to its own keys and says what it lacks.
PROJECT_SETTINGS: Final[Mapping[str, type]] = {
    "public": bool,
    "auto_scan": bool,
    "auto_sbom": bool,
    "prevent_vulnerable": bool,
    "max_severity": str,
    "require_cosign": bool,
    "require_notation": bool,
    "reuse_system_cve_allowlist": bool,
    "storage_limit_bytes": int,
}


@dataclass(frozen=True, slots=True)
class Project:
    """A project and its settings.

    Attributes:
        name: Its name; may be digits only.
        settings: By the names of `PROJECT_SETTINGS`; what the dialect does not know is absent.
            `storage_limit_bytes` is -1 for unlimited, and absent where the caller may not see it.
        handle: The dialect's own id.
    """

    name: str
    settings: Mapping[str, bool | str | int] = field(default_factory=dict, hash=False)
    handle: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class ProjectFacts:
    """What a project holds; None where the caller may not know or the dialect cannot tell.

    Attributes:
        repositories: How many.
        used_bytes: Storage used.
        last_push: When something was pushed last.
        limit_bytes: How much it may use; -1: as much as there is.
    """

    repositories: int | None
    used_bytes: int | None
    last_push: datetime | None
    limit_bytes: int | None = None


@dataclass(frozen=True, slots=True, order=True)
class Right:
    """One permission: an action on a kind of resource (`repository:push`). Law: `Right.parse(str(r)) == r`."""

    resource: str
    action: str

    @classmethod
    def parse(cls, text: str) -> "Right":
        """Returns the right that `resource:action` spells.

        Raises:
            InputError: The text has another shape.
        """
        resource, colon, action = text.partition(":")
        if not resource or not action or not colon or ":" in action:
            raise InputError(f"not a right: {text[:80]!r}", hint="write resource:action, such as repository:push")
        return cls(resource, action)

    def __str__(self) -> str:
        return f"{self.resource}:{self.action}"


def _rights(*texts: str) -> frozenset[Right]:
    return frozenset(Right.parse(text) for text in texts)


_PULL = _rights("repository:pull", "repository:read", "repository:list", "artifact:read", "artifact:list", "tag:list")
_PUSH = _PULL | _rights("repository:push", "artifact:create", "tag:create", "accessory:list")
# Least rights by purpose. Source: Harbor v2.15.2 src/common/rbac/const.go (project-level robot permissions).
PERMISSION_SETS: Final[Mapping[str, frozenset[Right]]] = {
    "pull": _PULL,
    "push": _PUSH,
    "ci": _PUSH | _rights("scan:create", "scan:read", "artifact-label:create", "immutable-tag:list", "quota:read"),
    "read": _rights("project:read", "repository:list", "repository:read", "artifact:list", "artifact:read", "tag:list"),
}


@dataclass(frozen=True, slots=True)
class Grant:
    """What a robot of the whole Harbor may do in one place.

    Attributes:
        namespace: A project, `*` for every project there is and will be, or `/` for the system itself.
        rights: What it may do there.
    """

    namespace: str
    rights: frozenset[Right]


@dataclass(frozen=True, slots=True)
class RobotRequest:
    """A robot to make.

    Attributes:
        name: Without prefix and project.
        project: Its project, or None for a robot of the whole Harbor.
        rights: What it may do there.
        days: How long it lives; None: for ever.
        description: For people.
        grants: Where a robot of the whole Harbor may do what, in the order of names; empty: all of it everywhere.
    """

    name: str
    project: str | None
    rights: frozenset[Right]
    days: int | None
    description: str = ""
    grants: tuple[Grant, ...] = ()

    def __post_init__(self) -> None:
        if self.days is not None and not 1 <= self.days <= 2**31 - 2:
            raise InputError(f"a robot cannot live {self.days} days", hint=f"give 1 to {2**31 - 2} days")
        if not self.rights:
            raise InputError(
                f"robot {self.name} would have no rights", hint=f"name some of {', '.join(PERMISSION_SETS)}"
            )


@dataclass(frozen=True, slots=True)
class Robot:
    """A robot account, without its secret.

    Attributes:
        name: Without prefix and project (`ci`).
        login: What it logs in as (`robot$es-sandbox+ci`).
        project: Its project, or None for a robot of the whole Harbor.
        expires_at: Aware, UTC; None: never.
        disabled: Whether it is switched off.
        grants: Where a robot of the whole Harbor may do what, in the order of names; `rights` is all of that.
        days: How long it lives from its making; None: for ever, or this Harbor does not tell.
        handle: The dialect's own id.
    """

    name: str
    login: str
    project: str | None
    rights: frozenset[Right]
    expires_at: datetime | None
    disabled: bool
    description: str = ""
    grants: tuple[Grant, ...] = ()
    days: int | None = field(default=None, compare=False)
    handle: str = field(default="", compare=False)

    def expired(self, now: datetime) -> bool:
        """Tells whether it no longer lets anybody in."""
        return self.expires_at is not None and self.expires_at <= now


@dataclass(frozen=True, slots=True)
class RobotSecret:
    """A robot and its secret, which Harbor tells only once; it never shows in a repr."""

    robot: Robot
    secret: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One line of the audit log."""

    at: datetime
    user: str
    operation: str
    resource_type: str
    resource: str
    succeeded: bool = True
    handle: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class Caller:
    """Whom Harbor takes us for, proven by a call that needs credentials."""

    name: str
    kind: Literal["user", "robot"]
    system_admin: bool = False


@dataclass(frozen=True, slots=True)
class ArtifactState:
    """What about an image decides whether Harbor lets it be pulled, and its tag be moved.

    Attributes:
        immutable: Whether a rule keeps the tag where it is.
        signatures: `cosign`, `notation`: what is attached, whoever made it.
        severity: The worst that its scan found, in lower case; None: there is no finished scan.
        counts_bundles: Whether this Harbor takes a Sigstore bundle for cosign's signature.
    """

    immutable: bool
    signatures: frozenset[str]
    severity: str | None
    counts_bundles: bool = True
