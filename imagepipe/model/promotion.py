"""A promotion: the plan with a digest of its own, what became of each target, and the record of it.

>>> PromotionPlan.__name__
'PromotionPlan'
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from imagepipe.model.activation import Activation
from imagepipe.model.approval import Request
from imagepipe.model.copying import Copying
from imagepipe.model.digest import Digest
from imagepipe.model.host import Target, TargetKind
from imagepipe.model.ledger import Link, RecordKind
from imagepipe.model.lock import BrokenLock
from imagepipe.model.reference import Pinned, Reference

__all__ = [
    "Arrival",
    "GateVerdict",
    "PromotionPlan",
    "PromotionRecord",
    "TargetPlan",
    "TargetResult",
    "Terms",
    "digest_of",
]


@dataclass(frozen=True, slots=True)
class GateVerdict:
    """What a gate said, and on what ground: `reason` names the evidence or what is missing.

    `waits` marks a gate whose no becomes a yes with time, or by what other people do, while the plan stays the same.
    """

    gate: str
    passed: bool
    reason: str
    hint: str | None = None
    waits: bool = False

    def to_json(self) -> dict[str, Any]:
        """Returns the verdict as a JSON object."""
        waits = {"waits": True} if self.waits else {}
        return {"gate": self.gate, "passed": self.passed, "reason": self.reason} | waits


@dataclass(frozen=True, slots=True)
class Terms:
    """What is said beside an image and targets, and changes what gates answer.

    Attributes:
        release_hold: Targets may get back what they were rolled back from.
        override_freeze: What is frozen is promoted all the same.
        way_back: This is a rollback: nothing new comes, so that nothing is waited for.
        request: The saved plan that is looked at, by which approvals are found; None: it was not saved.
        near: Images at which the newest record of a target is, for who has found it whatever its tag says.
    """

    release_hold: bool = False
    override_freeze: bool = False
    way_back: bool = False
    request: Request | None = None
    near: tuple[Digest, ...] = ()


@dataclass(frozen=True, slots=True)
class TargetPlan:
    """What one target will be asked to do.

    Attributes:
        target: Where.
        image: The platform manifest that the target must hold in the end.
        carrier: The digest-derived tag that a VCH pulls by; None where the target pulls by digest.
        previous: Digests of the same repository that the target holds now, in no order; None: not asked yet.
        current: The image that the ledger says it was last brought to, or None.
        newest: The newest record of the target in this repository, or None.
    """

    target: Target
    image: Pinned
    carrier: Reference | None
    previous: tuple[Digest, ...] | None = None
    current: Digest | None = None
    newest: Digest | None = None


@dataclass(frozen=True, slots=True)
class PromotionPlan:
    """Which image goes where, and why it may. Law: equal plans have equal digests.

    Attributes:
        requested: What the user typed.
        image: What that resolved to, once.
        targets: One entry per target, in the user's order.
        gates: Every verdict, also of gates that passed.
        copying: Where the image is copied from first, and how the copy is called; `image` is the copy then.
        beside: The other images of its bundle: a target takes all of them or counts as failed.
        activate: The containers on each target that are to run it in the end.
    """

    requested: str
    image: Pinned
    targets: tuple[TargetPlan, ...]
    gates: tuple[GateVerdict, ...]
    copying: Copying | None = None
    beside: tuple[Pinned, ...] = ()
    activate: tuple[str, ...] = ()

    @property
    def source(self) -> Pinned:
        """Where the image is before anything is done: what the gates ask about, and where approvals are."""
        return self.copying.source if self.copying else self.image

    @property
    def refused(self) -> tuple[GateVerdict, ...]:
        """The gates that said no."""
        return tuple(gate for gate in self.gates if not gate.passed)

    @property
    def digest(self) -> Digest:
        """The plan's own digest, over what it would do; `requested`, reasons and what waits do not count."""
        body = {
            "image": str(self.image),
            "targets": [
                {
                    "name": plan.target.name,
                    "kind": plan.target.kind.value,
                    "host": plan.target.host,
                    "policy": plan.target.policy,
                    "image": str(plan.image),
                    "carrier": str(plan.carrier) if plan.carrier else None,
                }
                for plan in self.targets
            ],
            "gates": [{"gate": gate.gate, "passed": None if gate.waits else gate.passed} for gate in self.gates],
            **({"copy": self.copying.to_json()} if self.copying else {}),
            **({"bundle": [str(image) for image in self.beside]} if self.beside else {}),
            **({"activate": list(self.activate)} if self.activate else {}),
        }
        return Digest.of(json.dumps(body, sort_keys=True, separators=(",", ":")).encode())


