"""`imagepipe promote`."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from imagepipe.cli.command import Failure, command
from imagepipe.cli.session import Session, error_body
from imagepipe.errors import ImagepipeError, InputError, NotFoundError, PartialError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from imagepipe.model.promotion import GateVerdict, PromotionPlan, TargetResult, Terms
    from imagepipe.promote.ports import World
    from imagepipe.promote.record import Promotion
    from imagepipe.promote.saved import SavedPlan
    from imagepipe.wiring import Wiring

__all__ = ["register"]

BreakLock = Annotated[
    bool,
    typer.Option("--break-lock", help="Take away the lock that another machine left on a target; wants a --reason."),
]


def register(app: typer.Typer) -> None:
    """Adds the commands of this module."""
    command(app, "promote")(promote)


def promote(
    session: Session,
    image: Annotated[str | None, typer.Argument(help="host/project/name:tag or …@sha256:…", show_default=False)] = None,
    to: Annotated[
        list[str] | None, typer.Option("--to", help="A target or a group; may be repeated.", show_default=False)
    ] = None,
    as_name: Annotated[
        str | None,
        typer.Option(
            "--as",
            metavar="NAME:TAG",
            help="Copy it inside the registry first, with all its evidence, and let targets pull the copy; wants --to.",
            show_default=False,
        ),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Save the plan to this file, and do nothing else.")
    ] = None,
    plan_file: Annotated[
        Path | None, typer.Option("--plan", help="Carry out exactly this saved plan.", show_default=False)
    ] = None,
    max_age: Annotated[float, typer.Option("--max-age", help="How old a saved plan may be, in hours.", min=0)] = 24.0,
    release_hold: Annotated[
        bool, typer.Option("--release-hold", help="Bring back what a target was rolled back from.")
    ] = False,
    override_freeze: Annotated[
        bool, typer.Option("--override-freeze", help="Promote what a policy has frozen; wants a --reason.")
    ] = False,
    break_lock: BreakLock = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    reason: Annotated[str, typer.Option("--reason", help="Why; goes into the record.")] = "",
) -> None:
    """Bring an image, by digest, onto targets, and prove what arrived."""
    require_reason(reason, {"--override-freeze": override_freeze, "--break-lock": break_lock})
    if plan_file is not None:
        if image or to or as_name or output or release_hold or override_freeze:
            raise UsageError("--plan holds image, targets and all: give nothing of that beside it")
        wiring = session.wiring(session.settings())
        world = wiring.promotion_world(break_lock=break_lock)
        _promote_saved(session, plan_file, (wiring, world), max_age, yes=yes, reason=reason)
        return
    if not image or not to:
        raise UsageError("name an IMAGE and at least one target with --to, or a saved plan with --plan")
    from imagepipe.model.promotion import Terms
    from imagepipe.promote.plan import make_plan, observe
    from imagepipe.promote.record import check_gates

    wiring = session.wiring(session.settings())
    targets = wiring.targets(to)
    world = wiring.promotion_world(break_lock=break_lock)
    terms = Terms(release_hold, override_freeze)
    name = wiring.reference(as_name) if as_name else None
    plan = make_plan(image, wiring.reference(image), targets, world, terms=terms, name=name)
    check_gates(plan, later=output is not None)
    if output is not None or (not yes and sys.stdin.isatty()):
        plan = observe(plan, world, jobs=wiring.target_jobs)
    if output is not None:
        _save(session, plan, world, output, reason=reason, terms=terms)
        return
    _carry_out(session, plan, (wiring, world), yes=yes, reason=reason)


def _save(session: Session, plan: PromotionPlan, world: World, file: Path, *, reason: str, terms: Terms) -> None:
    from imagepipe.promote.saved import SavedPlan

    saved = SavedPlan.of(plan, world, reason=reason, terms=terms)
    try:
        file.write_text(saved.text(), encoding="utf-8")
    except OSError as error:
        raise InputError(f"{file}: cannot be written: {error.strerror}", hint="name another file with -o") from error
    session.say(describe_plan(plan))
    session.say("\n".join(["saved", *_steps_left(plan, saved, file)]))
    session.answer(saved.to_json(), str(plan.digest))


def _steps_left(plan: PromotionPlan, saved: SavedPlan, file: Path) -> list[str]:
    """Returns what is left to do, a line each."""
    waits = [f"it waits for {gate.gate}: {gate.reason}" for gate in plan.refused]
    approve = [f"have it approved with: imagepipe approve {file}"] if saved.made_by else []
    return [*waits, *approve, f"carry it out with: imagepipe promote --plan {file}"]


def require_reason(reason: str, flags: Mapping[str, bool]) -> None:
    """Returns when a reason is given, or none of the flags that go on record.

    Raises:
        UsageError: One is, and says nothing of why.
    """
    for flag, given in flags.items():
        if given and not reason.strip():
            raise UsageError(f"{flag} goes on record, and wants a --reason", hint="say why with --reason")


def _promote_saved(
    session: Session, file: Path, through: tuple[Wiring, World], max_age_h: float, *, yes: bool, reason: str
) -> None:
    from imagepipe.promote.saved import check_ledger, refresh

    (wiring, world), saved = through, read_plan(file)
    targets = {name: wiring.target(name) for name in wiring.target_names}
    reference = wiring.reference(saved.plan.requested)
    plan = refresh(saved, reference, targets, world, max_age_h=max_age_h)
    still = partial(check_ledger, saved, world)
    _carry_out(session, plan, through, yes=yes, reason=_both(saved.reason, reason), still=still)


def _both(saved: str, now: str) -> str:
    """Returns the reason that whoever agreed to the plan has read, with what is said when it is carried out."""
    return "; ".join(dict.fromkeys(one for one in (saved, now) if one))


def read_plan(file: Path) -> SavedPlan:
    """Returns the plan that `promote -o` saved in a file.

    Raises:
        NotFoundError: There is no such file.
        InputError: It cannot be read, is no plan, or was changed since.
    """
    from imagepipe.promote.saved import SavedPlan

    try:
        return SavedPlan.parse(file.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise NotFoundError(f"{file}: no such file", hint="make a plan with `imagepipe promote … -o FILE`") from error
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{file}: cannot be read: {error}", hint="give a file that -o wrote") from error
    except InputError as error:
        raise error.doing(str(file)) from error


def _carry_out(
    session: Session,
    plan: PromotionPlan,
    through: tuple[Wiring, World],
    *,
    yes: bool,
    reason: str,
    still: Callable[[], None] | None = None,
) -> None:
    from imagepipe.promote.record import apply

    session.say(describe_plan(plan))
    count = len(plan.targets)
    session.confirm(f"Promote to {count} target{'s' if count > 1 else ''}?", yes=yes)
    wiring, world = through
    promotion = apply(plan, world, reason=reason, jobs=wiring.target_jobs, still=still)
    error = outcome_error(promotion)
    session.answer(promotion_document(promotion, error), "" if session.as_json else describe_promotion(promotion))
    if error is not None:
        session.fail(error)
        raise Failure(error.exit_code)


def describe_plan(plan: PromotionPlan) -> str:
    """Returns the plan as an operator reads it before agreeing."""
    lines = [f"promote {plan.image}", f"  requested as {plan.requested}; plan {plan.digest.short}"]
    if plan.copying:
        lines.append(f"  copy {plan.copying.source} inside the registry, named {plan.copying.name} when all is there")
    lines += [f"  gate {gate.gate}: {_said(gate)}: {gate.reason}" for gate in plan.gates]
    for one in plan.targets:
        how = f"pull {one.carrier.tag}" if one.carrier and one.carrier.tag else "pull by digest"
        now = f"from {one.current}" if one.current else "from nothing on record"
        if one.previous is not None:
            now += f" (holds {len(one.previous)} of this repository)"
        lines.append(f"  {one.target.name} ({one.target.kind.value}): {now} to manifest {one.image.digest}, {how}")
    return "\n".join(lines)


def _said(gate: GateVerdict) -> str:
    return "ok" if gate.passed else "not yet" if gate.waits else "NO"


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
    if plan.copying:
        document["copy"] = plan.copying.to_json()
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
            cause=failed[0].cause,
        )
    if promotion.record_error is not None:
        return PartialError(
            f"every target holds the image, but it is not on record: {promotion.record_error.message}",
            hint="run the same command again: what arrived stays, and the record is attached",
        )
    return None


def _failure(failed: tuple[TargetResult, ...]) -> ImagepipeError:
    """Returns one error for all, of the first failure's own kind and exit code."""
    first = failed[0]
    return _kind_of(first.error_kind)("; ".join(str(one.error) for one in failed), hint=first.hint, cause=first.cause)


def _kind_of(kind: str | None) -> type[ImagepipeError]:
    """Returns the class of that kind anywhere in the tree."""
    found = [ImagepipeError]
    for branch in found:
        if branch.kind == kind:
            return branch
        found.extend(branch.__subclasses__())
    return ImagepipeError
