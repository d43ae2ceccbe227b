"""A project admin looks after projects, members, robots and access in the same words on every Harbor.

On the newest, on the last before 2.0, and on the one of VIC with Admiral; what one of them cannot do, it refuses by
name, with the version that can.
"""

import csv
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from zlib import crc32

import pytest

from tests.e2e.dialects import DIALECTS, Harbor, opened

pytestmark = pytest.mark.sandbox


@pytest.fixture(scope="module", params=DIALECTS)
def harbor(request: pytest.FixtureRequest) -> Iterator[Harbor]:
    """Each Harbor in turn, without engines."""
    with opened(request.param) as made:
        yield made


@pytest.fixture(scope="module")
def kept(harbor: Harbor) -> str:
    """A project of lee's that tests leave as they found it: there is no cheap one where users live elsewhere."""
    harbor.make("kept")
    return "kept"


@pytest.fixture
def project(harbor: Harbor, request: pytest.FixtureRequest) -> str:
    """A new project of lee's, named after the test."""
    name = f"t{crc32(request.node.name.encode())}"
    harbor.make(name)
    return name


def test_the_doctor_names_the_dialect_and_a_wrong_one_is_not_forced_on_it(harbor: Harbor) -> None:
    spoken, lee = harbor.dialect, harbor.who("lee")
    found = harbor.apart("doctor").out
    assert f"accepted; {spoken.name} {spoken.version}, as {lee}" in found
    forced = harbor.apart("doctor", IMAGEPIPE_HARBOR__DIALECT=spoken.name).out
    assert f"accepted; {spoken.name} {spoken.version}, as harbor.dialect says, as {lee}" in forced
    for other in sorted({one.name for one in DIALECTS.values()} - {spoken.name}):
        wrong = harbor.apart("project", "list", "--json", IMAGEPIPE_HARBOR__DIALECT=other)
        wrong.fails(3, f"as {other}", hint="leave harbor.dialect out", kind="input")


def test_projects_are_made_listed_shown_changed_and_deleted_whatever_their_name(harbor: Harbor) -> None:
    harbor.refused("makes projects", "project", "create", "4711", "--yes", code=5)
    for name in ("4711", "a.b-c_d"):
        harbor.make(name, "auto_scan=true")
        assert f"{name}\tprivate\t-" in harbor.run("project", "list").ok().out.splitlines()
        harbor.run("project", "set", name, "public=true", "max_severity=high", "--yes").ok()
        assert f"{name}\tpublic\t-" in harbor.run("project", "list").ok().out.splitlines()
        shown = harbor.show(name)
        assert (shown["dialect"], shown["version"]) == (harbor.dialect.name, harbor.dialect.version)
        settings = shown["settings"]
        assert (settings["public"], settings["auto_scan"], settings["max_severity"]) == (True, True, "high")
        assert {"name": harbor.who("lee"), "kind": "user", "role": "projectAdmin"} in shown["members"]
        assert shown["facts"] == {"last_push": None, **harbor.dialect.facts}
        assert shown["robots"] == (None if "robots" in harbor.dialect.refuses else [])
        again = harbor.run("project", "set", name, "public=true", "--json").ok().json()
        assert again["changed"] == []
        delete = ("project", "delete", name, "--yes")
        harbor.refused("makes projects", *delete, code=5)
        count = "0" if shown["facts"]["repositories"] == 0 else "an unknown number of"
        assert f"{name} holds {count} repositories" in harbor.run(*delete, part=harbor.owner).ok().err
        harbor.run("project", "show", name).fails(4, name)


def test_a_setting_that_came_later_is_refused_by_name_and_nothing_is_changed(harbor: Harbor, kept: str) -> None:
    before = harbor.show(kept)
    change = ("project", "set", kept, "require_cosign=true", "auto_scan=true", "--yes")
    if harbor.refused("cosign", *change):
        assert harbor.show(kept) == before
    else:
        harbor.run(*change).ok()
        assert harbor.show(kept)["settings"]["require_cosign"] is True
        harbor.run("project", "set", kept, "require_cosign=false", "auto_scan=false", "--yes").ok()


def test_a_write_without_a_terminal_needs_yes_and_changes_nothing(harbor: Harbor, kept: str) -> None:
    before = harbor.show(kept)
    for argv in (
        ("project", "create", "never"),
        ("project", "set", kept, "public=true"),
        ("project", "delete", kept),
        ("member", "add", kept, harbor.who("gus"), "--role", "guest"),
        ("robot", "create", kept, "ci", "--can", "pull", "--days", "1", "--show-secret"),
    ):
        if not (argv[0] == "robot" and harbor.refused("robots", *argv)):
            harbor.run(*argv, "--json").fails(2, "terminal", hint="--yes", kind="usage")
    assert harbor.show(kept) == before
    harbor.run("project", "show", "never").fails(4, "never")


