"""REST: robot accounts of the system and of projects.

Source: goharbor/harbor v2.15.2 src/server/v2.0/handler/robot.go, src/controller/robot/controller.go.
"""

from __future__ import annotations

import json
import secrets
import sqlite3
from datetime import UTC, datetime, timedelta
from typing import Any

from starlette.responses import Response

from imagepipe.sandbox.harbor import audit, bodies, wire
from imagepipe.sandbox.harbor.api_projects import NAME
from imagepipe.sandbox.harbor.call import Call
from imagepipe.sandbox.harbor.identity import Person, Robot
from imagepipe.sandbox.harbor.problems import HarborError, bad_request, json_response, not_found
from imagepipe.sandbox.harbor.rbac import ROBOT_PROJECT, ROBOT_SYSTEM
from imagepipe.sandbox.harbor.store import Row, hashed, is_valid_secret, new_secret, seconds
from imagepipe.sandbox.harbor.versions import Release, has_right

FOREVER = -1
MAX_DAYS = 2**31 - 2
PATCH_RULE = (
    "the secret must be 8-128, inclusively, characters long "
    "with at least 1 uppercase letter, 1 lowercase letter and 1 number"
)


async def create_robot(call: Call) -> Response:
    """`POST /robots`: validated before anyone asks who is asking; the secret is shown this once."""
    asked = await call.body(bodies.NEW_ROBOT)
    if NAME.fullmatch(asked.get("name") or "") is None:
        raise bad_request("robot name is not in lower case or contains illegal characters")
    _validate(asked, asked.get("duration", 0), call.harbor.config.release)
    project_id = _authorize_new(call, asked)
    grants = [_grant(call, each) for each in asked["permissions"]]
    name = asked["name"]
    if project_id:
        name = f"{call.project(project_id)['name']}+{name}"
    secret, salt, now = new_secret(), secrets.token_hex(16), call.harbor.stamp()
    expires_at = _expiry(call.harbor.now(), asked["duration"])
    try:
        robot_id = call.store.insert(
            "robots",
            project_id=project_id,
            name=name,
            description=asked.get("description") or "",
            secret=hashed(secret, salt),
            salt=salt,
            duration=asked["duration"],
            expires_at=expires_at,
            creator_type=call.caller.kind,
            creator_ref=_creator_ref(call),
            permissions=json.dumps(grants),
            creation_time=now,
            update_time=now,
        )
    except sqlite3.IntegrityError as error:
        raise HarborError("CONFLICT", f"robot account {project_id}:{name} already exists") from error
    full_name = call.harbor.gate.robot_name(_robot(call, robot_id))
    call.record(audit.of("create", "robot", full_name, project_id))
    shown = {"id": robot_id, "name": full_name, "secret": secret}
    payload = shown | {"creation_time": now, "expires_at": expires_at}
    location = f"{call.request.url.path.rstrip('/')}/{robot_id}"
    return json_response(payload, status=201, headers={"Location": location})


def _validate(asked: dict[str, Any], duration: object, release: Release) -> None:
    """Raises 400 for a robot that Harbor refuses."""
    if not isinstance(duration, int) or (duration != FOREVER and not 0 < duration <= MAX_DAYS):
        raise bad_request(
            f"bad request error duration input: {duration}, duration must be either -1(Never) or a positive integer"
        )
    level, permissions = asked.get("level") or "", asked.get("permissions") or []
    if level not in {"system", "project"}:
        raise bad_request(f"bad request error level input: {level}")
    if not permissions:
        raise bad_request("bad request empty permission")
    if not all(each.get("access") for each in permissions):
        raise bad_request("bad request empty access")
    if level == "project" and len(permissions) > 1:
        raise bad_request("bad request permission")
    for each in permissions:
        table = {"system": ROBOT_SYSTEM, "project": ROBOT_PROJECT}.get(each.get("kind", ""))
        if table is None:
            raise bad_request(f"bad request permission level: {each.get('kind', '')}")
        for access in each["access"]:
            resource, action = access.get("resource", ""), access.get("action", "")
            if (resource, action) not in table or not has_right((resource, action), release):
                raise bad_request(f"bad request permission: {resource}:{action}")


def _authorize_new(call: Call, asked: dict[str, Any]) -> int:
    """Returns the project id (0 for the system) that the caller may create this robot in."""
    project_id = 0
    if asked["level"] == "system":
        call.require_system("robot", "create")
    else:
        key = _namespace(asked)
        call.require_project(key, "robot", "create")
        project_id = int(call.project(key)["id"])
    if isinstance(call.caller, Robot) and not _within(asked["permissions"], call.caller.grants()):
        own = call.caller.username
        raise HarborError(
            "DENIED",
            "permission scope is invalid. It must be equal to or more restrictive "
            f"than the creator robot's permissions: {own}",
        )
    return project_id


def _namespace(asked: dict[str, Any]) -> str | int:
    text = str(asked["permissions"][0].get("namespace") or "")
    return int(text) if text.isascii() and text.isdigit() else text


def _within(wanted: list[Row], held: list[Row]) -> bool:
    """Returns whether every wanted access is held, effects compared to the letter ("" is not "allow")."""
    own = {(each["kind"], each["namespace"]): {_literal(access) for access in each["access"]} for each in held}
    for each in wanted:
        accesses = own.get((each["kind"], each.get("namespace", "")), own.get((each["kind"], "*")))
        if accesses is None or not {_literal(access) for access in each["access"]} <= accesses:
            return False
    return True


