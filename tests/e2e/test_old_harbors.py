"""The main job before Harbor 1.10: what it takes is done, and what it does not take is said; for VIC see `e2e_vic`."""

from pathlib import Path

import pytest

from tests.e2e.dialects import opened
from tests.e2e.workspace import Workspace

pytestmark = pytest.mark.sandbox


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
