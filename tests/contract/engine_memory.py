"""In-memory twins of the engine room, held to account by the same suite as the real engines.

`MemoryHost` is a puller and a container host, `MemoryBuilder` a build host and `MemoryPusher` what sends its images.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Lock

from imagepipe.errors import (
    BuildError,
    CredentialsError,
    ImagepipeError,
    InputError,
    NotFoundError,
    RefusedError,
    UnavailableError,
    UnsupportedError,
)
from imagepipe.events import EventSink, Output, Progress
from imagepipe.model import media
from imagepipe.model.digest import Digest
from imagepipe.model.host import VCH_MAX_HISTORY, Container, HostInfo, Inventory, PullReport, TargetKind
from imagepipe.model.lock import Holder
from imagepipe.model.manifest import ImageConfig, Index, Manifest, Platform
from imagepipe.model.reference import Pinned, Reference, Repository
from imagepipe.model.result import BuildRequest, BuiltImage
from imagepipe.ports import ManifestSource
from tests.contract.registry_memory import MemoryRegistry, image_manifest

LINUX = Platform("linux", "amd64")
EMPTY_LAYER_ID = "a3ed95caeb02"


@dataclass
class HostFaults:
    """What can be switched on at a host; all off at first."""

    down: bool = False
    """Nothing answers."""
    rejects_certificate: bool = False
    """TLS refuses the client."""
    not_ready: bool = False
    """It answers, but takes no work."""
    pull_errors: list[ImagepipeError] = field(default_factory=list)
    """The next pulls fail with these, one each."""
    no_digest_line: bool = False
    """The pull ends without a `Digest:` line."""
    reports: Digest | None = None
    """The `Digest:` line names this instead."""
    layer_ids: tuple[str, ...] | None = None
    """The pull names these layers instead."""
    forgets: bool = False
    """The pull ends well, but the host does not know the image afterwards."""
    layers_missing: bool = False
    """The image is listed, but no container can be created from it."""
    during_pull: Callable[[], None] | None = None
    """Called in the middle of a pull: somebody moves the tag, for instance."""


class MemoryLock:
    """A host's lock.

    Attributes:
        held: Who holds it.
        failures: Raised by the next takings, one each; None lets one pass.
        release_failure: Raised by every release.
        asked: What was called, in order.
        on_take: Called before each taking.
    """

    def __init__(self) -> None:
        self.held: Holder | None = None
        self.failures: list[ImagepipeError | None] = []
        self.release_failure: ImagepipeError | None = None
        self.asked: list[str] = []
        self.on_take: Callable[[], None] | None = None
        self._mutex = Lock()

    def take(self, holder: Holder) -> Holder | None:
        self.asked.append("take")
        if self.on_take:
            self.on_take()
        failure = self.failures.pop(0) if self.failures else None
        if failure is not None:
            raise failure
        with self._mutex:
            self.held = self.held or holder
            return self.held

    def holder(self) -> Holder | None:
        return self.held

    def release(self, nonce: str) -> Holder | None:
        self.asked.append("release")
        if self.release_failure is not None:
            raise self.release_failure
        with self._mutex:
            if self.held is None or self.held.nonce != nonce:
                return self.held
            self.held = None
            return None


class MemoryHost:
    """A VCH or an engine that holds references only; pulls read the registry that it is given.

    Args:
        kind: What it is, with that kind's quirks.
        registry: Where images come from.
        name: What it calls itself.
        whitelist: Registries that a VCH lets images come from; None: any.
    """

    def __init__(
        self,
        kind: TargetKind,
        registry: ManifestSource,
        *,
        name: str = "memory-host",
        whitelist: tuple[str, ...] | None = None,
    ) -> None:
        self.kind = kind
        self.registry = registry
        self.name = name
        self.whitelist = whitelist
        self.host_id = name
        self.faults = HostFaults()
        self.images: set[Pinned] = set()
        self.pulled: list[Reference] = []
        self.probed: list[Pinned] = []
        self.containers: list[Container] = []

    def info(self) -> HostInfo:
        self._answer()
        return HostInfo(
            kind=self.kind,
            name=self.name,
            version="1.5.8" if self.kind is TargetKind.VCH else "20.10.24",
            api_version="1.25" if self.kind is TargetKind.VCH else "1.41",
            ready=not self.faults.not_ready,
            whitelist=self.whitelist,
            host_id=self.host_id,
        )

    def holds(self, image: Pinned) -> bool:
        self._answer()
        return image in self.images

    def held(self, repository: Repository) -> tuple[Digest, ...]:
        self._answer()
        return tuple(sorted(image.digest for image in self.images if image.repository == repository))

    def inventory(self) -> Inventory:
        self._answer()
        return Inventory(tuple(sorted(self.images)), tuple(sorted(self.containers, key=lambda one: one.name)))

    def create(self, name: str, image: Reference) -> None:
        """Makes a container and starts it: a digest is what it says, a tag what the registry says now."""
        digest = image.digest or self.registry.resolve(image).digest
        images = (image.repository.pin(digest),)
        self.containers.append(Container(name, "running", str(image), images))

    def probe(self, image: Pinned) -> None:
        self._answer()
        self.probed.append(image)
        if image not in self.images or self.faults.layers_missing:
            raise RefusedError(f"{self.name} cannot create a container from {image}: No such image: {image}")

    def pull(self, image: Reference, sink: EventSink) -> PullReport:
        self._answer()
        self.pulled.append(image)
        if self.faults.pull_errors:
            raise self.faults.pull_errors.pop(0)
        self._check_allowed(image)
        digest, manifest = self._choose(image)
        layers = self._layer_ids(image.repository, manifest)
        for layer in layers:
            sink(Progress("pull", str(image), layer, "Pull complete"))
        if self.faults.during_pull:
            self.faults.during_pull()
        pinned = image.repository.pin(digest)
        fresh = pinned not in self.images
        if not self.faults.forgets:
            self.images.add(pinned)
        status = "Downloaded newer image" if fresh else "Image is up to date"
        reported = None if self.faults.no_digest_line else self.faults.reports or digest
        return PullReport(reported, f"{status} for {image}", layers)

    def _answer(self) -> None:
        if self.faults.down:
            raise UnavailableError(f"{self.name} does not answer: connection refused")
        if self.faults.rejects_certificate:
            raise CredentialsError(f"{self.name} refuses our client certificate")

    def _check_allowed(self, image: Reference) -> None:
        registry = image.repository.registry
        if self.whitelist is not None and registry not in self.whitelist:
            raise RefusedError(f"Access denied to unauthorized registry ({registry}) while VCH is in whitelist mode")
        if self.kind is TargetKind.VCH and image.digest:
            raise UnsupportedError("Error while pulling image manifest: missing signature key")

    def _choose(self, image: Reference) -> tuple[Digest, Manifest]:
        """Returns the digest that the host will know, and the manifest of its own platform.

        An engine keeps the digest that it asked for, an index included; a VCH the platform manifest's.
        """
        found = self.registry.resolve(image)
        top = self.registry.manifest(image.repository.pin(found.digest))
        manifest = self._for_platform(image.repository, top)
        if self.kind is TargetKind.DOCKER:
            return found.digest, manifest
        if manifest.media_type != media.DOCKER_MANIFEST:
            raise UnsupportedError("Error while pulling image manifest: missing signature key")
        return manifest.digest, manifest

    def _for_platform(self, repository: Repository, top: Manifest | Index) -> Manifest:
        if isinstance(top, Manifest):
            return top
        child = top.for_platform(LINUX)
        if child is None:
            raise UnsupportedError("no matching manifest for linux/amd64 in the manifest list entries")
        manifest = self.registry.manifest(repository.pin(child.digest))
        assert isinstance(manifest, Manifest)
        return manifest

    def _layer_ids(self, repository: Repository, manifest: Manifest) -> tuple[str, ...]:
        if self.faults.layer_ids is not None:
            return self.faults.layer_ids
        layers = [layer.digest.short for layer in manifest.layers]
        if self.kind is TargetKind.VCH:
            config = ImageConfig.parse(self.registry.blob(repository, manifest.config))
            if config.history_entries > VCH_MAX_HISTORY:
                raise RefusedError("Failed to write to image store: Failed to add disk 'scsi0:0'.")
            layers += [EMPTY_LAYER_ID] * (config.history_entries > config.history_layers)
        return tuple(dict.fromkeys(layers))


class MemoryBuilder:
    """A build host: an image is the digest of everything that was asked for, so the same request makes the same image.

    The context's Dockerfile must exist; a line `RUN false` in it fails the build.
    """

    builder = "docker-engine/20.10.24 (classic)"

    def __init__(self) -> None:
        self.requests: list[BuildRequest] = []
        self.provided: dict[Reference, Pinned] = {}
        self.configs: dict[Digest, bytes] = {}
        self.names: dict[Reference, Digest] = {}
        self.missing: set[Pinned] = set()
        self.build_errors: list[ImagepipeError] = []

    def provide(self, image: Pinned, name: Reference, sink: EventSink) -> None:
        if image in self.missing:
            raise NotFoundError(f"{image} is not in the registry")
        self.provided[name] = image

    def build(self, request: BuildRequest, sink: EventSink) -> BuiltImage:
        self.requests.append(request)
        if self.build_errors:
            raise self.build_errors.pop(0)
        dockerfile = request.context / request.dockerfile
        if not dockerfile.is_file():
            raise InputError(f"{dockerfile}: no such Dockerfile")
        steps = [line for line in dockerfile.read_text(errors="replace").splitlines() if line.strip()]
        for number, line in enumerate(steps, start=1):
            sink(Output("build", request.name, f"Step {number}/{len(steps)} : {line}"))
            if line.strip() == "RUN false":
                raise BuildError(
                    f"build {request.name}: step {number}/{len(steps)} : {line}: returned a non-zero code: 1"
                )
        config = _config(request, steps)
        image_id = Digest.of(config)
        self.configs[image_id] = config
        self.names[request.tag] = image_id
        return BuiltImage(image_id, self.builder)


def _config(request: BuildRequest, steps: list[str]) -> bytes:
    platform = Platform.parse(request.platform)
    body = {
        "architecture": platform.architecture,
        "os": platform.os,
        "config": {"Labels": dict(request.labels), "Env": [f"{key}={value}" for key, value in request.args.items()]},
        "history": [{"created_by": steps[0] if steps else "scratch"}, {"created_by": "LABEL", "empty_layer": True}],
        "rootfs": {"type": "layers", "diff_ids": [str(Digest.of("\n".join(steps).encode()))]},
    }
    return json.dumps(body, sort_keys=True).encode()


class MemoryPusher:
    """Sends what a `MemoryBuilder` made, as a Docker schema 2 manifest with one layer.

    Args:
        builder: Whose images can be pushed.
        registry: What receives them.
    """

    def __init__(self, builder: MemoryBuilder, registry: MemoryRegistry) -> None:
        self.builder = builder
        self.registry = registry
        self.pushed: list[tuple[Digest, Reference]] = []
        self.push_errors: list[ImagepipeError] = []
        self.reports: Digest | None = None

    def push(self, image_id: Digest, name: Reference, sink: EventSink) -> Digest:
        if self.push_errors:
            raise self.push_errors.pop(0)
        config = self.builder.configs.get(image_id)
        if config is None:
            raise NotFoundError(f"No such image: {image_id}")
        assert name.tag is not None
        self.builder.names[name] = image_id
        layer = b"layer of " + str(json.loads(config)["rootfs"]["diff_ids"][0]).encode()
        raw = image_manifest(config, [layer], media.DOCKER_MANIFEST)
        digest = Digest.of(raw)
        if (name.repository, name.tag) in self.registry.immutable and (name.repository, name.tag) in self.registry.tags:
            raise RefusedError(f"Failed to process request due to '{name}' configured as immutable.")
        for content in (config, layer, raw):
            self.registry.blobs[name.repository, Digest.of(content)] = content
        self.registry.types[digest] = media.DOCKER_MANIFEST
        self.registry.tags[name.repository, name.tag] = digest
        sink(Progress("push", str(name), Digest.of(layer).short, "Pushed"))
        self.pushed.append((image_id, name))
        return self.reports or digest
