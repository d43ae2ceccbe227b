"""The table of REST endpoints below `/api`, which of them are there with Admiral, and how a request finds its own.

Source: goharbor/harbor v1.7.8 src/core/router.go.
"""

from __future__ import annotations

import re
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from imagepipe.sandbox.harbor.call import query_of
from imagepipe.sandbox.vic import api_members as member
from imagepipe.sandbox.vic import api_projects as project
from imagepipe.sandbox.vic import api_repositories as repository
from imagepipe.sandbox.vic import api_system as system
from imagepipe.sandbox.vic import api_users as user
from imagepipe.sandbox.vic.answers import RefusalError, missing_page
from imagepipe.sandbox.vic.directory import Caller
from imagepipe.sandbox.vic.parts import Call, Handler, Vic

_TYPES: Final = ("application/json", "multipart/form-data", "application/octet-stream")
_ID = "/projects/(?P<id>[0-9]+)"
_NAME = "/repositories/(?P<repository>.+)"
_TAG = f"{_NAME}/tags/(?P<tag>[^/]+)"
_STANDALONE: Final[dict[str, dict[str, Handler]]] = {
    f"{_ID}/members/?": {"GET": member.list_members, "POST": member.add_member},
    f"{_ID}/members/(?P<member>[0-9]+)": {
        "GET": member.get_member,
        "PUT": member.update_member,
        "DELETE": member.delete_member,
    },
    "/projects/?": {"HEAD": project.head_project},
    _ID: {"GET": project.get_project, "PUT": project.update_project, "DELETE": project.delete_project},
    "/users": {"GET": user.list_users, "POST": user.create_user},
    "/users/(?P<user>[^/]+)": {"GET": user.get_user, "DELETE": user.delete_user},
    "/users/(?P<user>[^/]+)/sysadmin": {"PUT": user.set_sysadmin},
    "/users/(?P<user>[0-9]+)/password": {"PUT": user.set_password},
    "/usergroups/?": {"GET": user.list_groups},
}
_EVERYWHERE: Final[dict[str, dict[str, Handler]]] = {
    "/ping": {"GET": system.ping},
    "/systeminfo": {"GET": system.system_info},
    "/projects/?": {"GET": project.list_projects, "POST": project.create_project},
    f"{_ID}/logs": {"GET": project.logs},
    f"{_ID}/_deletable": {"GET": project.deletable},
    f"{_ID}/metadatas/?": {"GET": project.list_metadata, "POST": project.add_metadata},
    f"{_ID}/metadatas/(?P<name>[^/]+)": {
        "GET": project.get_metadata,
        "PUT": project.put_metadata,
        "DELETE": project.delete_metadata,
    },
    "/repositories": {"GET": repository.list_repositories},
    f"{_TAG}/manifest": {"GET": repository.get_manifest},
    _TAG: {"GET": repository.get_tag, "DELETE": repository.delete_tag},
    f"{_NAME}/tags": {"GET": repository.list_tags, "POST": repository.retag},
    f"{_NAME}/signatures": {"GET": repository.list_signatures},
    _NAME: {"DELETE": repository.delete_repository},
}


def _compiled(*tables: dict[str, dict[str, Handler]]) -> list[tuple[re.Pattern[str], dict[str, Handler]]]:
    return [(re.compile(f"/api{path}"), handlers) for table in tables for path, handlers in table.items()]


_WITH_ADMIRAL: Final = _compiled(_EVERYWHERE)
_ALONE: Final = _compiled(_STANDALONE, _EVERYWHERE)


async def serve_api(vic: Vic, request: Request, caller: Caller) -> Response:
    """Returns the answer to an identified request.

    Raises:
        RefusalError: Harbor refuses.
    """
    method, path = request.method, request.url.path
    kind = request.headers.get("content-type", "").partition(";")[0]
    if path.startswith("/api/") and method == "POST" and kind not in _TYPES:
        raise RefusalError(415, newline=False)
    for pattern, handlers in _WITH_ADMIRAL if vic.with_admiral else _ALONE:
        match = pattern.fullmatch(path)
        if match is not None and method in handlers:
            return await handlers[method](Call(vic, request, caller, match.groupdict(), query_of(request)))
    return missing_page()
