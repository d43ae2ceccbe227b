"""What Harbors before 2.0 must keep of the administration's ports, and say by name that they cannot."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from imagepipe.errors import (
    CredentialsError,
    InputError,
    NotFoundError,
    PermissionRefusedError,
    RefusedError,
    UnsupportedError,
)
from imagepipe.harbor.administration import open_administration
from imagepipe.model.access import Member, Principal, Project, Right, Role
from imagepipe.model.result import Credential
from imagepipe.ports.administration import Administration
from tests.contract.harbor_chaos import ChaosTransport
from tests.contract.harbor_schema import HARBOR_1, CheckingTransport
from tests.contract.harbor_world import PASSWORD
from tests.contract.vic_world import VicClient, served, vic_config

ALICE = "alice"
DN = "cn=devs,ou=groups,dc=example"
TABLES = ("projects", "metadata", "members", "access_log", "repositories")


@dataclass(frozen=True)
class World:
    """A Harbor 1.x that knows alice and carl, and how to open it as somebody, over some network."""

    client: VicClient
    enter: Callable[..., Administration]

    @property
    def harbor(self) -> Administration:
        return self.enter()

    def project(self, name: str = "es-sandbox") -> Project:
        return self.harbor.projects.create(name, {})

    def hold(self, project: Project, *names: str) -> None:
        for name in names:
            self.client.vic.store.insert(
                "repositories", project_id=int(project.handle), name=name, creation_time="", update_time=""
            )


def opener(client: VicClient) -> Callable[..., Administration]:
    def enter(
        name: str = "admin", password: str = PASSWORD, transport: httpx.BaseTransport | None = None
    ) -> Administration:
        url = str(client.http.base_url)
        return open_administration(
            url=url,
            credential=Credential(name, password),
            transport=transport or CheckingTransport(httpx.HTTPTransport(), HARBOR_1),
        )

    return enter


@pytest.fixture(scope="module")
def standin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[VicClient]:
    config = vic_config(tmp_path_factory.mktemp("harbor"), "http://127.0.0.1:1", "harbor")
    with served(config) as client:
        add_people(client)
        yield client


def add_people(client: VicClient) -> None:
    for name in (ALICE, "carl"):
        body = {"username": name, "email": f"{name}@example.com", "realname": name, "password": PASSWORD}
        assert client.api("POST", "/users", json=body).status_code == 201


@pytest.fixture
def world(standin: VicClient) -> World:
    store = standin.vic.store
    for table in TABLES:
        store.run(f"DELETE FROM {table} WHERE {'id' if table == 'projects' else 'project_id'} <> 1")  # noqa: S608 - our own words
    store.set_setting("auth_mode", "db_auth")
    return World(standin, opener(standin))


def named(text: str) -> Principal:
    return Principal.parse(text)


def roles(world: World, project: Project) -> dict[str, Role]:
    return {str(member.principal): member.role for member in world.harbor.membership.list(project)}


def test_it_is_found_out_that_this_is_harbor_1(world: World) -> None:
    harbor = world.harbor
    assert (harbor.dialect, harbor.version) == ("harbor-1", "1.7.8")
    assert harbor.roles == (Role.PROJECT_ADMIN, Role.DEVELOPER, Role.GUEST)
    assert harbor.callers.caller().system_admin


def test_wrong_credentials_are_an_error_and_not_an_empty_harbor(world: World) -> None:
    with pytest.raises(CredentialsError):
        world.enter("admin", "Wrong12345")


def test_a_project_is_made_private_with_its_creator_as_admin(world: World) -> None:
    project = world.project()
    assert project.settings["public"] is False
    assert roles(world, project) == {"admin": Role.PROJECT_ADMIN}
    assert [each.name for each in world.harbor.projects.list()] == ["es-sandbox", "library"]


def test_a_name_is_looked_up_whole_though_harbor_1_only_searches(world: World) -> None:
    world.project("es-sandbox")
    world.project("es-sandbox-2")
    assert list(world.harbor.projects.list(name="sandbox")) == []
    assert [each.name for each in world.harbor.projects.list(name="es-sandbox")] == ["es-sandbox"]


def test_settings_are_written_in_the_words_of_harbor_1(world: World) -> None:
    settings: dict[str, bool | str | int] = {"auto_scan": True, "prevent_vulnerable": True, "max_severity": "none"}
    project = world.harbor.projects.create("es-sandbox", settings)
    assert project.settings == {"public": False, **settings}
    assert world.client.vic.store.metadata(int(project.handle))["severity"] == "negligible"
    changed = world.harbor.projects.change(project, {"max_severity": "high"})
    assert changed.settings == {"public": False, **settings, "max_severity": "high"}


@pytest.mark.parametrize(
    ("setting", "value", "since"),
    [
        ("require_cosign", True, "2.5"),
        ("require_notation", True, "2.9"),
        ("auto_sbom", True, "2.11"),
        ("storage_limit_bytes", 10, "2.0"),
        ("max_severity", "critical", "1.10"),
    ],
)
def test_what_came_later_is_refused_and_the_version_named(
    world: World, setting: str, value: bool | str | int, since: str
) -> None:
    with pytest.raises(UnsupportedError, match=rf"{setting}.*needs Harbor ≥ {since}, this is 1\.7\.8"):
        world.harbor.projects.create("es-sandbox", {setting: value})
    assert list(world.harbor.projects.list(name="es-sandbox")) == []


def test_a_value_of_another_kind_is_refused_before_harbor_stores_it(world: World) -> None:
    with pytest.raises(InputError, match="auto_scan"):
        world.harbor.projects.create("es-sandbox", {"auto_scan": "yes"})


@pytest.mark.parametrize("name", ["", "x", "Upper", "a/b", "a..b", "-a", "a" * 256])
def test_a_name_that_harbor_would_refuse_is_refused(world: World, name: str) -> None:
    with pytest.raises(RefusedError):
        world.harbor.projects.create(name, {})


def test_a_project_is_not_made_twice(world: World) -> None:
    world.project()
    with pytest.raises(RefusedError, match="exists"):
        world.project()


def test_a_project_that_holds_repositories_stays_and_tells_how_many(world: World) -> None:
    project = world.project()
    world.hold(project, "es-sandbox/a", "es-sandbox/b")
    with pytest.raises(RefusedError, match="2 repositories"):
        world.harbor.projects.delete(project)
    facts = world.harbor.projects.facts(project)
    assert (facts.repositories, facts.used_bytes, facts.last_push) == (2, None, None)


def test_an_empty_project_can_be_deleted_and_is_gone_then(world: World) -> None:
    project = world.project()
    world.harbor.projects.delete(project)
    for late in (world.harbor.projects.delete, world.harbor.membership.list):
        with pytest.raises(NotFoundError, match="no project es-sandbox"):
            late(project)


def test_a_project_of_the_same_name_that_came_since_is_not_deleted(world: World) -> None:
    project = world.project()
    world.harbor.projects.delete(project)
    world.project()
    with pytest.raises(RefusedError, match="another project"):
        world.harbor.projects.delete(project)


@pytest.mark.parametrize("role", [Role.PROJECT_ADMIN, Role.DEVELOPER, Role.GUEST])
def test_a_member_has_the_role_that_was_given_is_changed_and_goes(world: World, role: Role) -> None:
    project, membership = world.project(), world.harbor.membership
    member = membership.add(project, named(ALICE), role)
    assert member == Member(named(ALICE), role) == membership.add(project, named(ALICE), role)
    for other in Role.GUEST, Role.DEVELOPER:
        member = membership.set_role(project, member, other)
        assert roles(world, project)[ALICE] is other
    membership.remove(project, member)
    membership.remove(project, member)
    assert roles(world, project) == {"admin": Role.PROJECT_ADMIN}


def test_adding_with_another_role_is_refused(world: World) -> None:
    project = world.project()
    world.harbor.membership.add(project, named(ALICE), Role.GUEST)
    with pytest.raises(RefusedError, match="guest"):
        world.harbor.membership.add(project, named(ALICE), Role.PROJECT_ADMIN)


@pytest.mark.parametrize(("role", "since"), [(Role.MAINTAINER, "1.8"), (Role.LIMITED_GUEST, "1.10")])
def test_a_role_that_came_later_is_refused_and_the_version_named(world: World, role: Role, since: str) -> None:
    project = world.project()
    with pytest.raises(UnsupportedError, match=f"{role} needs Harbor ≥ {since}"):
        world.harbor.membership.add(project, named(ALICE), role)
    member = world.harbor.membership.add(project, named(ALICE), Role.GUEST)
    with pytest.raises(UnsupportedError, match=f"{role} needs Harbor ≥ {since}"):
        world.harbor.membership.set_role(project, member, role)


def test_a_role_for_somebody_who_left_is_an_error_though_harbor_says_200(world: World) -> None:
    project = world.project()
    member = world.harbor.membership.add(project, named(ALICE), Role.GUEST)
    world.harbor.membership.remove(project, member)
    with pytest.raises(NotFoundError, match="not a member"):
        world.harbor.membership.set_role(project, member, Role.DEVELOPER)


def test_somebody_unknown_is_named_with_a_way_out(world: World) -> None:
    with pytest.raises(NotFoundError, match=r"nobody.*User does not exist") as caught:
        world.harbor.membership.add(world.project(), named("nobody"), Role.GUEST)
    assert caught.value.hint


def test_groups_need_ldap(world: World) -> None:
    with pytest.raises(UnsupportedError, match="groups of LDAP only"):
        world.harbor.membership.add(world.project(), named("group:devs"), Role.GUEST)


def test_a_group_of_ldap_is_added_by_its_dn_and_known_by_its_name(world: World) -> None:
    project = world.project()
    world.client.vic.store.set_setting("auth_mode", "ldap_auth")
    world.client.vic.store.set_setting("ldap_groups", json.dumps({DN: "devs"}))
    membership = world.harbor.membership
    for _ in range(2):
        member = membership.add(project, named(f"group:{DN}"), Role.DEVELOPER)
        assert member == Member(named("group:devs"), Role.DEVELOPER)
    assert membership.add(project, named("group:devs"), Role.DEVELOPER) == member
    with pytest.raises(NotFoundError, match="Group does not exist"):
        membership.add(project, named("group:cn=none,dc=example"), Role.DEVELOPER)
    with pytest.raises(NotFoundError, match="group:none"):
        membership.add(project, named("group:none"), Role.DEVELOPER)


def test_of_two_groups_of_one_name_only_the_one_that_is_meant_is_changed(world: World) -> None:
    project, twin = world.project(), DN.replace("groups", "more")
    world.client.vic.store.set_setting("auth_mode", "ldap_auth")
    world.client.vic.store.set_setting("ldap_groups", json.dumps({DN: "devs", twin: "devs"}))
    membership = world.harbor.membership
    first = membership.add(project, named(f"group:{DN}"), Role.DEVELOPER)
    second = membership.add(project, named(f"group:{twin}"), Role.GUEST)
    assert (second.role, second.handle != first.handle) == (Role.GUEST, True)
    second = membership.set_role(project, second, Role.DEVELOPER)
    with pytest.raises(RefusedError, match="2 members have that name"):
        membership.remove(project, Member(named("group:devs"), Role.DEVELOPER))
    membership.remove(project, first)
    assert membership.list(project)[0].handle == second.handle
    assert membership.set_role(project, second, Role.GUEST).handle == second.handle


def test_a_project_that_is_hidden_is_told_from_one_that_is_not_there(world: World) -> None:
    project = world.project()
    stranger = world.enter("carl")
    with pytest.raises(PermissionRefusedError, match="carl lacks the right"):
        stranger.membership.list(Project(project.name))
    with pytest.raises(PermissionRefusedError, match="carl lacks the right"):
        stranger.membership.list(project)
    with pytest.raises(NotFoundError, match="no project nothing"):
        stranger.membership.list(Project("nothing"))


def test_who_lacks_a_right_is_told_so_in_words(world: World) -> None:
    project = world.project()
    world.harbor.membership.add(project, named("carl"), Role.DEVELOPER)
    with pytest.raises(PermissionRefusedError, match="carl lacks the right"):
        world.enter("carl").membership.add(project, named(ALICE), Role.GUEST)


def test_rights_follow_from_the_role(world: World) -> None:
    project = world.project()
    assert Right.parse("member:create") in world.harbor.callers.rights(project)
    world.harbor.membership.add(project, named("carl"), Role.DEVELOPER)
    rights = world.enter("carl").callers.rights(project)
    assert Right.parse("repository:push") in rights
    assert Right.parse("member:create") not in rights


def test_robots_are_said_to_need_a_newer_harbor(world: World) -> None:
    with pytest.raises(UnsupportedError, match=r"need Harbor ≥ 2\.2, this is harbor-1 1\.7\.8"):
        world.harbor.require_robots()


@pytest.fixture
def latest(tmp_path: Path) -> Iterator[World]:
    """The last Harbor before 2.0, with alice and carl in it."""
    with served(vic_config(tmp_path, "http://127.0.0.1:1", "harbor-1", version="1.10.3")) as client:
        add_people(client)
        yield World(client, opener(client))


def test_harbor_1_10_has_all_roles_and_critical_and_no_robots_that_are_spoken_here(latest: World) -> None:
    harbor = latest.harbor
    assert (harbor.dialect, harbor.version, harbor.roles) == ("harbor-1", "1.10.3", tuple(Role))
    project = harbor.projects.create("es-sandbox", {"max_severity": "critical"})
    for role in (Role.MAINTAINER, Role.LIMITED_GUEST):
        member = harbor.membership.add(project, named(ALICE), role)
        assert roles(latest, project)[ALICE] is role
        harbor.membership.remove(project, member)
    with pytest.raises(UnsupportedError, match=r"need Harbor ≥ 2\.2, this is harbor-1 1\.10\.3"):
        harbor.require_robots()


def test_what_harbor_1_10_says_of_a_refusal_is_told_without_its_object(latest: World) -> None:
    project = latest.project()
    assert latest.client.api("GET", f"/projects/{project.handle}", ("carl", PASSWORD)).json() == {
        "code": 403,
        "message": "carl",
    }
    with pytest.raises(
        NotFoundError, match=r"know it: Failed to add project member, error: User does not exist \(HTTP"
    ):
        latest.harbor.membership.add(project, named("nobody"), Role.GUEST)


def test_a_limited_guest_of_1_10_sees_the_project_and_nobody_in_it(latest: World) -> None:
    project = latest.project()
    latest.harbor.membership.add(project, named("carl"), Role.LIMITED_GUEST)
    carl = latest.enter("carl")
    assert Right.parse("member:list") not in carl.callers.rights(project)
    assert [each.name for each in carl.projects.list()] == ["es-sandbox", "library"]
    for look in (lambda: carl.membership.list(project), lambda: list(carl.require_audit().entries(project))):
        with pytest.raises(PermissionRefusedError, match="carl lacks the right"):
            look()


def test_the_log_is_read_newest_first_and_back_to_a_time(world: World) -> None:
    project = world.project()
    store = world.client.vic.store
    for minute in (1, 2, 3):
        store.insert(
            "access_log",
            username=ALICE,
            project_id=int(project.handle),
            repo_name="es-sandbox/hello",
            repo_tag=f"1.{minute}",
            operation="push",
            op_time=f"2099-01-01T00:0{minute}:00.000Z",
        )
    entries = list(world.harbor.require_audit().entries(project))
    assert [entry.resource for entry in entries] == [
        "es-sandbox/hello:1.3",
        "es-sandbox/hello:1.2",
        "es-sandbox/hello:1.1",
        "es-sandbox",
    ]
    assert (entries[0].user, entries[0].operation, entries[0].resource_type) == (ALICE, "push", "artifact")
    recent = world.harbor.require_audit().entries(project, since=entries[1].at)
    assert [entry.resource for entry in recent] == ["es-sandbox/hello:1.3", "es-sandbox/hello:1.2"]


@pytest.mark.parametrize("seed", range(3))
def test_lost_answers_leave_the_project_as_it_was_wanted(world: World, seed: int) -> None:
    harbor = world.enter(transport=ChaosTransport(httpx.HTTPTransport(), share=0.15, seed=seed))
    project = harbor.projects.create("es-sandbox", {"auto_scan": True})
    member = harbor.membership.add(project, named(ALICE), Role.GUEST)
    member = harbor.membership.set_role(project, member, Role.DEVELOPER)
    assert roles(world, project) == {"admin": Role.PROJECT_ADMIN, ALICE: Role.DEVELOPER}
    harbor.membership.remove(project, member)
    harbor.projects.delete(project)
    assert list(world.harbor.projects.list(name="es-sandbox")) == []
