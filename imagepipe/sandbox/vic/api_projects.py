"""Projects, their metadata and access logs.

Source: goharbor/harbor v1.7.8 src/core/api/{project,metadata}.go, src/common/models/{project,accesslog}.go.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Mapping
from typing import Any, Final

from starlette.responses import Response

from imagepipe.sandbox.harbor.store import Row, timestamp
from imagepipe.sandbox.vic.answers import RefusalError, aborted, created, data
from imagepipe.sandbox.vic.directory import PROJECT_ADMIN, Project
from imagepipe.sandbox.vic.parts import Call

NAME: Final = re.compile(r"[a-z0-9]+(?:[._-][a-z0-9]+)*")
ZERO_TIME: Final = "0001-01-01T00:00:00Z"
_NOT_EMPTY: Final = "the project contains repositories, can not be deleted"
_FLAGS: Final = ("public", "enable_content_trust", "prevent_vul", "auto_scan")
_CRITICAL_SINCE: Final = (1, 10)
_SEVERITIES: Final = ("high", "medium", "low", "negligible")
_TRUE: Final = ("1", "t", "T", "true", "TRUE", "True")
_FALSE: Final = ("0", "f", "F", "false", "FALSE", "False")


async def list_projects(call: Call) -> Response:
    """`GET /projects`: with a wrong password the public ones, and a 200."""
    call.paging()
    name, owner, public = call.text("name"), call.text("owner"), call.text("public")
    if public and public not in _TRUE + _FALSE:
        raise RefusalError(400, f"invalid public: {public}")
    found = call.vic.directory.projects(call.caller)
    if call.vic.with_admiral:
        return _list_of_admiral(call, found, name, public)
    if name:
        found = [project for project in found if name in project.name]
    if owner:
        found = [project for project in found if project.row["owner_name"] == owner]
    if public:
        found = [project for project in found if project.public == (public in _TRUE)]
    if not found:
        return data(None, {"X-Total-Count": "0"})  # Go writes a list that never was as null
    return call.page(found, lambda project: show(call, project))


def _list_of_admiral(call: Call, found: list[Project], name: str, public: str) -> Response:
    """Returns the list as it comes from Admiral: names are exact, and there are no pages."""
    if public in _TRUE:
        found = [project for project in call.vic.directory.projects(None) if project.public]
    if name:
        found = [project for project in found if project.name == name]
    if any(project.broken for project in found):
        raise RefusalError(500)
    return call.page(found, lambda project: show(call, project), total=len(found))


def show(call: Call, project: Project) -> dict[str, Any]:
    """Returns a Project as the caller sees it."""
    roles = call.caller.roles(project.id) if call.caller.name else ()
    role = roles[0] if roles else 0
    sql = "SELECT count(*) FROM repositories WHERE project_id = ?"
    return {
        "project_id": project.id,
        "owner_id": project.row.get("owner_id", 0),
        "name": project.name,
        "creation_time": project.row.get("creation_time", ZERO_TIME),
        "update_time": project.row.get("update_time", ZERO_TIME),
        "deleted": False,
        "owner_name": project.row.get("owner_name", ""),
        "togglable": role == PROJECT_ADMIN or call.caller.sysadmin,
        "current_user_role_id": role,
        "repo_count": call.store.value(sql, project.id),
        "chart_count": 0,
        "metadata": dict(project.metadata) or None,
    }


async def head_project(call: Call) -> Response:
    """`HEAD /projects?project_name=`: tells everybody the truth."""
    name = call.text("project_name")
    if not name:
        raise RefusalError(400, "project_name is needed")
    call.project_named(name)
    return Response()


async def create_project(call: Call) -> Response:
    """`POST /projects`: with Admiral for its cloud administrators only."""
    call.require_login()
    only_admin = call.vic.with_admiral or call.store.setting("project_creation_restriction", "") == "adminonly"
    if only_admin and not call.caller.sysadmin:
        raise RefusalError(403, "Only system admin can create project")
    asked = await call.body()
    name, metadata = str(asked.get("project_name") or ""), _texts(asked.get("metadata") or {})
    _check_new(name, metadata, newer=call.vic.config.release >= _CRITICAL_SINCE)
    if call.vic.directory.project(name) is not None:
        raise RefusalError(409)
    if asked.get("public") is not None and not metadata.get("public"):
        metadata["public"] = str(asked["public"] == 1).lower()
    metadata.setdefault("public", "false")
    try:
        project_id = call.vic.directory.create(call.caller, name, metadata)
    except sqlite3.IntegrityError:
        raise RefusalError(409) from None
    call.vic.log(call.caller, Project(project_id, name, metadata), "create")
    return created(call.request.url.path, project_id)


def _texts(given: Mapping[str, Any]) -> dict[str, str]:
    if not all(isinstance(value, str) for value in given.values()):
        raise aborted(400, "Invalid json request")
    return dict(given)


def _check_new(name: str, metadata: dict[str, str], *, newer: bool) -> None:
    if not 2 <= len(name) <= 255:
        length = "Project name is illegal in length. (greater than 255 or less than 2)"
        raise RefusalError(400, f"invalid request: {length}")
    if NAME.fullmatch(name) is None:
        what = "project name is not in lower case or contains illegal characters"
        raise RefusalError(400, f"invalid request: {what}")
    problem = problem_with(metadata, newer=newer)
    if problem:
        raise RefusalError(400, f"invalid request: {problem}")


def problem_with(metadata: dict[str, str], *, newer: bool = False) -> str:
    """Returns what is wrong with metadata, and writes its values as they are stored; critical came with 1.10."""
    for key in _FLAGS:
        value = metadata.get(key)
        if value is None:
            continue
        if value not in _TRUE + _FALSE:
            return f'failed to parse {value} to bool: strconv.ParseBool: parsing "{value}": invalid syntax'
        metadata[key] = str(value in _TRUE).lower()
    severity = metadata.get("severity")
    if severity is not None:
        if severity.lower() not in _SEVERITIES + (("critical",) if newer else ()):
            return f"invalid severity {severity}"
        metadata["severity"] = severity.lower()
    return ""


async def get_project(call: Call) -> Response:
    """`GET /projects/{id}`."""
    project = call.project()
    call.require(call.caller.may_read(project))
    return data(show(call, project))


async def update_project(call: Call) -> Response:
    """`PUT /projects/{id}`: merges metadata as they are given, and validates none."""
    project = _changeable(call)
    for key, value in _texts((await call.body()).get("metadata") or {}).items():
        _store(call, project.id, key, value)
    return Response()


async def delete_project(call: Call) -> Response:
    """`DELETE /projects/{id}`."""
    project = _changeable(call)
    message = _obstacle(call, project)
    if message:
        raise aborted(412, message)
    freed = f"{project.name}#{project.id}"
    call.store.run("UPDATE projects SET deleted = 1, name = ? WHERE id = ?", freed, project.id)
    call.store.run("DELETE FROM metadata WHERE project_id = ?", project.id)
    call.vic.log(call.caller, project, "delete")
    return Response()


async def deletable(call: Call) -> Response:
    """`GET /projects/{id}/_deletable`."""
    message = _obstacle(call, _changeable(call))
    return data({"deletable": not message, "message": message})


def _changeable(call: Call) -> Project:
    project = call.project()
    call.require(call.caller.may_all(project))
    return project


def _obstacle(call: Call, project: Project) -> str:
    held = call.store.one("SELECT 1 FROM repositories WHERE project_id = ?", project.id)
    return _NOT_EMPTY if held else ""


async def logs(call: Call) -> Response:
    """`GET /projects/{id}/logs`: newest first."""
    project = call.project()
    call.require_login()
    call.require(call.caller.may_look_inside(project))
    sql = "SELECT * FROM access_log WHERE project_id = ? ORDER BY op_time DESC, log_id DESC"
    rows = call.store.all(sql, project.id)
    for column, name in {"username": "username", "repo_tag": "tag", "repo_name": "repository"}.items():
        rows = [row for row in rows if call.text(name) in row[column]]
    operations = {value for key, value in call.query if key == "operation" and value}
    rows = [row for row in rows if not operations or row["operation"] in operations]
    begin = _time(call, "begin_timestamp")
    end = _time(call, "end_timestamp")
    rows = [row for row in rows if (not begin or row["op_time"] >= begin) and (not end or row["op_time"] <= end)]
    return call.page(rows, lambda row: {**row, "guid": ""})


def _time(call: Call, name: str) -> str:
    text = call.text(name)
    if text and not text.isdecimal():
        raise RefusalError(400, f"invalid {name}: {text}")
    return timestamp(int(text)) if text else ""


async def list_metadata(call: Call) -> Response:
    """`GET /projects/{id}/metadatas`."""
    return data(call.store.metadata(_with_metadata(call).id))


async def get_metadata(call: Call) -> Response:
    """`GET /projects/{id}/metadatas/{name}`."""
    project = _with_metadata(call)
    name = call.params["name"]
    return data({name: _held(call, project, name)["value"]})


async def add_metadata(call: Call) -> Response:
    """`POST /projects/{id}/metadatas`: one key."""
    project = _with_metadata(call)
    given = _texts(await call.body())
    problem = problem_with(given)
    if problem:
        raise RefusalError(400, problem)
    if len(given) != 1:
        text = "invalid request: has no valid key/value pairs or has more than one valid key/value pairs"
        raise RefusalError(400, text)
    ((key, value),) = given.items()
    if key in call.store.metadata(project.id):
        raise RefusalError(409)
    _store(call, project.id, key, value)
    return Response(status_code=201)


async def put_metadata(call: Call) -> Response:
    """`PUT /projects/{id}/metadatas/{name}`."""
    project, name = _with_metadata(call), call.params["name"]
    _held(call, project, name)
    given = _texts(await call.body())
    if name not in given:
        raise RefusalError(400, f"must contains key {name}")
    wanted = {name: given[name]}
    problem = problem_with(wanted)
    if problem:
        raise RefusalError(400, problem)
    _store(call, project.id, name, wanted[name])
    return Response()


async def delete_metadata(call: Call) -> Response:
    """`DELETE /projects/{id}/metadatas/{name}`."""
    project, name = _with_metadata(call), call.params["name"]
    _held(call, project, name)
    call.store.run("DELETE FROM metadata WHERE project_id = ? AND key = ?", project.id, name)
    return Response()


def _with_metadata(call: Call) -> Project:
    """Returns the project; who may read it may also write its metadata, as Harbor 1.7.8 has it.

    Raises:
        RefusalError: 405: an Admiral token's holder has no metadata here, nor has nobody.
    """
    if call.vic.with_admiral and not call.caller.global_manager:
        raise RefusalError(405)
    project = call.project()
    if not (call.request.method == "GET" and project.public):
        call.require_login()
        call.require(call.caller.may_read(project))
    return project


def _held(call: Call, project: Project, name: str) -> Row:
    row = call.store.one("SELECT * FROM metadata WHERE project_id = ? AND key = ?", project.id, name)
    if row is None:
        raise RefusalError(404, f"metadata {name} of project {project.id} not found")
    return row


def _store(call: Call, project_id: int, key: str, value: str) -> None:
    sql = "INSERT INTO metadata VALUES (?, ?, ?) ON CONFLICT (project_id, key) DO UPDATE SET value = excluded.value"
    call.store.run(sql, project_id, key, value)
