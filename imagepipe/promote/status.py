"""What targets hold and run of some repositories, joined with the records that say how it got there.

>>> from imagepipe.promote.status import survey
>>> survey.__name__
'survey'
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from imagepipe import fanout
from imagepipe.errors import ImagepipeError, NotFoundError, RefusedError
from imagepipe.model.evidence import SIGNATURE_PREDICATE
from imagepipe.model.host import Container, HostInfo, Inventory, Target
from imagepipe.model.ledger import Entry
from imagepipe.model.reference import Pinned, Repository
from imagepipe.promote.drift import Drift, drift_of
from imagepipe.promote.ledger import Ledger
from imagepipe.promote.ports import World

__all__ = ["HeldImage", "TargetStatus", "survey"]


@dataclass(frozen=True, slots=True)
class HeldImage:
    """One image that a target holds, or runs.

    Attributes:
        image: What it is.
        state: `promoted` where a verified record names this target, else `present`; `unknown` when the registry no
            longer has the image, or is away; `drifted` where the newest record says that it is there, and it is not.
            What runs is told beside it, by `containers`: a running image has come by one of these ways, too.
        signed_by: Who of the target's policy signed it, or None.
        promoted_at: When the latest such record was written, ISO 8601, or None.
        current: Whether it is what the target was last brought to, by promotion or rollback.
        age_s: How long ago that record was written, in seconds, or None.
        containers: Those that were made from it, stopped ones too.
    """

    image: Pinned
    state: str
    signed_by: str | None
    promoted_at: str | None
    current: bool = False
    age_s: int | None = None
    containers: tuple[Container, ...] = ()

    @property
    def running(self) -> bool:
        """Whether a container that was made from it lives."""
        return any(one.live for one in self.containers)

    def to_json(self) -> dict[str, Any]:
        """Returns it as a JSON object."""
        return {
            "image": str(self.image),
            "state": self.state,
            "signed_by": self.signed_by,
            "promoted_at": self.promoted_at,
            "age_s": self.age_s,
            "current": self.current,
            "running": self.running,
            "containers": [
                {"name": one.name, "state": one.state, "created_from": one.created_from} for one in self.containers
            ],
        }


@dataclass(frozen=True, slots=True)
class TargetStatus:
    """What one target holds and runs, or why it could not be asked.

    Attributes:
        target: Its name.
        kind: `vch` or `docker`, as configured.
        info: What answered, or None.
        images: What it holds or runs of the repositories asked for.
        error: Why it could not be asked, or, where `info` is there, why its ledger could not; None when all is well.
        drift: How it differs from what the ledger says.
    """

    target: str
    kind: str
    info: HostInfo | None
    images: tuple[HeldImage, ...]
    error: ImagepipeError | None = None
    drift: tuple[Drift, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Returns the status as a JSON object."""
        data: dict[str, Any] = {"target": self.target, "kind": self.kind}
        if self.info:
            data |= {"name": self.info.name, "version": self.info.version}
        data["images"] = [held.to_json() for held in self.images]
        data["drift"] = [one.to_json() for one in self.drift]
        if self.error:
            data["error"] = {"kind": self.error.kind, "message": self.error.message}
        return data


def survey(
    targets: Sequence[Target], repositories: Sequence[Repository], world: World, *, jobs: int
) -> tuple[TargetStatus, ...]:
    """Returns what every target holds of the repositories; a target that is away is told, not raised."""
    asked = fanout.each(targets, lambda target: _ask(target, world), jobs=jobs)
    here = [(outcome.item, outcome.unwrap()[1]) for outcome in asked if outcome.error is None]
    ledger = Ledger(world)
    # By repository, and not by target: targets share images, and what proves one of them is asked for once.
    joined = fanout.each(
        repositories,
        lambda repository: {target.name: _join(repository, target, held, ledger, world) for target, held in here},
        jobs=jobs,
    )
    return tuple(_told(outcome, joined) for outcome in asked)


_Asked = tuple[HostInfo, Inventory]
_Joined = tuple[tuple[HeldImage, ...], tuple[Drift, ...]]


