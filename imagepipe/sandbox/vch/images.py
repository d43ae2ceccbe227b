"""Image endpoints: list, inspect, tag, remove."""

import json
from collections.abc import Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from imagepipe.sandbox.vch import rewrite
from imagepipe.sandbox.vch.answers import RefusalError, flag
from imagepipe.sandbox.vch.facade import Facade
from imagepipe.sandbox.vch.filters import reference_matches, refuse_unknown, refuse_unsupported, values
from imagepipe.sandbox.vch.references import Reference


async def list_images(facade: Facade, request: Request) -> Response:
    """Answers `GET /images/json` from the VCH's own books; filters label, before, since and reference."""
    filters, named = request.query_params.get("filters", ""), request.query_params.get("filter", "")
    refuse_unknown(filters, {"label", "before", "since", "reference", "dangling"})
    refuse_unsupported(filters, {"dangling"})
    if named:  # Source: docker 1.13 api/server/router/image/image_routes.go:257
        filters = json.dumps({**json.loads(filters or "{}"), "reference": [*values(filters, "reference"), named]})
    below = {entry["Id"]: entry for entry in await facade.engine.get("/images/json", all="1")}
    shown = []
    for image_id, entry in facade.tables.images.items():
        found = below.get(entry.engine_id)
        if found is not None and _wanted(facade, filters, found, image_id, below):
            shown.append(rewrite.image_summary(facade, found, image_id))
    return JSONResponse(sorted(shown, key=lambda image: -image["Created"]))


def _wanted(
    facade: Facade, filters: str, found: Mapping[str, Any], image_id: str, below: Mapping[str, Mapping[str, Any]]
) -> bool:
    labels = found.get("Labels") or {}
    for wanted in values(filters, "label"):
        name, equals, value = wanted.partition("=")
        if name not in labels or (equals and labels[name] != value):
            return False
    for key, sign in (("before", 1), ("since", -1)):
        for name in values(filters, key):
            other = below.get(facade.tables.images[facade.find_image(name)].engine_id, {})
            if (other.get("Created", 0) - found["Created"]) * sign <= 0:
                return False
    patterns = values(filters, "reference")
    names = facade.tables.tags(image_id) + facade.tables.digests(image_id)
    return not patterns or any(reference_matches(name, pattern) for name in names for pattern in patterns)


async def inspect_image(facade: Facade, request: Request) -> Response:
    """Answers `GET /images/{name}/json`."""
    image_id = facade.find_image(request.path_params["name"])
    found = await facade.engine.get(f"/images/{facade.tables.images[image_id].engine_id}/json")
    return JSONResponse(rewrite.image(facade, found, image_id))


async def tag_image(facade: Facade, request: Request) -> Response:
    """Answers `POST /images/{name}/tag`; the name cache is not told. Source: VIC v1.5.8 backends/image.go:309."""
    image_id = facade.find_image(request.path_params["name"])
    query = request.query_params
    named = Reference.parse(query.get("repo", ""))
    facade.tables.refer(named.with_suffix(query.get("tag") or named.tag or "latest"), image_id)
    facade.tables.save()
    return Response(status_code=201)


async def remove_image(facade: Facade, request: Request) -> Response:
    """Answers `DELETE /images/{name}`. Source: VIC v1.5.8 backends/image.go:80-216.

    The whole image goes if the name is an id, or if the image has exactly one tag or exactly one digest; otherwise
    the one tag goes, and every digest with it.
    """
    name, tables = request.path_params["name"], facade.tables
    image_id = facade.find_image(name)
    tags, digests = tables.tags(image_id), tables.digests(image_id)
    is_id = tables.with_id(name) is not None
    if len(tags) > 1 and is_id and not flag(request, "force"):
        short = image_id[:12]
        text = f"conflict: unable to delete {short} (must be forced) - image is referenced in one or more repositories"
        raise RefusalError(text, 409)
    answer: list[dict[str, str]] = []
    if is_id or len(tags) == 1 or len(digests) == 1:
        await _refuse_if_used(facade, name, image_id)
        engine_id = tables.images[image_id].engine_id
        await facade.engine.call("DELETE", f"/images/{engine_id}", query={"force": "1"})
        answer += [{"Deleted": blob} for blob in tables.forget(image_id)]
    else:
        tags = [str(Reference.parse(name))]
    for gone in (*tags, *digests):
        tables.references.pop(gone, None)
        answer.append({"Untagged": gone})
    tables.save()
    return Response(json.dumps(answer), media_type="application/json")


async def _refuse_if_used(facade: Facade, name: str, image_id: str) -> None:
    entry = facade.tables.images[image_id]
    users = [c for c in await facade.engine.get("/containers/json", all="1") if c["ImageID"] == entry.engine_id]
    if users:
        text = f'Failed to remove image "{name}": image {entry.layers[-1].id} in use by {users[0]["Id"]}'
        raise RefusalError(text, 500)
