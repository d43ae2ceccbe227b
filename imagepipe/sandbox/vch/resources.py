"""Networks and volumes."""

from collections.abc import Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from imagepipe.sandbox.vch import bodies, rewrite
from imagepipe.sandbox.vch.answers import RefusalError
from imagepipe.sandbox.vch.facade import Facade
from imagepipe.sandbox.vch.filters import refuse_unknown

VOLUME_DRIVERS = frozenset({"vsphere", "local"})
"""Source: VIC v1.5.8 lib/apiservers/engine/proxy/storage_proxy.go:120-131."""

DEFAULT_CAPACITY = "1024"
"""Size of a volume in megabytes."""

_HIDDEN = frozenset({"host", "none"})


async def list_networks(facade: Facade, request: Request) -> Response:
    """Answers `GET /networks`."""
    found = await facade.engine.get("/networks", **dict(request.query_params))
    return JSONResponse([rewrite.network(facade, entry) for entry in found if entry["Name"] not in _HIDDEN])


async def inspect_network(facade: Facade, request: Request) -> Response:
    """Answers `GET /networks/{id}`."""
    return JSONResponse(rewrite.network(facade, await _network(facade, request.path_params["id"])))


async def create_network(facade: Facade, request: Request) -> Response:
    """Answers `POST /networks/create`. Source: VIC v1.5.8 backends/network.go:118-215."""
    body = await bodies.read(request, bodies.NETWORK)
    if len((body.get("IPAM") or {}).get("Config") or []) > 1:
        raise RefusalError("at most one ipam config supported", 500)
    if any(entry["Name"] == body.get("Name") for entry in await facade.engine.get("/networks")):
        raise RefusalError(f"vicnetwork {body['Name']} already exists", 409)
    # Source: VIC v1.5.8 lib/portlayer/network/context.go:558, 579
    if not body.get("Name"):
        raise RefusalError("scope name must not be empty", 500)
    if body.get("Driver") not in {None, "", "bridge", "external"}:
        raise RefusalError("scope type not supported", 500)
    answer = await facade.engine.call("POST", "/networks/create", body=body)
    return JSONResponse({"Id": answer.checked()["Id"], "Warning": ""}, 201)


async def remove_network(facade: Facade, request: Request) -> Response:
    """Answers `DELETE /networks/{id}`; those that the VCH was made with stay.

    Source: VIC v1.5.8 lib/portlayer/network/context.go:1352-1362.
    """
    found = await _network(facade, request.path_params["id"])
    if found["Name"] in facade.config.networks:
        raise RefusalError("cannot remove builtin scope", 500)
    answer = await facade.engine.call("DELETE", f"/networks/{found['Id']}")
    if "has active endpoints" in answer.message:
        raise RefusalError(f"{found['Name']} has active endpoints", 500)
    answer.checked()
    return Response(status_code=204)


async def connect_network(facade: Facade, request: Request) -> Response:
    """Answers `POST /networks/{id}/connect`; VIC binds running containers too, though its manual says otherwise."""
    body = await bodies.read(request, bodies.CONNECTION)
    found = await _network(facade, request.path_params["id"])
    (await facade.engine.call("POST", f"/networks/{found['Id']}/connect", body=body)).checked()
    return Response(status_code=200)


async def _network(facade: Facade, name: str) -> dict[str, Any]:
    answer = await facade.engine.call("GET", f"/networks/{name}")
    if answer.status == 404 or name in _HIDDEN:
        raise RefusalError(f"network {name} not found", 404)
    found: dict[str, Any] = answer.checked()
    return found


async def list_volumes(facade: Facade, request: Request) -> Response:
    """Answers `GET /volumes`."""
    refuse_unknown(request.query_params.get("filters", ""), ("dangling", "name", "driver", "label"))
    found = await facade.engine.get("/volumes", **dict(request.query_params))
    shown = [rewrite.volume(facade, entry) for entry in found.get("Volumes") or []]
    return JSONResponse({"Volumes": shown or None, "Warnings": None})


async def inspect_volume(facade: Facade, request: Request) -> Response:
    """Answers `GET /volumes/{name}`."""
    name = request.path_params["name"]
    answer = await facade.engine.call("GET", f"/volumes/{name}")
    if answer.status == 404:
        raise RefusalError(f"No such volume: {name}", 404)
    return JSONResponse(rewrite.volume(facade, answer.checked()))


async def create_volume(facade: Facade, request: Request) -> Response:
    """Answers `POST /volumes/create`, which is not idempotent as dockerd's is; of two at once, one wins.

    Source: VIC v1.5.8 lib/portlayer/storage/volume/cache/cache.go:123 (looked up and made under one lock).
    """
    body = await bodies.read(request, bodies.VOLUME)
    name, options = str(body.get("Name") or ""), volume_options(facade, body)
    below = {"Name": name, "Driver": "local", "Labels": body.get("Labels") or {}}
    async with facade.volumes:
        if name and (await facade.engine.call("GET", f"/volumes/{name}")).status == 200:
            raise RefusalError(f"A volume named {name} already exists. Choose a different volume name.", 500)
        found = (await facade.engine.call("POST", "/volumes/create", body=below)).checked()
    facade.tables.volumes[found["Name"]] = options
    facade.tables.save()
    return JSONResponse(rewrite.volume(facade, found), 201)


def volume_options(facade: Facade, body: Mapping[str, Any]) -> dict[str, str]:
    """Returns the options of a volume as VIC stores them.

    Raises:
        RefusalError: 500. Source: VIC v1.5.8 lib/apiservers/engine/proxy/storage_proxy.go:56-150, 620-660.
    """
    driver = str(body.get("Driver") or "")
    if driver not in VOLUME_DRIVERS:
        raise RefusalError(f"error looking up volume plugin {driver}: plugin not found", 500)
    names = {"volumestore": "VolumeStore", "capacity": "Capacity"}
    options = {"VolumeStore": "default", "Capacity": DEFAULT_CAPACITY}
    for key, value in (body.get("DriverOpts") or {}).items():
        if key.lower() not in names:
            raise RefusalError(f"bad driver value - {key} is not a supported option", 500)
        options[names[key.lower()]] = str(value)
    if options["VolumeStore"] not in facade.config.volume_stores:
        raise RefusalError(f"No volume store named ({options['VolumeStore']}) exists", 500)
    return options


async def remove_volume(facade: Facade, request: Request) -> Response:
    """Answers `DELETE /volumes/{name}`."""
    name = request.path_params["name"]
    users = [c["Id"] for c in await facade.engine.get("/containers/json", all="1") if _uses(c, name)]
    if users:
        raise RefusalError(f"volume {name} in use by {users[0]}", 409)
    answer = await facade.engine.call("DELETE", f"/volumes/{name}")
    if answer.status == 404:
        raise RefusalError(f"Get {name}: no such volume", 404)
    answer.checked()
    facade.tables.volumes.pop(name, None)
    facade.tables.save()
    return Response(status_code=204)


def _uses(container: Mapping[str, Any], volume: str) -> bool:
    return any(mount.get("Name") == volume for mount in container.get("Mounts") or [])
