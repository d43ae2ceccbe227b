"""Who has access to what, since when nobody used it, and what ends soon: rows for people who sign such lists off.

>>> Row("p", "user", "=x", "guest", None, None, ()).cells()[2]
"'=x"
"""

import csv
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from imagepipe import fanout
from imagepipe.access.names import WHOLE, named_rights, reach_of
from imagepipe.errors import AccessError, ImagepipeError, PermissionRefusedError, UnsupportedError
from imagepipe.events import EventSink, Warned, silent
from imagepipe.model.access import AuditEntry, Member, PrincipalKind, Project, Right, Robot, Role
from imagepipe.ports.administration import Administration

__all__ = ["HEADINGS", "ReviewOptions", "Row", "review", "to_csv", "to_markdown"]

HEADINGS: Final = ("project", "kind", "name", "access", "last activity", "expires", "findings")
# Harbor serves a handful of calls at once without queueing. Source: goharbor/harbor#18440, #23789.
_READS_AT_ONCE: Final = 4
# What a spreadsheet takes for a formula. Source: OWASP "CSV Injection".
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")
_PULLS: Final = ("pull",)
# Source: goharbor/harbor v2.15.2 src/common/rbac/project/rbac_role.go
_PUSHERS: Final = (Role.PROJECT_ADMIN, Role.MAINTAINER, Role.DEVELOPER)
Seen = Mapping[str, list[AuditEntry]]


@dataclass(frozen=True, slots=True)
class ReviewOptions:
    """What counts.

    Attributes:
        now: The time.
        soon: What expires within this is told.
        idle: Who was not seen for this long is told.
    """

    now: datetime
    soon: timedelta
    idle: timedelta


@dataclass(frozen=True, slots=True)
class Row:
    """One member, group or robot of one project.

    Attributes:
        project: The project.
        kind: user, group or robot.
        name: Its name; a robot's login.
        access: Its role, or its rights.
        last_activity: When the audit log saw it last; None: not within the time looked at, or it cannot be known.
        expires: When it ends; None: never.
        findings: What somebody should look at.
    """

    project: str
    kind: str
    name: str
    access: str
    last_activity: datetime | None
    expires: datetime | None
    findings: tuple[str, ...]

    @classmethod
    def of_member(cls, project: str, member: Member, seen: datetime | None, findings: tuple[str, ...]) -> "Row":
        """Returns a member's row."""
        who = member.principal
        return cls(project, who.kind.value, who.name, member.role.value, seen, None, findings)

    @classmethod
    def of_robot(cls, project: str, robot: Robot, seen: datetime | None, findings: tuple[str, ...]) -> "Row":
        """Returns a robot's row."""
        access = reach_of(robot) if robot.grants else ", ".join(named_rights(robot.rights))
        return cls(project, "robot", robot.login, access, seen, robot.expires_at, findings)

    def cells(self) -> tuple[str, ...]:
        """Returns the row as text, in the order of `HEADINGS`, with nothing that a spreadsheet would calculate."""
        times = (f"{when:%Y-%m-%d}" if when else "" for when in (self.last_activity, self.expires))
        cells = (self.project, self.kind, self.name, self.access, *times, "; ".join(self.findings))
        return tuple(f"'{cell}" if cell.startswith(_FORMULA) else cell for cell in cells)

    def to_json(self) -> dict[str, Any]:
        """Returns the row as a JSON object."""
        return {
            "project": self.project,
            "kind": self.kind,
            "name": self.name,
            "access": self.access,
            "last_activity": self.last_activity.isoformat() if self.last_activity else None,
            "expires": self.expires.isoformat() if self.expires else None,
            "findings": list(self.findings),
        }


def review(
    projects: Sequence[Project] | None, admin: Administration, options: ReviewOptions, *, sink: EventSink = silent
) -> tuple[Row, ...]:
    """Returns a row for everybody in these projects, and where none is named for robots of the whole Harbor.

    Args:
        projects: Which; None: all whose members we may see, and the sink hears of the others.
        admin: The Harbor.
        options: What counts.
        sink: Hears where the audit log cannot be read: last activity is unknown there, and nobody is called idle.

    Raises:
        ImagepipeError: Members or robots of a project cannot be read.
    """
    chosen = list(admin.projects.list()) if projects is None else projects
    rows: list[Row] = []
    for outcome in fanout.each(chosen, lambda project: _rows(project, admin, options, sink), jobs=_READS_AT_ONCE):
        if projects is None and isinstance(outcome.error, PermissionRefusedError):
            sink(Warned(outcome.item.name, "left out: its members are not shown to you"))
            continue
        rows.extend(outcome.unwrap())
    return tuple(rows) if projects is not None else (*rows, *_whole(admin, options, sink))


