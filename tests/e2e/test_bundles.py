"""Groups of targets, from end to end."""

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
