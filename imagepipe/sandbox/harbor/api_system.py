"""REST: version, health, system information, permission tables, configuration."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

from starlette.responses import Response

from imagepipe.sandbox.harbor import bodies
from imagepipe.sandbox.harbor.call import Call
from imagepipe.sandbox.harbor.identity import Person
from imagepipe.sandbox.harbor.problems import HarborError, json_response
from imagepipe.sandbox.harbor.rbac import ROBOT_PROJECT, ROBOT_SYSTEM, Permission
from imagepipe.sandbox.harbor.versions import has_right

# Source: goharbor/harbor v2.15.2 src/controller/health/checker.go, without the parts nobody installed.
COMPONENTS = ("core", "database", "jobservice", "portal", "redis", "registry", "registryctl")
CONFIGURABLE = {
    "project_creation_restriction": "everyone",
    "read_only": "false",
    "robot_name_prefix": "robot$",
    "storage_per_project": "-1",
}
"""What `PUT /configurations` may change here, with Harbor's defaults."""


async def ping(call: Call) -> Response:  # noqa: ARG001 - answers everyone alike
    """`GET /ping`."""
    return Response("Pong", media_type="text/plain")


async def health(call: Call) -> Response:  # noqa: ARG001 - answers everyone alike
    """`GET /health`."""
    parts = [{"name": name, "status": "healthy"} for name in COMPONENTS]
    return json_response({"status": "healthy", "components": parts})


async def system_info(call: Call) -> Response:
    """`GET /systeminfo`: who asks anonymously is not told the version."""
    config = call.harbor.config
    info: dict[str, Any] = {
        "auth_mode": f"{config.auth_mode}_auth",
        "banner_message": "",
        "oidc_provider_name": "sandbox" if config.auth_mode == "oidc" else "",
        "primary_auth_mode": False,
        "self_registration": False,
    }
    if call.caller.username:
        info |= {
            "current_time": call.harbor.stamp(),
            "external_url": config.external_url,
            "harbor_version": f"v{config.version.removeprefix('v')}-5d4ff4b4",
            "has_ca_root": False,
            "notification_enable": True,
            "project_creation_restriction": setting(call, "project_creation_restriction"),
            "read_only": call.harbor.read_only,
            "registry_storage_provider_name": "filesystem",
            "registry_url": urlsplit(config.external_url).netloc,
        }
    return json_response(dict(sorted(info.items())))


async def permissions(call: Call) -> Response:
    """`GET /permissions`: the tables robots are checked against."""
    if not call.caller.username:
        raise HarborError("UNAUTHORIZED", "")
    if not (call.caller.sysadmin or _is_project_admin(call)):
        raise HarborError("FORBIDDEN", "forbidden: only admins(system and project) can access permissions")
    release = call.harbor.config.release
    project, system = (
        _listed([each for each in table if has_right(each, release)]) for table in (ROBOT_PROJECT, ROBOT_SYSTEM)
    )
    return json_response({"project": project, "system": system if call.caller.sysadmin else None})


async def configuration(call: Call) -> Response:
    """`GET /configurations`."""
    call.require_system("configuration", "read")
    values = {key: {"editable": True, "value": _typed(setting(call, key))} for key in CONFIGURABLE}
    mode = {"editable": False, "value": f"{call.harbor.config.auth_mode}_auth"}
    return json_response({"auth_mode": mode} | values)


async def configure(call: Call) -> Response:
    """`PUT /configurations`; keys that the stand-in does not know are ignored."""
    values = await call.body(bodies.CONFIGURATIONS)
    call.require_system("configuration", "update")
    for key in CONFIGURABLE.keys() & values.keys():
        value = values[key]
        call.store.set_setting(key, str(value).lower() if isinstance(value, bool) else str(value))
    return Response()


def setting(call: Call, key: str) -> str:
    """Returns one configurable setting as text."""
    default = call.harbor.config.robot_prefix if key == "robot_name_prefix" else CONFIGURABLE[key]
    return call.store.setting(key, default)


def _typed(text: str) -> bool | int | str:
    if text in {"true", "false"}:
        return text == "true"
    return int(text) if text.lstrip("-").isdigit() else text


def _is_project_admin(call: Call) -> bool:
    if not isinstance(call.caller, Person):
        return False
    rows = call.store.all("SELECT DISTINCT project_id FROM members WHERE role = 1")
    return any(1 in call.caller.roles(row["project_id"]) for row in rows)


def _listed(table: Sequence[Permission]) -> list[dict[str, str]]:
    return [{"action": action, "resource": resource} for resource, action in table]
