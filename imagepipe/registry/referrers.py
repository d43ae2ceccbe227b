"""What is attached to images: by the referrers API where there is one, else by the index at a tag.

>>> fallback_tag(Digest.of(b""))[:14]
'sha256-e3b0c44'
"""

import json
import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from threading import Lock
from typing import Any, Final

from imagepipe.errors import (
    DigestMismatchError,
    NotFoundError,
    RefusedError,
    UnavailableError,
    UnsupportedError,
)
from imagepipe.http.failure import asking
from imagepipe.http.retry import settle
from imagepipe.model import media
from imagepipe.model.digest import Digest
from imagepipe.model.evidence import Artifact
from imagepipe.model.manifest import Descriptor, Index, Manifest, Platform
from imagepipe.model.reference import Pinned
from imagepipe.registry.client import RegistryClient, foreign
from imagepipe.registry.connection import Ask

__all__ = ["RegistryReferrers", "fallback_tag"]

_EMPTY: Final = b"{}"
# The only config type that a registry of Docker manifests knows. Source: distribution docs/spec/manifest-v2-2.md
_DOCKER_CONFIG: Final = "application/vnd.docker.container.image.v1+json"
_NO_PLATFORM: Final = Platform("unknown", "unknown")
_PAGES: Final = 50
# What registries without the API answer. Source: go-containerregistry pkg/v1/remote/referrers.go
_WITHOUT_API: Final = (400, 404, 405, 406)
_NO_LISTS: Final = "Harbor 1.8 to 1.10 take no lists, so nothing can be attached to an image: use Harbor 2.0 or newer"
# A rival that read the index before our write may still overwrite it: look again once it must have written.
_SECOND_LOOK_S: Final = (0.1, 0.3)


def fallback_tag(digest: Digest) -> str:
    """Returns the tag at which referrers are listed. Source: OCI distribution-spec v1.1 "Referrers Tag Schema"."""
    return str(digest).replace(":", "-")


