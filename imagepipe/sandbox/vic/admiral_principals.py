"""Admiral's principals and sessions: who is there, who am I, is this the password.

Source: vmware/admiral vic_v1.5.6 auth/src/main/java/com/vmware/admiral/auth/idm/{PrincipalService,SessionService}.java.
"""

from __future__ import annotations

import json
from typing import Any, Final

from starlette.responses import Response

from imagepipe.sandbox.harbor.store import Row
from imagepipe.sandbox.vic.admiral_call import Call, XenonError, data, decoded, encoded, service_not_found

_BASIC: Final = ["BASIC_USER", "BASIC_USER_EXTENDED"]


def shown(row: Row) -> dict[str, Any]:
    """Returns a Principal; what is null is left out."""
    value = {"id": row["id"], "email": row["email"], "name": row["name"], "type": row["type"], "source": "LDAP"}
    return {key: text for key, text in value.items() if text}


def security_context(call: Call, own: str) -> dict[str, Any]:
    """Returns a SecurityContext: all roles, those that come from groups included."""
    names = (own, *call.state.people.groups_of(own))
    projects = []
    for row in call.state.projects():
        roles = call.roles_of(row, names)
        if roles:
            link = f"/projects/{row['link']}"
            properties = json.loads(row["properties"])
            projects.append(
                {"documentSelfLink": link, "name": row["name"], "roles": roles, "customProperties": properties}
            )
    roles = [*(["CLOUD_ADMIN"] if call.state.people.is_cloud_admin(own) else []), *_BASIC]
    row = call.state.people.find(own) or {"name": own, "email": own}
    return {"id": own, "name": row["name"], "email": row["email"], "roles": roles, "projects": projects}


async def session(call: Call) -> Response:
    """`GET /auth/session`."""
    call.require_user()
    if call.state.people.find(call.caller) is None:
        return Response(status_code=401, headers={"x-xenon-auth-token": ""})
    return data(security_context(call, call.caller))


async def logout(call: Call) -> Response:
    """`GET /auth/session/logout`."""
    call.sessions.close(call.request.headers.get("x-xenon-auth-token", ""))
    return Response(headers={"Location": "/", "Set-Cookie": "xenon-auth-cookie=; Path=/; Max-Age=0"})


async def search(call: Call) -> Response:
    """`GET /auth/idm/principals?criteria=`."""
    call.require_user()
    criteria = call.text("criteria")
    if not criteria:
        raise XenonError(400, "Provide either criteria or principalId to search for.")
    rows = call.state.people.search(criteria)
    if call.text("roles") != "all":
        return data([shown(row) for row in rows])
    return data([{**shown(row), **_only(security_context(call, row["id"]))} for row in rows])


def _only(context: dict[str, Any]) -> dict[str, Any]:
    return {key: context[key] for key in ("roles", "projects")}


async def get(call: Call) -> Response:
    """`GET /auth/idm/principals/{id}`."""
    call.require_user()
    return data(shown(found(call, decoded(call.params["id"]))))


def found(call: Call, own: str) -> Row:
    """Returns a principal, whatever the case of its id.

    Raises:
        XenonError: It is not there.
    """
    row = call.state.people.find(own)
    if row is not None:
        return row
    if call.switches.unknown_status == 500:
        raise XenonError(500, "Principal does not exist!")
    raise service_not_found(f"/auth/idm/principals/{encoded(own)}")


async def get_roles(call: Call) -> Response:
    """`GET /auth/idm/principals/{id}/roles` and `…/security-context`."""
    call.require_user()
    row = found(call, decoded(call.params["id"]))
    return data({**shown(row), **security_context(call, row["id"])})


async def set_roles(call: Call) -> Response:
    """`PATCH /auth/idm/principals/{id}/roles`: only CLOUD_ADMIN can be given."""
    call.require_cloud_admin()
    body = await call.body()
    if not body:
        raise XenonError(400, "body is required")
    if not body.keys() & {"add", "remove"}:
        raise XenonError(400, "Unsupported body content.")
    own = found(call, decoded(call.params["id"]))["id"]
    for role in (*(body.get("add") or ()), *(body.get("remove") or ())):
        if role != "CLOUD_ADMIN":
            raise XenonError(500, f"Assign/unassign operations for role {role} not supported.")
    if body.get("remove"):
        call.state.people.set_cloud_admin(own, on=False)
    if body.get("add"):
        call.state.people.set_cloud_admin(own, on=True)
    return data({})


async def patch(call: Call) -> Response:  # noqa: ARG001 - every handler takes the call
    """`PATCH /auth/idm/principals/{id}`."""
    raise XenonError(400, "Patching principal is not supported.")


async def check_password(call: Call) -> Response:
    """`POST /auth/idm/principals/{id}/security-context`: is this the password? For services such as Harbor."""
    call.require_cloud_admin()
    body = await call.body()
    own = decoded(call.params["id"]).lower()
    if not call.state.people.knows_password(own, str(body.get("password") or "")):
        raise XenonError(403, "forbidden")
    return data(security_context(call, own))
