from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

import pytest

from imagepipe.errors import GateError, IdentityError, RefusedError, StalePlanError, VerificationError
from imagepipe.model.approval import Approval
from imagepipe.model.digest import Digest
from imagepipe.model.evidence import (
    APPROVAL_PREDICATE,
    PROMOTION_PREDICATE,
    Approvals,
    Freeze,
    Identity,
    PublicKey,
    Signatory,
    Soak,
    Statement,
    TrustPolicy,
)
from imagepipe.model.host import Target
from imagepipe.model.promotion import GateVerdict, PromotionPlan, Terms
from imagepipe.model.reference import Reference
from imagepipe.promote.approve import Approved, Desk
from imagepipe.promote.history import attached, timeline
from imagepipe.promote.ledger import Standing
from imagepipe.promote.plan import make_plan
from imagepipe.promote.record import Promotion, apply, check_gates
from imagepipe.promote.rollback import Way, apply_rollback, plan_rollback
from imagepipe.promote.saved import SavedPlan, refresh, review
from tests.contract.signing_memory import MemorySigner
from tests.unit.promote.test_promote import BARE, TAGGED
from tests.unit.promote.world import CI, STRANGER, Small

ALICE = Identity("alice@example.com", "https://issuer.example")
ALICE_ELSEWHERE = Identity("alice@example.com", "https://other.example")
OPS = PublicKey("ops", b"-----BEGIN PUBLIC KEY-----\nAAAA\nBBBB\n-----END PUBLIC KEY-----\n")
OPS_AGAIN = PublicKey("copy", b"-----BEGIN PUBLIC KEY-----\r\nAAAABBBB\r\n-----END PUBLIC KEY-----\r\n")
GATE = "approval (prod)"


class Office:
    """An image that CI signed, a target whose policy wants approvals, and the plan that CI saved."""

    def __init__(self, approvals: Approvals, **policy: object) -> None:
        self.small = Small(policy=TrustPolicy("prod", (CI, ALICE), approvals=approvals, **policy))  # type: ignore[arg-type]  # passed on as given
        self.manifest = self.small.image()
        self.image = BARE.pin(self.manifest.digest)
        self.target = self.small.target("vch-a")
        self.small.known["vch-a"] = self.target
        self.saved = self.save()

    def become(self, who: Signatory) -> None:
        self.small.signer = MemorySigner(who)

    def plan(self, terms: Terms | None = None) -> PromotionPlan:
        return make_plan(str(TAGGED), TAGGED, [self.target], self.small.world(), terms=terms or Terms())

    def save(self, *, reason: str = "release") -> SavedPlan:
        plan = self.plan()
        check_gates(plan, later=True)
        return SavedPlan.of([plan], self.small.world(), reason=reason)

    def approve(self, who: Signatory = ALICE, saved: SavedPlan | None = None, reason: str = "fine") -> Approved:
        before, self.small.signer = self.small.signer, MemorySigner(who)
        try:
            review(saved or self.saved, [TAGGED], self.small.known, self.small.world())
            return Desk(saved or self.saved, self.small.world()).approve(reason)
        finally:
            self.small.signer = before

    def attach(self, who: Identity, predicate: dict[str, object]) -> None:
        self.small.sign(self.manifest, who, APPROVAL_PREDICATE, predicate)

    def forged(self, saved: SavedPlan, **changes: object) -> dict[str, object]:
        (plan,) = saved.plans
        said = Approval(plan.image, plan.digest, saved.seal, ("vch-a",), "", "2026-01-01T00:00:00Z")
        return said.to_predicate() | changes

    def roll_back(self, to: Digest | None) -> Promotion:
        world = self.small.world()
        (done,) = apply_rollback(plan_rollback(Way(BARE, to=to), [self.target], world), world)
        return done

    def refresh(self) -> PromotionPlan:
        (plan,) = refresh(self.saved, [TAGGED], self.small.known, self.small.world())
        return plan

    def refused(self) -> str:
        with pytest.raises(GateError) as refused:
            self.refresh()
        assert "imagepipe approve" in str(refused.value.hint)
        assert self.small.hosts["vch-a"].pulled == []
        return refused.value.message


def gate(gates: Sequence[GateVerdict], name: str = GATE) -> GateVerdict:
    (found,) = (one for one in gates if one.gate == name)
    return found


