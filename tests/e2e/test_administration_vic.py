"""The Harbor that VIC bundles: projects and members by command through its Admiral, and images through all of it."""

import json
import shlex
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zlib import crc32

import pytest

from tests.e2e.box import Box
from tests.e2e.cli import Cli, Run
from tests.e2e.images import hand_made
from tests.e2e.traces import traces
from tests.e2e.workspace import Workspace

pytestmark = pytest.mark.sandbox

UP_S = 120.0
TEAM = {
    "admin@vsphere.local": "projectAdmin",
    "ci@vsphere.local": "developer",
    "dana@vsphere.local": "developer",
    "gus@vsphere.local": "guest",
    "lee@vsphere.local": "projectAdmin",
}


@dataclass(frozen=True, slots=True)
class Vic:
    """A sandbox of flavour `vic`, and who acts in it.

    Attributes:
        cli: The command line, as CI.
        box: The sandbox.
    """

    cli: Cli
    box: Box

    def run(self, *argv: str, part: str = "project_admin", dialect: str | None = None) -> Run:
        """Runs a command as one of its users."""
        user = self.box.document["registry"]["users"][part]
        env = {
            "IMAGEPIPE_HARBOR__USERNAME": user["username"],
            "IMAGEPIPE_HARBOR__PASSWORD_FILE": user["password_file"],
        }
        return self.cli.run(*argv, env=env if dialect is None else {**env, "IMAGEPIPE_HARBOR__DIALECT": dialect})

    def members(self, project: str) -> dict[str, str]:
        """Returns the members of a project with their roles, as its admin sees them."""
        rows = self.run("member", "list", project, "--json").ok().json()["members"]
        return {one["name"]: one["role"] for one in rows}


@pytest.fixture(scope="module")
def vic() -> Iterator[Vic]:
    """A sandbox of its own, for these tests only; its path is short, as sockets allow no long one."""
    folder = Path(tempfile.mkdtemp(prefix="vic-"))
    (folder / "home").mkdir()
    (folder / "tests").mkdir()
    cli, directory = Cli(folder / "home"), str(folder / "box")
    try:
        up = cli.run("sandbox", "up", "--flavour", "vic", "--dir", directory, "--json", deadline_s=UP_S)
        exports = cli.run("sandbox", "env", "--dir", directory).ok().out.splitlines()
        cli.environ = dict(shlex.split(line)[1].split("=", 1) for line in exports)
        yield Vic(cli, Box(up.ok().json(), folder / "tests"))
    finally:
        cli.environ = {}
        down = cli.run("sandbox", "down", "--dir", directory, deadline_s=UP_S)
        shutil.rmtree(folder)
    down.ok()
    assert traces(Path(directory)) == set()


@pytest.fixture
def project(vic: Vic, request: pytest.FixtureRequest) -> str:
    """A new project, named after the test; only Admiral's administrator can make it, and lee is its admin too."""
    name = f"t{crc32(request.node.name.encode())}"
    vic.run("project", "create", name, "--yes").fails(5, "lee@vsphere.local is no cloud administrator", hint="ask")
    vic.run("project", "create", name, "--yes", part="admin").ok()
    vic.run("member", "add", name, "lee@vsphere.local", "--role", "projectAdmin", "--yes", part="admin").ok()
    return name


def test_the_doctor_names_the_dialect_and_whether_it_was_forced(vic: Vic) -> None:
    assert "accepted; admiral 1.7.8, as lee@vsphere.local" in vic.run("doctor").out
    forced = vic.run("doctor", dialect="admiral")
    assert "accepted; admiral 1.7.8, as harbor.dialect says, as lee@vsphere.local" in forced.out
    for dialect in ("harbor-1", "harbor-2"):
        wrong = vic.run("project", "list", "--json", dialect=dialect)
        wrong.fails(3, f"as {dialect}", hint="leave harbor.dialect out", kind="input")


def test_projects_are_listed_shown_made_changed_and_deleted(vic: Vic, project: str) -> None:
    assert {f"{project}\tprivate\t-", "es-sandbox\tprivate\t-"} <= set(vic.run("project", "list").ok().out.splitlines())
    shown = vic.run("project", "show", "es-sandbox", "--json").ok().json()
    assert (shown["dialect"], shown["version"], shown["robots"]) == ("admiral", "1.7.8", None)
    assert {one["name"]: one["role"] for one in shown["members"]} == TEAM
    vic.run("project", "set", project, "public=true", "auto_scan=true", "--yes").ok()
    settings = vic.run("project", "show", project, "--json").ok().json()["settings"]
    assert (settings["public"], settings["auto_scan"]) == (True, True)
    vic.run("project", "set", project, "require_cosign=true", "--yes").fails(6, "no setting require_cosign", hint="has")
    vic.run("project", "delete", project, "--yes").fails(5, "lee@vsphere.local is no cloud administrator", hint="ask")
    vic.run("project", "delete", project, "--yes", part="admin").ok()
    vic.run("project", "show", project).fails(4, project)


