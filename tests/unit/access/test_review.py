import csv
import io
from dataclasses import dataclass, replace
from datetime import timedelta

import pytest

from imagepipe.access.review import HEADINGS, ReviewOptions, Row, review, to_csv, to_markdown
from imagepipe.errors import ImagepipeError, NotFoundError, PermissionRefusedError, UnsupportedError
from imagepipe.events import Event, Warned
from imagepipe.model.access import (
    PERMISSION_SETS,
    AuditEntry,
    Grant,
    Member,
    Principal,
    Project,
    Robot,
    RobotRequest,
    Role,
)
from tests.contract.harbor_memory import NOW, MemoryHarbor, MemoryMembership, MemoryRobots

DAY = timedelta(days=1)
OPTIONS = ReviewOptions(NOW, soon=30 * DAY, idle=90 * DAY)


def entry(user: str, operation: str, days_ago: int) -> AuditEntry:
    return AuditEntry(NOW - days_ago * DAY, user, operation, "artifact", "es/x")


@pytest.fixture
def harbor() -> MemoryHarbor:
    made = MemoryHarbor()
    made.add_project("es", {"alice": Role.PROJECT_ADMIN, "bob": Role.GUEST, "group:devs": Role.DEVELOPER})
    return made


def rows(harbor: MemoryHarbor, told: list[Event] | None = None) -> dict[str, Row]:
    sink = (told if told is not None else []).append
    found = review([harbor.project("es")], harbor.administration(), OPTIONS, sink=sink)
    return {row.name: row for row in found}


def test_who_was_not_seen_is_told_and_groups_are_not_accused(harbor: MemoryHarbor) -> None:
    harbor.log["es"] = [entry("bob", "pull", 100), entry("alice", "pull", 80), entry("alice", "create", 3)]
    found = rows(harbor)
    assert found["alice"] == Row("es", "user", "alice", "projectAdmin", NOW - 3 * DAY, None, ())
    assert found["bob"].findings == ("not seen in 90 days",)
    assert found["bob"].last_activity is None
    unused = ("nobody but members by name was seen in 90 days",)
    assert found["devs"] == Row("es", "group", "devs", "developer", None, None, unused)
    harbor.log["es"].append(entry("somebody", "pull", 1))
    assert rows(harbor)["devs"].findings == ()


def test_a_member_who_only_pulls_and_may_push_is_told(harbor: MemoryHarbor) -> None:
    harbor.members["es"] |= {Principal.parse("dev"): Role.DEVELOPER, Principal.parse("main"): Role.MAINTAINER}
    harbor.log["es"] = [entry(name, "pull", 1) for name in ("alice", "bob", "dev", "main")]
    harbor.log["es"].append(entry("main", "create", 0))
    found = rows(harbor)
    told = ("may push, and only pulled in 90 days",)
    assert {name: found[name].findings for name in ("alice", "bob", "dev", "main")} == {
        "alice": told,
        "bob": (),
        "dev": told,
        "main": (),
    }


def test_robots_that_end_soon_never_or_have_ended_are_told(harbor: MemoryHarbor) -> None:
    ages = {"ended": -2 * DAY, "soon": 30 * DAY, "late": 31 * DAY}
    for name, left in ages.items():
        harbor.add_robot(name, "es", "repository:pull", expires_at=NOW + left)
    off = harbor.add_robot("off", "es", "repository:pull")
    harbor.robots[off.login] = replace(off, disabled=True)
    harbor.log["es"] = [entry(login, "pull", 1) for login in harbor.robots]
    found = rows(harbor)
    assert {name: found[f"robot$es+{name}"].findings for name in ("ended", "soon", "late", "off")} == {
        "ended": ("expired 2 days ago",),
        "soon": ("expires in 30 days",),
        "late": (),
        "off": ("switched off", "never expires"),
    }


def test_a_robot_that_only_pulls_and_may_push_is_told(harbor: MemoryHarbor) -> None:
    for name in ("lazy", "busy", "idle"):
        harbor.add_robot(name, "es", "repository:pull", "repository:push", expires_at=NOW + 60 * DAY)
    harbor.log["es"] = [
        entry("robot$es+lazy", "pull", 1),
        entry("robot$es+busy", "create", 2),
        entry("robot$es+busy", "pull", 1),
    ]
    found = rows(harbor)
    assert found["robot$es+lazy"].findings == ("may push, and only pulled in 90 days",)
    assert found["robot$es+busy"].findings == ()
    assert found["robot$es+idle"].findings == ("not seen in 90 days",)
    assert found["robot$es+lazy"].access == "repository:pull, repository:push"