def test_a_plan_that_nobody_approved_is_refused_and_one_that_another_did_is_carried_out() -> None:
    office = Office(Approvals((ALICE, OPS)))
    assert "approval (prod): none given; wanted: 1 of alice@example.com" in office.refused()
    done = office.approve()
    assert (done.created, gate(done.gates).passed) == (True, True)
    world = office.small.world()
    promotion = apply(office.refresh(), world)
    assert not promotion.failed
    (record,) = world.reader.proofs(office.image, PROMOTION_PREDICATE, (CI,))
    said = next(one for one in record.verified.statement.predicate["gates"] if one["gate"] == GATE)
    assert said["passed"]
    assert said["reason"].startswith("1 given (alice@example.com (by https://issuer.example) on 2026-01-02T03:04:05Z)")


def test_a_plan_that_was_not_saved_is_refused_with_the_way_out() -> None:
    office = Office(Approvals((ALICE,)))
    office.approve()
    with pytest.raises(GateError, match="wanted: 1 of alice") as refused:
        check_gates(office.plan())
    assert "-o plan.json" in str(refused.value.hint)


def test_the_digest_of_a_plan_does_not_change_when_it_is_approved() -> None:
    office = Office(Approvals((ALICE,)))
    office.approve()
    assert office.refresh().digest == office.saved.digest
    assert SavedPlan.parse(office.saved.text()) == office.saved


def test_one_hand_counts_once_whatever_vouches_for_it() -> None:
    office = Office(Approvals((ALICE, ALICE_ELSEWHERE, OPS, OPS_AGAIN), count=2))
    office.approve(ALICE)
    office.approve(ALICE_ELSEWHERE)
    assert "1 given" in office.refused()
    office.approve(OPS)
    assert not office.refresh().refused


def test_a_plan_that_copies_the_image_first_is_approved_where_the_image_is_now() -> None:
    office = Office(Approvals((ALICE,)))
    world = office.small.world()
    name = Reference.parse("vic.example/prod/hello:1.4")
    office.saved = SavedPlan.of([make_plan(str(TAGGED), TAGGED, [office.target], world, name=name)], world)
    done = office.approve()
    assert (gate(done.gates).passed, office.approve().records) == (True, done.records)
    promotion = apply(office.refresh(), world)
    assert (str(promotion.plan.image.repository), promotion.failed) == ("vic.example/prod/hello", ())
    assert not office.refresh().refused


def test_two_copies_of_a_key_are_one_hand() -> None:
    assert OPS.hand == OPS_AGAIN.hand
    assert OPS.hand != PublicKey("ops", b"-----BEGIN PUBLIC KEY-----\nCCCC\n-----END PUBLIC KEY-----\n").hand


def test_an_approval_given_twice_is_written_once() -> None:
    office = Office(Approvals((ALICE,)))
    first = office.approve()
    again = office.approve()
    assert (again.created, again.records) == (False, first.records)


def test_who_carries_a_plan_out_does_not_approve_it() -> None:
    office = Office(Approvals((ALICE,)))
    office.approve()
    office.become(ALICE)
    assert "not counted: alice@example.com (by https://issuer.example) carries the plan out" in office.refused()


def test_who_made_a_plan_does_not_approve_it() -> None:
    office = Office(Approvals((ALICE,)))
    office.become(ALICE)
    office.saved = office.save()
    office.become(CI)
    with pytest.raises(IdentityError, match="would not count: who made the plan cannot approve it"):
        office.approve()
    office.attach(ALICE, office.forged(office.saved))
    assert "alice@example.com (by https://issuer.example) made the plan" in office.refused()


def test_who_signed_the_image_does_not_approve_it() -> None:
    office = Office(Approvals((ALICE, CI)))
    office.small.sign(office.manifest, ALICE)
    with pytest.raises(IdentityError, match="who signed the image cannot approve it"):
        office.approve()
    office.become(OPS)
    office.attach(ALICE, office.forged(office.saved))
    office.attach(CI, office.forged(office.saved))
    said = office.refused()
    assert "alice@example.com (by https://issuer.example) signed the image" in said
    # CI made the plan, too, and that is told of them.
    assert "ci@example.com (by https://issuer.example) made the plan" in said


