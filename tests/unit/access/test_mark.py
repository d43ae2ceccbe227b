"""Whenever a run dies, whoever comes next learns from Harbor alone that a robot's secret was never handed over."""

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagepipe.access.apply import Applied, apply_plan, needs_secrets
from imagepipe.access.changes import Changes, create_robot
from imagepipe.access.document import dump_access
from imagepipe.access.mark import HandoverMark, can_mark, is_pending, marked, without_mark
from imagepipe.access.plan import plan_access
from imagepipe.access.read import read_access
from imagepipe.access.state import AccessPlan, Action, DesiredProject, ProjectState, RobotState, Unmanaged
from imagepipe.errors import ImagepipeError, InputError, PartialError, StalePlanError, UnavailableError
from imagepipe.model.access import PERMISSION_SETS, Caller, Principal, RobotRequest, RobotSecret, Role
from tests.contract.harbor_memory import MemoryHarbor

PULL, PUSH = PERMISSION_SETS["pull"], PERMISSION_SETS["push"]
MARK = "(secret not handed over yet)"
ROOT = Principal.parse("root")


class Killed(BaseException):
    """What SIGKILL is to a process: nobody catches it."""


@dataclass
class Bench:
    """A Harbor, a command that keeps what it takes, and a run that dies when it comes to its n-th moment."""

    harbor: MemoryHarbor = field(default_factory=MemoryHarbor)
    taken: list[RobotSecret] = field(default_factory=list)
    wanted: RobotState = field(default_factory=lambda: RobotState(PUSH, 7))
    left: int | None = None
    marks: bool = True

    def __post_init__(self) -> None:
        self.harbor.add_project("es", {"root": Role.PROJECT_ADMIN})
        self.harbor.between = self.moment

    @property
    def file(self) -> tuple[DesiredProject, ...]:
        state = ProjectState("es", {}, {ROOT: Role.PROJECT_ADMIN}, {"ci": self.wanted})
        return (DesiredProject(state, Unmanaged.REPORT),)

    def moment(self, what: str) -> None:
        if self.left is not None:
            self.left -= 1
            if self.left == 0:
                raise Killed(what)

    def take(self, made: RobotSecret) -> None:
        self.moment("before it is taken")
        self.taken.append(made)
        self.moment("after it is taken")

    def plan(self) -> AccessPlan:
        admin = self.harbor.administration()
        return plan_access(self.file, read_access(["es"], admin), caller=admin.callers.caller(), force=True)

    def apply(self, plan: AccessPlan | None = None, take: Callable[[RobotSecret], None] | None = None) -> Applied:
        admin = self.harbor.administration()
        mark = HandoverMark(admin.require_robots(), take or self.take)
        deliver, making = (mark.deliver, mark.making) if self.marks else (mark.take, nullcontext)
        return apply_plan(plan or self.plan(), self.file, admin, deliver=deliver, making=making)

    def dies(self, moment: int) -> bool:
        self.left = moment
        try:
            self.apply()
        except Killed:
            return True
        finally:
            self.left = None
        return False

    def works(self) -> bool:
        """Tells whether what the command took last lets somebody in."""
        last = self.taken[-1] if self.taken else None
        return (
            last is not None
            and last.robot.login in self.harbor.robots
            and self.harbor.secrets[last.robot.login] == last.secret
        )

    def seed(self, *names: str, description: str = "") -> None:
        """Puts robots there whose secrets the command has."""
        for name in names:
            robot = self.harbor.add_robot(name, "es", *map(str, PULL))
            self.harbor.robots[robot.login] = robot = replace(robot, description=description)
            self.taken.append(RobotSecret(robot, self.harbor.secrets[robot.login]))


@pytest.mark.parametrize("there", [(), ("ci",), ("ci", "ci.g2")], ids=["new", "replaced", "generations"])
def test_whenever_a_run_is_killed_the_next_plan_tells_and_the_same_command_heals(there: tuple[str, ...]) -> None:
    for moment in count(1):
        bench = Bench()
        bench.seed(*there)
        if not bench.dies(moment):
            break
        # Whoever had a secret still has one that works.
        assert bench.works() or not there, moment
        assert bench.works() or bench.plan().changes, moment
        assert bench.apply().failed == (), moment
        assert bench.works(), moment
        assert bench.plan().changes == (), moment
        assert not any(map(is_pending, bench.harbor.robots.values())), moment
    # Before and after it is made, taken and noted, and before each old one is deleted.
    assert moment == 1 + 4 + len(there)


