"""What a CI job says of itself in its environment.

>>> branch({"CI_COMMIT_BRANCH": "main"})
'main'
"""

from collections.abc import Mapping

__all__ = ["branch", "invocation"]


def branch(environ: Mapping[str, str]) -> str | None:
    """Returns the branch that the CI job is for. Source: GitHub Actions, GitLab CI and Jenkins default variables."""
    if environ.get("GITHUB_REF_TYPE") == "branch":
        return environ.get("GITHUB_REF_NAME")
    return environ.get("CI_COMMIT_BRANCH") or environ.get("BRANCH_NAME") or None


def invocation(environ: Mapping[str, str]) -> str | None:
    """Returns the CI job's URL. Source: GitHub Actions, GitLab CI and Jenkins default variables."""
    if environ.get("GITHUB_RUN_ID"):
        server, repository = environ.get("GITHUB_SERVER_URL", ""), environ.get("GITHUB_REPOSITORY", "")
        attempt = environ.get("GITHUB_RUN_ATTEMPT", "1")
        return f"{server}/{repository}/actions/runs/{environ['GITHUB_RUN_ID']}/attempts/{attempt}"
    return environ.get("CI_JOB_URL") or environ.get("BUILD_URL") or None
