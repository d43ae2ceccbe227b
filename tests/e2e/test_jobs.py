"""What CI jobs do: check out a commit, build it on several branches, and hand on what a run prints."""

import json
import os
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.box import Box
from tests.e2e.cli import Cli
from tests.e2e.workspace import Workspace

pytestmark = pytest.mark.sandbox

PROVENANCE = "https://slsa.dev/provenance/v1"
SOURCE = "https://git.example/es/jobs"


def git(folder: Path, *words: str) -> str:
    """Returns what git prints."""
    environ = {**os.environ, "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_SYSTEM": "/dev/null"}
    identity = ("-c", "user.name=Dana", "-c", "user.email=dana@es-sandbox.test")
    command = ("git", *identity, *words)
    done = subprocess.run(command, cwd=folder, env=environ, capture_output=True, text=True, check=True, timeout=20)
    return done.stdout.strip()


@pytest.fixture
def checkout(workspace: Callable[..., Workspace], request: pytest.FixtureRequest) -> Workspace:
    """A repository of the test's own that was cloned from somewhere."""
    made = workspace(request.node.name.removeprefix("test_").partition("[")[0].replace("_", "-")[:40].rstrip("-"))
    git(made.folder, "remote", "add", "origin", f"{SOURCE}.git")
    made.pipeline.write_text(made.pipeline.read_text().replace('["1.0", "{branch}-{sha}"]', '["{sha}"]'))
    git(made.folder, "commit", "--quiet", "--all", "--message", "A tag for each commit")
    return made


@pytest.fixture
def from_main(box: Box) -> Path:
    """A configuration whose policy takes only what was built from the branch main."""
    return box.config({"policies.sandbox.provenance": {"source": SOURCE, "branch": "main"}})


def branches(box: Box, image: str) -> list[str]:
    """Returns the branches that the provenances of an image name."""
    repository, _, digest = image.partition("/")[2].partition("@")
    told: list[Mapping[str, Any]] = [
        one["predicate"]["buildDefinition"]["externalParameters"]["source"]
        for one in box.registry.statements(repository, digest)
        if one["predicateType"] == PROVENANCE
    ]
    return sorted(str(one.get("branch")) for one in told)


def test_a_commit_that_was_built_on_another_branch_first_can_be_promoted_once_it_is_built_on_the_right_one(
    box: Box, cli: Cli, checkout: Workspace, from_main: Path
) -> None:
    run = ("run", checkout.name, "--json")
    git(checkout.folder, "checkout", "--quiet", "-b", "feature")
    (early,) = cli.run(*run, cwd=checkout.folder).ok().json()["images"]
    promote = ("promote", early["image"], "--to", "vch-a", "--yes", "--json")
    cli.run(*promote, config=from_main).fails(6, "branch feature, and not from .*branch main", kind="gate")

    git(checkout.folder, "checkout", "--quiet", "main")
    git(checkout.folder, "merge", "--quiet", "--ff-only", "feature")
    (merged,) = cli.run(*run, cwd=checkout.folder).ok().json()["images"]
    assert merged["image"] == early["image"]
    assert {one["predicate_type"]: one["created"] for one in merged["evidence"]}[PROVENANCE] is True
    cli.run(*promote, config=from_main).ok()

    (again,) = cli.run(*run, cwd=checkout.folder).ok().json()["images"]
    assert [one["created"] for one in again["evidence"]] == [False, False]
    assert branches(box, early["image"]) == ["feature", "main"]


@pytest.mark.parametrize(
    ("job", "named"),
    [
        ({"GITHUB_REF_TYPE": "branch", "GITHUB_REF_NAME": "main"}, "GITHUB_SHA"),
        ({"CI_COMMIT_BRANCH": "main"}, "CI_COMMIT_SHA"),
        ({"BRANCH_NAME": "main"}, "GIT_COMMIT"),
    ],
    ids=["github", "gitlab", "jenkins"],
)
def test_a_commit_that_the_job_is_not_for_is_not_taken_for_one_of_its_branch(
    box: Box, cli: Cli, checkout: Workspace, from_main: Path, job: dict[str, str], named: str
) -> None:
    job = {**job, named: git(checkout.folder, "rev-parse", "HEAD")}
    git(checkout.folder, "checkout", "--quiet", "--detach")
    (checkout.context / "index.html").write_text(f"what somebody proposes to a job of {named}\n")
    git(checkout.folder, "commit", "--quiet", "--all", "--message", "As a job checks out the head of a pull request")
    (image,) = cli.run("run", checkout.name, "--json", cwd=checkout.folder, env=job).ok().json()["images"]
    promote = ("promote", image["image"], "--to", "vch-a", "--yes", "--json")
    cli.run(*promote, config=from_main).fails(6, "and not from .*branch main", kind="gate")

    git(checkout.folder, "checkout", "--quiet", "--detach", job[named])
    (image,) = cli.run("run", checkout.name, "--json", cwd=checkout.folder, env=job).ok().json()["images"]
    assert branches(box, image["image"]) == ["main"]


@pytest.fixture
def pair(checkout: Workspace) -> Workspace:
    """A repository whose pipeline needs another, `NAME-base`."""
    base = f"{checkout.name}-base"
    below = checkout.context.parent / base
    below.mkdir()
    (below / "Dockerfile").write_text((checkout.context / "Dockerfile").read_text())
    (below / "index.html").write_text(f"{base}\n")
    written = checkout.pipeline.read_text()
    (below.parent / f"{base}.yaml").write_text(written.replace(checkout.name, base))
    head, _, _ = written.partition("  args:")
    checkout.pipeline.write_text(f'{head}needs: [{base}]\ntags: ["{{sha}}"]\n')
    argument = base.upper().replace("-", "_")
    (checkout.context / "Dockerfile").write_text(f"ARG {argument}\nFROM ${{{argument}}}\nCOPY index.html /srv/\n")
    git(checkout.folder, "add", "--all")
    git(checkout.folder, "commit", "--quiet", "--message", "One on another")
    return checkout


