"""What happened to an image, or to a repository's images on every target: oldest first, each proven or not.

>>> from imagepipe.promote.history import chains
>>> chains.__name__
'chains'
"""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from heapq import merge
from typing import Any, Final

from imagepipe import fanout
from imagepipe.errors import NotFoundError
from imagepipe.events import step
from imagepipe.evidence.reader import EvidenceReader, Finding
from imagepipe.model import media
from imagepipe.model.copying import RESERVED, other_name
from imagepipe.model.digest import Digest
from imagepipe.model.evidence import (
    APPROVAL_PREDICATE,
    PROMOTION_PREDICATE,
    PROVENANCE_PREDICATE,
    REJECTION_PREDICATE,
    SIGNATURE_PREDICATE,
    Signatory,
)
from imagepipe.model.host import Target
from imagepipe.model.ledger import activation_of, unverified_in
from imagepipe.model.reference import CARRIER, Pinned, Repository
from imagepipe.promote.ledger import Chain, Ledger, Place, Standing
from imagepipe.promote.ports import World
from imagepipe.promote.rejections import Rejected, rejected

__all__ = ["Happening", "OnTarget", "attached", "chains", "decisions", "merged", "timeline"]

_KINDS: Final = {
    PROVENANCE_PREDICATE: "build",
    SIGNATURE_PREDICATE: "signature",
    PROMOTION_PREDICATE: "promotion",
    REJECTION_PREDICATE: "rejection",
    APPROVAL_PREDICATE: "approval",
}
# What every image has of its own, or what a chain holds already; the rest is what somebody decided about an image.
_USUAL: Final = (PROVENANCE_PREDICATE, SIGNATURE_PREDICATE, PROMOTION_PREDICATE)
_JOBS: Final = 8
# So many tags take a second or two, and somebody may wait at a terminal.
_MANY: Final = 100
# Times are whole seconds: of two things in one, what is named first here came first. All else is about what was built.
_ORDER: Final = ("approval", "promotion", "rejection", "rollback")
# Where each kind of statement says when it was made.
_TIMES: Final = ("finishedOn", "rejectedOn", "approvedOn")


