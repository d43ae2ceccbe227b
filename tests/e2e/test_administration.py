"""A project admin looks after projects, members, robots and access, on Harbor, by the commands alone."""

import csv
import hashlib
import io
import json
import shlex
import signal
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path
from zlib import crc32

import pytest

from tests.e2e.box import Box
from tests.e2e.cli import PROGRAM, Cli, Run
from tests.e2e.images import hand_made
from tests.e2e.ledger import Ledger

pytestmark = pytest.mark.sandbox

Command = Callable[..., Run]


def acting(box: Box, cli: Cli, part: str, **more: str) -> Command:
    """Returns what runs a command as one of the sandbox's users."""
    user = box.document["registry"]["users"][part]
    env = {
        "IMAGEPIPE_HARBOR__USERNAME": user["username"],
        "IMAGEPIPE_HARBOR__PASSWORD_FILE": user["password_file"],
        **more,
    }
    return lambda *argv: cli.run(*argv, env=env)


@pytest.fixture
def lee(box: Box, cli: Cli) -> Command:
    """The project admin."""
    return acting(box, cli, "project_admin")


@pytest.fixture
def gus(box: Box, cli: Cli) -> Command:
    """A guest."""
    return acting(box, cli, "guest")


@pytest.fixture
def project(lee: Command, request: pytest.FixtureRequest) -> str:
    """A new project of lee's, named after the test."""
    name = f"t{crc32(request.node.name.encode())}"
    lee("project", "create", name, "--yes").ok()
    return name


def members(run: Command, project: str) -> dict[str, str]:
    return {one["name"]: one["role"] for one in run("member", "list", project, "--json").ok().json()["members"]}


def robots(run: Command, project: str) -> dict[str, bool]:
    rows = run("robot", "list", project, "--json").ok().json()["robots"]
    return {one["name"]: not one["disabled"] for one in rows}


def test_a_project_that_holds_something_is_not_deleted_and_what_targets_need_of_it_is_named(
    lee: Command, ledger: Ledger
) -> None:
    image = ledger.version("needed\n")
    ledger.promote(image, "vch-a")
    run = lee("project", "delete", "es-sandbox", "--yes", "--json")
    run.fails(6, "es-sandbox", "it holds", r"targets need \d+ of its images", hint="repositories", kind="refused")
    assert f"{image} is needed: vch-a: current\n" in run.err
    assert "robot$es-sandbox+ci would stop working" in run.err


@pytest.mark.parametrize(
    ("argv", "code", "said"),
    [
        (("project", "set", "es-sandbox", "colour=red"), 2, "no setting named 'colour'"),
        (("project", "set", "es-sandbox", "public=maybe"), 2, "must be true or false"),
        (("project", "set", "es-sandbox"), 2, "no setting is named"),
        (("project", "create", "Not A Name", "--yes"), 3, "not a name for a project"),
        (("project", "create", "es-sandbox", "--yes"), 6, "it exists"),
        (("project", "show", "es-sandbxo"), 4, "did you mean 'es-sandbox'"),
        (("member", "add", "es-sandbox", "x", "--role", "boss"), 2, "no role named 'boss'"),
        (("member", "set", "es-sandbox", "dnaa", "--role", "guest"), 4, "did you mean 'dana'"),
        (
            ("robot", "create", "es-sandbox", "x", "--can", "psuh", "--days", "1", "--show-secret"),
            2,
            "did you mean 'push'",
        ),
        (("robot", "create", "es-sandbox", "x", "--can", "pull"), 2, "how long shall it live"),
        (("robot", "create", "es-sandbox", "x", "--can", "pull", "--days", "1"), 2, "where does the secret go"),
        (("robot", "rotate", "es-sandbox", "ci"), 2, "where does the secret go"),
        (("robot", "delete", "es-sandbox", "ci2", "--yes"), 4, "did you mean 'ci'"),
        (("access", "review", "--format", "xml"), 2, "'xml' is not known"),
        (("access", "plan", "none.yaml"), 4, "none.yaml"),
    ],
)
def test_what_cannot_be_meant_is_refused_with_a_way_out(
    lee: Command, argv: tuple[str, ...], code: int, said: str
) -> None:
    lee(*argv).fails(code, said)


