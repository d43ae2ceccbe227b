"""How a target differs from what its ledger says: what it lacks, and what it runs all the same.

>>> DriftKind("not_current").value
'not_current'
"""

from collections.abc import Iterator, Set
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from imagepipe.errors import InputError
from imagepipe.model.digest import Digest
from imagepipe.model.host import Container, Inventory
from imagepipe.model.ledger import Entry
from imagepipe.model.reference import Pinned, Reference, Repository

__all__ = ["Drift", "DriftKind", "drift_of"]


class DriftKind(StrEnum):
    """In what way a target differs.

    missing: By the newest good record it was brought to an image, and it does not hold that image.
    unrecorded: A container lives that was made from something of the repository, and no proven record brought that.
    not_current: A container lives that was made from what a record brought, but it was brought elsewhere since.
    """

    MISSING = "missing"
    UNRECORDED = "unrecorded"
    NOT_CURRENT = "not_current"


@dataclass(frozen=True, slots=True)
class Drift:
    """One difference.

    Attributes:
        kind: Which.
        repository: Of which repository.
        image: What is missing, or what runs; None where the host cannot tell which image runs.
        container: The container's name, or "".
        message: What is wrong, for people.
    """

    kind: DriftKind
    repository: Repository
    image: Pinned | None
    container: str
    message: str

    def to_json(self) -> dict[str, Any]:
        """Returns it as a JSON object."""
        return {
            "kind": self.kind.value,
            "repository": str(self.repository),
            "image": str(self.image) if self.image else None,
            "container": self.container or None,
            "message": self.message,
        }


def drift_of(
    repository: Repository, inventory: Inventory, current: Entry | None, brought: Set[Digest]
) -> tuple[Drift, ...]:
    """Returns every difference.

    Args:
        repository: Whose images.
        inventory: What the target holds and runs.
        current: The newest good record, or None.
        brought: What proven records brought to this target.
    """
    return tuple(_differences(repository, inventory, current, brought))


def _differences(
    repository: Repository, inventory: Inventory, current: Entry | None, brought: Set[Digest]
) -> Iterator[Drift]:
    if current is not None and current.digest not in inventory.of(repository):
        image = repository.pin(current.digest)
        yield Drift(DriftKind.MISSING, repository, image, "", f"lacks {image}")
    for container in inventory.containers:
        if container.live:
            yield from _running(repository, container, current, brought)


def _running(
    repository: Repository, container: Container, current: Entry | None, brought: Set[Digest]
) -> Iterator[Drift]:
    digests = container.of(repository)
    if current is not None and current.digest in digests:
        return
    if not digests:
        if _names(container.created_from, repository):
            message = f"{container.name} runs an image that was called {container.created_from} and has no known digest"
            yield Drift(DriftKind.UNRECORDED, repository, None, container.name, message)
        return
    known = [digest for digest in digests if digest in brought]
    image = repository.pin((known or digests)[0])
    if known:
        at = f"; it was brought to {current.digest}" if current else ""
        yield Drift(DriftKind.NOT_CURRENT, repository, image, container.name, f"{container.name} runs {image}{at}")
    else:
        message = f"{container.name} runs {image}, which no record brought there"
        yield Drift(DriftKind.UNRECORDED, repository, image, container.name, message)


def _names(created_from: str, repository: Repository) -> bool:
    try:
        return Reference.parse(created_from).repository == repository
    except InputError:
        return False
