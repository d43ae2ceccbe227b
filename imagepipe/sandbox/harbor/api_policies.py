"""REST: what rules a project has: metadata, immutable tags, quotas and labels.

Source: goharbor/harbor v2.15.2 src/server/v2.0/handler/{project_metadata,immutable,quota,label}.go.
"""

from __future__ import annotations

import json
import sqlite3
from typing import Any

from starlette.responses import Response

from imagepipe.sandbox.harbor import bodies, quotas, wire
from imagepipe.sandbox.harbor.api_projects import set_metadata
from imagepipe.sandbox.harbor.call import Call
from imagepipe.sandbox.harbor.paging import integer
from imagepipe.sandbox.harbor.problems import HarborError, bad_request, json_response, not_found
from imagepipe.sandbox.harbor.store import Row

BOOLEANS = frozenset(
    {
        "public",
        "enable_content_trust",
        "enable_content_trust_cosign",
        "auto_sbom_generation",
        "prevent_vul",
        "auto_scan",
        "reuse_sys_cve_allowlist",
        "proxy_cache_local_on_not_found",
    }
)
# Source: Go's strconv.ParseBool.
TRUE, FALSE = frozenset({"1", "t", "T", "TRUE", "true", "True"}), frozenset({"0", "f", "F", "FALSE", "false", "False"})
SEVERITIES = frozenset({"none", "low", "medium", "high", "critical"})


async def list_metadata(call: Call) -> Response:
    """`GET …/metadatas/`: project admins lack metadata:list, so they get 403, as on a real Harbor."""
    return json_response(call.store.metadata(_project(call, "metadata", "list")["id"]))


async def add_metadata(call: Call) -> Response:
    """`POST …/metadatas/`: one key at a time."""
    asked = await call.body(bodies.METADATA)
    project = _project(call, "metadata", "create")
    key, value = _checked(asked)
    if key in call.store.metadata(project["id"]):
        raise HarborError("CONFLICT", f"metadata {key} of project {project['id']} already exists")
    set_metadata(call, project["id"], key, value)
    return Response()


async def get_metadata(call: Call) -> Response:
    """`GET …/metadatas/{key}`: an object, empty when the key is not set."""
    project, key = _project(call, "metadata", "read"), call.params["key"]
    return json_response({k: v for k, v in call.store.metadata(project["id"]).items() if k == key})


async def put_metadata(call: Call) -> Response:
    """`PUT …/metadatas/{key}`."""
    asked = await call.body(bodies.METADATA)
    project = _project(call, "metadata", "update")
    key, value = _checked({call.params["key"]: asked.get(call.params["key"], "")})
    set_metadata(call, project["id"], key, value)
    return Response()


async def delete_metadata(call: Call) -> Response:
    """`DELETE …/metadatas/{key}`."""
    project = _project(call, "metadata", "delete")
    call.store.run("DELETE FROM metadata WHERE project_id = ? AND key = ?", project["id"], call.params["key"])
    return Response()


def _checked(asked: dict[str, Any]) -> tuple[str, str]:
    """Returns the one key and its normalised value.

    Raises:
        HarborError: 400, the key is unknown or the value is none of its kind.
    """
    if len(asked) != 1:
        raise bad_request("only allow one key/value pair")
    key, value = next(iter((key, str(value)) for key, value in asked.items()))
    if key in BOOLEANS and value in TRUE | FALSE:
        return key, "true" if value in TRUE else "false"
    if key == "severity" and value.lower() in SEVERITIES:
        return key, value.lower()
    raise bad_request(f"invalid value: {value}" if key in BOOLEANS | {"severity"} else f"invalid key: {key}")


async def list_immutable(call: Call) -> Response:
    """`GET …/immutabletagrules`."""
    listing = call.listing()
    project = _project(call, "immutable-tag", "list")
    rows = call.store.all("SELECT * FROM immutable_rules WHERE project_id = ?", project["id"])
    return call.page(listing, listing.select(rows), _rule)


def _rule(row: Row) -> dict[str, Any]:
    rule = json.loads(row["rule"])
    names = ("priority", "action", "template", "tag_selectors", "scope_selectors")
    return {"id": row["id"], **wire.slim(disabled=bool(row["disabled"])), **{n: rule[n] for n in names if rule.get(n)}}


async def create_immutable(call: Call) -> Response:
    """`POST …/immutabletagrules`."""
    asked = await call.body(bodies.IMMUTABLE_RULE)
    project = _project(call, "immutable-tag", "create")
    disabled = int(bool(asked.get("disabled")))
    values = {"project_id": project["id"], "disabled": disabled, "rule": json.dumps(asked)}
    return call.created(call.store.insert("immutable_rules", **values))


async def update_immutable(call: Call) -> Response:
    """`PUT …/immutabletagrules/{id}`: when `disabled` differs, the rest of the body is dropped."""
    rule_id, asked = call.number("rule"), await call.body(bodies.IMMUTABLE_RULE)
    if asked.get("id", 0) != rule_id:
        raise bad_request(
            "bad request: the immutable_rule_id doesn't match the id in the payload body of ImmutableRule"
        )
    row = _immutable(call, _project(call, "immutable-tag", "update"), rule_id)
    disabled = int(bool(asked.get("disabled")))
    if disabled != row["disabled"]:
        call.store.run("UPDATE immutable_rules SET disabled = ? WHERE id = ?", disabled, rule_id)
    else:
        call.store.run("UPDATE immutable_rules SET rule = ? WHERE id = ?", json.dumps(asked), rule_id)
    return Response()


