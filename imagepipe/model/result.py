"""What a build and a run came to; the three digests always named apart.

>>> RunResult.__name__
'RunResult'
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from imagepipe.model.digest import Digest
from imagepipe.model.evidence import Signatory
from imagepipe.model.reference import Pinned, Reference

__all__ = ["BuildRequest", "BuiltImage", "Credential", "EvidenceResult", "RunResult", "SourceRevision"]


@dataclass(frozen=True, slots=True)
class Credential:
    """A name and password for one registry; the password never shows in a repr."""

    username: str
    password: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class SourceRevision:
    """Where the source stands.

    Attributes:
        url: The origin's URL without credentials, or None.
        commit: The full commit id.
        committed_at: The commit's time, ISO 8601 in UTC with `Z`.
        branch: The branch checked out, or None when detached.
        version: `git describe --tags --always` without a leading `v`.
        dirty: Whether files differ from the commit.
        root: The work tree's top folder.
    """

    url: str | None
    commit: str
    committed_at: str
    branch: str | None
    version: str
    dirty: bool
    root: Path


@dataclass(frozen=True, slots=True)
class BuildRequest:
    """One image to build, every variable resolved.

    Attributes:
        name: The pipeline's name, for events.
        context: The folder that is sent to the builder.
        dockerfile: The Dockerfile, relative to the context.
        tag: The local name that the image gets.
        platform: `linux/amd64`.
        timeout_s: Longest time without a sign of life from the builder, in seconds.
    """

    name: str
    context: Path
    dockerfile: str
    tag: Reference
    platform: str
    target: str | None = None
    args: Mapping[str, str] = field(default_factory=dict, hash=False)
    labels: Mapping[str, str] = field(default_factory=dict, hash=False)
    timeout_s: float = 3600.0


@dataclass(frozen=True, slots=True)
class BuiltImage:
    """What the builder made: the image id (config digest) and which builder it was."""

    image_id: Digest
    builder: str


@dataclass(frozen=True, slots=True)
class EvidenceResult:
    """One piece of evidence attached to an image: its predicate type, where it is, and whether it was there before."""

    predicate_type: str
    manifest: Digest
    signatory: Signatory
    created: bool


@dataclass(frozen=True, slots=True)
class RunResult:
    """What `run` made of one pipeline.

    Attributes:
        name: The pipeline's name.
        image: The pinned image, index digest if there is one, else the manifest digest; None when not pushed.
        tags: Every tag that points at it now.
        index: The index digest, or None for a single-platform image.
        manifests: The manifest digest by platform.
        image_ids: The image id (config digest) by platform.
        size_bytes: Config and compressed layers; 0 when not pushed.
        evidence: What is attached and verified.
    """

    name: str
    image: Pinned | None
    tags: tuple[Reference, ...]
    index: Digest | None
    manifests: Mapping[str, Digest] = field(hash=False)
    image_ids: Mapping[str, Digest] = field(hash=False)
    size_bytes: int = 0
    evidence: tuple[EvidenceResult, ...] = ()
