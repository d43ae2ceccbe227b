from dataclasses import replace
from typing import Any

import pytest

from imagepipe.cli.history import describe_history
from imagepipe.cli.outcome import bundle_document, describe_promotion, outcome_error
from imagepipe.errors import DeadlineError, ImagepipeError, NotFoundError, PartialError, RefusedError, UnavailableError
from imagepipe.events import Output, Warned
from imagepipe.model.activation import Activation, Switched
from imagepipe.model.evidence import PROMOTION_PREDICATE
from imagepipe.model.host import Container, TargetKind
from imagepipe.model.lock import Held
from imagepipe.model.promotion import Arrival
from imagepipe.model.reference import Pinned, Reference, Repository
from imagepipe.promote.bundle import make_plans
from imagepipe.promote.history import chains, merged, timeline
from imagepipe.promote.record import Promotion, apply_all
from imagepipe.promote.rollback import Way, apply_rollback, plan_rollback
from imagepipe.promote.saved import SavedPlan
from imagepipe.promote.switching import Switch
from tests.contract.runner_memory import Killed, MemoryRunner
from tests.unit.promote.world import CI, Small

WEB, API = (Repository("vic.example", f"es-sandbox/{name}") for name in ("web", "api"))


class Fleet:
    """Two targets on which `web` and `api` run the first image of their repository; there is a second one of each."""

    def __init__(self) -> None:
        self.small = Small()
        self.first = {repository: self.image(repository, "1") for repository in (WEB, API)}
        self.targets = [self.small.target("vch-a"), self.small.target("engine-a", TargetKind.DOCKER)]
        for host in self.small.hosts.values():
            for name, image in (("web", self.first[WEB]), ("api", self.first[API])):
                host.images.add(image)
                host.containers.append(Container(name, "running", str(image), (image,)))
        self.second = {repository: self.image(repository, "2") for repository in (WEB, API)}

    def image(self, repository: Repository, tag: str) -> Pinned:
        made = self.small.registry.add_image(str(repository), tag)
        self.small.sign(made, repository=repository)
        return repository.pin(made.digest)

    def runner(self, target: str = "vch-a") -> MemoryRunner:
        return self.small.runner(target)

    def promote(
        self, *names: str, repositories: tuple[Repository, ...] = (WEB,), tag: str = "2"
    ) -> tuple[Promotion, ...]:
        asked = [(f"{one}:{tag}", Reference.parse(f"{one}:{tag}")) for one in repositories]
        world = self.small.world()
        return apply_all(make_plans(asked, self.targets, world, activate=names), world)

    def runs(self, target: str = "vch-a") -> dict[str, tuple[str, str]]:
        """Returns what each container on a target runs, and in which state it is."""
        return {one.name: (one.created_from, one.state) for one in self.small.hosts[target].containers}

    def running(self, target: str, **images: Pinned) -> bool:
        """Tells whether exactly these containers are there, and run these images."""
        wanted = {"web": self.first[WEB], "api": self.first[API], **images}
        return self.runs(target) == {name: (str(image), "running") for name, image in wanted.items()}

    def record(self, image: Pinned) -> dict[str, Any]:
        proofs = self.small.world().reader.proofs(image, PROMOTION_PREDICATE, (CI,))
        return dict(
            max((dict(one.verified.statement.predicate) for one in proofs), key=lambda one: str(one["startedOn"]))
        )


def outcomes(done: tuple[Promotion, ...]) -> dict[tuple[str, str], str]:
    return {
        (each.target, one.container): one.outcome.value
        for promotion in done
        for each in promotion.targets
        for one in each.activations
    }


def test_a_container_is_switched_to_the_image_of_its_repository_on_every_target() -> None:
    fleet = Fleet()
    done = fleet.promote("web")
    two = fleet.second[WEB]
    assert fleet.running("vch-a", web=two)
    assert fleet.running("engine-a", web=two)
    assert outcomes(done) == {("vch-a", "web"): "switched", ("engine-a", "web"): "switched"}
    assert outcome_error(*done) is None
    told = fleet.record(two)["targets"][0]["activation"]
    assert told == [{"container": "web", "outcome": "switched", "image": str(two), "before": str(fleet.first[WEB])}]
    assert describe_promotion(done[0]).splitlines()[:2] == [
        f"vch-a\tpromoted\t{two.digest}",
        f"vch-a\tswitched\t{two.digest}\tweb",
    ]
    world = fleet.small.world()
    (told,) = timeline(two, (CI,), world)[1:]
    assert told == merged(chains(WEB, fleet.targets, world))[0]
    assert "vch-a #1 promoted (web switched), engine-a #1 promoted (web switched)" in describe_history([told])
    assert told.targets[0].to_json()["activation"] == {"web": "switched"}
    assert sum(fleet.small.paused_s) == 10, "it is looked at for five seconds on each target"


