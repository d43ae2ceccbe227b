"""Bodies of Harbor's REST API that its binder refuses: what it takes is what the description says."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from imagepipe.sandbox.harbor import bodies
from imagepipe.sandbox.harbor.bodies import Body, Model
from tests.contract.harbor_schema import HARBOR_2, Json
from tests.contract.harbor_world import ADMIN, PROJECT, TEAM_LOGINS, HarborClient, error_body, harbor_of_a_team
from tests.contract.registry_worlds import Server

P = f"/projects/{PROJECT}"
R = f"{P}/repositories/hello/artifacts/v1"


@pytest.fixture(scope="module")
def harbor(backend: Server, seeds: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[HarborClient]:
    with harbor_of_a_team(tmp_path_factory.mktemp("harbor"), f"http://{backend.host}", seeds) as client:
        yield client


def send(harbor: HarborClient, method: str, path: str, **more: Any) -> httpx.Response:
    """The binder's 422 is in no description, so this goes past what compares answers with it."""
    base = f"{str(harbor.http.base_url).rstrip('/')}/api/v2.0"
    return httpx.request(method, base + path, trust_env=False, **more)


def kind_of(schema: Json) -> Any:
    """Returns the description's schema in the words of the stand-in."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        found = kind_of(HARBOR_2.data["definitions"][name])
        return found if isinstance(found, dict) and "*" in found else Model(name, found)
    if schema.get("type") == "array":
        return [kind_of(schema["items"])]
    if "additionalProperties" in schema:
        return {"*": kind_of(schema["additionalProperties"])}
    if "properties" in schema:
        # times are no kinds of their own: a body that names one is told nothing of it here
        return {name: kind_of(one) for name, one in schema["properties"].items() if one.get("format") != "date-time"}
    return schema.get("type", "any") if schema.get("type") != "object" else "any"


def described() -> dict[tuple[str, str], tuple[Any, bool]]:
    found: dict[tuple[str, str], tuple[Any, bool]] = {}
    for operations in HARBOR_2.data["paths"].values():
        for operation in operations.values():
            for each in HARBOR_2.parameters(operation):
                if each["in"] == "body":
                    kind = kind_of(each["schema"])
                    key = each["name"], kind.name if isinstance(kind, Model) else ""
                    found.setdefault(key, (kind, bool(each.get("required"))))
    return found


@pytest.mark.parametrize("body", bodies.ALL, ids=lambda body: f"{body.name}-{getattr(body.kind, 'name', '')}")
def test_a_body_may_hold_what_the_description_says(body: Body) -> None:
    kind, required = described()[body.name, getattr(body.kind, "name", "")]
    if body is bodies.CONFIGURATIONS:
        kind = Model(kind.name, {name: kind.fields[name] for name in body.kind.fields})
    assert (body.kind, body.required) == (kind, required)
    name = getattr(kind, "name", "")
    assert list(body.needed) == HARBOR_2.data["definitions"].get(name, {}).get("required", [])


def field(name: str, what: str, place: str, go_type: str) -> str:
    return (
        f'parsing {name} body from "" failed, because '
        f"json: cannot unmarshal {what} into Go struct field {place} of type {go_type}"
    )


def value(name: str, what: str, go_type: str) -> str:
    return f'parsing {name} body from "" failed, because json: cannot unmarshal {what} into Go value of type {go_type}'


NEW_PASSWORD = field("password", "number", "PasswordReq.new_password", "string")
KINDS: list[tuple[str, str, Any, str]] = [
    ("POST", "/projects", [], value("project", "array", "models.ProjectReq")),
    ("POST", "/projects", {"project_name": 5}, field("project", "number", "ProjectReq.project_name", "string")),
    ("POST", "/projects", {"public": "yes"}, field("project", "string", "ProjectReq.public", "bool")),
    ("POST", "/projects", {"storage_limit": "1"}, field("project", "string", "ProjectReq.storage_limit", "int64")),
    ("POST", "/projects", {"storage_limit": 1.5}, field("project", "number 1.5", "ProjectReq.storage_limit", "int64")),
    (
        "POST",
        "/projects",
        {"storage_limit": 1 << 63},
        field("project", "number 9223372036854775808", "ProjectReq.storage_limit", "int64"),
    ),
    (
        "PUT",
        P,
        {"metadata": {"public": True}},
        field("project", "bool", "ProjectMetadata.metadata.public", "string"),
    ),
    (
        "POST",
        f"{P}/members",
        {"role_id": "2"},
        field("project_member", "string", "ProjectMember.role_id", "int64"),
    ),
    (
        "POST",
        f"{P}/members",
        {"member_user": {"username": 5}},
        field("project_member", "number", "UserEntity.member_user.username", "string"),
    ),
    ("PUT", f"{P}/members/1", {"role_id": "1"}, field("role", "string", "RoleRequest.role_id", "int64")),
    ("POST", f"{P}/metadatas/", {"public": True}, value("metadata", "bool", "string")),
    ("PUT", f"{P}/metadatas/public", {"public": True}, value("metadata", "bool", "string")),
    ("POST", "/robots", {"duration": "7"}, field("robot", "string", "RobotCreate.duration", "int64")),
    (
        "POST",
        "/robots",
        {"permissions": [{"access": [{"action": 1}]}]},
        field("robot", "number", "Access.permissions.access.action", "string"),
    ),
    ("PUT", "/robots/1", {"disable": "no"}, field("robot", "string", "Robot.disable", "bool")),
    ("PATCH", "/robots/1", {"secret": 5}, field("robotSec", "number", "RobotSec.secret", "string")),
    ("PUT", "/quotas/1", {"hard": {"storage": "1"}}, field("hard", "string", "QuotaUpdateReq.hard", "int64")),
    ("POST", "/users", {"username": 5}, field("userReq", "number", "UserCreationReq.username", "string")),
    (
        "PUT",
        "/users/1/sysadmin",
        {"sysadmin_flag": 1},
        field("sysadmin_flag", "number", "UserSysAdminFlag.sysadmin_flag", "bool"),
    ),
    (
        "PUT",
        "/users/1/password",
        {"new_password": 1},
        field("password", "number", "PasswordReq.new_password", "string"),
    ),
    ("PUT", "/users/1/cli_secret", {"secret": 1}, field("secret", "number", "OIDCCliSecretReq.secret", "string")),
    ("POST", "/usergroups", {"group_type": "3"}, field("usergroup", "string", "UserGroup.group_type", "int64")),
    ("POST", "/labels", {"project_id": "1"}, field("label", "string", "Label.project_id", "int64")),
    ("POST", f"{R}/labels", {"id": "1"}, field("label", "string", "Label.id", "int64")),
    ("POST", f"{R}/tags", {"name": 5}, field("tag", "number", "NewTag.name", "string")),
    ("POST", f"{R}/tags", {}, "name in body is required"),
    ("POST", f"{R}/scan", {"scan_type": 5}, field("scanType", "number", "ScanType.scan_type", "string")),
    (
        "POST",
        f"{P}/immutabletagrules",
        {"tag_selectors": {}},
        field("ImmutableRule", "object", "ImmutableRule.tag_selectors", "[]*models.ImmutableSelector"),
    ),
    (
        "PUT",
        "/configurations",
        {"read_only": "x"},
        field("configurations", "string", "Configurations.read_only", "bool"),
    ),
]


@pytest.mark.parametrize(("method", "path", "body", "failure"), KINDS)
def test_a_value_of_another_kind_is_422_for_anyone(
    harbor: HarborClient, method: str, path: str, body: Any, failure: str
) -> None:
    said = error_body("UNPROCESSABLE_ENTITY", f"validation failure list:\n{failure}")
    for login in (None, ADMIN):
        answer = send(harbor, method, path, json=body, auth=login)
        assert (answer.status_code, answer.text) == (422, said)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"{", "unexpected EOF"),
        (b"  ", "EOF"),
        (b"hello", "invalid character 'h' looking for beginning of value"),
    ],
)
def test_what_is_no_json_is_422_in_gos_words(harbor: HarborClient, content: bytes, reason: str) -> None:
    headers = {"Content-Type": "application/json"}
    answer = send(harbor, "POST", "/projects", content=content, headers=headers)
    failure = f'parsing project body from "" failed, because {reason}'
    assert (answer.status_code, answer.json()["errors"][0]["message"]) == (
        422,
        f"validation failure list:\n{failure}",
    )


BOSS = TEAM_LOGINS["boss"]


@pytest.mark.parametrize(
    ("method", "path", "message"),
    [
        ("POST", f"{P}/members", "the project member should provide"),
        ("PUT", f"{P}/members/1", "role can not be empty"),
        ("POST", f"{P}/metadatas/", "only allow one key/value pair"),
    ],
)
def test_a_body_that_is_not_required_is_missed_by_whoever_may(
    harbor: HarborClient, method: str, path: str, message: str
) -> None:
    answer = send(harbor, method, path, auth=BOSS)
    assert (answer.status_code, answer.text) == (400, error_body("BAD_REQUEST", message))
    assert send(harbor, method, path, auth=TEAM_LOGINS["guest"]).status_code == 403


def test_null_is_as_good_as_nothing(harbor: HarborClient) -> None:
    body = {"project_name": "with-nulls", "storage_limit": None, "metadata": None, "public": None}
    assert send(harbor, "POST", "/projects", json=body, auth=ADMIN).status_code == 201
    headers = {"Content-Type": "application/json"}
    empty = send(harbor, "POST", "/projects", content=b"null", auth=ADMIN, headers=headers)
    assert (empty.status_code, empty.json()["errors"][0]["code"]) == (400, "BAD_REQUEST")
