"""Makes the plan: the tag is resolved once, every gate is asked, and no host is touched.

>>> make_plan.__name__
'make_plan'
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from imagepipe import fanout
from imagepipe.events import Warned
from imagepipe.model.copying import Copying
from imagepipe.model.digest import Digest
from imagepipe.model.host import Target
from imagepipe.model.promotion import PromotionPlan, TargetPlan, Terms
from imagepipe.model.reference import Pinned, Reference, Repository
from imagepipe.promote.copying import copy_gates
from imagepipe.promote.gates import evaluate, hold_gate
from imagepipe.promote.ledger import Ledger
from imagepipe.promote.ports import World
from imagepipe.subject import find_subject

__all__ = ["holdings", "make_plan", "observe"]

_USUAL: Final = Terms()


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
    ledger, digests = Ledger(world), (subject.image.digest, subject.platform.digest)
    plans, holds = list[TargetPlan](), list(copy_gates(copying, subject.platform, targets, world) if copying else ())
    for target in targets:
        newest = ledger.newest(image.repository, target, near=digests)
        current = ledger.current(image.repository, target, newest)
        held = [*(newest.link.holds if newest else ()), *world.held_back(image.repository, target.name)]
        if copying is not None:
            before = ledger.newest(subject.image.repository, target, near=digests)
            held += before.link.holds if before else ()
            held += world.held_back(subject.image.repository, target.name)
        holds.append(hold_gate(target, held, digests, release=terms.release_hold))
        plan = _plan_target(target, image.repository.pin(subject.platform.digest))
        plans.append(
            replace(plan, current=current.image if current else None, newest=newest.record if newest else None)
        )
    return PromotionPlan(requested, image, tuple(plans), (*gates, *holds), copying)


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


def _plan_target(target: Target, image: Pinned) -> TargetPlan:
    return TargetPlan(target, image, None if target.kind.pulls_by_digest else image.carrier)
