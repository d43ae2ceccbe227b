"""Pushes an image and proves what the registry then has, before anybody is told its digest.

>>> push.__name__
'push'
"""

from collections.abc import Sequence

from imagepipe.build.ports import BuildWorld
from imagepipe.errors import DigestMismatchError, UnsupportedError
from imagepipe.events import step
from imagepipe.model.digest import Digest
from imagepipe.model.manifest import Manifest
from imagepipe.model.reference import Reference

__all__ = ["push"]


def push(references: Sequence[Reference], image_id: Digest, world: BuildWorld) -> Manifest:
    """Pushes by the first name, proves what the registry has, then gives it its other names and its carrier tag.

    Returns:
        The manifest as the registry returns it.

    Raises:
        DigestMismatchError: The registry names another digest, or holds another image.
        AccessError, RefusedError, UnavailableError: What the registry said.
    """
    first = references[0]
    with step(world.events, "push", str(first)) as note:
        manifest = _already_there(first, image_id, world)
        if manifest is None:
            reported = world.pusher.push(image_id, first, world.events)
            manifest = _read_back(first, reported, image_id, world)
            note.detail = str(manifest.digest)
        else:
            note.detail = f"{manifest.digest} was there already"
    names = [*references[1:], first.repository.pin(manifest.digest).carrier]
    with step(world.events, "tag", str(first.repository)) as note:
        for name in names:
            world.sink.tag(name.repository, manifest, str(name.tag))
        note.detail = ", ".join(str(name.tag) for name in names)
    return manifest


def _already_there(reference: Reference, image_id: Digest, world: BuildWorld) -> Manifest | None:
    """Returns the manifest that the tag has now if it is this very image: an immutable tag takes no second push."""
    found = world.source.find(reference)
    if found is None:
        return None
    manifest = world.source.manifest(reference.repository.pin(found.digest))
    return manifest if isinstance(manifest, Manifest) and manifest.image_id == image_id else None


def _read_back(reference: Reference, reported: Digest, image_id: Digest, world: BuildWorld) -> Manifest:
    """Returns the manifest that the registry has now, proven to be what was pushed.

    Raises:
        DigestMismatchError: The registry names another digest, or holds another image.
    """
    found = world.source.resolve(reference).digest
    if found != reported:
        raise DigestMismatchError(
            f"push {reference}: the engine pushed {reported}, the registry says {found}",
            hint="somebody pushed to the same tag: use tags that are unique, such as {branch}-{sha}, and run again",
        )
    manifest = world.source.manifest(reference.repository.pin(found))
    if not isinstance(manifest, Manifest):
        raise UnsupportedError(
            f"push {reference}: the engine pushed an index ({manifest.media_type})",
            hint="use a build host with the classic image store, or set profile: oci",
        )
    if manifest.image_id != image_id:
        raise DigestMismatchError(
            # The engine says the same digest: it pushed by the name, which somebody else's image bore by then.
            f"push {reference}: the engine pushed image id {manifest.image_id}, built was {image_id}",
            hint="another run gave its image the same tag on this build host: use tags that are unique, such as "
            "{branch}-{sha}, and run again",
        )
    return manifest
