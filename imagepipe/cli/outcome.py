"""How promotions are shown and told: one image as `imagepipe.promote/v1`, several as `imagepipe.promote-bundle/v1`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from imagepipe.cli.printing import clean
from imagepipe.cli.session import error_body
from imagepipe.errors import ImagepipeError, PartialError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from imagepipe.model.promotion import GateVerdict, PromotionPlan, TargetResult
    from imagepipe.promote.record import Promotion

__all__ = [
    "bundle_document",
    "describe_bundle",
    "describe_plan",
    "describe_plans",
    "describe_promotion",
    "outcome_error",
    "promotion_document",
]


def describe_plans(plans: Sequence[PromotionPlan]) -> str:
    """Returns the plans as an operator reads them before agreeing."""
    lines = [f"a bundle of {len(plans)} images: a target takes all of them, or counts as failed"] * (len(plans) > 1)
    return "\n".join([*lines, *map(describe_plan, plans)])


def describe_plan(plan: PromotionPlan, *, pulls: bool = True) -> str:
    """Returns the plan of one image; without `pulls` it only goes where it is."""
    lines = [f"promote {plan.image}", f"  requested as {clean(plan.requested)}; plan {plan.digest.short}"]
    if plan.copying:
        lines.append(f"  copy {plan.copying.source} inside the registry, named {plan.copying.name} when all is there")
    lines += [f"  gate {gate.gate}: {_said(gate)}: {clean(gate.reason)}" for gate in plan.gates]
    for one in plan.targets:
        how = f"pull {one.carrier.tag}" if one.carrier and one.carrier.tag else "pull by digest"
        how = how if pulls else "nothing is pulled"
        now = f"from {one.current}" if one.current else "from nothing on record"
        if one.previous is not None:
            now += f" (holds {len(one.previous)} of this repository)"
        lines.append(f"  {one.target.name} ({one.target.kind.value}): {now} to manifest {one.image.digest}, {how}")
    if plan.activate:
        names = ", ".join(plan.activate)
        lines.append(f"  once every target holds everything, switch {names} on one target after another")
    return "\n".join(lines)


def _said(gate: GateVerdict) -> str:
    return "ok" if gate.passed else "not yet" if gate.waits else "NO"


def describe_promotion(promotion: Promotion) -> str:
    """Returns one line per target, and one per container that was to run the image there: the answer on stdout."""
    return "\n".join(line for one in promotion.targets for line in _lines(one, str(one.digest)))


def describe_bundle(done: Sequence[Promotion]) -> str:
    """Returns one line per target and image, the image in full where there are several."""
    if len(done) == 1:
        return describe_promotion(done[0])
    rows = [(one.target, _lines(one, str(each.plan.image))) for each in done for one in each.targets]
    order = list(_by_target(done))
    return "\n".join(line for _, lines in sorted(rows, key=lambda row: order.index(row[0])) for line in lines)


def _lines(result: TargetResult, image: str) -> list[str]:
    switched = [f"{result.target}\t{one.outcome.value}\t{image}\t{one.container}" for one in result.activations]
    return [f"{result.target}\t{result.arrival.value}\t{image}", *switched]


def bundle_document(done: Sequence[Promotion], error: ImagepipeError | None) -> dict[str, Any]:
    """Returns the document of one image or of several; `error` is there when not everything is done."""
    from imagepipe.model.promotion import digest_of

    if len(done) == 1:
        return promotion_document(done[0], error)
    document: dict[str, Any] = {
        "schema": "imagepipe.promote-bundle/v1",
        "plan": str(digest_of([each.plan for each in done])),
        "targets": [_target_document(results) for results in _by_target(done).values()],
        "images": [
            {key: value for key, value in promotion_document(each, None).items() if key != "schema"} for each in done
        ],
    }
    return document if error is None else document | {"error": error_body(error)}


def promotion_document(promotion: Promotion, error: ImagepipeError | None) -> dict[str, Any]:
    """Returns `imagepipe.promote/v1`; `error` is there when not everything is done."""
    plan = promotion.plan
    document: dict[str, Any] = {
        "schema": "imagepipe.promote/v1",
        "image": str(plan.image),
        "requested": plan.requested,
        "plan": str(plan.digest),
        "gates": [gate.to_json() for gate in plan.gates],
        "targets": [one.to_json() | ({"hint": one.hint} if one.hint else {}) for one in promotion.targets],
        "record": str(promotion.record) if promotion.record else None,
    }
    if plan.copying:
        document["copy"] = plan.copying.to_json()
    if error is not None:
        document["error"] = error_body(error)
    return document


def outcome_error(*done: Promotion) -> ImagepipeError | None:
    """Returns the error that promotions made together end in, or None.

    All targets failed: the first failure's own exit code. Some failed, or all arrived without a record: partial. A
    target has not failed once it holds the images and its containers run them.
    """
    targets = _by_target(done)
    failed = {name: cause for name, results in targets.items() if (cause := _cause(results))}
    if failed:
        well = [name for name in targets if name not in failed]
        state = "held, but nothing is switched" if any(each.plan.activate for each in done) else "done"
        first = next(iter(failed.values()))
        told = "; ".join(str(one.error) for one in failed.values())
        return _whole(
            _Fault(first.error_kind, told, first.hint, first.cause), f"{state}: {', '.join(well)}" if well else ""
        )
    unswitched = {name: fault for name, results in targets.items() if (fault := _unswitched(results))}
    if unswitched:
        first_name, *untried = unswitched
        well = [name for name in targets if name not in unswitched]
        left = f"; not tried: {', '.join(untried)}" if untried else ""
        return _whole(unswitched[first_name], f"done: {', '.join(well)}{left}" if well else "")
    unrecorded = [each.record_error.message for each in done if each.record_error is not None]
    if unrecorded:
        return PartialError(
            f"every target holds the image, but it is not on record: {'; '.join(unrecorded)}",
            hint="run the same command again: what arrived stays, and the record is attached",
        )
    return None


class _Fault(NamedTuple):
    """Why something failed."""

    kind: str | None
    message: str
    hint: str | None
    cause: Mapping[str, str] | None = None


def _whole(fault: _Fault, done: str) -> ImagepipeError:
    """Returns the fault as it is, or, where something is done nevertheless, as a partial failure that says what."""
    if not done:
        return _kind_of(fault.kind)(fault.message, hint=fault.hint, cause=fault.cause)
    return PartialError(
        f"{fault.message} ({done})",
        hint=fault.hint or "repair the target, then run the same command again",
        cause=fault.cause,
    )


def _unswitched(results: Sequence[TargetResult]) -> _Fault | None:
    """Returns why a target's containers do not run what they should, or None where they do; the worst counts."""
    bad = [one for result in results for one in result.activations if not one.outcome.good]
    if not bad:
        return None
    worst = max(bad, key=lambda one: ("untouched", "restored", "broken").index(one.outcome.value))
    return _Fault(worst.error_kind, str(worst.error), worst.hint)


