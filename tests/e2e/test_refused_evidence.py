"""Images that nobody trusted has vouched for, and such as a target cannot hold: refused, hosts untouched.

Most of these run with every target out of reach: a refusal with exit 6, not 8, shows that no host was asked.
"""

import pytest

from tests.e2e.box import Box
from tests.e2e.cli import Cli
from tests.e2e.images import hand_made

pytestmark = pytest.mark.sandbox

BUNDLE = "application/vnd.dev.sigstore.bundle.v0.3+json"


def test_an_unsigned_image_is_refused_before_any_host_is_touched(box: Box, cli: Cli) -> None:
    pinned = box.registry.push("es-sandbox/unsigned", "1", hand_made("unsigned"))
    run = cli.run("promote", pinned, "--to", "vch-a", "--yes", "--json", config=box.everybody_away())
    run.fails(6, "signature", "has no signature", hint="sign it with `imagepipe sign`", kind="gate")
    assert box.registry.tags("es-sandbox/unsigned") == ["1"]
    assert box.registry.attached("es-sandbox/unsigned", pinned.partition("@")[2]) == []


def test_an_unsigned_image_does_not_verify(box: Box, cli: Cli) -> None:
    pinned = box.registry.push("es-sandbox/unverified", "1", hand_made("unverified"))
    cli.run("verify", pinned, "--json").fails(6, "has no signature", kind="verification")


def test_an_unsigned_image_leaves_a_reachable_host_as_it_was(box: Box, cli: Cli) -> None:
    pinned = box.registry.push("es-sandbox/untouched", "1", hand_made("untouched"))
    cli.run("promote", pinned, "--to", "vch-a", "--to", "engine-a", "--yes").fails(6, "has no signature")
    assert box.host("vch-a").images("es-sandbox/untouched") == []
    assert box.host("engine-a").images("es-sandbox/untouched") == []


def test_a_signature_by_another_identity_does_not_count(box: Box, cli: Cli) -> None:
    pinned = box.registry.push("es-sandbox/stranger", "1", hand_made("stranger"))
    cli.run("sign", pinned, env=box.token(email="eve@es-sandbox.test")).ok()
    run = cli.run("promote", pinned, "--to", "vch-a", "--yes", "--json", config=box.everybody_away())
    run.fails(6, "has no signature that the policy accepts", r"eve@es-sandbox\.test", hint="policy", kind="gate")
    assert box.registry.tags("es-sandbox/stranger") == ["1"]


def test_the_right_identity_by_another_issuer_does_not_count(box: Box, cli: Cli) -> None:
    pinned = box.registry.push("es-sandbox/issuer", "1", hand_made("issuer"))
    with box.sigstore_beside(same_keys=True) as (issuer, trust):
        token = box.token(issuer=issuer, email=box.document["sigstore"]["identity"])
        cli.run("sign", pinned, env=token, config=box.config({"signing.trust_config": str(trust)})).ok()
    run = cli.run("promote", pinned, "--to", "vch-a", "--yes", "--json", config=box.everybody_away())
    run.fails(6, "has no signature that the policy accepts", issuer, hint="policy", kind="gate")


def test_a_signature_of_another_sigstore_does_not_count_even_if_it_calls_itself_ours(box: Box, cli: Cli) -> None:
    pinned = box.registry.push("es-sandbox/foreign", "1", hand_made("foreign"))
    with box.sigstore_beside(same_keys=False) as (issuer, trust):
        token = box.token(issuer=issuer, email=box.document["sigstore"]["identity"])
        cli.run("sign", pinned, env=token, config=box.config({"signing.trust_config": str(trust)})).ok()
    run = cli.run("promote", pinned, "--to", "vch-a", "--yes", "--json", config=box.everybody_away())
    run.fails(6, "has no signature that the policy accepts", kind="gate")


def test_a_signature_moved_over_from_another_image_does_not_count(box: Box, cli: Cli) -> None:
    honest, forged = hand_made("honest"), hand_made("forged")
    cli.run("sign", box.registry.push("es-sandbox/moved", "honest", honest)).ok()
    pinned = box.registry.push("es-sandbox/moved", "forged", forged)
    (attached,) = box.registry.attached("es-sandbox/moved", honest.digest)
    attached["subject"] |= {"digest": forged.digest, "size": forged.size_bytes}
    box.registry.attach("es-sandbox/moved", forged.digest, attached)
    assert len(box.registry.attached("es-sandbox/moved", forged.digest)) == 1
    refused = "has no signature that the policy accepts"
    cli.run("verify", pinned, "--json").fails(6, refused, hint="policy", kind="verification")
    run = cli.run("promote", pinned, "--to", "vch-a", "--yes", "--json", config=box.everybody_away())
    run.fails(6, refused, hint="policy", kind="gate")


def test_rubbish_attached_to_a_signed_image_takes_nothing_away_from_it(box: Box, cli: Cli) -> None:
    image = hand_made("littered")
    pinned = box.registry.push("es-sandbox/littered", "1", image)
    cli.run("sign", pinned).ok()
    (attached,) = box.registry.attached("es-sandbox/littered", image.digest)
    attached["layers"] = []
    box.registry.attach("es-sandbox/littered", image.digest, attached)
    assert len(box.registry.attached("es-sandbox/littered", image.digest)) == 2
    cli.run("verify", pinned).ok()


def test_a_policy_that_asks_for_provenance_refuses_an_image_without_it(box: Box, cli: Cli, signed: str) -> None:
    strict = box.config({"policies.sandbox.require_provenance": True})
    cli.run("promote", signed, "--to", "vch-a", "--yes", "--json", config=strict).fails(
        6, "has no provenance", kind="gate"
    )


def test_a_policy_that_asks_for_a_scan_is_never_passed_without_one(box: Box, cli: Cli, signed: str) -> None:
    scanned = box.config({"policies.sandbox.max_severity": "high"})
    run = cli.run("promote", signed, "--to", "vch-a", "--yes", "--json", config=scanned)
    run.fails(6, "scan", hint="max_severity", kind="gate")


def test_an_image_with_91_history_entries_is_refused_before_any_host_is_touched(box: Box, cli: Cli) -> None:
    pinned = box.registry.push("es-sandbox/deep", "1", hand_made("deep", history=91))
    cli.run("sign", pinned).ok()
    run = cli.run("promote", pinned, "--to", "vch-a", "--yes", "--json", config=box.everybody_away())
    run.fails(6, "91 of at most 90 history entries", hint="join RUN, ENV and LABEL", kind="gate")
    assert box.registry.tags("es-sandbox/deep") == ["1"]


def test_an_image_with_90_history_entries_reaches_a_vch(box: Box, cli: Cli) -> None:
    pinned = box.registry.push("es-sandbox/brim", "1", hand_made("brim", history=90))
    cli.run("sign", pinned).ok()
    cli.run("promote", pinned, "--to", "vch-a", "--yes").ok()
    assert box.host("vch-a").holds(pinned)


def test_an_oci_image_is_refused_for_a_vch_and_goes_to_an_engine(box: Box, cli: Cli) -> None:
    pinned = box.registry.push("es-sandbox/oci", "1", hand_made("oci", oci=True))
    cli.run("sign", pinned).ok()
    run = cli.run("promote", pinned, "--to", "vch-a", "--to", "engine-a", "--yes", "--json")
    run.fails(6, r"media type: application/vnd\.oci", hint="profile: vch", kind="gate")
    assert box.host("engine-a").images("es-sandbox/oci") == []
    cli.run("promote", pinned, "--to", "engine-a", "--yes").ok()
    assert box.host("engine-a").holds(pinned)