def test_oneself_may_become_one_who_sees_no_members(lee: Command, project: str) -> None:
    lee("member", "add", project, "dana", "--role", "admin", "--yes").ok()
    lee("member", "set", project, "lee", "--role", "limitedGuest", "--yes", "--force").ok()
    lee("member", "list", project).fails(5, project)


def test_what_is_exported_asks_for_nothing_and_a_change_is_planned_applied_and_proven(
    lee: Command, project: str, tmp_path: Path
) -> None:
    file, saved, secrets = tmp_path / "access.yaml", tmp_path / "plan.json", tmp_path / "secrets"
    file.write_text(lee("access", "export", project).ok().out)
    assert lee("access", "plan", str(file), "--detailed-exitcode").ok().out == ""

    fresh = f"{project}-new"
    file.write_text(
        f"version: 1\nprojects:\n  {project}:\n    settings: {{auto_scan: true}}\n"
        "    members: {projectAdmin: [lee], developer: [dana]}\n    robots: {ci: {can: [push], days: 3}}\n"
        f"    unmanaged: remove\n  {fresh}:\n    members: {{projectAdmin: [dana], guest: [lee]}}\n"
        "    unmanaged: remove\n"
    )
    planned = lee("access", "plan", str(file), "-o", str(saved), "--detailed-exitcode")
    assert planned.code == 9, planned.said
    assert f"+ {project}: add member dana: developer" in planned.out
    assert members(lee, project) == {"lee": "projectAdmin"}
    apply = ("access", "apply", str(file), "--plan", str(saved))
    lee(*apply, "--yes").fails(2, "secrets", hint="--secrets")
    lee(*apply, "--secrets", str(secrets)).fails(2, "terminal", hint="--yes")

    done = lee(*apply, "--secrets", str(secrets), "--yes", "--json").ok().json()
    assert done["failed"] == done["remaining"]["changes"] == []
    assert members(lee, project) == {"lee": "projectAdmin", "dana": "developer"}
    assert members(lee, fresh) == {"dana": "projectAdmin", "lee": "guest"}
    assert stat.S_IMODE((secrets / f"{project}+ci.env").stat().st_mode) == 0o600
    assert lee("access", "plan", str(file), "--detailed-exitcode").ok().out == ""
    lee(*apply, "--secrets", str(secrets), "--yes", "--json").fails(
        9, "changed since", hint="new plan", kind="stale_plan"
    )


def test_an_apply_goes_on_past_a_failure_and_tells_what_is_left(lee: Command, project: str, tmp_path: Path) -> None:
    file = tmp_path / "access.yaml"
    file.write_text(
        f"version: 1\nprojects:\n  {project}:\n"
        "    members: {projectAdmin: [lee], guest: [gus, nobody, dana]}\n    unmanaged: remove\n"
    )
    run = lee("access", "apply", str(file), "--yes", "--json")
    document = run.fails(10, "nobody", "does not know it", kind="partial", schema="imagepipe.access-apply/v1")
    assert [one["subject"] for one in document["done"]] == ["gus", "dana"]
    assert [one["subject"] for one in document["remaining"]["changes"]] == ["nobody"]
    assert members(lee, project) == {"lee": "projectAdmin", "gus": "guest", "dana": "guest"}


def test_a_file_that_would_lock_us_out_or_orphan_a_project_is_refused(
    lee: Command, project: str, tmp_path: Path
) -> None:
    file = tmp_path / "access.yaml"
    text = f"version: 1\nprojects:\n  {project}:\n    members: {{MEMBERS}}\n    unmanaged: keep\n"
    file.write_text(text.replace("MEMBERS", "guest: [lee]"))
    lee("access", "apply", str(file), "--yes").fails(6, "without a projectAdmin")
    file.write_text(text.replace("MEMBERS", "guest: [lee], projectAdmin: [dana]"))
    lee("access", "apply", str(file), "--yes").fails(6, r"you \(lee\)", hint="--force")
    file.write_text(text.replace("MEMBERS", "boss: [lee]"))
    lee("access", "plan", str(file)).fails(3, rf"{file}:4:15: .*no role named 'boss'")
    assert members(lee, project) == {"lee": "projectAdmin"}


def held(file: Path) -> dict[str, str]:
    """Returns what an env file sets."""
    return dict(shlex.split(line)[0].split("=", 1) for line in file.read_text().splitlines())


