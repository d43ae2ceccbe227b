"""A lock on a target that every machine sees: who holds it, and what was broken to get it.

>>> holder = Holder("n1", "dana@ops-1, process 7", "m1/f1", "2026-01-02T03:04:05+00:00")
>>> Holder.parse(holder.labels()) == holder
True
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from imagepipe.errors import ImagepipeError

__all__ = ["BrokenLock", "Held", "Holder"]

_PREFIX: Final = "dev.imagepipe.lock."
_UNKNOWN: Final = "somebody who does not say so"


@dataclass(frozen=True, slots=True)
class Holder:
    """Who holds a lock. Law: `Holder.parse(holder.labels()) == holder`.

    Attributes:
        nonce: Drawn for this one holding: it decides whose the lock is.
        who: User, machine and process, for people.
        place: The machine, and the file that is locked there as long as the holder lives.
        since: ISO 8601 in UTC.
    """

    nonce: str
    who: str
    place: str
    since: str

    @classmethod
    def parse(cls, labels: Mapping[str, Any]) -> "Holder":
        """Returns whom the labels name; what they do not tell is empty, and then nobody's lock."""
        told = {name: str(labels.get(f"{_PREFIX}{name}") or "") for name in ("nonce", "who", "place", "since")}
        return cls(told["nonce"], told["who"] or _UNKNOWN, told["place"], told["since"])

    def labels(self) -> dict[str, str]:
        """Returns what goes on the lock."""
        told = {"nonce": self.nonce, "who": self.who, "place": self.place, "since": self.since}
        return {f"{_PREFIX}{name}": value for name, value in told.items()}

    def __str__(self) -> str:
        return f"{self.who}, since {self.since}" if self.since else self.who


@dataclass(frozen=True, slots=True)
class BrokenLock:
    """Somebody else's lock that was taken away, as an operator said."""

    target: str
    holder: Holder

    def to_json(self) -> dict[str, Any]:
        """Returns what goes into the record."""
        return {"target": self.target, "holder": self.holder.who, "since": self.holder.since}


@dataclass(frozen=True, slots=True)
class Held:
    """What came of locking targets.

    Attributes:
        broken: Whose locks were broken for it.
        failed: Hosts that could not be locked because they are away or refuse us, and why.
    """

    broken: tuple[BrokenLock, ...] = ()
    failed: Mapping[str, ImagepipeError] = field(default_factory=dict, hash=False)
