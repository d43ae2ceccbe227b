"""Who Harbor takes a caller for, what it says to those it refuses, and the token service."""

import base64
import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.contract.harbor_world import (
    ADMIN,
    PASSWORD,
    PROJECT,
    TEAM_LOGINS,
    HarborClient,
    Login,
    error_body,
    harbor_of_a_team,
)
from tests.contract.registry_worlds import Server

WRONG = ("dev", "Wrong12345")
JSON = "application/json; charset=utf-8"


@pytest.fixture
def harbor(backend: Server, seeds: Path, tmp_path: Path) -> Iterator[HarborClient]:
    with harbor_of_a_team(tmp_path, f"http://{backend.host}", seeds) as client:
        yield client


def claims_of(token: str) -> dict[str, Any]:
    payload = token.split(".")[1]
    claims: dict[str, Any] = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    return claims


def test_a_wrong_password_is_anonymous_and_sees_public_projects_only(harbor: HarborClient) -> None:
    listed = harbor.ok("GET", "/projects", WRONG)
    assert [project["name"] for project in listed.json()] == ["library"]
    refused = harbor.api("GET", "/users/current", WRONG)
    assert (refused.status_code, refused.text) == (401, error_body("UNAUTHORIZED", "unauthorized"))
    assert refused.headers["content-type"] == JSON


def test_while_a_wrong_password_waits_the_right_one_fails_too(harbor: HarborClient) -> None:
    with ThreadPoolExecutor(1) as pool:
        started = time.monotonic()
        wrong = pool.submit(harbor.api, "GET", "/users/current", WRONG)
        while not harbor.harbor.gate._failures:
            time.sleep(0.01)
        assert harbor.api("GET", "/users/current", TEAM_LOGINS["dev"]).status_code == 401
        assert harbor.api("GET", "/users/current", TEAM_LOGINS["boss"]).status_code == 200
        assert wrong.result(timeout=10).status_code == 401
        assert time.monotonic() - started >= harbor.harbor.config.lock_s
    assert harbor.api("GET", "/users/current", TEAM_LOGINS["dev"]).status_code == 200


def test_a_valid_robot_is_told_from_a_bad_password_by_412(harbor: HarborClient) -> None:
    robot = harbor.add_robot("ci", "repository:push")
    assert robot[0] == "robot$es-sandbox+ci"
    message = "get current user not available for security context: robot"
    answer = harbor.api("GET", "/users/current", robot)
    assert (answer.status_code, answer.text) == (412, error_body("PRECONDITION", message))
    assert harbor.api("GET", "/users/current", (robot[0], "Wrong12345")).status_code == 401


def test_rest_answers_set_a_session_cookie_and_a_change_that_sends_it_is_refused(harbor: HarborClient) -> None:
    cookie = harbor.api("GET", "/ping").headers["set-cookie"]
    assert cookie.startswith("sid=")
    assert cookie.endswith("; Path=/; HttpOnly")
    sent = {"Cookie": cookie.partition(";")[0]}
    refused = harbor.api("POST", "/projects", headers=sent, json={"project_name": "x"})
    assert (refused.status_code, refused.text) == (403, error_body("FORBIDDEN", "CSRF token not found in request"))
    sent["X-Harbor-CSRF-Token"] = "made-up"
    refused = harbor.api("DELETE", "/projects/library", headers=sent)
    assert (refused.status_code, refused.text) == (403, error_body("FORBIDDEN", "CSRF token invalid"))
    assert harbor.api("GET", "/projects", headers=sent).status_code == 200


def test_a_token_answer_has_an_empty_access_token_and_half_an_hour(harbor: HarborClient) -> None:
    answer = harbor.token(ADMIN, f"repository:{PROJECT}/hello:pull").json()
    assert list(answer) == ["token", "access_token", "expires_in", "issued_at"]
    assert answer["access_token"] == ""
    assert answer["expires_in"] == 1800
    claims = claims_of(answer["token"])
    assert (claims["iss"], claims["sub"], claims["aud"]) == ("harbor-token-issuer", "admin", ["harbor-registry"])
    assert set(claims) == {"iss", "sub", "aud", "exp", "nbf", "iat", "jti", "access"}
    assert (claims["exp"] - claims["iat"], claims["nbf"]) == (1800, claims["iat"])
    head = json.loads(base64.urlsafe_b64decode(answer["token"].partition(".")[0] + "=="))
    assert (head["alg"], head["typ"], head["kid"].count(":")) == ("RS256", "JWT", 11)


