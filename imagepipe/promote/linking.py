"""Gives a record its place: after the newest one of each target, with what is held there from now on.

>>> from imagepipe.promote.linking import Linker
>>> Linker.__name__
'Linker'
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Final

from imagepipe import fanout
from imagepipe.errors import ImagepipeError
from imagepipe.events import Warned
from imagepipe.model.activation import Switched
from imagepipe.model.digest import Digest
from imagepipe.model.evidence import Signatory
from imagepipe.model.ledger import Entry, Hold, Link, Previous, RecordKind, head_tag
from imagepipe.model.promotion import Arrival, PromotionPlan, PromotionRecord, TargetPlan, TargetResult
from imagepipe.once import Once
from imagepipe.promote.ledger import Ledger
from imagepipe.promote.plan import holdings
from imagepipe.promote.ports import World

__all__ = ["Linker", "look_ahead", "put"]

# So many images may lose their records before a chain cannot be followed any further.
_EARLIER = 8
# Each takes a second or two: who is overtaken so often has company that no retry outlasts.
_RECORDS_AT_MOST: Final = 4
_NONE: Final[Mapping[str, Hold | None]] = {}


class Linker:
    """Links one record into the chains of its targets.

    Args:
        plan: What was carried out.
        record: What became of it, without its places.
        signatory: Who will sign it.
        world: What is asked.
        jobs: Targets asked at once.
        ledger: Where each target's newest record is looked for; our own records are believed there, too.
    """

    def __init__(
        self,
        plan: PromotionPlan,
        record: PromotionRecord,
        signatory: Signatory,
        world: World,
        *,
        jobs: int,
        ledger: Ledger,
    ) -> None:
        self._plan, self._record, self._signatory, self._world = plan, record, signatory, world
        self._jobs = jobs
        self._ledger = ledger
        repository = plan.image.repository
        good = {result.target for result in record.targets if result.arrival.good}
        # A record that was attached when we were stopped before its tag moved: its image is on the target.
        held = holdings([one.target for one in plan.targets if one.target.name in good], repository, world, jobs=jobs)
        found = fanout.each(
            plan.targets,
            lambda one: self._ledger.newest(
                repository, one.target, near=(*_near(plan, one), *held.get(one.target.name, ()))
            ),
            jobs=jobs,
        )
        self._newest: dict[str, Entry | None] = {outcome.item.target.name: outcome.unwrap() for outcome in found}
        self._heads = {one.target.name: self._ledger.head_read(repository, one.target) for one in plan.targets}

    def existing(self) -> Digest | None:
        """Returns the record that says already all there is to say, where nothing had to be done."""
        if self._record.broken_locks:
            return None
        if any(result.arrival is not Arrival.PRESENT for result in self._record.targets):
            return None
        if any(one.outcome is not Switched.RUNNING for result in self._record.targets for one in result.activations):
            return None
        entries = list(self._newest.values())
        said = [
            entry
            for entry in entries
            if entry and entry.good and entry.switched and entry.image == self._plan.image.digest
        ]
        if self._record.kind is RecordKind.PROMOTION:
            said = [entry for entry in said if entry.plan == str(self._plan.digest)]
        return said[0].record if said and len(said) == len(entries) else None

    def newest(self, target: str) -> Entry | None:
        """Returns the newest record of a target as it was when we looked."""
        return self._newest[target]

    def current(self, plan: TargetPlan) -> Entry | None:
        """Returns the record by which a target held its image when we looked."""
        return self._ledger.current(self._plan.image.repository, plan.target, self._newest[plan.target.name])

    def linked(self, late: Mapping[str, Hold | None] = _NONE) -> PromotionRecord:
        """Returns the record with its place in every chain; warns where nobody will believe it.

        Args:
            late: Targets that were brought elsewhere since, with what is to be held there all the same.
        """
        for one in self._plan.targets:
            policy = self._world.policies.get(one.target.policy or "")
            if policy and self._signatory not in policy.signed_by:
                self._world.events(
                    Warned(
                        one.target.name,
                        f"policy {policy.name} does not trust {self._signatory}: this record does not count there",
                    )
                )
        results = {result.target: result for result in self._record.targets}
        links = {
            one.target.name: self._link(one, self._holds(one, results[one.target.name], late))
            for one in self._plan.targets
        }
        return replace(self._record, links=links)

    def overtaken(self) -> bool:
        """Tells whether somebody else's record took a place since we looked: locks end at the edge of a machine.

        The registry cannot move a tag only where it still points at what we saw, so a moment stays uncovered; what
        happens in it is told by `history`.
        """
        repository, targets = self._plan.image.repository, [one.target for one in self._plan.targets]
        heads = fanout.each(targets, lambda target: self._ledger.head(repository, target), jobs=self._jobs)
        return any(outcome.unwrap() != self._heads[outcome.item.name] for outcome in heads)

    def follows(self, record: Digest) -> bool:
        """Tells whether the newest record of every target names this one as the one before it."""
        before = [entry.link.previous if entry else None for entry in self._newest.values()]
        return all(one is not None and one.record == record for one in before)

    def point_at(self, record: Digest) -> None:
        """Makes each target's tag point at the record; a registry that refuses is told of, and the record stays."""
        self._point([one.target.name for one in self._plan.targets], record)

    def mend(self, record: Digest) -> None:
        """Does the same for a record that was attached before we were stopped, where nothing newer has come."""
        self._point([name for name, entry in self._newest.items() if entry and entry.record == record], record)

    def _point(self, targets: Sequence[str], record: Digest) -> None:
        read = Once(self._world.source.manifest)
        # One after the other: each writes the record's manifest anew, and reading it meanwhile may fail.
        for target in targets:
            name = self._plan.image.repository.tagged(head_tag(target))
            try:
                self._world.sink.tag(name.repository, read(name.repository.pin(record)), str(name.tag))
            except ImagepipeError as error:
                message = f"the newest record is attached, but not tagged: {error.message}"
                self._world.events(Warned(str(name), message))

    def _holds(self, plan: TargetPlan, result: TargetResult, late: Mapping[str, Hold | None]) -> tuple[Hold, ...]:
        """Returns what is held on a target from now on."""
        newest, image = self._newest[result.target], self._plan.image
        holds, left = newest.link.holds if newest else (), late.get(result.target)
        if result.target not in late:
            if result.arrival.good:
                holds = tuple(hold for hold in holds if not hold.covers(image.digest, result.digest))
            current = self.current(plan) if self._record.kind is RecordKind.ROLLBACK else None
            if current and current.image != image.digest:
                since, by = self._record.finished_at, str(self._signatory)
                left = Hold(current.image, current.digest, since, by, self._record.reason)
        return (*(hold for hold in holds if hold.image != left.image), left) if left else holds

    def _link(self, plan: TargetPlan, holds: tuple[Hold, ...]) -> Link:
        newest = self._newest[plan.target.name]
        if newest is None:
            return Link(1, None, holds)
        link = newest.link
        earlier = dict.fromkeys((*([link.previous.image] if link.previous else []), *link.earlier))
        return Link(link.sequence + 1, Previous(newest.record, newest.image), holds, tuple(earlier)[:_EARLIER])


