import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta

import pytest

from imagepipe.errors import (
    GateError,
    IdentityError,
    InputError,
    NotFoundError,
    RefusedError,
    StalePlanError,
    UnavailableError,
)
from imagepipe.events import StepFinished, Warned
from imagepipe.model import media
from imagepipe.model.digest import Digest
from imagepipe.model.evidence import (
    PROMOTION_PREDICATE,
    REJECTION_PREDICATE,
    Bundle,
    PublicKey,
    Statement,
    TrustPolicy,
)
from imagepipe.model.host import Container, Target, TargetKind
from imagepipe.model.ledger import Entry, Link, RecordKind, head_tag
from imagepipe.model.manifest import Descriptor, Index, Manifest
from imagepipe.model.promotion import Arrival, PromotionPlan, Terms
from imagepipe.model.reference import Pinned, Reference, Repository
from imagepipe.promote.drift import DriftKind
from imagepipe.promote.history import Happening, chains, decisions, merged, timeline
from imagepipe.promote.ledger import Chain, Ledger, Place, Standing
from imagepipe.promote.plan import make_plan, observe
from imagepipe.promote.record import Promotion, apply
from imagepipe.promote.reject import reject
from imagepipe.promote.rollback import Way, apply_rollback, plan_rollback
from imagepipe.promote.saved import SavedPlan, check_ledger, refresh
from imagepipe.promote.status import survey
from tests.contract.registry_memory import MemoryRegistry
from tests.contract.signing_memory import MemorySigner
from tests.unit.promote.world import CI, REPOSITORY, STRANGER, Small

BARE = Repository.parse(REPOSITORY)
TAGGED = Reference.parse(f"{REPOSITORY}:1.4")


class Yard:
    """A small world with one VCH, and an operator who brings images there and back."""

    def __init__(self, small: Small | None = None) -> None:
        self.small = small or Small()
        self.target = self.small.target("vch-a")

    def image(self) -> Manifest:
        return self.small.image()

    def promote(self, manifest: Manifest, *targets: Target, release_hold: bool = False) -> Promotion:
        world = self.small.world()
        reference = Reference(BARE, digest=manifest.digest)
        chosen = targets or (self.target,)
        plan = make_plan(str(reference), reference, chosen, world, terms=Terms(release_hold=release_hold))
        return apply(plan, world, reason="release")

    def promoted(self, count: int, *targets: Target) -> list[Manifest]:
        made = [self.image() for _ in range(count)]
        for manifest in made:
            self.promote(manifest, *targets)
        return made

    def rollback(
        self, *targets: Target, leaving: Digest | None = None, to: Digest | None = None, reason: str = "it burns"
    ) -> tuple[Promotion, ...]:
        world = self.small.world()
        plans = plan_rollback(Way(BARE, leaving, to), targets or (self.target,), world)
        return apply_rollback(plans, world, reason=reason)

    def chain(self, target: Target | None = None) -> Chain:
        (found,) = chains(BARE, [target or self.target], self.small.world())
        return found

    def head(self, target: Target | None = None) -> Digest | None:
        return self.small.registry.tags.get((BARE, head_tag((target or self.target).name)))

    def delete(self, record: Digest) -> None:
        """Deletes a record as Harbor does: with its tags, and out of the list."""
        registry = self.small.registry
        for key in [key for key, digest in registry.tags.items() if digest == record]:
            del registry.tags[key]
        del registry.blobs[BARE, record]
        for image, listed in registry._attached.items():
            registry._attached[image] = [one for one in listed if one.digest != record]

    def attach(self, manifest: Manifest, predicate: dict[str, object], who: MemorySigner | None = None) -> Digest:
        image = BARE.pin(manifest.digest)
        statement = Statement.about(image, PROMOTION_PREDICATE, predicate)
        (bundle,) = (who or self.small.signer).sign([statement])
        artifact = bundle.as_artifact(PROMOTION_PREDICATE, self.small.world().clock.now())
        return self.small.registry.attach(image, manifest.descriptor, artifact).digest

    def warnings(self) -> str:
        return "; ".join(event.message for event in self.small.events if isinstance(event, Warned))


class Vanishing(MemoryRegistry):
    """A registry in which a manifest is deleted just after somebody saw a tag point at it."""

    gone: Digest | None = None

    def manifest(self, image: Pinned) -> Manifest | Index:
        if image.digest == self.gone:
            raise NotFoundError(f"read {image}: no such manifest")
        return super().manifest(image)


class Patient(MemoryRegistry):
    """A registry that tells where a target's newest record is once it is asked about two targets at a time."""

    def __init__(self) -> None:
        super().__init__()
        self.both = threading.Barrier(2)

    def find(self, reference: Reference) -> Descriptor | None:
        if reference.tag in {head_tag("vch-a"), head_tag("vch-b")}:
            self.both.wait(timeout=10)
        return super().find(reference)


class Counting(MemoryRegistry):
    """A registry that counts what is read."""

    def __init__(self) -> None:
        super().__init__()
        self.read = Counter[Digest]()

    def manifest(self, image: Pinned) -> Manifest | Index:
        self.read[image.digest] += 1
        return super().manifest(image)


def where(chain: Chain) -> list[tuple[int, str]]:
    return [(place.sequence, place.standing.value) for place in chain.places]


def test_each_record_names_the_one_before_it_and_the_tag_the_newest() -> None:
    yard = Yard()
    one, two = yard.promoted(2)
    chain = yard.chain()
    assert where(chain) == [(1, "verified"), (2, "verified")]
    first, second = chain.entries
    assert first.link.previous is None
    assert second.link.previous is not None
    assert (second.link.previous.record, second.link.previous.image) == (first.record, one.digest)
    assert yard.head() == second.record
    assert chain.current == second
    assert not chain.breaks
    assert not chain.notes
    assert second.image == two.digest


def test_many_targets_are_asked_about_at_once() -> None:
    yard = Yard(Small(registry=Patient()))
    beside = yard.small.target("vch-b")
    one, _ = yard.promoted(2, yard.target, beside)
    (back,) = yard.rollback(yard.target, beside)
    assert back.plan.image.digest == one.digest
    assert back.record is not None
    assert yard.head() == yard.head(beside) == back.record


def test_a_record_is_read_once_for_the_tags_of_many_targets() -> None:
    registry = Counting()
    yard = Yard(Small(registry=registry))
    targets = [yard.small.target(f"vch-{letter}") for letter in "abc"]
    record = yard.promote(yard.image(), *targets).record
    assert record is not None
    assert [yard.head(one) for one in targets] == [record] * 3
    assert registry.read[record] == 1


