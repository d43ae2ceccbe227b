import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from time import monotonic, sleep

import pytest

from imagepipe.errors import (
    CredentialsError,
    DeadlineError,
    GateError,
    IdentityError,
    NotFoundError,
    RefusedError,
    SettingsError,
    StalePlanError,
    StorageFullError,
    UnavailableError,
    UnsupportedError,
)
from imagepipe.events import Retried
from imagepipe.model import media
from imagepipe.model.digest import Digest
from imagepipe.model.evidence import PROMOTION_PREDICATE, PROVENANCE_PREDICATE, Bundle, Statement, TrustPolicy
from imagepipe.model.host import HostInfo, Target, TargetKind
from imagepipe.model.lock import Held
from imagepipe.model.manifest import Platform
from imagepipe.model.promotion import Arrival, PromotionPlan, TargetPlan
from imagepipe.model.reference import Pinned, Reference
from imagepipe.promote.plan import make_plan
from imagepipe.promote.record import Promotion, apply, check_gates
from imagepipe.promote.status import survey
from tests.contract.engine_memory import MemoryHost
from tests.contract.signing_memory import MemorySigner
from tests.unit.promote.world import CI, REPOSITORY, STRANGER, Small

TAGGED = Reference.parse(f"{REPOSITORY}:1.4")
BARE = Reference.parse(REPOSITORY).repository


def promote(small: Small, *targets: Target, reference: Reference = TAGGED, jobs: int = 8) -> Promotion:
    world = small.world()
    return apply(make_plan(str(reference), reference, targets, world), world, reason="release", jobs=jobs)


def records(small: Small, image: Pinned) -> list[dict[str, object]]:
    found = small.world().reader.proofs(image, PROMOTION_PREDICATE, (CI,))
    return [dict(proof.verified.statement.predicate) for proof in found]


def test_a_vch_pulls_by_a_tag_made_from_the_digest_and_holds_the_image() -> None:
    small = Small()
    manifest = small.image()
    promotion = promote(small, small.target("vch-a"))
    image = BARE.pin(manifest.digest)
    assert [one.arrival for one in promotion.targets] == [Arrival.PROMOTED]
    assert small.hosts["vch-a"].pulled == [image.carrier]
    assert small.hosts["vch-a"].holds(image)
    assert set(promotion.targets[0].proof) == {"pull", "layers", "tag", "inspect", "probe"}


def test_an_engine_pulls_by_digest() -> None:
    small = Small()
    manifest = small.image()
    promote(small, small.target("engine-a", TargetKind.DOCKER))
    assert small.hosts["engine-a"].pulled == [Reference(BARE, digest=manifest.digest)]
    assert (BARE, BARE.pin(manifest.digest).carrier.tag) not in small.registry.tags


def test_the_tag_is_resolved_once() -> None:
    small = Small()
    manifest = small.image()
    world = small.world()
    plan = make_plan(str(TAGGED), TAGGED, [small.target("vch-a")], world)
    small.registry.move(REPOSITORY, "1.4")
    promotion = apply(plan, world)
    assert promotion.targets[0].digest == manifest.digest
    assert not promotion.failed


def test_a_pinned_image_needs_no_tag() -> None:
    small = Small()
    manifest = small.registry.add_image(REPOSITORY)
    small.sign(manifest)
    promotion = promote(small, small.target("vch-a"), reference=Reference(BARE, digest=manifest.digest))
    assert not promotion.failed


def test_an_image_without_a_tag_means_latest() -> None:
    small = Small()
    manifest = small.image("latest")
    assert promote(small, small.target("vch-a"), reference=Reference(BARE)).plan.image.digest == manifest.digest


def test_the_record_names_every_target_and_the_plan() -> None:
    small = Small()
    manifest = small.image()
    promotion = promote(small, small.target("vch-a"), small.target("engine-a", TargetKind.DOCKER))
    (record,) = records(small, BARE.pin(manifest.digest))
    assert record["plan"] == str(promotion.plan.digest)
    assert record["reason"] == "release"
    targets = record["targets"]
    assert isinstance(targets, list)
    assert [(one["target"], one["outcome"]) for one in targets] == [("vch-a", "promoted"), ("engine-a", "promoted")]


