"""Carries a plan out on one target: pull, and prove that what arrived is what was planned.

>>> from imagepipe.promote.execute import promote_to
>>> promote_to.__name__
'promote_to'
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from time import monotonic
from typing import Final

from imagepipe.errors import (
    DeadlineError,
    DigestMismatchError,
    ImagepipeError,
    RefusedError,
    StorageFullError,
    UnavailableError,
)
from imagepipe.events import Retried, step
from imagepipe.model.digest import Digest
from imagepipe.model.host import HostInfo, PullReport, Target
from imagepipe.model.manifest import Manifest
from imagepipe.model.promotion import Arrival, TargetPlan, TargetResult
from imagepipe.model.reference import Pinned, Reference
from imagepipe.promote.ports import HostPorts, World

__all__ = ["Item", "failed", "promote_to"]

# Pulls are repeatable: layers that arrived are kept. Waits as VIC's own: lib/imagec/fetcher.go (5, 10 s).
_PULL_WAITS_S: Final = (5.0, 10.0)
# The empty layer, once per empty history entry in a VCH's pull stream. Source: VIC v1.5.8 lib/imagec/docker.go.
_EMPTY_LAYER: Final = "a3ed95caeb02"


@dataclass(frozen=True, slots=True)
class Item:
    """One image for one target.

    Attributes:
        image: What is promoted.
        plan: What the target must hold of it in the end.
        manifest: The platform manifest, whose layers a VCH's pull stream is held against.
        failure: Why nothing is to be asked of the target: it is not locked, or its carrier tag cannot be had.
    """

    image: Pinned
    plan: TargetPlan
    manifest: Manifest
    failure: ImagepipeError | None = None


def failed(plan: TargetPlan, why: ImagepipeError, *, proof: Mapping[str, str], duration_s: float) -> TargetResult:
    """Returns the outcome of a target that does not hold the planned image because of this error."""
    return TargetResult(
        target=plan.target.name,
        kind=plan.target.kind,
        arrival=Arrival.FAILED,
        digest=plan.image.digest,
        proof=proof,
        error=why.message,
        error_kind=why.kind,
        hint=why.hint,
        exit_code=why.exit_code,
        cause=why.cause,
        duration_s=duration_s,
    )


def promote_to(item: Item, world: World, *, told: Callable[[], HostInfo]) -> TargetResult:
    """Makes the target hold the planned image and proves it; a failure becomes a result, never an exception.

    Args:
        item: What this target must hold in the end; the tag that it is pulled by already points there.
        world: What promotion talks to.
        told: Waits for what the target says that it is.
    """
    started = monotonic()
    plan, proof = item.plan, dict[str, str]()
    target = plan.target
    try:
        with step(world.events, "promote", target.name) as note:
            if item.failure is not None:
                raise item.failure
            _check_host(target, plan.image, told())
            arrival = _arrive(plan, item.manifest, world, proof)
            note.detail = f"{arrival.value} {plan.image.digest}"
    except ImagepipeError as error:
        why = error.doing(f"promote {_short(plan.image)} to {target.name}")
        return failed(plan, why, proof=proof, duration_s=monotonic() - started)
    return TargetResult(target.name, target.kind, arrival, plan.image.digest, proof, duration_s=monotonic() - started)


def _arrive(plan: TargetPlan, manifest: Manifest, world: World, proof: dict[str, str]) -> Arrival:
    ports = world.connect(plan.target)
    held = ports.host.holds(plan.image)
    if plan.carrier is not None:
        # Also where it is held: a VCH may know the layers of one image by the digest of another, when the tag moved
        # between its two reads. Layers that are there are not fetched again, and it refuses to mend such a digest.
        # Source: VIC v1.5.8 lib/imagec/imagec.go:622-667, lib/apiservers/engine/backends/cache/repo_cache.go:204-209.
        _pull_by_carrier(plan.image, plan.carrier, manifest, ports, world, proof)
    elif not held:
        _pull_by_digest(plan.image, ports, world, proof)
    if not ports.host.holds(plan.image):
        raise DigestMismatchError(
            f"the pull ended well, but the host does not know {plan.image}",
            hint="look at what the host holds for this repository; the tag may have been moved during the pull",
        )
    proof["inspect"] = f"holds {plan.image}"
    ports.host.probe(plan.image)
    proof["probe"] = "container created and removed"
    return Arrival.PRESENT if held else Arrival.PROMOTED


def _check_host(target: Target, image: Pinned, info: HostInfo) -> None:
    if info.kind is not target.kind:
        raise RefusedError(
            f"{target.host} is configured as {target.kind.value} but a {info.kind.value} answers ({info.name})",
            hint=f'set kind = "{info.kind.value}" in [targets.{target.name}], or correct its host',
        )
    if not info.ready:
        raise UnavailableError(
            f"{info.name} is not ready to take work", hint="wait until its backend engine is RUNNING, then try again"
        )
    registry = image.repository.registry
    if not info.allows(registry):
        raise RefusedError(
            f"pull refused: {registry} is not on the registry whitelist of {info.name}",
            hint="add the registry to this VCH's whitelist (vic-machine configure --whitelist-registry) "
            "or promote to another target",
        )


def _pull_by_digest(image: Pinned, ports: HostPorts, world: World, proof: dict[str, str]) -> None:
    reference = Reference(image.repository, digest=image.digest)
    report = _pull(reference, ports, world)
    _check_reported(report, image.digest)
    proof["pull"] = f"Digest: {report.digest}"


def _pull_by_carrier(
    image: Pinned, carrier: Reference, manifest: Manifest, ports: HostPorts, world: World, proof: dict[str, str]
) -> None:
    """Pulls by the digest-derived tag, and closes every gap that a pull by tag leaves.

    Source: VIC v1.5.8 lib/imagec/imagec.go: layers come from one manifest request and the digest from another.
    """
    _check_carrier(carrier, image.digest, world, "before the pull")
    report = _pull(carrier, ports, world)
    _check_reported(report, image.digest)
    proof["pull"] = f"Digest: {report.digest}"
    named = {layer for layer in report.layer_ids if layer != _EMPTY_LAYER}
    planned = {layer.digest.short for layer in manifest.layers}
    if not named <= planned or (named and named != planned):
        raise DigestMismatchError(
            f"the host fetched layers of another image ({', '.join(sorted(named ^ planned))})",
            hint="somebody moved the tag during the pull: find out who pushes to this repository, then promote again",
        )
    proof["layers"] = f"{len(named)} of {len(planned)} named in the pull, all of the planned manifest"
    _check_carrier(carrier, image.digest, world, "after the pull")
    proof["tag"] = f"{carrier} pointed at the digest before and after the pull"


def _check_carrier(carrier: Reference, digest: Digest, world: World, when: str) -> None:
    found = world.source.resolve(carrier).digest
    if found != digest:
        raise DigestMismatchError(
            f"tag {carrier} points at {found} {when}, not at the planned {digest}",
            hint="the tag was moved: find out who pushes to this repository, then promote again",
        )


def _check_reported(report: PullReport, digest: Digest) -> None:
    if report.digest != digest or not report.status:
        raise DigestMismatchError(
            f"the host says that it pulled {report.digest or 'nothing that it can name'}, the plan says {digest}",
            hint="the tag was moved during the pull, or the host answers with something else: promote again",
        )


def _pull(reference: Reference, ports: HostPorts, world: World) -> PullReport:
    """Pulls, and again where the host or the registry was away: the one loop of retries outside http."""
    for attempt, wait_s in enumerate(_PULL_WAITS_S, start=1):
        try:
            return ports.puller.pull(reference, world.events)
        except (DeadlineError, StorageFullError):
            raise
        except UnavailableError as error:
            world.events(Retried(f"pull {reference}", attempt, wait_s, error.message))
            world.pause(wait_s)
    return ports.puller.pull(reference, world.events)


def _short(image: Pinned) -> str:
    return f"{image.repository.path}@{image.digest.short}"
