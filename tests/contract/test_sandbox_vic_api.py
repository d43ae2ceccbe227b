"""The REST API of Harbor 1.7.8: with Admiral, where half of it is away, and stand-alone."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.contract.harbor_world import PASSWORD, PROJECT
from tests.contract.registry_worlds import Server, docker_registry
from tests.contract.vic_world import ADMIN, BOSS, DEV, GUEST, VicClient, vic_of_a_team

R = f"{PROJECT}/hello"


@pytest.fixture(scope="module")
def backend(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with docker_registry(tmp_path_factory.mktemp("registry")) as server:
        yield server


@pytest.fixture
def vic(backend: Server, tmp_path: Path, seeds: Path) -> Iterator[VicClient]:
    with vic_of_a_team(tmp_path, f"http://{backend.host}", seeds) as client:
        yield client


@pytest.fixture
def alone(backend: Server, tmp_path: Path, seeds: Path) -> Iterator[VicClient]:
    with vic_of_a_team(tmp_path, f"http://{backend.host}", seeds, flavour="harbor") as client:
        yield client


def members(client: VicClient, login: tuple[str, str] = BOSS, **params: str) -> dict[str, dict[str, Any]]:
    rows = client.api("GET", f"/projects/{client.project_id}/members", login, params=params).json()
    return {row["entity_name"]: row for row in rows}


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("HEAD", "/projects?project_name=es-sandbox"),
        ("GET", "/projects/{id}"),
        ("PUT", "/projects/{id}"),
        ("DELETE", "/projects/{id}"),
        ("GET", "/projects/{id}/members"),
        ("GET", "/users/current"),
        ("GET", "/users"),
        ("GET", "/usergroups"),
    ],
)
def test_with_admiral_users_members_and_single_projects_are_not_there(vic: VicClient, method: str, path: str) -> None:
    assert vic.api(method, path.format(id=vic.project_id)).status_code == 404


def test_with_admiral_a_password_counts_on_some_paths_only(vic: VicClient) -> None:
    vic.push(R, "1.0")
    repositories = f"/repositories?project_id={vic.project_id}"
    assert vic.api("GET", repositories, DEV).status_code == 401
    assert vic.api("GET", f"/repositories/{R}/tags", DEV).status_code == 200
    assert vic.by_token("GET", repositories, DEV).json()[0]["name"] == R


def test_with_a_password_every_project_shows_and_with_a_token_ones_own(vic: VicClient) -> None:
    def names(answer: Any) -> set[str]:
        return {project["name"] for project in answer.json()}

    stranger = ("stranger", PASSWORD)
    assert PROJECT in names(vic.api("GET", "/projects", stranger))
    assert PROJECT not in names(vic.by_token("GET", "/projects", stranger))
    assert names(vic.api("GET", "/projects?public=true", None)) == {"default-project"}


def test_a_number_too_large_for_an_id_is_400(vic: VicClient) -> None:
    large = "9" * 20
    metadata = vic.api("GET", f"/projects/{large}/metadatas", BOSS)
    said = f'invalid project ID: strconv.ParseInt: parsing "{large}": value out of range'
    assert (metadata.status_code, metadata.text.strip()) == (400, said)
    repositories = vic.by_token("GET", f"/repositories?project_id={large}", DEV)
    assert (repositories.status_code, repositories.text.strip()) == (400, f"invalid project_id {large}")


def test_metadata_are_for_passwords_only(vic: VicClient) -> None:
    path = f"/projects/{vic.project_id}/metadatas"
    assert vic.by_token("GET", path, BOSS).status_code == 405
    assert vic.api("GET", path, BOSS).json()["public"] == "false"


def test_with_admiral_only_a_cloud_administrator_makes_projects(vic: VicClient) -> None:
    body = {"project_name": "fresh"}
    refused = vic.api("POST", "/projects", BOSS, json=body)
    assert (refused.status_code, refused.text) == (403, "Only system admin can create project\n")
    made = vic.api("POST", "/projects", ADMIN, json=body)
    assert made.status_code == 201
    assert made.headers["location"].startswith("/api/projects/")
    assert vic.api("POST", "/projects", ADMIN, json=body).status_code == 409


def test_a_body_of_another_type_is_refused_before_anything_else(alone: VicClient) -> None:
    answer = alone.api("POST", "/projects", None, content=b"{}")
    assert (answer.status_code, answer.text) == (415, "")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("x", "invalid request: Project name is illegal in length. (greater than 255 or less than 2)\n"),
        ("Upper", "invalid request: project name is not in lower case or contains illegal characters\n"),
    ],
)
def test_bad_project_names_are_refused_in_a_text(alone: VicClient, name: str, said: str) -> None:
    answer = alone.api("POST", "/projects", json={"project_name": name})
    assert (answer.status_code, answer.text) == (400, said)
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"


def test_a_project_lives_and_dies_by_its_number(alone: VicClient) -> None:
    assert alone.api("POST", "/projects", BOSS, json={"project_name": "fresh"}).status_code == 201
    assert alone.api("POST", "/projects", BOSS, json={"project_name": "fresh"}).text == "\n"
    row = alone.api("GET", "/projects?name=fres", BOSS).json()[0]
    path = f"/projects/{row['project_id']}"
    assert (row["name"], row["current_user_role_id"], row["metadata"]) == ("fresh", 1, {"public": "false"})
    assert alone.api("HEAD", "/projects?project_name=fresh", None).status_code == 200
    assert alone.api("PUT", path, BOSS, json={"metadata": {"auto_scan": "true"}}).status_code == 200
    assert alone.api("GET", path, BOSS).json()["metadata"] == {"auto_scan": "true", "public": "false"}
    assert alone.api("GET", f"{path}/_deletable", BOSS).json() == {"deletable": True, "message": ""}
    assert alone.api("DELETE", path, BOSS).status_code == 200
    assert alone.api("GET", path, BOSS).text == f"project {row['project_id']} not found\n"


def test_a_project_with_repositories_stays(alone: VicClient) -> None:
    alone.push(R, "1.0")
    answer = alone.api("DELETE", f"/projects/{alone.project_id}", BOSS)
    assert (answer.status_code, answer.text) == (412, "the project contains repositories, can not be deleted")


def test_an_empty_list_of_projects_is_null(alone: VicClient) -> None:
    assert alone.api("GET", "/projects?name=nothing").text == "null"


def test_pages_are_cut_to_five_hundred_in_silence(alone: VicClient) -> None:
    answer = alone.api("GET", "/projects?page_size=9999")
    assert (answer.status_code, answer.headers["x-total-count"]) == (200, "2")
    links = alone.api("GET", "/projects?page_size=1&page=1").headers["link"]
    assert links == '</api/projects?page=2&page_size=1>; rel="next"'
    assert alone.api("GET", "/projects?page=0").text == "invalid page"


def test_a_wrong_password_is_nobody_with_a_200(alone: VicClient) -> None:
    rows = alone.api("GET", "/projects", ("boss", "Wrong12345")).json()
    assert [row["name"] for row in rows] == ["library"]
    answer = alone.api("GET", "/users/current", ("boss", "Wrong12345"))
    assert (answer.status_code, answer.text) == (401, "\n")


def test_a_member_comes_changes_and_goes(alone: VicClient) -> None:
    path = f"/projects/{alone.project_id}/members"
    body = {"role_id": 3, "member_user": {"username": "stranger"}}
    assert alone.api("POST", path, GUEST, json=body).text == "guest\n"
    made = alone.api("POST", path, BOSS, json=body)
    assert made.status_code == 201
    assert made.headers["location"] == f"/api{path}/{members(alone)['stranger']['id']}"
    assert members(alone)["stranger"]["role_name"] == "guest"
    duplicate = alone.api("POST", path, BOSS, json=body)
    assert duplicate.status_code == 409
    assert duplicate.text.startswith("Failed to add project member, already exist LDAP group or project member,")
    member = f"{path}/{members(alone)['stranger']['id']}"
    assert alone.api("PUT", member, BOSS, json={"role_id": 2}).status_code == 200
    assert members(alone)["stranger"]["role_id"] == 2
    assert alone.api("DELETE", member, BOSS).status_code == 200
    assert "stranger" not in members(alone)


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        (
            {"role_id": 2, "member_user": {"username": "nobody"}},
            404,
            "Failed to add project member, error: User does not exist\n",
        ),
        ({"role_id": 4, "member_user": {"username": "stranger"}}, 400, "Invalid role ID, role ID 4\n"),
        ({"role_id": 2}, 500, "\n"),
    ],
)
def test_members_that_cannot_be_are_refused(alone: VicClient, body: dict[str, Any], status: int, said: str) -> None:
    answer = alone.api("POST", f"/projects/{alone.project_id}/members", BOSS, json=body)
    assert (answer.status_code, answer.text) == (status, said)


def test_changes_of_members_that_are_not_there_are_a_success(alone: VicClient) -> None:
    path = f"/projects/{alone.project_id}/members/999"
    assert alone.api("PUT", path, BOSS, json={"role_id": 2}).status_code == 200
    assert alone.api("DELETE", path, BOSS).status_code == 200
    assert alone.api("PUT", path, BOSS, json={"role_id": 5}).text == "Invalid role id 5\n"
    assert alone.api("GET", path, BOSS).text == "The project member does not exit, pmid:999\n"


def test_the_filter_of_members_takes_any_part_of_a_name(alone: VicClient) -> None:
    assert set(members(alone, entityname="e")) == {"dev", "guest", "mate", "limited"}


def test_groups_come_from_ldap(alone: VicClient) -> None:
    dn = "cn=devs,ou=groups,dc=example"
    body = {"role_id": 2, "member_group": {"ldap_group_dn": dn}}
    path = f"/projects/{alone.project_id}/members"
    assert alone.api("POST", path, BOSS, json=body).status_code == 500
    alone.vic.store.set_setting("auth_mode", "ldap_auth")
    assert (
        alone.api("POST", path, BOSS, json=body).text == "Failed to add project member, error: Group does not exist\n"
    )
    alone.vic.store.set_setting("ldap_groups", f'{{"{dn}": "devs"}}')
    assert alone.api("POST", path, BOSS, json=body).status_code == 201
    assert members(alone)["devs"]["entity_type"] == "g"


def test_users_are_made_and_looked_at_by_an_administrator(alone: VicClient) -> None:
    user = {"username": "fresh", "email": "fresh@example.com", "realname": "Fresh", "password": "x" * 21}
    long = alone.api("POST", "/users", json=user)
    assert (long.status_code, long.text) == (400, "register error:password with illegal length\n")
    assert alone.api("POST", "/users", json={**user, "password": PASSWORD}).status_code == 201
    assert alone.api("GET", "/users/current", ("fresh", PASSWORD)).json()["has_admin_role"] is False
    assert alone.api("GET", "/users", DEV).text == "User does not have admin role\n"


def test_tags_show_what_their_configs_say(alone: VicClient) -> None:
    digest = alone.push(R, "1.0")
    alone.vic.sign(R, "1.0", digest)
    (tag,) = alone.api("GET", f"/repositories/{R}/tags", DEV).json()
    assert (tag["name"], tag["digest"], tag["architecture"], tag["author"]) == ("1.0", digest, "amd64", "dev")
    assert tag["signature"]["tag"] == "1.0"
    assert alone.api("GET", f"/repositories/{R}/tags/1.0", DEV).json() == tag
    assert alone.api("GET", f"/repositories/{R}/signatures", DEV).json() == [tag["signature"]]
    assert alone.api("GET", f"/repositories/{R}/tags/9", DEV).text == f"resource: {R}:9 not found\n"


def test_a_tag_is_copied_and_a_signed_one_is_not_deleted(alone: VicClient) -> None:
    digest = alone.push(R, "1.0")
    body = {"tag": "2.0", "src_image": f"{R}:1.0"}
    assert alone.api("POST", f"/repositories/{PROJECT}/copy/tags", DEV, json=body).status_code == 200
    again = alone.api("POST", f"/repositories/{PROJECT}/copy/tags", DEV, json=body)
    assert (again.status_code, again.text) == (409, f"tag '2.0' already existed for '{PROJECT}/copy'\n")
    alone.vic.sign(R, "1.0", digest)
    refused = alone.api("DELETE", f"/repositories/{R}/tags/1.0", BOSS)
    assert (refused.status_code, refused.text) == (412, "tag 1.0 is signed")
    assert alone.api("DELETE", f"/repositories/{PROJECT}/copy", BOSS).status_code == 200
    left = alone.api("GET", f"/repositories?project_id={alone.project_id}", DEV).json()
    assert [row["name"] for row in left] == [R]


def test_the_log_tells_who_pushed_and_pulled(alone: VicClient) -> None:
    alone.push(R, "1.0")
    alone.get(R, "1.0")
    rows = alone.api("GET", f"/projects/{alone.project_id}/logs", DEV).json()
    assert [(row["operation"], row["username"], row["repo_tag"]) for row in rows] == [
        ("pull", "dev", "1.0"),
        ("push", "dev", "1.0"),
    ]
