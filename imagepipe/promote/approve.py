"""Approves a saved plan: a signed statement at the image, which the gate of the promotion finds.

>>> from imagepipe.promote.approve import Desk
>>> Desk.__name__
'Desk'
"""

from dataclasses import dataclass
from typing import Final

from imagepipe.errors import IdentityError, RefusedError
from imagepipe.events import step
from imagepipe.model.approval import Approval
from imagepipe.model.digest import Digest
from imagepipe.model.evidence import APPROVAL_PREDICATE, Signatory, Statement, TrustPolicy
from imagepipe.model.promotion import GateVerdict
from imagepipe.promote.approvals import approval_gate, excluded
from imagepipe.promote.ports import World
from imagepipe.promote.saved import SavedPlan

__all__ = ["Approved", "Desk"]

_TIME: Final = "%Y-%m-%dT%H:%M:%SZ"


@dataclass(frozen=True, slots=True)
class Approved:
    """What an approval came to.

    Attributes:
        record: The statement's manifest.
        created: Whether it was written now; else the same hand had approved this plan before.
        gates: What the gates that ask for approvals say now.
    """

    record: Digest
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
        names = dict.fromkeys(one.target.policy or "" for one in saved.plan.targets)
        self._policies = [policy for policy in (world.policies[name] for name in names) if policy.approvals]
        if not self._policies:
            raise RefusedError(
                f"approve the plan {saved.plan.digest.short} for {saved.plan.image}: no policy wants it approved",
                hint="carry it out with `imagepipe promote --plan`",
            )
        self.signatory: Signatory = world.writer.signatory()
        whys = [self._why_not(policy) for policy in self._policies]
        if all(whys):
            raise IdentityError(
                f"an approval by {self.signatory} would not count: {'; '.join(dict.fromkeys(filter(None, whys)))}",
                hint="have it approved by one of those whom the policy's approvals name",
            )

    def given(self) -> Digest | None:
        """Returns our approval of this very plan that is there already, or None."""
        for proof in self._world.reader.proofs(self._saved.plan.source, APPROVAL_PREDICATE, (self.signatory,)):
            if proof.verified.statement.predicate.get("seal") == str(self._saved.seal):
                return proof.attachment.descriptor.digest
        return None

    def approve(self, reason: str) -> Approved:
        """Signs the approval and attaches it to the image, unless it is there already.

        Raises:
            AccessError, RefusedError, UnavailableError: The registry does not take it.
        """
        plan, record = self._saved.plan, self.given()
        created = record is None
        if record is None:
            with step(self._world.events, "approve", str(plan.source)):
                record = self._write(reason)
        request = self._saved.request()
        gates = tuple(
            approval_gate(plan.source, policy, policy.approvals, request, self._world)
            for policy in self._policies
            if policy.approvals
        )
        return Approved(record, created, gates)

    def _write(self, reason: str) -> Digest:
        plan, now = self._saved.plan, self._world.clock.now()
        targets = tuple(one.target.name for one in plan.targets)
        approval = Approval(plan.image, plan.digest, self._saved.seal, targets, reason, f"{now:{_TIME}}")
        statement = Statement.about(plan.source, APPROVAL_PREDICATE, approval.to_predicate())
        manifest = self._world.source.manifest(plan.source)
        return self._world.writer.add(plan.source, manifest.descriptor, statement).manifest

    def _why_not(self, policy: TrustPolicy) -> str:
        hand = self.signatory.hand
        if policy.approvals is None or hand not in {one.hand for one in policy.approvals.by}:
            return f"policy {policy.name} does not name them as an approver"
        barred = excluded(self._saved.plan.source, policy, self._saved.request(), self._world)
        return f"who {barred[hand]} cannot approve it" if hand in barred else ""
