"""What Admiral knows: single sign-on's principals, projects, and who has which role, beside Harbor's own tables.

Source: vmware/admiral vic_v1.5.6 auth/src/main/java/com/vmware/admiral/auth/{project,idm}/.
"""

from __future__ import annotations

import json
import secrets
import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Final

from imagepipe.sandbox.harbor.store import Row, Store, timestamp
from imagepipe.sandbox.vic.admiral_people import DOMAIN, Principals, principal_id

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


@dataclass
class AdmiralState:
    """The tables of one Admiral.

    Attributes:
        people: Single sign-on's users and groups.
        now: Returns Unix seconds.
    """

    store: Store
    now: Callable[[], float]
    people: Principals = field(init=False)

    def __post_init__(self) -> None:
        self.people = Principals(self.store)

    def adopt(self) -> None:
        """Takes over what a Harbor with users and members of its own left in the database."""
        with self.store.transaction():
            for user in self.store.all("SELECT * FROM users WHERE deleted = 0"):
                own = self.people.add(user["username"], email=user["email"] or "", user=user["id"])
                if user["sysadmin"]:
                    self.people.set_cloud_admin(own, on=True)
            self.people.set_cloud_admin(self.people.add(ADMINISTRATORS, type_="GROUP"), on=True)
            # A fresh VIC has this public project and no `library`. Source: vic-product v1.5.8 docs create_projects.md
            self.store.run("UPDATE projects SET name = ? WHERE id = 1 AND name = 'library'", DEFAULT_PROJECT)
            known = "SELECT project_id FROM admiral_projects"
            for row in self.store.all(f"SELECT * FROM projects WHERE deleted = 0 AND id NOT IN ({known})"):  # noqa: S608 - our own words
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
            self.store.run(f"UPDATE admiral_projects SET {column} = ? WHERE link = ?", value, row["link"])  # noqa: S608 - our own words
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
