"""A copy inside one registry: which image, and the name that it gets beside its own.

>>> image = Pinned.parse("vic.example/dev/hello@sha256:" + 64 * "0")
>>> copying = Copying(image, Reference.parse("vic.example/prod/hello:1.4"))
>>> str(copying.image)[:26], Copying.parse(copying.to_json()) == copying
('vic.example/prod/hello@sha', True)
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from imagepipe.errors import InputError, UnsupportedError
from imagepipe.model.reference import Pinned, Reference

__all__ = ["RESERVED", "Copied", "Copying", "other_name"]

# Tags that mean something to those who read them: our own, and those at which evidence lies.
# Source: OCI distribution-spec v1.1 "Referrers Tag Schema"; cosign specs/SIGNATURE_SPEC.md
RESERVED: Final = re.compile(r"imagepipe-.*|sha256-[0-9a-f]{64}.*")


@dataclass(frozen=True, slots=True)
class Copying:
    """What is copied, and how the copy is called. Law: `Copying.parse(c.to_json()) == c`.

    Attributes:
        source: The image, where it is.
        name: The tag that the copy gets, in its own repository.
    """

    source: Pinned
    name: Reference

    def __post_init__(self) -> None:
        if self.name.tag is None or self.name.digest is not None:
            raise InputError(f"a copy's name has a tag and no digest: {self.name}", hint="write project/name:tag")
        if RESERVED.fullmatch(self.name.tag):
            raise InputError(
                f"the tag {self.name.tag} is kept for records and evidence", hint="give the copy another tag"
            )
        if self.name.repository.registry != self.source.repository.registry:
            raise UnsupportedError(
                f"copy {self.source} as {self.name}: an image is copied inside one registry only",
                hint=f"name it {self.source.repository.registry}/…, or let Harbor replicate it there",
            )

    @classmethod
    def parse(cls, data: Mapping[str, Any]) -> "Copying":
        """Returns the copy that a JSON object describes.

        Raises:
            InputError: It describes none.
        """
        return cls(Pinned.parse(str(data["from"])), Reference.parse(str(data["name"])))

    @property
    def image(self) -> Pinned:
        """The copy: the same digest in the other repository."""
        return self.name.repository.pin(self.source.digest)

    def to_json(self) -> dict[str, str]:
        """Returns the copy as a JSON object."""
        return {"from": str(self.source), "name": str(self.name)}


@dataclass(frozen=True, slots=True)
class Copied:
    """What a copy came to.

    Attributes:
        manifests: Manifests that the repository was given; 0 when it held everything.
        mounted: Blobs that the registry gave it from the other repository.
        attached: Pieces of evidence that are there now, counted once each.
    """

    manifests: int
    mounted: int
    attached: int

    def __str__(self) -> str:
        return f"{self.manifests} manifests put, {self.mounted} blobs mounted, {self.attached} attached"


def other_name(predicate: Mapping[str, Any], image: Pinned) -> Pinned | None:
    """Returns the image under the other name that a promotion record calls it by; None where it is this one.

    The registry may have changed its own name meanwhile.

    >>> image = Pinned.parse("new.example/p/r@sha256:" + 64 * "0")
    >>> other_name({"image": str(image).replace("new", "old")}, image) is None
    True
    >>> str(other_name({"image": str(image).replace("/r", "/s")}, image))[:17]
    'new.example/p/s@s'
    """
    try:
        named = Pinned.parse(str(predicate.get("image") or "")).repository.path
    except InputError:
        return None
    own = image.repository
    return None if named == own.path else replace(image, repository=replace(own, path=named))
