"""An approval: one person's signed word that a saved plan may be carried out, exactly as it was saved.

>>> image = Pinned.parse("vic.example/es-sandbox/hello@" + str(Digest.of(b"m")))
>>> said = Approval(image, Digest.of(b"plan"), Digest.of(b"seal"), ("vch-a",), "looks good", "2026-01-02T03:04:05Z")
>>> Approval.parse(said.to_predicate()) == said
True
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from imagepipe.errors import ImagepipeError, VerificationError
from imagepipe.model.digest import Digest
from imagepipe.model.reference import Pinned

__all__ = ["Approval", "Request"]


@dataclass(frozen=True, slots=True)
class Request:
    """A saved plan as approvals know it.

    Attributes:
        seal: The digest over everything in its file: what would be done, on which terms, by which policies, when made.
        made_by: The hand that made it, as the file says; "" where it does not.
        carried_out_by: The hand that carries it out; None: nobody does yet.
    """

    seal: Digest
    made_by: str = ""
    carried_out_by: str | None = None


@dataclass(frozen=True, slots=True)
class Approval:
    """What an approver signs. Law: `Approval.parse(approval.to_predicate()) == approval`.

    Attributes:
        image: The image that would be promoted.
        plan: The plan's digest, by which the promotion's record is found.
        seal: The digest of the whole saved plan: what the approver saw, and nothing else, is approved.
        targets: Where it would go, for people.
        reason: Why it is approved, or "".
        approved_at: ISO 8601 in UTC with `Z`, by the approver's clock.
    """

    image: Pinned
    plan: Digest
    seal: Digest
    targets: tuple[str, ...]
    reason: str
    approved_at: str

    @classmethod
    def parse(cls, predicate: Mapping[str, Any]) -> "Approval":
        """Returns the approval that a predicate states.

        Raises:
            VerificationError: It is malformed.
        """
        try:
            return cls(
                Pinned.parse(predicate["image"]),
                Digest.parse(predicate["plan"]),
                Digest.parse(predicate["seal"]),
                tuple(str(target) for target in predicate["targets"]),
                str(predicate["reason"]),
                str(predicate["approvedOn"]),
            )
        except (KeyError, TypeError, ValueError, AttributeError, ImagepipeError) as error:
            raise VerificationError(f"malformed approval: {error!r}") from error

    def to_predicate(self) -> dict[str, Any]:
        """Returns the predicate of the in-toto statement."""
        return {
            "version": 1,
            "image": str(self.image),
            "plan": str(self.plan),
            "seal": str(self.seal),
            "targets": list(self.targets),
            "reason": self.reason,
            "approvedOn": self.approved_at,
        }
