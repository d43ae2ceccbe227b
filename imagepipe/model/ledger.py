"""The ledger: what the records of one target say, each naming the one before it.

>>> first = Link(1, None, ())
>>> Link.parse(first.to_json()) == first
True
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Final

from imagepipe.errors import ImagepipeError, VerificationError
from imagepipe.model.digest import Digest

__all__ = ["LATE", "Entry", "Hold", "Link", "Previous", "RecordKind", "activation_of", "head_tag", "unverified_in"]

_HEAD: Final = "imagepipe-head."
_TAG_CHARS: Final = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-")
# What is left of a tag's 128 characters for a name, after our prefix and a digest's first digits.
_NAME_CHARS: Final = 96
_GOOD: Final = ("promoted", "present")
_RUN: Final = ("switched", "running")
_DID_NOT_RUN: Final = ("restored", "broken")
# What becomes of a target that was brought elsewhere before the record of its rollback came: it changes nothing then.
LATE: Final = "late"


def head_tag(target: str) -> str:
    """Returns the tag that points at the newest record of a target. Law: other targets have other tags.

    Source: OCI distribution-spec v1.1 "Pulling manifests" (what a tag may hold).
    """
    name = "".join(char if char in _TAG_CHARS else "-" for char in target)[:_NAME_CHARS]
    return f"{_HEAD}{name}" if name == target else f"{_HEAD}{name}-{Digest.of(target.encode()).short}"


def activation_of(named: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    """Returns what a target's entry in a record says of containers that were to run the image: names and outcomes."""
    told = named.get("activation")
    rows = [one for one in told if isinstance(one, Mapping)] if isinstance(told, list) else []
    return tuple((str(one.get("container") or ""), str(one.get("outcome") or "")) for one in rows)


def unverified_in(predicate: Mapping[str, Any]) -> tuple[str, ...]:
    """Returns what a record says could not be checked, because the registry was away; empty for all others."""
    told = predicate.get("offline")
    gaps = told.get("unverified") if isinstance(told, Mapping) else None
    return tuple(map(str, gaps)) if isinstance(gaps, list) else ()


class RecordKind(StrEnum):
    """What a record is of."""

    PROMOTION = "promotion"
    ROLLBACK = "rollback"


@dataclass(frozen=True, slots=True)
class Previous:
    """The record that came before, and the image that it is attached to."""

    record: Digest
    image: Digest


@dataclass(frozen=True, slots=True)
class Hold:
    """A digest that was rolled back from: not promoted to that target again until somebody says so.

    Attributes:
        image: What was promoted.
        manifest: What the target held of it: the image itself, or its platform's manifest.
        since: When it was rolled back, ISO 8601.
        by: Who signed that.
        reason: What they gave as reason, or "".
    """

    image: Digest
    manifest: Digest
    since: str
    by: str
    reason: str

    def covers(self, *digests: Digest) -> bool:
        """Tells whether one of the digests is held, by itself or as the image's platform."""
        return self.image in digests or self.manifest in digests

    def __str__(self) -> str:
        return f"held since {self.since} by {self.by}" + (f": {self.reason}" if self.reason else "")


@dataclass(frozen=True, slots=True)
class Link:
    """A record's place in the chain of one target. Law: `Link.parse(link.to_json()) == link`.

    Attributes:
        sequence: 1 for the first record; 0 where a record has no place.
        previous: The record before, or None for the first.
        holds: Everything held on this target after the record.
        earlier: Images of the records before `previous`, newest first: where to look when that one is missing.
    """

    sequence: int
    previous: Previous | None
    holds: tuple[Hold, ...]
    earlier: tuple[Digest, ...] = ()

    @classmethod
    def parse(cls, data: Mapping[str, Any]) -> "Link":
        """Returns the place that a target's entry in a record states.

        Raises:
            VerificationError: It is malformed.
        """
        try:
            before = data.get("previous")
            return cls(
                int(data.get("sequence") or 0),
                Previous(Digest.parse(before["record"]), Digest.parse(before["image"])) if before else None,
                tuple(
                    Hold(
                        Digest.parse(hold["image"]),
                        Digest.parse(hold["manifest"]),
                        str(hold["since"]),
                        str(hold["by"]),
                        str(hold["reason"]),
                    )
                    for hold in data.get("held") or ()
                ),
                tuple(Digest.parse(image) for image in data.get("earlier") or ()),
            )
        except (KeyError, TypeError, ValueError, AttributeError, ImagepipeError) as error:
            raise VerificationError(f"malformed place in the ledger: {error!r}") from error

    def to_json(self) -> dict[str, Any]:
        """Returns what goes into the target's entry."""
        before = self.previous
        return {
            "sequence": self.sequence,
            "previous": {"record": str(before.record), "image": str(before.image)} if before else None,
            "held": [
                {
                    "image": str(hold.image),
                    "manifest": str(hold.manifest),
                    "since": hold.since,
                    "by": hold.by,
                    "reason": hold.reason,
                }
                for hold in self.holds
            ],
            "earlier": [str(image) for image in self.earlier],
        }


