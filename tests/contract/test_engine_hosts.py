"""`ImagePuller` and `ContainerHost`: the twins, a real dockerd and the VIC facade, by one suite."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest

from imagepipe.errors import NotFoundError, RefusedError, UnavailableError, UnsupportedError
from imagepipe.events import Event, Progress, silent
from imagepipe.model.digest import Digest
from imagepipe.model.host import TargetKind
from imagepipe.model.lock import Holder
from imagepipe.model.reference import Reference, Repository
from tests.contract.engine_worlds import HostWorld, MemoryWorld, RealWorld, started_world
from tests.contract.vch_world import World, wait_for

EMPTY_LAYER = "a3ed95caeb02"


@pytest.fixture(scope="module")
def real() -> Iterator["Real"]:
    with ExitStack() as stack:
        yield Real(stack)


class Real:
    """Starts the processes when the first test needs them."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        self._world: World | None = None

    def get(self) -> World:
        if self._world is None:
            self._world = self._stack.enter_context(started_world())
        return self._world


@pytest.fixture(
    params=[
        "memory-docker",
        "memory-vch",
        pytest.param("real-docker", marks=pytest.mark.sandbox),
        pytest.param("real-vch", marks=pytest.mark.sandbox),
    ]
)
def world(request: pytest.FixtureRequest, real: Real) -> Iterator[HostWorld]:
    where, _, kind = str(request.param).partition("-")
    if where == "memory":
        yield MemoryWorld(TargetKind(kind))
        return
    made = RealWorld(real.get(), TargetKind(kind))
    yield made
    made.clear()


def test_a_pull_by_tag_reports_the_digest_and_every_layer_and_the_host_then_holds_it(world: HostWorld) -> None:
    shelved = world.shelve(f"es/bytag-{world.kind}", "1.0")
    seen: list[Event] = []

    report = world.puller.pull(shelved.tag, seen.append)

    assert report.digest == shelved.pinned.digest
    assert "ownloaded newer image" in report.status
    assert set(report.layer_ids) - {EMPTY_LAYER} == set(shelved.layer_ids)
    assert world.host.holds(shelved.pinned)
    assert any(isinstance(event, Progress) and event.step == "pull" for event in seen)


def test_a_second_pull_says_that_the_image_is_up_to_date_and_still_names_the_digest(world: HostWorld) -> None:
    shelved = world.shelve(f"es/again-{world.kind}", "1.0")
    world.puller.pull(shelved.tag, silent)

    report = world.puller.pull(shelved.tag, silent)

    assert (report.digest, "up to date" in report.status) == (shelved.pinned.digest, True)


def test_a_pull_by_digest_works_on_an_engine_and_is_unsupported_on_a_vch(world: HostWorld) -> None:
    shelved = world.shelve(f"es/bydigest-{world.kind}", "1.0")
    by_digest = Reference(shelved.pinned.repository, digest=shelved.pinned.digest)

    if world.kind.pulls_by_digest:
        assert world.puller.pull(by_digest, silent).digest == shelved.pinned.digest
        assert world.host.holds(shelved.pinned)
    else:
        with pytest.raises(UnsupportedError, match="missing signature key"):
            world.puller.pull(by_digest, silent)


def test_a_tag_that_is_not_there_is_not_found(world: HostWorld) -> None:
    shelved = world.shelve(f"es/missing-{world.kind}", "1.0")

    with pytest.raises(NotFoundError):
        world.puller.pull(shelved.pinned.repository.tagged("no-such-tag"), silent)


def test_a_registry_that_is_down_is_unavailable(world: HostWorld) -> None:
    shelved = world.shelve(f"es/down-{world.kind}", "1.0")

    with world.registry_down(), pytest.raises(UnavailableError):
        world.puller.pull(shelved.tag, silent)

    wait_for(lambda: _pulls(world, shelved.tag))


def test_nothing_is_held_that_was_not_pulled_and_no_digest_of_another_repository(world: HostWorld) -> None:
    shelved = world.shelve(f"es/holds-{world.kind}", "1.0")
    assert not world.host.holds(shelved.pinned)

    world.puller.pull(shelved.tag, silent)

    other = Repository(shelved.pinned.repository.registry, "es/elsewhere")
    assert not world.host.holds(other.pin(shelved.pinned.digest))
    assert not world.host.holds(shelved.pinned.repository.pin(Digest.of(b"another")))


