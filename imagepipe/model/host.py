"""Container hosts: what the configuration says of a target, and what answers there.

>>> TargetKind("vch").pulls_by_digest
False
"""

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Final

from imagepipe.model.digest import Digest
from imagepipe.model.reference import Pinned, Repository

__all__ = [
    "VCH_MAX_HISTORY",
    "VCH_PLATFORM",
    "Container",
    "HostFacts",
    "HostInfo",
    "Inventory",
    "PullReport",
    "Target",
    "TargetKind",
]

# Source: VIC 1.5.8 user docs ts_imagestore_error.md: every history entry becomes a disk in the chain.
VCH_MAX_HISTORY: Final = 90
# Source: VIC 1.5.8 lib/imagec: container VMs are linux/amd64.
VCH_PLATFORM: Final = "linux/amd64"
# States in which a container's processes live. Source: Docker Engine API 1.25 ContainerInspect `State.Status`.
_LIVE: Final = ("running", "paused", "restarting")


class TargetKind(StrEnum):
    """What a target is: a Virtual Container Host or a Docker Engine."""

    VCH = "vch"
    DOCKER = "docker"

    @property
    def pulls_by_digest(self) -> bool:
        """Whether `repository@digest` can be pulled. Source: VIC v1.5.8 lib/imagec/docker.go (schema 1 only)."""
        return self is TargetKind.DOCKER


@dataclass(frozen=True, slots=True)
class Target:
    """A host that images are promoted to.

    Attributes:
        name: As operators call it.
        kind: What it must turn out to be.
        host: `tcp://host:port` or `unix:///path`.
        cert_path: Folder with ca.pem, cert.pem and key.pem, or None without TLS.
        policy: The name of the trust policy that guards it.
        pin: The SHA-256 of the certificate that it must show, as `sha256:…`, or None for any that the CA vouches for.
        host_id: What it must call itself, or None for anything.
    """

    name: str
    kind: TargetKind
    host: str
    cert_path: str | None = None
    policy: str | None = None
    pin: str | None = None
    host_id: str | None = None


@dataclass(frozen=True, slots=True)
class HostInfo:
    """What a host says of itself.

    Attributes:
        kind: What answers, whatever the configuration says.
        name: Its own name.
        version: `1.5.8` of VIC, or the engine's version.
        api_version: The Docker API version spoken.
        ready: Whether it can take work (a VCH: backend engine RUNNING).
        whitelist: Registries a VCH lets images come from; None: any.
        host_id: What tells it from others: an engine's id, a VCH's name (all VCHs give the same id).
    """

    kind: TargetKind
    name: str
    version: str
    api_version: str
    ready: bool
    whitelist: tuple[str, ...] | None = None
    host_id: str = ""

    def allows(self, registry: str) -> bool:
        """Tells whether images may come from a registry; networks and wildcards are left to the VCH, which resolves.

        Source: VIC v1.5.8 pkg/registry/entry.go: `foo` matches `foo:123`, `foo:123` does not match `foo`.
        """
        if self.whitelist is None:
            return True
        host = registry.rpartition(":")[0] or registry
        return any(entry in (registry, host) or "*" in entry or "/" in entry for entry in self.whitelist)


@dataclass(frozen=True, slots=True)
class Container:
    """One container, and what it was really made from.

    Attributes:
        name: Its name.
        state: `running`, `exited`, `created`, …, as Docker names them.
        created_from: The image's name when it was created; what that name means now may be another image.
        images: What the host knows the container's own image by, as `repository@digest`; empty where it knows none.
        linked_by: Containers that link to this one.
    """

    name: str
    state: str
    created_from: str
    images: tuple[Pinned, ...]
    linked_by: tuple[str, ...] = ()

    @property
    def live(self) -> bool:
        """Whether its processes live."""
        return self.state in _LIVE

    def of(self, repository: Repository) -> tuple[Digest, ...]:
        """Returns the digests of the repository that its image is known by."""
        return tuple(image.digest for image in self.images if image.repository == repository)


@dataclass(frozen=True, slots=True)
class Inventory:
    """Everything that a host holds and runs, asked for once.

    Attributes:
        images: What can be named by `repository@digest`, sorted.
        containers: All containers, stopped ones too, sorted by name.
    """

    images: tuple[Pinned, ...]
    containers: tuple[Container, ...] = ()

    def of(self, repository: Repository) -> tuple[Digest, ...]:
        """Returns the digests of the repository that are held, sorted."""
        return tuple(image.digest for image in self.images if image.repository == repository)


@dataclass(frozen=True, slots=True)
class HostFacts:
    """What an operator asks of a host beyond what it is.

    Attributes:
        networks: Names of the networks that containers can be put on.
        volume_stores: Where a VCH keeps volumes; empty on an engine.
        system_time: Its clock, aware; None where it does not tell.
        architecture: `x86_64`, as it says it.
        root_dir: Where an engine keeps images; "" on a VCH.
        storage_limit_bytes: How much a VCH may use in all; None without a limit, and on an engine.
        storage_used_bytes: How much of that is used; None on an engine.
    """

    networks: tuple[str, ...]
    volume_stores: tuple[str, ...] = ()
    system_time: datetime | None = None
    architecture: str = ""
    root_dir: str = ""
    storage_limit_bytes: int | None = None
    storage_used_bytes: int | None = None

    @property
    def storage_left_bytes(self) -> int | None:
        """How much of its own limit is left; None where it has none."""
        if self.storage_limit_bytes is None:
            return None
        return max(0, self.storage_limit_bytes - (self.storage_used_bytes or 0))


@dataclass(frozen=True, slots=True)
class PullReport:
    """What a host said about one pull, once its stream ended without an error.

    Attributes:
        digest: The `Digest:` line, or None when there was none.
        status: The `Status:` line, or "".
        layer_ids: Ids of the layers named, 12 hex digits each, in order of first mention.
    """

    digest: Digest | None
    status: str
    layer_ids: tuple[str, ...] = field(default=())
