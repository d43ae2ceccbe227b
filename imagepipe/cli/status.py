"""`imagepipe status`: what targets hold, and whether that is what they were brought to."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from imagepipe.cli.command import Failure, command
from imagepipe.cli.outbox import tell_waiting
from imagepipe.cli.printing import clean
from imagepipe.cli.session import Session, error_body
from imagepipe.errors import (
    DriftError,
    ImagepipeError,
    NotFoundError,
    PartialError,
    SettingsError,
    UsageError,
    VerificationError,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from imagepipe.model.reference import Repository
    from imagepipe.promote.outbox import Waiting
    from imagepipe.promote.past import Past
    from imagepipe.promote.status import HeldImage, TargetStatus
    from imagepipe.wiring import Wiring

__all__ = ["register"]

_TIME: Final = "%Y-%m-%dT%H:%M:%SZ"


def register(app: typer.Typer) -> None:
    """Adds the command of this module."""
    command(app, "status")(status)


def status(
    session: Session,
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[TARGET...] [NAME...]",
            help="Targets or groups (default: all) and images as project/name or pipeline names "
            "(default: the pipelines here).",
            show_default=False,
        ),
    ] = None,
    detailed_exitcode: Annotated[
        bool,
        typer.Option(
            "--detailed-exitcode",
            help="Exit with 9 when a target lacks what it was brought to, or runs something else.",
        ),
    ] = False,
    at: Annotated[
        str | None,
        typer.Option(
            "--at", metavar="TIME", help="What targets had been brought to then, by records alone.", show_default=False
        ),
    ] = None,
) -> None:
    """Show what is held and what runs where.

    Images are promoted, present, unknown or drifted; beside that it tells what runs, who signed it, and how old it is.

    Drift is what a target lacks of what it was brought to, and what its containers run beside that. A TIME is ISO 8601,
    as in 2026-03-01T14:00:00+01:00; without a time zone it is UTC. With it no target is asked.
    """
    from imagepipe.promote.past import look_back
    from imagepipe.promote.status import survey

    if at is not None and detailed_exitcode:
        raise UsageError("--detailed-exitcode tells drift, and --at asks no target", hint="leave one of them out")
    then = moment_of(at) if at is not None else None
    wiring = session.wiring(session.settings())
    known = (*wiring.target_names, *wiring.group_names)
    targets = wiring.targets([name for name in names or () if name in known] or wiring.target_names)
    repositories = _repositories(wiring, [name for name in names or () if name not in known], known)
    if not known:
        raise SettingsError(
            "no target is configured", hint="add one with `imagepipe targets add`, or go where they are"
        )
    if then is not None:
        _tell_past(session, look_back(targets, repositories, then, wiring.promotion_world(reads_only=True)), then)
        return
    found = survey(targets, repositories, wiring.promotion_world(reads_only=True), jobs=wiring.target_jobs)
    error = _status_error(found) or (_drift(found) if detailed_exitcode else None)
    waiting = tell_waiting(session, wiring, repositories, [target.name for target in targets])
    session.answer(_status_document(found, waiting, error), "" if session.as_json else describe_status(found))
    if error is not None:
        session.fail(error)
        raise Failure(error.exit_code)


def _repositories(wiring: Wiring, names: Sequence[str], targets: Sequence[str]) -> tuple[Repository, ...]:
    """Returns the repositories that names stand for which are no targets.

    Raises:
        NotFoundError: One is no pipeline either, or none is given where there are none.
    """
    from imagepipe.problems import did_you_mean

    try:
        return wiring.repositories(names)
    except NotFoundError as error:
        likely = next((one for one in names if repr(one) in error.message and did_you_mean(one, targets)), None)
        if likely is None:
            raise
        raise NotFoundError(
            f"no target, group or pipeline named {likely!r}{did_you_mean(likely, targets)}",
            hint=f"targets and groups are: {', '.join(targets)}",
        ) from error


def _tell_past(session: Session, found: tuple[Past, ...], at: datetime) -> None:
    broken = [f"{one.target}: {told}" for one in found for told in one.breaks]
    error = None
    if broken:
        error = VerificationError(
            f"records are not whole, so what is told of {at:{_TIME}} may be wrong: {'; '.join(broken)}",
            hint="look at `imagepipe history`, and find out who deleted or wrote records",
        )
    document: dict[str, Any] = {
        "schema": "imagepipe.status/v1",
        "at": f"{at:{_TIME}}",
        "targets": [one.to_json() for one in found],
    }
    session.answer(document | ({"error": error_body(error)} if error else {}), describe_past(found))
    if error is not None:
        session.fail(error)
        raise Failure(error.exit_code)


def describe_past(found: tuple[Past, ...]) -> str:
    """Returns one line per image: target, image, how it came, when, on whose word."""
    lines = []
    for one in found:
        for image in one.images:
            entry = image.entry
            told = [one.target, str(image.repository.pin(entry.digest)), entry.kind.value, f"by {entry.signed_by}"]
            told += [f"#{entry.link.sequence} {entry.finished_at}", entry.reason]
            lines.append("\t".join(map(clean, told)).rstrip())
            lines += [f"{one.target}\t-\theld back\t{clean(held)}" for held in image.holds]
        if not one.images:
            lines.append(f"{one.target}\t-\tnothing on record then\t")
    return "\n".join(lines)


def moment_of(text: str) -> datetime:
    """Returns the time that the text spells, in UTC; without a time zone it is UTC.

    Raises:
        UsageError: It spells none, or one that is still to come.
    """
    try:
        told = datetime.fromisoformat(text)
        moment = told.astimezone(UTC) if told.tzinfo else told.replace(tzinfo=UTC)
    except (ValueError, OverflowError) as error:
        raise UsageError(
            f"--at {text!r}: no ISO 8601 time", hint="write it as 2026-03-01T14:00:00Z or 2026-03-01T14:00:00+01:00"
        ) from error
    if moment > datetime.now(UTC):
        raise UsageError(f"--at {text!r}: that time is still to come", hint="leave out --at to see what is there now")
    return moment


def _status_error(found: tuple[TargetStatus, ...]) -> ImagepipeError | None:
    away = [one.error for one in found if one.error is not None]
    if away and len(away) < len(found):
        return PartialError("; ".join(one.message for one in away), hint=away[0].hint)
    return away[0] if away else None


def _drift(found: tuple[TargetStatus, ...]) -> ImagepipeError | None:
    told = [f"{one.target}: {drift.message}" for one in found for drift in one.drift]
    if not told:
        return None
    return DriftError("; ".join(told), hint="promote it again and run that, or look into who changed it")


def _status_document(
    found: tuple[TargetStatus, ...], waiting: tuple[Waiting, ...], error: ImagepipeError | None
) -> dict[str, Any]:
    document: dict[str, Any] = {
        "schema": "imagepipe.status/v1",
        "targets": [one.to_json() for one in found],
        "waiting": [one.to_json() for one in waiting],
    }
    return document if error is None else document | {"error": error_body(error)}


def describe_status(found: tuple[TargetStatus, ...]) -> str:
    """Returns one line per image: target, image, state, signer, age, what runs; then one line per drift."""
    lines = []
    for one in found:
        if one.error is not None:
            what = "ledger unknown" if one.info else "away"
            lines.append(f"{one.target}\t-\t{what}\t{clean(one.error.message)}")
        for held in one.images:
            signed = f"signed by {held.signed_by}" if held.signed_by else "-" if one.error else "UNSIGNED"
            lines.append(f"{one.target}\t{held.image}\t{held.state}\t{signed}{_age(held)}{_containers(held)}")
        if not one.images and one.error is None:
            lines.append(f"{one.target}\t-\tholds none of these images\t")
        lines += [f"{one.target}\t-\tDRIFT\t{clean(drift.message)}" for drift in one.drift]
    return "\n".join(lines)


def _containers(held: HeldImage) -> str:
    return "\t" + ", ".join(clean(f"{one.name} {one.state}") for one in held.containers) if held.containers else ""


def _age(held: HeldImage) -> str:
    """Returns how long ago it was promoted, in the largest unit that counts."""
    if held.age_s is None:
        return ""
    units = (("d", 86400), ("h", 3600), ("min", 60), ("s", 1))
    unit, size = next(((unit, size) for unit, size in units if held.age_s >= size), units[-1])
    return f"\t{held.age_s // size} {unit} ago" + (", current" if held.current else "")
