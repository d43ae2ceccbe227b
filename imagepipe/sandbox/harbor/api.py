"""The table of REST endpoints below `/api/v2.0`, and how a request finds its own."""

from __future__ import annotations

import re

from starlette.requests import Request
from starlette.responses import Response

from imagepipe.sandbox.harbor import api_artifacts as artifact
from imagepipe.sandbox.harbor import api_audit as audit
from imagepipe.sandbox.harbor import api_groups as group
from imagepipe.sandbox.harbor import api_members as member
from imagepipe.sandbox.harbor import api_policies as policy
from imagepipe.sandbox.harbor import api_projects as project
from imagepipe.sandbox.harbor import api_robots as robot
from imagepipe.sandbox.harbor import api_system as system
from imagepipe.sandbox.harbor import api_users as user
from imagepipe.sandbox.harbor.call import Call, Handler, Harbor, query_of
from imagepipe.sandbox.harbor.identity import Caller
from imagepipe.sandbox.harbor.problems import HarborError, not_found
from imagepipe.sandbox.harbor.versions import by_number, has_route, no_number

BASE = "/api/v2.0"
_REPOSITORY = "/projects/{project}/repositories/{repository}"
_ARTIFACT = f"{_REPOSITORY}/artifacts/{{reference}}"
_RULES = "/projects/{project}/immutabletagrules"
ENDPOINTS: dict[str, dict[str, Handler]] = {
    "/ping": {"GET": system.ping},
    "/health": {"GET": system.health},
    "/systeminfo": {"GET": system.system_info},
    "/permissions": {"GET": system.permissions},
    "/configurations": {"GET": system.configuration, "PUT": system.configure},
    "/users": {"GET": user.list_users, "POST": user.create_user},
    "/users/search": {"GET": user.search_users},
    "/users/current": {"GET": user.current_user},
    "/users/current/permissions": {"GET": user.current_permissions},
    "/users/{user}": {"GET": user.get_user, "DELETE": user.delete_user},
    "/users/{user}/sysadmin": {"PUT": user.set_sysadmin},
    "/users/{user}/password": {"PUT": user.set_password},
    "/users/{user}/cli_secret": {"PUT": user.set_cli_secret},
    "/usergroups": {"GET": group.list_groups, "POST": group.create_group},
    "/usergroups/search": {"GET": group.search_groups},
    "/usergroups/{group}": {"GET": group.get_group, "PUT": group.rename_group, "DELETE": group.delete_group},
    "/audit-logs": {"GET": audit.list_old_events},
    "/auditlog-exts": {"GET": audit.list_events},
    "/auditlog-exts/events": {"GET": audit.list_event_types},
    "/projects": {"GET": project.list_projects, "HEAD": project.head_project, "POST": project.create_project},
    "/projects/{project}": {
        "GET": project.get_project,
        "PUT": project.update_project,
        "DELETE": project.delete_project,
    },
    "/projects/{project}/_deletable": {"GET": project.deletable},
    "/projects/{project}/summary": {"GET": project.summary},
    "/projects/{project}/artifacts": {"GET": artifact.list_project_artifacts},
    "/projects/{project}/logs": {"GET": audit.list_old_project_events},
    "/projects/{project}/auditlog-exts": {"GET": audit.list_project_events},
    "/projects/{project}/members": {"GET": member.list_members, "POST": member.create_member},
    "/projects/{project}/members/{member}": {
        "GET": member.get_member,
        "PUT": member.update_member,
        "DELETE": member.delete_member,
    },
    "/projects/{project}/metadatas/": {"GET": policy.list_metadata, "POST": policy.add_metadata},
    "/projects/{project}/metadatas/{key}": {
        "GET": policy.get_metadata,
        "PUT": policy.put_metadata,
        "DELETE": policy.delete_metadata,
    },
    _RULES: {"GET": policy.list_immutable, "POST": policy.create_immutable},
    f"{_RULES}/{{rule}}": {"PUT": policy.update_immutable, "DELETE": policy.delete_immutable},
    "/repositories": {"GET": artifact.list_all_repositories},
    "/projects/{project}/repositories": {"GET": artifact.list_repositories},
    _REPOSITORY: {"GET": artifact.get_repository, "DELETE": artifact.delete_repository},
    f"{_REPOSITORY}/artifacts": {"GET": artifact.list_artifacts, "POST": artifact.copy_artifact},
    _ARTIFACT: {"GET": artifact.get_artifact, "DELETE": artifact.delete_artifact},
    f"{_ARTIFACT}/tags": {"GET": artifact.list_tags, "POST": artifact.create_tag},
    f"{_ARTIFACT}/tags/{{tag}}": {"DELETE": artifact.delete_tag},
    f"{_ARTIFACT}/accessories": {"GET": artifact.list_accessories},
    f"{_ARTIFACT}/labels": {"POST": artifact.add_label},
    f"{_ARTIFACT}/labels/{{label}}": {"DELETE": artifact.remove_label},
    f"{_ARTIFACT}/scan": {"POST": artifact.scan},
    f"{_ARTIFACT}/additions/vulnerabilities": {"GET": artifact.vulnerabilities},
    "/robots": {"GET": robot.list_robots, "POST": robot.create_robot},
    "/robots/{robot}": {
        "GET": robot.get_robot,
        "PUT": robot.update_robot,
        "PATCH": robot.refresh_secret,
        "DELETE": robot.delete_robot,
    },
    "/quotas": {"GET": policy.list_quotas},
    "/quotas/{quota}": {"GET": policy.get_quota, "PUT": policy.update_quota},
    "/labels": {"GET": policy.list_labels, "POST": policy.create_label},
    "/labels/{label}": {"GET": policy.get_label, "DELETE": policy.delete_label},
}
_ROUTES = [
    (re.compile(re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", path.rstrip("/")) + "/?"), path, methods)
    for path, methods in ENDPOINTS.items()
]


async def serve_api(harbor: Harbor, request: Request, caller: Caller) -> Response:
    """Returns the answer to a REST request.

    Raises:
        HarborError: 404 for an unknown path, 405 for an unknown method, or the endpoint's own refusal.
    """
    path, method, release = request.url.path, request.method, harbor.config.release
    for pattern, route, methods in _ROUTES if path.startswith(BASE) else ():
        match = pattern.fullmatch(path.removeprefix(BASE))
        if match is None or not has_route(route, release):
            continue
        numbered = by_number(route, release)
        if numbered and not match["project"].isdecimal():
            raise no_number(path, match["project"], release)
        handler = methods.get(method)
        if handler is None:
            allowed = ",".join(sorted(methods))
            raise HarborError("METHOD_NOT_ALLOWED", f"method {method} is not allowed, but [{allowed}] are")
        return await handler(Call(harbor, request, caller, match.groupdict(), query_of(request), numbered))
    raw_path = request.scope.get("raw_path", path.encode()).decode().partition("?")[0]
    raise not_found(f"path {raw_path} was not found")
