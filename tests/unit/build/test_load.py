from pathlib import Path
from typing import Any

import jsonschema
import pytest

from imagepipe.build.load import find_folder, load_pipelines, override
from imagepipe.build.schema import SCHEMAS, json_schema
from imagepipe.documents import parse_document
from imagepipe.errors import ImagepipeError, InputError, NotFoundError, UsageError
from imagepipe.model.digest import Digest
from imagepipe.model.manifest import Platform
from imagepipe.model.pipeline import Pipeline

FULL = """\
version: 1
name: powerclicore
project: es-sandbox
build:
  context: context
  dockerfile: docker/Dockerfile
  target: runtime
  args: { BASE: "vmware/powerclicore" }
  secrets: []
  platforms: [linux/amd64]
  builder: engine
  profile: vch
needs: [base]
tags: ["{version}", "{branch}-{sha}"]
paths: ["src/**", "Dockerfile"]
labels: { org.opencontainers.image.licenses: Apache-2.0 }
matrix: {}
sign: { format: [bundle] }
attest: { provenance: true, sbom: auto }
"""


class Project:
    """A folder with pipelines in it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.file("pipelines/context/Dockerfile", "FROM scratch\n")

    def file(self, name: str, text: str) -> Path:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def pipeline(self, name: str, more: str = "", *, build: str = "context: context") -> Path:
        head = f"version: 1\nname: {name}\nproject: es-sandbox\nbuild: {{ {build} }}\n"
        return self.file(f"pipelines/{name}.yaml", head + more)

    def load(self, *names: str | Path, assign: tuple[str, ...] = (), below: str = ".") -> tuple[Pipeline, ...]:
        return load_pipelines(names, root=self.root / below, registry="vic.example", assignments=assign)

    def names(self, *names: str | Path) -> list[str]:
        return [pipeline.name for pipeline in self.load(*names)]

    def refusal(self, *names: str | Path, assign: tuple[str, ...] = ()) -> list[str]:
        with pytest.raises(ImagepipeError) as caught:
            self.load(*names, assign=assign)
        return caught.value.message.replace(f"{self.root}/", "").splitlines()


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


def test_a_full_pipeline_becomes_its_value(project: Project) -> None:
    project.pipeline("base")
    project.file("pipelines/context/docker/Dockerfile", "FROM scratch\n")
    path = project.file("pipelines/powerclicore.yaml", FULL)
    base, full = project.load("powerclicore")
    assert (base.name, full.name, full.project, full.needs) == ("base", "powerclicore", "es-sandbox", ("base",))
    assert full.build.context == project.root / "pipelines/context"
    assert (full.build.dockerfile, full.build.target, full.build.builder) == ("docker/Dockerfile", "runtime", "engine")
    assert (full.build.args, full.build.profile) == ({"BASE": "vmware/powerclicore"}, "vch")
    assert full.build.platforms == (Platform("linux", "amd64"),)
    assert (full.tags, full.paths) == (("{version}", "{branch}-{sha}"), ("src/**", "Dockerfile"))
    assert full.labels == {"org.opencontainers.image.licenses": "Apache-2.0"}
    assert (full.sign.format, full.attest.provenance, full.attest.sbom) == (("bundle",), True, "auto")
    assert (full.file, full.digest) == (path, Digest.of(FULL.encode()))
    assert full.where("tags.1") == "pipelines/powerclicore.yaml:14:21"
    assert full.where("labels.org.opencontainers.image.licenses") == "pipelines/powerclicore.yaml:16:11"


def test_a_short_pipeline_has_the_defaults(project: Project) -> None:
    project.file("pipelines/Dockerfile", "FROM scratch\n")
    project.file("pipelines/a.yaml", "version: 1\nname: a\nproject: es\n")
    (found,) = project.load()
    assert (found.build.context, found.tags, found.paths) == (project.root / "pipelines", ("{version}",), ())


def test_without_names_every_pipeline_is_loaded_in_the_order_of_names(project: Project) -> None:
    project.pipeline("b")
    project.pipeline("a", "needs: [c]\n")
    project.pipeline("c")
    assert project.names() == ["c", "a", "b"]


def test_the_pipelines_folder_is_searched_upwards(project: Project) -> None:
    project.pipeline("a")
    (project.root / "deep/down").mkdir(parents=True)
    (found,) = project.load("a", below="deep/down")
    assert found.where("name") == f"{project.root}/pipelines/a.yaml:2:1"
    assert find_folder(project.root / "deep") == project.root / "pipelines"


def test_a_file_may_stand_anywhere(project: Project) -> None:
    path = project.file(
        "elsewhere/my.yml", "version: 1\nname: my\nproject: es\nbuild: {context: ../pipelines/context}\n"
    )
    assert project.names(path) == project.names("elsewhere/my.yml") == ["my"]
    assert project.load(path)[0].build.context == project.root / "pipelines/context"


def test_a_pipeline_named_twice_is_loaded_once(project: Project) -> None:
    path = project.pipeline("a")
    assert project.names("a", path, "pipelines/a.yaml") == ["a"]


def test_what_a_pipeline_needs_comes_along(project: Project) -> None:
    project.pipeline("a", "needs: [b]\n")
    project.pipeline("b", "needs: [c]\n")
    project.pipeline("c")
    project.pipeline("d")
    assert project.names("a") == ["c", "b", "a"]
    assert [one.name for one in project.load("a", "c") if one.requested] == ["c", "a"]


def test_a_name_that_is_not_there_is_not_found_and_the_nearest_is_suggested(project: Project) -> None:
    project.pipeline("hello")
    with pytest.raises(NotFoundError, match=r"no pipeline named 'helo'; did you mean 'hello'\? \(there are hello\)"):
        project.load("helo")
    with pytest.raises(NotFoundError, match=r"pipelines/gone\.yaml: no such file"):
        project.load("pipelines/gone.yaml")


def test_no_pipelines_at_all_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="no pipelines folder in"):
        load_pipelines((), root=tmp_path, registry="vic.example")
    with pytest.raises(NotFoundError, match=r"no pipeline named 'a' \(there are none\)"):
        load_pipelines(["a"], root=tmp_path, registry="vic.example")
    (tmp_path / "pipelines").mkdir()
    with pytest.raises(NotFoundError, match="no pipelines in pipelines"):
        load_pipelines((), root=tmp_path, registry="vic.example")


@pytest.mark.parametrize(
    ("build", "more", "message"),
    [
        ("contxt: x", "", "4:10: build.contxt: unknown key; did you mean 'context'?"),
        ("context: context, args: {A: 1.10}", "", "4:35: build.args.A: must be text, not a number; put it in quotes"),
        ("context: context", "tags: latest\n", "5:1: tags: must be a list, not text"),
        ("context: context", "tags: []\n", "5:1: tags: must have at least 1 item, not 0"),
        ("context: context, builder: buildkit", "", "4:28: build.builder: must be 'auto', 'engine' or 'buildx', not"),
        ("context: context", 'tags: [ok, "{versoin}"]\n', "5:12: tags.1: unknown variable {versoin} in '{versoin}'"),
        ("context: context", 'tags: ["{version} x"]\n', "5:8: tags.0: '{version} x' makes no tag: use at most 128"),
        ("context: context", 'labels: {a.b: "{day}"}\n', "5:10: labels.a.b: unknown variable {day} in '{day}'"),
        ("context: gone", "", "4:10: build.context: no such folder: pipelines/gone"),
        ("context: context, dockerfile: Gone", "", "4:28: build.dockerfile: no such file: pipelines/context/Gone"),
        ("context: context, dockerfile: ../Up", "", "4:28: build.dockerfile: pipelines/Up lies outside the context"),
        ("context: context, platforms: [amd64]", "", "4:40: build.platforms.0: not a platform: 'amd64'; write"),
        ("context: context, platforms: [linux/arm64]", "", "4:40: build.platforms.0: a VCH runs linux/amd64 only"),
        ("context: context", "needs: [gone]\n", "5:9: needs.0: no pipeline is named 'gone'"),
        ("context: context", "needs: [a]\n", "5:9: needs.0: a cannot need itself"),
        ("context: context", "needs: [b, b]\n", "5:12: needs.1: b stands twice"),
        ("context: context", "attest: {sbom: maybe}\n", "5:10: attest.sbom: must be 'auto', true or false, not"),
        ("context: context", "sign: {format: []}\n", "5:8: sign.format: must have at least 1 item"),
    ],
)  # fmt: skip
def test_a_wrong_pipeline_is_refused_at_its_line(project: Project, build: str, more: str, message: str) -> None:
    project.pipeline("a", more, build=build)
    (line,) = project.refusal("a")
    assert line.startswith(f"pipelines/a.yaml:{message}")


@pytest.mark.parametrize(
    ("build", "more", "key", "what"),
    [
        ("context: context, secrets: [{id: npmrc, env: NPMRC}]", "", "build.secrets", "build secrets"),
        ("context: context, platforms: [linux/amd64, linux/amd64]", "", "build.platforms", "more than one platform"),
        ("context: context, builder: buildx", "", "build.builder", "builder buildx"),
        ("context: context, profile: oci", "", "build.profile", "profile oci"),
        ("context: 'https://git.example/a.git#main:x'", "", "build.context", "a git URL as context"),
        ("context: 'git@git.example:a.git'", "", "build.context", "a git URL as context"),
        ("context: context", "matrix: {python: ['3.11']}\n", "matrix", "a matrix"),
        ("context: context", "sign: {format: [bundle, legacy]}\n", "sign.format", "format legacy"),
        ("context: context", "attest: {sbom: true}\n", "attest.sbom", "sbom: true"),
    ],
)
def test_what_is_not_built_yet_is_refused_and_never_left_out(
    project: Project, build: str, more: str, key: str, what: str
) -> None:
    project.pipeline("a", more, build=build)
    (line,) = project.refusal("a")
    assert line.startswith("pipelines/a.yaml:")
    assert line.endswith(f": {key}: {what} is not supported yet")


@pytest.mark.parametrize("sbom", ["auto", "false"])
def test_an_sbom_where_there_is_one_or_none_is_accepted(project: Project, sbom: str) -> None:
    project.pipeline("a", f"attest: {{sbom: {sbom}, provenance: false}}\n")
    (found,) = project.load("a")
    assert (found.attest.sbom, found.attest.provenance) == ("auto" if sbom == "auto" else False, False)


def test_the_kind_of_error_tells_what_is_absent_from_what_is_wrong(project: Project) -> None:
    project.pipeline("a", build="context: gone")
    with pytest.raises(NotFoundError):
        project.load("a")
    project.pipeline("a", "matrix: {python: ['3.11']}\n", build="context: gone")
    with pytest.raises(InputError):
        project.load("a")


def test_every_problem_of_a_file_is_told_at_once(project: Project) -> None:
    project.file("pipelines/a.yaml", "version: 2\nname: 3\nprojct: es\nbuild: []\n")
    assert project.refusal("a") == [
        "pipelines/a.yaml:1:1: version: must be 1, the only version there is, not 2",
        "pipelines/a.yaml:1:1: project: is missing",
        "pipelines/a.yaml:2:1: name: must be text, not a number; put it in quotes",
        "pipelines/a.yaml:3:1: projct: unknown key; did you mean 'project'?",
        "pipelines/a.yaml:4:1: build: must be a mapping, not a list",
    ]


@pytest.mark.parametrize("name", ["Hello", "a//b", "a b"])
def test_a_name_that_makes_no_repository_is_refused(project: Project, name: str) -> None:
    project.file("pipelines/a.yaml", f"version: 1\nname: {name}\nproject: es\nbuild: {{context: context}}\n")
    (line,) = project.refusal("a")
    assert line.startswith("pipelines/a.yaml:2:1: name: not a repository name")


def test_a_wrong_project_is_refused_where_it_stands(project: Project) -> None:
    project.file("pipelines/a.yaml", "version: 1\nname: a\nproject: ES\nbuild: {context: context}\n")
    (line,) = project.refusal("a")
    assert line.startswith("pipelines/a.yaml:3:1: project: not a repository name: 'ES'; use lower-case letters")
    long = "n" * 250
    project.file("pipelines/a.yaml", f"version: 1\nname: {long}\nproject: es\nbuild: {{context: context}}\n")
    assert project.refusal("a")[0].startswith("pipelines/a.yaml:2:1: name: not a repository name: 'nnn")


@pytest.mark.parametrize("odd", ["x" * 300, '"a\\0b"', "loop"])
def test_a_path_that_no_file_can_have_is_not_found(project: Project, odd: str) -> None:
    (project.root / "pipelines" / "loop").symlink_to("loop")
    (project.root / "pipelines" / "context" / "loop").symlink_to("loop")
    project.pipeline("a", build=f"context: {odd}")
    assert "build.context: no such folder: " in project.refusal("a")[0]
    project.pipeline("a", build=f"context: context, dockerfile: {odd}")
    assert "build.dockerfile: no such file: " in project.refusal("a")[0]
    project.pipeline("a", f"needs: [{odd}]\n")
    assert "needs.0: no pipeline is named" in project.refusal("a")[0]


def test_a_name_that_no_file_can_have_is_not_found_nor_is_a_folder(project: Project) -> None:
    (project.root / "pipelines" / "folder.yaml").mkdir()
    project.pipeline("a")
    assert project.names() == ["a"]
    for name in ("x" * 300, "folder"):
        assert project.refusal(name) == [f"no pipeline named {name!r} (there are a)"]


def test_a_circle_of_needs_is_refused(project: Project) -> None:
    project.pipeline("a", "needs: [b]\n")
    project.pipeline("b", "needs: [a]\n")
    assert project.refusal("a") == [
        "pipelines/a.yaml:5:9: needs go in a circle: a needs b (pipelines/a.yaml:5:9), b needs a (pipelines/b.yaml:5:9)"
    ]


def test_a_file_whose_name_is_not_the_pipelines_is_no_endless_search(project: Project) -> None:
    project.file("pipelines/b.yaml", "version: 1\nname: c\nproject: es\nbuild: {context: context}\nneeds: [b]\n")
    project.pipeline("a", "needs: [b]\n")
    assert project.refusal("a") == ["pipelines/a.yaml:5:9: needs.0: no pipeline is named 'b'"]


def test_two_files_that_claim_one_image_are_refused(project: Project) -> None:
    project.pipeline("a")
    project.file("pipelines/b.yaml", "version: 1\nname: a\nproject: es\nbuild: {context: context}\n")
    assert project.refusal() == ["pipelines/b.yaml:2:1: name: 'a' is also the name at pipelines/a.yaml:2:1"]


def test_an_assignment_changes_what_was_named_and_not_what_that_needs(project: Project) -> None:
    project.pipeline("base")
    project.pipeline("a", "needs: [base]\n")
    base, found = project.load("a", assign=("build.target=debug", 'labels."a.b"=x', "build.args.V=1.10"))
    assert (base.build.target, found.build.target) == (None, "debug")
    assert (found.labels, found.build.args) == ({"a.b": "x"}, {"V": "1.10"})


def test_a_wrong_assignment_is_named_as_the_origin(project: Project) -> None:
    project.pipeline("a")
    assert project.refusal("a", assign=("build.taget=x",)) == [
        "pipelines/a.yaml (--set build.taget): build.taget: unknown key; did you mean 'target'?"
    ]
    assert project.refusal("a", assign=("build.context=gone",)) == [
        "pipelines/a.yaml (--set build.context): build.context: no such folder: pipelines/gone"
    ]
    with pytest.raises(UsageError, match="not an assignment"):
        project.load("a", assign=("nonsense",))


def test_override_leaves_the_document_as_it_was() -> None:
    document = parse_document(b"name: a\n", "a.yaml")
    assert override(document, ["name=b"]).data == {"name": "b"}
    assert document.data == {"name": "a"}


def test_a_symbolic_link_to_the_project_changes_nothing(project: Project, tmp_path: Path) -> None:
    project.pipeline("a")
    link = tmp_path / "link"
    link.symlink_to(project.root)
    (found,) = load_pipelines(["a"], root=link, registry="vic.example")
    assert found.where("name") == "pipelines/a.yaml:2:1"


@pytest.mark.parametrize("which", SCHEMAS)
def test_a_published_schema_is_a_schema(which: str) -> None:
    schema = json_schema(which)
    jsonschema.Draft202012Validator.check_schema(schema)
    assert schema["additionalProperties"] is False


def test_the_schema_of_pipelines_accepts_a_full_one_and_refuses_what_the_loader_refuses() -> None:
    validator = jsonschema.Draft202012Validator(json_schema("pipeline"))

    def errors(text: str) -> list[Any]:
        return list(validator.iter_errors(parse_document(text.encode(), "x.yaml").data))

    assert errors(FULL) == []
    assert len(errors(FULL.replace("version: 1", "version: 2"))) == 1
    assert len(errors(FULL.replace("needs:", "neds:"))) == 1
    assert len(errors(FULL.replace("sbom: auto", "sbom: maybe"))) == 1


def test_a_schema_that_is_not_there_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match="no schema named 'pipelines'; did you mean 'pipeline'"):
        json_schema("pipelines")


def test_the_schema_of_the_configuration_knows_groups_and_refuses_an_empty_one() -> None:
    validator = jsonschema.Draft202012Validator(json_schema("config"))
    assert validator.is_valid({"groups": {"prod": ["prod-a"]}})
    assert not validator.is_valid({"groups": {"prod": []}})
