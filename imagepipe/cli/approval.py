"""`imagepipe approve`: agree to a saved plan, as somebody other than who made it and who carries it out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from imagepipe.cli.command import command
from imagepipe.cli.outcome import describe_plans
from imagepipe.cli.printing import clean
from imagepipe.cli.promotion import read_plan
from imagepipe.cli.session import Session

if TYPE_CHECKING:
    from imagepipe.promote.approve import Approved
    from imagepipe.promote.saved import SavedPlan

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Adds the command of this module."""
    command(app, "approve")(approve)


def approve(
    session: Session,
    file: Annotated[Path, typer.Argument(metavar="PLAN", help="What `promote -o` saved.", show_default=False)],
    max_age: Annotated[
        float, typer.Option("--max-age", help="How old the plan may be, in hours.", min=0, max=876_000)
    ] = 24.0,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    reason: Annotated[str, typer.Option("--reason", help="Why; stands in the approval.")] = "",
) -> None:
    """Approve a saved plan.

    Signs that exactly it may be carried out, and attaches that to the image.
    Nothing is promoted, and no target is asked. A rollback needs no approval.
    """
    from dataclasses import replace

    from imagepipe.promote.approve import Desk
    from imagepipe.promote.saved import review

    saved = read_plan(file)
    wiring = session.wiring(session.settings())
    world = wiring.promotion_world()
    targets = {name: wiring.target(name) for name in wiring.target_names}
    references = [wiring.reference(plan.requested) for plan in saved.plans]
    plans = review(saved, references, targets, world, max_age_h=max_age)
    desk = Desk(saved, world)
    if not desk.done:
        # What every target held stands in the file; the gates are as they are now.
        shown = [replace(now, targets=plan.targets) for now, plan in zip(plans, saved.plans, strict=True)]
        session.say(describe_saved(replace(saved, plans=tuple(shown))))
        session.confirm(f"Approve this plan as {desk.signatory}?", yes=yes)
    done = desk.approve(reason)
    session.say(f"{'approved' if done.created else 'approved before'} by {desk.signatory}")
    for gate in done.gates:
        session.say(f"  gate {gate.gate}: {'ok' if gate.passed else 'not yet'}: {clean(gate.reason)}")
    if all(gate.passed for gate in done.gates):
        session.say(f"carry it out with: imagepipe promote --plan {file}")
    session.answer(approve_document(saved, desk.signatory, done), str(saved.digest))


def describe_saved(saved: SavedPlan) -> str:
    """Returns the plan with all that is in its file, as an approver reads it."""
    made = f"made by {clean(saved.made_by)} on" if saved.made_by else "made on"
    lines = [f"  {made} {saved.created:%Y-%m-%dT%H:%M:%SZ}" + (f": {clean(saved.reason)}" if saved.reason else "")]
    flags = {"--release-hold": saved.terms.release_hold, "--override-freeze": saved.terms.override_freeze}
    lines += [f"  with {flag}" for flag, given in flags.items() if given]
    return "\n".join([describe_plans(saved.plans), *lines])


def approve_document(saved: SavedPlan, signatory: Any, done: Approved) -> dict[str, Any]:
    """Returns `imagepipe.approve/v1`; the images of a bundle stand in `images`, each with its record."""
    images = [{"image": str(image), "record": str(record)} for image, record in done.records.items()]
    return {
        "schema": "imagepipe.approve/v1",
        **(images[0] if len(images) == 1 else {"images": images}),
        "plan": str(saved.digest),
        "seal": str(saved.seal),
        "by": str(signatory),
        "created": done.created,
        "gates": [gate.to_json() for gate in done.gates],
    }
