r"""YAML becomes plain data that remembers the file, line and column of every key; the only owner of yaml.

YAML 1.2's core schema: `yes`, `no`, `on` and dates stay text, numbers are decimal, keys are text.

>>> document = parse_document(b"name: hello\nbuild: {target: runtime}\n", "hello.yaml")
>>> document.data["build"]["target"], document.where(("build", "target"))
('runtime', 'hello.yaml:2:9')
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, TypeVar

import yaml
from pydantic import BaseModel, ValidationError
from yaml.reader import ReaderError

from imagepipe.errors import InputError, NotFoundError, UsageError
from imagepipe.problems import Key, dotted, problems_of

__all__ = ["Document", "Mark", "parse_document", "read_document", "write_document"]

# A pipeline or access file is a few KiB; more is a mistake or an attack.
_MAX_BYTES: Final = 1024 * 1024
# Aliases are followed by copying: this bounds what a small file can grow to ("billion laughs").
_MAX_NODES: Final = 100_000
_MAX_DEPTH: Final = 100

Model = TypeVar("Model", bound=BaseModel)


@dataclass(frozen=True, slots=True, order=True)
class Mark:
    """A place in a file, both counted from 1."""

    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.line}:{self.column}"


@dataclass(frozen=True, slots=True)
class Document:
    """Plain data and where each part of it stands.

    Attributes:
        file: The file's name as the user knows it.
        data: dicts with text keys, lists, text, numbers, true/false, None.
        raw: The file's bytes.
        marks: Where each key stands; `()` is the whole document.
        origins: What else set a key, such as `--set build.target`.
    """

    file: str
    data: Any = field(repr=False)
    raw: bytes = field(repr=False)
    marks: Mapping[Key, Mark] = field(repr=False)
    origins: Mapping[Key, str] = field(default_factory=dict, repr=False)

    def where(self, key: Key) -> str:
        """Returns `file:line:column` of the key, or of the nearest thing round it; or what else set it."""
        near = [key[:length] for length in range(len(key), -1, -1)]
        for part in near:
            if part in self.origins:
                return f"{self.file} ({self.origins[part]})"
        return f"{self.file}:{self._position(key)}"

    def problem(self, key: Key, what: str) -> str:
        """Returns one line of a refusal: `file:line:column: key: what`."""
        return f"{self.where(key)}: {dotted(key)}: {what}" if key else f"{self.where(key)}: {what}"

    def refuse(self, key: Key, what: str, *, hint: str | None = None) -> InputError:
        """Returns the error, to be raised, that this key is wrong."""
        return InputError(self.problem(key, what), hint=hint)

    def validate(self, model: type[Model]) -> Model:
        """Returns the data as this model.

        Raises:
            InputError: Lists every problem, one line each, in the order of the file.
        """
        try:
            return model.model_validate(self.data)
        except ValidationError as error:
            found = sorted(problems_of(error, model), key=lambda problem: self._position(problem.key))
            lines = [self.problem(problem.key, problem.what) for problem in found]
        raise InputError("\n".join(lines), hint="correct the file" if len(lines) == 1 else "correct each of them")

    def override(self, assignments: Iterable[str]) -> "Document":
        """Returns the document with `path=value` assignments put over it.

        A path is dotted; a part that holds dots stands in double quotes. A value is text, but true, false, null,
        and what opens with `[`, `{`, `"` or `'` is YAML.

        Raises:
            UsageError: An assignment has no `=`, or its path leads through something that is not a mapping or list.
            InputError: Its value is bad YAML.
        """
        data, origins = self.data, dict(self.origins)
        for assignment in assignments:
            path, equals, text = assignment.partition("=")
            parts = _path(path)
            if not equals or not parts:
                raise UsageError(f"--set {assignment}: not an assignment", hint="write --set build.target=runtime")
            key, data = _assign(data, (), parts, _value(text, f"--set {path}"))
            origins[key] = f"--set {path}"
        return replace(self, data=data, origins=origins)

    def _position(self, key: Key) -> Mark:
        while key and key not in self.marks:
            key = key[:-1]
        return self.marks.get(key, Mark(1, 1))


def read_document(path: Path, *, shown_as: str | None = None) -> Document:
    """Returns the document in a file.

    Args:
        path: The file.
        shown_as: Its name in messages; by default the path as given.

    Raises:
        NotFoundError: There is no such file.
        InputError: It cannot be read, is larger than 1 MiB, or is bad YAML.
    """
    shown = shown_as or str(path)
    try:
        with path.open("rb") as stream:
            raw = stream.read(_MAX_BYTES + 1)
    except FileNotFoundError as error:
        raise NotFoundError(f"{shown}: no such file", hint="check the path") from error
    except OSError as error:
        raise InputError(f"{shown}: cannot be read: {error.strerror}") from error
    return parse_document(raw, shown)


def parse_document(raw: bytes, file: str) -> Document:
    """Returns the document that the bytes are.

    Raises:
        InputError: More than 1 MiB, not UTF-8, bad YAML, an unknown tag, a key that is no text or stands twice.
    """
    if len(raw) > _MAX_BYTES:
        raise InputError(f"{file}: larger than {_MAX_BYTES // 1024} KiB", hint="this is not meant to hold data")
    try:
        text = raw.decode("utf-8-sig")
        node = _Loader(text).get_single_node()
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise InputError(f"{file}:{line}: not UTF-8", hint="save the file as UTF-8") from error
    except yaml.MarkedYAMLError as error:
        raise InputError(_bad_yaml(file, error), hint="correct the YAML") from error
    except ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise InputError(f"{file}:{line}: bad YAML: {error.reason}", hint="correct the YAML") from error
    except RecursionError as error:
        raise InputError(f"{file}: nested too deeply") from error
    except (ValueError, OverflowError) as error:  # an escape such as "\UFFFFFFFF", of which PyYAML makes no error
        raise InputError(f"{file}: bad YAML: {error}", hint="correct the YAML") from error
    if node is None:
        raise InputError(f"{file}:1: the file is empty")
    builder = _Builder(file)
    return Document(file, builder.build(node, ()), raw, builder.marks)


class _Loader(yaml.SafeLoader):
    """PyYAML's reader, with the implicit types of YAML 1.2's core schema only.

    Source: YAML 1.2.2 chapter 10.3.2 "Tag Resolution"
    """

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012  # PyYAML reads it so


_TAG: Final = "tag:yaml.org,2002:"
_RESOLVERS: Final = (
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", r"[-+]?[0-9]+", list("-+0123456789")),
    ("float", r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?", list("-+.0123456789")),
)


class _Dumper(yaml.SafeDumper):
    """PyYAML's writer, which quotes text that our reader, too, would take for something else (`1e3`)."""


