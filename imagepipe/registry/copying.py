"""Copies images between repositories of one registry, with what is attached to them: blobs are mounted, never sent.

Harbor's own copy would give the copy every tag of the source, moving those that are there, before its evidence is.
Source: goharbor/harbor v2.15.2 src/controller/artifact/controller.go (copyDeeply, CreateOrUpdate tags)

>>> RegistryCopier.__name__
'RegistryCopier'
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final

from imagepipe.errors import DigestMismatchError, NotFoundError, RefusedError
from imagepipe.http.retry import settle
from imagepipe.model.copying import Copied
from imagepipe.model.digest import Digest
from imagepipe.model.manifest import Descriptor, Index, Manifest
from imagepipe.model.reference import Pinned, Repository
from imagepipe.registry.client import RegistryClient
from imagepipe.registry.referrers import RegistryReferrers
from imagepipe.registry.tagschema import attached_to, fallback_tag

__all__ = ["RegistryCopier"]

# What cosign before v3 keeps at tags beside an image. Source: cosign specs/SIGNATURE_SPEC.md, ATTESTATION_SPEC.md
_TAGGED_EVIDENCE: Final = (".sig", ".att", ".sbom")
# As many as are read of one image; see `evidence.reader`. Signatures of signatures are deep enough.
_ATTACHED: Final = 2000
_DEPTH: Final = 8
# Layers that no registry holds. Source: OCI image-spec v1.1 layer.md; distribution v2.8.2 manifest/schema2
_FOREIGN: Final = ("nondistributable", "foreign")


class RegistryCopier:
    """Keeps the port `ImageCopier`.

    Args:
        client: Reads and writes the registries.
        referrers: Lists what is attached.
        sleep: Waits that many seconds.
    """

    def __init__(
        self, client: RegistryClient, referrers: RegistryReferrers, *, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        self._client = client
        self._referrers = referrers
        self._sleep = sleep

    def copy(self, image: Pinned, to: Repository) -> Copied:
        """Makes a repository hold the image with all that is attached to it, read back."""
        if image.repository == to:
            return Copied(0, 0, len(self._referrers.list(image)))
        run = _Run(self._client, self._referrers.remembering(), image.repository, to, self._sleep)
        for part in run.copied(image.digest):
            run.copy_evidence(part)
        return Copied(run.manifests, run.mounted, len(run.attached))


@dataclass(slots=True)
class _Run:
    """One copy: what was done so far."""

    client: RegistryClient
    referrers: RegistryReferrers
    source: Repository
    to: Repository
    sleep: Callable[[float], None]
    manifests: int = 0
    mounted: int = 0
    attached: set[Digest] = field(default_factory=set)
    _read: dict[Digest, Manifest | Index] = field(default_factory=dict)

    def copied(self, digest: Digest) -> Iterator[Manifest | Index]:
        """Copies a manifest, children first, and yields each of them, proven to be in the other repository."""
        manifest = self._manifest(digest)
        if isinstance(manifest, Index):
            for child in manifest.manifests:
                yield from self.copied(child.digest)
        if not self._is_there(digest):
            settle(lambda: self._put(manifest), f"copy {self.source.pin(digest)} to {self.to}", sleep=self.sleep)
            self.manifests += 1
            self._read_back(digest)
        yield manifest

    def copy_evidence(self, subject: Manifest | Index, depth: int = 0) -> None:
        """Copies what is attached to a manifest, and what is attached to that.

        Raises:
            RefusedError: It is more than anybody needs: whoever may push may attach without end.
        """
        for ending in _TAGGED_EVIDENCE:
            self._copy_tagged(f"{fallback_tag(subject.digest)}{ending}")
        named = self.referrers.list(self.source.pin(subject.digest))
        listed = [speaking for one in named if (speaking := self._speaking(one, subject)) is not None]
        new = [one for one in listed if one.digest not in self.attached]
        self.attached.update(one.digest for one in new)
        if new and (depth >= _DEPTH or len(self.attached) > _ATTACHED):
            raise RefusedError(
                f"copy {self.source.pin(subject.digest)} to {self.to}: more than {_ATTACHED} attachments, or more than "
                f"{_DEPTH} of which each is attached to the one before",
                hint="delete the attachments that nobody needs",
            )
        parts = [part for one in new for part in self.copied(one.digest)]
        if listed:
            self.referrers.enlist(self.to.pin(subject.digest), listed)
        for part in parts:
            self.copy_evidence(part, depth + 1)

    def _speaking(self, one: Descriptor, subject: Manifest | Index) -> Manifest | None:
        """Returns a manifest that names the subject: Harbor lists tagged signatures too, which are found by tag.

        A list at a tag still names what was deleted, which says nothing any more.
        """
        try:
            return attached_to(subject.digest, self._manifest(one.digest))
        except NotFoundError:
            return None

    def _copy_tagged(self, tag: str) -> None:
        """Copies evidence that lies at a tag; one that is there is replaced by more of the same only.

        An index is none: whoever may push could have any image copied by it, and without end by indexes of indexes.
        """
        found = self._at(self.source, tag)
        if not isinstance(found, Manifest):
            return
        there = self._at(self.to, tag)
        if there is not None and there.digest != found.digest and not _holds_all(found, there):
            raise RefusedError(
                f"copy {self.source}:{tag} to {self.to}: there is other evidence at that tag",
                hint="compare the two, remove the one that is wrong, then run the same command again",
            )
        for part in self.copied(found.digest):
            self.attached.add(part.digest)
        self.client.tag(self.to, found, tag)

    def _manifest(self, digest: Digest) -> Manifest | Index:
        if digest not in self._read:
            self._read[digest] = self.client.manifest(self.source.pin(digest))
        return self._read[digest]

    def _at(self, repository: Repository, tag: str) -> Manifest | Index | None:
        try:
            return self.client.read(repository, tag, f"look for evidence at {repository}:{tag}")
        except NotFoundError:
            return None

    def _put(self, manifest: Manifest | Index) -> bool | None:
        """Returns True once the manifest is stored, or None where the registry does not show its blobs yet."""
        for blob in _blobs(manifest):
            self.client.mount(self.to, blob.digest, self.source)
            self.mounted += 1
        try:
            self.client.put_manifest(self.to, manifest.raw, manifest.media_type, str(manifest.digest))
        except NotFoundError:
            return None
        return True

    def _is_there(self, digest: Digest) -> bool:
        try:
            self.client.manifest(self.to.pin(digest))
        except NotFoundError:
            return False
        return True

    def _read_back(self, digest: Digest) -> None:
        if not self._is_there(digest):
            raise DigestMismatchError(
                f"copy {self.source.pin(digest)} to {self.to}: the registry took it, and does not return it",
                hint="run the same command again; if that does not help, look at the registry's log",
            )


def _blobs(manifest: Manifest | Index) -> list[Descriptor]:
    """Returns what a manifest is made of, each blob once; layers that lie outside of registries are left out."""
    if isinstance(manifest, Index):
        return []
    parts = {part.digest: part for part in (manifest.config, *manifest.layers)}
    return [part for part in parts.values() if not any(word in part.media_type for word in _FOREIGN)]


def _holds_all(more: Manifest | Index, less: Manifest | Index) -> bool:
    """Tells whether one piece of tagged evidence holds every layer of another one: something was added to it."""
    if not isinstance(more, Manifest) or not isinstance(less, Manifest):
        return False
    return {layer.digest for layer in less.layers} <= {layer.digest for layer in more.layers}
