"""The gate that asks whether an image has stood on other targets for long enough.

>>> from imagepipe.promote.soaking import soak_gates
>>> soak_gates.__name__
'soak_gates'
"""

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta

from imagepipe.errors import AccessError
from imagepipe.model.digest import Digest
from imagepipe.model.evidence import Soak, TrustPolicy
from imagepipe.model.host import Target
from imagepipe.model.ledger import Entry, RecordKind
from imagepipe.model.promotion import GateVerdict
from imagepipe.model.reference import Pinned
from imagepipe.promote.ledger import Ledger
from imagepipe.promote.names import other_names
from imagepipe.promote.ports import World

__all__ = ["soak_gates"]

_NEVER = "never promoted to it by who counts here"
_HINT = "wait until it has stood there for as long as the policy wants, then promote again"


def soak_gates(image: Pinned, policy: TrustPolicy, soak: Soak, world: World) -> Iterator[GateVerdict]:
    """Yields one verdict per target that the image must have stood on, by the records of that target.

    A promotion counts when one of this policy's signers put it on record; that it was rolled back, when one of the
    other target's own signers did, too.
    """
    for name in soak.targets:
        gate = f"soak on {name} ({policy.name})"
        target = world.targets.get(name)
        if target is None:
            reason, hint = f"no target named {name} is configured", f"add [targets.{name}], or correct the policy"
            yield GateVerdict(gate, passed=False, reason=reason, hint=hint)
            continue
        since, told = _stood(image, target, policy, world)
        if since is None:
            yield GateVerdict(gate, passed=False, reason=told, hint=f"promote it to {name} first, then wait")
            continue
        age = world.clock.now() - since
        enough = age >= timedelta(hours=soak.hours)
        stood = f"{age / timedelta(hours=1):.1f} h since {since:%Y-%m-%dT%H:%M:%SZ}, {soak.hours:g} h are wanted"
        yield GateVerdict(gate, passed=enough, reason=stood, hint=None if enough else _HINT)


def _stood(image: Pinned, target: Target, policy: TrustPolicy, world: World) -> tuple[datetime | None, str]:
    """Returns since when the target has had the image, under this name or the one that it was copied from."""
    since, told = _standing(image, target, policy, world)
    for other in other_names(image, policy.signed_by, world) if told == _NEVER else ():
        try:
            since, why = _standing(other, target, policy, world)
        except AccessError as error:
            why = error.message
        if since is not None:
            return since, ""
        told += f"; as {other.repository.path}: {why}"
    return since, told


def _standing(image: Pinned, target: Target, policy: TrustPolicy, world: World) -> tuple[datetime | None, str]:
    """Returns since when the target has had the image without being rolled back from it, or why that is not known."""
    repository, digest = image.repository, image.digest
    chain = Ledger(world, also=policy.signed_by).chain(repository, target, near=[digest])
    if chain.breaks:
        return None, f"the ledger of {target.name} is broken: {'; '.join(chain.breaks)}"
    believed = {entry.record for entry in Ledger(world).entries(image, replace(target, policy=policy.name))}
    since, told = None, _NEVER
    for entry in chain.entries:
        if entry.kind is RecordKind.ROLLBACK and _leaves(entry, digest):
            since, told = None, "rolled back from it, and not promoted again"
        elif entry.image == digest and entry.good and entry.spoilt:
            since, told = None, "a container there was to run it and did not, and it was not promoted again"
        elif entry.image == digest and entry.good and entry.record in believed:
            since = since or entry.finished
    if since is None:
        return None, told
    return since, ""


def _leaves(entry: Entry, digest: Digest) -> bool:
    """Tells whether a rollback was away from the image: it is held from then on."""
    return entry.image != digest and any(hold.image == digest for hold in entry.link.holds)