def test_a_run_prints_what_was_asked_for_and_not_what_that_needs(box: Box, cli: Cli, pair: Workspace) -> None:
    run = ("run", pair.name)
    line = cli.run(*run, cwd=pair.folder).ok().out
    needed, asked = cli.run(*run, "--json", cwd=pair.folder).ok().json()["images"]
    assert (needed["name"], needed["requested"], asked["requested"]) == (f"{pair.name}-base", False, True)
    assert line == f"{asked['image']}\n"
    cli.run("promote", line.rstrip("\n"), "--to", "engine-a", "--yes").ok()
    assert box.host("engine-a").holds(asked["image"])
    assert not box.host("engine-a").holds(needed["image"])
    both = cli.run(*run, f"{pair.name}-base", cwd=pair.folder).ok().out
    assert both == f"{needed['image']}\n{asked['image']}\n"


def test_a_run_prints_nothing_where_only_what_is_needed_was_made(cli: Cli, pair: Workspace) -> None:
    (pair.context / "Dockerfile").write_text((pair.context / "Dockerfile").read_text() + "RUN false\n")
    run = cli.run("run", pair.name, cwd=pair.folder)
    run.fails(10, "RUN false")
    assert run.out == ""


def test_a_tag_from_the_command_line_is_for_what_was_asked_for(box: Box, cli: Cli, pair: Workspace) -> None:
    cli.run("run", pair.name, "--tag", "hot-fix", cwd=pair.folder).ok()
    assert "hot-fix" in box.registry.tags(pair.repository)
    assert "hot-fix" not in box.registry.tags(f"{pair.repository}-base")


@pytest.mark.parametrize("command", [("promote", "--to", "vch-a", "--yes"), ("sign",), ("verify",)])
def test_a_name_that_is_empty_or_several_says_what_to_do(cli: Cli, command: tuple[str, ...]) -> None:
    two = "es-sandbox/one@sha256:" + "1" * 64 + "\nes-sandbox/two@sha256:" + "2" * 64
    for text, said, hint in (
        ("", "no image is named", "printed nothing"),
        (two, "2 image names in one argument", "quotes"),
    ):
        cli.run(command[0], text, *command[1:], "--json").fails(2, said, hint=hint, kind="usage")


def test_what_an_earlier_run_left_for_later_jobs_is_not_taken_for_that_of_one_that_failed(
    cli: Cli, checkout: Workspace, tmp_path: Path
) -> None:
    metadata, dotenv = tmp_path / "run.json", tmp_path / "run.env"
    argv = ("run", checkout.name, "--metadata-file", str(metadata), "--dotenv", str(dotenv), "--json")
    cli.run(*argv, cwd=checkout.folder).ok()
    assert "@sha256:" in dotenv.read_text()
    run = cli.run(*argv, "--set", "tags=['{branch']", cwd=checkout.folder)
    error = run.fails(3, "tags")
    assert json.loads(metadata.read_text()) == error
    assert dotenv.read_text() == ""


def test_a_file_that_cannot_be_written_does_not_keep_the_others_from_being_written(
    cli: Cli, checkout: Workspace, tmp_path: Path
) -> None:
    dotenv, outputs, summary = tmp_path / "run.env", tmp_path / "outputs", tmp_path / "summary.md"
    argv = ("run", checkout.name, "--metadata-file", "/dev/full", "--dotenv", str(dotenv))
    told = {"GITHUB_OUTPUT": str(outputs), "GITHUB_STEP_SUMMARY": str(summary)}
    run = cli.run(*argv, cwd=checkout.folder, env=told)
    assert run.code == 3
    image = run.out.strip()
    assert f"={image}\n" in dotenv.read_text()
    assert f"={image}\n" in outputs.read_text()
    assert image in summary.read_text()


def test_the_summary_of_a_job_tells_what_was_not_made_or_not_pushed(cli: Cli, pair: Workspace, tmp_path: Path) -> None:
    summary = tmp_path / "summary.md"
    told = {"GITHUB_STEP_SUMMARY": str(summary)}
    image_id = cli.run("run", pair.name, "--no-push", cwd=pair.folder, env=told).ok().out.strip()
    assert f"| {pair.name} | `{image_id}` | not signed |" in summary.read_text()
    (pair.context / "Dockerfile").write_text((pair.context / "Dockerfile").read_text() + "RUN false\n")
    cli.run("run", pair.name, cwd=pair.folder, env=told)
    assert f"| {pair.name} | not made | |" in summary.read_text()
    assert "None" not in summary.read_text()


def test_a_checkout_that_moves_on_under_a_run_is_not_signed_as_what_it_was(
    box: Box, cli: Cli, checkout: Workspace
) -> None:
    def move_on(_: object) -> None:
        (checkout.context / "index.html").write_text("what another job checked out here\n")
        git(checkout.folder, "commit", "--quiet", "--all", "--message", "Another job's")

    before = git(checkout.folder, "rev-parse", "HEAD")
    argv = ("run", checkout.name, "--progress", "plain", "--json")
    run = cli.disturbed(*argv, when=r"^-> base ", act=move_on, cwd=checkout.folder)
    after = git(checkout.folder, "rev-parse", "HEAD")
    said = f"{checkout.name}: its source went from {before} to {after} while it was built"
    run.fails(3, said, hint="a checkout of its own", kind="input")
    assert box.registry.tags(checkout.repository) == []
