"""Copying an artifact with all that belongs to it: children, accessories, and every tag of the source.

Source: goharbor/harbor v2.15.2 src/controller/artifact/controller.go (copyDeeply),
src/server/middleware/quota/copy_artifact.go.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from imagepipe.sandbox.harbor import artifacts, audit, manifests, quotas
from imagepipe.sandbox.harbor.call import Harbor
from imagepipe.sandbox.harbor.identity import Caller
from imagepipe.sandbox.harbor.manifests import FOREIGN_LAYERS, Manifest
from imagepipe.sandbox.harbor.problems import HarborError
from imagepipe.sandbox.harbor.store import Row, Store

MAX_MANIFEST_BYTES = 4 * 1024 * 1024


def check_quota(store: Store, source: Row, project: Row, repository: str) -> None:
    """Accepts the copy of an artifact into a project.

    Raises:
        HarborError: 403, its blobs that are new to the project are too much.
    """
    if source["repository_name"] == repository:
        return
    digests = {digest for artifact in _walk(store, source) for digest in _blobs(store, artifact["digest"])}
    missing = (digest for digest in digests if not quotas.has_blob(store, project["id"], digest))
    sql = "SELECT size FROM blobs WHERE digest = ?"
    quotas.check(store, project["id"], sum(store.value(sql, digest) or 0 for digest in missing))


def _walk(store: Store, artifact: Row) -> Iterator[Row]:
    """Yields an artifact, its children and accessories, and theirs."""
    yield artifact
    sql = """SELECT * FROM artifacts WHERE id IN (SELECT child_id FROM children WHERE parent_id = ?1)
      OR id IN (SELECT artifact_id FROM accessories WHERE subject_artifact_id = ?1)"""
    for row in store.all(sql, artifact["id"]):
        yield from _walk(store, row)


def _blobs(store: Store, digest: str) -> list[str]:
    return [row["digest"] for row in store.all("SELECT digest FROM artifact_blobs WHERE artifact_digest = ?", digest)]


@dataclass(frozen=True)
class Copy:
    """One copy: from a repository into another, which may be in another project."""

    harbor: Harbor
    caller: Caller
    source: str
    target: str
    project: Row

    async def run(self, reference: str) -> None:
        """Copies an artifact.

        Raises:
            HarborError: 412, a tag is immutable in the target and points elsewhere.
        """
        await self._copy(reference, [], is_root=True)

    async def _copy(
        self, reference: str, belonging: list[tuple[Row, str]], *, is_root: bool = False, is_accessory: bool = False
    ) -> Row:
        """Returns the copy; `belonging` gathers the copied accessories and their types.

        Harbor gives all that it has gathered to every artifact of an index, the signatures of its siblings included.
        """
        store = self.harbor.store
        origin = artifacts.find(store, self.source, reference)
        sql = "SELECT * FROM artifacts WHERE repository_name = ? AND digest = ?"
        there = store.one(sql, self.target, origin["digest"])
        if there is not None and not is_root:
            return there
        if there is None:
            for child in store.all("SELECT child_digest FROM children WHERE parent_id = ?", origin["id"]):
                await self._copy(child["child_digest"], belonging)
            if not is_accessory:
                await self._copy_accessories(origin, belonging)
        manifest = await self._manifest(origin)
        if there is None:
            await self._send(manifest)
        return self._record(origin, manifest, [] if is_accessory else belonging)

    async def _copy_accessories(self, origin: Row, belonging: list[tuple[Row, str]]) -> None:
        store = self.harbor.store
        for accessory in store.all("SELECT * FROM accessories WHERE subject_artifact_id = ?", origin["id"]):
            sql = "SELECT 1 FROM accessories WHERE subject_artifact_repo = ? AND subject_artifact_digest = ?"
            if store.one(sql, self.source, accessory["digest"]):
                await self._copy(accessory["digest"], [], is_root=True)
            copied = await self._copy(accessory["digest"], belonging, is_accessory=True)
            belonging.append((copied, accessory["type"]))

    async def _manifest(self, origin: Row) -> Manifest:
        path, kind = f"/v2/{self.source}/manifests/{origin['digest']}", origin["manifest_media_type"]
        return manifests.parse(kind, await self.harbor.backend.read(path, MAX_MANIFEST_BYTES, accept=kind))

    async def _send(self, manifest: Manifest) -> None:
        """Puts a manifest into the target, its blobs mounted; raises HarborError 500 when the registry refuses."""
        blobs = [] if manifest.is_index else manifest.references
        for blob in blobs:
            if blob.get("mediaType") not in FOREIGN_LAYERS:
                query = f"mount={blob['digest']}&from={self.source}"
                await self._send_one("POST", f"/v2/{self.target}/blobs/uploads/?{query}")
        await self._send_one("PUT", f"/v2/{self.target}/manifests/{manifest.digest}", manifest)

    async def _send_one(self, method: str, path: str, manifest: Manifest | None = None) -> None:
        raw, kind = (manifest.raw, manifest.media_type) if manifest else (b"", "application/octet-stream")
        status = await self.harbor.backend.write(method, path, raw, kind)
        if status != 201:
            raise HarborError("UNKNOWN", f"{method} {path}: the registry answers {status}")

    def _record(self, origin: Row, manifest: Manifest, belonging: list[tuple[Row, str]]) -> Row:
        """Notes a copy with the source's tags, and returns it."""
        store, now = self.harbor.store, self.harbor.stamp()
        rows = store.all("SELECT name FROM tags WHERE artifact_id = ? ORDER BY id", origin["id"])
        tags = [row["name"] for row in rows]
        with store.transaction():
            artifact = artifacts.ensure_artifact(store, self.project, self.target, manifest, now)
            store.run("UPDATE artifacts SET extra_attrs = ? WHERE id = ?", origin["extra_attrs"], artifact["id"])
            for tag in tags:
                artifacts.ensure_tag(store, artifact, tag, now)
            artifacts.record_blobs(store, self.project["id"], manifest)
            for accessory, kind in belonging:
                artifacts.record_accessory(store, accessory, artifact["digest"], kind, now)
            self.harbor.record(self.caller.username, audit.of_artifact("create", artifact, tags[0] if tags else ""))
        return artifact
