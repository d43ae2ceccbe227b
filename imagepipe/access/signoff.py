"""A review that people sign off: a CSV file in which they mark what stays, and which is then carried out exactly.

>>> HEADINGS[-3:]
('decision', 'reviewer', 'date')
"""

import csv
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any, Final

from imagepipe.access import review
from imagepipe.access.names import WHOLE, family_of
from imagepipe.access.read import find_project, read_access
from imagepipe.access.review import Row
from imagepipe.access.state import DesiredProject, ProjectState, Unmanaged
from imagepipe.errors import InputError, StalePlanError
from imagepipe.model.access import Member, Robot, Role
from imagepipe.ports.administration import Administration
from imagepipe.problems import did_you_mean

__all__ = ["HEADINGS", "Roster", "SignedOff", "latest_day", "parse_signoff", "read_rosters", "to_signoff", "wanted_by"]

HEADINGS: Final = (*review.HEADINGS, "decision", "reviewer", "date")
_KEEP: Final = "keep"
_REMOVE: Final = "remove"
_ROBOT: Final = "robot"
# Source: IANA time zone database, Pacific/Kiritimati (UTC+14)
_FURTHEST_EAST: Final = timedelta(hours=14)
_TELLING: Final = ("project", "kind", "name", "access", "decision", "reviewer", "date")


@dataclass(frozen=True, slots=True)
class SignedOff:
    """What somebody decided about one member or robot.

    Attributes:
        line: Where it stands in the file.
        project: The project.
        kind: user, group or robot.
        name: As the file writes it.
        access: What it had when the file was made.
        decision: `keep`, `remove`, or the role that a member shall have.
        reviewer: Who decided.
        on: When.
    """

    line: int
    project: str
    kind: str
    name: str
    access: str
    decision: str
    reviewer: str
    on: date

    @property
    def key(self) -> tuple[str, str, str]:
        """What the row is about."""
        return self.project, self.kind, self.name

    def to_json(self) -> dict[str, Any]:
        """Returns the decision as a JSON object."""
        return {
            "project": self.project,
            "kind": self.kind,
            "name": self.name,
            "access": self.access,
            "decision": self.decision,
            "reviewer": self.reviewer,
            "date": self.on.isoformat(),
        }


@dataclass(frozen=True, slots=True)
class Roster:
    """Who is in a project now.

    Attributes:
        state: As access is compared.
        members: Its members.
        robots: Its robots, every generation.
    """

    state: ProjectState
    members: tuple[Member, ...]
    robots: tuple[Robot, ...]

    def holders(self) -> dict[tuple[str, str, str], tuple[str, Member | Robot]]:
        """Returns everybody's access, by project, kind and name as a review writes them."""
        rows: list[tuple[Row, Member | Robot]] = [
            (Row.of_member(self.state.name, member, None, ()), member) for member in self.members
        ]
        rows += [(Row.of_robot(self.state.name, robot, None, ()), robot) for robot in self.robots]
        cells = [(row.cells(), one) for row, one in rows]
        return {(project, kind, name): (access, one) for (project, kind, name, access, *_), one in cells}


def read_rosters(signed: Sequence[SignedOff], admin: Administration) -> dict[str, Roster]:
    """Returns who is in each project of these decisions now; a project that is gone is absent."""
    states = read_access(list(dict.fromkeys(one.project for one in signed)), admin)
    rosters = {}
    for name, state in states.items():
        project = find_project(name, admin)
        robots = admin.robots.list(project) if admin.robots is not None else ()
        rosters[name] = Roster(state, admin.membership.list(project), robots)
    return rosters


