"""Reads and names images in registries; every body is proven against its digest.

>>> answer = httpx.Response(404, json={"errors": [{"code": "MANIFEST_UNKNOWN", "message": "manifest unknown"}]})
>>> registry = RegistryClient(Connections(transport_for=lambda registry: httpx.MockTransport(lambda request: answer)))
>>> registry.resolve(Reference.parse("vic.example/p/r:1"))
Traceback (most recent call last):
    ...
imagepipe.errors.NotFoundError: resolve vic.example/p/r:1: MANIFEST_UNKNOWN: manifest unknown (HTTP 404)
"""

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import httpx

from imagepipe.errors import (
    DigestMismatchError,
    ImagepipeError,
    InputError,
    NotFoundError,
    RefusedError,
    UnavailableError,
    UnsupportedError,
)
from imagepipe.http.failure import asking, complaints, refusal
from imagepipe.model import media
from imagepipe.model.digest import Digest
from imagepipe.model.manifest import Descriptor, Index, Manifest, parse_manifest
from imagepipe.model.received import json_in
from imagepipe.model.reference import Pinned, Reference, Repository
from imagepipe.registry.connection import Ask, Connections

__all__ = ["RegistryClient", "following", "foreign"]

# Source: distribution v2.8.2 registry/handlers/manifests.go maxManifestBodySize
_MANIFEST_LIMIT_BYTES: Final = 4 * 1024 * 1024
_BLOB_LIMIT_BYTES: Final = 8 * 1024 * 1024
# Half a million of the longest tags, in pages that are each counted as some of them: a list may have no end.
_TAGS_LIMIT_BYTES: Final = 64 * 1024 * 1024
_TAGS_PAGE_BYTES: Final = 16 * 1024
# Bytes of something that there can be.
_SIZE: Final = re.compile(r"[0-9]{1,18}")
_DIGEST_HEADER: Final = "docker-content-digest"
_ACCEPT: Final = {"Accept": media.ACCEPT_MANIFESTS}


