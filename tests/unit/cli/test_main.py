import json
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import typer

from imagepipe import __version__
from imagepipe.cli.main import COMMANDS, command_line, run
from imagepipe.cli.main import _unexpected as unexpected
from imagepipe.cli.session import Session


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No configuration of this machine is seen."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("XDG_CONFIG_HOME", "IMAGEPIPE_CONFIG", "DOCKER_HOST", "GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY"):
        monkeypatch.delenv(name, raising=False)


def error_of(capsys: pytest.CaptureFixture[str]) -> dict[str, object]:
    document = json.loads(capsys.readouterr().out)
    assert document["schema"] == "imagepipe.error/v1"
    error: dict[str, object] = document["error"]
    return error


def test_the_version_is_printed_in_both_ways(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--version"]) == 0
    assert capsys.readouterr().out == f"imagepipe {__version__}\n"
    done = subprocess.run(
        [sys.executable, "-m", "imagepipe", "-V"], capture_output=True, text=True, check=True, timeout=30
    )
    assert done.stdout == f"imagepipe {__version__}\n"


def test_the_version_imports_nothing_that_costs() -> None:
    program = (
        "import sys; sys.argv = ['imagepipe', '--version']; import imagepipe.__main__ as m; m.main();"
        "print(sorted({'docker', 'sigstore', 'httpx', 'pydantic', 'typer', 'rich'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=30)
    assert done.stdout.splitlines()[-1] == "[]"


def test_help_does_not_import_the_adapters() -> None:
    program = (
        "import sys; from imagepipe.cli.main import run; run(['--help']);"
        "print(sorted({'docker', 'sigstore', 'httpx', 'pydantic', 'yaml', 'cryptography'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=30)
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize(("module", "names"), COMMANDS.items())
def test_a_module_has_the_commands_by_which_it_is_found(module: str, names: tuple[str, ...]) -> None:
    for name in names:
        alone = typer.main.get_command(command_line(name))
        assert tuple(alone.commands) == names  # type: ignore[attr-defined] # a group, with or without others


def test_a_command_imports_no_other() -> None:
    program = (
        "import sys; from imagepipe.cli.main import run; run(['digest', '--help']);"
        "print(sorted(name for name in sys.modules if name in ('imagepipe.cli.image', 'imagepipe.cli.robot')))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=30)
    assert done.stdout.splitlines()[-1] == "['imagepipe.cli.image']"


@pytest.mark.parametrize("number", ["inf", "1e300", "99999999999"])
@pytest.mark.parametrize(
    "argv",
    [
        ["robot", "list", "--expiring"],
        ["robot", "rotate", "es", "ci", "--out", "ci.env", "--yes", "--grace"],
        ["access", "review", "--soon"],
        ["access", "review", "--idle"],
        ["promote", "es/web:1", "--to", "a", "--max-age"],
        ["approve", "plan.json", "--max-age"],
    ],
)
def test_a_time_beyond_every_calendar_is_usage(
    argv: list[str], number: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([*argv, number]) == 2
    assert f"Invalid value for '{argv[-1]}'" in capsys.readouterr().err


@pytest.mark.parametrize("argv", [["promot"], ["promote"], ["promote", "x"], ["run", "--no-such"], ["run", "-j", "0"]])
def test_a_command_line_that_makes_no_sense_is_usage(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(argv) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("error: ")
    assert "hint: " in printed.err


def test_a_usage_error_is_json_too(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["promote", "x", "--json"]) == 2
    error = error_of(capsys)
    assert error["kind"] == "usage"
    assert "--to" in str(error["message"])


@pytest.mark.parametrize("argv", [[], ["sandbox"], ["config"]])
def test_no_command_shows_the_help(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(argv) == 2
    assert "Usage: imagepipe" in capsys.readouterr().err


@pytest.mark.parametrize("group", ["", "project", "member", "robot", "access", "targets", "config", "sandbox"])
def test_the_help_cuts_no_command_short(
    group: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert run([*group.split(), "--help"]) == 0
    listed = capsys.readouterr().out.partition("Commands:\n")[2]
    assert listed
    assert "..." not in listed


def test_without_a_registry_a_short_image_name_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["digest", "es-sandbox/hello:1", "--json"]) == 3
    error = error_of(capsys)
    assert "no registry" in str(error["message"])
    assert "imagepipe.toml" in str(error["hint"])


def test_an_image_without_a_project_is_told(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IMAGEPIPE_REGISTRY", "vic.example")
    assert run(["digest", "hello:1", "--json"]) == 3
    assert "no project" in str(error_of(capsys)["message"])


def test_an_unknown_target_is_not_found(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IMAGEPIPE_REGISTRY", "vic.example")
    assert run(["promote", "es-sandbox/hello:1", "--to", "nowhere", "--yes", "--json"]) == 4
    assert "nowhere" in str(error_of(capsys)["message"])


@pytest.mark.parametrize("argv", [["status"], ["status", "web"], ["history", "web"]])
def test_who_looks_at_images_is_not_sent_to_write_a_pipeline(
    argv: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IMAGEPIPE_REGISTRY", "vic.example")
    assert run([*argv, "--json"]) == 4
    error = error_of(capsys)
    assert str(error["message"]).startswith("no pipeline")
    assert error["hint"] == "name what to look at as project/name, or go to its pipelines"


def test_a_wrong_setting_names_file_and_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "imagepipe.toml").write_text('registry = "vic.example"\n\n[biuld]\njobs = 2\n')
    assert run(["config", "show", "--json"]) == 3
    error = error_of(capsys)
    assert "imagepipe.toml:3" in str(error["message"])
    assert "build" in str(error["message"])


def test_a_working_directory_that_is_gone_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert run(["config", "show", "--json"]) == 4
    assert error_of(capsys)["message"] == "the working directory is gone"


def test_config_show_names_the_origin(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "imagepipe.toml").write_text('registry = "vic.example"\n')
    assert run(["config", "show", "--origin", "--json"]) == 0
    rows = {row["key"]: row for row in json.loads(capsys.readouterr().out)["settings"]}
    assert rows["registry"]["value"] == "vic.example"
    assert "imagepipe.toml:1" in rows["registry"]["origin"]
    assert run(["config", "show", "--origin"]) == 0
    assert "registry = vic.example  # " in capsys.readouterr().out


@pytest.mark.parametrize("name", ["pipeline", "config"])
def test_the_schemas_are_published(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["schema", name]) == 0
    published = json.loads(capsys.readouterr().out)
    assert "$schema" in published
    assert run(["schema", name, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"schema": "imagepipe.schema/v1", **published}


@pytest.mark.parametrize(
    ("argv", "hint"),
    [
        (["--json", "status"], "write it behind the command: imagepipe COMMAND --json"),
        (["sandbox", "-c", "x", "status", "--json"], "write it behind the command: imagepipe sandbox COMMAND -c"),
        (["--nope", "--json"], "see `imagepipe --help`"),
        (["verify", "--json"], "see `imagepipe verify --help`"),
        (["member", "ad", "--json"], "see `imagepipe member --help`"),
    ],
)
def test_a_command_line_that_makes_no_sense_is_answered_with_where_it_is_explained(
    argv: list[str], hint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(argv) == 2
    assert error_of(capsys)["hint"] == hint


def test_an_unknown_schema_is_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["schema", "piepline"]) == 2
    assert "hint" in capsys.readouterr().err


def test_a_policy_is_asked_for_where_there_is_none_or_several(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "imagepipe.toml"
    config.write_text('registry = "vic.example"\n')
    assert run(["verify", "es-sandbox/hello:1"]) == 3
    entry = 'signed_by = [{ identity = "a@b", issuer = "https://i" }]\n'
    config.write_text(f'registry = "vic.example"\n[policies.a]\n{entry}[policies.b]\n{entry}')
    assert run(["verify", "es-sandbox/hello:1"]) == 2
    assert "--policy" in capsys.readouterr().err


def test_a_bug_is_told_as_one_and_shown_in_full_on_request(capsys: pytest.CaptureFixture[str]) -> None:
    assert unexpected(Session(as_json=True), RuntimeError("boom"), []) == 1
    printed = capsys.readouterr()
    assert json.loads(printed.out)["error"]["kind"] == "internal"
    assert "a bug: RuntimeError: boom" in printed.err
    assert "Traceback" not in printed.err + printed.out
    assert unexpected(Session(), RuntimeError("boom"), ["-v"]) == 1
    assert "RuntimeError: boom" in capsys.readouterr().err.splitlines()[0]


def test_an_unknown_progress_is_usage(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IMAGEPIPE_REGISTRY", "vic.example")
    assert run(["digest", "es-sandbox/hello:1", "--progress", "fancy"]) == 2
    assert "auto, plain or none" in capsys.readouterr().err


def test_a_sandbox_without_its_packages_names_them(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("imagepipe.cli.sandbox.find_spec", lambda _: None)
    project = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text())["project"]
    wanted = {one.partition(">=")[0] for one in project["optional-dependencies"]["sandbox"]}
    assert run(["sandbox", "status", "--json"]) == 3
    assert set(str(error_of(capsys)["hint"]).partition("pip install ")[2].split()) == wanted


def test_ctrl_c_while_the_command_line_is_read_is_told(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def pressed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(typer.core.TyperGroup, "invoke", pressed)
    assert run(["digest", "a/b:1", "--json"]) == 130
    assert error_of(capsys)["kind"] == "interrupted"
