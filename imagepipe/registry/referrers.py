"""What is attached to images: by the referrers API where there is one, else by tags.

>>> RegistryReferrers.__name__
'RegistryReferrers'
"""

import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from threading import Lock
from typing import Any, Final

import httpx

from imagepipe.errors import DigestMismatchError, NotFoundError, RefusedError, UnavailableError, UnsupportedError
from imagepipe.http.failure import asking, complaints, words
from imagepipe.http.retry import settle
from imagepipe.model import media
from imagepipe.model.evidence import Artifact
from imagepipe.model.manifest import Descriptor, Manifest, parse_manifest
from imagepipe.model.reference import Pinned
from imagepipe.registry.client import RegistryClient, following, foreign
from imagepipe.registry.connection import Ask
from imagepipe.registry.tagschema import TagSchema, attached_to, entry, json_of, missing, parsed_list

__all__ = ["RegistryReferrers"]

_EMPTY: Final = b"{}"
# The only config type that a registry of Docker manifests knows. Source: distribution docs/spec/manifest-v2-2.md
_DOCKER_CONFIG: Final = "application/vnd.docker.container.image.v1+json"
_PAGES: Final = 50
# Some ten thousand entries: more than anybody looks at, and little beside what they take up once they are read.
_LIST_LIMIT_BYTES: Final = 8 * 1024 * 1024
# What registries without the API answer. Source: go-containerregistry pkg/v1/remote/referrers.go
_WITHOUT_API: Final = (400, 404, 405, 406)
_HINT_GONE: Final = (
    "ask a Harbor administrator to remove that artifact from the table artifact_accessory: "
    "Harbor lists it as attached and no longer holds it"
)
_HINT_MANY: Final = "delete the attachments that nobody needs"
_LOOKS: Final = 4  # less than a second: what somebody deletes is soon gone from the list, too
# A rival that read the list before our write may still overwrite it: look again once it must have written. Tools that
# read nothing but the list find what is ours then; a rival that is slower takes it from their sight only.
_SECOND_LOOK_S: Final = (0.1, 0.3)


