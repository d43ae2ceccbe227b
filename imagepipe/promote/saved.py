"""A plan in a file: written once, agreed to, and carried out only while the world is still as it says.

>>> from imagepipe.promote.saved import SavedPlan
>>> SavedPlan.__name__
'SavedPlan'
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from imagepipe.errors import ImagepipeError, InputError, NotFoundError, StalePlanError
from imagepipe.model.approval import Request
from imagepipe.model.copying import Copying
from imagepipe.model.digest import Digest
from imagepipe.model.evidence import PublicKey, TrustPolicy
from imagepipe.model.host import Target, TargetKind
from imagepipe.model.promotion import GateVerdict, PromotionPlan, TargetPlan, Terms
from imagepipe.model.reference import Pinned, Reference
from imagepipe.promote.ledger import Ledger
from imagepipe.promote.plan import make_plan, observe
from imagepipe.promote.ports import World
from imagepipe.promote.record import check_gates

__all__ = ["MAX_AGE_H", "SCHEMA", "SavedPlan", "check_ledger", "refresh", "review"]

SCHEMA: Final = "imagepipe.promotion-plan/v1"
# A working day and the night after it: long enough to have it approved, too short to be forgotten.
MAX_AGE_H: Final = 24.0
_TIME: Final = "%Y-%m-%dT%H:%M:%SZ"
# Clocks of two machines may differ so much before a plan is said to come from the future.
_SKEW: Final = timedelta(minutes=5)
_USUAL: Final = Terms()
# What makes it the same target, wherever it is looked at from.
_PLACE: Final = ("kind", "host", "policy")


@dataclass(frozen=True, slots=True)
class SavedPlan:
    """A plan with what else it depends on. Law: `SavedPlan.parse(saved.text()) == saved`.

    Attributes:
        plan: What would be done, with what every target holds and the newest record of each.
        created: When it was made, in UTC, whole seconds.
        policies: A digest of every policy that was asked, by name.
        reason: Why, for the record.
        terms: What else the operator said.
        made_by: Whose hand made it, where a policy wants it approved by others; else "".
    """

    plan: PromotionPlan
    created: datetime
    policies: Mapping[str, Digest]
    reason: str = ""
    terms: Terms = _USUAL
    made_by: str = ""

    @classmethod
    def of(cls, plan: PromotionPlan, world: World, *, reason: str = "", terms: Terms = _USUAL) -> "SavedPlan":
        """Returns the plan as it can be written down now, without the hints of gates that wait.

        Raises:
            IdentityError: Others must approve it, and it cannot be told who made it.
        """
        created = world.clock.now().replace(microsecond=0)
        plan = replace(plan, gates=tuple(replace(gate, hint=None) for gate in plan.gates))
        return cls(plan, created, fingerprints(plan, world), reason, terms, _our_hand(plan, world) or "")

    @classmethod
    def parse(cls, text: str) -> "SavedPlan":
        """Returns the plan that a file holds.

        Raises:
            InputError: It is no plan, or was changed since it was written.
        """
        try:
            data = json.loads(text)
            schema = str(data["schema"])
            saved = cls(
                plan=_plan(data),
                created=datetime.strptime(data["created"], _TIME).replace(tzinfo=UTC),
                policies={str(name): Digest.parse(digest) for name, digest in data["policies"].items()},
                reason=str(data["reason"]),
                terms=Terms(bool(data["release_hold"]), override_freeze=bool(data["override_freeze"])),
                made_by=str(data.get("made_by", "")),
            )
        except (KeyError, TypeError, ValueError, AttributeError, ImagepipeError) as error:
            raise InputError(f"not a promotion plan: {error}", hint="make one with `imagepipe promote … -o`") from error
        if schema != SCHEMA:
            raise InputError(f"not a promotion plan but {schema[:80]!r}", hint="give a file that -o wrote")
        if data.get("digest") != str(saved.plan.digest) or data.get("seal") != str(saved.seal):
            raise InputError("the plan was changed after it was written", hint="make a new one with -o")
        return saved

    @property
    def seal(self) -> Digest:
        """A digest over everything in the file, so that a change by hand shows; who made it is not proven by that."""
        return Digest.of(json.dumps(self._body(), sort_keys=True).encode())

    def to_json(self) -> dict[str, Any]:
        """Returns `imagepipe.promotion-plan/v1`."""
        return {"schema": SCHEMA, "digest": str(self.plan.digest), "seal": str(self.seal), **self._body()}

    def request(self, carried_out_by: str | None = None) -> Request:
        """Returns the plan as approvals know it."""
        return Request(self.seal, self.made_by, carried_out_by)

    def text(self) -> str:
        """Returns what goes into the file."""
        return json.dumps(self.to_json(), indent=2) + "\n"

    def _body(self) -> dict[str, Any]:
        return {
            "created": self.created.strftime(_TIME),
            "requested": self.plan.requested,
            "image": str(self.plan.image),
            "reason": self.reason,
            "made_by": self.made_by,
            "release_hold": self.terms.release_hold,
            "override_freeze": self.terms.override_freeze,
            "policies": {name: str(digest) for name, digest in self.policies.items()},
            "targets": [_target_json(one) for one in self.plan.targets],
            "gates": [gate.to_json() for gate in self.plan.gates],
            **({"copy": self.plan.copying.to_json()} if self.plan.copying else {}),
        }


def refresh(
    saved: SavedPlan, reference: Reference, targets: Mapping[str, Target], world: World, *, max_age_h: float = MAX_AGE_H
) -> PromotionPlan:
    """Returns the plan as it would be made now, once it is proven to be the saved one.

    Args:
        saved: The plan from the file.
        reference: What it was made for, a tag as a tag.
        targets: The configured targets by name.
        world: What is asked.
        max_age_h: How old it may be, in hours.

    Raises:
        StalePlanError: The message says everything that moved on.
        GateError: A gate says no, as it did when the plan was saved; no host was touched.
    """
    _check_standing(saved, targets, world, (*_PLACE, "cert_path"), max_age_h)
    plan = _again(saved, reference, targets, world, _our_hand(saved.plan, world))
    check_gates(plan)
    plan = observe(plan, world, jobs=len(plan.targets))
    _refuse(saved, _moved_holdings(saved.plan, plan))
    return plan


def review(
    saved: SavedPlan, reference: Reference, targets: Mapping[str, Target], world: World, *, max_age_h: float = MAX_AGE_H
) -> PromotionPlan:
    """Returns the plan as it would be made now, as far as somebody can tell who does not carry it out.

    No host is touched, and where somebody keeps the certificates for one does not matter. Else as `refresh`.

    Raises:
        StalePlanError: The message says everything that moved on.
        GateError: A gate says no for good; what only waits may.
    """
    _check_standing(saved, targets, world, _PLACE, max_age_h)
    plan = _again(saved, reference, targets, world, None)
    check_gates(plan, later=True)
    return plan


def check_ledger(saved: SavedPlan, world: World) -> None:
    """Returns when no target was brought elsewhere; cheap enough to ask again once the targets are locked.

    Raises:
        StalePlanError: The message says which were, and where to.
    """
    plan, ledger = saved.plan, Ledger(world)
    targets = []
    for one in plan.targets:
        newest = ledger.newest(plan.image.repository, one.target, near=(plan.image.digest, one.image.digest))
        current = ledger.current(plan.image.repository, one.target, newest)
        targets.append(replace(one, current=current.image if current else None, previous=None))
    _refuse(saved, _moved_holdings(plan, replace(plan, targets=tuple(targets))))


def _check_standing(
    saved: SavedPlan, targets: Mapping[str, Target], world: World, keys: Sequence[str], max_age_h: float
) -> None:
    _refuse(saved, [*_age(saved, world.clock.now(), max_age_h), *_moved_targets(saved.plan, targets, keys)])


def _again(
    saved: SavedPlan, reference: Reference, targets: Mapping[str, Target], world: World, carried_out_by: str | None
) -> PromotionPlan:
    chosen = [targets[one.target.name] for one in saved.plan.targets]
    terms = replace(saved.terms, request=saved.request(carried_out_by))
    try:
        name = saved.plan.copying.name if saved.plan.copying else None
        plan = make_plan(saved.plan.requested, reference, chosen, world, terms=terms, name=name)
    except NotFoundError as error:
        raise _stale(saved, [error.message]) from error
    _refuse(saved, _moved(saved, plan, world))
    _refuse(saved, _moved_holdings(saved.plan, plan))
    return plan


def _our_hand(plan: PromotionPlan, world: World) -> str | None:
    """Returns our own hand where approvals are wanted, which must be another's; None where nobody needs to know."""
    policies = (world.policies.get(one.target.policy or "") for one in plan.targets)
    wanted = any(policy is not None and policy.approvals for policy in policies)
    return world.writer.signatory().hand if wanted else None