def test_every_target_has_a_chain_of_its_own() -> None:
    yard = Yard()
    beside = yard.small.target("vch-b")
    one, two = yard.image(), yard.image()
    yard.promote(one)
    yard.promote(two, yard.target, beside)
    assert [entry.link.sequence for entry in yard.chain().entries] == [1, 2]
    assert [entry.link.sequence for entry in yard.chain(beside).entries] == [1]


def test_going_to_and_fro_writes_a_record_each_time() -> None:
    yard = Yard()
    one, two = yard.promoted(2)
    again = yard.promote(one)
    assert [result.arrival for result in again.targets] == [Arrival.PRESENT]
    assert yard.promote(one).record == again.record
    assert [entry.image for entry in yard.chain().entries] == [one.digest, two.digest, one.digest]


def test_a_failed_promotion_is_in_the_chain_and_changes_nothing() -> None:
    yard = Yard()
    (one,) = yard.promoted(1)
    two = yard.image()
    yard.small.hosts["vch-a"].faults.down = True
    yard.promote(two)
    chain = yard.chain()
    assert [entry.outcome for entry in chain.entries] == ["promoted", "failed"]
    assert chain.current is not None
    assert chain.current.image == one.digest
    world = yard.small.world()
    assert make_plan("x", Reference(BARE, digest=two.digest), [yard.target], world).targets[0].current == one.digest


def test_rollback_brings_back_the_last_good_digest_and_holds_what_it_left() -> None:
    yard = Yard()
    one, two = yard.promoted(2)
    (done,) = yard.rollback()
    assert done.plan.image.digest == one.digest
    entry = yard.chain().entries[-1]
    assert (entry.kind, entry.image, entry.reason) == (RecordKind.ROLLBACK, one.digest, "it burns")
    (hold,) = entry.link.holds
    assert (hold.image, hold.reason) == (two.digest, "it burns")
    with pytest.raises(GateError, match=r"hold \(vch-a\): held since .* by ci@example.com .*: it burns") as refused:
        yard.promote(two)
    assert "--release-hold" in str(refused.value.hint)


def test_a_hold_outlives_other_promotions_and_ends_when_released() -> None:
    yard = Yard()
    _, two = yard.promoted(2)
    yard.rollback()
    yard.promote(yard.image())
    with pytest.raises(GateError, match="it burns"):
        yard.promote(two)
    released = yard.promote(two, release_hold=True)
    assert "released; held since" in " ".join(gate.reason for gate in released.plan.gates)
    assert yard.chain().entries[-1].link.holds == ()
    assert yard.promote(two).record == released.record


@pytest.mark.parametrize("at", ["first", "fourth", "another image"])
@pytest.mark.parametrize("back", ["to the one before", "further back"])
def test_who_moves_the_tag_of_the_newest_record_hides_no_hold(at: str, back: str) -> None:
    """Whoever may push may let it point at an older record, which is as well signed, or at anything else."""
    yard = Yard()
    first, second, third, fourth = yard.promoted(4)
    records = [entry.record for entry in yard.chain().entries]
    yard.rollback(to=second.digest if back == "further back" else third.digest)
    moved = {"first": records[0], "fourth": records[3], "another image": first.digest}
    yard.small.registry.tags[BARE, head_tag("vch-a")] = moved[at]
    with pytest.raises(GateError, match="it burns"):
        yard.promote(fourth)
    warned = "points at something else" in yard.warnings()
    assert warned is (at == "another image")


def test_a_hold_is_for_its_target_alone() -> None:
    yard = Yard()
    _, two = yard.promoted(2)
    yard.rollback()
    assert not yard.promote(two, yard.small.target("vch-b")).failed


def test_a_held_index_is_not_let_in_by_its_platform() -> None:
    yard = Yard()
    index = yard.small.registry.add_index(REPOSITORY, media_type=media.DOCKER_LIST)
    yard.small.sign(index)
    yard.promoted(1)
    world = yard.small.world()
    apply(make_plan("x", Reference(BARE, digest=index.digest), [yard.target], world), world)
    yard.rollback()
    child = yard.small.registry.manifest(BARE.pin(index.manifests[0].digest))
    yard.small.sign(child)
    assert isinstance(child, Manifest)
    with pytest.raises(GateError, match="hold"):
        yard.promote(child)


def test_the_same_rollback_again_goes_no_further() -> None:
    yard = Yard()
    _, two, three = yard.promoted(3)
    (first,) = yard.rollback(leaving=three.digest)
    (again,) = yard.rollback(leaving=three.digest)
    assert again.record == first.record
    assert again.plan.image.digest == two.digest
    assert "--to goes further back" in yard.warnings()
    assert len(yard.chain().entries) == 4


def test_a_rollback_that_failed_on_one_target_is_taken_up_by_the_same_command() -> None:
    yard = Yard()
    targets = yard.target, yard.small.target("vch-b")
    one, two, _ = yard.promoted(3, *targets)
    yard.small.hosts["vch-b"].faults.down = True
    yard.rollback(*targets)
    yard.small.hosts["vch-b"].faults.down = False
    (again,) = yard.rollback(*targets)
    assert not again.failed
    assert again.plan.image.digest == two.digest != one.digest
    assert [len(yard.chain(target).entries) for target in targets] == [5, 5]


def test_rollback_to_a_named_digest_goes_there_and_holds_both_steps() -> None:
    yard = Yard()
    one, two, three = yard.promoted(3)
    yard.rollback()
    yard.rollback(to=one.digest)
    entry = yard.chain().entries[-1]
    assert entry.image == one.digest
    assert [hold.image for hold in entry.link.holds] == [three.digest, two.digest]
    with pytest.raises(GateError, match="hold"):
        yard.rollback(to=two.digest)


def test_rollback_skips_what_was_rejected_and_what_is_held() -> None:
    yard = Yard()
    one, two, three = yard.promoted(3)
    reject(Reference(BARE, digest=two.digest), "leaks", yard.small.world())
    (done,) = yard.rollback()
    assert done.plan.image.digest == one.digest
    yard.promote(yard.image())
    (done,) = yard.rollback()
    assert done.plan.image.digest == one.digest
    assert three.digest in {hold.image for hold in yard.chain().entries[-1].link.holds}


def test_targets_at_different_digests_go_back_each_its_own_way() -> None:
    yard = Yard()
    beside = yard.small.target("vch-b")
    one, two, three = yard.image(), yard.image(), yard.image()
    yard.promote(one)
    yard.promote(two, beside)
    yard.promote(three, yard.target, beside)
    done = yard.rollback(yard.target, beside)
    assert [promotion.plan.image.digest for promotion in done] == [one.digest, two.digest]


