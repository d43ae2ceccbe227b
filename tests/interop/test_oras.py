"""oras finds and fetches what we attach."""

import json
from pathlib import Path

import pytest

from imagepipe.model.digest import Digest
from tests.interop.world import PROMOTION, PROVENANCE, SIGNATURE, Box

pytestmark = [pytest.mark.sandbox, pytest.mark.interop]
BUNDLE = "application/vnd.dev.sigstore.bundle.v0.3+json"
PREDICATE = "dev.sigstore.bundle.predicateType"


def test_oras_discovers_signature_provenance_and_promotion_record(box: Box, hello: str) -> None:
    found = box.harbor.referrers(hello)
    assert {one["artifactType"] for one in found} == {BUNDLE}
    kinds = {json.loads(_manifest(box, hello, one["digest"]))["annotations"][PREDICATE] for one in found}
    assert kinds == {SIGNATURE, PROVENANCE, PROMOTION}


def test_oras_shows_the_tree_to_people(box: Box, hello: str) -> None:
    answer = box.harbor.oras("discover", "--artifact-type", BUNDLE, hello)
    assert answer.code == 0, answer.text
    assert answer.out.count(BUNDLE) >= 1
    for one in box.harbor.referrers(hello):
        assert one["digest"] in answer.out


def test_oras_pulls_a_bundle_whose_bytes_are_what_the_manifest_says(box: Box, hello: str, tmp_path: Path) -> None:
    repository, _, digest = hello.partition("@")
    for one in box.harbor.referrers(hello):
        manifest = json.loads(_manifest(box, hello, one["digest"]))
        assert manifest["subject"]["digest"] == digest
        (layer,) = manifest["layers"]
        file = tmp_path / "bundle.json"
        answer = box.harbor.oras("blob", "fetch", "--output", str(file), f"{repository}@{layer['digest']}")
        assert answer.code == 0, answer.text
        assert str(Digest.of(file.read_bytes())) == layer["digest"]
        assert json.loads(file.read_bytes())["mediaType"] == BUNDLE


def _manifest(box: Box, image: str, digest: str) -> str:
    answer = box.harbor.oras("manifest", "fetch", f"{image.partition('@')[0]}@{digest}")
    assert answer.code == 0, answer.text
    return answer.out
