"""What was done in projects, oldest first, and what is done from now on: Harbor's audit log, read and followed.

>>> read_log.__name__
'read_log'
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice
from typing import Any, Final

from imagepipe import fanout
from imagepipe.errors import ImagepipeError, PermissionRefusedError, UnavailableError
from imagepipe.events import EventSink, Warned, silent
from imagepipe.model.access import AuditEntry, Project
from imagepipe.ports.administration import Administration

__all__ = ["HEADINGS", "Line", "follow", "read_log"]

HEADINGS: Final = ("time", "project", "user", "operation", "kind", "resource", "result")
# Harbor serves a handful of calls at once without queueing. Source: goharbor/harbor#18440, #23789.
_READS_AT_ONCE: Final = 4
# Harbor writes entries down behind the answer, and two cores not in order.
_LATE: Final = timedelta(seconds=60)
_PAUSE_S: Final = 3.0


@dataclass(frozen=True, slots=True)
class Line:
    """One entry of one project's log."""

    project: str
    entry: AuditEntry

    def cells(self) -> tuple[str, ...]:
        """Returns the line as text, in the order of `HEADINGS`; the time is UTC."""
        one = self.entry
        result = "done" if one.succeeded else "failed"
        return (
            f"{one.at:%Y-%m-%dT%H:%M:%SZ}", self.project, one.user, one.operation, one.resource_type, one.resource,
            result,
        )  # fmt: skip

    def to_json(self) -> dict[str, Any]:
        """Returns the line as a JSON object."""
        one = self.entry
        return {
            "time": one.at.isoformat(),
            "project": self.project,
            "user": one.user,
            "operation": one.operation,
            "kind": one.resource_type,
            "resource": one.resource,
            "succeeded": one.succeeded,
        }


def read_log(
    projects: Sequence[Project] | None,
    admin: Administration,
    *,
    since: datetime | None = None,
    last: int | None = None,
    sink: EventSink = silent,
) -> tuple[Line, ...]:
    """Returns what was done, oldest first.

    Args:
        projects: Which; None: all whose log we may see, and the sink hears of the others.
        admin: The Harbor.
        since: Nothing from before this.
        last: Only so many, the newest; None: all.
        sink: Hears of projects that are left out.

    Raises:
        UnsupportedError: This Harbor shows no log.
        PermissionRefusedError: A project's log is not for us to see; without projects: none is.
    """
    log = admin.require_audit()
    chosen = list(admin.projects.list()) if projects is None else projects
    lines: list[Line] = []
    refused: list[ImagepipeError] = []
    for outcome in fanout.each(
        chosen, lambda project: list(islice(log.entries(project, since=since), last)), jobs=_READS_AT_ONCE
    ):
        if projects is None and isinstance(outcome.error, PermissionRefusedError):
            sink(Warned(outcome.item.name, "left out: its log is not shown to you"))
            refused.append(outcome.error)
            continue
        # The sort below keeps entries of one moment in the order in which Harbor has them.
        lines += [Line(outcome.item.name, entry) for entry in reversed(outcome.unwrap())]
    if refused and len(refused) == len(chosen):
        raise refused[0]
    lines.sort(key=lambda line: line.entry.at)
    return tuple(lines if last is None else lines[-last:])


def follow(
    first: Sequence[Line],
    read: Callable[[datetime | None], Sequence[Line]],
    pause: Callable[[float], None],
    *,
    since: datetime | None = None,
    sink: EventSink = silent,
) -> Iterator[tuple[Line, ...]]:
    """Yields what is new, each line once, for as long as it is asked; a Harbor that is away is asked again.

    Args:
        first: What was read already.
        read: Reads the log since a time; None: all of it.
        pause: Waits that many seconds.
        since: Nothing from before this.
        sink: Hears when Harbor goes away.

    Raises:
        ImagepipeError: Harbor answers, and says no.
    """
    floor = first[0].entry.at if first else since
    seen, newest, away = set(map(_key, first)), first[-1].entry.at if first else None, False
    while True:
        pause(_PAUSE_S)
        edge = floor if newest is None or floor is None else max(floor, newest - _LATE)
        try:
            lines = read(edge)
        except UnavailableError as error:
            if not away:
                sink(Warned("audit log", f"asked again until it answers: {error.message}"))
            away = True
            continue
        away = False
        fresh = tuple(line for line in lines if _key(line) not in seen)
        if fresh:
            newest = max(fresh[-1].entry.at, newest or fresh[-1].entry.at)
            floor = floor or fresh[0].entry.at
            # What lies before the edge is not read again, so it need not be remembered.
            seen = {key for key in seen if key[-1] >= newest - _LATE} | set(map(_key, fresh))
        yield fresh


def _key(line: Line) -> tuple[str, str, AuditEntry, datetime]:
    return line.project, line.entry.handle, line.entry, line.entry.at
