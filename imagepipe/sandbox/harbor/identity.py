"""Who is asking: Harbor's authenticators in their order, ending in silent anonymity.

Source: goharbor/harbor v2.15.2 src/server/middleware/security/, src/common/security/, src/core/auth/.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from imagepipe.sandbox.harbor.accounts import Accounts
from imagepipe.sandbox.harbor.config import HarborConfig
from imagepipe.sandbox.harbor.faults import Faults
from imagepipe.sandbox.harbor.rbac import PUBLIC, ROLES, SELF, Permission
from imagepipe.sandbox.harbor.store import Row, Store, matches, seconds
from imagepipe.sandbox.harbor.tokens import TokenMaker

LEEWAY_S = 60
"""How far a token's times may be off. Source: v2.15.2 src/common/const.go (JwtLeeway)."""


class Caller(Protocol):
    """One security context: a person, a robot, a registry token, or nobody."""

    @property
    def kind(self) -> str:
        """Returns Harbor's name of the context: local, robot or v2token."""
        ...

    @property
    def username(self) -> str:
        """Returns the login name, empty when anonymous."""
        ...

    @property
    def sysadmin(self) -> bool:
        """Returns whether everything is allowed."""
        ...

    def may(self, project_id: int, permission: Permission) -> bool:
        """Returns whether the caller has this permission in a project; id 0 is no project."""
        ...

    def may_system(self, permission: Permission) -> bool:
        """Returns whether the caller has this permission on the system."""
        ...


@dataclass(frozen=True, slots=True)
class Person:
    """A user with its groups' ids; without a row, nobody."""

    store: Store
    row: Row | None = None
    groups: tuple[int, ...] = ()
    kind: str = "local"

    @property
    def username(self) -> str:
        """Returns the login name, empty when anonymous."""
        return str(self.row["username"]) if self.row else ""

    @property
    def user_id(self) -> int:
        """Returns the user id, 0 when anonymous."""
        return int(self.row["id"]) if self.row else 0

    @property
    def sysadmin(self) -> bool:
        """Returns whether the user is a system administrator."""
        return bool(self.row and self.row["sysadmin"])

    def may(self, project_id: int, permission: Permission) -> bool:
        """Returns whether a role, or a public project, gives the permission."""
        if self.sysadmin:
            # An administrator is no scanner: pull policies hold for them too.
            # Source: v2.15.2 src/pkg/permission/evaluator/admin/admin.go.
            return permission[1] != "scanner-pull"
        if self.store.project(project_id) is None:
            return False
        if _is_public(self.store, project_id) and permission in PUBLIC:
            return True
        return any(permission in ROLES.get(role, ()) for role in self.roles(project_id))

    def roles(self, project_id: int) -> list[int]:
        """Returns the role ids held in a project."""
        return self.store.roles(project_id, self.user_id, self.groups)

    def may_system(self, permission: Permission) -> bool:  # noqa: ARG002 - only administrators may, and they may all
        """Returns whether the user is a system administrator."""
        return self.sysadmin


@dataclass(frozen=True, slots=True)
class Robot:
    """A robot account; `name` is the full login name."""

    store: Store
    row: Row
    name: str
    kind: str = "robot"
    sysadmin: bool = False

    @property
    def username(self) -> str:
        """Returns the login name."""
        return self.name

    @property
    def system_level(self) -> bool:
        """Returns whether the robot belongs to no project."""
        return bool(self.row["project_id"] == 0)

    def grants(self) -> list[Row]:
        """Returns the robot's permissions as created: kind, namespace, scope, access."""
        grants: list[Row] = json.loads(self.row["permissions"])
        return grants

    def may(self, project_id: int, permission: Permission) -> bool:
        """Returns whether the robot, or a public project, gives the permission."""
        if self.store.project(project_id) is None:
            return False
        scopes = {f"/project/{project_id}", "/project/*"} if self.system_level else {f"/project/{project_id}"}
        granted = self._granted(scopes)
        if granted.get(permission) == "deny":
            return False
        # Pushing implies pulling for robots of a project only.
        # Source: v2.15.2 src/common/security/robot/context.go (filterRobotPolicies).
        implied = not self.system_level and permission == ("repository", "pull") and ("repository", "push") in granted
        return permission in granted or implied or (_is_public(self.store, project_id) and permission in PUBLIC)

    def may_system(self, permission: Permission) -> bool:
        """Returns whether the robot holds this system permission."""
        return self.system_level and self._granted({"/system"}).get(permission, "deny") != "deny"

    def _granted(self, scopes: set[str]) -> dict[Permission, str]:
        """Returns the effect of every permission in `scopes`."""
        granted: dict[Permission, str] = {}
        for grant in self.grants():
            for access in grant["access"] if grant["scope"] in scopes else ():
                own = grant["scope"].startswith("/project") and access["resource"] == "project"
                permission = (SELF if own else access["resource"], access["action"])
                granted[permission] = "deny" if access.get("effect") == "deny" else granted.get(permission, "allow")
        return granted


