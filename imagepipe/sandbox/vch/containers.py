"""Container endpoints whose request or answer differs from dockerd's; the rest passes through."""

from collections.abc import Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from imagepipe.sandbox.vch import bodies, rewrite
from imagepipe.sandbox.vch.answers import PRODUCT, RefusalError, flag
from imagepipe.sandbox.vch.creation import checked
from imagepipe.sandbox.vch.facade import Facade
from imagepipe.sandbox.vch.filters import refuse_unknown, refuse_unsupported
from imagepipe.sandbox.vch.forward import forward
from imagepipe.sandbox.vch.references import Reference
from imagepipe.sandbox.vch.tables import Image, Layer, image_hex
from imagepipe.sandbox.vch.verbs import named_once

UNSUPPORTED_FILTERS = ("ancestor", "health", "isolation", "is-task")

_FILTERS = ("before", "exited", "id", "label", "name", "status", "since", "volume", "network")
"""Source: VIC v1.5.8 lib/apiservers/engine/backends/container.go:71-85."""


async def list_containers(facade: Facade, request: Request) -> Response:
    """Answers `GET /containers/json`."""
    filters = request.query_params.get("filters", "")
    refuse_unknown(filters, (*_FILTERS, *UNSUPPORTED_FILTERS))
    refuse_unsupported(filters, UNSUPPORTED_FILTERS)
    found = await facade.engine.get("/containers/json", **dict(request.query_params))
    return JSONResponse([rewrite.container_summary(facade, entry) for entry in found])


async def inspect_container(facade: Facade, request: Request) -> Response:
    """Answers `GET /containers/{id}/json`."""
    return JSONResponse(rewrite.container(facade, await facade.container(request.path_params["id"])))


async def create_container(facade: Facade, request: Request) -> Response:
    """Answers `POST /containers/create`: the image is found in the VCH's own books."""
    body = await bodies.read(request, bodies.CONTAINER)
    image_id = facade.find_image(str(body.get("Image", "")))
    image = facade.tables.images[image_id]
    found = await facade.engine.get(f"/images/{image.engine_id}/json")
    creation = checked(facade.config, body, found.get("Config") or {})
    if not image.usable or facade.faults.take("no_such_image"):
        # Source: vmware/vic#8650; VIC v1.5.8 lib/apiservers/engine/proxy/storage_proxy.go:281-286
        raise RefusalError(f"No such container: No such image: {image_id}", 404)
    below = {**creation.body, "Image": image.engine_id}
    created = await named_once(_create(facade, dict(request.query_params), below))
    await _forget_gone(facade)
    facade.tables.containers[created["Id"]] = creation.remembered
    facade.tables.save()
    return JSONResponse({"Id": created["Id"], "Warnings": None}, 201)


async def _create(facade: Facade, query: Mapping[str, str], body: Mapping[str, Any]) -> dict[str, Any]:
    created: dict[str, Any] = (await facade.engine.call("POST", "/containers/create", query=query, body=body)).checked()
    return created


async def _forget_gone(facade: Facade) -> None:
    # containers that remove themselves never pass through remove_container
    alive = {entry["Id"] for entry in await facade.engine.get("/containers/json", all="1")}
    for gone in set(facade.tables.containers) - alive:
        facade.tables.remove_container(gone)


async def remove_container(facade: Facade, request: Request) -> Response:
    """Answers `DELETE /containers/{id}`."""
    name = request.path_params["id"]
    found = await facade.container(name)
    if found["State"]["Running"] and not flag(request, "force"):
        text = "You cannot remove a running container. Stop the container before attempting removal or use -f"
        raise RefusalError(text, 409)
    response = await forward(facade, request)
    facade.tables.remove_container(found["Id"])
    facade.tables.save()
    return response


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
    answer = await facade.engine.call(
        "POST", "/commit", query=query, body=bodies.decoded(raw, bodies.COMMIT) if raw else {}
    )
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
