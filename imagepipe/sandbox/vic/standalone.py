"""Users and projects in Harbor's own database: Harbor 1.x without Admiral.

Source: goharbor/harbor v1.7.8 src/core/auth/authenticator.go, src/core/promgr/pmsdriver/local/local.go.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field

from imagepipe.sandbox.harbor.store import Row, Store, matches
from imagepipe.sandbox.vic.directory import DEVELOPER, MAINTAINER, ROLE_NAMES, Caller, Project


@dataclass
class LocalDirectory:
    """The database is the directory.

    Attributes:
        stamp: Returns the present time as it is stored.
        lock_s: Seconds that a name stays locked after a wrong password, and that the answer takes.
            Source: goharbor/harbor v1.7.8 src/core/auth/authenticator.go (frozenTime).
        known: The ids of the roles that this version knows; a newer Harbor may have left others in the database.
    """

    store: Store
    stamp: Callable[[], str]
    lock_s: float
    known: Collection[int] = tuple(ROLE_NAMES)
    _failures: dict[str, float] = field(default_factory=dict)

    async def enter(self, name: str, password: str) -> Caller | None:
        """Returns who has this name and password; a wrong one locks the name."""
        if time.monotonic() - self._failures.get(name, float("-inf")) < self.lock_s:
            return None
        row = self.store.one("SELECT * FROM users WHERE username = ? AND deleted = 0", name)
        if row is not None and matches(password, row):
            return self.caller(row)
        self._failures[name] = time.monotonic()
        await asyncio.sleep(self.lock_s)
        return None

    def caller(self, row: Row) -> Caller:
        """Returns the holder of a user's row."""
        user_id = int(row["id"])
        return Caller(
            name=row["username"],
            sysadmin=bool(row["sysadmin"]),
            user_id=user_id,
            roles=lambda project_id: self._roles(project_id, user_id),
            global_manager=True,
        )

    def holder(self, token: str) -> Caller | None:  # noqa: ARG002 - there are no tokens here
        """Returns None."""
        return None

    def project(self, key: str | int) -> Project | None:
        """Returns a project."""
        row = self.store.project(key)
        return self._project(row) if row else None

    def projects(self, caller: Caller | None) -> list[Project]:
        """Returns what the caller sees, by name."""
        rows = self.store.all("SELECT * FROM projects WHERE deleted = 0 ORDER BY name")
        everything = [self._project(row) for row in rows]
        return [project for project in everything if caller is None or caller.may_read(project)]

    def create(self, caller: Caller, name: str, metadata: Mapping[str, str]) -> int:
        """Makes a project that belongs to the caller.

        Raises:
            sqlite3.IntegrityError: The name is taken.
        """
        now = self.stamp()
        with self.store.transaction():
            project_id = self.store.insert(
                "projects", name=name, owner_id=caller.user_id, creation_time=now, update_time=now
            )
            self.store.insert("members", project_id=project_id, entity_type="u", entity_id=caller.user_id, role=1)
            for key, value in metadata.items():
                self.store.insert("metadata", project_id=project_id, key=key, value=value)
        return project_id

    def _project(self, row: Row) -> Project:
        owner = self.store.value("SELECT username FROM users WHERE id = ?", row["owner_id"])
        return Project(row["id"], row["name"], self.store.metadata(row["id"]), {**row, "owner_name": owner or ""})

    def _roles(self, project_id: int, user_id: int) -> list[int]:
        held = self.store.roles(project_id, user_id)
        shown = [DEVELOPER if role == MAINTAINER and role not in self.known else role for role in held]
        return [role for role in shown if role in self.known]
