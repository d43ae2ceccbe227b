from pathlib import Path

import pytest

from imagepipe.errors import NotFoundError
from imagepipe.events import silent
from imagepipe.settings import load_settings
from imagepipe.signing.verifier import SigstoreVerifier
from imagepipe.source.ci import branch as ci_branch
from imagepipe.source.ci import invocation
from imagepipe.wiring import Wiring

COSIGN_KEY = Path(__file__).parents[1] / "fixtures" / "signing" / "cosign.pub"


@pytest.mark.parametrize(
    ("environ", "branch"),
    [
        ({}, None),
        ({"GITHUB_REF_TYPE": "branch", "GITHUB_REF_NAME": "main"}, "main"),
        ({"GITHUB_REF_TYPE": "tag", "GITHUB_REF_NAME": "v1"}, None),
        ({"CI_COMMIT_BRANCH": "main"}, "main"),
        ({"BRANCH_NAME": "main"}, "main"),
    ],
)
def test_the_branch_of_a_ci_job_is_known(environ: dict[str, str], branch: str | None) -> None:
    assert ci_branch(environ) == ci_branch(environ, "any") == branch


GITHUB = {"GITHUB_REF_TYPE": "branch", "GITHUB_SHA": "a1"}


@pytest.mark.parametrize(
    ("environ", "branch"),
    [
        ({**GITHUB, "GITHUB_REF_NAME": "main", "GITHUB_REF": "refs/heads/main"}, None),
        ({**GITHUB, "GITHUB_REF_NAME": "12/merge", "GITHUB_REF": "refs/pull/12/merge"}, "12/merge"),
        ({"CI_COMMIT_BRANCH": "main", "CI_COMMIT_SHA": "a1"}, None),
        ({"BRANCH_NAME": "main", "GIT_COMMIT": "a1"}, None),
        ({"BRANCH_NAME": "PR-12", "CHANGE_ID": "12", "GIT_COMMIT": "a1"}, "PR-12"),
        ({"BRANCH_NAME": "main", "GIT_COMMIT": "b2"}, "main"),
    ],
)
def test_the_branch_of_a_ci_job_is_that_of_its_own_commit_alone(environ: dict[str, str], branch: str | None) -> None:
    assert ci_branch(environ, "b2") == branch


@pytest.mark.parametrize(
    ("environ", "url"),
    [
        ({}, None),
        (
            {"GITHUB_RUN_ID": "7", "GITHUB_SERVER_URL": "https://github.com", "GITHUB_REPOSITORY": "uf/es"},
            "https://github.com/uf/es/actions/runs/7/attempts/1",
        ),
        ({"CI_JOB_URL": "https://gitlab.com/jobs/7"}, "https://gitlab.com/jobs/7"),
        ({"BUILD_URL": "https://jenkins/7"}, "https://jenkins/7"),
    ],
)
def test_the_ci_job_is_named_in_provenance(environ: dict[str, str], url: str | None) -> None:
    assert invocation(environ) == url


def test_where_only_keys_are_trusted_sigstore_is_not_asked_for_anything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = list[SigstoreVerifier]()

    def begin(verifier: SigstoreVerifier) -> None:
        begun.append(verifier)

    monkeypatch.setattr(SigstoreVerifier, "prepare", begin)
    key, identity = {"key": str(COSIGN_KEY)}, {"identity": "ci@example.com", "issuer": "https://idp.example"}
    for trusted, expected in ((key, 0), (identity, 1)):
        config = tmp_path / "imagepipe.toml"
        told = ", ".join(f'{name} = "{value}"' for name, value in trusted.items())
        config.write_text(f"[policies.p]\nsigned_by = [{{ {told} }}]\n")
        settings = load_settings(flags={}, config_file=config, cwd=tmp_path, environ={"HOME": str(tmp_path)})
        Wiring(settings, events=silent, environ={"HOME": str(tmp_path)}).promotion_world()
        assert len(begun) == expected


def test_a_key_whose_password_file_is_gone_is_told_by_the_settings_name(tmp_path: Path) -> None:
    flags = {"signing.mode": "key", "signing.key": tmp_path / "ci.key", "signing.password_file": tmp_path / "gone"}
    settings = load_settings(flags=flags, config_file=None, cwd=tmp_path, environ={"HOME": str(tmp_path)})
    with pytest.raises(NotFoundError, match=r"signing\.password_file"):
        _ = Wiring(settings, events=silent, environ={}).writer