def test_running_again_pulls_nothing_onto_an_engine_and_writes_no_second_record() -> None:
    small = Small()
    manifest = small.image()
    targets = small.target("vch-a"), small.target("engine-a", TargetKind.DOCKER)
    first = promote(small, *targets)
    second = promote(small, *targets)
    assert [one.arrival for one in second.targets] == [Arrival.PRESENT, Arrival.PRESENT]
    assert len(small.hosts["engine-a"].pulled) == 1
    assert second.record == first.record
    assert len(records(small, BARE.pin(manifest.digest))) == 1


def test_what_a_vch_calls_by_the_right_digest_is_still_held_against_the_plan() -> None:
    small = Small()
    manifest = small.image()
    target = small.target("vch-a")
    small.hosts["vch-a"].images.add(BARE.pin(manifest.digest))
    small.hosts["vch-a"].faults.layer_ids = (Digest.of(b"another layer").short,)
    (result,) = promote(small, target).targets
    assert result.arrival is Arrival.FAILED
    assert result.error_kind == "digest_mismatch"


def test_an_image_that_was_there_before_imagepipe_is_recorded() -> None:
    small = Small()
    manifest = small.image()
    target = small.target("vch-a")
    small.hosts["vch-a"].images.add(BARE.pin(manifest.digest))
    promotion = promote(small, target)
    assert promotion.record is not None
    assert len(records(small, BARE.pin(manifest.digest))) == 1


def test_one_target_down_does_not_stop_the_others_and_the_record_says_so() -> None:
    small = Small()
    manifest = small.image()
    targets = [small.target("vch-a"), small.target("vch-b")]
    small.hosts["vch-b"].faults.down = True
    promotion = promote(small, *targets)
    assert [one.arrival for one in promotion.targets] == [Arrival.PROMOTED, Arrival.FAILED]
    assert promotion.targets[1].exit_code == UnavailableError.exit_code
    assert "to vch-b" in str(promotion.targets[1].error)
    (record,) = records(small, BARE.pin(manifest.digest))
    assert "failed" in json.dumps(record)


def test_a_target_that_came_back_is_taken_up_by_the_same_command() -> None:
    small = Small()
    manifest = small.image()
    targets = [small.target("vch-a"), small.target("vch-b")]
    small.connect_errors["vch-b"] = CredentialsError("certificate expired")
    assert promote(small, *targets).failed
    small.connect_errors.clear()
    again = promote(small, *targets)
    assert [one.arrival for one in again.targets] == [Arrival.PRESENT, Arrival.PROMOTED]
    assert len(records(small, BARE.pin(manifest.digest))) == 2


def test_one_host_under_two_names_has_one_pull_at_a_time() -> None:
    small = Small()
    small.image()
    one = small.target("vch-a")
    two = Target("alias", TargetKind.VCH, one.host, policy="prod")
    small.hosts["alias"] = small.hosts["vch-a"]
    promotion = promote(small, one, two)
    assert [result.arrival for result in promotion.targets] == [Arrival.PROMOTED, Arrival.PRESENT]


@pytest.mark.parametrize("who", [None, STRANGER])
def test_without_a_trusted_signature_no_host_is_touched(who: object) -> None:
    small = Small()
    manifest = small.registry.add_image(REPOSITORY, "1.4")
    if who:
        small.sign(manifest, STRANGER)
    target = small.target("vch-a")
    with pytest.raises(GateError, match="signature") as refused:
        promote(small, target)
    assert refused.value.hint
    assert small.hosts["vch-a"].pulled == []
    assert (BARE, BARE.pin(manifest.digest).carrier.tag) not in small.registry.tags


def test_a_signature_moved_over_from_another_image_does_not_count() -> None:
    small = Small()
    signed, other = small.image("1.3"), small.registry.add_image(REPOSITORY, "1.4")
    (descriptor,) = small.registry.list(BARE.pin(signed.digest))
    artifact = small.registry.fetch(BARE.pin(signed.digest), descriptor)
    small.registry.attach(BARE.pin(other.digest), other.descriptor, artifact)
    with pytest.raises(GateError, match="another image"):
        promote(small, small.target("vch-a"))


def test_provenance_is_asked_for_where_the_policy_says_so() -> None:
    small = Small(policy=TrustPolicy("prod", (CI,), require_provenance=True))
    manifest = small.image()
    with pytest.raises(GateError, match="provenance"):
        promote(small, small.target("vch-a"))
    small.sign(manifest, CI, PROVENANCE_PREDICATE)
    assert not promote(small, small.target("vch-a")).failed


