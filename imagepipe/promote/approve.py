"""Approves a saved plan: a signed statement at the image, which the gate of the promotion finds.

>>> from imagepipe.promote.approve import Desk
>>> Desk.__name__
'Desk'
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from imagepipe.errors import IdentityError, RefusedError
from imagepipe.events import step
from imagepipe.model.approval import Approval
from imagepipe.model.digest import Digest
from imagepipe.model.evidence import APPROVAL_PREDICATE, Signatory, Statement, TrustPolicy
from imagepipe.model.promotion import GateVerdict, PromotionPlan
from imagepipe.model.reference import Pinned
from imagepipe.promote.approvals import approval_gate, excluded
from imagepipe.promote.ports import World
from imagepipe.promote.saved import SavedPlan

__all__ = ["Approved", "Desk"]

_TIME: Final = "%Y-%m-%dT%H:%M:%SZ"


@dataclass(frozen=True, slots=True)
class Approved:
    """What an approval came to.

    Attributes:
        records: Each image's statement's manifest.
        created: Whether one was written now; else the same hand had approved this plan before.
        gates: What the gates that ask for approvals say now.
    """

    records: Mapping[Pinned, Digest]
    created: bool
    gates: tuple[GateVerdict, ...]


class Desk:
    """Where one person approves one saved plan.

    Args:
        saved: The plan, proven to hold still.
        world: What is asked and written.

    Raises:
        RefusedError: No policy wants this plan approved.
        IdentityError: Nobody can be told to sign, or their approval would not count.
    """

    def __init__(self, saved: SavedPlan, world: World) -> None:
        self._saved, self._world = saved, world
        names = dict.fromkeys(one.target.policy or "" for plan in saved.plans for one in plan.targets)
        self._policies = [policy for policy in (world.policies[name] for name in names) if policy.approvals]
        if not self._policies:
            raise RefusedError(
                f"approve the plan {saved.digest.short} for {', '.join(str(plan.image) for plan in saved.plans)}: "
                "no policy wants it approved",
                hint="carry it out with `imagepipe promote --plan`",
            )
        self.signatory: Signatory = world.writer.signatory()
        whys = [self._why_not(policy) for policy in self._policies]
        if all(whys):
            raise IdentityError(
                f"an approval by {self.signatory} would not count: {'; '.join(dict.fromkeys(filter(None, whys)))}",
                hint="have it approved by one of those whom the policy's approvals name",
            )

    def given(self) -> dict[Pinned, Digest]:
        """Returns our approvals of this very plan that are there already, by image."""
        return {
            plan.image: proof.attachment.descriptor.digest
            for plan in self._saved.plans
            for proof in self._world.reader.proofs(plan.source, APPROVAL_PREDICATE, (self.signatory,))
            if proof.verified.statement.predicate.get("seal") == str(self._saved.seal)
        }

    @property
    def done(self) -> bool:
        """Whether we approved all of it before."""
        return len(self.given()) == len(self._saved.plans)

    def approve(self, reason: str) -> Approved:
        """Signs the approval and attaches it to each image, unless it is there already.

        Raises:
            AccessError, RefusedError, UnavailableError: The registry does not take it.
        """
        before = self.given()
        records = dict(before)
        for plan in self._saved.plans:
            if plan.image not in records:
                with step(self._world.events, "approve", str(plan.source)):
                    records[plan.image] = self._write(plan, reason)
        request = self._saved.request()
        gates = tuple(
            approval_gate(plan.source, policy, policy.approvals, request, self._world)
            for plan in self._saved.plans
            for policy in self._policies
            if policy.approvals
        )
        return Approved(records, len(records) > len(before), gates)

    def _write(self, plan: PromotionPlan, reason: str) -> Digest:
        now = self._world.clock.now()
        targets = tuple(one.target.name for one in plan.targets)
        approval = Approval(plan.image, plan.digest, self._saved.seal, targets, reason, f"{now:{_TIME}}")
        statement = Statement.about(plan.source, APPROVAL_PREDICATE, approval.to_predicate())
        manifest = self._world.source.manifest(plan.source)
        return self._world.writer.add(plan.source, manifest.descriptor, statement).manifest

    def _why_not(self, policy: TrustPolicy) -> str:
        hand = self.signatory.hand
        if policy.approvals is None or hand not in {one.hand for one in policy.approvals.by}:
            return f"policy {policy.name} does not name them as an approver"
        barred: dict[str, str] = {}
        for plan in self._saved.plans:
            barred |= excluded(plan.source, policy, self._saved.request(), self._world)
        return f"who {barred[hand]} cannot approve it" if hand in barred else ""
