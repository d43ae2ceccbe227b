"""What a VCH never does, with its exact answer. Source: VIC v1.5.8 lib/apiservers/engine/backends."""

import json

from starlette.requests import Request
from starlette.responses import Response

from imagepipe.sandbox.vch.answers import RefusalError, line, not_implemented, stream_error
from imagepipe.sandbox.vch.facade import Facade

NOT_IMPLEMENTED = (
    ("GET", "/images/get", "ExportImage"),
    ("GET", "/images/search", "SearchRegistryForImages"),
    ("POST", "/images/prune", "ImagesPrune"),
    ("GET", "/images/{name:path}/get", "ExportImage"),
    ("GET", "/images/{name:path}/history", "ImageHistory"),
    ("POST", "/containers/prune", "ContainersPrune"),
    ("POST", "/containers/{id}/pause", "ContainerPause"),
    ("POST", "/containers/{id}/unpause", "ContainerUnpause"),
    ("GET", "/containers/{id}/top", "ContainerTop"),
    ("POST", "/containers/{id}/update", "ContainerUpdate"),
    ("GET", "/containers/{id}/export", "ContainerExport"),
    ("POST", "/containers/{id}/copy", "ContainerCopy"),
    ("GET", "/containers/{id}/checkpoints", "checkpointing"),
    ("POST", "/containers/{id}/checkpoints", "checkpointing"),
    ("DELETE", "/containers/{id}/checkpoints/{checkpoint}", "checkpointing"),
    ("POST", "/volumes/prune", "VolumesPrune"),
    ("POST", "/networks/prune", "NetworksPrune"),
    ("POST", "/networks/{id}/disconnect", "DisconnectContainerFromNetwork"),
    ("GET", "/system/df", "SystemDiskUsage"),
)
"""Method, path and VIC's name of what is missing: all answer 500."""

SWARM_ROOTS = ("swarm", "services", "nodes", "tasks", "secrets")

SWARM_METHODS = ("GET", "POST", "DELETE")


async def push_image(_facade: Facade, request: Request) -> Response:
    """Refuses `POST /images/{name}/push`; without credentials the router already stumbles over the body.

    Source: docker 1.13 api/server/router/image/image_routes.go:150.
    """
    if "x-registry-auth" not in request.headers:
        try:
            json.loads(await request.body())
        except ValueError as exc:
            raise RefusalError("Bad parameters and missing X-Registry-Auth: EOF", 400) from exc
    raise not_implemented("PushImage")


async def load_image(_facade: Facade, _request: Request) -> Response:
    """Refuses `POST /images/load` with status 200: the error is in the body.

    Source: docker 1.13 api/server/router/image/image_routes.go:199-214.
    """
    return Response(line(stream_error(not_implemented("LoadImage").message)), media_type="application/json")


async def swarm(_facade: Facade, _request: Request) -> Response:
    """Refuses everything of Swarm. Source: VIC v1.5.8 lib/apiservers/engine/errors/errors.go:130."""
    raise RefusalError("Docker Swarm is not yet supported", 404)


async def inspect_plugin(_facade: Facade, request: Request) -> Response:
    """Refuses `GET /plugins/{name}/json`. Source: VIC v1.5.8 lib/apiservers/engine/errors/errors.go:126."""
    raise RefusalError(f"plugin {request.path_params['name']} not found", 404)


async def plugins(_facade: Facade, _request: Request) -> Response:
    """Refuses the other plugin endpoints."""
    raise not_implemented("plugins")