def test_todays_policy_decides_on_the_way_back_too() -> None:
    yard = Yard()
    yard.promoted(2)
    yard.small.policy = TrustPolicy("prod", (CI,), require_provenance=True)
    pulled = list(yard.small.hosts["vch-a"].pulled)
    with pytest.raises(GateError, match="provenance"):
        yard.rollback()
    assert yard.small.hosts["vch-a"].pulled == pulled


def test_without_anything_to_go_back_to_rollback_says_so() -> None:
    yard = Yard()
    with pytest.raises(NotFoundError, match="no promotion to it is on record"):
        yard.rollback()
    (one,) = yard.promoted(1)
    with pytest.raises(NotFoundError, match="nothing good is on record before"):
        yard.rollback()
    with pytest.raises(RefusedError, match="it is not at"):
        yard.rollback(leaving=Digest.of(b"other"))
    with pytest.raises(RefusedError, match="nothing on record"):
        yard.rollback(yard.small.target("vch-b"), leaving=one.digest)


def test_a_named_digest_may_be_gone_to_without_any_record() -> None:
    yard = Yard()
    one = yard.image()
    (done,) = yard.rollback(to=one.digest)
    assert not done.failed
    assert yard.chain().entries[-1].link.holds == ()


def test_a_target_without_a_known_policy_rejects_nothing_by_itself() -> None:
    yard = Yard()
    yard.promoted(2)
    world = replace(yard.small.world(), policies={})
    with pytest.raises(NotFoundError):
        plan_rollback(Way(BARE), [replace(yard.target, policy=None)], world)


def test_a_rejection_is_for_ever_whoever_of_the_signers_said_it() -> None:
    yard = Yard()
    (one,) = yard.promoted(1)
    done = reject(Reference(BARE, digest=one.digest), "leaks keys", yard.small.world())
    assert (done.image, done.signatory) == (BARE.pin(one.digest), CI)
    with pytest.raises(GateError, match=r"rejection \(prod\): rejected 2026.* by ci@example.com .*: leaks keys"):
        yard.promote(one, release_hold=True)


def test_a_strangers_rejection_stops_nothing() -> None:
    yard = Yard()
    one = yard.image()
    yard.small.sign(one, STRANGER, REJECTION_PREDICATE)
    assert not yard.promote(one).failed
    yard.small.signer = MemorySigner(STRANGER)
    with pytest.raises(IdentityError, match="stop nothing"):
        reject(Reference(BARE, digest=one.digest), "I say so", yard.small.world())
    with pytest.raises(InputError, match="without a reason"):
        reject(Reference(BARE, digest=one.digest), " ", yard.small.world())


def test_a_rejected_index_takes_its_platform_with_it() -> None:
    yard = Yard()
    index = yard.small.registry.add_index(REPOSITORY, media_type=media.DOCKER_LIST)
    child = yard.small.registry.manifest(BARE.pin(index.manifests[0].digest))
    yard.small.sign(child)
    done = reject(Reference(BARE, digest=index.digest), "leaks", yard.small.world())
    assert [image.digest for image, _ in done.records] == [index.digest, child.digest]
    assert isinstance(child, Manifest)
    with pytest.raises(GateError, match="rejection"):
        yard.promote(child)


def test_a_deleted_record_shows_and_the_rest_is_still_told() -> None:
    yard = Yard()
    yard.promoted(4)
    yard.delete(yard.chain().entries[2].record)
    chain = yard.chain()
    assert where(chain) == [(1, "verified"), (2, "verified"), (3, "MISSING"), (4, "verified")]
    assert "sequence 3 is MISSING" in chain.breaks[0]
    assert chain.places[2].why


def test_past_a_gap_the_chain_goes_on_with_the_next_record_known() -> None:
    yard = Yard()
    one, two = yard.promoted(2)
    yard.promote(one)
    yard.promote(two)
    yard.delete(yard.chain().entries[2].record)
    assert where(yard.chain()) == [(1, "verified"), (2, "verified"), (3, "MISSING"), (4, "verified")]


def test_a_deleted_newest_record_shows_by_its_tag() -> None:
    yard = Yard()
    other = yard.small.target("vch-b")
    yard.promoted(2, yard.target, other)
    yard.promote(yard.image())
    yard.delete(yard.chain().entries[-1].record)
    found = chains(BARE, [yard.target, other], yard.small.world())
    assert [bool(chain.breaks) for chain in found] == [True, False]
    assert "the tag of the newest record is gone" in found[0].breaks[0]


@pytest.mark.parametrize("kind", [TargetKind.VCH, TargetKind.DOCKER])
def test_a_deleted_newest_record_shows_where_no_other_target_leads_to_the_ones_before(kind: TargetKind) -> None:
    yard = Yard()
    target = yard.small.target("the-only-one", kind)
    for tag in ("1.0", "1.1", "1.2"):
        yard.promote(yard.small.image(tag), target)
    yard.delete(yard.chain(target).entries[-1].record)
    chain = yard.chain(target)
    assert where(chain) == [(1, "verified"), (2, "verified")]
    assert chain.breaks == ("the tag of the newest record is gone after sequence 2: records may be too",)


def test_a_rollback_does_not_guess_what_a_target_is_at_whose_newest_record_was_deleted() -> None:
    yard = Yard()
    _, two, _ = yard.promoted(3)
    yard.delete(yard.chain().entries[-1].record)
    with pytest.raises(RefusedError, match="its newest record is gone, so what it is at cannot be told") as raised:
        yard.rollback()
    assert "--to" in str(raised.value.hint)
    (done,) = yard.rollback(to=two.digest)
    assert done.plan.image.digest == two.digest


@pytest.mark.parametrize("back", [1, 2, 3])
def test_a_rollback_starts_from_the_newest_record_wherever_somebody_set_its_tag(back: int) -> None:
    yard = Yard()
    made = [yard.small.image(tag) for tag in ("1.0", "1.1", "1.2", "1.3")]
    for manifest in made:
        yard.promote(manifest)
    entries = yard.chain().entries
    yard.small.registry.tags[BARE, head_tag("vch-a")] = entries[-1 - back].record
    (done,) = yard.rollback()
    assert done.plan.image.digest == made[2].digest
    chain = yard.chain()
    assert where(chain) == [(number, "verified") for number in range(1, 6)]
    assert not chain.breaks
    assert not chain.notes
    with pytest.raises(GateError, match=r"held since .* it burns"):
        yard.promote(made[3])


