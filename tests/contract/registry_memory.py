"""A registry in memory that keeps the ports `ManifestSource`, `ManifestSink`, `Referrers` and `ImageCopier`.

>>> from imagepipe.model.reference import Reference
>>> registry = MemoryRegistry()
>>> made = registry.add_image("vic.example/es-sandbox/hello", "1.4")
>>> registry.resolve(Reference.parse("vic.example/es-sandbox/hello:1.4")).digest == made.digest
True
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import count
from threading import Lock
from typing import Any

from imagepipe.errors import ImagepipeError, NotFoundError, PermissionRefusedError, RefusedError
from imagepipe.model import media
from imagepipe.model.copying import Copied
from imagepipe.model.digest import Digest
from imagepipe.model.evidence import Artifact
from imagepipe.model.manifest import Descriptor, Index, Manifest, Platform, parse_manifest
from imagepipe.model.reference import Pinned, Reference, Repository

__all__ = ["MemoryRegistry", "artifact_manifest", "config_blob", "image_manifest"]

AMD64 = Platform("linux", "amd64")
_BLOB_LIMIT_BYTES = 8 * 1024 * 1024


class MemoryRegistry:
    """Repositories, tags, manifests and blobs in dictionaries.

    A test may look at the public fields and set them:

    Attributes:
        blobs: Content by repository and digest; manifests too.
        tags: Digest by repository and tag.
        types: Media type by manifest digest.
        immutable: Tags that cannot move, as `(repository, tag)`.
        hidden: Repositories that we may not read.
        failure: Raised by every call of a port's method while it is set.
        calls: The names of the ports' methods called, in order.
    """

    def __init__(self) -> None:
        self.blobs: dict[tuple[Repository, Digest], bytes] = {}
        self.tags: dict[tuple[Repository, str], Digest] = {}
        self.types: dict[Digest, str] = {}
        self.immutable: set[tuple[Repository, str]] = set()
        self.hidden: set[Repository] = set()
        self.failure: ImagepipeError | None = None
        self.calls: list[str] = []
        self._attached: dict[Pinned, list[Descriptor]] = {}
        self._serial = count(1)
        self._lock = Lock()

    def resolve(self, reference: Reference) -> Descriptor:
        self._called("resolve")
        if reference.repository in self.hidden:
            raise PermissionRefusedError(f"may not pull {reference.repository.path}")
        digest = reference.digest or self.tags.get((reference.repository, reference.tag or "latest"))
        if digest is None or (reference.repository, digest) not in self.blobs or digest not in self.types:
            raise NotFoundError(f"resolve {reference}: no such manifest")
        raw = self.blobs[reference.repository, digest]
        return Descriptor(self.types[digest], digest, len(raw))

    def find(self, reference: Reference) -> Descriptor | None:
        try:
            return self.resolve(reference)
        except NotFoundError:
            return None

    def manifest(self, image: Pinned) -> Manifest | Index:
        self._called("manifest")
        return self._manifest(image)

    def blob(self, repository: Repository, descriptor: Descriptor) -> bytes:
        self._called("blob")
        if descriptor.size_bytes > _BLOB_LIMIT_BYTES:
            raise RefusedError(f"read blob {descriptor.digest} of {repository}: larger than {_BLOB_LIMIT_BYTES} bytes")
        return self._blob(repository, descriptor.digest)

    def tag(self, repository: Repository, manifest: Manifest | Index, tag: str) -> None:
        self._called("tag")
        repository.tagged(tag)
        with self._lock:
            current = self.tags.get((repository, tag))
            if current == manifest.digest:
                return
            if current is not None and (repository, tag) in self.immutable:
                raise RefusedError(f"tag {repository}:{tag}: the tag is immutable and points at {current}")
            if (repository, manifest.digest) not in self.blobs:
                raise RefusedError(f"tag {repository}:{tag}: the repository does not hold {manifest.digest}")
            self.tags[repository, tag] = manifest.digest

    def list(self, image: Pinned) -> tuple[Descriptor, ...]:
        self._called("list")
        return tuple(self._attached.get(image, ()))

    def relist(self, image: Pinned, attached: Sequence[Descriptor]) -> None:
        self._called("relist")
        assert {one.digest for one in attached} <= {one.digest for one in self._attached.get(image, ())}

    def remembering(self) -> "MemoryRegistry":
        return self

    def fetch(self, image: Pinned, descriptor: Descriptor) -> Artifact:
        self._called("fetch")
        manifest = self._manifest(image.repository.pin(descriptor.digest))
        if not isinstance(manifest, Manifest) or manifest.subject is None or manifest.subject.digest != image.digest:
            raise RefusedError(f"{descriptor.digest} is not attached to {image}")
        if len(manifest.layers) != 1:
            raise RefusedError(f"{descriptor.digest} has {len(manifest.layers)} layers, not one")
        layer = manifest.layers[0]
        return Artifact(
            artifact_type=manifest.artifact_type or manifest.config.media_type,
            layer_media_type=layer.media_type,
            content=self._blob(image.repository, layer.digest),
            annotations=manifest.annotations,
        )

    def attach(self, image: Pinned, subject: Descriptor, artifact: Artifact) -> Descriptor:
        self._called("attach")
        if subject.digest != image.digest:
            raise RefusedError(f"attach to {image}: the subject's descriptor is of {subject.digest}")
        raw = artifact_manifest(subject, artifact)
        digest = Digest.of(raw)
        with self._lock:
            for content in (b"{}", artifact.content):
                self.blobs[image.repository, Digest.of(content)] = content
            self._keep(image.repository, raw, media.OCI_MANIFEST)
            made = Descriptor(
                media.OCI_MANIFEST,
                digest,
                len(raw),
                artifact_type=artifact.artifact_type,
                annotations=artifact.annotations,
            )
            attached = self._attached.setdefault(image, [])
            if all(known.digest != digest for known in attached):
                attached.append(made)
        return made

    def copy(self, image: Pinned, to: Repository) -> Copied:
        self._called("copy")
        before = len(self.blobs)
        for part in self._parts(image):
            self.blobs[to, part] = self._blob(image.repository, part)
        attached = self._attached.get(image, [])
        for one in attached:
            self.copy(image.repository.pin(one.digest), to)
        there = self._attached.setdefault(to.pin(image.digest), [])
        there.extend(one for one in attached if one not in there)
        return Copied(len(self.blobs) - before, 0, len(attached))

    def add_image(
        self,
        repository: Repository | str,
        tag: str | None = None,
        *,
        history: int = 2,
        empty_history: int = 1,
        media_type: str = media.DOCKER_MANIFEST,
        labels: Mapping[str, str] | None = None,
        platform: Platform = AMD64,
    ) -> Manifest:
        """Makes an image that differs from every other one made here, and returns its manifest.

        Args:
            repository: Where, as a value or as `host/project/name`.
            tag: The tag that shall point at it, if any.
            history: All history entries of the config, empty layers included.
            empty_history: How many of them are empty layers; the rest are layers.
            media_type: The manifest's type.
            labels: The config's labels.
            platform: The config's platform.
        """
        place = _repository(repository)
        serial = next(self._serial)
        layers = [f"layer {serial} {number}".encode() for number in range(history - empty_history)]
        config = config_blob(serial, history, empty_history, labels or {}, platform)
        raw = image_manifest(config, layers, media_type)
        with self._lock:
            for content in (config, *layers):
                self.blobs[place, Digest.of(content)] = content
            self._keep(place, raw, media_type)
            if tag is not None:
                self.tags[place, tag] = Digest.of(raw)
        made = parse_manifest(raw, media_type)
        assert isinstance(made, Manifest)
        return made

    def add_index(
        self,
        repository: Repository | str,
        tag: str | None = None,
        manifests: Sequence[tuple[Platform, Manifest]] = (),
        *,
        media_type: str = media.OCI_INDEX,
    ) -> Index:
        """Makes an index over manifests made here, or over fresh ones for amd64 and arm64, and returns it."""
        place = _repository(repository)
        children = manifests or tuple(
            (platform, self.add_image(place, platform=platform)) for platform in (AMD64, Platform("linux", "arm64"))
        )
        raw = _json(
            {
                "schemaVersion": 2,
                "mediaType": media_type,
                "manifests": [
                    Descriptor(child.media_type, child.digest, len(child.raw), platform=platform).to_json()
                    for platform, child in children
                ],
            }
        )
        with self._lock:
            self._keep(place, raw, media_type)
            if tag is not None:
                self.tags[place, tag] = Digest.of(raw)
        made = parse_manifest(raw, media_type)
        assert isinstance(made, Index)
        return made

    def corrupt(self, digest: Digest) -> None:
        """Changes the stored bytes of a manifest or blob, in every repository, under the same digest."""
        for key in [key for key in self.blobs if key[1] == digest]:
            self.blobs[key] = self.blobs[key] + b"\n"

    def move(self, repository: Repository | str, tag: str, to: Digest | None = None) -> Digest:
        """Makes the tag point at another manifest, a fresh image if none is given, and returns its digest."""
        place = _repository(repository)
        digest = to if to is not None else self.add_image(place).digest
        self.tags[place, tag] = digest
        return digest

    def _called(self, name: str) -> None:
        self.calls.append(name)
        if self.failure is not None:
            raise self.failure

    def _manifest(self, image: Pinned) -> Manifest | Index:
        raw = self.blobs.get((image.repository, image.digest))
        if raw is None or image.digest not in self.types:
            raise NotFoundError(f"read {image}: no such manifest")
        return parse_manifest(raw, self.types[image.digest], expected=image.digest)

    def _parts(self, image: Pinned) -> Iterator[Digest]:
        """Yields the digests of everything that an image is made of, itself last."""
        manifest = self._manifest(image)
        if isinstance(manifest, Index):
            for child in manifest.manifests:
                yield from self._parts(image.repository.pin(child.digest))
        else:
            yield from (part.digest for part in (manifest.config, *manifest.layers))
        yield image.digest

    def _blob(self, repository: Repository, digest: Digest) -> bytes:
        content = self.blobs.get((repository, digest))
        if content is None:
            raise NotFoundError(f"read blob {digest} of {repository}: no such blob")
        return digest.check(content, f"blob {digest} of {repository}")

    def _keep(self, repository: Repository, raw: bytes, media_type: str) -> None:
        self.blobs[repository, Digest.of(raw)] = raw
        self.types[Digest.of(raw)] = media_type


def config_blob(serial: int, history: int, empty_history: int, labels: Mapping[str, str], platform: Platform) -> bytes:
    """Returns an image config whose last `empty_history` entries are empty layers."""
    filled = history - empty_history
    return _json(
        {
            "architecture": platform.architecture,
            "os": platform.os,
            "config": {"Labels": dict(labels), "Env": [f"SERIAL={serial}"]},
            "rootfs": {
                "type": "layers",
                "diff_ids": [str(Digest.of(f"layer {serial} {number}".encode())) for number in range(filled)],
            },
            "history": [
                {"created_by": f"step {number}", **({"empty_layer": True} if number >= filled else {})}
                for number in range(history)
            ],
        }
    )


def image_manifest(config: bytes, layers: Sequence[bytes], media_type: str) -> bytes:
    """Returns the manifest of an image whose blobs are these."""
    docker = media_type == media.DOCKER_MANIFEST
    config_type = (
        "application/vnd.docker.container.image.v1+json" if docker else "application/vnd.oci.image.config.v1+json"
    )
    layer_type = (
        "application/vnd.docker.image.rootfs.diff.tar.gzip" if docker else "application/vnd.oci.image.layer.v1.tar+gzip"
    )
    return _json(
        {
            "schemaVersion": 2,
            "mediaType": media_type,
            "config": Descriptor(config_type, Digest.of(config), len(config)).to_json(),
            "layers": [Descriptor(layer_type, Digest.of(layer), len(layer)).to_json() for layer in layers],
        }
    )


def artifact_manifest(subject: Descriptor, artifact: Artifact) -> bytes:
    """Returns the OCI manifest that attaches an artifact to a subject."""
    return _json(
        {
            "schemaVersion": 2,
            "mediaType": media.OCI_MANIFEST,
            "config": Descriptor(media.OCI_EMPTY, Digest.of(b"{}"), 2).to_json(),
            "layers": [
                Descriptor(artifact.layer_media_type, Digest.of(artifact.content), len(artifact.content)).to_json()
            ],
            "annotations": dict(artifact.annotations),
            "subject": Descriptor(subject.media_type, subject.digest, subject.size_bytes).to_json(),
            "artifactType": artifact.artifact_type,
        }
    )


def _repository(repository: Repository | str) -> Repository:
    return Repository.parse(repository) if isinstance(repository, str) else repository


def _json(data: Mapping[str, Any]) -> bytes:
    return json.dumps(data, separators=(",", ":")).encode()
