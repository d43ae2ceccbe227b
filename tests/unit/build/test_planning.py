"""What a run builds after a change, in work trees made for the purpose."""

import json
from pathlib import Path

import pytest

from imagepipe.build.load import load_pipelines
from imagepipe.build.planning import Planned, plan_run
from imagepipe.cli.main import run
from imagepipe.errors import InputError, NotFoundError
from imagepipe.source.git import Git
from tests.unit.source.test_git import WorkTree

REGISTRY = "vic.example"


class Monorepo:
    """Three images: `app` is built on `base`, and `docs` stands alone with `paths` of its own."""

    def __init__(self, root: Path) -> None:
        self.tree = WorkTree(root)
        for name, more in (
            ("base", {}),
            ("app", {"needs": ["base"]}),
            ("docs", {"paths": ["../text/**/*.md", "docs/Dockerfile"]}),
        ):
            pipeline = {"version": 1, "name": name, "project": "es", "build": {"context": name}, "tags": ["{sha}"]}
            self.tree.write(f"pipelines/{name}.yaml", json.dumps(pipeline | more))
            self.tree.write(f"pipelines/{name}/Dockerfile", "FROM scratch\n")
        self.tree.write("text/deep/er/one.md")
        self.tree.write("README.md")
        self.tree.commit()
        self.tree.git("tag", "then")

    def plan(self, *names: str, since: str | None = "then", tags: tuple[str, ...] = ()) -> dict[str, Planned]:
        pipelines = load_pipelines(names, root=self.tree.root, registry=REGISTRY)
        planned = plan_run(pipelines, since, registry=REGISTRY, source=Git(), tags=tags)
        assert [one.pipeline for one in planned] == list(pipelines)
        return {one.pipeline.name: one for one in planned}

    def built(self, *names: str, since: str | None = "then") -> dict[str, str]:
        """Returns why each is built that is."""
        return {name: one.why for name, one in self.plan(*names, since=since).items() if one.builds}


@pytest.fixture
def monorepo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Monorepo:
    monkeypatch.setenv("GIT_COMMITTER_DATE", "2026-01-02T03:04:05+02:00")
    (tmp_path / "tree").mkdir()
    return Monorepo((tmp_path / "tree").resolve())


def test_without_a_revision_everything_named_is_built_and_what_it_needs(monorepo: Monorepo) -> None:
    assert set(monorepo.built(since=None)) == {"app", "base", "docs"}
    assert monorepo.built("app", since=None) == {"app": "asked for", "base": "app needs it"}


def test_what_did_not_change_is_left_out_with_the_reason(monorepo: Monorepo) -> None:
    monorepo.tree.write("README.md", "edited")
    monorepo.tree.write("text/deep/er/one.txt")
    planned = monorepo.plan()
    assert not any(one.builds for one in planned.values())
    assert {one.why for one in planned.values()} == {"nothing of it changed since then"}
    assert {one.references for one in planned.values()} == {()}


@pytest.mark.parametrize("committed", [True, False])
def test_what_changed_is_built_and_so_is_what_needs_it(monorepo: Monorepo, committed: bool) -> None:
    for number in range(5):
        monorepo.tree.write(f"pipelines/base/{number}")
    if committed:
        monorepo.tree.commit()
    planned = monorepo.plan()
    assert {name: one.why for name, one in planned.items() if one.builds} == {
        "base": "changed: pipelines/base/0, pipelines/base/1, pipelines/base/2 and 2 more",
        "app": "base, which it needs, is built anew",
    }
    assert len(planned["base"].changed) == 5
    (tag,) = planned["base"].references
    assert str(tag) == f"vic.example/es/base:{monorepo.tree.git('rev-parse', 'HEAD')[:12]}"


def test_what_a_changed_one_needs_is_built_too_for_it_is_built_on_that(monorepo: Monorepo) -> None:
    (monorepo.tree.root / "pipelines/app/Dockerfile").write_text("FROM scratch\nLABEL a=b\n")
    assert monorepo.built() == {"base": "app needs it", "app": "changed: pipelines/app/Dockerfile"}


@pytest.mark.parametrize("name", ["text/new.md", "text/a/b/c.md", "pipelines/docs/Dockerfile", "pipelines/docs.yaml"])
def test_paths_say_what_counts_and_the_pipeline_s_own_file_always_does(monorepo: Monorepo, name: str) -> None:
    with (monorepo.tree.write(name, "") if name.endswith("md") else monorepo.tree.root / name).open("a") as file:
        file.write("\n")
    assert monorepo.built() == {"docs": f"changed: {name}"}


