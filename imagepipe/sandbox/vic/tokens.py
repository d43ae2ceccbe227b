"""Registry tokens of Harbor 1.7.8: all that a caller may do, by repository.

Source: goharbor/harbor v1.7.8 src/core/service/token/{token,creator,authutils}.go, src/common/models/token.go.
"""

from __future__ import annotations

from typing import Any

from starlette.responses import Response

from imagepipe.sandbox.harbor.tokens import TokenMaker
from imagepipe.sandbox.vic.answers import aborted, data
from imagepipe.sandbox.vic.directory import Caller, Directory

SERVICE = "harbor-registry"
NOTARY = "harbor-notary"


def serve_token(
    directory: Directory, tokens: TokenMaker, caller: Caller, method: str, query: list[tuple[str, str]]
) -> Response:
    """Returns the answer to one request of `/service/token`: whoever asks with a scope gets a token.

    Raises:
        RefusalError: 400 unknown service, 401 nobody without a scope, 405, 500 a project that cannot be read.
    """
    if method not in {"GET", "HEAD"}:
        raise aborted(405, "Method Not Allowed")
    service = next((value for key, value in query if key == "service"), "")
    if service not in {SERVICE, NOTARY}:
        raise aborted(400, f"Unable to handle service: {service}")
    scopes = [scope for key, value in query if key == "scope" for scope in value.split(" ")]
    if not caller.name and not scopes:
        raise aborted(401)
    access = [_granted(directory, caller, scope) for scope in scopes if scope]
    answer = tokens.make(caller.name, access)
    del answer["access_token"]  # it came later
    return data(answer)


def _granted(directory: Directory, caller: Caller, scope: str) -> dict[str, Any]:
    """Returns all that the caller may do on a scope's project, in Harbor's order."""
    kind, name, asked = _parts(scope)
    if kind == "registry":
        if name != "catalog":
            raise aborted(500)
        return {"type": kind, "name": name, "actions": asked if caller.sysadmin else []}
    if kind != "repository":
        return {"type": kind, "name": name, "actions": []}
    if "/" not in name:
        raise aborted(500)
    project = directory.project(name.partition("/")[0])
    if project is not None and project.broken:
        raise aborted(500)
    actions: list[str] = []
    if project is not None:
        rights = {"push": caller.may_write, "*": caller.may_all, "pull": caller.may_read}
        actions = [action for action, may in rights.items() if may(project)]
    return {"type": kind, "name": name, "actions": actions}


def _parts(scope: str) -> tuple[str, str, list[str]]:
    """Returns type, name and asked actions of a scope; the name may hold colons."""
    kind, *rest = scope.split(":")
    if len(rest) < 2:
        return kind, "".join(rest), []
    return kind, ":".join(rest[:-1]), [action for action in rest[-1].split(",") if action]
