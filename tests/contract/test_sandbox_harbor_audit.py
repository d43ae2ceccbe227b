"""The audit log of the Harbor stand-in: who did what, as 2.15 records it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.contract.harbor_world import ACCEPT, ADMIN, PROJECT, TEAM_LOGINS, HarborClient, error_body, harbor_of_a_team
from tests.contract.registry_worlds import Server

P = f"/projects/{PROJECT}"
R = f"{PROJECT}/hello"
DEV = TEAM_LOGINS["dev"]


@pytest.fixture
def harbor(backend: Server, seeds: Path, tmp_path: Path) -> Iterator[HarborClient]:
    with harbor_of_a_team(tmp_path, f"http://{backend.host}", seeds) as client:
        yield client


def _told(harbor: HarborClient, path: str = f"{P}/auditlog-exts") -> list[tuple[Any, ...]]:
    names = ("username", "operation", "resource_type", "resource")
    return [tuple(row.get(name) for name in names) for row in harbor.ok("GET", f"{path}?page_size=100").json()]


def test_what_is_done_to_artifacts_is_recorded_newest_first(harbor: HarborClient) -> None:
    pushed = harbor.push(R, "v1", login=DEV)
    assert harbor.get_manifest(R, "v1", DEV).status_code == 200
    assert harbor.get_manifest(R, pushed.digest, DEV).status_code == 200
    artifact = f"{P}/repositories/hello/artifacts/v1"
    harbor.ok("POST", f"{artifact}/tags", json={"name": "v2"})
    harbor.ok("DELETE", f"{artifact}/tags/v2")
    harbor.ok("DELETE", artifact)
    exact = f"{R}@{pushed.digest}"
    assert _told(harbor)[:-1] == [
        ("admin", "delete", "artifact", exact),
        ("admin", "delete", "tag", f"{R}:v2"),
        ("admin", "create", "tag", f"{R}:v2"),
        ("dev", "pull", "artifact", exact),
        ("dev", "pull", "artifact", f"{R}:v1"),
        ("dev", "create", "artifact", f"{R}:v1"),
    ]
    push = harbor.ok("GET", f"{P}/auditlog-exts?q=operation=create,resource_type=artifact").json()
    assert push[0]["operation_description"] == f"push artifact: {exact}"
    assert push[0]["operation_result"] is True


def test_projects_and_robots_are_recorded_and_members_are_not(harbor: HarborClient) -> None:
    name, _ = harbor.add_robot("ci", "repository:pull")
    robots = harbor.ok("GET", "/robots?q=Level=project,ProjectID=2").json()
    harbor.ok("DELETE", f"/robots/{robots[0]['id']}")
    harbor.ok("POST", f"{P}/members", json={"role_id": 3, "member_user": {"username": "stranger"}})
    assert _told(harbor) == [
        ("admin", "delete", "robot", name),
        ("admin", "create", "robot", name),
        ("admin", "create", "project", PROJECT),
    ]


def test_signatures_go_with_their_subject_into_the_log(harbor: HarborClient) -> None:
    pushed = harbor.push(R, "v1")
    signature = harbor.sign(R, pushed)
    harbor.ok("DELETE", f"{P}/repositories/hello")
    assert _told(harbor)[:3] == [
        ("admin", "delete", "repository", R),
        ("admin", "delete", "artifact", f"{R}@{pushed.digest}"),
        ("admin", "delete", "artifact", f"{R}@{signature.digest}"),
    ]


def test_users_and_settings_belong_to_no_project_and_refusals_are_recorded_too(harbor: HarborClient) -> None:
    user_id = harbor.ok("GET", "/users/current", DEV).json()["user_id"]
    assert harbor.api("PUT", f"/users/{user_id}/sysadmin", DEV, json={"sysadmin_flag": True}).status_code == 403
    harbor.ok("PUT", "/configurations", json={"read_only": False})
    harbor.ok("DELETE", f"/users/{user_id}")
    harbor.api("POST", "/users", json={"username": "x"})
    rows = harbor.ok("GET", "/auditlog-exts?page_size=4").json()
    assert [(row.get("resource"), row["operation_description"], row["operation_result"]) for row in rows] == [
        (None, "create user with name: ", False),
        ("dev", "delete user with name: dev", True),
        ("configuration", "update configuration", True),
        ("dev", "update user with name: dev, add/remove user as system administrator", False),
    ]


def test_only_a_project_admin_sees_the_log_of_a_project(harbor: HarborClient) -> None:
    harbor.add_project("other")
    boss = harbor.ok("GET", "/auditlog-exts?page_size=100", TEAM_LOGINS["boss"])
    assert {row["resource"] for row in boss.json()} == {PROJECT}
    assert harbor.ok("GET", "/auditlog-exts", DEV).json() == []
    assert harbor.api("GET", f"{P}/auditlog-exts", DEV).text == error_body("FORBIDDEN", "forbidden")
    assert harbor.api("GET", f"{P}/auditlog-exts", None).status_code == 401
    assert harbor.api("GET", "/auditlog-exts/events", DEV).status_code == 403
    events = harbor.ok("GET", "/auditlog-exts/events").json()
    assert {"event_type": "pull_artifact"} in events


def test_the_log_is_paged_sorted_and_searched_by_time(harbor: HarborClient) -> None:
    for number in range(3):
        harbor.push(R, f"v{number}", layer=b"%d" % number)
    first = harbor.ok("GET", f"{P}/auditlog-exts?page=1&page_size=3&sort=op_time")
    assert (first.headers["x-total-count"], first.json()[0]["resource_type"]) == ("4", "project")
    assert 'rel="next"' in first.headers["link"]
    rows = harbor.ok("GET", f"{P}/auditlog-exts").json()
    assert [row["id"] for row in rows] == sorted((row["id"] for row in rows), reverse=True)
    assert harbor.ok("GET", f"{P}/auditlog-exts?q=op_time=[2100-01-01T00:00:00~]").json() == []
    assert len(harbor.ok("GET", f"{P}/auditlog-exts?q=resource=~v1").json()) == 1


def test_a_pull_by_nobody_is_anonymous(harbor: HarborClient) -> None:
    harbor.push("library/hello", "v1")
    headers = {"Accept": ACCEPT} | harbor.bearer(None, "repository:library/hello:pull")
    assert harbor.send("GET", "/v2/library/hello/manifests/v1", headers=headers).status_code == 200
    assert _told(harbor, "/projects/library/auditlog-exts")[0] == ("anonymous", "pull", "artifact", "library/hello:v1")


@pytest.mark.parametrize(("version", "robots"), [("2.12.0", True), ("2.8.0", False)])
def test_before_2_13_the_log_has_another_path_and_says_less(
    backend: Server, seeds: Path, tmp_path: Path, version: str, robots: bool
) -> None:
    with harbor_of_a_team(tmp_path, f"http://{backend.host}", seeds, version=version) as harbor:
        harbor.add_robot("ci", "repository:pull")
        rows = harbor.ok("GET", f"{P}/logs").json()
        assert ("robot" in [row["resource_type"] for row in rows]) is robots
        assert set(rows[0]) == {"id", "username", "operation", "resource_type", "resource", "op_time"}
        assert harbor.ok("GET", "/audit-logs").json()[0]["operation"] == "create"
        assert harbor.api("GET", f"{P}/auditlog-exts").status_code == 404


def test_a_harbor_that_began_as_2_15_has_nothing_in_the_older_log(harbor: HarborClient) -> None:
    assert harbor.ok("GET", f"{P}/logs", ADMIN).json() == []
