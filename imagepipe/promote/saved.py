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
from imagepipe.model.digest import Digest
from imagepipe.model.evidence import PublicKey, TrustPolicy
from imagepipe.model.host import Target
from imagepipe.model.promotion import PromotionPlan, TargetPlan, Terms, digest_of
from imagepipe.model.received import json_in
from imagepipe.model.reference import Reference
from imagepipe.promote.bundle import bundled
from imagepipe.promote.ledger import Ledger
from imagepipe.promote.plan import make_plan, observe
from imagepipe.promote.planfile import plan_json, plan_of
from imagepipe.promote.ports import World
from imagepipe.promote.record import check_gates

__all__ = ["BUNDLE_SCHEMA", "MAX_AGE_H", "SCHEMA", "SavedPlan", "check_ledger", "refresh", "review"]

SCHEMA: Final = "imagepipe.promotion-plan/v1"
BUNDLE_SCHEMA: Final = "imagepipe.bundle-plan/v1"
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
        plans: What would be done, one per image, with what every target holds and the newest record of each.
        created: When it was made, in UTC, whole seconds.
        policies: A digest of every policy that was asked, by name.
        reason: Why, for the record.
        terms: What else the operator said.
        made_by: Whose hand made it, where a policy wants it approved by others; else "".
    """

    plans: tuple[PromotionPlan, ...]
    created: datetime
    policies: Mapping[str, Digest]
    reason: str = ""
    terms: Terms = _USUAL
    made_by: str = ""

    @classmethod
    def of(
        cls, plans: Sequence[PromotionPlan], world: World, *, reason: str = "", terms: Terms = _USUAL
    ) -> "SavedPlan":
        """Returns the plans of a bundle, or of one image, as they can be written down now; hints are left out.

        Raises:
            IdentityError: Others must approve it, and it cannot be told who made it.
        """
        created = world.clock.now().replace(microsecond=0)
        kept = tuple(replace(one, gates=tuple(replace(gate, hint=None) for gate in one.gates)) for one in plans)
        return cls(kept, created, fingerprints(kept, world), reason, terms, _our_hand(kept, world) or "")

    @classmethod
    def parse(cls, text: str) -> "SavedPlan":
        """Returns the plan that a file holds.

        Raises:
            InputError: It is no plan, or was changed since it was written.
        """
        try:
            data = json_in(text)
            schema = str(data["schema"])
            saved = cls(
                plans=bundled(
                    [plan_of(one) for one in (_images(data) if schema == BUNDLE_SCHEMA else [data])],
                    activate=[str(name) for name in data.get("activate", ())],
                ),
                created=datetime.strptime(data["created"], _TIME).replace(tzinfo=UTC),
                policies={str(name): Digest.parse(digest) for name, digest in data["policies"].items()},
                reason=str(data["reason"]),
                terms=Terms(bool(data["release_hold"]), override_freeze=bool(data["override_freeze"])),
                made_by=str(data.get("made_by", "")),
            )
        except (KeyError, TypeError, ValueError, AttributeError, ImagepipeError) as error:
            raise InputError(f"not a promotion plan: {error}", hint="make one with `imagepipe promote … -o`") from error
        if schema not in (SCHEMA, BUNDLE_SCHEMA):
            raise InputError(f"not a promotion plan but {schema[:80]!r}", hint="give a file that -o wrote")
        if data.get("digest") != str(saved.digest) or data.get("seal") != str(saved.seal):
            raise InputError("the plan was changed after it was written", hint="make a new one with -o")
        return saved

    @property
    def digest(self) -> Digest:
        """The digest of what would be done."""
        return digest_of(self.plans)

    @property
    def seal(self) -> Digest:
        """A digest over everything in the file, so that a change by hand shows; who made it is not proven by that."""
        return Digest.of(json.dumps(self._body(), sort_keys=True).encode())

    def to_json(self) -> dict[str, Any]:
        """Returns `imagepipe.promotion-plan/v1`, or `imagepipe.bundle-plan/v1` where there are several images."""
        schema = SCHEMA if len(self.plans) == 1 else BUNDLE_SCHEMA
        return {"schema": schema, "digest": str(self.digest), "seal": str(self.seal), **self._body()}

    def request(self, carried_out_by: str | None = None) -> Request:
        """Returns the plan as approvals know it."""
        return Request(self.seal, self.made_by, carried_out_by)

    def text(self) -> str:
        """Returns what goes into the file."""
        return json.dumps(self.to_json(), indent=2) + "\n"

    def _body(self) -> dict[str, Any]:
        images = [plan_json(plan) for plan in self.plans]
        return {
            "created": self.created.strftime(_TIME),
            "reason": self.reason,
            **({"made_by": self.made_by} if self.made_by else {}),
            "release_hold": self.terms.release_hold,
            "override_freeze": self.terms.override_freeze,
            "policies": {name: str(digest) for name, digest in self.policies.items()},
            **({"activate": list(self.plans[0].activate)} if self.plans[0].activate else {}),
            **(images[0] if len(images) == 1 else {"images": images}),
        }


def refresh(
    saved: SavedPlan,
    references: Sequence[Reference],
    targets: Mapping[str, Target],
    world: World,
    *,
    max_age_h: float = MAX_AGE_H,
) -> tuple[PromotionPlan, ...]:
    """Returns the plans as they would be made now, once they are proven to be the saved ones.

    Args:
        saved: The plans from the file.
        references: What each was made for, a tag as a tag.
        targets: The configured targets by name.
        world: What is asked.
        max_age_h: How old they may be, in hours.

    Raises:
        StalePlanError: The message says everything that moved on.
        GateError: A gate says no, as it did when the plan was saved; no host was touched.
    """
    _check_standing(saved, targets, world, (*_PLACE, "cert_path"), max_age_h)
    plans = _again(saved, references, targets, world, _our_hand(saved.plans, world))
    check_gates(*plans)
    plans = tuple(observe(plan, world, jobs=len(plan.targets)) for plan in plans)
    _refuse(saved, _moved_holdings(saved.plans, plans))
    return plans


def review(
    saved: SavedPlan,
    references: Sequence[Reference],
    targets: Mapping[str, Target],
    world: World,
    *,
    max_age_h: float = MAX_AGE_H,
) -> tuple[PromotionPlan, ...]:
    """Returns the plans as they would be made now, as far as somebody can tell who does not carry them out.

    No host is touched, and where somebody keeps the certificates for one does not matter. Else as `refresh`.

    Raises:
        StalePlanError: The message says everything that moved on.
        GateError: A gate says no for good; what only waits may.
    """
    _check_standing(saved, targets, world, _PLACE, max_age_h)
    plans = _again(saved, references, targets, world, None)
    check_gates(*plans, later=True)
    return plans


def check_ledger(saved: SavedPlan, world: World) -> None:
    """Returns when no target was brought elsewhere; cheap enough to ask again once the targets are locked.

    Raises:
        StalePlanError: The message says which were, and where to.
    """
    ledger = Ledger(world)
    now = tuple(
        replace(plan, targets=tuple(_standing(plan, one, ledger) for one in plan.targets)) for plan in saved.plans
    )
    _refuse(saved, _moved_holdings(saved.plans, now))


def _standing(plan: PromotionPlan, one: TargetPlan, ledger: Ledger) -> TargetPlan:
    newest = ledger.newest(plan.image.repository, one.target, near=(plan.image.digest, one.image.digest))
    current = ledger.current(plan.image.repository, one.target, newest)
    return replace(one, current=current.image if current else None, previous=None)


def _check_standing(
    saved: SavedPlan, targets: Mapping[str, Target], world: World, keys: Sequence[str], max_age_h: float
) -> None:
    _refuse(saved, [*_age(saved, world.clock.now(), max_age_h), *_moved_targets(saved.plans, targets, keys)])


def _again(
    saved: SavedPlan,
    references: Sequence[Reference],
    targets: Mapping[str, Target],
    world: World,
    carried_out_by: str | None,
) -> tuple[PromotionPlan, ...]:
    terms = replace(saved.terms, request=saved.request(carried_out_by))
    again = list[PromotionPlan]()
    for plan, reference in zip(saved.plans, references, strict=True):
        chosen = [targets[one.target.name] for one in plan.targets]
        name = plan.copying.name if plan.copying else None
        try:
            again.append(make_plan(plan.requested, reference, chosen, world, terms=terms, name=name))
        except NotFoundError as error:
            raise _stale(saved, [error.message]) from error
    plans = bundled(again, activate=saved.plans[0].activate)
    _refuse(saved, _moved(saved, plans, world))
    _refuse(saved, _moved_holdings(saved.plans, plans))
    return plans


def _our_hand(plans: Sequence[PromotionPlan], world: World) -> str | None:
    """Returns our own hand where approvals are wanted, which must be another's; None where nobody needs to know."""
    policies = (world.policies.get(one.target.policy or "") for plan in plans for one in plan.targets)
    wanted = any(policy is not None and policy.approvals for policy in policies)
    return world.writer.signatory().hand if wanted else None


