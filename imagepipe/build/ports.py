"""What a run needs from the world, handed in as one bundle.

>>> BuildWorld.__name__
'BuildWorld'
"""

from dataclasses import dataclass

from imagepipe.events import EventSink
from imagepipe.evidence.writer import EvidenceWriter
from imagepipe.ports import Clock, ImageBuilder, ImagePusher, ManifestSink, ManifestSource, SourceControl

__all__ = ["BuildWorld"]


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildWorld:
    """Everything that a run talks to.

    Attributes:
        writer: What signs, attaches and proves; None: images stay unsigned.
        invocation: The CI job's URL, for the provenance, or None.
        version: The version of imagepipe, for the provenance.
    """

    builder: ImageBuilder
    pusher: ImagePusher
    source: ManifestSource
    sink: ManifestSink
    writer: EvidenceWriter | None
    source_control: SourceControl
    clock: Clock
    events: EventSink
    invocation: str | None
    version: str
