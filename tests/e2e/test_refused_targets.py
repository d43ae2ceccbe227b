"""Targets that are away, full, something else than configured, or hold another image than was meant."""

import pytest

from tests.e2e.box import Box
from tests.e2e.cli import Cli
from tests.e2e.images import hand_made

pytestmark = pytest.mark.sandbox

PROMOTE = "imagepipe.promote/v1"


@pytest.fixture
def image(box: Box, cli: Cli, request: pytest.FixtureRequest) -> str:
    """A signed image of the test's own, pinned."""
    name = "-".join(request.node.name.split("_")[1:6])
    pinned = box.registry.push(f"es-sandbox/{name}", "1", hand_made(name))
    cli.run("sign", pinned).ok()
    return pinned


def outcomes(document: dict[str, object]) -> dict[str, str]:
    """Returns each target's outcome in a promotion's document or record."""
    rows = document["targets"]
    assert isinstance(rows, list)
    return {row["target"]: row["outcome"] for row in rows}


def records(box: Box, pinned: str) -> list[dict[str, object]]:
    """Returns the records at an image."""
    repository, _, digest = pinned.partition("/")[2].partition("@")
    return box.registry.records(repository, digest)


def test_one_target_that_is_away_leaves_the_others_done_and_stands_in_the_record(
    box: Box, cli: Cli, image: str
) -> None:
    config = box.config({"targets.vch-b.host": box.closed("vch-b")})
    targets = ("--to", "vch-a", "--to", "vch-b", "--to", "engine-a")
    run = cli.run("promote", image, *targets, "--yes", "--json", config=config)
    said = ("vch-b", "connection refused", "done: vch-a, engine-a")
    document = run.fails(10, *said, hint="host is up", kind="partial", schema=PROMOTE)
    told = {"vch-a": "promoted", "vch-b": "failed", "engine-a": "promoted"}
    assert outcomes(document) == told
    (record,) = records(box, image)
    assert outcomes(record) == told
    assert [box.host(name).holds(image) for name in told] == [True, False, True]
    # The repaired target is taken up by the same command; the others stay as they are.
    again = cli.run("promote", image, *targets, "--yes", "--json").ok().json()
    assert outcomes(again) == {"vch-a": "present", "vch-b": "promoted", "engine-a": "present"}
    assert box.host("vch-b").holds(image)


def test_all_targets_away_is_exit_8_and_on_record(box: Box, cli: Cli, image: str) -> None:
    targets = ("--to", "vch-a", "--to", "vch-b", "--to", "engine-a")
    run = cli.run("promote", image, *targets, "--yes", "--json", config=box.everybody_away())
    document = run.fails(8, "vch-a", "vch-b", "engine-a", hint="host is up", kind="unavailable", schema=PROMOTE)
    assert set(outcomes(document).values()) == {"failed"}
    (record,) = records(box, image)
    assert set(outcomes(record).values()) == {"failed"}
    assert [box.host(name).holds(image) for name in outcomes(document)] == [False] * 3


def test_status_tells_of_a_target_that_is_away_and_of_the_others(box: Box, cli: Cli, signed: str) -> None:
    config = box.config({"targets.vch-b.host": box.closed("vch-b")})
    run = cli.run("status", "es-sandbox/signed", "--json", config=config)
    document = run.fails(10, "connection refused", kind="partial", schema="imagepipe.status/v1")
    assert {one["target"]: "error" in one for one in document["targets"]} == {
        "vch-a": False,
        "vch-b": True,
        "engine-a": False,
    }


def test_a_full_target_is_exit_8_with_a_way_out_and_is_not_asked_again(box: Box, cli: Cli, image: str) -> None:
    with box.vch_faults("vch-a", no_space_left=True):
        run = cli.run("promote", image, "--to", "vch-a", "--yes", "--json")
    run.fails(8, "no space left on device", hint="free space", kind="storage_full", schema=PROMOTE)
    assert "trying again" not in run.err
    assert not box.host("vch-a").holds(image)
    cli.run("promote", image, "--to", "vch-a", "--yes").ok()
    assert box.host("vch-a").holds(image)


def test_an_image_that_is_listed_but_not_on_disk_is_not_taken_for_arrived(box: Box, cli: Cli, image: str) -> None:
    with box.vch_faults("vch-a", leaf_write_fails=True):
        run = cli.run("promote", image, "--to", "vch-a", "--yes", "--json")
    run.fails(6, "Failed to write to image store", hint="datastore", schema=PROMOTE)
    assert box.host("vch-a").holds(image)  # so it says, with nothing behind it
    # Once the datastore is well, the same command makes it true.
    cli.run("promote", image, "--to", "vch-a", "--yes").ok()


def test_an_image_of_which_no_container_can_be_made_has_not_arrived(box: Box, cli: Cli, image: str) -> None:
    with box.vch_faults("vch-a", no_such_image=True):
        run = cli.run("promote", image, "--to", "vch-a", "--yes", "--json")
    run.fails(6, "create a container", "No such image", hint="remove it there", schema=PROMOTE)
    assert box.host("vch-a").containers() == []


def test_a_vch_that_is_not_ready_takes_no_work(box: Box, cli: Cli, signed: str) -> None:
    with box.vch_faults("vch-a", portlayer_stopped=True):
        run = cli.run("promote", signed, "--to", "vch-a", "--yes", "--json")
    run.fails(8, "not ready", hint="RUNNING", kind="unavailable", schema=PROMOTE)
    assert not box.host("vch-a").holds(signed)


@pytest.mark.parametrize(("target", "wrong", "right"), [("engine-a", "vch", "docker"), ("vch-a", "docker", "vch")])
def test_a_target_of_another_kind_than_configured_is_refused(
    box: Box, cli: Cli, signed: str, target: str, wrong: str, right: str
) -> None:
    config = box.config({f"targets.{target}.kind": wrong})
    run = cli.run("promote", signed, "--to", target, "--yes", "--json", config=config)
    run.fails(6, f"configured as {wrong}", f"a {right} answers", hint=rf"\[targets\.{target}\]", schema=PROMOTE)
    assert not box.host(target).holds(signed)
