"""Holds every request and answer of a client against Harbor's own API description, at the transport."""

import json
import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote

import httpx
import yaml
from jsonschema import Draft4Validator

DESCRIPTION = Path(__file__).parent / "data" / "harbor-api-v2.0.yaml"
BASE = "/api/v2.0"
Json = dict[str, Any]
# Asked by every client and in no description.
UNDESCRIBED = ("/api/version", "/api/systeminfo")
QUERY_TYPES = {
    "integer": re.compile(r"-?\d+"),
    "boolean": re.compile(r"true|false"),
    "string": re.compile(r".*", re.DOTALL),
}


class SchemaError(AssertionError):
    """A request or an answer that Harbor's API description does not allow."""


@cache
def description() -> Json:
    """Returns Harbor's API description, read once."""
    with DESCRIPTION.open() as file:
        # The loader in C is ten times as quick, and as safe.
        found: Json = yaml.load(file, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506 - it is safe
    return found


@cache
def definitions(*, strict: bool) -> Json:
    """Returns the description's definitions as JSON schemas.

    Lists may be null, as Go writes empty ones. What we send (`strict`) has no field that is not described.
    """
    return {name: _schema(schema, strict=strict) for name, schema in description()["definitions"].items()}


def _schema(schema: Json, *, strict: bool) -> Json:
    made = {key: value for key, value in schema.items() if key not in ("example", "default", "format", "description")}
    if "properties" in made:
        made["properties"] = {name: _schema(each, strict=strict) for name, each in made["properties"].items()}
        if strict and "additionalProperties" not in made:
            made["additionalProperties"] = False
    for key in ("items", "additionalProperties"):
        if isinstance(made.get(key), dict):
            made[key] = _schema(made[key], strict=strict)
    kind = made.get("type")
    if kind is not None and not strict and (kind == "array" or schema.get("x-nullable")):
        made["type"] = [kind, "null"]
    return made


@cache
def _routes() -> tuple[tuple[re.Pattern[str], str], ...]:
    def pattern(path: str) -> re.Pattern[str]:
        return re.compile(re.sub(r"\\\{\w+\\\}", "[^/]+", re.escape(path)))

    # A path without parameters is the better match.
    paths = sorted(description()["paths"], key=lambda path: path.count("{"))
    return tuple((pattern(path), path) for path in paths)


class CheckingTransport(httpx.BaseTransport):
    """Sends through another transport and complains where request or answer are not as described.

    Attributes:
        seen: Every operation that was used, as `GET /projects`.
    """

    def __init__(self, inner: httpx.BaseTransport) -> None:
        self._inner = inner
        self.seen: set[str] = set()

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        operation = self._operation(request)
        if operation is not None:
            self._check_query(request, operation)
            self._check_body(request, operation)
        response = self._inner.handle_request(request)
        response.read()
        if operation is not None:
            self._check_answer(request, response, operation)
        return response

    def close(self) -> None:
        self._inner.close()

    def _operation(self, request: httpx.Request) -> Json | None:
        path = request.url.raw_path.decode().partition("?")[0]
        if path in UNDESCRIBED:
            return None
        if not path.startswith(BASE):
            raise SchemaError(f"{request.method} {path} is outside {BASE}")
        for pattern, name in _routes():
            if pattern.fullmatch(path.removeprefix(BASE)):
                methods = description()["paths"][name]
                if request.method.lower() not in methods:
                    raise SchemaError(f"{request.method} {name} is not described")
                self.seen.add(f"{request.method} {name}")
                found: Json = methods[request.method.lower()]
                return found
        raise SchemaError(f"{path} is not described")

    def _check_query(self, request: httpx.Request, operation: Json) -> None:
        described = {each["name"]: each for each in _parameters(operation) if each["in"] == "query"}
        given = dict(parse_qsl(request.url.query.decode(), keep_blank_values=True))
        for name, value in given.items():
            if name not in described:
                raise SchemaError(f"{_named(request)}: query {name} is not described")
            if not QUERY_TYPES[described[name]["type"]].fullmatch(value):
                raise SchemaError(f"{_named(request)}: query {name}={value} is no {described[name]['type']}")
            if int(described[name].get("maximum", 2**63)) < (int(value) if value.isdecimal() else 0):
                raise SchemaError(f"{_named(request)}: query {name}={value} is too large")
        missing = [name for name, each in described.items() if each.get("required") and name not in given]
        if missing:
            raise SchemaError(f"{_named(request)}: query {missing} is required")
        if "cookie" in request.headers:
            raise SchemaError(f"{_named(request)}: carries a cookie")

    def _check_body(self, request: httpx.Request, operation: Json) -> None:
        described = next((each for each in _parameters(operation) if each["in"] == "body"), None)
        content = request.read()
        if described is None:
            if content:
                raise SchemaError(f"{_named(request)}: a body where none is described")
            return
        if request.headers.get("content-type") != "application/json":
            raise SchemaError(f"{_named(request)}: the body is not declared as JSON")
        _validate(json.loads(content), described["schema"], f"{_named(request)}: body", strict=True)

    def _check_answer(self, request: httpx.Request, response: httpx.Response, operation: Json) -> None:
        what = f"{_named(request)}: {response.status_code}"
        described = operation["responses"].get(str(response.status_code))
        if response.is_success and described is None:
            raise SchemaError(f"{what} is not described")
        if "$ref" in (described or {}):
            described = description()["responses"][described["$ref"].rpartition("/")[2]]
        if not response.is_success:
            described = {"schema": {"$ref": "#/definitions/Errors"}}
        schema = (described or {}).get("schema")
        if response.content and request.method != "HEAD":
            if schema is None:
                raise SchemaError(f"{what}: a body where none is described")
            _validate(response.json(), schema, what, strict=False)
        elif schema is not None and request.method != "HEAD":
            raise SchemaError(f"{what}: no body")


def _parameters(operation: Json) -> Iterator[Json]:
    for each in operation.get("parameters", ()):
        yield description()["parameters"][each["$ref"].rpartition("/")[2]] if "$ref" in each else each


def _validate(value: object, schema: Mapping[str, Any], what: str, *, strict: bool) -> None:
    whole = {"definitions": definitions(strict=strict), **_schema(dict(schema), strict=strict)}
    for error in Draft4Validator(whole).iter_errors(value):
        raise SchemaError(f"{what}: {'.'.join(map(str, error.absolute_path))}: {error.message[:300]}")


def _named(request: httpx.Request) -> str:
    return f"{request.method} {unquote(request.url.path)}"
