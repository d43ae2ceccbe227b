"""Members and projects of VIC: what the administration's ports keep through Admiral, traps included."""

import base64
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn

from imagepipe.errors import (
    CredentialsError,
    InputError,
    NotFoundError,
    PermissionRefusedError,
    RefusedError,
    UnavailableError,
    UnsupportedError,
)
from imagepipe.harbor.administration import open_administration
from imagepipe.model.access import Member, Principal, Project, Right, Role
from imagepipe.model.result import Credential
from imagepipe.ports.administration import Administration
from imagepipe.sandbox.vic.admiral import create_admiral
from imagepipe.sandbox.vic.app import create_app
from tests.contract.harbor_chaos import ChaosTransport
from tests.contract.harbor_world import PASSWORD
from tests.contract.registry_worlds import wait_for
from tests.contract.vic_world import vic_config

ADMIN, ALICE, BOB, DEVS = "admin@vsphere.local", "alice@corp.example", "bob@corp.example", "group:devs@corp.example"
DEVS_ID = DEVS.partition(":")[2]


@dataclass(frozen=True)
class World:
    """Harbor and Admiral of one appliance, and how to enter as somebody."""

    url: str
    state: Any
    sessions: Any
    switches: Any

    def enter(
        self, name: str = "admin", password: str = PASSWORD, transport: httpx.BaseTransport | None = None
    ) -> Administration:
        credential = Credential(name, password)
        return open_administration(url=self.url, credential=credential, transport=transport or httpx.HTTPTransport())

    @property
    def admiral(self) -> Administration:
        return self.enter()

    def project(self) -> Project:
        return self.admiral.projects.create("es-sandbox", {})

    def lists(self, project: Project) -> dict[str, list[str]]:
        link = project.handle.rpartition("/")[2]
        names = ("administrators", "members", "viewers")
        return {where: [row["id"] for row in self.state.held(link, where)] for where in names}


@contextmanager
def listening(app: Any, held: socket.socket) -> Iterator[None]:
    server = uvicorn.Server(uvicorn.Config(app, ws="none", log_level="warning"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [held]})
    thread.start()
    try:
        yield
    finally:
        server.should_exit = True
        thread.join(timeout=10)


def bound() -> socket.socket:
    held = socket.socket(proto=socket.IPPROTO_TCP)  # named as TCP, so that asyncio sends small packets at once
    held.bind(("127.0.0.1", 0))
    return held


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with ExitStack() as stack:
        harbors, admirals = stack.enter_context(bound()), stack.enter_context(bound())
        url, admiral_url = (f"http://127.0.0.1:{held.getsockname()[1]}" for held in (harbors, admirals))
        config = replace(vic_config(tmp_path, "http://127.0.0.1:1", "vic"), external_url=url)
        harbor = create_app(config, admiral_url=admiral_url)
        state, sessions = harbor.state.admiral, harbor.state.sessions
        admiral = create_admiral(state, sessions)
        stack.enter_context(listening(harbor, harbors))
        stack.enter_context(listening(admiral, admirals))
        wait_for(f"{url}/api/systeminfo")
        wait_for(admiral_url)
        admin = state.store.one("SELECT * FROM users WHERE id = 1")
        kept = {key: admin[key] for key in ("secret", "salt", "creation_time", "update_time")}
        for name in (ALICE, BOB):
            state.people.add(name, user=state.store.insert("users", username=name, **kept))
        state.people.add(DEVS_ID, type_="GROUP")
        state.people.join(DEVS_ID, BOB)
        admiral.state.switches.write_delay_s = 0.05
        yield World(url, state, sessions, admiral.state.switches)


def named(text: str) -> Principal:
    return Principal.parse(text)


def roles(world: World, project: Project) -> dict[str, Role]:
    return {str(member.principal): member.role for member in world.admiral.membership.list(project)}


def test_harbor_tells_that_its_members_are_in_admiral(world: World) -> None:
    admiral = world.admiral
    assert (admiral.dialect, admiral.version) == ("admiral", "1.7.8")
    assert (admiral.callers.caller().name, admiral.callers.caller().system_admin) == (ADMIN, True)
    assert admiral.roles == (Role.PROJECT_ADMIN, Role.DEVELOPER, Role.GUEST)


