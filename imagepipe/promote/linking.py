"""Gives a record its place: after the newest one of each target, with what is held there from now on.

>>> from imagepipe.promote.linking import Linker
>>> Linker.__name__
'Linker'
"""

from collections.abc import Sequence
from dataclasses import replace

from imagepipe.errors import ImagepipeError
from imagepipe.events import Warned
from imagepipe.model.activation import Switched
from imagepipe.model.digest import Digest
from imagepipe.model.evidence import Signatory
from imagepipe.model.ledger import Entry, Hold, Link, Previous, RecordKind, head_tag
from imagepipe.model.promotion import Arrival, PromotionPlan, PromotionRecord, TargetPlan, TargetResult
from imagepipe.promote.ledger import Ledger
from imagepipe.promote.plan import holdings
from imagepipe.promote.ports import World

__all__ = ["Linker"]

# So many images may lose their records before a chain cannot be followed any further.
_EARLIER = 8


class Linker:
    """Links one record into the chains of its targets.

    Args:
        plan: What was carried out.
        record: What became of it, without its places.
        signatory: Who will sign it.
        world: What is asked.
        jobs: Targets asked at once.
        without: Records of the same event that found their places taken.
    """

    def __init__(
        self,
        plan: PromotionPlan,
        record: PromotionRecord,
        signatory: Signatory,
        world: World,
        *,
        jobs: int,
        without: Sequence[Digest] = (),
    ) -> None:
        self._plan, self._record, self._signatory, self._world = plan, record, signatory, world
        self._ledger = Ledger(world, also=(signatory,))
        repository = plan.image.repository
        self._heads = self._now()
        good = {result.target for result in record.targets if result.arrival.good}
        # A record that was attached when we were stopped before its tag moved: its image is on the target.
        held = holdings([one.target for one in plan.targets if one.target.name in good], repository, world, jobs=jobs)
        self._newest: dict[str, Entry | None] = {
            one.target.name: self._ledger.newest(
                repository, one.target, near=(plan.image.digest, *held.get(one.target.name, ())), without=without
            )
            for one in plan.targets
        }

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

    def linked(self) -> PromotionRecord:
        """Returns the record with its place in every chain; warns where nobody will believe it."""
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
        links = {one.target.name: self._link(one, results[one.target.name]) for one in self._plan.targets}
        return replace(self._record, links=links)

    def overtaken(self) -> bool:
        """Tells whether somebody else's record took a place since we looked: locks end at the edge of a machine.

        The registry cannot move a tag only where it still points at what we saw, so a moment stays uncovered; what
        happens in it is told by `history`.
        """
        return self._now() != self._heads

    def _now(self) -> dict[str, Digest | None]:
        repository = self._plan.image.repository
        return {one.target.name: self._ledger.head(repository, one.target) for one in self._plan.targets}

    def point_at(self, record: Digest) -> None:
        """Makes each target's tag point at the record; a registry that refuses is told of, and the record stays."""
        for one in self._plan.targets:
            name = self._plan.image.repository.tagged(head_tag(one.target.name))
            try:
                manifest = self._world.source.manifest(name.repository.pin(record))
                self._world.sink.tag(name.repository, manifest, str(name.tag))
            except ImagepipeError as error:
                message = f"the newest record is attached, but not tagged: {error.message}"
                self._world.events(Warned(str(name), message))

    def _link(self, plan: TargetPlan, result: TargetResult) -> Link:
        newest, image = self._newest[result.target], self._plan.image
        current = self._ledger.current(image.repository, plan.target, newest)
        holds = newest.link.holds if newest else ()
        if result.arrival.good:
            holds = tuple(hold for hold in holds if not hold.covers(image.digest, result.digest))
        if self._record.kind is RecordKind.ROLLBACK and current and current.image != image.digest:
            since, by = self._record.finished_at, str(self._signatory)
            left = Hold(current.image, current.digest, since, by, self._record.reason)
            holds = (*(hold for hold in holds if hold.image != left.image), left)
        if newest is None:
            return Link(1, None, holds)
        link = newest.link
        earlier = dict.fromkeys((*([link.previous.image] if link.previous else []), *link.earlier))
        return Link(link.sequence + 1, Previous(newest.record, newest.image), holds, tuple(earlier)[:_EARLIER])
