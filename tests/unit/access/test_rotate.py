from collections.abc import Callable
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from imagepipe.access.ports import SecretPlace
from imagepipe.access.read import read_access
from imagepipe.access.rotate import Rotation, RotationOptions, RotationWorld, rotate, since_of
from imagepipe.access.secrets import SecretFile
from imagepipe.errors import (
    CredentialsError,
    InputError,
    NotFoundError,
    PartialError,
    PermissionRefusedError,
    RefusedError,
    UnavailableError,
)
from imagepipe.events import Event, Warned
from imagepipe.model.access import Caller, Grant, Project, Right, Robot, RobotSecret, Role
from imagepipe.model.result import Credential
from tests.contract.harbor_memory import MemoryHarbor, nobody_else

DAY = timedelta(days=1)


@dataclass
class Registry:
    """Lets in whoever Harbor would, and remembers who was."""

    harbor: MemoryHarbor
    broken: bool = False
    tried: list[str] = field(default_factory=list)
    places: list[str] = field(default_factory=list)
    watch: Callable[[], None] = field(default=lambda: None)

    def prove(self, credential: Credential, project: str, rights: AbstractSet[Right]) -> None:
        self.watch()
        self.tried.append(credential.username)
        self.places.append(project)
        robot = self.harbor.robots.get(credential.username)
        if self.broken or robot is None or robot.disabled or robot.expired(self.harbor.now):
            raise CredentialsError(f"{credential.username} is not let in")
        if self.harbor.secrets[credential.username] != credential.password:
            raise CredentialsError("wrong secret")
        assert rights <= robot.rights


@dataclass
class Bench:
    """A Harbor with robot `ci`, its secret in a file, and a clock that tests move."""

    harbor: MemoryHarbor
    project: Project | None
    place: SecretPlace
    registry: Registry
    told: list[Event] = field(default_factory=list)

    def now(self) -> datetime:
        return self.harbor.now

    def run(
        self,
        *,
        name: str = "ci",
        finish: bool = False,
        keep: bool = False,
        grace: timedelta = DAY,
        days: int | None = None,
    ) -> Rotation:
        world = RotationWorld(
            robots=self.harbor.administration().require_robots(),
            place=self.place,
            proof=self.registry,
            clock=self,
            sample="es",
            marks=self.harbor.caller is not None and self.harbor.caller.kind == "user",
            sink=self.told.append,
        )
        options = RotationOptions(grace=grace, finish=finish, keep_enabled=keep, days=days)
        return rotate(self.project, name, world, options)

    def logins(self) -> dict[str, str]:
        return {robot.name: "off" if robot.disabled else "on" for robot in self.harbor.robots.values()}

    def logins_that_work(self) -> set[str]:
        return {robot.login for robot in self.harbor.robots.values() if not robot.disabled}

    def file_works(self) -> bool:
        held = self.place.held()
        assert held is not None
        robot = self.harbor.robots.get(held.username)
        return robot is not None and not robot.disabled and self.harbor.secrets[held.username] == held.password


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    harbor = MemoryHarbor()
    project = harbor.add_project("es", {"root": Role.PROJECT_ADMIN})
    robot = harbor.add_robot("ci", "es", "repository:pull", "repository:push", expires_at=harbor.now + 3 * DAY)
    file = SecretFile.at(tmp_path / "ci.env")
    file.deliver(RobotSecret(robot, harbor.secrets[robot.login]))
    return Bench(harbor, project, file, Registry(harbor))


def test_a_successor_is_tried_delivered_and_only_then_the_old_one_is_switched_off(bench: Bench) -> None:
    done = bench.run()
    assert done.created
    assert done.current.login == "robot$es+ci.g2"
    assert done.current.rights == {Right("repository", "pull"), Right("repository", "push")}
    assert done.current.expires_at == bench.harbor.now + timedelta(days=90)
    assert bench.logins() == {"ci": "off", "ci.g2": "on"}
    assert done.until == bench.harbor.now + DAY
    assert bench.file_works()
    assert bench.registry.tried[-1] == "robot$es+ci.g2"


