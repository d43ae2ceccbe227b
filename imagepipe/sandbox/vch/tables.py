"""VIC's own books of images and names, and their well-known faults.

dockerd below keeps the layers; which name means which image is decided here, as VIC's ImageCache and
RepositoryCache decide it. Source: VIC v1.5.8 lib/apiservers/engine/backends/cache/{image,repo}_cache.go.
"""

import hashlib
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from imagepipe.sandbox.vch.answers import RefusalError
from imagepipe.sandbox.vch.references import Reference

MOST_REMOVED = 256
"""How many removed containers stay known: as many events as an engine keeps.

Source: moby v20.10.24 daemon/events/events.go:12 (eventsLimit)."""


def image_hex(engine_id: str) -> str:
    """Returns the VIC image id, bare hex: stable, and never the config digest (VIC re-serialises the config)."""
    return hashlib.sha256(b"vic-image\n" + engine_id.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Layer:
    """One history entry: its v1 id (bare hex) and the digest of its compressed blob."""

    id: str
    blob: str


@dataclass(slots=True)
class Image:
    """An image that this VCH knows."""

    engine_id: str
    layers: list[Layer]
    reference: str
    usable: bool = True


@dataclass(slots=True)
class Container:
    """What a container was created with, where dockerd is not told or would say it differently."""

    image: str
    memory_mb: int
    cpus: int
    ports: dict[str, Any] = field(default_factory=dict)


class Tables:
    """The books; `save` writes them after each change."""

    def __init__(self, path: str = "") -> None:
        self._path = Path(path) if path else None
        self.images: dict[str, Image] = {}
        self.references: dict[str, str] = {}
        self.by_name: dict[str, str] = {}
        self.containers: dict[str, Container] = {}
        self.removed: dict[str, str] = {}
        self.execs: dict[str, str] = {}
        self.volumes: dict[str, dict[str, str]] = {}
        if self._path is not None and self._path.exists():
            self._load(json.loads(self._path.read_text(encoding="utf-8")))

    def _load(self, data: dict[str, Any]) -> None:
        for key, value in data["images"].items():
            self.images[key] = Image(**{**value, "layers": [Layer(**layer) for layer in value["layers"]]})
        self.references = data["references"]
        self.by_name = data["by_name"]
        self.containers = {key: Container(**value) for key, value in data["containers"].items()}
        self.removed, self.execs = data.get("removed", {}), data.get("execs", {})
        self.volumes = data["volumes"]

    def save(self) -> None:
        """Writes the books to their file in one step."""
        if self._path is None:
            return
        data = {
            "images": {key: asdict(value) for key, value in self.images.items()},
            "references": self.references,
            "by_name": self.by_name,
            "containers": {key: asdict(value) for key, value in self.containers.items()},
            "removed": self.removed,
            "execs": self.execs,
            "volumes": self.volumes,
        }
        fresh = self._path.with_suffix(".new")
        fresh.write_text(json.dumps(data, indent=1), encoding="utf-8")
        fresh.replace(self._path)

    def remove_container(self, container: str) -> None:
        """Forgets a container and its execs; what it was made of stays known as long as events may tell of it."""
        gone = self.containers.pop(container, None)
        self.execs = {key: owner for key, owner in self.execs.items() if owner != container}
        if gone is not None:
            self.removed[container] = gone.image
            for oldest in list(self.removed)[:-MOST_REMOVED]:
                del self.removed[oldest]

    def made_of(self, container: str) -> str | None:
        """Returns the image by the name that a container was created with, also after its removal."""
        known = self.containers.get(container)
        return self.removed.get(container) if known is None else known.image

    def tags(self, image: str) -> list[str]:
        """Returns the `repo:tag` names of an image, sorted."""
        return sorted(name for name, target in self.references.items() if target == image and "@" not in name)

    def digests(self, image: str) -> list[str]:
        """Returns the `repo@digest` names of an image, sorted."""
        return sorted(name for name, target in self.references.items() if target == image and "@" in name)

    def with_id(self, name: str) -> str | None:
        """Returns the image that a full or partial bare id means, None if it is no id."""
        if not name:
            return None
        found = [image for image in self.images if image.startswith(name)]
        return found[0] if len(found) == 1 else None

    def find(self, name: str, *, fresh_names: bool = False) -> str:
        """Returns the image (hex) that a name means here.

        The first look is into `by_name`, which only a newly downloaded leaf layer changes: after a tag moved back
        to an image that is already here, its name keeps meaning the old image. Source: VIC v1.5.8
        image_cache.go:161-164, 257-264.

        Raises:
            RefusalError: 404, or 500 for a name that cannot be one.
        """
        if not fresh_names and name in self.by_name:
            return self.by_name[name]
        by_id = self.with_id(name) or self.with_id(_bare_id(name))
        if by_id is not None:
            return by_id
        found = None if _bare_id(name) else self.references.get(str(Reference.parse(name)))
        if found is None or found not in self.images:
            raise RefusalError(f"No such image: {name}{'' if ':' in name else ':latest'}", 404)
        return found

    def refer(self, reference: Reference, image: str) -> None:
        """Points a name at an image; a digest never moves to another image. Source: repo_cache.go:204-209."""
        key = str(reference)
        if reference.digest and self.references.get(key, image) != image:
            raise RefusalError(f"Cannot overwrite digest {reference.digest}")
        self.references[key] = image

    def known_layers(self) -> set[str]:
        """Returns the ids of the layers that the datastore is believed to hold."""
        return {layer.id for image in self.images.values() for layer in written(image)}

    def forget(self, image: str) -> list[str]:
        """Removes an image and returns the blobs (bare hex) of the layers that no other image uses."""
        gone = self.images.pop(image)
        kept = self.known_layers()
        if self.by_name.get(gone.reference) is not None:
            del self.by_name[gone.reference]
        return [layer.blob.removeprefix("sha256:") for layer in reversed(gone.layers) if layer.id not in kept]


def written(image: Image) -> list[Layer]:
    """Returns the layers of an image that reached the datastore: without the leaf if its write failed."""
    return image.layers if image.usable else image.layers[:-1]


def _bare_id(name: str) -> str:
    prefix, _, rest = name.partition(":")
    return rest if prefix == "sha256" and len(rest) == 64 else ""
