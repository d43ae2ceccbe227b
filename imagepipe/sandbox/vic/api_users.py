"""Users and groups, where Harbor keeps them itself.

Source: goharbor/harbor v1.7.8 src/core/api/{user,usergroup}.go, src/common/models/user.go.
"""

from __future__ import annotations

import re
import secrets
import sqlite3
from typing import Any, Final

from starlette.responses import Response

from imagepipe.sandbox.harbor.store import Row, hashed
from imagepipe.sandbox.vic.answers import RefusalError, aborted, created, data
from imagepipe.sandbox.vic.api_system import auth_mode
from imagepipe.sandbox.vic.parts import Call

_NO_ADMIN: Final = "User does not have admin role"
_FORBIDDEN: Final = re.compile(r"[,~#$%]")


async def get_user(call: Call) -> Response:
    """`GET /users/current` or `GET /users/{id}`."""
    row = _user(call)
    own = row["id"] == call.caller.user_id
    if not (own or call.caller.sysadmin):
        raise RefusalError(403, _NO_ADMIN)
    return data(_show(row))


async def list_users(call: Call) -> Response:
    """`GET /users`: for administrators."""
    call.require_login()
    if not call.caller.sysadmin:
        raise RefusalError(403, _NO_ADMIN)
    name = call.text("username")
    rows = call.store.all("SELECT * FROM users WHERE deleted = 0 AND id != 1 ORDER BY username")
    return call.page([row for row in rows if name in row["username"]], _show)


async def create_user(call: Call) -> Response:
    """`POST /users`."""
    free = call.store.setting("self_registration", "false") == "true"
    if auth_mode(call) != "db_auth" or not (free or call.caller.sysadmin):
        raise aborted(403)
    asked = await call.body()
    problem = _problem(asked)
    if problem:
        raise RefusalError(400, f"register error:{problem}")
    now, salt = call.vic.stamp(), secrets.token_hex(16)
    for column in ("username", "email"):
        if call.store.one(f"SELECT 1 FROM users WHERE {column} = ?", asked[column]):  # noqa: S608 - our columns
            raise RefusalError(409, f"{column} has already been used!")
    values = {key: asked.get(key) or "" for key in ("username", "email", "realname", "comment")}
    secret = hashed(asked["password"], salt)
    try:
        made = call.store.insert("users", **values, secret=secret, salt=salt, creation_time=now, update_time=now)
    except sqlite3.IntegrityError:
        raise aborted(500, "Internal error.") from None
    return created(call.request.url.path, made)


def _problem(asked: dict[str, Any]) -> str:
    name, password, real = (str(asked.get(key) or "") for key in ("username", "password", "realname"))
    checks = {
        "username with illegal length": 1 <= len(name) <= 255,
        "username contains illegal characters": not _FORBIDDEN.search(name),
        "password with illegal length": 8 <= len(password) <= 20,
        "Email can't be empty": bool(asked.get("email")),
        "realname with illegal length": 1 <= len(real) <= 255,
        "realname contains illegal characters": not _FORBIDDEN.search(real),
    }
    return next((message for message, fine in checks.items() if not fine), "")


async def delete_user(call: Call) -> Response:
    """`DELETE /users/{id}`: the name becomes free."""
    row, own = _user(call), call.caller.user_id
    if not call.caller.sysadmin or auth_mode(call) != "db_auth" or row["id"] in {1, own}:
        text = f"User with ID: {row['id']} cannot be removed, auth mode: {auth_mode(call)}, current user ID: {own}"
        raise RefusalError(403, text)
    mark = f"#{row['id']}"
    sql = "UPDATE users SET deleted = 1, username = username || ?, email = email || ? WHERE id = ?"
    call.store.run(sql, mark, mark, row["id"])
    return Response()


async def set_sysadmin(call: Call) -> Response:
    """`PUT /users/{id}/sysadmin`."""
    row = _user(call)
    if not call.caller.sysadmin:
        raise RefusalError(403, _NO_ADMIN)
    wanted = bool((await call.body()).get("has_admin_role"))
    call.store.run("UPDATE users SET sysadmin = ? WHERE id = ?", int(wanted), row["id"])
    return Response()


async def set_password(call: Call) -> Response:
    """`PUT /users/{id}/password`: an administrator needs no old one of somebody else."""
    row = _user(call)
    own = row["id"] == call.caller.user_id
    if not (own or call.caller.sysadmin):
        raise RefusalError(403, f"User with ID: {row['id']} is not modifiable")
    asked = await call.body()
    old, new = str(asked.get("old_password") or ""), str(asked.get("new_password") or "")
    if own and not old:
        raise RefusalError(400, "empty old_password")
    if not new:
        raise RefusalError(400, "empty new_password")
    if own and hashed(old, row["salt"]) != row["secret"]:
        raise RefusalError(403, "incorrect old_password")
    if hashed(new, row["salt"]) == row["secret"]:
        raise RefusalError(400, "the new password can not be same with the old one")
    call.store.run("UPDATE users SET secret = ? WHERE id = ?", hashed(new, row["salt"]), row["id"])
    return Response()


async def list_groups(call: Call) -> Response:
    """`GET /usergroups`: LDAP's groups, for everybody who is logged in."""
    call.require_login()
    rows = call.store.all("SELECT id, group_name, group_type, ldap_group_dn FROM user_group ORDER BY id")
    return data(rows)


def _user(call: Call) -> Row:
    """Returns the user of the path.

    Raises:
        RefusalError: 401, 400 or 404.
    """
    call.require_login()
    text = call.params["user"]
    if text != "current" and not text.isdecimal():
        raise aborted(400, "Invalid user Id")
    number = call.caller.user_id if text == "current" else int(text)
    row = call.store.one("SELECT * FROM users WHERE id = ? AND deleted = 0", number)
    if row is None:
        raise aborted(404)
    return row


def _show(row: Row) -> dict[str, Any]:
    return {
        "user_id": row["id"],
        "username": row["username"],
        "email": row["email"] or "",
        "password": "",
        "realname": row["realname"],
        "comment": row["comment"],
        "deleted": False,
        "role_name": "",
        "role_id": 0,
        "has_admin_role": bool(row["sysadmin"]),
        "reset_uuid": "",
        "creation_time": row["creation_time"],
        "update_time": row["update_time"],
    }
