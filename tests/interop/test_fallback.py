"""Where a registry has no referrers API, what is attached is listed under a tag that every tool reads and writes."""

import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.interop.bare import BareRegistry
from tests.interop.world import PROMOTION, PROVENANCE, SIGNATURE, Answer, Box

pytestmark = [pytest.mark.sandbox, pytest.mark.interop]


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BareRegistry]:
    with BareRegistry(tmp_path_factory.mktemp("bare")) as registry:
        yield registry


@pytest.fixture(scope="module")
def signed(box: Box, hello: str, bare: BareRegistry) -> str:
    """hello, copied alone by oras and signed there by imagepipe."""
    image = copy(box, hello, bare, "signed")
    answer = box.imagepipe("sign", image, config=bare.configuration(box))
    assert answer.code == 0, answer.text
    return image


def copy(box: Box, image: str, bare: BareRegistry, name: str, *flags: str) -> str:
    source, target = box.harbor, bare.registry
    answer = target.oras_copy(source, image, f"{bare.host}/mirror/{name}:1", *flags)
    assert answer.code == 0, answer.text
    return f"{bare.host}/mirror/{name}@{image.partition('@')[2]}"


def verify(box: Box, bare: BareRegistry, image: str, kind: str, identity: str) -> Answer:
    return bare.registry.cosign(
        *("verify-attestation", "--new-bundle-format", "--trusted-root", str(box.trust / "trusted_root.json")),
        *("--certificate-identity", identity, "--certificate-oidc-issuer", box.issuer, "--type", kind, image),
        trust=box.trust,
    )


def test_the_registry_has_no_referrers_api(bare: BareRegistry, signed: str) -> None:
    name, _, digest = signed.removeprefix(f"{bare.host}/").partition("@")
    answer = bare.get(f"/v2/{name}/referrers/{digest}")
    assert answer.status_code == httpx.codes.NOT_FOUND


def test_the_fallback_tag_lists_what_imagepipe_attached(bare: BareRegistry, signed: str) -> None:
    name, _, digest = signed.removeprefix(f"{bare.host}/").partition("@")
    index = bare.get(f"/v2/{name}/manifests/{digest.replace(':', '-')}").json()
    assert index["mediaType"] == "application/vnd.oci.image.index.v1+json"
    assert len(index["manifests"]) == 1


def test_cosign_reads_our_fallback_index(box: Box, bare: BareRegistry, signed: str) -> None:
    answer = verify(box, bare, signed, SIGNATURE, box.identity)
    assert answer.code == 0, answer.text


def test_cosign_refuses_another_identity_there_too(box: Box, bare: BareRegistry, signed: str) -> None:
    answer = verify(box, bare, signed, SIGNATURE, "mallory@es-sandbox.test")
    assert answer.code != 0
    assert "mallory@es-sandbox.test" in answer.err


def test_oras_reads_our_fallback_index(bare: BareRegistry, signed: str) -> None:
    (found,) = bare.registry.referrers(signed)
    assert found["artifactType"] == "application/vnd.dev.sigstore.bundle.v0.3+json"


def test_what_a_rival_overwrote_is_found_by_imagepipe_and_put_back_for_cosign_and_oras(
    box: Box, bare: BareRegistry, signed: str
) -> None:
    name, _, digest = signed.removeprefix(f"{bare.host}/").partition("@")
    place, config = f"/v2/{name}/manifests/{digest.replace(':', '-')}", bare.configuration(box)
    (entry,) = bare.get(place).json()["manifests"]
    bare.put_index(place, {**bare.get(place).json(), "manifests": []})
    assert verify(box, bare, signed, SIGNATURE, box.identity).code != 0
    assert bare.registry.referrers(signed) == []
    assert box.imagepipe("verify", signed, config=config).code == 0
    assert box.imagepipe("sign", signed, config=config).code == 0
    assert bare.get(place).json()["manifests"] == [entry]
    assert verify(box, bare, signed, SIGNATURE, box.identity).code == 0
    assert [one["digest"] for one in bare.registry.referrers(signed)] == [entry["digest"]]


def test_imagepipe_reads_the_fallback_index_that_oras_writes(box: Box, hello: str, bare: BareRegistry) -> None:
    image = copy(box, hello, bare, "moved", "--recursive")
    answer = box.imagepipe("tree", image, "--json", config=bare.configuration(box))
    assert answer.code == 0, answer.text
    attached = answer.json()["attached"]
    assert {one["predicate_type"] for one in attached} == {SIGNATURE, PROVENANCE, PROMOTION}
    assert all(one["verified"] for one in attached)


def test_imagepipe_accepts_what_cosign_attaches_under_the_fallback_tag(
    box: Box, bare: BareRegistry, signed: str, tmp_path: Path
) -> None:
    predicate = tmp_path / "predicate.json"
    predicate.write_text(json.dumps({}))
    kind = "https://example.test/scanned/v1"
    answer = bare.registry.cosign(
        *("attest", "-y", "--new-bundle-format", "--fulcio-url", box.issuer, "--rekor-url", box.issuer),
        *("--identity-token", box.document["sigstore"]["token_file"]),
        *("--predicate", str(predicate), "--type", kind, signed),
        trust=box.trust,
    )
    assert answer.code == 0, answer.text
    answer = box.imagepipe("tree", signed, "--json", config=bare.configuration(box))
    assert {(one["predicate_type"], one["verified"]) for one in answer.json()["attached"]} >= {
        (SIGNATURE, True),
        (kind, True),
    }