def test_the_old_container_is_stopped_before_the_new_one_starts_and_removed_once_that_is_proven() -> None:
    fleet = Fleet()
    fleet.promote("web")
    calls = [call for call in fleet.runner().calls if not call.startswith("condition")]
    assert calls == [
        "create web.imagepipe-new",
        "set_aside web",
        "bring_up web.imagepipe-new",
        "set_aside web.imagepipe-old",
        "remove web.imagepipe-done",
    ]


def test_running_again_switches_nothing_and_writes_no_second_record() -> None:
    fleet = Fleet()
    (first,) = fleet.promote("web")
    before = list(fleet.runner().calls)
    (again,) = fleet.promote("web")
    assert outcomes((again,)) == {("vch-a", "web"): "running", ("engine-a", "web"): "running"}
    assert {call.split()[0] for call in fleet.runner().calls[len(before) :]} == {"condition"}
    assert again.record == first.record


def test_what_was_put_right_since_is_put_on_record_again() -> None:
    fleet = Fleet()
    fleet.runner().errors["create"] = UnavailableError("busy")
    (first,) = fleet.promote("web")
    (second,) = fleet.promote("web")
    assert second.record != first.record
    for host in fleet.small.hosts.values():
        host.containers = [one for one in host.containers if one.name != "web"]
        host.create("web", Reference(WEB, digest=fleet.second[WEB].digest))
    (third,) = fleet.promote("web")
    assert third.record == second.record


def test_nothing_is_switched_anywhere_unless_every_target_holds_everything() -> None:
    fleet = Fleet()
    fleet.small.hosts["engine-a"].faults.pull_errors = [RefusedError("no room")]
    done = fleet.promote("web")
    assert fleet.running("vch-a")
    assert fleet.running("engine-a")
    assert outcomes(done) == {("vch-a", "web"): "untouched"}
    error = outcome_error(*done)
    assert isinstance(error, PartialError)
    assert error.message.endswith("no room (held, but nothing is switched: vch-a)")
    told = fleet.record(fleet.second[WEB])["targets"][0]["activation"][0]["error"]["message"]
    assert told == "nothing is switched before every target holds everything, and engine-a does not"


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda fleet, runner: runner.crashing.add(fleet.second[WEB]), ": exited with code 1"),
        (lambda fleet, runner: runner.health.update({fleet.second[WEB]: ["starting", "unhealthy"]}), ": running"),
        (lambda fleet, runner: runner.restarts.update({fleet.second[WEB]: 2}), "started again 2 times"),
    ],
)
def test_a_new_container_that_does_not_do_well_gives_way_to_the_old_one(spoil: Any, said: str) -> None:
    fleet = Fleet()
    spoil(fleet, fleet.runner())
    done = fleet.promote("web")
    assert fleet.running("vch-a")
    assert fleet.running("engine-a"), "no further target is tried"
    assert outcomes(done) == {("vch-a", "web"): "restored", ("engine-a", "web"): "untouched"}
    assert [one.arrival for one in done[0].targets] == [Arrival.PROMOTED, Arrival.PROMOTED]
    assert not any(one.done for one in done[0].targets)
    error = outcome_error(*done)
    assert type(error) is RefusedError
    assert error.message.startswith("activate web on vch-a: web with ")
    assert said in error.message
    assert error.message.endswith("; what ran before runs again")
    assert error.hint is not None
    assert bundle_document(done, error)["targets"][0]["activation"][0]["outcome"] == "restored"


def test_what_a_failed_container_printed_last_is_told_and_not_recorded() -> None:
    fleet = Fleet()
    fleet.runner().crashing.add(fleet.second[WEB])
    fleet.promote("web")
    assert Output("activate", "web", "no such table: users") in fleet.small.events
    assert "no such table" not in str(fleet.record(fleet.second[WEB]))