class RegistryReferrers:
    """Keeps the port `Referrers`; may be shared by threads.

    Args:
        client: Reads and writes the registries.
        sleep: Waits that many seconds.
        tagged: What a registry without the API is asked by; None: makes it.
    """

    def __init__(
        self, client: RegistryClient, *, sleep: Callable[[float], None] = time.sleep, tagged: TagSchema | None = None
    ) -> None:
        self._client = client
        self._sleep = sleep
        self._tagged = tagged or TagSchema(client)
        self._locks: dict[Pinned, Lock] = {}
        self._lock = Lock()

    def list(self, image: Pinned) -> tuple[Descriptor, ...]:
        """Returns every manifest attached to the image; descriptors' types are hints."""
        listed = self._by_api(image)
        if listed is None:
            return self._tagged.list(image)
        with foreign(f"list what is attached to {image}"):
            return tuple(Descriptor.from_json(one) for one in listed)

    def fetch(self, image: Pinned, descriptor: Descriptor) -> Artifact:
        """Returns an attached artifact, proven by digest and to name the image as its subject."""
        what = f"read {descriptor.digest}, attached to {image}"
        found = self._client.read(image.repository, str(descriptor.digest), what, expected=descriptor.digest)
        manifest = attached_to(image.digest, found)
        if manifest is None:
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

    def remembering(self) -> "RegistryReferrers":
        """Returns the same for one look: what answers for all images of a repository is asked once."""
        return RegistryReferrers(self._client, sleep=self._sleep, tagged=self._tagged.remembering())

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
        return entry(made)

    def relist(self, image: Pinned, attached: Sequence[Descriptor]) -> None:
        """Makes sure that what is attached is in the list which others read, where tags are all there is.

        Raises:
            AccessError: It is not, and we may not write there.
        """
        what = f"list what is attached to {image}"
        with asking(what):
            if self._by_api(image) is None and missing(self._tagged.listed(image), attached):
                read = (self._client.manifest(image.repository.pin(one.digest)) for one in attached)
                self._enlist(image, [one for one in read if isinstance(one, Manifest)])

    def enlist(self, image: Pinned, attached: Sequence[Manifest]) -> None:
        """Makes sure that manifests, which the repository holds already, are found in the list of what is attached.

        Raises:
            UnavailableError: The registry does not list them, or others overwrite the list again and again.
        """
        with asking(f"list what was copied to {image}"):
            self._enlist(image, attached)

    def _enlist(self, image: Pinned, attached: Sequence[Manifest]) -> None:
        with self._one_at_a_time(image):
            settle(lambda: self._listed(image, attached), "list it among the referrers", sleep=self._sleep)

    def _stored(self, image: Pinned, subject: Descriptor, artifact: Artifact) -> Manifest | None:
        """Returns the stored manifest, or None where the registry does not show its blobs yet."""
        # What was signed a moment ago is nowhere yet.
        layer = self._client.put_blob(image.repository, artifact.content, artifact.layer_media_type, new=True)
        config = self._client.put_blob(image.repository, _EMPTY, media.OCI_EMPTY)
        try:
            try:
                return self._put(image, _manifest(subject, artifact, config, layer, media.OCI_MANIFEST))
            except UnsupportedError:
                # VIC's registry 2.6 takes Docker manifests only, and keeps every byte of one.
                config = replace(config, media_type=_DOCKER_CONFIG)
                return self._put(image, _manifest(subject, artifact, config, layer, media.DOCKER_MANIFEST))
        except NotFoundError:
            return None

    def _put(self, image: Pinned, made: Manifest) -> Manifest:
        self._client.put_manifest(image.repository, made.raw, made.media_type, str(made.digest))
        return made

    def _listed(self, image: Pinned, made: Sequence[Manifest]) -> bool | None:
        """Returns True once all of it is in the list, after putting it there where that is our task, else None."""
        listed = self._by_api(image)
        if listed is None:
            if not self._tagged.enlist(image, made):
                return None
            self._sleep(random.uniform(*_SECOND_LOOK_S))  # noqa: S311 -- spreads rivals out, keeps nothing secret
            listed = self._tagged.listed(image)
        return None if missing(listed, [entry(one) for one in made]) else True

    def _by_api(self, image: Pinned) -> Sequence[Any] | None:
        """Returns what the referrers API lists, page after page, or None where there is no such API.

        Source: OCI distribution-spec v1.1 "Listing Referrers"
        """
        what = f"list what is attached to {image}"
        entries: tuple[Any, ...] = ()
        page, left = f"referrers/{image.digest}", _LIST_LIMIT_BYTES
        for _ in range(_PAGES):
            answer = self._asked(image, page, what)
            if answer.status_code != 200 or media.OCI_INDEX not in answer.headers.get("content-type", ""):
                return None
            left -= len(answer.content)
            if left < 0:
                raise RefusedError(f"{what}: the list is larger than {_LIST_LIMIT_BYTES} bytes", hint=_HINT_MANY)
            entries += tuple(parsed_list(answer.content, what).get("manifests") or ())
            page = following(answer, what)
            if not page:
                return entries
        raise RefusedError(f"{what}: the list does not end after {_PAGES} pages")

    def _asked(self, image: Pinned, page: str, what: str) -> httpx.Response:
        """Returns the answer for one page.

        Harbor answers 404 for the whole list as long as one thing in it is gone. Taken for a registry without the API,
        all that is attached would be out of sight: signatures, and rejections as well.
        Source: Harbor v2.15.2 src/server/registry/referrers.go

        Raises:
            UnavailableError: It stays so.
        """
        ask = Ask("GET", image.repository, page, accept=(200, *_WITHOUT_API), headers={"Accept": media.OCI_INDEX})
        answers: list[httpx.Response] = []

        def attempt() -> httpx.Response | None:
            answers.append(self._client.connections.ask(ask, what))
            return None if _lists_what_is_gone(answers[-1]) else answers[-1]

        def failure() -> UnavailableError:
            return UnavailableError(f"{what}: {words(answers[-1])}", hint=_HINT_GONE)

        return settle(attempt, what, attempts=_LOOKS, sleep=self._sleep, failure=failure)

    @contextmanager
    def _one_at_a_time(self, image: Pinned) -> Iterator[None]:
        with self._lock:
            lock = self._locks.setdefault(image, Lock())
        with lock:
            yield


def _lists_what_is_gone(answer: httpx.Response) -> bool:
    """Tells Harbor's 404 for a list from that of a registry which has no such API."""
    said = complaints(answer) if answer.status_code == 404 else ()
    return any(one.code == "NOT_FOUND" and one.message.startswith("artifact ") for one in said)


def _manifest(
    subject: Descriptor, artifact: Artifact, config: Descriptor, layer: Descriptor, media_type: str
) -> Manifest:
    """Returns the manifest that attaches the artifact, in OCI's or in Docker's shape, laid out as cosign does.

    Source: cosign v3.1.2 pkg/oci/remote/write.go; OCI image-spec v1.1 "Guidelines for Artifact Usage"
    """
    raw = json_of(
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
    made = parse_manifest(raw, media_type)
    assert isinstance(made, Manifest)
    return made