def test_a_successor_lives_as_long_as_the_old_one_did_from_its_making(bench: Bench) -> None:
    robot = bench.harbor.robots["robot$es+ci"]
    bench.harbor.robots[robot.login] = replace(robot, days=3)
    assert bench.run().current.expires_at == bench.harbor.now + 3 * DAY
    bench.harbor.now += 2 * DAY
    assert bench.run().current.expires_at == bench.harbor.now + 3 * DAY
    bench.harbor.now += 2 * DAY
    assert bench.run(days=7).current.expires_at == bench.harbor.now + 7 * DAY


def test_running_again_within_the_grace_rotates_nothing(bench: Bench) -> None:
    bench.run()
    secret = bench.place.held()
    for name in ("ci", "ci.g2"):
        again = bench.run(name=name)
        assert not again.created
        assert [robot.name for robot in again.waiting] == ["ci"]
    assert bench.place.held() == secret
    assert bench.logins() == {"ci": "off", "ci.g2": "on"}


def test_after_the_grace_the_old_one_is_deleted_and_with_finish_nothing_else_happens(bench: Bench) -> None:
    bench.run()
    bench.harbor.now += DAY
    done = bench.run(finish=True)
    assert done.deleted == ("robot$es+ci",)
    assert bench.logins() == {"ci.g2": "on"}
    assert bench.file_works()
    nothing = bench.run(finish=True)
    assert (nothing.created, nothing.deleted, nothing.waiting) == (False, (), ())


def test_after_the_grace_the_next_rotation_begins(bench: Bench) -> None:
    bench.run()
    bench.harbor.now += 30 * DAY
    done = bench.run()
    assert done.deleted == ("robot$es+ci",)
    assert done.current.name == "ci.g3"
    assert bench.logins() == {"ci.g2": "off", "ci.g3": "on"}
    assert bench.file_works()


def test_without_a_grace_the_old_one_goes_at_once(bench: Bench) -> None:
    done = bench.run(grace=timedelta())
    assert done.deleted == ("robot$es+ci",)
    assert bench.logins() == {"ci.g2": "on"}


def test_the_old_one_may_stay_switched_on(bench: Bench) -> None:
    bench.run(keep=True)
    assert bench.logins() == {"ci": "on", "ci.g2": "on"}


def test_a_robot_that_may_change_no_robot_rotates_all_the_same(bench: Bench) -> None:
    bench.harbor.caller = Caller("robot$es+ci", "robot")
    bench.run()
    assert bench.logins() == {"ci": "on", "ci.g2": "on"}
    assert any(isinstance(event, Warned) and "switched on" in event.message for event in bench.told)
    bench.harbor.now += DAY
    bench.run(finish=True)
    assert bench.logins() == {"ci.g2": "on"}


def test_a_successor_that_does_not_work_is_deleted_and_nothing_else_has_changed(bench: Bench) -> None:
    before = bench.place.held()
    bench.registry.broken = True
    with pytest.raises(CredentialsError, match="not let in"):
        bench.run()
    assert bench.logins() == {"ci": "on"}
    assert bench.place.held() == before


def test_a_successor_whose_secret_cannot_be_delivered_is_never_made(bench: Bench, tmp_path: Path) -> None:
    bench.place = SecretFile.at(tmp_path / "none" / "ci.env")
    with pytest.raises(InputError, match="cannot be written"):
        bench.run()
    assert bench.logins() == {"ci": "on"}


@pytest.mark.parametrize("fate", ["lost", "broken"])
@pytest.mark.parametrize("step", range(3))
def test_whichever_write_fails_the_file_works_and_another_run_takes_it_up(bench: Bench, fate: str, step: int) -> None:
    bench.harbor.script = ["fine"] * step + [fate]
    if step < 2:
        with pytest.raises(UnavailableError):
            bench.run()
    else:
        bench.run()
        bench.harbor.now += DAY
    assert bench.file_works()
    bench.harbor.script = []
    bench.run()
    assert bench.file_works()
    bench.harbor.now += DAY
    bench.run(finish=True)
    assert list(bench.logins().values()) == ["on"]
    assert bench.file_works()


