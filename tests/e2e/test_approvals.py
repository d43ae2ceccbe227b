"""Plans that somebody else must agree to, from end to end: with an identity, with a key, and never by oneself."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tests.e2e.box import Box
from tests.e2e.cli import Cli
from tests.e2e.images import hand_made

pytestmark = pytest.mark.sandbox

ALICE = "alice@es-sandbox.test"
GATE = "approval (sandbox)"


class Office:
    """An image that CI signed, and a policy by which Alice or the holder of a key must agree to its promotion."""

    def __init__(self, box: Box, cli: Cli, name: str) -> None:
        self.box, self.cli, self.repository = box, cli, f"es-sandbox/{name}"
        self.image = box.registry.push(self.repository, "1", hand_made(name))
        cli.run("sign", self.image).ok()
        self.alice = box.token(email=ALICE)
        key = ec.generate_private_key(ec.SECP256R1())
        public, private = box.file("pub"), box.file("key")
        private.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        public.write_bytes(
            key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        )
        self.ops = {"IMAGEPIPE_SIGNING__MODE": "key", "IMAGEPIPE_SIGNING__KEY": str(private)}
        self.by = [{"identity": ALICE, "issuer": box.issuer}, {"key": str(public)}]
        self.config = self.wanting(1)
        self.plan = box.file("json")

    def wanting(self, count: int, **more: Any) -> Path:
        return self.box.config({"policies.sandbox.approvals": {"by": self.by, "count": count}, **more})

    def save(self, reason: str = "release") -> dict[str, Any]:
        argv = ("promote", self.image, "--to", "vch-a", "-o", str(self.plan), "--reason", reason, "--json")
        return self.cli.run(*argv, config=self.config).ok().json()

    def approve(self, who: Mapping[str, str] | None = None, *more: str) -> Any:
        return self.cli.run("approve", str(self.plan), "--json", *more, config=self.config, env=who)

    def promote(self) -> Any:
        return self.cli.run("promote", "--plan", str(self.plan), "--yes", "--json", config=self.config)


@pytest.fixture
def office(box: Box, cli: Cli, request: pytest.FixtureRequest) -> Office:
    return Office(box, cli, request.node.name.removeprefix("test_").replace("_", "-")[:40].rstrip("-"))


def gate(document: dict[str, Any]) -> dict[str, Any]:
    (found,) = (one for one in document["gates"] if one["gate"] == GATE)
    return dict(found)


def test_a_promotion_waits_until_another_approved_the_saved_plan(office: Office) -> None:
    box, cli = office.box, office.cli
    direct = cli.run("promote", office.image, "--to", "vch-a", "--yes", "--json", config=office.config)
    direct.fails(6, r"approval \(sandbox\): wanted: 1 of alice@", hint="-o plan.json.*imagepipe approve", kind="gate")
    saved = office.save()
    assert saved["made_by"] == "ci@es-sandbox.test"
    assert gate(saved)["passed"] is False
    office.promote().fails(6, "none given; wanted: 1 of alice@", hint="imagepipe approve", kind="gate")
    office.approve(None, "--yes").fails(5, "would not count: policy sandbox does not name them", kind="identity")
    assert not box.host("vch-a").holds(office.image)

    office.approve(office.alice).fails(2, r"Approve this plan as alice@.* no terminal", hint="--yes", kind="usage")
    done = office.approve(office.alice, "--yes", "--reason", "seen on staging").ok()
    assert "made by ci@es-sandbox.test" in done.err
    assert "not yet: none given" in done.err
    assert (done.json()["plan"], done.json()["created"], gate(done.json())["passed"]) == (saved["digest"], True, True)
    assert office.approve(office.alice, "--yes").ok().json()["created"] is False
    promoted = office.promote().ok().json()
    assert promoted["plan"] == saved["digest"]
    assert box.host("vch-a").holds(office.image)

    (record,) = box.registry.records(office.repository, office.image.partition("@")[2])
    assert gate(record)["reason"].startswith(f"1 given ({ALICE} (by {box.issuer}) on 20")
    tree = cli.run("tree", office.image, "--json", config=office.config).ok().json()
    (seen,) = (one for one in tree["attached"] if one["predicate_type"].endswith("/approval/v1"))
    assert seen["signed_by"]["identity"] == ALICE
    history = cli.run("history", office.image, "--json", config=office.config).ok().json()
    (told,) = (one for one in history["entries"] if one["kind"] == "approval")
    assert (told["standing"], told["by"]) == ("verified", f"{ALICE} (by {box.issuer})")
    assert told["reason"] == f"plan {saved['digest'][7:19]} for vch-a: seen on staging"


def test_two_approvals_are_of_two_people_and_of_this_very_plan(office: Office) -> None:
    office.config = office.wanting(2)
    office.save()
    office.approve(office.alice, "--yes").ok()
    office.save("release again")  # what is saved twice within a second is one plan
    office.promote().fails(6, "none given; wanted: 2 of .*approved another plan", kind="gate")
    office.approve(office.alice, "--yes").ok()
    office.promote().fails(6, "1 given", kind="gate")
    last = office.approve(office.ops, "--yes").ok().json()
    assert last["by"].startswith("key ")
    assert gate(last)["reason"].startswith("2 given")
    # Whoever signs the record is not somebody else: Alice's own approval is lost when she carries the plan out.
    argv = ("promote", "--plan", str(office.plan), "--yes", "--json")
    office.cli.run(*argv, config=office.config, env=office.alice).fails(6, "carries the plan out", kind="gate")
    assert gate(office.promote().ok().json())["passed"]


def test_a_plan_that_moved_on_or_was_changed_is_not_approved(office: Office) -> None:
    office.save()
    strict = office.wanting(1, **{"policies.sandbox.require_provenance": True})
    stale = office.cli.run("approve", str(office.plan), "--yes", "--json", config=strict, env=office.alice)
    stale.fails(9, "policy sandbox was changed", kind="stale_plan")
    refused = office.cli.run("promote", office.image, "--to", "vch-a", "-o", str(office.plan), "--json", config=strict)
    refused.fails(6, "refused: provenance", kind="gate")
    office.plan.write_text(json.dumps(json.loads(office.plan.read_text()) | {"reason": "other"}))
    office.approve(office.alice, "--yes").fails(3, "changed after it was written", kind="input")
