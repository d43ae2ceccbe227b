"""The main job before the Harbors of before 2.0: what they take is done, and what they do not take is said."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.dialects import Harbor, opened
from tests.e2e.images import hand_made
from tests.e2e.workspace import Workspace

pytestmark = pytest.mark.sandbox


@pytest.fixture(scope="module")
def vic() -> Iterator[Harbor]:
    """VIC's own Harbor with two VCHs, for these tests only."""
    with opened("vic", "own") as made:
        yield made


def test_on_vic_an_image_is_built_signed_verified_and_promoted_without_oci_manifests(
    vic: Harbor, tmp_path: Path
) -> None:
    workspace = Workspace.make(tmp_path / "bundled", "bundled")
    built = vic.cli.run("run", "bundled", "--json", cwd=workspace.folder).ok().json()
    pinned = built["images"][0]["image"]
    for one in built["images"][0]["evidence"]:
        attached = json.loads(vic.box.registry.manifest("es-sandbox/bundled", one["manifest"]))
        assert attached["mediaType"] == "application/vnd.docker.distribution.manifest.v2+json"
    verified = vic.cli.run("verify", pinned, "--policy", "sandbox", "--json").ok().json()
    assert verified["schema"] == "imagepipe.verify/v1"
    promote = ("promote", pinned, "--to", "vch-a", "--reason", "first", "--yes", "--json")
    (target,) = vic.cli.run(*promote).ok().json()["targets"]
    assert (target["target"], target["outcome"]) == ("vch-a", "promoted")
    assert vic.box.host("vch-a").holds(pinned)
    (again,) = vic.cli.run(*promote).ok().json()["targets"]
    assert again["outcome"] == "present"


def test_on_vic_an_image_is_released_into_another_project_with_its_evidence(vic: Harbor) -> None:
    vic.make("releases")
    pinned = vic.box.registry.push("es-sandbox/released", "1", hand_made("released on vic"))
    vic.apart("sign", pinned).ok()
    promote = ("promote", pinned, "--to", "vch-b", "--as", "releases/released:1.4", "--yes", "--json")
    done = vic.apart(*promote).ok().json()
    assert done["image"] == pinned.replace("es-sandbox/released", "releases/released")
    assert vic.box.host("vch-b").holds(done["image"])
    before, after = (vic.apart("tree", one, "--json").ok().json()["attached"] for one in (pinned, done["image"]))
    assert [one for one in after if one["digest"] != done["record"]] == before
    assert len(before) == 1
    assert vic.apart("verify", "releases/released:1.4").ok().out.strip() == done["image"]
    assert vic.apart(*promote).ok().json()["record"] == done["record"]


def test_on_vic_what_is_needed_is_shown_and_that_nothing_can_be_kept_is_said(vic: Harbor) -> None:
    pinned = vic.box.registry.push("es-sandbox/guarded", "1", hand_made("guarded on vic"))
    vic.apart("sign", pinned).ok()
    vic.apart("promote", pinned, "--to", "vch-b", "--yes").ok()
    shown = vic.apart("protect", "es-sandbox/guarded", "--json").ok().json()
    assert [(row["image"], row["state"]) for row in shown["images"]] == [(pinned, "unknown")]
    keep = vic.apart("protect", "es-sandbox/guarded", "--yes", "--json")
    keep.fails(6, "this is admiral 1.7.8, and only Harbor 2.x can", hint="--check", kind="unsupported")
    vic.apart("protect", "--check", pinned, "--json").fails(6, "vch-b: current", kind="refused")


def test_on_vic_a_target_goes_back_while_the_registry_is_away_and_the_record_follows(vic: Harbor) -> None:
    one, two = (vic.box.registry.push("es-sandbox/back", page, hand_made(f"back {page} on vic")) for page in "12")
    for image in (one, two):
        vic.apart("sign", image).ok()
        vic.apart("promote", image, "--to", "vch-a", "--yes").ok()
    with vic.box.registry_faults(rules=[{"path": "/", "status": 503}]):
        back = vic.apart("rollback", "es-sandbox/back", "--on", "vch-a", "--offline", "--yes", "--json").ok().json()
    (row,) = back["targets"]
    assert (row["image"], row["outcome"], row["from"]) == (one, "present", two.partition("@")[2])
    assert len(back["offline"]["waiting"]) == 1
    vic.apart("outbox", "--send", "--yes").ok()
    told = vic.apart("history", "es-sandbox/back", "--json").ok().json()
    assert [entry["kind"] for entry in told["entries"]] == ["promotion", "promotion", "rollback"]
    vic.apart("promote", two, "--to", "vch-a", "--yes").fails(6, "hold ")
    for image in (two, one):
        vic.apart("reject", image, "--reason", image.partition("@")[2]).ok()
    told = vic.apart("history", "es-sandbox/back", "--json").ok().json()["entries"][3:]
    assert [(row["kind"], row["reason"], row["standing"]) for row in told] == [
        ("rejection", image.partition("@")[2], "verified") for image in (two, one)
    ]


def test_on_1_10_an_image_is_built_and_pushed_and_that_nothing_can_be_attached_is_said(tmp_path: Path) -> None:
    with opened("harbor-1", "own") as latest:
        workspace = Workspace.make(tmp_path / "early", "early")
        refused = latest.cli.run("run", "early", "--json", cwd=workspace.folder)
        assert refused.code == 6, refused.said
        assert "Manifest.list is not supported" in refused.err
        assert "use Harbor 2.0 or newer" in refused.err
        pinned = latest.cli.run("run", "early", "--no-sign", cwd=workspace.folder).ok().out.strip()
        verify = latest.cli.run("verify", pinned, "--policy", "sandbox", "--json")
        verify.fails(6, "has no signature", kind="verification")
        promote = latest.cli.run("promote", pinned, "--to", "vch-a", "--reason", "first", "--yes", "--json")
        promote.fails(6, "refused: signature", kind="gate")
        assert not latest.box.host("vch-a").holds(pinned)