def test_a_hold_that_somebody_hid_by_setting_back_the_tag_stops_the_way_back_to_what_it_holds() -> None:
    yard = Yard()
    made = [yard.small.image(tag) for tag in ("1.0", "1.1", "1.2")]
    for manifest in made:
        yard.promote(manifest)
    (done,) = yard.rollback()
    yard.promote(made[0])
    yard.small.registry.tags[BARE, head_tag("vch-a")] = yard.chain().entries[0].record
    with pytest.raises(GateError, match=r"held since .* it burns"):
        yard.rollback(to=made[2].digest)
    assert done.record != yard.head()


def test_an_image_whose_tag_moved_on_is_found_by_the_one_that_a_vch_pulled_it_by() -> None:
    yard = Yard()
    yard.promoted(3)
    yard.delete(yard.chain().entries[-1].record)
    chain = yard.chain()
    assert where(chain) == [(1, "verified"), (2, "verified")]
    assert chain.breaks


def test_a_first_record_without_a_tag_is_noted_for_its_maker_may_have_been_stopped() -> None:
    yard = Yard()
    yard.promoted(2)
    yard.delete(yard.chain().entries[-1].record)
    chain = yard.chain()
    assert where(chain) == [(1, "verified")]
    assert chain.notes == ("the tag of the newest record is gone after sequence 1: records may be too",)
    assert not chain.breaks


def test_records_that_somebody_hid_by_setting_back_the_tag_of_the_newest_are_told() -> None:
    yard = Yard()
    for tag in ("1.0", "1.1", "1.2"):
        yard.promote(yard.small.image(tag))
    first, *_ = yard.chain().entries
    yard.small.registry.tags[BARE, head_tag("vch-a")] = first.record
    chain = yard.chain()
    assert where(chain) == [(1, "verified"), (2, "verified"), (3, "verified")]
    assert chain.notes == ("the tag of the newest record is behind, at sequence 1",)


@pytest.mark.parametrize(("tags", "told"), [(100, []), (101, [f"{REPOSITORY}: 101 tags"])])
def test_who_waits_for_many_tags_to_be_looked_at_is_told(tags: int, told: list[str]) -> None:
    yard = Yard()
    yard.promote(one := yard.small.image("1.0"))
    for number in range(tags - len(yard.small.registry.tags)):
        yard.small.registry.tags[BARE, f"b{number}"] = one.digest
    yard.small.events.clear()
    assert where(yard.chain()) == [(1, "verified")]
    assert [one.subject for one in yard.small.events if isinstance(one, StepFinished)] == told


def test_a_record_by_a_stranger_is_no_place_in_the_chain() -> None:
    yard = Yard()
    one, two = yard.promoted(2)
    good = yard.chain().entries[-1]
    before = {"record": str(good.record), "image": str(two.digest)}
    named = {"target": "vch-a", "outcome": "promoted", "digest": str(one.digest), "sequence": 3, "previous": before}
    forged = yard.attach(one, {"targets": [named]}, MemorySigner(STRANGER))
    assert where(yard.chain()) == [(1, "verified"), (2, "verified")]
    yard.small.registry.tags[BARE, head_tag("vch-a")] = forged
    (chain,) = chains(BARE, [yard.target], yard.small.world(), [two.digest])
    assert where(chain) == [(1, "verified"), (2, "verified")]
    assert "points at something else" in chain.breaks[0]


def test_a_place_taken_by_an_unproven_record_is_told() -> None:
    yard = Yard()
    (one,) = yard.promoted(1)
    named = {"target": "vch-a", "outcome": "promoted", "digest": str(one.digest), "sequence": 1}
    forged = yard.attach(one, {"targets": [named]}, MemorySigner(STRANGER))
    foreign = yard.attach(one, {"targets": [named | {"target": "vch-b"}]})
    for number, record, why in ((1, forged, "does not trust"), (2, foreign, "does not name this target")):
        linked = named | {"sequence": 2, "previous": {"record": str(record), "image": str(one.digest)}}
        newest = yard.attach(one, {"targets": [linked], "finishedOn": f"9 {number}"})
        yard.small.registry.tags[BARE, head_tag("vch-a")] = newest
        place = next(place for place in yard.chain().places if place.record == record)
        assert place.standing is Standing.UNVERIFIED
        assert why in place.why


@pytest.mark.parametrize("at", ["image", "index"])
def test_a_tag_that_points_at_no_record_is_told(at: str) -> None:
    yard = Yard()
    thing = yard.image() if at == "image" else yard.small.registry.add_index(REPOSITORY)
    yard.small.registry.tags[BARE, head_tag("vch-a")] = thing.digest
    assert "points at something else" in yard.chain().breaks[0]


def test_re_ordered_records_show() -> None:
    yard = Yard()
    (one,) = yard.promoted(1)
    first = yard.chain().entries[0]
    named = {"target": "vch-a", "outcome": "promoted", "digest": str(one.digest)}
    before = {"record": str(first.record), "image": str(one.digest)}
    yard.small.registry.tags[BARE, head_tag("vch-a")] = yard.attach(
        one, {"targets": [named | {"sequence": 5, "previous": before}]}
    )
    assert "sequence 1 stands where 4 belongs" in yard.chain().breaks[0]


def test_a_chain_that_does_not_start_at_one_is_told() -> None:
    yard = Yard()
    one = yard.image()
    named = {"target": "vch-a", "outcome": "promoted", "digest": str(one.digest), "sequence": 7}
    yard.small.registry.tags[BARE, head_tag("vch-a")] = yard.attach(one, {"targets": [named]})
    assert "sequence 7 names no record before it" in yard.chain().breaks[0]


def test_a_jump_over_a_gap_never_goes_round_in_circles() -> None:
    yard = Yard()
    one = yard.image()
    named = {"target": "vch-a", "outcome": "promoted", "digest": str(one.digest)}

    def missing(text: str) -> dict[str, str]:
        return {"record": str(Digest.of(text.encode())), "image": str(one.digest)}

    third = yard.attach(one, {"targets": [named | {"sequence": 9, "previous": missing("x")}]})
    second = yard.attach(
        one, {"targets": [named | {"sequence": 3, "previous": {"record": str(third), "image": str(one.digest)}}]}
    )
    newest = yard.attach(one, {"targets": [named | {"sequence": 5, "previous": missing("y")}], "finishedOn": "9"})
    yard.small.registry.tags[BARE, head_tag("vch-a")] = newest
    chain = yard.chain()
    assert {second, third, newest} <= {place.record for place in chain.places}
    assert chain.breaks


