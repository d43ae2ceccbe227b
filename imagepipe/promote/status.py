"""What targets hold of some repositories, joined with the records that say how it got there.

>>> from imagepipe.promote.status import survey
>>> survey.__name__
'survey'
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from imagepipe import fanout
from imagepipe.errors import ImagepipeError, NotFoundError, RefusedError
from imagepipe.model.evidence import PROMOTION_PREDICATE, SIGNATURE_PREDICATE
from imagepipe.model.host import HostInfo, Target
from imagepipe.model.reference import Pinned, Repository
from imagepipe.promote.ports import World

__all__ = ["HeldImage", "TargetStatus", "survey"]


@dataclass(frozen=True, slots=True)
class HeldImage:
    """One image that a target holds.

    Attributes:
        image: What it is.
        state: `promoted` where a verified record names this target, else `present`; `unknown` when the registry no
            longer has the image.
        signed_by: Who of the target's policy signed it, or None.
        promoted_at: When the latest such record was written, ISO 8601, or None.
    """

    image: Pinned
    state: str
    signed_by: str | None
    promoted_at: str | None


@dataclass(frozen=True, slots=True)
class TargetStatus:
    """What one target holds, or why it could not be asked."""

    target: str
    kind: str
    info: HostInfo | None
    images: tuple[HeldImage, ...]
    error: ImagepipeError | None = None

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
    outcomes = fanout.each(targets, lambda target: _ask(target, repositories, world), jobs=jobs)
    return tuple(
        outcome.unwrap()
        if outcome.error is None
        else TargetStatus(outcome.item.name, outcome.item.kind.value, None, (), outcome.error)
        for outcome in outcomes
    )


def _ask(target: Target, repositories: Sequence[Repository], world: World) -> TargetStatus:
    host = world.connect(target).host
    info = host.info()
    held = tuple(
        _judge(repository.pin(digest), target, world) for repository in repositories for digest in host.held(repository)
    )
    return TargetStatus(target.name, target.kind.value, info, held)


def _judge(image: Pinned, target: Target, world: World) -> HeldImage:
    policy = world.policies.get(target.policy or "")
    trusted = policy.signed_by if policy else ()
    try:
        signatures = world.reader.proofs(image, SIGNATURE_PREDICATE, trusted) if trusted else ()
        records = world.reader.proofs(image, PROMOTION_PREDICATE, trusted) if trusted else ()
    except (NotFoundError, RefusedError):
        return HeldImage(image, "unknown", None, None)
    when = sorted(
        str(proof.verified.statement.predicate.get("finishedOn", ""))
        for proof in records
        if _names(proof.verified.statement.predicate, target.name)
    )
    return HeldImage(
        image,
        "promoted" if when else "present",
        str(signatures[0].verified.signatory) if signatures else None,
        when[-1] if when else None,
    )


def _names(predicate: Any, target: str) -> bool:
    entries = predicate.get("targets") or ()
    return any(entry.get("target") == target and entry.get("outcome") in ("promoted", "present") for entry in entries)
