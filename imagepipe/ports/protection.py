"""The seams to what keeps images in a registry, and to what names its tags.

>>> Keeper.__name__
'Keeper'
"""

from collections.abc import Mapping, Sequence
from typing import Protocol

from imagepipe.model.digest import Digest
from imagepipe.model.reference import Pinned, Repository

__all__ = ["Keeper", "TagSource"]


class Keeper(Protocol):
    """Makes a registry keep images, whatever its retention policies and people's hands would do."""

    def kept(self, repository: Repository) -> Mapping[Digest, bool]:
        """Returns what was asked to be kept, and whether it really is.

        Raises:
            UnsupportedError: This registry can keep nothing.
            AccessError, UnavailableError: It says no, or is away.
        """
        ...

    def keep(self, images: Sequence[Pinned]) -> None:
        """Makes the registry keep images, which it holds, and reads that back; what is kept stays kept meanwhile.

        Raises:
            RefusedError: The registry took it, and does not keep them.
            NotFoundError, AccessError, UnavailableError, UnsupportedError: As `kept`, or an image is gone.
        """
        ...

    def release(self, images: Sequence[Pinned]) -> None:
        """Lets go of images; all others stay kept meanwhile.

        Raises:
            AccessError, UnavailableError, UnsupportedError: As `kept`.
        """
        ...


class TagSource(Protocol):
    """Names the tags of a repository."""

    def tags(self, repository: Repository) -> tuple[str, ...]:
        """Returns all tags; none where there is no such repository."""
        ...