class RegistryClient:
    """Keeps the ports `ManifestSource`, `ManifestSink` and `TagSource`, for any number of registries and threads.

    Args:
        connections: How the registries are reached.
    """

    def __init__(self, connections: Connections) -> None:
        self.connections = connections
        self._tagging: dict[Reference, threading.Lock] = {}

    def resolve(self, reference: Reference) -> Descriptor:
        """Returns what the reference points at now; by digest if it has one, else by tag, `latest` if it has none."""
        what = f"resolve {reference}"
        found = self._look_up(reference, what)
        # A HEAD's refusal has no words: GET says more.
        return found if found is not None else self._got(reference, what)

    def find(self, reference: Reference) -> Descriptor | None:
        """Returns what the reference points at now, or None: one question, where `resolve` also asks why not."""
        return self._look_up(reference, f"look up {reference}")

    def manifest(self, image: Pinned) -> Manifest | Index:
        """Returns the manifest or index with exactly this digest."""
        return self.read(image.repository, str(image.digest), f"read {image}", expected=image.digest)

    def blob(self, repository: Repository, descriptor: Descriptor) -> bytes:
        """Returns a small blob, proven; at most 8 MiB."""
        what = f"read blob {descriptor.digest} of {repository}"
        if descriptor.size_bytes > _BLOB_LIMIT_BYTES:
            raise RefusedError(f"{what}: its {descriptor.size_bytes} bytes are more than {_BLOB_LIMIT_BYTES}")
        content = self.connections.ask(Ask("GET", repository, f"blobs/{descriptor.digest}"), what).content
        if len(content) > _BLOB_LIMIT_BYTES:
            raise RefusedError(f"{what}: its {len(content)} bytes are more than {_BLOB_LIMIT_BYTES}")
        descriptor.digest.check(content, what)
        if len(content) != descriptor.size_bytes:
            raise DigestMismatchError(f"{what}: {len(content)} bytes, its descriptor says {descriptor.size_bytes}")
        return content

    def tag(self, repository: Repository, manifest: Manifest | Index, tag: str) -> None:
        """Makes the tag point at a manifest that the repository already holds; nothing happens when it does.

        Harbor refuses to put an immutable tag even where it would not move, so the tag is looked at first and last.
        Source: Harbor v2.15.2 src/server/middleware/immutable/pushmf.go
        """
        name = repository.tagged(tag)
        # One at a time: who reads a tag while it is written may be told nonsense, and the second finds it done.
        with self._tagging.setdefault(name, threading.Lock()):
            if self._points_at(name, manifest.digest):
                return
            try:
                self.put_manifest(repository, manifest.raw, manifest.media_type, tag)
            except NotFoundError as error:
                raise RefusedError(error.message, hint="push the image to this repository first") from error
            except RefusedError:
                if self._points_at(name, manifest.digest):
                    return
                raise

    def tags(self, repository: Repository) -> tuple[str, ...]:
        """Returns all tags of a repository, page after page; none where there is no such repository.

        Source: OCI distribution-spec v1.1 "Listing Tags"
        """
        what, page, found, left = f"list the tags of {repository}", "tags/list", dict[str, None](), _TAGS_LIMIT_BYTES
        while page:
            answer = self.connections.ask(Ask("GET", repository, page, accept=(200, 404)), what)
            left -= max(len(answer.content), _TAGS_PAGE_BYTES)
            if left < 0:
                raise RefusedError(f"{what}: the list is longer than anybody needs")
            listed = _listed_tags(answer, what)
            page = following(answer, what) if set(listed) - found.keys() else ""
            found |= dict.fromkeys(listed)
        return tuple(found)

    def read(self, repository: Repository, at: str, what: str, *, expected: Digest | None = None) -> Manifest | Index:
        """Returns the manifest or index at a tag or digest, proven against `expected` and the registry's own digest."""
        answer = self.connections.ask(Ask("GET", repository, f"manifests/{at}", headers=_ACCEPT), what)
        if len(answer.content) > _MANIFEST_LIMIT_BYTES:
            raise RefusedError(f"{what}: the manifest is larger than {_MANIFEST_LIMIT_BYTES} bytes")
        with foreign(what):
            found = parse_manifest(answer.content, _media_type(answer), expected=expected)
        stated = answer.headers.get(_DIGEST_HEADER)
        if stated and stated != str(found.digest):
            raise DigestMismatchError(f"{what}: the bytes have digest {found.digest}, the registry says {stated[:80]}")
        return found

    def put_blob(self, repository: Repository, content: bytes, media_type: str, *, new: bool = False) -> Descriptor:
        """Stores a small blob in one piece unless the repository holds it, and returns its descriptor.

        Source: OCI distribution-spec v1.1 "POST then PUT"

        Args:
            repository: Where to.
            content: Its bytes.
            media_type: What they are, for the descriptor.
            new: Nobody can have stored it before, so it is not looked for.
        """
        made = Descriptor(media_type, Digest.of(content), len(content))
        what = f"store blob {made.digest} in {repository}"
        if not new and self._has_blob(repository, made.digest, what):
            return made
        started = self.connections.ask(Ask("POST", repository, "blobs/uploads/", accept=(202,)), what)
        try:
            self.connections.ask(
                Ask(
                    "PUT",
                    repository,
                    _upload_url(started, made.digest, what),
                    accept=(201, 204),
                    headers={"Content-Type": "application/octet-stream"},
                    content=content,
                ),
                what,
            )
        except NotFoundError:
            # A repeated PUT finds its upload gone when only the first answer was lost.
            if not self._has_blob(repository, made.digest, what):
                raise
        return made

    def mount(self, repository: Repository, digest: Digest, source: Repository) -> None:
        """Makes a repository hold a blob of another one of the same registry, inside the registry.

        Source: OCI distribution-spec v1.1 "Mounting a blob from another repository"

        Raises:
            UnsupportedError: The registry wants the bytes instead; the upload that it began ends by itself.
        """
        what = f"mount blob {digest} of {source.path} into {repository}"
        query = httpx.QueryParams({"mount": str(digest), "from": source.path})
        answer = self.connections.ask(Ask("POST", repository, f"blobs/uploads/?{query}", accept=(201, 202)), what)
        if answer.status_code != 201:
            raise UnsupportedError(
                f"{what}: the registry does not mount it, and asks for its bytes",
                hint="check that the image is whole and that the account may pull it; a registry that mounts nothing"
                " needs a copy by other means, such as Harbor's replication",
            )

    def put_manifest(self, repository: Repository, raw: bytes, media_type: str, at: str) -> httpx.Headers:
        """Stores a manifest at a tag or digest and returns the answer's headers.

        Raises:
            NotFoundError: The repository lacks a blob that the manifest names, or does not show it yet.
            UnsupportedError: The registry takes no manifests of this type.
            DigestMismatchError: The registry stored something else.
        """
        what = f"store manifest {repository}{'@' if ':' in at else ':'}{at}"
        answer = self.connections.ask(
            Ask("PUT", repository, f"manifests/{at}", accept=_ANY, headers={"Content-Type": media_type}, content=raw),
            what,
        )
        if answer.status_code not in (200, 201):
            raise _put_refusal(answer, what, media_type)
        stated = answer.headers.get(_DIGEST_HEADER)
        if stated and stated != str(Digest.of(raw)):
            raise DigestMismatchError(f"{what}: sent {Digest.of(raw)}, the registry stored {stated[:80]}")
        return answer.headers

    def _points_at(self, name: Reference, digest: Digest) -> bool:
        found = self._look_up(name, f"look up {name}")
        return found is not None and found.digest == digest

    def _look_up(self, reference: Reference, what: str) -> Descriptor | None:
        ask = Ask("HEAD", reference.repository, f"manifests/{_at(reference)}", accept=_ANY, headers=_ACCEPT)
        answer = self.connections.ask(ask, what)
        if answer.status_code == 404:
            return None
        _unless_away(answer, what)
        found = _descriptor(answer) if answer.status_code == 200 else None
        # Some registries tell no digest, or know no HEAD.
        return _answering(reference, found, what) if found is not None else self._got(reference, what)

    def _got(self, reference: Reference, what: str) -> Descriptor:
        return _answering(reference, self.read(reference.repository, _at(reference), what).descriptor, what)

    def _has_blob(self, repository: Repository, digest: Digest, what: str) -> bool:
        answer = self.connections.ask(Ask("HEAD", repository, f"blobs/{digest}", accept=(200, 404)), what)
        return answer.status_code == 200


