"""The rest of Harbor's REST API: users' lives, lists over everything, small things deleted, odd paths."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from imagepipe.sandbox.harbor.paging import matcher
from tests.contract.harbor_world import (
    ADMIN,
    PASSWORD,
    PROJECT,
    TEAM_LOGINS,
    HarborClient,
    error_body,
    harbor_of_a_team,
)
from tests.contract.registry_worlds import Server

P = f"/projects/{PROJECT}"
NEW = {"username": "new", "email": "new@example.com", "realname": "New", "password": PASSWORD}


@pytest.fixture
def harbor(backend: Server, seeds: Path, tmp_path: Path) -> Iterator[HarborClient]:
    with harbor_of_a_team(tmp_path, f"http://{backend.host}", seeds) as client:
        yield client


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"email": ""}, "email can't be empty"),
        ({"email": "nobody"}, "email with illegal format"),
        ({"realname": ""}, "realname with illegal length"),
        ({"username": "a#b"}, "username contains illegal characters"),
        ({"comment": "x" * 31}, "comment with illegal length"),
    ],
)
def test_a_user_that_harbor_refuses(harbor: HarborClient, change: dict[str, str], message: str) -> None:
    refused = harbor.api("POST", "/users", json=NEW | change)
    assert (refused.status_code, refused.text) == (400, error_body("BAD_REQUEST", message))


def test_a_deleted_user_frees_its_name_and_falls_out_of_projects(harbor: HarborClient) -> None:
    users = {user["username"]: user["user_id"] for user in harbor.ok("GET", "/users?page_size=50").json()}
    assert "anonymous" not in users
    path = f"/users/{users['guest']}"
    assert harbor.ok("GET", path, TEAM_LOGINS["guest"]).json()["email"] == "guest@example.com"
    assert harbor.api("GET", path, TEAM_LOGINS["dev"]).text == error_body("FORBIDDEN", "dev")
    harbor.ok("DELETE", path)
    assert harbor.api("GET", "/users/current", TEAM_LOGINS["guest"]).status_code == 401
    assert "guest" not in [each["entity_name"] for each in harbor.ok("GET", f"{P}/members").json()]
    gone = harbor.api("GET", path)
    assert gone.text == error_body("NOT_FOUND", f"user {users['guest']} not found")
    harbor.add_user("guest")
    refused = harbor.api("DELETE", "/users/1")
    assert refused.text == error_body("FORBIDDEN", "User with ID 1 cannot be deleted")


def test_a_password_is_changed_by_its_owner_who_knows_the_old_one(harbor: HarborClient) -> None:
    dev = TEAM_LOGINS["dev"]
    path = f"/users/{harbor.ok('GET', '/users/current', dev).json()['user_id']}/password"
    wrong = harbor.api("PUT", path, dev, json={"old_password": "x", "new_password": "Another12345"})
    assert wrong.text == error_body("FORBIDDEN", "Current password is incorrect")
    same = harbor.api("PUT", path, json={"new_password": PASSWORD})
    assert same.text == error_body("BAD_REQUEST", "New password is identical to old password")
    harbor.ok("PUT", path, dev, json={"old_password": PASSWORD, "new_password": "Another12345"})
    assert harbor.api("GET", "/users/current", ("dev", "Another12345")).status_code == 200


def test_a_user_may_become_a_system_administrator(harbor: HarborClient) -> None:
    dev = TEAM_LOGINS["dev"]
    user_id = harbor.ok("GET", "/users/current", dev).json()["user_id"]
    harbor.ok("PUT", f"/users/{user_id}/sysadmin", json={"sysadmin_flag": True})
    assert harbor.ok("GET", "/users/current", dev).json()["sysadmin_flag"] is True
    assert harbor.api("GET", "/quotas", dev).status_code == 200
    assert harbor.ok("GET", "/users/current/permissions?scope=/system", dev).json()[0] == {
        "action": "read",
        "resource": "/system/catalog",
    }


def test_a_local_database_has_no_groups(harbor: HarborClient) -> None:
    assert harbor.ok("GET", "/usergroups/search?groupname=x", TEAM_LOGINS["guest"]).json() == []
    assert harbor.ok("GET", "/usergroups").json() == []
    assert harbor.api("GET", "/usergroups", TEAM_LOGINS["boss"]).status_code == 403


def test_repositories_are_listed_over_all_projects_that_the_caller_may_see(harbor: HarborClient) -> None:
    robot = harbor.add_robot("ci", "repository:push")
    harbor.push(f"{PROJECT}/a", "v1")
    harbor.push("library/b", "v1")
    for login, names in (
        (ADMIN, ["es-sandbox/a", "library/b"]),
        (robot, ["es-sandbox/a", "library/b"]),
        (TEAM_LOGINS["stranger"], ["library/b"]),
        (None, ["library/b"]),
    ):
        listed = harbor.ok("GET", "/repositories?sort=name", login).json()
        assert [each["name"] for each in listed] == names


def test_artifacts_are_listed_over_a_whole_project(harbor: HarborClient) -> None:
    harbor.push(f"{PROJECT}/a", "v1")
    harbor.push(f"{PROJECT}/b", "v2", layer=b"b")
    path = f"{P}/artifacts"
    listed = harbor.ok("GET", f"{path}?q=tags%3D~v").json()
    assert sorted(each["repository_name"] for each in listed) == ["es-sandbox/a", "es-sandbox/b"]
    assert len(harbor.ok("GET", f"{path}?q=tags%3Dv2").json()) == 1
    assert harbor.api("GET", path, None).status_code == 401
    bad = harbor.api("GET", f"{path}?q=labels%3D1")
    message = 'the value of "labels" query can only be integer list with intersetion relationship'
    assert bad.text == error_body("BAD_REQUEST", message)


def test_a_repository_is_read_by_those_who_may_and_deleted_by_fewer(harbor: HarborClient) -> None:
    harbor.push(f"{PROJECT}/a", "v1")
    path = f"{P}/repositories/a"
    assert harbor.api("DELETE", path, TEAM_LOGINS["dev"]).status_code == 403
    harbor.ok("DELETE", path, TEAM_LOGINS["mate"])
    gone = harbor.api("GET", path)
    assert gone.text == error_body("NOT_FOUND", f"repository {PROJECT}/a not found")


def test_small_things_are_made_shown_and_deleted(harbor: HarborClient) -> None:
    boss = TEAM_LOGINS["boss"]
    harbor.ok("POST", f"{P}/metadatas/", boss, json={"auto_scan": "1"})
    assert harbor.ok("GET", f"{P}/metadatas/").json() == {"auto_scan": "true", "public": "false"}
    assert harbor.api("POST", f"{P}/metadatas/", boss, json={"auto_scan": "true"}).status_code == 409
    harbor.ok("DELETE", f"{P}/metadatas/auto_scan", boss)
    assert harbor.ok("GET", f"{P}/metadatas/auto_scan", boss).json() == {}
    label = {"name": "x", "scope": "p", "project_id": 2, "color": "#FFFFFF"}
    harbor.ok("POST", "/labels", boss, json=label)
    assert harbor.ok("GET", "/labels/1", boss).json()["color"] == "#FFFFFF"
    assert harbor.api("POST", "/labels", boss, json=label).status_code == 409
    harbor.ok("DELETE", "/labels/1", boss)
    assert harbor.api("GET", "/labels/1", boss).text == error_body("NOT_FOUND", "label 1 not found")
    assert harbor.ok("GET", "/quotas/2").json()["ref"] == {"id": 2, "name": PROJECT, "owner_name": "admin"}
    assert harbor.api("GET", "/quotas/9").text == error_body("NOT_FOUND", "quota 9 not found")
    harbor.add_robot("ci", "repository:push")
    harbor.ok("DELETE", "/robots/1", boss)
    assert harbor.api("GET", "/robots/1", boss).status_code == 404


def test_an_immutable_rule_of_another_project_cannot_be_deleted_here(harbor: HarborClient) -> None:
    selector = {"kind": "doublestar", "decoration": "matches", "pattern": "v*"}
    rule = {"action": "immutable", "template": "immutable_template", "tag_selectors": [selector]}
    harbor.ok("POST", f"{P}/immutabletagrules", json=rule)
    elsewhere = harbor.api("DELETE", "/projects/library/immutabletagrules/1")
    assert elsewhere.text == error_body("NOT_FOUND", "resource not found: project id 1 does not match")
    harbor.ok("DELETE", f"{P}/immutabletagrules/1")
    assert harbor.ok("GET", f"{P}/immutabletagrules").json() == []


def test_settings_are_shown_to_administrators(harbor: HarborClient) -> None:
    shown = harbor.ok("GET", "/configurations").json()
    assert shown["auth_mode"] == {"editable": False, "value": "db_auth"}
    assert shown["robot_name_prefix"]["value"] == "robot$"
    assert harbor.api("GET", "/configurations", TEAM_LOGINS["boss"]).text == error_body("FORBIDDEN", "boss")
    harbor.ok("PUT", "/configurations", json={"robot_name_prefix": "bot-"})
    assert harbor.add_robot("ci", "repository:push")[0] == f"bot-{PROJECT}+ci"


@pytest.mark.parametrize(
    ("pattern", "matching", "other"),
    [
        ("b", "b", "ab"),
        ("~b", "abc", "ac"),
        ("{a b}", "b", "c"),
        ("(a b)", "b", "c"),
        ("[a~c]", "b", "d"),
        ("[b~]", "c", "a"),
        ("[~b]", "a", "c"),
    ],
)
def test_a_pattern_matches(pattern: str, matching: str, other: str) -> None:
    assert matcher(pattern)(matching)
    assert not matcher(pattern)(other)


@pytest.mark.parametrize("pattern", ["~", "{a", "[a]", "[~]", "()"])
def test_a_broken_pattern_is_refused(harbor: HarborClient, pattern: str) -> None:
    harbor.add_project("any")
    answer = harbor.api("GET", "/projects", params={"q": f"name={pattern}"})
    assert answer.text == error_body("BAD_REQUEST", f"invalid query string value: {pattern}")


def test_doubled_slashes_are_merged_and_a_path_that_is_none_is_unrecognized(harbor: HarborClient) -> None:
    base = str(harbor.http.base_url)
    assert harbor.send("GET", f"{base}//api/v2.0//ping").text == "Pong"
    odd = harbor.send("GET", "/v2/library/hello/nonsense", ADMIN)
    message = "un-recognized request: GET /v2/library/hello/nonsense"
    assert (odd.status_code, odd.text) == (401, error_body("UNAUTHORIZED", f"{message}: {message}"))
    alone = harbor.send("GET", "/v2/hello/manifests/v1", ADMIN)
    assert alone.text == error_body("BAD_REQUEST", "bad request: invalid repository name: hello")


def test_what_goes_wrong_inside_is_a_500_that_says_nothing(harbor: HarborClient) -> None:
    harbor.harbor.store.run("DROP TABLE labels")
    answer = harbor.api("GET", "/labels?scope=g")
    assert (answer.status_code, answer.text) == (500, error_body("UNKNOWN", "internal server error"))
