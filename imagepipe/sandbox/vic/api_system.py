"""What Harbor 1.7.8 says of itself, to everybody.

Source: goharbor/harbor v1.7.8 src/core/api/systeminfo.go.
"""

from __future__ import annotations

from typing import Final

from starlette.responses import Response

from imagepipe.sandbox.vic.answers import data
from imagepipe.sandbox.vic.parts import Call

_COMMIT: Final = "ef3a8760"
"""What a build appends to the version; here the commit of the tag v1.7.8."""


async def ping(call: Call) -> Response:  # noqa: ARG001 - every handler takes the call
    """`GET /ping`."""
    return data("Pong")


async def system_info(call: Call) -> Response:
    """`GET /systeminfo`: the version shows to everybody, and whether Admiral is there."""
    vic = call.vic
    return data(
        {
            "with_notary": True,
            "with_clair": True,
            "with_admiral": vic.with_admiral,
            "admiral_endpoint": vic.admiral_url or "NA",
            "auth_mode": auth_mode(call),
            "registry_url": vic.config.external_url.partition("://")[2],
            "project_creation_restriction": "everyone",
            "self_registration": vic.store.setting("self_registration", "false") == "true",
            "has_ca_root": True,
            "harbor_version": f"v{vic.config.version.removeprefix('v')}-{_COMMIT}",
            "registry_storage_provider_name": "filesystem",
            "read_only": vic.read_only,
            "with_chartmuseum": False,
        }
    )


def auth_mode(call: Call) -> str:
    """Returns where the users come from: db_auth or ldap_auth."""
    return call.store.setting("auth_mode", "db_auth")
