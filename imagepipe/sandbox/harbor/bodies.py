"""The bodies of Harbor's REST requests: what each may hold, as the request binder checks it before anything else.

Source: goharbor/harbor v2.15.2 api/v2.0/swagger.yaml (parameters in body, definitions); go-swagger's generated binders
decode with encoding/json, so a value of another kind is told in that package's words.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from imagepipe.sandbox.harbor.problems import HarborError, invalid

INT64 = 1 << 63
Kind = Any
"""`string`, `integer`, `boolean`, `any` or a type of Go's own name; `[kind]`, a list; `{"*": kind}`, a map; a Model."""
Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Model:
    """One definition: its name, with its package where that is not the generated one, and the kinds of its fields."""

    name: str
    fields: Mapping[str, Kind]

    @property
    def package(self) -> str:
        """Returns the Go package that it is in."""
        return self.name.rpartition(".")[0] or "models"

    @property
    def struct(self) -> str:
        """Returns its name without its package."""
        return self.name.rpartition(".")[2]


@dataclass(frozen=True, slots=True)
class Body:
    """A body parameter: its name in the description, its kind, and whether a request must have it."""

    name: str
    kind: Kind
    required: bool = True
    needed: tuple[str, ...] = field(default=())


def _strings(*names: str) -> dict[str, Kind]:
    return dict.fromkeys(names, "string")


_GROUP = Model("UserGroup", {"id": "integer", "group_type": "integer", **_strings("group_name", "ldap_group_dn")})
_PERMISSION = Model(
    "RobotPermission",
    {**_strings("kind", "namespace"), "access": [Model("Access", _strings("resource", "action", "effect"))]},
)
_SELECTOR = Model("ImmutableSelector", _strings("kind", "decoration", "pattern", "extras"))
_LABEL = Model(
    "Label",
    {"id": "integer", "project_id": "integer", **_strings("name", "description", "color", "scope")},
)
_METADATA = _strings(
    *("public", "enable_content_trust", "enable_content_trust_cosign", "prevent_vul", "severity", "auto_scan"),
    *("auto_sbom_generation", "reuse_sys_cve_allowlist", "retention_id", "proxy_speed_kb", "max_upstream_conn"),
    "proxy_cache_local_on_not_found",
)
_ALLOWLIST = Model(
    "CVEAllowlist",
    {
        **dict.fromkeys(("id", "project_id", "expires_at"), "integer"),
        "items": [Model("CVEAllowlistItem", _strings("cve_id"))],
    },
)
_ROBOT = {
    **_strings("name", "description", "secret", "level"),
    "disable": "boolean",
    "duration": "integer",
    "permissions": [_PERMISSION],
}

PROJECT = Body(
    "project",
    Model(
        "ProjectReq",
        {
            "project_name": "string",
            "public": "boolean",
            "metadata": Model("ProjectMetadata", _METADATA),
            "cve_allowlist": _ALLOWLIST,
            "storage_limit": "integer",
            "registry_id": "integer",
        },
    ),
)
PROJECT_MEMBER = Body(
    "project_member",
    Model(
        "ProjectMember",
        {
            "role_id": "integer",
            "member_user": Model("UserEntity", {"user_id": "integer", "username": "string"}),
            "member_group": _GROUP,
        },
    ),
    required=False,
)
ROLE = Body("role", Model("RoleRequest", {"role_id": "integer"}), required=False)
METADATA = Body("metadata", {"*": "string"}, required=False)
SCAN_TYPE = Body("scanType", Model("ScanType", _strings("scan_type")), required=False)
TAG = Body("tag", Model("NewTag", _strings("name")), needed=("name",))
LABEL = Body("label", _LABEL)
IMMUTABLE_RULE = Body(
    "ImmutableRule",
    Model(
        "ImmutableRule",
        {
            **dict.fromkeys(("id", "priority"), "integer"),
            "disabled": "boolean",
            **_strings("action", "template"),
            "params": {"*": "any"},
            "tag_selectors": [_SELECTOR],
            "scope_selectors": {"*": [_SELECTOR]},
        },
    ),
)
USER_GROUP = Body("usergroup", _GROUP, required=False)
NEW_ROBOT = Body("robot", Model("RobotCreate", _ROBOT))
ROBOT = Body(
    "robot",
    Model(
        "Robot",
        {
            **_ROBOT,
            **dict.fromkeys(("id", "expires_at", "creator_ref"), "integer"),
            "editable": "boolean",
            "creator_type": "string",
        },
    ),
)
ROBOT_SECRET = Body("robotSec", Model("RobotSec", _strings("secret")))
QUOTA = Body("hard", Model("QuotaUpdateReq", {"hard": {"*": "integer"}}))
NEW_USER = Body("userReq", Model("UserCreationReq", _strings("email", "realname", "comment", "password", "username")))
SYSADMIN = Body("sysadmin_flag", Model("UserSysAdminFlag", {"sysadmin_flag": "boolean"}))
PASSWORD = Body("password", Model("PasswordReq", _strings("old_password", "new_password")))
CLI_SECRET = Body("secret", Model("OIDCCliSecretReq", _strings("secret")))
# Of the settings only those that the stand-in knows.
CONFIGURATIONS = Body(
    "configurations",
    Model(
        "Configurations",
        {
            **_strings("project_creation_restriction", "robot_name_prefix"),
            "read_only": "boolean",
            "storage_per_project": "integer",
        },
    ),
)
ALL = (
    *(PROJECT, PROJECT_MEMBER, ROLE, METADATA, SCAN_TYPE, TAG, LABEL, IMMUTABLE_RULE, USER_GROUP, NEW_ROBOT, ROBOT),
    *(ROBOT_SECRET, QUOTA, NEW_USER, SYSADMIN, PASSWORD, CLI_SECRET, CONFIGURATIONS),
)


