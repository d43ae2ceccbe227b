from pathlib import Path

import pytest

from imagepipe.errors import InputError
from imagepipe.model.digest import Digest
from imagepipe.model.manifest import Platform
from imagepipe.model.pipeline import BuildSecret, BuildSpec, Pipeline

FILE = Path("/src/pipelines/hello.yaml")


def pipeline(**lines: str) -> Pipeline:
    found = {key.replace("__", "."): line for key, line in lines.items()}
    return Pipeline("hello", "es", BuildSpec(Path("/src")), file=FILE, digest=Digest.of(b""), lines=found)


def test_pipelines_from_equal_bytes_at_the_same_path_are_equal_wherever_their_lines_are_kept() -> None:
    assert pipeline(tags="hello.yaml:3") == pipeline()
    assert hash(pipeline(tags="hello.yaml:3")) == hash(pipeline())


def test_a_pipeline_says_one_linux_image_tagged_by_version_unless_told() -> None:
    told = pipeline()
    assert told.tags == ("{version}",)
    assert told.build.platforms == (Platform("linux", "amd64"),)
    assert (told.sign.format, told.attest.provenance, told.attest.sbom) == (("bundle",), True, "auto")


@pytest.mark.parametrize(
    ("key", "where"),
    [("tags.0", "h:3:9"), ("tags.7", "h:3:1"), ("labels.x.y", str(FILE)), ("", str(FILE))],
)
def test_a_key_is_found_at_its_line_or_at_the_nearest_round_it(key: str, where: str) -> None:
    assert pipeline(tags="h:3:1", tags__0="h:3:9").where(key) == where


def test_project_and_name_make_the_repository() -> None:
    assert str(pipeline().repository("vic.example:8443")) == "vic.example:8443/es/hello"


@pytest.mark.parametrize(("env", "file"), [(None, None), ("NPMRC", Path("/k"))])
def test_a_build_secret_comes_from_exactly_one_place(env: str | None, file: Path | None) -> None:
    with pytest.raises(InputError, match="exactly one of"):
        BuildSecret("npmrc", env, file)


def test_a_build_secret_from_one_place_is_fine() -> None:
    assert BuildSecret("npmrc", env="NPMRC").file is None


def test_a_build_is_for_some_platform() -> None:
    with pytest.raises(InputError, match="at least one platform"):
        BuildSpec(Path("/src"), platforms=())


def test_the_values_of_build_arguments_do_not_show() -> None:
    assert "hunter2" not in repr(BuildSpec(Path("/src"), args={"TOKEN": "hunter2"}))