def test_a_robot_is_made_rotated_and_deleted_and_the_file_always_works(
    box: Box, cli: Cli, lee: Command, project: str, tmp_path: Path
) -> None:
    file = tmp_path / "ci.env"

    def works(code: int = 0, values: dict[str, str] | None = None) -> None:
        run = cli.run("project", "show", project, env=values or held(file), config=_without_credentials(box))
        assert run.code == code, run.said

    can = "push,project:read,quota:read"
    made = lee("robot", "create", project, "ci", "--can", can, "--days", "2", "--out", str(file), "--yes").ok()
    assert made.out == f"robot${project}+ci\n"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    first = held(file)
    box.secrets.append(first["HARBOR_PASSWORD"])
    works()
    ends = lee("robot", "list", project, "--expiring", "2")
    assert ends.code == 9, ends.said
    lee("robot", "list", project, "--expiring", "1").ok()

    rotate = ("robot", "rotate", project, "ci", "--out", str(file), "--yes")
    turned = lee(*rotate, "--json").ok().json()
    assert turned["robot"]["login"] == f"robot${project}+ci.g2"
    box.secrets.append(held(file)["HARBOR_PASSWORD"])
    works()
    works(5, first)
    assert robots(lee, project) == {"ci": False, "ci.g2": True}
    assert lee(*rotate, "--json").ok().json()["created"] is False
    lee(*rotate, "--finish", "--grace", "0").ok()
    assert robots(lee, project) == {"ci.g2": True}
    works()
    lee("robot", "delete", project, "ci", "--yes").ok()
    assert robots(lee, project) == {}


def _without_credentials(box: Box) -> Path:
    return box.config({"harbor.username": None, "harbor.password_file": None})


def test_a_robot_rotates_itself_though_it_may_change_no_robot(
    box: Box, cli: Cli, lee: Command, project: str, tmp_path: Path
) -> None:
    file = tmp_path / "self.env"
    can = "push,project:read,robot:create,robot:read,robot:list,robot:delete"
    lee("robot", "create", project, "self", "--can", can, "--days", "2", "--out", str(file), "--yes").ok()
    rotate = ("robot", "rotate", project, "self", "--out", str(file), "--yes")
    config = _without_credentials(box)
    turned = cli.run(*rotate, "--json", env=held(file), config=config).ok()
    assert turned.json()["waiting"] == [f"robot${project}+self"]
    assert "stays switched on until it is deleted" in turned.err
    cli.run(*rotate, "--finish", "--grace", "0", env=held(file), config=config).ok()
    assert robots(lee, project) == {"self.g2": True}
    box.secrets.append(held(file)["HARBOR_PASSWORD"])


def test_a_secret_is_shown_only_to_who_asks(lee: Command, project: str, tmp_path: Path) -> None:
    create = ("robot", "create", project, "ci", "--can", "pull", "--days", "1", "--yes")
    shown = lee(*create, "--show-secret", "--json").ok().json()
    assert len(shown["secret"]) >= 8
    lee("robot", "delete", project, "ci", "--yes").ok()
    hidden = lee(*create, "--out", str(tmp_path / "s.json"), "--json").ok()
    secret = json.loads((tmp_path / "s.json").read_text())["password"]
    assert secret not in hidden.out + hidden.err
    lee(*create, "--out", str(tmp_path / "none" / "x")).fails(3, "cannot be written there")
    assert list(robots(lee, project)) == ["ci"]
    lee(*create, "--out", str(tmp_path / "again")).fails(6, "has one already", hint="rotate")


def test_a_review_tells_who_may_do_what_and_what_ends_soon(lee: Command, project: str) -> None:
    create = ("robot", "create", project, "ci", "--can", "pull", "--yes", "--show-secret")
    lee(*create, "--days", "2").ok()
    heading, *rows = csv.reader(io.StringIO(lee("access", "review", project, "--format", "csv").ok().out))
    assert heading[:4] == ["project", "kind", "name", "access"]
    assert [row[:4] for row in rows] == [
        [project, "user", "lee", "projectAdmin"],
        [project, "robot", f"robot${project}+ci", "pull"],
    ]
    assert "expires in" in rows[1][-1]
    assert lee("access", "review", project, "--format", "markdown").ok().out.startswith("| project | kind |")
    everything = lee("access", "review", "--json").ok()
    assert "library: left out" in everything.err