def test_a_wrong_password_is_an_error_after_one_try(world: World) -> None:
    with pytest.raises(CredentialsError, match="wrong user name or password"):
        world.enter("admin", "Wrong12345")


def test_local_users_log_in_with_basic(world: World) -> None:
    world.switches.sso = False
    assert world.enter(ALICE).callers.caller().name == ALICE
    with pytest.raises(CredentialsError, match="forbidden"):
        world.enter(ALICE, "Wrong12345")


def test_a_token_of_ones_own_serves_as_well_until_it_runs_out(world: World) -> None:
    token = world.sessions.open(ALICE)
    alice = world.enter("x-xenon-auth-token", token)
    assert alice.callers.caller().name == ALICE
    world.sessions.close(token)
    with pytest.raises(CredentialsError, match="does not know us"):
        alice.callers.caller()


def test_a_token_that_runs_out_is_fetched_anew(world: World) -> None:
    admiral = world.admiral
    world.sessions._tokens.clear()
    assert admiral.callers.caller().name == ADMIN


def test_the_password_is_not_taken_to_another_host(world: World) -> None:
    posted: list[str] = []

    def elsewhere(request: httpx.Request) -> httpx.Response:
        if request.method == "POST":
            posted.append(str(request.url))
        if request.url.path == "/api/systeminfo":
            info = {"with_admiral": True, "harbor_version": "v1.7.8-x", "admiral_endpoint": "https://vic.example:8282"}
            return httpx.Response(200, json=info)
        if request.url.path == "/":
            return httpx.Response(302, headers={"Location": "https://evil.example/sso"})
        return httpx.Response(404)

    with pytest.raises(UnsupportedError, match=r"evil\.example") as caught:
        open_administration(
            url="https://vic.example",
            credential=Credential("dana", PASSWORD),
            transport=httpx.MockTransport(elsewhere),
        )
    assert posted == []
    assert "cookie" in (caught.value.hint or "")


def test_an_admiral_that_is_said_to_be_elsewhere_is_not_believed(world: World) -> None:
    info = {"with_admiral": True, "harbor_version": "v1.7.8-x", "admiral_endpoint": "https://evil.example:8282"}

    def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, json=info) if request.url.path == "/api/systeminfo" else httpx.Response(404)

    with pytest.raises(UnsupportedError, match=r"evil\.example, another host"):
        open_administration(
            url="https://vic.example", credential=Credential("d", PASSWORD), transport=httpx.MockTransport(answer)
        )


def test_a_project_is_made_with_an_administrator_though_admiral_gives_it_none(world: World) -> None:
    project = world.project()
    assert project.settings["public"] is False
    assert roles(world, project) == {ADMIN: Role.PROJECT_ADMIN}
    with pytest.raises(RefusedError, match="exists"):
        world.project()


def test_only_a_cloud_administrator_makes_projects(world: World) -> None:
    with pytest.raises(PermissionRefusedError, match="no cloud administrator"):
        world.enter(ALICE).projects.create("mine", {})


def test_settings_are_texts_that_harbor_can_read(world: World) -> None:
    settings: dict[str, bool | str | int] = {
        "public": True,
        "auto_scan": True,
        "prevent_vulnerable": False,
        "max_severity": "high",
    }
    project = world.admiral.projects.create("es-sandbox", settings)
    assert project.settings == settings
    changed = world.admiral.projects.change(project, {"prevent_vulnerable": True, "public": False})
    assert changed.settings == {**settings, "prevent_vulnerable": True, "public": False}
    assert '"__automaticallyScanImagesOnPush": "true"' in world.state.project_by_name("es-sandbox")["properties"]