@pytest.mark.parametrize(
    ("made", "gate"),
    [
        ({"media_type": media.OCI_MANIFEST}, "media type"),
        ({"history": 91, "empty_history": 90}, "91 of at most 90"),
        ({"platform": Platform("linux", "arm64")}, "linux/arm64"),
        ({"history": 0, "empty_history": 0}, "0 history entries"),
    ],
)
def test_what_a_vch_cannot_take_is_found_before_it_is_asked(made: dict[str, object], gate: str) -> None:
    small = Small()
    small.image("1.4", **made)
    with pytest.raises(GateError, match=gate):
        promote(small, small.target("vch-a"))
    assert small.hosts["vch-a"].pulled == []


def test_what_a_vch_cannot_take_an_engine_may() -> None:
    small = Small()
    small.image(media_type=media.OCI_MANIFEST)
    assert not promote(small, small.target("engine-a", TargetKind.DOCKER)).failed


def test_an_index_is_promoted_as_its_linux_amd64_manifest() -> None:
    small = Small()
    index = small.registry.add_index(REPOSITORY, "1.4", media_type=media.DOCKER_LIST)
    small.sign(index)
    promotion = promote(small, small.target("vch-a"), small.target("engine-a", TargetKind.DOCKER))
    child = index.manifests[0].digest
    assert promotion.plan.image.digest == index.digest
    assert {one.digest for one in promotion.targets} == {child}
    assert small.hosts["vch-a"].holds(BARE.pin(child))


def test_an_index_without_linux_amd64_is_refused() -> None:
    small = Small()
    arm = Platform("linux", "arm64")
    small.sign(small.registry.add_index(REPOSITORY, "1.4", [(arm, small.registry.add_image(REPOSITORY, platform=arm))]))
    with pytest.raises(UnsupportedError, match="linux/amd64"):
        promote(small, small.target("vch-a"))


def test_an_index_of_indexes_is_refused() -> None:
    small = Small()
    inner = small.registry.add_index(REPOSITORY)
    amd = Platform("linux", "amd64")
    outer = small.registry.add_index(REPOSITORY, "1.4", [(amd, inner)])  # type: ignore[list-item]  # that is the point
    small.sign(outer)
    with pytest.raises(NotFoundError, match="not an image manifest"):
        promote(small, small.target("vch-a"))


def test_an_unknown_tag_is_not_found() -> None:
    small = Small()
    with pytest.raises(NotFoundError):
        promote(small, small.target("vch-a"))


def test_a_registry_that_returns_other_bytes_is_refused() -> None:
    small = Small()
    small.registry.corrupt(small.image().digest)
    with pytest.raises(RefusedError, match="digest"):
        promote(small, small.target("vch-a"))


def test_an_image_that_vanished_after_the_plan_is_told() -> None:
    small = Small()
    manifest = small.image()
    world = small.world()
    plan = make_plan(str(TAGGED), TAGGED, [small.target("vch-a")], world)
    other = TargetPlan(plan.targets[0].target, BARE.pin(Digest.of(b"other")), None)
    stale = PromotionPlan(plan.requested, plan.image, (other,), plan.gates)
    with pytest.raises(StalePlanError):
        apply(stale, world)
    del small.registry.blobs[BARE, manifest.digest]
    with pytest.raises(NotFoundError):
        apply(plan, world)


@pytest.mark.parametrize("policy", [None, "missing"])
def test_a_target_without_a_policy_takes_nothing(policy: str | None) -> None:
    small = Small()
    small.image()
    small.target("vch-a")
    with pytest.raises(SettingsError, match="policy"):
        promote(small, Target("vch-a", TargetKind.VCH, "tcp://vch-a:2376", policy=policy))


def test_a_policy_that_trusts_nobody_refuses() -> None:
    small = Small(policy=TrustPolicy("prod", ()))
    small.image()
    with pytest.raises(GateError, match="trusts nobody"):
        promote(small, small.target("vch-a"))


def failed_with(small: Small, target: Target) -> str:
    (result,) = promote(small, target).targets
    assert result.arrival is Arrival.FAILED
    assert result.hint
    return str(result.error)


