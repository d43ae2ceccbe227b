"""Every seam, as a Protocol of one to five methods; adapters keep them, use cases know nothing else.

Errors are always of `imagepipe.errors`; foreign ones stop in the adapter. Every method has a deadline of its own.

>>> from imagepipe.ports import Clock
>>> Clock.__name__
'Clock'
"""

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Protocol

from imagepipe.events import EventSink
from imagepipe.model.digest import Digest
from imagepipe.model.evidence import Artifact, Bundle, Signatory, Statement, VerifiedStatement
from imagepipe.model.host import HostInfo, Inventory, PullReport
from imagepipe.model.manifest import Descriptor, Index, Manifest
from imagepipe.model.reference import Pinned, Reference, Repository
from imagepipe.model.result import BuildRequest, BuiltImage, Credential, SourceRevision
from imagepipe.model.scan import ScanReport, Vulnerability

__all__ = [
    "Clock",
    "ContainerHost",
    "CredentialSource",
    "HostInventory",
    "ImageBuilder",
    "ImagePuller",
    "ImagePusher",
    "ManifestSink",
    "ManifestSource",
    "Referrers",
    "Scans",
    "Signer",
    "SourceControl",
    "Verifier",
]


class Clock(Protocol):
    """Where the time comes from."""

    def now(self) -> datetime:
        """Returns the time, aware, in UTC."""
        ...


class SourceControl(Protocol):
    """What is checked out, and what changed."""

    def revision(self, path: Path) -> SourceRevision | None:
        """Returns where the work tree round `path` stands, or None outside one."""
        ...

    def commit(self, path: Path) -> str | None:
        """Returns the commit that is checked out round `path` now, or None outside a work tree."""
        ...

    def changed_since(
        self, path: Path, revision: str, *, globs: Sequence[str] = (), places: Sequence[Path] = ()
    ) -> tuple[str, ...]:
        """Returns the files changed since a revision, uncommitted ones included, relative to the work tree's root.

        Args:
            path: Where in the work tree we are.
            revision: What it is held against.
            globs: Which files count, relative to `path`; `**` stands for any folders.
            places: Files and folders that count, absolute. Without globs and places all of the work tree does.

        Raises:
            NotFoundError: The revision is unknown.
            InputError: What counts lies outside the work tree.
        """
        ...


class CredentialSource(Protocol):
    """Who we are at a registry."""

    def for_registry(self, registry: str) -> Credential | None:
        """Returns the credential for `host[:port]`, or None for anonymous."""
        ...


class ImageBuilder(Protocol):
    """Makes images on the build host."""

    def provide(self, image: Pinned, name: Reference, sink: EventSink) -> None:
        """Makes sure that the build host knows exactly this image by that name, so that `FROM name` uses it.

        Raises:
            NotFoundError, AccessError, UnavailableError: It cannot be had.
        """
        ...

    def build(self, request: BuildRequest, sink: EventSink) -> BuiltImage:
        """Builds and returns the image; build output goes to the sink as `Output` lines of step `build`.

        Raises:
            BuildError: The build failed; the message holds the failing step and the builder's words.
            InputError: The context or Dockerfile is missing.
            UnavailableError: The build host is away, or is a VCH (UnsupportedError).
        """
        ...


class ImagePusher(Protocol):
    """Sends images from the build host to the registry."""

    def push(self, image_id: Digest, name: Reference, sink: EventSink) -> Digest:
        """Names the image so, pushes it and returns the manifest digest that the engine reports.

        Raises:
            AccessError: Wrong credentials, or no right to push.
            RefusedError: The registry says no (immutability, quota).
            UnavailableError: The registry or the host is away, after retries by the engine.
        """
        ...


class ManifestSource(Protocol):
    """Reads images from a registry; every body is proven against its digest."""

    def resolve(self, reference: Reference) -> Descriptor:
        """Returns what the reference points at now (HEAD, or GET where HEAD tells no digest).

        Raises:
            NotFoundError: There is no such tag, digest or repository.
            AccessError, RefusedError, UnavailableError: The registry says no, or is away.
        """
        ...

    def find(self, reference: Reference) -> Descriptor | None:
        """Returns what the reference points at now, or None: one question, where `resolve` also asks why not.

        Raises:
            AccessError, RefusedError, UnavailableError: As `resolve`.
        """
        ...

    def manifest(self, image: Pinned) -> Manifest | Index:
        """Returns the manifest or index with exactly this digest.

        Raises:
            DigestMismatchError: The registry returned other bytes.
            NotFoundError, AccessError, RefusedError, UnavailableError: As `resolve`.
        """
        ...

    def blob(self, repository: Repository, descriptor: Descriptor) -> bytes:
        """Returns a small blob (config, bundle), proven; at most 8 MiB.

        Raises:
            DigestMismatchError: The registry returned other bytes.
            RefusedError: The blob is larger.
        """
        ...


