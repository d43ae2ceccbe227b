"""Layers of configuration: a TOML file, the environment, flags; merged so that every value keeps its origin.

pydantic-settings merges layers as well, but no longer knows which of them a value came from, and to import it adds a
third to the time in which any command starts (0.36 against 0.28 s of CPU).

>>> high = Layer("flags", {"build": {"jobs": 4}}, Path("/"))
>>> low = Layer("file", {"build": {"jobs": 2, "host": "unix:///x"}}, Path("/"))
>>> merge([high, low])
{'build': {'jobs': 4, 'host': 'unix:///x'}}
"""

import json
import re
import tomllib
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, get_origin

from pydantic import BaseModel, TypeAdapter, ValidationError

from imagepipe.errors import NotFoundError, SettingsError
from imagepipe.problems import Key, annotation_at, did_you_mean, dotted, known_keys

__all__ = [
    "Layer",
    "absolute",
    "environment_layer",
    "find_upwards",
    "flags_layer",
    "foreign_layer",
    "home_folder",
    "merge",
    "one_password",
    "place_of",
    "read_toml",
]

# A configuration is a few KiB; more is a mistake.
_MAX_BYTES: Final = 1024 * 1024
_NESTED: Final = "__"
_HARBOR_VARIABLES: Final[Mapping[str, tuple[str, str]]] = {
    "HARBOR_URL": ("harbor", "url"),
    "HARBOR_USERNAME": ("harbor", "username"),
    "HARBOR_PASSWORD": ("harbor", "password"),
}
# Source: TOML 1.0.0 "Keys": bare, basic and literal strings.
_PART: Final = re.compile(r""""([^"]*)"|'([^']*)'|([A-Za-z0-9_-]+)""")
_HEADER: Final = re.compile(r"\s*\[+([^\[\]=]+)\]+\s*(?:#.*)?$")
_ASSIGNMENT: Final = re.compile(r"""\s*((?:"[^"]*"|'[^']*'|[A-Za-z0-9_.\s-])+?)\s*=""")
# Source: CPython 3.11 tomllib: the only place where it tells the position.
_POSITION: Final = re.compile(r" \(at line (\d+), column (\d+)\)$")
# Either may hold the password; the one of the higher layer counts.
_PASSWORDS: Final = ("password", "password_file")


@dataclass(frozen=True, slots=True)
class Layer:
    """Where some settings come from.

    Attributes:
        name: What people call it: a file's name, `environment`.
        values: Nested mappings; lists are values.
        base: The folder that relative paths in it stand against.
        place: Tells where in it a key stands; by default its name.
    """

    name: str
    values: Mapping[str, Any] = field(repr=False)
    base: Path
    place: Callable[[Key], str] | None = field(default=None, repr=False)

    def holds(self, key: Key) -> bool:
        """Tells whether the layer says something at this key."""
        found: Any = self.values
        for part in key:
            if isinstance(found, list):
                found = dict(enumerate(found))
            if not isinstance(found, Mapping) or part not in found:
                return False
            found = found[part]
        return True

    def where(self, key: Key) -> str:
        """Returns the layer's name, with a line or variable where it can tell."""
        return self.place(key) if self.place else self.name


def merge(layers: Sequence[Layer]) -> dict[str, Any]:
    """Returns the values of all layers, highest first; mappings are merged, anything else is replaced."""
    merged: dict[str, Any] = {}
    for layer in layers:
        _under(merged, layer.values)
    return merged


def place_of(layers: Sequence[Layer], key: Key) -> str | None:
    """Returns where the value at a key comes from: the highest layer that says it; None: no layer does."""
    return next((layer.where(key) for layer in layers if layer.holds(key)), None)


def read_toml(path: Path, shown_as: str) -> Layer:
    """Returns a TOML file as a layer.

    Raises:
        NotFoundError: There is no such file.
        SettingsError: It cannot be read, is no TOML, or is larger than 1 MiB.
    """
    try:
        with path.open("rb") as stream:
            raw = stream.read(_MAX_BYTES + 1)
        if len(raw) > _MAX_BYTES:
            raise SettingsError(f"{shown_as}: larger than {_MAX_BYTES // 1024} KiB")
        text = raw.decode("utf-8-sig")
        values = tomllib.loads(text)
    except FileNotFoundError as error:
        raise NotFoundError(
            f"{shown_as}: no such file", hint="check --config or IMAGEPIPE_CONFIG, or leave it out"
        ) from error
    except OSError as error:
        raise SettingsError(f"{shown_as}: cannot be read: {error.strerror}", hint="check its permissions") from error
    except UnicodeDecodeError as error:
        raise SettingsError(f"{shown_as}: not UTF-8", hint="save the file as UTF-8") from error
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(_bad_toml(shown_as, text, str(error)), hint="correct the TOML") from error
    except (ValueError, RecursionError) as error:  # a number of thousands of digits, lists in lists in lists
        raise SettingsError(f"{shown_as}: bad TOML: {error}", hint="correct the TOML") from error
    return Layer(shown_as, values, path.absolute().parent, lambda key: f"{shown_as}:{_line(text, key)}")


