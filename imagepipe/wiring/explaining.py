"""Asks Harbor why it refused a push or a pull, and adds the one cause to the refusal; what works is never slower.

Adapters that push and pull are wrapped here, so that every command that uses them tells the cause.

>>> Explainer.__name__
'Explainer'
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from imagepipe import fanout
from imagepipe.errors import CredentialsError, ImagepipeError, PermissionRefusedError, RefusedError
from imagepipe.events import EventSink, Output
from imagepipe.model.reference import Pinned, Reference, Repository
from imagepipe.registry.client import RegistryClient
from imagepipe.registry.referrers import RegistryReferrers

if TYPE_CHECKING:
    from imagepipe.access.explain import Cause
    from imagepipe.access.facts import Facts, Image
    from imagepipe.model.copying import Copied
    from imagepipe.model.digest import Digest
    from imagepipe.model.evidence import Artifact
    from imagepipe.model.host import PullReport
    from imagepipe.model.manifest import Descriptor, Index, Manifest
    from imagepipe.ports import Clock, ImagePuller, ImagePusher
    from imagepipe.ports.administration import Administration
    from imagepipe.ports.copying import ImageCopier
    from imagepipe.registry.connection import Connections

__all__ = [
    "ExplainedCopier",
    "ExplainedPuller",
    "ExplainedPusher",
    "ExplainedReferrers",
    "ExplainedRegistry",
    "Explainer",
]

# A handful of requests, and 1.5 s for a wrong password; who waits longer would rather have the refusal alone.
_DEADLINE_S: Final = 8.0
# What is refused by a policy, in Harbor's words and those of who repeats them: engines, and VCHs, which tell a status.
# Source: imagepipe.access.explain; VIC v1.5.8 pkg/fetcher/fetcher.go
_POLICY: Final = (  # compiled when something is refused: that takes as long as a request
    r"read.?only mode|configured as immutable|upper limit|quota exceeds|is not signed|vulnerabilit|severity"
    r"|PROJECT_?POLICY_?VIOLATION|http code: 412|412 Precondition|\(HTTP 412\)"
)
# Whom the host does not trust is no matter of Harbor's.
_TLS: Final = re.compile(r"certificate|x509|\bTLS\b")


class Explainer:
    """Finds the cause of refusals by one registry: asks once for each image and action, and keeps quiet when it cannot.

    Args:
        registry: The registry that is Harbor's; others are not asked.
        administration: Opens Harbor's administration.
        username: Who we are there, or None for nobody: then nobody is asked.
        clock: The time.
        sink: Hears why a cause could not be found, in the way that only -v shows.
        deadline_s: How long a cause may take.
    """

    def __init__(
        self,
        *,
        registry: str | None,
        administration: Callable[[], Administration],
        username: Callable[[], str | None],
        clock: Clock,
        sink: EventSink,
        deadline_s: float = _DEADLINE_S,
    ) -> None:
        self._registry = registry
        self._administration = administration
        self._username = username
        self._clock = clock
        self._sink = sink
        self._deadline_s = deadline_s
        self._pushed: frozenset[Repository] = frozenset()
        self._known: dict[tuple[Image, bool], Facts | None] = {}
        self._refused: Facts | None = None
        self._lock = threading.Lock()

    def pushing(self, repositories: Collection[Repository]) -> None:
        """Notes what is about to be pushed: who may not even look at it is told what a push takes."""
        self._pushed = frozenset(repositories)

    @contextmanager
    def of(self, what: Reference | Pinned | Repository, *, push: bool = False) -> Iterator[None]:
        """Adds the cause to a refusal inside the block."""
        try:
            yield
        except ImagepipeError as error:
            explained = self.explained(error, what, push=push)
            if explained is error:
                raise
            raise explained from error

    def explained(
        self, error: ImagepipeError, what: Reference | Pinned | Repository, *, push: bool = False
    ) -> ImagepipeError:
        """Returns the error with its cause behind the other side's words; the same error where nobody can tell."""
        repository = what if isinstance(what, Repository) else what.repository
        if repository.registry != self._registry or not _is_refusal(error):
            return error
        try:
            cause = self._cause(what, error.message, push=push or repository in self._pushed)
        except ImagepipeError as unknown:
            self._sink(Output("explain", str(what), unknown.message))
            return error
        if cause is None or cause.kind == "none":
            return error
        return cause.behind(error)

    def _cause(self, what: Reference | Pinned | Repository, said: str, *, push: bool) -> Cause | None:
        from imagepipe.access.explain import explain, explain_words
        from imagepipe.access.facts import Facts, Image

        who = self._username()
        if who is None:
            return None
        repository = what if isinstance(what, Repository) else what.repository
        at = str(getattr(what, "digest", None) or getattr(what, "tag", None) or "latest")
        image = Image(repository.project, repository.name, at)
        with self._lock:
            if (image, push) not in self._known:
                self._known[image, push] = self._ask(image, who, push=push)
            facts = self._known[image, push]
        if facts is None:
            return explain_words(Facts(image, push, who, said=said))
        return explain(replace(facts, said=said))

    def _ask(self, image: Image, who: str, *, push: bool) -> Facts | None:
        from imagepipe.access.facts import Facts, gather

        def ask() -> Facts:
            return gather(image, self._administration(), push=push, who=None, now=self._clock.now())

        if self._refused is not None:
            return replace(self._refused, image=image, push=push)
        try:
            return fanout.within(self._deadline_s, f"ask Harbor about {image}", ask)
        except CredentialsError as error:
            # Asked once: every wrong password locks the name for a moment.
            self._refused = Facts(image, push, who, refused=error.message, refused_hint=error.hint or "")
            return self._refused
        except ImagepipeError as error:
            self._sink(Output("explain", str(image), error.message))
            return None


