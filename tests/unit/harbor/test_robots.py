from datetime import UTC, datetime
from functools import partial

import httpx
import pytest

from imagepipe.errors import NotFoundError, PermissionRefusedError, RefusedError, UnavailableError, UnsupportedError
from imagepipe.harbor.v2.audit import AuditLog2
from imagepipe.harbor.v2.rights import grants
from imagepipe.harbor.v2.robots import Robots2
from imagepipe.harbor.wire import WireCreatedRobot
from imagepipe.model.access import PERMISSION_SETS, Project, Right, Robot, RobotRequest
from tests.unit.harbor.fake import FakeHarbor, Json, refused

P = Project("p", handle="7")
PULL = PERMISSION_SETS["pull"]
CI = RobotRequest("ci", "p", PULL, 30, "builds")
POST = "POST /robots"


def of(harbor: FakeHarbor) -> Robots2:
    return Robots2(harbor.session())


def rights(*texts: str) -> frozenset[Right]:
    return frozenset(map(Right.parse, texts))


def row(number: int, name: str, *access: str, **more: object) -> Json:
    accesses = [dict(zip(("resource", "action"), text.split(":"), strict=True)) for text in access]
    permission = {"kind": "project", "namespace": "p", "access": accesses}
    return {"id": number, "name": name, "level": "project", "duration": 30, "permissions": [permission], **more}


def test_a_request_says_allow_for_every_right_and_names_its_days() -> None:
    harbor = FakeHarbor()
    made = of(harbor).create(RobotRequest("ci", "p", rights("repository:pull"), None, "builds"), P)
    (body,) = [body for body in harbor.bodies if body]
    assert body["duration"] == -1
    assert body["level"] == "project"
    access = [{"resource": "repository", "action": "pull", "effect": "allow"}]
    assert body["permissions"] == [{"kind": "project", "namespace": "p", "access": access}]
    assert (made.secret, made.robot.login) == ("Secret50", "robot$p+ci")


def test_a_robot_of_the_whole_harbor_has_rights_in_all_projects_and_in_the_system() -> None:
    found = grants(rights("repository:pull", "user:list", "project:create", "label:create"), None)
    assert [(grant["kind"], grant["namespace"]) for grant in found] == [("project", "*"), ("system", "/")]
    access = [
        {"resource": resource, "action": action, "effect": "allow"}
        for resource, action in (("project", "create"), ("user", "list"))
    ]
    assert found[1]["access"] == access
    assert [grant["kind"] for grant in grants(rights("catalog:read"), None)] == ["system"]


def table(harbor: FakeHarbor, *project: str) -> None:
    entries = [{"resource": right.resource, "action": right.action} for right in rights(*project)]
    harbor.always("GET /permissions", lambda: httpx.Response(200, json={"project": entries, "system": None}))


@pytest.mark.parametrize(
    ("wanted", "named"),
    [
        (("repository:pull", "scan:stop", "tag:delete"), "scan:stop, tag:delete"),
        (("repository:pull", "robot:update"), "robot:update"),
        (("repository:*",), r"repository:\*"),
        (("user:list",), "user:list in a project"),
    ],
)
def test_rights_that_cannot_be_granted_are_all_named(wanted: tuple[str, ...], named: str) -> None:
    harbor = FakeHarbor()
    table(harbor, "repository:pull", "user:list")
    with pytest.raises(RefusedError, match=f"cannot be given {named}"):
        of(harbor).create(RobotRequest("ci", "p", rights(*wanted), 1), P)
    assert harbor.robots == []


def test_a_right_of_a_later_version_is_refused_with_both_versions() -> None:
    harbor = FakeHarbor(version="v2.11.2")
    with pytest.raises(UnsupportedError, match=r"right member:create: needs Harbor ≥ 2\.12, this is 2\.11\.2"):
        of(harbor).create(RobotRequest("ci", "p", rights("member:create"), 1), P)


@pytest.mark.parametrize("version", ["v2.9.0", "v2.15.2"])
def test_without_a_table_to_ask_harbor_has_the_last_word(version: str) -> None:
    harbor = FakeHarbor(version=version)
    harbor.always("GET /permissions", lambda: refused(403))
    assert of(harbor).create(CI, P).robot.rights == PULL
    assert harbor.count("GET /permissions") == (1 if version == "v2.15.2" else 0)


def test_a_system_robot_is_checked_against_both_tables() -> None:
    harbor = FakeHarbor()
    both = {
        "project": [{"resource": "repository", "action": "pull"}],
        "system": [{"resource": "user", "action": "list"}],
    }
    harbor.always("GET /permissions", lambda: httpx.Response(200, json=both))
    request = RobotRequest("all", None, rights("repository:pull", "user:list"), 1)
    assert of(harbor).create(request, None).robot.login == "robot$all"


@pytest.mark.parametrize("after", [False, True])
def test_a_robot_whose_secret_was_lost_is_made_anew(*, after: bool) -> None:
    harbor = FakeHarbor()
    harbor.once(POST, refused(500), after=after)
    made = of(harbor).create(CI, P)
    assert [robot["name"] for robot in harbor.robots] == ["robot$p+ci"]
    assert made.secret == f"Secret{harbor.robots[0]['id']}"
    assert harbor.count("DELETE") == (1 if after else 0)


