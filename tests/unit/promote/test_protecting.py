from dataclasses import dataclass, field, replace

import pytest

from imagepipe.errors import RefusedError, UnavailableError, UnsupportedError
from imagepipe.events import StepFinished, Warned
from imagepipe.model import media
from imagepipe.model.digest import Digest
from imagepipe.model.host import Container
from imagepipe.model.ledger import head_tag
from imagepipe.model.manifest import Index, Manifest, Platform
from imagepipe.model.protection import Need, State, Why, keep_tag
from imagepipe.model.reference import Pinned, Reference
from imagepipe.promote.plan import make_plan
from imagepipe.promote.protecting import Protection, Survey
from imagepipe.promote.record import apply
from imagepipe.promote.rollback import Way, apply_rollback, plan_rollback
from tests.contract.keeper_memory import MemoryKeeper
from tests.unit.promote.world import REPOSITORY, Small

BARE = Reference.parse(REPOSITORY).repository


@dataclass
class Guarded:
    """A small world with two targets and a keeper."""

    small: Small = field(default_factory=Small)

    def __post_init__(self) -> None:
        for name in ("vch-a", "vch-b"):
            self.small.known[name] = self.small.target(name)
        self.keeper = MemoryKeeper(self.small.registry)

    @property
    def protection(self) -> Protection:
        return Protection(world=self.small.world(), keeper=self.keeper, tags=self.keeper, jobs=2)

    def promote(self, *targets: str, image: Manifest | Index | None = None) -> Pinned:
        """Promotes a new image, or this one, and returns it."""
        made = self.small.image() if image is None else image
        reference = Reference(BARE, digest=made.digest)
        places = [self.small.known[name] for name in targets or ("vch-a",)]
        world = self.small.world()
        assert not apply(make_plan(str(reference), reference, places, world), world).failed
        return BARE.pin(made.digest)

    def survey(self, back: int = 1) -> Survey:
        return self.protection.survey([BARE], back=back)

    def needs(self, back: int = 1) -> dict[Pinned, list[str]]:
        return {one.image: [str(need) for need in one.needs] for one in self.survey(back).images}

    def keep(self) -> Survey:
        return self.protection.carry_out(self.survey())


@pytest.fixture
def guarded() -> Guarded:
    return Guarded()


def test_what_is_needed_of_a_project_is_found_by_what_targets_hold(guarded: Guarded) -> None:
    guarded.promote("vch-a")
    two, three = guarded.promote("vch-a", "vch-b"), guarded.promote("vch-b")
    found = guarded.protection.needed_in("vic.example", "es-sandbox")
    assert {one.image: [str(need) for need in one.needs] for one in found if one.image in (two, three)} == {
        two: ["vch-a: current", "vch-b: rollback point"],
        three: ["vch-b: current"],
    }
    assert guarded.protection.needed_in("vic.example", "es") == ()
    assert guarded.protection.needed_in("other.example", "es-sandbox") == ()


def test_what_targets_are_at_and_would_go_back_to_is_needed(guarded: Guarded) -> None:
    one = guarded.promote("vch-a", "vch-b")
    two = guarded.promote("vch-a", "vch-b")
    three = guarded.promote("vch-a")
    assert guarded.needs() == {
        three: ["vch-a: current"],
        two: ["vch-a: rollback point", "vch-b: current"],
        one: ["vch-b: rollback point"],
    }
    assert guarded.needs(back=2)[one] == ["vch-a: rollback point", "vch-b: rollback point"]
    assert guarded.needs(back=0) == {three: ["vch-a: current"], two: ["vch-b: current"]}


def test_somebody_who_sets_back_the_tag_of_the_newest_record_frees_nothing(guarded: Guarded) -> None:
    made = [guarded.small.image(tag) for tag in ("1.0", "1.1", "1.2", "1.3")]
    heads, tag = list[Digest](), (BARE, head_tag("vch-a"))
    for manifest in made:
        guarded.promote(image=manifest)
        heads.append(guarded.small.registry.tags[tag])
    before = guarded.needs()
    guarded.small.registry.tags[tag] = heads[0]
    assert guarded.needs() == before
    assert before[BARE.pin(made[-1].digest)] == ["vch-a: current"]


def test_what_runs_is_needed_though_no_record_says_so(guarded: Guarded) -> None:
    guarded.promote("vch-a")
    stray = BARE.pin(guarded.small.registry.add_image(REPOSITORY).digest)
    guarded.small.hosts["vch-b"].create("web", Reference(BARE, digest=stray.digest))
    assert guarded.needs()[stray] == ["vch-b: runs"]


