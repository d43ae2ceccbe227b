import json
from dataclasses import replace

import pytest

from imagepipe.errors import DigestMismatchError, GateError, InputError, RefusedError, StalePlanError, UnsupportedError
from imagepipe.events import StepFinished, StepStarted
from imagepipe.model import media
from imagepipe.model.copying import Copying
from imagepipe.model.digest import Digest
from imagepipe.model.evidence import PROMOTION_PREDICATE, REJECTION_PREDICATE, Statement
from imagepipe.model.host import Target
from imagepipe.model.manifest import Manifest
from imagepipe.model.promotion import PromotionPlan
from imagepipe.model.reference import Pinned, Reference
from imagepipe.promote.copying import copy
from imagepipe.promote.history import chains
from imagepipe.promote.names import other_names
from imagepipe.promote.plan import make_plan
from imagepipe.promote.record import Promotion, apply, check_gates
from imagepipe.promote.reject import reject
from imagepipe.promote.rollback import Way, apply_rollback, plan_rollback
from imagepipe.promote.saved import SavedPlan, refresh
from tests.contract.signing_memory import MemorySigner
from tests.unit.promote.world import CI, REPOSITORY, Small

TAGGED = Reference.parse(f"{REPOSITORY}:1.4")
NAME = Reference.parse("vic.example/prod/hello:1.4")


def plan_of(small: Small, *targets: Target, name: Reference | None = NAME) -> PromotionPlan:
    return make_plan(str(TAGGED), TAGGED, targets or [small.target("vch-a")], small.world(), name=name)


def promote(small: Small, *targets: Target, name: Reference | None = NAME) -> Promotion:
    return apply(plan_of(small, *targets, name=name), small.world(), reason="release")


def copied(manifest: Manifest) -> Pinned:
    return NAME.repository.pin(manifest.digest)


def test_targets_get_the_copy_and_its_record_names_where_it_is_from() -> None:
    small = Small()
    manifest = small.image()
    promotion = promote(small)
    assert not promotion.failed
    assert small.hosts["vch-a"].holds(copied(manifest))
    assert small.hosts["vch-a"].pulled == [copied(manifest).carrier]
    assert small.registry.tags[NAME.repository, "1.4"] == manifest.digest
    found = small.world().reader.proofs(copied(manifest), PROMOTION_PREDICATE, (CI,))
    (record,) = [dict(proof.verified.statement.predicate) for proof in found]
    assert record["image"] == str(copied(manifest))
    assert record["copy"] == {"from": f"{REPOSITORY}@{manifest.digest}", "name": str(NAME)}


def test_the_name_is_written_when_all_evidence_is_there_and_before_a_host_is_touched() -> None:
    small = Small()
    small.image()
    promote(small)
    calls = small.registry.calls
    assert calls.index("copy") < calls.index("tag")
    told = [event.step for event in small.events if isinstance(event, StepStarted)]
    assert told == ["copy", "promote", "record"]
    (done,) = [event for event in small.events if isinstance(event, StepFinished) and event.step == "copy"]
    assert "1 attached" in done.detail


def test_nothing_is_copied_when_a_gate_says_no_where_the_image_is() -> None:
    small = Small()
    small.registry.add_image(REPOSITORY, "1.4")
    plan = plan_of(small)
    with pytest.raises(GateError, match="has no signature"):
        apply(plan, small.world())
    assert "copy" not in small.registry.calls
    assert all(repository.path != "prod/hello" for repository, _ in small.registry.blobs)


def test_a_name_that_points_elsewhere_is_refused_and_not_moved() -> None:
    small = Small()
    small.image()
    other = small.registry.add_image(NAME.repository, "1.4")
    plan = plan_of(small)
    with pytest.raises(GateError, match=f"points at {other.digest}") as caught:
        check_gates(plan)
    assert "never moved" in str(caught.value.hint)
    assert small.registry.tags[NAME.repository, "1.4"] == other.digest


def test_a_name_that_is_taken_between_plan_and_copy_is_not_moved_either() -> None:
    small = Small()
    manifest = small.image()
    plan = plan_of(small)
    other = small.registry.add_image(NAME.repository, "1.4")
    with pytest.raises(RefusedError, match="by now"):
        apply(plan, small.world())
    assert small.registry.tags[NAME.repository, "1.4"] == other.digest
    assert not small.hosts["vch-a"].holds(copied(manifest))


def test_doing_it_again_changes_nothing() -> None:
    small = Small()
    small.image()
    first = promote(small)
    blobs, tags = dict(small.registry.blobs), dict(small.registry.tags)
    assert promote(small).record == first.record
    assert (small.registry.blobs, small.registry.tags) == (blobs, tags)


def test_a_name_that_does_not_stay_is_told() -> None:
    small = Small()
    manifest = small.image()

    class Moving:
        """Writes the tag, and somebody moves it at once."""

        def tag(self, *args: object) -> None:
            small.registry.move(NAME.repository, "1.4")

    world = replace(small.world(), sink=Moving())
    with pytest.raises(DigestMismatchError, match="after it was written"):
        copy(Copying(TAGGED.repository.pin(manifest.digest), NAME), world)


