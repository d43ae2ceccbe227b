"""REST: groups of LDAP or OIDC that Harbor knows.

Source: goharbor/harbor v2.15.2 src/server/v2.0/handler/usergroup.go, src/controller/usergroup/controller.go.
"""

from __future__ import annotations

from typing import Any

from starlette.responses import Response

from imagepipe.sandbox.harbor import bodies, wire
from imagepipe.sandbox.harbor.accounts import LDAP_GROUP
from imagepipe.sandbox.harbor.call import Call
from imagepipe.sandbox.harbor.directory import is_dn
from imagepipe.sandbox.harbor.problems import HarborError, bad_request, invalid, json_response, not_found
from imagepipe.sandbox.harbor.store import Row


async def list_groups(call: Call) -> Response:
    """`GET /usergroups`: for administrators; under LDAP those of LDAP only."""
    listing = call.listing()
    call.require_system("user-group", "list")
    rows = call.store.all("SELECT * FROM user_groups ORDER BY id")
    part, dn = call.text("group_name"), call.text("ldap_group_dn")
    if part:
        rows = [row for row in rows if part.lower() in row["group_name"].lower()]
    if call.harbor.config.auth_mode == "ldap":
        rows = [row for row in rows if row["group_type"] == LDAP_GROUP and (not dn or row["ldap_group_dn"] == dn)]
    return call.page(listing, rows, lambda row: wire.group(row) | {"id": row["id"]})


async def search_groups(call: Call) -> Response:
    """`GET /usergroups/search`: any user may look for one; the closest come first, without their DNs."""
    part = call.text("groupname")
    if part is None:
        raise invalid("groupname in query is required")
    listing = call.listing()
    call.require_login()
    if not part:
        raise bad_request("need to provide groupname to search user group")
    sql = "SELECT * FROM user_groups WHERE instr(group_name, ?) ORDER BY length(group_name), group_name"
    rows = call.store.all(sql, part)
    # The page is ignored: a search always begins at the best match.
    headers = listing.headers(call.request.url.path, call.request.url.query, len(rows))
    shown = rows[: listing.page_size] if listing.page_size > 0 else rows
    names = ("id", "group_name", "group_type")
    return json_response([wire.slim(**{name: row[name] for name in names}) for row in shown], headers=headers)


async def create_group(call: Call) -> Response:
    """`POST /usergroups`: an LDAP group must be in the directory; a name counts once in each kind."""
    asked = await call.body(bodies.USER_GROUP)
    call.require_system("user-group", "create")
    name, kind, dn = asked.get("group_name") or "", asked.get("group_type") or 0, asked.get("ldap_group_dn") or ""
    if not name:
        return Response(status_code=400)
    if kind == LDAP_GROUP:
        _check_dn(call, dn)
    if call.store.one("SELECT 1 FROM user_groups WHERE group_name = ? AND group_type = ?", name, kind):
        said = f"duplicate user group, group name:{name}, group type: {kind}, ldap group DN: {dn}"
        raise HarborError("CONFLICT", said)
    return call.created(call.harbor.gate.accounts.add_group(name, kind, dn))


def _check_dn(call: Call, dn: str) -> None:
    """Raises 400 for a DN that the directory does not have."""
    accounts = call.harbor.gate.accounts
    if accounts.mode != "ldap" or (is_dn(dn) and accounts.outside.group(dn) is None):
        raise bad_request(f"LDAP Group DN is not found: DN:{dn}")
    accounts.ldap_group(dn)


async def get_group(call: Call) -> Response:
    """`GET /usergroups/{id}`: without its id."""
    return json_response(wire.group(_group(call, "read")))


async def rename_group(call: Call) -> Response:
    """`PUT /usergroups/{id}`: only its name can change."""
    asked: dict[str, Any] = await call.body(bodies.USER_GROUP)
    row = _group(call, "update")
    if not asked.get("group_name"):
        return Response(status_code=400)
    call.store.run("UPDATE user_groups SET group_name = ? WHERE id = ?", asked["group_name"], row["id"])
    return Response()


async def delete_group(call: Call) -> Response:
    """`DELETE /usergroups/{id}`: 200 whether or not it is there; it leaves all projects."""
    group_id = _allowed_id(call, "delete")
    call.store.run("DELETE FROM user_groups WHERE id = ?", group_id)
    call.store.run("DELETE FROM members WHERE entity_type = 'g' AND entity_id = ?", group_id)
    return Response()


def _group(call: Call, action: str) -> Row:
    group_id = _allowed_id(call, action)
    row = call.store.one("SELECT * FROM user_groups WHERE id = ?", group_id)
    if row is None:
        raise not_found(f"the user group with id {group_id} is not found")
    return row


def _allowed_id(call: Call, action: str) -> int:
    """Returns the group's id of the path once the caller may."""
    group_id = call.number("group")
    call.require_system("user-group", action)
    if group_id <= 0:
        raise bad_request("the group id should be provided")
    return group_id
