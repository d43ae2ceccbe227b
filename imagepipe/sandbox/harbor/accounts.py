"""Users and groups as Harbor's three ways to authenticate know them: its own database, LDAP, OIDC.

Source: goharbor/harbor v2.15.2 src/core/auth/{authenticator,db/db,ldap/ldap,oidc/oidc}.go,
src/pkg/usergroup/{manager,dao/dao}.go.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from imagepipe.sandbox.harbor.config import HarborConfig
from imagepipe.sandbox.harbor.directory import Account, Directory, is_dn
from imagepipe.sandbox.harbor.problems import HarborError, not_found
from imagepipe.sandbox.harbor.store import Row, Store, hashed, matches, new_secret, timestamp

# Source: v2.15.2 src/common/const.go (LDAPGroupType, OIDCGroupType).
LDAP_GROUP: Final = 1
OIDC_GROUP: Final = 3
LOCAL_ADMIN: Final = 1
"""The one user whose password Harbor keeps whatever the mode."""
# What the secret of an OIDC user opens besides /v2 and tokens.
# Source: v2.15.2 src/server/middleware/security/oidc_cli.go (valid).
_CLI: Final = {
    "POST": re.compile(r"/api/v2\.0/projects"),
    "GET": re.compile(r"/api/version|/api/v2\.0/(projects|systeminfo|labels|projects/.*/repositories(/.*/artifacts)?)"),
    "DELETE": re.compile(r"/api/v2\.0/projects/.*/repositories/.*/artifacts/.*/tags/.*"),
}


@dataclass(frozen=True)
class Accounts:
    """The users and groups of one stand-in, in its database and outside."""

    store: Store
    config: HarborConfig
    now: Callable[[], float]

    @property
    def mode(self) -> str:
        """Returns db, ldap or oidc."""
        return self.config.auth_mode

    @property
    def outside(self) -> Directory:
        """Returns the directory or provider."""
        return self.config.directory

    def user(self, name: str) -> Row | None:
        """Returns a user whom Harbor knows already."""
        return self.store.one("SELECT * FROM users WHERE deleted = 0 AND username = ?", name)

    def login(self, name: str, password: str) -> Row | None:
        """Returns the user whose password this is; someone new from LDAP becomes a user by it."""
        row = self.user(name)
        if self.mode == "db" or (row is not None and row["id"] == LOCAL_ADMIN):
            return row if row is not None and matches(password, row) else None
        account = self.outside.account(name) if self.mode == "ldap" else None
        if account is None or not password or account.password != password:
            return None
        return self.onboard(account, "from LDAP.")

    def locks(self, name: str) -> bool:
        """Returns whether a failed login locks the name: under OIDC only the local administrator's."""
        row = self.user(name)
        return self.mode != "oidc" or (row is not None and row["id"] == LOCAL_ADMIN)

    def cli_user(self, method: str, path: str, name: str, secret: str) -> Row | None:
        """Returns the OIDC user whose CLI secret this is, where such a secret counts at all."""
        path = path.rstrip("/")
        opened = path == "/service/token" or path.startswith("/v2")
        pattern = _CLI.get(method)
        if self.mode != "oidc" or not (opened or (pattern is not None and pattern.fullmatch(path))):
            return None
        row = self.user(name)
        return row if row is not None and row["id"] != LOCAL_ADMIN and matches(secret, row) else None

    def groups(self, name: str) -> tuple[int, ...]:
        """Returns the ids of the groups that a user brings along; those that are new become groups by it."""
        account = self.outside.account(name) if self.mode != "db" else None
        if account is None:
            return ()
        if self.mode == "oidc":
            return tuple(self._onboard_group(group, OIDC_GROUP, "") for group in account.groups)
        found = (self.outside.group(dn) for dn in account.groups if is_dn(dn))
        return tuple(self._onboard_group(group[1], LDAP_GROUP, group[0]) for group in found if group)

    def first_login(self, name: str) -> Row:
        """Makes a user of the provider one of Harbor's, as logging in to the web interface does.

        Raises:
            HarborError: 401, the provider has no such user.
        """
        account = self.outside.account(name) if self.mode == "oidc" else None
        if account is None:
            raise HarborError("UNAUTHORIZED", "unauthorized")
        self.groups(account.name)
        return self.onboard(account, "")

    def onboard(self, account: Account, comment: str) -> Row:
        """Returns the user that an account is here, made when it is not."""
        row = self.user(account.name)
        if row is not None:
            return row
        salt, stamp = secrets.token_hex(16), timestamp(self.now())
        user_id = self.store.insert(
            "users",
            username=account.name,
            email=account.email or (account.name if "@" in account.name else None),
            realname=account.realname,
            comment=comment,
            secret=hashed(new_secret(), salt),
            salt=salt,
            creation_time=stamp,
            update_time=stamp,
        )
        row = self.store.one("SELECT * FROM users WHERE id = ?", user_id)
        assert row is not None
        return row

    def user_id(self, name: str) -> int:
        """Returns the id of the user that a member request names; LDAP's need not have logged in before.

        Raises:
            HarborError: 404, nobody knows the user; under OIDC nobody can be asked.
        """
        row = self.user(name)
        if row is not None:
            return int(row["id"])
        if self.mode == "db":
            raise not_found(f"user {name} is not found")
        if self.mode == "oidc":
            raise not_found(f"{name} not found: not supported")
        account = self.outside.account(name)
        if account is None:
            raise not_found(f"no user found: {name}")
        return int(self.onboard(account, "from LDAP.")["id"])

    def group_by_dn(self, dn: str, name: str) -> int:
        """Returns the id of the LDAP group of that DN, which `name` renames as it becomes a group here."""
        sql = "SELECT id FROM user_groups WHERE ldap_group_dn = ? AND group_type = ?"
        found = self.store.value(sql, dn, LDAP_GROUP)
        return int(found) if found is not None else self._search_group(dn, name)

    def group_by_name(self, name: str, kind: int) -> int:
        """Returns the id of the group of that name and kind; under OIDC every name is a group's."""
        found = self.store.value("SELECT id FROM user_groups WHERE group_name = ? AND group_type = ?", name, kind)
        return int(found) if found is not None else self._search_group(name, "")

    def _search_group(self, key: str, name: str) -> int:
        """Returns the id of a group that is sought outside.

        Raises:
            HarborError: 404 where there are no groups, or the DN lies elsewhere; 500 for other unknown DNs.
        """
        if self.mode == "oidc":
            return self._onboard_group(key, OIDC_GROUP, "")
        if self.mode == "db":
            raise not_found(f"{key} not found: not supported")
        dn, found = self.ldap_group(key)
        if self.store.one("SELECT 1 FROM user_groups WHERE ldap_group_dn = ?", dn):
            raise HarborError("UNKNOWN", "a LDAP user group with same DN already exist")
        return self._onboard_group(name or found, LDAP_GROUP, dn)

    def ldap_group(self, key: str) -> tuple[str, str]:
        """Returns (DN, name) of a group in the directory.

        Raises:
            HarborError: 500 for what is no DN or names nothing: LDAP's errors carry no code; 404 outside the base.
        """
        if not is_dn(key):
            raise HarborError("UNKNOWN", "the LDAP group DN is invalid")
        if not self.outside.covers(key):
            raise not_found(f"failed to searh ldap group with groupDN:{key}")
        found = self.outside.group(key)
        if found is None:
            raise HarborError("UNKNOWN", "entity not found")
        return found

    def _onboard_group(self, name: str, kind: int, dn: str) -> int:
        """Returns the id of a group, made when it is not here; a second LDAP group of one name is named by its DN."""
        dn = dn.strip().lower()
        if kind == LDAP_GROUP:
            same = self._group("group_name = ? AND group_type = ?", (name, kind))
            if same is not None and same["ldap_group_dn"] != dn:
                name, same = dn[:254], self._group("ldap_group_dn = ? AND group_type = ?", (dn, kind))
        else:
            same = self._group("group_name = ? AND group_type = ?", (name, kind))
        return int(same["id"]) if same is not None else self.add_group(name, kind, dn)

    def _group(self, where: str, values: Iterable[object]) -> Row | None:
        return self.store.one(f"SELECT * FROM user_groups WHERE {where}", *values)  # noqa: S608 - our own clauses

    def add_group(self, name: str, kind: int, dn: str) -> int:
        """Makes a group and returns its id."""
        stamp = timestamp(self.now())
        times = {"creation_time": stamp, "update_time": stamp}
        return self.store.insert(
            "user_groups", group_name=name, group_type=kind, ldap_group_dn=dn.strip().lower(), **times
        )
