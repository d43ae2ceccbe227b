"""The image that a name stands for, resolved once: what was asked for, and the one platform that hosts will hold.

>>> find_subject.__name__
'find_subject'
"""

from dataclasses import dataclass

from imagepipe.errors import NotFoundError, UnsupportedError
from imagepipe.model.host import VCH_PLATFORM
from imagepipe.model.manifest import Index, Manifest, Platform
from imagepipe.model.reference import Pinned, Reference
from imagepipe.ports import ManifestSource

__all__ = ["Subject", "find_subject"]


@dataclass(frozen=True, slots=True)
class Subject:
    """An image: what was asked for, and the one platform that hosts will hold."""

    image: Pinned
    manifest: Manifest | Index
    platform: Manifest


def find_subject(reference: Reference, source: ManifestSource) -> Subject:
    """Returns the image that a reference names now, proven by digest.

    Raises:
        NotFoundError: There is no such image.
        UnsupportedError: It is an index without linux/amd64.
    """
    if reference.digest is None:
        tag = reference.tag or "latest"
        try:
            image = reference.repository.pin(source.resolve(reference.repository.tagged(tag)).digest)
        except NotFoundError as error:
            raise NotFoundError(error.message, hint=error.hint or "check project, name and tag") from error
    else:
        image = reference.repository.pin(reference.digest)
    manifest = source.manifest(image)
    return Subject(image, manifest, _platform_manifest(image, manifest, source))


def _platform_manifest(image: Pinned, manifest: Manifest | Index, source: ManifestSource) -> Manifest:
    if isinstance(manifest, Manifest):
        return manifest
    child = manifest.for_platform(Platform.parse(VCH_PLATFORM))
    if child is None:
        raise UnsupportedError(
            f"{image} is an index without an image for {VCH_PLATFORM}",
            hint=f"build it for {VCH_PLATFORM} too",
        )
    found = source.manifest(image.repository.pin(child.digest))
    if not isinstance(found, Manifest):
        raise NotFoundError(f"{child.digest} in the index {image} is not an image manifest")
    return found
