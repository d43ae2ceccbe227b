import json
from dataclasses import replace
from typing import Any

import pytest

from imagepipe.cli.history import describe_history
from imagepipe.errors import GateError, InputError, StalePlanError, UnavailableError, UsageError
from imagepipe.events import Warned
from imagepipe.model.digest import Digest
from imagepipe.model.evidence import PROMOTION_PREDICATE, Approvals, Identity
from imagepipe.model.host import TargetKind
from imagepipe.model.promotion import Arrival, PromotionPlan, digest_of
from imagepipe.model.reference import Pinned, Reference, Repository
from imagepipe.promote.approve import Desk
from imagepipe.promote.bundle import make_plans
from imagepipe.promote.history import chains, merged, timeline
from imagepipe.promote.ledger import Ledger
from imagepipe.promote.plan import make_plan
from imagepipe.promote.record import Promotion, apply_all
from imagepipe.promote.saved import BUNDLE_SCHEMA, SavedPlan, refresh, review
from tests.contract.signing_memory import MemorySigner
from tests.unit.promote.world import CI, Small

ALICE = Identity("alice@example.com", "https://issuer.example")
WEB, API, JOB = (Repository("vic.example", f"es-sandbox/{name}") for name in ("web", "api", "job"))


class Yard:
    """Three signed images of three repositories, and two targets."""

    def __init__(self) -> None:
        self.small = Small()
        self.images = {repository: self.image(repository) for repository in (WEB, API, JOB)}
        self.targets = [self.small.target("vch-a"), self.small.target("engine-a", TargetKind.DOCKER)]

    def image(self, repository: Repository, tag: str = "1.4") -> Pinned:
        made = self.small.registry.add_image(str(repository), tag)
        self.small.sign(made, repository=repository)
        return repository.pin(made.digest)

    def plans(self, *names: str) -> tuple[PromotionPlan, ...]:
        asked = names or tuple(f"{one}:1.4" for one in self.images)
        return make_plans([(one, Reference.parse(one)) for one in asked], self.targets, self.small.world())

    def promote(self, *names: str) -> tuple[Promotion, ...]:
        return apply_all(self.plans(*names), self.small.world(), reason="release")

    def records(self, image: Pinned) -> list[dict[str, Any]]:
        found = self.small.world().reader.proofs(image, PROMOTION_PREDICATE, (CI,))
        return [dict(proof.verified.statement.predicate) for proof in found]

    def outcomes(self, done: tuple[Promotion, ...], target: str) -> list[Arrival]:
        return [one.arrival for each in done for one in each.targets if one.target == target]


def test_a_target_takes_every_image_and_each_image_gets_a_record_that_names_the_others() -> None:
    yard = Yard()
    done = yard.promote()
    web, api, job = yard.images.values()
    assert yard.outcomes(done, "vch-a") == yard.outcomes(done, "engine-a") == [Arrival.PROMOTED] * 3
    assert all(yard.small.hosts[name].holds(image) for name in ("vch-a", "engine-a") for image in (web, api, job))
    (record,) = yard.records(api)
    assert record["bundle"] == [str(web), str(job)]
    assert len({each.record for each in done}) == 3
    for image in (web, api, job):
        assert [Ledger(yard.small.world()).chain(image.repository, target).breaks for target in yard.targets] == [
            (),
            (),
        ]


def test_one_image_alone_is_no_bundle() -> None:
    yard = Yard()
    world = yard.small.world()
    (plan,) = yard.plans(f"{WEB}:1.4")
    assert plan == make_plan(f"{WEB}:1.4", WEB.tagged("1.4"), yard.targets, world)
    assert digest_of([plan]) == plan.digest
    (done,) = apply_all([plan], world)
    (record,) = yard.records(done.plan.image)
    assert "bundle" not in record


def test_when_one_image_fails_on_a_target_the_whole_bundle_fails_there_and_names_the_cause() -> None:
    yard = Yard()
    web, api, job = yard.images.values()
    engine = yard.small.hosts["engine-a"]
    engine.faults.during_pull = lambda: engine.faults.pull_errors.extend([UnavailableError("it broke")] * 3)
    done = yard.promote()
    assert yard.outcomes(done, "vch-a") == [Arrival.PROMOTED] * 3
    assert yard.outcomes(done, "engine-a") == [Arrival.FAILED] * 3
    results = {each.plan.image: each.targets[1] for each in done}
    assert [results[image].left_out_for for image in (web, api, job)] == [api, None, api]
    assert "left out with its bundle: promote es-sandbox/api@" in str(results[web].error)
    assert {one.exit_code for one in results.values()} == {UnavailableError.exit_code}
    assert results[web].to_json()["left_out_for"] == str(api)
    assert not [one for one in engine.pulled if one.repository == JOB]
    (record,) = yard.records(web)
    assert [one["outcome"] for one in record["targets"]] == ["promoted", "failed"]