def digest_of(plans: Sequence[PromotionPlan]) -> Digest:
    """Returns the digest of a bundle's plans together; that of a single plan is its own."""
    if len(plans) == 1:
        return plans[0].digest
    return Digest.of(json.dumps([str(plan.digest) for plan in plans]).encode())


class Arrival(StrEnum):
    """What became of one target."""

    PROMOTED = "promoted"
    PRESENT = "present"
    FAILED = "failed"

    @property
    def good(self) -> bool:
        """Whether the target holds the image, proven."""
        return self is not Arrival.FAILED


@dataclass(frozen=True, slots=True)
class TargetResult:
    """One target's outcome.

    Attributes:
        target: The target's name.
        kind: `vch` or `docker`.
        arrival: What became of it.
        digest: The manifest digest proven on it, or that was meant to be.
        proof: Which checks held, by name, with what they saw.
        error: The failure's message, or None.
        error_kind: The failure's kind, or None.
        exit_code: The failure's own exit code; 0 when good.
        cause: Why the registry refused, where it was asked; see `ImagepipeError`.
        duration_s: Wall time spent on it.
        left_out_for: The other image of the bundle whose failure this is, or None.
        activations: What became of the containers that were to run it.
    """

    target: str
    kind: TargetKind
    arrival: Arrival
    digest: Digest
    proof: Mapping[str, str] = field(default_factory=dict, hash=False)
    error: str | None = None
    error_kind: str | None = None
    hint: str | None = None
    exit_code: int = 0
    duration_s: float = 0.0
    cause: Mapping[str, str] | None = field(default=None, hash=False)
    left_out_for: Pinned | None = None
    activations: tuple[Activation, ...] = ()

    @property
    def done(self) -> bool:
        """Whether the target holds the image, and its containers run it."""
        return self.arrival.good and all(one.outcome.good for one in self.activations)

    def to_json(self) -> dict[str, Any]:
        """Returns the outcome as a JSON object; what does not apply is left out."""
        data: dict[str, Any] = {
            "target": self.target,
            "kind": self.kind.value,
            "outcome": self.arrival.value,
            "digest": str(self.digest),
            "proof": dict(self.proof),
            "duration_s": round(self.duration_s, 3),
        }
        if self.error is not None:
            data["error"] = {"kind": self.error_kind, "message": self.error}
        if self.left_out_for is not None:
            data["left_out_for"] = str(self.left_out_for)
        if self.activations:
            data["activation"] = [one.to_json() for one in self.activations]
        return data


@dataclass(frozen=True, slots=True)
class PromotionRecord:
    """The predicate of a promotion record: what was promoted where, on whose word, with what outcome.

    Attributes:
        image: The image promoted.
        plan: The digest of the plan that was carried out.
        reason: What the operator gave as reason, or "".
        started_at: ISO 8601 in UTC with `Z`.
        finished_at: The same.
        kind: A promotion or a rollback.
        links: Each target's place in the chain of its records, by name.
        copying: Where the image was copied from, or None.
        broken_locks: Whose locks on targets were broken for it.
        beside: The other images of the bundle that it was promoted with.
        unverified: What could not be checked, because the registry was away; empty for everything else.
    """

    image: Pinned
    plan: Digest
    reason: str
    started_at: str
    finished_at: str
    gates: tuple[GateVerdict, ...]
    targets: tuple[TargetResult, ...]
    kind: RecordKind = RecordKind.PROMOTION
    links: Mapping[str, Link] = field(default_factory=dict, hash=False)
    copying: Copying | None = None
    broken_locks: tuple[BrokenLock, ...] = ()
    beside: tuple[Pinned, ...] = ()
    unverified: tuple[str, ...] = ()

    def to_predicate(self) -> dict[str, Any]:
        """Returns the predicate of the in-toto statement."""
        places = {target: link.to_json() for target, link in self.links.items()}
        return {
            "version": 1,
            "kind": self.kind.value,
            **({"hold": True} if self.kind is RecordKind.ROLLBACK else {}),
            **({"brokenLocks": [one.to_json() for one in self.broken_locks]} if self.broken_locks else {}),
            **({"offline": {"unverified": list(self.unverified)}} if self.unverified else {}),
            "image": str(self.image),
            **({"copy": self.copying.to_json()} if self.copying else {}),
            **({"bundle": [str(image) for image in self.beside]} if self.beside else {}),
            "plan": str(self.plan),
            "reason": self.reason,
            "startedOn": self.started_at,
            "finishedOn": self.finished_at,
            "gates": [gate.to_json() for gate in self.gates],
            "targets": [target.to_json() | places.get(target.target, {}) for target in self.targets],
        }