for _name, _pattern, _first in _RESOLVERS:
    for _kind in (_Loader, _Dumper):
        _kind.add_implicit_resolver(f"{_TAG}{_name}", re.compile(f"(?:{_pattern})$"), _first)


class _Builder:
    """Turns nodes into plain data, noting where each key stands."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.marks: dict[Key, Mark] = {}
        self.nodes = 0

    def build(self, node: yaml.Node, key: Key) -> Any:
        self.nodes += 1
        if self.nodes > _MAX_NODES or len(key) > _MAX_DEPTH:
            raise self.refuse(node, "nested too deeply, or too much by aliases")
        self.marks.setdefault(key, _mark(node))
        if isinstance(node, yaml.MappingNode):
            self.plain(node, "map")
            return dict(self.pairs(node, key))
        if isinstance(node, yaml.SequenceNode):
            self.plain(node, "seq")
            return [self.build(child, (*key, index)) for index, child in enumerate(node.value)]
        return self.scalar(node)

    def pairs(self, node: yaml.MappingNode, key: Key) -> Iterator[tuple[str, Any]]:
        seen: dict[str, yaml.Node] = {}
        for name, value in node.value:
            if name.tag != f"{_TAG}str" or not isinstance(name, yaml.ScalarNode):
                raise self.refuse(name, "a key must be text; put it in quotes")
            if name.value in seen:
                raise self.refuse(name, f"key {name.value!r} stands here and at line {_mark(seen[name.value]).line}")
            seen[name.value] = name
            self.marks[*key, name.value] = _mark(name)
            yield name.value, self.build(value, (*key, name.value))

    def scalar(self, node: yaml.Node) -> Any:
        try:
            match node.tag.removeprefix(_TAG):
                case "str":
                    return node.value
                case "null":
                    return None
                case "bool":
                    return {"true": True, "false": False}[node.value.lower()]
                case "int":
                    return int(node.value)
                case "float":
                    return float(node.value)
        except (ValueError, KeyError) as error:
            raise self.refuse(node, f"{node.value[:60]!r} is not what its tag says") from error
        raise self.refuse(node, f"tag {node.tag[:60]!r} is not allowed")

    def plain(self, node: yaml.Node, kind: str) -> None:
        if node.tag != f"{_TAG}{kind}":
            raise self.refuse(node, f"tag {node.tag[:60]!r} is not allowed")

    def refuse(self, node: yaml.Node, what: str) -> InputError:
        return InputError(f"{self.file}:{_mark(node)}: {what}", hint="correct the YAML")


def _mark(node: yaml.Node) -> Mark:
    return Mark(node.start_mark.line + 1, node.start_mark.column + 1)


def _bad_yaml(file: str, error: yaml.MarkedYAMLError) -> str:
    mark = error.problem_mark or error.context_mark
    assert mark is not None
    place = f"{file}:{mark.line + 1}:{mark.column + 1}"
    said = ", ".join(part for part in (error.context, error.problem) if part)
    return f"{place}: bad YAML: {said}"


def _path(path: str) -> tuple[str, ...]:
    parts = re.findall(r'(?:^|\.)(?:"([^"]+)"|([^."]+))', path)
    whole = ".".join(f'"{quoted}"' if quoted else bare for quoted, bare in parts)
    return tuple(quoted or bare for quoted, bare in parts) if whole == path else ()


def _value(text: str, origin: str) -> Any:
    if text in ("true", "false", "null") or text[:1] in ("[", "{", '"', "'"):
        return parse_document(text.encode(), origin).data
    return text


def _assign(data: Any, done: Key, parts: tuple[str, ...], value: Any) -> tuple[Key, Any]:
    """Returns the full key and a copy of the data with the value at it."""
    if not parts:
        return done, value
    first, *rest = parts
    if isinstance(data, list):
        if not first.isdecimal() or int(first) >= len(data):
            raise UsageError(f"--set {dotted((*done, first))}: the list has {len(data)} items, counted from 0")
        key, inner = _assign(data[int(first)], (*done, int(first)), tuple(rest), value)
        return key, [*data[: int(first)], inner, *data[int(first) + 1 :]]
    if not isinstance(data, dict | None):
        raise UsageError(f"--set {dotted((*done, first))}: {dotted(done) or 'the document'} is not a mapping")
    key, inner = _assign((data or {}).get(first), (*done, first), tuple(rest), value)
    return key, {**(data or {}), first: inner}


def write_document(data: Mapping[str, Any]) -> str:
    """Returns plain data as YAML text, keys in their order. Law: `parse_document` of it gives the data back."""
    text: str = yaml.dump(
        dict(data), Dumper=_Dumper, sort_keys=False, allow_unicode=True, default_flow_style=None, width=110
    )
    return text
