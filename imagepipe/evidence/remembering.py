"""Ports that ask each question once: for one look at many images, during which nothing is written.

>>> RememberingReferrers.__name__
'RememberingReferrers'
"""

from collections.abc import Sequence
from typing import Final

from imagepipe.model.digest import Digest
from imagepipe.model.evidence import Artifact, Bundle, Signatory, VerifiedStatement
from imagepipe.model.manifest import Descriptor
from imagepipe.model.reference import Pinned
from imagepipe.once import Once
from imagepipe.ports import Referrers, Verifier

__all__ = ["RememberingReferrers", "RememberingVerifier"]

# A statement takes up some ten thousand bytes. Whoever may push can attach thousands of pieces of 8 MiB each.
_KEPT_BYTES: Final = 64 * 1024


class RememberingReferrers:
    """Keeps the port `Referrers`.

    Args:
        inner: What is asked.
    """

    def __init__(self, inner: Referrers) -> None:
        self._inner = inner
        self._look = inner.remembering()
        self._lists = Once(self._look.list)
        self._artifacts = Once[tuple[Pinned, Digest], Artifact](self._fetched)
        self._descriptors: dict[tuple[Pinned, Digest], Descriptor] = {}

    def list(self, image: Pinned) -> tuple[Descriptor, ...]:
        """Returns every manifest that was attached to the image when this was first asked."""
        return self._lists(image)

    def fetch(self, image: Pinned, descriptor: Descriptor) -> Artifact:
        """Returns an attached artifact."""
        key = image, descriptor.digest
        self._descriptors[key] = descriptor
        artifact = self._artifacts(key)
        if len(artifact.content) > _KEPT_BYTES:
            self._artifacts.forget(key)
        return artifact

    def attach(self, image: Pinned, subject: Descriptor, artifact: Artifact) -> Descriptor:
        """Attaches an artifact; what was listed before stays as it was."""
        return self._inner.attach(image, subject, artifact)

    def relist(self, image: Pinned, attached: Sequence[Descriptor]) -> None:
        """Makes sure that what is attached is in the list; what was listed before stays as it was."""
        self._inner.relist(image, attached)

    def remembering(self) -> "RememberingReferrers":
        """Returns this one: it asks nothing twice already."""
        return self

    def _fetched(self, key: tuple[Pinned, Digest]) -> Artifact:
        return self._look.fetch(key[0], self._descriptors[key])


class RememberingVerifier:
    """Keeps the port `Verifier`.

    Args:
        inner: What proves a bundle.
    """

    def __init__(self, inner: Verifier) -> None:
        self._proven = Once[tuple[Bundle, Digest, str, tuple[Signatory, ...]], VerifiedStatement](
            lambda asked: inner.verify(*asked)
        )

    def verify(
        self, bundle: Bundle, digest: Digest, predicate_type: str, trusted: Sequence[Signatory]
    ) -> VerifiedStatement:
        """Returns the statement, proven.

        Raises:
            VerificationError: It proves nothing.
        """
        return self._proven((bundle, digest, predicate_type, tuple(trusted)))