def bound(body: Body, raw: bytes, content_type: str) -> Json:
    """Returns the decoded body without its nulls, empty where there is none and none is needed.

    Raises:
        HarborError: 422, as the binder runs before any check of rights.
    """
    if not raw:
        if body.required:
            raise invalid(f"{body.name} in body is required")
        return {}
    kind = content_type.partition(";")[0].strip().lower()
    if kind != "application/json":
        raise invalid(f'unsupported media type "{kind}", only [application/json] are allowed')
    try:
        value = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise _unparsed(body, syntax(raw, error)) from error
    mistake = mistake_in(value, body.kind)
    if mistake:
        raise _unparsed(body, mistake)
    found: Json = _without_nulls(value) or {}
    missing = [f"{name} in body is required" for name in body.needed if name not in found]
    if missing:
        raise invalid(*missing)
    return found


def _unparsed(body: Body, reason: str) -> HarborError:
    return invalid(f'parsing {body.name} body from "" failed, because {reason}')


def syntax(raw: bytes, error: Exception) -> str:
    """Returns roughly what Go's decoder says of text that is no JSON: only the usual cases are to the letter."""
    if not isinstance(error, json.JSONDecodeError):
        return "invalid character 'ÿ' in string literal" if isinstance(error, ValueError) else "exceeded max depth"
    rest = error.doc[error.pos : error.pos + 1]
    if not rest or error.msg.startswith("Unterminated"):
        return "unexpected EOF" if raw.strip() else "EOF"
    return f"invalid character '{rest}' looking for beginning of value"


def mistake_in(value: Any, kind: Kind) -> str:
    """Returns what Go's decoder says of the first value of another kind, empty when there is none."""
    return _mistake(value, kind, "", [])


def _mistake(value: Any, kind: Kind, struct: str, path: list[str]) -> str:
    if value is None or kind == "any":
        return ""
    if not _fits(value, kind):
        place = f"struct field {struct}.{'.'.join(path)} of type " if struct else "value of type "
        return f"json: cannot unmarshal {_named(value)} into Go {place}{_go_type(kind)}"
    for inner, inner_kind, inner_struct, inner_path in _inside(value, kind, struct, path):
        found = _mistake(inner, inner_kind, inner_struct, inner_path)
        if found:
            return found
    return ""


def _fits(value: Any, kind: Kind) -> bool:
    if isinstance(kind, str) and kind in {"integer", "int"}:
        return isinstance(value, int) and not isinstance(value, bool) and -INT64 <= value < INT64
    wanted: type = (bool if kind == "boolean" else str) if isinstance(kind, str) else dict
    return isinstance(value, list if isinstance(kind, list) else wanted)


def _inside(value: Any, kind: Kind, struct: str, path: list[str]) -> list[tuple[Any, Kind, str, list[str]]]:
    if isinstance(kind, Model):
        return [(value[key], each, kind.struct, [*path, key]) for key, each in kind.fields.items() if key in value]
    if isinstance(kind, list):
        return [(each, kind[0], struct, path) for each in value]
    if isinstance(kind, dict):
        return [(each, kind["*"], struct, path) for each in value.values()]
    return []


def _go_type(kind: Kind) -> str:
    if isinstance(kind, Model):
        return f"{kind.package}.{kind.struct}"
    if isinstance(kind, list):
        pointed = isinstance(kind[0], Model) and kind[0].package == "models"
        return f"[]{'*' if pointed else ''}{_go_type(kind[0])}"
    if isinstance(kind, dict):
        return f"map[string]{_go_type(kind['*'])}"
    return {"integer": "int64", "boolean": "bool", "any": "interface {}"}.get(kind, str(kind))


def _named(value: Any) -> str:
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int | float):
        odd = isinstance(value, float) or not -INT64 <= value < INT64
        return f"number {json.dumps(value)}" if odd else "number"
    kinds: dict[Any, str] = {str: "string", list: "array"}
    return kinds.get(type(value), "object")


def _without_nulls(value: Any) -> Any:
    """Returns the value as Go keeps it: null leaves a field as it is, while in a list it stays."""
    if isinstance(value, dict):
        return {key: _without_nulls(each) for key, each in value.items() if each is not None}
    return [_without_nulls(each) for each in value] if isinstance(value, list) else value
