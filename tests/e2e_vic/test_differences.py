"""What VIC's own Harbor does otherwise or cannot do, and what that means for a promotion: said with the way out."""

import json
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.box import Box
from tests.e2e.cli import Cli, Run
from tests.e2e.images import DOCKER_MANIFEST, hand_made
from tests.e2e.sweeping import Sweep, deaths
from tests.e2e.test_administration import acting
from tests.e2e.test_doctor import examined
from tests.e2e.test_explained import cause
from tests.e2e.workspace import Workspace

pytestmark = pytest.mark.sandbox

PROMOTE = "imagepipe.promote/v1"
SIGNATURE = "https://sigstore.dev/cosign/sign/v1"
PROMOTION = "https://imagepipe.dev/promotion/v1"


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
    assert {one["predicate_type"] for one in tree["attached"]} == {SIGNATURE, PROMOTION}


def test_two_who_attach_at_once_to_one_image_overwrite_nothing(box: Box, cli: Cli) -> None:
    """There is one list of what is attached, and nothing that lets it be written only where nobody else did."""
    pinned = box.registry.push("es-sandbox/rival-signers", "1", hand_made("rival signers"))
    signers = [box.token(email=f"{name}@es-sandbox.test") for name in ("ci", "ann", "bob")]
    with ThreadPoolExecutor(len(signers)) as pool:
        for run in pool.map(lambda env: cli.run("sign", pinned, env=env), signers):
            run.ok()
    assert len(box.registry.attached("es-sandbox/rival-signers", pinned.partition("@")[2])) == len(signers)


def test_one_whom_the_registry_keeps_waiting_between_reading_and_writing_takes_nothing_from_sight(
    box: Box, cli: Cli
) -> None:
    repository, image = "es-sandbox/slow-rival", hand_made("slow rival")
    pinned = box.registry.push(repository, "1", image)
    slow, quick = (box.token(email=f"{name}@es-sandbox.test") for name in ("ann", "bob"))
    waits = {"path": "/manifests/sha256-[0-9a-f]{64}$", "method": "PUT", "delay_s": 4.0, "times": 1}
    with box.registry_faults(rules=[waits]), ThreadPoolExecutor(1) as pool:
        first = pool.submit(cli.run, "sign", pinned, env=slow)
        deadline = time.monotonic() + 20.0
        while not any("sha256-" in tag for tag in box.registry.all_tags(repository)):
            assert time.monotonic() < deadline, "nothing is attached"
            time.sleep(0.02)
        cli.run("sign", pinned, env=quick).ok()
        first.result().ok()
    found = cli.run("tree", pinned, "--json").ok().json()["attached"]
    assert len(found) == 2
    cli.run("sign", pinned).ok()
    assert len(box.registry.attached(repository, image.digest)) == 3


def test_what_an_older_client_takes_out_of_the_list_is_told_and_held_against_an_image_all_the_same(
    box: Box, cli: Cli
) -> None:
    """It read the list before a command of ours and writes it after that has ended: nobody is left to put it right."""
    repository, image = "es-sandbox/overwritten", hand_made("overwritten list")
    pinned = box.registry.push(repository, "1", image)
    cli.run("sign", pinned).ok()
    stale = box.registry.listing(repository, image.digest)
    record = cli.run("promote", pinned, "--to", "vch-a", "--yes", "--json").ok().json()["record"]
    box.registry.overwrite(repository, image.digest, stale)
    assert box.registry.records(repository, image.digest) == []  # that is all that any other tool sees
    told = cli.run("history", repository, "--json").ok().json()
    assert [chain["breaks"] for chain in told["chains"]] == [[]] * len(told["chains"])
    assert [(one["kind"], one["record"], one["standing"]) for one in told["entries"]] == [
        ("promotion", record, "verified")
    ]
    attached = cli.run("tree", pinned, "--json").ok().json()["attached"]
    assert {(one["predicate_type"], one["verified"]) for one in attached} == {(SIGNATURE, True), (PROMOTION, True)}
    cli.run("reject", pinned, "--reason", "it loses orders", "--yes").ok()
    assert len(box.registry.records(repository, image.digest)) == 1  # whoever writes the list puts it back
    box.registry.overwrite(repository, image.digest, json.dumps({**json.loads(stale), "manifests": []}).encode())
    cli.run("sign", pinned).ok()
    assert len(box.registry.attached(repository, image.digest)) == 3  # no second signature, but again one for all tools
    box.registry.overwrite(repository, image.digest, stale)
    again = cli.run("promote", pinned, "--to", "vch-b", "--yes", "--json", config=box.everybody_away())
    again.fails(6, "it loses orders", kind="gate")