@pytest.mark.parametrize(
    ("who", "actions"),
    [
        ("boss", {"pull", "push", "delete"}),
        ("mate", {"pull", "push", "delete"}),
        ("dev", {"pull", "push"}),
        ("guest", {"pull"}),
        ("limited", {"pull"}),
        ("stranger", set()),
    ],
)
def test_a_token_grants_all_that_the_caller_may_not_what_was_asked(
    harbor: HarborClient, who: str, actions: set[str]
) -> None:
    answer = harbor.token(TEAM_LOGINS[who], f"repository:{PROJECT}/hello:pull")
    assert answer.status_code == 200
    (access,) = claims_of(answer.json()["token"])["access"]
    assert set(access["actions"]) == actions


@pytest.mark.parametrize(
    ("login", "scopes", "status"),
    [
        (None, (), 401),
        (WRONG, (), 401),
        (WRONG, (f"repository:{PROJECT}/a:pull",), 200),
        (None, ("repository:nobody/a:pull", "strange:thing:*"), 200),
        (ADMIN, (), 200),
    ],
)
def test_only_who_asks_anonymously_for_nothing_gets_no_token(
    harbor: HarborClient, login: Login | None, scopes: tuple[str, ...], status: int
) -> None:
    answer = harbor.token(login, *scopes)
    assert answer.status_code == status
    if status == 401:
        assert answer.content == b""
    else:
        access = claims_of(answer.json()["token"])["access"]
        assert access == [{"type": s.split(":")[0], "name": s.split(":")[1], "actions": []} for s in scopes]


def test_the_token_service_knows_one_service_and_no_refresh_tokens(harbor: HarborClient) -> None:
    unknown = harbor.send("GET", "/service/token?service=x&scope=y", ADMIN)
    assert (unknown.status_code, unknown.text) == (400, "Unable to handle service: x")
    assert harbor.send("POST", "/service/token", ADMIN).status_code == 405


def test_reading_without_an_authorization_header_is_challenged_even_when_public(harbor: HarborClient) -> None:
    answer = harbor.send("GET", "/v2/library/hello/manifests/v1")
    host = harbor.http.base_url
    realm = f"{host.scheme}://{host.host}:{host.port}/service/token"
    challenge = f'Bearer realm="{realm}",service="harbor-registry",scope="repository:library/hello:pull"'
    message = "authorize header needed to send HEAD to repository"
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == challenge
    assert answer.headers["docker-distribution-api-version"] == "registry/2.0"
    assert answer.text == error_body("UNAUTHORIZED", f"{message}: {message}")


@pytest.mark.parametrize(
    ("method", "path", "scope"),
    [
        ("GET", "/v2/", ""),
        ("POST", "/v2/library/a/blobs/uploads/", ',scope="repository:library/a:pull,push"'),
        ("PUT", "/v2/library/a/manifests/v1", ',scope="repository:library/a:pull,push"'),
        ("DELETE", "/v2/library/a/manifests/v1", ',scope="repository:library/a:delete"'),
    ],
)
def test_a_challenge_names_the_scope_that_is_needed(harbor: HarborClient, method: str, path: str, scope: str) -> None:
    answer = harbor.send(method, path)
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"].endswith(f'service="harbor-registry"{scope}')


def test_too_few_rights_are_a_401_with_a_basic_challenge_and_a_doubled_message(harbor: HarborClient) -> None:
    headers = harbor.bearer(TEAM_LOGINS["guest"], f"repository:{PROJECT}/a:pull,push")
    answer = harbor.send("POST", f"/v2/{PROJECT}/a/blobs/uploads/", headers=headers)
    message = f"unauthorized to access repository: {PROJECT}/a, action: push"
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == 'Basic realm="harbor"'
    assert answer.text == error_body("UNAUTHORIZED", f"{message}: {message}")


def test_an_unknown_project_is_a_401_with_an_empty_challenge(harbor: HarborClient) -> None:
    answer = harbor.send("GET", "/v2/nobody/a/tags/list", ADMIN)
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == ""
    assert answer.text == error_body("UNAUTHORIZED", "project nobody not found: project nobody not found")


def test_the_catalog_is_for_system_administrators(harbor: HarborClient) -> None:
    answer = harbor.send("GET", "/v2/_catalog", TEAM_LOGINS["boss"])
    assert (answer.status_code, answer.headers["www-authenticate"]) == (401, 'Basic realm="harbor"')
    assert "unauthorized to list catalog: unauthorized to list catalog" in answer.text
    assert harbor.send("GET", "/v2/_catalog", ADMIN).text == '{"repositories":[]}\n'