def test_a_failure_on_a_later_target_leaves_the_earlier_ones_switched_and_says_so() -> None:
    fleet = Fleet()
    fleet.runner("engine-a").crashing.add(fleet.second[WEB])
    done = fleet.promote("web")
    assert fleet.running("vch-a", web=fleet.second[WEB])
    assert fleet.running("engine-a")
    error = outcome_error(*done)
    assert isinstance(error, PartialError)
    assert error.message.endswith("what ran before runs again (done: vch-a)")
    fleet.runner("engine-a").crashing.clear()
    assert outcomes(fleet.promote("web")) == {("vch-a", "web"): "running", ("engine-a", "web"): "switched"}


def test_a_health_check_is_waited_for_as_long_as_it_may_take() -> None:
    fleet = Fleet()
    fleet.runner().health[fleet.second[WEB]] = ["starting"] * 20 + ["healthy"]
    assert outcomes(fleet.promote("web"))["vch-a", "web"] == "switched"
    never = Fleet()
    never.runner().health[never.second[WEB]] = ["starting"]
    error = outcome_error(*never.promote("web"))
    assert type(error) is DeadlineError
    assert "is not healthy after 300 s" in error.message
    assert never.running("vch-a")


def test_a_bundle_is_switched_together_each_container_to_the_image_of_its_own_repository() -> None:
    fleet = Fleet()
    done = fleet.promote("api", "web", repositories=(WEB, API))
    assert fleet.running("vch-a", web=fleet.second[WEB], api=fleet.second[API])
    assert {
        promotion.plan.image: [one.container for one in promotion.targets[0].activations] for promotion in done
    } == {
        fleet.second[WEB]: ["web"],
        fleet.second[API]: ["api"],
    }


def test_when_one_container_of_a_bundle_fails_the_others_on_that_target_are_put_back_too() -> None:
    fleet = Fleet()
    fleet.runner().crashing.add(fleet.second[API])
    done = fleet.promote("web", "api", repositories=(WEB, API))
    assert fleet.running("vch-a")
    assert outcomes(done)["vch-a", "web"] == outcomes(done)["vch-a", "api"] == "restored"
    fleet.runner().crashing.clear()
    assert fleet.promote("web")[0].targets[0].activations[0].outcome is Switched.SWITCHED
    fleet.runner().crashing.add(fleet.second[API])
    again = fleet.promote("web", "api", repositories=(WEB, API))
    assert outcomes(again)["vch-a", "web"] == "running"
    assert fleet.running("vch-a", web=fleet.second[WEB])


def test_a_container_that_is_not_there_is_told_before_anything_is_pulled() -> None:
    fleet = Fleet()
    done = fleet.promote("webb")
    assert [host.pulled for host in fleet.small.hosts.values()] == [[], []]
    error = outcome_error(*done)
    assert type(error) is NotFoundError
    assert "activate webb on vch-a: no container named 'webb'; did you mean 'web'?" in error.message


def test_a_container_of_another_repository_or_one_that_would_be_gone_is_refused() -> None:
    fleet = Fleet()
    error = outcome_error(*fleet.promote("api"))
    assert type(error) is RefusedError
    assert f"api runs {fleet.first[API]}, and none of {WEB} may take the place" in error.message
    fleet.runner().temporary.add("web")
    error = outcome_error(*fleet.promote("web"))
    assert isinstance(error, PartialError)
    assert "web is gone once it stops (--rm)" in error.message
    assert fleet.running("vch-a")


@pytest.mark.parametrize(("by_name", "outcome"), [(True, "switched"), (False, None)])
def test_of_several_names_of_one_image_the_one_it_was_created_from_decides(by_name: bool, outcome: str | None) -> None:
    fleet = Fleet()
    fleet.targets = fleet.targets[:1]
    one = fleet.first[WEB]
    both, made_from = (one, API.pin(one.digest)), str(one) if by_name else "b5d2ab1bf8b7"
    fleet.small.hosts["vch-a"].containers = [Container("web", "running", made_from, both)]
    done = fleet.promote("web", repositories=(WEB, API))
    assert outcomes(done).get(("vch-a", "web")) == outcome
    assert by_name or "web runs b5d2ab1bf8b7, of which several of" in str(outcome_error(*done))


