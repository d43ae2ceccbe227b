"""Container endpoints whose request or answer differs from dockerd's; the rest passes through."""

import json
from collections.abc import AsyncIterator, Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from imagepipe.sandbox.vch import rewrite
from imagepipe.sandbox.vch.answers import PRODUCT, RefusalError, flag, from_portlayer
from imagepipe.sandbox.vch.creation import checked
from imagepipe.sandbox.vch.facade import Facade
from imagepipe.sandbox.vch.filters import refuse_unsupported
from imagepipe.sandbox.vch.forward import forward
from imagepipe.sandbox.vch.references import Reference
from imagepipe.sandbox.vch.tables import Image, Layer, image_hex

UNSUPPORTED_FILTERS = ("ancestor", "health", "isolation", "is-task")


async def list_containers(facade: Facade, request: Request) -> Response:
    """Answers `GET /containers/json`."""
    refuse_unsupported(request.query_params.get("filters", ""), UNSUPPORTED_FILTERS)
    found = await facade.engine.get("/containers/json", **dict(request.query_params))
    return JSONResponse([rewrite.container_summary(facade, entry) for entry in found])


async def inspect_container(facade: Facade, request: Request) -> Response:
    """Answers `GET /containers/{id}/json`."""
    return JSONResponse(rewrite.container(facade, await facade.container(request.path_params["id"])))


async def create_container(facade: Facade, request: Request) -> Response:
    """Answers `POST /containers/create`: the image is found in the VCH's own books."""
    body: dict[str, Any] = await request.json()
    image_id = facade.find_image(str(body.get("Image", "")))
    image = facade.tables.images[image_id]
    found = await facade.engine.get(f"/images/{image.engine_id}/json")
    creation = checked(facade.config, body, found.get("Config") or {})
    if not image.usable or facade.faults.take("no_such_image"):
        # Source: vmware/vic#8650; VIC v1.5.8 lib/apiservers/engine/proxy/storage_proxy.go:281-286
        raise RefusalError(f"No such container: No such image: {image_id}", 404)
    answer = await facade.engine.call(
        "POST",
        "/containers/create",
        query=dict(request.query_params),
        body={**creation.body, "Image": image.engine_id},
    )
    created = answer.checked()
    await _forget_gone(facade)
    facade.tables.containers[created["Id"]] = creation.remembered
    facade.tables.save()
    return JSONResponse({"Id": created["Id"], "Warnings": None}, 201)


async def _forget_gone(facade: Facade) -> None:
    # containers that remove themselves never pass through remove_container
    alive = {entry["Id"] for entry in await facade.engine.get("/containers/json", all="1")}
    for gone in set(facade.tables.containers) - alive:
        del facade.tables.containers[gone]


async def remove_container(facade: Facade, request: Request) -> Response:
    """Answers `DELETE /containers/{id}`."""
    name = request.path_params["id"]
    found = await facade.container(name)
    if found["State"]["Running"] and not flag(request, "force"):
        text = "You cannot remove a running container. Stop the container before attempting removal or use -f"
        raise RefusalError(text, 409)
    response = await forward(facade, request)
    facade.tables.containers.pop(found["Id"], None)
    facade.tables.save()
    return response


async def stop_container(facade: Facade, request: Request) -> Response:
    """Answers `POST /containers/{id}/stop`: stopping what is stopped is 204, where dockerd says 304."""
    response = await forward(facade, request)
    return Response(status_code=204) if response.status_code == 304 else response


async def container_logs(facade: Facade, request: Request) -> Response:
    """Answers `GET /containers/{id}/logs`, all on stdout: a VCH keeps one log, whichever stream is asked for.

    Source: VIC v1.5.8 lib/apiservers/engine/backends/container.go ContainerLogs
    """
    found = await facade.container(request.path_params["id"])
    query = dict(request.query_params)
    if flag(request, "stdout") or flag(request, "stderr"):
        query |= {"stdout": "1", "stderr": "1"}
    through = None if found["Config"]["Tty"] else rewrite.on_stdout
    return await forward(facade, request, through=through, query=query)


async def create_exec(facade: Facade, request: Request) -> Response:
    """Answers `POST /containers/{id}/exec`. Source: VIC v1.5.8 backends/container.go:231-232."""
    found = await facade.container(request.path_params["id"])
    if not found["State"]["Running"]:
        raise from_portlayer(f"container ({found['Name'].removeprefix('/')}) is not running")
    return await forward(facade, request)


async def commit(facade: Facade, request: Request) -> Response:
    """Answers `POST /commit`: stopped containers only. Source: VIC v1.5.8 backends/commit.go:83-85."""
    name = request.query_params.get("container", "")
    if not name:  # the engine would be asked for the folder of all containers
        raise RefusalError("No such container: ", 404)
    found = await facade.container(name)
    if found["State"]["Running"]:
        text = f"Conflict error from portlayer: {PRODUCT} does not yet support commit of a running container"
        raise RefusalError(text, 409)
    query = {key: value for key, value in request.query_params.items() if key not in {"repo", "tag"}}
    raw = await request.body()
    answer = await facade.engine.call("POST", "/commit", query=query, body=json.loads(raw) if raw else {})
    engine_id = answer.checked()["Id"]
    image_id = image_hex(engine_id)
    repository, tables = request.query_params.get("repo", ""), facade.tables
    parent = tables.images.get(image_hex(found["Image"]))
    layers = [*(parent.layers if parent else []), Layer(image_hex(image_id), engine_id)]
    tables.images[image_id] = Image(engine_id, layers, "")
    if repository:
        tables.refer(Reference.parse(repository).with_suffix(request.query_params.get("tag") or "latest"), image_id)
    tables.save()
    return JSONResponse({"Id": f"sha256:{image_id}"}, 201)


async def events(facade: Facade, request: Request) -> Response:
    """Answers `GET /events`: containers and images only, images under their VIC names."""

    async def shown(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        rest = b""
        async for chunk in chunks:
            *lines, rest = (rest + chunk).split(b"\n")
            for raw in lines:
                value = _event(facade, json.loads(raw)) if raw.strip() else None
                if value is not None:
                    yield json.dumps(value).encode() + b"\n"

    return await forward(facade, request, through=shown)


def _event(facade: Facade, value: dict[str, Any]) -> Mapping[str, Any] | None:
    if value.get("Type") == "image":
        image_id = image_hex(str(value["id"]))
        return {**value, "id": image_id, "Actor": {**value["Actor"], "ID": image_id}}
    if value.get("Type") != "container":
        return None
    known = facade.tables.containers.get(value["id"])
    if known is None:
        return value
    actor = {**value["Actor"], "Attributes": {**value["Actor"]["Attributes"], "image": known.image}}
    return {**value, "from": known.image, "Actor": actor}