def test_a_container_that_has_ended_needs_nothing(guarded: Guarded) -> None:
    image = guarded.small.registry.add_image(REPOSITORY)
    host = guarded.small.hosts["vch-b"]
    host.create("job", Reference(BARE, digest=image.digest))
    host.containers = [replace(one, state="exited") for one in host.containers]
    assert guarded.needs() == {}


def test_after_a_rollback_what_was_left_is_needed_no_more(guarded: Guarded) -> None:
    one, two = guarded.promote(), guarded.promote()
    world = guarded.small.world()
    apply_rollback(plan_rollback(Way(BARE), [guarded.small.known["vch-a"]], world), world)
    assert guarded.needs() == {one: ["vch-a: current"]}
    assert two not in guarded.needs()


def test_an_index_is_needed_for_the_manifest_that_runs(guarded: Guarded) -> None:
    index = guarded.small.registry.add_index(REPOSITORY, "1.4", media_type=media.DOCKER_LIST)
    guarded.small.sign(index)
    image = guarded.promote(image=index)
    child = index.for_platform(Platform("linux", "amd64"))
    assert child is not None
    guarded.small.hosts["vch-a"].create("web", Reference(BARE, digest=child.digest))
    assert guarded.needs() == {image: ["vch-a: current", "vch-a: runs"]}
    with pytest.raises(RefusedError, match="vch-a: current"):
        guarded.protection.check([BARE.pin(child.digest)])


def test_an_index_whose_manifest_runs_somewhere_must_stay(guarded: Guarded) -> None:
    index = guarded.small.registry.add_index(REPOSITORY, media_type=media.DOCKER_LIST)
    guarded.small.hosts["vch-a"].create("web", Reference(BARE, digest=index.manifests[0].digest))
    with pytest.raises(RefusedError, match="vch-a: runs"):
        guarded.protection.check([BARE.pin(index.digest)])


def test_what_is_needed_is_kept_once_and_the_rest_is_let_go_of(guarded: Guarded) -> None:
    one, two = guarded.promote(), guarded.promote()
    found = guarded.survey()
    assert (found.to_keep, found.to_release) == ((two, one), ())
    done = guarded.protection.carry_out(found)
    assert {protected.state for protected in done.images} == {State.KEPT}
    assert guarded.keeper.held == {one, two}
    assert guarded.survey().to_keep == ()
    three = guarded.promote()
    again = guarded.survey()
    assert (again.to_keep, again.to_release) == ((three,), (one,))
    assert [protected.image for protected in guarded.protection.carry_out(again).images] == [three, two]
    assert guarded.keeper.held == {two, three}
    told = [event.subject for event in guarded.small.events if isinstance(event, StepFinished)]
    assert [subject for subject in told if "image" in subject] == ["2 images", "1 image", "1 image"]


def test_two_that_are_not_needed_go_at_once(guarded: Guarded) -> None:
    guarded.promote()
    guarded.keep()
    strays = [BARE.pin(guarded.small.registry.add_image(REPOSITORY).digest) for _ in range(2)]
    guarded.keeper.held.update(strays)
    guarded.keep()
    assert not guarded.keeper.held & set(strays)


def test_what_lost_its_rule_is_kept_again(guarded: Guarded) -> None:
    one = guarded.promote()
    guarded.keeper.loose.add(one)
    assert guarded.survey().to_keep == (one,)
    guarded.keep()
    assert guarded.keeper.held == {one}


def test_while_a_target_is_away_nothing_is_let_go_of(guarded: Guarded) -> None:
    guarded.promote()
    stray = BARE.pin(guarded.small.registry.add_image(REPOSITORY).digest)
    guarded.keeper.held.add(stray)
    guarded.small.connect_errors["vch-b"] = UnavailableError("no answer")
    found = guarded.survey()
    assert found.away == {"vch-b": "no answer"}
    assert found.to_release == ()
    assert [event.subject for event in guarded.small.events if isinstance(event, Warned)][-1] == "vch-b"
    guarded.protection.carry_out(found)
    assert stray in guarded.keeper.held


def test_a_ledger_that_may_hide_where_a_target_is_lets_nothing_go(guarded: Guarded) -> None:
    guarded.promote()
    del guarded.small.registry.tags[BARE, head_tag("vch-a")]
    guarded.small.registry.move(REPOSITORY, head_tag("vch-a"))
    stray = BARE.pin(guarded.small.registry.add_image(REPOSITORY).digest)
    guarded.keeper.held.add(stray)
    found = guarded.survey()
    assert "the ledger of vch-a in es-sandbox/hello is broken" in found.doubts[0]
    assert found.to_release == ()