def test_somebody_elses_robot_is_not_deleted_for_an_answer_that_was_lost() -> None:
    harbor = FakeHarbor()

    def overtaken() -> httpx.Response:
        if not harbor.robots:
            harbor.robots.append(row(9, "robot$p+ci", "repository:push"))
            return refused(500, "internal server error")
        return refused(409, "exists")

    harbor.always(POST, overtaken)
    with pytest.raises(UnavailableError):
        of(harbor).create(CI, P)
    assert harbor.count("DELETE") == 0


def test_a_name_that_is_taken_meanwhile_is_refused() -> None:
    harbor = FakeHarbor()
    harbor.always(POST, lambda: refused(409, "robot account 7:p+ci already exists"))
    with pytest.raises(RefusedError, match="already exists"):
        of(harbor).create(CI, P)


@pytest.mark.parametrize("answer", [lambda: refused(500), lambda: refused(403), lambda: refused(404)])
def test_a_secret_is_not_lost_over_a_reading_that_fails(answer: object) -> None:
    harbor = FakeHarbor()
    assert callable(answer)
    harbor.always("GET /robots/50", answer)
    made = of(harbor).create(CI, P)
    assert (made.secret, made.robot.rights, made.robot.handle) == ("Secret50", PULL, "50")


def test_a_robot_with_other_rights_than_asked_for_is_deleted_again() -> None:
    harbor = FakeHarbor()
    odd = row(50, "robot$p+ci", "repository:pull", "repository:push")

    def shown() -> httpx.Response:
        return httpx.Response(200, json=odd) if harbor.robots else refused(404)

    harbor.always("GET /robots/50", shown)
    with pytest.raises(RefusedError, match="other rights"):
        of(harbor).create(CI, P)
    assert harbor.robots == []


def test_a_robots_secret_shows_in_no_repr() -> None:
    assert "Secret50" not in repr(WireCreatedRobot(id=50, name="robot$p+ci", secret="Secret50"))


def test_a_robot_that_denies_something_does_not_hold_it() -> None:
    harbor = FakeHarbor(robots=[row(1, "robot$p+ci", "repository:pull")])
    harbor.robots[0]["permissions"][0]["access"].append({"resource": "tag", "action": "list", "effect": "deny"})
    harbor.robots[0]["permissions"].append({"kind": "project", "namespace": "p", "access": None})
    harbor.robots.append({"id": 2, "name": "robot$p+bare", "permissions": None, "expires_at": 1772366400})
    bare, ci = of(harbor).list(P)
    assert ci.rights == rights("repository:pull")
    assert (bare.name, bare.rights, bare.expires_at) == ("bare", frozenset(), datetime(2026, 3, 1, 12, tzinfo=UTC))
    assert harbor.requests[0] == "GET /robots?sort=-id&q=Level%3Dproject%2CProjectID%3D7&page=1&page_size=100"


@pytest.mark.parametrize(
    ("prefix", "login", "name"),
    [("robot$", "robot$ci", "ci"), ("bot-", "bot-ci", "ci"), ("", "ci", "ci"), (None, "robot$ci", "ci"), (7, "x", "x")],
)
def test_a_system_robots_name_has_no_prefix_whatever_it_is(prefix: object, login: str, name: str) -> None:
    harbor = FakeHarbor(robots=[row(1, login, "repository:pull")])
    configuration = {} if prefix is None else {"robot_name_prefix": {"value": prefix, "editable": True}}
    harbor.always("GET /configurations", lambda: httpx.Response(200, json=configuration))
    assert of(harbor).list(None)[0].name == name


def test_the_prefix_is_learnt_from_a_robot_that_was_made() -> None:
    harbor = FakeHarbor(user={"username": "dev"})
    robots = of(harbor)
    robots.create(CI, P)
    harbor.robots = [row(1, "robot$all", "repository:pull")]
    assert robots.list(None)[0].name == "all"
    assert harbor.count("GET /configurations") == 0


def test_who_may_not_read_the_configuration_takes_the_usual_prefix() -> None:
    harbor = FakeHarbor(robots=[row(1, "robot$all", "repository:pull")], user={"username": "dev"})
    assert of(harbor).list(None)[0].name == "all"
    harbor.user = {"username": "admin", "sysadmin_flag": True}
    assert of(harbor).list(None)[0].name == "all"


def held(harbor: FakeHarbor) -> tuple[Robots2, Robot]:
    harbor.robots.append(row(1, "robot$p+ci", "repository:pull", description="builds", expires_at=-1))
    robots = of(harbor)
    (robot,) = robots.list(P)
    return robots, robot


