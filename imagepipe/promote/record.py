"""Carries a whole plan out and writes the signed record of it, also when some targets failed.

>>> from imagepipe.promote.record import Promotion
>>> Promotion.__name__
'Promotion'
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from imagepipe import fanout
from imagepipe.errors import GateError, ImagepipeError, StalePlanError
from imagepipe.events import step
from imagepipe.model.digest import Digest
from imagepipe.model.evidence import PROMOTION_PREDICATE, Signatory, Statement
from imagepipe.model.ledger import RecordKind
from imagepipe.model.lock import Held
from imagepipe.model.manifest import Descriptor
from imagepipe.model.promotion import PromotionPlan, PromotionRecord, TargetPlan, TargetResult
from imagepipe.model.reference import Reference
from imagepipe.promote.copying import copy
from imagepipe.promote.execute import promote_to
from imagepipe.promote.linking import Linker
from imagepipe.promote.plan import find_subject
from imagepipe.promote.ports import World

__all__ = ["Promotion", "apply", "check_gates"]

# Each takes a second or two: who is overtaken so often has company that no retry outlasts.
_RECORDS_AT_MOST: Final = 4


@dataclass(frozen=True, slots=True)
class Promotion:
    """What a plan came to.

    Attributes:
        plan: What was carried out.
        targets: One result per target, in the plan's order.
        record: The manifest digest of the signed record, or None when it could not be attached.
        record_error: Why it could not.
    """

    plan: PromotionPlan
    targets: tuple[TargetResult, ...]
    record: Digest | None
    record_error: ImagepipeError | None = None

    @property
    def failed(self) -> tuple[TargetResult, ...]:
        """The targets that do not hold the image."""
        return tuple(result for result in self.targets if not result.arrival.good)


def check_gates(plan: PromotionPlan, *, later: bool = False) -> None:
    """Returns when every gate passed.

    Args:
        plan: What was asked about.
        later: The plan is only to be saved or approved: what waits for time or for people may still say no.

    Raises:
        GateError: At least one gate said no; the message holds each reason.
    """
    refused = [gate for gate in plan.refused if not (later and gate.waits)]
    if refused:
        reasons = "; ".join(f"{gate.gate}: {gate.reason}" for gate in refused)
        raise GateError(f"promote {plan.image}: refused: {reasons}", hint=refused[0].hint)


def apply(
    plan: PromotionPlan,
    world: World,
    *,
    reason: str = "",
    jobs: int = 8,
    kind: RecordKind = RecordKind.PROMOTION,
    still: Callable[[], None] | None = None,
) -> Promotion:
    """Carries the plan out on all targets at once and attaches one signed record, linked to each target's last one.

    Args:
        plan: What to do.
        world: What is asked.
        reason: Why, for the record.
        jobs: Targets at once.
        kind: A promotion or a rollback.
        still: Raises when the plan no longer holds once the targets are ours: somebody else may just have been there.

    Raises:
        GateError: A gate said no; no host was touched.
        IdentityError: There is nobody to sign the record; no host was touched.
        StalePlanError: The image behind the plan is gone or another, or what `still` raises.
        UnavailableError: Another promotion is at one of the targets; no host was touched.
    """
    check_gates(plan)
    with world.exclusive([one.target for one in plan.targets]) as held:
        if still is not None:
            still()
        return _apply(plan, world, _Order(reason, jobs, kind, held))


@dataclass(frozen=True, slots=True)
class _Order:
    reason: str
    jobs: int
    kind: RecordKind
    held: Held


def _apply(plan: PromotionPlan, world: World, order: _Order) -> Promotion:
    subject = find_subject(Reference(plan.source.repository, digest=plan.source.digest), world)
    if any(target.image.digest != subject.platform.digest for target in plan.targets):
        raise StalePlanError(f"the plan for {plan.image} no longer matches the registry", hint="make a new plan")
    signatory = world.writer.signatory()  # a promotion that could not be put on record is not begun
    if plan.copying is not None:
        copy(plan.copying, world)
    started = world.clock.now()
    hosts = _by_host(plan.targets)
    failed = order.held.failed
    outcomes = fanout.each(
        hosts,
        lambda group: [promote_to(one, subject.platform, world, failure=failed.get(one.target.host)) for one in group],
        jobs=order.jobs,
    )
    results = {result.target: result for outcome in outcomes for result in outcome.unwrap()}
    targets = tuple(results[one.target.name] for one in plan.targets)
    record = PromotionRecord(
        image=plan.image,
        plan=plan.digest,
        reason=order.reason,
        started_at=_stamp(started),
        finished_at=_stamp(world.clock.now()),
        gates=plan.gates,
        targets=targets,
        kind=order.kind,
        copying=plan.copying,
        broken_locks=order.held.broken,
    )
    try:
        with step(world.events, "record", str(plan.image)) as note:
            attached = _put_on_record(plan, record, subject.manifest.descriptor, signatory, world, order.jobs)
            note.detail = str(attached)
    except ImagepipeError as error:
        # The hosts hold the image already: the caller must hear both what was done and that it is not on record.
        return Promotion(plan, targets, None, error.doing(f"attach the promotion record to {plan.image}"))
    return Promotion(plan, targets, attached)


def _put_on_record(
    plan: PromotionPlan, record: PromotionRecord, subject: Descriptor, signatory: Signatory, world: World, jobs: int
) -> Digest:
    """Returns the record that says what was done, at the end of each target's chain."""
    linker = Linker(plan, record, signatory, world, jobs=jobs)
    attached = linker.existing()
    made: list[Digest] = []
    while attached is None:
        statement = Statement.about(plan.image, PROMOTION_PREDICATE, linker.linked().to_predicate())
        made.append(world.writer.add(plan.image, subject, statement).manifest)
        if len(made) < _RECORDS_AT_MOST and linker.overtaken():
            linker = Linker(plan, record, signatory, world, jobs=jobs, without=made)
        else:
            attached = made[-1]
    linker.point_at(attached)
    return attached


def _by_host(targets: tuple[TargetPlan, ...]) -> list[list[TargetPlan]]:
    """Groups targets that are one host, so that a VCH has one pull at a time: it stages layers in memory.

    Source: VIC v1.5.8 lib/imagec (layers staged in the endpoint VM's /tmp), vmware/vic#8167.
    """
    groups: dict[str, list[TargetPlan]] = {}
    for plan in targets:
        groups.setdefault(plan.target.host, []).append(plan)
    return list(groups.values())


def _stamp(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