def _ask(target: Target, world: World) -> _Asked:
    ports = world.connect(target)
    return ports.host.info(), ports.inventory.inventory()


def _told(
    asked: fanout.Outcome[Target, _Asked], joined: Sequence[fanout.Outcome[Repository, dict[str, _Joined]]]
) -> TargetStatus:
    target = asked.item
    if asked.error is not None:
        return TargetStatus(target.name, target.kind.value, None, (), asked.error)
    info, inventory = asked.unwrap()
    images, drift, errors = list[HeldImage](), list[Drift](), list[ImagepipeError]()
    for outcome in joined:
        if outcome.error is None:
            rows, found = outcome.unwrap()[target.name]
        else:
            # The target answered: what it holds is worth knowing when the registry is away, above all then.
            rows, found = tuple(_unjoined(outcome.item, inventory)), ()
            errors.append(outcome.error.doing("what is on record"))
        images += rows
        drift += found
    error = errors[0] if errors else None
    return TargetStatus(target.name, target.kind.value, info, tuple(images), error, tuple(drift))


def _unjoined(repository: Repository, inventory: Inventory) -> Iterator[HeldImage]:
    for digest in inventory.of(repository):
        made = tuple(one for one in inventory.containers if digest in one.of(repository))
        yield HeldImage(repository.pin(digest), "unknown", None, None, containers=made)


def _join(repository: Repository, target: Target, inventory: Inventory, ledger: Ledger, world: World) -> _Joined:
    held = inventory.of(repository)
    made = {digest: [one for one in inventory.containers if digest in one.of(repository)] for digest in held}
    for container in inventory.containers:
        for digest in container.of(repository):
            if digest not in held:  # its name is gone, and its layers are not
                made.setdefault(digest, []).append(container)
    newest = ledger.newest(repository, target, near=tuple(made))
    current = ledger.current(repository, target, newest)
    if current is not None:
        made.setdefault(current.digest, [])
    rows = [
        replace(_judge(repository.pin(digest), target, current, ledger, world), containers=tuple(containers))
        for digest, containers in made.items()
    ]
    if newest is not None and any(row.state == "present" for row in rows):
        # An index's record is at the index, while a target holds its platform's image: only the chain leads there.
        entries = ledger.chain(repository, target, near=tuple(made)).entries
        rows = [_recorded(row, entries, world) for row in rows]
    if current is not None and current.digest not in held:
        rows = [replace(row, state="drifted") if row.image.digest == current.digest else row for row in rows]
    brought = {row.image.digest for row in rows if row.state in ("promoted", "drifted")}
    return tuple(rows), drift_of(repository, inventory, current, brought)


def _recorded(row: HeldImage, entries: Sequence[Entry], world: World) -> HeldImage:
    """Returns the row with what the whole chain says of it."""
    if row.state != "present":
        return row
    came = _latest([one for one in entries if one.digest == row.image.digest])
    if came is None:
        return row
    return replace(row, state="promoted", promoted_at=came.finished_at, age_s=_age_s(came, world))


def _judge(image: Pinned, target: Target, current: Entry | None, ledger: Ledger, world: World) -> HeldImage:
    policy = world.policies.get(target.policy or "")
    trusted = policy.signed_by if policy else ()
    now = current is not None and current.digest == image.digest
    try:
        signature = ledger.reader.first(image, SIGNATURE_PREDICATE, trusted) if trusted else None
        entries = [*ledger.entries(image, target), *([current] if current and now else [])]
    except (NotFoundError, RefusedError):
        return HeldImage(image, "unknown", None, None)
    came = _latest(entries)
    return HeldImage(
        image,
        "present" if came is None else "promoted",
        str(signature.verified.signatory) if signature else None,
        came.finished_at if came else None,
        now,
        _age_s(came, world) if came else None,
    )


def _latest(entries: Sequence[Entry]) -> Entry | None:
    return max((entry for entry in entries if entry.good), key=lambda entry: entry.finished_at, default=None)


def _age_s(entry: Entry, world: World) -> int | None:
    then = entry.finished
    return max(0, round((world.clock.now() - then).total_seconds())) if then else None