def test_two_promotions_at_once_show_as_a_record_beside_the_chain() -> None:
    yard = Yard()
    one, _ = yard.promoted(2)
    first = yard.chain().entries[0]
    named = {"target": "vch-a", "outcome": "promoted", "digest": str(one.digest), "sequence": 2}
    before = {"record": str(first.record), "image": str(one.digest)}
    rival = yard.attach(one, {"targets": [named | {"previous": before}], "finishedOn": "2025"})
    chain = yard.chain()
    assert [place.sequence for place in chain.places] == [1, 2, 2]
    assert chain.breaks == (f"sequence 2 is not in the chain: {rival}",)


class Overtaken(MemorySigner):
    """Signs a record, and lets somebody on another machine finish a promotion of his own before it is attached."""

    def __init__(self, elsewhere: Callable[[], object], times: int) -> None:
        super().__init__(CI)
        self.elsewhere, self.times = elsewhere, times

    def sign(self, statements: Sequence[Statement]) -> tuple[Bundle, ...]:
        if self.times and statements[0].predicate_type == PROMOTION_PREDICATE:
            self.times -= 1
            self.elsewhere()
        return super().sign(statements)


def test_who_is_overtaken_while_writing_a_record_writes_it_again_after_the_other() -> None:
    yard = Yard()
    (one,) = yard.promoted(1)
    two, three = yard.image(), yard.image()
    elsewhere = Yard(replace(yard.small, signer=MemorySigner(CI)))
    yard.small.signer = Overtaken(lambda: elsewhere.promote(three), times=1)
    done = yard.promote(two)
    chain = yard.chain()
    assert [(entry.link.sequence, entry.image) for entry in chain.entries] == [
        (1, one.digest),
        (2, three.digest),
        (3, two.digest),
    ]
    assert yard.head() == done.record
    assert not chain.breaks
    assert chain.notes == ("sequence 2 was taken meanwhile, and stands again after it",)


def eventually(holds: Callable[[], bool]) -> bool:
    """Waits for what another thread does, at most five seconds."""
    started = time.monotonic()
    while not holds() and time.monotonic() < started + 5.0:
        time.sleep(0.01)
    return holds()


def test_the_ledger_is_read_while_targets_pull_and_who_comes_then_is_noticed() -> None:
    yard = Yard()
    (one,) = yard.promoted(1)
    two, three = yard.image(), yard.image()
    elsewhere = Yard(replace(yard.small, signer=MemorySigner(CI)))
    faults, calls, read = yard.small.hosts["vch-a"].faults, yard.small.registry.calls, list[bool]()
    plan = make_plan("two", Reference(BARE, digest=two.digest), [yard.target], yard.small.world())
    looked = calls.count("list")

    def meanwhile() -> None:
        faults.during_pull = None
        read.append(eventually(lambda: calls.count("list") > looked))
        elsewhere.promote(three)

    faults.during_pull = meanwhile
    done = apply(plan, yard.small.world())
    assert read == [True]
    chain = yard.chain()
    assert [entry.image for entry in chain.entries] == [one.digest, three.digest, two.digest]
    assert yard.head() == done.record
    assert not chain.breaks


class Restarting(MemoryRegistry):
    """A registry that does not say what is attached while it is restarted."""

    def __init__(self) -> None:
        super().__init__()
        self.away, self.refused = False, 0

    def list(self, image: Pinned) -> tuple[Descriptor, ...]:
        if self.away:
            self.refused += 1
            raise UnavailableError("starting")
        return super().list(image)


def test_a_ledger_that_cannot_be_read_while_targets_pull_is_read_after_that() -> None:
    registry = Restarting()
    yard = Yard(Small(registry))
    yard.promoted(1)
    plan = make_plan("two", Reference(BARE, digest=yard.image().digest), [yard.target], yard.small.world())
    registry.away = True

    def started() -> None:
        assert eventually(lambda: registry.refused > 0)
        registry.away = False

    yard.small.hosts["vch-a"].faults.during_pull = started
    assert apply(plan, yard.small.world()).record_error is None
    assert [entry.link.sequence for entry in yard.chain().entries] == [1, 2]


def test_who_is_overtaken_again_and_again_gives_up_after_some_records() -> None:
    yard = Yard()
    yard.promoted(1)
    elsewhere = Yard(replace(yard.small, signer=MemorySigner(CI)))
    yard.small.signer = Overtaken(lambda: elsewhere.promote(elsewhere.image()), times=9)
    two = yard.image()
    done = yard.promote(two)
    assert done.record_error is None
    assert len([one for one in yard.small.signer.signed if one.predicate_type == PROMOTION_PREDICATE]) == 4
    assert yard.head() == done.record
    chain = yard.chain()  # there may be two lines of records by now: neither hides the other
    assert two.digest in [entry.image for entry in chain.entries]
    assert all("is not in the chain" in told for told in chain.breaks)


def test_a_record_whose_tag_was_not_moved_is_found_and_the_next_promotion_moves_it() -> None:
    yard = Yard()
    one, two = yard.promoted(2)
    first, second = yard.chain().entries
    yard.small.registry.tags[BARE, head_tag("vch-a")] = first.record
    three = yard.image()
    done = yard.promote(three)
    assert [entry.image for entry in yard.chain().entries] == [one.digest, two.digest, three.digest]
    assert yard.head() == done.record != second.record


def test_a_tag_that_is_behind_is_noted_and_moved_by_the_same_promotion() -> None:
    yard = Yard()
    one, two = yard.promoted(2)
    first, second = yard.chain().entries
    yard.small.registry.tags[BARE, head_tag("vch-a")] = first.record
    (chain,) = chains(BARE, [yard.target], yard.small.world(), [two.digest])
    assert "the tag of the newest record is behind, at sequence 1" in chain.notes
    assert not chain.breaks
    yard.promote(two)
    assert yard.head() == second.record
    assert one.digest != two.digest


def test_a_registry_that_does_not_let_the_tag_move_is_told_of_and_nothing_is_lost() -> None:
    yard = Yard()
    yard.promoted(1)
    yard.small.registry.immutable.add((BARE, head_tag("vch-a")))
    done = yard.promote(yard.image())
    assert done.record is not None
    assert "not tagged" in yard.warnings()
    (chain,) = chains(BARE, [yard.target], yard.small.world(), [done.plan.image.digest])
    assert [entry.link.sequence for entry in chain.entries] == [1, 2]


def test_a_record_that_the_policy_will_not_believe_is_warned_of() -> None:
    yard = Yard()
    one = yard.image()
    yard.small.signer = MemorySigner(STRANGER)
    yard.promote(one)
    assert "does not trust" in yard.warnings()
    assert where(yard.chain()) == []


