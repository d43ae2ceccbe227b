"""Users and groups of the Harbor stand-in when they live in LDAP or with an OIDC provider."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from imagepipe.sandbox.harbor import HarborConfig
from imagepipe.sandbox.harbor.directory import Directory
from tests.contract.harbor_world import PASSWORD, PROJECT, TEAM_LOGINS, HarborClient, error_body, harbor_of_a_team
from tests.contract.registry_worlds import Server

P = f"/projects/{PROJECT}"
DEVS = "cn=Devs,ou=groups,dc=example,dc=com"
TWINS = "cn=Devs,ou=more,dc=example,dc=com"
LDAP = Directory.parse(
    {
        "users": {"ada": {"password": PASSWORD, "email": "ada@example.com", "groups": [DEVS]}},
        "groups": {DEVS: "Devs", TWINS: "Devs"},
    }
)
OIDC = Directory.parse({"users": {"eve@example.com": {"groups": ["devs"]}}})
UNKNOWN = error_body("UNKNOWN", "internal server error")


@pytest.fixture
def ldap(backend: Server, seeds: Path, tmp_path: Path) -> Iterator[HarborClient]:
    with _mode(backend, seeds, tmp_path, "ldap", LDAP) as client:
        yield client


@pytest.fixture
def oidc(backend: Server, seeds: Path, tmp_path: Path) -> Iterator[HarborClient]:
    with _mode(backend, seeds, tmp_path, "oidc", OIDC) as client:
        yield client


@contextmanager
def _mode(backend: Server, seeds: Path, folder: Path, mode: str, directory: Directory) -> Iterator[HarborClient]:
    changes = {"auth_mode": mode, "directory": directory}
    with harbor_of_a_team(folder, f"http://{backend.host}", seeds, **changes) as client:
        yield client


def _add(harbor: HarborClient, role: int = 2, **member: object) -> httpx.Response:
    return harbor.api("POST", f"{P}/members", json={"role_id": role, **member})


def _members(harbor: HarborClient) -> set[tuple[str, str]]:
    rows = harbor.ok("GET", f"{P}/members?page_size=100").json()
    return {(row["entity_type"], row["entity_name"]) for row in rows}


@pytest.mark.parametrize("mode", ["ldap", "oidc"])
def test_everybody_is_told_where_users_live(mode: str, request: pytest.FixtureRequest) -> None:
    harbor: HarborClient = request.getfixturevalue(mode)
    assert harbor.ok("GET", "/systeminfo", None).json()["auth_mode"] == f"{mode}_auth"
    assert harbor.ok("GET", "/configurations").json()["auth_mode"]["value"] == f"{mode}_auth"
    refused = harbor.api("POST", "/users", json={"username": "x"})
    message = f"creating local user is not allowed under auth mode: {mode}_auth"
    assert refused.text == error_body("FORBIDDEN", message)
    refused = harbor.api("PUT", "/users/3/password", json={"new_password": "Another12345"})
    assert refused.text == error_body("FORBIDDEN", "User with ID 3 can't be updated")


def test_an_ldap_user_becomes_a_member_without_ever_logging_in(ldap: HarborClient) -> None:
    assert _add(ldap, member_user={"username": "ADA"}).status_code == 201
    assert ("u", "ada") in _members(ldap)
    assert _add(ldap, member_user={"username": "nobody"}).text == error_body("NOT_FOUND", "no user found: nobody")


def test_an_ldap_user_logs_in_with_the_directorys_password_and_brings_its_groups(ldap: HarborClient) -> None:
    ada = ("ada", PASSWORD)
    assert _add(ldap, 1, member_group={"ldap_group_dn": DEVS}).status_code == 201
    assert ldap.ok("GET", P, ada).json()["current_user_role_id"] == 1
    assert ldap.ok("GET", f"{P}/members", ada).json()
    assert ldap.ok("GET", "/permissions", ada).json()["system"] is None
    assert ldap.api("GET", "/users/current", ("ada", "wrong")).status_code == 401
    assert ldap.api("GET", "/users/current", TEAM_LOGINS["boss"]).status_code == 401
    assert ldap.api("GET", "/users/current").json()["username"] == "admin"


def test_an_ldap_group_is_found_by_its_dn_however_spelled(ldap: HarborClient) -> None:
    added = _add(ldap, member_group={"ldap_group_dn": "CN=devs, OU=groups,DC=example,DC=com"})
    assert added.status_code == 201
    assert ("g", "Devs") in _members(ldap)
    assert _add(ldap, member_group={"ldap_group_dn": DEVS.lower()}).status_code == 409
    # A second group of that name is called by its DN.
    assert _add(ldap, member_group={"ldap_group_dn": TWINS}).status_code == 201
    assert ("g", TWINS.lower()) in _members(ldap)
    shown = ldap.ok("GET", "/usergroups").json()
    assert shown[0] == {"id": 1, "group_name": "Devs", "group_type": 1, "ldap_group_dn": DEVS.lower()}
    assert _add(ldap, member_group={"group_name": "Devs", "group_type": 1}).status_code == 409


def test_an_ldap_group_that_is_not_there_fails_without_a_reason(ldap: HarborClient) -> None:
    for group in ({"group_name": "devs", "group_type": 1}, {"ldap_group_dn": "cn=none,dc=example,dc=com"}):
        refused = _add(ldap, member_group=group)
        assert (refused.status_code, refused.text) == (500, UNKNOWN)
    elsewhere = _add(ldap, member_group={"ldap_group_dn": "cn=x,dc=example,dc=org"})
    assert elsewhere.text == error_body("NOT_FOUND", "failed to searh ldap group with groupDN:cn=x,dc=example,dc=org")


def test_an_oidc_user_must_have_logged_in_once(oidc: HarborClient) -> None:
    unknown = _add(oidc, member_user={"username": "eve@example.com"})
    assert unknown.text == error_body("NOT_FOUND", "eve@example.com not found: not supported")
    assert oidc.send("GET", "/c/oidc/callback?code=mallory").status_code == 401
    assert oidc.send("GET", "/c/oidc/callback?code=eve@example.com").status_code == 302
    assert _add(oidc, member_user={"username": "eve@example.com"}).status_code == 201
    assert ("u", "eve@example.com") in _members(oidc)


def test_under_oidc_every_name_is_a_group(oidc: HarborClient) -> None:
    assert _add(oidc, member_group={"group_name": "a typo", "group_type": 3}).status_code == 201
    assert _add(oidc, member_group={"group_name": "a typo"}).status_code == 409
    assert ("g", "a typo") in _members(oidc)
    found = oidc.ok("GET", "/usergroups/search?groupname=typo").json()
    assert found == [{"id": 1, "group_name": "a typo", "group_type": 3}]
    assert oidc.api("GET", "/usergroups/search?groupname=typo", None).status_code == 401


def test_the_cli_secret_of_an_oidc_user_opens_the_registry_and_no_administration(oidc: HarborClient) -> None:
    oidc.send("GET", "/c/oidc/callback?code=eve@example.com")
    assert _add(oidc, 1, member_group={"group_name": "devs", "group_type": 3}).status_code == 201
    users = {user["username"]: user["user_id"] for user in oidc.ok("GET", "/users?page_size=50").json()}
    path = f"/users/{users['eve@example.com']}/cli_secret"
    assert oidc.api("PUT", path, json={"secret": "short"}).status_code == 400
    oidc.ok("PUT", path, json={"secret": PASSWORD})
    eve = ("eve@example.com", PASSWORD)
    assert oidc.push(f"{PROJECT}/hello", "v1", login=eve).response.status_code == 201
    assert PROJECT in [each["name"] for each in oidc.ok("GET", "/projects", eve).json()]
    assert oidc.ok("GET", f"{P}/repositories/hello/artifacts", eve).json()
    for way in ("/users/current", f"{P}/members", "/robots"):
        assert oidc.api("GET", way, eve).status_code == 401


def test_a_local_database_has_no_cli_secrets_and_no_groups_outside(
    backend: Server, seeds: Path, tmp_path: Path
) -> None:
    with harbor_of_a_team(tmp_path, f"http://{backend.host}", seeds) as harbor:
        refused = harbor.api("PUT", "/users/3/cli_secret", json={"secret": ""})
        message = "unable to update CLI secret under authmode: db_auth"
        assert refused.text == error_body("PRECONDITION", message)
        assert _add(harbor, member_group={"id": 9}).text == error_body("BAD_REQUEST", "Group 9 not found")
        refused = harbor.api("POST", "/usergroups", json={"group_name": "x", "group_type": 1, "ldap_group_dn": "cn=x"})
        assert refused.text == error_body("BAD_REQUEST", "LDAP Group DN is not found: DN:cn=x")


def test_a_group_lives_and_leaves_its_projects(oidc: HarborClient) -> None:
    created = oidc.ok("POST", "/usergroups", json={"group_name": "ops", "group_type": 3})
    path = created.headers["location"].removeprefix("/api/v2.0")
    assert oidc.ok("GET", path).json() == {"group_name": "ops", "group_type": 3}
    again = oidc.api("POST", "/usergroups", json={"group_name": "ops", "group_type": 3})
    message = "duplicate user group, group name:ops, group type: 3, ldap group DN: "
    assert again.text == error_body("CONFLICT", message)
    assert _add(oidc, member_group={"id": int(path.rpartition("/")[2])}).status_code == 201
    oidc.ok("PUT", path, json={"group_name": "operators"})
    assert ("g", "operators") in _members(oidc)
    oidc.ok("DELETE", path)
    assert ("g", "operators") not in _members(oidc)
    gone = oidc.api("GET", path)
    assert gone.text == error_body("NOT_FOUND", f"the user group with id {path.rpartition('/')[2]} is not found")
    assert oidc.api("POST", "/usergroups", TEAM_LOGINS["boss"], json={"group_name": "x"}).status_code == 401
    assert oidc.api("POST", "/usergroups", json={"group_type": 3}).status_code == 400


def test_the_directory_comes_from_a_file_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "password").write_text(PASSWORD)
    (tmp_path / "directory.json").write_text(json.dumps({"users": {"ada": {"password": "Geheim123"}}}))
    document = {
        "backend_url": "http://127.0.0.1:1",
        "state_file": str(tmp_path / "db"),
        "admin_password_file": str(tmp_path / "password"),
        "auth_mode": "ldap",
        "directory_file": str(tmp_path / "directory.json"),
    }
    config = HarborConfig.parse(document)
    assert config.directory.users["ada"].password == "Geheim123"
    assert "Geheim123" not in repr(config)
    with pytest.raises(ValueError, match="auth_mode is 'saml'"):
        HarborConfig.parse(document | {"auth_mode": "saml"})
    with pytest.raises(ValueError, match="unknown keys: directory"):
        HarborConfig.parse(document | {"directory": {}})
    with pytest.raises(ValueError, match="unknown keys: people"):
        Directory.parse({"people": {}})
