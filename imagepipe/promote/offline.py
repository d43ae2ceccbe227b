"""The way back while the registry is away: to what a target holds, by records that this machine has kept.

It is weaker than a rollback that asks the registry, and says in what: nothing newer than what was kept is known. So it
goes only to an image that a signed record, proven again, says the target held, that it still holds, that nothing known
here holds back or rejects, and whose evidence satisfies today's policy. Its own signed record waits in the outbox, and
is attached once the registry is back.

>>> from imagepipe.promote.offline import plan_offline
>>> plan_offline.__name__
'plan_offline'
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from imagepipe.errors import RefusedError
from imagepipe.events import EventSink, Warned
from imagepipe.model.activation import Switched
from imagepipe.model.digest import Digest
from imagepipe.model.evidence import PROMOTION_PREDICATE, REJECTION_PREDICATE, Statement, TrustPolicy
from imagepipe.model.host import PullReport, Target
from imagepipe.model.ledger import Hold, RecordKind
from imagepipe.model.promotion import GateVerdict, PromotionPlan, PromotionRecord, TargetPlan
from imagepipe.model.reference import Pinned, Reference, Repository
from imagepipe.promote.ledger import Ledger
from imagepipe.promote.outbox import Outbox, Waiting
from imagepipe.promote.ports import HostPorts, World
from imagepipe.promote.record import Promotion, apply_all, stamp
from imagepipe.promote.rollback import Way, plan_rollback
from imagepipe.subject import find_subject

__all__ = ["Offline", "OfflineRollback", "apply_offline", "plan_offline", "unverified"]


@dataclass(frozen=True, slots=True)
class Offline:
    """What such a rollback stands on.

    Attributes:
        world: As ever, but its registry is what this machine has kept of it.
        heard: When this machine last asked what is attached to an image; None: never.
        outbox: Where the record waits.
    """

    world: World
    heard: Callable[[Pinned], datetime | None]
    outbox: Outbox


@dataclass(frozen=True, slots=True)
class OfflineRollback:
    """What it came to.

    Attributes:
        promotion: One result per target; never a record.
        unverified: What was not checked.
        waiting: The record that waits; None where no target came back, or where it could not be kept.
    """

    promotion: Promotion
    unverified: tuple[str, ...]
    waiting: Waiting | None


def plan_offline(way: Way, targets: Sequence[Target], offline: Offline) -> tuple[PromotionPlan, ...]:
    """Returns one plan per digest that targets go back to; no host is touched.

    Raises:
        NotFoundError: Nothing is kept to go back to.
        RefusedError: What would have to be asked is not kept.
    """
    groups = dict[Way, list[Target]]()
    for target in targets:
        groups.setdefault(_again(way, target, offline), []).append(target)
    world = _unasked(offline.world)
    return tuple(_bounded(plan, offline) for own, group in groups.items() for plan in plan_rollback(own, group, world))


def unverified(plan: PromotionPlan, offline: Offline) -> tuple[str, ...]:
    """Returns what a plan made without the registry leaves unchecked; never empty."""
    return tuple(_gaps(plan, offline))


def apply_offline(
    plans: Sequence[PromotionPlan], offline: Offline, *, reason: str = "", jobs: int = 8
) -> tuple[OfflineRollback, ...]:
    """Proves on each target that it holds the image, and leaves the signed record in the outbox.

    Raises:
        GateError: A gate of any plan said no; no host was touched.
        IdentityError: There is nobody to sign the record; no host was touched.
        UnavailableError: Records cannot be kept here, or another promotion is at a target; no host was touched.
    """
    kept = dict[Digest, Waiting]()

    def keep(plan: PromotionPlan, record: PromotionRecord) -> None:
        waiting = _kept(plan, record, offline)
        if waiting is not None:
            kept[plan.digest] = waiting

    offline.outbox.ready()
    world = replace(offline.world, connect=lambda target: _without_pulls(offline.world, target), keep=keep)
    done = apply_all(plans, world, reason=reason, jobs=jobs, kind=RecordKind.ROLLBACK)
    return tuple(OfflineRollback(one, unverified(one.plan, offline), kept.get(one.plan.digest)) for one in done)


def _kept(plan: PromotionPlan, record: PromotionRecord, offline: Offline) -> Waiting | None:
    """Returns the record as it waits now, or the one that says it already; None where nothing came back."""
    good = [result for result in record.targets if result.arrival.good]
    if not good:
        return None
    said = [offline.outbox.newest(plan.image.repository, result.target) for result in good]
    still = all(one.outcome is Switched.RUNNING for result in good for one in result.activations)
    if still and said[0] and said[0].image == record.image and all(one == said[0] for one in said):
        return said[0]  # the same command again: nothing new happened
    left = {one.target.name: hold for one in plan.targets if (hold := _left(one, record, offline))}
    predicate = replace(record, unverified=unverified(plan, offline)).to_predicate()
    for told, one in zip(predicate["targets"], plan.targets, strict=True):
        told["known"] = str(one.newest) if one.newest else None
        told["left"] = _told(left[one.target.name]) if one.target.name in left else None
    bundle = offline.world.writer.seal(Statement.about(record.image, PROMOTION_PREDICATE, predicate))
    return offline.outbox.put(record, bundle, str(offline.world.writer.signatory()), left)


def _told(hold: Hold) -> dict[str, str]:
    return {"image": str(hold.image), "manifest": str(hold.manifest)}


def _left(one: TargetPlan, record: PromotionRecord, offline: Offline) -> Hold | None:
    """Returns what the target was at, to be held back from it, or None where that is nothing known, or the image."""
    if one.current is None or one.current == record.image.digest:
        return None
    repository = one.image.repository
    entry = Ledger(offline.world).current(
        repository, one.target, Ledger(offline.world).newest(repository, one.target, near=(one.current,))
    )
    if entry is not None and entry.image == one.current:
        manifest = entry.digest
    else:  # a record that waits brought it there, and that proved it by what is kept
        manifest = find_subject(Reference(repository, digest=one.current), offline.world.source).platform.digest
    by = str(offline.world.writer.signatory())
    return Hold(one.current, manifest, record.finished_at, by, record.reason)


def _again(way: Way, target: Target, offline: Offline) -> Way:
    """Returns the way of one target: where a record of it waits already, it went one step back, and stays there."""
    waiting = offline.outbox.newest(way.repository, target.name)
    if way.to is not None or waiting is None:
        return way
    message = f"rolled back to {waiting.image.digest} already, its record waits; --to goes further back"
    offline.world.events(Warned(target.name, message))
    return replace(way, leaving=None, to=waiting.image.digest)


def _unasked(world: World) -> World:
    """Returns the world without what only Harbor itself can answer: its scans, and what has a tag there now."""
    policies = {name: replace(one, max_severity=None) for name, one in world.policies.items()}
    return replace(world, policies=policies, tags=_no_tags)


def _no_tags(repository: Repository) -> Sequence[str]:  # noqa: ARG001 - the port's
    return ()


def _bounded(plan: PromotionPlan, offline: Offline) -> PromotionPlan:
    """Returns the plan without anything to pull, and with what else must hold when the registry is not asked."""
    targets, gates = list[TargetPlan](), list(plan.gates)
    for one in plan.targets:
        waiting = offline.outbox.newest(plan.image.repository, one.target.name)
        targets.append(replace(one, carrier=None, current=waiting.image.digest if waiting else one.current))
        gates.append(_held_gate(plan.image, one.target, offline.world))
    policies = dict.fromkeys(offline.world.policies[one.target.policy or ""] for one in plan.targets)
    images = dict.fromkeys((plan.image, *(one.image for one in plan.targets)))
    gates += [_unread_gate(image, policy, offline.world) for policy in policies for image in images]
    return replace(plan, targets=tuple(targets), gates=tuple(gates))


def _held_gate(image: Pinned, target: Target, world: World) -> GateVerdict:
    """Returns yes where a proven record says that the image arrived: a VCH's own word for a digest is not enough.

    It may know the layers of one image by the digest of another, where the tag moved while it pulled. A record says
    that this was ruled out, and no VCH gives a digest that it knows to another image.
    Source: VIC v1.5.8 lib/imagec/imagec.go:622-667, lib/apiservers/engine/backends/cache/repo_cache.go:204-209
    """
    chain = Ledger(world).chain(image.repository, target, near=[image.digest])
    proof = next((one for one in reversed(chain.entries) if one.good and image.digest in (one.image, one.digest)), None)
    if proof is not None:
        told = f"by the record of {proof.finished_at} by {proof.signed_by}: {proof.record}"
        return GateVerdict(f"held before ({target.name})", passed=True, reason=told)
    return GateVerdict(
        f"held before ({target.name})",
        passed=False,
        reason="no record that was kept proves that it was there",
        hint="wait for the registry, or go back to an image that this target was brought to before",
    )


def _unread_gate(image: Pinned, policy: TrustPolicy, world: World) -> GateVerdict:
    """Returns no where something is listed as a rejection that cannot be read here: it may be a true one."""
    findings = world.reader.findings(image, policy.signed_by, (REJECTION_PREDICATE,))
    unread = next((one for one in findings if one.unread), None)
    return GateVerdict(
        f"rejections kept ({policy.name})",
        passed=unread is None,
        reason=f"it may be rejected, which cannot be read here: {unread.refusal}" if unread else "all could be read",
        hint="go back to another image with --to, or wait for the registry" if unread else None,
    )


def _gaps(plan: PromotionPlan, offline: Offline) -> Iterator[str]:
    heard = offline.heard(plan.image)
    since = f"since {stamp(heard)}" if heard else "at any time"
    yield f"the registry was not asked: what was rejected, held, promoted or signed {since} is not known"
    for one in plan.targets:
        policy = offline.world.policies[one.target.policy or ""]
        if policy.max_severity is not None:
            yield f"{one.target.name}: Harbor's scan, which policy {policy.name} wants, was not asked for"
        yield f"{one.target.name}: nothing was pulled: its own word and a container made there prove that it holds it"


def _without_pulls(world: World, target: Target) -> HostPorts:
    return replace(world.connect(target), puller=_NoPuller())


class _NoPuller:
    """Keeps the port `ImagePuller` where there is nothing to pull from."""

    def pull(self, image: Reference, sink: EventSink) -> PullReport:  # noqa: ARG002 - the port's
        """Refuses.

        Raises:
            RefusedError: Always.
        """
        raise RefusedError(
            f"it does not hold {image}, and the registry is away",
            hint="go back to what it holds with --to (`imagepipe status` tells), or wait for the registry",
        )
