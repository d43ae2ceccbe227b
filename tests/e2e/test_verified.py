"""What `verify` and `tree` answer: all that a policy asks of an image itself, and nothing of what is not there."""

import json
from dataclasses import replace
from typing import Any

import pytest

from tests.e2e.box import Box
from tests.e2e.cli import Cli
from tests.e2e.images import hand_made

pytestmark = pytest.mark.sandbox

SBOM = "https://cyclonedx.org/bom"
HIGH = {"status": "Success", "severity": "High", "summary": {"High": 2}, "fixable": 1}
NOWHERE = "sha256:" + "0" * 64


@pytest.fixture
def image(box: Box, cli: Cli, request: pytest.FixtureRequest) -> str:
    """A signed image in a repository of its own."""
    name = request.node.name.removeprefix("test_").partition("[")[0].replace("_", "-")[:40].rstrip("-")
    pinned = box.registry.push(f"es-sandbox/verified/{name}", "1", hand_made(request.node.name))
    cli.run("sign", pinned).ok()
    return pinned


@pytest.mark.parametrize(
    ("wanted", "said", "hint"),
    [
        ({"require": [SBOM]}, rf"attestation {SBOM} \(sandbox\): has no {SBOM}", "attach one"),
        ({"require_provenance": True}, r"provenance \(sandbox\): has no provenance", "imagepipe run"),
        ({"provenance": {"source": "https://x.example/y"}}, r"provenance \(sandbox\): has no prov", "imagepipe run"),
        ({"max_severity": "medium"}, r"scan \(sandbox\): worse than medium: worst high", "."),
    ],
)
def test_whatever_the_policy_wants_of_an_image_is_asked_for(
    box: Box, cli: Cli, image: str, wanted: dict[str, Any], said: str, hint: str
) -> None:
    strict = box.config({f"policies.sandbox.{key}": value for key, value in wanted.items()})
    cli.run("verify", image).ok()
    with box.registry_faults(scans={image.partition("@")[2]: HIGH}):
        cli.run("verify", image, "--json", config=strict).fails(6, said, hint=hint, kind="verification")


def test_what_was_rejected_verifies_no_more(cli: Cli, image: str) -> None:
    cli.run("verify", image).ok()
    cli.run("reject", image, "--reason", "loses sessions", "--yes").ok()
    cli.run("verify", image, "--json").fails(6, "rejected .* loses sessions", kind="verification")


def test_an_image_that_is_not_there_is_not_called_unsigned(cli: Cli, image: str) -> None:
    absent = f"{image.partition('@')[0]}@{NOWHERE}"
    for command in ("verify", "tree", "digest", "sign"):
        cli.run(command, absent, "--json").fails(4, NOWHERE, kind="not_found")


def test_an_answer_names_every_question_that_was_asked(box: Box, cli: Cli, image: str) -> None:
    allowed = box.config({"policies.sandbox.max_severity": "high"})
    with box.registry_faults(scans={image.partition("@")[2]: HIGH}):
        document = cli.run("verify", image, "--json", config=allowed).ok().json()
    assert [one["gate"] for one in document["gates"]] == [
        "signature (sandbox)",
        "scan (sandbox)",
        "rejection (sandbox)",
    ]
    assert all(one["passed"] for one in document["gates"])
    assert [one["predicate_type"] for one in document["proofs"]] == ["https://sigstore.dev/cosign/sign/v1"]


def test_an_artifact_has_no_image_id_and_no_platform(box: Box, cli: Cli) -> None:
    image = hand_made("chart", oci=True)
    manifest = json.loads(image.manifest)
    manifest["config"]["mediaType"] = "application/vnd.cncf.helm.config.v1+json"
    pinned = box.registry.push("es-sandbox/verified/chart", "1", replace(image, manifest=json.dumps(manifest).encode()))
    (one,) = cli.run("digest", pinned, "--json").ok().json()["platforms"]
    assert one == {
        "platform": None,
        "manifest": pinned.partition("@")[2],
        "image_id": None,
        "artifact_type": "application/vnd.cncf.helm.config.v1+json",
    }
    told = cli.run("digest", pinned).ok().out
    assert "helm.config.v1+json: no image" in told
    assert "image id" not in told


def test_who_verifies_needs_no_key_and_no_identity(box: Box, cli: Cli, image: str) -> None:
    cli.run("verify", image, config=box.config({"signing.mode": "none"})).ok()


def test_without_a_policy_nobody_is_suspected(box: Box, cli: Cli, image: str) -> None:
    cli.run("reject", image, "--reason", "loses sessions", "--yes").ok()
    trustless = box.config({"policies": None, **{f"targets.{name}.policy": None for name in box.document["targets"]}})
    run = cli.run("history", image.partition("@")[0], "--json", config=trustless)
    error = run.fails(6, "no policy is configured", hint="policies.NAME", schema="imagepipe.history/v1")["error"]
    assert "broken" not in error["message"]