def test_a_run_that_is_killed_again_and_again_is_healed_by_the_one_that_lives() -> None:
    bench = Bench()
    for _ in range(3):
        assert bench.dies(3)
        (change,) = bench.plan().changes
        assert change.action is Action.RENEW_ROBOT or len(bench.harbor.robots) == 1
    assert bench.apply().failed == ()
    assert bench.works()
    assert [robot.name for robot in bench.harbor.robots.values()] == ["ci.g4"]


def test_who_heals_with_a_folder_and_is_killed_hides_nothing_from_the_next_plan() -> None:
    for moment in count(1):
        bench = Bench()
        assert bench.dies(2)
        bench.marks = False
        if not bench.dies(moment):
            break
        assert bench.works() or bench.plan().changes, moment
        assert bench.apply().failed == (), moment
        assert bench.works(), moment
        assert bench.plan().changes == (), moment
    assert moment == 6


def test_a_robot_that_heals_takes_what_it_can_and_leaves_no_mark_that_it_could_not_take_off() -> None:
    bench = Bench()
    assert bench.dies(2)
    bench.harbor.caller, bench.marks = Caller("robot$ops", "robot"), False
    assert bench.apply().failed == ()
    assert bench.works()
    assert bench.plan().changes == ()


def test_what_people_wrote_about_a_robot_is_said_of_the_one_in_its_place() -> None:
    bench = Bench()
    bench.seed("ci", description=marked("builds"))
    bench.wanted = RobotState(PULL)
    bench.apply()
    assert [robot.description for robot in bench.harbor.robots.values()] == ["builds"]


def test_a_robot_that_somebody_deletes_between_plan_and_apply_is_made() -> None:
    bench = Bench()
    assert bench.dies(2)
    (change,) = bench.plan().changes
    bench.harbor.robots.clear()
    Changes(bench.harbor.administration(), bench.take).make(change)
    assert bench.works()


def test_a_plan_says_why_a_robot_is_made_anew_and_survives_its_file() -> None:
    bench = Bench()
    assert bench.dies(2)
    plan = bench.plan()
    assert [one.describe() for one in plan.changes] == ["~ es: renew robot ci: its secret was never handed over"]
    assert needs_secrets(plan)
    assert AccessPlan.from_json(plan.to_json()) == plan
    with pytest.raises(InputError, match="not a change"):
        AccessPlan.from_json(plan.to_json() | {"changes": [plan.changes[0].to_json() | {"before": None}]})


def test_a_saved_plan_is_refused_once_somebody_else_has_healed_it() -> None:
    bench = Bench()
    assert bench.dies(2)
    plan = bench.plan()
    bench.apply()
    with pytest.raises(StalePlanError):
        bench.apply(plan)


def test_a_robot_that_nobody_can_use_and_has_other_rights_is_replaced() -> None:
    bench = Bench()
    assert bench.dies(2)
    bench.wanted = RobotState(PULL, 7)
    assert [one.action for one in bench.plan().changes] == [Action.REPLACE_ROBOT]
    bench.apply()
    assert bench.works()
    assert bench.plan().changes == ()


def test_the_mark_is_nothing_that_an_export_or_a_sign_off_would_ask_for() -> None:
    bench = Bench()
    assert bench.dies(2)
    admin = bench.harbor.administration()
    live = read_access(["es"], admin)
    assert MARK not in dump_access(live, roles=tuple(Role))
    signed = [DesiredProject(live["es"], Unmanaged.REMOVE)]
    assert plan_access(signed, live, caller=admin.callers.caller(), force=True).changes == ()


