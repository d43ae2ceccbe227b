"""Turns what pydantic refuses into short sentences with a suggestion, and never repeats a value that may be secret.

>>> did_you_mean("taget", ["target", "tags"])
"; did you mean 'target'?"
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

__all__ = ["Key", "Problem", "annotation_at", "did_you_mean", "dotted", "known_keys", "problems_of"]

Key = tuple[str | int, ...]

# Enough of a wrong word to find it again.
_SHOWN_CHARS = 60

_KINDS: Mapping[type, str] = {
    bool: "true or false",
    int: "a number",
    float: "a number",
    str: "text",
    list: "a list",
    dict: "a mapping",
    type(None): "nothing",
}
_EXPECTED = {
    "string_type": "text",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "list_type": "a list",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "path_type": "a path",
}


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong: at which key, and what."""

    key: Key
    what: str


def dotted(key: Key) -> str:
    """Returns a key as people write it: `build.platforms.0`; what is not to be printed is escaped."""
    parts = (str(part) for part in key)
    return ".".join(part if part.isprintable() else repr(part) for part in parts)


def did_you_mean(word: str, choices: Iterable[str]) -> str:
    """Returns `; did you mean 'x'?` for the nearest choice, or nothing when none is near."""
    near = get_close_matches(word, list(choices), n=1)
    return f"; did you mean {near[0]!r}?" if near else ""


def problems_of(error: ValidationError, model: type[BaseModel]) -> tuple[Problem, ...]:
    """Returns every problem of a failed validation, in the order of the document.

    Args:
        error: What pydantic raised; values are never taken from it but where a choice of words was expected.
        model: The model that was validated, for suggestions.
    """
    return tuple(Problem(detail["loc"], _sentence(dict(detail), model)) for detail in error.errors(include_url=False))


def annotation_at(model: type[BaseModel], key: Key) -> Any:
    """Returns the type that a key of the document has, without `| None`, or None for an unknown key."""
    found: Any = model
    for part in key:
        arguments = get_args(found)
        if get_origin(found) is list and isinstance(part, int):
            found = arguments[0]
        elif get_origin(found) is dict:
            found = arguments[1]
        elif isinstance(found, type) and issubclass(found, BaseModel) and part in found.model_fields:
            found = found.model_fields[str(part)].annotation
        else:
            return None
        found = _without_none(found)
    return found


def known_keys(model: type[BaseModel], key: Key) -> tuple[str, ...]:
    """Returns the keys that the mapping at this key may hold; none where any are allowed."""
    found = annotation_at(model, key)
    return tuple(found.model_fields) if isinstance(found, type) and issubclass(found, BaseModel) else ()


def _without_none(annotation: Any) -> Any:
    if get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    if get_origin(annotation) in (Union, UnionType):
        rest = [kind for kind in get_args(annotation) if kind is not type(None)]
        return rest[0] if len(rest) == 1 else annotation
    return annotation


def _sentence(detail: Mapping[str, Any], model: type[BaseModel]) -> str:
    key, kind, value = detail["loc"], detail["type"], detail["input"]
    if kind == "extra_forbidden":
        return f"unknown key{did_you_mean(str(key[-1]), known_keys(model, key[:-1]))}"
    if kind == "missing":
        return "is missing"
    if kind in ("literal_error", "enum"):
        return _choice(str(detail["ctx"]["expected"]), value)
    if kind in _EXPECTED:
        if _EXPECTED[kind] == "a whole number" and isinstance(value, float):
            return "must be a whole number, without a decimal point"
        quotes = "; put it in quotes" if kind == "string_type" and isinstance(value, int | float) else ""
        return f"must be {_EXPECTED[kind]}, not {_KINDS.get(type(value), 'something else')}{quotes}"
    message = str(detail["msg"]).removeprefix("Value error, ").replace("Input should", "must")
    message = message.replace("List should have", "must have").replace("Dictionary should have", "must have")
    return message.replace(" after validation", "")


def _choice(expected: str, value: object) -> str:
    expected = expected.replace("True", "true").replace("False", "false")
    if not isinstance(value, str):
        return f"must be {expected}, not {_KINDS.get(type(value), 'something else')}"
    words = re.findall(r"'([^']*)'", expected)
    return f"must be {expected}, not {value[:_SHOWN_CHARS]!r}{did_you_mean(value, words)}"