# Statuses that the caller judges itself.
_ANY: Final = tuple(range(200, 600))


def following(answer: httpx.Response, what: str) -> str:
    """Returns where the next page of a list is, or "" at its end. Source: OCI distribution-spec v1.1 "Listing Tags".

    Raises:
        UnavailableError: It is nowhere that can be asked.
    """
    link = answer.links.get("next", {}).get("url") or ""
    try:
        return str(answer.request.url.join(link)) if link else ""
    except httpx.InvalidURL as error:
        raise UnavailableError(f"{what}: the registry names no next page: {link[:200]!r}") from error


@contextmanager
def foreign(what: str) -> Iterator[None]:
    """Says what we were doing when a manifest is malformed, which is never the fault of a file of ours.

    Raises:
        RefusedError: What the registry sent names a digest of another kind.
    """
    try:
        with asking(what):
            yield
    except InputError as error:
        raise RefusedError(error.message) from error


def _at(reference: Reference) -> str:
    """Returns what of the reference stands in the path: its digest if it has one, else its tag, `latest` if none."""
    return str(reference.digest) if reference.digest else reference.tag or "latest"


def _answering(reference: Reference, found: Descriptor, what: str) -> Descriptor:
    if reference.digest is not None and found.digest != reference.digest:
        raise DigestMismatchError(f"{what}: the registry answers for {found.digest}")
    return found


def _unless_away(answer: httpx.Response, what: str) -> None:
    """Raises where asking in another way would say no more: no access, or the registry is in trouble."""
    if answer.status_code in (401, 403, 429) or answer.status_code >= 500:
        raise refusal(answer, what)


def _listed_tags(answer: httpx.Response, what: str) -> list[str]:
    if answer.status_code == 404:
        return []
    try:
        return [str(tag) for tag in json_in(answer.content).get("tags") or ()]
    except (ValueError, AttributeError, TypeError) as error:
        raise UnavailableError(f"{what}: the answer is no list of tags") from error


def _descriptor(answer: httpx.Response) -> Descriptor | None:
    """Returns what the headers tell of a manifest, or None where they do not tell it all."""
    size = answer.headers.get("content-length", "")
    try:
        digest = Digest.parse(answer.headers.get(_DIGEST_HEADER, ""))
    except InputError:
        return None
    media_type = _media_type(answer)
    known = media_type in media.MANIFEST_TYPES + media.INDEX_TYPES and _SIZE.fullmatch(size)
    return Descriptor(media_type, digest, int(size)) if known else None


def _media_type(answer: httpx.Response) -> str:
    return str(answer.headers.get("content-type", "")).partition(";")[0].strip()


def _upload_url(started: httpx.Response, digest: Digest, what: str) -> str:
    location = started.headers.get("location", "")
    try:
        url = started.request.url.join(location)
    except httpx.InvalidURL as error:
        raise UnavailableError(f"{what}: the registry names no place to upload to: {location[:200]!r}") from error
    if (url.scheme, url.netloc) != (started.request.url.scheme, started.request.url.netloc):
        raise RefusedError(
            f"{what}: the registry sends the upload elsewhere, to {url.scheme}://{url.host}",
            hint="make the registry know its own address (Harbor: external_url; distribution: http.host)",
        )
    return str(url.copy_merge_params({"digest": str(digest)}))


def _put_refusal(answer: httpx.Response, what: str, media_type: str) -> ImagepipeError:
    error = refusal(answer, what)
    if any(complaint.code == "MANIFEST_BLOB_UNKNOWN" for complaint in complaints(answer)):
        # Rivals that send the same blob at the same time: one of them is told that it is there before it is.
        return NotFoundError(error.message, hint=error.hint)
    oci = media_type in (media.OCI_MANIFEST, media.OCI_INDEX)
    if oci and any(complaint.code == "MANIFEST_INVALID" for complaint in complaints(answer)):
        # Source: distribution v2.6.2, the registry of VIC's Harbor 1.7.8, knows Docker's manifests only
        return UnsupportedError(error.message, hint=f"this registry takes no {media_type}; use a newer Harbor")
    return error
