"""Blobs: streamed to and from the registry, known by Harbor's own table, paid for by projects.

Source: goharbor/harbor v2.15.2 src/server/middleware/{blob,quota}/.
"""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from imagepipe.sandbox.harbor import artifacts, quotas
from imagepipe.sandbox.harbor.call import Harbor, query_of
from imagepipe.sandbox.harbor.problems import not_found
from imagepipe.sandbox.harbor.store import Row
from imagepipe.sandbox.harbor.targets import Target

OCTETS = "application/octet-stream"


async def serve_blob(harbor: Harbor, request: Request, target: Target) -> Response:
    """Returns the answer to an authorized blob or upload request.

    Raises:
        HarborError: 404, HEAD of a blob Harbor does not know; 403, the quota is used up.
    """
    method, store = request.method, harbor.store
    if target.kind == "blob":
        if method == "HEAD" and store.one("SELECT 1 FROM blobs WHERE digest = ?", target.reference) is None:
            raise not_found(f"blob {target.reference} not found")
        return await harbor.backend.forward(request)
    project = store.project(target.project)
    assert project is not None
    if method == "POST":
        return await _start_upload(harbor, request, project)
    if method == "PUT":
        return await _finish_upload(harbor, request, project)
    response = await harbor.backend.forward(request)
    if method == "PATCH" and response.status_code == 202:
        _, _, end = response.headers.get("range", "").partition("-")
        size = int(end) + 1 if end.isdigit() and end != "0" else 0
        store.run("INSERT OR REPLACE INTO uploads VALUES (?, ?)", _session(request), size)
    return response


async def _start_upload(harbor: Harbor, request: Request, project: Row) -> Response:
    """Starts an upload or mounts a blob from another repository; a full project may do neither."""
    digest = dict(query_of(request)).get("mount", "")
    store, key = harbor.store, project["id"]
    size = store.value("SELECT size FROM blobs WHERE digest = ?", digest) if digest else 0
    if size is not None and not (digest and quotas.has_blob(store, key, digest)):
        quotas.check(store, key, size)
    response = await harbor.backend.forward(request)
    if digest and response.status_code == 201:
        store.run("INSERT OR IGNORE INTO project_blobs VALUES (?, ?)", key, digest)
    return response


async def _finish_upload(harbor: Harbor, request: Request, project: Row) -> Response:
    """Completes an upload; its size is the last request's own body, or what the PATCHes before it brought."""
    store, key, session = harbor.store, project["id"], _session(request)
    size = int(request.headers.get("content-length", "0") or 0)
    size = size or store.value("SELECT size FROM uploads WHERE session = ?", session) or 0
    if size and not quotas.has_blob(store, key, dict(query_of(request)).get("digest", "")):
        quotas.check(store, key, size)
    response = await harbor.backend.forward(request)
    if response.status_code == 201:
        digest = response.headers["docker-content-digest"]
        with store.transaction():
            artifacts.know_blob(store, digest, size, OCTETS)
            store.run("INSERT OR IGNORE INTO project_blobs VALUES (?, ?)", key, digest)
            store.run("DELETE FROM uploads WHERE session = ?", session)
    return response


def _session(request: Request) -> str:
    return request.url.path.rstrip("/").rpartition("/")[2]
