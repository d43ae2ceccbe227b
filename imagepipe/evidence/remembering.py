"""Ports that ask each question once: for one look at many images, during which nothing is written.

>>> lengths = Once(len)
>>> lengths("abc"), lengths("abc")
(3, 3)
"""

from collections.abc import Callable, Hashable, Sequence
from threading import Lock
from typing import Generic, TypeVar

from imagepipe.model.digest import Digest
from imagepipe.model.evidence import Artifact, Bundle, Signatory, VerifiedStatement
from imagepipe.model.manifest import Descriptor
from imagepipe.model.reference import Pinned
from imagepipe.ports import Referrers, Verifier

__all__ = ["Once", "RememberingReferrers", "RememberingVerifier"]

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


class Once(Generic[Key, Value]):
    """A function whose answers are remembered; whoever asks the same meanwhile waits. What fails is asked again.

    Args:
        function: What is asked.
    """

    def __init__(self, function: Callable[[Key], Value]) -> None:
        self._function = function
        self._known: dict[Key, Value] = {}
        self._locks: dict[Key, Lock] = {}
        self._lock = Lock()

    def __call__(self, key: Key) -> Value:
        """Returns what the function says of the key."""
        with self._lock:
            lock = self._locks.setdefault(key, Lock())
        with lock:
            if key not in self._known:
                self._known[key] = self._function(key)
            return self._known[key]


class RememberingReferrers:
    """Keeps the port `Referrers`.

    Args:
        inner: What is asked.
    """

    def __init__(self, inner: Referrers) -> None:
        self._inner = inner
        self._lists = Once(inner.list)
        self._artifacts = Once[tuple[Pinned, Digest], Artifact](self._fetched)
        self._descriptors: dict[tuple[Pinned, Digest], Descriptor] = {}

    def list(self, image: Pinned) -> tuple[Descriptor, ...]:
        """Returns every manifest that was attached to the image when this was first asked."""
        return self._lists(image)

    def fetch(self, image: Pinned, descriptor: Descriptor) -> Artifact:
        """Returns an attached artifact."""
        self._descriptors[image, descriptor.digest] = descriptor
        return self._artifacts((image, descriptor.digest))

    def attach(self, image: Pinned, subject: Descriptor, artifact: Artifact) -> Descriptor:
        """Attaches an artifact; what was listed before stays as it was."""
        return self._inner.attach(image, subject, artifact)

    def _fetched(self, key: tuple[Pinned, Digest]) -> Artifact:
        return self._inner.fetch(key[0], self._descriptors[key])


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
