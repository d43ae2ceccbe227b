"""What VIC's own Harbor cannot do, and what that means for a promotion: said with the way out, never passed over."""

import pytest

from tests.e2e.box import Box
from tests.e2e.cli import Cli
from tests.e2e.images import hand_made

pytestmark = pytest.mark.sandbox

DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"


def test_a_policy_that_asks_for_a_scan_is_told_that_this_harbor_shows_none(box: Box, cli: Cli, signed: str) -> None:
    away = {f"targets.{name}.host": box.closed(name) for name in box.document["targets"]}
    strict = box.config({"policies.sandbox.max_severity": "medium", **away})
    with box.registry_faults(scans={signed.partition("@")[2]: {"status": "Success", "severity": "None"}}):
        run = cli.run("promote", signed, "--to", "vch-a", "--yes", "--json", config=strict)
    run.fails(6, "this is admiral 1.7.8, and only Harbor 2.x can", hint="take max_severity out", kind="gate")


def test_an_oci_image_does_not_even_come_so_far(box: Box) -> None:
    with pytest.raises(AssertionError, match="MANIFEST_INVALID"):
        box.registry.push("es-sandbox/oci", "1", hand_made("oci", oci=True))


def test_signatures_and_records_lie_in_docker_manifests_under_a_tag(box: Box, cli: Cli) -> None:
    image = hand_made("without referrers")
    pinned = box.registry.push("es-sandbox/plain", "1", image)
    cli.run("sign", pinned).ok()
    cli.run("promote", pinned, "--to", "vch-a", "--to", "engine-a", "--yes").ok()
    attached = box.registry.attached("es-sandbox/plain", image.digest)
    assert [one["mediaType"] for one in attached] == [DOCKER_MANIFEST] * 2
    assert [one["subject"]["digest"] for one in attached] == [image.digest] * 2
    assert len(box.registry.records("es-sandbox/plain", image.digest)) == 1
    tree = cli.run("tree", pinned, "--json").ok().json()
    assert {one["predicate_type"] for one in tree["attached"]} == {
        "https://sigstore.dev/cosign/sign/v1",
        "https://imagepipe.dev/promotion/v1",
    }
