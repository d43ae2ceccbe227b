"""Every implementation of `ImagePuller` and `ContainerHost`, each with a registry that a test fills."""

import gc
import os
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from imagepipe.engine.client import Endpoint
from imagepipe.engine.host import EngineHost
from imagepipe.engine.inventory import EngineInventory
from imagepipe.engine.lock import EngineLock
from imagepipe.engine.puller import EnginePuller
from imagepipe.errors import UnavailableError
from imagepipe.model import media
from imagepipe.model.digest import Digest
from imagepipe.model.host import TargetKind
from imagepipe.model.reference import Pinned, Reference, Repository
from imagepipe.model.result import Credential
from imagepipe.ports import ContainerHost, HostInventory, ImagePuller
from imagepipe.ports.locking import HostLock
from tests.contract.engine_memory import MemoryHost, MemoryLock
from tests.contract.registry_memory import MemoryRegistry
from tests.contract.vch_images import build, busybox_layer, file_layer, push
from tests.contract.vch_world import World, running_world, wait_for


@dataclass(frozen=True)
class Shelved:
    """An image in the registry: how to pull it, what it is, and its layers as a pull names them."""

    tag: Reference
    pinned: Pinned
    layer_ids: tuple[str, ...]


class Nobody:
    """Pulls anonymously."""

    def for_registry(self, registry: str) -> Credential | None:
        return None


class HostWorld(Protocol):
    """A host and a registry that it can reach."""

    kind: TargetKind
    host: ContainerHost
    puller: ImagePuller
    inventory: HostInventory
    lock: HostLock

    def shelve(self, path: str, tag: str) -> Shelved:
        """Puts an image that the host does not hold into the registry."""
        ...

    def move(self, tag: Reference, to: Shelved) -> None:
        """Makes a tag in the registry mean another image."""
        ...

    def create(self, name: str, image: Reference, *, start: bool = True) -> None:
        """Makes a container of an image that the host holds, which sleeps once it is started."""
        ...

    @contextmanager
    def registry_down(self) -> Iterator[None]:
        """Keeps the registry away for the block."""
        ...

    def containers(self) -> list[str]:
        """Returns the names of all containers on the host."""
        ...

    def away(self) -> ContainerHost:
        """Returns a host of this kind where nothing answers."""
        ...


class MemoryWorld:
    """The twins."""

    def __init__(self, kind: TargetKind) -> None:
        self.kind = kind
        self.registry = MemoryRegistry()
        memory = MemoryHost(kind, self.registry)
        self.host: ContainerHost = memory
        self.puller: ImagePuller = memory
        self.inventory: HostInventory = memory
        self.lock: HostLock = MemoryLock()
        self._memory = memory

    def shelve(self, path: str, tag: str) -> Shelved:
        repository = Repository("vic.example", path)
        made = self.registry.add_image(repository, tag)
        layers = tuple(layer.digest.short for layer in made.layers)
        return Shelved(repository.tagged(tag), repository.pin(made.digest), layers)

    def move(self, tag: Reference, to: Shelved) -> None:
        self.registry.move(tag.repository, str(tag.tag), to.pinned.digest)

    def create(self, name: str, image: Reference, *, start: bool = True) -> None:
        self._memory.create(name, image)
        if not start:
            self._memory.containers[-1] = replace(self._memory.containers[-1], state="created")

    @contextmanager
    def registry_down(self) -> Iterator[None]:
        self.registry.failure = UnavailableError("connection refused")
        yield
        self.registry.failure = None

    def containers(self) -> list[str]:
        return []

    def away(self) -> ContainerHost:
        away = MemoryHost(self.kind, self.registry)
        away.faults.down = True
        return away


@contextmanager
def started_world() -> Iterator[World]:
    """Yields the running processes.

    While dockerd comes up, httpcore leaves the sockets open on which nobody answered yet; those are not ours. A world
    has its links' names to itself only once the one before has gone, a moment after its namespace was deleted.
    """
    link = Path(f"/sys/class/net/vt{os.getpid()}a")
    wait_for(lambda: not link.exists())
    with ExitStack() as stack:
        stack.callback(wait_for, lambda: not link.exists())
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)
            world = stack.enter_context(running_world())
            gc.collect()
        yield world


class RealWorld:
    """A dockerd, or the VIC facade before it, with a registry that serves TLS.

    Args:
        world: The running processes.
        kind: Whether to speak to the dockerd itself or to the facade.
    """

    def __init__(self, world: World, kind: TargetKind) -> None:
        self.kind = kind
        self.world = world
        self.endpoint = self.facade() if kind is TargetKind.VCH else Endpoint(f"unix://{world.engine_socket}")
        self.host: ContainerHost = EngineHost(self.endpoint)
        self.puller: ImagePuller = EnginePuller(self.endpoint, Nobody())
        self.inventory: HostInventory = EngineInventory(self.endpoint)
        self.lock: HostLock = EngineLock(self.endpoint, kind)
        self.made: list[str] = []

    def facade(self) -> Endpoint:
        return Endpoint(f"tcp://{self.world.address}:2376", cert_path=str(self.world.client_certs))

    def shelve(self, path: str, tag: str) -> Shelved:
        built = build([busybox_layer(), file_layer("data/a", f"{path}:{tag}\n")])
        with self.world.registry_client() as client:
            push(client, path, tag, built)
        repository = Repository(self.world.registry, path)
        return Shelved(repository.tagged(tag), repository.pin(Digest.parse(built.digest)), tuple(built.layer_ids))

    def move(self, tag: Reference, to: Shelved) -> None:
        manifests = f"/v2/{tag.repository.path}/manifests"
        with self.world.registry_client() as client:
            found = client.get(f"{manifests}/{to.pinned.digest}", headers={"accept": media.DOCKER_MANIFEST})
            headers = {"content-type": media.DOCKER_MANIFEST}
            client.put(f"{manifests}/{tag.tag}", content=found.content, headers=headers).raise_for_status()

    def create(self, name: str, image: Reference, *, start: bool = True) -> None:
        body = {"Image": str(image), "Cmd": ["sleep", "600"], "StopSignal": "SIGKILL"}
        self.endpoint.post("/containers/create", params={"name": name}, body=body)
        self.made.append(name)
        if start:
            self.endpoint.post(f"/containers/{name}/start")

    def clear(self) -> None:
        """Removes what `create` made."""
        for name in self.made:
            self.endpoint.delete(f"/containers/{name}", params={"force": "1", "v": "1"})

    @contextmanager
    def registry_down(self) -> Iterator[None]:
        self.world.stop("registry")
        yield
        path = self.world.directory / "registry.yml"
        self.world.start("registry", "docker-registry", "serve", str(path))

    def containers(self) -> list[str]:
        found = self.endpoint.get("/containers/json", {"all": "1"})
        return [name.lstrip("/") for container in found for name in container["Names"]]

    def away(self) -> ContainerHost:
        certs = str(self.world.client_certs) if self.kind is TargetKind.VCH else None
        return EngineHost(Endpoint(f"tcp://{self.world.address}:1", cert_path=certs))
