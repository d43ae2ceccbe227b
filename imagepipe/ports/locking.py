"""The seam to a lock that a host keeps.

>>> HostLock.__name__
'HostLock'
"""

from typing import Protocol

from imagepipe.model.lock import Holder

__all__ = ["HostLock"]


class HostLock(Protocol):
    """A lock that a host keeps, so that every machine sees it."""

    def take(self, holder: Holder) -> Holder | None:
        """Returns who holds the lock now: this holder, or who was there before; None while that cannot be told.

        Raises:
            UnsupportedError: The host answers, and cannot keep a lock.
            AccessError, UnavailableError: It refuses us, or is away.
        """
        ...

    def holder(self) -> Holder | None:
        """Returns who holds the lock, or None when nobody does."""
        ...

    def release(self, nonce: str) -> Holder | None:
        """Lets go of the lock that bears this nonce; returns who else holds it, when it is not ours any more."""
        ...