def test_a_review_is_signed_off_in_a_spreadsheet_and_carried_out_exactly(
    lee: Command, project: str, tmp_path: Path
) -> None:
    lee("member", "add", project, "gus", "--role", "developer", "--yes").ok()
    lee("member", "add", project, "dana", "--role", "maintainer", "--yes").ok()
    file = tmp_path / "review.csv"
    asked = lee("access", "review", project, "-o", str(file)).ok()
    assert f"imagepipe access review --apply {file}" in asked.err
    apply = ("access", "review", "--apply", str(file), "--json")
    lee(*apply, "--yes").fails(3, r"review\.csv:2: .* no decision", hint="decide every row", kind="input")

    rows = list(csv.DictReader(io.StringIO(file.read_text())))
    decisions = {"lee": "keep", "gus": "remove", "dana": "guest"}
    with file.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, rows[0].keys())
        writer.writeheader()
        writer.writerows(
            row | {"decision": decisions[row["name"]], "reviewer": "Ada", "date": "2026-01-31"} for row in rows
        )
    lee(*apply).fails(2, "Make these changes", hint="--yes")
    lee("member", "set", project, "gus", "--role", "guest", "--yes").ok()
    stale = lee(*apply, "--yes")
    stale.fails(9, f"{project}: gus was developer, and is guest", hint="new review", kind="stale_plan")
    assert members(lee, project) == {"lee": "projectAdmin", "gus": "guest", "dana": "maintainer"}
    lee("member", "set", project, "gus", "--role", "developer", "--yes").ok()

    run = lee(*apply, "--yes").ok()
    done = run.json()
    assert [one["subject"] for one in done["done"]] == ["dana", "gus"]
    assert (done["failed"], done["remaining"]["changes"]) == ([], [])
    assert {(one["name"], one["decision"], one["reviewer"], one["date"]) for one in done["signed_off"]} == {
        (name, decision, "Ada", "2026-01-31") for name, decision in decisions.items()
    }
    assert "signed off by Ada on 2026-01-31" in run.err
    # What anybody can check later: the digest of the file, whose lines end as a spreadsheet ends them.
    assert b"\r\n" in file.read_bytes()
    assert done["review"]["digest"] == f"sha256:{hashlib.sha256(file.read_bytes()).hexdigest()}"
    assert members(lee, project) == {"lee": "projectAdmin", "dana": "guest"}
    assert lee(*apply).ok().json()["done"] == []


def test_the_shell_completes_names_and_says_nothing_when_harbor_is_away(box: Box, cli: Cli, lee: Command) -> None:
    user = box.document["registry"]["users"]["project_admin"]
    env = {"IMAGEPIPE_HARBOR__USERNAME": "lee", "IMAGEPIPE_HARBOR__PASSWORD_FILE": user["password_file"]}

    def complete(line: str, **more: str) -> list[str]:
        words = {
            "COMP_WORDS": line,
            "COMP_CWORD": str(len(line.split(" ")) - 1),
            "_IMAGEPIPE_COMPLETE": "complete_bash",
        }
        run = cli.run(env={**env, **words, **more}, deadline_s=10.0)
        assert run.err == "", run.said
        return run.out.split()

    assert "es-sandbox" in complete("imagepipe project show es-s")
    assert complete("imagepipe member remove es-sandbox d") == ["dana"]
    assert complete("imagepipe robot rotate es-sandbox c") == ["ci"]
    assert complete("imagepipe member add es-sandbox x --role main") == ["maintainer"]
    assert complete("imagepipe member remove nowhere d") == []
    away = box.document["registry"]["url"].rpartition(":")[0] + ":1"
    assert complete("imagepipe project show es-s", IMAGEPIPE_HARBOR__URL=away) == []


def test_the_log_tells_who_did_what_and_is_followed_until_ctrl_c(
    lee: Command, gus: Command, box: Box, cli: Cli
) -> None:
    box.registry.push("es-sandbox/logged", "1", hand_made("logged"))
    document = lee("access", "log", "es-sandbox", "--json").ok().json()
    pushed = [one for one in document["entries"] if one["resource"].startswith("es-sandbox/logged")]
    assert [(one["operation"], one["succeeded"]) for one in pushed if one["operation"] == "create"] == [
        ("create", True)
    ]
    last = lee("access", "log", "es-sandbox", "--last", "1")
    assert last.ok().out.count("\n") == 1
    assert lee("access", "log", "es-sandbox", "--since", "2999-01-01").ok().out == ""
    lee("access", "log", "es-sandbox", "--since", "soon").fails(2, "is no time", hint="2026-03-01")
    gus("access", "log", "es-sandbox", "--json").fails(5, "es-sandbox", kind="permission")

    user = box.document["registry"]["users"]["project_admin"]
    config = {"harbor.username": user["username"], "harbor.password_file": user["password_file"]}
    argv = ("access", "log", "es-sandbox", "--follow", "--config", str(box.config(config)))
    ended = cli.signalled(*argv, when="waiting for what comes", number=signal.SIGINT, deadline_s=15)
    assert ended.code == 130, ended.said
    assert "es-sandbox/logged" in ended.out


