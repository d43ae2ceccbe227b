"""Single sign-on's principals: users, groups, and who administers everything.

Source: vmware/admiral vic_v1.5.6 auth/src/main/java/com/vmware/admiral/auth/{idm,util}/.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from imagepipe.sandbox.harbor.store import Row, Store, matches

DOMAIN: Final = "vsphere.local"
"""The domain of who logs in without one. Source: vSphere's default identity source."""


def principal_id(name: str) -> str:
    """Returns the id of a login name: lower case, with the default domain where it has none.

    Source: vmware/admiral vic_v1.5.6 auth/…/util/PrincipalUtil.java:149.
    """
    lower = name.lower()
    return lower if "@" in lower else f"{lower}@{DOMAIN}"


@dataclass
class Principals:
    """The principals of one single sign-on; ids are in lower case."""

    store: Store

    def add(self, name: str, *, type_: str = "USER", email: str = "", user: int = 0) -> str:
        """Makes a user or a group known to single sign-on and returns its id."""
        own = principal_id(name)
        self.store.run(
            "INSERT OR IGNORE INTO admiral_principals VALUES (?, ?, ?, ?, ?)", own, type_, name, email or own, user
        )
        return own

    def forget(self, own: str) -> None:
        """Deletes a principal from single sign-on; projects keep its name."""
        self.store.run("DELETE FROM admiral_principals WHERE id = ?", own)

    def join(self, group: str, member: str) -> None:
        """Puts a user or a group into a group."""
        self.store.run("INSERT OR IGNORE INTO admiral_group_members VALUES (?, ?)", group, member)

    def find(self, wanted: str) -> Row | None:
        """Returns a principal by its id, whatever its case."""
        return self.store.one("SELECT * FROM admiral_principals WHERE id = ?", wanted.lower())

    def search(self, criteria: str) -> list[Row]:
        """Returns whose id, name or mail holds a text."""
        rows = self.store.all("SELECT * FROM admiral_principals ORDER BY id")
        text = criteria.lower()
        return [row for row in rows if any(text in row[key].lower() for key in ("id", "name", "email"))]

    def knows_password(self, own: str, password: str) -> bool:
        """Returns whether a user has this password."""
        row = self.find(own)
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
