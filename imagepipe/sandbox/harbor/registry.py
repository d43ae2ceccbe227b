"""The `/v2` side: Harbor's own tag table and rules in front of a registry that sees digests only.

A tag is rewritten to its digest before the registry is asked, so a registry's conversion to schema 1 never happens.
Source: goharbor/harbor v2.15.2 src/server/registry/{route,manifest,tag,catalog,referrers}.go.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import Response

from imagepipe.sandbox.harbor import artifacts, audit
from imagepipe.sandbox.harbor.blobs import serve_blob
from imagepipe.sandbox.harbor.call import Harbor, query_of
from imagepipe.sandbox.harbor.identity import Caller
from imagepipe.sandbox.harbor.manifests import OCI_INDEX
from imagepipe.sandbox.harbor.problems import HarborError, bad_request
from imagepipe.sandbox.harbor.pulls import check_pull
from imagepipe.sandbox.harbor.pushes import put_manifest
from imagepipe.sandbox.harbor.store import Row
from imagepipe.sandbox.harbor.targets import Target, authorize

JSON = "application/json; charset=utf-8"
REFERRERS_SINCE = (2, 8)
NO_DIGEST = "invalid checksum digest format"


@dataclass(frozen=True)
class Registry:
    """Serves `/v2` for one stand-in."""

    harbor: Harbor

    async def serve(self, request: Request, target: Target, caller: Caller) -> Response:
        """Returns the answer to an identified request.

        Raises:
            HarborError: Harbor refuses.
        """
        method, authorization = request.method, request.headers.get("authorization", "")
        realm = f"{self.harbor.config.external_scheme}://{request.headers.get('host', '')}/service/token"
        authorize(self.harbor.store, caller, target, method, authorization=authorization, realm=realm)
        if target.kind == "manifest":
            return await self._manifest(request, target, caller)
        if target.kind in {"blob", "upload"}:
            return await serve_blob(self.harbor, request, target)
        if method == "GET" and target.kind in {"tags", "catalog"}:
            names = self._tags(request, target) if target.kind == "tags" else self._repositories()
            return _names(request, target, names)
        served = self.harbor.config.referrers and self.harbor.config.release >= REFERRERS_SINCE
        if method == "GET" and target.kind == "referrers" and served:
            return self._referrers(request, target)
        return await self.harbor.backend.forward(request)

    async def _manifest(self, request: Request, target: Target, caller: Caller) -> Response:
        if request.method == "PUT":
            return await put_manifest(self.harbor, request, target, caller)
        if request.method == "DELETE":
            return self._delete_manifest(target, caller)
        if request.method not in {"GET", "HEAD"}:
            return await self.harbor.backend.forward(request)
        check_pull(self.harbor, caller, target, request.headers.get("user-agent", ""))
        return await self._get_manifest(request, target, caller)

    async def _get_manifest(self, request: Request, target: Target, caller: Caller) -> Response:
        harbor, store = self.harbor, self.harbor.store
        self._move_tag(target)
        artifact = artifacts.find(store, target.repository, target.reference)
        digest = artifact["digest"]
        if request.headers.get("if-none-match", "").strip('"') == digest:
            return Response(status_code=304)
        path = f"/v2/{target.repository}/manifests/{digest}"
        response = await harbor.backend.fetch(request, path)
        if request.method == "GET" and response.status_code == 200:
            self._record_pull(artifact, target.tag, caller)
            if harbor.faults.corrupts(target.repository, target.reference, digest):
                response.body = corrupted(bytes(response.body))
        return response

    def _move_tag(self, target: Target) -> None:
        """Moves a tag between two reads when a fault switch says so, as another client's push would."""
        digest = self.harbor.faults.moved_tag(target.repository, target.tag) if target.tag else None
        if digest is not None:
            artifact = artifacts.find(self.harbor.store, target.repository, digest)
            sql = "SELECT id FROM tags WHERE repository_id = ? AND name = ?"
            tag_id = self.harbor.store.value(sql, artifact["repository_id"], target.tag)
            artifacts.move_tag(self.harbor.store, tag_id, artifact["id"], self.harbor.stamp())

    def _record_pull(self, artifact: Row, tag: str, caller: Caller) -> None:
        store, now = self.harbor.store, self.harbor.stamp()
        store.run("UPDATE artifacts SET pull_time = ? WHERE id = ?", now, artifact["id"])
        store.run("UPDATE repositories SET pull_count = pull_count + 1 WHERE id = ?", artifact["repository_id"])
        store.run("UPDATE tags SET pull_time = ? WHERE artifact_id = ? AND name = ?", now, artifact["id"], tag)
        self.harbor.record(caller.username or audit.ANONYMOUS, audit.of_artifact("pull", artifact, tag))

    def _delete_manifest(self, target: Target, caller: Caller) -> Response:
        if target.tag:
            raise HarborError("UNSUPPORTED", f"unsupported digest {target.tag}: {NO_DIGEST}")
        artifact = artifacts.find(self.harbor.store, target.repository, target.reference)
        for gone in artifacts.delete(self.harbor.store, artifact):
            self.harbor.record(caller.username, audit.of_artifact("delete", gone))
        return Response(status_code=202)

    def _tags(self, request: Request, target: Target) -> list[str]:
        if _limit(request) == 0:
            return []
        repository = artifacts.find_repository(self.harbor.store, target.repository)
        rows = self.harbor.store.all("SELECT name FROM tags WHERE repository_id = ?", repository["id"])
        return sorted(row["name"] for row in rows)

    def _repositories(self) -> list[str]:
        sql = "SELECT DISTINCT repository_name AS name FROM artifacts ORDER BY 1"
        return [row["name"] for row in self.harbor.store.all(sql)]

    def _referrers(self, request: Request, target: Target) -> Response:
        """Returns the index of all that speaks of a digest; the total is counted before the filter."""
        if target.tag:
            raise bad_request(f"unsupported digest {target.tag}: {NO_DIGEST}")
        store = self.harbor.store
        sql = "SELECT * FROM accessories WHERE subject_artifact_digest = ? AND subject_artifact_repo = ? ORDER BY id"
        accessories = store.all(sql, target.reference, target.repository)
        rows = [artifacts.find(store, target.repository, each["digest"]) for each in accessories]
        wanted = dict(query_of(request)).get("artifactType", "")
        shown = [_descriptor(row) for row in rows if not wanted or row["artifact_type"] == wanted]
        index = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": shown}
        headers = {"Content-Type": OCI_INDEX, "X-Total-Count": str(len(rows))}
        if wanted:
            headers["OCI-Filters-Applied"] = "artifactType"
        return Response(json.dumps(index, separators=(",", ":")) + "\n", headers=headers)