def fingerprints(plan: PromotionPlan, world: World) -> dict[str, Digest]:
    """Returns a digest of each policy that guards one of the plan's targets."""
    names = dict.fromkeys(one.target.policy for one in plan.targets if one.target.policy)
    return {name: _fingerprint(world.policies[name]) for name in names}


def _fingerprint(policy: TrustPolicy) -> Digest:
    signers = [f"{one} {one.pem.decode()}" if isinstance(one, PublicKey) else str(one) for one in policy.signed_by]
    body = {**asdict(replace(policy, name="", signed_by=())), "signed_by": sorted(signers)}
    return Digest.of(json.dumps(body, sort_keys=True, default=str).encode())


def _age(saved: SavedPlan, now: datetime, max_age_h: float) -> Iterator[str]:
    age = now - saved.created
    if age > timedelta(hours=max_age_h):
        yield f"the plan is {age.total_seconds() / 3600:.1f} h old, at most {max_age_h:g} h are allowed"
    if age < -_SKEW:
        yield f"the plan is of {saved.created.strftime(_TIME)}, which is still to come"


def _moved_targets(plan: PromotionPlan, targets: Mapping[str, Target], keys: Sequence[str]) -> Iterator[str]:
    for before in (one.target for one in plan.targets):
        now = targets.get(before.name)
        if now is None:
            yield f"target {before.name} is no longer configured"
            continue
        for what in keys:
            was, is_now = getattr(before, what), getattr(now, what)
            if was != is_now:
                yield f"target {now.name}: {what} is now {is_now}, the plan says {was}"


