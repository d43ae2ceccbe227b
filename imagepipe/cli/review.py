"""`imagepipe access review`: who has access to what, for people who sign it off, and what they decided carried out."""

from __future__ import annotations

import hashlib
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from imagepipe.cli.administration import ProjectNames, Yes, find, open_harbor
from imagepipe.cli.applying import applied_document, describe, outcome, summary
from imagepipe.cli.command import Failure
from imagepipe.cli.printing import clean
from imagepipe.cli.session import Session
from imagepipe.cli.tables import table
from imagepipe.errors import InputError, NotFoundError, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from imagepipe.access.signoff import SignedOff

__all__ = ["review"]


def review(
    session: Session,
    projects: ProjectNames = None,
    form: Annotated[str, typer.Option("--format", help="table, csv or markdown.")] = "table",
    soon: Annotated[int, typer.Option("--soon", min=0, max=36_500, help="What ends within so many days is told.")] = 30,
    idle: Annotated[
        int, typer.Option("--idle", min=1, max=36_500, help="Who was not seen for so many days is told.")
    ] = 90,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Write a CSV file to be signed off: decide every row.", show_default=False),
    ] = None,
    signed: Annotated[
        Path | None,
        typer.Option("--apply", help="Carry out exactly what was decided in this file.", show_default=False),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Also take your own right to administer a project.")] = False,
    yes: Yes = False,
) -> None:
    """List who has access to what, for somebody to decide on.

    Also what ends soon, and what nobody uses; what was decided is carried out by --apply.
    """
    from imagepipe.access.review import HEADINGS, ReviewOptions, to_csv, to_markdown
    from imagepipe.access.review import review as look
    from imagepipe.access.signoff import to_signoff
    from imagepipe.wiring import SystemClock

    if form not in ("table", "csv", "markdown"):
        raise UsageError(f"--format {form[:40]!r} is not known", hint="use table, csv or markdown")
    if signed is not None:
        if projects or output:
            raise UsageError("--apply holds projects and decisions: give no projects and no -o beside it")
        _apply(session, signed, force=force, yes=yes)
        return
    admin = open_harbor(session)
    found = [find(name, admin) for name in dict.fromkeys(projects)] if projects else None
    options = ReviewOptions(SystemClock().now(), timedelta(days=soon), timedelta(days=idle))
    rows = look(found, admin, options, sink=session.sink)
    if output is not None:
        _write(output, to_signoff(rows))
        session.say(f"fill in decision, reviewer and date, then: imagepipe access review --apply {output}")
    document = {"schema": "imagepipe.access-review/v1", "rows": [row.to_json() for row in rows]}
    writers = {"csv": to_csv, "markdown": to_markdown}
    text = writers[form](rows) if form in writers else table(HEADINGS, [row.cells() for row in rows])
    session.answer(document, text)


def _apply(session: Session, file: Path, *, force: bool, yes: bool) -> None:
    from imagepipe.access.apply import apply_plan
    from imagepipe.access.plan import plan_access
    from imagepipe.access.secrets import nowhere
    from imagepipe.access.signoff import latest_day, parse_signoff, read_rosters, wanted_by
    from imagepipe.wiring import SystemClock

    content = _read(file)
    decisions = parse_signoff(_text(content, file), file=str(file), today=latest_day(SystemClock().now()))
    admin = open_harbor(session)
    rosters = read_rosters(decisions, admin)
    desired = wanted_by(decisions, rosters)
    states = {name: roster.state for name, roster in rosters.items()}
    made = plan_access(desired, states, caller=admin.callers.caller(), force=force, folds=admin.folds)
    session.say("\n".join(filter(None, (describe(made), summary(made), f"signed off by {_reviewers(decisions)}"))))
    if made.changes:
        session.confirm("Make these changes?", yes=yes)
    applied = apply_plan(made, desired, admin, deliver=nowhere, sink=session.sink)
    error = outcome(applied)
    document = applied_document(applied, error) | {
        "review": {"file": str(file), "digest": f"sha256:{hashlib.sha256(content).hexdigest()}"},
        "signed_off": [one.to_json() for one in decisions],
    }
    session.answer(document, "\n".join(one.describe() for one in applied.done))
    if error is not None:
        session.fail(error)
        raise Failure(error.exit_code)


def _reviewers(decisions: Sequence[SignedOff]) -> str:
    return ", ".join(dict.fromkeys(f"{clean(one.reviewer)} on {one.on}" for one in decisions))


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except FileNotFoundError as error:
        raise NotFoundError(f"{file}: no such file", hint="make one with `imagepipe access review -o FILE`") from error
    except OSError as error:
        raise InputError(f"{file}: cannot be read: {error.strerror}", hint="name the signed-off CSV file") from error


def _text(content: bytes, file: Path) -> str:
    """Returns a file's text; a spreadsheet ends lines as its system does."""
    try:
        return content.decode().replace("\r\n", "\n").replace("\r", "\n")
    except UnicodeDecodeError as error:
        raise InputError(f"{file}: cannot be read: {error}", hint="save it as CSV in UTF-8") from error


def _write(file: Path, text: str) -> None:
    try:
        file.write_text(text, encoding="utf-8")
    except OSError as error:
        raise InputError(f"{file}: cannot be written: {error.strerror}", hint="name another file with -o") from error
