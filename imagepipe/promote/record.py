"""Carries whole plans out and writes the signed record of each, also when some targets failed.

>>> from imagepipe.promote.record import Promotion
>>> Promotion.__name__
'Promotion'
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime

from imagepipe import fanout
from imagepipe.errors import GateError, ImagepipeError, StalePlanError
from imagepipe.events import step
from imagepipe.fanout import begin, begin_each
from imagepipe.model.digest import Digest
from imagepipe.model.evidence import PROMOTION_PREDICATE, Signatory, Statement
from imagepipe.model.host import HostInfo, Target
from imagepipe.model.ledger import RecordKind
from imagepipe.model.lock import Held
from imagepipe.model.manifest import Descriptor
from imagepipe.model.promotion import PromotionPlan, PromotionRecord, TargetPlan, TargetResult
from imagepipe.model.reference import Reference
from imagepipe.promote.activate import Results, activate
from imagepipe.promote.bundle import deliver
from imagepipe.promote.copying import copy
from imagepipe.promote.execute import Item
from imagepipe.promote.ledger import Ledger
from imagepipe.promote.linking import Linker, look_ahead, put
from imagepipe.promote.ports import World
from imagepipe.subject import Subject, find_subject

__all__ = ["Promotion", "apply", "apply_all", "check_gates", "stamp"]


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


def check_gates(*plans: PromotionPlan, later: bool = False) -> None:
    """Returns when every gate of every plan passed.

    Args:
        plans: What was asked about.
        later: They are only to be saved or approved: what waits for time or for people may still say no.

    Raises:
        GateError: At least one gate said no; the message holds each reason.
    """
    refused = {plan: gates for plan in plans if (gates := [one for one in plan.refused if not (later and one.waits)])}
    if refused:
        told = [
            f"promote {plan.image}: refused: {'; '.join(f'{gate.gate}: {gate.reason}' for gate in gates)}"
            for plan, gates in refused.items()
        ]
        raise GateError("; ".join(told), hint=next(iter(refused.values()))[0].hint)


def apply(
    plan: PromotionPlan,
    world: World,
    *,
    reason: str = "",
    jobs: int = 8,
    kind: RecordKind = RecordKind.PROMOTION,
    still: Callable[[], None] | None = None,
) -> Promotion:
    """Carries one plan out; see `apply_all`."""
    (done,) = apply_all([plan], world, reason=reason, jobs=jobs, kind=kind, still=still)
    return done


def apply_all(
    plans: Sequence[PromotionPlan],
    world: World,
    *,
    reason: str = "",
    jobs: int = 8,
    kind: RecordKind = RecordKind.PROMOTION,
    still: Callable[[], None] | None = None,
) -> tuple[Promotion, ...]:
    """Carries the plans out on all targets at once, and attaches one signed record to each image.

    Images that go to the same target are one bundle there: it holds all of them in the end, or counts as failed. Once
    all targets hold everything, the containers that the plans name are switched.
    Each record is linked to the last one of each target in its image's repository.

    Args:
        plans: What to do.
        world: What is asked.
        reason: Why, for the records.
        jobs: Targets at once.
        kind: A promotion or a rollback.
        still: Raises when the plans no longer hold once the targets are ours: somebody else may just have been there.

    Raises:
        GateError: A gate said no; no host was touched.
        IdentityError: There is nobody to sign the records; no host was touched.
        NotFoundError: The image behind a plan is gone.
        StalePlanError: It is another, or what `still` raises.
        UnavailableError: Another promotion is at one of the targets; no host was touched.
    """
    check_gates(*plans)
    targets = list(dict.fromkeys(one.target for plan in plans for one in plan.targets))
    # A VCH asks vCenter what it is, and makes a disk of the lock: neither waits for the other.
    told = begin_each(targets, lambda target: world.connect(target).host.info(), jobs=jobs)
    with world.exclusive(targets) as held:
        if still is not None:
            still()
        return _apply(plans, world, _Order(reason, jobs, kind, held, told))


@dataclass(frozen=True, slots=True)
class _Order:
    reason: str
    jobs: int
    kind: RecordKind
    held: Held
    told: Mapping[Target, Callable[[], HostInfo]]


@dataclass(frozen=True, slots=True)
class _Book:
    """What records are written with; where none are written, there are no ledgers.

    Attributes:
        signatory: By whom.
        jobs: Targets asked at once.
        ledgers: What waits for each plan's ledger.
        ready: Waits until signing would take no longer than it must.
    """

    signatory: Signatory
    jobs: int
    ledgers: Mapping[PromotionPlan, Callable[[], Ledger]]
    ready: Callable[[], None]

    @classmethod
    def opened(cls, plans: Sequence[PromotionPlan], signatory: Signatory, world: World, jobs: int) -> "_Book":
        """Begins to read the ledgers, and to get ready to sign, for which there is time while targets pull."""
        plans = () if world.keep is not None else plans
        ledgers = begin_each(plans, lambda plan: look_ahead(plan, signatory, world, jobs=jobs), jobs=1)
        # A plan that is on record already is hardly signed again.
        new = [plan for plan in plans if any(one.current != plan.image.digest for one in plan.targets)]
        return cls(signatory, jobs, ledgers, begin(lambda: _prepare(world)) if new else _nothing)


def _prepare(world: World) -> None:
    with suppress(ImagepipeError):  # what still fails when the record is signed is told then
        world.writer.prepare()


def _nothing() -> None:
    pass


def _apply(plans: Sequence[PromotionPlan], world: World, order: _Order) -> tuple[Promotion, ...]:
    subjects = [_subject(plan, world) for plan in plans]
    signatory = world.writer.signatory()  # a promotion that could not be put on record is not begun
    for plan in plans:
        if plan.copying is not None:
            copy(plan.copying, world)
    started = world.clock.now()
    loads, names = _loads(plans, subjects, _point_carriers(plans, subjects, world, order)), plans[0].activate
    book = _Book.opened(plans, signatory, world, order.jobs)
    results = _deliver(loads, names, world, order)
    if names:
        results = activate(loads, results, names, world)
    finished = world.clock.now()
    done = list[Promotion]()
    for plan, subject in zip(plans, subjects, strict=True):
        record = PromotionRecord(
            image=plan.image,
            plan=plan.digest,
            reason=order.reason,
            started_at=stamp(started),
            finished_at=stamp(finished),
            gates=plan.gates,
            targets=tuple(results[one.target.name, plan.image] for one in plan.targets),
            kind=order.kind,
            copying=plan.copying,
            broken_locks=order.held.broken,
            beside=plan.beside,
        )
        done.append(_recorded(plan, subject, record, book, world))
    return tuple(done)


def _subject(plan: PromotionPlan, world: World) -> Subject:
    # Who waited for a lock may have waited for long, and to put a tag on what was deleted meanwhile brings it back.
    subject = find_subject(Reference(plan.source.repository, digest=plan.source.digest), world.source)
    if any(target.image.digest != subject.platform.digest for target in plan.targets):
        raise StalePlanError(f"the plan for {plan.image} no longer matches the registry", hint="make a new plan")
    return subject


def _deliver(loads: Sequence[Sequence[Item]], names: Sequence[str], world: World, order: _Order) -> Results:
    def delivered(items: Sequence[Item]) -> tuple[TargetResult, ...]:
        return deliver(items, world, told=order.told[items[0].plan.target], activate=names)

    outcomes = fanout.each(_by_host(loads), lambda host: [delivered(items) for items in host], jobs=order.jobs)
    return {
        (item.plan.target.name, item.image): result
        for outcome in outcomes
        for items, found in zip(outcome.item, outcome.unwrap(), strict=True)
        for item, result in zip(items, found, strict=True)
    }


def _recorded(plan: PromotionPlan, subject: Subject, record: PromotionRecord, book: _Book, world: World) -> Promotion:
    try:
        if world.keep is not None:
            with step(world.events, "keep", str(plan.image)):
                world.keep(plan, record)
            return Promotion(plan, record.targets, None)
        with step(world.events, "record", str(plan.image)) as note:
            attached = _put_on_record(plan, record, subject.manifest.descriptor, book, world)
            note.detail = str(attached)
    except ImagepipeError as error:
        # The hosts hold the image already: the caller must hear both what was done and that it is not on record.
        return Promotion(plan, record.targets, None, error.doing(f"attach the promotion record to {plan.image}"))
    return Promotion(plan, record.targets, attached)


def _put_on_record(
    plan: PromotionPlan, record: PromotionRecord, subject: Descriptor, book: _Book, world: World
) -> Digest:
    """Returns the record that says what was done, at the end of each target's chain."""

    def link(ledger: Ledger) -> Linker:
        return Linker(plan, record, book.signatory, world, jobs=book.jobs, ledger=ledger)

    def again(without: Sequence[Digest]) -> Linker:
        return link(Ledger(world, also=(book.signatory,), without=without))

    def write(linker: Linker) -> Digest:
        book.ready()
        statement = Statement.about(plan.image, PROMOTION_PREDICATE, linker.linked().to_predicate())
        return world.writer.add(plan.image, subject, statement).manifest

    linker = link(book.ledgers[plan]())
    existing = linker.existing()
    if existing is None:
        return put(linker, again, write)
    linker.point_at(existing)
    return existing