def test_a_carrier_tag_that_points_elsewhere_is_never_moved() -> None:
    small = Small()
    manifest = small.image()
    carrier = BARE.pin(manifest.digest).carrier
    small.registry.immutable.add((BARE, str(carrier.tag)))
    small.registry.move(REPOSITORY, str(carrier.tag))
    (result,) = promote(small, small.target("vch-a")).targets
    assert result.arrival is Arrival.FAILED
    assert small.hosts["vch-a"].pulled == []


def test_every_tag_to_pull_by_is_there_before_anybody_pulls() -> None:
    """A registry may answer nonsense to who reads a manifest while a tag is put on it."""
    small = Small()
    carrier = BARE.pin(small.image().digest).carrier
    found = list[Digest]()
    engine, vch = small.target("engine-a", TargetKind.DOCKER), small.target("vch-a")
    small.hosts["engine-a"].faults.during_pull = lambda: found.append(small.registry.resolve(carrier).digest)
    promotion = promote(small, engine, vch, jobs=1)
    assert [one.arrival for one in promotion.targets] == [Arrival.PROMOTED] * 2
    assert found == [promotion.plan.image.digest]


def test_a_tag_that_cannot_be_put_keeps_the_image_from_who_pulls_by_it_only() -> None:
    small = Small()
    carrier = BARE.pin(small.image().digest).carrier
    small.registry.immutable.add((BARE, str(carrier.tag)))
    small.registry.move(REPOSITORY, str(carrier.tag))
    engine, vch = small.target("engine-a", TargetKind.DOCKER), small.target("vch-a")
    promotion = promote(small, vch, engine)
    assert [one.arrival for one in promotion.targets] == [Arrival.FAILED, Arrival.PROMOTED]
    assert str(carrier.tag) in str(promotion.targets[0].error)


def test_no_tag_is_put_for_a_target_that_is_not_locked() -> None:
    small = Small()
    carrier = BARE.pin(small.image().digest).carrier
    vch = small.target("vch-a")
    small.held = Held(failed={vch.host: UnavailableError("nobody answers")})
    assert "nobody answers" in str(promote(small, vch).targets[0].error)
    assert (BARE, str(carrier.tag)) not in small.registry.tags


def test_a_tag_that_moves_during_the_pull_is_found() -> None:
    small = Small()
    manifest = small.image()
    carrier = str(BARE.pin(manifest.digest).carrier.tag)
    target = small.target("vch-a")
    small.hosts["vch-a"].faults.during_pull = lambda: void(small.registry.move(REPOSITORY, carrier))
    assert "after the pull" in failed_with(small, target)


def void(_: object) -> None:
    return None


def test_layers_of_another_image_are_found() -> None:
    small = Small()
    small.image()
    target = small.target("vch-a")
    small.hosts["vch-a"].faults.layer_ids = ("a3ed95caeb02", "0123456789ab")
    assert "layers of another image" in failed_with(small, target)


def test_a_pull_that_names_no_layers_is_judged_by_the_rest() -> None:
    small = Small()
    small.image()
    target = small.target("vch-a")
    small.hosts["vch-a"].faults.layer_ids = ()
    assert not promote(small, target).failed


def test_a_pull_that_reports_another_digest_is_found() -> None:
    small = Small()
    small.image()
    target = small.target("vch-a")
    small.hosts["vch-a"].faults.reports = Digest.of(b"other")
    assert str(Digest.of(b"other")) in failed_with(small, target)


def test_a_pull_without_a_digest_line_proves_nothing() -> None:
    small = Small()
    small.image()
    target = small.target("engine-a", TargetKind.DOCKER)
    small.hosts["engine-a"].faults.no_digest_line = True
    assert "nothing that it can name" in failed_with(small, target)


def test_a_host_that_does_not_know_the_image_afterwards_is_found() -> None:
    small = Small()
    small.image()
    target = small.target("vch-a")
    small.hosts["vch-a"].faults.forgets = True
    assert "does not know" in failed_with(small, target)


def test_an_image_whose_layers_are_missing_is_found_by_the_probe() -> None:
    small = Small()
    small.image()
    target = small.target("vch-a")
    small.hosts["vch-a"].faults.layers_missing = True
    (result,) = promote(small, target).targets
    assert result.arrival is Arrival.FAILED
    assert "create a container" in str(result.error)


