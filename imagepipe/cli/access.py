"""`imagepipe access export|plan|apply|review|log|why`."""

from __future__ import annotations

import json
from contextlib import nullcontext
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from imagepipe.cli.administration import ProjectNames, Yes, find, open_harbor
from imagepipe.cli.applying import applied_document, describe, outcome, summary
from imagepipe.cli.command import Failure, command
from imagepipe.cli.printing import clean
from imagepipe.cli.review import review
from imagepipe.cli.secrets import StdinForm, ToCommand, command_of, delivery, under_mark
from imagepipe.cli.session import Session
from imagepipe.cli.tables import table
from imagepipe.errors import (
    CredentialsError,
    DriftError,
    InputError,
    NotFoundError,
    PartialError,
    UsageError,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from imagepipe.access.changes import Making
    from imagepipe.access.handover import SecretCommand
    from imagepipe.access.secrets import SecretFolder
    from imagepipe.access.state import AccessPlan, DesiredProject
    from imagepipe.model.access import RobotSecret
    from imagepipe.ports.administration import Administration

__all__ = ["register"]

AccessFile = Annotated[Path, typer.Argument(metavar="FILE", help="The access file (YAML).", show_default=False)]
Force = Annotated[bool, typer.Option("--force", help="Also take your own right to administer a project.")]

_LINES = 100
_LOG_S = 60.0


def register(app: typer.Typer) -> None:
    """Adds the commands of this module."""
    access = typer.Typer(help="Access to projects as code, and who has it.", no_args_is_help=True)
    command(access, "export")(export)
    command(access, "plan")(plan)
    command(access, "apply")(apply)
    command(access, "review")(review)
    command(access, "log")(log)
    command(access, "why")(why)
    app.add_typer(access, name="access")


def export(session: Session, projects: ProjectNames = None) -> None:
    """Print the access file that describes projects as they are."""
    from imagepipe.access.document import dump_access
    from imagepipe.access.read import read_access

    admin = open_harbor(session)
    for name in projects or ():
        find(name, admin)
    states = read_access(projects or None, admin, sink=session.sink)
    if not states:
        raise NotFoundError("there is no project whose members you may see", hint="check as whom you ask Harbor")
    document = {
        "schema": "imagepipe.access-export/v1",
        "projects": [state.to_json() for _, state in sorted(states.items())],
    }
    session.answer(document, dump_access(states, roles=admin.roles))


def plan(
    session: Session,
    file: AccessFile,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Save the plan to this file.", show_default=False)
    ] = None,
    detailed: Annotated[bool, typer.Option("--detailed-exitcode", help="Exit 9 when there are changes.")] = False,
    force: Force = False,
) -> None:
    """Show what `apply` would change, and change nothing."""
    admin = open_harbor(session)
    _, made = _plan(session, file, admin, force=force)
    if output is not None:
        _save(output, made)
    session.answer(made.to_json(), describe(made))
    session.say(summary(made))
    if detailed and made.changes:
        raise Failure(DriftError.exit_code)


def apply(
    session: Session,
    file: AccessFile,
    plan_file: Annotated[
        Path | None, typer.Option("--plan", help="Carry out exactly this saved plan.", show_default=False)
    ] = None,
    secrets: Annotated[
        Path | None, typer.Option("--secrets", help="Folder for new robots' secrets.", show_default=False)
    ] = None,
    to_command: ToCommand = None,
    stdin: StdinForm = "secret",
    force: Force = False,
    yes: Yes = False,
) -> None:
    """Bring Harbor to what the file says, and prove it by reading again."""
    from imagepipe.access.apply import apply_plan
    from imagepipe.access.secrets import SecretFolder
    from imagepipe.access.state import AccessPlan

    saved = None if plan_file is None else AccessPlan.from_json(_load(plan_file))
    admin = open_harbor(session)
    desired, made = _plan(session, file, admin, force=force or saved is not None)
    made = saved or made
    taker = None if to_command is None else command_of(session, to_command, stdin=stdin)
    folder = None if secrets is None else SecretFolder(secrets)
    deliver, making = _delivery(session, made, admin, folder, taker)
    session.say("\n".join(filter(None, (describe(made), summary(made)))))
    if made.changes:
        session.confirm("Make these changes?", yes=yes)
    applied = apply_plan(made, desired, admin, deliver=deliver, making=making, sink=session.sink)
    error = outcome(applied) or (None if folder is None else _lost(folder, desired))
    session.answer(applied_document(applied, error), "\n".join(one.describe() for one in applied.done))
    if error is not None:
        session.fail(error)
        raise Failure(error.exit_code)


