"""Where users and groups live when Harbor does not keep them itself: an LDAP directory, or an OIDC provider.

    {"base": "dc=example,dc=com",
     "users": {"ada": {"password": "...", "email": "ada@example.com",
                       "groups": ["cn=devs,ou=groups,dc=example,dc=com"]}},
     "groups": {"cn=devs,ou=groups,dc=example,dc=com": "devs"}}

A user's groups are DNs in LDAP and plain names in OIDC.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

# Source: RFC 4514 section 2; enough of it to tell a DN from a plain name, as go-ldap's ParseDN does.
_PART = re.compile(r"\s*[A-Za-z0-9][A-Za-z0-9.-]*\s*=.*")


@dataclass(frozen=True, slots=True)
class Account:
    """A user of the directory."""

    name: str
    password: str = field(default="", repr=False)
    realname: str = ""
    email: str = ""
    groups: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Directory:
    """All users and groups; `groups` has the name of each LDAP group by its DN, `base` is where groups are sought."""

    base: str = "dc=example,dc=com"
    users: Mapping[str, Account] = field(default_factory=dict)
    groups: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def parse(cls, data: Mapping[str, Any]) -> Self:
        """Returns the directory that `data` describes.

        Raises:
            ValueError: A key is unknown.
        """
        unknown = data.keys() - {"base", "users", "groups"}
        if unknown:
            raise ValueError(f"unknown keys: {', '.join(sorted(unknown))}")
        users = {
            name: Account(name, **{**entry, "groups": tuple(entry.get("groups", ()))})
            for name, entry in data.get("users", {}).items()
        }
        return cls(data.get("base", cls().base), users, dict(data.get("groups", {})))

    @classmethod
    def from_file(cls, path: Path) -> Self:
        """Returns the directory in the JSON file `path`, which holds passwords."""
        return cls.parse(json.loads(path.read_text("utf-8")))

    def account(self, name: str) -> Account | None:
        """Returns a user; case does not matter. Source: RFC 4519 section 2.39 (uid: caseIgnoreMatch)."""
        wanted = name.strip().lower()
        return next((user for key, user in self.users.items() if key.lower() == wanted), None)

    def group(self, dn: str) -> tuple[str, str] | None:
        """Returns (DN as the directory spells it, name) of a group."""
        wanted = parts_of(dn)
        return next(((key, name) for key, name in self.groups.items() if parts_of(key) == wanted), None)

    def covers(self, dn: str) -> bool:
        """Returns whether a DN lies below the base."""
        base = parts_of(self.base)
        return parts_of(dn)[-len(base) :] == base


def is_dn(text: str) -> bool:
    """Returns whether a text has the form of a DN."""
    return all(_PART.fullmatch(part) for part in re.split(r"(?<!\\),", text))


def parts_of(dn: str) -> tuple[str, ...]:
    """Returns a DN's parts; neither case nor blanks around signs matter."""
    parts = (part.partition("=") for part in re.split(r"(?<!\\),", dn.lower()))
    return tuple(f"{key.strip()}={value.strip()}" for key, _, value in parts)