def _moved(saved: SavedPlan, plan: PromotionPlan, world: World) -> Iterator[str]:
    if plan.image != saved.plan.image:
        yield f"{saved.plan.requested} is now {plan.image.digest}, the plan says {saved.plan.image.digest}"
    current = fingerprints(plan, world)
    yield from (f"policy {name} was changed" for name in current if current[name] != saved.policies.get(name))
    verdicts, old = ({gate.gate: gate for gate in one.gates} for one in (plan, saved.plan))
    for name in dict.fromkeys([*old, *verdicts]):
        is_now, was_then = verdicts.get(name), old.get(name)
        if is_now is None or was_then is None:
            yield f"gate {name} is {'no longer' if is_now is None else 'newly'} asked"
        elif is_now.passed != was_then.passed and not (is_now.passed and was_then.waits):
            yield f"gate {name} now says {'yes' if is_now.passed else 'no'}: {is_now.reason}"


def _moved_holdings(saved: PromotionPlan, plan: PromotionPlan) -> Iterator[str]:
    for before, now in zip(saved.targets, plan.targets, strict=True):
        yield from _moved_on(before, now, plan.image.digest)


def _moved_on(before: TargetPlan, now: TargetPlan, image: Digest) -> Iterator[str]:
    """Yields how a target moved on; what this very plan did already, when it was only half carried out, is not that."""
    if now.current not in (before.current, image):
        was, is_now = before.current or "nothing on record", now.current or "nothing on record"
        yield f"target {now.target.name}: it was at {was}, and is now at {is_now}"
    if before.previous is None or now.previous is None:
        return
    came = set(now.previous) - set(before.previous) - {now.image.digest}
    went = set(before.previous) - set(now.previous)
    yield from (f"target {now.target.name}: it now holds {digest}" for digest in sorted(came))
    yield from (f"target {now.target.name}: it no longer holds {digest}" for digest in sorted(went))


def _refuse(saved: SavedPlan, moved: Iterable[str]) -> None:
    if found := list(moved):
        raise _stale(saved, found)


def _stale(saved: SavedPlan, moved: list[str]) -> StalePlanError:
    return StalePlanError(
        f"the plan {saved.plan.digest.short} for {saved.plan.image} no longer holds: {'; '.join(moved)}",
        hint="make a new plan with -o, and have it agreed to",
    )


def _plan(data: Mapping[str, Any]) -> PromotionPlan:
    image = Pinned.parse(data["image"])
    gates = tuple(
        GateVerdict(str(one["gate"]), one["passed"] is True, str(one["reason"]), waits=one.get("waits") is True)
        for one in data["gates"]
    )
    targets = tuple(_target(one) for one in data["targets"])
    copying = Copying.parse(data["copy"]) if "copy" in data else None
    return PromotionPlan(str(data["requested"]), image, targets, gates, copying)


def _target(data: Mapping[str, Any]) -> TargetPlan:
    target = Target(str(data["name"]), TargetKind(data["kind"]), str(data["host"]), data["cert_path"], data["policy"])
    previous = data["previous"]
    return TargetPlan(
        target,
        Pinned.parse(data["image"]),
        carrier=Reference.parse(data["carrier"]) if data["carrier"] else None,
        previous=None if previous is None else tuple(Digest.parse(one) for one in previous),
        current=Digest.parse(data["current"]) if data["current"] else None,
        newest=Digest.parse(data["newest"]) if data["newest"] else None,
    )


def _target_json(plan: TargetPlan) -> dict[str, Any]:
    return {
        "name": plan.target.name,
        "kind": plan.target.kind.value,
        "host": plan.target.host,
        "cert_path": plan.target.cert_path,
        "policy": plan.target.policy,
        "image": str(plan.image),
        "carrier": str(plan.carrier) if plan.carrier else None,
        "previous": None if plan.previous is None else [str(digest) for digest in plan.previous],
        "current": str(plan.current) if plan.current else None,
        "newest": str(plan.newest) if plan.newest else None,
    }
