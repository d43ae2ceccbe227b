"""`imagepipe history`, `rollback` and `reject`: what the ledger says, and what is written into it beside promotions."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from imagepipe.cli.command import Failure, command
from imagepipe.cli.outbox import send_waiting, tell_waiting
from imagepipe.cli.outcome import describe_plan, describe_promotion, outcome_error
from imagepipe.cli.printing import clean
from imagepipe.cli.promotion import BreakLock, require_reason
from imagepipe.cli.session import Session, error_body
from imagepipe.errors import ImagepipeError, NotFoundError, UnavailableError, VerificationError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from imagepipe.model.digest import Digest
    from imagepipe.model.host import Target
    from imagepipe.model.reference import Repository
    from imagepipe.promote.history import Happening, OnTarget
    from imagepipe.promote.ledger import Chain
    from imagepipe.promote.offline import Offline
    from imagepipe.promote.ports import World
    from imagepipe.promote.record import Promotion
    from imagepipe.promote.rollback import Way
    from imagepipe.wiring import Wiring

__all__ = ["register"]

_OFFLINE_HINT: Final = (
    "try again in a while; or go back to what the targets still hold with --offline, and read what that cannot verify"
)
_TAG_HINT: Final = "name images by digest (`imagepipe status` tells): what a tag means cannot be asked now"

Named = Annotated[
    str, typer.Argument(metavar="IMAGE|NAME", help="project/name[:tag|@digest], or a pipeline.", show_default=False)
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]


def register(app: typer.Typer) -> None:
    """Adds the commands of this module."""
    command(app, "rollback")(rollback)
    command(app, "history")(history)
    command(app, "reject")(reject)


def rollback(
    session: Session,
    name: Named,
    on: Annotated[list[str], typer.Option("--on", help="A target or a group; may be repeated.", show_default=False)],
    to: Annotated[
        str | None,
        typer.Option("--to", help="The digest or tag to go back to; default: the last good one.", show_default=False),
    ] = None,
    break_lock: BreakLock = False,
    activate: Annotated[
        list[str] | None,
        typer.Option(
            "--activate",
            help="A container on each target that is to run it; may be repeated.",
            show_default=False,
        ),
    ] = None,
    offline: Annotated[
        bool, typer.Option("--offline", help="Where the registry is away: by what this machine has kept of it.")
    ] = False,
    yes: Yes = False,
    reason: Annotated[str, typer.Option("--reason", help="Why; goes into the record and the hold.")] = "",
) -> None:
    """Bring targets back to the last good digest.

    It is verified again, and what they leave is held.

    An IMAGE names what is to be left, a NAME whatever a target is at. What was left is not promoted to that target
    again until `imagepipe promote --release-hold`. A way back waits for no soak, freeze or approval; to go --to a
    digest that was never good there is no way back, and waits.

    With --offline it also works while the registry is away, to what a target still holds and was proven to hold before.
    What could not be checked then is told, and the signed record waits on this machine until the registry is back.
    """
    require_reason(reason, {"--break-lock": break_lock})
    from imagepipe.promote.record import check_gates
    from imagepipe.promote.rollback import Way, apply_rollback, plan_rollback

    wiring = session.wiring(session.settings())
    targets = wiring.targets(on)
    try:
        repository, leaving = _named(wiring, name)
        way = Way(repository, leaving, _destination(wiring, repository, to), tuple(dict.fromkeys(activate or ())))
    except UnavailableError as error:
        error.hint = _TAG_HINT
        raise
    world = wiring.promotion_world(break_lock=break_lock)
    try:
        send_waiting(session, wiring, world)
        plans = plan_rollback(way, targets, world)
    except UnavailableError as error:
        if offline:
            session.warn(f"going offline: {error.message}")
            _roll_back_offline(session, (wiring, wiring.offline(world)), way, targets, yes=yes, reason=reason)
            return
        error.hint = _OFFLINE_HINT
        raise
    for plan in plans:
        check_gates(plan)
        session.say(describe_plan(plan).replace("promote", "roll back to", 1))
    session.confirm(f"Roll back {len(targets)} target{'s' if len(targets) > 1 else ''}?", yes=yes)
    done = apply_rollback(plans, world, reason=reason, jobs=wiring.target_jobs)
    _tell_rollback(session, repository, done, {})


def _roll_back_offline(
    session: Session,
    through: tuple[Wiring, Offline],
    way: Way,
    targets: tuple[Target, ...],
    *,
    yes: bool,
    reason: str,
) -> None:
    from imagepipe.promote.offline import apply_offline, plan_offline, unverified
    from imagepipe.promote.record import check_gates

    wiring, kept = through
    plans = plan_offline(way, targets, kept)
    for plan in plans:
        check_gates(plan)
        session.say(describe_plan(plan, pulls=False).replace("promote", "roll back, OFFLINE, to", 1))
        for gap in unverified(plan, kept):
            session.warn(f"NOT VERIFIED: {gap}")
    session.confirm(f"Roll back {len(targets)} target{'s' if len(targets) > 1 else ''} offline?", yes=yes)
    done = apply_offline(plans, kept, reason=reason, jobs=wiring.target_jobs)
    waiting = [one.waiting for one in done if one.waiting]
    for one in waiting:
        session.warn(f"the signed record waits in {one.file}; once the registry is back: imagepipe outbox --send")
    gaps = list(dict.fromkeys(gap for one in done for gap in one.unverified))
    told = {"offline": {"unverified": gaps, "waiting": [one.to_json() for one in waiting]}}
    _tell_rollback(session, way.repository, [one.promotion for one in done], told)


def _tell_rollback(session: Session, repository: Repository, done: Sequence[Promotion], more: dict[str, Any]) -> None:
    error = outcome_error(*done)
    lines = [describe_promotion(each) for each in done]
    session.answer(rollback_document(repository, done, error) | more, "\n".join(lines))
    if error is not None:
        session.fail(error)
        raise Failure(error.exit_code)


def history(session: Session, name: Named) -> None:
    """Show what happened to an image, or to all of a name.

    Builds, signatures, promotions, rollbacks and rejections, oldest first, each verified.
    """
    from imagepipe.promote.history import chains, decisions, merged, timeline

    wiring = session.wiring(session.settings())
    repository, digest = _named(wiring, name)
    targets = [wiring.target(one) for one in wiring.target_names]
    world = wiring.promotion_world(reads_only=True)
    found = chains(repository, targets, world, [digest] if digest else [])
    about = repository.pin(digest) if digest else repository
    signers, approvers = wiring.all_signatories, wiring.all_approvers
    images = [place.image for chain in found for place in chain.places]
    beside, odd = decisions(repository, [*images, *([digest] if digest else [])], signers, world, approvers)
    entries = timeline(repository.pin(digest), signers, world, approvers) if digest else merged(found, beside)
    broken = [*(f"{chain.target}: {one}" for chain in found for one in chain.breaks), *odd]
    error = None
    if broken:
        error = _broken(repository, broken, believed=bool(signers))
    waiting = tell_waiting(session, wiring, [repository], [target.name for target in targets])
    if not (entries or broken or waiting):
        _check_there(world, repository, digest)
    document = history_document(str(about), entries, found) | {"waiting": [one.to_json() for one in waiting]}
    session.answer(document | ({"error": error_body(error)} if error else {}), describe_history(entries))
    for note in (f"{chain.target}: {one}" for chain in found for one in chain.notes):
        session.say(f"note: {note}")
    if error is not None:
        session.fail(error)
        raise Failure(error.exit_code)


def reject(
    session: Session,
    image: Annotated[str, typer.Argument(help="host/project/name:tag or …@sha256:…", show_default=False)],
    reason: Annotated[str, typer.Option("--reason", help="Why; stands there for ever.", show_default=False)],
    yes: Yes = False,
) -> None:
    """Reject an image for ever.

    No target whose policy trusts you takes it from now on.
    That counts for this name of it: a copy that was made with --as is rejected by itself.
    """
    from imagepipe.promote.reject import reject as reject_image

    wiring = session.wiring(session.settings())
    reference = wiring.reference(image)
    # Naming image and reason is saying it; only a terminal is asked once more, because it cannot be taken back.
    session.confirm(f"Reject {reference} for ever?", yes=yes or not sys.stdin.isatty())
    done = reject_image(reference, reason, wiring.promotion_world())
    document = {
        "schema": "imagepipe.reject/v1",
        "image": str(done.image),
        "reason": reason,
        "by": str(done.signatory),
        "records": [{"image": str(at), "record": str(record)} for at, record in done.records],
        "not_rejected": [str(other) for other in done.elsewhere],
    }
    session.say(f"rejected by {done.signatory}")
    for other in done.elsewhere:
        session.warn(f"{other} is the same image, and is not rejected by that: reject it, too")
    session.answer(document, str(done.image))


def _broken(repository: Repository, told: Sequence[str], *, believed: bool) -> VerificationError:
    if not believed:
        return VerificationError(
            f"nothing of {repository} can be verified, for no policy is configured: {'; '.join(told)}",
            hint="add [policies.NAME] with signed_by to imagepipe.toml, and name it as the targets' policy",
        )
    return VerificationError(
        f"the ledger of {repository} is broken: {'; '.join(told)}",
        hint="find out who deleted or wrote records in this repository; the registry's audit log says",
    )


def rollback_document(
    repository: Repository, done: Sequence[Promotion], error: ImagepipeError | None
) -> dict[str, Any]:
    """Returns `imagepipe.rollback/v1`; `from` is what the ledger says that a target was at."""
    targets, plans = [], []
    for each in done:
        record = str(each.record) if each.record else None
        current = {one.target.name: str(one.current) if one.current else None for one in each.plan.targets}
        plans.append(
            {
                "image": str(each.plan.image),
                "plan": str(each.plan.digest),
                "gates": [gate.to_json() for gate in each.plan.gates],
                "record": record,
            }
        )
        for one in each.targets:
            told = {"image": str(each.plan.image), "from": current[one.target], "record": record}
            targets.append(one.to_json() | told | ({"hint": one.hint} if one.hint else {}))
    document: dict[str, Any] = {
        "schema": "imagepipe.rollback/v1",
        "repository": str(repository),
        "targets": targets,
        "plans": plans,
    }
    return document if error is None else document | {"error": error_body(error)}


def history_document(about: str, entries: Sequence[Happening], found: Sequence[Chain]) -> dict[str, Any]:
    """Returns `imagepipe.history/v1`: what happened, oldest first, and whether each target's chain is whole."""
    return {
        "schema": "imagepipe.history/v1",
        "about": about,
        "entries": [one.to_json() for one in entries],
        "chains": [
            {
                "target": chain.target,
                "records": len(chain.places),
                "current": str(chain.current.image) if chain.current else None,
                "intact": not chain.breaks,
                "breaks": list(chain.breaks),
                "notes": list(chain.notes),
            }
            for chain in found
        ],
    }