def test_a_stopped_container_is_started_with_the_new_image_or_left_stopped() -> None:
    for crashing in (False, True):
        fleet = Fleet()
        fleet.targets = fleet.targets[:1]
        host = fleet.small.hosts["vch-a"]
        host.containers = [Container("web", "exited", str(fleet.first[WEB]), (fleet.first[WEB],))]
        if crashing:
            fleet.runner().crashing.add(fleet.second[WEB])
        error = outcome_error(*fleet.promote("web"))
        assert bool(error) == crashing
        assert error is None or error.message.endswith("; what was there before is back, stopped as it was")
        expected = (str(fleet.first[WEB]), "exited") if crashing else (str(fleet.second[WEB]), "running")
        assert fleet.runs() == {"web": expected}


def test_a_stopped_container_of_the_right_image_is_started() -> None:
    fleet = Fleet()
    fleet.targets = fleet.targets[:1]
    fleet.promote("web")
    host = fleet.small.hosts["vch-a"]
    host.containers = [replace(one, state="exited") for one in host.containers if one.name == "web"]
    assert outcomes(fleet.promote("web")) == {("vch-a", "web"): "switched"}
    assert fleet.runs() == {"web": (str(fleet.second[WEB]), "running")}


def test_a_host_that_goes_away_while_it_is_put_back_is_told_and_the_same_command_mends_it() -> None:
    fleet = Fleet()
    runner = fleet.runner()

    def cut_off(name: str, to: str) -> None:
        raise UnavailableError("cut off")

    runner.bring_up = cut_off  # type: ignore[method-assign]  # from here on, until it is taken away again
    done = fleet.promote("web")
    assert outcomes(done)["vch-a", "web"] == "broken"
    error = outcome_error(*done)
    assert type(error) is UnavailableError
    assert "and what ran before cannot be put back: cut off" in error.message
    assert error.hint == "run the same command again: it goes on where this one stopped"
    del runner.bring_up
    assert outcomes(fleet.promote("web"))["vch-a", "web"] == "switched"
    assert fleet.running("vch-a", web=fleet.second[WEB])


def test_a_container_of_a_host_that_goes_away_once_it_is_stopped_is_not_called_untouched() -> None:
    fleet = Fleet()
    runner, host = fleet.runner(), fleet.small.hosts["vch-a"]

    def cut_off(*_: str) -> Any:
        raise UnavailableError("cut off")

    def set_aside(name: str, to: str) -> None:
        MemoryRunner.set_aside(runner, name, to)
        host.inventory = cut_off  # type: ignore[method-assign]  # from here on
        cut_off()

    runner.set_aside = set_aside  # type: ignore[method-assign]  # the host goes away while the old one is set aside
    assert outcomes(fleet.promote("web")) == {("vch-a", "web"): "broken", ("engine-a", "web"): "untouched"}


def test_what_was_put_back_and_does_not_run_is_said() -> None:
    fleet = Fleet()
    fleet.runner().crashing |= {fleet.first[WEB], fleet.second[WEB]}
    done = fleet.promote("web")
    assert outcomes(done)["vch-a", "web"] == "broken"
    assert "web was put back, but does not run: exited with code 1" in str(outcome_error(*done))


def test_an_old_container_that_cannot_be_removed_is_told_and_removed_the_next_time() -> None:
    fleet = Fleet()
    fleet.targets = fleet.targets[:1]
    fleet.runner().errors["remove"] = UnavailableError("busy")
    assert outcomes(fleet.promote("web")) == {("vch-a", "web"): "switched"}
    assert Warned("web", "runs the new image; the old container stays: busy") in fleet.small.events
    assert set(fleet.runs()) == {"web", "api", "web.imagepipe-done"}
    fleet.promote("web")
    assert fleet.running("vch-a", web=fleet.second[WEB])


