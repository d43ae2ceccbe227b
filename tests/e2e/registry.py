"""Speaks to the sandbox's Harbor without imagepipe: what is there is told by another hand than wrote it."""

import base64
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from imagepipe.sandbox.probing import trusting
from tests.e2e.images import DOCKER_MANIFEST, OCI_MANIFEST, HandMade, digest_of

PROMOTION = "https://imagepipe.dev/promotion/v1"
_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
_ACCEPT = f"{DOCKER_MANIFEST}, {OCI_MANIFEST}, application/vnd.oci.image.index.v1+json"


@dataclass(frozen=True, slots=True)
class Registry:
    """The registry, as one of its users; `part` is the `registry` object of the sandbox's document."""

    part: dict[str, Any]
    user: str = "ci"

    @property
    def host(self) -> str:
        """`host:port`, as it stands in references."""
        return str(self.part["host"])

    @property
    def credentials(self) -> tuple[str, str]:
        """User name and password."""
        who = self.part["users"][self.user]
        return who["username"], Path(who["password_file"]).read_text().strip()

    @property
    def member(self) -> str:
        """The user's name among the members of a project."""
        return f"{self.credentials[0]}{'@vsphere.local' if self.part['flavour'] == 'vic' else ''}"

    def push(self, repository: str, tag: str, image: HandMade) -> str:
        """Stores an image under a tag and returns its pinned reference."""
        for blob in image.blobs:
            started = self._ask("POST", repository, "blobs/uploads/")
            place = httpx.URL(started.headers["Location"]).copy_merge_params({"digest": digest_of(blob)})
            self._ask("PUT", repository, str(place), content=blob)
        self.put_manifest(repository, tag, image.manifest, image.media_type)
        return f"{self.host}/{repository}@{image.digest}"

    def put_manifest(self, repository: str, at: str, raw: bytes, media_type: str) -> None:
        """Stores a manifest at a tag or digest."""
        self._ask("PUT", repository, f"manifests/{at}", content=raw, headers={"Content-Type": media_type})

    def tags(self, repository: str) -> list[str]:
        """Returns the tags of a repository without those that list what is attached; none where it is not there."""
        return [name for name in self.all_tags(repository) if not name.startswith("sha256-")]

    def all_tags(self, repository: str) -> list[str]:
        """Returns the tags of a repository; none where it is not there."""
        answer = self._ask("GET", repository, "tags/list", accept=(200, 404))
        return answer.json().get("tags") or [] if answer.status_code == 200 else []

    def manifest(self, repository: str, at: str) -> bytes:
        """Returns a manifest's bytes."""
        return self._ask("GET", repository, f"manifests/{at}", headers={"Accept": _ACCEPT}).content

    def digest(self, repository: str, tag: str) -> str:
        """Returns what a tag points at."""
        return digest_of(self.manifest(repository, tag))

    def attached(self, repository: str, digest: str) -> list[dict[str, Any]]:
        """Returns the manifests of everything attached to a digest: oldest first, or by digest where a tag lists it."""
        listed = self._ask("GET", repository, f"referrers/{digest}", accept=(200, 404))
        if listed.status_code == 404:  # no such API, but a tag in its place, and none where nothing is attached
            listed = self._listing(repository, digest)
        return [json.loads(self.manifest(repository, one["digest"])) for one in listed.json().get("manifests", ())]

    def listing(self, repository: str, digest: str) -> bytes:
        """Returns the list of what is attached, as one reads it who will write it."""
        return self._listing(repository, digest).content

    def overwrite(self, repository: str, digest: str, listing: bytes) -> None:
        """Writes a list that was read before, whatever was written since."""
        self.put_manifest(repository, _list_of(digest).partition("/")[2], listing, _LIST)

    def attach(self, repository: str, digest: str, manifest: dict[str, Any]) -> None:
        """Stores a manifest that names an image as its subject, as its own media type says."""
        raw, media_type = json.dumps(manifest).encode(), str(manifest["mediaType"])
        self.put_manifest(repository, digest_of(raw), raw, media_type)
        if media_type != DOCKER_MANIFEST:
            return  # Harbor reads the subject by itself
        listed = self._listing(repository, digest).json().get("manifests", [])
        platform = {"architecture": "unknown", "os": "unknown"}
        entry = {"mediaType": media_type, "digest": digest_of(raw), "size": len(raw), "platform": platform}
        index = {"schemaVersion": 2, "mediaType": _LIST, "manifests": [*listed, entry]}
        self.overwrite(repository, digest, json.dumps(index).encode())

    def statements(self, repository: str, digest: str) -> list[dict[str, Any]]:
        """Returns the in-toto statements attached to a digest, in the order of `attached`, unverified."""
        found = []
        for manifest in self.attached(repository, digest):
            bundle = self._ask("GET", repository, f"blobs/{manifest['layers'][0]['digest']}").json()
            found.append(json.loads(base64.b64decode(bundle["dsseEnvelope"]["payload"])))
        return found

    def records(self, repository: str, digest: str) -> list[dict[str, Any]]:
        """Returns the predicates of the promotion records attached to a digest."""
        return [one["predicate"] for one in self.statements(repository, digest) if one["predicateType"] == PROMOTION]

    def api(self, method: str, path: str, body: object = None) -> httpx.Response:
        """Asks Harbor's own API."""
        root = "/api" if self.part["flavour"] == "vic" else "/api/v2.0"
        with self._client() as client:
            answer = client.request(method, f"{root}/{path}", json=body, auth=self.credentials)
        assert answer.is_success, f"{method} {path}: {answer.status_code} {answer.text}"
        return answer

    def delete(self, repository: str, digest: str) -> None:
        """Deletes an artifact; only an administrator of the project may."""
        if self.part["flavour"] == "vic":
            self._ask("DELETE", repository, f"manifests/{digest}", actions="*")
        else:
            project, _, name = repository.partition("/")
            self.api("DELETE", f"projects/{project}/repositories/{name}/artifacts/{digest}")

    def _listing(self, repository: str, digest: str) -> httpx.Response:
        return self._ask("GET", repository, _list_of(digest), headers={"Accept": _LIST}, accept=(200, 404))

    def _client(self) -> httpx.Client:
        tls = trusting(Path(self.part["ca_file"]))
        return httpx.Client(base_url=self.part["url"], verify=tls, timeout=20.0, trust_env=False)

    def _ask(
        self,
        method: str,
        repository: str,
        rest: str,
        *,
        content: bytes | None = None,
        headers: dict[str, str] | None = None,
        accept: tuple[int, ...] = (200, 201, 202),
        actions: str = "pull,push",
    ) -> httpx.Response:
        with self._client() as client:
            wanted = {"service": "harbor-registry", "scope": f"repository:{repository}:{actions}"}
            granted = client.get("/service/token", params=wanted, auth=self.credentials).raise_for_status()
            url = rest if rest.startswith(("http", "/")) else f"/v2/{repository}/{rest}"
            told = {**(headers or {}), "Authorization": f"Bearer {granted.json()['token']}"}
            answer = client.request(method, url, content=content, headers=told)
        assert answer.status_code in accept, f"{method} {url}: {answer.status_code} {answer.text}"
        return answer


def _list_of(digest: str) -> str:
    """Returns the path of the list of what is attached, where there is no API for it.

    Source: OCI distribution-spec v1.1 "Referrers Tag Schema".
    """
    return f"manifests/{digest.replace(':', '-')}"
