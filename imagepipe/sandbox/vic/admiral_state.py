"""What Admiral knows: single sign-on's principals, projects, and who has which role, beside Harbor's own tables.

Source: vmware/admiral vic_v1.5.6 auth/src/main/java/com/vmware/admiral/auth/{project,idm}/.
"""

from __future__ import annotations

import json
import secrets
import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final

from imagepipe.sandbox.harbor.store import Row, Store, matches, timestamp

DOMAIN: Final = "vsphere.local"
"""The domain of who logs in without one. Source: vSphere's default identity source."""
DEFAULT_PROJECT: Final = "default-project"
ADMINISTRATORS: Final = f"administrators@{DOMAIN}"
LISTS: Final = ("administrators", "members", "viewers")
ROLE_OF_LIST: Final = {"administrators": "PROJECT_ADMIN", "members": "PROJECT_MEMBER", "viewers": "PROJECT_VIEWER"}
_LIST_OF_ROLE: Final = {1: "administrators", 2: "members", 3: "viewers", 4: "members", 5: "viewers"}
PROPERTIES: Final = {
    "enable_content_trust": "__enableContentTrust",
    "prevent_vul": "__preventVulnerableImagesFromRunning",
    "severity": "__preventVulnerableImagesFromRunningSeverity",
    "auto_scan": "__automaticallyScanImagesOnPush",
}
"""Harbor's metadata, and what Admiral calls them. Source: H v1.7.8 src/core/promgr/pmsdriver/admiral/admiral.go."""
INDEX: Final = "__projectIndex"


def principal_id(name: str) -> str:
    """Returns the id of a login name: lower case, with the default domain where it has none.

    Source: vmware/admiral vic_v1.5.6 auth/…/util/PrincipalUtil.java:149.
    """
    lower = name.lower()
    return lower if "@" in lower else f"{lower}@{DOMAIN}"