@pytest.mark.parametrize(
    "left",
    [
        {"web": "second", "web.imagepipe-new": "first", "web.imagepipe-old": "first"},
        {"web": "third", "web.imagepipe-new": "second", "web.imagepipe-old": "first", "web.imagepipe-done": "first"},
    ],
)
def test_odd_leftovers_end_in_one_container_that_runs_the_image(left: dict[str, str]) -> None:
    fleet = lone()
    images = {"first": fleet.first[WEB], "second": fleet.second[WEB], "third": fleet.image(WEB, "3")}
    host = fleet.small.hosts["vch-a"]
    host.images |= set(images.values())
    host.containers = [Container(name, "exited", str(images[what]), (images[what],)) for name, what in left.items()]
    asked = [("web", Reference(WEB, digest=fleet.second[WEB].digest))]
    world = fleet.small.world()
    apply_all(make_plans(asked, fleet.targets, world, activate=["web"]), world)
    assert fleet.runs() == {"web": (str(images["second"]), "running")}


def test_a_new_container_that_alone_is_left_stays() -> None:
    fleet = lone()
    two, host = fleet.second[WEB], fleet.small.hosts["vch-a"]
    host.containers = [Container("web.imagepipe-new", "created", str(two), (two,))]
    world = fleet.small.world()
    with pytest.raises(NotFoundError, match="no container named web"):
        Switch("web", two, world.connect(fleet.targets[0]), world).begin()
    assert set(fleet.runs()) == {"web.imagepipe-new"}
    assert "no container named 'web'" in str(outcome_error(*fleet.promote("web")))


def killed_at(fleet: Fleet, step: int, *names: str) -> bool:
    """Tells whether a promotion to one target was killed after so many steps there; else it came to its end."""
    runner = fleet.runner()
    runner.steps_left = step
    try:
        fleet.promote(*names, repositories=(WEB, API) if "api" in names else (WEB,))
    except Killed:
        return True
    finally:
        runner.steps_left = None
    return False


def lone(bad: Repository | None = None) -> Fleet:
    """Returns a fleet of one target, on which the second image of a repository may crash."""
    fleet = Fleet()
    fleet.targets = fleet.targets[:1]
    if bad is not None:
        fleet.runner().crashing.add(fleet.second[bad])
    return fleet


@pytest.mark.parametrize("names", [("web",), ("web", "api")])
@pytest.mark.parametrize("bad", [False, True])
def test_whoever_kills_it_at_any_step_finds_one_of_the_two_and_the_same_command_ends_well(
    bad: bool, names: tuple[str, ...]
) -> None:
    """Also when the command that takes it up is killed at any of its own steps."""
    repositories = (WEB, API) if "api" in names else (WEB,)
    wanted = {} if bad else {one.path.rpartition("/")[2]: one for one in repositories}
    step, sweep = 0, 0
    while killed_at(lone(repositories[-1] if bad else None), step, *names):
        again, killed = 0, True
        while killed:
            fleet = lone(repositories[-1] if bad else None)
            assert killed_at(fleet, step, *names)
            killed = killed_at(fleet, again, *names)
            where = f"killed after step {step}, then after step {again}: {fleet.runs()}"
            assert {name.partition(".")[0] for name in fleet.runs()} == {"web", "api"}, where
            fleet.promote(*names, repositories=repositories)
            assert fleet.running("vch-a", **{name: fleet.second[one] for name, one in wanted.items()}), where
            again, sweep = again + 1, sweep + 1
        step += 1
    assert step >= 7 * len(names)
    assert sweep > 3 * step


def test_another_image_after_a_kill_goes_on_from_what_was_proven() -> None:
    step = 0
    while killed_at(fleet := lone(), step, "web"):
        three = fleet.image(WEB, "3")
        assert outcomes(fleet.promote("web", tag="3")) == {("vch-a", "web"): "switched"}
        assert fleet.running("vch-a", web=three), f"killed after step {step}"
        step += 1
    assert step >= 7


def test_ctrl_c_in_the_middle_puts_the_old_container_back() -> None:
    fleet = Fleet()
    world = fleet.small.world()

    def pressed(seconds: float) -> None:
        raise KeyboardInterrupt

    plans = make_plans([("web", WEB.tagged("2"))], fleet.targets, world, activate=["web"])
    with pytest.raises(KeyboardInterrupt):
        apply_all(plans, replace(world, pause=pressed))
    assert fleet.running("vch-a")
    assert fleet.running("engine-a")


