"""Repositories and tags; every tag costs Harbor a manifest and a config from its registry.

Source: goharbor/harbor v1.7.8 src/core/api/repository.go.
"""

from __future__ import annotations

import base64
import json
import re
from typing import Any, Final

from starlette.responses import Response

from imagepipe.sandbox.harbor.bodies import INT64
from imagepipe.sandbox.harbor.manifests import DOCKER_MANIFEST
from imagepipe.sandbox.harbor.store import Row
from imagepipe.sandbox.vic.answers import RefusalError, aborted, data
from imagepipe.sandbox.vic.api_projects import ZERO_TIME
from imagepipe.sandbox.vic.directory import Project
from imagepipe.sandbox.vic.parts import Call

_REPOSITORY: Final = re.compile(r"[a-z0-9]+(?:[._-][a-z0-9]+)*(?:/[a-z0-9]+(?:[._-][a-z0-9]+)*)*")
_TAG: Final = re.compile(r"[\w][\w.-]{0,127}", re.ASCII)
_SOURCE: Final = re.compile(r"(?P<project>[^/:]+)/(?P<repo>[^:]+):(?P<tag>.+)")


async def list_repositories(call: Call) -> Response:
    """`GET /repositories?project_id=`."""
    text = call.text("project_id")
    if not text.isdecimal() or not 0 < int(text) < INT64:
        raise RefusalError(400, f"invalid project_id {text}")
    project = call.readable(call.vic.directory.project(int(text)), f"project {text} not found")
    call.require(call.caller.may_read(project))
    rows = call.store.all("SELECT * FROM repositories WHERE project_id = ? ORDER BY name", project.id)
    wanted = [row for row in rows if call.text("q") in row["name"]]
    page, size = call.paging()
    shown = [await _show(call, row) for row in wanted[(page - 1) * size : page * size]]
    return call.page(shown, lambda row: row, total=len(wanted))


async def _show(call: Call, row: Row) -> dict[str, Any]:
    return {
        "id": row["id"],
        "name": row["name"],
        "project_id": row["project_id"],
        "description": row["description"],
        "pull_count": row["pull_count"],
        "star_count": 0,
        "tags_count": len(await call.vic.inside.tags(row["name"])),
        "labels": [],
        "creation_time": row["creation_time"],
        "update_time": row["update_time"],
    }


async def list_tags(call: Call) -> Response:
    """`GET /repositories/{name}/tags`: no pages, in no order; of an unknown repository an empty list."""
    name = _readable(call)[1]
    return data([await _tag(call, name, tag) for tag in await call.vic.inside.tags(name)])


async def get_tag(call: Call) -> Response:
    """`GET /repositories/{name}/tags/{tag}`: says that it is not there before it asks who wants to know."""
    name, tag = call.params["repository"], call.params["tag"]
    project = call.vic.directory.project(name.partition("/")[0])
    if project is None or not await call.vic.inside.digest(name, tag):
        raise RefusalError(404, f"resource: {name}:{tag} not found")
    _readable(call)
    return data(await _tag(call, name, tag))


async def _tag(call: Call, repository: str, tag: str) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "digest": "",
        "name": tag,
        "size": 0,
        "architecture": "",
        "os": "",
        "os.version": "",
        "docker_version": "",
        "author": "",
        "created": ZERO_TIME,
        "config": None,
        "signature": None,
        "labels": [],
    }
    answer = await call.vic.inside.manifest(repository, tag)
    if not answer.is_success:
        return shown
    shown["digest"] = answer.headers.get("docker-content-digest", "")
    manifest = answer.json()
    parts = [part for part in (manifest.get("config"), *(manifest.get("layers") or ())) if part]
    shown["size"] = len(answer.content) + sum(int(part.get("size", 0)) for part in parts)
    if manifest.get("config"):
        shown |= _described(await call.vic.inside.blob(repository, manifest["config"]["digest"]))
    signed = call.vic.signatures(repository)
    if signed.get(tag) == shown["digest"]:
        shown["signature"] = _target(tag, signed[tag])
    return shown


def _described(raw: bytes) -> dict[str, Any]:
    try:
        config = json.loads(raw)
    except ValueError:
        return {}
    names = ("architecture", "os", "os.version", "docker_version", "author", "created")
    labels = (config.get("config") or {}).get("Labels")
    shown = {name: config[name] for name in names if config.get(name)}
    maintainer = next((value for key, value in (labels or {}).items() if key.lower() == "maintainer"), "")
    return {"author": maintainer, **shown, "config": {"labels": labels}}


