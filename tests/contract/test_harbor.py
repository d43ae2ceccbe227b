"""What every Harbor must keep: the ports of its administration, in memory and in Harbor's API 2.0."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import httpx
import pytest

from imagepipe.errors import CredentialsError, InputError, NotFoundError, RefusedError, UnsupportedError
from imagepipe.harbor.administration import open_administration
from imagepipe.harbor.v2.rights import grants
from imagepipe.model.access import PERMISSION_SETS, Grant, Member, Principal, Project, Right, RobotRequest, Role
from imagepipe.model.result import Credential
from imagepipe.ports.administration import Administration, Robots
from imagepipe.sandbox.harbor.rbac import ROBOT_PROJECT, ROBOT_SYSTEM
from tests.contract.harbor_memory import MemoryHarbor
from tests.contract.harbor_schema import CheckingTransport
from tests.contract.harbor_world import PASSWORD, HarborClient, config_for, served

ALICE = "alice"
ODD_NAMES = ("bob@example.com", "Carl von Carlsen", "dora=ou,x", "émile", "group:of one")


@dataclass(frozen=True)
class World:
    """One Harbor that knows alice and those with odd names, seen by its administrator."""

    harbor: Administration
    hold: Callable[[str], None]
    deny: Callable[[], Administration]

    def project(self, name: str = "es-sandbox") -> Project:
        return self.harbor.projects.create(name, {})

    @property
    def robots(self) -> Robots:
        return self.harbor.require_robots()


@pytest.fixture(scope="module")
def standin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HarborClient]:
    config = config_for(tmp_path_factory.mktemp("harbor"), "http://127.0.0.1:1", lock_s=0.0)
    with served(config) as client:
        for name in (ALICE, *ODD_NAMES):
            now = client.harbor.stamp()
            client.harbor.store.insert("users", username=name, secret="", salt="", creation_time=now, update_time=now)
        yield client


def memory_world() -> World:
    harbor = MemoryHarbor(knows={"admin", ALICE, *ODD_NAMES}, groups=False)
    harbor.add_project("library", {"admin": Role.PROJECT_ADMIN}, public=True)

    def deny() -> Administration:
        return MemoryHarbor(caller=None).administration()

    return World(harbor.administration(), lambda name: harbor.repositories.update({name: 2}), deny)


def standin_world(client: HarborClient, transport: httpx.BaseTransport) -> World:
    store, url = client.harbor.store, str(client.http.base_url)
    for table in ("projects", "metadata", "members", "quotas"):
        store.run(f"DELETE FROM {table} WHERE {'id' if table == 'projects' else 'project_id'} <> 1")  # noqa: S608 - our own words
    store.run("DELETE FROM robots")
    store.run("DELETE FROM repositories")

    def hold(name: str) -> None:
        project, now = store.project(name), client.harbor.stamp()
        assert project is not None
        for repository in ("a", "b/c"):
            store.insert(
                "repositories",
                project_id=project["id"],
                name=f"{name}/{repository}",
                creation_time=now,
                update_time=now,
            )

    def opened(password: str) -> Administration:
        return open_administration(url=url, credential=Credential("admin", password), transport=transport)

    return World(opened(PASSWORD), hold, lambda: opened("Wrong12345"))


@pytest.fixture(params=["memory", "stand-in"])
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    if request.param == "memory":
        yield memory_world()
        return
    client: HarborClient = request.getfixturevalue("standin")
    with CheckingTransport(httpx.HTTPTransport()) as transport:
        yield standin_world(client, transport)


def named(text: str) -> Principal:
    return Principal.parse(text)


def roles(world: World, project: Project) -> dict[str, Role]:
    return {str(member.principal): member.role for member in world.harbor.membership.list(project)}


def test_the_caller_is_told_by_name(world: World) -> None:
    caller = world.harbor.callers.caller()
    assert (caller.name, caller.kind, caller.system_admin) == ("admin", "user", True)


def test_wrong_credentials_are_an_error_and_not_an_empty_harbor(world: World) -> None:
    with pytest.raises(CredentialsError):
        world.deny().callers.caller()


def test_an_administrator_may_change_members_and_robots(world: World) -> None:
    rights = world.harbor.callers.rights(world.project())
    assert {Right.parse(text) for text in ("member:create", "robot:create", "project:update")} <= rights


def test_a_project_is_made_private_with_its_creator_as_admin(world: World) -> None:
    project = world.project()
    assert project.settings["public"] is False
    assert roles(world, project) == {"admin": Role.PROJECT_ADMIN}
    assert [each.name for each in world.harbor.projects.list()] == ["es-sandbox", "library"]


def test_a_project_has_the_settings_that_it_was_made_with(world: World) -> None:
    settings: dict[str, bool | str | int] = {
        "public": True,
        "auto_scan": True,
        "auto_sbom": True,
        "prevent_vulnerable": True,
        "max_severity": "high",
        "require_cosign": True,
        "require_notation": False,
        "reuse_system_cve_allowlist": False,
        "storage_limit_bytes": 5 * 1024**3,
    }
    assert world.harbor.projects.create("es-sandbox", settings).settings == settings


def test_changing_one_setting_leaves_the_others_alone(world: World) -> None:
    before = world.harbor.projects.create("es-sandbox", {"auto_scan": True, "max_severity": "low"})
    after = world.harbor.projects.change(before, {"max_severity": "critical", "storage_limit_bytes": 10**9})
    assert after.settings == {**before.settings, "max_severity": "critical", "storage_limit_bytes": 10**9}
    assert next(world.harbor.projects.list(name="es-sandbox")) == after


def test_a_project_may_be_called_by_digits_only(world: World) -> None:
    world.project("2")
    world.project("1")
    project = next(world.harbor.projects.list(name="1"))
    world.harbor.membership.add(project, named(ALICE), Role.GUEST)
    assert roles(world, Project("1"))[ALICE] is Role.GUEST
    assert ALICE not in roles(world, Project("library"))
    world.harbor.projects.delete(project)
    assert [each.name for each in world.harbor.projects.list()] == ["2", "library"]


def test_a_name_is_looked_up_whole(world: World) -> None:
    world.project("es-sandbox")
    assert list(world.harbor.projects.list(name="sandbox")) == []
    assert [each.name for each in world.harbor.projects.list(name="es-sandbox")] == ["es-sandbox"]


@pytest.mark.parametrize("name", ["", "Upper", "a/b", "a..b", "-a", "../library", "a" * 256])
def test_a_name_that_harbor_would_refuse_is_refused(world: World, name: str) -> None:
    with pytest.raises(RefusedError):
        world.harbor.projects.create(name, {})


def test_a_project_is_not_made_twice(world: World) -> None:
    world.project()
    with pytest.raises(RefusedError, match="exists"):
        world.project()


def test_an_unknown_setting_is_refused_by_name(world: World) -> None:
    with pytest.raises(UnsupportedError, match="cosign_public_key"):
        world.harbor.projects.create("es-sandbox", {"cosign_public_key": "x"})
    assert list(world.harbor.projects.list(name="es-sandbox")) == []


def test_a_project_that_holds_repositories_stays_and_tells_how_many(world: World) -> None:
    project = world.project()
    world.hold(project.name)
    with pytest.raises(RefusedError, match="2 repositories"):
        world.harbor.projects.delete(project)
    assert world.harbor.projects.facts(project).repositories == 2


def test_an_empty_project_can_be_deleted_and_is_gone_then(world: World) -> None:
    project = world.project()
    world.harbor.projects.delete(project)
    assert list(world.harbor.projects.list(name=project.name)) == []
    with pytest.raises(NotFoundError):
        world.harbor.projects.delete(project)
    with pytest.raises(NotFoundError):
        world.harbor.membership.list(project)


@pytest.mark.parametrize("role", Role)
def test_a_member_has_the_role_that_was_given(world: World, role: Role) -> None:
    project = world.project()
    assert world.harbor.membership.add(project, named(ALICE), role) == Member(named(ALICE), role)
    assert roles(world, project)[ALICE] is role


@pytest.mark.parametrize("name", ODD_NAMES)
def test_odd_names_come_back_as_they_were_given(world: World, name: str) -> None:
    project = world.project()
    text = f"user:{name}"
    member = world.harbor.membership.add(project, named(text), Role.DEVELOPER)
    assert member.principal.name == name
    member = world.harbor.membership.set_role(project, member, Role.GUEST)
    assert member.role is Role.GUEST
    world.harbor.membership.remove(project, member)
    assert roles(world, project) == {"admin": Role.PROJECT_ADMIN}


def test_a_role_that_somebody_gave_meanwhile_is_not_taken_away(world: World) -> None:
    project, membership = world.project(), world.harbor.membership
    seen = membership.add(project, named(ALICE), Role.GUEST)
    membership.set_role(project, seen, Role.PROJECT_ADMIN)
    with pytest.raises(RefusedError, match="guest, and somebody has made it projectAdmin meanwhile"):
        membership.set_role(project, seen, Role.DEVELOPER)
    with pytest.raises(RefusedError, match="guest, and somebody has made it projectAdmin meanwhile"):
        membership.remove(project, seen)
    assert membership.set_role(project, seen, Role.PROJECT_ADMIN).role is Role.PROJECT_ADMIN


def test_adding_twice_is_success_and_with_another_role_is_not(world: World) -> None:
    project = world.project()
    once = world.harbor.membership.add(project, named(ALICE), Role.GUEST)
    assert world.harbor.membership.add(project, named(ALICE), Role.GUEST) == once
    with pytest.raises(RefusedError, match="guest"):
        world.harbor.membership.add(project, named(ALICE), Role.PROJECT_ADMIN)
    assert roles(world, project)[ALICE] is Role.GUEST


def test_a_role_is_set_once_and_again(world: World) -> None:
    project = world.project()
    member = world.harbor.membership.add(project, named(ALICE), Role.GUEST)
    for _ in range(2):
        member = world.harbor.membership.set_role(project, member, Role.MAINTAINER)
        assert member.role is Role.MAINTAINER


def test_somebody_unknown_is_named_with_a_way_out(world: World) -> None:
    with pytest.raises(NotFoundError, match="nobody") as caught:
        world.harbor.membership.add(world.project(), named("nobody"), Role.GUEST)
    assert caught.value.hint


def test_a_harbor_without_groups_says_so(world: World) -> None:
    with pytest.raises(UnsupportedError, match="groups"):
        world.harbor.membership.add(world.project(), named("group:devs"), Role.GUEST)


def test_who_is_no_member_has_no_role_to_change_and_is_removed_already(world: World) -> None:
    project, member = world.project(), Member(named(ALICE), Role.GUEST)
    with pytest.raises(NotFoundError):
        world.harbor.membership.set_role(project, member, Role.DEVELOPER)
    world.harbor.membership.remove(project, member)
    assert ALICE not in roles(world, project)


def test_a_robot_has_the_rights_and_the_days_that_were_asked_for(world: World) -> None:
    project = world.project()
    request = RobotRequest("ci", project.name, PERMISSION_SETS["ci"], 30, "builds")
    made = world.robots.create(request, project)
    assert made.secret
    assert made.secret not in repr(made)
    assert world.robots.list(project) == (made.robot,)
    assert made.robot.login == "robot$es-sandbox+ci"
    assert (made.robot.name, made.robot.project, made.robot.rights) == ("ci", "es-sandbox", PERMISSION_SETS["ci"])
    assert made.robot.description == "builds"
    assert made.robot.expires_at is not None
    assert not made.robot.expired(made.robot.expires_at - timedelta(seconds=1))
    assert made.robot.days == world.robots.list(project)[0].days == 30


def test_a_robot_may_live_for_ever(world: World) -> None:
    project = world.project()
    made = world.robots.create(RobotRequest("ci", project.name, PERMISSION_SETS["pull"], None), project)
    assert (made.robot.expires_at, made.robot.days) == (None, None)
    assert not made.robot.expired(datetime(9999, 1, 1, tzinfo=UTC))


def test_a_robot_of_the_whole_harbor_belongs_to_no_project(world: World) -> None:
    project = world.project()
    rights = PERMISSION_SETS["push"]
    made = world.robots.create(RobotRequest("everywhere", None, rights, 1), None)
    assert (made.robot.name, made.robot.project, made.robot.rights) == ("everywhere", None, rights)
    assert world.robots.list(None) == (made.robot,)
    assert world.robots.list(project) == ()


def test_a_robot_of_the_whole_harbor_may_do_in_each_place_what_was_asked_for(world: World) -> None:
    project = world.project()
    push, system = PERMISSION_SETS["push"], frozenset({Right.parse("project:list")})
    grants = (Grant("/", system), Grant(project.name, push))
    made = world.robots.create(RobotRequest("some", None, push | system, 1, grants=grants), None)
    assert made.robot.grants == grants
    assert world.robots.list(None) == (made.robot,)
    assert made.robot.rights == push | system


def test_a_robot_is_not_made_twice_nor_under_a_bad_name_nor_to_change_robots(world: World) -> None:
    project = world.project()
    world.robots.create(RobotRequest("ci", project.name, PERMISSION_SETS["pull"], 1), project)
    for name, rights in (
        ("ci", PERMISSION_SETS["pull"]),
        ("CI", PERMISSION_SETS["pull"]),
        ("rotator", frozenset({Right.parse("robot:update")})),
    ):
        with pytest.raises(RefusedError):
            world.robots.create(RobotRequest(name, project.name, rights, 1), project)
    assert [robot.name for robot in world.robots.list(project)] == ["ci"]


def test_a_robot_is_switched_off_and_deleted_as_often_as_one_likes(world: World) -> None:
    project = world.project()
    robot = world.robots.create(RobotRequest("ci", project.name, PERMISSION_SETS["push"], 7), project).robot
    for _ in range(2):
        world.robots.disable(robot)
    (off,) = world.robots.list(project)
    assert off.disabled
    assert (off.rights, off.expires_at) == (robot.rights, robot.expires_at)
    for _ in range(2):
        world.robots.delete(robot)
    assert world.robots.list(project) == ()
    with pytest.raises(NotFoundError):
        world.robots.disable(robot)


def test_a_robot_is_described_anew_and_nothing_else_of_it_changes(world: World) -> None:
    project = world.project()
    asked = RobotRequest("ci", project.name, PERMISSION_SETS["push"], 7, "builds (soon)")
    for request, place in ((asked, project), (replace(asked, project=None, days=None), None)):
        robot = world.robots.create(request, place).robot
        for _ in range(2):
            world.robots.describe(robot, lambda text: text.removesuffix(" (soon)"))
        assert world.robots.list(place) == (replace(robot, description="builds"),)
        world.robots.disable(robot)
        world.robots.describe(robot, lambda _: "")
        assert world.robots.list(place) == (replace(robot, description="", disabled=True),)
        world.robots.delete(robot)
        with pytest.raises(NotFoundError):
            world.robots.describe(robot, str)


def test_every_right_is_granted_in_the_table_that_has_it() -> None:
    for resource, action in ROBOT_PROJECT:
        assert grants([Right(resource, action)], None)[0]["kind"] == "project"
    for resource, action in set(ROBOT_SYSTEM) - set(ROBOT_PROJECT):
        assert grants([Right(resource, action)], None)[0]["kind"] == "system"


def test_a_request_that_names_no_dialect_there_is_is_refused() -> None:
    with pytest.raises(InputError, match="harbor-3"):
        open_administration(url="http://127.0.0.1:1", credential=Credential("a", "b"), dialect="harbor-3")