def test_a_rollback_switches_back() -> None:
    fleet = Fleet()
    fleet.promote("web", tag="1")
    fleet.promote("web")
    world = fleet.small.world()
    plans = plan_rollback(Way(WEB, activate=("web",)), fleet.targets, world)
    done = apply_rollback(plans, world)
    assert outcomes(done) == {("vch-a", "web"): "switched", ("engine-a", "web"): "switched"}
    assert fleet.running("vch-a", web=fleet.first[WEB])


def test_a_container_that_others_link_to_is_left_alone_for_their_links_would_go_with_it() -> None:
    fleet = Fleet()
    containers = fleet.small.hosts["engine-a"].containers
    containers[0] = replace(containers[0], linked_by=("api", "cron"))
    done = fleet.promote("web")
    assert fleet.small.hosts["engine-a"].pulled == []
    error = outcome_error(*done)
    assert isinstance(error, PartialError)
    assert "api, cron would lose web, linked to with --link" in error.message


@pytest.mark.parametrize("again", [False, True])
def test_a_rollback_does_not_go_to_what_was_tried_and_did_not_run(again: bool) -> None:
    fleet = Fleet()
    fleet.promote("web", tag="1")
    fleet.runner().crashing.add(fleet.second[WEB])
    fleet.promote("web")
    if again:
        fleet.runner().crashing.clear()
        fleet.promote("web")
    third = fleet.image(WEB, "3")
    fleet.promote("web", tag="3")
    done = apply_rollback(
        plan_rollback(Way(WEB, activate=("web",)), fleet.targets, fleet.small.world()), fleet.small.world()
    )
    wanted = fleet.second[WEB] if again else fleet.first[WEB]
    assert {one.plan.image for one in done} == {wanted} != {third}
    assert fleet.running("vch-a", web=wanted)
    assert fleet.running("engine-a", web=wanted), "it was tried on the other target alone, and never ran here"


def test_what_is_to_be_switched_is_part_of_the_plan_and_of_its_file() -> None:
    fleet = Fleet()
    asked = [("web", WEB.tagged("2"))]
    world = fleet.small.world()
    plain = make_plans(asked, fleet.targets, world)
    switching = make_plans(asked, fleet.targets, world, activate=["web", "web"])
    assert switching[0].activate == ("web",)
    assert switching[0].digest != plain[0].digest
    saved = SavedPlan.of(switching, world)
    assert saved.to_json()["activate"] == ["web"]
    assert SavedPlan.parse(saved.text()) == saved
    assert "activate" not in SavedPlan.of(plain, world).to_json()


def test_a_target_that_cannot_be_asked_any_more_when_another_failed_tells_of_no_container() -> None:
    fleet = Fleet()
    runner = fleet.runner("vch-a")
    runner.crashing.add(fleet.second[WEB])

    def gone(name: str) -> None:
        fleet.small.connect_errors["engine-a"] = UnavailableError("gone")
        del runner.remove
        runner.remove(name)

    runner.remove = gone  # type: ignore[method-assign]  # while the first target is put back
    done = fleet.promote("web")
    assert outcomes(done) == {("vch-a", "web"): "restored"}


def test_a_target_that_went_away_between_the_phases_is_told() -> None:
    fleet = Fleet()
    runner = fleet.runner("engine-a")
    runner.errors["create"] = UnavailableError("gone")
    done = fleet.promote("web")
    error: ImagepipeError | None = outcome_error(*done)
    assert isinstance(error, PartialError)
    assert done[0].targets[1].activations == (
        Activation.failed(
            "web",
            Switched.UNTOUCHED,
            fleet.second[WEB],
            str(fleet.first[WEB]),
            UnavailableError("activate web on engine-a: gone"),
        ),
    )


def test_a_target_that_could_not_be_locked_is_not_even_looked_at_and_nothing_is_switched() -> None:
    fleet = Fleet()
    fleet.small.held = Held(failed={fleet.targets[1].host: UnavailableError("nobody answers")})
    fleet.small.connect_errors["engine-a"] = RefusedError("looked at all the same")
    done = fleet.promote("web")
    error = outcome_error(*done)
    assert isinstance(error, PartialError)
    assert "nobody answers (held, but nothing is switched: vch-a)" in error.message
    assert fleet.runner("engine-a").calls == []
    assert fleet.running("vch-a")