def fingerprints(plans: Sequence[PromotionPlan], world: World) -> dict[str, Digest]:
    """Returns a digest of each policy that guards one of the plans' targets."""
    names = dict.fromkeys(one.target.policy for plan in plans for one in plan.targets if one.target.policy)
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


def _moved_targets(plans: Sequence[PromotionPlan], targets: Mapping[str, Target], keys: Sequence[str]) -> Iterator[str]:
    for before in dict.fromkeys(one.target for plan in plans for one in plan.targets):
        now = targets.get(before.name)
        if now is None:
            yield f"target {before.name} is no longer configured"
            continue
        for what in keys:
            was, is_now = getattr(before, what), getattr(now, what)
            if was != is_now:
                yield f"target {now.name}: {what} is now {is_now}, the plan says {was}"


def _moved(saved: SavedPlan, plans: Sequence[PromotionPlan], world: World) -> Iterator[str]:
    for before, now in zip(saved.plans, plans, strict=True):
        if now.image != before.image:
            yield f"{before.requested} is now {now.image.digest}, the plan says {before.image.digest}"
    current = fingerprints(plans, world)
    yield from (f"policy {name} was changed" for name in current if current[name] != saved.policies.get(name))
    for before, now in zip(saved.plans, plans, strict=True):
        yield from _moved_gates(before, now)