def test_a_record_of_earlier_days_has_no_place_and_breaks_nothing() -> None:
    yard = Yard()
    one = yard.image()
    yard.attach(one, {"targets": [{"target": "vch-a", "outcome": "promoted", "digest": str(one.digest)}]})
    yard.attach(one, {"targets": [{"target": "vch-a"}]})
    assert not yard.chain().breaks
    assert not yard.chain().notes
    two = yard.image()
    yard.promote(one)
    yard.promote(two)
    chain = yard.chain()
    assert [entry.link.sequence for entry in chain.entries][-2:] == [1, 2]
    assert not chain.breaks


def test_an_image_that_left_the_registry_leaves_a_gap() -> None:
    yard = Yard(Small(registry=Forgetful()))
    one, _ = yard.promoted(2)
    registry = yard.small.registry
    assert isinstance(registry, Forgetful)
    registry.gone.add(BARE.pin(one.digest))
    assert where(yard.chain()) == [(1, "MISSING"), (2, "verified")]


class Forgetful(MemoryRegistry):
    """Has lost some images, and answers so when asked what is attached to them."""

    def __init__(self) -> None:
        super().__init__()
        self.gone: set[Pinned] = set()

    def list(self, image: Pinned) -> tuple[Descriptor, ...]:
        if image in self.gone:
            raise NotFoundError(f"{image} is gone")
        return super().list(image)


def test_a_repositorys_history_names_each_record_once_with_all_its_targets() -> None:
    yard = Yard()
    beside = yard.small.target("vch-b")
    yard.promoted(2, yard.target, beside)
    yard.rollback(yard.target)
    told = merged(chains(BARE, [yard.target, beside], yard.small.world()))
    assert [(one.kind, [at.target for at in one.targets]) for one in told] == [
        ("promotion", ["vch-a", "vch-b"]),
        ("promotion", ["vch-a", "vch-b"]),
        ("rollback", ["vch-a"]),
    ]
    assert all(one.by == str(CI) for one in told)
    assert told[2].to_json()["targets"] == [{"target": "vch-a", "outcome": "present", "sequence": 3}]


def test_a_gap_stands_in_the_history_where_it_belongs() -> None:
    yard = Yard()
    one, two = yard.promoted(2)
    yard.promote(one)
    yard.promote(two)
    yard.delete(yard.chain().entries[2].record)
    told = merged([yard.chain()])
    assert [one.standing.value for one in told] == ["verified", "verified", "MISSING", "verified"]
    assert told[2].to_json()["by"] is None


def test_an_images_history_tells_all_that_is_attached_and_what_is_not_proven() -> None:
    yard = Yard()
    one, two = yard.promoted(2)
    yard.small.sign(one, STRANGER)
    yard.small.sign(one, CI, "https://slsa.dev/provenance/v1")
    yard.small.sign(one, CI, "https://example.test/audit/v1")
    yard.rollback()
    yard.attach(one, {"targets": [1, {"target": "vch-z"}]})
    artifact = yard.small.registry.fetch(BARE.pin(one.digest), yard.small.registry.list(BARE.pin(one.digest))[0])
    plain = replace(artifact, artifact_type="text/plain", layer_media_type="text/plain", annotations={})
    yard.small.registry.attach(BARE.pin(one.digest), one.descriptor, plain)
    reject(Reference(BARE, digest=one.digest), "leaks", yard.small.world())
    told = timeline(BARE.pin(one.digest), (CI,), yard.small.world())
    kinds = [(entry.kind, entry.standing.value) for entry in told]
    for kind in ("build", "signature", "promotion", "rollback", "rejection", "https://example.test/audit/v1"):
        assert (kind, "verified") in kinds
    assert ("signature", "UNVERIFIED") in kinds
    assert ("?", "UNVERIFIED") in kinds
    assert [entry.at for entry in told] == sorted(entry.at for entry in told)
    assert two.digest != one.digest


def test_what_happened_within_one_second_is_told_in_the_order_in_which_one_thing_follows_another() -> None:
    image, second = Digest.of(b"image"), "2026-01-02T03:04:05Z"
    promoted, rolled_back = RecordKind.PROMOTION, RecordKind.ROLLBACK

    def decided(kind: str, at: str = second) -> Happening:
        return Happening(at, kind, image, Digest.of(f"{kind} {at}".encode()), Standing.VERIFIED)

    def chain(*kinds: RecordKind) -> Chain:
        places = list[Place]()
        for sequence, kind in enumerate(kinds, start=1):
            link, record = Link(sequence, None, ()), Digest.of(str(sequence).encode())
            entry = Entry(record, image, "vch-a", kind, "promoted", image, link, "", "", second, "ci")
            places.append(Place(sequence, record, image, Standing.VERIFIED, entry))
        return Chain("vch-a", tuple(places), ())

    beside = [decided("rejection"), decided("approval"), decided("rejection", "2026-01-02T03:04:04Z")]
    told = merged([chain(promoted, rolled_back)], beside)
    assert [one.kind for one in told] == ["rejection", "approval", "promotion", "rejection", "rollback"]
    assert [one.kind for one in merged([chain(rolled_back, promoted)])] == ["rollback", "promotion"]


def test_a_repository_s_history_tells_what_was_decided_about_its_images() -> None:
    yard = Yard()
    one, two = yard.promoted(2)
    world = yard.small.world()
    reject(Reference(BARE, digest=one.digest), "leaks keys", world)
    yard.small.sign(two, STRANGER, REJECTION_PREDICATE, {"reason": "says nobody"})
    found = chains(BARE, [yard.target], world)
    images = [place.image for chain in found for place in chain.places]
    beside, breaks = decisions(BARE, images, [CI], world)
    told = merged(found, beside)
    assert breaks == ()
    rejected = [(entry.image, entry.reason, entry.standing.value) for entry in told if entry.kind == "rejection"]
    assert sorted(rejected, key=lambda row: row[2]) == [
        (two.digest, "", "UNVERIFIED"),
        (one.digest, "leaks keys", "verified"),
    ]
    assert [entry.kind for entry in told].count("promotion") == 2


def test_what_was_decided_about_an_image_that_left_the_registry_went_with_it() -> None:
    yard = Yard()
    yard.small.registry.failure = NotFoundError("no such repository")
    assert decisions(BARE, [Digest.of(b"gone")], [CI], yard.small.world()) == ((), ())


