"""`imagepipe promote` and `imagepipe status`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from imagepipe.cli.command import Failure, command
from imagepipe.cli.session import Session, error_body
from imagepipe.errors import ImagepipeError, PartialError

if TYPE_CHECKING:
    from imagepipe.model.promotion import PromotionPlan, TargetResult
    from imagepipe.promote.record import Promotion
    from imagepipe.promote.status import TargetStatus

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Adds the commands of this module."""
    command(app, "promote")(promote)
    command(app, "status")(status)


def promote(
    session: Session,
    image: Annotated[str, typer.Argument(help="host/project/name:tag or …@sha256:…", show_default=False)],
    to: Annotated[list[str], typer.Option("--to", help="A target; may be repeated.", show_default=False)],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    reason: Annotated[str, typer.Option("--reason", help="Why; goes into the record.")] = "",
) -> None:
    """Bring an image, by digest, onto targets, and prove what arrived."""
    from imagepipe.promote.plan import make_plan
    from imagepipe.promote.record import apply, check_gates

    wiring = session.wiring(session.settings())
    targets = tuple(wiring.target(name) for name in dict.fromkeys(to))
    world = wiring.promotion_world()
    plan = make_plan(image, wiring.reference(image), targets, world)
    check_gates(plan)
    session.say(describe_plan(plan))
    session.confirm(f"Promote to {len(targets)} target{'s' if len(targets) > 1 else ''}?", yes=yes)
    promotion = apply(plan, world, reason=reason, jobs=wiring.target_jobs)
    error = outcome_error(promotion)
    session.answer(promotion_document(promotion, error), "" if session.as_json else describe_promotion(promotion))
    if error is not None:
        session.fail(error)
        raise Failure(error.exit_code)


def describe_plan(plan: PromotionPlan) -> str:
    """Returns the plan as an operator reads it before agreeing."""
    lines = [f"promote {plan.image}", f"  requested as {plan.requested}; plan {plan.digest.short}"]
    lines += [f"  gate {gate.gate}: {'ok' if gate.passed else 'NO'}: {gate.reason}" for gate in plan.gates]
    for one in plan.targets:
        how = f"pull {one.carrier.tag}" if one.carrier and one.carrier.tag else "pull by digest"
        lines.append(f"  {one.target.name} ({one.target.kind.value}): manifest {one.image.digest}, {how}")
    return "\n".join(lines)


def describe_promotion(promotion: Promotion) -> str:
    """Returns one line per target: the answer on stdout."""
    return "\n".join(f"{one.target}\t{one.arrival.value}\t{one.digest}" for one in promotion.targets)


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
    if error is not None:
        document["error"] = error_body(error)
    return document


def outcome_error(promotion: Promotion) -> ImagepipeError | None:
    """Returns the error that the whole promotion ends in, or None.

    All failed: the first failure's own exit code. Some failed, or all arrived without a record: partial.
    """
    failed = promotion.failed
    if failed and len(failed) == len(promotion.targets):
        return _failure(failed)
    if failed:
        names = ", ".join(one.target for one in promotion.targets if one.arrival.good)
        return PartialError(
            "; ".join(str(one.error) for one in failed) + f" (done: {names})",
            hint=failed[0].hint or "repair the target, then run the same command again",
        )
    if promotion.record_error is not None:
        return PartialError(
            f"every target holds the image, but it is not on record: {promotion.record_error.message}",
            hint="run the same command again: what arrived stays, and the record is attached",
        )
    return None


def _failure(failed: tuple[TargetResult, ...]) -> ImagepipeError:
    """Returns one error for all, of the first failure's own kind and exit code."""
    return _kind_of(failed[0].error_kind)("; ".join(str(one.error) for one in failed), hint=failed[0].hint)


def _kind_of(kind: str | None) -> type[ImagepipeError]:
    """Returns the class of that kind anywhere in the tree."""
    found = [ImagepipeError]
    for branch in found:
        if branch.kind == kind:
            return branch
        found.extend(branch.__subclasses__())
    return ImagepipeError


def status(
    session: Session,
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[TARGET...] [NAME...]",
            help="Targets (default: all) and images as project/name or pipeline names (default: the pipelines here).",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Show what is held where: promoted, present, signed."""
    from imagepipe.promote.status import survey

    wiring = session.wiring(session.settings())
    known = wiring.target_names()
    chosen = [name for name in names or () if name in known]
    targets = tuple(wiring.target(name) for name in chosen or known)
    repositories = wiring.repositories([name for name in names or () if name not in known])
    found = survey(targets, repositories, wiring.promotion_world(), jobs=wiring.target_jobs)
    error = _status_error(found)
    session.answer(_status_document(found, error), "" if session.as_json else describe_status(found))
    if error is not None:
        session.fail(error)
        raise Failure(error.exit_code)


def _status_error(found: tuple[TargetStatus, ...]) -> ImagepipeError | None:
    away = [one.error for one in found if one.error is not None]
    if away and len(away) < len(found):
        return PartialError("; ".join(one.message for one in away), hint=away[0].hint)
    return away[0] if away else None


def _status_document(found: tuple[TargetStatus, ...], error: ImagepipeError | None) -> dict[str, Any]:
    document: dict[str, Any] = {"schema": "imagepipe.status/v1", "targets": [one.to_json() for one in found]}
    return document if error is None else document | {"error": error_body(error)}


def describe_status(found: tuple[TargetStatus, ...]) -> str:
    """Returns one line per image held: target, image, state, signer."""
    lines = []
    for one in found:
        if one.error is not None:
            lines.append(f"{one.target}\t-\taway\t{one.error.message}")
            continue
        for held in one.images:
            signed = f"signed by {held.signed_by}" if held.signed_by else "UNSIGNED"
            lines.append(f"{one.target}\t{held.image}\t{held.state}\t{signed}")
        if not one.images:
            lines.append(f"{one.target}\t-\tholds none of these images\t")
    return "\n".join(lines)
