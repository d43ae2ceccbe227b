"""What targets had been brought to at a time, by their records alone: no target is asked.

>>> from imagepipe.promote.past import look_back
>>> look_back.__name__
'look_back'
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from imagepipe.model.host import Target
from imagepipe.model.ledger import LATE, Entry
from imagepipe.model.reference import Repository
from imagepipe.promote.history import chains
from imagepipe.promote.ledger import Chain
from imagepipe.promote.ports import World

__all__ = ["Past", "PastImage", "look_back"]


@dataclass(frozen=True, slots=True)
class PastImage:
    """What one record said that a target held.

    Attributes:
        repository: Of which repository.
        entry: The last record until then by which the target held its image.
        holds: Which images were held back from the target then, and why.
        age_s: How long before that time it was written, in seconds.
    """

    repository: Repository
    entry: Entry
    holds: tuple[str, ...]
    age_s: int

    def to_json(self) -> dict[str, Any]:
        """Returns it as a JSON object."""
        entry = self.entry
        return {
            "image": str(self.repository.pin(entry.digest)),
            "state": "promoted",
            "current": True,
            "promoted_at": entry.finished_at,
            "age_s": self.age_s,
            "kind": entry.kind.value,
            "by": entry.signed_by,
            "reason": entry.reason,
            "sequence": entry.link.sequence,
            "record": str(entry.record),
            "held_back": list(self.holds),
        }


@dataclass(frozen=True, slots=True)
class Past:
    """One target at that time.

    Attributes:
        target: Its name.
        kind: `vch` or `docker`, as configured today.
        images: What it had been brought to, one image per repository at most.
        breaks: What is wrong with its ledgers, so that what is told may be wrong, too.
    """

    target: str
    kind: str
    images: tuple[PastImage, ...]
    breaks: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Returns it as a JSON object."""
        return {
            "target": self.target,
            "kind": self.kind,
            "images": [image.to_json() for image in self.images],
            "intact": not self.breaks,
            "breaks": list(self.breaks),
        }


def look_back(
    targets: Sequence[Target], repositories: Sequence[Repository], at: datetime, world: World
) -> tuple[Past, ...]:
    """Returns what every target had been brought to, on whose word; nothing before its first record.

    The chain's order decides, not the times in it: clocks of those who promote may differ. Only what came late has no
    other place than its time.

    Args:
        targets: Whose records.
        repositories: In which repositories.
        at: The time, aware.
        world: What is asked: the registry alone.
    """
    found = {repository: chains(repository, targets, world) for repository in repositories}
    return tuple(
        _of(target, {repository: ledgers[place] for repository, ledgers in found.items()}, at)
        for place, target in enumerate(targets)
    )


def _of(target: Target, ledgers: Mapping[Repository, Chain], at: datetime) -> Past:
    images, breaks = list[PastImage](), list[str]()
    for repository, chain in ledgers.items():
        breaks += [f"{repository}: {told}" for told in chain.breaks]
        until = [(entry, when) for entry in chain.entries if (when := entry.finished) and when <= at]
        good = [(entry, when) for entry, when in until if entry.good][-1:]
        good += [(entry, when) for entry, when in until if entry.outcome == LATE]
        if good:
            entry, when = max(good, key=lambda one: one[1])
            holds = tuple(f"{repository.pin(hold.image)}: {hold}" for hold in until[-1][0].link.holds)
            images.append(PastImage(repository, entry, holds, round((at - when).total_seconds())))
    return Past(target.name, target.kind.value, tuple(images), tuple(breaks))
