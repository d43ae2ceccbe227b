"""What a CI job says of itself in its environment.

>>> branch({"CI_COMMIT_BRANCH": "main"})
'main'
>>> branch({"CI_COMMIT_BRANCH": "main", "CI_COMMIT_SHA": "a1"}, "b2") is None
True
"""

from collections.abc import Mapping

__all__ = ["branch", "invocation"]


def branch(environ: Mapping[str, str], commit: str | None = None) -> str | None:
    """Returns the branch that the CI job is for; None where that is not known of this very commit.

    A job may check out anything: with GitHub's pull_request_target its branch is that of the repository, and what it
    builds somebody's proposal. The name of a proposal is no branch's, and whatever is built is called by it.
    Source: GitHub Actions, GitLab CI and Jenkins default variables.

    Args:
        environ: The job's environment.
        commit: What is checked out; None: what the job is for.
    """
    if environ.get("GITHUB_REF_TYPE") == "branch":
        name, proposal = environ.get("GITHUB_REF_NAME"), environ.get("GITHUB_REF", "").startswith("refs/pull/")
        of = environ.get("GITHUB_SHA")
    elif environ.get("CI_COMMIT_BRANCH"):
        name, proposal, of = environ["CI_COMMIT_BRANCH"], False, environ.get("CI_COMMIT_SHA")
    else:
        name, proposal, of = environ.get("BRANCH_NAME"), "CHANGE_ID" in environ, environ.get("GIT_COMMIT")
    return name or None if proposal or commit is None or of in (None, "", commit) else None


def invocation(environ: Mapping[str, str]) -> str | None:
    """Returns the CI job's URL. Source: GitHub Actions, GitLab CI and Jenkins default variables."""
    if environ.get("GITHUB_RUN_ID"):
        server, repository = environ.get("GITHUB_SERVER_URL", ""), environ.get("GITHUB_REPOSITORY", "")
        attempt = environ.get("GITHUB_RUN_ATTEMPT", "1")
        return f"{server}/{repository}/actions/runs/{environ['GITHUB_RUN_ID']}/attempts/{attempt}"
    return environ.get("CI_JOB_URL") or environ.get("BUILD_URL") or None