def log(
    session: Session,
    projects: ProjectNames = None,
    since: Annotated[
        str | None, typer.Option("--since", help="A date or time (ISO 8601; UTC without a zone).", show_default=False)
    ] = None,
    last: Annotated[
        int | None, typer.Option("--last", min=1, help="The newest so many; default: 100, all with --since.")
    ] = None,
    following: Annotated[bool, typer.Option("--follow", "-f", help="Go on with what is done from now on.")] = False,
) -> None:
    """Show who did what in projects, oldest first: Harbor's audit log."""
    import time

    from imagepipe.access.log import HEADINGS, follow, read_log
    from imagepipe.fanout import within

    if following and session.as_json:
        raise UsageError("--follow has no end, and --json is one document", hint="leave one of them out")
    start = None if since is None else _moment(since)
    admin = open_harbor(session)
    admin.require_audit()
    found = [find(name, admin) for name in dict.fromkeys(projects)] if projects else None
    shown = last or (_LINES if start is None else None)
    lines = read_log(found, admin, since=start, last=shown, sink=session.sink)
    document = {"schema": "imagepipe.access-log/v1", "entries": [line.to_json() for line in lines]}
    read_on = session.answer(document, table(HEADINGS, [line.cells() for line in lines]))
    if last is None and len(lines) == shown:
        session.say(f"these are the newest {shown}; there may be more: add --since or --last")
    if not (following and read_on):
        return
    session.say("waiting for what comes; Ctrl-C ends it")
    read = partial(read_log, found, admin)
    again = follow(
        lines,
        lambda edge: within(_LOG_S, "read the audit log", lambda: read(since=edge)),
        time.sleep,
        since=start,
        sink=session.sink,
    )
    for fresh in again:
        if not session.answer({}, "\n".join("\t".join(map(clean, line.cells())) for line in fresh)):
            return


def why(
    session: Session,
    image: Annotated[str, typer.Argument(help="project/name:tag, what was refused.", show_default=False)],
    push: Annotated[bool, typer.Option("--push", help="It was a push; default: a pull.")] = False,
    who: Annotated[
        str | None, typer.Option("--as", help="A user or robot of the project; default: you.", show_default=False)
    ] = None,
) -> None:
    """Ask Harbor why it refuses a pull or push.

    Tells the most likely cause, and what ends it.
    """
    from imagepipe.access.explain import Facts, Image, explain
    from imagepipe.access.facts import gather
    from imagepipe.wiring import SystemClock

    settings = session.settings()
    wiring = session.wiring(settings)
    named = wiring.reference(image)
    repository = named.repository
    if not repository.name or (settings.registry and repository.registry != settings.registry):
        raise InputError(f"{image}: no image of the configured registry", hint="write project/name:tag")
    wanted = Image(repository.project, repository.name, str(named.digest or named.tag or "latest"))
    now = SystemClock().now()
    try:
        facts = gather(wanted, wiring.administration, push=push, who=who, now=now)
    except CredentialsError as error:
        # Without a name it is our configuration that lacks something, and the error says what.
        if settings.harbor.username is None:
            raise
        mine = settings.harbor.username
        facts = Facts(wanted, push, mine, now, refused=error.message, refused_hint=error.hint or "")
    cause = explain(facts)
    document = {
        "schema": "imagepipe.access-why/v1",
        "image": str(wanted),
        "action": "push" if push else "pull",
        "as": facts.who,
        "cause": cause.to_json(),
    }
    session.answer(document, f"{clean(cause.message)}\nfix: {clean(cause.fix)}")