def test_the_same_command_takes_up_what_is_left() -> None:
    yard = Yard()
    yard.small.hosts["engine-a"].faults.down = True
    assert yard.outcomes(yard.promote(), "engine-a") == [Arrival.FAILED] * 3
    yard.small.hosts["engine-a"].faults.down = False
    done = yard.promote()
    assert yard.outcomes(done, "vch-a") == [Arrival.PRESENT] * 3
    assert yard.outcomes(done, "engine-a") == [Arrival.PROMOTED] * 3
    assert [each.record for each in yard.promote()] == [each.record for each in done]
    assert all(len(yard.records(image)) == 2 for image in yard.images.values())


def test_the_gates_of_all_images_are_asked_before_any_host_is_touched() -> None:
    yard = Yard()
    for repository in (WEB, JOB):
        yard.small.registry.add_image(str(repository), "2.0")
    plans = yard.plans(f"{WEB}:2.0", f"{API}:1.4", f"{JOB}:2.0")
    with pytest.raises(
        GateError, match=f"promote {WEB}@.*: refused: signature.*; promote {JOB}@.*: refused: signature"
    ):
        apply_all(plans, yard.small.world())
    assert [host.pulled for host in yard.small.hosts.values()] == [[], []]


def test_two_names_of_one_image_are_one_image_and_said_to_be() -> None:
    yard = Yard()
    web = yard.images[WEB]
    plans = yard.plans(f"{WEB}:1.4", str(web), f"{API}:1.4")
    assert [plan.image for plan in plans] == [web, yard.images[API]]
    assert Warned(str(web), f"the same image as {WEB}:1.4; it is promoted once") in yard.small.events
    (alone,) = yard.plans(f"{WEB}:1.4", str(web))
    assert alone.beside == ()


def test_two_images_of_one_repository_are_refused() -> None:
    yard = Yard()
    other = yard.image(WEB, "1.5")
    with pytest.raises(UsageError, match=f"two images of {WEB}: {yard.images[WEB].digest} and {other.digest}"):
        yard.plans(f"{WEB}:1.4", f"{API}:1.4", f"{WEB}:1.5")


def test_one_digest_in_two_repositories_is_two_images() -> None:
    yard = Yard()
    copy = Repository("vic.example", "prod/web")
    registry = yard.small.registry
    manifest = registry.manifest(yard.images[WEB])
    registry.blobs |= {(copy, key[1]): content for key, content in registry.blobs.items() if key[0] == WEB}
    registry.tag(copy, manifest, "1.4")
    yard.small.sign(manifest, repository=copy)
    done = yard.promote(f"{WEB}:1.4", f"{copy}:1.4")
    assert yard.outcomes(done, "vch-a") == [Arrival.PROMOTED] * 2
    assert yard.small.hosts["engine-a"].held(copy) == (manifest.digest,)


def test_history_tells_what_an_image_was_promoted_with() -> None:
    yard = Yard()
    web, api, job = yard.images.values()
    yard.promote()
    world = yard.small.world()
    (one,) = merged(chains(API, yard.targets, world))
    assert one.bundle == (str(web), str(job))
    assert [one.bundle for one in timeline(api, (CI,), world)] == [(), (str(web), str(job))]
    assert f"\twith {web}, {job}\trelease" in describe_history([one])
    assert one.to_json()["bundle"] == [str(web), str(job)]


def test_a_plan_is_another_beside_other_images() -> None:
    yard = Yard()
    both, alone = yard.plans(f"{WEB}:1.4", f"{API}:1.4"), yard.plans(f"{WEB}:1.4")
    assert both[0].digest != alone[0].digest
    assert digest_of(both) not in (both[0].digest, both[1].digest)
    assert digest_of(both) != digest_of(tuple(reversed(both)))


