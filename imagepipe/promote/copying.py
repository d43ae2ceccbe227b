"""Copies an image under another name before it is promoted: evidence first, its tag last, and no tag ever moved.

>>> from imagepipe.promote.copying import copy
>>> copy.__name__
'copy'
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from imagepipe.errors import DigestMismatchError, RefusedError
from imagepipe.events import step
from imagepipe.model.copying import Copying
from imagepipe.model.digest import Digest
from imagepipe.model.host import Target
from imagepipe.model.manifest import Manifest
from imagepipe.model.promotion import GateVerdict
from imagepipe.model.reference import Reference
from imagepipe.promote.gates import rejection_gate
from imagepipe.promote.ports import World

__all__ = ["copy", "copy_gates"]

_TAKEN_HINT = "give the copy another tag, or remove that one in Harbor first: a tag that is there is never moved"


def copy_gates(copying: Copying, platform: Manifest, targets: Sequence[Target], world: World) -> Iterator[GateVerdict]:
    """Yields what is asked beside the gates of the image where it is: is the name free, and nobody said no to it there.

    Args:
        copying: What is copied.
        platform: The manifest that targets will hold.
        targets: Where it goes; their policies say whose rejection counts.
        world: What is asked.
    """
    taken = _at(copying.name, world)
    free = taken in (None, copying.image.digest)
    told = "is free" if taken is None else f"points at {taken}"
    yield GateVerdict(f"name {copying.name}", free, f"the tag {told}", hint=None if free else _TAKEN_HINT)
    copies = [copying.image, copying.name.repository.pin(platform.digest)]
    for policy in dict.fromkeys(target.policy for target in targets):
        verdict = rejection_gate(copies, world.policies[str(policy)], world)
        yield replace(verdict, gate=f"rejection as {copying.name.repository.path} ({policy})")


def copy(copying: Copying, world: World) -> None:
    """Makes the copy with all its evidence, and names it once that is proven; done already, it changes nothing.

    Raises:
        RefusedError: The name was taken meanwhile; the copy is there without it.
        UnsupportedError: The registry mounts no blobs.
        DigestMismatchError: The name does not point at the copy after all.
    """
    image, name = copying.image, copying.name
    with step(world.events, "copy", str(name)) as note:
        note.detail = str(world.copier.copy(copying.source, name.repository))
        taken = _at(name, world)
        if taken not in (None, image.digest):
            raise RefusedError(f"copy {copying.source}: {name} points at {taken} by now", hint=_TAKEN_HINT)
        world.sink.tag(name.repository, world.source.manifest(image), str(name.tag))
        found = _at(name, world)
        if found != image.digest:
            raise DigestMismatchError(
                f"copy {copying.source}: {name} points at {found or 'nothing'} after it was written",
                hint="somebody moved the tag: find out who pushes to this repository, then run the same command again",
            )


def _at(name: Reference, world: World) -> Digest | None:
    found = world.source.find(name)
    return found.digest if found else None