def to_signoff(rows: Iterable[Row]) -> str:
    """Returns the review as a CSV file in which decision, reviewer and date are to be filled in.

    Robots of the whole Harbor are left out: they belong to no project whose admins could decide.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(HEADINGS)
    writer.writerows((*row.cells(), "", "", "") for row in rows if row.project != WHOLE)
    return text.getvalue()


def latest_day(now: datetime) -> date:
    """Returns the latest date on anybody's calendar: who signs off writes that of their own day.

    >>> latest_day(datetime.fromisoformat("2026-03-01T10:00+00:00"))
    datetime.date(2026, 3, 2)
    """
    return (now + _FURTHEST_EAST).date()


def parse_signoff(text: str, *, file: str, today: date) -> tuple[SignedOff, ...]:
    """Returns what was decided; a spreadsheet may have saved the file with `;` and a byte-order mark.

    Args:
        text: The file's text.
        file: Its name, for messages.
        today: Nothing is signed off in the future.

    Raises:
        InputError: Lists every row that is not decided, or whose decision makes no sense, as `file:line: what`.
    """
    lines = text.removeprefix("\ufeff")
    heading = lines.partition("\n")[0]
    reader = csv.DictReader(io.StringIO(lines), delimiter=";" if heading.count(";") > heading.count(",") else ",")
    try:
        rows = [(reader.line_num, row) for row in reader]
    except csv.Error as error:
        said = f"{file}:{reader.line_num}: not CSV: {error}"
        raise InputError(said, hint="look for a quote without its end") from error
    missing = [name for name in _TELLING if name not in (reader.fieldnames or ())]
    if missing:
        raise InputError(
            f"{file}:1: no column {', '.join(missing)}", hint="make the file with `imagepipe access review -o FILE`"
        )
    found: list[SignedOff] = []
    seen = set[tuple[str, str, str]]()
    problems: list[str] = []
    for line, row in rows:
        cells = {name: (row.get(name) or "").strip() for name in _TELLING}
        wrong = [*_problems(cells, today)]
        problems += [f"{file}:{line}: {cells['project']} {cells['name']}: {what}" for what in wrong]
        if wrong:
            continue
        one = _signed(line, cells)
        if one.key in seen:
            problems.append(f"{file}:{line}: {cells['project']} {cells['name']}: stands there twice")
        seen.add(one.key)
        found.append(one)
    if problems or not found:
        raise InputError("\n".join(problems) or f"{file}: nobody is in it", hint="decide every row, and sign it")
    return tuple(found)


def wanted_by(signed: Sequence[SignedOff], rosters: Mapping[str, Roster]) -> tuple[DesiredProject, ...]:
    """Returns access as it shall be: as it is, but for what was decided. What is done already is not asked for again.

    Args:
        signed: The decisions.
        rosters: Who is in each of their projects now.

    Raises:
        StalePlanError: Somebody's access is no longer what was reviewed, or somebody came after the review.
        InputError: Generations of one robot are decided differently.
    """
    changed = [line for roster in rosters.values() for line in _changed(signed, roster)]
    changed += [f"project {name} is gone" for name in sorted({one.project for one in signed} - set(rosters))]
    if changed:
        raise StalePlanError(
            f"access has changed since the review: {'; '.join(changed)}",
            hint="make a new review, and have it signed off",
        )
    return tuple(_wanted(signed, roster) for roster in rosters.values())


def _problems(cells: Mapping[str, str], today: date) -> Iterator[str]:
    decision = cells["decision"]
    if not decision:
        yield "no decision"
        return
    if _decided(cells["kind"], decision) is None:
        words = (_KEEP, _REMOVE) if cells["kind"] == _ROBOT else (_KEEP, _REMOVE, *map(str, Role))
        near = did_you_mean(decision, words)
        yield f"decision {decision[:40]!r} is not one of {', '.join(words)}{near}"
    if not cells["reviewer"]:
        yield "decided by nobody"
    on = _date(cells["date"])
    if on is None:
        yield f"{cells['date'][:40]!r} is no date; write YYYY-MM-DD"
    elif on > today:
        yield f"signed off on {on}, which is still to come"


def _signed(line: int, cells: Mapping[str, str]) -> SignedOff:
    decision, on = _decided(cells["kind"], cells["decision"]), _date(cells["date"])
    assert decision is not None
    assert on is not None
    return SignedOff(
        line, cells["project"], cells["kind"], cells["name"], cells["access"], decision, cells["reviewer"], on
    )


def _decided(kind: str, text: str) -> str | None:
    """Returns a decision as we spell it; None for one that makes no sense."""
    if text.lower() in (_KEEP, _REMOVE):
        return text.lower()
    try:
        return Role.parse(text).value if kind != _ROBOT else None
    except InputError:
        return None


def _date(text: str) -> date | None:
    try:
        return date.fromisoformat(text)
    except ValueError:
        return None


def _changed(signed: Sequence[SignedOff], roster: Roster) -> Iterator[str]:
    """Yields what is no longer as it was reviewed; what was decided and is done is no change."""
    now, name = roster.holders(), roster.state.name
    reviewed = {one.key: one for one in signed if one.project == name}
    for key, one in reviewed.items():
        access = now[key][0] if key in now else None
        done = access is None if one.decision == _REMOVE else access == one.decision
        if access != one.access and not done:
            yield f"{name}: {one.name} was {one.access}, and is {access or 'gone'}"
    for key in now.keys() - reviewed.keys():
        yield f"{name}: {key[2]} is not in it"
    if {member.principal: member.role for member in roster.members} != dict(roster.state.members):
        yield f"{name}: members change right now"


def _wanted(signed: Sequence[SignedOff], roster: Roster) -> DesiredProject:
    state, now = roster.state, roster.holders()
    members, robots = dict(state.members), dict(state.robots)
    families: dict[str, set[str]] = {}
    for one in signed:
        if one.key not in now:
            continue
        holder = now[one.key][1]
        if isinstance(holder, Robot):
            families.setdefault(family_of(holder.name)[0], set()).add(one.decision)
        elif one.decision == _REMOVE:
            del members[holder.principal]
        elif one.decision != _KEEP:
            members[holder.principal] = Role(one.decision)
    for family, decisions in families.items():
        if len(decisions) > 1:
            hint = f"decide the same for all, or run `imagepipe robot rotate {state.name} {family} --finish` first"
            raise InputError(f"{state.name}: generations of robot {family} are decided differently", hint=hint)
        if _REMOVE in decisions:
            del robots[family]
    return DesiredProject(ProjectState(state.name, {}, members, robots), Unmanaged.REMOVE)
