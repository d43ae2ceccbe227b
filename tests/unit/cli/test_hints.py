"""Every command that a message, a hint or a docstring names is there, with the options that are named with it."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import typer

import imagepipe
from imagepipe.cli.main import COMMANDS, command_line

_SOURCE = Path(imagepipe.__file__).parent
_ENDS = re.compile(r"[`'\"\n;,()|]|\.(?:\s|$)| (?:and|or) ")


def _texts(tree: ast.AST) -> Iterator[str]:
    """Yields every text, with `{}` where a value is put in."""
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            yield "".join(str(part.value) if isinstance(part, ast.Constant) else " {} " for part in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def _named() -> Iterator[tuple[str, list[str]]]:
    first = "|".join(name for names in COMMANDS.values() for name in names)
    for file in sorted(_SOURCE.rglob("*.py")):
        for text in _texts(ast.parse(file.read_text(encoding="utf-8"))):
            for found in re.finditer(rf"(?:`|: |run )imagepipe ((?:{first})\b.*)", text):
                yield file.name, _ENDS.split(found[1])[0].split()


def test_every_command_that_is_named_can_be_typed() -> None:
    tree, seen, wrong = typer.main.get_command(command_line()), 0, []
    for file, words in _named():
        command, rest = tree, list(words)
        while isinstance(command, typer.core.TyperGroup) and rest and rest[0] in command.commands:
            command = command.commands[rest.pop(0)]
        known = {spelled for parameter in command.params for spelled in parameter.opts}
        unknown = [word for word in rest if re.match(r"--?[a-z]", word) and word.partition("=")[0] not in known]
        if unknown or (isinstance(command, typer.core.TyperGroup) and rest):
            wrong.append(f"{file}: imagepipe {' '.join(words)}")
        seen += 1
    assert wrong == []
    assert seen > 50
