"""What a VCH or an engine holds and runs, in as few questions as each of them allows.

>>> EngineInventory.__name__
'EngineInventory'
"""

from collections.abc import Mapping
from typing import Any

from imagepipe.engine.client import Endpoint, quoted
from imagepipe.engine.host import PROBE_LABEL, pinned_names
from imagepipe.errors import ImagepipeError, InputError, NotFoundError
from imagepipe.model.host import Container, Inventory
from imagepipe.model.reference import Pinned

__all__ = ["EngineInventory"]


class EngineInventory:
    """Keeps the port `HostInventory`.

    A container's image is told by its id, which this host's own list of images leads back to digests. A name tells
    nothing: tags move, and a VCH may hold on to what one meant before. On a VCH ids are its own and no config's digest,
    and only a container's inspection shows one; they are compared with nothing outside that VCH.
    Source: VIC v1.5.8 lib/apiservers/engine/backends/image.go:488, container.go:1659-1670,
    proxy/container_proxy.go:1220, cache/image_cache.go:161-164.

    Args:
        endpoint: Its address.
    """

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint

    def inventory(self) -> Inventory:
        """Returns all images and containers, each container with what its own image is known by.

        Raises:
            AccessError, UnavailableError: The host refuses us, or is away.
        """
        try:
            images = self._endpoint.get("/images/json") or ()
            listed = self._endpoint.get("/containers/json", {"all": "1"}) or ()
            known = {_bare(image.get("Id")): pinned_names(image) for image in images}
            containers = [
                found
                for entry in listed
                if PROBE_LABEL not in (entry.get("Labels") or {}) and (found := self._container(entry, known))
            ]
        except ImagepipeError as error:
            raise error.doing(f"list what {self._endpoint.host} holds and runs") from error
        held = {image for names in known.values() for image in names}
        return Inventory(tuple(sorted(held, key=str)), tuple(sorted(containers, key=lambda one: one.name)))

    def _container(self, entry: Mapping[str, Any], known: Mapping[str, set[Pinned]]) -> Container | None:
        """Returns the container of a list's entry; None: it is gone by now."""
        (name, linked_by), state = _names(entry.get("Names")), str(entry.get("State") or "")
        created_from, image_id = str(entry.get("Image") or ""), entry.get("ImageID")
        # A VCH lists no image's id; an engine puts the id in the name's place once the name means another image.
        if not image_id or created_from.startswith("sha256:"):
            try:
                found = self._endpoint.get(f"/containers/{quoted(str(entry['Id']))}/json")
            except NotFoundError:
                return None
            created_from, image_id = str(found["Config"].get("Image") or ""), found["Image"]
            state = str(found["State"].get("Status") or state)
        images = known.get(_bare(image_id), set()) | _pinned(created_from)
        return Container(name, state.lower(), created_from, tuple(sorted(images, key=str)), linked_by)


def _names(told: Any) -> tuple[str, tuple[str, ...]]:
    """Returns a container's own name, and the containers that link to it: theirs are `linker/alias`, in any order.

    Source: moby v20.10.24 daemon/links.go; docker CLI v20.10.24 cli/command/formatter/container.go Names.
    """
    names = [str(one).removeprefix("/").partition("/") for one in told or ()]
    linkers = sorted({name for name, alias, _ in names if alias})
    return next((name for name, alias, _ in names if not alias), ""), tuple(linkers)


def _bare(image_id: Any) -> str:
    """Returns an image's id without its algorithm, which a VCH leaves out in some answers."""
    return str(image_id).removeprefix("sha256:")


def _pinned(name: str) -> set[Pinned]:
    """Returns what a name pins: at creation it meant exactly that digest, and a container's image never changes."""
    try:
        return {Pinned.parse(name)}
    except InputError:
        return set()
