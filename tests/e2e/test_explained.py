"""What Harbor refuses is told with the one cause and the command that ends it, by the commands that were refused."""

import shlex
from collections.abc import Callable
from typing import Any
from zlib import crc32

import pytest

from tests.e2e.box import Box
from tests.e2e.cli import Cli, Run
from tests.e2e.images import hand_made
from tests.e2e.test_administration import acting
from tests.e2e.workspace import Workspace

pytestmark = pytest.mark.sandbox

Command = Callable[..., Run]


@pytest.fixture
def lee(box: Box, cli: Cli) -> Command:
    """The project admin."""
    return acting(box, cli, "project_admin")


@pytest.fixture
def project(lee: Command, request: pytest.FixtureRequest) -> str:
    """A new project of lee's, named after the test, with gus as guest."""
    name = f"t{crc32(request.node.name.encode())}"
    lee("project", "create", name, "--yes").ok()
    lee("member", "add", name, "gus", "--role", "guest", "--yes").ok()
    return name


@pytest.fixture
def building(box: Box, cli: Cli, workspace: Callable[..., Workspace], project: str) -> Command:
    """Runs the pipeline `told` into the project, as one of the sandbox's users."""
    folder = workspace("told").folder

    def run(part: str, into: str = project) -> Run:
        user = box.document["registry"]["users"][part]
        env = {
            "IMAGEPIPE_HARBOR__USERNAME": user["username"],
            "IMAGEPIPE_HARBOR__PASSWORD_FILE": user["password_file"],
        }
        return cli.run("run", "told", "--no-sign", "--set", f"project={into}", "--json", cwd=folder, env=env)

    return run


def cause(run: Run, code: int, said: str, *, kind: str, schema: str = "imagepipe.error/v1") -> dict[str, str]:
    """Returns the cause of a failure once it is proven to stand in the message, its fix in the hint."""
    document = run.fails(code, said, schema=schema)
    found: dict[str, str] = document["error"]["cause"]
    assert found["kind"] == kind, run.said
    assert document["error"]["message"].endswith(f"(cause: {found['message']})"), run.said
    assert found["fix"] in document["error"]["hint"], run.said
    return found


def carry_out(fix: str, run: Command) -> None:
    """Runs the command that ends a cause, as it is told."""
    program, *argv = shlex.split(fix)
    assert program == "imagepipe"
    run(*argv, "--yes").ok()


def test_who_may_not_push_is_told_which_role_it_takes(building: Command, lee: Command) -> None:
    found = cause(building("guest"), 5, "push", kind="role")
    carry_out(found["fix"], lee)
    building("guest").ok()


def test_who_is_no_member_is_told_so_by_name(building: Command, lee: Command, project: str) -> None:
    lee("member", "remove", project, "gus", "--yes").ok()
    found = cause(building("guest"), 5, project, kind="no_member")
    assert found["fix"] == f"imagepipe member add {project} gus --role developer"


def test_a_project_that_is_missing_is_named(building: Command) -> None:
    found = cause(building("project_admin", "nowhere"), 5, "nowhere", kind="project_missing")
    assert found["fix"] == "imagepipe project create nowhere"


def test_a_full_quota_is_told_with_its_numbers_and_a_limit_that_is_enough(
    building: Command, box: Box, cli: Cli, lee: Command, project: str
) -> None:
    admin = acting(box, cli, "admin")
    admin("project", "set", project, "storage_limit_bytes=10KiB", "--yes").ok()
    found = cause(building("project_admin"), 6, "exceed the configured upper limit", kind="quota")
    assert "of 10240 bytes" in found["message"]
    carry_out(found["fix"], admin)
    building("project_admin").ok()


def test_an_immutable_tag_is_named(building: Command, box: Box, project: str) -> None:
    rule = {
        "action": "immutable",
        "template": "immutable_template",
        "tag_selectors": [{"kind": "doublestar", "decoration": "matches", "pattern": "1*"}],
        "scope_selectors": {"repository": [{"kind": "doublestar", "decoration": "repoMatches", "pattern": "**"}]},
    }
    box.admin.api("POST", f"projects/{project}/immutabletagrules", rule)
    box.admin.push(f"{project}/told", "1.0", hand_made("another"))
    found = cause(building("project_admin"), 6, "configured as immutable", kind="immutable")
    assert found["message"].startswith("tag 1.0 exists")


