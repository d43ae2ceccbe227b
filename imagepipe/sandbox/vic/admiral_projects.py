"""Admiral's projects: two expansions that differ, early successes, and a PATCH that loses groups.

Source: vmware/admiral vic_v1.5.6 auth/src/main/java/com/vmware/admiral/auth/project/{ProjectFactoryService,
ProjectService,ProjectRolesHandler}.java, auth/…/util/ProjectUtil.java.
"""

from __future__ import annotations

import json
import re
import sqlite3
from typing import Any, Final

from starlette.responses import Response

from imagepipe.sandbox.harbor.store import Row
from imagepipe.sandbox.vic.admiral_call import Call, XenonError, data, encoded, service_not_found
from imagepipe.sandbox.vic.admiral_filter import matches
from imagepipe.sandbox.vic.admiral_principals import shown
from imagepipe.sandbox.vic.admiral_roles import check_roles, set_roles
from imagepipe.sandbox.vic.admiral_state import INDEX, LISTS

NAME: Final = re.compile(r"[a-z0-9]+(?:[._-][a-z0-9]+)*")
_LINKS: Final = {
    "administrators": ("administratorsUserGroupLinks", "_project-admins"),
    "members": ("membersUserGroupLinks", "_project-members"),
    "viewers": ("viewersUserGroupLinks", "_project-viewers"),
}
_ODATA: Final = ("$filter", "$top", "$limit", "$count", "$orderby", "$skip", "$select", "$expand")


async def list_projects(call: Call) -> Response:
    """`GET /projects`: links; any option of OData adds the documents."""
    public = call.text("public")
    if public is not None and public in {"", "true"}:
        rows = [row for row in call.state.projects() if row["public"]]
        documents = {_link(row): _public(row) for row in rows}
        expanded = True
    else:
        call.require_user()
        rows = [row for row in call.state.projects() if call.may_read(row)]
        documents = {_link(row): {**_state(call, row), **_basic(call, row)} for row in rows}
        expanded = call.text("expand") == "true" or any(call.text(name) is not None for name in _ODATA)
    wanted = call.text("$filter")
    if wanted:
        documents = {link: document for link, document in documents.items() if matches(wanted, document)}
    return data(_page(call, documents, expanded=expanded))


def _page(call: Call, documents: dict[str, dict[str, Any]], *, expanded: bool) -> dict[str, Any]:
    links = list(documents)
    skip, limit = int(call.text("$skip") or 0), int(call.text("$limit") or call.text("$top") or 0)
    shown_links = links[skip : skip + limit] if limit else links[skip:]
    page: dict[str, Any] = {"documentLinks": shown_links, "documentCount": len(shown_links)}
    if expanded:
        page["documents"] = {link: documents[link] for link in shown_links}
        page["totalCount"] = len(links)
    if call.text("$limit") and skip + limit < len(links):
        page["nextPageLink"] = f"/projects?$limit={limit}&$skip={skip + limit}&expand=true"
    return page


def _link(row: Row) -> str:
    return f"/projects/{row['link']}"


def _public(row: Row) -> dict[str, Any]:
    """Returns what everybody may know of a public project: not even that it is public."""
    return {"name": row["name"], "documentSelfLink": _link(row), "customProperties": json.loads(row["properties"])}


def _state(call: Call, row: Row) -> dict[str, Any]:
    """Returns a ProjectState; its creation time is called micros and counts milliseconds."""
    state = {
        **_public(row),
        "description": row["description"],
        "isPublic": bool(row["public"]),
        "creationTimeMicros": row["created_ms"],
        "tenantLinks": [],
        "documentVersion": row["version"],
        "documentKind": "com:vmware:admiral:auth:project:ProjectService:ProjectState",
    }
    for where, (key, suffix) in _LINKS.items():
        groups = [encoded(each["id"]) for each in call.state.held(row["link"], where, "GROUP")]
        state[key] = [f"/core/authz/user-groups/{name}" for name in (f"{row['link']}{suffix}", *groups)]
    return state


def _basic(call: Call, row: Row) -> dict[str, Any]:
    """Returns the expansion of lists: ids only, of those too whom single sign-on has forgotten."""
    held = {where: [{"id": each["id"]} for each in call.state.held(row["link"], where)] for where in LISTS}
    return {**held, "clusterLinks": [], "templateLinks": [], "repositories": _repositories(call, row)}


