"""The gates that look at scans, at other targets and at the calendar, from end to end."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.e2e.box import Box
from tests.e2e.cli import Cli
from tests.e2e.images import hand_made

pytestmark = pytest.mark.sandbox

HIGH = {"status": "Success", "severity": "High", "summary": {"High": 2, "Low": 1}, "fixable": 1}


@pytest.fixture
def image(box: Box, cli: Cli, request: pytest.FixtureRequest) -> str:
    """A signed image in a repository of its own, whose name Harbor decodes twice."""
    name = request.node.name.removeprefix("test_").partition("[")[0].replace("_", "-")[:40].rstrip("-")
    pinned = box.registry.push(f"es-sandbox/gates/{name}", "1", hand_made(request.node.name))
    cli.run("sign", pinned).ok()
    return pinned


def digest(pinned: str) -> str:
    return pinned.partition("@")[2]


def gate(document: dict[str, Any], name: str) -> dict[str, Any]:
    (found,) = (one for one in document["gates"] if one["gate"] == name)
    return dict(found)


@pytest.mark.parametrize(
    ("scan", "said"),
    [
        (HIGH, r"scan \(sandbox\): worse than medium: worst high \(2 high, 1 low; 1 fixable\) by Trivy"),
        ({"status": "NotScanned"}, r"scan \(sandbox\): never scanned"),
        ({"status": "Running"}, r"scan \(sandbox\): the scan is still running"),
        ({"status": "Error"}, r"scan \(sandbox\): the scan crashed, which is not a finding"),
    ],
)
def test_a_scan_stops_a_promotion_in_its_own_words(
    box: Box, cli: Cli, image: str, scan: dict[str, Any], said: str
) -> None:
    away = {f"targets.{name}.host": box.closed(name) for name in box.document["targets"]}
    strict = box.config({"policies.sandbox.max_severity": "medium", **away})
    with box.registry_faults(scans={digest(image): scan}):
        cli.run("promote", image, "--to", "vch-a", "--yes", "--json", config=strict).fails(6, said, kind="gate")


def test_a_scan_that_is_good_enough_is_on_record(box: Box, cli: Cli, image: str) -> None:
    allowed = box.config({"policies.sandbox.max_severity": "high", "policies.sandbox.max_scan_age_days": 1})
    with box.registry_faults(scans={digest(image): HIGH}):
        run = cli.run("promote", image, "--to", "vch-a", "--yes", "--json", config=allowed)
    verdict = gate(run.ok().json(), "scan (sandbox)")
    assert verdict["passed"]
    assert "2 high, 1 low; 1 fixable" in verdict["reason"]
    repository = image.partition("/")[2].partition("@")[0]
    (record,) = box.registry.records(repository, digest(image))
    assert gate(record, "scan (sandbox)") == verdict


def test_an_image_stands_on_another_target_first(box: Box, cli: Cli, image: str) -> None:
    soon, late = (
        box.config({"policies.sandbox.after": None, "policies.prod": _prod(box, hours), "targets.vch-a.policy": "prod"})
        for hours in (0.0001, 1)
    )
    to_a = ("promote", image, "--to", "vch-a", "--yes", "--json")
    cli.run(*to_a, config=soon).fails(6, r"soak on vch-b \(prod\): never promoted to it", hint="vch-b", kind="gate")
    cli.run("promote", image, "--to", "vch-b", "--yes", config=soon).ok()
    cli.run(*to_a, config=late).fails(6, r"soak on vch-b \(prod\): 0\.0 h since .*, 1 h are wanted", kind="gate")
    assert not box.host("vch-a").holds(image)
    assert gate(cli.run(*to_a, config=soon).ok().json(), "soak on vch-b (prod)")["passed"]
    assert box.host("vch-a").holds(image)


def _prod(box: Box, hours: float) -> dict[str, Any]:
    """Returns a policy with the signers of the sandbox's own that wants an image to have stood on vch-b."""
    return {"signed_by": _signers(box), "after": {"targets": ["vch-b"], "hours": hours}}


def _signers(box: Box) -> list[dict[str, str]]:
    return [{"identity": "ci@es-sandbox.test", "issuer": box.issuer}]


def test_a_freeze_stops_everybody_but_who_says_why(box: Box, cli: Cli, image: str) -> None:
    now = datetime.now(UTC)
    window = {
        "from": (now - timedelta(hours=1)).isoformat(),
        "until": (now + timedelta(hours=1)).isoformat(),
        "why": "the year ends",
    }
    frozen = box.config({"policies.sandbox.freeze": [window]})
    promote = ("promote", image, "--to", "vch-a", "--yes", "--json")
    cli.run(*promote, config=frozen).fails(6, "frozen from .* the year ends", hint="--override-freeze", kind="gate")
    cli.run(*promote, "--override-freeze", config=frozen).fails(2, "--reason", kind="usage")
    assert not box.host("vch-a").holds(image)
    done = cli.run(*promote, "--override-freeze", "--reason", "it burns", config=frozen).ok().json()
    assert gate(done, "freeze (sandbox)")["reason"].startswith("overridden; frozen from")
    repository = image.partition("/")[2].partition("@")[0]
    (record,) = box.registry.records(repository, digest(image))
    assert record["reason"] == "it burns"
    assert gate(record, "freeze (sandbox)")["passed"]
