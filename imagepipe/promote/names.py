"""Under which other names a registry has an image, as its records tell.

>>> other_names.__name__
'other_names'
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from imagepipe.errors import InputError
from imagepipe.model.copying import other_name
from imagepipe.model.evidence import PROMOTION_PREDICATE, Signatory
from imagepipe.model.reference import Pinned
from imagepipe.promote.ports import World

__all__ = ["other_names"]


def other_names(image: Pinned, trusted: Sequence[Signatory], world: World) -> tuple[Pinned, ...]:
    """Returns what else the image is called, by records that came along with a copy, and by those of the copying.

    What was copied from it is not known here: the records of a copy are attached to the copy.
    """
    proofs = world.reader.proofs(image, PROMOTION_PREDICATE, trusted)
    names = [name for proof in proofs for name in _names(proof.verified.statement.predicate, image)]
    return tuple(dict.fromkeys(name for name in names if name != image))


def _names(said: Mapping[str, Any], image: Pinned) -> Iterator[Pinned]:
    other = other_name(said, image)
    if other is not None:
        yield other
    copied = said.get("copy")
    try:
        named = Pinned.parse(str(copied.get("from"))) if isinstance(copied, Mapping) else image
    except InputError:
        return
    yield replace(image, repository=replace(image.repository, path=named.repository.path))
