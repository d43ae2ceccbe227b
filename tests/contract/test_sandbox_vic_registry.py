"""The registry of VIC's Harbor 1.7.8, before the real docker-registry: what a VCH and a pipeline meet there."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.contract.harbor_world import (
    OCI_CONFIG,
    OCI_INDEX,
    OCI_LAYER,
    OCI_MANIFEST,
    PROJECT,
    digest_of,
    harbor_of_a_team,
)
from tests.contract.registry_worlds import Server, docker_registry
from tests.contract.vic_world import (
    ADMIN,
    BOSS,
    DEV,
    DOCKER_CONFIG,
    DOCKER_LAYER,
    DOCKER_MANIFEST,
    GUEST,
    VicClient,
    served,
    vic_config,
)
from tests.contract.vic_world import vic_of_a_team as team

R = f"{PROJECT}/hello"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
SIZE_QUOTA = "Error occurred when to handle request in size quota handler: unsupported content type for manifest:"


@pytest.fixture(scope="module")
def backend(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with docker_registry(tmp_path_factory.mktemp("registry")) as server:
        yield server


@pytest.fixture
def vic(backend: Server, tmp_path: Path, seeds: Path) -> Iterator[VicClient]:
    with team(tmp_path, f"http://{backend.host}", seeds) as client:
        yield client


def test_the_version_route_of_api_2_is_not_there(vic: VicClient) -> None:
    answer = vic.api("GET", "/version", None)
    assert (answer.status_code, answer.headers["content-type"]) == (404, "text/html; charset=utf-8")


def test_systeminfo_tells_everybody_version_and_admiral(vic: VicClient) -> None:
    info = vic.api("GET", "/systeminfo", None).json()
    assert info["harbor_version"].startswith("v1.7.8-")
    assert (info["with_admiral"], info["admiral_endpoint"]) == (True, "https://admiral.example:8282")


def test_an_image_goes_in_and_comes_out_by_tag_and_by_digest(vic: VicClient) -> None:
    digest = vic.push(R, "1.0")
    for reference in ("1.0", digest):
        answer = vic.get(R, reference)
        assert (answer.status_code, answer.headers["docker-content-digest"]) == (200, digest)
        assert answer.headers["content-type"] == DOCKER_MANIFEST
        assert answer.headers["docker-distribution-api-version"] == "registry/2.0"


def test_who_asks_for_a_tag_without_accept_gets_a_signed_schema_1(vic: VicClient) -> None:
    vic.push(R, "1.0")
    answer = vic.get(R, "1.0", accept="")
    assert answer.headers["content-type"] == "application/vnd.docker.distribution.manifest.v1+prettyjws"
    assert answer.json()["signatures"]


def test_a_digest_is_never_rewritten(vic: VicClient) -> None:
    digest = vic.push(R, "1.0")
    assert vic.get(R, digest, accept="").json()["schemaVersion"] == 2


def test_a_fault_switch_moves_a_tag_between_two_reads(vic: VicClient) -> None:
    before, after = vic.push(R, "moving", b"before"), vic.push(R, "beside", b"after")
    vic.vic.faults.set(tag_moves={f"{R}:moving": {"to": after, "after_reads": 1}})
    assert [vic.get(R, "moving").headers["docker-content-digest"] for _ in range(3)] == [before, after, after]
    vic.vic.faults.set()
    assert vic.get(R, "moving").headers["docker-content-digest"] == after


@pytest.mark.parametrize("kind", [OCI_MANIFEST, OCI_INDEX])
@pytest.mark.parametrize("reference", ["oci", "digest"])
def test_oci_is_refused_as_a_schema_1_without_a_signature(vic: VicClient, kind: str, reference: str) -> None:
    manifest = vic.image(R)
    manifest["mediaType"] = kind
    manifest["config"]["mediaType"], manifest["layers"][0]["mediaType"] = OCI_CONFIG, OCI_LAYER
    answer = vic.put(R, reference if reference == "oci" else "sha256:" + "0" * 64, manifest)
    said = '{"errors":[{"code":"MANIFEST_INVALID","message":"manifest invalid","detail":{}}]}\n'
    assert (answer.status_code, answer.text) == (400, said)


@pytest.fixture
def latest(backend: Server, tmp_path: Path, seeds: Path) -> Iterator[VicClient]:
    """The stand-alone Harbor 1.10, whose own handlers look at a manifest before the registry does."""
    with team(tmp_path, f"http://{backend.host}", seeds, "harbor-1", version="1.10.3") as client:
        yield client


def test_harbor_1_10_takes_an_image_of_docker_and_no_list_and_nothing_of_oci(latest: VicClient) -> None:
    image = latest.image(R, b"for 1.10")
    assert latest.put(R, "1", image).status_code == 201
    for kind, status, code, said in (
        (DOCKER_LIST, 415, "UNSUPPORTED_MEDIA_TYPE", "Manifest.list is not supported."),
        (OCI_MANIFEST, 500, "InternalError", f"{SIZE_QUOTA} {OCI_MANIFEST}"),
        (OCI_INDEX, 500, "InternalError", f"{SIZE_QUOTA} {OCI_INDEX}"),
    ):
        answer = latest.put(R, "2", image | {"mediaType": kind})
        error = {"code": code, "message": said, "detail": said}
        assert (answer.status_code, answer.json()) == (status, {"errors": [error]})


def test_there_are_no_referrers(vic: VicClient) -> None:
    digest = vic.push(R, "1.0")
    answer = vic.v2("GET", f"/v2/{R}/referrers/{digest}")
    assert (answer.status_code, answer.text) == (404, "404 page not found\n")


def test_the_challenge_has_no_space_in_it(vic: VicClient) -> None:
    answer = vic.send("GET", f"/v2/{R}/manifests/1.0", headers={"Accept": DOCKER_MANIFEST})
    url = str(vic.http.base_url)
    wanted = f'Bearer realm="{url}/service/token",service="harbor-registry",scope="repository:{R}:pull"'
    assert (answer.status_code, answer.headers["www-authenticate"]) == (401, wanted)
    assert answer.headers["docker-distribution-api-version"] == "registry/2.0"
    assert answer.json() == {
        "errors": [
            {
                "code": "UNAUTHORIZED",
                "message": "authentication required",
                "detail": [{"Type": "repository", "Class": "", "Name": R, "Action": "pull"}],
            }
        ]
    }


def test_a_password_is_no_token(vic: VicClient) -> None:
    answer = vic.send("GET", "/v2/", DEV)
    assert answer.status_code == 401
    assert answer.json()["errors"][0]["detail"] is None


def test_any_token_opens_the_front_door(vic: VicClient) -> None:
    answer = vic.send("GET", "/v2/", headers=vic.bearer(GUEST))
    assert (answer.status_code, answer.text) == (200, "{}")


def test_a_guest_may_pull_and_is_told_that_pushing_needs_more(vic: VicClient) -> None:
    vic.push(R, "1.0")
    assert vic.v2("HEAD", f"/v2/{R}/manifests/1.0", GUEST).status_code == 200
    answer = vic.v2("POST", f"/v2/{R}/blobs/uploads/", GUEST)
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"].endswith(':pull,push",error="insufficient_scope"')


def test_a_token_that_is_none_is_called_invalid(vic: VicClient) -> None:
    answer = vic.send("GET", "/v2/", headers={"Authorization": "Bearer a.b.c"})
    assert answer.headers["www-authenticate"].endswith(',error="invalid_token"')


def test_logging_in_without_a_scope_needs_the_right_password(vic: VicClient) -> None:
    assert vic.token(DEV).status_code == 200
    for login in (None, ("dev", "Wrong12345")):
        answer = vic.token(login)
        assert (answer.status_code, answer.text) == (401, "")


def test_a_wrong_password_with_a_scope_gets_a_token_without_rights(vic: VicClient) -> None:
    answer = vic.token(("dev", "Wrong12345"), f"repository:{R}:pull,push")
    assert answer.status_code == 200
    assert set(answer.json()) == {"token", "expires_in", "issued_at"}
    headers = {"Authorization": f"Bearer {answer.json()['token']}"}
    assert vic.send("GET", f"/v2/{R}/manifests/1.0", headers=headers).status_code == 401


def test_the_token_service_takes_get_only_and_knows_its_services(vic: VicClient) -> None:
    assert vic.send("POST", "/service/token", DEV).status_code == 405
    unknown = vic.token(DEV, service="x")
    assert (unknown.status_code, unknown.text) == (400, "Unable to handle service: x")


def test_only_an_administrator_of_the_project_may_delete(vic: VicClient) -> None:
    digest = vic.push(R, "1.0")
    path = f"/v2/{R}/manifests/{digest}"
    assert vic.v2("DELETE", path, DEV).status_code == 401
    assert vic.v2("DELETE", path, BOSS).status_code == 202
    assert vic.get(R, "1.0").status_code == 404


def trust(vic: VicClient, value: str = "true") -> None:
    row = vic.state.admiral.project_by_name(PROJECT)
    properties = {**json.loads(row["properties"]), "__enableContentTrust": value}
    vic.state.admiral.change(row, properties=json.dumps(properties))


def test_content_trust_stops_get_of_what_notary_did_not_sign(vic: VicClient) -> None:
    digest = vic.push(R, "1.0")
    trust(vic)
    answer = vic.get(R, "1.0")
    message = "The image is not signed in Notary."
    error = {"code": "PROJECT_POLICY_VIOLATION", "message": message, "detail": message}
    assert (answer.status_code, answer.json()) == (412, {"errors": [error]})
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert vic.v2("HEAD", f"/v2/{R}/manifests/1.0").status_code == 200
    vic.vic.sign(R, "1.0", digest)
    assert vic.get(R, "1.0").status_code == vic.get(R, digest).status_code == 200


def test_content_trust_is_checked_before_anybody_is_asked_who_they_are(vic: VicClient) -> None:
    vic.push(R, "1.0")
    trust(vic)
    assert vic.send("GET", f"/v2/{R}/manifests/1.0").status_code == 412


def test_a_flag_that_is_no_boolean_breaks_the_project(vic: VicClient) -> None:
    trust(vic, "yes")
    assert vic.token(DEV, f"repository:{R}:pull").status_code == 500
    assert vic.api("GET", f"/projects/{vic.project_id}/_deletable", BOSS).status_code == 500


@pytest.mark.parametrize(
    ("scan", "said"),
    [
        (None, "Cannot get the image severity."),
        (
            {"severity": "High"},
            (
                'The severity of vulnerability of the image: "high" is equal or higher than the threshold in project '
                'setting: "medium".'
            ),
        ),
        ({"severity": "Low"}, ""),
    ],
)
def test_vulnerable_images_are_stopped_at_the_threshold(vic: VicClient, scan: dict[str, str] | None, said: str) -> None:
    digest = vic.push(R, "1.0")
    row = vic.state.admiral.project_by_name(PROJECT)
    prevent = "__preventVulnerableImagesFromRunning"
    properties = {**json.loads(row["properties"]), prevent: "true", f"{prevent}Severity": "medium"}
    vic.state.admiral.change(row, properties=json.dumps(properties))
    vic.vic.faults.set(scans={digest: scan} if scan else {})
    answer = vic.get(R, "1.0")
    assert answer.status_code == (412 if said else 200)
    assert not said or answer.json()["errors"][0]["message"] == said


def test_in_read_only_mode_nothing_goes_in(vic: VicClient) -> None:
    vic.push(R, "1.0")
    vic.vic.faults.set(read_only=True)
    answer = vic.v2("POST", f"/v2/{R}/blobs/uploads/")
    message = "The system is in read only mode. Any modification is prohibited."
    assert answer.status_code == 403
    assert answer.json()["errors"] == [{"code": "DENIED", "message": message, "detail": message}]
    assert vic.get(R, "1.0").status_code == 200


def test_a_repository_outside_of_any_project_is_a_bad_name(vic: VicClient) -> None:
    answer = vic.send("GET", "/v2/hello/manifests/1.0")
    assert (answer.status_code, answer.json()["errors"][0]["message"]) == (400, "Bad repository name: hello")


def test_a_mount_takes_a_blob_along_from_where_it_may_be_pulled(vic: VicClient) -> None:
    manifest = vic.image(R)
    scopes = [f"repository:{PROJECT}/copy:pull,push", f"repository:{R}:pull"]
    params = {"mount": manifest["config"]["digest"], "from": R}
    answer = vic.send("POST", f"/v2/{PROJECT}/copy/blobs/uploads/", headers=vic.bearer(DEV, *scopes), params=params)
    assert answer.status_code == 201
    refused = vic.send("POST", f"/v2/{PROJECT}/copy/blobs/uploads/", params=params)
    assert f'scope="{scopes[0]} {scopes[1]}"' in refused.headers["www-authenticate"]


def test_the_catalog_is_for_administrators(vic: VicClient) -> None:
    vic.push(R, "1.0")
    scope = "registry:catalog:*"
    assert vic.send("GET", "/v2/_catalog", headers=vic.bearer(DEV, scope)).status_code == 401
    assert R in vic.send("GET", "/v2/_catalog", headers=vic.bearer(ADMIN, scope)).json()["repositories"]


def test_tags_that_the_newer_harbor_kept_to_itself_are_there_and_move_once(
    backend: Server, tmp_path: Path, seeds: Path
) -> None:
    url = f"http://{backend.host}"
    with harbor_of_a_team(tmp_path, url, seeds) as newer:
        config = json.dumps({"architecture": "amd64", "os": "linux", "rootfs": {}, "history": [{}]}).encode()
        for blob in (config, b"layer"):
            newer.push_blob(f"{PROJECT}/kept", blob)
        manifest = {
            "schemaVersion": 2,
            "mediaType": DOCKER_MANIFEST,
            "config": {"mediaType": DOCKER_CONFIG, "digest": digest_of(config), "size": len(config)},
            "layers": [{"mediaType": DOCKER_LAYER, "digest": digest_of(b"layer"), "size": 5}],
        }
        first = newer.put_manifest(f"{PROJECT}/kept", manifest, "1")
    config_of_vic = vic_config(tmp_path, url, "vic")
    with served(config_of_vic) as vic:
        assert vic.get(f"{PROJECT}/kept", "1").headers["docker-content-digest"] == first.digest
        moved = vic.push(f"{PROJECT}/kept", "1", page=b"another")
    with served(config_of_vic) as vic:
        assert vic.get(f"{PROJECT}/kept", "1").headers["docker-content-digest"] == moved
