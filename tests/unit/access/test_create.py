"""Whoever makes a robot and is stopped in the middle runs the same command again, and has it."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from imagepipe.access.changes import create_robot
from imagepipe.access.mark import HandoverMark, marked
from imagepipe.access.secrets import nowhere
from imagepipe.errors import RefusedError
from imagepipe.model.access import PERMISSION_SETS, Project, RobotRequest, RobotSecret, Role
from imagepipe.ports.administration import Robots
from tests.contract.harbor_memory import MemoryHarbor

PULL = PERMISSION_SETS["pull"]
ASKED = RobotRequest("ci", "es", PULL, 1)


@pytest.fixture
def harbor() -> MemoryHarbor:
    made = MemoryHarbor()
    made.add_project("es", {"root": Role.PROJECT_ADMIN})
    return made


@pytest.fixture
def project(harbor: MemoryHarbor) -> Project:
    return harbor.project("es")


@pytest.fixture
def robots(harbor: MemoryHarbor) -> Robots:
    return harbor.administration().require_robots()


def stopped(made: RobotSecret) -> None:
    raise KeyboardInterrupt


def stopping(moment: str) -> Callable[[str], None]:
    def between(write: str) -> None:
        if write.startswith(moment):
            raise KeyboardInterrupt

    return between


def test_a_robot_whose_making_is_interrupted_is_not_there_and_can_be_made_again(
    harbor: MemoryHarbor, project: Project, robots: Robots
) -> None:
    with pytest.raises(KeyboardInterrupt):
        create_robot(robots, ASKED, project, stopped)
    assert harbor.robots == {}
    create_robot(robots, ASKED, project, nowhere)
    assert list(harbor.robots) == ["robot$es+ci"]


def test_an_interruption_on_the_way_to_harbor_deletes_no_robot_of_somebody_else(
    harbor: MemoryHarbor, project: Project, robots: Robots
) -> None:
    def between(write: str) -> None:
        theirs = harbor.add_robot("ci", "es", "repository:pull")
        harbor.robots[theirs.login] = replace(theirs, description="theirs")
        raise KeyboardInterrupt

    harbor.between = between
    with pytest.raises(KeyboardInterrupt):
        create_robot(robots, ASKED, project, nowhere)
    assert harbor.robots["robot$es+ci"].description == "theirs"


def test_an_interruption_is_one_also_where_harbor_cannot_delete(
    harbor: MemoryHarbor, project: Project, robots: Robots
) -> None:
    harbor.script = ["fine", "broken"]
    with pytest.raises(KeyboardInterrupt):
        create_robot(robots, ASKED, project, stopped)


def test_a_successor_stays_for_those_who_may_have_its_secret(
    harbor: MemoryHarbor, project: Project, robots: Robots
) -> None:
    harbor.add_robot("ci", "es", "repository:pull")
    with pytest.raises(KeyboardInterrupt):
        create_robot(robots, replace(ASKED, name="ci.g2"), project, stopped, successor=True)
    assert sorted(harbor.robots) == ["robot$es+ci", "robot$es+ci.g2"]


def test_a_successor_that_is_not_made_yet_leaves_nothing(
    harbor: MemoryHarbor, project: Project, robots: Robots
) -> None:
    harbor.add_robot("ci", "es", "repository:pull")
    harbor.between = stopping("robot.create")
    with pytest.raises(KeyboardInterrupt):
        create_robot(robots, replace(ASKED, name="ci.g2"), project, nowhere, successor=True)
    assert list(harbor.robots) == ["robot$es+ci"]


def test_a_robot_whose_secret_was_never_handed_over_makes_room(
    harbor: MemoryHarbor, project: Project, robots: Robots
) -> None:
    left = harbor.add_robot("ci", "es", "repository:pull")
    harbor.robots[left.login] = replace(left, description=marked("builds"))
    taken: list[RobotSecret] = []
    mark = HandoverMark(robots, taken.append)
    with mark.making(ASKED) as asked:
        create_robot(robots, asked, project, mark.deliver)
    assert taken[0].robot.handle != left.handle
    assert harbor.robots["robot$es+ci"].description == ""


@pytest.mark.parametrize(("there", "said"), [("ci", "es has one already"), ("ci.g3", "es has ci.g3 already")])
def test_no_robot_is_made_that_would_pass_for_an_older_one(
    harbor: MemoryHarbor, project: Project, robots: Robots, there: str, said: str
) -> None:
    harbor.add_robot(there, "es", "repository:pull")
    with pytest.raises(RefusedError, match=said) as caught:
        create_robot(robots, ASKED, project, nowhere)
    assert caught.value.hint == "use `imagepipe robot rotate es ci` for a new secret"
    assert [robot.name for robot in harbor.robots.values()] == [there]


@pytest.mark.parametrize("description", ["", marked("")], ids=["in use", "under way"])
def test_a_successor_that_another_run_has_just_made_stays(
    harbor: MemoryHarbor, project: Project, robots: Robots, description: str
) -> None:
    for name in ("ci", "ci.g2"):
        made = harbor.add_robot(name, "es", "repository:pull")
        harbor.robots[made.login] = replace(made, description=description)
    before = dict(harbor.robots)
    with pytest.raises(RefusedError, match=r"create robot ci\.g2: es has one already"):
        create_robot(robots, replace(ASKED, name="ci.g2"), project, nowhere, successor=True)
    assert harbor.robots == before


def test_a_robot_that_harbor_refuses_is_nobodys_to_delete(
    harbor: MemoryHarbor, project: Project, robots: Robots
) -> None:
    def between(write: str) -> None:
        if write.startswith("robot.create"):
            harbor.add_robot("ci", "es", "repository:pull")
            raise RefusedError("robot account es+ci already exists")

    harbor.between = between
    with pytest.raises(RefusedError, match="already exists"):
        create_robot(robots, ASKED, project, nowhere)
    assert list(harbor.robots) == ["robot$es+ci"]
