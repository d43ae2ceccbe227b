"""REST: users of the local database, and what the caller is and may.

Source: goharbor/harbor v2.15.2 src/server/v2.0/handler/user.go, src/pkg/user/.
"""

from __future__ import annotations

import re
import secrets
import sqlite3
from typing import Any

from starlette.responses import Response

from imagepipe.sandbox.harbor import bodies, wire
from imagepipe.sandbox.harbor.accounts import LOCAL_ADMIN
from imagepipe.sandbox.harbor.call import Call
from imagepipe.sandbox.harbor.identity import Person
from imagepipe.sandbox.harbor.problems import HarborError, bad_request, invalid, json_response, not_found
from imagepipe.sandbox.harbor.rbac import ALL_PROJECT, ALL_SYSTEM
from imagepipe.sandbox.harbor.store import Row, hashed, is_valid_secret, matches, new_secret

RULE_FOR_WORDS = (
    "the password or secret must be 8-128, inclusively, characters long "
    "with at least 1 uppercase letter, 1 lowercase letter and 1 number"
)
EMAIL = re.compile(r"[^<>()\[\]\\.,;:\s@\"]+(\.[^<>()\[\]\\.,;:\s@\"]+)*@([a-zA-Z\-0-9]+\.)+[a-zA-Z]{2,}")
ILLEGAL = set(',"~#%$')


async def create_user(call: Call) -> Response:
    """`POST /users`."""
    user = await call.body(bodies.NEW_USER)
    mode = call.harbor.config.auth_mode
    if mode != "db":
        raise HarborError("FORBIDDEN", f"creating local user is not allowed under auth mode: {mode}_auth")
    call.require_system("user", "create")
    if not is_valid_secret(user.get("password", "")):
        raise bad_request(RULE_FOR_WORDS)
    _check_profile(user)
    salt, now = secrets.token_hex(16), call.harbor.stamp()
    try:
        user_id = call.store.insert(
            "users",
            username=user["username"],
            email=user["email"],
            realname=user["realname"],
            comment=user.get("comment", ""),
            secret=hashed(user["password"], salt),
            salt=salt,
            creation_time=now,
            update_time=now,
        )
    except sqlite3.IntegrityError as error:
        taken = f"user {user['username']} or email {user['email']} already exists"
        raise HarborError("CONFLICT", taken) from error
    return call.created(user_id)


def _check_profile(user: dict[str, Any]) -> None:
    """Raises 400 for a profile that Harbor refuses."""
    if not user.get("email"):
        raise bad_request("email can't be empty")
    if EMAIL.fullmatch(user["email"]) is None:
        raise bad_request("email with illegal format")
    for name in ("realname", "username"):
        value = user.get(name, "")
        if not 1 <= len(value) <= 255:
            raise bad_request(f"{name} with illegal length")
        if ILLEGAL & set(value):
            raise bad_request(f"{name} contains illegal characters")
        if name == "realname" and len(user.get("comment", "")) > 30:
            raise bad_request("comment with illegal length")


async def list_users(call: Call) -> Response:
    """`GET /users`."""
    listing = call.listing()
    call.require_system("user", "list")
    rows = listing.select(call.store.all("SELECT * FROM users WHERE deleted = 0"))
    for name in ("username", "email"):
        part = call.text(name)
        rows = [row for row in rows if not part or part in (row[name] or "")]
    return call.page(listing, rows, wire.user)


async def search_users(call: Call) -> Response:
    """`GET /users/search`: any user may look for another."""
    part = call.text("username")
    if part is None:
        raise invalid("username in query is required")
    listing = call.listing()
    call.require_login()
    sql = "SELECT id, username FROM users WHERE deleted = 0 AND instr(username, ?) ORDER BY length(username), username"
    return call.page(
        listing, call.store.all(sql, part), lambda row: {"user_id": row["id"], "username": row["username"]}
    )


async def get_user(call: Call) -> Response:
    """`GET /users/{id}`: oneself, or as administrator."""
    row = _readable(call, "read")
    return json_response(wire.user(row))