def test_a_run_that_was_killed_before_the_delivery_leaves_a_robot_that_is_superseded(bench: Bench) -> None:
    bench.harbor.add_robot("ci.g2", "es", "repository:pull", "repository:push")
    done = bench.run()
    assert done.current.name == "ci.g3"
    assert [robot.name for robot in done.waiting] == ["ci", "ci.g2"]
    assert bench.file_works()


def test_nothing_is_finished_that_is_not_proven(bench: Bench) -> None:
    bench.harbor.add_robot("ci.g2", "es", "repository:pull", "repository:push")
    with pytest.raises(RefusedError, match="does not prove that") as caught:
        bench.run(finish=True)
    assert "--finish" in str(caught.value.hint)
    assert bench.logins() == {"ci": "on", "ci.g2": "on"}


def test_an_expired_or_switched_off_successor_proves_nothing(bench: Bench) -> None:
    bench.run()
    newest = bench.harbor.robots["robot$es+ci.g2"]
    bench.harbor.robots[newest.login] = replace(newest, disabled=True)
    with pytest.raises(RefusedError):
        bench.run(finish=True)
    bench.harbor.robots[newest.login] = replace(newest, expires_at=bench.harbor.now)
    assert bench.run().current.name == "ci.g3"


def test_without_a_date_nobody_is_deleted_by_guess(bench: Bench) -> None:
    made = bench.harbor.add_robot("ci.g2", "es", "repository:pull", "repository:push")
    bench.place.deliver(RobotSecret(made, bench.harbor.secrets[made.login]))
    bench.harbor.now += 100 * DAY
    done = bench.run()
    assert done.until is None
    assert [robot.name for robot in done.waiting] == ["ci"]


def test_a_file_with_the_secret_alone_is_enough(bench: Bench, tmp_path: Path) -> None:
    bench.place = SecretFile.at(tmp_path / "secret")
    bench.run()
    assert not bench.run().created


def test_a_robot_that_lives_for_ever_has_a_successor_that_does(bench: Bench) -> None:
    old = bench.harbor.robots["robot$es+ci"]
    bench.harbor.robots[old.login] = replace(old, expires_at=None, description="pushes")
    made = bench.run().current
    assert made.expires_at is None
    assert made.description == "pushes (in place since 2026-03-01T12:00:00+00:00)"
    bench.harbor.now += DAY
    assert bench.run().current.description == "pushes (in place since 2026-03-02T12:00:00+00:00)"


def test_an_unknown_robot_is_not_found(bench: Bench) -> None:
    with pytest.raises(NotFoundError, match="no robot 'deploy' in es"):
        bench.run(name="deploy")


def test_an_error_that_is_no_refusal_to_disable_is_told(bench: Bench) -> None:
    bench.harbor.refusals["robot.disable robot$es+ci"] = UnavailableError("away")
    with pytest.raises(UnavailableError):
        bench.run()
    assert bench.file_works()
    bench.harbor.refusals["robot.disable robot$es+ci"] = PermissionRefusedError("no")
    assert bench.run().waiting


def test_since_when_a_robot_is_in_place_is_read_from_its_description() -> None:
    assert since_of("x (in place since 2026-03-01T12:00:00+01:00)") == datetime(2026, 3, 1, 11, tzinfo=UTC)
    assert since_of("x") is None
    assert since_of("(in place since yesterday)") is None


class Killed(BaseException):
    """What SIGKILL is to a process: nobody catches it."""


@dataclass
class Taker:
    """A command that keeps what it takes; `fails` makes it take a secret and end badly all the same."""

    taken: list[RobotSecret] = field(default_factory=list)
    fails: bool = False
    kept: dict[str, str] = field(default_factory=dict)
    readable: bool = False
    watch: Callable[[str], None] = nobody_else

    def __str__(self) -> str:
        return "`take`"

    def check(self) -> None:
        """Is there."""

    def deliver(self, made: RobotSecret) -> None:
        self.watch("before it is taken")
        self.taken.append(made)
        self.watch("after it is taken")
        if self.fails:
            self.kept[made.robot.login] = made.secret
            raise PartialError(f"{self}: it ended with 1")
        self.kept.pop(made.robot.login, None)

    def held(self) -> Credential | None:
        return None

    def pending(self, robot: Robot) -> Credential | None:
        secret = self.kept.get(robot.login)
        return None if secret is None else Credential(robot.login, secret)


