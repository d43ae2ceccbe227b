"""Harbor's own calls to the registry behind it, and the tags that a newer Harbor never wrote there."""

from __future__ import annotations

import logging
from typing import Any, Final
from urllib.parse import quote

import httpx

from imagepipe.sandbox.harbor.manifests import DOCKER_LIST, DOCKER_MANIFEST
from imagepipe.sandbox.harbor.store import Store
from imagepipe.sandbox.plain import trusting_nobody

TIMEOUT_S: Final = 20.0
SCHEMA2: Final = {"Accept": DOCKER_MANIFEST}
_ANY: Final = {"Accept": f"{DOCKER_MANIFEST}, {DOCKER_LIST}"}
# Source: goharbor/harbor v1.7.8 src/common/utils/registry/repository.go (ManifestExist).
_EXISTENCE: Final = {"Accept": f"application/vnd.docker.distribution.manifest.v1+json, {DOCKER_MANIFEST}"}
_ADOPTED: Final = "vic_tags_adopted"
_log = logging.getLogger(__name__)


class Inside:
    """The registry as Harbor's services see it: without tokens."""

    def __init__(self, url: str) -> None:
        self._http = httpx.AsyncClient(base_url=url, verify=trusting_nobody(), timeout=TIMEOUT_S, trust_env=False)

    async def close(self) -> None:
        """Closes all connections."""
        await self._http.aclose()

    async def digest(self, repository: str, reference: str) -> str:
        """Returns the digest of a schema 2 manifest, empty when there is none."""
        answer = await self._http.head(f"/v2/{repository}/manifests/{quote(reference)}", headers=_EXISTENCE)
        return str(answer.headers.get("docker-content-digest", "")) if answer.is_success else ""

    async def manifest(self, repository: str, reference: str) -> httpx.Response:
        """Returns the registry's answer to a request for a schema 2 manifest."""
        return await self._http.get(f"/v2/{repository}/manifests/{quote(reference)}", headers=SCHEMA2)

    async def blob(self, repository: str, digest: str) -> bytes:
        """Returns a small blob, empty when it is not there."""
        answer = await self._http.get(f"/v2/{repository}/blobs/{digest}")
        return answer.content if answer.is_success else b""

    async def tags(self, repository: str) -> list[str]:
        """Returns a repository's tags, in order."""
        answer = await self._http.get(f"/v2/{repository}/tags/list")
        names: list[str] = (answer.json().get("tags") or []) if answer.is_success else []
        return sorted(names)

    async def put(self, repository: str, reference: str, media_type: str, raw: bytes) -> bool:
        """Writes a manifest and returns whether the registry took it."""
        headers = {"Content-Type": media_type}
        answer = await self._http.put(f"/v2/{repository}/manifests/{quote(reference)}", content=raw, headers=headers)
        return answer.status_code == 201

    async def mount(self, source: str, target: str, digest: str) -> None:
        """Makes a blob of one repository one of another, too."""
        query: dict[str, Any] = {"mount": digest, "from": source}
        await self._http.post(f"/v2/{target}/blobs/uploads/", params=query)

    async def delete(self, repository: str, digest: str) -> int:
        """Deletes a manifest and returns the registry's status."""
        return (await self._http.delete(f"/v2/{repository}/manifests/{digest}")).status_code

    async def adopt(self, store: Store) -> None:
        """Writes the tags that Harbor 2.15 kept to itself into the registry, once: before, they were all there.

        Source: goharbor/harbor 95003aa41b: since 2.15.0 a tag is not written to the registry.
        """
        if store.setting(_ADOPTED, ""):
            return
        rows = store.all(
            "SELECT t.name AS tag, a.repository_name AS repository, a.digest, a.manifest_media_type AS media_type "
            "FROM tags t JOIN artifacts a ON a.id = t.artifact_id"
        )
        for row in rows:
            if row["media_type"] not in {DOCKER_MANIFEST, DOCKER_LIST}:
                continue  # docker/distribution 2.6 cannot read it: to this Harbor it is not there
            answer = await self._http.get(f"/v2/{row['repository']}/manifests/{row['digest']}", headers=_ANY)
            taken = answer.is_success and await self.put(
                row["repository"], row["tag"], row["media_type"], answer.content
            )
            if not taken:
                _log.warning("tag %s:%s is lost: its manifest is not in the registry", row["repository"], row["tag"])
        store.set_setting(_ADOPTED, "true")