def test_without_an_audit_log_nobody_is_called_idle(harbor: MemoryHarbor) -> None:
    harbor.has_audit = False
    harbor.add_robot("ci", "es", "repository:push", expires_at=NOW + 60 * DAY)
    told: list[Event] = []
    assert [row.findings for row in rows(harbor, told).values()] == [(), (), (), ()]
    assert isinstance(told[0], Warned)
    assert "last activity is unknown" in told[0].message


def test_a_harbor_without_robots_is_reviewed_without_them(harbor: MemoryHarbor) -> None:
    harbor.has_robots = False
    assert set(rows(harbor)) == {"alice", "bob", "devs"}


class Hidden(MemoryMembership):
    """Hides one project's members."""

    def list(self, project: Project) -> tuple[Member, ...]:
        if project.name == "public":
            raise PermissionRefusedError("forbidden")
        return super().list(project)


def test_projects_that_are_not_shown_are_left_out_unless_they_are_named(harbor: MemoryHarbor) -> None:
    public = harbor.add_project("public", {"eve": Role.PROJECT_ADMIN})
    admin = replace(harbor.administration(), membership=Hidden(harbor))
    told: list[Event] = []
    assert {row.project for row in review(None, admin, OPTIONS, sink=told.append)} == {"es"}
    assert told == [Warned("public", "left out: its members are not shown to you")]
    with pytest.raises(PermissionRefusedError):
        review([public], admin, OPTIONS)


def test_robots_of_the_whole_harbor_are_reviewed_with_where_they_may_do_what(harbor: MemoryHarbor) -> None:
    pull, push = PERMISSION_SETS["pull"], PERMISSION_SETS["push"]
    grants = (Grant("*", pull), Grant("es", push))
    robots = harbor.administration().require_robots()
    robots.create(RobotRequest("ops", None, push, 9, grants=grants), None)
    (row,) = [row for row in review(None, harbor.administration(), OPTIONS) if row.project == "/"]
    assert (row.access, row.findings) == ("pull in all projects; push in es", ("expires in 9 days",))
    assert "robot$ops" not in rows(harbor)


@pytest.mark.parametrize(("error", "told"), [(PermissionRefusedError("no"), 1), (UnsupportedError("no"), 0)])
def test_robots_of_the_whole_harbor_that_are_not_shown_are_told(
    harbor: MemoryHarbor, error: ImagepipeError, told: int
) -> None:
    admin = replace(harbor.administration(), robots=ShyRobots(harbor, error))
    heard: list[Event] = []
    assert {row.project for row in review(None, admin, OPTIONS, sink=heard.append)} == {"es"}
    assert len(heard) == told


@dataclass
class ShyRobots(MemoryRobots):
    """Shows no robots of the whole Harbor."""

    error: ImagepipeError

    def list(self, project: Project | None) -> tuple[Robot, ...]:
        if project is None:
            raise self.error
        return super().list(project)


def test_another_error_is_never_left_out(harbor: MemoryHarbor) -> None:
    gone = Project("gone")
    with pytest.raises(NotFoundError):
        review([gone], harbor.administration(), OPTIONS)


ODD = Row("es", "user", "=cmd|' /C'!A1", "guest", NOW, NOW, ("a", "b"))


def test_csv_has_headings_and_nothing_that_a_spreadsheet_runs() -> None:
    heading, row = csv.reader(io.StringIO(to_csv([ODD])))
    assert tuple(heading) == HEADINGS
    assert row == ["es", "user", "'=cmd|' /C'!A1", "guest", "2026-03-01", "2026-03-01", "a; b"]


def test_markdown_is_a_table_that_no_name_breaks() -> None:
    assert to_markdown([ODD]).splitlines() == [
        "| project | kind | name | access | last activity | expires | findings |",
        "| --- | --- | --- | --- | --- | --- | --- |",
        "| es | user | '=cmd\\|' /C'!A1 | guest | 2026-03-01 | 2026-03-01 | a; b |",
    ]


def test_json_tells_whole_times() -> None:
    assert ODD.to_json()["last_activity"] == "2026-03-01T12:00:00+00:00"
    assert Row("es", "user", "x", "guest", None, None, ()).to_json()["expires"] is None
