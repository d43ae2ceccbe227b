"""What promotion needs from the world, handed in as one bundle.

>>> World.__name__
'World'
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

from imagepipe.events import EventSink
from imagepipe.evidence.reader import EvidenceReader
from imagepipe.evidence.writer import EvidenceWriter
from imagepipe.model.evidence import TrustPolicy
from imagepipe.model.host import Target
from imagepipe.model.ledger import Hold
from imagepipe.model.lock import Held
from imagepipe.model.promotion import PromotionPlan, PromotionRecord
from imagepipe.model.reference import Repository
from imagepipe.ports import Clock, ContainerHost, HostInventory, ImagePuller, ManifestSink, ManifestSource, Scans
from imagepipe.ports.containers import ContainerRunner
from imagepipe.ports.copying import ImageCopier

__all__ = ["HostPorts", "World"]


@dataclass(frozen=True, slots=True)
class HostPorts:
    """One target's seams."""

    host: ContainerHost
    puller: ImagePuller
    inventory: HostInventory
    runner: ContainerRunner


def _nothing(repository: Repository, target: str) -> Sequence[Hold]:  # noqa: ARG001 - the field's
    return ()


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """Everything that promotion talks to.

    Attributes:
        source: Where manifests are read.
        sink: Where carrier tags are written.
        tags: Returns all tags of a repository.
        copier: What copies inside the registry.
        reader: What proves signatures.
        writer: What attaches the record.
        scans: Opens where scans are read; called only where a policy wants one.
        policies: Trust policies by name.
        targets: Targets by name, those too that nothing is promoted to now.
        exclusive: Keeps every other promotion away from targets meanwhile.
        connect: Opens a target, lazily, inside the thread that works on it.
        clock: The time in records.
        pause: Sleeps for a number of seconds, between attempts at a pull.
        events: Where progress goes.
        settle_s: How long a switched container must have run, in seconds.
        switch_s: How long it may take to become healthy, in seconds.
        held_back: What a target, by name, was rolled back from by records that wait on this machine.
        keep: Takes a record where the registry is away; None: it is attached to its image.
    """

    source: ManifestSource
    sink: ManifestSink
    tags: Callable[[Repository], Sequence[str]]
    copier: ImageCopier
    reader: EvidenceReader
    writer: EvidenceWriter
    scans: Callable[[], Scans]
    policies: Mapping[str, TrustPolicy]
    targets: Mapping[str, Target]
    exclusive: Callable[[Sequence[Target]], AbstractContextManager[Held]]
    connect: Callable[[Target], HostPorts]
    clock: Clock
    pause: Callable[[float], None]
    events: EventSink
    settle_s: float = 5.0
    switch_s: float = 300.0
    held_back: Callable[[Repository, str], Sequence[Hold]] = _nothing
    keep: Callable[[PromotionPlan, PromotionRecord], None] | None = None