def find_upwards(folder: Path, name: str) -> Path | None:
    """Returns the nearest file of that name, from the folder upwards."""
    return next((here / name for here in (folder, *folder.parents) if (here / name).is_file()), None)


def home_folder(environ: Mapping[str, str]) -> Path:
    """Returns the user's home; `/` for a user without a name, as container engines set HOME for one."""
    try:
        return Path(environ["HOME"]) if environ.get("HOME") else Path.home()
    except RuntimeError:
        return Path("/")


def flags_layer(flags: Mapping[str, object], base: Path) -> Layer:
    """Returns the command line's values by dotted key as a layer; None is no value."""
    values: dict[str, Any] = {}
    for key, value in flags.items():
        if value is not None:
            _put(values, tuple(key.split(".")), value)
    return Layer("command line", values, base)


def environment_layer(
    model: type[BaseModel],
    environ: Mapping[str, str],
    *,
    prefix: str,
    base: Path,
    known: Mapping[str, Any],
    ignore: tuple[str, ...],
) -> Layer:
    """Returns the variables with a prefix as a layer; empty ones are not set.

    Args:
        model: What may be set; a list or mapping is given as JSON.
        environ: The environment.
        prefix: `IMAGEPIPE_`; levels are parted by `__`.
        base: The folder that relative paths stand against.
        known: What lower layers say: `PROD_A` means `prod-a` where they know it.
        ignore: Beginnings of names that are no settings.

    Raises:
        SettingsError: A variable names no setting, but looks as if it should; or its JSON is bad.
    """
    values: dict[str, Any] = {}
    places: dict[Key, str] = {}
    for name in sorted(environ):
        if not name.startswith(prefix) or name.startswith(ignore) or not environ[name]:
            continue
        key = _folded(tuple(name.removeprefix(prefix).lower().split(_NESTED)), known)
        kind = annotation_at(model, key)
        if kind is None:
            _refuse_likely(model, name, key)
            continue
        _put(values, key, _parsed(name, environ[name], kind))
        places[key] = name
    return Layer("environment", values, base, lambda key: _variable(places, key))


def foreign_layer(environ: Mapping[str, str], base: Path, *, is_host: Callable[[str], bool]) -> Layer:
    """Returns what Harbor's and Docker's own variables say; a `DOCKER_HOST` that is no host of ours is left alone."""
    values: dict[str, Any] = {}
    places: dict[Key, str] = {}
    for name, (section, key) in _HARBOR_VARIABLES.items():
        if environ.get(name):
            values.setdefault(section, {})[key] = environ[name]
            places[section, key] = name
    host = environ.get("DOCKER_HOST", "")
    if is_host(host):
        target = {"host": host}
        # Source: docker-py utils.kwargs_from_env: either of the two variables turns TLS on; ~/.docker is its default.
        if environ.get("DOCKER_CERT_PATH") or environ.get("DOCKER_TLS_VERIFY"):
            target["cert_path"] = environ.get("DOCKER_CERT_PATH") or "~/.docker"
        values["targets"] = {"env": target}
        places["targets", "env", "host"] = "DOCKER_HOST"
        places["targets", "env", "cert_path"] = (
            "DOCKER_CERT_PATH" if environ.get("DOCKER_CERT_PATH") else "DOCKER_TLS_VERIFY"
        )
    return Layer("environment", values, base, lambda key: places.get(key, "environment"))


def absolute(model: type[BaseModel], layer: Layer, home: Path) -> Layer:
    """Returns the layer with every path absolute: `~` is `home`, a relative one stands against the layer's base."""

    def walk(value: Any, key: Key) -> Any:
        if isinstance(value, Mapping):
            return {name: walk(inner, (*key, name)) for name, inner in value.items()}
        if isinstance(value, list):
            return [walk(inner, (*key, index)) for index, inner in enumerate(value)]
        if isinstance(value, str | Path) and annotation_at(model, key) is Path:
            path = home / str(value)[2:] if str(value).startswith("~/") or str(value) == "~" else Path(value)
            return layer.base / _expanded(path, layer, key) if str(value) else value
        return value

    return replace(layer, values=walk(layer.values, ()))