async def get_manifest(call: Call) -> Response:
    """`GET /repositories/{name}/tags/{tag}/manifest`: the manifest, and the config as a text."""
    name = _readable(call)[1]
    answer = await call.vic.inside.manifest(name, call.params["tag"])
    if not answer.is_success:
        raise aborted(answer.status_code, answer.text)
    manifest = answer.json()
    shown = {"manifest": manifest}
    if manifest.get("config"):
        shown["config"] = (await call.vic.inside.blob(name, manifest["config"]["digest"])).decode()
    return data(shown)


async def list_signatures(call: Call) -> Response:
    """`GET /repositories/{name}/signatures`: Notary's targets."""
    name = _readable(call)[1]
    return data([_target(tag, digest) for tag, digest in call.vic.signatures(name).items()])


def _target(tag: str, digest: str) -> dict[str, Any]:
    raw = bytes.fromhex(digest.partition(":")[2])
    return {"tag": tag, "hashes": {"sha256": base64.b64encode(raw).decode()}}


async def retag(call: Call) -> Response:
    """`POST /repositories/{name}/tags`: points a tag at another tag's image, of any project that may be read."""
    call.require_login()
    name = call.params["repository"]
    project_name, _, short = name.partition("/")
    if not _REPOSITORY.fullmatch(short):
        raise RefusalError(400, f"invalid repo '{short}'")
    asked = await call.body()
    source_text, tag = str(asked.get("src_image") or ""), str(asked.get("tag") or "")
    source = _SOURCE.fullmatch(source_text)
    if source is None:
        text = f"invalid src image string '{source_text}', should in format '<project>/<repo>:<tag>'"
        raise RefusalError(400, text)
    if not _TAG.fullmatch(tag):
        raise RefusalError(400, f"invalid tag '{tag}'")
    origin = f"{source['project']}/{source['repo']}"
    if not await call.vic.inside.digest(origin, source["tag"]):
        raise RefusalError(404, f"image {source_text} not exist")
    project = call.project_named(project_name)
    if not asked.get("override") and await call.vic.inside.digest(name, tag):
        raise RefusalError(409, f"tag '{tag}' already existed for '{name}'")
    who, readable = call.caller.name, call.project_named(source["project"])
    if not call.caller.may_read(readable):
        raise RefusalError(403, f"{who} has no read permission to project {source['project']}")
    if not call.caller.may_write(project):
        raise RefusalError(403, f"{who} has no write permission to project {project_name}")
    await _copy(call, origin, source["tag"], name, tag)
    return Response()


async def _copy(call: Call, origin: str, source_tag: str, name: str, tag: str) -> None:
    answer = await call.vic.inside.manifest(origin, source_tag)
    manifest = answer.json()
    if origin != name:
        for part in (manifest["config"], *manifest["layers"]):
            await call.vic.inside.mount(origin, name, part["digest"])
    if not await call.vic.inside.put(name, tag, DOCKER_MANIFEST, answer.content):
        raise RefusalError(500)
    project, now = call.project_named(name.partition("/")[0]), call.vic.stamp()
    sql = "INSERT OR IGNORE INTO repositories (project_id, name, creation_time, update_time) VALUES (?, ?, ?, ?)"
    call.store.run(sql, project.id, name, now, now)


async def delete_repository(call: Call) -> Response:
    """`DELETE /repositories/{name}`."""
    return await _delete(call, "")


async def delete_tag(call: Call) -> Response:
    """`DELETE /repositories/{name}/tags/{tag}`: takes every tag of the same image along."""
    return await _delete(call, call.params["tag"])


async def _delete(call: Call, tag: str) -> Response:
    if call.vic.read_only:
        text = "The system is in read only mode. Any modification is prohibited."
        raise RefusalError(503, text, newline=False)
    name = call.params["repository"]
    project = call.project_named(name.partition("/")[0])
    call.require_login()
    call.require(call.caller.may_all(project))
    tags = [tag] if tag else await call.vic.inside.tags(name)
    if not tags:
        raise RefusalError(404, f"no tags found for repository {name}")
    signed = call.vic.signatures(name).values()
    digests = {each: await call.vic.inside.digest(name, each) for each in tags}
    for each, digest in digests.items():
        if digest in signed:
            raise aborted(412, f"tag {each} is signed")
    for each, digest in digests.items():
        if digest:
            await call.vic.inside.delete(name, digest)
            call.vic.log(call.caller, project, "delete", repository=name, tag=each)
    if not await call.vic.inside.tags(name):
        call.store.run("DELETE FROM repositories WHERE name = ?", name)
    return Response()


def _readable(call: Call) -> tuple[Project, str]:
    """Returns the project and the name of the path's repository.

    Raises:
        RefusalError: 404, 401 or 403.
    """
    name = call.params["repository"]
    project = call.project_named(name.partition("/")[0])
    call.require(call.caller.may_read(project))
    return project, name