def _moved_gates(before: PromotionPlan, now: PromotionPlan) -> Iterator[str]:
    verdicts, old = ({gate.gate: gate for gate in one.gates} for one in (now, before))
    for name in dict.fromkeys([*old, *verdicts]):
        is_now, was_then = verdicts.get(name), old.get(name)
        if is_now is None or was_then is None:
            yield f"gate {name} is {'no longer' if is_now is None else 'newly'} asked"
        elif is_now.passed != was_then.passed and not (is_now.passed and was_then.waits):
            yield f"gate {name} now says {'yes' if is_now.passed else 'no'}: {is_now.reason}"


def _moved_holdings(saved: Sequence[PromotionPlan], plans: Sequence[PromotionPlan]) -> Iterator[str]:
    for old, new in zip(saved, plans, strict=True):
        for before, now in zip(old.targets, new.targets, strict=True):
            yield from _moved_on(before, now, new.image.digest)


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
        f"the plan {saved.digest.short} for {', '.join(str(plan.image) for plan in saved.plans)} no longer holds: "
        f"{'; '.join(moved)}",
        hint="make a new plan with -o, and have it agreed to",
    )


def _images(data: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    images: list[Mapping[str, Any]] = list(data["images"])
    if len(images) < 2:
        raise InputError("a bundle of fewer than two images")
    return images
