"""The rejections of a repository: each names those before it, so that a missing one shows, and each has a tag.

A gate asks each image alone; this is for people, who want to see all of them, and that none is gone. By a tag of its
own a rejection is found wherever it is attached, and two who reject at once cannot hide each other's: who comes next
names both.

>>> from imagepipe.promote.rejections import rejected
>>> rejected.__name__
'rejected'
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from imagepipe.errors import ImagepipeError, NotFoundError, RefusedError, VerificationError
from imagepipe.events import Warned
from imagepipe.evidence.reader import Proof
from imagepipe.model.digest import Digest
from imagepipe.model.evidence import REJECTION_PREDICATE, Signatory
from imagepipe.model.ledger import Previous
from imagepipe.model.manifest import Manifest
from imagepipe.model.reference import Repository
from imagepipe.promote.ports import World

__all__ = ["Rank", "Rejected", "enlist", "next_rank", "rejected"]

# Beside the tags of targets' newest records: one for each rejection, and one that moves, so that a newest one that was
# deleted takes it along.
_EACH: Final = "imagepipe-rejection."
_NEWEST: Final = "imagepipe-rejections"


@dataclass(frozen=True, slots=True)
class Rank:
    """Which place a rejection has. Law: `Rank.parse(rank.to_json()) == rank`.

    Attributes:
        sequence: One more than the highest of those before it; 1 for the first.
        after: Those before it that no other one names.
    """

    sequence: int
    after: tuple[Previous, ...] = ()

    @classmethod
    def parse(cls, said: Mapping[str, Any]) -> "Rank":
        """Returns the place that a rejection states.

        Raises:
            VerificationError: It makes no sense.
        """
        try:
            before = [(Digest.parse(one["record"]), Digest.parse(one["image"])) for one in said.get("after") or ()]
            return cls(int(said.get("sequence") or 0), tuple(Previous(*one) for one in before))
        except (KeyError, TypeError, ValueError, AttributeError, ImagepipeError) as error:
            raise VerificationError(f"malformed place among the rejections: {error!r}") from error

    def to_json(self) -> dict[str, Any]:
        """Returns what goes into the statement."""
        after = [{"record": str(one.record), "image": str(one.image)} for one in self.after]
        return {"sequence": self.sequence, "after": after}


@dataclass(frozen=True, slots=True)
class Rejected:
    """One rejection.

    Attributes:
        record: The statement's manifest.
        image: The image that it is attached to.
        rank: Its place; that of one that is gone is guessed.
        proof: What it says, proven; None where it is gone or proves nothing.
        why: What is wrong with it, or "".
        missing: Whether the registry has it no longer.
    """

    record: Digest
    image: Digest
    rank: Rank
    proof: Proof | None
    why: str = ""
    missing: bool = False


def rejected(
    repository: Repository, trusted: Sequence[Signatory], world: World
) -> tuple[tuple[Rejected, ...], tuple[str, ...]]:
    """Returns all that have a place, oldest first, and what is wrong with them.

    Args:
        repository: Whose images.
        trusted: Whose word counts.
        world: What is asked.
    """
    tagged, breaks = _tagged(repository, world)
    found: dict[Digest, Rejected] = {}
    left = [(at, 1) for at in tagged.values()]
    while left:
        at, guess = left.pop()
        if at.record not in found:
            place = found[at.record] = _place(repository, at, guess, trusted, world)
            left += [(before, place.rank.sequence - 1) for before in place.rank.after]
    if found and _NEWEST not in tagged:
        breaks.append("the tag of the newest rejection is gone: rejections may be, too")
    places = sorted(found.values(), key=lambda one: (one.rank.sequence, one.record))
    breaks += [told for one in places if (told := one.why or _odd(one, found))]
    return tuple(places), tuple(breaks)


def next_rank(repository: Repository, world: World, ourselves: Signatory) -> Rank:
    """Returns the place of the next rejection: after all that can be proven, and that none names yet."""
    trusted = [who for policy in world.policies.values() for who in policy.signed_by]
    places, _ = rejected(repository, [*trusted, ourselves], world)
    named = {before.record for place in places for before in place.rank.after}
    tips = [Previous(place.record, place.image) for place in places if place.proof and place.record not in named]
    return Rank(1 + max((place.rank.sequence for place in places), default=0), tuple(tips))


def enlist(repository: Repository, record: Digest, world: World, *, newest: bool) -> None:
    """Makes tags point at a rejection; where they cannot, that is told of: the rejection stands.

    Args:
        repository: Where it is.
        record: Its manifest.
        world: What is asked.
        newest: Whether the tag of the newest points at it, too.
    """
    try:
        manifest = world.source.manifest(repository.pin(record))
        for tag in (f"{_EACH}{record.short}", *([_NEWEST] if newest else [])):
            world.sink.tag(repository, manifest, tag)
    except ImagepipeError as error:
        message = f"the rejection is attached, but has no tag for history to find it by: {error.message}"
        world.events(Warned(str(repository), message))


def _tagged(repository: Repository, world: World) -> tuple[dict[str, Previous], list[str]]:
    """Returns what our tags point at, and what is wrong with them."""
    found, breaks = dict[str, Previous](), list[str]()
    for tag in world.tags(repository):
        if tag != _NEWEST and not tag.startswith(_EACH):
            continue
        try:
            record = world.source.resolve(repository.tagged(tag)).digest
            manifest = world.source.manifest(repository.pin(record))
        except NotFoundError:
            continue  # it was deleted since the tags were listed, and so is no longer tagged
        if isinstance(manifest, Manifest) and manifest.subject is not None:
            found[tag] = Previous(record, manifest.subject.digest)
        else:
            breaks.append(f"the tag of a rejection points at something else: {repository.tagged(tag)} at {record}")
    return found, breaks


def _place(repository: Repository, at: Previous, guess: int, trusted: Sequence[Signatory], world: World) -> Rejected:
    """Returns what stands at a place."""
    try:
        proof = world.reader.prove(repository.pin(at.image), at.record, REJECTION_PREDICATE, trusted)
        if proof is not None:
            return Rejected(at.record, at.image, Rank.parse(proof.verified.statement.predicate), proof)
    except RefusedError as error:
        return Rejected(
            at.record, at.image, Rank(guess), None, f"a rejection is UNVERIFIED: {at.record}: {error.message}"
        )
    why = f"rejection {guess} is MISSING: {at.record}"
    return Rejected(at.record, at.image, Rank(guess), None, why, missing=True)


def _odd(place: Rejected, found: Mapping[Digest, Rejected]) -> str:
    """Returns what is odd about where a proven one stands, or ""."""
    before = [found[one.record] for one in place.rank.after]
    expected = 1 + max((one.rank.sequence for one in before), default=0)
    if place.rank.sequence == expected or any(one.proof is None for one in before):
        return ""
    return f"rejection {place.rank.sequence} stands where {expected} belongs: {place.record}"