def test_a_project_that_holds_something_is_not_deleted(harbor: Harbor) -> None:
    run = harbor.run("project", "delete", "es-sandbox", "--yes", "--json", part="admin")
    run.fails(6, "es-sandbox", "it holds|not removable|not deletable", kind="refused")
    assert ("robot$es-sandbox+ci would stop working" in run.err) is ("robots" not in harbor.dialect.refuses)
    assert harbor.show("es-sandbox")["name"] == "es-sandbox"


def test_members_come_change_and_go(harbor: Harbor, project: str) -> None:
    gus, add = harbor.who("gus"), ("member", "add", project)
    harbor.run(*add, gus, "--role", "developer", "--yes").ok()
    again = harbor.run(*add, gus, "--role", "developer", "--json").ok().json()
    assert again["changed"] is False
    harbor.run(*add, gus, "--role", "guest", "--yes").fails(6, f"{gus} is developer", hint="member set")
    harbor.run("member", "set", project, gus, "--role", "guest", "--yes").ok()
    assert harbor.members(project) == {"lee": "projectAdmin", "gus": "guest"}
    harbor.run("member", "remove", project, gus, "--yes").ok()
    assert harbor.members(project) == {"lee": "projectAdmin"}
    harbor.run(*add, harbor.who("nobody"), "--role", "guest", "--yes").fails(4, "nobody")


def test_every_role_of_harbor_is_given_or_refused_by_name(harbor: Harbor, kept: str) -> None:
    gus = harbor.who("gus")
    for role in ("maintainer", "limitedGuest"):
        add = ("member", "add", kept, gus, "--role", role, "--yes")
        if not harbor.refused("roles", *add, role=role):
            harbor.run(*add).ok()
            assert harbor.members(kept) == {"lee": "projectAdmin", "gus": role}
            harbor.run("member", "remove", kept, gus, "--yes").ok()
    assert harbor.members(kept) == {"lee": "projectAdmin"}


def test_the_last_admin_and_oneself_are_not_removed_by_accident(harbor: Harbor, project: str) -> None:
    lee, remove = harbor.who("lee"), ("member", "remove", project)
    if harbor.owner == "admin":
        harbor.run(*remove, harbor.who("admin"), "--yes").ok()
    harbor.run(*remove, lee, "--yes").fails(6, "last projectAdmin", hint="--force")
    harbor.run("member", "set", project, lee, "--role", "guest", "--yes").fails(6, "last projectAdmin", hint="--force")
    harbor.run("member", "add", project, harbor.who("dana"), "--role", "admin", "--yes").ok()
    harbor.run(*remove, lee, "--yes").fails(6, f"{lee} is you", hint="--force")
    harbor.run(*remove, lee, "--yes", "--force").ok()
    harbor.run("member", "list", project).fails(harbor.dialect.hidden, project)


def test_a_guest_reads_and_changes_nothing(harbor: Harbor, project: str) -> None:
    gus = harbor.who("gus")
    harbor.run("member", "list", project, part="guest").fails(harbor.dialect.hidden, project)
    harbor.run("member", "add", project, gus, "--role", "guest", "--yes").ok()
    team = {"gus": "guest", "lee": "projectAdmin"}
    assert harbor.members(project, part="guest") == team
    for argv in (
        ("member", "add", project, harbor.who("dana"), "--role", "guest"),
        ("member", "set", project, gus, "--role", "admin"),
        ("project", "set", project, "public=true"),
        ("project", "delete", project),
    ):
        harbor.run(*argv, "--yes", "--json", part="guest").fails(5, "gus|forbidden", kind="permission")
    assert harbor.members(project) == team


def test_wrong_credentials_are_never_taken_for_an_empty_harbor(harbor: Harbor) -> None:
    wrong = str(harbor.box.secret_file("Wrong-Password-9"))
    run = harbor.run("project", "list", "--json", IMAGEPIPE_HARBOR__PASSWORD_FILE=wrong)
    run.fails(5, "lee", hint="password|domain", kind="credentials")


def test_robots_are_made_and_deleted_or_refused_with_the_version_that_has_them(harbor: Harbor, kept: str) -> None:
    out = harbor.box.file("env")
    create = ("robot", "create", kept, "ci", "--can", "pull", "--days", "1", "--out", str(out), "--yes")
    delete = ("robot", "delete", kept, "ci", "--yes")
    if harbor.refused("robots", *create):
        assert not out.exists()
        harbor.refused("robots", "robot", "list", kept)
        harbor.refused("robots", "robot", "rotate", kept, "ci", "--out", str(out), "--yes")
        harbor.refused("robots", *delete)
        return
    assert harbor.run(*create).ok().out == f"robot${kept}+ci\n"
    assert [one["name"] for one in harbor.run("robot", "list", kept, "--json").ok().json()["robots"]] == ["ci"]
    harbor.run(*delete).ok()
    assert harbor.run("robot", "list", kept, "--json").ok().json()["robots"] == []