def test_a_saved_bundle_is_the_one_that_is_carried_out_and_goes_stale_by_any_of_its_images() -> None:
    yard = Yard()
    saved = SavedPlan.of(yard.plans(), yard.small.world(), reason="release")
    data = saved.to_json()
    assert data["schema"] == BUNDLE_SCHEMA
    assert [one["image"] for one in data["images"]] == [str(image) for image in yard.images.values()]
    assert SavedPlan.parse(saved.text()) == saved
    targets = {target.name: target for target in yard.targets}
    references = [Reference.parse(plan.requested) for plan in saved.plans]
    assert digest_of(refresh(saved, references, targets, yard.small.world())) == saved.digest
    moved = yard.image(JOB)
    with pytest.raises(StalePlanError, match=f"{JOB}:1.4 is now {moved.digest}, the plan says"):
        refresh(saved, references, targets, yard.small.world())


def test_a_saved_bundle_that_lost_an_image_is_not_believed() -> None:
    yard = Yard()
    data = SavedPlan.of(yard.plans(), yard.small.world()).to_json()
    with pytest.raises(InputError, match="changed after it was written"):
        SavedPlan.parse(json.dumps(data | {"images": data["images"][:2]}))
    for count in (1, 0):
        with pytest.raises(InputError, match="not a promotion plan: a bundle of fewer than two images"):
            SavedPlan.parse(json.dumps(data | {"images": data["images"][:count]}))
    with pytest.raises(InputError, match="not a promotion plan"):
        SavedPlan.parse(json.dumps({key: value for key, value in data.items() if key != "images"}))


# As it was written before there were bundles.
OLD = """\
{"schema": "imagepipe.promotion-plan/v1",
"digest": "sha256:b330e8b4811c6db6f57d7f97ca8ab0f98cd2c2d542adf8ec809c806474449b65",
"seal": "sha256:3e67dacf6fb1e4b903de35b1790ace65378e17a9e6d05500f49ef0d81bb41efc",
"created": "2026-01-02T00:00:00Z", "requested": "es/hello:1",
"image": "vic.example/es/hello@sha256:62c66a7a5dd70c3146618063c344e531e6d4b59e379808443ce962b3abd63c5a",
"reason": "release", "release_hold": false, "override_freeze": false,
"policies": {"prod": "sha256:148de9c5a7a44d19e56cd9ae1a554bf67847afb0c58f6e12fa29ac7ddfca9940"},
"targets": [{"name": "vch-a", "kind": "vch", "host": "tcp://a:2376", "cert_path": null, "policy": "prod",
"image": "vic.example/es/hello@sha256:62c66a7a5dd70c3146618063c344e531e6d4b59e379808443ce962b3abd63c5a",
"carrier": "vic.example/es/hello:imagepipe-62c66a7a5dd70c3146618063c344e531",
"previous": [], "current": null, "newest": null}],
"gates": [{"gate": "g", "passed": true, "reason": "r"}]}
"""


def test_a_file_of_one_image_from_before_there_were_bundles_is_still_a_plan() -> None:
    saved = SavedPlan.parse(OLD)
    (plan,) = saved.plans
    assert plan.image.digest == Digest.of(b"m")
    assert saved.to_json() == json.loads(OLD)


def test_whoever_approves_a_bundle_approves_each_of_its_images() -> None:
    yard = Yard()
    yard.small.policy = replace(yard.small.policy, approvals=Approvals((ALICE,)))
    saved = SavedPlan.of(yard.plans(), yard.small.world())
    targets = {target.name: target for target in yard.targets}
    references = [Reference.parse(plan.requested) for plan in saved.plans]
    with pytest.raises(GateError, match="approval"):
        refresh(saved, references, targets, yard.small.world())
    yard.small.signer = MemorySigner(ALICE)
    review(saved, references, targets, yard.small.world())
    desk = Desk(saved, yard.small.world())
    assert desk.given() == {}
    first = desk.approve("fine")
    assert list(first.records) == list(yard.images.values())
    assert [gate.passed for gate in first.gates] == [True] * 3
    assert Desk(saved, yard.small.world()).done
    assert desk.approve("fine") == replace(first, created=False)
    yard.small.signer = MemorySigner(CI)
    done = apply_all(refresh(saved, references, targets, yard.small.world()), yard.small.world())
    assert yard.outcomes(done, "vch-a") == [Arrival.PROMOTED] * 3