def test_a_robot_that_was_rotated_and_not_handed_over_is_told_of_while_the_old_one_works() -> None:
    bench = Bench(wanted=RobotState(PULL))
    bench.seed("ci")
    robot = bench.harbor.add_robot("ci.g2", "es", *map(str, PULL))
    bench.harbor.robots[robot.login] = replace(robot, description=marked("in place"))
    plan = bench.plan()
    assert plan.changes == ()
    (report,) = plan.reports
    assert report.startswith("es: a rotation of robot ci was cut off")
    assert "`imagepipe robot rotate es ci` takes it up" in report
    old = bench.harbor.robots["robot$es+ci"]
    bench.harbor.robots[old.login] = replace(old, disabled=True)
    assert [one.action for one in bench.plan().changes] == [Action.RENEW_ROBOT]


def test_a_robot_that_is_replaced_is_not_told_to_be_rotated() -> None:
    bench = Bench()
    bench.seed("ci")
    assert bench.dies(2)
    plan = bench.plan()
    assert ([one.action for one in plan.changes], plan.reports) == ([Action.REPLACE_ROBOT], ())


def test_what_people_write_into_a_description_meanwhile_stays() -> None:
    bench = Bench()
    project = bench.harbor.project("es")
    robots = bench.harbor.administration().require_robots()

    def take(made: RobotSecret) -> None:
        now = bench.harbor.robots[made.robot.login]
        assert now.description == f"builds {MARK}"
        bench.harbor.robots[made.robot.login] = replace(now, description=f"{now.description}, by night")

    mark = HandoverMark(robots, take)
    with mark.making(RobotRequest("ci", "es", PULL, 1, "builds")) as asked:
        create_robot(robots, asked, project, mark.deliver)
    assert bench.harbor.robots["robot$es+ci"].description == "builds, by night"


@pytest.mark.parametrize("fate", ["broken", "lost"])
def test_a_mark_that_stays_after_the_hand_over_is_told_and_the_robot_stays_too(fate: str) -> None:
    bench = Bench()
    bench.harbor.script = ["fine", fate]
    (failure,) = bench.apply().failed
    assert isinstance(failure.error, PartialError)
    assert "the secret of robot$es+ci was handed over, and that could not be noted in Harbor" in failure.error.message
    assert "imagepipe robot rotate es ci" in str(failure.error.hint)
    assert bench.works()
    assert len(bench.plan().changes) == (1 if fate == "broken" else 0)
    bench.apply()
    assert bench.works()
    assert bench.plan().changes == ()


def test_of_two_runs_at_a_time_the_one_whose_robot_is_gone_says_so() -> None:
    bench = Bench()

    def slowly(made: RobotSecret) -> None:
        assert bench.apply().failed == ()
        bench.take(made)

    (failure,) = bench.apply(take=slowly).failed
    assert isinstance(failure.error, PartialError)
    assert "robot$es+ci not found" in failure.error.message


@pytest.mark.parametrize("error", [InputError("no such program"), UnavailableError("away")])
def test_a_robot_whose_secret_nobody_has_leaves_no_mark_behind(error: ImagepipeError) -> None:
    bench = Bench()

    def refuse(made: RobotSecret) -> None:
        raise error

    (failure,) = bench.apply(take=refuse).failed
    assert failure.error is error
    assert bench.harbor.robots == {}


def test_a_robot_can_take_no_mark_off_and_so_leaves_none() -> None:
    assert can_mark(Caller("lee", "user"))
    assert not can_mark(Caller("robot$es+admin", "robot"))


def test_a_description_that_leaves_no_room_is_refused_before_there_is_a_robot() -> None:
    assert len(marked("x" * 995)) == 1024
    with pytest.raises(InputError, match="996 characters leaves no room") as caught:
        marked("x" * 996)
    assert caught.value.hint == "shorten it to 995 characters"


@given(st.text() | st.sampled_from([MARK, f"a {MARK}", f"{MARK} b {MARK}", " "]))
def test_a_mark_is_put_on_once_and_taken_off_whole(text: str) -> None:
    plain = without_mark(text)
    assert MARK not in plain
    assert without_mark(plain) == plain
    assert marked(text).count(MARK) == 1
    assert without_mark(marked(text)) == plain
    assert marked(marked(text)) == marked(text)