@pytest.fixture
def taker(bench: Bench) -> Taker:
    made = Taker()
    bench.place = made
    return made


def logins(taker: Taker) -> list[str]:
    return [made.robot.name for made in taker.taken]


def test_a_command_takes_the_successor_and_the_switched_off_old_one_tells_so(bench: Bench, taker: Taker) -> None:
    assert bench.run().created
    assert bench.logins() == {"ci": "off", "ci.g2": "on"}
    again = bench.run()
    assert (again.created, logins(taker)) == (False, ["ci.g2"])
    bench.harbor.now += DAY
    assert bench.run(finish=True).deleted == ("robot$es+ci",)
    bench.run()
    assert logins(taker) == ["ci.g2", "ci.g3"]


def test_when_a_command_fails_both_robots_work_and_the_same_secret_is_handed_over_again(
    bench: Bench, taker: Taker
) -> None:
    taker.fails = True
    for _ in range(2):
        with pytest.raises(PartialError):
            bench.run()
        assert bench.logins() == {"ci": "on", "ci.g2": "on"}
    taker.fails = False
    bench.harbor.now += 10 * DAY
    done = bench.run(keep=True)
    assert (done.created, [robot.name for robot in done.waiting]) == (False, ["ci"])
    assert logins(taker) == ["ci.g2"] * 3
    assert len({made.secret for made in taker.taken}) == 1
    # However old it is, the old one stays a while after the hand-over.
    assert bench.logins() == {"ci": "on", "ci.g2": "on"}


def test_a_kept_secret_of_a_robot_without_ancestors_is_handed_over(bench: Bench, taker: Taker) -> None:
    robot = bench.harbor.robots["robot$es+ci"]
    taker.kept[robot.login] = bench.harbor.secrets[robot.login]
    done = bench.run()
    assert (done.created, done.current, done.waiting, done.until) == (False, robot, (), None)
    assert logins(taker) == ["ci"]


def test_a_kept_secret_that_no_longer_works_is_forgotten(bench: Bench, taker: Taker) -> None:
    taker.kept["robot$es+ci"] = "Stale1"
    assert bench.run().current.name == "ci.g2"


def test_who_died_after_the_command_took_the_secret_rotates_anew_and_nobody_is_locked_out(
    bench: Bench, taker: Taker
) -> None:
    made = bench.harbor.add_robot("ci.g2", "es", "repository:pull", "repository:push")
    taker.deliver(RobotSecret(made, bench.harbor.secrets[made.login]))
    with pytest.raises(RefusedError, match="`take` does not prove"):
        bench.run(finish=True)
    done = bench.run()
    assert done.current.name == "ci.g3"
    assert logins(taker) == ["ci.g2", "ci.g3"]
    assert bench.logins() == {"ci": "off", "ci.g2": "off", "ci.g3": "on"}


def test_whenever_a_rotation_to_a_command_is_killed_somebody_has_a_secret_that_works_or_harbor_tells(
    bench: Bench, taker: Taker
) -> None:
    moments = list[str]()
    bench.harbor.between = taker.watch = moments.append
    old = bench.harbor.robots["robot$es+ci"]
    bench.harbor.robots[old.login] = replace(old, description="builds (secret not handed over yet)")

    def die(moment: str) -> None:
        moments.append(moment)
        if len(moments) == at:
            raise Killed(moment)

    before = dict(bench.harbor.robots)
    bench.run()
    for at in range(1, len(moments) + 1):
        bench.harbor.robots, taker.taken, moments[:] = dict(before), [], []
        bench.harbor.between = taker.watch = die
        with pytest.raises(Killed):
            bench.run()
        told = read_access(["es"], bench.harbor.administration())["es"].robots["ci"].pending
        assert told or taker.taken[-1].robot.login in bench.logins_that_work(), at
        bench.harbor.between = taker.watch = moments.append
        bench.run()
        assert taker.taken[-1].robot.login in bench.logins_that_work(), at
        assert bench.harbor.robots[taker.taken[-1].robot.login].description.startswith("builds (in place since"), at
        assert not read_access(["es"], bench.harbor.administration())["es"].robots["ci"].pending
    assert at == 5


