"""PUT of a manifest: Harbor's checks before, its bookkeeping after; an error there replaces the registry's answer.

Source: goharbor/harbor v2.15.2 src/server/registry/{route,manifest}.go, the order of the middlewares.
"""

from __future__ import annotations

import json

from starlette.requests import Request
from starlette.responses import Response

from imagepipe.sandbox.harbor import artifacts, audit, manifests, quotas
from imagepipe.sandbox.harbor.call import Harbor
from imagepipe.sandbox.harbor.identity import Caller
from imagepipe.sandbox.harbor.manifests import FOREIGN_LAYERS, Manifest
from imagepipe.sandbox.harbor.problems import HarborError
from imagepipe.sandbox.harbor.store import Row
from imagepipe.sandbox.harbor.targets import Target

MAX_CONFIG_BYTES = 4 * 1024 * 1024
ACCESSORIES_SINCE = (2, 5)
SUBJECT_SINCE = (2, 8)


async def put_manifest(harbor: Harbor, request: Request, target: Target, caller: Caller) -> Response:
    """Returns the registry's answer, once the push is recorded.

    Raises:
        HarborError: 412 immutable, 403 quota, 400 not a manifest, 404 a child that Harbor does not know.
    """
    project = harbor.store.project(target.project)
    assert project is not None
    _refuse_immutable(harbor, project, target)
    raw = await request.body()
    manifest = manifests.parse(request.headers.get("content-type", ""), raw)
    _check_quota(harbor, project, manifest)
    # The repository is there from now on, even when the registry refuses. Source: v2.15.2 registry/manifest.go.
    artifacts.ensure_repository(harbor.store, project, target.repository, harbor.stamp())
    # A tag is never written to the registry. Source: goharbor/harbor 95003aa41b, since 2.15.0.
    reference = manifest.digest if target.tag else target.reference
    response = await harbor.backend.fetch(request, f"/v2/{target.repository}/manifests/{reference}", raw)
    if response.status_code != 201:
        return response
    attributes = await _attributes(harbor, target, manifest)
    with harbor.store.transaction():
        artifact = _record(harbor, project, target, manifest, attributes)
        # Every push is an event, also that of what is there already.
        harbor.record(caller.username, audit.of_artifact("create", artifact, target.tag))
    if manifest.subject and harbor.config.release >= SUBJECT_SINCE:
        response.headers["OCI-Subject"] = manifest.subject
    return response


def _refuse_immutable(harbor: Harbor, project: Row, target: Target) -> None:
    """Raises 412 for an existing immutable tag, be the digest the same or not."""
    if not target.tag:
        return
    sql = "SELECT 1 FROM tags JOIN repositories r ON r.id = repository_id WHERE r.name = ? AND tags.name = ?"
    exists = harbor.store.one(sql, target.repository, target.tag)
    if exists and artifacts.is_immutable(harbor.store, project["id"], target.repository, target.tag):
        short = target.repository.partition("/")[2]
        message = f"Failed to process request due to '{short}:{target.tag}' configured as immutable."
        raise HarborError("PRECONDITION", message)


def _check_quota(harbor: Harbor, project: Row, manifest: Manifest) -> None:
    """Raises 403 when the manifest and its blobs that are new to the project are too much."""
    store, key = harbor.store, project["id"]
    if quotas.has_blob(store, key, manifest.digest):
        return
    sizes = {part.get("digest", ""): int(part.get("size", 0)) for part in manifest.references if _is_stored(part)}
    missing = sum(size for digest, size in sizes.items() if not quotas.has_blob(store, key, digest))
    quotas.check(store, key, len(manifest.raw) + missing)


def _is_stored(part: manifests.Descriptor) -> bool:
    return part.get("mediaType") not in FOREIGN_LAYERS


async def _attributes(harbor: Harbor, target: Target, manifest: Manifest) -> str:
    """Returns what an image's config says of it, as JSON."""
    if manifest.is_index or manifest.kind != "IMAGE":
        return "{}"
    if manifest.is_schema1:
        return json.dumps({"architecture": manifest.document.get("architecture") or ""})
    path = f"/v2/{target.repository}/blobs/{manifest.config.get('digest', '')}"
    return json.dumps(manifests.image_attributes(await harbor.backend.read(path, MAX_CONFIG_BYTES)))


def _record(harbor: Harbor, project: Row, target: Target, manifest: Manifest, attributes: str) -> Row:
    """Notes artifact, tag, blobs and accessories of a manifest that the registry has taken; returns the artifact."""
    store, now, release = harbor.store, harbor.stamp(), harbor.config.release
    artifact = artifacts.ensure_artifact(store, project, target.repository, manifest, now)
    store.run("UPDATE artifacts SET extra_attrs = ? WHERE id = ?", attributes, artifact["id"])
    if target.tag:
        artifacts.ensure_tag(store, artifact, target.tag, now)
    artifacts.record_blobs(store, project["id"], manifest)
    if manifest.subject and release >= SUBJECT_SINCE:
        kind = manifest.accessory_type(release)
        artifacts.record_accessory(store, artifact, manifest.subject, kind, now)
    signed = artifacts.legacy_subject(target.tag)
    if signed and manifest.is_legacy_signature and release >= ACCESSORIES_SINCE:
        artifacts.record_accessory(store, artifact, signed, "signature.cosign", now)
    artifacts.adopt_accessories(store, artifact)
    return artifact
