"""Projects, members, robots and rules over Harbor's REST API, refusals to the letter."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.contract.harbor_world import ADMIN, PROJECT, TEAM_LOGINS, HarborClient, Login, error_body, harbor_of_a_team
from tests.contract.registry_worlds import Server

P = f"/projects/{PROJECT}"
DEV_ROBOT: dict[str, Any] = {
    "name": "ci",
    "level": "project",
    "duration": 7,
    "permissions": [
        {"kind": "project", "namespace": PROJECT, "access": [{"resource": "repository", "action": "push"}]},
    ],
}


@pytest.fixture
def harbor(backend: Server, seeds: Path, tmp_path: Path) -> Iterator[HarborClient]:
    with harbor_of_a_team(tmp_path, f"http://{backend.host}", seeds) as client:
        yield client


Refusal = tuple[str, str, str, dict[str, Any] | None, int, str, str]
REFUSALS: list[Refusal] = [
    ("admin", "POST", "/projects", {"project_name": "Up"}, 400, "BAD_REQUEST",
     "project name is not in lower case or contains illegal characters"),
    ("admin", "POST", "/projects", {"project_name": PROJECT}, 409, "CONFLICT",
     f"The project named {PROJECT} already exists"),
    ("admin", "POST", "/projects", {"project_name": "x", "metadata": {"public": "yes"}}, 400, "BAD_REQUEST",
     "metadata.public should only be 'true' or 'false', but got: 'yes'"),
    ("admin", "GET", "/projects/nobody", None, 404, "NOT_FOUND", "project nobody not found"),
    ("stranger", "GET", P, None, 403, "FORBIDDEN", "forbidden"),
    ("stranger", "GET", "/projects/nobody", None, 403, "FORBIDDEN", "forbidden"),
    ("", "GET", P, None, 401, "UNAUTHORIZED", "unauthorized"),
    ("boss", "GET", f"{P}/metadatas/", None, 403, "FORBIDDEN", "forbidden"),
    ("dev", "POST", f"{P}/members", {"role_id": 1, "member_user": {"username": "dev"}}, 403, "FORBIDDEN", "forbidden"),
    ("boss", "POST", f"{P}/members", {"role_id": 2, "member_user": {"username": "ghost"}}, 404, "NOT_FOUND",
     "user ghost is not found"),
    ("boss", "POST", f"{P}/members", {"role_id": 2, "member_user": {"user_id": 99}}, 400, "BAD_REQUEST",
     "Failed to get user 99: user 99 not found"),
    ("boss", "POST", f"{P}/members", {"role_id": 9, "member_user": {"username": "dev"}}, 409, "CONFLICT",
     "The project member specified already exist"),
    ("boss", "POST", f"{P}/members", {"role_id": 9, "member_user": {"username": "stranger"}}, 400, "BAD_REQUEST",
     "Failed to update project member, role is not in 1,2,3"),
    ("boss", "POST", f"{P}/members", {"role_id": 2, "member_group": {"group_name": "ops", "group_type": 3}}, 404,
     "NOT_FOUND", "ops not found: not supported"),
    ("boss", "POST", f"{P}/members", {"role_id": 2}, 500, "UNKNOWN", "internal server error"),
    ("boss", "GET", f"{P}/members/99", None, 404, "NOT_FOUND",
     "the project member is not found, project id 2, member id 99"),
    ("boss", "GET", "/users", None, 403, "FORBIDDEN", "boss"),
    ("boss", "GET", "/quotas", None, 403, "FORBIDDEN", "boss"),
    ("guest", "GET", "/permissions", None, 403, "FORBIDDEN",
     "forbidden: only admins(system and project) can access permissions"),
    ("", "POST", "/robots", DEV_ROBOT | {"name": "Up"}, 400, "BAD_REQUEST",
     "robot name is not in lower case or contains illegal characters"),
    ("", "POST", "/robots", DEV_ROBOT | {"duration": 0}, 400, "BAD_REQUEST",
     "bad request error duration input: 0, duration must be either -1(Never) or a positive integer"),
    ("", "POST", "/robots", DEV_ROBOT | {"level": "x"}, 400, "BAD_REQUEST", "bad request error level input: x"),
    ("", "POST", "/robots", DEV_ROBOT | {"permissions": []}, 400, "BAD_REQUEST", "bad request empty permission"),
    ("", "POST", "/robots", DEV_ROBOT | {"permissions": [{"kind": "project", "namespace": PROJECT}]}, 400,
     "BAD_REQUEST", "bad request empty access"),
    ("", "POST", "/robots", DEV_ROBOT | {"permissions": DEV_ROBOT["permissions"] * 2}, 400,
     "BAD_REQUEST", "bad request permission"),
    ("", "POST", "/robots", DEV_ROBOT, 401, "UNAUTHORIZED", "unauthorized"),
    ("dev", "POST", "/robots", DEV_ROBOT, 403, "FORBIDDEN", "forbidden"),
    ("boss", "GET", "/robots?q=Level=project", None, 400, "BAD_REQUEST",
     "must with project ID when to query project robots"),
    ("boss", "GET", f"/robots?q=Level=project,ProjectID={PROJECT}", None, 400, "BAD_REQUEST",
     "ProjectID must be a positive integer"),
    ("admin", "GET", "/robots/99", None, 404, "NOT_FOUND", "robot 99 not found"),
    ("boss", "PUT", f"{P}/metadatas/cosign_public_key", {"cosign_public_key": "x"}, 400, "BAD_REQUEST",
     "invalid key: cosign_public_key"),
    ("boss", "POST", f"{P}/metadatas/", {"public": "true", "auto_scan": "true"}, 400, "BAD_REQUEST",
     "only allow one key/value pair"),
    ("admin", "GET", "/projects?q=name", None, 400, "BAD_REQUEST",
     'the query string must contain "=" and the key/value cannot be empty'),
    ("", "GET", "/robots?q=name", None, 401, "UNAUTHORIZED", "unauthorized"),
    ("stranger", "GET", f"{P}/repositories?q=name", None, 403, "FORBIDDEN", "forbidden"),
    ("admin", "GET", "/projects?page_size=101", None, 422, "UNPROCESSABLE_ENTITY",
     "validation failure list:\npage_size in query should be less than or equal to 100"),
    ("admin", "PUT", "/quotas/1", {"hard": {}}, 400, "BAD_REQUEST", "hard required in body"),
    ("admin", "GET", "/labels?scope=x", None, 400, "BAD_REQUEST", "invalid scope: x"),
    ("admin", "GET", "/nowhere", None, 404, "NOT_FOUND", "path /api/v2.0/nowhere was not found"),
    ("admin", "PATCH", "/quotas", None, 405, "METHOD_NOT_ALLOWED", "method PATCH is not allowed, but [GET] are"),
]  # fmt: skip


@pytest.mark.parametrize("case", REFUSALS, ids=[f"{i}-{case[0] or 'nobody'}" for i, case in enumerate(REFUSALS)])
def test_a_refusal_is_harbors_to_the_byte(harbor: HarborClient, case: Refusal) -> None:
    who, method, path, body, status, code, message = case
    login = {**TEAM_LOGINS, "admin": ADMIN}.get(who)
    answer = harbor.api(method, path, login, **({} if body is None else {"json": body}))
    assert (answer.status_code, answer.text) == (status, error_body(code, message))
    assert answer.headers["content-type"] == "application/json; charset=utf-8"


def test_a_body_is_bound_before_anyone_asks_who_is_asking(harbor: HarborClient) -> None:
    broken = harbor.api("POST", "/projects", None, content=b"{", headers={"Content-Type": "application/json"})
    assert (broken.status_code, broken.json()["errors"][0]["code"]) == (422, "UNPROCESSABLE_ENTITY")
    untyped = harbor.api("POST", "/projects", None, content=b"{}", headers={"Content-Type": "text/plain"})
    assert untyped.status_code == 422
    assert 'unsupported media type \\"text/plain\\", only [application/json] are allowed' in untyped.text
    flag = {"project_name": "x", "metadata": {"public": True}}
    assert harbor.api("POST", "/projects", json=flag).status_code == 422


LISTS = (
    "/projects", f"{P}/members", f"{P}/repositories", f"{P}/artifacts", f"{P}/immutabletagrules", f"{P}/auditlog-exts",
    f"{P}/logs", f"{P}/repositories/hello/artifacts", f"{P}/repositories/hello/artifacts/v1/tags",
    f"{P}/repositories/hello/artifacts/v1/accessories", "/repositories", "/robots", "/quotas", "/users",
    "/usergroups", "/labels", "/auditlog-exts",
    "/audit-logs",
)  # fmt: skip


@pytest.mark.parametrize("login", [None, TEAM_LOGINS["stranger"]], ids=["nobody", "stranger"])
def test_a_query_and_a_number_are_bound_before_anyone_asks_who_is_asking(
    harbor: HarborClient, login: Login | None
) -> None:
    asked: dict[tuple[str, str], tuple[dict[str, Any], str]] = {
        ("GET", path): ({"params": {"page_size": 101}}, "page_size in query should be less than or equal to 100")
        for path in LISTS
    }
    for path, body in (("sysadmin", {"sysadmin_flag": True}), ("cli_secret", {"secret": ""}), ("password", {})):
        asked["PUT", f"/users/abc/{path}"] = {"json": body}, 'user_id in path must be of type int64: "abc"'
    asked["GET", f"{P}/members/abc"] = {}, 'mid in path must be of type int64: "abc"'
    # The binder's 422 is in no description, so these go past what compares answers with it.
    base = f"{str(harbor.http.base_url).rstrip('/')}/api/v2.0"
    answers = {
        key: httpx.request(key[0], base + key[1], auth=login, trust_env=False, **more)
        for key, (more, _) in asked.items()
    }
    assert {key: (answer.status_code, answer.text) for key, answer in answers.items()} == {
        key: (422, error_body("UNPROCESSABLE_ENTITY", f"validation failure list:\n{message}"))
        for key, (_, message) in asked.items()
    }


def test_head_tells_any_user_whether_a_project_exists(harbor: HarborClient) -> None:
    stranger = TEAM_LOGINS["stranger"]
    assert harbor.api("HEAD", f"/projects?project_name={PROJECT}", stranger).status_code == 200
    assert harbor.api("HEAD", "/projects?project_name=nobody", stranger).status_code == 404
    assert harbor.api("HEAD", f"/projects?project_name={PROJECT}", None).status_code == 401


def test_a_project_that_is_called_like_a_number_is_found_by_name_only_on_request(harbor: HarborClient) -> None:
    project_id = harbor.add_project("123")
    assert harbor.api("GET", "/projects/123").text == error_body("NOT_FOUND", "project 123 not found")
    by_name = harbor.ok("GET", "/projects/123", headers={"X-Is-Resource-Name": "true"})
    assert by_name.json()["project_id"] == project_id


def test_a_number_too_large_for_an_id_is_a_name(harbor: HarborClient) -> None:
    for number in ("9" * 19, "9" * 30):
        answer = harbor.api("GET", f"/projects/{number}")
        assert (answer.status_code, answer.text) == (404, error_body("NOT_FOUND", f"project {number} not found"))
    assert harbor.ok("GET", "/projects/%2B1").json()["project_id"] == 1


def test_a_query_that_no_header_can_hold_is_blank_in_the_link(harbor: HarborClient) -> None:
    answer = harbor.ok("GET", "/projects", params={"page_size": 1, "odd": "a\x00\r\nb"})
    assert "odd=a   b&" in answer.headers["link"]


def test_the_creator_is_project_admin_and_the_location_has_the_id(harbor: HarborClient) -> None:
    made = harbor.ok("POST", "/projects", TEAM_LOGINS["dev"], json={"project_name": "mine", "storage_limit": 5})
    assert (made.status_code, made.text) == (201, "")
    assert made.headers["location"] == "/api/v2.0/projects/3"
    project = harbor.ok("GET", "/projects/mine", TEAM_LOGINS["dev"]).json()
    assert project["current_user_role_id"] == 1
    assert project["metadata"] == {"public": "false"}
    quota = harbor.ok("GET", "/quotas?reference=project&reference_id=3").json()
    assert quota[0]["hard"] == {"storage": -1}


def test_a_list_has_its_total_and_a_relative_unescaped_next_link(harbor: HarborClient) -> None:
    for number in range(3):
        harbor.add_project(f"many-{number}")
    answer = harbor.ok("GET", "/projects?page_size=2&name=many&q=name%3D~many")
    assert answer.headers["x-total-count"] == "3"
    assert answer.headers["link"] == '</api/v2.0/projects?name=many&page=2&page_size=2&q=name=~many>; rel="next"'
    assert len(answer.json()) == 2
    last = harbor.ok("GET", "/projects?page_size=2&page=2&name=many")
    assert last.headers["link"] == '</api/v2.0/projects?name=many&page=1&page_size=2>; rel="prev"'
    assert len(harbor.ok("GET", "/projects?page_size=0&sort=-name").json()) == 5
    assert harbor.ok("GET", "/projects?name=none").text == "[]\n"


def test_a_project_with_repositories_cannot_be_deleted(harbor: HarborClient) -> None:
    assert harbor.ok("GET", f"{P}/_deletable").json() == {"deletable": True}
    harbor.push(f"{PROJECT}/hello", "v1")
    message = "the project contains repositories, can not be deleted"
    assert harbor.ok("GET", f"{P}/_deletable").json() == {"message": message}
    refused = harbor.api("DELETE", P)
    assert (refused.status_code, refused.text) == (
        412,
        error_body("PRECONDITION", f"precondition failed: {message}"),
    )
    harbor.ok("DELETE", f"{P}/repositories/hello")
    harbor.ok("DELETE", P)
    harbor.add_project()


def test_metadata_is_merged_and_shown_with_the_project(harbor: HarborClient) -> None:
    boss = TEAM_LOGINS["boss"]
    harbor.ok("PUT", P, boss, json={"metadata": {"auto_scan": "true", "cosign_public_key": "x"}})
    harbor.ok("PUT", f"{P}/metadatas/severity", boss, json={"severity": "High"})
    wanted = {"public": "false", "auto_scan": "true", "severity": "high"}
    assert harbor.ok("GET", P, boss).json()["metadata"] == wanted
    assert harbor.ok("GET", f"{P}/metadatas/severity", boss).json() == {"severity": "high"}


def test_the_summary_counts_members_and_storage_for_those_who_may_see_them(harbor: HarborClient) -> None:
    summary = harbor.ok("GET", f"{P}/summary", TEAM_LOGINS["guest"]).json()
    assert summary["quota"] == {"hard": {"storage": -1}, "used": {"storage": 0}}
    assert summary["project_admin_count"] == 2
    assert summary["limited_guest_count"] == 1
    assert "guest_count" not in harbor.ok("GET", f"{P}/summary", TEAM_LOGINS["limited"]).json()


def test_a_member_is_made_listed_changed_and_removed(harbor: HarborClient) -> None:
    boss = TEAM_LOGINS["boss"]
    made = harbor.ok("POST", f"{P}/members", boss, json={"role_id": 3, "member_user": {"username": "stranger"}})
    location = made.headers["location"]
    assert (made.status_code, made.text) == (201, "")
    assert location.startswith(f"/api/v2.0/projects/{PROJECT}/members/")
    path = location.removeprefix("/api/v2.0")
    assert harbor.ok("GET", path, boss).json()["role_name"] == "guest"
    harbor.ok("PUT", path, boss, json={"role_id": 4})
    found = harbor.ok("GET", f"{P}/members?entityname=stranger", boss)
    assert [(each["entity_type"], each["role_name"]) for each in found.json()] == [("u", "maintainer")]
    assert found.headers["x-total-count"] == "7"
    harbor.ok("DELETE", path, boss)
    assert harbor.ok("GET", f"{P}/members?entityname=stranger", boss).json() == []


def test_members_are_changed_without_the_checks_one_would_expect(harbor: HarborClient) -> None:
    boss = TEAM_LOGINS["boss"]
    assert harbor.api("PUT", f"{P}/members/999", boss, json={"role_id": 2}).status_code == 200
    assert harbor.api("DELETE", f"{P}/members/999", boss).status_code == 200
    members = {each["entity_name"]: each["id"] for each in harbor.ok("GET", f"{P}/members", boss).json()}
    harbor.ok("PUT", f"{P}/members/{members['guest']}", boss, json={"role_id": 99})
    names = [each["entity_name"] for each in harbor.ok("GET", f"{P}/members", boss).json()]
    assert "guest" not in names
    assert names == sorted(names)
    for admin in ("admin", "boss"):
        harbor.ok("DELETE", f"{P}/members/{members[admin]}")
    assert harbor.api("GET", P, boss).status_code == 403


@pytest.mark.parametrize(
    ("who", "statuses"),
    [
        ("boss", (200, 201, 201, 200)),
        ("mate", (200, 403, 201, 200)),
        ("dev", (200, 403, 403, 403)),
        ("guest", (200, 403, 403, 403)),
        ("limited", (403, 403, 403, 403)),
        ("stranger", (403, 403, 403, 403)),
    ],
)
def test_the_matrix_of_roles_holds(harbor: HarborClient, who: str, statuses: tuple[int, ...]) -> None:
    rule = {
        "action": "immutable",
        "template": "immutable_template",
        "tag_selectors": [{"kind": "doublestar", "decoration": "matches", "pattern": "v*"}],
        "scope_selectors": {"repository": [{"kind": "doublestar", "decoration": "repoMatches", "pattern": "**"}]},
    }
    login = TEAM_LOGINS[who]
    answers = (
        harbor.api("GET", f"{P}/members", login),
        harbor.api("POST", "/robots", login, json=DEV_ROBOT),
        harbor.api("POST", f"{P}/immutabletagrules", login, json=rule),
        harbor.api("GET", f"{P}/immutabletagrules", login),
    )
    assert tuple(answer.status_code for answer in answers) == statuses


def test_a_robot_shows_its_secret_once_and_turns_it_by_patch(harbor: HarborClient) -> None:
    boss = TEAM_LOGINS["boss"]
    made = harbor.ok("POST", "/robots", boss, json=DEV_ROBOT | {"secret": "Ignored12345", "disable": True})
    assert made.status_code == 201
    robot = made.json()
    assert set(robot) == {"id", "name", "secret", "creation_time", "expires_at"}
    assert len(robot["secret"]) == 32
    assert made.headers["location"] == f"/api/v2.0/robots/{robot['id']}"
    login = robot["name"], robot["secret"]
    assert harbor.api("GET", "/users/current", login).status_code == 412
    again = harbor.api("POST", "/robots", boss, json=DEV_ROBOT)
    assert again.text == error_body("CONFLICT", f"robot account 2:{PROJECT}+ci already exists")
    assert harbor.ok("PATCH", made.headers["location"][9:], boss, json={"secret": "Chosen12345"}).text == "{}\n"
    turned = harbor.ok("PATCH", made.headers["location"][9:], boss, json={"secret": ""}).json()
    assert harbor.api("GET", "/users/current", login).status_code == 401
    assert harbor.api("GET", "/users/current", (robot["name"], turned["secret"])).status_code == 412


def test_project_robots_are_listed_by_project_id_and_filtered_by_their_unprefixed_name(harbor: HarborClient) -> None:
    harbor.add_robot("ci", "repository:push")
    assert harbor.ok("GET", "/robots").json() == []
    listed = harbor.ok("GET", f"/robots?q=Level=project,ProjectID=2,name={PROJECT}%2Bci", TEAM_LOGINS["guest"])
    # The second decoding of `q` turns a plus sign into a space, so this name needs more than one escape.
    assert listed.json() == []
    listed = harbor.ok("GET", f"/robots?q=Level=project,ProjectID=2,name={PROJECT}%252Bci", TEAM_LOGINS["guest"])
    assert [robot["name"] for robot in listed.json()] == [f"robot${PROJECT}+ci"]
    assert "secret" not in listed.json()[0]


def test_a_robot_is_updated_under_its_full_name_only_and_expiry_counts_from_creation(harbor: HarborClient) -> None:
    boss = TEAM_LOGINS["boss"]
    harbor.ok("POST", "/robots", boss, json=DEV_ROBOT)
    robot = harbor.ok("GET", "/robots/1", boss).json()
    refused = harbor.api("PUT", "/robots/1", boss, json=robot | {"name": "ci"})
    assert refused.text == error_body("BAD_REQUEST", "cannot update the level or name of robot")
    harbor.ok("PUT", "/robots/1", boss, json=robot | {"duration": 8, "disable": True})
    changed = harbor.ok("GET", "/robots/1", boss).json()
    assert changed["expires_at"] - robot["expires_at"] == 24 * 3600
    assert changed["disable"] is True


def test_a_robot_makes_robots_within_its_own_rights_compared_to_the_letter(harbor: HarborClient) -> None:
    maker = harbor.add_robot("maker", "robot:create", "repository:push")
    less = DEV_ROBOT | {"name": "less"}
    assert harbor.api("POST", "/robots", maker, json=less).status_code == 201
    access = [{"resource": "repository", "action": "push", "effect": "allow"}]
    spelled = DEV_ROBOT | {"permissions": [{"kind": "project", "namespace": PROJECT, "access": access}]}
    refused = harbor.api("POST", "/robots", maker, json=spelled)
    assert (refused.status_code, refused.json()["errors"][0]["code"]) == (403, "DENIED")
    assert refused.json()["errors"][0]["message"].endswith(f"than the creator robot's permissions: {maker[0]}")


def test_no_robot_may_be_given_the_right_to_turn_secrets(harbor: HarborClient) -> None:
    access = [{"resource": "robot", "action": "update"}]
    asked = DEV_ROBOT | {"permissions": [{"kind": "project", "namespace": PROJECT, "access": access}]}
    refused = harbor.api("POST", "/robots", json=asked)
    assert refused.text == error_body("BAD_REQUEST", "bad request permission: robot:update")
    tables = harbor.ok("GET", "/permissions").json()
    assert {"action": "create", "resource": "member"} in tables["project"]
    assert harbor.ok("GET", "/permissions", TEAM_LOGINS["boss"]).json()["system"] is None


def test_an_immutable_rule_whose_flag_changes_changes_nothing_else(harbor: HarborClient) -> None:
    selector = {"kind": "doublestar", "decoration": "matches", "pattern": "v*"}
    rule: dict[str, Any] = {"action": "immutable", "template": "immutable_template", "tag_selectors": [selector]}
    rule["scope_selectors"] = {"repository": [selector | {"decoration": "repoMatches", "pattern": "**"}]}
    path = harbor.ok("POST", f"{P}/immutabletagrules", json=rule).headers["location"].removeprefix("/api/v2.0")
    assert harbor.api("PUT", path, json=rule).status_code == 400
    changed = rule | {"id": 1, "disabled": True, "tag_selectors": [selector | {"pattern": "x*"}]}
    harbor.ok("PUT", path, json=changed)
    (listed,) = harbor.ok("GET", f"{P}/immutabletagrules").json()
    assert listed["disabled"] is True
    assert listed["tag_selectors"][0]["pattern"] == "v*"


def test_labels_belong_to_the_system_or_to_a_project(harbor: HarborClient) -> None:
    assert harbor.api("POST", "/labels", TEAM_LOGINS["boss"], json={"name": "x", "scope": "g"}).status_code == 403
    made = harbor.ok("POST", "/labels", TEAM_LOGINS["mate"], json={"name": "x", "scope": "p", "project_id": 2})
    assert made.status_code == 201
    listed = harbor.ok("GET", "/labels?scope=p&project_id=2", TEAM_LOGINS["guest"]).json()
    assert [label["name"] for label in listed] == ["x"]


def test_project_creation_can_be_kept_to_administrators(harbor: HarborClient) -> None:
    harbor.ok("PUT", "/configurations", json={"project_creation_restriction": "adminonly"})
    refused = harbor.api("POST", "/projects", TEAM_LOGINS["dev"], json={"project_name": "x"})
    assert refused.text == error_body("FORBIDDEN", "Only system admin can create project")
    harbor.ok("PUT", "/configurations", json={"project_creation_restriction": "everyone", "read_only": True})
    refused = harbor.api("POST", "/projects", json={"project_name": "x"})
    message = "The system is in read only mode. Any modification is prohibited."
    assert (refused.status_code, refused.text) == (403, error_body("DENIED", message))