def _is_refusal(error: ImagepipeError) -> bool:
    """Tells whether an error is one that Harbor's rights or policies may be behind, and is not explained yet."""
    if error.cause is not None or _TLS.search(error.message):
        return False
    if isinstance(error, CredentialsError | PermissionRefusedError):
        return True
    return type(error) is RefusedError and re.search(_POLICY, error.message, re.IGNORECASE) is not None


class ExplainedPusher:
    """The port `ImagePusher` round another one."""

    def __init__(self, inner: ImagePusher, explainer: Explainer) -> None:
        self._inner = inner
        self._explainer = explainer

    def push(self, image_id: Digest, name: Reference, sink: EventSink) -> Digest:
        """Pushes, and tells the cause of a refusal."""
        with self._explainer.of(name, push=True):
            return self._inner.push(image_id, name, sink)


class ExplainedPuller:
    """The port `ImagePuller` round another one."""

    def __init__(self, inner: ImagePuller, explainer: Explainer) -> None:
        self._inner = inner
        self._explainer = explainer

    def pull(self, image: Reference, sink: EventSink) -> PullReport:
        """Pulls, and tells the cause of a refusal."""
        with self._explainer.of(image):
            return self._inner.pull(image, sink)


class ExplainedRegistry(RegistryClient):
    """Reads and tags images, and tells the cause of a refusal."""

    def __init__(self, connections: Connections, explainer: Explainer) -> None:
        super().__init__(connections)
        self._explainer = explainer

    def resolve(self, reference: Reference) -> Descriptor:
        """Returns what the reference points at now."""
        with self._explainer.of(reference):
            return super().resolve(reference)

    def find(self, reference: Reference) -> Descriptor | None:
        """Returns what the reference points at now, or None."""
        with self._explainer.of(reference):
            return super().find(reference)

    def manifest(self, image: Pinned) -> Manifest | Index:
        """Returns the manifest or index with exactly this digest."""
        with self._explainer.of(image):
            return super().manifest(image)

    def tag(self, repository: Repository, manifest: Manifest | Index, tag: str) -> None:
        """Makes the tag point at a manifest that the repository already holds."""
        with self._explainer.of(repository.tagged(tag), push=True):
            super().tag(repository, manifest, tag)


class ExplainedCopier:
    """The port `ImageCopier` round another one."""

    def __init__(self, inner: ImageCopier, explainer: Explainer) -> None:
        self._inner = inner
        self._explainer = explainer

    def copy(self, image: Pinned, to: Repository) -> Copied:
        """Copies, and tells the cause of a refusal by the repository that shall hold it."""
        with self._explainer.of(to.pin(image.digest), push=True):
            return self._inner.copy(image, to)


class ExplainedReferrers(RegistryReferrers):
    """Reads and attaches evidence, and tells the cause of a refusal."""

    def __init__(self, client: RegistryClient, explainer: Explainer) -> None:
        super().__init__(client)
        self._explainer = explainer

    def attach(self, image: Pinned, subject: Descriptor, artifact: Artifact) -> Descriptor:
        """Attaches an artifact to an image."""
        with self._explainer.of(image, push=True):
            return super().attach(image, subject, artifact)

    def relist(self, image: Pinned, attached: Sequence[Descriptor]) -> None:
        """Makes sure that what is attached is in the list which others read."""
        with self._explainer.of(image, push=True):
            super().relist(image, attached)
