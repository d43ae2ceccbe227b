from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from imagepipe.access.rotate import Rotation, RotationOptions, RotationWorld, rotate, since_of
from imagepipe.access.secrets import SecretFile
from imagepipe.errors import (
    CredentialsError,
    InputError,
    NotFoundError,
    PermissionRefusedError,
    RefusedError,
    UnavailableError,
)
from imagepipe.events import Event, Warned
from imagepipe.model.access import Caller, Project, Right, RobotSecret, Role
from imagepipe.model.result import Credential
from tests.contract.harbor_memory import MemoryHarbor

DAY = timedelta(days=1)


@dataclass
class Registry:
    """Lets in whoever Harbor would, and remembers who was."""

    harbor: MemoryHarbor
    broken: bool = False
    tried: list[str] = field(default_factory=list)

    def prove(self, credential: Credential, project: str, rights: AbstractSet[Right]) -> None:
        self.tried.append(credential.username)
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
    project: Project
    file: SecretFile
    registry: Registry
    told: list[Event] = field(default_factory=list)

    def now(self) -> datetime:
        return self.harbor.now

    def run(self, *, name: str = "ci", finish: bool = False, keep: bool = False, grace: timedelta = DAY) -> Rotation:
        world = RotationWorld(
            robots=self.harbor.administration().require_robots(),
            file=self.file,
            proof=self.registry,
            clock=self,
            sink=self.told.append,
        )
        return rotate(self.project, name, world, RotationOptions(grace=grace, finish=finish, keep_enabled=keep))

    def logins(self) -> dict[str, str]:
        return {robot.name: "off" if robot.disabled else "on" for robot in self.harbor.robots.values()}

    def file_works(self) -> bool:
        held = self.file.held()
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


def test_running_again_within_the_grace_rotates_nothing(bench: Bench) -> None:
    bench.run()
    secret = bench.file.held()
    for name in ("ci", "ci.g2"):
        again = bench.run(name=name)
        assert not again.created
        assert [robot.name for robot in again.waiting] == ["ci"]
    assert bench.file.held() == secret
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
    before = bench.file.held()
    bench.registry.broken = True
    with pytest.raises(CredentialsError, match="not let in"):
        bench.run()
    assert bench.logins() == {"ci": "on"}
    assert bench.file.held() == before


def test_a_successor_whose_secret_cannot_be_delivered_is_never_made(bench: Bench, tmp_path: Path) -> None:
    bench.file = SecretFile.at(tmp_path / "none" / "ci.env")
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
    bench.file.deliver(RobotSecret(made, bench.harbor.secrets[made.login]))
    bench.harbor.now += 100 * DAY
    done = bench.run()
    assert done.until is None
    assert [robot.name for robot in done.waiting] == ["ci"]


def test_a_file_with_the_secret_alone_is_enough(bench: Bench, tmp_path: Path) -> None:
    bench.file = SecretFile.at(tmp_path / "secret")
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
