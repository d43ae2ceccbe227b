"""What a user writes wrong: command lines, pipelines, settings, Dockerfiles; each told with its place and a way out."""

import json
from collections.abc import Callable

import pytest

from tests.e2e.box import Box
from tests.e2e.cli import Cli
from tests.e2e.workspace import DOCKERFILE, Workspace

pytestmark = pytest.mark.sandbox


@pytest.mark.parametrize(
    "argv",
    [
        ("promote",),
        ("promote", "es-sandbox/x:1"),
        ("promot", "es-sandbox/x:1"),
        ("run", "--no-such-flag"),
        ("run", "--jobs", "none"),
        ("sandbox", "up", "--flavour", "gitlab", "--dir", "/nowhere/at/all"),
        ("digest", "a", "b"),
    ],
)
def test_a_command_line_that_makes_no_sense_is_exit_2(cli: Cli, argv: tuple[str, ...]) -> None:
    cli.run(*argv).fails(2)
    cli.run(*argv, "--json").fails(2, kind="usage")


def test_an_unknown_progress_is_refused(cli: Cli, box: Box) -> None:
    cli.run("run", "--progress", "fancy", "--json").fails(2, "fancy", hint="auto, plain or none", kind="usage")


def test_no_terminal_and_no_yes_changes_nothing(box: Box, cli: Cli, signed: str) -> None:
    before = box.registry.attached("es-sandbox/signed", signed.partition("@")[2])
    for extra in ((), ("--json",)):
        cli.run("promote", signed, "--to", "vch-a", *extra).fails(2, "no terminal", hint="--yes")
    assert not box.host("vch-a").holds(signed)
    assert box.registry.attached("es-sandbox/signed", signed.partition("@")[2]) == before


def test_an_unknown_tag_is_exit_4(box: Box, cli: Cli, signed: str) -> None:
    for argv in (("digest", "es-sandbox/signed:9"), ("promote", "es-sandbox/signed:9", "--to", "vch-a", "--yes")):
        cli.run(*argv, "--json").fails(4, "es-sandbox/signed:9", hint="tag", kind="not_found")


def test_an_unknown_digest_is_exit_4(box: Box, cli: Cli, signed: str) -> None:
    absent = f"{box.registry.host}/es-sandbox/signed@sha256:{'0' * 64}"
    cli.run("digest", absent, "--json").fails(4, "0" * 64, kind="not_found")


def test_a_history_of_what_is_not_there_is_exit_4_and_an_empty_one_is_not(box: Box, cli: Cli, signed: str) -> None:
    for name, said in (("es-sandbox/never", "no image of that name"), (f"{signed[:-3]}000", "no such image")):
        cli.run("history", name, "--json").fails(4, said, hint="correct the name", kind="not_found")
    assert cli.run("history", "es-sandbox/base", "--json").ok().json()["entries"] == []


def test_an_unknown_target_is_exit_4_and_suggests_the_near_one(box: Box, cli: Cli, signed: str) -> None:
    run = cli.run("promote", signed, "--to", "vhc-a", "--yes", "--json")
    run.fails(4, "vhc-a", "vch-a", hint="targets", kind="not_found")


def test_an_unknown_pipeline_is_exit_4_and_suggests_the_near_one(
    box: Box, cli: Cli, workspace: Callable[..., Workspace]
) -> None:
    cli.run("run", "helo", "--json", cwd=workspace("hello").folder).fails(4, "helo", "hello", kind="not_found")


def test_an_unknown_key_in_a_pipeline_names_file_line_and_the_likely_key(
    box: Box, cli: Cli, workspace: Callable[..., Workspace]
) -> None:
    made = workspace("typo")
    made.pipeline.write_text(made.pipeline.read_text().replace("  context:", "  contxt:"))
    run = cli.run("run", "typo", "--json", cwd=made.folder)
    run.fails(3, r"pipelines/typo\.yaml:5", "contxt", "context", hint="correct the file", kind="input")


def test_an_unknown_variable_in_a_tag_names_file_line_and_the_likely_one(
    box: Box, cli: Cli, workspace: Callable[..., Workspace]
) -> None:
    made = workspace("variable")
    made.pipeline.write_text(made.pipeline.read_text().replace("{branch}", "{brunch}"))
    run = cli.run("run", "variable", "--json", cwd=made.folder)
    run.fails(3, r"pipelines/variable\.yaml:7", r"\{brunch\}", "branch", kind="input")