def _expanded(path: Path, layer: Layer, key: Key) -> Path:
    try:
        return path.expanduser()
    except RuntimeError as error:
        what = f"{path.parts[0]} is nobody's home on this machine"
        raise SettingsError(f"{layer.where(key)}: {dotted(key)}: {what}", hint="write the path in full") from error


def one_password(layers: Sequence[Layer]) -> list[Layer]:
    """Returns the layers without the passwords that a higher layer replaces, be it by the other of the two keys."""
    kept, settled = [], False
    for layer in layers:
        harbor = layer.values.get("harbor")
        here = [key for key in _PASSWORDS if isinstance(harbor, Mapping) and key in harbor]
        if settled and isinstance(harbor, Mapping):
            rest = {key: value for key, value in harbor.items() if key not in _PASSWORDS}
            kept.append(replace(layer, values={**layer.values, "harbor": rest}))
        else:
            kept.append(layer)
        if len(here) == len(_PASSWORDS) and not settled:
            where = layer.where(("harbor", "password"))
            raise SettingsError(f"{where}: harbor: both password and password_file", hint="keep password_file")
        settled = settled or bool(here)
    return kept


def _put(values: dict[str, Any], key: Key, value: object) -> None:
    *path, last = (str(part) for part in key)
    for part in path:
        values = values.setdefault(part, {})
    values[last] = value


def _folded(key: tuple[str, ...], known: Any) -> tuple[str, ...]:
    """Returns the key with the names that lower layers know; variables cannot hold `-` or tell small letters."""
    found = []
    for part in key:
        names = list(known) if isinstance(known, Mapping) else []
        near = [name for name in names if name.replace("-", "_").lower() == part]
        found.append(near[0] if len(near) == 1 else part)
        known = known.get(found[-1]) if isinstance(known, Mapping) else None
    return tuple(found)


def _refuse_likely(model: type[BaseModel], name: str, key: tuple[str, ...]) -> None:
    """Refuses an unknown variable that is nested or near to a setting; another program may own the rest."""
    depth = next(length for length in range(len(key)) if annotation_at(model, key[: length + 1]) is None)
    near = did_you_mean(key[depth], known_keys(model, key[:depth]))
    if near or len(key) > 1:
        raise SettingsError(f"{name}: no such setting{near}", hint="correct or unset the variable")


def _parsed(name: str, text: str, kind: Any) -> Any:
    if kind in (bool, int, float):
        # A variable holds text, whatever it is meant as; what cannot be meant is refused with all else.
        with suppress(ValidationError):
            return TypeAdapter(kind).validate_python(text)
        return text
    if get_origin(kind) not in (list, dict) and not (isinstance(kind, type) and issubclass(kind, BaseModel)):
        return text
    try:
        return json.loads(text)
    except ValueError as error:
        raise SettingsError(f"{name}: not JSON: {error}", hint="give a list or mapping as JSON") from error


def _variable(places: Mapping[Key, str], key: Key) -> str:
    """Returns the variable that set a key, something round it, or else something in it."""
    for length in range(len(key), 0, -1):
        if key[:length] in places:
            return places[key[:length]]
    return next((name for other, name in places.items() if other[: len(key)] == key), "environment")


def _under(high: dict[str, Any], low: Mapping[str, Any]) -> None:
    for name, value in low.items():
        if isinstance(value, Mapping):
            inner = high.setdefault(name, {})
            if isinstance(inner, dict):
                _under(inner, value)
        else:
            high.setdefault(name, value)


def _bad_toml(shown_as: str, text: str, said: str) -> str:
    position = _POSITION.search(said)
    place = f"{position[1]}:{position[2]}" if position else str(text.count("\n") + 1)
    return f"{shown_as}:{place}: bad TOML: {_POSITION.sub('', said)}"


def _line(text: str, key: Key) -> int:
    """Returns the line that sets a key, or else opens the table round it; tomllib does not tell."""
    section: Key = ()
    best, found = 0, 1
    for number, line in enumerate(text.splitlines(), start=1):
        if header := _HEADER.match(line):
            here = section = _parts(header[1])
        elif assignment := _ASSIGNMENT.match(line):
            here = (*section, *_parts(assignment[1]))
        else:
            continue
        if len(here) > best and here == key[: len(here)]:
            best, found = len(here), number
    return found


def _parts(text: str) -> Key:
    return tuple(basic or literal or bare for basic, literal, bare in _PART.findall(text))
