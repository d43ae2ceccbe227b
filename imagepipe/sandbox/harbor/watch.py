"""Changes of users and settings, recorded by looking at requests and answers: also those that were refused.

Source: goharbor/harbor v2.15.2 src/server/middleware/log/log.go, src/pkg/auditext/event/.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from imagepipe.sandbox.harbor import audit
from imagepipe.sandbox.harbor.call import Harbor
from imagepipe.sandbox.harbor.identity import Caller
from imagepipe.sandbox.harbor.problems import HarborError

_USERS: Final = "/api/v2.0/users"
_USER: Final = re.compile(rf"{_USERS}/(\d+)(/password|/sysadmin)?")
_SETTINGS: Final = "/api/v2.0/configurations"
_OPERATIONS: Final = {"POST": "create", "PUT": "update", "DELETE": "delete"}
_WORDS: Final = {
    "/password": ", change user password",
    "/sysadmin": ", add/remove user as system administrator",
}


async def watched(
    harbor: Harbor, request: Request, caller: Caller, serve: Callable[[], Awaitable[Response]]
) -> Response:
    """Returns what `serve` answers to a REST request, and records it when it is of a kind that is watched."""
    name = _user_name(harbor, request.url.path) if request.method == "DELETE" else ""
    try:
        response = await serve()
    except HarborError as error:
        _record(harbor, request, caller, error.response(), name)
        raise
    _record(harbor, request, caller, response, name)
    return response


def _record(harbor: Harbor, request: Request, caller: Caller, response: Response, deleted: str) -> None:
    path, operation = request.url.path, _OPERATIONS.get(request.method)
    if operation is None:
        return
    succeeded = response.status_code in {200, 201}
    if path == _SETTINGS and operation == "update":
        harbor.record(caller.username, audit.of_configuration(succeeded=response.status_code == 200))
    elif path == _USERS and operation == "create":
        # Who was refused has no Location, and so no name.
        name = _user_name(harbor, response.headers.get("location", ""))
        harbor.record(caller.username, audit.of_user(operation, name, succeeded=succeeded))
    elif (match := _USER.fullmatch(path)) is not None and operation != "create":
        name = deleted or _user_name(harbor, path) or match[1]
        more = _WORDS.get(match[2] or "", "") if operation == "update" else ""
        harbor.record(caller.username, audit.of_user(operation, name, more, succeeded=succeeded))


def _user_name(harbor: Harbor, path: str) -> str:
    """Returns the name of the user that a path speaks of, empty when there is none."""
    match = _USER.fullmatch(path)
    sql = "SELECT username FROM users WHERE deleted = 0 AND id = ?"
    return str(harbor.store.value(sql, int(match[1])) or "") if match else ""