class RegistryReferrers:
    """Keeps the port `Referrers`; may be shared by threads.

    Args:
        client: Reads and writes the registries.
        sleep: Waits that many seconds.
    """

    def __init__(self, client: RegistryClient, *, sleep: Callable[[float], None] = time.sleep) -> None:
        self._client = client
        self._sleep = sleep
        self._locks: dict[Pinned, Lock] = {}
        self._lock = Lock()

    def list(self, image: Pinned) -> tuple[Descriptor, ...]:
        """Returns every manifest attached to the image; descriptors' types are hints."""
        listed = self._by_api(image)
        entries = listed if listed is not None else self._fallback(image).get("manifests") or []
        with foreign(f"list what is attached to {image}"):
            return tuple(Descriptor.from_json(entry) for entry in entries)

    def fetch(self, image: Pinned, descriptor: Descriptor) -> Artifact:
        """Returns an attached artifact, proven by digest and to name the image as its subject."""
        what = f"read {descriptor.digest}, attached to {image}"
        manifest = self._client.read(image.repository, str(descriptor.digest), what, expected=descriptor.digest)
        if not isinstance(manifest, Manifest) or manifest.subject is None or manifest.subject.digest != image.digest:
            raise RefusedError(f"{what}: it does not name the image as its subject")
        if len(manifest.layers) != 1:
            raise RefusedError(f"{what}: it has {len(manifest.layers)} layers, not one")
        layer = manifest.layers[0]
        return Artifact(
            artifact_type=manifest.artifact_type or manifest.config.media_type,
            layer_media_type=layer.media_type,
            content=self._client.blob(image.repository, layer),
            annotations=manifest.annotations,
        )

    def attach(self, image: Pinned, subject: Descriptor, artifact: Artifact) -> Descriptor:
        """Attaches an artifact and returns its manifest's descriptor once it is found in the list.

        Raises:
            UnsupportedError: The registry takes neither OCI nor Docker manifests.
            UnavailableError: The registry does not list it, or others overwrite the list again and again.
        """
        what = f"attach {artifact.artifact_type} to {image}"
        if subject.digest != image.digest:
            raise DigestMismatchError(f"{what}: the subject's descriptor is of {subject.digest}")
        with asking(what):
            made = settle(lambda: self._stored(image, subject, artifact), "store it", sleep=self._sleep)
            self._enlist(image, [made])
        return made

    def enlist(self, image: Pinned, attached: Sequence[Descriptor]) -> None:
        """Makes sure that manifests, which the repository holds already, are found in the list of what is attached.

        Raises:
            UnavailableError: The registry does not list them, or others overwrite the list again and again.
        """
        with asking(f"list what was copied to {image}"):
            self._enlist(image, attached)

    def _enlist(self, image: Pinned, attached: Sequence[Descriptor]) -> None:
        with self._one_at_a_time(image):
            settle(lambda: self._listed(image, attached), "list it among the referrers", sleep=self._sleep)

    def _stored(self, image: Pinned, subject: Descriptor, artifact: Artifact) -> Descriptor | None:
        """Returns the stored manifest's descriptor, or None where the registry does not show its blobs yet."""
        try:
            return self._store(image, subject, artifact, media.OCI_MANIFEST)
        except UnsupportedError:
            # VIC's registry 2.6 takes Docker manifests only, and keeps every byte of one.
            return self._store(image, subject, artifact, media.DOCKER_MANIFEST)
        except NotFoundError:
            return None

    def _store(self, image: Pinned, subject: Descriptor, artifact: Artifact, media_type: str) -> Descriptor:
        """Stores the manifest that attaches the artifact, in OCI's or in Docker's shape, and returns its descriptor."""
        layer = self._client.put_blob(image.repository, artifact.content, artifact.layer_media_type)
        docker = media_type == media.DOCKER_MANIFEST
        config = self._client.put_blob(image.repository, _EMPTY, _DOCKER_CONFIG if docker else media.OCI_EMPTY)
        raw = _manifest(subject, artifact, config, layer, media_type)
        made = Descriptor(
            media_type,
            Digest.of(raw),
            len(raw),
            platform=_NO_PLATFORM if docker else None,
            artifact_type=artifact.artifact_type,
            annotations=artifact.annotations,
        )
        self._client.put_manifest(image.repository, raw, media_type, str(made.digest))
        return made

    def _listed(self, image: Pinned, made: Sequence[Descriptor]) -> bool | None:
        """Returns True once all of it is in the list, after putting it there where that is our task, else None."""
        listed = self._by_api(image)
        if listed is not None:
            return None if _missing(listed, made) else True
        index = self._fallback(image)
        missing = _missing(index.get("manifests") or [], made)
        if missing:
            self._append(image, index, missing)
        self._sleep(random.uniform(*_SECOND_LOOK_S))  # noqa: S311 -- spreads rivals out, keeps nothing secret
        return None if _missing(self._fallback(image).get("manifests") or [], made) else True

    def _by_api(self, image: Pinned) -> Sequence[Any] | None:
        """Returns what the referrers API lists, page after page, or None where there is no such API.

        Source: OCI distribution-spec v1.1 "Listing Referrers"
        """
        what = f"list what is attached to {image}"
        entries: tuple[Any, ...] = ()
        page = f"referrers/{image.digest}"
        for _ in range(_PAGES):
            ask = Ask("GET", image.repository, page, accept=(200, *_WITHOUT_API), headers={"Accept": media.OCI_INDEX})
            answer = self._client.connections.ask(ask, what)
            if answer.status_code != 200 or media.OCI_INDEX not in answer.headers.get("content-type", ""):
                return None
            entries += tuple(_index(answer.content, what).get("manifests") or ())
            following = answer.links.get("next", {}).get("url")
            if not following:
                return entries
            page = str(answer.request.url.join(following))
        raise RefusedError(f"{what}: the list does not end after {_PAGES} pages")

    def _fallback(self, image: Pinned) -> dict[str, Any]:
        """Returns the index at the fallback tag as a JSON object; an empty one where there is no such tag."""
        tag = fallback_tag(image.digest)
        what = f"list what is attached to {image}, at tag {tag}"
        try:
            index = self._client.read(image.repository, tag, what)
        except NotFoundError:
            return {"schemaVersion": 2, "mediaType": media.OCI_INDEX, "manifests": []}
        if not isinstance(index, Index):
            raise RefusedError(f"{what}: it is {index.media_type}, not an index", hint="remove that tag")
        return _index(index.raw, what)

    def _append(self, image: Pinned, index: Mapping[str, Any], made: Sequence[Descriptor]) -> None:
        """Puts the index with more entries; the other entries stay as they were written.

        Beside Docker manifests it is a Docker manifest list, at the same tag.
        """
        docker = any(one.media_type == media.DOCKER_MANIFEST for one in made)
        kind = media.DOCKER_LIST if docker else media.OCI_INDEX
        entries = [*(index.get("manifests") or ()), *(one.to_json() for one in made)]
        entries.sort(key=lambda entry: str(entry.get("digest")))
        raw = _json({**index, "mediaType": kind, "manifests": entries})
        try:
            self._client.put_manifest(image.repository, raw, kind, fallback_tag(image.digest))
        except UnsupportedError as error:
            # Source: goharbor/harbor#8855, src/core/middlewares/multiplmanifest/handler.go before 2.0
            raise UnsupportedError(error.message, hint=_NO_LISTS) from error

    @contextmanager
    def _one_at_a_time(self, image: Pinned) -> Iterator[None]:
        with self._lock:
            lock = self._locks.setdefault(image, Lock())
        with lock:
            yield


def _manifest(subject: Descriptor, artifact: Artifact, config: Descriptor, layer: Descriptor, media_type: str) -> bytes:
    """Returns the manifest that attaches the artifact, laid out as cosign does.

    Source: cosign v3.1.2 pkg/oci/remote/write.go; OCI image-spec v1.1 "Guidelines for Artifact Usage"
    """
    return _json(
        {
            "schemaVersion": 2,
            "mediaType": media_type,
            "config": config.to_json(),
            "layers": [layer.to_json()],
            "annotations": dict(artifact.annotations),
            "subject": Descriptor(subject.media_type, subject.digest, subject.size_bytes).to_json(),
            "artifactType": artifact.artifact_type,
        }
    )


def _index(raw: bytes, what: str) -> dict[str, Any]:
    try:
        data = json.loads(raw)
    except ValueError as error:
        raise UnavailableError(f"{what}: the answer is not JSON") from error
    entries = data.get("manifests") or [] if isinstance(data, dict) else None
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise UnavailableError(f"{what}: the answer is no index")
    return dict(data)


def _missing(entries: Sequence[Any], made: Sequence[Descriptor]) -> list[Descriptor]:
    named = {entry.get("digest") for entry in entries if isinstance(entry, dict)}
    return [one for one in made if str(one.digest) not in named]


def _json(data: Mapping[str, Any]) -> bytes:
    return json.dumps(data, separators=(",", ":")).encode()