class ManifestSink(Protocol):
    """Writes names into a registry."""

    def tag(self, repository: Repository, manifest: Manifest | Index, tag: str) -> None:
        """Makes the tag point at a manifest that the repository already holds; nothing happens when it does.

        Raises:
            PermissionRefusedError: No right to push.
            RefusedError: The tag is immutable and points elsewhere.
        """
        ...


class Referrers(Protocol):
    """What is attached to an image, by the referrers API or the tag fallback."""

    def list(self, image: Pinned) -> tuple[Descriptor, ...]:
        """Returns every manifest attached to the image; descriptors' types are hints."""
        ...

    def fetch(self, image: Pinned, descriptor: Descriptor) -> Artifact:
        """Returns an attached artifact, proven by digest and to name the image as its subject.

        Raises:
            RefusedError: It is not a one-layer artifact, or its subject is another image.
        """
        ...

    def attach(self, image: Pinned, subject: Descriptor, artifact: Artifact) -> Descriptor:
        """Attaches an artifact and returns its manifest's descriptor once it is found in the list."""
        ...

    def relist(self, image: Pinned, attached: Sequence[Descriptor]) -> None:
        """Makes sure that what is attached is in the list which others read; they may have overwritten it.

        Raises:
            AccessError: It is not, and we may not write there.
        """
        ...

    def remembering(self) -> "Referrers":
        """Returns the same for one look: what answers for many images, it may ask the registry once."""
        ...


class Scans(Protocol):
    """What a vulnerability scanner found in images."""

    def report(self, image: Pinned) -> ScanReport | None:
        """Returns the newest scan of the image, or None when it was never scanned.

        Raises:
            UnsupportedError: Nobody who could be asked keeps scans of this image.
            AccessError, NotFoundError, UnavailableError: The scanner's keeper says no, or is away.
        """
        ...

    def vulnerabilities(self, image: Pinned) -> tuple[Vulnerability, ...]:
        """Returns each finding of the newest scan; none when there is no report.

        Raises:
            AccessError, NotFoundError, UnavailableError: As `report`.
        """
        ...


class Signer(Protocol):
    """Signs statements as one identity."""

    def prepare(self) -> None:
        """Does beforehand what takes time; nobody has to ask for it.

        Raises:
            IdentityError, UnavailableError: As `sign` would say now.
        """
        ...

    def signatory(self) -> Signatory:
        """Returns who would sign.

        Raises:
            IdentityError: No identity can be had, or it has expired.
        """
        ...

    def sign(self, statements: Sequence[Statement]) -> tuple[Bundle, ...]:
        """Returns one bundle per statement, all signed with one certificate or key.

        Raises:
            IdentityError: The identity has expired or is not accepted.
            UnavailableError: The certificate authority or the log is away.
        """
        ...


class Verifier(Protocol):
    """Proves bundles."""

    def verify(
        self, bundle: Bundle, digest: Digest, predicate_type: str, trusted: Sequence[Signatory]
    ) -> VerifiedStatement:
        """Returns the statement, proven to be about `digest`, of that type, and signed by one of `trusted`.

        Raises:
            VerificationError: Anything else; an empty `trusted` always.
        """
        ...


class ImagePuller(Protocol):
    """Makes a host fetch an image."""

    def pull(self, image: Reference, sink: EventSink) -> PullReport:
        """Pulls by digest if the reference has one, else by tag, and reads the whole stream.

        Raises:
            NotFoundError, AccessError, RefusedError, UnavailableError: What the host or the registry said.
        """
        ...


class HostInventory(Protocol):
    """A host, as a survey looks at it."""

    def inventory(self) -> Inventory:
        """Returns all images and containers, each container with what its own image is known by.

        Raises:
            AccessError, UnavailableError: The host refuses us, or is away.
        """
        ...


class ContainerHost(Protocol):
    """A host, as far as promotion looks at it."""

    def info(self) -> HostInfo:
        """Returns what answers there.

        Raises:
            CredentialsError: TLS refused us (wrong or expired client certificate, unknown CA).
            UnavailableError: Nothing answers.
        """
        ...

    def holds(self, image: Pinned) -> bool:
        """Tells whether the host knows the image by `repository@digest`."""
        ...

    def held(self, repository: Repository) -> tuple[Digest, ...]:
        """Returns the digests of this repository that the host holds, sorted."""
        ...

    def probe(self, image: Pinned) -> None:
        """Creates a container from `repository@digest` and removes it again: the layers are really there.

        Raises:
            RefusedError: It cannot be created.
        """
        ...
