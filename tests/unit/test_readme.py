"""What the README shows can be pasted: its files are accepted, its commands and options exist."""

import re
import shlex
from pathlib import Path

import pytest
import typer

from imagepipe.build.load import load_pipelines
from imagepipe.cli.main import command_line
from imagepipe.settings import load_settings

_TEXT = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")


def _blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", _TEXT, re.DOTALL)


def _commands() -> list[str]:
    lines = "\n".join(_blocks("sh")).splitlines()
    return [line for line in lines if line.startswith("imagepipe ")]


def test_every_configuration_is_accepted_as_it_stands(tmp_path: Path) -> None:
    blocks = _blocks("toml")
    for text in blocks:
        (tmp_path / "imagepipe.toml").write_text(text, encoding="utf-8")
        settings = load_settings(flags={}, config_file=None, cwd=tmp_path, environ={"HOME": str(tmp_path)})
        assert settings.members(["prod"]) == ("prod-a",)
    assert blocks


def test_every_pipeline_is_accepted_as_it_stands(tmp_path: Path) -> None:
    blocks = _blocks("yaml")
    for folder in ("pipelines", "web"):
        (tmp_path / folder).mkdir()
    (tmp_path / "web" / "Dockerfile").write_text("FROM scratch\n", encoding="utf-8")
    for text in blocks:
        (tmp_path / "pipelines" / "web.yaml").write_text(text, encoding="utf-8")
        (pipeline,) = load_pipelines(["web"], root=tmp_path, registry="vic.example.com")
        assert str(pipeline.repository("vic.example.com")) == "vic.example.com/es-sandbox/web"
    assert blocks


@pytest.mark.parametrize("line", _commands())
def test_every_command_and_option_exists(line: str) -> None:
    # Placeholders stand for numbers and files as they are; what comes behind `#`, `>` or `|` is the shell's.
    words = shlex.split(re.split(r"\s[>|]\s", line)[0], comments=True)[1:]
    command = typer.main.get_command(command_line())
    while isinstance(command, typer.core.TyperGroup):
        command = command.commands[words.pop(0)]
    command.make_context(str(command.name), words).close()
