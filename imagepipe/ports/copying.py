"""The seam to what copies an image from one repository of a registry into another one.

>>> ImageCopier.__name__
'ImageCopier'
"""

from typing import Protocol

from imagepipe.model.copying import Copied
from imagepipe.model.reference import Pinned, Repository

__all__ = ["ImageCopier"]


class ImageCopier(Protocol):
    """Copies inside a registry: no blob comes through this machine."""

    def copy(self, image: Pinned, to: Repository) -> Copied:
        """Makes a repository hold the image with all that is attached to it, read back; no tag points at it after.

        Doing it again changes nothing, and completes what was left half done.

        Raises:
            UnsupportedError: The registry mounts no blobs.
            RefusedError: Evidence of the same name is there already, and is another.
            NotFoundError, AccessError, UnavailableError: What the registry said.
        """
        ...