@pytest.mark.parametrize(("setting", "since"), [("require_cosign", "2.5"), ("storage_limit_bytes", "2.0")])
def test_what_came_later_is_refused_and_the_version_named(world: World, setting: str, since: str) -> None:
    value = True if setting == "require_cosign" else 10
    with pytest.raises(UnsupportedError, match=rf"{setting} needs Harbor ≥ {since}, this is 1\.7\.8 with Admiral"):
        world.admiral.projects.create("es-sandbox", {setting: value})


@pytest.mark.parametrize("role", [Role.PROJECT_ADMIN, Role.DEVELOPER, Role.GUEST])
@pytest.mark.parametrize("who", [ALICE, DEVS])
def test_a_member_is_there_when_we_say_so_changes_and_goes(world: World, who: str, role: Role) -> None:
    project, membership = world.project(), world.admiral.membership
    member = membership.add(project, named(who), role)
    assert member == Member(named(who), role) == membership.add(project, named(who), role)
    for other in (Role.DEVELOPER, Role.PROJECT_ADMIN, Role.DEVELOPER, Role.GUEST):
        member = membership.set_role(project, member, other)
        assert roles(world, project)[who] is other
        assert sum(named(who).name in held for held in world.lists(project).values()) == 1
    membership.remove(project, member)
    membership.remove(project, member)
    assert roles(world, project) == {ADMIN: Role.PROJECT_ADMIN}


def test_a_name_is_sent_as_single_sign_on_spells_it(world: World) -> None:
    project = world.project()
    member = world.admiral.membership.add(project, named("Alice@CORP.example"), Role.DEVELOPER)
    assert member.principal.name == ALICE
    assert world.lists(project)["members"] == [ALICE]


def test_who_is_unknown_is_refused_with_a_suggestion(world: World) -> None:
    project = world.project()
    with pytest.raises(NotFoundError, match="alice") as caught:
        world.admiral.membership.add(project, named("alice"), Role.GUEST)
    assert caught.value.hint == f"did you mean {ALICE}?"
    with pytest.raises(NotFoundError, match="is a group") as caught:
        world.admiral.membership.add(project, named(DEVS_ID), Role.GUEST)
    assert caught.value.hint == f"name it {DEVS}"
    with pytest.raises(InputError, match="name@domain"):
        world.admiral.membership.add(project, named("CORP\\alice"), Role.GUEST)
    world.switches.unknown_status = 500
    with pytest.raises(NotFoundError):
        world.admiral.membership.add(project, named("ghost@corp.example"), Role.GUEST)


@pytest.mark.parametrize("role", [Role.MAINTAINER, Role.LIMITED_GUEST])
def test_roles_that_admiral_does_not_have_are_not_mapped_in_silence(world: World, role: Role) -> None:
    with pytest.raises(UnsupportedError, match=rf"{role} needs Harbor ≥ 1\.\d+ without Admiral"):
        world.admiral.membership.add(world.project(), named(ALICE), role)


@pytest.mark.parametrize("status", [404, 500])
def test_whom_single_sign_on_forgot_is_shown_and_said_to_be_stuck(world: World, status: int) -> None:
    project = world.project()
    member = world.admiral.membership.add(project, named(ALICE), Role.DEVELOPER)
    world.state.people.forget(ALICE)
    world.switches.unknown_status = status
    assert roles(world, project)[ALICE] is Role.DEVELOPER
    with pytest.raises(RefusedError, match="no longer knows"):
        world.admiral.membership.remove(project, member)


def test_a_write_that_is_lost_is_an_error_in_the_end(world: World) -> None:
    project, admiral, waited_s = world.project(), world.admiral, list[float]()
    admiral.membership._client.sleep = waited_s.append  # type: ignore[attr-defined] # so that nobody waits for real
    world.switches.write_delay_s = 3600.0
    with pytest.raises(UnavailableError, match="took it and did not apply it"):
        admiral.membership.add(project, named(ALICE), Role.GUEST)
    assert 5 < sum(waited_s) < 60


