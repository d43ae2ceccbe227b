"""REST: projects, their summary, and whether they can be deleted.

Source: goharbor/harbor v2.15.2 src/server/v2.0/handler/project.go, src/pkg/project/manager.go.
"""

from __future__ import annotations

import re
import sqlite3
from typing import Any

from starlette.responses import Response

from imagepipe.sandbox.harbor import audit, bodies, quotas, wire
from imagepipe.sandbox.harbor.api_system import setting
from imagepipe.sandbox.harbor.call import Call
from imagepipe.sandbox.harbor.identity import Person, Robot
from imagepipe.sandbox.harbor.problems import HarborError, bad_request, invalid, json_response
from imagepipe.sandbox.harbor.rbac import ROLE_NAMES, SELF
from imagepipe.sandbox.harbor.store import Row

NAME = re.compile(r"[a-z0-9]+(?:[._-][a-z0-9]+)*")
METADATA_KEYS = (
    "public",
    "enable_content_trust",
    "enable_content_trust_cosign",
    "prevent_vul",
    "severity",
    "auto_scan",
    "auto_sbom_generation",
    "reuse_sys_cve_allowlist",
    "retention_id",
)
"""What a project that is no proxy cache keeps; other keys are dropped without a word."""
COUNTS = {
    1: "project_admin_count",
    4: "maintainer_count",
    2: "developer_count",
    3: "guest_count",
    5: "limited_guest_count",
}


async def create_project(call: Call) -> Response:
    """`POST /projects`: the creator becomes its first project admin."""
    asked = await call.body(bodies.PROJECT)
    call.require_login()
    _check_creator(call)
    if asked.get("registry_id") is not None and not call.caller.may_system(("project", "create")):
        raise HarborError("FORBIDDEN", "Only system admin can create proxy cache project")
    metadata = _metadata(asked)
    if asked.get("registry_id"):
        # Dropped without a word; that of cosign is not.
        metadata.pop("enable_content_trust", None)
    limit = asked.get("storage_limit") if call.caller.may_system(("project", "create")) else None
    limit = limit or int(setting(call, "storage_per_project"))
    _check_new(asked, metadata, limit)
    owner = call.caller.user_id if isinstance(call.caller, Person) else _first_admin(call)
    project_id = _insert(call, asked["project_name"], owner, metadata, limit)
    if asked.get("registry_id"):
        # Any registry will do: the stand-in has none, and never asks it.
        call.store.insert("proxies", project_id=project_id, registry_id=asked["registry_id"])
    call.record(audit.of("create", "project", asked["project_name"], project_id))
    by_name = call.request.headers.get("x-resource-name-in-location", "").lower() == "true"
    return call.created(asked["project_name"] if by_name else project_id)


def _check_creator(call: Call) -> None:
    """Raises 403 when the caller may not create projects at all."""
    if isinstance(call.caller, Robot) and not call.caller.system_level:
        raise HarborError("FORBIDDEN", "Only system level robot can create project")
    only_admin = setting(call, "project_creation_restriction") == "adminonly"
    if only_admin and not call.caller.may_system(("project", "create")):
        raise HarborError("FORBIDDEN", "Only system admin can create project")


def _metadata(asked: dict[str, Any]) -> dict[str, str]:
    """Returns the metadata to store, every value a string.

    Raises:
        HarborError: 422, a value is no string.
    """
    given = asked.get("metadata") or {}
    for key, value in given.items():
        if not isinstance(value, str):
            raise invalid(
                'parsing project body from "" failed, because json: cannot unmarshal '
                f"{_go_kind(value)} into Go struct field ProjectMetadata.metadata.{key} of type string"
            )
    metadata = {key: given[key] for key in METADATA_KEYS if key in given}
    if "public" in asked and not metadata.get("public"):
        metadata["public"] = str(bool(asked["public"])).lower()
    return metadata


def _go_kind(value: object) -> str:
    kinds = {bool: "bool", dict: "object", list: "array"}
    return next((word for kind, word in kinds.items() if isinstance(value, kind)), "number")


def _check_new(asked: dict[str, Any], metadata: dict[str, str], limit: int) -> None:
    """Raises 400 for a project that Harbor refuses."""
    name = asked.get("project_name") or ""
    public = metadata.setdefault("public", "false")
    if public not in {"true", "false"}:
        raise bad_request(f"metadata.public should only be 'true' or 'false', but got: '{public}'")
    if metadata.pop("retention_id", ""):
        raise bad_request(
            "bad request: the retention_id in the request's payload when creating a project should be omitted, "
            "alternatively passing an empty string"
        )
    problem = quotas.problem_with({"storage": limit})
    if problem:
        raise bad_request(f"bad request: {problem}")
    if not 1 <= len(name) <= 255:
        raise bad_request(f"Project name {name} is illegal in length. (greater than 255 or less than 1)")
    if NAME.fullmatch(name) is None:
        raise bad_request("project name is not in lower case or contains illegal characters")


def _first_admin(call: Call) -> int:
    return int(call.store.value("SELECT min(id) FROM users WHERE sysadmin = 1 AND deleted = 0"))


def _insert(call: Call, name: str, owner: int, metadata: dict[str, str], limit: int) -> int:
    store, now = call.store, call.harbor.stamp()
    try:
        with store.transaction():
            project_id = store.insert("projects", name=name, owner_id=owner, creation_time=now, update_time=now)
            store.insert("members", project_id=project_id, entity_type="u", entity_id=owner, role=1)
            store.insert("quotas", project_id=project_id, hard=limit, creation_time=now, update_time=now)
            for key, value in metadata.items():
                store.insert("metadata", project_id=project_id, key=key, value=value)
    except sqlite3.IntegrityError as error:
        raise HarborError("CONFLICT", f"The project named {name} already exists") from error
    return project_id