def describe_history(entries: Sequence[Happening]) -> str:
    """Returns one line per entry: when, what, which image, where, on whose word."""
    lines = []
    for one in entries:
        where = ", ".join(f"{at.target} #{at.sequence} {at.outcome}{_switched(at)}".rstrip() for at in one.targets)
        kind = f"{one.kind} OFFLINE" if one.unverified else one.kind
        told = [one.at or "-", kind, one.image.short, where or "-", one.standing.value, one.by or "-"]
        beside = f"with {', '.join(one.bundle)}" if one.bundle else ""
        lines.append("\t".join(map(clean, [*told, *(text for text in (beside, one.reason, one.why) if text)])))
    return "\n".join(lines)


def _switched(at: OnTarget) -> str:
    return f" ({', '.join(f'{name} {outcome}' for name, outcome in at.activation)})" if at.activation else ""


def _check_there(world: World, repository: Repository, digest: Digest | None) -> None:
    """Returns where there is something that nothing has happened to yet; else its name is hardly the right one."""
    from imagepipe.model.reference import Reference

    there = world.source.find(Reference(repository, digest=digest)) if digest else world.tags(repository)
    if not there:
        what = "no such image" if digest else "no image of that name"
        raise NotFoundError(
            f"history {repository.pin(digest) if digest else repository}: nothing is on record, and there is {what}",
            hint="correct the name: project/name as Harbor shows it, and the digest of an image in it",
        )


def _named(wiring: Wiring, text: str) -> tuple[Repository, Digest | None]:
    """Returns the repository, and the digest where an image of it is named."""
    if not any(char in text for char in "/:@"):
        (repository,) = wiring.repositories([text])
        return repository, None
    reference = wiring.reference(text)
    if reference.tag is None and reference.digest is None:
        return reference.repository, None
    return reference.repository, wiring.pin(text).digest


def _destination(wiring: Wiring, repository: Repository, to: str | None) -> Digest | None:
    if to is None:
        return None
    return wiring.pin(f"{repository}{'@' if to.startswith('sha256:') else ':'}{to}").digest