def test_a_member_in_several_lists_counts_with_the_highest_and_ends_in_one(world: World) -> None:
    project = world.project()
    link = project.handle.rpartition("/")[2]
    for where in ("administrators", "members"):
        world.state.assign(link, where, ALICE, "USER")
    assert roles(world, project)[ALICE] is Role.PROJECT_ADMIN
    member = next(each for each in world.admiral.membership.list(project) if each.principal.name == ALICE)
    world.admiral.membership.set_role(project, member, Role.PROJECT_ADMIN)
    assert world.lists(project)["members"] == []


def test_rights_follow_from_roles_and_groups(world: World) -> None:
    project = world.project()
    world.admiral.membership.add(project, named(DEVS), Role.DEVELOPER)
    rights = world.enter(BOB).callers.rights(project)
    assert Right.parse("repository:push") in rights
    assert Right.parse("member:create") not in rights


def test_who_has_no_role_sees_no_project(world: World) -> None:
    project = world.project()
    with pytest.raises(NotFoundError, match=f"{ALICE} sees no project es-sandbox"):
        world.enter(ALICE).membership.list(project)


def test_who_is_only_a_member_may_change_nothing(world: World) -> None:
    project = world.project()
    member = world.admiral.membership.add(project, named(ALICE), Role.DEVELOPER)
    with pytest.raises(PermissionRefusedError, match="forbidden"):
        world.enter(ALICE).membership.set_role(project, member, Role.PROJECT_ADMIN)


def test_a_project_that_holds_repositories_stays(world: World) -> None:
    project = world.project()
    row = world.state.project_by_name(project.name)
    for name in ("es-sandbox/a", "es-sandbox/b"):
        world.state.store.insert(
            "repositories", project_id=row["project_id"], name=name, creation_time="", update_time=""
        )
    with pytest.raises(RefusedError, match=r"holds 2 repositories.*not removable"):
        world.admiral.projects.delete(project)
    assert world.admiral.projects.facts(project).repositories == 2


def test_an_empty_project_can_be_deleted_and_is_gone_then(world: World) -> None:
    project = world.project()
    world.admiral.projects.delete(project)
    assert list(world.admiral.projects.list(name="es-sandbox")) == []
    with pytest.raises(NotFoundError):
        world.admiral.projects.delete(project)


def test_who_leaves_a_project_and_sees_it_no_more_has_left_it(world: World) -> None:
    project = world.project()
    world.admiral.membership.add(project, Principal.parse(ALICE), Role.PROJECT_ADMIN)
    alice = world.enter(ALICE)
    alice.membership.remove(project, Member(Principal.parse(ALICE), Role.PROJECT_ADMIN))
    assert ALICE not in [member.principal.name for member in world.admiral.membership.list(project)]
    assert list(alice.projects.list(name=project.name)) == []


def test_there_are_neither_robots_nor_a_log(world: World) -> None:
    with pytest.raises(UnsupportedError, match=r"need Harbor ≥ 2\.2, this is admiral 1\.7\.8"):
        world.admiral.require_robots()
    with pytest.raises(UnsupportedError, match="audit log"):
        world.admiral.require_audit()


def test_errors_hold_no_stack_trace_and_no_password(world: World) -> None:
    alice, project = world.enter(ALICE), world.project()
    world.state.assign(project.handle.rpartition("/")[2], "viewers", ALICE, "USER")
    with pytest.raises(PermissionRefusedError) as caught:
        alice.projects.change(project, {"public": True})
    assert "ProjectService" not in caught.value.message
    secrets = (PASSWORD, base64.b64encode(f"{ALICE}:{PASSWORD}".encode()).decode())
    assert not any(secret in caught.value.message for secret in secrets)


@pytest.mark.parametrize("seed", range(3))
def test_lost_answers_leave_the_project_as_it_was_wanted(world: World, seed: int) -> None:
    sound = world.project()
    admiral = world.enter(transport=ChaosTransport(httpx.HTTPTransport(), share=0.05, seed=seed))
    member = admiral.membership.add(sound, named(DEVS), Role.PROJECT_ADMIN)
    admiral.membership.set_role(sound, member, Role.DEVELOPER)
    assert roles(world, sound) == {ADMIN: Role.PROJECT_ADMIN, DEVS: Role.DEVELOPER}