def to_csv(rows: Iterable[Row]) -> str:
    """Returns the rows as CSV with headings (RFC 4180, lines end in LF)."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(HEADINGS)
    writer.writerows(row.cells() for row in rows)
    return text.getvalue()


def to_markdown(rows: Iterable[Row]) -> str:
    """Returns the rows as a Markdown table."""
    lines = [HEADINGS, ("---",) * len(HEADINGS), *(tuple(map(_escaped, row.cells())) for row in rows)]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def _escaped(cell: str) -> str:
    return cell.replace("\\", "\\\\").replace("|", "\\|").replace("\n", " ")


def _rows(project: Project, admin: Administration, options: ReviewOptions, sink: EventSink) -> tuple[Row, ...]:
    members = admin.membership.list(project)
    robots = admin.robots.list(project) if admin.robots is not None else ()
    seen = _activity(project, admin, options, sink)
    named = {member.principal.name for member in members} | {robot.login for robot in robots}
    strangers = bool(seen and seen.keys() - named)
    people = [_member_row(project.name, member, seen, strangers, options) for member in members]
    return (*people, *(_robot_row(project.name, robot, seen, options) for robot in robots))


def _whole(admin: Administration, options: ReviewOptions, sink: EventSink) -> Iterator[Row]:
    """Yields the robots of the whole Harbor; no project's log holds all that they did, so nobody is called idle."""
    try:
        robots = admin.robots.list(None) if admin.robots is not None else ()
    except UnsupportedError:
        return
    except AccessError:
        sink(Warned(WHOLE, "left out: robots of the whole Harbor are for system administrators"))
        return
    for robot in robots:
        yield Row.of_robot(WHOLE, robot, None, tuple(_endings(robot, options)))


def _activity(project: Project, admin: Administration, options: ReviewOptions, sink: EventSink) -> Seen | None:
    """Returns what everybody did, newest first; None where that is not told."""
    seen: dict[str, list[AuditEntry]] = {}
    try:
        for entry in admin.require_audit().entries(project, since=options.now - options.idle):
            seen.setdefault(entry.user, []).append(entry)
    except ImagepipeError as error:
        sink(Warned(project.name, f"last activity is unknown: {error.message}"))
        return None
    return seen


def _member_row(project: str, member: Member, seen: Seen | None, strangers: bool, options: ReviewOptions) -> Row:
    kind, name = member.principal.kind, member.principal.name
    if seen is None:
        return Row.of_member(project, member, None, ())
    if kind is PrincipalKind.GROUP:
        # The log names people, not the groups through which they came.
        findings = () if strangers else (f"nobody but members by name was seen in {options.idle.days} days",)
        return Row.of_member(project, member, None, findings)
    entries = seen.get(name, [])
    unused = [_idle(options)] if not entries else [*_unused(member.role in _PUSHERS, entries, options)]
    return Row.of_member(project, member, _last(entries), tuple(unused))


def _robot_row(project: str, robot: Robot, seen: Seen | None, options: ReviewOptions) -> Row:
    entries = (seen or {}).get(robot.login, [])
    findings = [*_endings(robot, options)]
    if seen is not None and not entries:
        findings.append(_idle(options))
    else:
        findings += _unused(Right("repository", "push") in robot.rights, entries, options)
    return Row.of_robot(project, robot, _last(entries), tuple(findings))


def _unused(pushes: bool, entries: Sequence[AuditEntry], options: ReviewOptions) -> Iterator[str]:
    if pushes and entries and all(one.operation in _PULLS for one in entries):
        yield f"may push, and only pulled in {options.idle.days} days"


def _endings(robot: Robot, options: ReviewOptions) -> Iterator[str]:
    if robot.disabled:
        yield "switched off"
    if robot.expires_at is None:
        yield "never expires"
    elif robot.expired(options.now):
        yield f"expired {(options.now - robot.expires_at).days} days ago"
    elif robot.expires_at - options.now <= options.soon:
        yield f"expires in {(robot.expires_at - options.now).days} days"


def _idle(options: ReviewOptions) -> str:
    return f"not seen in {options.idle.days} days"


def _last(entries: Sequence[AuditEntry]) -> datetime | None:
    return max((entry.at for entry in entries), default=None)
