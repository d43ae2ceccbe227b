"""What targets hold of some repositories, joined with the records that say how it got there.

>>> from imagepipe.promote.status import survey
>>> survey.__name__
'survey'
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from imagepipe import fanout
from imagepipe.errors import ImagepipeError, NotFoundError, RefusedError
from imagepipe.model.evidence import SIGNATURE_PREDICATE
from imagepipe.model.host import HostInfo, Target
from imagepipe.model.ledger import Entry
from imagepipe.model.reference import Pinned, Repository
from imagepipe.promote.ledger import Ledger
from imagepipe.promote.ports import World

__all__ = ["HeldImage", "TargetStatus", "survey"]


@dataclass(frozen=True, slots=True)
class HeldImage:
    """One image that a target holds.

    Attributes:
        image: What it is.
        state: `promoted` where a verified record names this target, else `present`; `unknown` when the registry no
            longer has the image; `drifted` where the newest record says that it is there, and it is not.
        signed_by: Who of the target's policy signed it, or None.
        promoted_at: When the latest such record was written, ISO 8601, or None.
        current: Whether it is what the target was last brought to, by promotion or rollback.
        age_s: How long ago that record was written, in seconds, or None.
    """

    image: Pinned
    state: str
    signed_by: str | None
    promoted_at: str | None
    current: bool = False
    age_s: int | None = None


@dataclass(frozen=True, slots=True)
class TargetStatus:
    """What one target holds, or why it could not be asked."""

    target: str
    kind: str
    info: HostInfo | None
    images: tuple[HeldImage, ...]
    error: ImagepipeError | None = None

    @property
    def drifted(self) -> tuple[HeldImage, ...]:
        """What should be there and is not."""
        return tuple(held for held in self.images if held.state == "drifted")

    def to_json(self) -> dict[str, Any]:
        """Returns the status as a JSON object."""
        data: dict[str, Any] = {"target": self.target, "kind": self.kind}
        if self.info:
            data |= {"name": self.info.name, "version": self.info.version}
        data["images"] = [
            {
                "image": str(held.image),
                "state": held.state,
                "signed_by": held.signed_by,
                "promoted_at": held.promoted_at,
                "age_s": held.age_s,
                "current": held.current,
            }
            for held in self.images
        ]
        if self.error:
            data["error"] = {"kind": self.error.kind, "message": self.error.message}
        return data


def survey(
    targets: Sequence[Target], repositories: Sequence[Repository], world: World, *, jobs: int
) -> tuple[TargetStatus, ...]:
    """Returns what every target holds of the repositories; a target that is away is told, not raised."""
    ledger = Ledger(world)
    outcomes = fanout.each(targets, lambda target: _ask(target, repositories, ledger, world), jobs=jobs)
    return tuple(
        outcome.unwrap()
        if outcome.error is None
        else TargetStatus(outcome.item.name, outcome.item.kind.value, None, (), outcome.error)
        for outcome in outcomes
    )


def _ask(target: Target, repositories: Sequence[Repository], ledger: Ledger, world: World) -> TargetStatus:
    host = world.connect(target).host
    info = host.info()
    images: list[HeldImage] = []
    for repository in repositories:
        held = host.held(repository)
        newest = ledger.newest(repository, target, near=held)
        current = ledger.current(repository, target, newest)
        images.extend(_judge(repository.pin(digest), target, current, ledger, world) for digest in held)
        if current is not None and current.digest not in held:
            gone = _judge(repository.pin(current.digest), target, current, ledger, world)
            images.append(replace(gone, state="drifted"))
    return TargetStatus(target.name, target.kind.value, info, tuple(images))


def _judge(image: Pinned, target: Target, current: Entry | None, ledger: Ledger, world: World) -> HeldImage:
    policy = world.policies.get(target.policy or "")
    trusted = policy.signed_by if policy else ()
    now = current is not None and current.digest == image.digest
    try:
        signature = world.reader.first(image, SIGNATURE_PREDICATE, trusted) if trusted else None
        entries = [*ledger.entries(image, target), *([current] if current and now else [])]
    except (NotFoundError, RefusedError):
        return HeldImage(image, "unknown", None, None)
    when = max((entry.finished_at for entry in entries if entry.good), default=None)
    return HeldImage(
        image,
        "present" if when is None else "promoted",
        str(signature.verified.signatory) if signature else None,
        when,
        now,
        _age_s(when, world),
    )


def _age_s(when: str | None, world: World) -> int | None:
    try:
        then = datetime.strptime(when or "", "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    except ValueError:
        return None
    return max(0, round((world.clock.now() - then).total_seconds()))
