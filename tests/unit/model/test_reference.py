import pytest
from hypothesis import given

from imagepipe.errors import InputError
from imagepipe.model.digest import Digest
from imagepipe.model.reference import Pinned, Reference, Repository
from tests.unit.model.strategies import pinned, references, repositories, tags

DIGEST = Digest.of(b"m")


@given(references)
def test_a_reference_survives_being_written_and_read(reference: Reference) -> None:
    assert Reference.parse(str(reference)) == reference


@given(repositories)
def test_a_repository_survives_being_written_and_read(repository: Repository) -> None:
    assert Repository.parse(str(repository)) == repository


@given(pinned)
def test_a_pinned_image_survives_being_written_and_read(image: Pinned) -> None:
    assert Pinned.parse(str(image)) == image


@given(repositories, tags)
def test_a_repository_names_its_tags_and_digests(repository: Repository, tag: str) -> None:
    assert Reference.parse(str(repository.tagged(tag))).tag == tag
    assert Pinned.parse(str(repository.pin(DIGEST))).digest == DIGEST


@pytest.mark.parametrize(
    ("text", "registry", "path", "tag"),
    [
        ("vic.example/es/hello:1.4", "vic.example", "es/hello", "1.4"),
        ("localhost/es/hello", "localhost", "es/hello", None),
        ("build:5000/es/hello:x", "build:5000", "es/hello", "x"),
        ("es/hello:1.4", "default.example", "es/hello", "1.4"),
        ("hello", "default.example", "hello", None),
    ],
)
def test_the_first_part_is_a_host_where_docker_says_so(text: str, registry: str, path: str, tag: str | None) -> None:
    reference = Reference.parse(text, default_registry="default.example")
    assert (reference.repository.registry, reference.repository.path, reference.tag) == (registry, path, tag)


def test_a_name_without_a_host_needs_a_default() -> None:
    with pytest.raises(InputError, match="no registry in image name 'es/hello'") as caught:
        Reference.parse("es/hello")
    assert caught.value.hint is not None
    assert "imagepipe.toml" in caught.value.hint


@pytest.mark.parametrize(
    "text",
    [
        "",
        "vic.example/",
        "vic.example/Es/hello",
        "vic.example/es//hello",
        "vic.example/es/hello:",
        "vic.example/es/hello:.x",
        "vic.example/es/hello:" + "x" * 129,
        "vic.example/es/hello@",
        "vic.example/es/hello@sha256:abc",
        "-bad.example/es/hello",
        "bad..example/es/hello",
        f"{'x' * 64}.example/es/hello",
        "vic.example/" + "x" * 255,
        "vic.example/es/../hello",
        "vic.example/es/hello:1.4\n",
    ],
)
def test_what_is_no_reference_is_refused(text: str) -> None:
    with pytest.raises(InputError):
        Reference.parse(text, default_registry="default.example")


@pytest.mark.parametrize("text", ["vic.example/es/hello:1", f"vic.example/es/hello@{DIGEST}"])
def test_a_repository_has_neither_tag_nor_digest(text: str) -> None:
    with pytest.raises(InputError, match="without tag or digest"):
        Repository.parse(text)


def test_an_image_with_only_a_tag_is_not_pinned() -> None:
    with pytest.raises(InputError, match="not pinned"):
        Pinned.parse("vic.example/es/hello:1.4")


def test_project_and_name_are_told_apart() -> None:
    deep = Repository("vic.example", "es/team/hello")
    assert (deep.project, deep.name) == ("es", "team/hello")
    assert (Repository("vic.example", "hello").project, Repository("vic.example", "hello").name) == ("hello", "")
