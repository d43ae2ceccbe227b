"""Members of a project, where Harbor keeps them itself.

Source: goharbor/harbor v1.7.8 src/core/api/projectmember.go, src/common/dao/project/projectmember.go.
"""

from __future__ import annotations

import json
from typing import Any, Final

from starlette.responses import Response

from imagepipe.sandbox.harbor.store import Row
from imagepipe.sandbox.vic.answers import RefusalError, created, data
from imagepipe.sandbox.vic.api_system import auth_mode
from imagepipe.sandbox.vic.directory import Project, role_names
from imagepipe.sandbox.vic.parts import Call

_LIST: Final = """SELECT m.id, m.project_id, u.username AS entity_name, m.role, m.entity_id, m.entity_type
  FROM members m JOIN users u ON u.id = m.entity_id AND m.entity_type = 'u' AND u.deleted = 0 WHERE m.project_id = ?1
  UNION SELECT m.id, m.project_id, g.group_name, m.role, m.entity_id, m.entity_type
  FROM members m JOIN user_group g ON g.id = m.entity_id AND m.entity_type = 'g' WHERE m.project_id = ?1
  ORDER BY entity_name"""


def roles(call: Call) -> dict[int, str]:
    """Returns the roles that this version knows."""
    return role_names(call.vic.config.release)


async def list_members(call: Call) -> Response:
    """`GET /projects/{id}/members`: all in one answer; `entityname` is any part of a name."""
    project = _project(call)
    wanted = call.text("entityname").lower()
    rows = [row for row in _members(call, project) if wanted in row["entity_name"].lower()]
    return data([_show(call, row) for row in rows])


async def get_member(call: Call) -> Response:
    """`GET /projects/{id}/members/{member}`."""
    project, number = _project(call), int(call.params["member"])
    row = next((each for each in _members(call, project) if each["id"] == number), None)
    if row is None:
        raise RefusalError(404, f"The project member does not exit, pmid:{number}")
    return data(_show(call, row))


async def add_member(call: Call) -> Response:
    """`POST /projects/{id}/members`: looks for whom first, and at the role last."""
    project = _project(call)
    asked = await call.body()
    user, group = asked.get("member_user") or {}, asked.get("member_group") or {}
    kind, entity = _entity(call, user, group)
    sql = "SELECT 1 FROM members WHERE project_id = ? AND entity_type = ? AND entity_id = ?"
    if call.store.one(sql, project.id, kind, entity):
        prefix = "Failed to add project member, already exist LDAP group or project member, groupMemberID:"
        raise RefusalError(409, f"{prefix}{int(group.get('id') or 0)}")
    role = int(asked.get("role_id") or 0)
    if role not in roles(call):
        raise RefusalError(400, f"Invalid role ID, role ID {role}")
    made = call.store.insert("members", project_id=project.id, entity_type=kind, entity_id=entity, role=role)
    return created(call.request.url.path, made)


async def update_member(call: Call) -> Response:
    """`PUT /projects/{id}/members/{member}`: of whatever project, and no matter whether there is one."""
    _project(call)
    number = _number(call)
    role = int((await call.body()).get("role_id") or 0)
    if role not in roles(call):
        raise RefusalError(400, f"Invalid role id {role}")
    call.store.run("UPDATE members SET role = ? WHERE id = ?", role, number)
    return Response()


async def delete_member(call: Call) -> Response:
    """`DELETE /projects/{id}/members/{member}`: likewise; nobody keeps a last administrator."""
    _project(call)
    call.store.run("DELETE FROM members WHERE id = ?", _number(call))
    return Response()


def _project(call: Call) -> Project:
    call.require_login()
    project = call.project()
    readable = call.request.method == "GET" and call.caller.may_look_inside(project)
    call.require(readable or call.caller.may_all(project))
    return project


def _number(call: Call) -> int:
    number = int(call.params["member"])
    if number <= 0:
        raise RefusalError(400, f"The project member id is invalid, pmid:{call.params['member']}")
    return number


def _entity(call: Call, user: dict[str, Any], group: dict[str, Any]) -> tuple[str, int]:
    """Returns kind and id of who is to become a member; a given id is believed.

    Raises:
        RefusalError: 404 or 500.
    """
    if int(user.get("user_id") or 0) > 0:
        return "u", int(user["user_id"])
    if int(group.get("id") or 0) > 0:
        return "g", int(group["id"])
    if user.get("username"):
        found = call.store.value("SELECT id FROM users WHERE username = ? AND deleted = 0", user["username"])
        if found is None:
            raise RefusalError(404, "Failed to add project member, error: User does not exist")
        return "u", int(found)
    name = str(group.get("ldap_group_dn") or "").strip()
    if name:
        return "g", _onboard(call, name, str(group.get("group_name") or ""))
    raise RefusalError(500)


def _onboard(call: Call, dn: str, name: str) -> int:
    """Returns the id of an LDAP group, made known when LDAP knows it."""
    if auth_mode(call) != "ldap_auth":
        raise RefusalError(500)
    known: dict[str, str] = json.loads(call.store.setting("ldap_groups", "{}"))
    if dn not in known:
        raise RefusalError(404, "Failed to add project member, error: Group does not exist")
    found = call.store.value("SELECT id FROM user_group WHERE ldap_group_dn = ?", dn)
    if found is not None:
        return int(found)
    return call.store.insert("user_group", group_name=name or known[dn], group_type=1, ldap_group_dn=dn)


def _members(call: Call, project: Project) -> list[Row]:
    return call.store.all(_LIST, project.id)


def _show(call: Call, row: Row) -> dict[str, Any]:
    names = roles(call)
    return {
        "id": row["id"],
        "project_id": row["project_id"],
        "entity_name": row["entity_name"],
        "role_name": names.get(row["role"], ""),
        "role_id": row["role"],
        "entity_id": row["entity_id"],
        "entity_type": row["entity_type"],
    }
