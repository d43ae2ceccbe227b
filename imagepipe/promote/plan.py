"""Makes the plan: the tag is resolved once, every gate is asked, and no host is touched.

>>> make_plan.__name__
'make_plan'
"""

from collections.abc import Sequence
from dataclasses import dataclass

from imagepipe.errors import NotFoundError, UnsupportedError
from imagepipe.model.host import VCH_PLATFORM, Target
from imagepipe.model.manifest import Index, Manifest, Platform
from imagepipe.model.promotion import PromotionPlan, TargetPlan
from imagepipe.model.reference import Pinned, Reference
from imagepipe.promote.gates import evaluate
from imagepipe.promote.ports import World

__all__ = ["Subject", "find_subject", "make_plan"]


@dataclass(frozen=True, slots=True)
class Subject:
    """The image that is promoted: what was asked for, and the one platform that hosts will hold."""

    image: Pinned
    manifest: Manifest | Index
    platform: Manifest


def make_plan(requested: str, reference: Reference, targets: Sequence[Target], world: World) -> PromotionPlan:
    """Returns what promotion would do, with every gate's verdict.

    Args:
        requested: What the user typed, for the record.
        reference: The image, by tag or digest; a tag is resolved here and never again.
        targets: Where it should go.
        world: What is asked.

    Raises:
        NotFoundError: There is no such image.
        UnsupportedError: An index without linux/amd64.
    """
    subject = find_subject(reference, world)
    return PromotionPlan(
        requested=requested,
        image=subject.image,
        targets=tuple(_plan_target(target, subject) for target in targets),
        gates=evaluate(subject.image, subject.manifest, subject.platform, targets, world),
    )


def find_subject(reference: Reference, world: World) -> Subject:
    """Returns the image that a reference names now, proven by digest.

    Raises:
        NotFoundError: There is no such image.
        UnsupportedError: It is an index without linux/amd64.
    """
    if reference.digest is None:
        tag = reference.tag or "latest"
        try:
            image = reference.repository.pin(world.source.resolve(reference.repository.tagged(tag)).digest)
        except NotFoundError as error:
            raise NotFoundError(error.message, hint=error.hint or "check project, name and tag") from error
    else:
        image = reference.repository.pin(reference.digest)
    manifest = world.source.manifest(image)
    return Subject(image, manifest, _platform_manifest(image, manifest, world))


def _platform_manifest(image: Pinned, manifest: Manifest | Index, world: World) -> Manifest:
    if isinstance(manifest, Manifest):
        return manifest
    child = manifest.for_platform(Platform.parse(VCH_PLATFORM))
    if child is None:
        raise UnsupportedError(
            f"{image} is an index without an image for {VCH_PLATFORM}",
            hint=f"build it for {VCH_PLATFORM} too",
        )
    found = world.source.manifest(image.repository.pin(child.digest))
    if not isinstance(found, Manifest):
        raise NotFoundError(f"{child.digest} in the index {image} is not an image manifest")
    return found


def _plan_target(target: Target, subject: Subject) -> TargetPlan:
    image = subject.image.repository.pin(subject.platform.digest)
    return TargetPlan(target, image, None if target.kind.pulls_by_digest else image.carrier)
