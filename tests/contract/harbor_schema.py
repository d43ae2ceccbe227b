"""Holds every request and answer of a client against Harbor's own API descriptions, at the transport.

What a description says and Harbor does not do is a lie, and every lie is known by name (`harbor_lies`).
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import httpx
import yaml
from jsonschema import Draft4Validator

from tests.contract.harbor_calls import functions_under_way
from tests.contract.harbor_lies import LIES_1, LIES_2

DATA = Path(__file__).parent / "data"
Json = dict[str, Any]
QUERY_TYPES = {
    "integer": re.compile(r"-?\d+"),
    "boolean": re.compile(r"true|false"),
    "string": re.compile(r".*", re.DOTALL),
}
_OF_THE_GATEWAY = (502, 504)  # nginx answers before Harbor, in HTML
_DROPPED = ("example", "default", "format", "description")


class SchemaError(AssertionError):
    """A request or an answer that Harbor's API description does not allow."""


@dataclass(frozen=True, eq=False)
class Description:
    """An API description, read once.

    Attributes:
        file: Where it lies, among the tests' data.
        base: What every path begins with.
        undescribed: What every client asks, and no description holds.
        errors: The definition of an error's body; empty: a text.
        slashes: The parameters of paths that may hold slashes.
        lies: What is known to be otherwise, by the complaint's name, and why.
    """

    file: str
    base: str
    undescribed: tuple[str, ...]
    errors: str
    slashes: tuple[str, ...] = ()
    lies: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def data(self) -> Json:
        """The whole description."""
        with (DATA / self.file).open() as file:
            # The loader in C is ten times as quick, and as safe.
            found: Json = yaml.load(file, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506 - it is safe
        return found

    @cached_property
    def definitions(self) -> Json:
        """The definitions as JSON schemas; what is not described may be in none of them."""
        return {name: _schema(schema) for name, schema in self.data["definitions"].items()}

    @cached_property
    def routes(self) -> tuple[tuple[re.Pattern[str], str, Json], ...]:
        """Pattern, path and methods; what has more words of its own is the better match."""
        paths: dict[str, Json] = self.data["paths"]
        found = sorted(paths, key=lambda path: -len(re.sub(r"\{\w+\}", "", path)))
        return tuple((re.compile(self._pattern(path)), path, paths[path]) for path in found)

    def parameters(self, operation: Json) -> Iterator[Json]:
        """Yields the parameters of an operation."""
        for each in operation.get("parameters", ()):
            yield self.data["parameters"][each["$ref"].rpartition("/")[2]] if "$ref" in each else each

    def _pattern(self, path: str) -> str:
        own = [each for operation in self.data["paths"][path].values() for each in self.parameters(operation)]
        numbers = {each["name"] for each in own if each["in"] == "path" and each["type"] == "integer"}

        def segment(found: re.Match[str]) -> str:
            return ".+" if found[1] in self.slashes else r"\d+" if found[1] in numbers else "[^/]+"

        return re.sub(r"\\\{(\w+)\\\}", segment, re.escape(path))


HARBOR_2 = Description(
    file="harbor-api-v2.0.yaml",
    base="/api/v2.0",
    undescribed=("/api/version", "/api/systeminfo"),
    errors="Errors",
    lies=LIES_2,
)
HARBOR_1 = Description(
    file="harbor-api-v1.yaml",
    base="/api",
    undescribed=("/api/version",),
    errors="",
    slashes=("repo_name",),
    lies=LIES_1,
)


def _schema(schema: Json) -> Json:
    """Returns a JSON schema; lists may be null, as Go writes empty ones."""
    made = {key: value for key, value in schema.items() if key not in _DROPPED}
    if "properties" in made:
        made["properties"] = {name: _schema(each) for name, each in made["properties"].items()}
        made.setdefault("additionalProperties", False)
    for key in ("items", "additionalProperties"):
        if isinstance(made.get(key), dict):
            made[key] = _schema(made[key])
    kind = made.get("type")
    if kind == "array" or (kind is not None and schema.get("x-nullable")):
        made["type"] = [kind, "null"]
    return made


class CheckingTransport(httpx.BaseTransport):
    """Sends through another transport and complains where request or answer are not as described.

    Attributes:
        seen: Every operation that was used, as `GET /projects`.
        told: The lies that were met, by name.
        made: Which functions made which operations.
    """

    def __init__(
        self, inner: httpx.BaseTransport, description: Description = HARBOR_2, *, answers_only: bool = False
    ) -> None:
        self._inner = inner
        self._description = description
        self._answers_only = answers_only
        self.seen: set[str] = set()
        self.told: set[str] = set()
        self.made: set[tuple[str, str]] = set()

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        found = self._operation(request)
        if not self._answers_only:
            operation = found[0] if found else f"{request.method} {request.url.path}"
            self.made |= {(function, operation) for function in functions_under_way()}
        if found is not None and not self._answers_only:
            self._check_query(request, *found)
            self._check_body(request, *found)
        response = self._inner.handle_request(request)
        response.read()
        if found is not None:
            self._check_answer(request, response, *found)
        return response

    def close(self) -> None:
        self._inner.close()

    def _complain(self, about: str, more: str = "") -> None:
        if about not in self._description.lies:
            raise SchemaError(f"{about}{more and f': {more[:300]}'}")
        self.told.add(about)

    def _operation(self, request: httpx.Request) -> tuple[str, Json] | None:
        """Returns an operation and its name, or None for what is in no description."""
        path, base = request.url.raw_path.decode().partition("?")[0], self._description.base
        if path in self._description.undescribed:
            return None
        for pattern, name, methods in self._description.routes:
            if path.startswith(base) and pattern.fullmatch(path.removeprefix(base)):
                named = f"{request.method} {name}"
                if request.method.lower() in methods:
                    self.seen.add(named)
                    return named, methods[request.method.lower()]
        if not self._answers_only:
            raise SchemaError(f"{request.method} {path} is not described")
        return None

    def _check_query(self, request: httpx.Request, what: str, operation: Json) -> None:
        described = {each["name"]: each for each in self._description.parameters(operation) if each["in"] == "query"}
        given = dict(parse_qsl(request.url.query.decode(), keep_blank_values=True))
        for name, value in given.items():
            if name not in described:
                self._complain(f"{what}: query {name}")
                continue
            kind = described[name]["type"]
            if not QUERY_TYPES[kind].fullmatch(value):
                self._complain(f"{what}: query {name} is no {kind}", value)
            elif int(described[name].get("maximum", 2**63)) < (int(value) if value.isdecimal() else 0):
                self._complain(f"{what}: query {name} is too large", value)
        for name in described.keys() - given.keys():
            if described[name].get("required"):
                self._complain(f"{what}: query {name} is missing")
        if "cookie" in request.headers:
            raise SchemaError(f"{what}: carries a cookie")

    def _check_body(self, request: httpx.Request, what: str, operation: Json) -> None:
        described = next((each for each in self._description.parameters(operation) if each["in"] == "body"), None)
        content = request.read()
        if described is None:
            if content:
                raise SchemaError(f"{what}: a body where none is described")
            return
        if request.headers.get("content-type") != "application/json":
            raise SchemaError(f"{what}: the body is not declared as JSON")
        self._validate(json.loads(content), described["schema"], f"{what}: body")

    def _check_answer(self, request: httpx.Request, response: httpx.Response, what: str, operation: Json) -> None:
        if response.status_code in _OF_THE_GATEWAY:
            return
        what = f"{what}: {response.status_code}"
        responses = operation["responses"]
        if str(response.status_code) not in responses:
            self._complain(what, response.text)
        if request.method == "HEAD":
            return
        if not response.is_success:
            self._check_error(response, what)
            return
        described = responses.get(str(response.status_code)) or {}
        if "$ref" in described:
            described = self._description.data["responses"][described["$ref"].rpartition("/")[2]]
        schema = described.get("schema")
        if schema is None:
            if response.content:
                self._complain(f"{what}: a body", response.text)
        elif not response.content:
            self._complain(f"{what}: no body")
        else:
            text = operation.get("produces") == ["text/plain"]
            self._validate(response.text if text else self._json(response, what), schema, what)

    def _json(self, response: httpx.Response, what: str) -> object:
        try:
            return response.json()
        except ValueError:
            raise SchemaError(f"{what}: no JSON: {response.text[:300]}") from None

    def _check_error(self, response: httpx.Response, what: str) -> None:
        errors = self._description.errors
        if errors and not response.content:
            self._complain(f"{what}: no body")
        elif errors:
            self._validate(self._json(response, what), {"$ref": f"#/definitions/{errors}"}, what)
        elif not response.headers.get("content-type", "").startswith("text/"):
            self._complain(f"{what}: no text", response.text)

    def _validate(self, value: object, schema: Json, what: str) -> None:
        whole = {"definitions": self._description.definitions, **_schema(dict(schema))}
        for error in Draft4Validator(whole).iter_errors(value):
            place = ".".join(str(part) for part in error.absolute_path if isinstance(part, str))
            where = f"{what}: {place}".rstrip(": ")
            if error.validator == "additionalProperties":
                for name in sorted(error.instance.keys() - error.schema["properties"].keys()):
                    self._complain(f"{where}: has {name}")
            else:
                self._complain(f"{where}: {error.validator}", error.message)