def test_what_was_deleted_and_is_still_listed_takes_nothing_away_from_the_rest(box: Box, cli: Cli) -> None:
    """Harbor strikes what is deleted from its list; a list at a tag goes on naming it."""
    repository = "es-sandbox/stale-list"
    pinned = box.registry.push(repository, "1", hand_made("stale list"))
    cli.run("sign", pinned, env=box.token(email="eve@es-sandbox.test")).ok()
    (deleted,) = (one["digest"] for one in cli.run("tree", pinned, "--json").ok().json()["attached"])
    cli.run("sign", pinned).ok()
    box.admin.delete(repository, deleted)
    cli.run("verify", pinned).ok()
    (left,) = cli.run("tree", pinned, "--json").ok().json()["attached"]
    copy = ("promote", pinned, "--to", "vch-a", "--as", "es-sandbox/stale-copy:1", "--yes", "--json")
    done = cli.run(*copy).ok().json()
    assert [row["outcome"] for row in done["targets"]] == ["promoted"]
    copied = cli.run("tree", done["image"], "--json").ok().json()["attached"]
    assert {one["digest"] for one in copied} == {left["digest"], done["record"]}
    told = cli.run("history", done["image"], "--json").ok().json()["entries"]
    assert [(one["kind"], one["standing"]) for one in told] == [("signature", "verified"), ("promotion", "verified")]
    cli.run("sign", pinned, env=box.token(email="bob@es-sandbox.test")).ok()
    assert len(box.registry.attached(repository, pinned.partition("@")[2])) == 2  # each of them there to be read


def test_an_image_whose_list_cannot_be_read_is_not_called_unsigned(box: Box, cli: Cli, signed: str) -> None:
    with box.registry_faults(rules=[{"path": "/manifests/sha256-", "status": 503}]):
        run = cli.run("promote", signed, "--to", "vch-a", "--yes", "--json", config=box.everybody_away())
    run.fails(8, "list what is attached .* at tag sha256-", "503|500", kind="unavailable")


def test_a_promotion_survives_its_death_at_each_manifest_that_it_writes(box: Box, cli: Cli, tmp_path: Path) -> None:
    """The record's own tag and the list are writes of their own here, before the tag of the newest one."""
    with closing(Sweep.of(box, cli, tmp_path, "es-sandbox/sweep")) as sweep:
        swept = deaths(sweep.promoted(None), ("manifests/",))
        places = [death.moment.partition("manifests/")[2] for death in swept]
        assert places == [
            "imagepipe-*",
            "sha256:*",
            "sha256-*.*",
            "sha256-*",
            "imagepipe-head.vch-a",
            "imagepipe-head.engine-a",
        ]
        for death in swept[1:5]:  # the first and the last are as on any other Harbor
            sweep.promoted(death)
        sweep.whole()


def test_an_oci_image_does_not_even_come_so_far(box: Box) -> None:
    with pytest.raises(AssertionError, match="MANIFEST_INVALID"):
        box.registry.push("es-sandbox/oci", "1", hand_made("oci", oci=True))


def test_a_policy_that_asks_for_a_scan_is_told_that_this_harbor_shows_none(box: Box, cli: Cli, signed: str) -> None:
    away = {f"targets.{name}.host": box.closed(name) for name in box.document["targets"]}
    strict = box.config({"policies.sandbox.max_severity": "medium", **away})
    with box.registry_faults(scans={signed.partition("@")[2]: {"status": "Success", "severity": "None"}}):
        run = cli.run("promote", signed, "--to", "vch-a", "--yes", "--json", config=strict)
    run.fails(6, "this is admiral 1.7.8, and only Harbor 2.x can", hint="take max_severity out", kind="gate")


def test_what_vic_forbids_to_pull_is_told_with_the_policy_of_the_project(box: Box, cli: Cli, signed: str) -> None:
    """A policy holds for signatures and records, too, which nobody scans."""
    turn = ("project", "set", "es-sandbox", "--yes")
    lee = acting(box, cli, "project_admin")
    lee(*turn, "prevent_vulnerable=true").ok()
    try:
        run = cli.run("promote", signed, "--to", "vch-a", "--yes", "--json", config=box.everybody_away())
        verify = cli.run("verify", signed, "--json")
    finally:
        lee(*turn, "prevent_vulnerable=false").ok()
    found = cause(run, 6, "Cannot get the image severity", kind="unscanned")
    assert "signatures and records" in found["message"]
    assert found["fix"] == "imagepipe project set es-sandbox prevent_vulnerable=false"
    verify.fails(6, "read .* Cannot get the image severity", hint="end the policy|prevent_vulnerable=false")
    cli.run("verify", signed).ok()


