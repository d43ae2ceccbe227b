"""Reads the ledger: the records attached to images, proven, as one chain per target.

The newest record of a target is found by a tag; each names the one before it, so a missing or re-ordered one shows.

>>> from imagepipe.promote.ledger import Ledger
>>> Ledger.__name__
'Ledger'
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Final

from imagepipe.errors import NotFoundError, RefusedError, VerificationError
from imagepipe.evidence.reader import Finding
from imagepipe.model.copying import other_name
from imagepipe.model.digest import Digest
from imagepipe.model.evidence import PROMOTION_PREDICATE, Signatory
from imagepipe.model.host import Target
from imagepipe.model.ledger import Entry, Previous, head_tag
from imagepipe.model.manifest import Manifest
from imagepipe.model.reference import Pinned, Repository
from imagepipe.once import Once
from imagepipe.promote.ports import World

__all__ = ["Chain", "Ledger", "Place", "Standing", "entry_of"]

_TIME: Final = "%Y-%m-%dT%H:%M:%SZ"
# Clocks of those who promote differ by less, or the newest record is only found by its tag.
_SKEW: Final = timedelta(hours=2)


class Standing(StrEnum):
    """What a place in a chain came to."""

    VERIFIED = "verified"
    UNVERIFIED = "UNVERIFIED"
    MISSING = "MISSING"


@dataclass(frozen=True, slots=True)
class Place:
    """One place in a chain: the proven record, or what is known of one that is missing or proves nothing."""

    sequence: int
    record: Digest
    image: Digest
    standing: Standing
    entry: Entry | None = None
    why: str = ""

    @property
    def told(self) -> str:
        """What is said of it when it is a gap."""
        return f"sequence {self.sequence} is {self.standing.value}: {self.record}"


@dataclass(frozen=True, slots=True)
class Chain:
    """The records of one target in one repository.

    Attributes:
        target: The target's name.
        places: Oldest first.
        breaks: What is wrong with the chain; empty when it is whole.
        notes: What is odd but loses nothing.
        untagged: No tag leads to the newest of them, so that newer ones may have been deleted.
    """

    target: str
    places: tuple[Place, ...]
    breaks: tuple[str, ...]
    notes: tuple[str, ...] = ()
    untagged: bool = False

    @property
    def entries(self) -> tuple[Entry, ...]:
        """What was proven, oldest first."""
        return tuple(place.entry for place in self.places if place.entry)

    @property
    def current(self) -> Entry | None:
        """The newest record by which the target held its image."""
        return next((entry for entry in reversed(self.entries) if entry.good), None)


@dataclass(frozen=True, slots=True)
class _Head:
    """What a target's tag points at, the record there, and what is wrong when that cannot be believed."""

    record: Digest | None
    entry: Entry | None = None
    told: str = ""