def test_an_old_image_that_left_with_its_records_hides_nothing(guarded: Guarded) -> None:
    one, two, three = guarded.promote(), guarded.promote(), guarded.promote()
    registry = guarded.small.registry
    for listed in registry.list(one):
        del registry.blobs[BARE, listed.digest]
    registry._attached.pop(one)
    found = guarded.survey()
    assert found.doubts == ()
    assert found.to_keep == (three, two)


def test_a_target_of_somebody_else_lets_nothing_go(guarded: Guarded) -> None:
    guarded.promote()
    stray = BARE.pin(guarded.small.registry.add_image(REPOSITORY).digest)
    guarded.keeper.held.add(stray)
    guarded.small.registry.move(REPOSITORY, head_tag("theirs"), stray.digest)
    found = guarded.survey()
    assert found.doubts[0].startswith("es-sandbox/hello was promoted to theirs, which is not configured here")
    assert found.to_release == ()


def test_what_has_left_the_registry_is_said_to_be_gone(guarded: Guarded) -> None:
    image = guarded.promote()
    gone = Digest.of(b"gone")
    running = Container("web", "running", "hello:1", (BARE.pin(gone),))
    guarded.small.hosts["vch-b"].containers.append(running)
    states = {one.image.digest: one.state for one in guarded.survey().images}
    assert states == {image.digest: State.OPEN, gone: State.GONE}
    assert guarded.survey().to_keep == (image,)


def test_a_registry_that_keeps_nothing_is_said_and_still_shows_what_is_needed(guarded: Guarded) -> None:
    image = guarded.promote()
    guarded.keeper.failure = UnsupportedError("this is harbor-1")
    found = guarded.survey()
    assert [(one.image, one.state) for one in found.images] == [(image, State.UNKNOWN)]
    with pytest.raises(UnsupportedError, match="harbor-1"):
        guarded.protection.carry_out(found)


def test_an_image_that_a_target_needs_may_not_be_deleted(guarded: Guarded) -> None:
    one, two = guarded.promote(), guarded.promote()
    with pytest.raises(RefusedError, match=r"is needed: vch-a: current"):
        guarded.protection.check([two])
    with pytest.raises(RefusedError, match=r"is needed: vch-a: rollback point"):
        guarded.protection.check([one])
    with pytest.raises(RefusedError) as caught:
        guarded.protection.check([one, two])
    assert all(str(image) in caught.value.message for image in (one, two))
    guarded.protection.check([one], back=0)
    guarded.protection.check([BARE.pin(Digest.of(b"nobody has this"))])


def test_nothing_is_called_free_while_somebody_was_not_asked(guarded: Guarded) -> None:
    one = guarded.promote()
    guarded.promote()
    guarded.small.connect_errors["vch-b"] = UnavailableError("no answer")
    with pytest.raises(UnavailableError, match=r"not certain: vch-b is away: no answer"):
        guarded.protection.check([one], back=0)


def test_an_image_is_told_with_who_needs_it(guarded: Guarded) -> None:
    image = guarded.promote()
    (row,) = (one.to_json() for one in guarded.survey().images)
    assert row == {
        "image": str(image),
        "state": "not kept",
        "tag": keep_tag(image),
        "needs": [{"target": "vch-a", "why": "current"}],
    }


def test_the_tag_that_keeps_an_image_is_its_own_in_every_repository() -> None:
    other = Reference.parse("vic.example/es-sandbox/other").repository
    digest = Digest.of(b"m")
    assert keep_tag(BARE.pin(digest)) != keep_tag(other.pin(digest))
    assert str(Need("vch-a", Why.RUNS)) == "vch-a: runs"


def test_what_is_needed_again_by_the_time_of_the_answer_stays_kept(guarded: Guarded) -> None:
    images = [guarded.small.image(tag) for tag in ("1.0", "1.1", "1.2")]
    one = guarded.promote(image=images[0])
    guarded.keep()
    for image in images[1:]:
        guarded.promote(image=image)
    found = guarded.survey()
    assert found.to_release == (one,)
    # Somebody thinks about the question, and somebody else promotes what was let go of.
    guarded.promote(image=images[0])
    done = guarded.protection.carry_out(found)
    assert guarded.keeper.kept(BARE)[one.digest]
    assert one in [protected.image for protected in done.images]
    told = [event.message for event in guarded.small.events if isinstance(event, Warned) and event.subject == str(one)]
    assert told == ["stays kept: it may be needed by now"]


def test_nothing_is_let_go_of_once_a_target_is_away_by_then(guarded: Guarded) -> None:
    one = guarded.promote()
    guarded.keep()
    guarded.promote()
    guarded.promote()
    found = guarded.survey()
    assert found.to_release == (one,)
    guarded.small.connect_errors["vch-b"] = UnavailableError("no answer")
    guarded.protection.carry_out(found)
    assert guarded.keeper.kept(BARE)[one.digest]