def test_status_tells_what_is_current_and_what_is_gone() -> None:
    yard = Yard()
    one, two = yard.promoted(2)
    (status,) = survey([yard.target], [BARE], yard.small.world(), jobs=1)
    assert {held.image.digest: (held.state, held.current) for held in status.images} == {
        one.digest: ("promoted", False),
        two.digest: ("promoted", True),
    }
    assert all(held.age_s is not None and held.age_s >= 0 for held in status.images)
    yard.small.hosts["vch-a"].images.remove(BARE.pin(two.digest))
    (status,) = survey([yard.target], [BARE], yard.small.world(), jobs=1)
    assert [held.image.digest for held in status.images if held.state == "drifted"] == [two.digest]
    assert [(one.kind, one.image) for one in status.drift] == [(DriftKind.MISSING, BARE.pin(two.digest))]


def test_status_tells_what_runs_and_which_of_it_the_ledger_does_not_know() -> None:
    yard = Yard()
    one, two = yard.promoted(2)
    host, stray = yard.small.hosts["vch-a"], yard.image()
    for name, digest in (("new", two.digest), ("old", one.digest), ("odd", stray.digest)):
        host.create(name, Reference(BARE, digest=digest))
    host.containers.append(Container("bare", "running", f"{REPOSITORY}:dev", ()))
    host.containers.append(Container("done", "exited", f"{REPOSITORY}:dev", (BARE.pin(stray.digest),)))
    host.containers.append(Container("other", "running", "busybox", ()))
    (status,) = survey([yard.target], [BARE], yard.small.world(), jobs=1)
    rows = {held.image.digest: held for held in status.images}
    assert [one.name for one in rows[two.digest].containers] == ["new"]
    assert (rows[two.digest].running, rows[two.digest].current) == (True, True)
    assert (rows[stray.digest].state, [one.name for one in rows[stray.digest].containers]) == (
        "present",
        ["done", "odd"],
    )
    assert [(one.kind.value, one.container, one.image) for one in status.drift] == [
        ("unrecorded", "bare", None),
        ("unrecorded", "odd", BARE.pin(stray.digest)),
        ("not_current", "old", BARE.pin(one.digest)),
    ]
    assert status.to_json()["images"][0]["containers"][0]["created_from"].startswith(REPOSITORY)
    assert status.to_json()["drift"][0]["image"] is None


def test_status_of_an_older_index_that_still_runs_is_by_its_record() -> None:
    yard = Yard()
    index = yard.small.registry.add_index(REPOSITORY, media_type=media.DOCKER_LIST)
    yard.small.sign(index)
    world = yard.small.world()
    apply(make_plan("x", Reference(BARE, digest=index.digest), [yard.target], world), world)
    platform = index.manifests[0].digest
    yard.small.hosts["vch-a"].create("old", Reference(BARE, digest=platform))
    yard.promoted(1)
    (status,) = survey([yard.target], [BARE], yard.small.world(), jobs=1)
    assert [(held.state, held.running) for held in status.images if held.image.digest == platform] == [
        ("promoted", True)
    ]
    assert [one.kind for one in status.drift] == [DriftKind.NOT_CURRENT]


def test_what_runs_where_nothing_is_on_record_is_told() -> None:
    yard = Yard()
    stray = yard.image()
    yard.small.hosts["vch-a"].create("odd", Reference(BARE, digest=stray.digest))
    (status,) = survey([yard.target], [BARE], yard.small.world(), jobs=1)
    assert [(one.kind.value, one.message) for one in status.drift] == [
        ("unrecorded", f"odd runs {BARE.pin(stray.digest)}, which no record brought there")
    ]


def test_status_knows_a_promoted_index_by_its_platform() -> None:
    yard = Yard()
    index = yard.small.registry.add_index(REPOSITORY, media_type=media.DOCKER_LIST)
    yard.small.sign(index)
    world = yard.small.world()
    apply(make_plan("x", Reference(BARE, digest=index.digest), [yard.target], world), world)
    (status,) = survey([yard.target], [BARE], yard.small.world(), jobs=1)
    assert [(held.state, held.current) for held in status.images] == [("promoted", True)]


def test_status_of_a_record_without_a_time_has_no_age() -> None:
    yard = Yard()
    one = yard.image()
    yard.attach(one, {"targets": [{"target": "vch-a", "outcome": "present", "digest": str(one.digest)}]})
    yard.small.hosts["vch-a"].images.add(BARE.pin(one.digest))
    (status,) = survey([yard.target], [BARE], yard.small.world(), jobs=1)
    assert [(held.state, held.age_s) for held in status.images] == [("promoted", None)]


class Desk:
    """A plan in a file, for the second image of a yard, and the world in which it is opened again."""

    def __init__(self) -> None:
        self.yard = Yard()
        self.beside = self.yard.small.target("engine-a", TargetKind.DOCKER)
        self.targets = {"vch-a": self.yard.target, "engine-a": self.beside}
        (self.one,) = self.yard.promoted(1)
        self.two = self.yard.image()
        world = self.yard.small.world()
        plan = make_plan(str(TAGGED), TAGGED, tuple(self.targets.values()), world)
        self.saved = SavedPlan.of([observe(plan, world, jobs=2)], world, reason="release")

    def refresh(self, *, max_age_h: float = 24.0) -> PromotionPlan:
        saved = SavedPlan.parse(self.saved.text())
        assert saved == self.saved
        (plan,) = refresh(saved, [TAGGED], self.targets, self.yard.small.world(), max_age_h=max_age_h)
        return plan

    def stale(self, said: str) -> None:
        with pytest.raises(StalePlanError, match=said) as refused:
            self.refresh()
        assert "new plan" in str(refused.value.hint)


def test_a_saved_plan_is_the_one_that_is_carried_out() -> None:
    desk = Desk()
    plan = desk.refresh()
    assert plan.digest == desk.saved.plans[0].digest
    assert [one.previous for one in desk.saved.plans[0].targets] == [(desk.one.digest,), ()]
    assert [one.current for one in plan.targets] == [desk.one.digest, None]


def test_a_plan_half_carried_out_is_taken_up_again() -> None:
    desk = Desk()
    desk.yard.small.hosts["engine-a"].faults.down = True
    assert apply(desk.refresh(), desk.yard.small.world()).failed
    assert "what it holds is not known" in desk.yard.warnings()
    desk.yard.small.hosts["engine-a"].faults.down = False
    assert not apply(desk.refresh(), desk.yard.small.world()).failed


def test_a_plan_is_stale_once_its_tag_moved() -> None:
    desk = Desk()
    desk.yard.image()
    desk.stale("1.4 is now sha256:.*, the plan says")