def _point_carriers(
    plans: Sequence[PromotionPlan], subjects: Sequence[Subject], world: World, order: _Order
) -> dict[TargetPlan, ImagepipeError]:
    """Makes every carrier tag point at its image, and returns why some targets cannot be brought to theirs.

    All of them before anybody pulls: a registry that does not replace its files in one step answers 500 to who reads a
    manifest while a tag is put on it. Source: distribution v2.8.3, Harbor's own, registry/storage/driver/filesystem/
    driver.go PutContent; mended in v3.1.0.
    """
    held = {one: order.held.failed.get(one.target.host) for plan in plans for one in plan.targets}
    carriers = {
        one.carrier: subject.platform
        for plan, subject in zip(plans, subjects, strict=True)
        for one in plan.targets
        if one.carrier is not None and held[one] is None
    }

    def point(carrier: Reference) -> None:
        world.sink.tag(carrier.repository, carriers[carrier], str(carrier.tag))

    pointed = {outcome.item: outcome.error for outcome in fanout.each(carriers, point, jobs=order.jobs)}
    found = {one: error or (pointed.get(one.carrier) if one.carrier else None) for one, error in held.items()}
    return {one: error for one, error in found.items() if error is not None}


def _loads(
    plans: Sequence[PromotionPlan], subjects: Sequence[Subject], failures: Mapping[TargetPlan, ImagepipeError]
) -> list[list[Item]]:
    """Returns what goes to each target, in the order in which targets are first named."""
    loads: dict[str, list[Item]] = {}
    for plan, subject in zip(plans, subjects, strict=True):
        for one in plan.targets:
            item = Item(plan.image, one, subject.platform, failures.get(one))
            loads.setdefault(one.target.name, []).append(item)
    return list(loads.values())


def _by_host(loads: Sequence[Sequence[Item]]) -> list[list[Sequence[Item]]]:
    """Groups targets that are one host, so that a VCH has one pull at a time: it stages layers in memory.

    Source: VIC v1.5.8 lib/imagec (layers staged in the endpoint VM's /tmp), vmware/vic#8167.
    """
    hosts: dict[str, list[Sequence[Item]]] = {}
    for items in loads:
        hosts.setdefault(items[0].plan.target.host, []).append(items)
    return list(hosts.values())


def stamp(moment: datetime) -> str:
    """Returns a time as records tell it."""
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