def _full(call: Call, row: Row) -> dict[str, Any]:
    """Returns the expansion of one project: whole principals, without forgotten users.

    Raises:
        XenonError: 404, a group is forgotten.
    """
    expanded: dict[str, Any] = {}
    for where in LISTS:
        principals = []
        for each in call.state.held(row["link"], where):
            principal = call.state.people.find(each["id"])
            if principal is not None:
                principals.append(shown(principal))
            elif each["type"] == "GROUP":
                raise service_not_found(f"/auth/idm/principals/{encoded(each['id'])}")
        expanded[where] = principals
    return {**expanded, "clusterLinks": [], "templateLinks": [], "repositories": _repositories(call, row)}


def _repositories(call: Call, row: Row) -> list[str]:
    rows = call.state.store.all("SELECT name FROM repositories WHERE project_id = ? ORDER BY name", row["project_id"])
    return [each["name"] for each in rows]


async def get_project(call: Call) -> Response:
    """`GET /projects/{link}`: a public one, too, is for its members only."""
    row = call.project()
    if not call.may_read(row):
        raise XenonError(403, "forbidden")
    expanded = "true" in {call.text("expand"), call.text("$expand")}
    return data({**_state(call, row), **(_full(call, row) if expanded else {})})


async def create_project(call: Call) -> Response:
    """`POST /projects`: nobody becomes a member, whatever roles are asked for."""
    call.require_cloud_admin()
    body = await call.body()
    name = body.get("name")
    if name is None:
        raise XenonError(400, "'name' is required")
    _check_name(str(name))
    description, public = str(body.get("description") or ""), bool(body.get("isPublic"))
    properties = {key: _text(value) for key, value in (body.get("customProperties") or {}).items() if key != INDEX}
    try:
        row = call.state.create(str(name), public=public, description=description, properties=properties)
    except sqlite3.IntegrityError:
        raise XenonError(500, f"Project name '{name}' is already used.") from None
    return data(_state(call, row))


def _check_name(name: str) -> None:
    if not name:
        raise XenonError(400, "'name' cannot be empty")
    if NAME.fullmatch(name) is None:
        allowed = "alpha-numeric characters, periods, dashes and underscores, lowercase only."
        raise XenonError(400, f"Project name is allowed to contain {allowed}")
    if len(name) > 254:
        raise XenonError(400, "Maximum allowed length for project name is 254 characters.")


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


async def patch_project(call: Call) -> Response:
    """`PATCH /projects/{link}`: anything of state and roles together; no body is a 304."""
    row = call.project()
    if not call.may_change(row):
        raise XenonError(403, "forbidden")
    body = await call.body()
    if not body:
        return Response(status_code=304)
    if body.get("name") not in (None, row["name"]):
        raise XenonError(400, "Cannot change project name!")
    set_roles(call, row, check_roles(call, body))
    _merge(call, row, body)
    return data(_state(call, call.state.project(row["link"]) or row))


def _merge(call: Call, row: Row, body: dict[str, Any]) -> None:
    changes: dict[str, Any] = {}
    if body.get("description") is not None:
        changes["description"] = str(body["description"])
    if body.get("isPublic") is not None:
        changes["public"] = int(bool(body["isPublic"]))
    given = {key: _text(value) for key, value in (body.get("customProperties") or {}).items() if key != INDEX}
    if given:
        changes["properties"] = json.dumps({**json.loads(row["properties"]), **given})
    if changes:
        call.state.change(row, **changes)


async def put_project(call: Call) -> Response:
    """`PUT /projects/{link}`: replaces everything, and so loses the groups in every list."""
    row = call.project()
    if not call.may_change(row):
        raise XenonError(403, "forbidden")
    body = await call.body()
    if body.keys() <= set(LISTS):
        return await patch_project(call)
    if body.get("name") not in (None, row["name"]):
        raise XenonError(400, "Cannot change project name!")
    for where in LISTS:
        for each in call.state.held(row["link"], where, "GROUP"):
            call.state.unassign(row["link"], where, each["id"], "GROUP")
    _merge(call, row, body)
    return data(_state(call, call.state.project(row["link"]) or row))


async def delete_project(call: Call) -> Response:
    """`DELETE /projects/{link}`: asks Harbor first; what never was is deleted with a 200."""
    call.require_cloud_admin()
    row = call.state.project(call.params["link"])
    if row is None:
        return data({})
    if _repositories(call, row):
        reason = "the project contains repositories, can not be deleted"
        raise XenonError(400, f"Project is not removable: {reason}")
    call.state.delete(row)
    return data({})


async def delete_projects(call: Call) -> Response:  # noqa: ARG001 - every handler takes the call
    """`DELETE /projects`."""
    raise XenonError(403, "forbidden")
