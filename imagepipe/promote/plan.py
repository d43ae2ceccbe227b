"""Makes the plan: the tag is resolved once, every gate is asked, and no host is touched.

>>> make_plan.__name__
'make_plan'
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from imagepipe import fanout
from imagepipe.events import Warned
from imagepipe.model.copying import Copying
from imagepipe.model.digest import Digest
from imagepipe.model.host import Target
from imagepipe.model.ledger import Entry
from imagepipe.model.promotion import GateVerdict, PromotionPlan, TargetPlan, Terms
from imagepipe.model.reference import Pinned, Reference, Repository
from imagepipe.promote.copying import copy_gates
from imagepipe.promote.gates import evaluate, hold_gate
from imagepipe.promote.ledger import Ledger
from imagepipe.promote.ports import World
from imagepipe.subject import Subject, find_subject

__all__ = ["holdings", "make_plan", "observe"]

_USUAL: Final = Terms()
# What the registry is asked about each target, for many targets at once.
_JOBS: Final = 8


def make_plan(
    requested: str,
    reference: Reference,
    targets: Sequence[Target],
    world: World,
    *,
    terms: Terms = _USUAL,
    name: Reference | None = None,
) -> PromotionPlan:
    """Returns what promotion would do, with every gate's verdict.

    Args:
        requested: What the user typed, for the record.
        reference: The image, by tag or digest; a tag is resolved here and never again.
        targets: Where it should go.
        world: What is asked.
        terms: What else the operator says.
        name: What it is copied to first, and promoted as; its gates are asked where it is now.

    Raises:
        NotFoundError: There is no such image.
        UnsupportedError: An index without linux/amd64, or a name in another registry.
        InputError: The name cannot be a copy's.
    """
    world = replace(world, reader=world.reader.remembering())  # several gates look at the same evidence
    subject = find_subject(reference, world.source)
    copying = Copying(subject.image, name) if name else None
    image = copying.image if copying else subject.image
    gates = evaluate(subject.image, subject.manifest, subject.platform, targets, world, terms)
    asked = _Asked(image, subject, copying, Ledger(world), terms)
    outcomes = fanout.each(targets, lambda target: _plan_target(target, asked, world), jobs=_JOBS)
    found = [outcome.unwrap() for outcome in outcomes]
    gates += tuple(copy_gates(copying, subject.platform, targets, world)) if copying else ()
    gates += tuple(gate for _, gate in found)
    return PromotionPlan(requested, image, tuple(plan for plan, _ in found), gates, copying)


def observe(plan: PromotionPlan, world: World, *, jobs: int) -> PromotionPlan:
    """Returns the plan with what each target holds of the repository now; one that is away is told and stays unknown.

    Only to be asked once the gates let the plan pass: no host is touched before.
    """
    held = holdings([one.target for one in plan.targets], plan.image.repository, world, jobs=jobs)
    return replace(plan, targets=tuple(replace(one, previous=held.get(one.target.name)) for one in plan.targets))


def holdings(
    targets: Sequence[Target], repository: Repository, world: World, *, jobs: int
) -> dict[str, tuple[Digest, ...]]:
    """Returns the digests of a repository that targets hold, by target; those that are away are left out and told."""
    outcomes = fanout.each(targets, lambda target: world.connect(target).host.held(repository), jobs=jobs)
    for outcome in outcomes:
        if outcome.error is not None:
            world.events(Warned(outcome.item.name, f"what it holds is not known: {outcome.error.message}"))
    return {outcome.item.name: outcome.unwrap() for outcome in outcomes if outcome.error is None}


@dataclass(frozen=True, slots=True)
class _Asked:
    """What every target's part of a plan is made from."""

    image: Pinned
    subject: Subject
    copying: Copying | None
    ledger: Ledger
    terms: Terms


def _plan_target(target: Target, asked: _Asked, world: World) -> tuple[TargetPlan, GateVerdict]:
    """Returns what is to be done on a target, and whether what was rolled back from there lets it."""
    ledger, image, subject = asked.ledger, asked.image, asked.subject
    digests = (subject.image.digest, subject.platform.digest)
    newest = _newest(image.repository, target, digests, ledger, asked.terms.near)
    if told := ledger.doubt(image.repository, target):
        world.events(Warned(target.name, f"{told}; what is held back there may not be known"))
    current = ledger.current(image.repository, target, newest)
    held = [*(newest.link.holds if newest else ()), *world.held_back(image.repository, target.name)]
    if asked.copying is not None:
        before = _newest(subject.image.repository, target, digests, ledger)
        held += before.link.holds if before else ()
        held += world.held_back(subject.image.repository, target.name)
    platform = image.repository.pin(subject.platform.digest)
    plan = TargetPlan(
        target,
        platform,
        None if target.kind.pulls_by_digest else platform.carrier,
        current=current.image if current else None,
        newest=newest.record if newest else None,
    )
    return plan, hold_gate(target, held, digests, release=asked.terms.release_hold)


def _newest(
    repository: Repository, target: Target, digests: Sequence[Digest], ledger: Ledger, near: Sequence[Digest] = ()
) -> Entry | None:
    """Returns the newest record of a target, also where that is a rollback from this image and its tag was set back.

    Such a record is at the image that the target went back to, which is one that it was at before.
    """
    newest = ledger.newest(repository, target, near=(*digests, *near))
    if newest is None or newest.image not in digests:
        return newest
    return ledger.newest(repository, target, near=(*digests, *near, *newest.before))
