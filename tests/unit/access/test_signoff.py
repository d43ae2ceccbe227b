"""A review is signed off row by row, and what was decided is carried out exactly, or not at all."""

import csv
import io
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta

import pytest

from imagepipe.access.apply import apply_plan
from imagepipe.access.plan import plan_access
from imagepipe.access.review import ReviewOptions, review
from imagepipe.access.secrets import nowhere
from imagepipe.access.signoff import SignedOff, latest_day, parse_signoff, read_rosters, to_signoff, wanted_by
from imagepipe.access.state import AccessPlan
from imagepipe.errors import InputError, RefusedError, StalePlanError
from imagepipe.model.access import Member, Principal, Project, Role
from imagepipe.ports.administration import Administration
from tests.contract.harbor_memory import NOW, MemoryHarbor, MemoryMembership

TODAY = date(2026, 3, 1)
Edit = Callable[[dict[str, str]], dict[str, str]]
OPTIONS = ReviewOptions(NOW, soon=timedelta(days=30), idle=timedelta(days=90))


@pytest.fixture
def harbor() -> MemoryHarbor:
    made = MemoryHarbor()
    made.add_project("es", {"admin": Role.PROJECT_ADMIN, "bob": Role.DEVELOPER, "group:=devs": Role.MAINTAINER})
    made.add_project("p", {"admin": Role.PROJECT_ADMIN, "bob": Role.GUEST})
    made.add_robot("ci", "es", "repository:pull")
    made.add_robot("ci.g2", "es", "repository:pull")
    made.add_robot("ops", None, "repository:pull")
    return made


def signed_off(harbor: MemoryHarbor, delimiter: str = ",", **decisions: str) -> str:
    """Returns a review in which these decisions stand, by project and name (`es_bob`), and everybody else is kept."""
    rows = list(csv.DictReader(io.StringIO(to_signoff(review(None, harbor.administration(), OPTIONS)))))
    text = io.StringIO()
    writer = csv.DictWriter(text, rows[0].keys(), delimiter=delimiter)
    writer.writeheader()
    for row in rows:
        name = f"{row['project']}_{row['name'].rpartition('+')[2].lstrip(chr(39)).lstrip('=').replace('.', '_')}"
        row |= {"decision": decisions.get(name, "keep"), "reviewer": "Ada", "date": "2026-02-28"}
        writer.writerow(row)
    return text.getvalue()


def parse(text: str) -> tuple[SignedOff, ...]:
    return parse_signoff(text, file="review.csv", today=TODAY)


def planned(harbor: MemoryHarbor, text: str) -> AccessPlan:
    admin, decisions = harbor.administration(), parse(text)
    rosters = read_rosters(decisions, admin)
    states = {name: roster.state for name, roster in rosters.items()}
    desired = wanted_by(decisions, rosters)
    made = plan_access(desired, states, caller=admin.callers.caller())
    applied = apply_plan(made, desired, admin, deliver=nowhere)
    assert not applied.failed
    assert applied.remaining is not None
    assert applied.remaining.changes == ()
    return made


def test_what_was_kept_stays_and_what_was_marked_goes(harbor: MemoryHarbor) -> None:
    assert planned(harbor, signed_off(harbor)).changes == ()
    text = signed_off(harbor, es_bob="Remove", es_devs="limited-guest", p_bob="keep", es_ci="remove", es_ci_g2="remove")
    made = planned(harbor, text)
    assert [change.describe() for change in made.changes] == [
        "~ es: set role group:=devs: maintainer -> limitedGuest",
        "- es: remove member bob: developer",
        "- es: delete robot ci: repository:pull",
    ]
    assert list(harbor.robots) == ["robot$ops"]
    assert harbor.members["p"] == {Principal.parse("admin"): Role.PROJECT_ADMIN, Principal.parse("bob"): Role.GUEST}
    # What is done already is neither stale nor done again.
    assert planned(harbor, text).changes == ()


def test_a_spreadsheet_may_save_it_its_own_way(harbor: MemoryHarbor) -> None:
    text = "\ufeff" + signed_off(harbor, delimiter=";", es_bob="remove")
    assert [change.subject for change in planned(harbor, text).changes] == ["bob"]
    assert parse(text)[1].to_json() == {
        "project": "es",
        "kind": "user",
        "name": "bob",
        "access": "developer",
        "decision": "remove",
        "reviewer": "Ada",
        "date": "2026-02-28",
    }


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            lambda h: h.members["es"].update({Principal.parse("bob"): Role.MAINTAINER}),
            "bob was developer, and is maintainer",
        ),
        (lambda h: h.members["es"].pop(Principal.parse("group:=devs")), "'=devs was maintainer, and is gone"),
        (lambda h: h.members["p"].update({Principal.parse("eve"): Role.GUEST}), "p: eve is not in it"),
        (lambda h: h.add_robot("ci.g3", "es", "repository:pull"), "ci.g3 is not in it"),
        (lambda h: h.robots.pop("robot$es+ci"), r"robot\$es\+ci was repository:pull, and is gone"),
        (lambda h: (h.projects.pop("p"), h.members.pop("p")), "project p is gone"),
    ],
)
def test_a_review_is_refused_once_anybody_has_changed(
    harbor: MemoryHarbor, change: Callable[[MemoryHarbor], object], said: str
) -> None:
    text = signed_off(harbor, es_bob="remove")
    change(harbor)
    with pytest.raises(StalePlanError, match=said):
        planned(harbor, text)
    assert harbor.writes == []