async def delete_user(call: Call) -> Response:
    """`DELETE /users/{id}`: the name becomes free, memberships vanish by join."""
    user_id = call.number("user")
    call.require_system("user", "delete")
    if user_id == 1 or (isinstance(call.caller, Person) and call.caller.user_id == user_id):
        raise HarborError("FORBIDDEN", f"User with ID {user_id} cannot be deleted")
    row = _user(call, user_id)
    call.store.run(
        "UPDATE users SET deleted = 1, username = ?, email = ? WHERE id = ?",
        f"{row['username']}#{user_id}",
        f"{row['email']}#{user_id}",
        user_id,
    )
    return Response()


async def set_sysadmin(call: Call) -> Response:
    """`PUT /users/{id}/sysadmin`."""
    user_id, flag = call.number("user"), await call.body(bodies.SYSADMIN)
    call.require_system("user", "update")
    _user(call, user_id)
    call.store.run("UPDATE users SET sysadmin = ? WHERE id = ?", int(bool(flag.get("sysadmin_flag"))), user_id)
    return Response()


async def set_password(call: Call) -> Response:
    """`PUT /users/{id}/password`."""
    passwords = await call.body(bodies.PASSWORD)
    row = _modifiable(call)
    own = isinstance(call.caller, Person) and call.caller.user_id == row["id"]
    if own and not matches(passwords.get("old_password", ""), row):
        raise HarborError("FORBIDDEN", "Current password is incorrect")
    new = passwords.get("new_password", "")
    if not is_valid_secret(new):
        raise bad_request(RULE_FOR_WORDS)
    if matches(new, row):
        raise bad_request("New password is identical to old password")
    call.store.run("UPDATE users SET secret = ? WHERE id = ?", hashed(new, row["salt"]), row["id"])
    return Response()


async def set_cli_secret(call: Call) -> Response:
    """`PUT /users/{id}/cli_secret`: an OIDC user's; an empty one becomes random and is shown in the web interface."""
    call.number("user")
    asked = await call.body(bodies.CLI_SECRET)
    mode = call.harbor.config.auth_mode
    if mode != "oidc":
        raise HarborError("PRECONDITION", f"unable to update CLI secret under authmode: {mode}_auth")
    row = _readable(call, "update")
    secret = asked.get("secret") or new_secret()
    if not is_valid_secret(secret):
        raise bad_request(RULE_FOR_WORDS)
    call.store.run("UPDATE users SET secret = ? WHERE id = ?", hashed(secret, row["salt"]), row["id"])
    return Response()


async def current_user(call: Call) -> Response:
    """`GET /users/current`: 412 is how a valid robot is told from a bad password."""
    call.require_login()
    if not isinstance(call.caller, Person) or call.caller.row is None:
        message = f"get current user not available for security context: {call.caller.kind}"
        raise HarborError("PRECONDITION", message)
    return json_response(wire.user(call.caller.row))


async def current_permissions(call: Call) -> Response:
    """`GET /users/current/permissions`: what the caller may, below one scope."""
    call.require_login()
    scope = (call.text("scope") or "").rstrip("/")
    project = re.fullmatch(r"/project/(\d+)", scope)
    if project is not None:
        held = [each for each in ALL_PROJECT if call.caller.may(int(project[1]), each)]
    else:
        held = [each for each in ALL_SYSTEM if scope == "/system" and call.caller.may_system(each)]
    relative = call.flag("relative")
    return json_response([{"action": a, "resource": _resource(scope, r, relative=relative)} for r, a in held])


def _resource(scope: str, resource: str, *, relative: bool) -> str:
    """Returns a resource below `scope`; the scope itself is "." when relative."""
    return (resource or ".") if relative else f"{scope}/{resource}".rstrip("/")


def _user(call: Call, user_id: int) -> Row:
    row = call.store.one("SELECT * FROM users WHERE deleted = 0 AND id = ?", user_id)
    if row is None:
        raise not_found(f"user {user_id} not found")
    return row


def _modifiable(call: Call) -> Row:
    """Returns the user of the path, whose password the caller may change; outside db mode there is one such user."""
    user_id = call.number("user")
    if call.harbor.config.auth_mode != "db":
        if user_id != LOCAL_ADMIN:
            raise HarborError("FORBIDDEN", f"User with ID {user_id} can't be updated")
        call.require_system("user", "update")
    return _readable(call, "update")


def _readable(call: Call, action: str) -> Row:
    """Returns the user of the path, for oneself or an administrator."""
    user_id = call.number("user")
    if not (isinstance(call.caller, Person) and call.caller.user_id == user_id):
        call.require_system("user", action)
    return _user(call, user_id)