def _plan(
    session: Session, file: Path, admin: Administration, *, force: bool
) -> tuple[tuple[DesiredProject, ...], AccessPlan]:
    from imagepipe.access.document import load_access
    from imagepipe.access.plan import plan_access
    from imagepipe.access.read import read_access
    from imagepipe.access.support import require_supported
    from imagepipe.wiring import SystemClock

    desired = load_access(file, folds=admin.folds)
    require_supported(desired, admin)
    actual = read_access([one.state.name for one in desired], admin, sink=session.sink)
    caller, now = admin.callers.caller(), SystemClock().now()
    return desired, plan_access(desired, actual, caller=caller, force=force, folds=admin.folds, now=now)


def _delivery(
    session: Session,
    plan: AccessPlan,
    admin: Administration,
    folder: SecretFolder | None,
    taker: SecretCommand | None,
) -> tuple[Callable[[RobotSecret], None], Making]:
    """Returns where secrets go, found able to take them before there is one, and what robots are made within.

    Raises:
        UsageError: The plan makes robots, and their secrets have no place, or two.
    """
    from imagepipe.access.apply import needs_secrets
    from imagepipe.access.secrets import nowhere

    if folder is not None and taker is not None:
        raise UsageError("secrets go to one place", hint="give either --secrets or --to-command")
    if not needs_secrets(plan):
        return nowhere, nullcontext
    if folder is not None:
        folder.check()
        # What a folder remembers is gone with the machine; who may not note it in Harbor has nothing better.
        return under_mark(folder.deliver, admin) or (folder.deliver, folder.making)
    if taker is None:
        hint = "add --secrets FOLDER, or --to-command COMMAND"
        raise UsageError("this makes robots, and their secrets have to go somewhere", hint=hint)
    taker.check()
    return delivery(session, taker, admin)


def _lost(folder: SecretFolder, desired: Sequence[DesiredProject]) -> PartialError | None:
    """Returns the error of robots that a run made that died before it had delivered their secrets."""
    from imagepipe.access.names import family_of

    wanted = {(one.state.name, robot) for one in desired for robot in one.state.robots}
    lost = [(project, family_of(name)[0]) for project, name in folder.unfinished()]
    lost = [one for one in lost if one in wanted]
    if not lost:
        return None
    project, robot = lost[0]
    named = ", ".join(f"robot {robot} of {project}" for project, robot in lost)
    return PartialError(
        f"{named}: a run that died has made it, and its secret is not in {folder.path}",
        hint=f"run `imagepipe robot rotate {project} {robot} --grace 0 --out {folder.file(project, robot)}`",
    )


def _moment(text: str) -> datetime:
    try:
        when = datetime.fromisoformat(text)
    except ValueError as error:
        raise UsageError(
            f"--since {text[:40]!r} is no time", hint="write 2026-03-01, or 2026-03-01T09:30:00+01:00"
        ) from error
    return when if when.tzinfo else when.replace(tzinfo=UTC)


def _save(path: Path, plan: AccessPlan) -> None:
    try:
        path.write_text(json.dumps(plan.to_json(), indent=2) + "\n")
    except OSError as error:
        raise InputError(f"{path}: the plan cannot be saved: {error.strerror}", hint="name another file") from error


def _load(path: Path) -> Any:
    from imagepipe.model.received import json_in

    try:
        return json_in(path.read_bytes())
    except FileNotFoundError as error:
        raise NotFoundError(f"{path}: no such file", hint="make one with `imagepipe access plan FILE -o`") from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise InputError(f"{path}: not JSON", hint="make one with `imagepipe access plan FILE -o`") from error