def test_a_project_is_never_left_without_an_admin(harbor: MemoryHarbor) -> None:
    with pytest.raises(RefusedError, match="without a projectAdmin"):
        planned(harbor, signed_off(harbor, p_admin="guest"))
    with pytest.raises(RefusedError, match="you"):
        planned(harbor, signed_off(harbor, p_admin="guest", p_bob="projectAdmin"))
    assert harbor.writes == []


def test_generations_of_a_robot_go_together(harbor: MemoryHarbor) -> None:
    with pytest.raises(InputError, match="generations of robot ci are decided differently") as caught:
        planned(harbor, signed_off(harbor, es_ci="remove"))
    assert "--finish" in str(caught.value.hint)


def test_a_harbor_without_robots_is_signed_off_all_the_same(harbor: MemoryHarbor) -> None:
    harbor.has_robots = False
    assert [change.subject for change in planned(harbor, signed_off(harbor, es_bob="remove")).changes] == ["bob"]


class Moving(MemoryMembership):
    """Members of whom one comes between two reads."""

    def list(self, project: Project) -> tuple[Member, ...]:
        found = super().list(project)
        self.harbor.members[project.name][Principal.parse("eve")] = Role.GUEST
        return found


def test_members_that_change_meanwhile_are_noticed(harbor: MemoryHarbor) -> None:
    decisions = parse(signed_off(harbor))
    whole = harbor.administration()
    parts = {name: getattr(whole, name) for name in whole.__slots__}
    rosters = read_rosters(decisions, Administration(**parts | {"membership": Moving(harbor)}))
    with pytest.raises(StalePlanError, match="es: members change right now"):
        wanted_by(decisions, rosters)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (
            "bob,developer,,,not seen in 90 days,keep,Ada",
            "bob,developer,,,,,Ada",
            r"review\.csv:3: es bob: no decision",
        ),
        ("90 days,keep,Ada,2026-02-28", "90 days,kepe,,soon", r"'kepe' is not one of keep, .*did you mean 'keep'"),
        ("90 days,keep,Ada,2026-02-28", "90 days,keep,,2026-02-28", "decided by nobody"),
        ("90 days,keep,Ada,2026-02-28", "90 days,keep,Ada,28.2.2026", "'28.2.2026' is no date; write YYYY-MM-DD"),
        (
            "90 days,keep,Ada,2026-02-28",
            "90 days,keep,Ada,2026-03-02",
            "signed off on 2026-03-02, which is still to come",
        ),
        ("decision", "decided", "1: no column decision"),
    ],
)
def test_what_is_not_decided_and_signed_is_no_sign_off(harbor: MemoryHarbor, old: str, new: str, said: str) -> None:
    text = signed_off(harbor)
    assert old in text
    with pytest.raises(InputError, match=said):
        parse(text.replace(old, new, 1))


def test_a_quote_without_its_end_is_told_by_its_line(harbor: MemoryHarbor) -> None:
    text = signed_off(harbor).replace("Ada", '"Ada', 1) + "x" * csv.field_size_limit()
    with pytest.raises(InputError, match=r"review\.csv:\d+: not CSV: field larger") as caught:
        parse(text)
    assert caught.value.hint == "look for a quote without its end"


def test_a_new_day_begins_in_the_east() -> None:
    assert latest_day(datetime(2026, 3, 1, 9, 59, tzinfo=UTC)) == date(2026, 3, 1)
    assert latest_day(datetime(2026, 3, 1, 10, tzinfo=UTC)) == date(2026, 3, 2)


def test_a_robot_has_no_role(harbor: MemoryHarbor) -> None:
    with pytest.raises(InputError, match="'guest' is not one of keep, remove"):
        parse(signed_off(harbor, es_ci="guest"))


def test_nobody_stands_in_it_twice_and_somebody_must(harbor: MemoryHarbor) -> None:
    heading, *lines = signed_off(harbor).splitlines(keepends=True)
    with pytest.raises(InputError, match="twice"):
        parse("".join([heading, *lines, lines[0]]))
    with pytest.raises(InputError, match="nobody is in it"):
        parse(heading)