def corrupted(body: bytes) -> bytes:
    """Returns other bytes of the same length: the first digit of the first digest in `body` changes."""
    at = body.find(b"sha256:") + len(b"sha256:") if b"sha256:" in body else len(body) - 1
    return body[:at] + (b"0" if body[at : at + 1] != b"0" else b"1") + body[at + 1 :]


def _descriptor(row: Row) -> dict[str, Any]:
    descriptor = {"mediaType": row["manifest_media_type"], "digest": row["digest"], "size": row["manifest_size"]}
    annotations = json.loads(row["annotations"])
    descriptor |= {"annotations": annotations} if annotations else {}
    return descriptor | ({"artifactType": row["artifact_type"]} if row["artifact_type"] else {})


def _limit(request: Request) -> int | None:
    """Returns the `n` of a name list, None when there is none."""
    text = dict(query_of(request)).get("n", "")
    if text and not (text.isascii() and text.isdigit()):
        raise bad_request("the N must be a positive int type")
    return int(text) if text else None


def _names(request: Request, target: Target, names: Sequence[str]) -> Response:
    """Returns a page of tags or repositories; a page that is not the last one has a Link."""
    limit, last = _limit(request), dict(query_of(request)).get("last", "")
    if target.kind == "catalog" and limit is not None and last and last not in names:
        raise bad_request(f"the last: {last} should be a valid repository name.")
    after = [name for name in names if name > last]
    shown = after if limit is None else after[:limit]
    headers = {"Content-Type": JSON}
    if limit and len(shown) < len(after):
        # url.Values.Encode sorts by key: last before n.
        query = urlencode({"last": shown[-1], "n": limit})
        headers["Link"] = f'<{request.url.path}?{query}>; rel="next"'
    body = {"repositories": shown} if target.kind == "catalog" else {"name": target.repository, "tags": shown}
    return Response(json.dumps(body, separators=(",", ":")) + "\n", headers=headers)
