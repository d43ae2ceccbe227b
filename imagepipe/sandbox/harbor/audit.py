"""What Harbor writes into its audit log: artifacts, tags, repositories, projects, robots, users and settings.

Who belongs to a project is not in it: member changes are recorded after 2.15 only (goharbor/harbor#23228).
Source: goharbor/harbor v2.15.2 src/controller/event/topic.go, src/pkg/auditext/event/.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from imagepipe.sandbox.harbor.store import Row

EXTENDED_SINCE: Final = (2, 13)
"""From here on the log has descriptions and results, under another path; the older log then stays empty."""
# Source: src/controller/event/handler/auditlog/auditlog.go of goharbor/harbor v2.0.0 to v2.15.2, compared tag by tag.
KIND_SINCE: Final[Mapping[str, tuple[int, int]]] = {
    "robot": (2, 12),
    "user": EXTENDED_SINCE,
    "configuration": EXTENDED_SINCE,
}
ANONYMOUS: Final = "anonymous"
# Source: v2.15.2 src/pkg/auditext/model/model.go (EventTypes); tags are recorded and missing there, too.
EVENT_TYPES: Final = (
    "create_artifact",
    "delete_artifact",
    "pull_artifact",
    "create_project",
    "delete_project",
    "delete_repository",
    "login_user",
    "logout_user",
    "create_user",
    "delete_user",
    "update_user",
    "create_robot",
    "delete_robot",
    "update_configuration",
)


@dataclass(frozen=True, slots=True)
class Event:
    """Something done.

    Attributes:
        operation: create, update, delete or pull.
        kind: The type of the resource.
        resource: Its name.
        description: The operation in words.
        project_id: Its project; 0 for what belongs to none.
        succeeded: Whether it was allowed and possible; most refused operations are not recorded at all.
    """

    operation: str
    kind: str
    resource: str
    description: str
    project_id: int = 0
    succeeded: bool = True


def of_artifact(operation: str, artifact: Row, tag: str = "") -> Event:
    """Returns the event of an artifact pushed (create), pulled or deleted, by tag or else by digest."""
    exact = f"{artifact['repository_name']}@{artifact['digest']}"
    named = f"{artifact['repository_name']}:{tag}" if tag else exact
    verb = "push" if operation == "create" else operation
    return Event(operation, "artifact", named, f"{verb} artifact: {exact}", artifact["project_id"])


def of(operation: str, kind: str, name: str, project_id: int) -> Event:
    """Returns the event of a project, repository, tag or robot created or deleted."""
    return Event(operation, kind, name, f"{operation} {kind}: {name}", project_id)


def of_user(operation: str, name: str, more: str = "", *, succeeded: bool = True) -> Event:
    """Returns the event of a user's change; `more` ends its description."""
    return Event(operation, "user", name, f"{operation} user with name: {name}{more}", succeeded=succeeded)


def of_configuration(*, succeeded: bool) -> Event:
    """Returns the event of changed settings."""
    return Event("update", "configuration", "configuration", "update configuration", succeeded=succeeded)