def test_an_approval_of_an_older_plan_for_the_same_does_not_count() -> None:
    office = Office(Approvals((ALICE,)))
    old = office.saved
    office.saved = replace(office.save(), created=old.created + timedelta(seconds=9))
    assert office.saved.digest == old.digest
    first = office.approve(saved=old)
    assert f"approved another plan ({old.seal.short})" in office.refused()
    second = office.approve()
    assert (second.created, second.records != first.records) == (True, True)
    assert not office.refresh().refused


def test_a_plan_whose_file_does_not_say_who_made_it_still_needs_another() -> None:
    office = Office(Approvals((ALICE, CI)))
    office.saved = replace(office.saved, made_by="")
    office.attach(CI, office.forged(office.saved))
    assert "carries the plan out" in office.refused()
    office.approve()
    assert not office.refresh().refused


@pytest.mark.parametrize("change", [{"reason": "other"}, {"terms": Terms(override_freeze=True)}, {"policies": {}}])
def test_what_an_approver_saw_is_what_is_applied(change: dict[str, object]) -> None:
    office = Office(Approvals((ALICE,)))
    seen = replace(office.saved, **change)  # type: ignore[arg-type]  # the fields of a plan
    office.attach(ALICE, office.forged(seen))
    assert "approved another plan" in office.refused()


def test_an_approval_that_is_attached_to_another_image_does_not_count() -> None:
    office = Office(Approvals((ALICE,)))
    other = office.small.image("2.0")
    office.small.sign(other, ALICE, APPROVAL_PREDICATE, office.forged(office.saved))
    assert "none given" in office.refused()


@pytest.mark.parametrize("change", [{"seal": "x"}, {"targets": 3}, {"image": None}])
def test_a_malformed_approval_is_told_and_does_not_count(change: dict[str, object]) -> None:
    office = Office(Approvals((ALICE,)))
    office.attach(ALICE, office.forged(office.saved, **change))
    assert "not counted: alice@example.com (by https://issuer.example): malformed approval" in office.refused()
    with pytest.raises(VerificationError):
        Approval.parse({})


def test_a_strangers_approval_does_not_count_and_is_not_taken() -> None:
    office = Office(Approvals((ALICE,)))
    with pytest.raises(IdentityError, match="policy prod does not name them as an approver"):
        office.approve(STRANGER)
    office.attach(STRANGER, office.forged(office.saved))
    assert "none given" in office.refused()


def test_an_approver_who_signs_something_else_has_not_approved() -> None:
    office = Office(Approvals((ALICE,)))
    image = BARE.pin(office.manifest.digest)
    statement = Statement.about(image, "https://example.com/other", office.forged(office.saved))
    (bundle,) = MemorySigner(ALICE).sign([statement])
    artifact = bundle.as_artifact("https://example.com/other", office.small.world().clock.now())
    # A registry's list need not say what it is, so that it is read.
    kept = {key: value for key, value in artifact.annotations.items() if "predicate" not in key}
    office.small.registry.attach(image, office.manifest.descriptor, replace(artifact, annotations=kept))
    assert "none given" in office.refused()


def test_a_refused_plan_is_neither_saved_nor_approved() -> None:
    office = Office(Approvals((ALICE,)))
    office.small.policy = replace(office.small.policy, require_provenance=True)
    with pytest.raises(GateError, match="refused: provenance") as refused:
        office.save()
    assert "approval" not in refused.value.message
    odd = office.plan()
    office.saved = SavedPlan.of([odd], office.small.world())
    with pytest.raises(GateError, match="refused: provenance"):
        office.approve()


def test_a_plan_that_moved_on_is_not_approved() -> None:
    office = Office(Approvals((ALICE,)))
    office.small.image()
    with pytest.raises(StalePlanError, match="is now"):
        office.approve()


def test_a_plan_is_approved_while_it_still_waits_for_the_calendar() -> None:
    office = Office(Approvals((ALICE,)))
    clock = office.small.world().clock.now()
    freeze = Freeze(clock - timedelta(hours=1), clock + timedelta(hours=1), "the year ends")
    office.small.policy = replace(office.small.policy, freezes=(freeze,), after=Soak(("vch-b",), 1))
    office.small.known["vch-b"] = office.small.target("vch-b")
    office.saved = office.save()
    assert [one.waits for one in office.saved.plans[0].refused] == [True, True, True]
    assert gate(office.approve().gates).passed
    with pytest.raises(GateError, match=r"soak on vch-b.*freeze \(prod\): frozen"):
        office.refresh()