def test_with_paths_the_rest_of_the_context_does_not_count(monorepo: Monorepo) -> None:
    monorepo.tree.write("pipelines/docs/unrelated")
    assert monorepo.built() == {}


def test_a_file_that_was_deleted_or_renamed_has_changed(monorepo: Monorepo) -> None:
    monorepo.tree.git("mv", "text/deep/er/one.md", "README.txt")
    assert monorepo.built() == {"docs": "changed: text/deep/er/one.md"}


def test_a_context_in_another_work_tree_is_always_built(monorepo: Monorepo, tmp_path: Path) -> None:
    for name, folder in (("other", tmp_path / "other"), ("nowhere", tmp_path)):
        folder.mkdir(exist_ok=True)
        (folder / "Dockerfile").write_text("FROM scratch\n")
        pipeline = {"version": 1, "name": name, "project": "es", "build": {"context": str(folder)}, "tags": ["1"]}
        monorepo.tree.write(f"pipelines/{name}.yaml", json.dumps(pipeline))
    WorkTree(tmp_path / "other").commit()
    monorepo.tree.commit()
    monorepo.tree.git("tag", "now")
    told = "its context is in another work tree than its file"
    assert monorepo.built(since="now") == {"nowhere": told, "other": told}


def test_a_glob_that_leads_out_of_the_work_tree_is_told(monorepo: Monorepo) -> None:
    pipeline = json.loads((monorepo.tree.root / "pipelines/docs.yaml").read_text())
    monorepo.tree.write("pipelines/docs.yaml", json.dumps(pipeline | {"paths": ["../../*"]}))
    with pytest.raises(InputError, match=r"git cannot compare \.\./\.\./\* in .*pipelines with 'then'"):
        monorepo.plan()


def test_an_unknown_revision_is_not_found_and_a_claimed_tag_is_refused(monorepo: Monorepo) -> None:
    with pytest.raises(NotFoundError, match="revision 'never' is unknown"):
        monorepo.plan(since="never")
    with pytest.raises(InputError, match="unknown variable"):
        monorepo.plan("docs", since=None, tags=("{odd}",))


def test_the_plan_is_one_line_for_each_or_one_document(
    monorepo: Monorepo, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(monorepo.tree.root)
    monkeypatch.setenv("IMAGEPIPE_REGISTRY", REGISTRY)
    monorepo.tree.write("text/new.md")
    assert run(["plan", "--changed-since", "then", "--tag", "9"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "leave\tbase\tnothing of it changed since then",
        "leave\tapp\tnothing of it changed since then",
        "build\tdocs\tchanged: text/new.md\tvic.example/es/docs:9",
    ]
    assert run(["plan", "--changed-since", "then", "--json", "--detailed-exitcode"]) == 9
    document = json.loads(capsys.readouterr().out)
    assert (document["schema"], document["changed_since"]) == ("imagepipe.plan/v1", "then")
    assert {one["name"]: (one["build"], one["changed"], one["needs"]) for one in document["images"]} == {
        "base": (False, [], []),
        "app": (False, [], ["base"]),
        "docs": (True, ["text/new.md"], []),
    }
    assert run(["plan", "app", "--changed-since", "then", "--detailed-exitcode"]) == 0


def test_a_file_s_name_makes_no_line_of_its_own(
    monorepo: Monorepo, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(monorepo.tree.root)
    monkeypatch.setenv("IMAGEPIPE_REGISTRY", REGISTRY)
    monorepo.tree.write("text/new\nbuild\tforged\x1b[2J.md")
    assert run(["plan", "docs", "--changed-since", "then", "--tag", "9"]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("build\tdocs\tchanged: text/new")
    assert line.count("\t") == 3
    assert "\x1b" not in line


def test_a_run_of_which_nothing_changed_builds_nothing_and_asks_nobody(
    monorepo: Monorepo, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.chdir(monorepo.tree.root)
    monkeypatch.setenv("IMAGEPIPE_REGISTRY", "127.0.0.1:1")
    monkeypatch.setenv("IMAGEPIPE_BUILD__HOST", "unix:///nowhere")
    written = tmp_path / "run.json"
    assert run(["run", "--changed-since", "then", "--metadata-file", str(written)]) == 0
    told = capsys.readouterr()
    assert told.out == ""
    assert "left out docs: nothing of it changed since then" in told.err
    assert run(["run", "--changed-since", "then", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"schema": "imagepipe.run/v1", "images": []}
    assert json.loads(written.read_text()) == {"schema": "imagepipe.run/v1", "images": []}