@dataclass(frozen=True, slots=True)
class Entry:
    """What one proven record says of one target.

    Attributes:
        record: The digest of the record's manifest.
        image: The image that it is attached to.
        target: The target's name.
        kind: A promotion or a rollback.
        outcome: `promoted`, `present`, `failed`, or `late`: it was there, until something that is on record before it.
        digest: The manifest that the target holds, or was meant to.
        link: Its place in the chain.
        plan: The digest of the plan that was carried out, as text.
        reason: What was given as reason.
        finished_at: ISO 8601 in UTC with `Z`.
        signed_by: Who signed the record.
        bundle: The other images that it was promoted with, as text.
        activation: What became of containers that were to run it, by name.
        unverified: What could not be checked, because the registry was away.
    """

    record: Digest
    image: Digest
    target: str
    kind: RecordKind
    outcome: str
    digest: Digest
    link: Link
    plan: str
    reason: str
    finished_at: str
    signed_by: str
    bundle: tuple[str, ...] = ()
    activation: tuple[tuple[str, str], ...] = ()
    unverified: tuple[str, ...] = ()

    @property
    def good(self) -> bool:
        """Whether the target held the image then, proven."""
        return self.outcome in _GOOD

    @property
    def switched(self) -> bool:
        """Whether every container that was to run the image did."""
        return all(outcome in _RUN for _, outcome in self.activation)

    @property
    def spoilt(self) -> bool:
        """Whether a container that was to run the image was tried with it, and did not."""
        return any(outcome in _DID_NOT_RUN for _, outcome in self.activation)

    @property
    def finished(self) -> datetime | None:
        """When that was, aware; None where the record tells no time."""
        try:
            return datetime.strptime(self.finished_at, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
        except ValueError:
            return None

    @property
    def before(self) -> tuple[Digest, ...]:
        """The images that the target was at before, newest first, as far as the record names them."""
        previous = (self.link.previous.image,) if self.link.previous else ()
        return tuple(dict.fromkeys((*previous, *self.link.earlier)))

    @property
    def order(self) -> tuple[int, str, Digest]:
        """What sorts records of one target from old to new."""
        return self.link.sequence, self.finished_at, self.record

    def same_event(self, other: "Entry") -> bool:
        """Tells whether both speak of one and the same promotion or rollback."""
        mine, theirs = ((one.plan, one.image, one.kind, one.finished_at, one.signed_by) for one in (self, other))
        return mine == theirs

    @classmethod
    def parse(
        cls, target: str, predicate: Mapping[str, Any], *, record: Digest, image: Digest, signed_by: str
    ) -> "Entry | None":
        """Returns what the predicate of a proven record says of a target; None when it does not name it.

        Raises:
            VerificationError: It names the target in a way that makes no sense.
        """
        try:
            named = next((one for one in predicate.get("targets") or () if one.get("target") == target), None)
            if named is None:
                return None
            return cls(
                record=record,
                image=image,
                target=target,
                kind=RecordKind(predicate.get("kind") or RecordKind.PROMOTION),
                outcome=str(named["outcome"]),
                digest=Digest.parse(named["digest"]),
                link=Link.parse(named),
                plan=str(predicate.get("plan") or ""),
                reason=str(predicate.get("reason") or ""),
                finished_at=str(predicate.get("finishedOn") or ""),
                signed_by=signed_by,
                bundle=tuple(str(other) for other in predicate.get("bundle") or ()),
                activation=activation_of(named),
                unverified=unverified_in(predicate),
            )
        except VerificationError:
            raise
        except (KeyError, TypeError, ValueError, AttributeError, ImagepipeError) as error:
            raise VerificationError(f"malformed promotion record {record}: {error!r}") from error