def test_a_file_that_gets_the_successor_of_a_robot_that_nobody_can_use_gets_it_under_the_mark(bench: Bench) -> None:
    old = bench.harbor.robots["robot$es+ci"]
    bench.harbor.robots[old.login] = replace(old, description="(secret not handed over yet)")
    bench.registry.watch = lambda: said.append(bench.harbor.robots["robot$es+ci.g2"].description)
    said = list[str]()
    now = bench.run().current.description
    assert said == [f"{now} (secret not handed over yet)"]
    assert bench.harbor.robots["robot$es+ci.g2"].description == now


def test_a_robot_gives_its_successor_no_mark_that_it_could_not_take_off(bench: Bench, taker: Taker) -> None:
    bench.harbor.caller = Caller("robot$es+ci", "robot")
    old = bench.harbor.robots["robot$es+ci"]
    bench.harbor.robots[old.login] = replace(old, description="builds (secret not handed over yet)")
    bench.run()
    assert bench.harbor.robots["robot$es+ci.g2"].description.startswith("builds (in place since")


def test_a_file_that_holds_the_secret_proves_more_than_a_mark_that_was_left(bench: Bench) -> None:
    bench.run()
    made = bench.harbor.robots["robot$es+ci.g2"]
    bench.harbor.robots[made.login] = replace(made, description=f"{made.description} (secret not handed over yet)")
    assert not bench.run().created
    assert bench.harbor.robots[made.login] == made


def test_a_secret_that_was_kept_is_no_longer_said_to_be_kept_once_it_is_handed_over(bench: Bench, taker: Taker) -> None:
    taker.fails = True
    with pytest.raises(PartialError):
        bench.run()
    assert "not handed over" in bench.harbor.robots["robot$es+ci.g2"].description
    taker.fails = False
    done = bench.run()
    assert done.current.description == bench.harbor.robots["robot$es+ci.g2"].description
    assert done.current.description.startswith("(in place since")


def test_nothing_is_taken_for_handed_over_whose_description_says_that_it_was_not(bench: Bench, taker: Taker) -> None:
    bench.run()
    made = bench.harbor.robots["robot$es+ci.g2"]
    bench.harbor.robots[made.login] = replace(made, description="(secret not handed over yet)")
    with pytest.raises(RefusedError, match="does not prove"):
        bench.run(finish=True)
    assert bench.run().current.name == "ci.g3"


def test_a_robot_that_hands_its_own_successor_to_a_command_leaves_no_crowd(bench: Bench, taker: Taker) -> None:
    bench.harbor.caller = Caller("robot$es+ci", "robot")
    for _ in range(4):
        bench.run()
        bench.harbor.now += DAY
    assert bench.logins() == {"ci.g4": "on", "ci.g5": "on"}


@pytest.mark.parametrize(("places", "tried"), [((), ["es"]), (("*",), ["es"]), (("/", "b"), ["", "b"]), (("/",), [""])])
def test_a_robot_of_the_whole_harbor_has_a_successor_with_the_same_rights_in_the_same_places(
    bench: Bench, tmp_path: Path, places: tuple[str, ...], tried: list[str]
) -> None:
    bench.place = SecretFile.at(tmp_path / "ops.env")
    old = bench.harbor.add_robot("ops", None, "repository:pull", expires_at=bench.harbor.now + DAY)
    grants = tuple(Grant(place, old.rights) for place in places)
    bench.harbor.robots[old.login] = replace(old, grants=grants)
    bench.project = None
    done = bench.run(name="ops", grace=timedelta())
    assert (done.current.login, done.current.project, done.current.grants) == ("robot$ops.g2", None, grants)
    assert done.deleted == ("robot$ops",)
    assert bench.registry.places == tried
    with pytest.raises(NotFoundError, match="no robot 'x' in /"):
        bench.run(name="x")


def test_a_rotation_into_the_file_of_another_robot_changes_nothing(bench: Bench) -> None:
    bench.harbor.add_robot("other", "es", "repository:pull")
    with pytest.raises(InputError, match=r"it holds the secret of robot\$es\+ci, which would be gone"):
        bench.run(name="other")
    assert bench.file_works()
    assert bench.logins() == {"ci": "on", "other": "on"}
