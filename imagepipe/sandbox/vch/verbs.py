"""What is done to containers, and the refusals of it in VIC's words where dockerd's are others."""

import json
import re
from collections.abc import AsyncIterator, Awaitable
from typing import Any, TypeVar

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from imagepipe.sandbox.vch import bodies
from imagepipe.sandbox.vch.answers import RefusalError, from_portlayer
from imagepipe.sandbox.vch.facade import Facade
from imagepipe.sandbox.vch.forward import forward

_T = TypeVar("_T")
# Source: docker 1.13 utils/names.go:6
_NAME_CHARACTERS = "[a-zA-Z0-9][a-zA-Z0-9_.-]"
_NAME = re.compile(f"^{_NAME_CHARACTERS}+$")
_TAKEN = re.compile(r"container name \"/(?P<name>[^\"]+)\" is already in use by container \"?(?P<id>[0-9a-f]{64})")
_NOT_THERE = re.compile(r"^(Could not find the file |lstat |stat )|: no such file or directory$")
_NO_TAR = re.compile(r"(?s)^Error processing tar file\(.*(corrupt|unexpected EOF|invalid tar header)")


async def start_container(facade: Facade, request: Request) -> Response:
    """Answers `POST /containers/{id}/start`: starting what runs is 204, where dockerd says 304.

    Source: VIC v1.5.8 lib/portlayer/exec/commit.go (a duplicate power on is dropped without a word); docker 1.13
    container_routes.go:137-140 (no body).
    """
    if len(await request.body()) > len("no body"):
        text = "starting container with non-empty request body was deprecated since v1.10 and removed in v1.12"
        raise RefusalError(text, 400)
    response = await forward(facade, request)
    return Response(status_code=204) if response.status_code == 304 else response


async def stop_container(facade: Facade, request: Request) -> Response:
    """Answers `POST /containers/{id}/stop`: stopping what is stopped is 204, where dockerd says 304."""
    response = await forward(facade, request)
    return Response(status_code=204) if response.status_code == 304 else response


async def wait_container(facade: Facade, request: Request) -> Response:
    """Answers `POST /containers/{id}/wait`. Source: docker 1.13 api/types/container/container_wait.go."""

    async def shown(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        answer = b"".join([chunk async for chunk in chunks])
        yield json.dumps({"StatusCode": json.loads(answer)["StatusCode"]}).encode() + b"\n"

    return await forward(facade, request, through=shown)


async def kill_container(facade: Facade, request: Request) -> Response:
    """Answers `POST /containers/{id}/kill`.

    Source: VIC v1.5.8 lib/apiservers/engine/proxy/container_proxy.go:847; docker 1.13 container_routes.go:201-222.
    """
    name = request.path_params["id"]
    try:
        return await forward(facade, request)
    except RefusalError as exc:
        if exc.message.startswith("Invalid signal"):
            raise RefusalError(exc.message, 500) from exc
        if exc.status == 404:
            raise RefusalError(f"Cannot kill container {name}: No such container: {name}", 404) from exc
        if not exc.message.endswith("is not running"):
            raise
        found = await facade.container(name)
        raise RefusalError(f"Cannot kill container {name}: {found['Id']} is not running", 500) from exc


async def rename_container(facade: Facade, request: Request) -> Response:
    """Answers `POST /containers/{id}/rename`. Source: VIC v1.5.8 backends/container.go:1783-1845."""
    new = request.query_params.get("name", "")
    if not new:
        raise RefusalError("neither old nor new names may be empty", 500)
    if not _NAME.match(new):
        raise RefusalError(f"invalid container name ({new}), only {_NAME_CHARACTERS} are allowed", 500)
    found = await facade.container(request.path_params["id"])
    if found["Name"] == f"/{new}":
        raise RefusalError("renaming a container with the same name as its current name", 500)
    return await named_once(forward(facade, request))


async def named_once(done: Awaitable[_T]) -> _T:
    """Returns what was done; that a container's name is taken is told as VIC tells it.

    Raises:
        RefusalError: 409. Source: VIC v1.5.8 backends/cache/container_cache.go:190.
    """
    try:
        return await done
    except RefusalError as exc:
        taken = _TAKEN.search(exc.message)
        if taken is None:
            raise
        text = (
            f'conflict. The name "{taken["name"]}" is already in use by container {taken["id"]}. '
            "You have to remove (or rename) that container to be able to re use that name."
        )
        raise RefusalError(text, 409) from exc


async def archive(facade: Facade, request: Request) -> Response:
    """Answers `GET`, `HEAD` and `PUT /containers/{id}/archive`.

    Source: VIC v1.5.8 lib/apiservers/engine/backends/archive.go, proxy/archive_proxy.go:206.
    """
    if not request.query_params.get("path"):
        raise RefusalError("bad parameter: 'path' cannot be empty", 400)
    found = await facade.container(request.path_params["id"])
    try:
        return await forward(facade, request)
    except RefusalError as exc:
        putting = request.method == "PUT"
        if putting and _NO_TAR.search(exc.message):
            raise RefusalError("Stream format not recognized", 409) from exc
        if exc.status != 404 and not _NOT_THERE.search(exc.message):
            raise
        whose = "" if putting else f" for container: {found['Name'].removeprefix('/')}"
        raise RefusalError(f"No such file or directory{whose}", 404) from exc


async def create_exec(facade: Facade, request: Request) -> Response:
    """Answers `POST /containers/{id}/exec`. Source: VIC v1.5.8 backends/container.go:231-232."""
    asked = await bodies.read(request, bodies.EXEC)
    if not asked.get("Cmd"):
        raise RefusalError("No exec command specified", 500)
    found = await facade.container(request.path_params["id"])
    if not found["State"]["Running"]:
        raise from_portlayer(f"container ({found['Name'].removeprefix('/')}) is not running")
    made = (await facade.engine.call("POST", f"/containers/{found['Id']}/exec", body=asked)).checked()
    facade.tables.execs[made["Id"]] = found["Id"]
    facade.tables.save()
    return JSONResponse({"Id": made["Id"]}, 201)


async def inspect_exec(facade: Facade, request: Request) -> Response:
    """Answers `GET /exec/{id}/json`. Source: VIC v1.5.8 backends/container.go:279-323."""
    name = request.path_params["id"]
    owner = facade.tables.execs.get(name)
    if owner is None:
        raise RefusalError(f"no container was found with exec id: {name}", 404)
    answer = await facade.engine.call("GET", f"/exec/{name}/json")
    if answer.status == 404:
        raise stopped(owner)
    found: dict[str, Any] = answer.checked()
    return JSONResponse(found)


async def resize_exec(facade: Facade, request: Request) -> Response:
    """Answers `POST /exec/{id}/resize`. Source: VIC v1.5.8 backends/container.go:325-356."""
    name = request.path_params["id"]
    if name not in facade.tables.execs:
        raise RefusalError(f"No such container: {name}", 404)
    return await forward(facade, request)


def stopped(container: str) -> RefusalError:
    """Returns what VIC says of an exec whose container stopped meanwhile. Source: VIC v1.5.8 errors/errors.go:95."""
    return RefusalError(f"container ({container}) has been stopped", 404)