def test_what_is_exported_asks_for_nothing_and_a_change_is_planned_applied_and_proven(
    harbor: Harbor, project: str, tmp_path: Path
) -> None:
    file, saved = tmp_path / "access.yaml", tmp_path / "plan.json"
    lee, dana, gus = map(harbor.who, ("lee", "dana", "gus"))
    file.write_text(harbor.run("access", "export", project).ok().out)
    assert harbor.run("access", "plan", str(file), "--detailed-exitcode").ok().out == ""
    file.write_text(
        f"version: 1\nprojects:\n  {project}:\n    settings: {{auto_scan: true}}\n"
        f'    members: {{projectAdmin: ["{lee}"], guest: ["{gus}"], developer: ["{dana}"]}}\n    unmanaged: remove\n'
    )
    planned = harbor.run("access", "plan", str(file), "-o", str(saved), "--detailed-exitcode")
    assert planned.code == 9, planned.said
    assert f"+ {project}: add member {dana}: developer" in planned.out
    assert harbor.members(project) == {"lee": "projectAdmin"}
    apply = ("access", "apply", str(file), "--plan", str(saved), "--yes", "--json")
    done = harbor.run(*apply).ok().json()
    assert done["failed"] == done["remaining"]["changes"] == []
    assert harbor.members(project) == {"lee": "projectAdmin", "dana": "developer", "gus": "guest"}
    assert harbor.show(project)["settings"]["auto_scan"] is True
    harbor.run(*apply).fails(9, "changed since", hint="new plan", kind="stale_plan")


def test_an_access_file_that_asks_for_more_than_this_harbor_has_is_refused_whole(
    harbor: Harbor, kept: str, tmp_path: Path
) -> None:
    file = tmp_path / "access.yaml"
    file.write_text(
        f"version: 1\nprojects:\n  {kept}:\n    settings: {{require_cosign: true}}\n"
        "    robots: {ci: {can: [pull], days: 1}}\n"
    )
    plan = harbor.run("access", "plan", str(file), "--json")
    if "robots" not in harbor.dialect.refuses:
        assert len(plan.ok().json()["changes"]) == 2
        return
    whose = f"{harbor.dialect.name} {harbor.dialect.version}"
    plan.fails(6, whose, "setting require_cosign", r"robots \(they need Harbor ≥ 2\.2\)", kind="unsupported")


def test_a_review_tells_who_may_do_what(harbor: Harbor, kept: str) -> None:
    heading, *rows = csv.reader(io.StringIO(harbor.run("access", "review", kept, "--format", "csv").ok().out))
    assert heading[:4] == ["project", "kind", "name", "access"]
    assert [kept, "user", harbor.who("lee"), "projectAdmin"] in [row[:4] for row in rows]


def test_the_log_tells_who_made_the_project_or_where_it_is_shown(harbor: Harbor, kept: str) -> None:
    log = ("access", "log", kept)
    if harbor.refused("log", *log):
        return
    entries = harbor.run(*log, "--json").ok().json()["entries"]
    assert [(one["user"], one["operation"]) for one in entries if one["kind"] == "project"] == [("lee", "create")]
    harbor.run(*log, part="guest").fails(5, kept)


def test_a_refused_push_is_explained_by_the_role_and_the_command_that_ends_it(harbor: Harbor) -> None:
    why = ("access", "why", "es-sandbox/base:1", "--push", "--json")
    for told in (harbor.run(*why, part="guest"), harbor.run(*why, "--as", "gus")):
        cause: dict[str, Any] = told.ok().json()["cause"]
        assert (cause["kind"], cause["fix"]) == (
            "role",
            f"imagepipe member set es-sandbox {harbor.who('gus')} --role developer",
        )


def test_the_shell_completes_names_of_projects_and_members(harbor: Harbor) -> None:
    def complete(line: str) -> list[str]:
        words = {
            "COMP_WORDS": line,
            "COMP_CWORD": str(len(line.split(" ")) - 1),
            "_IMAGEPIPE_COMPLETE": "complete_bash",
        }
        run = harbor.apart(**words)
        assert run.err == "", run.said
        return run.out.split()

    assert complete("imagepipe project show es-s") == ["es-sandbox"]
    assert complete("imagepipe member remove es-sandbox d") == [harbor.who("dana")]
    assert complete("imagepipe robot rotate es-sandbox c") == ([] if "robots" in harbor.dialect.refuses else ["ci"])