@dataclass(frozen=True, slots=True)
class OnTarget:
    """What a record says of one target; `sequence` is 0 where it has no place in the chain."""

    target: str
    outcome: str
    sequence: int
    activation: tuple[tuple[str, str], ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Returns it as a JSON object."""
        switched = {"activation": dict(self.activation)} if self.activation else {}
        return {"target": self.target, "outcome": self.outcome, "sequence": self.sequence} | switched


@dataclass(frozen=True, slots=True)
class Happening:
    """One thing that is on record.

    Attributes:
        at: When, ISO 8601 in UTC; "" where nobody says.
        kind: build, signature, promotion, rollback, rejection, or a predicate type.
        image: The digest that it is about.
        record: The manifest that says so.
        standing: Whether it is proven.
        by: Who signed it, or "".
        reason: What was given as reason, or "".
        targets: What became of which target.
        why: What is wrong with it, or "".
        bundle: The other images that it was promoted with.
        unverified: What could not be checked, because the registry was away.
    """

    at: str
    kind: str
    image: Digest
    record: Digest
    standing: Standing
    by: str = ""
    reason: str = ""
    targets: tuple[OnTarget, ...] = ()
    why: str = ""
    bundle: tuple[str, ...] = ()
    unverified: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Returns it as a JSON object."""
        return {
            "at": self.at or None,
            "kind": self.kind,
            "image": str(self.image),
            "record": str(self.record),
            "standing": self.standing.value,
            "by": self.by or None,
            "reason": self.reason,
            "targets": [one.to_json() for one in self.targets],
            "why": self.why,
            **({"bundle": list(self.bundle)} if self.bundle else {}),
            **({"offline": {"unverified": list(self.unverified)}} if self.unverified else {}),
        }


def timeline(
    image: Pinned, trusted: Sequence[Signatory], world: World, approvers: Sequence[Signatory] = ()
) -> tuple[Happening, ...]:
    """Returns everything attached to an image, oldest first.

    Args:
        image: The image.
        trusted: Whose word counts.
        world: What is asked.
        approvers: Whose approvals count, and nothing else that they sign.
    """
    found = [_happening(image.digest, finding) for finding in attached(image, trusted, approvers, world.reader)]
    return tuple(sorted(found, key=_when))


def attached(
    image: Pinned,
    trusted: Sequence[Signatory],
    approvers: Sequence[Signatory],
    reader: EvidenceReader,
    kinds: Sequence[str] | None = None,
) -> tuple[Finding, ...]:
    """Returns what is attached to an image; an approval is proven by an approver, and all else by the trusted."""
    everybody = tuple(dict.fromkeys((*trusted, *approvers)))
    return tuple(
        _credited(one, approvers if one.kind == APPROVAL_PREDICATE else trusted)
        for one in reader.findings(image, everybody, kinds)
    )


def _credited(finding: Finding, trusted: Sequence[Signatory]) -> Finding:
    if finding.proof is None or finding.proof.verified.signatory in trusted:
        return finding
    why = f"signed by {finding.proof.verified.signatory}, whose word no policy takes for that"
    return replace(finding, proof=None, refusal=why)


def chains(
    repository: Repository,
    targets: Sequence[Target],
    world: World,
    near: Sequence[Digest] = (),
    *,
    also: Sequence[Signatory] = (),
) -> tuple[Chain, ...]:
    """Returns the chain of each target; images that one target leads to are looked at for all the others, too.

    So is whatever has a tag in the repository. Who deletes a target's newest record deletes its tag with it, and
    nothing leads to the ones before; who may push may set that tag back, and nothing leads to the ones after.

    Args:
        repository: Whose images.
        targets: Where they may have gone.
        world: What is asked.
        near: Images that are looked at as well.
        also: Who is believed beside the signers of each target's policy.
    """
    ledger = Ledger(world, also=also)

    def followed(images: Sequence[Digest]) -> list[Chain]:
        outcomes = fanout.each(targets, lambda target: ledger.chain(repository, target, images), jobs=_JOBS)
        return [outcome.unwrap() for outcome in outcomes]

    seen = dict.fromkeys(near) | dict.fromkeys(place.image for chain in followed(near) for place in chain.places)
    tags = world.tags(repository)
    with step(world.events, "look", f"{repository}: {len(tags)} tags") if len(tags) > _MANY else nullcontext():
        seen |= dict.fromkeys(_tagged(repository, tags, seen, world))
        looks = [(target, repository.pin(image)) for target in targets for image in seen]
        fanout.each(looks, lambda look: ledger.entries(look[1], look[0]), jobs=_JOBS)  # chains come by them one by one
    return tuple(followed(list(seen)))


def _tagged(repository: Repository, tags: Sequence[str], seen: Iterable[Digest], world: World) -> tuple[Digest, ...]:
    """Returns the images that have a tag, other than those seen: each is asked for by one tag of it, if that can be."""
    found = _pointed_at(repository, [tag for tag in tags if not RESERVED.fullmatch(tag)], world)
    known = {repository.pin(digest).carrier.tag for digest in (*seen, *found)}
    # An image whose other tags have moved on has the one left that hosts pulled it by.
    return found + _pointed_at(repository, [tag for tag in tags if CARRIER.fullmatch(tag) and tag not in known], world)


def _pointed_at(repository: Repository, tags: Sequence[str], world: World) -> tuple[Digest, ...]:
    outcomes = fanout.each(tags, lambda tag: world.source.find(repository.tagged(tag)), jobs=_JOBS)
    return tuple(found.digest for outcome in outcomes if (found := outcome.unwrap()) is not None)


def decisions(
    repository: Repository,
    images: Sequence[Digest],
    trusted: Sequence[Signatory],
    world: World,
    approvers: Sequence[Signatory] = (),
) -> tuple[tuple[Happening, ...], tuple[str, ...]]:
    """Returns what somebody decided about images, beside bringing them to targets, and what is wrong with the records.

    Rejections name one another, so that those of other images are told, too, and one that is gone shows. An image that
    has left the registry took along what was attached to it.

    Args:
        repository: Whose images.
        images: Which; each is looked at once.
        trusted: Whose word counts.
        world: What is asked.
        approvers: Whose word counts for approvals.
    """
    reading = replace(world, reader=world.reader.remembering())
    places, told = rejected(repository, trusted, reading)
    found, breaks = dict[Digest, Happening](), list(told)
    for place in places:
        latest = next(reversed(found.values())).at if found else ""
        found[place.record] = _rejection(place, latest)
    kinds = [kind for kind in _KINDS if kind not in _USUAL]
    for image in map(repository.pin, dict.fromkeys(images)):
        try:
            findings = attached(image, trusted, approvers, reading.reader, kinds)
        except NotFoundError:
            continue
        for finding in findings:
            one = _happening(image.digest, finding)
            if one.record in found or one.kind not in {_KINDS[kind] for kind in kinds}:
                continue
            found[one.record] = one
            if _has_place(finding, image):
                breaks.append(f"a rejection has lost its tag, and no other names it: {one.record}")
    return tuple(found.values()), tuple(breaks)


def _rejection(place: Rejected, latest: str) -> Happening:
    if place.proof is not None:
        finding = Finding(place.proof.attachment.descriptor, REJECTION_PREDICATE, place.proof)
        return replace(_happening(place.image, finding), why=place.why)
    standing = Standing.MISSING if place.missing else Standing.UNVERIFIED
    return Happening(latest, "rejection", place.image, place.record, standing, why=place.why)


def _has_place(finding: Finding, image: Pinned) -> bool:
    """Tells whether a proven rejection has a place here: older ones have none, and copied ones have it elsewhere."""
    if finding.proof is None or finding.kind != REJECTION_PREDICATE:
        return False
    said = finding.proof.verified.statement.predicate
    return bool(said.get("sequence")) and other_name(said, image) is None


def merged(found: Sequence[Chain], beside: Sequence[Happening] = ()) -> tuple[Happening, ...]:
    """Returns the records of all chains, oldest first, each once with all its targets; gaps stand where they belong.

    Args:
        found: The chains.
        beside: What else happened.
    """
    records: dict[Digest, Happening] = {}
    for chain in found:
        latest = ""
        for place in chain.places:
            one = _placed(chain.target, place, latest)
            latest = one.at
            known = records.get(place.record)
            both = replace(known, targets=known.targets + one.targets, why=known.why or one.why) if known else one
            records[place.record] = both
    placed = sorted(records.values(), key=lambda one: one.at)  # within a second, as the chain says
    return tuple(merge(placed, sorted(beside, key=_when), key=_when))


def _when(one: Happening) -> tuple[str, int]:
    return one.at, _ORDER.index(one.kind) if one.kind in _ORDER else -1


def _placed(target: str, place: Place, latest: str) -> Happening:
    entry = place.entry
    on_target = OnTarget(target, entry.outcome if entry else "", place.sequence, entry.activation if entry else ())
    if entry is None:
        return Happening(latest, "?", place.image, place.record, place.standing, targets=(on_target,), why=place.why)
    return Happening(
        entry.finished_at,
        entry.kind.value,
        entry.image,
        entry.record,
        place.standing,
        entry.signed_by,
        entry.reason,
        (on_target,),
        place.why,
        entry.bundle,
        entry.unverified,
    )


def _happening(image: Digest, finding: Finding) -> Happening:
    record, kind = finding.descriptor.digest, _KINDS.get(finding.kind or "", finding.kind or "?")
    created = finding.descriptor.annotations.get(media.CREATED_ANNOTATION, "")
    if finding.proof is None:
        return Happening(created, kind, image, record, Standing.UNVERIFIED, why=finding.refusal)
    verified = finding.proof.verified
    said = verified.statement.predicate
    own = next((str(said[key]) for key in _TIMES if said.get(key)), "")
    signed = verified.signed_at.strftime("%Y-%m-%dT%H:%M:%SZ") if verified.signed_at else ""
    return Happening(
        own or signed or created,
        str(said.get("kind") or kind) if kind == "promotion" else kind,
        image,
        record,
        Standing.VERIFIED,
        str(verified.signatory),
        _reason(kind, said),
        tuple(_on_target(one) for one in said.get("targets") or () if isinstance(one, Mapping))
        if kind == "promotion"
        else (),
        bundle=tuple(str(one) for one in said.get("bundle") or ()) if kind == "promotion" else (),
        unverified=unverified_in(said) if kind == "promotion" else (),
    )


def _reason(kind: str, said: Mapping[str, Any]) -> str:
    told = str(said.get("reason") or "") if kind in ("promotion", "rejection", "approval") else ""
    if kind != "approval":
        return told
    targets = said.get("targets")
    where = ", ".join(map(str, targets)) if isinstance(targets, list) else "-"
    return f"plan {str(said.get('plan')).removeprefix('sha256:')[:12]} for {where}" + (f": {told}" if told else "")


def _on_target(said: Mapping[str, Any]) -> OnTarget:
    sequence = said.get("sequence")
    place = sequence if isinstance(sequence, int) else 0
    return OnTarget(str(said.get("target") or ""), str(said.get("outcome") or ""), place, activation_of(said))
