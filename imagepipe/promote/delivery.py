"""Attaches records that waited in the outbox, each at its place after what came meanwhile.

>>> from imagepipe.promote.delivery import deliver
>>> deliver.__name__
'deliver'
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from imagepipe.errors import ImagepipeError, RefusedError, UnavailableError, VerificationError
from imagepipe.events import Warned, step
from imagepipe.model.digest import Digest
from imagepipe.model.evidence import PROMOTION_PREDICATE, Signatory, Statement
from imagepipe.model.host import TargetKind
from imagepipe.model.ledger import LATE, Hold, RecordKind
from imagepipe.model.promotion import Arrival, PromotionPlan, PromotionRecord, TargetPlan, TargetResult
from imagepipe.model.reference import Reference
from imagepipe.promote.ledger import Ledger
from imagepipe.promote.linking import Linker, put
from imagepipe.promote.outbox import Outbox, Waiting
from imagepipe.promote.ports import World
from imagepipe.subject import find_subject

__all__ = ["Delivery", "deliver"]


@dataclass(frozen=True, slots=True)
class Delivery:
    """What became of one record: the manifest that carries it now, or why it still waits."""

    waiting: Waiting
    record: Digest | None
    error: ImagepipeError | None = None


def deliver(world: World, outbox: Outbox, *, jobs: int = 8) -> tuple[Delivery, ...]:
    """Attaches what waits and is ours to send, oldest first; once the other side is away, all that is left waits.

    Who signed a record sends it: what is attached has its own place in the ledger, and so a signature of its own.

    Raises:
        IdentityError: There is nobody to sign.
    """
    waiting = outbox.waiting()
    signatory, done = world.writer.signatory() if waiting else None, list[Delivery]()
    for one in waiting:
        done.append(_sent(one, signatory, world, jobs))
        if done[-1].error is None:
            outbox.sent(one)
        elif isinstance(done[-1].error, UnavailableError):
            break  # the next would wait as long, and may come after this one
    return tuple(done)


def _sent(waiting: Waiting, signatory: Signatory | None, world: World, jobs: int) -> Delivery:
    try:
        if signatory is None or waiting.by != str(signatory):
            raise RefusedError(f"it was signed by {waiting.by}", hint="send it as who signed it")
        with step(world.events, "send", str(waiting.image)) as note:
            record = _Letter(waiting, signatory, world, jobs).attached()
            note.detail = str(record)
    except ImagepipeError as error:
        return Delivery(waiting, None, error.doing(f"send the record in {waiting.file}"))
    return Delivery(waiting, record)


class _Letter:
    """One record on its way."""

    def __init__(self, waiting: Waiting, signatory: Signatory, world: World, jobs: int) -> None:
        self._image, self._signatory, self._world, self._jobs = waiting.image, signatory, world, jobs
        verified = world.reader.opened(waiting.bundle, waiting.image, PROMOTION_PREDICATE, (signatory,))
        self._predicate = dict(verified.statement.predicate)
        self._statement = str(waiting.bundle.digest)
        try:
            self._told = {str(told["target"]): told for told in self._predicate["targets"]}
            self._left = {name: self._hold(told) for name, told in self._told.items()}
            self._record = self._parsed()
        except (KeyError, TypeError, ValueError, AttributeError, ImagepipeError) as error:
            raise VerificationError(f"malformed record: {error!r}", hint="move the file away") from error
        unknown = [name for name in self._told if name not in world.targets]
        if unknown:
            raise RefusedError(
                f"it is about {', '.join(unknown)}, which is not configured here", hint="configure that target"
            )

    def attached(self) -> Digest:
        """Attaches it, unless that was done before and only its file is left, and returns its manifest."""
        image = self._image
        with self._world.exclusive([self._world.targets[name] for name in self._told]):
            sent = self._sent()
            if sent is not None:
                self._linker().mend(sent)
                return sent
            subject = find_subject(Reference(image.repository, digest=image.digest), self._world.source)

            def write(linker: Linker) -> Digest:
                statement = Statement.about(image, PROMOTION_PREDICATE, self._placed(linker))
                return self._world.writer.add(image, subject.manifest.descriptor, statement).manifest

            return put(self._linker(), self._linker, write)

    def _sent(self) -> Digest | None:
        """Returns the record that this was attached as before we were stopped, or None."""
        for finding in self._world.reader.findings(self._image, (self._signatory,), (PROMOTION_PREDICATE,)):
            offline = finding.proof.verified.statement.predicate.get("offline") if finding.proof else None
            if isinstance(offline, Mapping) and offline.get("statement") == self._statement:
                return finding.descriptor.digest
        return None

    def _linker(self, without: Sequence[Digest] = ()) -> Linker:
        plan = PromotionPlan(str(self._image), self._image, self._plans(), ())
        ledger = Ledger(self._world, also=(self._signatory,), without=without)
        return Linker(plan, self._record, self._signatory, self._world, jobs=self._jobs, ledger=ledger)

    def _plans(self) -> tuple[TargetPlan, ...]:
        pin = self._image.repository.pin
        return tuple(TargetPlan(self._world.targets[one.target], pin(one.digest), None) for one in self._record.targets)

    def _placed(self, linker: Linker) -> dict[str, Any]:
        """Returns the predicate with its places, and which statement it was; all else stays as it was signed."""
        late = {one.target.name: self._left[one.target.name] for one in self._plans() if self._is_late(one, linker)}
        links = linker.linked(late).links
        arrived = {one.target: one.arrival.good for one in self._record.targets}
        targets = [
            told | ({"outcome": LATE} if name in late and arrived[name] else {}) | links[name].to_json()
            for name, told in self._told.items()
        ]
        offline = {**(self._predicate.get("offline") or {}), "statement": self._statement}
        return self._predicate | {"offline": offline, "targets": targets}

    def _is_late(self, plan: TargetPlan, linker: Linker) -> bool:
        """Tells whether the target was brought elsewhere since; clocks are asked only where anything came at all."""
        name, known = plan.target.name, self._told[plan.target.name].get("known")
        newest, current = linker.newest(name), linker.current(plan)
        if current is None or current.finished_at <= self._record.finished_at:
            return False
        if newest is not None and str(newest.record) == known:
            return False
        message = f"was brought to {current.image} after the rollback whose record comes now: it stays there"
        self._world.events(Warned(name, message))
        return True

    def _hold(self, told: Mapping[str, Any]) -> Hold | None:
        left, said = told.get("left"), self._predicate
        if not left:
            return None
        since, by, reason = str(said["finishedOn"]), str(self._signatory), str(said.get("reason") or "")
        return Hold(Digest.parse(left["image"]), Digest.parse(left["manifest"]), since, by, reason)

    def _parsed(self) -> PromotionRecord:
        """Returns what decides about places; the rest of the predicate goes on as it is."""
        said = self._predicate
        return PromotionRecord(
            image=self._image,
            plan=Digest.parse(str(said["plan"])),
            reason=str(said.get("reason") or ""),
            started_at=str(said["finishedOn"]),
            finished_at=str(said["finishedOn"]),
            gates=(),
            targets=tuple(
                TargetResult(name, TargetKind(told["kind"]), Arrival(told["outcome"]), Digest.parse(told["digest"]))
                for name, told in self._told.items()
            ),
            kind=RecordKind.ROLLBACK,
        )
