import re
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagepipe.build.naming import VARIABLES, check_template, oci_labels, resolve_tags, sanitise, tags_of
from imagepipe.errors import InputError
from imagepipe.model.digest import Digest
from imagepipe.model.pipeline import BuildSpec, Pipeline
from imagepipe.model.result import SourceRevision

REVISION = SourceRevision(
    url="https://git.example/es/hello.git",
    commit="0123456789abcdef0123456789abcdef01234567",
    committed_at="2026-11-22T16:00:03Z",
    branch="feature/new base",
    version="1.4-3-g0123456",
    dirty=False,
    root=Path("/src"),
)


def pipeline(*tags: str, name: str = "hello", project: str = "es", **labels: str) -> Pipeline:
    lines = {
        "tags": f"{name}.yaml:7:1",
        **{f"tags.{index}": f"{name}.yaml:{index + 8}:3" for index in range(len(tags))},
    }
    return Pipeline(
        name,
        project,
        BuildSpec(Path("/src")),
        tags=tags or ("{version}",),
        labels={key.replace("_", "."): value for key, value in labels.items()},
        file=Path(f"/src/{name}.yaml"),
        digest=Digest.of(b""),
        lines=lines,
    )


def tags(*templates: str, revision: SourceRevision | None = REVISION, instead: tuple[str, ...] = ()) -> list[str]:
    found = tags_of(pipeline(*templates), registry="vic.example", revision=revision, instead=instead)
    return [str(tag).removeprefix("vic.example/es/hello:") for tag in found]


@pytest.mark.parametrize(
    ("template", "tag"),
    [
        ("{version}", "1.4-3-g0123456"),
        ("{branch}-{sha}", "feature-new-base-0123456789ab"),
        ("{date}", "20261122"),
        ("{name}-latest", "hello-latest"),
        ("stable", "stable"),
    ],
)
def test_a_tag_is_filled_from_the_source(template: str, tag: str) -> None:
    assert tags(template) == [tag]


def test_without_tags_the_version_is_the_tag() -> None:
    assert tags() == ["1.4-3-g0123456"]


def test_tags_that_come_out_equal_are_one_tag() -> None:
    assert tags("{version}", "1.4-3-g0123456", "other") == ["1.4-3-g0123456", "other"]


def test_tags_from_the_command_line_stand_in_place_of_the_files() -> None:
    assert tags("{version}", instead=("rc-{sha}", "rc")) == ["rc-0123456789ab", "rc"]


@given(st.text(max_size=200))
def test_sanitising_twice_is_as_once_and_leaves_what_a_tag_may_hold(text: str) -> None:
    once = sanitise(text)
    assert sanitise(once) == once
    assert re.fullmatch(r"([A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_])?)?", once)


@given(st.text(min_size=1, max_size=300))
def test_any_branch_makes_a_tag_or_is_refused(branch: str) -> None:
    try:
        (tag,) = tags("{branch}", revision=replace(REVISION, branch=branch))
    except InputError as error:
        assert "hello.yaml:8:3: tags.0" in error.message  # noqa: PT017  # that nothing else is raised is the point
    else:
        assert 1 <= len(tag) <= 128


@pytest.mark.parametrize(
    ("template", "end"),
    [("{branch}-{sha}", "-0123456789ab"), ("{branch}_{branch}-{sha}", "-0123456789ab"), ("{branch}", "x")],
)
def test_a_long_branch_leaves_room_for_what_tells_commits_apart(template: str, end: str) -> None:
    (tag,) = tags(template, revision=replace(REVISION, branch="renovate/" + "x" * 150))
    assert 126 <= len(tag) <= 128
    assert tag.startswith("renovate-xxx")
    assert tag.endswith(end)


@given(
    st.text(min_size=1, max_size=300), st.sampled_from(["{branch}-{sha}", "{sha}-{branch}", "{branch}.{branch}-{sha}"])
)
def test_whatever_a_branch_is_called_its_commit_stands_in_the_tag(branch: str, template: str) -> None:
    (tag,) = tags(template, revision=replace(REVISION, branch=branch))
    assert REVISION.commit[:12] in tag


@given(st.text(max_size=30))
def test_a_template_is_fine_or_told_what_is_wrong_with_it(template: str) -> None:
    names = re.findall(r"\{([^{}]*)\}", template)
    stray = re.sub(r"\{[^{}]*\}", "", template)
    fine = set(names) <= set(VARIABLES) and "{" not in stray and "}" not in stray
    assert (check_template(template) is None) is fine


