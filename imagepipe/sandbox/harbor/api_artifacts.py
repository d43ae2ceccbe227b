"""REST: repositories, artifacts, their tags, accessories and labels.

Source: goharbor/harbor v2.15.2 src/server/v2.0/handler/{repository,artifact}.go.
"""

from __future__ import annotations

import re
import sqlite3
from typing import Any
from urllib.parse import unquote

from starlette.responses import Response

from imagepipe.sandbox.harbor import api_scans, artifacts, audit, bodies, copies, wire
from imagepipe.sandbox.harbor.call import Call
from imagepipe.sandbox.harbor.identity import Robot
from imagepipe.sandbox.harbor.paging import Listing, matcher
from imagepipe.sandbox.harbor.problems import HarborError, bad_request, invalid, json_response, not_found
from imagepipe.sandbox.harbor.store import Row
from imagepipe.sandbox.harbor.wire import LISTED

# Source: distribution/reference regexp.go (ReferenceRegexp), without a host.
_REFERENCE = re.compile(
    r"(?P<repository>[a-z0-9]+(?:[._/-]+[a-z0-9]+)*)"
    rf"(?::(?P<tag>{artifacts.TAG.pattern}))?(?:@(?P<digest>{artifacts.DIGEST.pattern}))?"
)


async def list_all_repositories(call: Call) -> Response:
    """`GET /repositories`: of every project the caller may see."""
    listing = call.listing()
    rows = call.store.all("SELECT * FROM repositories")
    if not call.caller.sysadmin:
        rows = [row for row in rows if _may_list(call, row)]
    return call.page(listing, listing.select(rows), lambda row: wire.repository(call.store, row))


def _may_list(call: Call, row: Row) -> bool:
    if isinstance(call.caller, Robot):
        project = call.project(row["project_id"])["name"]
        if any(grant["namespace"] in {project, "*"} for grant in call.caller.grants()):
            return True
    return call.caller.may(row["project_id"], ("repository", "list"))


async def list_repositories(call: Call) -> Response:
    """`GET /projects/{p}/repositories`."""
    listing = call.listing()
    project = _project(call, "repository", "list")
    rows = call.store.all("SELECT * FROM repositories WHERE project_id = ?", project["id"])
    return call.page(listing, listing.select(rows), lambda row: wire.repository(call.store, row))


async def get_repository(call: Call) -> Response:
    """`GET /projects/{p}/repositories/{r}`."""
    _require(call, "repository", "read")
    return json_response(wire.repository(call.store, artifacts.find_repository(call.store, _repository(call))))


async def delete_repository(call: Call) -> Response:
    """`DELETE /projects/{p}/repositories/{r}`: with all its artifacts, indexes first."""
    _require(call, "repository", "delete")
    store, name = call.store, _repository(call)
    row = artifacts.find_repository(store, name)
    tags = store.all("SELECT name FROM tags WHERE repository_id = ?", row["id"])
    for tag in tags:
        if artifacts.is_immutable(store, row["project_id"], name, tag["name"]):
            raise HarborError("PRECONDITION", f"the tag {tag['name']} configured as immutable, cannot be deleted")
    sql = "SELECT * FROM artifacts WHERE repository_id = ? AND id NOT IN (SELECT child_id FROM children) LIMIT 1"
    while artifact := store.one(sql, row["id"]):
        _delete(call, artifact)
    store.run("DELETE FROM repositories WHERE id = ?", row["id"])
    call.record(audit.of("delete", "repository", name, row["project_id"]))
    return Response()


async def list_artifacts(call: Call) -> Response:
    """`GET …/artifacts`: newest first, without accessories; an unknown repository is an empty list."""
    listing = call.listing()
    _require(call, "artifact", "list")
    return _page(call, listing, "repository_name = ?", _repository(call))


async def list_project_artifacts(call: Call) -> Response:
    """`GET /projects/{p}/artifacts`."""
    listing = call.listing()
    call.require_login()
    key = call.project_key()
    call.require_project(key, "artifact", "list")
    return _page(call, listing, "project_id = ?", call.project(key)["id"])


def _page(call: Call, listing: Listing, where: str, value: str | int) -> Response:
    """Returns a page of artifacts; `base`, `tags` and `labels` in `q` filter by what belongs to them."""
    base = listing.keyword("base") == "*"
    shown = "artifacts.id NOT IN (SELECT artifact_id FROM accessories)" if base else LISTED
    rows = call.store.all(f"SELECT * FROM artifacts WHERE {where} AND {shown}", value)  # noqa: S608 - our own clauses
    rows = [row for row in rows if _has_tags(call, row, listing) and _has_labels(call, row, listing)]
    rows = listing.select(rows, default_sort="-push_time", ignore=("base", "tags", "labels"))
    return call.page(listing, rows, lambda row: assemble(call, row))


