"""One VCH: its settings, its engine below, its books and its faults."""

import asyncio
from dataclasses import dataclass, field
from typing import Any

import httpx

from imagepipe.sandbox.vch.answers import PRODUCT
from imagepipe.sandbox.vch.config import Config
from imagepipe.sandbox.vch.engine import Engine
from imagepipe.sandbox.vch.faults import Faults
from imagepipe.sandbox.vch.tables import Tables

BUILD = "22120-9489f63"
"""Build number and commit, as they follow the version of a released VIC."""


@dataclass(frozen=True, slots=True)
class Facade:
    """What the handlers share; `registry_transport` replaces the network to registries, `volumes` is VIC's own lock."""

    config: Config
    engine: Engine
    tables: Tables
    faults: Faults
    registry_transport: httpx.AsyncBaseTransport | None = None
    volumes: asyncio.Lock = field(default_factory=asyncio.Lock)

    @property
    def server_version(self) -> str:
        """VIC's long version, `v1.5.8-<build>-<commit>`."""
        return f"v{self.config.vic_version}-{BUILD}"

    @property
    def portlayer_name(self) -> str:
        """The driver name. Source: VIC v1.5.8 lib/apiservers/engine/backends/backends.go:118-122."""
        return f"{PRODUCT} {self.server_version} Backend Engine"

    def find_image(self, name: str) -> str:
        """Returns the image (hex) that a name means on this VCH."""
        return self.tables.find(name, fresh_names=bool(self.faults.value("fresh_names")))

    async def write_out(self) -> bool:
        """Puts all that the engine wrote on its disk, and tells whether that went well.

        A VCH unmounts the disk of a layer before it takes the layer for complete, so its pulls end no sooner.
        Source: VIC v1.5.8 lib/portlayer/storage/image/vsphere/store.go writeImage
        """
        if not self.config.engine_data:
            return True
        process = await asyncio.create_subprocess_exec("sync", "--file-system", self.config.engine_data)
        return await process.wait() == 0

    async def container(self, name: str) -> dict[str, Any]:
        """Returns the engine's inspection of a container."""
        found: dict[str, Any] = await self.engine.get(f"/containers/{name}/json")
        return found
