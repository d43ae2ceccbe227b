"""Several images promoted as one: a target takes all of them, or counts as failed for all of them.

>>> from imagepipe.promote.bundle import make_plans
>>> make_plans.__name__
'make_plans'
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final

from imagepipe.errors import ImagepipeError, UsageError
from imagepipe.events import Warned
from imagepipe.model.host import HostInfo, Target
from imagepipe.model.promotion import Arrival, PromotionPlan, TargetResult, Terms
from imagepipe.model.reference import Pinned, Reference
from imagepipe.promote.activate import choices
from imagepipe.promote.execute import Item, failed, promote_to
from imagepipe.promote.plan import make_plan
from imagepipe.promote.ports import World

__all__ = ["bundled", "deliver", "make_plans"]

_USUAL: Final = Terms()


def make_plans(
    asked: Sequence[tuple[str, Reference]],
    targets: Sequence[Target],
    world: World,
    *,
    terms: Terms = _USUAL,
    name: Reference | None = None,
    activate: Sequence[str] = (),
) -> tuple[PromotionPlan, ...]:
    """Returns one plan per image, each naming the others; every gate of every image is asked, and no host is touched.

    Args:
        asked: What the user typed, with what it means; two names of one image are one image.
        targets: Where all of them should go.
        world: What is asked.
        terms: What else the operator says.
        name: What a single image is copied to first, and promoted as.
        activate: The containers on each target that are to run one of the images in the end.

    Raises:
        NotFoundError: There is no such image.
        UnsupportedError: An index without linux/amd64, or a name in another registry.
        UsageError: Two images of one repository.
    """
    plans = dict[Pinned, PromotionPlan]()
    for requested, reference in asked:
        plan = make_plan(requested, reference, targets, world, terms=terms, name=name)
        other = next((one for one in plans.values() if one.image.repository == plan.image.repository), None)
        if other is not None and other.image != plan.image:
            raise UsageError(
                f"{other.requested} and {requested} are two images of {plan.image.repository}: "
                f"{other.image.digest} and {plan.image.digest}",
                hint="name one of them: a target is brought to one image of a repository",
            )
        if other is not None:
            world.events(Warned(requested, f"the same image as {other.requested}; it is promoted once"))
            continue
        plans[plan.image] = plan
    return bundled(tuple(plans.values()), activate=activate)


def bundled(plans: Sequence[PromotionPlan], *, activate: Sequence[str] = ()) -> tuple[PromotionPlan, ...]:
    """Returns the plans, each naming the images of the others, and the containers that one of the images is for."""
    images = [plan.image for plan in plans]
    names = tuple(dict.fromkeys(activate))
    return tuple(
        replace(plan, beside=tuple(image for image in images if image != plan.image), activate=names) for plan in plans
    )


def deliver(
    items: Sequence[Item],
    world: World,
    *,
    told: Callable[[], HostInfo],
    activate: Sequence[str] = (),
) -> tuple[TargetResult, ...]:
    """Makes one target hold all images of a bundle, one after another; once one fails, nothing more is tried there.

    Args:
        items: What goes there.
        world: What promotion talks to.
        told: Waits for what the target says that it is.
        activate: Containers that must be there to be switched later on: better told before anything is pulled.

    Returns:
        One result per image. When one failed, all did, and the others name it as the cause.
    """
    target = items[0].plan.target
    try:
        if activate and items[0].failure is None:
            choices(items, activate, world.connect(target))
    except ImagepipeError as error:
        why = error.doing(f"activate {', '.join(activate)} on {target.name}")
        return tuple(failed(item.plan, why, proof={}, duration_s=0.0) for item in items)
    results = list[TargetResult]()
    for item in items:
        results.append(promote_to(item, world, told=told))
        if not results[-1].arrival.good:
            return _failed_together(items, results)
    return tuple(results)


def _failed_together(items: Sequence[Item], results: Sequence[TargetResult]) -> tuple[TargetResult, ...]:
    *arrived, cause_of_all = results
    at_fault = items[len(arrived)].image
    untried = [
        TargetResult(item.plan.target.name, item.plan.target.kind, Arrival.FAILED, item.plan.image.digest)
        for item in items[len(results) :]
    ]

    def spoilt(result: TargetResult) -> TargetResult:
        return replace(
            result,
            arrival=Arrival.FAILED,
            error=f"left out with its bundle: {cause_of_all.error}",
            error_kind=cause_of_all.error_kind,
            hint=cause_of_all.hint,
            exit_code=cause_of_all.exit_code,
            cause=cause_of_all.cause,
            left_out_for=at_fault,
        )

    return (*map(spoilt, arrived), cause_of_all, *map(spoilt, untried))
