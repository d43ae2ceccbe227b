"""What becomes of containers that are switched to a promoted image.

>>> Switched.RESTORED.good
False
"""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from imagepipe.errors import ImagepipeError
from imagepipe.model.reference import Pinned

__all__ = ["Activation", "Condition", "Switched"]


class Switched(StrEnum):
    """What became of one container."""

    SWITCHED = "switched"
    RUNNING = "running"
    RESTORED = "restored"
    UNTOUCHED = "untouched"
    BROKEN = "broken"

    @property
    def good(self) -> bool:
        """Whether the container runs what was asked for."""
        return self in (Switched.SWITCHED, Switched.RUNNING)


@dataclass(frozen=True, slots=True)
class Condition:
    """How a container does.

    Attributes:
        running: Whether its process lives, and is not between two starts.
        told: Its state in words, such as `exited with code 1`.
        health: What its health check says: `starting`, `healthy`, `unhealthy`; "" where it has none.
        restarts: How often its host started it again.
        removes_itself: Whether it is gone once it stops.
        last_words: What it printed last, where it does not do well; may hold secrets, so it is for nobody's record.
    """

    running: bool
    told: str
    health: str = ""
    restarts: int = 0
    removes_itself: bool = False
    last_words: tuple[str, ...] = field(default=(), repr=False)


@dataclass(frozen=True, slots=True)
class Activation:
    """One container's outcome.

    Attributes:
        container: Its name.
        outcome: `switched`; `running`: it ran the image already; `restored`: what it ran before runs again;
            `untouched`; `broken`: it may not run, and the error says why.
        image: What it was to run.
        before: What it ran, as it was created from.
        error: Why it does not run it, or None.
        error_kind: The failure's kind, or None.
        hint: What to do, or None.
    """

    container: str
    outcome: Switched
    image: Pinned
    before: str = ""
    error: str | None = None
    error_kind: str | None = None
    hint: str | None = None

    @classmethod
    def failed(cls, container: str, outcome: Switched, image: Pinned, before: str, why: ImagepipeError) -> "Activation":
        """Returns the outcome of a container that does not run the image because of this error."""
        return cls(container, outcome, image, before, why.message, why.kind, why.hint)

    def to_json(self) -> dict[str, Any]:
        """Returns the outcome as a JSON object; what does not apply is left out."""
        data = {
            "container": self.container,
            "outcome": self.outcome.value,
            "image": str(self.image),
            **({"before": self.before} if self.before else {}),
        }
        return data if self.error is None else data | {"error": {"kind": self.error_kind, "message": self.error}}