def look_ahead(plan: PromotionPlan, signatory: Signatory, world: World, *, jobs: int) -> Ledger:
    """Returns a ledger that has read each target's newest records: while targets pull, there is time for that.

    Who comes meanwhile is noticed as ever: by a tag that has moved since. What cannot be read is asked for again.
    """
    ledger, repository = Ledger(world, also=(signatory,)), plan.image.repository
    fanout.each(plan.targets, lambda one: ledger.newest(repository, one.target, near=_near(plan, one)), jobs=jobs)
    return ledger


def _near(plan: PromotionPlan, one: TargetPlan) -> tuple[Digest, ...]:
    """Returns the images at which a target's newest record may be, beside those that its tag leads to."""
    return (plan.image.digest, *([one.current] if one.current else []))


def put(linker: Linker, again: Callable[[Sequence[Digest]], Linker], write: Callable[[Linker], Digest]) -> Digest:
    """Returns the record that stands at the end of each target's chain: written again where its place was taken.

    Args:
        linker: Who gives it its place.
        again: Looks once more, without the records that found their places taken.
        write: Attaches the record at the place that it was given.
    """
    made = [write(linker)]
    while len(made) < _RECORDS_AT_MOST and linker.overtaken():
        linker = again(made)
        if linker.follows(made[-1]):
            return made[-1]  # whoever came meanwhile came after it
        made.append(write(linker))
    linker.point_at(made[-1])
    return made[-1]
