"""How Harbor 1.7.8 asks Admiral, at every request, who somebody is and what a project is.

Source: goharbor/harbor v1.7.8 src/core/promgr/pmsdriver/admiral/admiral.go, src/common/security/admiral/authcontext/.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Final

from imagepipe.sandbox.harbor.store import Row
from imagepipe.sandbox.vic.admiral_people import principal_id
from imagepipe.sandbox.vic.admiral_state import INDEX, PROPERTIES, AdmiralState
from imagepipe.sandbox.vic.directory import DEVELOPER, GUEST, PROJECT_ADMIN, Caller, Project

_ROLE_OF_LIST: Final = {"administrators": PROJECT_ADMIN, "members": DEVELOPER, "viewers": GUEST}
# What Go's strconv.ParseBool takes.
_BOOLEANS: Final = {
    **dict.fromkeys(("1", "t", "T", "true", "TRUE", "True"), "true"),
    **dict.fromkeys(("0", "f", "F", "false", "FALSE", "False"), "false"),
}


@dataclass
class AdmiralDirectory:
    """Admiral is the directory.

    Attributes:
        holds: Returns the principal that holds a token.
    """

    state: AdmiralState
    holds: Callable[[str], str | None]

    async def enter(self, name: str, password: str) -> Caller | None:
        """Returns who has this name and password; Harbor then sees every project, as its service user does."""
        own = principal_id(name)
        known = self.state.people.knows_password(own, password)
        return replace(self._caller(own), global_manager=True) if known else None

    def holder(self, token: str) -> Caller | None:
        """Returns who holds a token."""
        own = self.holds(token)
        return self._caller(own) if own else None

    def project(self, key: str | int) -> Project | None:
        """Returns a project by name or by index."""
        row = self.state.project_by_index(key) if isinstance(key, int) else self.state.project_by_name(key)
        return self._project(row) if row else None

    def projects(self, caller: Caller | None) -> list[Project]:
        """Returns what the caller's token sees; with a password that is everything."""
        everything = [self._project(row) for row in self.state.projects()]
        if caller is None or caller.global_manager or caller.sysadmin:
            return everything
        # Nobody's token is empty: Admiral lists nothing for a guest.
        return [project for project in everything if caller.name and caller.roles(project.id)]

    def create(self, caller: Caller, name: str, metadata: Mapping[str, str]) -> int:  # noqa: ARG002 - no owner there
        """Makes a project through Admiral; nobody becomes its member.

        Raises:
            sqlite3.IntegrityError: The name is taken.
        """
        properties = {theirs: metadata.get(ours, "false") for ours, theirs in PROPERTIES.items()}
        properties[PROPERTIES["severity"]] = metadata.get("severity", "")
        made = self.state.create(name, public=metadata.get("public") == "true", description="", properties=properties)
        return int(made["project_id"])

    def _caller(self, own: str) -> Caller:
        names = (own, *self.state.people.groups_of(own))

        def roles(project_id: int) -> list[int]:
            row = self.state.project_by_index(project_id)
            return [_ROLE_OF_LIST[where] for where in self.state.lists_of(row["link"], names)] if row else []

        return Caller(name=own, sysadmin=self.state.people.is_cloud_admin(own), roles=roles)

    def _project(self, row: Row) -> Project:
        properties = json.loads(row["properties"])
        metadata = {"public": "true"} if row["public"] else {}
        broken = "" if properties.get(INDEX) else "property __projectIndex is null"
        for ours, theirs in PROPERTIES.items():
            value = properties.get(theirs) or ""
            if not value:
                continue
            if ours != "severity" and value not in _BOOLEANS:
                broken = (
                    f'failed to parse {theirs} {value} to bool: strconv.ParseBool: parsing "{value}": invalid syntax'
                )
            metadata[ours] = _BOOLEANS.get(value, value)
        # Admiral has no times that Harbor reads, and no owner.
        return Project(row["project_id"], row["name"], metadata, broken=broken)