async def delete_immutable(call: Call) -> Response:
    """`DELETE …/immutabletagrules/{id}`."""
    rule_id = call.number("rule")
    _immutable(call, _project(call, "immutable-tag", "delete"), rule_id)
    call.store.run("DELETE FROM immutable_rules WHERE id = ?", rule_id)
    return Response()


def _immutable(call: Call, project: Row, rule_id: int) -> Row:
    row = call.store.one("SELECT * FROM immutable_rules WHERE id = ?", rule_id)
    if row is None:
        raise not_found(f"immutable rule {rule_id} not found")
    if row["project_id"] != project["id"]:
        raise not_found(f"resource not found: project id {project['id']} does not match")
    return row


QUOTAS = """SELECT quotas.*, projects.name AS project_name, users.username AS owner_name FROM quotas
  JOIN projects ON projects.id = project_id LEFT JOIN users ON users.id = owner_id"""


async def list_quotas(call: Call) -> Response:
    """`GET /quotas`: system administrators only."""
    listing = call.listing()
    call.require_system("quota", "list")
    rows = call.store.all(QUOTAS)
    if call.text("reference") not in {None, "", "project"}:
        rows = []
    wanted = call.text("reference_id")
    rows = [row for row in rows if not wanted or str(row["project_id"]) == wanted]
    return call.page(listing, listing.select(rows), lambda row: _quota(call, row))


def _quota(call: Call, row: Row) -> dict[str, Any]:
    return wire.quota(row, quotas.used(call.store, row["project_id"]))


async def get_quota(call: Call) -> Response:
    """`GET /quotas/{id}`."""
    quota_id = call.number("quota")
    call.require_system("quota", "read")
    return json_response(_quota(call, _quota_row(call, quota_id)))


async def update_quota(call: Call) -> Response:
    """`PUT /quotas/{id}`."""
    quota_id, asked = call.number("quota"), await call.body(bodies.QUOTA)
    call.require_system("quota", "update")
    hard = asked.get("hard")
    if not hard:
        raise bad_request("hard required in body")
    _quota_row(call, quota_id)
    problem = quotas.problem_with(hard)
    if problem:
        raise bad_request(problem)
    sql = "UPDATE quotas SET hard = ?, update_time = ? WHERE id = ?"
    call.store.run(sql, hard["storage"], call.harbor.stamp(), quota_id)
    return Response()


def _quota_row(call: Call, quota_id: int) -> Row:
    row = call.store.one(f"{QUOTAS} WHERE quotas.id = ?", quota_id)
    if row is None:
        raise not_found(f"quota {quota_id} not found")
    return row


async def list_labels(call: Call) -> Response:
    """`GET /labels`: of the system (scope g, for anyone) or of a project (scope p)."""
    listing = call.listing()
    scope, project_id = call.text("scope") or "", 0
    if scope not in {"g", "p"}:
        raise bad_request(f"invalid scope: {scope}")
    if scope == "p":
        project_id = integer(call.text("project_id") or "0", "project_id")
        if project_id == 0:
            raise bad_request("must with project ID when to query project labels")
        call.require_project(project_id, "label", "list")
    rows = call.store.all("SELECT * FROM labels WHERE scope = ? AND project_id = ?", scope, project_id)
    name = call.text("name")
    rows = [row for row in rows if not name or name in row["name"]]
    return call.page(listing, listing.select(rows), wire.label)


async def create_label(call: Call) -> Response:
    """`POST /labels`."""
    asked = await call.body(bodies.LABEL)
    scope, name = asked.get("scope", ""), asked.get("name", "")
    project_id = asked.get("project_id", 0) if scope == "p" else 0
    _require_label(call, scope, project_id, "create")
    if not name:
        raise bad_request("cannot be empty")
    now = call.harbor.stamp()
    values = {"name": name, "scope": scope, "project_id": project_id, "creation_time": now, "update_time": now}
    values |= {key: asked.get(key) or "" for key in ("description", "color")}
    try:
        return call.created(call.store.insert("labels", **values))
    except sqlite3.IntegrityError as error:
        raise HarborError("CONFLICT", f"label {name} already exists") from error


async def get_label(call: Call) -> Response:
    """`GET /labels/{id}`."""
    row = _label(call)
    _require_label(call, row["scope"], row["project_id"], "read")
    return json_response(wire.label(row))


async def delete_label(call: Call) -> Response:
    """`DELETE /labels/{id}`: it comes off every artifact."""
    row = _label(call)
    _require_label(call, row["scope"], row["project_id"], "delete")
    with call.store.transaction():
        call.store.run("DELETE FROM artifact_labels WHERE label_id = ?", row["id"])
        call.store.run("DELETE FROM labels WHERE id = ?", row["id"])
    return Response()


def _label(call: Call) -> Row:
    label_id = call.number("label")
    row = call.store.one("SELECT * FROM labels WHERE id = ?", label_id)
    if row is None:
        raise not_found(f"label {label_id} not found")
    return row


def _require_label(call: Call, scope: str, project_id: int, action: str) -> None:
    if scope == "g":
        call.require_system("label", action)
    elif scope == "p":
        call.require_project(project_id, "label", action)
    else:
        raise bad_request("unsupported label scope")


def _project(call: Call, resource: str, action: str) -> Row:
    key = call.project_key()
    call.require_project(key, resource, action)
    return call.project(key)