def test_read_only_mode_is_told_for_what_it_is(building: Command, box: Box) -> None:
    with box.registry_faults(read_only=True):
        found = cause(building("project_admin"), 6, "read.?only", kind="read_only")
    assert "ask a system administrator" in found["fix"]


SCANNED = ("prevent_vulnerable=true", "max_severity=high")
POLICIES: dict[str, tuple[tuple[str, ...], dict[str, Any] | None, str]] = {
    "unsigned": (("require_notation=true",), None, "notation sign"),
    "vulnerable": (SCANNED, {"severity": "High", "summary": {"High": 2}}, "imagepipe run"),
    "unscanned": (SCANNED, {"status": "NotScanned"}, "auto_scan=true"),
}


@pytest.mark.parametrize("kind", POLICIES)
def test_a_pull_that_a_policy_forbids_a_target_is_told_with_the_policy(
    box: Box, lee: Command, project: str, kind: str
) -> None:
    settings, scan, fix = POLICIES[kind]
    image = hand_made(f"held back as {kind}")
    pinned = box.admin.push(f"{project}/held", "1", image)
    lee("sign", pinned).ok()
    lee("project", "set", project, *settings, "--yes").ok()
    with box.registry_faults(scans={image.digest: scan} if scan else {}):
        run = lee("promote", pinned, "--to", "engine-a", "--yes", "--json")
    found = cause(run, 6, "pull", kind=kind, schema="imagepipe.promote/v1")
    assert fix in found["fix"]
    assert fix in run.json()["targets"][0]["hint"]


def test_a_robot_that_was_switched_off_is_told_that_this_may_be_it(
    box: Box, cli: Cli, lee: Command, project: str
) -> None:
    file = box.file("env")
    lee("robot", "create", project, "off", "--can", "push", "--days", "1", "--out", str(file), "--yes").ok()
    held = dict(shlex.split(line)[0].split("=", 1) for line in file.read_text().splitlines())
    box.secrets.append(held["HARBOR_PASSWORD"])
    config = box.config({"harbor.username": None, "harbor.password_file": None})
    pinned = box.admin.push(f"{project}/x", "1", hand_made("x"))
    cli.run("digest", pinned, env=held, config=config).ok()
    row = next(
        one for one in box.admin.api("GET", f"robots?q=Level=project,ProjectID={project_id(box, project)}").json()
    )
    box.admin.api("PUT", f"robots/{row['id']}", {**row, "disable": True})
    run = cli.run("digest", pinned, "--json", env=held, config=config)
    found = cause(run, 5, "did not accept", kind="credentials")
    assert "expired or is switched off" in found["message"]
    told = lee("access", "why", f"{project}/x:1", "--as", "off", "--json").ok().json()["cause"]
    assert told["kind"] == "robot_disabled"


def project_id(box: Box, name: str) -> int:
    return int(box.admin.api("GET", f"projects?name={name}").json()[0]["project_id"])


def test_who_may_not_attach_a_signature_is_told_which_role_it_takes(
    box: Box, cli: Cli, lee: Command, project: str
) -> None:
    pinned = box.admin.push(f"{project}/x", "1", hand_made("unsigned"))
    gus = acting(box, cli, "guest")
    found = cause(gus("sign", pinned, "--json"), 5, project, kind="role")
    carry_out(found["fix"], lee)
    gus("sign", pinned).ok()


def test_when_harbor_cannot_say_why_the_refusal_stands_alone(building: Command, box: Box) -> None:
    away = [{"path": "^/api/", "status": 403}]
    with box.registry_faults(rules=away):
        document = building("guest").fails(5, "push", kind="permission")
    assert "cause" not in document["error"]


def test_a_refused_call_is_told_with_the_role_it_takes_and_whom_to_ask(
    box: Box, cli: Cli, lee: Command, project: str
) -> None:
    gus = acting(box, cli, "guest")
    add = ("member", "add", project, "dana", "--role", "guest", "--yes", "--json")
    found = cause(gus(*add), 5, "HTTP 403", kind="role")
    assert found["message"] == f"gus is guest of {project}, and this takes a projectAdmin; its admins are lee"
    carry_out(found["fix"], lee)
    gus(*add).ok()
    lee("member", "remove", project, "gus", "--yes").ok()
    found = cause(gus("member", "list", project, "--json"), 5, project, kind="no_member")
    carry_out(found["fix"], lee)
    gus("member", "list", project).ok()