def test_an_engine_configured_as_a_vch_is_refused() -> None:
    small = Small()
    small.image()
    small.target("vch-a", TargetKind.DOCKER)
    error = failed_with(small, Target("vch-a", TargetKind.VCH, "tcp://vch-a:2376", policy="prod"))
    assert "configured as vch" in error


def test_a_vch_that_is_still_starting_is_unavailable() -> None:
    small = Small()
    small.image()
    target = small.target("vch-a")
    small.hosts["vch-a"].faults.not_ready = True
    assert "not ready" in failed_with(small, target)


@pytest.mark.parametrize(
    ("whitelist", "allowed"),
    [
        (("other.example",), False),
        (("vic.example",), True),
        (("*.example",), True),
        (("10.0.0.0/8",), True),
        ((), False),
    ],
)
def test_a_whitelist_that_cannot_match_is_told_before_the_pull(whitelist: tuple[str, ...], allowed: bool) -> None:
    small = Small()
    small.image()
    target = small.target("vch-a")
    small.hosts["vch-a"].whitelist = whitelist
    (result,) = promote(small, target).targets
    if not allowed:
        assert "whitelist" in str(result.error)
        assert small.hosts["vch-a"].pulled == []
    else:
        assert "not on the registry whitelist" not in str(result.error)


def test_a_registry_that_was_away_is_asked_again_a_bounded_number_of_times() -> None:
    small = Small()
    small.image()
    target = small.target("vch-a")
    small.hosts["vch-a"].faults.pull_errors = [UnavailableError("EOF")] * 2
    assert not promote(small, target).failed
    assert small.paused_s == [5.0, 10.0]
    assert [type(event) for event in small.events].count(Retried) == 2


def test_a_registry_that_stays_away_is_told_after_three_pulls() -> None:
    small = Small()
    small.image()
    target = small.target("vch-a")
    small.hosts["vch-a"].faults.pull_errors = [UnavailableError("EOF")] * 3
    assert promote(small, target).failed
    assert len(small.hosts["vch-a"].pulled) == 3


@pytest.mark.parametrize("error", [DeadlineError("no answer"), StorageFullError("no space"), RefusedError("no")])
def test_what_another_pull_cannot_help_is_not_repeated(error: UnavailableError) -> None:
    small = Small()
    small.image()
    target = small.target("vch-a")
    small.hosts["vch-a"].faults.pull_errors = [error]
    assert promote(small, target).failed
    assert len(small.hosts["vch-a"].pulled) == 1


class Asked(MemoryHost):
    """A target that tells when it is asked what it is."""

    def info(self) -> HostInfo:
        self.asked = True
        return super().info()

    asked = False


def test_a_target_is_asked_what_it_is_while_it_is_locked() -> None:
    small = Small()
    small.image()
    host = small.hosts["vch-a"] = Asked(TargetKind.VCH, small.registry, name="vch-a")
    seen = list[bool]()

    @contextmanager
    def locking(targets: Sequence[Target]) -> Iterator[Held]:
        deadline = monotonic() + 10
        while not host.asked and monotonic() < deadline:
            sleep(0.001)
        seen.append(host.asked)
        yield Held()

    world = replace(small.world(), exclusive=locking)
    done = apply(make_plan(str(TAGGED), TAGGED, [small.target("vch-a")], world), world)
    assert (seen, done.failed) == ([True], ())


def test_without_anybody_to_sign_the_record_no_host_is_touched() -> None:
    small = Small()
    small.image()
    small.signer.failure = IdentityError("expired")
    with pytest.raises(IdentityError):
        promote(small, small.target("vch-a"))
    assert small.hosts["vch-a"].pulled == []


class LogAway(MemorySigner):
    """Knows who it is, but cannot sign."""

    def sign(self, statements: Sequence[Statement]) -> tuple[Bundle, ...]:
        raise UnavailableError("the log is away")


def test_a_record_that_cannot_be_attached_is_told_with_what_was_done() -> None:
    small = Small(signer=LogAway(CI))
    small.image()
    promotion = promote(small, small.target("vch-a"))
    assert [one.arrival for one in promotion.targets] == [Arrival.PROMOTED]
    assert promotion.record is None
    assert "the log is away" in str(promotion.record_error)


def test_who_signs_prepares_for_what_is_new_on_a_target_and_for_nothing_else() -> None:
    small = Small()
    small.image()
    promote(small, small.target("vch-a"))
    assert small.signer.prepared == 1
    promote(small, small.target("vch-a"))
    assert small.signer.prepared == 1