class Ledger:
    """The records of a registry, each image's read once; threads may share it. It does not see what is written later.

    Args:
        world: What is asked.
        also: Who is believed beside the signers of a target's policy: ourselves, when we write.
        without: Records that are never the newest.

    Attributes:
        reader: What it reads with, for others who look at the same images.
    """

    def __init__(self, world: World, *, also: Sequence[Signatory] = (), without: Sequence[Digest] = ()) -> None:
        self._world = world
        self._also = tuple(also)
        self._without = tuple(without)
        self.reader = world.reader.remembering()
        # By image, whom we believe, and since when; "" for everything.
        self._read: dict[tuple[Pinned, tuple[Signatory, ...], str], tuple[Finding, ...]] = {}
        self._said: dict[tuple[Digest, Pinned, Target], Entry | None] = {}
        self._heads = Once[tuple[Repository, Target], _Head](lambda key: self._find_head(*key))
        self._manifests = Once(world.source.manifest)

    def newest(self, repository: Repository, target: Target, near: Iterable[Digest] = ()) -> Entry | None:
        """Returns the newest proven record of a target, also where the tag is behind.

        Whoever may push may set the tag back, to an older record or to anything: where it is not at the newest that is
        found, the images of the records before that are looked at, too.

        Args:
            repository: Whose images.
            target: Where they were promoted to.
            near: Images whose records are looked at beside those of the tag's image and of the one before it.
        """
        head = self._heads((repository, target)).entry
        since = _shortly_before(head) if head else ""
        near = tuple(near)
        found = self._newest(repository, target, head, near, since=since)
        while found is not None and not (_same(found, head) or set(found.before) <= set(near)):
            near = (*near, *found.before)
            found = self._newest(repository, target, head, near, since=since)
        return found

    def doubt(self, repository: Repository, target: Target) -> str:
        """Returns what is wrong with the tag of the newest record, or ""."""
        return self._heads((repository, target)).told

    def head(self, repository: Repository, target: Target) -> Digest | None:
        """Returns the record that the target's tag points at now, unproven, or None where there is no such tag."""
        found = self._world.source.find(repository.tagged(head_tag(target.name)))
        return found.digest if found else None

    def head_read(self, repository: Repository, target: Target) -> Digest | None:
        """Returns the same as it was when the target's records were first looked for."""
        return self._heads((repository, target)).record

    def entries(self, image: Pinned, target: Target) -> Sequence[Entry]:
        """Returns what the proven records at an image say of a target."""
        return self._entries(image, target)

    def current(self, repository: Repository, target: Target, newest: Entry | None) -> Entry | None:
        """Returns the newest record, from `newest` backwards, by which the target held its image."""
        at = newest
        while at is not None and not at.good:
            before = at.link.previous
            at = self._at(repository, target, before) if before else None
        return at

    def chain(self, repository: Repository, target: Target, near: Iterable[Digest] = ()) -> Chain:
        """Returns all records of a target, with what is wrong with them."""
        at = self._heads((repository, target))
        head, told = at.entry, at.told
        newest = self._newest(repository, target, head, near, since="")
        breaks, notes = [told] if told else [], list[str]()
        untagged = newest is not None and newest.link.sequence > 0 and head is None and not told
        if newest and untagged:
            # Whoever is stopped while they make the first one leaves it without a tag, too.
            gone = f"the tag of the newest record is gone after sequence {newest.link.sequence}: records may be too"
            (breaks if newest.link.sequence > 1 else notes).append(gone)
        elif newest is not None and head is not None and head.record != newest.record:
            notes.append(f"the tag of the newest record is behind, at sequence {head.link.sequence}")
        places = list(self._walk(repository, target, newest, breaks))
        places += self._beside(repository, target, [*near, *(place.image for place in places)], places)
        twice = [place for place in places if place.why and _stands_again(place, places)]
        places = [place for place in places if place not in twice]
        notes += [f"sequence {place.sequence} was taken meanwhile, and stands again after it" for place in twice]
        breaks += [f"{place.why}: {place.record}" for place in places if place.entry and place.why]
        return Chain(target.name, tuple(sorted(places, key=_order)), tuple(breaks), tuple(notes), untagged)

    def _newest(
        self,
        repository: Repository,
        target: Target,
        head: Entry | None,
        near: Iterable[Digest],
        *,
        since: str,
    ) -> Entry | None:
        images = dict.fromkeys(near)
        if head is not None:
            images |= dict.fromkeys([head.image, *_before(head)])
        known = [entry for image in images for entry in self._entries(repository.pin(image), target, since)]
        counted = (entry for entry in (*known, *([head] if head else [])) if entry.record not in self._without)
        return max(counted, key=lambda entry: entry.order, default=None)

    def _walk(self, repository: Repository, target: Target, newest: Entry | None, breaks: list[str]) -> Iterator[Place]:
        """Yields the places from the newest record to the first; past a gap it goes on with the next record known."""
        at, seen, passed = newest, set[Digest](), set[Digest]()
        while at is not None and at.record not in passed:
            passed.add(at.record)
            seen.add(at.image)
            yield _proven(at)
            before, sequence = at.link.previous, at.link.sequence - 1
            if before is None:
                if sequence > 0:
                    breaks.append(f"sequence {at.link.sequence} names no record before it: {at.record}")
                return
            seen.add(before.image)
            self._entries(repository.pin(before.image), target)
            found = self._at(repository, target, before)
            if found is not None:
                if found.link.sequence != sequence:
                    breaks.append(f"sequence {found.link.sequence} stands where {sequence} belongs: {found.record}")
                at = found
                continue
            gap = self._gap(repository, target, before, sequence)
            breaks.append(gap.told)
            yield gap
            older = (
                entry for image in seen.union(at.link.earlier) for entry in self._entries(repository.pin(image), target)
            )
            at = max((one for one in older if one.link.sequence < sequence), key=lambda one: one.order, default=None)

    def _beside(
        self, repository: Repository, target: Target, images: Iterable[Digest], places: Sequence[Place]
    ) -> Iterator[Place]:
        """Yields records of the target that no other record leads to: two were made at once, or one was hidden."""
        linked = {place.record for place in places}
        for image in dict.fromkeys(images):
            for entry in self._entries(repository.pin(image), target):
                if entry.record not in linked and entry.link.sequence > 0:
                    yield _proven(entry, f"sequence {entry.link.sequence} is not in the chain")

    def _gap(self, repository: Repository, target: Target, before: Previous, sequence: int) -> Place:
        for finding in self._findings(repository.pin(before.image), target):
            if finding.descriptor.digest == before.record:
                why = finding.refusal or "it does not name this target"
                return Place(sequence, before.record, before.image, Standing.UNVERIFIED, why=why)
        why = "nothing of that digest is attached to the image any more"
        return Place(sequence, before.record, before.image, Standing.MISSING, why=why)

    def _find_head(self, repository: Repository, target: Target) -> "_Head":
        record = self.head(repository, target)
        if record is None:
            return _Head(None)
        try:
            manifest = self._manifests(repository.pin(record))
        except NotFoundError:
            return _Head(record)
        subject = manifest.subject if isinstance(manifest, Manifest) else None
        found = self._at(repository, target, Previous(record, subject.digest)) if subject else None
        told = f"the tag of the newest record points at something else: {repository.tagged(head_tag(target.name))} at "
        return _Head(record, found, "" if found else f"{told}{record}")

    def _at(self, repository: Repository, target: Target, place: Previous) -> Entry | None:
        """Returns one record; reads it alone unless all of its image's are read."""
        image, trusted = repository.pin(place.image), self._trusted(target)
        if (image, trusted, "") in self._read:
            entries = self._entries(image, target)
            return next((entry for entry in entries if entry.record == place.record), None)
        try:
            proof = self.reader.prove(image, place.record, PROMOTION_PREDICATE, trusted)
        except (NotFoundError, RefusedError):
            return None
        return entry_of(Finding(proof.attachment.descriptor, None, proof), image, target.name) if proof else None

    def _entries(self, image: Pinned, target: Target, since: str = "") -> list[Entry]:
        found = self._findings(image, target, since)
        return [entry for finding in found if (entry := self._entry(finding, image, target))]

    def _entry(self, finding: Finding, image: Pinned, target: Target) -> Entry | None:
        key = (finding.descriptor.digest, image, target)
        if key not in self._said:  # a chain comes by the same image again and again
            self._said[key] = entry_of(finding, image, target.name)
        return self._said[key]

    def _findings(self, image: Pinned, target: Target, since: str = "") -> tuple[Finding, ...]:
        trusted = self._trusted(target)
        everything = self._read.get((image, trusted, ""))
        if everything is not None:
            return everything
        if (image, trusted, since) not in self._read:
            try:
                found = self.reader.findings(image, trusted, (PROMOTION_PREDICATE,), since=since)
            except NotFoundError:
                found = ()  # the image has left the registry, and its records with it
            self._read[image, trusted, since] = found
        return self._read[image, trusted, since]

    def _trusted(self, target: Target) -> tuple[Signatory, ...]:
        policy = self._world.policies.get(target.policy or "")
        return tuple(dict.fromkeys((*(policy.signed_by if policy else ()), *self._also)))