def test_of_two_scopes_in_one_project_the_last_one_counts(harbor: HarborClient) -> None:
    scopes = (f"repository:{PROJECT}/a:pull", f"repository:{PROJECT}/b:pull")
    headers = harbor.bearer(TEAM_LOGINS["dev"], *scopes)
    answer = harbor.send("GET", f"/v2/{PROJECT}/c/tags/list", headers=headers)
    assert (answer.status_code, answer.text) == (404, error_body("NOT_FOUND", f"repository {PROJECT}/c not found"))
    # The service gives both the same; what counts shows where it did not.
    less, more = (
        {"type": "repository", "name": f"{PROJECT}/{name}", "actions": actions}
        for name, actions in (("a", []), ("b", ["pull"]))
    )
    for access, status in (([less, more], 404), ([more, less], 401)):
        headers = {"Authorization": f"Bearer {harbor.harbor.tokens.make('dev', access)['token']}"}
        assert harbor.send("GET", f"/v2/{PROJECT}/a/tags/list", headers=headers).status_code == status


def test_a_token_from_before_a_project_was_made_anew_is_refused(harbor: HarborClient) -> None:
    harbor.add_project("phoenix")
    headers = harbor.bearer(ADMIN, "repository:phoenix/a:pull")
    assert harbor.send("GET", "/v2/phoenix/a/tags/list", headers=headers).status_code == 404
    harbor.ok("DELETE", "/projects/phoenix")
    project_id = harbor.add_project("phoenix")
    later = "2999-01-01T00:00:00.000Z"
    harbor.harbor.store.run("UPDATE projects SET creation_time = ? WHERE id = ?", later, project_id)
    assert harbor.send("GET", "/v2/phoenix/a/tags/list", headers=headers).status_code == 401


def test_a_project_robots_push_implies_pull_and_a_system_robots_does_not(harbor: HarborClient) -> None:
    own = harbor.add_robot("own", "repository:push")
    wide = harbor.add_robot("wide", "repository:push", level="system")
    for robot, actions in ((own, {"pull", "push"}), (wide, {"push"})):
        token = harbor.token(robot, f"repository:{PROJECT}/a:pull").json()["token"]
        (access,) = claims_of(token)["access"]
        assert set(access["actions"]) == actions


def test_only_an_authenticated_caller_is_told_the_version(harbor: HarborClient) -> None:
    anonymous = harbor.ok("GET", "/systeminfo", None).json()
    assert set(anonymous) == {
        "auth_mode",
        "banner_message",
        "oidc_provider_name",
        "primary_auth_mode",
        "self_registration",
    }
    assert harbor.ok("GET", "/systeminfo").json()["harbor_version"].startswith("v2.15.2-")
    assert harbor.send("GET", "/api/version").text == '{"version":"v2.0"}\n'
    assert harbor.ok("GET", "/ping", None).text == "Pong"
    assert harbor.ok("GET", "/health", None).json()["status"] == "healthy"


def test_a_request_id_is_echoed(harbor: HarborClient) -> None:
    assert harbor.api("GET", "/ping", headers={"X-Request-Id": "r-1"}).headers["x-request-id"] == "r-1"


def test_a_query_that_is_none_is_a_400_before_anything_else(harbor: HarborClient) -> None:
    answer = harbor.send("GET", "/api/v2.0/projects?q=%zz")
    assert (answer.status_code, answer.text) == (400, error_body("BAD_REQUEST", 'invalid URL escape "%zz"'))


def test_what_a_caller_may_is_listed_for_users_and_robots_alike(harbor: HarborClient) -> None:
    path = "/users/current/permissions?scope=/project/2&relative=true"
    held = harbor.ok("GET", path, TEAM_LOGINS["dev"]).json()
    assert {"action": "push", "resource": "repository"} in held
    assert {"action": "create", "resource": "member"} not in held
    assert {"action": "read", "resource": "."} in held
    robot = harbor.add_robot("ci", "repository:push", "artifact:read")
    held = harbor.ok("GET", path, robot).json()
    assert {(each["resource"], each["action"]) for each in held} == {
        ("repository", "push"),
        ("repository", "pull"),
        ("artifact", "read"),
    }


def test_users_are_made_by_administrators_only_and_under_harbors_rules(harbor: HarborClient) -> None:
    user = {"username": "new", "email": "new@example.com", "realname": "New", "password": PASSWORD}
    refused = harbor.api("POST", "/users", TEAM_LOGINS["boss"], json=user)
    assert (refused.status_code, refused.text) == (403, error_body("FORBIDDEN", "boss"))
    weak = harbor.api("POST", "/users", json=user | {"password": "short"})
    assert weak.status_code == 400
    assert "8-128, inclusively, characters long" in weak.text
    made = harbor.ok("POST", "/users", json=user)
    assert (made.status_code, made.text) == (201, "")
    assert made.headers["location"].startswith("/api/v2.0/users/")
    again = harbor.api("POST", "/users", json=user)
    message = "user new or email new@example.com already exists"
    assert (again.status_code, again.text) == (409, error_body("CONFLICT", message))
    found = harbor.ok("GET", "/users/search?username=ew", TEAM_LOGINS["guest"]).json()
    assert [each["username"] for each in found] == ["new"]