def _has_tags(call: Call, row: Row, listing: Listing) -> bool:
    pattern = listing.keyword("tags")
    if pattern is None:
        return True
    names = [tag["name"] for tag in call.store.all("SELECT name FROM tags WHERE artifact_id = ?", row["id"])]
    if pattern in {"*", "nil"}:
        return bool(names) == (pattern == "*")
    return any(map(matcher(pattern), names))


def _has_labels(call: Call, row: Row, listing: Listing) -> bool:
    pattern = listing.keyword("labels")
    if pattern is None:
        return True
    if not (pattern.startswith("(") and pattern.endswith(")")):
        raise bad_request('the value of "labels" query can only be integer list with intersetion relationship')
    wanted = set(pattern[1:-1].split())
    rows = call.store.all("SELECT label_id FROM artifact_labels WHERE artifact_id = ?", row["id"])
    return wanted <= {str(each["label_id"]) for each in rows}


async def get_artifact(call: Call) -> Response:
    """`GET …/artifacts/{ref}`: no pull policy applies here."""
    _require(call, "artifact", "read")
    return json_response(assemble(call, _artifact(call)))


def assemble(call: Call, row: Row) -> dict[str, Any]:
    """Returns an artifact with what the request asks to see: tags and accessories unless told otherwise."""
    store, key = call.store, row["id"]
    children = store.all("SELECT * FROM children WHERE parent_id = ?", key)
    shown = wire.artifact(row) | {"references": wire.nullable([wire.reference(child) for child in children])}
    shown |= {"tags": None, "labels": None, "accessories": None}
    if call.flag("with_tag", default=True):
        rows = store.all("SELECT * FROM tags WHERE artifact_id = ? ORDER BY push_time DESC, id DESC", key)
        shown["tags"] = wire.nullable([_tag(call, row, tag) for tag in rows])
    if call.flag("with_accessory", default=True):
        rows = store.all("SELECT * FROM accessories WHERE subject_artifact_id = ?", key)
        shown["accessories"] = wire.nullable([wire.accessory(each) for each in rows])
    if call.flag("with_label"):
        sql = "SELECT labels.* FROM labels JOIN artifact_labels ON label_id = labels.id WHERE artifact_id = ?"
        shown["labels"] = wire.nullable([wire.label(each) for each in store.all(sql, key)])
    if call.flag("with_scan_overview"):
        shown |= wire.slim(scan_overview=api_scans.shown(call, row["digest"]))
    return shown


def _tag(call: Call, artifact: Row, tag: Row) -> dict[str, Any]:
    asked = call.flag("with_immutable_status")
    place = artifact["project_id"], artifact["repository_name"], tag["name"]
    return wire.tag(tag, immutable=asked and artifacts.is_immutable(call.store, *place))


async def delete_artifact(call: Call) -> Response:
    """`DELETE …/artifacts/{ref}`."""
    _require(call, "artifact", "delete")
    _delete(call, _artifact(call))
    return Response()


def _delete(call: Call, artifact: Row) -> None:
    for gone in artifacts.delete(call.store, artifact):
        call.record(audit.of_artifact("delete", gone))


async def list_tags(call: Call) -> Response:
    """`GET …/artifacts/{ref}/tags`."""
    listing = call.listing()
    _require(call, "tag", "list")
    artifact = _artifact(call)
    rows = listing.select(call.store.all("SELECT * FROM tags WHERE artifact_id = ?", artifact["id"]))
    return call.page(listing, rows, lambda row: _tag(call, artifact, row))


async def create_tag(call: Call) -> Response:
    """`POST …/artifacts/{ref}/tags`: a name in use is refused even on the same artifact."""
    name = (await call.body(bodies.TAG)).get("name", "")
    call.require_direct(_project(call, "tag", "create"))
    artifact = _artifact(call)
    if artifacts.TAG.fullmatch(name) is None:
        raise bad_request(f"bad request: invalid tag name: {name}")
    try:
        artifacts.add_tag(call.store, artifact, name, call.harbor.stamp())
    except sqlite3.IntegrityError as error:
        taken = f"tag {name} already exists under the repository {artifact['repository_id']}"
        raise HarborError("CONFLICT", taken) from error
    call.record(_tag_event("create", artifact, name))
    return Response(status_code=201)


async def delete_tag(call: Call) -> Response:
    """`DELETE …/artifacts/{ref}/tags/{t}`."""
    _require(call, "tag", "delete")
    artifact, name = _artifact(call), call.params["tag"]
    row = call.store.one("SELECT * FROM tags WHERE artifact_id = ? AND name = ?", artifact["id"], name)
    if row is None:
        raise not_found(f"tag {name} attached to artifact {artifact['id']} not found")
    artifacts.delete_tag(call.store, artifact, row)
    call.record(_tag_event("delete", artifact, name))
    return Response()


