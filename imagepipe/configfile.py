r"""Edits the targets of an `imagepipe.toml`, and leaves every other line, comment and blank as it is.

>>> with_target('registry = "vic.example"  # ours\n', "a", {"kind": "vch"}).splitlines()
['registry = "vic.example"  # ours', '', '[targets.a]', 'kind = "vch"']
"""

import os
import tempfile
import tomllib
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import tomlkit
from tomlkit.exceptions import TOMLKitError
from tomlkit.items import InlineTable

from imagepipe.errors import RefusedError, SettingsError

__all__ = ["put_target", "remove_target", "with_target", "without_target"]

_TARGETS: Final = "targets"
_NEW_FILE_MODE: Final = 0o644


def put_target(path: Path, name: str, values: Mapping[str, str | None]) -> None:
    """Writes a target into a file, which is made if it is not there; see `with_target`.

    Raises:
        SettingsError: The file cannot be read or written.
        RefusedError: It cannot be edited without touching something else, or changed meanwhile.
    """
    _rewrite(path, lambda text: with_target(text, name, values))


def remove_target(path: Path, name: str) -> None:
    """Takes a target out of a file; see `without_target`; raises as `put_target`."""
    _rewrite(path, lambda text: without_target(text, name))


def with_target(text: str, name: str, values: Mapping[str, str | None]) -> str:
    """Returns the text with `[targets.name]` holding these values; its other keys stay, and None takes a key out.

    Law: read as TOML, nothing else differs.
    """
    document = _parsed(text)
    place = document.get(_TARGETS)
    if place is None:
        place = document[_TARGETS] = tomlkit.table(is_super_table=True)
    new = name not in place
    if new:
        place[name] = tomlkit.inline_table() if isinstance(place, InlineTable) else tomlkit.table()
    table = place[name]
    for key, value in values.items():
        if value is not None:
            table[key] = value
        else:
            table.pop(key, None)
    wanted = tomllib.loads(text)
    mine = wanted.setdefault(_TARGETS, {}).setdefault(name, {})
    mine |= values
    wanted[_TARGETS][name] = {key: value for key, value in mine.items() if value is not None}
    after = tomlkit.dumps(document)
    return _proven(_spaced(after, name) if new else after, wanted, name)


def without_target(text: str, name: str) -> str:
    """Returns the text without `[targets.name]`.

    Law: read as TOML, nothing else differs.
    """
    document, wanted = _parsed(text), tomllib.loads(text)
    if name not in wanted.get(_TARGETS, {}):
        raise RefusedError(
            f"target {name} is not in this file", hint="take it out where `config show --origin` finds it"
        )
    document[_TARGETS].pop(name)
    del wanted[_TARGETS][name]
    return _proven(tomlkit.dumps(document), wanted, name)


def _parsed(text: str) -> Any:
    try:
        return tomlkit.parse(text)
    except TOMLKitError as error:
        raise SettingsError(f"not TOML: {error}", hint="correct the file") from error


def _proven(text: str, wanted: dict[str, Any], name: str) -> str:
    """Returns the text once it is proven to say what was wanted, and nothing else."""
    found = tomllib.loads(text)
    if _without_empty(found) != _without_empty(wanted):
        raise RefusedError(
            f"[targets.{name}] cannot be edited without touching other lines", hint="edit the file by hand"
        )
    return text


def _without_empty(data: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in data.items() if key != _TARGETS or value}


def _spaced(text: str, name: str) -> str:
    """Returns the text with blank lines round a table that was put right between other lines."""
    heading = f"[{_TARGETS}.{tomlkit.key(name).as_string()}]\n"
    before, found, after = text.partition(heading)
    if not found:
        return text
    body, bracket, rest = after.partition("\n[")
    above = f"{before.rstrip()}\n\n" if before.strip() else before
    below = f"{body.rstrip()}\n\n[{rest}" if bracket else after
    return f"{above}{found}{below}"


def _rewrite(path: Path, edit: Callable[[str], str]) -> None:
    """Replaces a file by what is made of it, in one step; a link to it stays a link."""
    path = path.resolve()
    try:
        before = path.read_bytes() if path.exists() else b""
        after = edit(before.decode("utf-8-sig")).encode()
        mode = path.stat().st_mode & 0o777 if path.exists() else _NEW_FILE_MODE
        number, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        beside = Path(name)
        try:
            with os.fdopen(number, "wb") as stream:
                stream.write(after)
                stream.flush()
                os.fsync(stream.fileno())
            beside.chmod(mode)
            if (path.read_bytes() if path.exists() else b"") != before:
                raise RefusedError(f"{path}: somebody else has just changed it", hint="run the same command again")
            beside.replace(path)
        finally:
            with suppress(FileNotFoundError):
                beside.unlink()
    except OSError as error:
        raise SettingsError(f"{path}: cannot be written: {error.strerror}", hint="check its permissions") from error
    except UnicodeDecodeError as error:
        raise SettingsError(f"{path}: not UTF-8", hint="save the file as UTF-8") from error
