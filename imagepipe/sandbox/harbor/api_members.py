"""REST: who belongs to a project, with all that Harbor does not check.

Source: goharbor/harbor v2.15.2 src/server/v2.0/handler/member.go, src/controller/member/controller.go,
src/pkg/member/dao/dao.go.
"""

from __future__ import annotations

from typing import Any

from starlette.responses import Response

from imagepipe.sandbox.harbor import bodies, wire
from imagepipe.sandbox.harbor.call import Call
from imagepipe.sandbox.harbor.problems import HarborError, bad_request, json_response, not_found
from imagepipe.sandbox.harbor.rbac import ROLE_NAMES
from imagepipe.sandbox.harbor.store import Row

# A member whose user or group is gone or whose role does not exist falls out of the join, as in Harbor.
MEMBERS = """SELECT members.*, coalesce(users.username, user_groups.group_name) AS entity_name FROM members
  LEFT JOIN users ON members.entity_type = 'u' AND users.id = members.entity_id AND users.deleted = 0
  LEFT JOIN user_groups ON members.entity_type = 'g' AND user_groups.id = members.entity_id
  WHERE entity_name IS NOT NULL AND members.role BETWEEN 1 AND 5 AND members.project_id = ?"""


async def create_member(call: Call) -> Response:
    """`POST /projects/{p}/members`: 201 without body; the id is in Location."""
    asked = await call.body(bodies.PROJECT_MEMBER)
    key = call.project_key()
    call.require_project(key, "member", "create")
    if not await call.request.body():
        raise bad_request("the project member should provide")
    project_id = call.project(key)["id"]
    kind, entity_id = _entity(call, asked.get("member_user") or {}, asked.get("member_group") or {})
    sql = "SELECT 1 FROM members WHERE project_id = ? AND entity_type = ? AND entity_id = ?"
    if call.store.one(sql, project_id, kind, entity_id):
        raise HarborError("CONFLICT", "The project member specified already exist")
    role = asked.get("role_id", 0)
    if role not in ROLE_NAMES:
        raise bad_request("Failed to update project member, role is not in 1,2,3")
    member_id = call.store.insert("members", project_id=project_id, entity_type=kind, entity_id=entity_id, role=role)
    return Response(status_code=201, headers={"Location": f"/api/v2.0/projects/{key}/members/{member_id}"})


def _entity(call: Call, user: dict[str, Any], group: dict[str, Any]) -> tuple[str, int]:
    """Returns the kind and id of the user or group that a member request means; of several, one wins."""
    accounts = call.harbor.gate.accounts
    if user.get("user_id", 0) > 0:
        user_id = int(user["user_id"])
        if call.store.one("SELECT 1 FROM users WHERE id = ? AND deleted = 0", user_id) is None:
            raise bad_request(f"Failed to get user {user_id}: user {user_id} not found")
        return "u", user_id
    if group.get("id", 0) > 0:
        if call.store.one("SELECT 1 FROM user_groups WHERE id = ?", group["id"]) is None:
            raise bad_request(f"Group {group['id']} not found")
        return "g", int(group["id"])
    if user.get("username"):
        return "u", accounts.user_id(user["username"])
    if group.get("ldap_group_dn"):
        return "g", accounts.group_by_dn(group["ldap_group_dn"], group.get("group_name") or "")
    if group.get("group_name"):
        return "g", accounts.group_by_name(group["group_name"], group.get("group_type") or 0)
    # Released versions fail on an empty member. Source: goharbor/harbor#23642 (mended on main only).
    raise HarborError("UNKNOWN", "can not get valid member entity")


async def list_members(call: Call) -> Response:
    """`GET /projects/{p}/members`: X-Total-Count counts all, whatever `entityname` filters."""
    key = call.project_key()
    listing = call.listing()
    call.require_project(key, "member", "list")
    project_id = call.project(key)["id"]
    rows = call.store.all(f"{MEMBERS} ORDER BY entity_name", project_id)
    name = call.text("entityname")
    total = call.store.value("SELECT count(*) FROM members WHERE project_id = ?", project_id)
    shown = listing.cut([row for row in rows if not name or row["entity_name"] == name])
    headers = listing.headers(call.request.url.path, call.request.url.query, total)
    return json_response([wire.member(row) for row in shown], headers=headers)


async def get_member(call: Call) -> Response:
    """`GET /projects/{p}/members/{mid}`."""
    key, member_id = call.project_key(), call.number("member")
    call.require_project(key, "member", "read")
    project_id = call.project(key)["id"]
    row: Row | None = call.store.one(f"{MEMBERS} AND members.id = ?", project_id, member_id)
    if row is None:
        raise not_found(f"the project member is not found, project id {project_id}, member id {member_id}")
    return json_response(wire.member(row))


async def update_member(call: Call) -> Response:
    """`PUT /projects/{p}/members/{mid}`: 200 whatever the role and whether or not the member exists."""
    key, member_id = call.project_key(), call.number("member")
    asked = await call.body(bodies.ROLE)
    call.require_project(key, "member", "update")
    if not await call.request.body():
        raise bad_request("role can not be empty")
    sql = "UPDATE members SET role = ? WHERE project_id = ? AND id = ?"
    call.store.run(sql, asked.get("role_id", 0), call.project(key)["id"], member_id)
    return Response()


async def delete_member(call: Call) -> Response:
    """`DELETE /projects/{p}/members/{mid}`: 200 always; the last admin may go."""
    key, member_id = call.project_key(), call.number("member")
    call.require_project(key, "member", "delete")
    call.store.run("DELETE FROM members WHERE project_id = ? AND id = ?", call.project(key)["id"], member_id)
    return Response()