def _tag_event(operation: str, artifact: Row, name: str) -> audit.Event:
    return audit.of(operation, "tag", f"{artifact['repository_name']}:{name}", artifact["project_id"])


async def list_accessories(call: Call) -> Response:
    """`GET …/artifacts/{ref}/accessories`: joined by the subject's id, so only once the subject is here."""
    listing = call.listing()
    _require(call, "accessory", "list")
    artifact = _artifact(call)
    rows = call.store.all("SELECT * FROM accessories WHERE subject_artifact_id = ?", artifact["id"])
    return call.page(listing, listing.select(rows), wire.accessory)


async def add_label(call: Call) -> Response:
    """`POST …/artifacts/{ref}/labels`: an unknown project is 404 here, for anyone."""
    asked = await call.body(bodies.LABEL)
    project = call.project(call.params["project"])
    call.require_project(project["id"], "artifact-label", "create")
    label_id = asked.get("id", 0)
    label = call.store.one("SELECT * FROM labels WHERE id = ?", label_id)
    if label is None:
        raise not_found(f"label {label_id} not found")
    if label["scope"] == "p" and label["project_id"] != project["id"]:
        raise not_found(f"project id {project['id']}, label {label_id} not found")
    artifact = _artifact(call)
    try:
        call.store.insert("artifact_labels", label_id=label_id, artifact_id=artifact["id"])
    except sqlite3.IntegrityError as error:
        taken = f"label {label_id} is already added to the artifact {artifact['id']}"
        raise HarborError("CONFLICT", taken) from error
    return Response()


async def remove_label(call: Call) -> Response:
    """`DELETE …/artifacts/{ref}/labels/{id}`."""
    label_id = call.number("label")
    _require(call, "artifact-label", "delete")
    artifact_id = _artifact(call)["id"]
    where = "label_id = ? AND artifact_id = ?"
    if call.store.one(f"SELECT 1 FROM artifact_labels WHERE {where}", label_id, artifact_id) is None:  # noqa: S608 - ours
        raise not_found(f"reference with label {label_id} and artifact {artifact_id} not found")
    call.store.run(f"DELETE FROM artifact_labels WHERE {where}", label_id, artifact_id)  # noqa: S608 - ours
    return Response()


async def scan(call: Call) -> Response:
    """`POST …/artifacts/{ref}/scan`; its body may be left out."""
    asked = await call.body(bodies.SCAN_TYPE)
    resource = "sbom" if asked.get("scan_type") == "sbom" else "scan"
    project = _project(call, resource, "create")
    return await api_scans.start(call, project, _artifact(call))


async def vulnerabilities(call: Call) -> Response:
    """`GET …/artifacts/{ref}/additions/vulnerabilities`: `{}` when never scanned."""
    _require(call, "artifact-addition", "read")
    return api_scans.report(call, _artifact(call)["digest"])


async def copy_artifact(call: Call) -> Response:
    """`POST …/artifacts?from=`: the quota is counted before anyone asks who is asking."""
    origin, name = call.text("from"), _repository(call)
    found = _REFERENCE.fullmatch(origin or "")
    target = call.store.project(call.params["project"])
    if found and target is not None:
        try:
            counted = artifacts.find(call.store, found["repository"], found["digest"] or found["tag"] or "")
        except HarborError as error:
            raise bad_request(f"artifact {origin} not found") from error
        copies.check_quota(call.store, counted, target, name)
    if origin is None:
        raise invalid("from in query is required")
    project = _project(call, "artifact", "create")
    call.require_direct(project)
    if found is None:
        raise bad_request(f"invalid input: {origin}")
    source, reference = found["repository"], found["digest"] or found["tag"] or ""
    call.require_project(source.partition("/")[0], "artifact", "read")
    artifact = artifacts.find(call.store, source, reference)
    if call.store.one("SELECT 1 FROM accessories WHERE artifact_id = ?", artifact["id"]):
        raise HarborError("DENIED", "the operation isn't supported for an artifact accessory")
    artifacts.ensure_repository(call.store, project, name, call.harbor.stamp())
    await copies.Copy(call.harbor, call.caller, source, name, project).run(reference)
    location = f"{call.request.url.path.rstrip('/')}/{reference}"
    return Response(status_code=201, headers={"Location": location})


def _require(call: Call, resource: str, action: str) -> None:
    """Raises 401 or 403 unless the caller may, in the project of the path, which here is always a name."""
    call.require_project(call.params["project"], resource, action)


def _project(call: Call, resource: str, action: str) -> Row:
    """Returns the project of the path once the caller may."""
    _require(call, resource, action)
    return call.project(call.params["project"])


def _repository(call: Call) -> str:
    """Returns the full repository name; the path segment was encoded twice, and one layer is left."""
    return f"{call.params['project']}/{unquote(call.params['repository'])}"


def _artifact(call: Call) -> Row:
    return artifacts.find(call.store, _repository(call), call.params["reference"])