@pytest.mark.parametrize("after", [False, True])
def test_a_robot_is_switched_off_whole_whatever_becomes_of_the_answer(*, after: bool) -> None:
    harbor = FakeHarbor()
    robots, robot = held(harbor)
    harbor.once("PUT /robots/1", refused(500), after=after)
    robots.disable(robot)
    (sent, *_) = [body for body in harbor.bodies if body]
    assert sent == {
        "id": 1,
        "name": "robot$p+ci",
        "description": "builds",
        "level": "project",
        "duration": 30,
        "disable": True,
        "permissions": [
            {"kind": "project", "namespace": "p", "access": [{"resource": "repository", "action": "pull"}]},
        ],
    }
    assert robots.list(P)[0].disabled


def test_a_robot_without_a_duration_keeps_having_none() -> None:
    harbor = FakeHarbor()
    robots, robot = held(harbor)
    harbor.robots[0]["duration"] = None
    robots.disable(robot)
    assert "duration" not in next(body for body in harbor.bodies if body)


@pytest.mark.parametrize("after", [False, True])
def test_a_robot_is_described_whole_whatever_becomes_of_the_answer(*, after: bool) -> None:
    harbor = FakeHarbor()
    robots, robot = held(harbor)
    harbor.robots[0] |= {"disable": True, "description": "builds, by night"}
    harbor.once("PUT /robots/1", refused(500), after=after)
    robots.describe(robot, lambda text: text.removesuffix(", by night"))
    (sent, *_) = [body for body in harbor.bodies if body]
    assert (sent["description"], sent["disable"], sent["duration"]) == ("builds", True, 30)
    assert sent["permissions"] == harbor.robots[0]["permissions"]
    count = harbor.count("PUT")
    robots.describe(robot, str)
    assert harbor.count("PUT") == count


def test_a_robot_can_never_change_a_robot() -> None:
    harbor = FakeHarbor(user={"username": "robot$p+admin"})
    robots, robot = held(harbor)
    for change in (robots.disable, partial(robots.describe, edit=str)):
        with pytest.raises(PermissionRefusedError) as caught:
            change(robot)
        assert "delete it" in (caught.value.hint or "")


def test_a_robot_that_stays_on_is_not_said_to_be_off() -> None:
    harbor = FakeHarbor()
    robots, robot = held(harbor)
    harbor.always("PUT /robots/1", lambda: httpx.Response(200))
    with pytest.raises(RefusedError, match="did not keep it"):
        robots.disable(robot)
    harbor.always("DELETE /robots/1", lambda: httpx.Response(200))
    with pytest.raises(RefusedError, match="did not keep it"):
        robots.delete(robot)


@pytest.mark.parametrize("after", [False, True])
def test_a_deleted_robot_is_gone_whatever_becomes_of_the_answer(*, after: bool) -> None:
    harbor = FakeHarbor()
    robots, robot = held(harbor)
    harbor.once("DELETE /robots/1", refused(500), after=after)
    robots.delete(robot)
    assert harbor.robots == []
    robots.delete(robot)
    with pytest.raises(NotFoundError):
        robots.disable(robot)


def test_a_number_that_has_become_another_robots_is_left_alone() -> None:
    harbor = FakeHarbor()
    robots, robot = held(harbor)
    harbor.robots[0]["name"] = "robot$p+other"
    with pytest.raises(RefusedError, match=r"robot\$p\+other"):
        robots.delete(robot)
    assert harbor.robots


def test_the_robots_of_a_project_that_is_not_there_are_not_an_empty_list() -> None:
    harbor = FakeHarbor()
    harbor.always("GET /robots", lambda: refused(403, "forbidden"))
    with pytest.raises(NotFoundError, match="no project nowhere"):
        of(harbor).list(Project("nowhere", handle="99"))


LOG = [
    {"id": 3, "op_time": "2026-03-03T00:00:00Z", "username": "a", "operation": "delete", "operation_result": False},
    {"id": 2, "op_time": "2026-03-02T00:00:00Z", "username": "a", "operation": "create", "resource_type": "artifact"},
    {"id": 1, "op_time": "2026-03-01T00:00:00Z", "username": "b", "operation": "pull", "resource": "p/r:1"},
]


@pytest.mark.parametrize(("version", "path"), [("v2.13.0", "auditlog-exts"), ("v2.12.0", "logs")])
def test_the_audit_log_is_read_newest_first_and_back_to_a_time(version: str, path: str) -> None:
    harbor = FakeHarbor(version=version)
    harbor.always(f"GET /projects/p/{path}", lambda: httpx.Response(200, json=LOG))
    audit = AuditLog2(harbor.session())
    entries = list(audit.entries(P))
    assert [entry.handle for entry in entries] == ["3", "2", "1"]
    assert [entry.succeeded for entry in entries] == [False, True, True]
    assert (entries[2].user, entries[2].operation, entries[2].resource) == ("b", "pull", "p/r:1")
    recent = audit.entries(P, since=datetime(2026, 3, 2, tzinfo=UTC))
    assert [entry.handle for entry in recent] == ["3", "2"]


def test_the_audit_log_of_a_project_that_is_not_there_is_not_empty() -> None:
    harbor = FakeHarbor()
    harbor.always("GET /projects/nowhere/auditlog-exts", lambda: refused(403, "forbidden"))
    with pytest.raises(NotFoundError, match="no project nowhere"):
        list(AuditLog2(harbor.session()).entries(Project("nowhere")))
