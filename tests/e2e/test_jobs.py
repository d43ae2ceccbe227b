"""What CI jobs do: check out a commit, build it on several branches, and hand on what a run prints."""

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