@dataclass(frozen=True, slots=True)
class TokenBearer:
    """The holder of a registry token: knows repositories only, per project."""

    store: Store
    username: str
    actions: Mapping[str, frozenset[str]]
    kind: str = "v2token"
    sysadmin: bool = False

    def may(self, project_id: int, permission: Permission) -> bool:
        """Returns whether the token names this action on this project's repositories."""
        project = self.store.project(project_id)
        resource, action = permission
        return project is not None and resource == "repository" and action in self.actions.get(project["name"], ())

    def may_system(self, permission: Permission) -> bool:  # noqa: ARG002 - a token gives nothing beyond repositories
        """Returns False."""
        return False


def _is_public(store: Store, project_id: int) -> bool:
    return store.metadata(project_id).get("public") == "true"


def basic_credentials(header: str) -> tuple[str, str] | None:
    """Returns (name, password) of a Basic Authorization header, or None."""
    scheme, _, value = header.partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        name, colon, password = base64.b64decode(value, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return None
    return (name, password) if colon else None


@dataclass
class Gatekeeper:
    """Turns a request's credentials into a caller; wrong ones become nobody."""

    store: Store
    config: HarborConfig
    faults: Faults
    tokens: TokenMaker
    now: Callable[[], float]
    _failures: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.accounts = Accounts(self.store, self.config, self.now)

    async def identify(self, method: str, path: str, header: str, projects: tuple[str, ...]) -> Caller:
        """Returns the caller. A wrong password costs `lock_s` seconds and locks its user name for as long.

        Args:
            method: The HTTP method.
            path: The request's path: tokens count under /v2 only.
            header: The Authorization header, or empty.
            projects: The projects the request speaks of; a token must be younger than each of them.
        """
        if path.startswith("/v2") and header[:7].lower() == "bearer ":
            return self._token_bearer(header[7:], method, projects) or Person(self.store)
        credentials = basic_credentials(header)
        if credentials is None:
            return Person(self.store)
        row = self.accounts.cli_user(method, path, *credentials)
        if row is not None:
            return self._known(row)
        return self._robot(*credentials) or await self._person(*credentials)

    def robot_name(self, row: Row) -> str:
        """Returns a robot's full login name."""
        return self.store.setting("robot_name_prefix", self.config.robot_prefix) + str(row["name"])

    def _token_bearer(self, token: str, method: str, projects: tuple[str, ...]) -> TokenBearer | None:
        claims = self.tokens.claims(token)
        if claims is None or not claims["nbf"] - LEEWAY_S <= self.now() <= claims["exp"] + LEEWAY_S:
            return None
        if self.faults.token_is_spent(claims["jti"], method):
            return None
        for name in projects:
            project = self.store.project(name)
            if project is None or claims["iat"] + LEEWAY_S < seconds(project["creation_time"]):
                return None
        # A second scope in the same project replaces the first: access is kept per project.
        entries = (entry for entry in claims["access"] if entry["type"] == "repository")
        actions = {entry["name"].split("/")[0]: frozenset(entry["actions"]) for entry in entries}
        return TokenBearer(self.store, claims["sub"], actions)

    def _robot(self, name: str, secret: str) -> Robot | None:
        prefix = self.store.setting("robot_name_prefix", self.config.robot_prefix)
        if not name.startswith(prefix):
            return None
        row = self.store.one("SELECT * FROM robots WHERE name = ?", name.removeprefix(prefix))
        if row is None or not matches(secret, row) or row["disabled"] or self.faults.robot_is_expired(name):
            return None
        expired = row["expires_at"] != -1 and row["expires_at"] <= self.now()
        return None if expired else Robot(self.store, row, name)

    async def _person(self, name: str, password: str) -> Person:
        if time.monotonic() - self._failures.get(name, float("-inf")) <= self.config.lock_s:
            return Person(self.store)
        row = self.accounts.login(name, password)
        if row is not None:
            return self._known(row)
        if self.accounts.locks(name):
            self._failures[name] = time.monotonic()
            await asyncio.sleep(self.config.lock_s)
        return Person(self.store)

    def _known(self, row: Row) -> Person:
        return Person(self.store, row, self.accounts.groups(row["username"]))