class Unprepared(MemorySigner):
    """Can sign, but not beforehand."""

    def prepare(self) -> None:
        raise UnavailableError("the authority is away")


def test_who_cannot_prepare_signs_all_the_same() -> None:
    small = Small(signer=Unprepared(CI))
    small.image()
    promotion = promote(small, small.target("vch-a"))
    assert (promotion.record is None, promotion.record_error) == (False, None)


def test_a_plan_whose_gates_said_no_is_not_carried_out() -> None:
    small = Small()
    small.registry.add_image(REPOSITORY, "1.4")
    world = small.world()
    plan = make_plan("x", TAGGED, [small.target("vch-a")], world)
    with pytest.raises(GateError):
        check_gates(plan)
    with pytest.raises(GateError):
        apply(plan, world)


def test_equal_plans_have_equal_digests_and_other_targets_another() -> None:
    small = Small()
    small.image()
    world = small.world()
    one = make_plan("x", TAGGED, [small.target("vch-a")], world)
    two = make_plan("y", TAGGED, [small.target("vch-a")], world)
    three = make_plan("x", TAGGED, [small.target("vch-b")], world)
    assert one.digest == two.digest != three.digest


def test_status_tells_promoted_present_and_unsigned_apart() -> None:
    small = Small()
    promoted = small.image()
    promote(small, small.target("vch-a"))
    present = small.registry.add_image(REPOSITORY, "1.5")
    small.hosts["vch-a"].images.add(BARE.pin(present.digest))
    (status,) = survey([small.target("vch-a")], [BARE], small.world(), jobs=1)
    states = {held.image.digest: (held.state, held.signed_by) for held in status.images}
    assert states == {promoted.digest: ("promoted", str(CI)), present.digest: ("present", None)}
    assert status.to_json()["version"] == "1.5.8"


def test_status_tells_of_a_target_that_is_away_and_of_an_image_that_left_the_registry() -> None:
    small = Small()
    small.target("vch-a")
    small.hosts["vch-a"].images.add(BARE.pin(Digest.of(b"gone")))
    small.connect_errors["vch-b"] = UnavailableError("nobody answers")
    small.target("vch-b")
    here, away = survey([small.target("vch-a"), small.target("vch-b")], [BARE], small.world(), jobs=2)
    assert [held.signed_by for held in here.images] == [None]
    assert away.error is not None
    assert away.to_json()["error"] == {"kind": "unavailable", "message": "nobody answers"}


def test_status_of_a_target_without_a_policy_trusts_nobody() -> None:
    small = Small()
    manifest = small.image()
    target = Target("vch-a", TargetKind.VCH, "tcp://vch-a:2376")
    small.target("vch-a")
    small.hosts["vch-a"].images.add(BARE.pin(manifest.digest))
    (status,) = survey([target], [BARE], small.world(), jobs=1)
    assert [(held.state, held.signed_by) for held in status.images] == [("present", None)]


def test_a_malformed_registry_answer_makes_status_unknown() -> None:
    small = Small()
    manifest = small.image()
    target = small.target("vch-a")
    small.hosts["vch-a"].images.add(BARE.pin(manifest.digest))
    world = small.world()
    small.registry.failure = NotFoundError("the repository is gone")
    (status,) = survey([target], [BARE], world, jobs=1)
    assert [held.state for held in status.images] == ["unknown"]


def test_statements_of_another_plan_do_not_count_as_this_record() -> None:
    small = Small()
    manifest = small.image()
    image = BARE.pin(manifest.digest)
    world = small.world()
    world.writer.add(image, manifest.descriptor, Statement.about(image, PROMOTION_PREDICATE, {"plan": "another"}))
    small.target("vch-a")
    small.hosts["vch-a"].images.add(image)
    promote(small, small.target("vch-a"))
    assert len(records(small, image)) == 2


def test_evidence_is_listed_once_for_all_gates_and_once_for_the_place_of_the_record() -> None:
    small = Small()
    small.image()
    world, target = small.world(), small.target("vch-a")
    small.registry.calls.clear()
    plan = make_plan(str(TAGGED), TAGGED, [target], world)
    assert small.registry.calls.count("list") == 1
    small.registry.calls.clear()
    assert apply(plan, world).record is not None
    assert small.registry.calls.count("list") == 1
