"""What really runs on targets, held against the ledger: containers, stale names, and the past."""

import base64
import json
import time
from pathlib import Path

import pytest

from tests.e2e.ledger import Ledger, digest

pytestmark = pytest.mark.sandbox


def test_status_tells_which_containers_run_what_and_that_it_is_not_what_was_promoted(ledger: Ledger) -> None:
    one, two = ledger.built("one\n"), ledger.version("two\n")
    targets = ("vch-a", "engine-a")
    ledger.promote(one, *targets)
    status = ("status", *targets, ledger.repository, "--detailed-exitcode", "--json")
    for target in targets:
        ledger.docker(target, "run", "--detach", "--name", f"web-{target}", one, "sleep", "600")
    try:
        told = ledger.cli.run(*status).ok().json()
        for row, target in zip(told["targets"], targets, strict=True):
            (image,) = row["images"]
            assert (image["image"], image["state"], image["running"], row["drift"]) == (one, "promoted", True, [])
            assert image["containers"] == [{"name": f"web-{target}", "state": "running", "created_from": one}]
        ledger.promote(two, *targets)
        drifted = ledger.cli.run(*status).fails(9, "vch-a: web-vch-a runs", kind="drift", schema="imagepipe.status/v1")
        for row, target in zip(drifted["targets"], targets, strict=True):
            (drift,) = row["drift"]
            assert (drift["kind"], drift["image"], drift["container"]) == ("not_current", one, f"web-{target}")
    finally:
        for target in targets:
            ledger.docker(target, "rm", "--force", f"web-{target}")


def test_what_targets_were_brought_to_at_a_time_is_told_while_they_are_all_away(ledger: Ledger) -> None:
    one, two = ledger.version("one\n"), ledger.version("two\n")
    ledger.promote(one)
    (first,) = ledger.history()["entries"]
    time.sleep(1.1)  # records tell seconds
    ledger.promote(two)
    look = ("status", "vch-a", "vch-b", ledger.repository, "--json", "--at")
    past = ledger.cli.run(*look, first["at"], config=ledger.box.everybody_away()).ok().json()
    here, beside = past["targets"]
    (image,) = here["images"]
    assert (past["schema"], past["at"], beside["images"]) == ("imagepipe.status/v1", first["at"], [])
    assert (image["image"], image["record"], image["by"]) == (one, first["record"], first["by"])
    before = ledger.cli.run(*look, "2026-01-01T00:00:00+01:00", config=ledger.box.everybody_away()).ok().json()
    assert (before["at"], before["targets"][0]["images"]) == ("2025-12-31T23:00:00Z", [])
    ledger.cli.run(*look, "noon").fails(2, "no ISO 8601 time", hint="2026-03-01T14:00:00Z")


def test_a_stale_name_runs_the_wrong_image_and_the_digest_that_was_asked_for_runs_the_right_one(
    ledger: Ledger, tmp_path: Path
) -> None:
    one, two = ledger.built("one\n"), ledger.built("two\n")
    name = f"{ledger.box.registry.host}/{ledger.repository}:prod"
    pull = ("--config", str(tmp_path), "pull", name)
    login = base64.b64encode(":".join(ledger.box.registry.credentials).encode()).decode()
    (tmp_path / "config.json").write_text(json.dumps({"auths": {ledger.box.registry.host: {"auth": login}}}))
    ledger.promote(one)
    _point(ledger, "prod", two)
    ledger.docker("vch-a", *pull)
    ledger.promote(two)
    ledger.rollback()
    _point(ledger, "prod", one)
    assert digest(one) in ledger.docker("vch-a", *pull)
    # VIC keeps what a name meant when its newest layer came: by tag the VCH still makes the image that was left.
    assert ledger.run_on("vch-a", name) == "two\n"
    assert ledger.run_on("vch-a", one) == "one\n"
    ledger.docker("vch-a", "run", "--detach", "--name", "by-digest", one, "sleep", "600")
    ledger.docker("vch-a", "run", "--detach", "--name", "by-name", name, "sleep", "600")
    try:
        run = ledger.cli.run("status", "vch-a", ledger.repository, "--detailed-exitcode", "--json")
        row = run.fails(9, "by-name runs", kind="drift", schema="imagepipe.status/v1")["targets"][0]
    finally:
        ledger.docker("vch-a", "rm", "--force", "by-digest", "by-name")
    running = {image["image"]: [one["name"] for one in image["containers"]] for image in row["images"]}
    assert running == {one: ["by-digest"], two: ["by-name"]}
    assert [(drift["kind"], drift["image"]) for drift in row["drift"]] == [("not_current", two)]


def _point(ledger: Ledger, tag: str, image: str) -> None:
    registry = ledger.box.registry
    raw = registry.manifest(ledger.repository, digest(image))
    registry.put_manifest(ledger.repository, tag, raw, "application/vnd.docker.distribution.manifest.v2+json")
