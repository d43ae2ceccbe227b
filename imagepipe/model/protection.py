"""What a registry must keep, for whom, and by which tag it is kept.

>>> keep_tag(Pinned.parse("vic.example/p/r@sha256:" + 64 * "0"))[:20]
'imagepipe-keep-1c8bf'
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from imagepipe.model.digest import Digest
from imagepipe.model.reference import Pinned

__all__ = ["KEEP", "Need", "Protected", "State", "Why", "keep_tag"]

KEEP: Final = "imagepipe-keep-"


def keep_tag(image: Pinned) -> str:
    """Returns the tag that keeps an image: no other image of the project has it, so that it never has to move."""
    return f"{KEEP}{Digest.of(f'{image.repository.path}@{image.digest}'.encode()).hex[:32]}"


class Why(StrEnum):
    """Why a target needs an image."""

    CURRENT = "current"
    BEFORE = "rollback point"
    RUNS = "runs"


class State(StrEnum):
    """What the registry makes of an image."""

    KEPT = "kept"
    OPEN = "not kept"
    GONE = "gone"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, order=True)
class Need:
    """One target's need of an image."""

    target: str
    why: Why

    def __str__(self) -> str:
        return f"{self.target}: {self.why.value}"


@dataclass(frozen=True, slots=True)
class Protected:
    """An image that somebody needs, or that is kept although nobody does any more.

    Attributes:
        image: The image.
        needs: Who needs it and why; none: it may go.
        state: Whether the registry keeps it.
    """

    image: Pinned
    needs: tuple[Need, ...]
    state: State

    def to_json(self) -> dict[str, Any]:
        """Returns it as a JSON object."""
        return {
            "image": str(self.image),
            "state": self.state.value,
            "tag": keep_tag(self.image),
            "needs": [{"target": need.target, "why": need.why.value} for need in self.needs],
        }
