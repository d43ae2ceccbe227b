"""Groups of targets, and several images promoted as one, from end to end."""

import json
from pathlib import Path

import pytest

from tests.e2e.box import Box
from tests.e2e.cli import Cli
from tests.e2e.images import hand_made

pytestmark = pytest.mark.sandbox


def test_a_group_is_named_wherever_a_target_is(box: Box, cli: Cli) -> None:
    config = box.config({"groups": {"pair": ["vch-a", "engine-a"]}})
    one, two = (box.registry.push("es-sandbox/grouped", tag, hand_made(f"grouped {tag}")) for tag in ("1", "2"))
    for image in (one, two):
        cli.run("sign", image).ok()
        done = cli.run("promote", image, "--to", "pair", "--to", "vch-a", "--yes", "--json", config=config).ok().json()
        assert [row["target"] for row in done["targets"]] == ["vch-a", "engine-a"]
    told = cli.run("status", "pair", "es-sandbox/grouped", "--json", config=config).ok().json()
    assert [row["target"] for row in told["targets"]] == ["vch-a", "engine-a"]
    back = cli.run("rollback", "es-sandbox/grouped", "--on", "pair", "--yes", "--json", config=config).ok().json()
    assert [(row["target"], row["image"]) for row in back["targets"]] == [("vch-a", one), ("engine-a", one)]
    examined = {row["subject"] for row in cli.run("doctor", "pair", "--json", config=config).ok().json()["findings"]}
    assert {"vch-a", "engine-a"} <= {subject.split(" ")[-1] for subject in examined}
    assert "vch-b" not in str(examined)
    shown = cli.run("config", "show", "--origin", "--json", config=config).ok().json()["settings"]
    (row,) = [row for row in shown if row["key"] == "groups.pair"]
    assert row["value"] == '["vch-a", "engine-a"]'
    assert row["origin"].startswith(f"{config}:")
    cli.run("promote", one, "--to", "pairs", "--yes", config=config).fails(
        4, "no target named 'pairs'; did you mean 'pa"
    )


def bundle(box: Box, cli: Cli, name: str) -> tuple[str, str]:
    """Returns two signed images, pinned."""
    images = [
        box.registry.push(f"es-sandbox/{name}-{part}", "1.0", hand_made(f"{name} {part}")) for part in ("web", "api")
    ]
    for image in images:
        cli.run("sign", image).ok()
    return images[0], images[1]


def test_a_bundle_arrives_as_one_and_each_image_is_on_record_with_the_other(box: Box, cli: Cli) -> None:
    web, api = bundle(box, cli, "both")
    argv = ("promote", web, api, "--to", "vch-a", "--to", "engine-a", "--yes")
    document = cli.run(*argv, "--json").ok().json()
    assert document["schema"] == "imagepipe.promote-bundle/v1"
    assert [(row["target"], row["outcome"]) for row in document["targets"]] == [
        ("vch-a", "promoted"),
        ("engine-a", "promoted"),
    ]
    assert [row["image"] for row in document["images"]] == [web, api]
    for image, other in ((web, api), (api, web)):
        assert all(box.host(name).holds(image) for name in ("vch-a", "engine-a"))
        repository = image.partition("@")[0].partition("/")[2]
        (record,) = box.registry.records(repository, image.partition("@")[2])
        assert record["bundle"] == [other]
        (told,) = cli.run("history", repository, "--json").ok().json()["entries"]
        assert (told["bundle"], told["standing"]) == ([other], "verified")
    again = cli.run(*argv)
    assert again.ok().out.splitlines() == [
        f"{target}\tpresent\t{image}" for target in ("vch-a", "engine-a") for image in (web, api)
    ]


def test_a_bundle_fails_as_one_on_a_target_and_the_same_command_takes_it_up(box: Box, cli: Cli) -> None:
    web, api = bundle(box, cli, "half")
    argv = ("promote", web, api, "--to", "vch-a", "--to", "vch-b", "--yes", "--json")
    with box.vch_faults("vch-b", no_such_image=True):
        document = cli.run(*argv).fails(
            10, r"promote es-sandbox/half-web@\S+ to vch-b: .*No such image", "done: vch-a", kind="partial",
            schema="imagepipe.promote-bundle/v1",
        )  # fmt: skip
    assert [(row["target"], row["outcome"], row.get("failed_image")) for row in document["targets"]] == [
        ("vch-a", "promoted", None),
        ("vch-b", "failed", web),
    ]
    spoilt = document["images"][1]["targets"][1]
    assert (spoilt["outcome"], spoilt["left_out_for"]) == ("failed", web)
    assert not box.host("vch-b").holds(api)
    done = cli.run(*argv).ok().json()
    assert [row["outcome"] for row in done["targets"]] == ["present", "promoted"]


def test_one_gate_of_one_image_keeps_the_bundle_from_every_host_and_all_are_shown(box: Box, cli: Cli) -> None:
    web, _ = bundle(box, cli, "unsigned")
    bare = box.registry.push("es-sandbox/unsigned-job", "1.0", hand_made("unsigned job"))
    run = cli.run("promote", web, bare, "--to", "vch-a", "--yes", "--json", config=box.everybody_away())
    run.fails(6, f"promote {bare}: refused: signature", kind="gate")
    assert f"promote {web}\n" in run.err
    assert "gate signature (sandbox): ok" in run.err
    assert "gate signature (sandbox): NO" in run.err


def test_a_bundle_is_saved_agreed_to_carried_out_and_goes_stale(box: Box, cli: Cli, tmp_path: Path) -> None:
    web, api = bundle(box, cli, "agreed")
    file = tmp_path / "plan.json"
    tags = [f"{image.partition('@')[0]}:1.0" for image in (web, api)]
    saved = cli.run("promote", *tags, "--to", "vch-a", "-o", str(file), "--json").ok().json()
    assert saved == json.loads(file.read_text())
    assert saved["schema"] == "imagepipe.bundle-plan/v1"
    done = cli.run("promote", "--plan", str(file), "--yes", "--json").ok().json()
    assert done["plan"] == saved["digest"]
    moved = box.registry.push("es-sandbox/agreed-api", "1.0", hand_made("agreed, and another"))
    cli.run("promote", "--plan", str(file), "--yes", "--json").fails(
        9, f"agreed-api:1.0 is now {moved.partition('@')[2]}, the plan says", kind="stale_plan"
    )


def test_two_images_of_one_repository_are_no_bundle(box: Box, cli: Cli) -> None:
    web, _ = bundle(box, cli, "twice")
    other = box.registry.push("es-sandbox/twice-web", "2.0", hand_made("twice again"))
    cli.run("promote", web, other, "--to", "vch-a", "--yes", config=box.everybody_away()).fails(
        2, "two images of .*es-sandbox/twice-web", hint="name one of them"
    )