def test_a_missing_context_is_told_with_its_place(box: Box, cli: Cli, workspace: Callable[..., Workspace]) -> None:
    made = workspace("contextless")
    made.context.rename(made.context.with_name("elsewhere"))
    run = cli.run("run", "contextless", "--json", cwd=made.folder)
    said = (r"pipelines/contextless\.yaml:5", "no such folder", str(made.context))
    run.fails(4, *said, hint="correct the pipeline file", kind="not_found")


def test_two_images_that_claim_one_tag_are_refused_before_anything_is_built(
    box: Box, cli: Cli, workspace: Callable[..., Workspace]
) -> None:
    made = workspace("twice")
    (made.folder / "pipelines" / "again.yaml").write_text(made.pipeline.read_text())
    run = cli.run("run", "--json", cwd=made.folder)
    run.fails(3, r"pipelines/again\.yaml:\d+", r"pipelines/twice\.yaml:\d+", kind="input")
    assert box.registry.tags(made.repository) == []


def test_a_base_that_is_not_there_is_exit_4(box: Box, cli: Cli, workspace: Callable[..., Workspace]) -> None:
    made = workspace("baseless")
    made.pipeline.write_text(made.pipeline.read_text().replace("base:1", "base:2"))
    run = cli.run("run", "baseless", "--json", cwd=made.folder)
    run.fails(4, "es-sandbox/base:2", "baseless", kind="not_found")


def test_a_dockerfile_that_fails_is_exit_7_with_what_the_step_printed(
    box: Box, cli: Cli, workspace: Callable[..., Workspace]
) -> None:
    made = workspace("broken", DOCKERFILE + "RUN echo the reason >&2 && exit 3\n")
    run = cli.run("run", "broken", "--json", cwd=made.folder)
    run.fails(7, "the reason", "exit 3", "3", hint="correct Dockerfile", kind="build")
    assert box.registry.tags(made.repository) == []


def test_one_image_of_two_that_fails_is_exit_10_and_the_other_is_done(
    box: Box, cli: Cli, workspace: Callable[..., Workspace]
) -> None:
    made = workspace("good")
    Workspace.make(made.folder / "other", "bad", dockerfile=DOCKERFILE + "RUN exit 9\n")
    bad = made.folder / "other" / "pipelines" / "bad.yaml"
    run = cli.run("run", "good", str(bad), "--json", cwd=made.folder)
    document = run.fails(10, "bad", kind="partial", schema="imagepipe.run/v1")
    assert [(one["name"], bool(one["image"])) for one in document["images"]] == [("good", True), ("bad", False)]
    cli.run("verify", document["images"][0]["image"]).ok()
    assert box.registry.tags("es-sandbox/bad") == []


def test_a_target_without_a_policy_is_exit_3(box: Box, cli: Cli, signed: str) -> None:
    config = box.config({"targets.vch-a.policy": None})
    run = cli.run("promote", signed, "--to", "vch-a", "--yes", "--json", config=config)
    run.fails(3, "vch-a", "no policy", hint=r"\[targets\.vch-a\]", kind="settings")
    assert not box.host("vch-a").holds(signed)


def test_an_unknown_setting_names_file_line_and_the_likely_one(box: Box, cli: Cli) -> None:
    config = box.config({"targets.vch-a.polcy": "sandbox"})
    line = next(n for n, text in enumerate(config.read_text().splitlines(), 1) if text.startswith("polcy"))
    cli.run("status", "--json", config=config).fails(3, f"{config}:{line}", "polcy", "policy", kind="settings")


def test_a_configuration_that_is_not_there_is_told(box: Box, cli: Cli) -> None:
    cli.run("status", "--json", config=box.folder / "absent.toml").fails(4, "absent.toml", kind="not_found")


def test_an_answer_on_stdout_is_alone_there(box: Box, cli: Cli, signed: str) -> None:
    run = cli.run("digest", signed, "--json", "-v").ok()
    assert json.loads(run.out)["image"] == signed
