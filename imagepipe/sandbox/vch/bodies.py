"""JSON bodies as Go's decoder reads them: what cannot be read is refused in its words, never a fault of ours.

Source: docker 1.13 api/server/httputils/httputils.go:47-63 (CheckForJSON); Go 1.8 encoding/json.
"""

import json
from collections.abc import Mapping
from typing import Any

from starlette.requests import Request

from imagepipe.sandbox.vch.answers import RefusalError

Kind = type | list[Any] | tuple[str, dict[str, Any]] | dict[str, Any]
"""What a field must be: a type; `[kind]` a list; `{"*": kind}` a map; `(name, fields)` a struct of Go."""

_STRINGS = [str]
_ANY: dict[str, Any] = {"*": object}

_HOST_CONFIG = (
    "HostConfig",
    {
        "Binds": _STRINGS,
        "NetworkMode": str,
        "Memory": int,
        "CpuCount": int,
        "CpusetCpus": str,
        "PortBindings": {"*": [("PortBinding", {"HostIp": str, "HostPort": str})]},
    },
)
CONTAINER = (
    "runconfig.ContainerConfigWrapper",
    {
        "Image": str,
        "Volumes": _ANY,
        "HostConfig": _HOST_CONFIG,
        "NetworkingConfig": ("NetworkingConfig", {"EndpointsConfig": {"*": ("EndpointSettings", {})}}),
    },
)
NETWORK = (
    "types.NetworkCreateRequest",
    {"Name": str, "Driver": str, "IPAM": ("IPAM", {"Config": [("IPAMConfig", {})]})},
)
COMMIT = (CONTAINER[0], dict[str, Any]())
CONNECTION = ("types.NetworkConnect", {"Container": str})
VOLUME = (
    "volume.VolumesCreateBody",
    {"Name": str, "Driver": str, "DriverOpts": {"*": str}, "Labels": {"*": str}},
)
LOGIN = ("types.AuthConfig", {"username": str, "password": str, "serveraddress": str})
EXEC_START = ("types.ExecStartCheck", {"Detach": bool, "Tty": bool})
EXEC = ("types.ExecConfig", {"Cmd": _STRINGS, "Tty": bool})


async def read(request: Request, struct: tuple[str, dict[str, Any]]) -> dict[str, Any]:
    """Returns the object in the body, its fields of the kinds that `struct` names.

    Raises:
        RefusalError: 500, with the text of Go's decoder (the place of a syntax error is only nearly its own).
    """
    raw = await request.body()
    content_type = request.headers.get("content-type", "")
    if (raw or content_type) and content_type.partition(";")[0].strip() != "application/json":
        raise RefusalError(f"Content-Type specified ({content_type}) must be 'application/json'", 500)
    return decoded(raw, struct)


def decoded(raw: bytes, struct: tuple[str, dict[str, Any]]) -> dict[str, Any]:
    """Returns the object in `raw` as `read` does."""
    try:
        value = json.loads(raw)
    except json.JSONDecodeError as error:
        rest = error.doc[error.pos : error.pos + 1]
        eof = "unexpected EOF" if raw.strip() else "EOF"
        text = f"invalid character {rest!r} looking for beginning of value" if rest else eof
        raise RefusalError(text, 500) from error
    except ValueError as error:  # not UTF-8
        raise RefusalError("invalid character 'ÿ' looking for beginning of value", 500) from error
    _check(value, struct, f"Go value of type {struct[0]}", "")
    found: dict[str, Any] = {} if value is None else value
    return found


def _check(value: Any, kind: Kind, place: str, go_type: str) -> None:
    if value is None or kind is object:
        return  # Go leaves the zero value for null
    wanted = _wanted(kind)
    if not isinstance(value, wanted) or (wanted is int and isinstance(value, bool)):
        suffix = f" of type {go_type}" if go_type else ""
        raise RefusalError(f"json: cannot unmarshal {_name(value)} into {place}{suffix}", 500)
    for inner, inner_kind, inner_place in _inside(value, kind, place):
        _check(inner, inner_kind, inner_place, _go_type(inner_kind))


def _wanted(kind: Kind) -> type:
    if isinstance(kind, type):
        return kind
    return list if isinstance(kind, list) else dict


def _inside(value: Any, kind: Kind, place: str) -> list[tuple[Any, Kind, str]]:
    if isinstance(kind, list):
        return [(one, kind[0], place) for one in value]
    if isinstance(kind, tuple):
        name, fields = kind
        struct = name.rpartition(".")[2]
        known: Mapping[str, Kind] = fields
        return [(value[key], known[key], f"Go struct field {struct}.{key}") for key in known if key in value]
    if isinstance(kind, dict):
        return [(one, kind["*"], place) for one in value.values()]
    return []


def _go_type(kind: Kind) -> str:
    if isinstance(kind, list):
        return f"[]{_go_type(kind[0])}"
    if isinstance(kind, tuple):
        return kind[0]
    if isinstance(kind, dict):
        return f"map[string]{_go_type(kind['*'])}"
    named = ((str, "string"), (int, "int64"), (bool, "bool"))
    return next((name for scalar, name in named if kind is scalar), "struct {}")


def _name(value: Any) -> str:
    if isinstance(value, bool):
        return "bool"
    kinds: dict[Any, str] = {str: "string", list: "array", dict: "object"}
    return kinds.get(type(value), "number")
