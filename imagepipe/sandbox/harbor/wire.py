"""Harbor's REST objects as JSON: zero values left out, lists inside objects null when empty.

Source: goharbor/harbor v2.15.2 api/v2.0/swagger.yaml (x-omitempty), src/server/v2.0/handler/model/.
"""

from __future__ import annotations

import json
from typing import Any

from imagepipe.sandbox.harbor.rbac import ROLE_NAMES, ROLE_RANK
from imagepipe.sandbox.harbor.store import Row, Store

NEVER = "0001-01-01T00:00:00.000Z"
"""Go's zero time, for what has not happened."""
Json = dict[str, Any]


def slim(**values: Any) -> Json:
    """Returns the object without its zero values, as Go's omitempty leaves them out."""
    return {key: value for key, value in values.items() if value not in ("", 0, None, {})}


def nullable(items: list[Any]) -> list[Any] | None:
    """Returns a list inside an object: Go writes an empty one as null."""
    return items or None


def user(row: Row) -> Json:
    """Returns a UserResp."""
    return {
        **slim(email=row["email"], realname=row["realname"], comment=row["comment"]),
        "user_id": row["id"],
        "username": row["username"],
        "sysadmin_flag": bool(row["sysadmin"]),
        "admin_role_in_auth": False,
        "creation_time": row["creation_time"],
        "update_time": row["update_time"],
    }


def project(store: Store, row: Row, roles: list[int]) -> Json:
    """Returns a Project as one caller, who holds `roles` in it, sees it."""
    best = next((role for role in ROLE_RANK if role in roles), 0)
    return {
        "project_id": row["id"],
        "name": row["name"],
        **slim(owner_id=row["owner_id"], owner_name=row.get("owner_name"), current_user_role_id=best),
        **slim(registry_id=store.value("SELECT registry_id FROM proxies WHERE project_id = ?", row["id"])),
        "creation_time": row["creation_time"],
        "update_time": row["update_time"],
        "current_user_role_ids": nullable(roles),
        "repo_count": store.value("SELECT count(*) FROM repositories WHERE project_id = ?", row["id"]),
        "metadata": store.metadata(row["id"]),
        "cve_allowlist": {
            "id": row["id"],
            "project_id": row["id"],
            "items": [],
            "creation_time": NEVER,
            "update_time": NEVER,
        },
    }


def member(row: Row) -> Json:
    """Returns a ProjectMemberEntity."""
    return {
        "id": row["id"],
        "project_id": row["project_id"],
        "entity_name": row["entity_name"],
        "role_name": ROLE_NAMES[row["role"]],
        "role_id": row["role"],
        "entity_id": row["entity_id"],
        "entity_type": row["entity_type"],
    }


def robot(row: Row, full_name: str) -> Json:
    """Returns a Robot; its secret is never shown again."""
    permissions = [
        {
            "kind": grant["kind"],
            "namespace": grant["namespace"],
            "access": [slim(**access) for access in grant["access"]],
        }
        for grant in json.loads(row["permissions"])
    ]
    return {
        "id": row["id"],
        "name": full_name,
        **slim(description=row["description"]),
        "level": "project" if row["project_id"] else "system",
        "duration": row["duration"],
        "editable": True,
        "disable": bool(row["disabled"]),
        "expires_at": row["expires_at"],
        "permissions": permissions,
        "creator_type": row["creator_type"],
        "creator_ref": row["creator_ref"],
        "creation_time": row["creation_time"],
        "update_time": row["update_time"],
    }


def repository(store: Store, row: Row) -> Json:
    """Returns a Repository; its artifact count leaves out what its artifact list leaves out."""
    count = store.value(f"SELECT count(*) FROM artifacts WHERE repository_id = ? AND {LISTED}", row["id"])  # noqa: S608 - our own words
    return {
        "id": row["id"],
        "project_id": row["project_id"],
        "name": row["name"],
        **slim(description=row["description"]),
        "artifact_count": count,
        "pull_count": row["pull_count"],
        "creation_time": row["creation_time"],
        "update_time": row["update_time"],
    }


LISTED = """(artifacts.id NOT IN (SELECT artifact_id FROM accessories)
  AND (artifacts.id NOT IN (SELECT child_id FROM children) OR artifacts.id IN (SELECT artifact_id FROM tags)))"""
"""What an artifact list shows: no accessories, and children of an index only when tagged."""


def tag(row: Row, *, immutable: bool = False) -> Json:
    """Returns a Tag."""
    names = ("id", "repository_id", "artifact_id", "name", "push_time", "pull_time")
    return {**{name: row[name] for name in names}, "immutable": immutable}


def accessory(row: Row) -> Json:
    """Returns an Accessory; without its subject here there is no subject id."""
    return {
        "id": row["id"],
        "artifact_id": row["artifact_id"],
        **slim(subject_artifact_id=row["subject_artifact_id"]),
        "subject_artifact_digest": row["subject_artifact_digest"],
        "subject_artifact_repo": row["subject_artifact_repo"],
        "size": row["size"],
        "digest": row["digest"],
        "type": row["type"],
        "icon": "",
        "creation_time": row["creation_time"],
    }


def reference(row: Row) -> Json:
    """Returns a Reference of an index to a child."""
    return {
        **slim(platform=json.loads(row["platform"]), annotations=json.loads(row["annotations"])),
        "parent_id": row["parent_id"],
        "child_id": row["child_id"],
        "child_digest": row["child_digest"],
        "urls": nullable(json.loads(row["urls"])),
    }


def label(row: Row) -> Json:
    """Returns a Label."""
    return {
        "id": row["id"],
        "name": row["name"],
        **slim(description=row["description"], color=row["color"]),
        "scope": row["scope"],
        **slim(project_id=row["project_id"]),
        "creation_time": row["creation_time"],
        "update_time": row["update_time"],
    }


def artifact(row: Row) -> Json:
    """Returns the part of an Artifact that is its own; what it relates to is added by its reader."""
    return {
        "id": row["id"],
        "type": row["type"],
        **slim(media_type=row["media_type"], artifact_type=row["artifact_type"]),
        "manifest_media_type": row["manifest_media_type"],
        "project_id": row["project_id"],
        "repository_id": row["repository_id"],
        "repository_name": row["repository_name"],
        "digest": row["digest"],
        "size": row["size"],
        "push_time": row["push_time"],
        "pull_time": row["pull_time"],
        **slim(extra_attrs=json.loads(row["extra_attrs"]), annotations=json.loads(row["annotations"])),
    }


def audit(row: Row, *, extended: bool) -> Json:
    """Returns an AuditLogExt, or the older AuditLog, which knows neither description nor result."""
    entry = {"id": row["id"]} | slim(
        username=row["username"],
        resource=row["resource"],
        resource_type=row["resource_type"],
        operation=row["operation"],
    )
    if extended:
        entry |= slim(operation_description=row["operation_description"])
        entry |= {"operation_result": bool(row["is_successful"])}
    return entry | {"op_time": row["op_time"]}


def group(row: Row) -> Json:
    """Returns a UserGroup without its id, as GET of one shows it; lists and searches add the id."""
    return slim(group_name=row["group_name"], group_type=row["group_type"], ldap_group_dn=row["ldap_group_dn"])


def quota(row: Row, used: int) -> Json:
    """Returns a Quota with the project it belongs to."""
    return {
        "id": row["id"],
        "ref": {"id": row["project_id"], "name": row["project_name"], "owner_name": row["owner_name"]},
        "hard": {"storage": row["hard"]},
        "used": {"storage": used},
        "creation_time": row["creation_time"],
        "update_time": row["update_time"],
    }
