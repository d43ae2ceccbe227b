"""Copying artifacts within the Harbor stand-in: what comes along, and what is refused."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.contract.harbor_world import (
    ADMIN,
    OCI_INDEX,
    PROJECT,
    TEAM_LOGINS,
    HarborClient,
    Login,
    Pushed,
    error_body,
    harbor_of_a_team,
)
from tests.contract.registry_worlds import Server

R = f"{PROJECT}/hello"
TARGET = "/projects/released/repositories/hello/artifacts"


@pytest.fixture
def harbor(backend: Server, seeds: Path, tmp_path: Path) -> Iterator[HarborClient]:
    with harbor_of_a_team(tmp_path, f"http://{backend.host}", seeds) as client:
        client.add_project("released")
        yield client


def _copy(harbor: HarborClient, origin: str, login: Login = ADMIN, target: str = TARGET) -> httpx.Response:
    return harbor.api("POST", target, login, params={"from": origin})


def _index(harbor: HarborClient, *children: Pushed) -> Pushed:
    document = {
        "schemaVersion": 2,
        "mediaType": OCI_INDEX,
        "manifests": [child.descriptor(platform={"architecture": "amd64", "os": "linux"}) for child in children],
    }
    return harbor.put_manifest(R, document, "all")


def test_a_copy_has_the_bytes_the_signatures_and_every_tag(harbor: HarborClient) -> None:
    pushed = harbor.push(R, "v1")
    harbor.push(R, "latest")
    signature = harbor.sign(R, pushed)
    copied = _copy(harbor, f"{R}@{pushed.digest}")
    assert copied.status_code == 201
    assert copied.headers["location"] == f"/api/v2.0{TARGET}/{pushed.digest}"
    shown = harbor.ok("GET", f"{TARGET}/{pushed.digest}").json()
    assert {tag["name"] for tag in shown["tags"]} == {"v1", "latest"}
    assert [(each["type"], each["digest"]) for each in shown["accessories"]] == [("signature.cosign", signature.digest)]
    assert shown["extra_attrs"]["config"] == {"Env": ["A=1"]}
    assert harbor.get_manifest("released/hello", "v1").content == pushed.raw
    referrers = harbor.send("GET", f"/v2/released/hello/referrers/{pushed.digest}", ADMIN).json()
    assert [each["digest"] for each in referrers["manifests"]] == [signature.digest]
    assert _copy(harbor, f"{R}:v1").status_code == 201
    events = harbor.ok("GET", "/projects/released/auditlog-exts?q=operation=create").json()
    assert [event["resource"] for event in events] == [
        "released/hello:v1",
        "released/hello:v1",
        f"released/hello@{signature.digest}",
        "released",
    ]


def test_an_index_comes_with_its_children(harbor: HarborClient) -> None:
    children = [harbor.push(R, layer=layer) for layer in (b"one", b"two")]
    index = _index(harbor, *children)
    assert _copy(harbor, f"{R}:all").status_code == 201
    assert harbor.get_manifest("released/hello", "all").content == index.raw
    for child in children:
        assert harbor.get_manifest("released/hello", child.digest).status_code == 200


@pytest.mark.parametrize(
    ("origin", "status", "code", "message"),
    [
        (f"{R}:none", 400, "BAD_REQUEST", f"artifact {R}:none not found"),
        ("Nonsense!", 400, "BAD_REQUEST", "invalid input: Nonsense!"),
    ],
)
def test_a_copy_of_nothing_is_refused(harbor: HarborClient, origin: str, status: int, code: str, message: str) -> None:
    refused = _copy(harbor, origin)
    assert (refused.status_code, refused.text) == (status, error_body(code, message))


def test_a_copy_needs_rights_on_both_sides(harbor: HarborClient) -> None:
    harbor.push(R, "v1")
    assert _copy(harbor, f"{R}:v1", TEAM_LOGINS["dev"]).text == error_body("FORBIDDEN", "forbidden")
    member = {"role_id": 2, "member_user": {"username": "stranger"}}
    harbor.ok("POST", "/projects/released/members", json=member)
    assert _copy(harbor, f"{R}:v1", TEAM_LOGINS["stranger"]).status_code == 403
    harbor.ok("POST", "/projects/released/members", json=member | {"member_user": {"username": "dev"}})
    assert _copy(harbor, f"{R}:v1", TEAM_LOGINS["dev"]).status_code == 201
    assert harbor.api("POST", TARGET).status_code == 422


def test_a_signature_alone_is_not_copied(harbor: HarborClient) -> None:
    signature = harbor.sign(R, harbor.push(R, "v1"))
    refused = _copy(harbor, f"{R}@{signature.digest}")
    message = "the operation isn't supported for an artifact accessory"
    assert (refused.status_code, refused.text) == (403, error_body("DENIED", message))


def test_a_proxy_cache_takes_no_copies_and_no_tags(harbor: HarborClient) -> None:
    harbor.push(R, "v1")
    trust = {"enable_content_trust": "true", "enable_content_trust_cosign": "true"}
    harbor.add_project("mirror", registry_id=1, metadata=trust)
    mirror = harbor.ok("GET", "/projects/mirror").json()
    assert mirror["registry_id"] == 1
    assert mirror["metadata"] == {"enable_content_trust_cosign": "true", "public": "false"}
    refused = _copy(harbor, f"{R}:v1", target="/projects/mirror/repositories/hello/artifacts")
    message = "the operation isn't supported for a proxy cache project"
    assert (refused.status_code, refused.text) == (405, error_body("METHOD_NOT_ALLOWED", message))
    refused = harbor.api("POST", "/projects", TEAM_LOGINS["dev"], json={"project_name": "x", "registry_id": 1})
    assert refused.text == error_body("FORBIDDEN", "Only system admin can create proxy cache project")


def test_a_full_project_takes_no_copy(harbor: HarborClient) -> None:
    harbor.push(R, "v1", layer=bytes(4096))
    quota = harbor.ok("GET", "/quotas?reference=project&page_size=100").json()
    quota_id = next(each["id"] for each in quota if each["ref"]["name"] == "released")
    harbor.ok("PUT", f"/quotas/{quota_id}", json={"hard": {"storage": 1000}})
    refused = _copy(harbor, f"{R}:v1")
    assert refused.status_code == 403
    assert "will exceed the configured upper limit of 1000 B." in refused.text


def test_a_copy_does_not_move_an_immutable_tag(harbor: HarborClient) -> None:
    harbor.push(R, "v1")
    harbor.push("released/hello", "v1", layer=b"another")
    harbor.ok(
        "POST",
        "/projects/released/immutabletagrules",
        json={
            "action": "immutable",
            "template": "immutable_template",
            "tag_selectors": [{"kind": "doublestar", "decoration": "matches", "pattern": "v*"}],
            "scope_selectors": {"repository": [{"kind": "doublestar", "decoration": "repoMatches", "pattern": "**"}]},
        },
    )
    refused = _copy(harbor, f"{R}:v1")
    assert refused.text == error_body("PRECONDITION", "the tag v1 configured as immutable, cannot be updated")