def test_members_come_change_and_go(vic: Vic, project: str) -> None:
    admins = {"admin@vsphere.local": "projectAdmin", "lee@vsphere.local": "projectAdmin"}
    assert vic.members(project) == admins
    vic.run("member", "add", project, "dana@vsphere.local", "--role", "guest", "--yes").ok()
    vic.run("member", "set", project, "dana@vsphere.local", "--role", "developer", "--yes").ok()
    assert vic.members(project) == admins | {"dana@vsphere.local": "developer"}
    vic.run("member", "remove", project, "dana@vsphere.local", "--yes").ok()
    assert vic.members(project) == admins
    vic.run("member", "remove", project, "lee@vsphere.local", "--yes").fails(
        6, "lee@vsphere.local is you", hint="force"
    )
    vic.run("member", "remove", project, "admin@vsphere.local", "--yes").ok()
    vic.run("member", "remove", project, "lee@vsphere.local", "--yes").fails(6, "last projectAdmin", hint="--force")
    vic.run("member", "add", project, "nobody@vsphere.local", "--role", "guest", "--yes").fails(4, "nobody")


def test_what_this_harbor_cannot_do_is_said_with_what_can(vic: Vic) -> None:
    for argv in (
        ("robot", "list", "es-sandbox"),
        ("robot", "create", "es-sandbox", "ci", "--can", "pull", "--days", "1", "--show-secret", "--yes"),
        ("robot", "delete", "es-sandbox", "ci", "--yes"),
    ):
        vic.run(*argv, "--json").fails(6, "admiral 1.7.8", hint="Harbor from 2.2", kind="unsupported")
    add = ("member", "add", "es-sandbox", "gus@vsphere.local", "--role", "maintainer", "--yes", "--json")
    vic.run(*add).fails(6, "no role maintainer", hint="developer", kind="unsupported")
    vic.run("access", "log", "es-sandbox", "--json").fails(6, "admiral 1.7.8", hint="portal", kind="unsupported")


def test_what_is_exported_asks_for_nothing_and_a_change_is_applied(vic: Vic, project: str, tmp_path: Path) -> None:
    file = tmp_path / "access.yaml"
    file.write_text(vic.run("access", "export", "es-sandbox", project).ok().out)
    assert vic.run("access", "plan", str(file), "--detailed-exitcode").ok().out == ""
    file.write_text(
        f"version: 1\nprojects:\n  {project}:\n    members:\n      projectAdmin: [lee@vsphere.local]\n"
        "      developer: [dana@vsphere.local]\n    unmanaged: remove\n"
    )
    done = vic.run("access", "apply", str(file), "--yes", "--json").ok().json()
    assert done["failed"] == done["remaining"]["changes"] == []
    assert vic.members(project)["dana@vsphere.local"] == "developer"
    file.write_text(f"version: 1\nprojects:\n  {project}:\n    robots: {{ci: {{can: [pull]}}}}\n")
    vic.run("access", "plan", str(file), "--json").fails(6, "robot", kind="unsupported")


def test_a_refused_push_is_explained(vic: Vic) -> None:
    why = ("access", "why", "es-sandbox/base:1", "--push", "--json")
    for told in (vic.run(*why, part="guest"), vic.run(*why, "--as", "gus")):
        cause: dict[str, Any] = told.ok().json()["cause"]
        assert cause["kind"] == "role"
        assert cause["fix"] == "imagepipe member set es-sandbox gus@vsphere.local --role developer"


def test_an_image_is_built_signed_verified_and_promoted_without_oci_manifests(vic: Vic, tmp_path: Path) -> None:
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


def test_an_image_is_released_into_another_project_with_its_evidence(vic: Vic, project: str) -> None:
    pinned = vic.box.registry.push("es-sandbox/released", "1", hand_made("released on vic"))
    vic.run("sign", pinned).ok()
    promote = ("promote", pinned, "--to", "vch-b", "--as", f"{project}/released:1.4", "--yes", "--json")
    done = vic.run(*promote).ok().json()
    assert done["image"] == pinned.replace("es-sandbox/released", f"{project}/released")
    assert vic.box.host("vch-b").holds(done["image"])
    before, after = (vic.run("tree", one, "--json").ok().json()["attached"] for one in (pinned, done["image"]))
    assert [one for one in after if one["digest"] != done["record"]] == before
    assert len(before) == 1
    assert vic.run("verify", f"{project}/released:1.4").ok().out.strip() == done["image"]
    assert vic.run(*promote).ok().json()["record"] == done["record"]


def test_what_is_needed_is_shown_and_that_nothing_can_be_kept_is_said(vic: Vic) -> None:
    pinned = vic.box.registry.push("es-sandbox/guarded", "1", hand_made("guarded on vic"))
    vic.run("sign", pinned).ok()
    vic.run("promote", pinned, "--to", "vch-b", "--yes").ok()
    shown = vic.run("protect", "es-sandbox/guarded", "--json").ok().json()
    assert [(row["image"], row["state"]) for row in shown["images"]] == [(pinned, "unknown")]
    keep = vic.run("protect", "es-sandbox/guarded", "--yes", "--json")
    keep.fails(6, "this is admiral 1.7.8, and only Harbor 2.x can", hint="--check", kind="unsupported")
    vic.run("protect", "--check", pinned, "--json").fails(6, "vch-b: current", kind="refused")
