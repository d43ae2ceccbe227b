"""`imagepipe promote`."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from imagepipe.cli.command import Failure, command
from imagepipe.cli.outbox import require_readable, send_waiting
from imagepipe.cli.outcome import bundle_document, describe_bundle, describe_plans, outcome_error
from imagepipe.cli.session import Session
from imagepipe.errors import GateError, InputError, NotFoundError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from imagepipe.model.promotion import PromotionPlan, Terms
    from imagepipe.promote.ports import World
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
    image: Annotated[
        list[str] | None,
        typer.Argument(
            help="host/project/name:tag or …@sha256:…; several are a bundle: all or nothing per target.",
            show_default=False,
        ),
    ] = None,
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
    max_age: Annotated[
        float, typer.Option("--max-age", help="How old a saved plan may be, in hours.", min=0, max=876_000)
    ] = 24.0,
    activate: Annotated[
        list[str] | None,
        typer.Option(
            "--activate",
            help="A container on each target that is to run the image; may be repeated. None is switched before all "
            "targets hold everything.",
            show_default=False,
        ),
    ] = None,
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
    """Bring images, by digest, onto targets, and prove what arrived."""
    require_reason(reason, {"--override-freeze": override_freeze, "--break-lock": break_lock})
    if plan_file is not None:
        if image or to or as_name or output or activate or release_hold or override_freeze:
            raise UsageError("--plan holds image, targets and all: give nothing of that beside it")
        wiring = session.wiring(session.settings())
        world = wiring.promotion_world(break_lock=break_lock)
        require_readable(wiring)
        send_waiting(session, wiring, world)
        _promote_saved(session, plan_file, (wiring, world), max_age, yes=yes, reason=reason)
        return
    if not image or not to:
        raise UsageError("name an IMAGE and at least one target with --to, or a saved plan with --plan")
    if as_name and len(image) > 1:
        raise UsageError("--as names the copy of one image", hint="promote each copy by itself, or leave --as out")
    from imagepipe.model.promotion import Terms
    from imagepipe.promote.bundle import make_plans
    from imagepipe.promote.plan import observe

    wiring = session.wiring(session.settings())
    targets = wiring.targets(to)
    world = wiring.promotion_world(break_lock=break_lock)
    require_readable(wiring)
    if output is None:
        send_waiting(session, wiring, world)
    terms = Terms(release_hold, override_freeze)
    name = wiring.reference(as_name) if as_name else None
    asked = [(text, wiring.reference(text)) for text in image]
    plans = make_plans(asked, targets, world, terms=terms, name=name, activate=activate or ())
    _check(session, plans, later=output is not None)
    if output is not None or (not yes and sys.stdin.isatty()):
        plans = tuple(observe(plan, world, jobs=wiring.target_jobs) for plan in plans)
    if output is not None:
        _save(session, plans, world, output, reason=reason, terms=terms)
        return
    _carry_out(session, plans, (wiring, world), yes=yes, reason=reason)


def _check(session: Session, plans: Sequence[PromotionPlan], *, later: bool) -> None:
    """Returns when every gate passed; else shows every verdict, those of the other images of a bundle too."""
    from imagepipe.promote.record import check_gates

    try:
        check_gates(*plans, later=later)
    except GateError:
        session.say(describe_plans(plans))
        raise


def _save(
    session: Session, plans: Sequence[PromotionPlan], world: World, file: Path, *, reason: str, terms: Terms
) -> None:
    from imagepipe.promote.saved import SavedPlan

    saved = SavedPlan.of(plans, world, reason=reason, terms=terms)
    try:
        file.write_text(saved.text(), encoding="utf-8")
    except OSError as error:
        raise InputError(f"{file}: cannot be written: {error.strerror}", hint="name another file with -o") from error
    session.say(describe_plans(plans))
    session.say("\n".join(["saved", *_steps_left(plans, saved, file)]))
    session.answer(saved.to_json(), str(saved.digest))


def _steps_left(plans: Sequence[PromotionPlan], saved: SavedPlan, file: Path) -> list[str]:
    """Returns what is left to do, a line each."""
    waits = [f"it waits for {gate.gate}: {gate.reason}" for plan in plans for gate in plan.refused]
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
    references = [wiring.reference(plan.requested) for plan in saved.plans]
    plans = refresh(saved, references, targets, world, max_age_h=max_age_h)
    still = partial(check_ledger, saved, world)
    _carry_out(session, plans, through, yes=yes, reason=_both(saved.reason, reason), still=still)


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
    plans: Sequence[PromotionPlan],
    through: tuple[Wiring, World],
    *,
    yes: bool,
    reason: str,
    still: Callable[[], None] | None = None,
) -> None:
    from imagepipe.promote.record import apply_all

    session.say(describe_plans(plans))
    count, what = len(plans[0].targets), f" {len(plans)} images" if len(plans) > 1 else ""
    session.confirm(f"Promote{what} to {count} target{'s' if count > 1 else ''}?", yes=yes)
    wiring, world = through
    done = apply_all(plans, world, reason=reason, jobs=wiring.target_jobs, still=still)
    error = outcome_error(*done)
    session.answer(bundle_document(done, error), "" if session.as_json else describe_bundle(done))
    if error is not None:
        session.fail(error)
        raise Failure(error.exit_code)