def test_the_copy_has_a_chain_of_its_own_although_the_records_came_along() -> None:
    small = Small()
    target = small.target("vch-a")
    for _ in range(2):
        small.image()
        promote(small, target, name=None)
    promotion = promote(small, target)
    (chain,) = chains(NAME.repository, [target], small.world())
    assert [place.record for place in chain.places] == [promotion.record]
    assert chain.places[0].sequence == 1
    assert not chain.breaks


def test_what_was_rolled_back_under_its_old_name_is_held_under_the_new_one() -> None:
    small = Small()
    target = small.target("vch-a")
    for _ in range(2):
        small.image()
        promote(small, target, name=None)
    apply_rollback(plan_rollback(Way(TAGGED.repository), [target], small.world()), small.world(), reason="it burns")
    with pytest.raises(GateError, match=r"hold \(vch-a\): held since .*it burns"):
        promote(small, target)


def test_who_rejects_a_copy_is_told_under_which_name_the_same_image_is_not_rejected() -> None:
    small = Small()
    manifest = small.image()
    built = TAGGED.repository.pin(manifest.digest)
    promote(small)
    assert reject(Reference(NAME.repository, digest=manifest.digest), "no", small.world()).elsewhere == (built,)
    assert reject(TAGGED, "no", small.world()).elsewhere == ()
    with pytest.raises(GateError, match="rejected"):
        promote(small)


def test_a_record_that_names_nothing_sensible_names_no_copy() -> None:
    small = Small()
    manifest = small.image()
    image = TAGGED.repository.pin(manifest.digest)
    odd = ({"copy": {"from": "nothing"}}, {"copy": "x"}, {"copy": {"from": f"vic.example/p/q@{manifest.digest}"}})
    for said in odd:
        small.sign(manifest, CI, PROMOTION_PREDICATE, {"image": str(image), **said})
    assert [str(one.repository) for one in other_names(image, (CI,), small.world())] == ["vic.example/p/q"]


def test_what_was_rejected_under_the_new_name_stays_rejected() -> None:
    small = Small()
    manifest = small.image()
    small.registry.copy(TAGGED.repository.pin(manifest.digest), NAME.repository)
    statement = Statement.about(copied(manifest), REJECTION_PREDICATE, {"reason": "no"})
    (bundle,) = MemorySigner(CI).sign([statement])
    artifact = bundle.as_artifact(REJECTION_PREDICATE, small.world().clock.now())
    small.registry.attach(copied(manifest), manifest.descriptor, artifact)
    with pytest.raises(GateError, match="rejection as prod/hello"):
        promote(small)


def test_an_index_is_copied_with_its_images_and_targets_hold_their_platform_of_the_copy() -> None:
    small = Small()
    index = small.registry.add_index(REPOSITORY, "1.4", media_type=media.DOCKER_LIST)
    small.sign(index)
    promotion = promote(small)
    (result,) = promotion.targets
    assert result.error is None
    assert small.hosts["vch-a"].holds(NAME.repository.pin(result.digest))


def test_a_saved_plan_says_what_is_copied_and_is_carried_out_as_saved() -> None:
    small = Small()
    manifest = small.image()
    target, world = small.target("vch-a"), small.world()
    saved = SavedPlan.of([plan_of(small, target)], world)
    assert json.loads(saved.text())["copy"] == {"from": f"{REPOSITORY}@{manifest.digest}", "name": str(NAME)}
    assert SavedPlan.parse(saved.text()) == saved
    (plan,) = refresh(saved, [TAGGED], {"vch-a": target}, world)
    apply(plan, world)
    assert small.hosts["vch-a"].holds(copied(manifest))


def test_a_saved_plan_is_stale_once_its_name_is_taken() -> None:
    small = Small()
    small.image()
    target, world = small.target("vch-a"), small.world()
    saved = SavedPlan.of([plan_of(small, target)], world)
    small.registry.add_image(NAME.repository, "1.4")
    with pytest.raises(StalePlanError, match=r"gate name vic.example/prod/hello:1.4 now says no"):
        refresh(saved, [TAGGED], {"vch-a": target}, world)


def test_another_name_makes_another_plan() -> None:
    small = Small()
    small.image()
    plans = [plan_of(small, name=name) for name in (None, NAME, NAME.repository.tagged("1.5"))]
    assert len({plan.digest for plan in plans}) == 3


@pytest.mark.parametrize("name", ["prod/hello", f"prod/hello:1@{Digest.of(b'x')}", "prod/hello:imagepipe-head.prod"])
def test_a_name_that_cannot_be_a_copys_is_refused(name: str) -> None:
    small = Small()
    small.image()
    with pytest.raises(InputError):
        plan_of(small, name=Reference.parse(name, default_registry="vic.example"))


def test_a_name_in_another_registry_is_refused() -> None:
    small = Small()
    small.image()
    with pytest.raises(UnsupportedError, match="inside one registry only"):
        plan_of(small, name=Reference.parse("other.example/prod/hello:1.4"))