def test_an_approver_keeps_certificates_elsewhere() -> None:
    office = Office(Approvals((ALICE,)))
    office.small.known["vch-a"] = replace(office.target, cert_path="/home/alice/.vch")
    assert gate(office.approve().gates).passed
    with pytest.raises(StalePlanError, match="cert_path is now /home/alice"):
        office.refresh()


def test_a_plan_that_no_policy_wants_approved_is_not() -> None:
    office = Office(Approvals((ALICE,)))
    office.small.policy = replace(office.small.policy, approvals=None)
    office.saved = office.save()
    assert office.saved.made_by == ""
    with pytest.raises(RefusedError, match="no policy wants it approved"):
        Desk(office.saved, office.small.world())


def test_a_plan_that_others_must_approve_names_who_made_it() -> None:
    office = Office(Approvals((ALICE,)))
    assert office.saved.made_by == CI.hand
    office.small.signer.failure = IdentityError("no identity")
    with pytest.raises(IdentityError):
        office.save()


def test_each_policy_asks_its_own_approvers() -> None:
    office = Office(Approvals((ALICE,)))
    office.small.others = (TrustPolicy("dr", (CI,), approvals=Approvals((OPS,))),)
    other: Target = replace(office.small.target("vch-b"), policy="dr")
    office.small.known["vch-b"] = other
    plan = make_plan(str(TAGGED), TAGGED, [office.target, other], office.small.world())
    office.saved = SavedPlan.of([plan], office.small.world())
    assert [one.passed for one in office.approve().gates] == [True, False]
    assert [one.passed for one in office.approve(OPS).gates] == [True, True]
    assert not office.refresh().refused


def test_a_rollback_waits_for_nobody_but_is_no_way_round_approvals() -> None:
    office = Office(Approvals((ALICE,)))
    office.approve()
    apply(office.refresh(), office.small.world())
    first = office.manifest
    second = office.small.image()
    with pytest.raises(GateError, match="approval"):
        apply_rollback(
            plan_rollback(Way(BARE, to=second.digest), [office.target], office.small.world()), office.small.world()
        )
    office.saved = office.save()
    office.approve()
    apply(office.refresh(), office.small.world())
    for to in (None, first.digest):
        done = office.roll_back(to)
        assert (done.plan.image.digest, done.failed) == (first.digest, ())


def test_history_shows_approvals_by_approvers_and_nothing_else_of_theirs() -> None:
    office = Office(Approvals((OPS,)))
    office.approve(OPS)
    office.attach(CI, office.forged(office.saved, targets="odd"))
    (bundle,) = MemorySigner(OPS).sign([Statement.about(office.image, PROMOTION_PREDICATE, {})])
    now = office.small.world().clock.now()
    office.small.registry.attach(office.image, office.manifest.descriptor, bundle.as_artifact(PROMOTION_PREDICATE, now))
    found = timeline(office.image, (CI,), office.small.world(), (OPS,))
    told = {(one.kind, one.by): one for one in found}
    assert told["approval", "key ops"].standing is Standing.VERIFIED
    assert told["approval", "key ops"].reason == f"plan {office.saved.digest.short} for vch-a: fine"
    assert told["signature", str(CI)].standing is Standing.VERIFIED
    unproven = [one for one in found if one.standing is Standing.UNVERIFIED]
    assert sorted(one.kind for one in unproven) == ["approval", "promotion"]
    assert all("whose word no policy takes for that" in one.why for one in unproven)
    proven = attached(office.image, (CI, OPS), (CI, OPS), office.small.world().reader)
    assert all(one.proof for one in proven)
    odd = timeline(office.image, (CI,), office.small.world(), (CI,))
    assert f"plan {office.saved.digest.short} for -" in [one.reason for one in odd]


def test_an_approval_survives_its_own_text() -> None:
    said = Approval(BARE.pin(Digest.of(b"m")), Digest.of(b"p"), Digest.of(b"s"), ("a", "b"), "", "2026")
    assert Approval.parse(said.to_predicate()) == said