def _by_target(done: Sequence[Promotion]) -> Mapping[str, list[TargetResult]]:
    """Returns what became of the images on each target, in the order in which targets are first named."""
    targets: dict[str, list[TargetResult]] = {}
    for each in done:
        for one in each.targets:
            targets.setdefault(one.target, []).append(one)
    return targets


def _cause(results: Sequence[TargetResult]) -> TargetResult | None:
    """Returns the failure by which a target failed, or None where it did not: the others only name it."""
    return next((one for one in results if not one.arrival.good and one.left_out_for is None), None)


def _target_document(results: Sequence[TargetResult]) -> dict[str, Any]:
    cause = _cause(results)
    blamed = next((one.left_out_for for one in results if one.left_out_for is not None), None)
    fresh = next((one for one in results if one.arrival.value == "promoted"), results[0])
    activations = [one.to_json() for result in results for one in result.activations]
    document: dict[str, Any] = {
        "target": results[0].target,
        "kind": results[0].kind.value,
        "outcome": (cause or fresh).arrival.value,
        **({"activation": activations} if activations else {}),
    }
    if cause is not None:
        document |= {
            "failed_image": str(blamed) if blamed else None,
            "error": {"kind": cause.error_kind, "message": cause.error},
            **({"hint": cause.hint} if cause.hint else {}),
        }
    return document


def _kind_of(kind: str | None) -> type[ImagepipeError]:
    """Returns the class of that kind anywhere in the tree."""
    found = [ImagepipeError]
    for branch in found:
        if branch.kind == kind:
            return branch
        found.extend(branch.__subclasses__())
    return ImagepipeError
