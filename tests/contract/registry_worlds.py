"""The worlds in which the registry ports' suite runs: in memory, and the real docker-registry as a process."""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from uuid import uuid4

import httpx

from imagepipe.events import Event
from imagepipe.model import media
from imagepipe.model.digest import Digest
from imagepipe.model.manifest import Index, Manifest, Platform
from imagepipe.model.reference import Repository
from imagepipe.ports import ManifestSink, ManifestSource, Referrers
from imagepipe.registry.client import RegistryClient
from imagepipe.registry.connection import Connections
from imagepipe.registry.referrers import RegistryReferrers
from imagepipe.sandbox.plain import trusting_nobody
from tests.contract.registry_memory import MemoryRegistry

_CONFIG = """version: 0.1
log: {{level: error}}
storage:
  filesystem: {{rootdirectory: {root}}}
  delete: {{enabled: true}}
http: {{addr: "{address}"}}
compatibility: {{schema1: {{enabled: true}}}}
"""


class World:
    """What one test needs of a registry: the ports, a fresh repository, and a hand that fills and breaks it."""

    def __init__(
        self, host: str, source: ManifestSource, sink: ManifestSink, referrers: Referrers, project: str = "es-sandbox"
    ) -> None:
        self.repository = Repository(host, f"{project}/hello-{uuid4().hex[:8]}")
        self.source = source
        self.sink = sink
        self.referrers = referrers

    def add_image(self, tag: str | None = None, media_type: str = media.OCI_MANIFEST) -> Manifest:
        raise NotImplementedError

    def add_index(self, tag: str | None = None) -> Index:
        raise NotImplementedError

    def corrupt(self, digest: Digest) -> None:
        raise NotImplementedError


class MemoryWorld(World):
    def __init__(self) -> None:
        self.registry = MemoryRegistry()
        super().__init__("memory.example", self.registry, self.registry, self.registry)

    def add_image(self, tag: str | None = None, media_type: str = media.OCI_MANIFEST) -> Manifest:
        return self.registry.add_image(self.repository, tag, media_type=media_type)

    def add_index(self, tag: str | None = None) -> Index:
        return self.registry.add_index(self.repository, tag)

    def corrupt(self, digest: Digest) -> None:
        self.registry.corrupt(digest)


@dataclass
class Server:
    """A registry that listens, and where its blobs lie on disk."""

    host: str
    storage: Path
    events: list[Event] = field(default_factory=list)

    def connections(self) -> Connections:
        return Connections(plain_http=[self.host], sink=self.events.append)


class ServerWorld(World):
    """A registry behind a socket; images are made in memory and sent over with our own client."""

    def __init__(self, host: str, storage: Path, connections: Connections, project: str = "es-sandbox") -> None:
        self.client = RegistryClient(connections)
        super().__init__(host, self.client, self.client, RegistryReferrers(self.client), project)
        self.storage = storage
        self._made = MemoryRegistry()

    def add_image(self, tag: str | None = None, media_type: str = media.OCI_MANIFEST) -> Manifest:
        # Blobs are shared between repositories: what one test corrupts must be no other test's.
        made = self._made.add_image(self.repository, tag, media_type=media_type, labels={"of": self.repository.path})
        self._send(made, tag)
        return made

    def add_index(self, tag: str | None = None) -> Index:
        platforms = (Platform("linux", "amd64"), Platform("linux", "arm64"))
        children = tuple((platform, self._made.add_image(self.repository, platform=platform)) for platform in platforms)
        for _, child in children:
            self._send(child, None)
        made = self._made.add_index(self.repository, tag, children)
        self.client.put_manifest(self.repository, made.raw, made.media_type, tag or str(made.digest))
        return made

    def corrupt(self, digest: Digest) -> None:
        file = self.storage / "docker/registry/v2/blobs/sha256" / digest.hex[:2] / digest.hex / "data"
        content = file.read_bytes()
        # Same length, and a manifest that still reads as one: the registry itself must not notice.
        changed = content.replace(b'"size"', b'"SIZE"') if b'"size"' in content else content[:-1] + b" "
        file.write_bytes(changed)

    def _send(self, manifest: Manifest, tag: str | None) -> None:
        for part in (manifest.config, *manifest.layers):
            content = self._made.blobs[self.repository, part.digest]
            self.client.put_blob(self.repository, content, part.media_type)
        self.client.put_manifest(self.repository, manifest.raw, manifest.media_type, tag or str(manifest.digest))


@contextmanager
def docker_registry(folder: Path) -> Iterator[Server]:
    """Runs Debian's docker-registry on a free loopback port, and ends it by its pid."""
    program = shutil.which("docker-registry")
    assert program, "docker-registry is not installed: apt install docker-registry"
    host = f"127.0.0.1:{free_port()}"
    config = folder / "registry.yml"
    config.write_text(_CONFIG.format(root=folder / "storage", address=host))
    with (folder / "registry.log").open("wb") as log:
        process = subprocess.Popen(
            [program, "serve", str(config)], stdout=log, stderr=log, env={**os.environ, "OTEL_TRACES_EXPORTER": "none"}
        )
        try:
            wait_for(f"http://{host}/v2/")
            yield Server(host, folder / "storage")
        finally:
            process.terminate()
            process.wait(timeout=10)


def free_port() -> int:
    """Returns a loopback port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(url: str, timeout_s: float = 20.0) -> None:
    """Waits until something answers there, whatever it says."""
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            httpx.get(url, verify=trusting_nobody(), timeout=2.0, trust_env=False)
        except httpx.TransportError:
            assert time.monotonic() < deadline, f"nothing answers at {url}"
            time.sleep(0.05)
        else:
            return