def test_what_is_needed_is_shown_and_that_nothing_can_be_kept_is_said(box: Box, cli: Cli) -> None:
    lee = acting(box, cli, "project_admin")
    pinned = box.registry.push("es-sandbox/guarded", "1", hand_made("guarded on vic"))
    cli.run("sign", pinned).ok()
    cli.run("promote", pinned, "--to", "vch-b", "--yes").ok()
    shown = lee("protect", "es-sandbox/guarded", "--json").ok().json()
    assert [(row["image"], row["state"]) for row in shown["images"]] == [(pinned, "unknown")]
    keep = lee("protect", "es-sandbox/guarded", "--yes", "--json")
    keep.fails(6, "this is admiral 1.7.8, and only Harbor 2.x can", hint="--check", kind="unsupported")
    lee("protect", "--check", pinned, "--json").fails(6, "vch-b: current", kind="refused")


def test_the_doctor_finds_no_robot_and_no_schema_1_that_is_lacking(box: Box, cli: Cli) -> None:
    box.registry.push("es-sandbox/doctor", "plain", hand_made("doctor"))
    box.registry.push("es-sandbox/doctor", "long", hand_made("doctor-long", history=91))
    images = [f"es-sandbox/doctor:{tag}" for tag in ("plain", "long")]
    found = examined(cli, "vch-a", "engine-a", *(part for image in images for part in ("--image", image)))
    assert ("vch-a", "harbor") not in found  # Harbor 2.x serves no schema 1, of which a VCH is warned
    assert found["harbor", "credentials"]["detail"].startswith("accepted; admiral 1.7.8, as ci@vsphere.local")
    assert "may pull and push" in found["harbor", "rights in es-sandbox"]["detail"]
    assert found[images[0], "vch: schema 1"]["detail"] == "the registry makes it for old clients"
    assert found["vch-a", f"image {images[0]}"]["level"] == "ok"
    assert found["vch-a", f"image {images[1]}"]["detail"] == "cannot take it: history"
    assert [key for key, one in found.items() if one["level"] == "fail"] == [
        (images[1], "vch: history"),
        ("vch-a", f"image {images[1]}"),
    ]


@pytest.fixture
def building(box: Box, cli: Cli, workspace: Callable[..., Workspace]) -> Callable[..., Run]:
    """Runs the pipeline `told` into a project, as one of the sandbox's users."""
    folder = workspace("told").folder

    def run(part: str, into: str = "es-sandbox") -> Run:
        user: dict[str, Any] = box.document["registry"]["users"][part]
        own = {"USERNAME": user["username"], "PASSWORD_FILE": user["password_file"]}
        env = {f"IMAGEPIPE_HARBOR__{key}": value for key, value in own.items()}
        return cli.run("run", "told", "--no-sign", "--set", f"project={into}", "--json", cwd=folder, env=env)

    return run


def test_who_may_not_push_is_told_which_role_it_takes(
    box: Box, cli: Cli, building: Callable[..., Run], signed: str
) -> None:
    fix = "imagepipe member set es-sandbox gus@vsphere.local --role developer"
    assert cause(building("guest"), 5, "push", kind="role")["fix"] == fix
    stranger = box.token(email="gus@es-sandbox.test")  # one who has signed it has nothing left to attach
    sign = acting(box, cli, "guest", **stranger)("sign", signed, "--json")
    assert cause(sign, 5, "attach .* may not push", kind="role")["fix"] == fix


def test_a_project_that_is_missing_or_hidden_is_told_as_either(
    box: Box, cli: Cli, signed: str, building: Callable[..., Run]
) -> None:
    """Admiral says as little of the one as of the other."""
    acting(box, cli, "admin")("project", "create", "hidden", "--yes").ok()
    for name in ("nowhere", "hidden"):
        missing = f"there is no project {name} that lee@vsphere.local may see"
        assert cause(building("project_admin", name), 5, name, kind="project_missing")["message"] == missing
        copy = ("promote", signed, "--to", "vch-a", "--as", f"{name}/hello:1", "--yes", "--json")
        told = acting(box, cli, "project_admin")(*copy)
        assert cause(told, 5, f"may not pull {name}/hello", kind="project_missing")["message"] == missing
    assert not box.host("vch-a").holds(signed)
