"""The audit log, read and followed, on a Harbor in memory."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import pytest

from imagepipe.access.log import Line, follow, read_log
from imagepipe.errors import PermissionRefusedError, UnavailableError
from imagepipe.events import Event
from imagepipe.model.access import AuditEntry, Project
from imagepipe.ports.administration import Administration
from tests.contract.harbor_memory import NOW, MemoryAudit, MemoryHarbor


@dataclass
class ShyAudit(MemoryAudit):
    """Shows some projects' logs to nobody."""

    hidden: set[str] = field(default_factory=set)

    def entries(self, project: Project, *, since: datetime | None = None) -> Iterator[AuditEntry]:
        if project.name in self.hidden:
            raise PermissionRefusedError(f"read the audit log of {project.name}: it exists")
        return super().entries(project, since=since)


def entry(minutes: float, number: int) -> AuditEntry:
    return AuditEntry(
        NOW + timedelta(minutes=minutes), "bob", "push", "artifact", f"p/r:{number}", True, handle=str(number)
    )


def told(lines: tuple[Line, ...]) -> list[tuple[str, str]]:
    return [(line.project, line.entry.resource) for line in lines]


@pytest.fixture
def harbor() -> MemoryHarbor:
    made = MemoryHarbor()
    for name in ("a", "b"):
        made.add_project(name)
    made.log = {"a": [entry(1, 1), entry(3, 3)], "b": [entry(2, 2), entry(4, 4)]}
    return made


def shy(harbor: MemoryHarbor, *hidden: str) -> Administration:
    whole = harbor.administration()
    return Administration(
        **{name: getattr(whole, name) for name in whole.__slots__ if name != "audit"},
        audit=ShyAudit(harbor, set(hidden)),
    )


def test_the_logs_of_many_projects_are_one_in_the_order_of_time(harbor: MemoryHarbor) -> None:
    lines = read_log(None, harbor.administration())
    assert told(lines) == [("a", "p/r:1"), ("b", "p/r:2"), ("a", "p/r:3"), ("b", "p/r:4")]
    assert told(read_log(None, harbor.administration(), last=2)) == [("a", "p/r:3"), ("b", "p/r:4")]
    later = NOW + timedelta(minutes=2)
    assert len(read_log([harbor.project("b")], harbor.administration(), since=later)) == 2


def test_a_log_that_is_hidden_is_left_out_unless_it_was_asked_for(harbor: MemoryHarbor) -> None:
    heard: list[Event] = []
    assert {line.project for line in read_log(None, shy(harbor, "a"), sink=heard.append)} == {"b"}
    assert "left out" in str(heard)
    with pytest.raises(PermissionRefusedError):
        read_log([harbor.project("a")], shy(harbor, "a"))
    with pytest.raises(PermissionRefusedError):
        read_log(None, shy(harbor, "a", "b"))


@dataclass
class Watch:
    """Somebody who follows the log while others work.

    Attributes:
        script: What happens during each pause: entries of project a, or Harbor goes away for one read.
        edges: From when on each read asked.
    """

    harbor: MemoryHarbor
    script: list[list[AuditEntry] | None]
    edges: list[datetime | None] = field(default_factory=list)
    heard: list[Event] = field(default_factory=list)
    away: bool = False

    def pause(self, seconds: float) -> None:
        assert seconds > 0
        happens = self.script.pop(0)
        self.away = happens is None
        self.harbor.log["a"] += happens or []

    def read(self, edge: datetime | None) -> tuple[Line, ...]:
        self.edges.append(edge)
        if self.away:
            raise UnavailableError("connection refused")
        return read_log(None, self.harbor.administration(), since=edge)

    def lines(self, first: tuple[Line, ...], batches: int) -> list[list[str]]:
        following = follow(first, self.read, self.pause, sink=self.heard.append)
        return [[line.entry.resource for line in next(following)] for _ in range(batches)]


def test_following_tells_every_new_entry_once_even_one_that_was_written_late(harbor: MemoryHarbor) -> None:
    first = read_log(None, harbor.administration())
    # The memory keeps a log as it was written: what is late comes before what is newest.
    watch = Watch(harbor, [[], [entry(3.8, 5), entry(5, 6)], [entry(5, 7)]])
    assert watch.lines(first, 3) == [[], ["p/r:5", "p/r:6"], ["p/r:7"]]
    assert watch.edges == [NOW + timedelta(minutes=minutes) for minutes in (3, 3, 4)]


def test_following_begins_where_the_first_reading_began(harbor: MemoryHarbor) -> None:
    first = read_log(None, harbor.administration(), last=1)
    assert Watch(harbor, [[], []]).lines(first, 2) == [[], []]


def test_following_an_empty_log_tells_the_first_entry(harbor: MemoryHarbor) -> None:
    harbor.log = {"a": [], "b": []}
    watch = Watch(harbor, [[], [entry(5, 1)], [entry(6, 2)]])
    assert watch.lines((), 3) == [[], ["p/r:1"], ["p/r:2"]]


def test_a_harbor_that_goes_away_is_asked_again_and_nothing_is_lost(harbor: MemoryHarbor) -> None:
    first = read_log(None, harbor.administration())
    watch = Watch(harbor, [None, None, [entry(5, 5)]])
    assert watch.lines(first, 1) == [["p/r:5"]]
    assert len(watch.heard) == 1
    assert "connection refused" in str(watch.heard)
