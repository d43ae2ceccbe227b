"""The gate that asks whether other people agreed to a saved plan, exactly as it was saved.

>>> from imagepipe.promote.approvals import approval_gate
>>> approval_gate.__name__
'approval_gate'
"""

from typing import Final

from imagepipe.errors import VerificationError
from imagepipe.model.approval import Approval, Request
from imagepipe.model.evidence import APPROVAL_PREDICATE, SIGNATURE_PREDICATE, Approvals, TrustPolicy, VerifiedStatement
from imagepipe.model.promotion import GateVerdict
from imagepipe.model.reference import Pinned
from imagepipe.promote.ports import World

__all__ = ["approval_gate", "excluded"]

_TIME: Final = "%Y-%m-%dT%H:%M:%SZ"
_SAVE: Final = (
    "save the plan with -o plan.json, have it approved with `imagepipe approve plan.json`, "
    "then promote --plan plan.json"
)
_APPROVE: Final = "have the plan approved with `imagepipe approve`, then promote it with --plan again"


def approval_gate(
    image: Pinned, policy: TrustPolicy, wanted: Approvals, request: Request | None, world: World
) -> GateVerdict:
    """Returns yes when enough others agreed to this saved plan; one hand counts once, however often it signs.

    Only the plan's seal counts: an approval of another plan, of an older one for the same, or of another image does
    not. Nor does that of who made the plan, signed the image or carries the plan out.

    Raises:
        UnavailableError: The registry is away: that is not a verdict.
    """
    gate = f"approval ({policy.name})"
    if request is None:
        return GateVerdict(gate, passed=False, reason=f"wanted: {wanted}", hint=_SAVE, waits=True)
    barred = excluded(image, policy, request, world)
    given, idle = dict[str, str](), list[str]()
    for finding in world.reader.findings(image, wanted.by, (APPROVAL_PREDICATE,)):
        if finding.proof is None or finding.kind != APPROVAL_PREDICATE:
            continue
        said = finding.proof.verified
        told, why = _counts(said, request, barred)
        if why:
            idle.append(why)
        else:
            given.setdefault(said.signatory.hand, f"{said.signatory} on {told}")
    passed = len(given) >= wanted.count
    reason = f"{len(given)} given ({', '.join(given.values())})" if given else "none given"
    reason += f"; wanted: {wanted}"
    if not passed:
        reason = "; ".join([reason, *dict.fromkeys(idle)])
    return GateVerdict(gate, passed=passed, reason=reason, hint=None if passed else _APPROVE, waits=True)


def excluded(image: Pinned, policy: TrustPolicy, request: Request, world: World) -> dict[str, str]:
    """Returns why a hand's approval of this plan does not count, by hand."""
    signed = world.reader.proofs(image, SIGNATURE_PREDICATE, policy.signed_by)
    found = {proof.verified.signatory.hand: "signed the image" for proof in signed}
    if request.made_by:
        found[request.made_by] = "made the plan"
    if request.carried_out_by is not None:
        found[request.carried_out_by] = "carries the plan out"
    return found


def _counts(said: VerifiedStatement, request: Request, barred: dict[str, str]) -> tuple[str, str]:
    """Returns when the approval was given, and why it does not count, or "" where it does."""
    try:
        approval = Approval.parse(said.statement.predicate)
    except VerificationError as error:
        return "", f"not counted: {said.signatory}: {error.message}"
    if approval.seal != request.seal:
        return "", f"not counted: {said.signatory} approved another plan ({approval.seal.short})"
    if said.signatory.hand in barred:
        return "", f"not counted: {said.signatory} {barred[said.signatory.hand]}"
    return f"{said.signed_at:{_TIME}}" if said.signed_at else approval.approved_at, ""