def entry_of(finding: Finding, image: Pinned, target: str) -> Entry | None:
    """Returns what a proven record says of the target, or None where it says nothing that makes sense.

    A record that came along with a copy is of the repository that the image was copied from, and of its chain.
    """
    if finding.proof is None or other_name(finding.proof.verified.statement.predicate, image):
        return None
    verified = finding.proof.verified
    try:
        return Entry.parse(
            target,
            verified.statement.predicate,
            record=finding.descriptor.digest,
            image=image.digest,
            signed_by=str(verified.signatory),
        )
    except VerificationError:
        return None


def _proven(entry: Entry, why: str = "") -> Place:
    return Place(entry.link.sequence, entry.record, entry.image, Standing.VERIFIED, entry, why)


def _order(place: Place) -> tuple[int, str]:
    return place.sequence, place.entry.finished_at if place.entry else ""


def _shortly_before(entry: Entry) -> str:
    """Returns a time before which nothing newer than the record was written, whatever two clocks make of it."""
    try:
        return (datetime.strptime(entry.finished_at, _TIME).replace(tzinfo=UTC) - _SKEW).strftime(_TIME)
    except (ValueError, OverflowError):
        return ""


def _stands_again(place: Place, places: Sequence[Place]) -> bool:
    """Tells whether the same promotion has another record in the chain; see `Linker.overtaken`."""
    return any(
        place.entry and other.entry and not other.why and other.entry.same_event(place.entry) for other in places
    )


def _same(entry: Entry, head: Entry | None) -> bool:
    return head is not None and entry.record == head.record


def _before(entry: Entry) -> tuple[Digest, ...]:
    return (entry.link.previous.image,) if entry.link.previous else ()
