"""Plans the way back: per target the last digest that was good, verified again under today's policy.

>>> from imagepipe.promote.rollback import plan_rollback
>>> plan_rollback.__name__
'plan_rollback'
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

from imagepipe import fanout
from imagepipe.errors import NotFoundError, RefusedError
from imagepipe.events import Warned
from imagepipe.model.digest import Digest
from imagepipe.model.host import Target
from imagepipe.model.ledger import Entry, RecordKind
from imagepipe.model.promotion import PromotionPlan, Terms
from imagepipe.model.reference import Reference, Repository
from imagepipe.promote.gates import rejection_gate
from imagepipe.promote.history import chains
from imagepipe.promote.ledger import Chain
from imagepipe.promote.plan import make_plan
from imagepipe.promote.ports import World
from imagepipe.promote.record import Promotion, apply_all

__all__ = ["Way", "apply_rollback", "plan_rollback", "ways_back"]

_JOBS: Final = 8


@dataclass(frozen=True, slots=True)
class Way:
    """Where a rollback starts and ends.

    Attributes:
        repository: Whose images.
        leaving: The image that is to be left; None: whatever a target is at.
        to: The digest to go back to; None: each target's own last good one.
        activate: The containers that are to run it in the end.
    """

    repository: Repository
    leaving: Digest | None = None
    to: Digest | None = None
    activate: tuple[str, ...] = ()


def plan_rollback(way: Way, targets: Sequence[Target], world: World) -> tuple[PromotionPlan, ...]:
    """Returns one plan per digest that targets go back to; no host is touched.

    A way back waits for nobody: neither soak nor freeze nor approvals are asked for. A digest that by no record was
    good on the target is no way back, however it is spelled.

    Raises:
        NotFoundError: A target has nothing on record to go back to.
        RefusedError: A target is not at the image that is to be left.
    """
    near = [one for one in (way.leaving, way.to) if one]
    found = dict(zip(targets, chains(way.repository, targets, world, near), strict=True))
    goals = dict[tuple[Digest, bool], list[Target]]()
    for outcome in fanout.each(found, lambda target: _goal(way, target, found[target], world), jobs=_JOBS):
        goals.setdefault(outcome.unwrap(), []).append(outcome.item)
    plans = (
        make_plan(
            f"{way.repository}@{digest}",
            Reference(way.repository, digest=digest),
            group,
            world,
            terms=Terms(way_back=known, near=_newest(found[target] for target in group)),
        )
        for (digest, known), group in goals.items()
    )
    return tuple(replace(plan, activate=way.activate) for plan in plans)


def apply_rollback(
    plans: Sequence[PromotionPlan], world: World, *, reason: str = "", jobs: int = 8
) -> tuple[Promotion, ...]:
    """Carries the plans out, and holds on each target what it was rolled back from.

    Raises:
        GateError: A gate of any plan said no; no host was touched.
        IdentityError: There is nobody to sign the record; no host was touched.
    """
    return apply_all(plans, world, reason=reason, jobs=jobs, kind=RecordKind.ROLLBACK)


def ways_back(repository: Repository, target: Target, chain: Chain, world: World) -> Iterator[Digest]:
    """Yields the images that a rollback of the target would go to, the one it would choose first."""
    for digest in _good_before(chain.current, chain) if chain.current else ():
        if not _rejected(repository, digest, target, world):
            yield digest


def _newest(found: Iterable[Chain]) -> tuple[Digest, ...]:
    return tuple(
        dict.fromkeys(entry.image for chain in found for entry in [*chain.entries[-1:], chain.current] if entry)
    )


def _goal(way: Way, target: Target, chain: Chain, world: World) -> tuple[Digest, bool]:
    """Returns where the target goes, and whether it was good there before."""
    for broken in chain.breaks:
        world.events(Warned(target.name, f"the ledger of {way.repository} is broken: {broken}"))
    if chain.untagged and way.to is None:
        raise RefusedError(
            f"roll back {way.repository} on {target.name}: its newest record is gone, so what it is at cannot be told",
            hint="name the digest with --to (`imagepipe history` tells what was there)",
        )
    current = chain.current
    done = current is not None and current.kind is RecordKind.ROLLBACK
    if way.leaving is not None and not _is_at(way.leaving, current, chain, done=done):
        raise RefusedError(
            f"roll back {way.repository} on {target.name}: it is not at {way.leaving} but at "
            f"{current.image if current else 'nothing on record'}",
            hint="name the repository alone to leave whatever it is at, or --to the digest to go to",
        )
    if way.to is not None:
        return way.to, any(entry.good and way.to in (entry.image, entry.digest) for entry in chain.entries)
    if current is None:
        raise NotFoundError(
            f"roll back {way.repository} on {target.name}: no promotion to it is on record",
            hint="name the digest with --to",
        )
    if done:
        # The same command again, after some targets failed, must not take the others back by one more step.
        world.events(Warned(target.name, f"rolled back to {current.image} already; --to goes further back"))
        return current.image, True
    for digest in ways_back(way.repository, target, chain, world):
        return digest, True
    raise NotFoundError(
        f"roll back {way.repository} on {target.name}: nothing good is on record before {current.image}",
        hint="name the digest with --to, or promote another image",
    )


def _is_at(leaving: Digest, current: Entry | None, chain: Chain, *, done: bool) -> bool:
    """Tells whether the target is at the image that is to be left, or was rolled back from it already."""
    if current is None:
        return False
    held = any(hold.covers(leaving) for hold in chain.entries[-1].link.holds)
    return leaving in (current.image, current.digest) or (done and held)


def _good_before(current: Entry, chain: Chain) -> list[Digest]:
    """Returns the images that were good on the target, newest first, without the present one and those held.

    One that a container was to run and did not is no way back, until it is promoted again and does.
    """
    holds, newest = chain.entries[-1].link.holds, dict[Digest, Entry]()
    for entry in reversed(chain.entries):
        if entry.good and (entry.switched or entry.spoilt):
            newest.setdefault(entry.image, entry)
    return [
        image
        for image, entry in newest.items()
        if not entry.spoilt and image != current.image and not any(hold.covers(image, entry.digest) for hold in holds)
    ]


def _rejected(repository: Repository, digest: Digest, target: Target, world: World) -> bool:
    policy = world.policies.get(target.policy or "")
    return policy is not None and not rejection_gate([repository.pin(digest)], policy, world).passed