async def list_projects(call: Call) -> Response:
    """`GET /projects`: what the caller may see; a wrong password sees the public ones."""
    listing = call.listing()
    rows = [row for row in _all(call) if _visible(call, row)]
    name, owner, public = call.text("name"), call.text("owner"), call.text("public")
    if name:
        rows = [row for row in rows if name in row["name"]]
    if owner:
        rows = [row for row in rows if row["owner_name"] == owner]
    if public is not None:
        rows = [row for row in rows if row["public"] == call.flag("public")]
    rows = listing.select(rows, default_sort="name", ignore=("public",))
    return call.page(listing, rows, lambda row: wire.project(call.store, row, _roles(call, row)))


def _all(call: Call) -> list[Row]:
    sql = """SELECT projects.*, projects.id AS project_id, users.username AS owner_name,
      exists(SELECT 1 FROM metadata WHERE project_id = projects.id AND key = 'public' AND value = 'true') AS public
      FROM projects LEFT JOIN users ON users.id = owner_id WHERE projects.deleted = 0"""
    return call.store.all(sql)


def _visible(call: Call, row: Row) -> bool:
    caller = call.caller
    if row["public"] or caller.may_system(("project", "list")):
        return True
    if isinstance(caller, Robot):
        return any(grant["namespace"] in {row["name"], "*"} for grant in caller.grants())
    return bool(_roles(call, row))


def _roles(call: Call, row: Row) -> list[int]:
    return call.caller.roles(row["id"]) if isinstance(call.caller, Person) else []


async def head_project(call: Call) -> Response:
    """`HEAD /projects?project_name=`: tells any user the truth, private or not."""
    name = call.text("project_name")
    if name is None:
        raise invalid("project_name in query is required")
    call.require_login()
    call.project(name)
    return Response()


async def get_project(call: Call) -> Response:
    """`GET /projects/{p}`."""
    row = _allowed(call, SELF, "read")
    row["owner_name"] = call.store.value("SELECT username FROM users WHERE id = ?", row["owner_id"])
    return json_response(wire.project(call.store, row, _roles(call, row)))


async def update_project(call: Call) -> Response:
    """`PUT /projects/{p}`: merges metadata; no key can be removed this way."""
    asked = await call.body(bodies.PROJECT)
    metadata = _metadata(asked)
    row = _allowed(call, SELF, "update")
    current = call.store.metadata(row["id"])
    if "retention_id" in metadata and metadata["retention_id"] != current.get("retention_id"):
        raise bad_request(
            "the retention_id in the request's payload when updating a project should be omitted, "
            "alternatively passing the one that has already been associated to this project"
        )
    for key, value in metadata.items():
        set_metadata(call, row["id"], key, value)
    return Response()


def set_metadata(call: Call, project_id: int, key: str, value: str) -> None:
    """Stores one metadata value."""
    sql = "INSERT INTO metadata VALUES (?, ?, ?) ON CONFLICT (project_id, key) DO UPDATE SET value = excluded.value"
    call.store.run(sql, project_id, key, value)


async def delete_project(call: Call) -> Response:
    """`DELETE /projects/{p}`: the name becomes free, robots and quota go too."""
    row = _allowed(call, SELF, "delete")
    message = _obstacle(call, row["id"])
    if message:
        raise HarborError("PRECONDITION", f"precondition failed: {message}")
    store, project_id = call.store, row["id"]
    with store.transaction():
        store.run("UPDATE projects SET deleted = 1, name = ? WHERE id = ?", f"{row['name']}#{project_id}", project_id)
        store.run("DELETE FROM robots WHERE project_id = ?", project_id)
        store.run("DELETE FROM quotas WHERE project_id = ?", project_id)
        store.run("DELETE FROM members WHERE project_id = ?", project_id)
    call.record(audit.of("delete", "project", row["name"], project_id))
    return Response()


async def deletable(call: Call) -> Response:
    """`GET /projects/{p}/_deletable`."""
    message = _obstacle(call, _allowed(call, SELF, "delete")["id"])
    return json_response(wire.slim(message=message) if message else {"deletable": True})


def _obstacle(call: Call, project_id: int) -> str:
    holds = call.store.one("SELECT 1 FROM repositories WHERE project_id = ?", project_id)
    return "the project contains repositories, can not be deleted" if holds else ""


async def summary(call: Call) -> Response:
    """`GET /projects/{p}/summary`: quota and member counts for those who may see them."""
    row = _allowed(call, SELF, "read")
    store, key = call.store, row["id"]
    answer: dict[str, Any] = {"repo_count": store.value("SELECT count(*) FROM repositories WHERE project_id = ?", key)}
    if call.may_project(key, "quota", "read"):
        hard = store.value("SELECT hard FROM quotas WHERE project_id = ?", key)
        answer["quota"] = {"hard": {"storage": hard}, "used": {"storage": quotas.used(store, key)}}
    if call.may_project(key, "member", "list"):
        for role in ROLE_NAMES:
            count = store.value("SELECT count(*) FROM members WHERE project_id = ? AND role = ?", key, role)
            answer |= wire.slim(**{COUNTS[role]: count})
    return json_response(answer)


def _allowed(call: Call, resource: str, action: str) -> Row:
    """Returns the project of the path once the caller may."""
    key = call.project_key()
    call.require_project(key, resource, action)
    return call.project(key)