def test_a_followed_log_ends_with_whoever_reads_it(lee: Command, box: Box, cli: Cli) -> None:
    user = box.document["registry"]["users"]["project_admin"]
    config = box.config({"harbor.username": user["username"], "harbor.password_file": user["password_file"]})
    line = (*PROGRAM, "access", "log", "es-sandbox", "--follow", "-q", "--config", str(config))
    environ = cli._environment(None)
    with subprocess.Popen(line, env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as follower:
        assert follower.stdout is not None
        follower.stdout.readline()
        follower.stdout.close()
        box.registry.push("es-sandbox/unread", "1", hand_made("unread"))
        try:
            assert follower.wait(timeout=20) == 0
        finally:
            follower.kill()


def cause(run: Run) -> tuple[str, str]:
    found = run.ok().json()["cause"]
    return found["kind"], found["fix"]


def test_a_refusal_is_explained_by_its_cause_and_a_command_that_ends_it(
    lee: Command, gus: Command, box: Box, cli: Cli, project: str
) -> None:
    why = ("access", "why", "--json")
    assert cause(gus(*why, "es-sandbox/base:1")) == ("none", "try to pull it again, and read what is said")
    too_low = ("role", "imagepipe member set es-sandbox gus --role developer")
    assert cause(gus(*why, "es-sandbox/base:1", "--push")) == too_low
    assert cause(lee(*why, "es-sandbox/base:1", "--push", "--as", "gus")) == too_low
    assert cause(lee(*why, "es-sandbox/base:1", "--push", "--as", "ci"))[0] == "none"
    assert cause(gus(*why, f"{project}/x:1", "--push")) == (
        "no_member",
        f"imagepipe member add {project} gus --role developer",
    )
    assert cause(lee(*why, "nowhere/x:1")) == ("project_missing", "imagepipe project create nowhere")
    wrong = {"IMAGEPIPE_HARBOR__USERNAME": "gus", "IMAGEPIPE_HARBOR__PASSWORD_FILE": str(box.secret_file("Wrong-1234"))}
    assert cause(cli.run(*why, "es-sandbox/base:1", env=wrong))[0] == "credentials"
    lee("robot", "create", project, "r", "--can", "pull", "--days", "1", "--out", str(box.folder / "r"), "--yes").ok()
    assert cause(lee(*why, f"{project}/x:1", "--push", "--as", "r"))[0] == "robot_rights"
    told = gus("access", "why", "es-sandbox/base:1", "--push").ok().out.splitlines()
    assert told == [
        "gus is guest of es-sandbox, who may not push",
        "fix: imagepipe member set es-sandbox gus --role developer",
    ]


def test_signatures_and_immutable_tags_that_harbor_asks_for_are_named(lee: Command, box: Box, project: str) -> None:
    box.admin.push(f"{project}/kept", "v1", hand_made("kept"))
    lee("project", "set", project, "require_cosign=true", "--yes").ok()
    pull = lee("access", "why", f"{project}/kept:v1", "--json")
    assert cause(pull) == ("unsigned", f"imagepipe sign {project}/kept:v1")
    rule = {
        "action": "immutable",
        "template": "immutable_template",
        "tag_selectors": [{"kind": "doublestar", "decoration": "matches", "pattern": "v*"}],
        "scope_selectors": {"repository": [{"kind": "doublestar", "decoration": "repoMatches", "pattern": "**"}]},
    }
    assert box.admin.api("POST", f"projects/{project}/immutabletagrules", rule).status_code == 201
    assert cause(lee("access", "why", f"{project}/kept:v1", "--push", "--json"))[0] == "immutable"
    assert cause(lee("access", "why", f"{project}/kept:v2", "--push", "--json"))[0] == "none"