@dataclass
class AdmiralState:
    """The tables of one Admiral."""

    store: Store
    now: Callable[[], float]

    def adopt(self) -> None:
        """Takes over what a Harbor with users and members of its own left in the database."""
        with self.store.transaction():
            for user in self.store.all("SELECT * FROM users WHERE deleted = 0"):
                own = self.add_principal(user["username"], email=user["email"] or "", user=user["id"])
                if user["sysadmin"]:
                    self.set_cloud_admin(own, on=True)
            self.set_cloud_admin(self.add_principal(ADMINISTRATORS, type_="GROUP"), on=True)
            # A fresh VIC has this public project and no `library`. Source: vic-product v1.5.8 docs create_projects.md
            self.store.run("UPDATE projects SET name = ? WHERE id = 1 AND name = 'library'", DEFAULT_PROJECT)
            known = "SELECT project_id FROM admiral_projects"
            for row in self.store.all(f"SELECT * FROM projects WHERE deleted = 0 AND id NOT IN ({known})"):  # noqa: S608
                self._adopt_project(row)

    def _adopt_project(self, row: Row) -> None:
        metadata = self.store.metadata(row["id"])
        properties = {theirs: metadata[ours] for ours, theirs in PROPERTIES.items() if ours in metadata}
        link = DEFAULT_PROJECT if row["id"] == 1 else str(uuid.uuid4())
        self._insert(link, row["id"], "", public=metadata.get("public") == "true", properties=properties)
        for member in self.store.all("SELECT * FROM members WHERE project_id = ? AND entity_type = 'u'", row["id"]):
            name = self.store.value("SELECT username FROM users WHERE id = ? AND deleted = 0", member["entity_id"])
            if name:
                self.assign(link, _LIST_OF_ROLE[member["role"]], principal_id(name), "USER")

    def _insert(self, link: str, index: int, description: str, *, public: bool, properties: dict[str, str]) -> None:
        self.store.insert(
            "admiral_projects",
            link=link,
            project_id=index,
            description=description,
            public=int(public),
            properties=json.dumps({**properties, INDEX: str(index)}),
            created_ms=int(self.now() * 1000),
        )

    def add_principal(self, name: str, *, type_: str = "USER", email: str = "", user: int = 0) -> str:
        """Makes a user or a group known to single sign-on and returns its id."""
        own = principal_id(name)
        self.store.run(
            "INSERT OR IGNORE INTO admiral_principals VALUES (?, ?, ?, ?, ?)", own, type_, name, email or own, user
        )
        return own

    def remove_principal(self, own: str) -> None:
        """Deletes a principal from single sign-on; projects keep its name."""
        self.store.run("DELETE FROM admiral_principals WHERE id = ?", own)

    def join(self, group: str, member: str) -> None:
        """Puts a user or a group into a group."""
        self.store.run("INSERT OR IGNORE INTO admiral_group_members VALUES (?, ?)", group, member)

    def principal(self, wanted: str) -> Row | None:
        """Returns a principal by its id, whatever its case."""
        return self.store.one("SELECT * FROM admiral_principals WHERE id = ?", wanted.lower())

    def principals(self, criteria: str) -> list[Row]:
        """Returns whose id, name or mail holds a text."""
        rows = self.store.all("SELECT * FROM admiral_principals ORDER BY id")
        text = criteria.lower()
        return [row for row in rows if any(text in row[key].lower() for key in ("id", "name", "email"))]

    def knows_password(self, own: str, password: str) -> bool:
        """Returns whether a user has this password."""
        row = self.principal(own)
        user = self.store.one("SELECT * FROM users WHERE id = ? AND deleted = 0", row["user_id"]) if row else None
        return user is not None and matches(password, user)

    def groups_of(self, own: str) -> list[str]:
        """Returns the groups of a principal, those that groups are in included."""
        found: list[str] = []
        wanted = [own]
        while wanted:
            rows = self.store.all("SELECT group_id FROM admiral_group_members WHERE member_id = ?", wanted.pop())
            fresh = [row["group_id"] for row in rows if row["group_id"] not in found]
            found += fresh
            wanted += fresh
        return found

    def is_cloud_admin(self, own: str) -> bool:
        """Returns whether a principal, or a group it is in, administers everything."""
        admins = {row["id"] for row in self.store.all("SELECT id FROM admiral_cloud_admins")}
        return not admins.isdisjoint({own, *self.groups_of(own)})

    def set_cloud_admin(self, own: str, *, on: bool) -> None:
        """Gives or takes the role of a cloud administrator."""
        self.store.run("DELETE FROM admiral_cloud_admins WHERE id = ?", own)
        if on:
            self.store.insert("admiral_cloud_admins", id=own)

    def project(self, link: str) -> Row | None:
        """Returns a project by the last part of its link."""
        return self._one("link = ?", link)

    def project_by_index(self, index: int) -> Row | None:
        """Returns a project by Harbor's id of it."""
        return self._one("project_id = ?", index)

    def project_by_name(self, name: str) -> Row | None:
        """Returns a project by name."""
        return self._one("p.name = ?", name)

    def projects(self) -> list[Row]:
        """Returns every project, by name."""
        return self.store.all(f"{_PROJECTS} ORDER BY p.name")

    def _one(self, condition: str, value: str | int) -> Row | None:
        return self.store.one(f"{_PROJECTS} AND {condition}", value)

    def create(self, name: str, *, public: bool, description: str, properties: dict[str, str]) -> Row:
        """Makes a project without any member.

        Raises:
            sqlite3.IntegrityError: The name is taken.
        """
        stamp, link = timestamp(self.now()), str(uuid.uuid4())
        index = secrets.randbelow(2**31 - 4) + 2
        with self.store.transaction():
            self.store.insert("projects", id=index, name=name, owner_id=0, creation_time=stamp, update_time=stamp)
            self._insert(link, index, description, public=public, properties=properties)
        row = self.project(link)
        assert row is not None
        return row

    def change(self, row: Row, **values: Any) -> None:
        """Changes columns of a project."""
        for column, value in values.items():
            self.store.run(f"UPDATE admiral_projects SET {column} = ? WHERE link = ?", value, row["link"])  # noqa: S608
        self.store.run("UPDATE admiral_projects SET version = version + 1 WHERE link = ?", row["link"])

    def delete(self, row: Row) -> None:
        """Deletes a project; its name becomes free."""
        with self.store.transaction():
            freed = f"{row['name']}#{row['project_id']}"
            self.store.run("UPDATE projects SET deleted = 1, name = ? WHERE id = ?", freed, row["project_id"])
            self.store.run("DELETE FROM admiral_projects WHERE link = ?", row["link"])
            self.store.run("DELETE FROM admiral_roles WHERE link = ?", row["link"])

    def assign(self, link: str, where: str, own: str, type_: str) -> None:
        """Puts a principal into one list of a project."""
        self.store.run("INSERT OR IGNORE INTO admiral_roles VALUES (?, ?, ?, ?)", link, where, own, type_)

    def unassign(self, link: str, where: str, own: str, type_: str) -> None:
        """Takes a principal out of one list of a project."""
        sql = "DELETE FROM admiral_roles WHERE link = ? AND list = ? AND id = ? AND type = ?"
        self.store.run(sql, link, where, own, type_)

    def held(self, link: str, where: str, type_: str | None = None) -> list[Row]:
        """Returns who is in one list of a project."""
        rows = self.store.all("SELECT * FROM admiral_roles WHERE link = ? AND list = ? ORDER BY id", link, where)
        return [row for row in rows if type_ in (None, row["type"])]

    def lists_of(self, link: str, names: Iterable[str]) -> list[str]:
        """Returns in which lists of a project any of some principals is."""
        wanted = set(names)
        return [where for where in LISTS if any(row["id"] in wanted for row in self.held(link, where))]


_PROJECTS: Final = (
    "SELECT a.*, p.name, p.creation_time, p.update_time FROM admiral_projects a "
    "JOIN projects p ON p.id = a.project_id WHERE p.deleted = 0"
)
