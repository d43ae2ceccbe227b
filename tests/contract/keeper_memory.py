"""A registry's keeper in memory, and its tags: the ports `Keeper` and `TagSource`."""

from collections.abc import Mapping, Sequence

from imagepipe.errors import ImagepipeError, NotFoundError
from imagepipe.model.digest import Digest
from imagepipe.model.reference import Pinned, Repository
from tests.contract.registry_memory import MemoryRegistry

__all__ = ["MemoryKeeper"]


class MemoryKeeper:
    """Keeps what it is told to.

    Attributes:
        held: What is kept.
        loose: What has its tag only: somebody took the rule away.
        failure: Raised by every call while it is set.
    """

    def __init__(self, registry: MemoryRegistry) -> None:
        self._registry = registry
        self.held: set[Pinned] = set()
        self.loose: set[Pinned] = set()
        self.failure: ImagepipeError | None = None

    def kept(self, repository: Repository) -> Mapping[Digest, bool]:
        self._answer()
        known = self.held | self.loose
        return {one.digest: one in self.held for one in known if one.repository == repository}

    def keep(self, images: Sequence[Pinned]) -> None:
        self._answer()
        for image in images:
            if (image.repository, image.digest) not in self._registry.blobs:
                raise NotFoundError(f"keep {image}: there is no such image")
        self.held.update(images)
        self.loose.difference_update(images)

    def release(self, images: Sequence[Pinned]) -> None:
        self._answer()
        self.held.difference_update(images)
        self.loose.difference_update(images)

    def tags(self, repository: Repository) -> tuple[str, ...]:
        return tuple(tag for place, tag in self._registry.tags if place == repository)

    def _answer(self) -> None:
        if self.failure:
            raise self.failure