def _literal(access: Row) -> tuple[str, str, str]:
    return access["resource"], access["action"], access.get("effect") or ""


def _grant(call: Call, asked: dict[str, Any]) -> dict[str, Any]:
    """Returns a permission with the scope its namespace means; a project counts by its id."""
    kind, namespace = asked["kind"], str(asked.get("namespace") or "")
    scope = "/system"
    if kind == "project":
        scope = "/project/*" if namespace == "*" else f"/project/{call.project(namespace)['id']}"
    names = ("resource", "action", "effect")
    accesses = [{name: access[name] for name in names if access.get(name)} for access in asked["access"]]
    return {"kind": kind, "namespace": namespace, "scope": scope, "access": accesses}


def _expiry(start: float, days: int) -> int:
    if days == FOREVER:
        return FOREVER
    return int((datetime.fromtimestamp(start, UTC) + timedelta(days=min(days, 2_000_000))).timestamp())


def _creator_ref(call: Call) -> int:
    caller = call.caller
    if isinstance(caller, Robot):
        return int(caller.row["id"])
    return caller.user_id if isinstance(caller, Person) else 0


async def list_robots(call: Call) -> Response:
    """`GET /robots`: those of the system, unless `q` names one project by its id."""
    listing = call.listing()
    call.require_login()
    level = listing.keyword("Level") or "system"
    if level not in {"system", "project"}:
        raise bad_request("bad request error level input")
    project_id = 0
    if level == "project":
        wanted = listing.keyword("ProjectID")
        if wanted is None:
            raise bad_request("must with project ID when to query project robots")
        if not (wanted.isascii() and wanted.isdigit() and int(wanted) > 0):
            raise bad_request("ProjectID must be a positive integer")
        project_id = int(wanted)
    _require(call, project_id, "list")
    rows = call.store.all("SELECT * FROM robots WHERE project_id = ?", project_id)
    rows = listing.select(rows, default_sort="-creation_time", ignore=("Level", "ProjectID"))
    return call.page(listing, rows, lambda row: wire.robot(row, call.harbor.gate.robot_name(row)))


async def get_robot(call: Call) -> Response:
    """`GET /robots/{id}`."""
    row = _held(call, "read")
    return json_response(wire.robot(row, call.harbor.gate.robot_name(row)))


async def update_robot(call: Call) -> Response:
    """`PUT /robots/{id}`: the full object, its name with prefix; expiry counts from creation."""
    robot_id, asked = call.number("robot"), await call.body(bodies.ROBOT)
    call.require_login()
    row = _robot(call, robot_id)
    duration: int = row["duration"] if asked.get("duration") is None else asked["duration"]
    _validate(asked, duration, call.harbor.config.release)
    if row["project_id"] and call.project(_namespace(asked))["id"] != row["project_id"]:
        raise bad_request("cannot update the project id of robot")
    _require(call, row["project_id"], "update")
    level = "project" if row["project_id"] else "system"
    if asked["level"] != level or asked.get("name") != call.harbor.gate.robot_name(row):
        raise bad_request("cannot update the level or name of robot")
    same = duration == row["duration"]
    call.store.run(
        """UPDATE robots SET description = ?, disabled = ?, duration = ?, expires_at = ?, permissions = ?,
        update_time = ? WHERE id = ?""",
        asked.get("description") or "",
        int(bool(asked.get("disable"))),
        duration,
        row["expires_at"] if same else _expiry(seconds(row["creation_time"]), duration),
        json.dumps([_grant(call, each) for each in asked["permissions"]]),
        call.harbor.stamp(),
        robot_id,
    )
    return Response()


async def refresh_secret(call: Call) -> Response:
    """`PATCH /robots/{id}`: a new secret is shown, one's own is not."""
    robot_id, asked = call.number("robot"), await call.body(bodies.ROBOT_SECRET)
    call.require_login()
    row = _robot(call, robot_id)
    _require(call, row["project_id"], "update")
    secret = asked.get("secret") or ""
    if secret and not is_valid_secret(secret):
        raise bad_request(PATCH_RULE)
    made = "" if secret else new_secret()
    call.store.run("UPDATE robots SET secret = ? WHERE id = ?", hashed(secret or made, row["salt"]), robot_id)
    return json_response(wire.slim(secret=made))


async def delete_robot(call: Call) -> Response:
    """`DELETE /robots/{id}`."""
    row = _held(call, "delete")
    call.store.run("DELETE FROM robots WHERE id = ?", row["id"])
    call.record(audit.of("delete", "robot", call.harbor.gate.robot_name(row), row["project_id"]))
    return Response()


def _held(call: Call, action: str) -> Row:
    """Returns the robot of the path once the caller may."""
    robot_id = call.number("robot")
    call.require_login()
    row = _robot(call, robot_id)
    _require(call, row["project_id"], action)
    return row


def _robot(call: Call, robot_id: int) -> Row:
    row = call.store.one("SELECT * FROM robots WHERE id = ?", robot_id)
    if row is None:
        raise not_found(f"robot {robot_id} not found")
    return row


def _require(call: Call, project_id: int, action: str) -> None:
    if project_id:
        call.require_project(project_id, "robot", action)
    else:
        call.require_system("robot", action)