@pytest.mark.parametrize(
    ("template", "revision", "message"),
    [
        ("{versoin}", REVISION, "unknown variable {versoin} in '{versoin}'; did you mean 'version'?"),
        ("{version", REVISION, "unknown variable {} in '{version'"),
        ("{version}", None, "{version} has no value: not in a git work tree with a commit, or git is not installed"),
        ("{branch}", replace(REVISION, branch=None), "{branch} has no value here"),
        ("a b", REVISION, "not a tag: 'a b'"),
        ("imagepipe-{branch}", REVISION, "the tag imagepipe-"),
        (f"sha256-{'0' * 64}.sig", REVISION, "the tag sha256-0000"),
    ],
)
def test_a_tag_that_cannot_be_made_is_refused_at_its_line(
    template: str, revision: SourceRevision | None, message: str
) -> None:
    with pytest.raises(InputError) as caught:
        tags("ok", template, revision=revision)
    assert caught.value.message.startswith(f"hello.yaml:9:3: tags.1: {message}")


def test_a_tag_from_the_command_line_is_refused_by_that_name() -> None:
    with pytest.raises(InputError, match=r"^--tag: not a tag"):
        tags(instead=("a b",))


def test_the_name_needs_no_git() -> None:
    assert tags("{name}-1", revision=None) == ["hello-1"]


def test_two_images_that_claim_one_tag_are_refused_with_both_places() -> None:
    one = pipeline("{version}", name="team/hello")
    other = pipeline("x", "1.4-3-g0123456", name="hello", project="es/team")
    with pytest.raises(InputError) as caught:
        resolve_tags([one, other], registry="vic.example", revisions=[REVISION, REVISION])
    assert caught.value.message == (
        "hello.yaml:7:1: vic.example/es/team/hello:1.4-3-g0123456 is claimed here and at team/hello.yaml:7:1"
    )


def test_tags_come_in_the_order_of_the_pipelines() -> None:
    found = resolve_tags(
        [pipeline(name="b"), pipeline(name="a")], registry="vic.example", revisions=[REVISION, REVISION]
    )
    assert [str(tag) for (tag,) in found] == ["vic.example/es/b:1.4-3-g0123456", "vic.example/es/a:1.4-3-g0123456"]


def test_labels_tell_where_the_image_comes_from_and_the_commits_time() -> None:
    labels = oci_labels(pipeline(), REVISION, base_name="busybox:1", base_digest=Digest.of(b"base"))
    assert labels == {
        "org.opencontainers.image.base.digest": str(Digest.of(b"base")),
        "org.opencontainers.image.base.name": "busybox:1",
        "org.opencontainers.image.created": "2026-11-22T16:00:03Z",
        "org.opencontainers.image.revision": "0123456789abcdef0123456789abcdef01234567",
        "org.opencontainers.image.source": "https://git.example/es/hello.git",
        "org.opencontainers.image.title": "hello",
        "org.opencontainers.image.version": "1.4-3-g0123456",
    }


def test_files_that_differ_from_the_commit_are_told_in_the_revision() -> None:
    labels = oci_labels(pipeline(), replace(REVISION, dirty=True, url=None))
    assert labels["org.opencontainers.image.revision"].endswith("01234567-dirty")
    assert "org.opencontainers.image.source" not in labels


def test_outside_git_the_labels_say_only_what_is_known() -> None:
    assert oci_labels(pipeline(), None) == {"org.opencontainers.image.title": "hello"}


def test_a_pipelines_own_labels_win_and_are_filled_as_they_are() -> None:
    own = pipeline(org_opencontainers_image_title="{name} of {branch}", licence="Apache-2.0")
    labels = oci_labels(own, REVISION)
    assert (labels["org.opencontainers.image.title"], labels["licence"]) == ("hello of feature/new base", "Apache-2.0")


@pytest.mark.parametrize(("template", "said"), [("{sah}", "unknown variable {sah}"), ("{sha}", "{sha} has no value")])
def test_a_label_that_cannot_be_made_is_refused_by_its_name(template: str, said: str) -> None:
    with pytest.raises(InputError) as caught:
        oci_labels(pipeline(licence=template), None)
    assert caught.value.message.startswith(f"/src/hello.yaml: labels.licence: {said}")