def test_a_plan_is_stale_once_its_image_is_gone() -> None:
    desk = Desk()
    del desk.yard.small.registry.tags[BARE, "1.4"]
    desk.stale("no such manifest")


def test_a_plan_is_stale_once_a_policy_changed() -> None:
    desk = Desk()
    desk.yard.small.policy = TrustPolicy("prod", (CI, STRANGER))
    desk.stale("policy prod was changed")
    desk.yard.small.policy = TrustPolicy("prod", (CI, PublicKey("k", b"pem")), require_provenance=True)
    desk.stale("policy prod was changed; gate provenance .prod. is newly asked")


def test_a_plan_is_stale_once_a_gate_says_no_or_is_not_asked() -> None:
    desk = Desk()
    reject(TAGGED, "leaks", desk.yard.small.world())
    desk.stale(r"gate rejection \(prod\) now says no: .*leaks")
    odd = replace(
        desk.saved.plans[0], gates=(*desk.saved.plans[0].gates, replace(desk.saved.plans[0].gates[0], gate="odd"))
    )
    desk.saved = replace(desk.saved, plans=(odd,))
    desk.stale("gate odd is no longer asked")


def test_a_plan_is_stale_once_a_target_is_another_or_gone() -> None:
    desk = Desk()
    desk.targets["vch-a"] = replace(desk.yard.target, host="tcp://other:2376")
    desk.stale("target vch-a: host is now tcp://other:2376, the plan says tcp://vch-a:2376")
    del desk.targets["vch-a"]
    desk.stale("target vch-a is no longer configured")


def test_a_plan_is_stale_once_a_target_was_brought_elsewhere() -> None:
    desk = Desk()
    three = desk.yard.small.registry.add_image(REPOSITORY)
    desk.yard.small.sign(three)
    desk.yard.promote(three, *desk.targets.values())
    desk.stale(f"target vch-a: it was at {desk.one.digest}, and is now at {three.digest}")


def test_a_plan_is_stale_once_a_target_holds_something_else() -> None:
    desk = Desk()
    images = desk.yard.small.hosts["vch-a"].images
    images.add(BARE.pin(Digest.of(b"by hand")))
    images.discard(BARE.pin(desk.one.digest))
    desk.stale("it now holds .*it no longer holds")


def test_a_plan_is_stale_when_it_is_old_or_of_tomorrow() -> None:
    desk = Desk()
    made = desk.saved.created
    desk.saved = replace(desk.saved, created=made - timedelta(hours=25))
    desk.stale(r"25\.0 h old, at most 24 h")
    assert desk.refresh(max_age_h=26).image == desk.saved.plans[0].image
    desk.saved = replace(desk.saved, created=made + timedelta(hours=1))
    desk.stale("still to come")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "not a promotion plan"),
        pytest.param("[" * 100_000, "not a promotion plan", id="deep"),
        ("[]", "not a promotion plan"),
        ("{}", "not a promotion plan"),
    ],
)
def test_a_file_that_is_no_plan_is_input(text: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        SavedPlan.parse(text)


def test_a_plan_changed_by_hand_or_of_another_kind_is_input() -> None:
    data = Desk().saved.to_json()
    for changed in (data | {"reason": "other"}, data | {"digest": "x"}):
        with pytest.raises(InputError, match="changed after"):
            SavedPlan.parse(json.dumps(changed))
    with pytest.raises(InputError, match=r"imagepipe\.other/v1"):
        SavedPlan.parse(json.dumps(data | {"schema": "imagepipe.other/v1"}))


def test_a_plan_for_a_target_that_was_away_says_nothing_of_what_it_holds() -> None:
    desk = Desk()
    desk.yard.small.connect_errors["engine-a"] = UnavailableError("nobody answers")
    world = desk.yard.small.world()
    plan = observe(desk.saved.plans[0], world, jobs=2)
    desk.saved = SavedPlan.of([plan], world)
    desk.yard.small.connect_errors.clear()
    assert plan.targets[1].previous is None
    assert desk.refresh().targets[1].previous == ()


def test_the_ledger_believes_ourselves_beside_the_policy_where_we_write() -> None:
    yard = Yard()
    one = yard.image()
    yard.small.signer = MemorySigner(STRANGER)
    yard.promote(one)
    found = Ledger(yard.small.world(), also=(STRANGER,)).newest(BARE, yard.target)
    assert isinstance(found, Entry)
    assert Ledger(yard.small.world()).newest(BARE, yard.target) is None


def test_a_record_that_says_no_proper_time_is_still_followed() -> None:
    yard = Yard()
    one = yard.image()
    named = {"target": "vch-a", "outcome": "promoted", "digest": str(one.digest), "sequence": 1}
    yard.small.registry.tags[BARE, head_tag("vch-a")] = yard.attach(one, {"targets": [named], "finishedOn": "soon"})
    yard.promote(yard.image())
    assert sorted(entry.link.sequence for entry in yard.chain().entries) == [1, 2]


def test_what_the_list_says_is_too_old_is_not_read() -> None:
    yard = Yard()
    (one,) = yard.promoted(1)
    world = yard.small.world()
    yard.small.registry.calls.clear()
    assert world.reader.findings(BARE.pin(one.digest), (CI,), since="2999-01-01T00:00:00Z") == ()
    assert yard.small.registry.calls == ["list"]
    assert len(world.reader.findings(BARE.pin(one.digest), (CI,), since="2000-01-01T00:00:00Z")) == 2


def test_a_plan_is_stale_when_another_promotion_was_there_while_it_waited_for_the_target() -> None:
    desk = Desk()
    plan = desk.refresh()
    world = desk.yard.small.world()
    check_ledger(desk.saved, world)
    three = desk.yard.small.registry.add_image(REPOSITORY)
    desk.yard.small.sign(three)
    desk.yard.promote(three)
    pulled = list(desk.yard.small.hosts["vch-a"].pulled)
    with pytest.raises(StalePlanError, match=f"vch-a: it was at {desk.one.digest}, and is now at {three.digest}"):
        apply(plan, world, still=lambda: check_ledger(desk.saved, world))
    assert desk.yard.small.hosts["vch-a"].pulled == pulled


def test_a_record_that_goes_while_it_is_looked_for_is_found_by_what_is_attached() -> None:
    registry = Vanishing()
    yard = Yard(Small(registry=registry))
    manifests = yard.promoted(2)
    registry.gone = yard.head()
    (chain,) = chains(BARE, [yard.target], yard.small.world(), near=[one.digest for one in manifests])
    assert where(chain) == [(1, "verified"), (2, "verified")]
    assert chain.breaks == ("the tag of the newest record is gone after sequence 2: records may be too",)
