"""The `/v2` side: tags, accessories, referrers, immutability, quotas and pull policies before a real registry."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from imagepipe.sandbox.harbor.manifests import DOCKER_MANIFEST
from tests.contract.harbor_world import (
    ADMIN,
    BUNDLE,
    OCI_INDEX,
    OCI_MANIFEST,
    PROJECT,
    TEAM_LOGINS,
    HarborClient,
    Pushed,
    digest_of,
    error_body,
    harbor_of_a_team,
)
from tests.contract.registry_worlds import Server

R = f"{PROJECT}/hello"
P = f"/projects/{PROJECT}"
A = f"{P}/repositories/hello/artifacts"
COSIGN_CONFIG = "application/vnd.dev.cosign.artifact.sig.v1+json"
NOTATION = "application/vnd.cncf.notary.signature"
ABSENT = digest_of(b"absent")


@pytest.fixture
def harbor(backend: Server, seeds: Path, tmp_path: Path) -> Iterator[HarborClient]:
    with harbor_of_a_team(tmp_path, f"http://{backend.host}", seeds) as client:
        yield client


@pytest.fixture
def make(backend: Server, seeds: Path, tmp_path: Path) -> Any:
    """Returns a Harbor with other settings."""
    return lambda **changes: harbor_of_a_team(tmp_path, f"http://{backend.host}", seeds, **changes)


def immutable(harbor: HarborClient, pattern: str) -> None:
    def selector(decoration: str, wanted: str) -> dict[str, str]:
        return {"kind": "doublestar", "decoration": decoration, "pattern": wanted}

    rule = {
        "action": "immutable",
        "template": "immutable_template",
        "tag_selectors": [selector("matches", pattern)],
        "scope_selectors": {"repository": [selector("repoMatches", "**")]},
    }
    harbor.ok("POST", f"{P}/immutabletagrules", json=rule)


def trust_cosign(harbor: HarborClient) -> None:
    harbor.ok("PUT", P, json={"metadata": {"enable_content_trust_cosign": "true"}})


def push_index(harbor: HarborClient, *children: Pushed, tag: str = "") -> Pushed:
    platforms = ({"os": "linux", "architecture": "amd64"}, {"os": "linux", "architecture": "arm64"})
    manifests = [child.descriptor(platform=p) for child, p in zip(children, platforms, strict=False)]
    document = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": manifests}
    return harbor.put_manifest(R, document, tag)


def test_a_pushed_tag_is_harbors_and_the_registry_behind_sees_digests_only(
    harbor: HarborClient, backend: Server
) -> None:
    pushed = harbor.push(R, "v1")
    assert pushed.response.status_code == 201
    assert pushed.response.headers["docker-content-digest"] == pushed.digest
    assert pushed.response.headers["docker-distribution-api-version"] == "registry/2.0"
    base = str(harbor.http.base_url).rstrip("/")
    assert pushed.response.headers["location"] == f"{base}/v2/{R}/manifests/{pushed.digest}"
    read = harbor.get_manifest(R, "v1")
    assert (read.content, read.headers["docker-content-digest"]) == (pushed.raw, pushed.digest)
    assert read.headers["content-type"] == OCI_MANIFEST
    behind = harbor.http.get(f"http://{backend.host}/v2/{R}/manifests/v1", headers={"Accept": OCI_MANIFEST})
    assert behind.status_code == 404


def test_head_and_if_none_match_know_the_digest_of_a_tag(harbor: HarborClient) -> None:
    pushed = harbor.push(R, "v1")
    headers = {"Accept": OCI_MANIFEST}
    head = harbor.send("HEAD", f"/v2/{R}/manifests/v1", ADMIN, headers=headers)
    assert (head.status_code, head.headers["docker-content-digest"]) == (200, pushed.digest)
    assert head.headers["content-length"] == str(len(pushed.raw))
    assert (
        harbor.send("GET", f"/v2/{R}/manifests/v1", ADMIN, headers={"If-None-Match": f'"{pushed.digest}"'}).status_code
        == 304
    )


def test_the_registrys_own_refusals_pass_through_with_their_detail(harbor: HarborClient) -> None:
    harbor.push(R, "v1")
    blind = harbor.send("GET", f"/v2/{R}/manifests/v1", ADMIN)
    assert (blind.status_code, blind.json()["errors"][0]["code"]) == (404, "MANIFEST_UNKNOWN")
    missing = {"mediaType": "application/octet-stream", "digest": ABSENT, "size": 1}
    refused = harbor.push(R, "v2", layers=[missing]).response
    assert (refused.status_code, refused.json()["errors"][0]["code"]) == (400, "MANIFEST_BLOB_UNKNOWN")
    assert refused.json()["errors"][0]["detail"] == ABSENT
    empty = f"{PROJECT}/empty"
    assert harbor.put_manifest(empty, {"mediaType": OCI_MANIFEST, "schemaVersion": 2}).response.status_code == 400
    assert harbor.send("GET", f"/v2/{empty}/tags/list", ADMIN).json()["tags"] == []


PRETTY = "application/vnd.docker.distribution.manifest.v1+prettyjws"
UNMARSHAL = "json: cannot unmarshal"
NONSENSE = "invalid character 'n' looking for beginning of value"


def in_field(what: str, name: str, go_type: str) -> str:
    return f"{UNMARSHAL} {what} into Go struct field {name} of type {go_type}"


@pytest.mark.parametrize(
    ("media_type", "content", "reason"),
    [
        # What no reader is registered for goes to that of schema 1, which asks for its signatures.
        ("application/json", b"{}", "missing signature key"),
        ("application/vnd.oci.artifact.manifest.v1+json", b"{}", "missing signature key"),
        ("application/json", b"nonsense", f"error unmarshalling content: {NONSENSE}"),
        (PRETTY, b'{"signatures":[{"protected":"e30"}]}', "missing formatted length"),
        (PRETTY, b'{"signatures":[{"protected":"eyJmb3JtYXRMZW5ndGgiOjF9"}]}', "missing formatted tail"),
        (OCI_MANIFEST, b"nonsense", NONSENSE),
        (OCI_MANIFEST, b'{"layers":', "unexpected end of JSON input"),
        (OCI_MANIFEST, b"[]", f"{UNMARSHAL} array into Go value of type ocischema.unknownDocument"),
        (OCI_MANIFEST, b'{"config":"x"}', in_field("string", "Manifest.config", "distribution.Descriptor")),
        (DOCKER_MANIFEST, b'{"config":[]}', in_field("array", "Manifest.config", "distribution.Descriptor")),
        (OCI_MANIFEST, b'{"layers":{}}', in_field("object", "Manifest.layers", "[]distribution.Descriptor")),
        (OCI_MANIFEST, b'{"layers":["x"]}', in_field("string", "Manifest.layers", "distribution.Descriptor")),
        (OCI_MANIFEST, b'{"layers":[{"size":"1"}]}', in_field("string", "Descriptor.layers.size", "int64")),
        (OCI_MANIFEST, b'{"annotations":{"a":1}}', in_field("number", "Manifest.annotations", "string")),
        (
            OCI_INDEX,
            b'{"manifests":[{"digest":1}]}',
            in_field("number", "ManifestDescriptor.manifests.digest", "digest.Digest"),
        ),
        (OCI_MANIFEST, b'{"layers":[],"manifests":[]}', "ocimanifest: expected manifest but found index"),
        (OCI_INDEX, b'{"layers":[],"manifests":[]}', "index: expected index but found manifest"),
        (
            OCI_MANIFEST,
            json.dumps({"mediaType": OCI_INDEX}).encode(),
            f"if present, mediaType in manifest should be '{OCI_MANIFEST}' not '{OCI_INDEX}'",
        ),
    ],
)
def test_what_is_no_manifest_is_refused_in_harbors_words(
    harbor: HarborClient, media_type: str, content: bytes, reason: str
) -> None:
    headers = {"Content-Type": media_type}
    answer = harbor.send("PUT", f"/v2/{R}/manifests/v1", ADMIN, content=content, headers=headers)
    assert (answer.status_code, answer.text) == (
        400,
        error_body("MANIFEST_INVALID", f"unmarshal manifest failed: {reason}"),
    )


def test_what_is_too_large_or_has_another_digest_is_refused_by_the_registry(harbor: HarborClient) -> None:
    image, headers = harbor.push(R, "v1"), {"Content-Type": OCI_MANIFEST}
    wrong = harbor.send("PUT", f"/v2/{R}/manifests/{ABSENT}", ADMIN, content=image.raw, headers=headers)
    assert (wrong.status_code, wrong.json()["errors"][0]["code"]) == (400, "DIGEST_INVALID")
    large = harbor.push(R, "v2", annotations={"much": "x" * 4 * 1024 * 1024}).response
    assert (large.status_code, large.json()["errors"][0]["code"]) == (400, "MANIFEST_INVALID")
    assert harbor.send("GET", f"/v2/{R}/tags/list", ADMIN).json()["tags"] == ["v1"]


def test_a_reference_that_can_be_neither_tag_nor_digest_is_not_found(harbor: HarborClient) -> None:
    answer = harbor.get_manifest(R, "!!")
    assert (answer.status_code, answer.text) == (404, error_body("NOT_FOUND", "invalid reference format"))


@pytest.mark.parametrize(
    ("reference", "message"),
    [("v9", f"artifact {R}:v9 not found"), (ABSENT, f"artifact {R}@{ABSENT} not found")],
)
def test_an_unknown_manifest_is_harbors_404(harbor: HarborClient, reference: str, message: str) -> None:
    harbor.push(R, "v1")
    answer = harbor.get_manifest(R, reference)
    assert (answer.status_code, answer.text) == (404, error_body("NOT_FOUND", message))
    gone = harbor.get_manifest(f"{PROJECT}/gone", "v1")
    assert gone.text == error_body("NOT_FOUND", f"repository {PROJECT}/gone not found")


def test_a_blob_is_known_to_head_once_it_went_through_harbor(harbor: HarborClient, backend: Server) -> None:
    content = b"straight into the registry"
    started = harbor.http.post(f"http://{backend.host}/v2/{R}/blobs/uploads/")
    harbor.http.put(f"{started.headers['location']}&digest={digest_of(content)}", content=content)
    path = f"/v2/{R}/blobs/{digest_of(content)}"
    assert harbor.send("HEAD", path, ADMIN).status_code == 404
    assert harbor.send("GET", path, ADMIN).content == content
    harbor.push_blob(R, content)
    assert harbor.send("HEAD", path, ADMIN).headers["content-length"] == str(len(content))


def test_an_upload_stays_on_the_external_url_and_keeps_its_state(harbor: HarborClient) -> None:
    started = harbor.send("POST", f"/v2/{R}/blobs/uploads/", ADMIN)
    location = started.headers["location"]
    assert location.startswith(f"{str(harbor.http.base_url).rstrip('/')}/v2/{R}/blobs/uploads/")
    assert "?_state=" in location
    patched = harbor.send("PATCH", location, ADMIN, content=iter([b"one ", b"two"]))
    assert (patched.status_code, patched.headers["range"]) == (202, "0-6")
    done = harbor.send("PUT", f"{patched.headers['location']}&digest={digest_of(b'one two')}", ADMIN)
    assert done.status_code == 201
    size = harbor.harbor.store.value("SELECT size FROM blobs WHERE digest = ?", digest_of(b"one two"))
    assert size == 7


def test_a_blob_is_mounted_from_a_repository_that_the_caller_may_pull(harbor: HarborClient) -> None:
    harbor.push_blob(R, b"shared")
    path = f"/v2/{PROJECT}/other/blobs/uploads/?mount={digest_of(b'shared')}&from={R}"
    assert harbor.send("POST", path, ADMIN).status_code == 201
    path = f"/v2/library/other/blobs/uploads/?mount={digest_of(b'shared')}&from={R}"
    refused = harbor.send("POST", path, headers={})
    scopes = f'scope="repository:library/other:pull,push repository:{R}:pull"'
    assert refused.headers["www-authenticate"].endswith(scopes)


def test_tags_are_listed_sorted_paged_and_unknown_repositories_are_404(harbor: HarborClient) -> None:
    for tag in ("b", "c", "a"):
        harbor.push(R, tag)
    path = f"/v2/{R}/tags/list"
    assert harbor.send("GET", path, ADMIN).text == f'{{"name":"{R}","tags":["a","b","c"]}}\n'
    page = harbor.send("GET", f"{path}?n=2", ADMIN)
    assert page.json()["tags"] == ["a", "b"]
    assert page.headers["link"] == f'<{path}?last=b&n=2>; rel="next"'
    assert harbor.send("GET", f"{path}?n=2&last=b", ADMIN).json()["tags"] == ["c"]
    assert harbor.send("GET", f"{path}?n=0", ADMIN).json()["tags"] == []
    bad = harbor.send("GET", f"{path}?n=x", ADMIN)
    assert bad.text == error_body("BAD_REQUEST", "the N must be a positive int type")
    gone = harbor.send("GET", f"/v2/{PROJECT}/gone/tags/list", ADMIN)
    assert gone.text == error_body("NOT_FOUND", f"repository {PROJECT}/gone not found")
    assert harbor.send("GET", "/v2/_catalog", ADMIN).json() == {"repositories": [R]}


def test_a_manifest_is_deleted_by_digest_only_and_takes_its_tags_along(harbor: HarborClient) -> None:
    pushed = harbor.push(R, "v1")
    by_tag = harbor.send("DELETE", f"/v2/{R}/manifests/v1", ADMIN)
    message = "unsupported digest v1: invalid checksum digest format"
    assert (by_tag.status_code, by_tag.text) == (400, error_body("UNSUPPORTED", message))
    assert harbor.send("DELETE", f"/v2/{R}/manifests/{pushed.digest}", ADMIN).status_code == 202
    assert harbor.get_manifest(R, "v1").status_code == 404


def test_a_referrer_is_answered_with_its_subject_and_listed_as_signature(harbor: HarborClient) -> None:
    image = harbor.push(R, "v1")
    signed = harbor.sign(R, image)
    assert signed.response.headers["oci-subject"] == image.digest
    (accessory,) = harbor.ok("GET", f"{A}/v1/accessories?q=type%3Dsignature.cosign").json()
    assert accessory["type"] == "signature.cosign"
    assert accessory["digest"] == signed.digest
    assert accessory["subject_artifact_digest"] == image.digest
    listed = harbor.send("GET", f"/v2/{R}/referrers/{image.digest}", ADMIN)
    assert listed.headers["content-type"] == OCI_INDEX
    assert listed.json() == {
        "schemaVersion": 2,
        "mediaType": OCI_INDEX,
        "manifests": [
            {
                **signed.descriptor(),
                "artifactType": BUNDLE,
                "annotations": {"dev.sigstore.bundle.content": "dsse-envelope"},
            }
        ],
    }
    assert len(harbor.ok("GET", A).json()) == 1


def test_referrers_filter_by_type_but_count_before_it(harbor: HarborClient) -> None:
    image = harbor.push(R, "v1")
    harbor.sign(R, image)
    harbor.sign(R, image, "application/vnd.example.sbom")
    legacy = harbor.sign_legacy(R, image.digest)
    path = f"/v2/{R}/referrers/{image.digest}"
    everything = harbor.send("GET", path, ADMIN)
    assert len(everything.json()["manifests"]) == 3
    assert everything.json()["manifests"][2]["digest"] == legacy.digest
    assert "oci-filters-applied" not in everything.headers
    filtered = harbor.send("GET", path, ADMIN, params={"artifactType": BUNDLE})
    assert len(filtered.json()["manifests"]) == 1
    assert (filtered.headers["x-total-count"], filtered.headers["oci-filters-applied"]) == ("3", "artifactType")


def test_referrers_of_what_nobody_knows_are_an_empty_list(harbor: HarborClient) -> None:
    empty = harbor.send("GET", f"/v2/{PROJECT}/none/referrers/{ABSENT}", ADMIN)
    assert (empty.status_code, empty.json()["manifests"], empty.headers["x-total-count"]) == (200, [], "0")
    bad = harbor.send("GET", f"/v2/{R}/referrers/v1", ADMIN)
    message = "unsupported digest v1: invalid checksum digest format"
    assert (bad.status_code, bad.text) == (400, error_body("BAD_REQUEST", message))


def test_a_list_of_referrers_that_names_what_is_gone_is_not_given_at_all(harbor: HarborClient) -> None:
    image = harbor.push(R, "v1")
    harbor.sign(R, image)
    sbom = harbor.sign(R, image, "application/vnd.example.sbom")
    harbor.harbor.store.run("DELETE FROM artifacts WHERE digest = ?", sbom.digest)
    answer = harbor.send("GET", f"/v2/{R}/referrers/{image.digest}", ADMIN)
    assert (answer.status_code, answer.text) == (404, error_body("NOT_FOUND", f"artifact {R}@{sbom.digest} not found"))


def test_a_signature_may_come_before_its_subject(harbor: HarborClient) -> None:
    image = harbor.push(R)
    harbor.ok("DELETE", f"{A}/{image.digest}")
    harbor.sign(R, image)
    assert len(harbor.send("GET", f"/v2/{R}/referrers/{image.digest}", ADMIN).json()["manifests"]) == 1
    assert harbor.harbor.store.value("SELECT subject_artifact_id FROM accessories") == 0
    harbor.push(R, "v1")
    assert len(harbor.ok("GET", f"{A}/v1/accessories").json()) == 1


@pytest.mark.parametrize(
    ("version", "artifact_type", "kind"),
    [
        ("2.15.2", BUNDLE, "signature.cosign"),
        ("2.14.4", BUNDLE, "subject.accessory"),
        ("2.15.2", "application/vnd.dev.sigstore.bundle+json;version=0.3", "subject.accessory"),
        ("2.11.0", COSIGN_CONFIG, "signature.cosign"),
        ("2.8.4", COSIGN_CONFIG, "subject.accessory"),
        ("2.11.0", NOTATION, "signature.notation"),
        ("2.8.4", NOTATION, "subject.accessory"),
        ("2.15.2", "application/vnd.goharbor.harbor.sbom.v1", "sbom.harbor"),
    ],
)
def test_what_counts_as_a_signature_depends_on_the_version(
    make: Any, version: str, artifact_type: str, kind: str
) -> None:
    with make(version=version) as harbor:
        harbor.sign(R, harbor.push(R, "v1"), artifact_type)
        assert [each["type"] for each in harbor.ok("GET", f"{A}/v1/accessories").json()] == [kind]


@pytest.mark.parametrize("changes", [{"referrers": False}, {"version": "2.7.4"}])
def test_a_registry_without_the_referrers_api_is_404(make: Any, changes: dict[str, Any]) -> None:
    with make(**changes) as harbor:
        image = harbor.push(R, "v1")
        assert harbor.send("GET", f"/v2/{R}/referrers/{image.digest}", ADMIN).status_code == 404


def test_an_immutable_tag_cannot_be_pushed_again_not_even_with_the_same_digest(harbor: HarborClient) -> None:
    pushed = harbor.push(R, "v1")
    immutable(harbor, "v*")
    message = "Failed to process request due to 'hello:v1' configured as immutable."
    for _ in range(2):
        again = harbor.push(R, "v1").response
        assert (again.status_code, again.text) == (412, error_body("PRECONDITION", message))
    assert harbor.push(R, "v2").response.status_code == 201
    gone = harbor.api("DELETE", f"{A}/v1/tags/v1")
    message = "the tag v1 configured as immutable, cannot be deleted"
    assert (gone.status_code, gone.text) == (412, error_body("PRECONDITION", message))
    assert harbor.api("DELETE", f"{A}/{pushed.digest}").status_code == 412
    assert harbor.ok("GET", f"{A}/v1?with_immutable_status=true").json()["tags"][0]["immutable"] is True


def test_a_second_legacy_signature_meets_a_rule_for_all_tags_and_a_bundle_does_not(harbor: HarborClient) -> None:
    image = harbor.push(R, "v1")
    immutable(harbor, "**")
    assert harbor.sign_legacy(R, image.digest).response.status_code == 201
    assert harbor.sign_legacy(R, image.digest).response.status_code == 412
    assert harbor.sign(R, image).response.status_code == 201


def test_a_full_project_refuses_blobs_and_manifests(harbor: HarborClient) -> None:
    quota = harbor.ok("GET", "/quotas?reference=project&reference_id=2").json()[0]
    harbor.ok("PUT", f"/quotas/{quota['id']}", json={"hard": {"storage": 10 * 1024 * 1024}})
    harbor.push_blob(R, bytes(5 * 1024 * 1024))
    refused = harbor.push_blob(R, bytes(10 * 1024 * 1024))
    message = (
        "adding 10.0 MiB of storage resource, which when updated to current usage of 5.0 MiB "
        "will exceed the configured upper limit of 10.0 MiB."
    )
    assert (refused.status_code, refused.text) == (403, error_body("DENIED", message))
    used = harbor.ok("GET", f"{P}/summary").json()["quota"]["used"]["storage"]
    assert used == 5 * 1024 * 1024
    harbor.ok("PUT", f"/quotas/{quota['id']}", json={"hard": {"storage": 1024}})
    assert harbor.send("POST", f"/v2/{R}/blobs/uploads/", ADMIN).status_code == 403
    document = {"mediaType": OCI_INDEX, "schemaVersion": 2, "manifests": []}
    assert harbor.put_manifest(R, document, "v1").response.json()["errors"][0]["code"] == "DENIED"


def test_deleting_an_artifact_gives_its_storage_back(harbor: HarborClient) -> None:
    image = harbor.push(R, "v1", layer=b"much" * 100)
    other = harbor.push(R, "v2", layer=b"less")
    before = harbor.ok("GET", f"{P}/summary").json()["quota"]["used"]["storage"]
    harbor.ok("DELETE", f"{A}/{image.digest}")
    after = harbor.ok("GET", f"{P}/summary").json()["quota"]["used"]["storage"]
    assert before - after == 400 + len(image.raw)
    assert harbor.get_manifest(R, other.digest).status_code == 200


UNSIGNED = error_body("PROJECTPOLICYVIOLATION", "The image is not signed by cosign.")


def test_an_unsigned_image_cannot_be_pulled_when_trust_is_on(harbor: HarborClient) -> None:
    image = harbor.push(R, "v1")
    trust_cosign(harbor)
    for reference in ("v1", image.digest):
        refused = harbor.get_manifest(R, reference)
        assert (refused.status_code, refused.text) == (412, UNSIGNED)
    assert harbor.send("HEAD", f"/v2/{R}/manifests/v1", ADMIN).status_code == 412
    for path in ("tags/list", f"referrers/{image.digest}", f"blobs/{digest_of(b'layer')}"):
        assert harbor.send("GET", f"/v2/{R}/{path}", ADMIN).status_code == 200
    signature = harbor.sign(R, image)
    assert harbor.get_manifest(R, "v1").status_code == 200
    assert harbor.get_manifest(R, signature.digest).status_code == 200
    sbom = harbor.sign(R, image, "application/vnd.example.sbom")
    assert harbor.get_manifest(R, sbom.digest).status_code == 412
    assert harbor.api("GET", f"{A}/{sbom.digest}").status_code == 200


def test_only_the_holder_of_a_push_token_who_calls_itself_a_signer_is_exempt(harbor: HarborClient) -> None:
    harbor.push(R, "v1")
    trust_cosign(harbor)
    scope = f"repository:{R}:pull,push"
    agent = {"User-Agent": "cosign/v3.0.2", "Accept": OCI_MANIFEST}
    statuses = {
        who: harbor.send(
            "GET", f"/v2/{R}/manifests/v1", headers=agent | harbor.bearer(TEAM_LOGINS[who], scope)
        ).status_code
        for who in ("dev", "guest")
    }
    assert statuses == {"dev": 200, "guest": 412}
    plain = {"Accept": OCI_MANIFEST} | harbor.bearer(TEAM_LOGINS["dev"], scope)
    assert harbor.send("GET", f"/v2/{R}/manifests/v1", headers=plain).status_code == 412
    assert harbor.send("GET", f"/v2/{R}/manifests/v1", TEAM_LOGINS["dev"], headers=agent).status_code == 412


def test_a_signed_index_does_not_open_its_children(harbor: HarborClient) -> None:
    child = harbor.push(R, layer=b"amd64")
    index = push_index(harbor, child, tag="v1")
    trust_cosign(harbor)
    harbor.sign(R, index)
    assert harbor.get_manifest(R, "v1").status_code == 200
    assert harbor.get_manifest(R, child.digest).status_code == 412


def test_notation_trust_asks_for_its_own_kind(harbor: HarborClient) -> None:
    image = harbor.push(R, "v1")
    harbor.sign(R, image)
    harbor.ok("PUT", P, json={"metadata": {"enable_content_trust": "true"}})
    wanted = error_body("PROJECTPOLICYVIOLATION", "The image is not signed by notation.")
    assert harbor.get_manifest(R, "v1").text == wanted


def test_an_index_knows_its_children_and_untagged_ones_are_listed_on_request_only(harbor: HarborClient) -> None:
    children = harbor.push(R, layer=b"amd64"), harbor.push(R, layer=b"arm64")
    index = push_index(harbor, *children, tag="v1")
    assert index.response.status_code == 201
    (listed,) = harbor.ok("GET", A).json()
    assert listed["digest"] == index.digest
    assert [each["child_digest"] for each in listed["references"]] == [child.digest for child in children]
    assert listed["references"][0]["platform"] == {"os": "linux", "architecture": "amd64"}
    assert len(harbor.ok("GET", f"{A}?q=base%3D*").json()) == 3
    refused = harbor.api("DELETE", f"{A}/{children[0].digest}")
    message = "the deleting artifact is referenced by others"
    assert (refused.status_code, refused.text) == (412, error_body("VIOLATE_FOREIGN_KEY_CONSTRAINT", message))
    harbor.ok("DELETE", f"{A}/v1")
    assert harbor.ok("GET", f"{A}?q=base%3D*").text == "[]\n"


def test_an_index_whose_child_went_around_harbor_is_refused_after_the_registry_took_it(
    harbor: HarborClient, backend: Server
) -> None:
    child = harbor.push(R)
    harbor.ok("DELETE", f"{A}/{child.digest}")
    refused = push_index(harbor, child, tag="v1").response
    assert (refused.status_code, refused.text) == (
        404,
        error_body("NOT_FOUND", f"artifact {R}@{child.digest} not found"),
    )


def test_an_artifact_shows_harbors_fields_and_nulls(harbor: HarborClient) -> None:
    image = harbor.push(R, "v1")
    artifact = harbor.ok("GET", f"{A}/v1").json()
    assert artifact["digest"] == image.digest
    assert artifact["type"] == "IMAGE"
    assert artifact["pull_time"] == "0001-01-01T00:00:00.000Z"
    assert artifact["extra_attrs"]["config"] == {"Env": ["A=1"]}
    assert artifact["references"] is artifact["labels"] is artifact["accessories"] is None
    assert [tag["name"] for tag in artifact["tags"]] == ["v1"]
    assert harbor.ok("GET", f"{A}/v1?with_tag=false").json()["tags"] is None
    assert harbor.ok("GET", f"{P}/repositories/unknown/artifacts").text == "[]\n"
    gone = harbor.api("GET", f"{A}/v9")
    assert gone.text == error_body("NOT_FOUND", f"artifact {R}:v9 not found")


def test_a_nested_repository_is_addressed_with_its_slash_encoded_twice(harbor: HarborClient) -> None:
    harbor.push(f"{PROJECT}/a/b", "v1")
    assert harbor.ok("GET", f"{P}/repositories/a%252Fb").json()["name"] == f"{PROJECT}/a/b"
    assert harbor.ok("GET", f"{P}/repositories/a%252Fb/artifacts/v1").json()["tags"][0]["name"] == "v1"
    once = harbor.api("GET", f"{P}/repositories/a%2Fb")
    assert (once.status_code, once.json()["errors"][0]["code"]) == (404, "NOT_FOUND")
    (listed,) = harbor.ok("GET", f"{P}/repositories").json()
    assert (listed["name"], listed["artifact_count"], listed["pull_count"]) == (f"{PROJECT}/a/b", 1, 0)


def test_a_tag_is_added_over_rest_once_and_moved_by_a_push_only(harbor: HarborClient) -> None:
    harbor.push(R, "v1")
    assert harbor.ok("POST", f"{A}/v1/tags", json={"name": "stable"}).status_code == 201
    again = harbor.api("POST", f"{A}/v1/tags", json={"name": "stable"})
    assert (again.status_code, again.json()["errors"][0]["code"]) == (409, "CONFLICT")
    bad = harbor.api("POST", f"{A}/v1/tags", json={"name": "not/a tag"})
    assert bad.text == error_body("BAD_REQUEST", "bad request: invalid tag name: not/a tag")
    other = harbor.push(R, "stable", layer=b"other")
    assert harbor.ok("GET", f"{A}/stable").json()["digest"] == other.digest
    gone = harbor.api("DELETE", f"{A}/v1/tags/stable")
    assert gone.text == error_body("NOT_FOUND", "tag stable attached to artifact 1 not found")
    assert harbor.api("DELETE", f"{A}/v1/tags/v1").status_code == 200
    assert [each["digest"] for each in harbor.ok("GET", f"{A}?q=tags%3Dnil").json()] != []


def test_labels_are_put_on_artifacts_and_filter_lists(harbor: HarborClient) -> None:
    harbor.push(R, "v1")
    harbor.push(R, "v2", layer=b"two")
    harbor.ok("POST", "/labels", json={"name": "rejected", "scope": "p", "project_id": 2})
    harbor.ok("POST", f"{A}/v1/labels", TEAM_LOGINS["dev"], json={"id": 1})
    assert harbor.api("POST", f"{A}/v1/labels", json={"id": 1}).status_code == 409
    (found,) = harbor.ok("GET", f"{A}?with_label=true&q=labels%3D(1)").json()
    assert found["labels"][0]["name"] == "rejected"
    harbor.ok("DELETE", f"{A}/v1/labels/1")
    again = harbor.api("DELETE", f"{A}/v1/labels/1")
    assert again.text == error_body("NOT_FOUND", "reference with label 1 and artifact 1 not found")


def test_without_a_scanner_a_scan_is_refused_and_reports_are_empty(harbor: HarborClient) -> None:
    harbor.push(R, "v1")
    refused = harbor.api("POST", f"{A}/v1/scan", json={"scan_type": "vulnerability"})
    assert refused.text == error_body("PRECONDITION", "no available scanner for project: 2")
    assert harbor.ok("GET", f"{A}/v1/additions/vulnerabilities").text == "{}\n"
    assert "scan_overview" not in harbor.ok("GET", f"{A}/v1?with_scan_overview=true").json()