def test_what_is_held_of_a_repository_is_listed_sorted_and_nothing_else(world: HostWorld) -> None:
    shelved = [world.shelve(f"es/held-{world.kind}", tag) for tag in ("1", "2", "3")]
    for one in (*shelved, world.shelve(f"es/held-not-{world.kind}", "1")):
        world.puller.pull(one.tag, silent)

    held = world.host.held(shelved[0].pinned.repository)

    assert held == tuple(sorted(one.pinned.digest for one in shelved))
    assert world.host.held(Repository(shelved[0].pinned.repository.registry, "es/never")) == ()


def test_a_probe_proves_a_pulled_image_and_leaves_no_container(world: HostWorld) -> None:
    shelved = world.shelve(f"es/probe-{world.kind}", "1.0")
    world.puller.pull(shelved.tag, silent)

    world.host.probe(shelved.pinned)

    assert not [name for name in world.containers() if name.startswith("imagepipe-probe")]


def test_a_probe_of_an_image_that_is_not_there_is_refused(world: HostWorld) -> None:
    shelved = world.shelve(f"es/unpulled-{world.kind}", "1.0")

    with pytest.raises(RefusedError, match="create"):
        world.host.probe(shelved.pinned)


def test_an_inventory_tells_which_digest_a_container_runs_and_whether_it_lives(world: HostWorld) -> None:
    first, second = (world.shelve(f"es/runs-{world.kind}", tag) for tag in ("1", "2"))
    for one in (first, second):
        world.puller.pull(one.tag, silent)
    by_digest = Reference(first.pinned.repository, digest=first.pinned.digest)
    world.create(f"pinned-{world.kind}", by_digest)
    world.create(f"tagged-{world.kind}", second.tag, start=False)

    found = world.inventory.inventory()

    assert set(found.of(first.pinned.repository)) == {first.pinned.digest, second.pinned.digest}
    containers = {one.name: one for one in found.containers}
    pinned, tagged = containers[f"pinned-{world.kind}"], containers[f"tagged-{world.kind}"]
    assert (pinned.images, pinned.state, pinned.live) == ((first.pinned,), "running", True)
    assert (tagged.images, tagged.state, tagged.live) == ((second.pinned,), "created", False)
    assert (pinned.created_from, tagged.created_from) == (str(by_digest), str(second.tag))


def test_an_inventory_goes_by_what_runs_and_not_by_what_its_name_means_now(world: HostWorld) -> None:
    first = world.shelve(f"es/moves-{world.kind}", "prod")
    world.puller.pull(first.tag, silent)
    world.create(f"stays-{world.kind}", first.tag)
    second = world.shelve(f"es/moves-{world.kind}", "next")
    world.move(first.tag, second)
    world.puller.pull(first.tag, silent)

    (container,) = [one for one in world.inventory.inventory().containers if one.name == f"stays-{world.kind}"]

    assert container.images == (first.pinned,)
    assert container.created_from == str(first.tag)


def test_a_host_tells_what_it_is(world: HostWorld) -> None:
    info = world.host.info()

    assert (info.kind, info.ready) == (world.kind, True)
    assert info.version.count(".") >= 2
    assert info.api_version == "1.25" if world.kind is TargetKind.VCH else info.api_version


def test_a_host_where_nothing_answers_is_unavailable(world: HostWorld) -> None:
    with pytest.raises(UnavailableError):
        world.away().info()


def _pulls(world: HostWorld, tag: Reference) -> bool:
    try:
        world.puller.pull(tag, silent)
    except UnavailableError:
        return False
    return True


DANA, LEE = (Holder(f"nonce-{who}", f"{who}@ops-1, process 7", f"{who}/place", "2026-01-02") for who in ("dana", "lee"))


def test_a_lock_is_had_by_one_and_shows_whom_until_they_let_it_go(world: HostWorld) -> None:
    assert world.lock.holder() is None
    assert world.lock.take(DANA) == DANA
    assert world.lock.take(LEE) == DANA
    assert world.lock.take(DANA) == DANA
    assert world.lock.release(LEE.nonce) == DANA
    assert world.lock.holder() == DANA
    assert world.lock.release(DANA.nonce) is None
    assert world.lock.holder() is None
    assert world.lock.release(DANA.nonce) is None
    assert world.lock.take(LEE) == LEE
    assert world.lock.release(LEE.nonce) is None


def test_of_many_who_take_a_lock_at_once_one_has_it(world: HostWorld) -> None:
    rivals = [Holder(f"nonce-{number}", f"rival {number}", "", "") for number in range(8)]
    with ThreadPoolExecutor(len(rivals)) as pool:
        seen = list(pool.map(world.lock.take, rivals))
    winner = world.lock.holder()
    assert winner is not None
    assert set(seen) == {winner}
    assert world.lock.release(winner.nonce) is None
