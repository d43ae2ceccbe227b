"""One image's plan as an object in a file.

>>> plan_json.__name__
'plan_json'
"""

from collections.abc import Mapping
from typing import Any

from imagepipe.model.copying import Copying
from imagepipe.model.digest import Digest
from imagepipe.model.host import Target, TargetKind
from imagepipe.model.promotion import GateVerdict, PromotionPlan, TargetPlan
from imagepipe.model.reference import Pinned, Reference

__all__ = ["plan_json", "plan_of"]


def plan_of(data: Mapping[str, Any]) -> PromotionPlan:
    """Returns the plan that an object in a file states. Law: `plan_of(plan_json(plan)) == plan` without hints.

    Raises:
        ImagepipeError, KeyError, TypeError, ValueError: It states none.
    """
    image = Pinned.parse(data["image"])
    gates = tuple(
        GateVerdict(str(one["gate"]), one["passed"] is True, str(one["reason"]), waits=one.get("waits") is True)
        for one in data["gates"]
    )
    targets = tuple(_target(one) for one in data["targets"])
    copying = Copying.parse(data["copy"]) if "copy" in data else None
    return PromotionPlan(str(data["requested"]), image, targets, gates, copying)


def plan_json(plan: PromotionPlan) -> dict[str, Any]:
    """Returns the plan as an object in a file."""
    return {
        "requested": plan.requested,
        "image": str(plan.image),
        "targets": [_target_json(one) for one in plan.targets],
        "gates": [gate.to_json() for gate in plan.gates],
        **({"copy": plan.copying.to_json()} if plan.copying else {}),
    }


def _target(data: Mapping[str, Any]) -> TargetPlan:
    target = Target(str(data["name"]), TargetKind(data["kind"]), str(data["host"]), data["cert_path"], data["policy"])
    previous = data["previous"]
    return TargetPlan(
        target,
        Pinned.parse(data["image"]),
        carrier=Reference.parse(data["carrier"]) if data["carrier"] else None,
        previous=None if previous is None else tuple(Digest.parse(one) for one in previous),
        current=Digest.parse(data["current"]) if data["current"] else None,
        newest=Digest.parse(data["newest"]) if data["newest"] else None,
    )


def _target_json(plan: TargetPlan) -> dict[str, Any]:
    return {
        "name": plan.target.name,
        "kind": plan.target.kind.value,
        "host": plan.target.host,
        "cert_path": plan.target.cert_path,
        "policy": plan.target.policy,
        "image": str(plan.image),
        "carrier": str(plan.carrier) if plan.carrier else None,
        "previous": None if plan.previous is None else [str(digest) for digest in plan.previous],
        "current": str(plan.current) if plan.current else None,
        "newest": str(plan.newest) if plan.newest else None,
    }
